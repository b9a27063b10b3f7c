"""The trainer by itself: without the pipeline's libraries each verb works, or says what is missing.

Blocked in a process of its own, as on a machine where they were never installed.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from fixtures.models import random_run
from fixtures.shards import make_shards
from fxtrain.checkpoint import card_of, new_model, save_model
from fxtrain.config import ModelConfig
from fxtrain.models import resolve_model

MISSING = ("pedalboard", "soundfile", "soxr", "scipy", "cachetools", "dask", "distributed", "dac")
PROGRAM = """
import json, sys
for name in {missing!r}:
    sys.modules[name] = None
sys.argv = {argv!r}
from {program}.cli import main
main()
"""
REMEDY = 'pip install ".[pipeline]" in a copy of the repository'


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("light")
    random_run(path / "run")
    return path


def light(place: Path, *words: str | Path) -> subprocess.CompletedProcess[str]:
    argv = [str(word) for word in words]
    code = PROGRAM.format(missing=MISSING, argv=argv, program=argv[0])
    return subprocess.run(
        [sys.executable, "-c", code], cwd=place, capture_output=True, text=True, check=False
    )


@pytest.mark.parametrize(
    "words",
    [
        ("fxtrain", "predict", "clip.wav", "--run", "run"),
        ("fxtrain", "serve", "--run", "run", "--port", "0"),
        ("fxtrain", "zeroshot", "kit", "kit"),
        ("fxtrain", "listen", "make", "study", "--kind", "abx"),
        ("fxtrain", "export", "board", "chain.json", "-o", "out"),
    ],
)
def test_what_needs_ears_says_so_in_one_line(place: Path, words: tuple[str, ...]) -> None:
    (place / "clip.wav").write_bytes(b"RIFF")
    done = light(place, *words)
    assert done.returncode == 1
    assert done.stderr.strip().count("\n") == 0, done.stderr
    assert "Traceback" not in done.stderr
    assert REMEDY in done.stderr


def test_a_run_is_evaluated_without_sounds(tmp_path: Path) -> None:
    index = make_shards(tmp_path / "shards", n_train=8, n_valid=4, n_test=12)
    config = resolve_model(
        ModelConfig(kind="gru", d_model=32, n_heads=2), n_codebooks=4, has_mel=False
    )
    card = card_of(index, config, {})
    save_model(tmp_path / "run", card, new_model(card, torch.randn(4, 64, 8)))
    done = light(tmp_path, "fxtrain", "evaluate", "run", "shards")
    assert done.returncode == 0, done.stderr
    assert json.loads((tmp_path / "run" / "evaluation.json").read_text())["scores"]
    assert "Not to be heard here: hearing audio needs the pipeline" in (
        tmp_path / "run" / "evaluation.html"
    ).read_text(encoding="utf-8")


def test_doctor_lists_what_is_missing(tmp_path: Path) -> None:
    done = light(tmp_path, "fxpipe", "doctor")
    assert "Traceback" not in done.stderr
    assert "cachetools is not installed, so this was not looked at" in " ".join(done.stdout.split())
    assert REMEDY in " ".join(done.stdout.split())


@pytest.mark.parametrize("program", ["fxpipe", "fxtrain"])
def test_programs_run_as_modules_and_without_streams(tmp_path: Path, program: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", program, "--version"], capture_output=True, text=True, check=True
    )
    assert done.stdout.startswith(program)
    make_shards(tmp_path / "s", n_train=8, n_valid=4, n_test=4)
    words = {"fxpipe": "check s", "fxtrain": "fit s --epochs 1 --dry-run"}[program]
    line = f"{sys.executable} -m {program} {words}"
    for closed in (">&-", "2>&-"):
        quiet = subprocess.run(f"{line} {closed}", shell=True, cwd=tmp_path, check=False)
        assert quiet.returncode == 0
