"""`fxtrain serve` as a program: it says where, answers at once, and ends with Ctrl-C."""

from __future__ import annotations

import signal
import socket
import time
import urllib.request
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from fixtures.browser import served
from fixtures.models import random_run
from fixtures.page import page_served

STANDING = b"POST /api/clip HTTP/1.1\r\nHost: %s\r\nContent-Length: 1000\r\n\r\nRIFF"
"""The head of an upload, of which nothing more comes."""


def begin_upload(address: str) -> socket.socket:
    place = urlsplit(address)
    link = socket.create_connection((place.hostname, place.port), timeout=30)
    link.sendall(STANDING % place.netloc.encode())
    return link


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


def test_serve_ends_though_an_upload_stands_still(tmp_path: Path) -> None:
    run = random_run(tmp_path / "run")
    with served("fxtrain", "serve", "--run", run) as (address, process):
        with begin_upload(address):
            with urllib.request.urlopen(f"{address}api/start", timeout=60) as answer:
                assert answer.status == 200  # the model is there: nothing else holds it up
            before = time.monotonic()
            process.send_signal(signal.SIGINT)
            process.wait(30)
        assert time.monotonic() - before < 20
        assert process.stderr is not None
        assert process.stderr.read() == ""


def test_an_upload_that_stands_still_is_given_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fxtrain.web.requests.STALLED_S", 0.2)
    with page_served(random_run(tmp_path / "run")) as address, begin_upload(address) as link:
        answer = link.recv(10_000)
        while not answer.endswith(b"}"):
            answer += link.recv(10_000)
    assert answer.startswith(b"HTTP/1.1 408 ")
    assert b"The upload stood still; give it again." in answer
