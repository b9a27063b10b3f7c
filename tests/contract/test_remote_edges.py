"""A store that is slow, cached or short of words: how long it is waited for, and what it says."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any, ClassVar

import fsspec
import pytest
from fsspec.implementations.memory import MemoryFileSystem

from fxtrain.contract import FxError, UsageError, open_folder
from fxtrain.contract.remote import Patience, RemoteFolder, is_transient, patience_from_environment


class SlowFileSystem(MemoryFileSystem):
    """``slow://``: memory that takes its time, and lists again only where it is told to."""

    protocol = "slow"
    store: ClassVar[dict[str, Any]] = {}
    pseudo_dirs: ClassVar[list[str]] = [""]
    pause_s: ClassVar[float] = 0.0
    listed: ClassVar[dict[str, Any]] = {}

    def cat_file(self, *args: Any, **options: Any) -> Any:
        time.sleep(self.pause_s)
        return super().cat_file(*args, **options)

    def pipe_file(self, *args: Any, **options: Any) -> Any:
        time.sleep(self.pause_s)
        return super().pipe_file(*args, **options)

    def find(self, path: str, *args: Any, **options: Any) -> Any:
        if path not in self.listed:
            self.listed[path] = super().find(path, *args, **options)
        return self.listed[path]

    def invalidate_cache(self, path: str | None = None) -> None:
        self.listed.clear()


@pytest.fixture
def slow() -> Iterator[str]:
    fsspec.register_implementation("slow", SlowFileSystem, clobber=True)
    SlowFileSystem.store, SlowFileSystem.pseudo_dirs = {}, [""]
    SlowFileSystem.pause_s, SlowFileSystem.listed = 0.0, {}
    yield "slow://bucket"
    SlowFileSystem.pause_s = 0.0
    for thread in threading.enumerate():
        if thread.daemon and thread is not threading.current_thread():
            thread.join(0.2)


def test_a_large_file_is_waited_for_as_long_as_its_bytes_may_take(slow: str) -> None:
    folder = RemoteFolder(slow, Patience(tries=1, limit_s=0.1))
    large = bytes(100_000)  # two fifths of a second at the slowest
    folder.write("small", b"x")
    SlowFileSystem.pause_s = 0.25
    folder.write("large", large)
    with pytest.raises(FxError, match="no answer"):
        folder.write("small", b"y")
    with pytest.raises(FxError, match="no answer"):
        folder.read("large")  # whose size nobody has asked for
    assert folder.size("large") == 100_000
    assert folder.read("large") == large
    with pytest.raises(FxError, match="no answer"):
        folder.read("small")


def test_what_others_write_meanwhile_is_seen(slow: str) -> None:
    folder = open_folder(slow)
    folder.write("a", b"1")
    assert folder.names() == ["a"]
    open_folder(slow).write("deep/b", b"2")
    assert folder.names() == ["a", "deep/b"]


class Botocore(Exception):  # noqa: N818
    def __init__(self, status: int) -> None:
        super().__init__("an error occurred")
        self.response = {"ResponseMetadata": {"HTTPStatusCode": status}}


class NoCredentialsError(Exception):
    pass


class StatusError(Exception):
    def __init__(self, status_code: int) -> None:
        super().__init__("an error occurred")
        self.status_code = status_code


class GcsError(Exception):
    def __init__(self, code: int | None) -> None:
        super().__init__("an error occurred")
        self.code = code


class AnsweredError(Exception):
    def __init__(self, status_code: int) -> None:
        super().__init__("an error occurred")
        self.response = SimpleNamespace(status_code=status_code)


def caused_by(cause: BaseException) -> FileNotFoundError:
    error = FileNotFoundError("https://somewhere/file")
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    ("error", "transient"),
    [
        (StatusError(500), True),
        (StatusError(408), True),
        (StatusError(409), True),
        (StatusError(425), True),
        (StatusError(401), False),
        (Botocore(503), True),
        (Botocore(404), False),
        (GcsError(503), True),
        (GcsError(401), False),
        (GcsError(None), True),
        (AnsweredError(502), True),
        (AnsweredError(410), False),
        (NoCredentialsError(), False),
        (caused_by(ConnectionResetError()), True),
        (caused_by(TimeoutError()), True),
        (caused_by(KeyError()), False),
    ],
)
def test_what_may_go_well_later_is_tried_again(error: BaseException, transient: bool) -> None:
    assert is_transient(error) is transient


@pytest.mark.parametrize("value", ["0", "-1", "nan", "1e6", ""])
def test_patience_is_above_nothing(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv("FXPIPE_STORE_TIMEOUT_S", value)
    with pytest.raises(UsageError, match="expected a number above 0, such as 60"):
        patience_from_environment()


def test_patience_is_what_the_environment_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FXPIPE_STORE_TIMEOUT_S", "2.5")
    monkeypatch.setenv("FXPIPE_STORE_TRIES", "3")
    found = patience_from_environment()
    assert (found.tries, found.limit_s) == (3, 2.5)
