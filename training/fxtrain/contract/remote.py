"""A directory of named files behind an fsspec URI, on a network that fails and stalls at times.

Every request has a time limit and is tried again, after a pause that grows and is drawn, unless
trying again cannot help. fsspec and tenacity are loaded with the first URI, never on import.
"""

from __future__ import annotations

import contextlib
import errno
import io
import os
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, BinaryIO, cast

from fxtrain.contract.ahead import ahead
from fxtrain.contract.errors import MissingExtraError, StoreError, UsageError
from fxtrain.contract.folder import file_entry
from fxtrain.contract.schema import FileEntry

TRIES_VARIABLE = "FXPIPE_STORE_TRIES"
LIMIT_VARIABLE = "FXPIPE_STORE_TIMEOUT_S"
PAUSE_S = 20.0
"""The longest pause between two tries; each is drawn between 0 and twice the last one's bound."""
ONE_REQUEST_BYTES = 2**25
"""What is larger comes faster in several parts at once (s3fs takes 50 MB each)."""
SLOWEST_BYTES_S = 250_000
"""A file may take this much longer than ``limit_s`` for each of its bytes."""

PERMANENT = (
    PermissionError,
    IsADirectoryError,
    NotADirectoryError,
    FileExistsError,
    NotImplementedError,
    TypeError,
    AttributeError,
    ImportError,
)
PERMANENT_ERRNO = {
    getattr(errno, name, None)
    for name in ("ENOSPC", "EDQUOT", "EROFS", "ENAMETOOLONG", "EINVAL", "ENOTSUP")
}
OBJECT_STORES = {"s3", "s3a", "gs", "gcs", "abfs", "abfss", "az", "adl", "oci", "oss"}
"""Without directories: asked to make one, they make the bucket that somebody misspelt."""
S3 = ("s3://", "s3a://")
NO_BUCKET = "bucket does not exist"
"""In what an S3 server says where it is not a file that is missing but all that could hold one."""
TRANSIENT_STATUS = (408, 409, 425, 429)
UNAUTHORIZED = 401


@dataclass(frozen=True)
class Patience:
    """``tries`` of a request in all, each at most ``limit_s``; pauses of at most ``pause_s``."""

    tries: int = 8
    limit_s: float = 60.0
    pause_s: float = PAUSE_S


def patience_from_environment() -> Patience:
    """Workers inherit it, so that one setting holds for all of a run's processes."""
    found = []
    for name, default in ((TRIES_VARIABLE, Patience.tries), (LIMIT_VARIABLE, Patience.limit_s)):
        text = os.environ.get(name, str(default))
        try:
            value = float(text)
        except ValueError:
            value = 0.0
        if not 0 < value < 1e6:
            raise UsageError(f"{name}={text!r}: expected a number above 0, such as {default:g}")
        found.append(value)
    return Patience(max(1, round(found[0])), found[1], PAUSE_S)


def is_transient(error: BaseException) -> bool:
    """May the same request go well later? What nobody knows is taken to be the network's fault."""
    if not isinstance(error, Exception):
        return False  # Ctrl-C
    status = _status(error)
    if status is not None:
        return status >= 500 or status in TRANSIENT_STATUS
    if isinstance(error, FileNotFoundError):
        return _is_networks(error.__cause__)  # fsspec calls any failed look over http that
    if isinstance(error, PERMANENT) or "Credential" in type(error).__name__:
        return False
    return not (isinstance(error, OSError) and error.errno in PERMANENT_ERRNO)


def _is_networks(error: BaseException | None) -> bool:
    if isinstance(error, (TimeoutError, ConnectionError)):
        return True
    library = type(error).__module__.partition(".")[0]
    return (
        error is not None and library in ("aiohttp", "botocore", "urllib3") and is_transient(error)
    )


def _meant(error: Exception) -> Exception:
    """fsspec calls any failed look over http a missing file; why it failed stands behind that. A
    server may forbid what it does not have (403), but asks for no password there (401)."""
    cause = error.__cause__
    if not (isinstance(error, FileNotFoundError) and isinstance(cause, Exception)):
        return error
    return cause if _is_networks(cause) or _status(cause) == UNAUTHORIZED else error


def _status(error: BaseException) -> int | None:
    """The HTTP status in an error of aiohttp, gcsfs, azure, requests or botocore."""
    response = getattr(error, "response", None)
    meta = response.get("ResponseMetadata", {}) if isinstance(response, dict) else {}
    for value in (
        getattr(error, "status", None),
        getattr(error, "status_code", None),
        vars(error).get("code"),  # gcsfs; aiohttp warns whoever asks its errors for one
        getattr(response, "status_code", None),
        meta.get("HTTPStatusCode"),
    ):
        if isinstance(value, int) and 400 <= value < 600:
            return value
    return None


def _left_to_us(uri: str) -> dict[str, Any]:
    """Options that leave trying again, and how long, to us. s3fs and botocore each try five times
    by themselves: eight tries of ours would be up to two hundred requests, and minutes. aiohttp
    ends any request after five minutes, however large the file. What a person's own settings of
    fsspec say stays."""
    from fsspec.config import conf

    def told(key: str, *names: str) -> dict[str, Any]:
        return {k: v for name in names for k, v in conf.get(name, {}).get(key, {}).items()}

    if uri.startswith(S3):
        once = {"retries": {"total_max_attempts": 1}}
        return {"config_kwargs": once | told("config_kwargs", "s3", "s3a")}
    if uri.startswith(("http://", "https://")):
        from aiohttp import ClientTimeout

        endless = {"timeout": ClientTimeout(total=None, sock_connect=30)}
        return {"client_kwargs": endless | told("client_kwargs", "http", "https")}
    return {}


class RemoteFolder:
    """One object a file: object stores put an object whole or not at all, and where a store does
    not, size and sha256 in receipts and index tell."""

    at_once = 16

    def __init__(self, uri: str, patience: Patience | None = None) -> None:
        try:
            import fsspec
            import tenacity
        except ImportError as error:
            raise MissingExtraError(
                f"{uri}: remote storage needs {error.name}: pip install {error.name}"
            ) from None
        self.uri = uri.rstrip("/")
        self.patience = patience or patience_from_environment()
        try:
            fs, self._root = fsspec.core.url_to_fs(self.uri, **_left_to_us(self.uri))
        except (ImportError, ValueError) as error:
            raise MissingExtraError(f"{uri}: {error}") from None
        except Exception as error:  # of a library that asks the network already here
            said = " ".join(str(error).split()) or repr(error)
            raise StoreError(
                f"cannot open {uri}: {said:.300}; mend that (address, rights), then run the same "
                "command again"
            ) from None
        self._fs: Any = fs
        if self.uri.startswith(S3):
            self._fs.retries = 1  # see _left_to_us
        protocols = {fs.protocol} if isinstance(fs.protocol, str) else set(fs.protocol)
        self._has_directories = OBJECT_STORES.isdisjoint(protocols)
        self._made: set[str] = set()
        self._retrying = tenacity.Retrying(
            stop=tenacity.stop_after_attempt(self.patience.tries),
            wait=tenacity.wait_random_exponential(multiplier=0.5, max=self.patience.pause_s),
            retry=tenacity.retry_if_exception(is_transient),
            reraise=True,
        )

    def __reduce__(self) -> tuple[type[RemoteFolder], tuple[str, Patience]]:
        """It crosses to another process by its address, and asks with a client of its own there."""
        return type(self), (self.uri, self.patience)

    def _at(self, name: str) -> str:
        return f"{self._root}/{name}"

    def read(self, name: str, n_bytes: int | None = None) -> bytes:
        """A small file of known size takes one request. Of any other fsspec asks the size itself,
        and reads a large one in several parts at once."""
        if n_bytes is None:
            return self._read(name)
        if 0 < n_bytes <= ONE_REQUEST_BYTES:
            try:
                return self._read(name, n_bytes, start=0, end=n_bytes + 1)
            except StoreError:
                if self.size(name) == 0:  # a store refuses any range of an empty file
                    return b""
                raise
        if (self.size(name) or 0) > n_bytes:
            return self._read(name, n_bytes, start=0, end=n_bytes + 1)
        return self._read(name, n_bytes)

    def _read(self, name: str, n_bytes: int = 0, **part: Any) -> bytes:
        found = self._ask("read", name, "cat_file", self._at(name), n_bytes=n_bytes, **part)
        return cast(bytes, found)

    def open(self, name: str) -> BinaryIO:
        return io.BytesIO(self.read(name))

    def size(self, name: str) -> int | None:
        try:
            said = self._ask("look at", name, "info", self._at(name))["size"]
            # A web server that sends what it makes just then does not tell beforehand.
            return int(said) if said is not None else len(self.read(name))
        except FileNotFoundError:
            return None

    def sizes(self, names: Sequence[str]) -> list[int | None]:
        """An object store lists a thousand files in one answer, all that it has."""
        if self._has_directories or len(names) <= self.at_once:
            return list(ahead(self.size, names, self.at_once))
        found = {name: int(info["size"]) for name, info in self._listed().items()}
        return [found.get(name) for name in names]

    def write(self, name: str, data: bytes | bytearray) -> FileEntry:
        target = self._at(name)
        parent = target.rpartition("/")[0]
        if self._has_directories and parent not in self._made:
            # Others without directories answer that it cannot be made, and need none.
            needless = (FileExistsError, PermissionError, NotImplementedError)
            with contextlib.suppress(*needless):
                self._ask("write", name, "makedirs", parent, answers=needless, exist_ok=True)
            self._made.add(parent)
        self._ask("write", name, "pipe_file", target, bytes(data), answers=(), n_bytes=len(data))
        return file_entry(name, data)

    def delete(self, name: str) -> None:
        with contextlib.suppress(FileNotFoundError):
            self._ask("delete", name, "rm_file", self._at(name))

    def names(self) -> list[str]:
        return sorted(self._listed())

    def _listed(self) -> dict[str, dict[str, Any]]:
        """Name -> what the store says of the file."""
        prefix = self._root.rstrip("/") + "/"
        if self._walks:
            found = self._walked()
        else:
            try:
                found = self._ask("list", "", "find", self._root, detail=True)
            except FileNotFoundError:
                return {}
        # An object whose name ends so is what a store's web page makes for a directory.
        files = {path: info for path, info in found.items() if not str(path).endswith("/")}
        return {str(path).removeprefix(prefix): info for path, info in files.items()}

    def _walked(self) -> dict[str, dict[str, Any]]:
        """One question a directory. fsspec's own walk takes one that it could not list for an empty
        one: it forgets ``on_error`` below the first (2026.9)."""
        found: dict[str, dict[str, Any]] = {}
        waiting = [self._root]
        while waiting:
            directory = waiting.pop()
            name = directory.removeprefix(self._root).lstrip("/")
            listed: list[dict[str, Any]] = []
            with contextlib.suppress(FileNotFoundError):
                listed = self._ask("list", name, "ls", directory, detail=True)
            for info in listed:
                path = str(info["name"]).rstrip("/")
                if not path.startswith(directory.rstrip("/") + "/"):
                    continue  # itself, or a link out of it
                if info["type"] == "directory":
                    waiting.append(path)
                else:
                    found[path] = info
        return found

    def sweep(self) -> list[str]:
        """No half-written file has a name in an object store."""
        return []

    @property
    def _walks(self) -> bool:
        from fsspec.asyn import AsyncFileSystem
        from fsspec.spec import AbstractFileSystem

        cls = type(self._fs)
        if self._fs.async_impl:
            return getattr(cls, "_find", None) is AsyncFileSystem._find
        return cls.find is AbstractFileSystem.find

    def _ask(
        self,
        verb: str,
        name: str,
        method: str,
        *args: Any,
        answers: tuple[type[Exception], ...] = (FileNotFoundError,),
        n_bytes: int = 0,
        **options: Any,
    ) -> Any:
        """What the store says, sooner or later; errors in ``answers`` are answers. All else that
        does not end well is one line."""
        limit_s = self.patience.limit_s + n_bytes / SLOWEST_BYTES_S
        where = f"{self.uri}/{name}".rstrip("/")
        started = time.monotonic()
        try:
            return self._retrying(self._once, method, args, options, limit_s)
        except Exception as failure:
            error = _meant(failure)
            said = f"cannot {verb} {where}: {' '.join(str(error).split()) or repr(error):.300}"
            if is_transient(error):
                n_tries = int(self._retrying.statistics.get("attempt_number", 1))
                raise StoreError(
                    f"{said}; tried {n_tries} times in {time.monotonic() - started:.0f} s. Nothing "
                    "finished was lost: run the same command again when the store answers "
                    f"({TRIES_VARIABLE} and {LIMIT_VARIABLE} set how long to try)"
                ) from None
            is_answer = isinstance(error, answers) and NO_BUCKET not in str(error)
            if is_answer and isinstance(error, FileNotFoundError):
                raise FileNotFoundError(errno.ENOENT, "is not in the store", where) from None
            if is_answer:
                raise
            raise StoreError(
                f"{said}; nothing finished was lost: mend that (address, rights, space), then run "
                "the same command again"
            ) from None

    def _once(
        self, method: str, args: tuple[Any, ...], options: dict[str, Any], limit_s: float
    ) -> Any:
        from fsspec.asyn import sync

        self._fs.invalidate_cache()  # other processes write here too
        coroutine = getattr(self._fs, f"_{method}", None) if self._fs.async_impl else None
        if coroutine is not None:
            try:
                return sync(self._fs.loop, coroutine, *args, timeout=limit_s, **options)
            except TimeoutError:
                raise TimeoutError(f"no answer in {limit_s:.0f} s") from None
        return within(limit_s, lambda: getattr(self._fs, method)(*args, **options))


def within(limit_s: float, ask: Callable[[], Any]) -> Any:
    """What ``ask`` returns, or ``TimeoutError``; a call that hangs is left behind in a thread."""
    answer: list[Any] = []
    failure: list[BaseException] = []

    def run() -> None:
        try:
            answer.append(ask())
        except BaseException as error:
            failure.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(limit_s)
    if failure:
        raise failure[0]
    if not answer:
        raise TimeoutError(f"no answer in {limit_s:.0f} s")
    return answer[0]
