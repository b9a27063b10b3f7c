"""How a process that hears a few clips behaves."""

from __future__ import annotations

import gc
import os
import subprocess
import sys

import pytest

from fxtrain import calm

COLD = """
import gc, sys
from fxtrain.calm import no_garbage
with no_garbage():
    assert not gc.isenabled()
assert gc.isenabled() and gc.get_freeze_count() > 0
"""


def test_a_first_import_is_not_searched_for_garbage():
    done = subprocess.run([sys.executable, "-c", COLD], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_where_torch_is_loaded_or_nobody_collects_nothing_changes(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", sys)
    with calm.no_garbage():
        assert gc.isenabled()
    monkeypatch.delitem(sys.modules, "torch")
    gc.disable()
    try:
        with calm.no_garbage():
            assert not gc.isenabled()
        assert not gc.isenabled()
    finally:
        gc.enable()


def test_what_the_user_set_for_threads_stands(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("OPENBLAS_NUM_THREADS", "3")
    monkeypatch.delenv("OMP_WAIT_POLICY", raising=False)
    calm.share_the_cores()
    assert os.environ["OPENBLAS_NUM_THREADS"] == "3"
    assert os.environ.pop("OMP_WAIT_POLICY") == "PASSIVE"
