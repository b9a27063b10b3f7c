"""A directory of named files, on disk or behind a URI, with whole-or-nothing writes.

What is behind a URI is loaded only when there is one, and google_crc32c (5 ms) only when a file is
written or compared; the rest is the standard library.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import re
import socket
import time
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO, Protocol

from fxtrain.contract.errors import FxError, UnwrittenError, UsageError
from fxtrain.contract.schema import FileEntry

PART = re.compile(r"\.(?P<pid>\d+)(?:@(?P<host>[^@/]*))?\.part$")
"""What a file is called until it is whole: behind its name, which process of which machine."""

CUT_URI = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:/(?:/*$|[^/])")
"""A scheme and one slash, as pathlib makes of two, or nothing behind them: what is written there
would lie in a folder of that name. A drive of Windows has one letter."""

STALE_S = 3600.0
"""No file takes an hour to write: an older half of one has no writer, on whatever machine."""


NO_SPACE = (errno.ENOSPC, errno.EDQUOT)


class Folder(Protocol):
    """Names are relative and use ``/``. ``write`` leaves either the whole file or none."""

    uri: str
    at_once: int
    """How many small files to ask for at a time."""

    def read(self, name: str, n_bytes: int | None = None) -> bytes:
        """FileNotFoundError where there is no such file. ``n_bytes``: how many it should have; of
        a longer one, that many and one more are enough."""

    def open(self, name: str) -> BinaryIO: ...

    def size(self, name: str) -> int | None:
        """Bytes, or None where there is no such file."""

    def sizes(self, names: Sequence[str]) -> list[int | None]:
        """``size`` of each, by as few questions as it takes."""

    def write(self, name: str, data: bytes | bytearray) -> FileEntry: ...

    def delete(self, name: str) -> None: ...

    def names(self) -> list[str]:
        """Every file below, sorted; half-written ones are left out."""

    def sweep(self) -> list[str]:
        """Delete half-written files whose writer is no more; returns their names."""


def open_folder(uri: str | os.PathLike[str]) -> Folder:
    """A local path, or any fsspec URI such as ``s3://bucket/shards``."""
    text = os.fspath(uri)
    if not text or CUT_URI.match(text):
        raise UsageError(
            f"{text!r} is no directory; give a path, or a URI such as s3://bucket/shards"
        )
    if text.startswith("~/"):  # which the shell leaves as it is behind an = sign
        return LocalFolder(at_home(text))
    if "://" not in text:
        return LocalFolder(text)
    if text.startswith("file://"):
        return LocalFolder(text.removeprefix("file://"))
    from fxtrain.contract.remote import RemoteFolder

    return RemoteFolder(text)


def at_home(path: str | os.PathLike[str]) -> Path:
    """``path`` with a home in place of its ~, as a shell has it where it knows that home."""
    try:
        return Path(path).expanduser()
    except RuntimeError:
        raise UsageError(
            f"{os.fspath(path)}: no such home directory is known here; set HOME to a folder that "
            "can be written, or give the path without ~"
        ) from None


def file_entry(name: str, data: bytes | bytearray) -> FileEntry:
    return FileEntry(name, len(data), hashlib.sha256(data).hexdigest(), crc32c(data))


def crc32c(data: bytes | bytearray) -> str:
    """Castagnoli's CRC as eight hexadecimal digits: five times as quick as sha256, and as sure to
    tell damage, though not intent. Source: RFC 3720, 12.1."""
    import google_crc32c

    return f"{google_crc32c.value(bytes(data)):08x}"


def cannot_write(path: str | os.PathLike[str], error: OSError) -> UnwrittenError:
    """What to tell where the system let nothing be written, and what to do about it."""
    mend = "make the directory writable or choose another"
    if error.errno in NO_SPACE:
        mend = "free some space or choose another directory"
    elif error.errno == errno.EFBIG:
        mend = "allow larger files (ulimit -f) or choose another directory"
    elif error.errno in (errno.EEXIST, errno.ENOTDIR):
        mend = f"{_in_the_way(Path(path))} is in the way: choose another directory"
    problem = f"cannot write {os.fspath(path)}: {error.strerror or error}"
    found = UnwrittenError(
        f"{problem}; nothing finished was lost: {mend}, then run the same command again"
    )
    found.problem = problem
    return found


def _in_the_way(path: Path) -> str:
    """What there is no directory below, of those above ``path``."""
    for place in (*reversed(path.parents), path):
        if not place.is_dir() and os.path.lexists(place):
            return f"{place}, a file or a broken link,"
    return "a file or a broken link"


class LocalFolder:
    at_once = 4

    def __init__(self, path: str | os.PathLike[str]) -> None:
        """``path`` stays as it was given, for what is told; ``root`` is where that was, whatever
        directory this process goes to afterwards."""
        self.path = Path(path)
        self.root = self.path.absolute()
        self.uri = str(path).rstrip("/") or "/"

    def read(self, name: str, n_bytes: int | None = None) -> bytes:
        with self.open(name) as file:
            return file.read(-1 if n_bytes is None else n_bytes + 1)

    def open(self, name: str) -> BinaryIO:
        target = self.root / name
        if not target.is_file():  # a pipe would be waited for, for ever
            said = "not a file" if target.exists() else os.strerror(errno.ENOENT)
            raise FileNotFoundError(errno.ENOENT, said, str(target))
        return target.open("rb")

    def size(self, name: str) -> int | None:
        target = self.root / name
        return target.stat().st_size if target.is_file() else None

    def sizes(self, names: Sequence[str]) -> list[int | None]:
        return [self.size(name) for name in names]

    def write(self, name: str, data: bytes | bytearray) -> FileEntry:
        target = self.root / name
        part = target.with_name(f"{target.name}.{os.getpid()}@{_host()}.part")
        try:
            self.stays_inside(name)
            target.parent.mkdir(parents=True, exist_ok=True)
            _write_whole(part, data)
            try:
                part.replace(target)
            except FileNotFoundError:  # swept by a machine that thought us dead
                _write_whole(part, data)
                part.replace(target)
        except OSError as error:
            with contextlib.suppress(OSError):
                part.unlink(missing_ok=True)
            raise cannot_write(self.path / name, error) from None
        return file_entry(name, data)

    def stays_inside(self, name: str) -> None:
        """A link in somebody's data set must not carry what is written here to another place."""
        parent = (self.root / name).parent
        if parent == self.root:
            return
        real = Path(os.path.realpath(parent))  # also of a link to itself
        if not real.is_relative_to(os.path.realpath(self.root)):
            raise FxError(
                f"cannot write {self.path / name}: a link leads out of {self.path}, to {real}; "
                "remove the link, or choose another directory"
            )

    def delete(self, name: str) -> None:
        try:
            (self.root / name).unlink()
        except (FileNotFoundError, NotADirectoryError):
            pass
        except OSError as error:
            raise FxError(
                f"cannot delete {self.path / name}: {error.strerror or error}; make the directory "
                "writable or choose another, then run the same command again"
            ) from None

    def names(self) -> list[str]:
        found: list[str] = []
        folders = [("", os.fspath(self.root))]
        while folders:  # at 10^5 files a few times as fast as rglob
            inside, path = folders.pop()
            for entry in _listed(path, is_first=not inside):
                name = inside + entry.name
                if entry.is_dir(follow_symlinks=False):
                    folders.append((f"{name}/", entry.path))
                elif not name.endswith(".part") and _is_file(entry):
                    found.append(name)
        return sorted(found)

    def sweep(self) -> list[str]:
        swept = []
        for part in sorted(self.root.rglob("*.part")):
            named = PART.search(part.name)
            if named is None:
                continue  # another program's
            with contextlib.suppress(OSError):
                old = time.time() - part.stat().st_mtime > STALE_S
                if old or (named["host"] == _host() and not _is_alive(int(named["pid"]))):
                    part.unlink()
                    swept.append(part.relative_to(self.root).as_posix())
        return swept


def _listed(path: str, *, is_first: bool) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(path) as entries:
            return list(entries)
    except OSError as error:
        if not is_empty(error, is_first=is_first):
            raise
        return []


def is_empty(error: OSError, *, is_first: bool) -> bool:
    """Whether a directory whose listing failed so holds nothing of ours: it is not there, or it is
    a closed one below the first, as a disk's lost+found. What else cannot be listed is not empty.
    """
    is_gone = isinstance(error, FileNotFoundError | NotADirectoryError)
    return is_gone or (isinstance(error, PermissionError) and not is_first)


def _is_file(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_file()
    except OSError:  # a link to itself, or to where nobody may look
        return False


def _write_whole(part: Path, data: bytes | bytearray) -> None:
    with part.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def _host() -> str:
    return re.sub(r"[^\w.-]", "_", socket.gethostname())


def _is_alive(pid: int) -> bool:
    """A process of this machine; one that is dead and only waits to be counted is not alive."""
    if os.name != "posix":
        return True  # asking would end it
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (OSError, IndexError):
        return True
    return state not in ("Z", "X")
