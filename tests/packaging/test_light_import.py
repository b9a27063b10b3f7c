"""The trainer is light: it loads nothing of the pipeline, and help loads hardly anything."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

HEAVY = ("fxpipe", "pedalboard", "dac", "audiotools", "dask", "distributed", "torch", "lightning")
PROBE = "import sys, {module}; print([m for m in {heavy!r} if m in sys.modules])"


@pytest.mark.parametrize(
    "module",
    ["fxtrain", "fxtrain.cli", "fxtrain.contract", "fxtrain.zeroshot.score, fxtrain.report"],
)
def test_imports_none_of_the_heavy_libraries(module):
    code = PROBE.format(module=module, heavy=HEAVY)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("module", ["fxpipe.cli", "fxpipe.codec", "fxpipe.store"])
def test_the_pipelines_doors_open_late(module):
    heavy = ("pedalboard", "dac", "audiotools", "dask", "distributed", "torch", "webdataset")
    code = PROBE.format(module=module, heavy=heavy)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def n_loaded(*words: str) -> int:
    """Modules that Python loads for it."""
    line = [sys.executable, "-X", "importtime", *words]
    done = subprocess.run(line, capture_output=True, text=True, check=True)
    return done.stderr.count("import time:")


@pytest.mark.parametrize("program", ["fxtrain", "fxpipe"])
def test_help_loads_hardly_more_than_click_itself(program):
    """Counted, not timed: numpy alone would be twice as many."""
    path = Path(sys.executable).with_name(program)
    assert n_loaded(str(path), "--help") < n_loaded("-c", "import click") + 60


def test_a_missing_library_names_the_extra():
    code = (
        "import sys; sys.modules['pedalboard'] = None\n"
        "sys.argv = ['fxpipe', 'render', '--n-chains', '3']\n"
        "from fxpipe.cli import main; main()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert 'pip install ".[pipeline]" in a copy of the repository' in done.stderr
    assert "Traceback" not in done.stderr


def test_public_names_are_exactly_what_is_importable():
    import fxtrain.contract as contract

    public = {name for name in vars(contract) if not name.startswith("_")}
    modules = {name for name in public if type(vars(contract)[name]).__name__ == "module"}
    assert set(contract.__all__) == public - modules
