"""How a process behaves beside others."""

from __future__ import annotations

import os
import platform
import subprocess
import sys

import pytest

from fxtrain import calm


def test_what_the_user_set_for_threads_stands(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("OPENBLAS_NUM_THREADS", "3")
    monkeypatch.delenv("OMP_WAIT_POLICY", raising=False)
    calm.share_the_cores()
    assert os.environ["OPENBLAS_NUM_THREADS"] == "3"
    assert os.environ.pop("OMP_WAIT_POLICY") == "PASSIVE"


LATE = """
import os, sys
from pathlib import Path
from fxtrain import calm
calm.STAT, calm.LOOK_S = Path(sys.argv[1]), 0.0
before = calm._ticks
looks = iter([before(), (before()[0] + int(sys.argv[2]), before()[1] + 100)])
calm._ticks = lambda: next(looks)
calm.share_taken_cores()
print(os.environ.get("OMP_WAIT_POLICY"))
"""


@pytest.mark.parametrize(("used", "policy"), [(10, "None"), (60, "PASSIVE")])
def test_threads_of_a_training_sleep_where_others_use_the_cores(tmp_path, used, policy):
    stat = tmp_path / "stat"
    stat.write_text("cpu  10 0 5 80 5 0 0 0 0 0\ncpu0 10 0 5 80 5 0 0 0 0 0\n")
    env = {name: value for name, value in os.environ.items() if name != "OMP_WAIT_POLICY"}
    words = [sys.executable, "-c", LATE, str(stat), str(used)]
    done = subprocess.run(words, capture_output=True, text=True, check=True, env=env)
    assert done.stdout.strip() == policy


STEPS = """
import resource, sys
from fxtrain.calm import keep_freed_memory
keep_freed_memory()
for step in range(12):
    if step == 2:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    array = bytearray(40_000_000)
    del array
print((resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before) // 10)
"""


@pytest.mark.skipif(
    platform.libc_ver()[0] != "glibc",
    reason="only glibc can be told to keep what is freed; elsewhere nothing is changed",
)
@pytest.mark.parametrize("said", ["", "MALLOC_ARENA_MAX", "GLIBC_TUNABLES"])
def test_memory_is_mapped_once_and_what_the_user_says_stands(said: str):
    env = {name: value for name, value in os.environ.items() if not name.startswith("MALLOC_")}
    value = "glibc.malloc.arena_max=8" if said == "GLIBC_TUNABLES" else "8"
    env |= {said: value} if said else {}
    words = [sys.executable, "-c", STEPS]
    done = subprocess.run(words, capture_output=True, text=True, check=True, env=env)
    faults_a_step = int(done.stdout)
    assert faults_a_step > 10 if said else faults_a_step < 10  # 20 where pages are of 2 MB


def test_ticks_are_read_as_proc_has_them(tmp_path, monkeypatch):
    stat = tmp_path / "stat"
    stat.write_text("cpu  10 1 5 80 4 0 0 7 0 0\n")
    monkeypatch.setattr(calm, "STAT", stat)
    assert calm._ticks() == (23, 107)
    assert calm.taken_by_others() == 0.0
    stat.write_text("nothing of the kind")
    assert calm.taken_by_others() == 0.0
    stat.unlink()
    assert calm.taken_by_others() == 0.0
