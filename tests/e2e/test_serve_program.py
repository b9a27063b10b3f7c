"""`fxtrain serve` as a program: it says where, answers at once, and ends with Ctrl-C."""

from __future__ import annotations

import signal
import urllib.request
from pathlib import Path

from fixtures.browser import served
from fixtures.models import random_run


def test_serve_answers_and_ends(tmp_path: Path) -> None:
    run = random_run(tmp_path / "run")
    with served("fxtrain", "serve", "--run", run) as (address, process):
        assert address.startswith("http://127.0.0.1:")
        with urllib.request.urlopen(address, timeout=60) as answer:
            assert b"Which pedals are on this?" in answer.read()
        process.send_signal(signal.SIGINT)
        assert process.wait(120) == 0
        assert process.stderr is not None
        assert process.stderr.read() == ""
    assert [path.name for path in tmp_path.iterdir()] == ["run"]
