"""A store that is slow, cached or short of words: how long it is waited for, and what it says."""

from __future__ import annotations

import functools
import pickle
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import fsspec
import pytest
from aiohttp import ClientTimeout
from fsspec.implementations.http import HTTPFileSystem
from fsspec.implementations.local import LocalFileSystem
from fsspec.implementations.memory import MemoryFileSystem

from fixtures.http import DATA, running_server, serve, stall, status
from fxtrain.contract import FxError, UsageError, open_folder
from fxtrain.contract.remote import (
    Patience,
    RemoteFolder,
    is_transient,
    patience_from_environment,
    within,
)


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
        if thread.daemon and thread.name != "fsspecIO":
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
        folder.read("large")  # whose size nobody has told
    assert folder.read("large", 100_000) == large
    with pytest.raises(FxError, match="no answer"):
        folder.read("small")


def test_a_store_crosses_to_another_process(slow: str) -> None:
    """As the shards of a data set do, to train on several GPUs or to measure clips side by side."""
    folder = RemoteFolder(slow, Patience(tries=1, limit_s=9.0))
    folder.write("a", b"1")
    there = pickle.loads(pickle.dumps(folder))
    assert (there.read("a"), there.uri, there.patience) == (b"1", slow, folder.patience)


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
        (GcsError(14), True),  # no status of HTTP
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


def test_patience_is_one_try_at_least(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FXPIPE_STORE_TRIES", "0.3")
    assert patience_from_environment().tries == 1


def test_pauses_double_up_to_the_longest(monkeypatch: pytest.MonkeyPatch) -> None:
    pauses: list[float] = []
    monkeypatch.setattr("random.uniform", lambda low, high: high)
    monkeypatch.setattr(time, "sleep", pauses.append)
    folder = RemoteFolder("memory://x", Patience(pause_s=10))
    monkeypatch.setattr(folder, "_once", raises(ConnectionResetError()))
    with pytest.raises(FxError, match="tried 8 times"):
        folder.read("a")
    assert pauses == [0.5, 1, 2, 4, 8, 10, 10]


def test_a_large_file_may_take_a_web_server_longer_than_aiohttp_allows(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("aiohttp.client.DEFAULT_TIMEOUT", ClientTimeout(total=0.05))
    HTTPFileSystem.clear_instance_cache()

    def late(handler: Any, body: bytes) -> None:
        time.sleep(0.15)
        serve(handler, body)

    with running_server() as server:
        server.plan = [late]
        assert RemoteFolder(server.url, Patience(tries=1)).read("file.zip") == DATA


def test_a_web_server_that_lists_nothing_is_asked_for_each_size() -> None:
    with running_server() as server:
        folder = RemoteFolder(server.url)
        folder.at_once = 1
        assert folder.sizes(["file.zip", "none"]) == [len(DATA), None]


class RefusingFileSystem(MemoryFileSystem):
    """``refusing://``: asks its server for leave as soon as it is made."""

    protocol = "refusing"

    def __init__(self, *args: Any, **options: Any) -> None:
        raise Exception("Authentication\nfailed.")


@pytest.mark.parametrize(
    ("uri", "told"),
    [
        ("refusing://x", "cannot open refusing://x: Authentication failed.; mend that"),
        ("nosuch://x", "nosuch://x: Protocol not known: nosuch"),
    ],
)
def test_a_store_that_cannot_be_opened_is_one_line(uri: str, told: str) -> None:
    fsspec.register_implementation("refusing", RefusingFileSystem, clobber=True)
    with pytest.raises(FxError) as caught:
        open_folder(uri)
    assert str(caught.value).startswith(told)


class DiskFileSystem(LocalFileSystem):
    """``disk://``: a store that has directories and wants them made."""

    protocol = "disk"
    made: ClassVar[list[str]] = []

    @classmethod
    def _strip_protocol(cls, path: str) -> str:
        return str(LocalFileSystem._strip_protocol(path.removeprefix("disk://")))

    def makedirs(self, path: str, exist_ok: bool = False) -> None:
        self.made.append(path)
        super().makedirs(path, exist_ok=exist_ok)


def test_directories_are_made_once_where_a_store_has_them(tmp_path: Path) -> None:
    fsspec.register_implementation("disk", DiskFileSystem, clobber=True)
    for _ in range(2):
        DiskFileSystem.made.clear()
        folder = open_folder(f"disk://{tmp_path}/set/")
        assert folder.uri == f"disk://{tmp_path}/set"
        for name in ("deep/er/b", "deep/er/a", "c"):
            folder.write(name, b"x")
        assert folder.names() == ["c", "deep/er/a", "deep/er/b"]
        assert DiskFileSystem.made == [f"{tmp_path}/set/deep/er", f"{tmp_path}/set"]
    folder.delete("deep/er/a")
    folder.delete("deep/er/a")
    assert folder.names() == ["c", "deep/er/b"]


class BucketFileSystem(SlowFileSystem):
    """``oci://``, whose library tells its protocol as one word; a directory would be a bucket."""

    protocol = "oci"

    def makedirs(self, path: str, exist_ok: bool = False) -> None:
        raise AssertionError(path)


def test_no_bucket_is_made(slow: str) -> None:
    fsspec.register_implementation("oci", BucketFileSystem, clobber=True)
    folder = open_folder("oci://bucket/set")
    folder.write("deep/a", b"x")
    assert folder.names() == ["deep/a"]


@pytest.mark.parametrize("error", [PermissionError(), NotImplementedError(), FileExistsError()])
def test_a_store_that_makes_no_directories_is_written_all_the_same(
    slow: str, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    monkeypatch.setattr(SlowFileSystem, "makedirs", raises(error))
    folder = open_folder(slow)
    folder.write("deep/a", b"x")
    assert folder.read("deep/a") == b"x"


PAGES = {
    "set": """<a href="/">up</a> <a href="/set">here</a> <a href="/set2/c.npy">beside</a>
              <a href="a.npy">a</a> <a href="deep/">deep</a>""",
    "set/deep": '<a href="/set/">up</a> <a href="b.npy">b</a>',
}


def test_pages_of_a_web_server_are_asked_for_what_lies_below_until_they_tell() -> None:
    with running_server() as server:
        server.files |= {path: page.encode() for path, page in PAGES.items()}
        page = functools.partial(serve, content_type="text/html")
        server.plan = [page, status(503), page]
        assert RemoteFolder(f"{server.url}/set", Patience(pause_s=0.01)).names() == [
            "a.npy",
            "deep/b.npy",
        ]
        assert server.plan == []


@pytest.mark.parametrize(
    ("code", "said"), [(401, "401, .*; nothing finished was lost: mend"), (503, "503, .*; tried 1")]
)
def test_what_a_web_server_says_of_a_file_that_it_does_not_show_is_told(
    code: int, said: str
) -> None:
    with running_server() as server:
        server.plan = [status(code)]
        with pytest.raises(FxError, match=f"cannot look at {server.url}/file.zip: {said}"):
            RemoteFolder(server.url, Patience(tries=1)).size("file.zip")
        server.plan = [status(403)]
        assert RemoteFolder(server.url).size("file.zip") is None


def test_a_web_server_that_stalls_is_given_up() -> None:
    answer = threading.Event()
    with running_server() as server:
        server.plan = [stall(0, answer)]
        with pytest.raises(FxError, match=r"cannot read .*: no answer in 0 s; tried 1 time"):
            RemoteFolder(server.url, Patience(tries=1, limit_s=0.1)).read("file.zip")
        answer.set()


def test_a_call_that_hangs_does_not_hold_the_program() -> None:
    answer, others = threading.Event(), set(threading.enumerate())
    with pytest.raises(TimeoutError, match="no answer in 0 s"):
        within(0.01, answer.wait)
    assert all(each.daemon for each in set(threading.enumerate()) - others)
    answer.set()


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (PermissionError("Access\n Denied"), "Access Denied; nothing finished was lost: mend"),
        (PermissionError(), r"PermissionError\(\); nothing"),
        (PermissionError("x" * 400), f"{'x' * 300}; nothing"),
    ],
)
def test_what_a_store_says_is_a_few_words_on_one_line(
    slow: str, monkeypatch: pytest.MonkeyPatch, error: Exception, said: str
) -> None:
    monkeypatch.setattr(SlowFileSystem, "find", raises(error))
    with pytest.raises(FxError, match=f"^cannot list slow://bucket: {said}"):
        open_folder(slow).names()


def raises(error: Exception) -> Callable[..., None]:
    def fail(*args: Any, **options: Any) -> None:
        raise error

    return fail


def test_what_is_not_in_a_store_is_no_such_file_or_no_name_and_no_place_to_write(
    slow: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = open_folder(slow)
    with pytest.raises(FileNotFoundError) as caught:
        folder.read("none")
    assert (caught.value.filename, caught.value.strerror) == (f"{slow}/none", "is not in the store")
    for method in ("find", "pipe_file"):
        monkeypatch.setattr(SlowFileSystem, method, raises(FileNotFoundError("bucket")))
    assert folder.names() == []
    with pytest.raises(FxError, match="cannot write slow://bucket/a: bucket"):
        folder.write("a", b"x")
