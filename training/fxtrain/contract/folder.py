"""A directory of named files, on disk or behind an fsspec URI, with whole-or-nothing writes.

fsspec is loaded only when a URI has a scheme; everything else here is the standard library.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
from pathlib import Path
from typing import Any, BinaryIO, Protocol, cast

from fxtrain.contract.errors import FxError, MissingExtraError
from fxtrain.contract.schema import FileEntry


class Folder(Protocol):
    """Names are relative and use ``/``. ``write`` leaves either the whole file or none."""

    uri: str

    def read(self, name: str) -> bytes: ...

    def open(self, name: str) -> BinaryIO: ...

    def size(self, name: str) -> int | None:
        """Bytes, or None where there is no such file."""

    def write(self, name: str, data: bytes | bytearray) -> FileEntry: ...

    def delete(self, name: str) -> None: ...

    def names(self) -> list[str]:
        """Every file below, sorted; half-written ones are left out."""


def open_folder(uri: str | os.PathLike[str]) -> Folder:
    """A local path, or any fsspec URI such as ``s3://bucket/shards``."""
    text = os.fspath(uri)
    return RemoteFolder(text) if "://" in text else LocalFolder(text)


def file_entry(name: str, data: bytes | bytearray) -> FileEntry:
    return FileEntry(name, len(data), hashlib.sha256(data).hexdigest())


class LocalFolder:
    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        self.uri = str(path)

    def read(self, name: str) -> bytes:
        return (self.path / name).read_bytes()

    def open(self, name: str) -> BinaryIO:
        return (self.path / name).open("rb")

    def size(self, name: str) -> int | None:
        target = self.path / name
        return target.stat().st_size if target.is_file() else None

    def write(self, name: str, data: bytes | bytearray) -> FileEntry:
        target = self.path / name
        part = target.with_name(f"{target.name}.{os.getpid()}.part")
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            self._stays_inside(target)
            with part.open("wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            part.replace(target)
        except OSError as error:
            with contextlib.suppress(OSError):
                part.unlink(missing_ok=True)
            raise FxError(
                f"cannot write {target}: {error.strerror or error}; nothing finished was lost: "
                "free some space or choose another directory, then run the same command again"
            ) from None
        return file_entry(name, data)

    def _stays_inside(self, target: Path) -> None:
        """A link in somebody's data set must not carry what is written here to another place."""
        if target.parent == self.path:
            return
        real = target.parent.resolve()
        if not real.is_relative_to(self.path.resolve()):
            raise FxError(
                f"cannot write {target}: a link leads out of {self.path}, to {real}; remove the "
                "link, or choose another directory"
            )

    def delete(self, name: str) -> None:
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):
            (self.path / name).unlink()

    def names(self) -> list[str]:
        found = (p for p in self.path.rglob("*") if p.is_file() and p.suffix != ".part")
        return sorted(p.relative_to(self.path).as_posix() for p in found)


class RemoteFolder:
    """One object a file: object stores put an object whole or not at all."""

    def __init__(self, uri: str) -> None:
        try:
            import fsspec
        except ImportError:
            raise MissingExtraError(
                f"{uri}: remote storage needs fsspec: pip install fsspec"
            ) from None
        self.uri = uri.rstrip("/")
        try:
            fs, self._root = fsspec.core.url_to_fs(self.uri)
        except (ImportError, ValueError) as error:
            raise MissingExtraError(f"{uri}: {error}") from None
        self._fs: Any = fs

    def _at(self, name: str) -> str:
        return f"{self._root}/{name}"

    def read(self, name: str) -> bytes:
        return cast(bytes, self._fs.cat_file(self._at(name)))

    def open(self, name: str) -> BinaryIO:
        return cast(BinaryIO, self._fs.open(self._at(name), "rb"))

    def size(self, name: str) -> int | None:
        try:
            return int(self._fs.info(self._at(name))["size"])
        except FileNotFoundError:
            return None

    def write(self, name: str, data: bytes | bytearray) -> FileEntry:
        try:
            self._fs.makedirs(self._at(name).rsplit("/", 1)[0], exist_ok=True)
            self._fs.pipe_file(self._at(name), bytes(data))
        except OSError as error:
            raise FxError(
                f"cannot write {self.uri}/{name}: {error}; run the same command again"
            ) from None
        return file_entry(name, data)

    def delete(self, name: str) -> None:
        with contextlib.suppress(FileNotFoundError):
            self._fs.rm_file(self._at(name))

    def names(self) -> list[str]:
        prefix = self._root.rstrip("/") + "/"
        return sorted(str(path).removeprefix(prefix) for path in self._fs.find(self._root))
