"""Same seed, same bytes: on one worker or two, in one go or after being cut off."""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from fixtures.cli import run

RENDER = ["render", "--n-chains", "200", "--pool", "okita3", "--lengths", "1-2", "--clip-s", "0.5"]


def digests(folder: Path) -> dict[str, str]:
    files = [p for p in folder.rglob("*") if p.is_file() and p.suffix in (".npy", ".jsonl", ".tar")]
    return {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in files}


@pytest.fixture(scope="module")
def one_worker(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    here = tmp_path_factory.mktemp("one")
    assert run("fxpipe", *RENDER, "-j", "1", cwd=here).code == 0
    return digests(here / "renders")


def test_two_workers_write_the_same_bytes_as_one(tmp_path, one_worker):
    assert run("fxpipe", *RENDER, "-j", "2", cwd=tmp_path).code == 0
    assert len(one_worker) >= 6
    assert digests(tmp_path / "renders") == one_worker


def test_interrupted_then_typed_again_gives_the_same_bytes(tmp_path, one_worker):
    program = Path(sys.executable).with_name("fxpipe")
    process = subprocess.Popen(
        [program, *RENDER, "-j", "1"],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        # What a shell starts in the background ignores Ctrl-C, and so would this: hear it again.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    receipts = tmp_path / "renders/.receipts"
    deadline = time.monotonic() + 60
    while not (receipts.is_dir() and any(receipts.glob("*.json"))):
        assert time.monotonic() < deadline, "no shard was finished in a minute"
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGINT)  # what a terminal's Ctrl-C does
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130, "it must still be at work when the interrupt arrives"
    assert "to go on, type the same again: fxpipe render" in err
    assert "Traceback" not in err
    assert not (tmp_path / "renders/index.json").exists()
    assert "finish or make it with" in run("fxpipe", "encode", cwd=tmp_path).last_line
    assert run("fxpipe", *RENDER, "-j", "2", cwd=tmp_path).code == 0
    assert digests(tmp_path / "renders") == one_worker


def test_another_seed_gives_other_bytes(tmp_path, one_worker):
    assert run("fxpipe", *RENDER, "--seed", "1", "--n-chains", "50", cwd=tmp_path).code == 0
    assert set(digests(tmp_path / "renders").values()).isdisjoint(one_worker.values())
