"""The commands of fxpipe in this process, their tasks one after another: no start-up, no dask."""

from __future__ import annotations

import contextlib
import hashlib
import io
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from fixtures.cli import Ran
from fxpipe import console, encode, renders
from fxpipe.cli import cli

Fx = Callable[..., Ran]

RENDER = "render --n-chains 15 --pool okita3 --lengths 1-2 --clip-s 0.2 --shard-size 4 -j 1 -o"
ENCODE = "--codec embedded --shard-size 4 -j 1"


@pytest.fixture(scope="session")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """renders, shards and zarr of an undisturbed run; ``other-…``: the same of another seed."""
    here = tmp_path_factory.mktemp("whole")
    with pytest.MonkeyPatch.context() as patch:
        fx = inside(patch)
        for prefix, seed in (("", "0"), ("other-", "1")):
            made = here / f"{prefix}renders"
            assert fx(*RENDER.split(), made, "--seed", seed).code == 0
            for name, backend in (("shards", "webdataset"), ("zarr", "zarr")):
                out = here / f"{prefix}{name}"
                line = ["encode", made, *ENCODE.split(), "--format", backend, "-o", out]
                assert fx(*line).code == 0
    return here


@pytest.fixture
def fx(monkeypatch: pytest.MonkeyPatch) -> Fx:
    """``fx("check", folder)`` -> exit code, stdout, stderr."""
    return inside(monkeypatch)


def inside(patch: pytest.MonkeyPatch) -> Fx:
    for module in (renders, encode):
        patch.setattr(module, "run_tasks", lambda function, jobs, *_, **__: map(function, jobs))

    def run(*words: str | Path) -> Ran:
        patch.setattr(sys, "argv", ["fxpipe", *map(str, words)])
        out, err = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            code = console.run(cli, "fxpipe")
        return Ran(code, out.getvalue(), err.getvalue())

    return run


def remake(name: str, whole: Path, out: Path | str) -> list[str | Path]:
    """The command that wrote ``whole / name``, into ``out``."""
    if name == "renders":
        return [*RENDER.split(), out]
    backend = {"shards": "webdataset", "zarr": "zarr"}[name]
    line = ["encode", whole / "renders", *ENCODE.split(), "--format", backend, "-o", out]
    return list(line)


def copy_of(folder: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(folder, tmp_path / folder.name))


def digests(folder: Path) -> dict[str, str]:
    """Every file, index and receipts too, with its sha256."""
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }
