"""Owns unpacking an archive from elsewhere without trusting it. Knows nothing of data sets."""

from __future__ import annotations

import lzma
import shutil
import stat
import struct
import unicodedata
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path, PurePosixPath

from fxpipe.errors import DownloadError
from fxpipe.sources.scan import is_junk, with_progress

MAX_MEMBERS = 500_000
MAX_RATIO = 200
RATIO_FROM_BYTES = 50_000_000
"""Audio hardly shrinks: a member of this size or more that shrank beyond the ratio is a trap."""

SPARE_BYTES = 100_000_000
UNSOUND = (
    *(zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, NotImplementedError),
    *(ValueError, OverflowError, MemoryError, struct.error, RuntimeError),
)
"""What zipfile and its decompressors raise for bytes that are no archive."""

_SPECIAL = (stat.S_IFLNK, stat.S_IFIFO, stat.S_IFSOCK, stat.S_IFBLK, stat.S_IFCHR)


def unzip(
    archive: Path, into: Path, wanted: Callable[[str], bool], *, progress: bool = False
) -> list[Path]:
    """Unpack the members ``wanted`` says yes to, given their posix path; returns their paths.

    The whole list is checked before the first byte is written: no path may leave ``into``, no
    links, no encryption, no two names that are one on another file system, no absurd sizes, and
    the disk must hold it. What macOS adds (``__MACOSX``, ``._*``, ``.DS_Store``) is passed over.
    Raises DownloadError; what was written until then stays, so unpack into a temporary folder.
    """
    try:
        with zipfile.ZipFile(archive) as bundle:
            members = [info for info in _checked(bundle, archive) if wanted(info.filename)]
            if not members:
                raise DownloadError(
                    f"{archive}: none of its {len(bundle.infolist())} members is wanted here; "
                    "is it the archive of another data set, or of another version?"
                )
            _check_clashes(members, archive)
            total = sum(info.file_size for info in members)
            if total > max(RATIO_FROM_BYTES, MAX_RATIO * archive.stat().st_size):
                raise DownloadError(
                    f"{archive}: its members claim {total} bytes, more than {MAX_RATIO} times "
                    "its own; not unpacked: get the archive from its own page again"
                )
            into.mkdir(parents=True, exist_ok=True)
            need_space(into, total, f"unpacking {archive.name}")
            written = []
            for info in with_progress(members, f"unpack {archive.name}", progress):
                target = into / info.filename
                target.parent.mkdir(parents=True, exist_ok=True)
                with bundle.open(info) as source, target.open("xb") as file:
                    shutil.copyfileobj(source, file, 1 << 20)
                written.append(target)
            return written
    except UNSOUND as error:
        raise DownloadError(
            f"{archive}: not a sound zip archive ({error}); delete it and fetch again"
        ) from error
    except OSError as error:
        raise DownloadError(f"{archive}: cannot be unpacked into {into}: {error}") from error


def need_space(folder: Path, n_bytes: int, what: str) -> None:
    """DownloadError where the disk of ``folder`` has no room for ``n_bytes`` and some to spare."""
    existing = next(path for path in (folder, *folder.parents) if path.exists())
    free = shutil.disk_usage(existing).free
    if free < n_bytes + SPARE_BYTES:
        raise DownloadError(
            f"{what} needs {n_bytes / 1e9:.2f} GB, but {existing} has {free / 1e9:.2f} GB free: "
            "make room, or name another disk with --data-dir"
        )


def _checked(bundle: zipfile.ZipFile, archive: Path) -> list[zipfile.ZipInfo]:
    members = []
    infos = bundle.infolist()
    if len(infos) > MAX_MEMBERS:
        raise DownloadError(f"{archive}: {len(infos)} members, more than any data set here has")
    for info in infos:
        parts = PurePosixPath(info.filename).parts
        reason = _danger(info, parts)
        if reason:
            raise DownloadError(
                f"{archive}: member {info.filename!r} {reason}; not unpacked: "
                "get the archive from its own page again"
            )
        if not info.is_dir() and not any(is_junk(part) for part in parts):
            members.append(info)
    return members


def _danger(info: zipfile.ZipInfo, parts: tuple[str, ...]) -> str:
    if not parts or parts[0] == "/" or ".." in parts or ":" in parts[0] or "\\" in info.filename:
        return "would be written outside the folder"
    if stat.S_IFMT(info.external_attr >> 16) in _SPECIAL:
        return "is a link or a device"
    if info.flag_bits & 0x1:
        return "is encrypted"
    if info.file_size >= RATIO_FROM_BYTES and info.file_size > MAX_RATIO * max(
        1, info.compress_size
    ):
        return f"grows from {info.compress_size} to {info.file_size} bytes"
    return ""


def _check_clashes(members: list[zipfile.ZipInfo], archive: Path) -> None:
    seen: dict[str, str] = {}
    for info in members:
        key = unicodedata.normalize("NFC", info.filename).casefold()
        if key in seen:
            raise DownloadError(
                f"{archive}: members {seen[key]!r} and {info.filename!r} would be one file on "
                "some disks; not unpacked: get the archive from its own page again"
            )
        seen[key] = info.filename
