"""The trainer is light: it loads nothing of the pipeline, and help answers at once."""

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


@pytest.mark.parametrize("program", ["fxtrain", "fxpipe"])
def test_help_costs_less_than_a_third_of_a_second_of_cpu(program):
    """CPU time, so that a busy machine cannot fail it; the best of three."""
    path = Path(sys.executable).with_name(program)
    code = (
        "import resource, subprocess, sys\n"
        f"subprocess.run([{str(path)!r}, '--help'], check=True, stdout=subprocess.DEVNULL)\n"
        "used = resource.getrusage(resource.RUSAGE_CHILDREN)\n"
        "print(used.ru_utime + used.ru_stime)\n"
    )
    seconds = [
        float(subprocess.run([sys.executable, "-c", code], capture_output=True, check=True).stdout)
        for _ in range(3)
    ]
    assert min(seconds) < 0.3


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
