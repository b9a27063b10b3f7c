"""Owns one transfer over HTTP: resumed where it was cut, checked before it counts.

Knows addresses, sizes and hashes; nothing of data sets.
"""

from __future__ import annotations

import email.utils
import hashlib
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from fxpipe.errors import DownloadError
from fxtrain.contract import FxError

CHUNK_BYTES = 1 << 14
"""A cut loses the chunk under way, so chunks are small: slow lines are cut often."""

TIMEOUT_S = (15.0, 60.0)  # to connect, between two packets
MAX_WAIT_S = 120.0
PROGRESS_BYTES = 1 << 20
"""An attempt that brought this much is no failure: the count of retries starts again."""

LARGE_BYTES = 1 << 28
"""Checking a file of this size takes long enough to show a bar."""

RETRY_STATUS = frozenset({408, 425, 429, 500, 502, 503, 504})


@dataclass(frozen=True)
class Wanted:
    """What is known of a file beforehand.

    ``notes``: who said so, by "size", "md5" or "sha256", for the error where it is not so.
    """

    n_bytes: int | None = None
    md5: str | None = None
    sha256: str | None = None
    notes: Mapping[str, str] = field(default_factory=dict)

    @property
    def has_hash(self) -> bool:
        return bool(self.md5 or self.sha256)

    def problem(self, found: Found) -> str:
        """What differs in a file, or ""."""
        for key, value, wanted in (
            ("size", found.n_bytes, self.n_bytes),
            ("md5", found.md5, self.md5),
            ("sha256", found.sha256, self.sha256),
        ):
            if wanted is not None and value != wanted:
                return f"{key} is {value}, expected {wanted}{self.note(key)}"
        return ""

    def note(self, key: str) -> str:
        return f" ({self.notes[key]})" if key in self.notes else ""


@dataclass(frozen=True)
class Found:
    """What a file on disk is."""

    n_bytes: int
    md5: str
    sha256: str


@dataclass(frozen=True)
class Manner:
    """How to go about it: a bar or none, retries without progress, the first wait."""

    progress: bool = True
    retries: int = 5
    backoff_s: float = 1.0


@dataclass(frozen=True)
class _Reply:
    """How one request ended. ``version`` names what its bytes belong to, for If-Range."""

    complete: bool
    reason: str = ""
    wait_s: float | None = None
    version: str | None = None


def fetch_part(
    url: str,
    part: Path,
    name: str,
    wanted: Wanted,
    manner: Manner,
) -> Found:
    """Fill ``part`` until it is whole and right; returns what it is."""
    try:
        part.parent.mkdir(parents=True, exist_ok=True)
        if part.exists() and not wanted.has_hash:
            part.unlink()
        inherited = part.exists()
        while True:
            _transfer(url, part, name, wanted, manner)
            found = look_at(part, progress=manner.progress)
            problem = wanted.problem(found)
            if not problem:
                return found
            part.unlink()
            if not inherited:
                raise DownloadError(
                    f"{name} from {url}: {problem}; the transfer was damaged or the file there "
                    "has changed: try again, and if it stays so, report it"
                )
            inherited = False  # the start may have been of another version: once more, from zero
    except OSError as error:
        raise DownloadError(f"{part}: cannot be written: {error}") from error


def _transfer(
    url: str,
    part: Path,
    name: str,
    wanted: Wanted,
    manner: Manner,
) -> None:
    """Request after request until ``part`` is complete."""
    import requests
    from tqdm import tqdm

    failures = 0
    version: str | None = None
    with tqdm(
        desc=name,
        total=wanted.n_bytes,
        unit="B",
        unit_scale=True,
        disable=None if manner.progress else True,
    ) as bar:
        while True:
            offset = part.stat().st_size if part.exists() else 0
            if wanted.n_bytes is not None and offset == wanted.n_bytes:
                return
            if wanted.n_bytes is not None and offset > wanted.n_bytes:
                part.unlink()
                offset = 0
            if offset and version is None and not wanted.has_hash:
                part.unlink()  # nothing would tell the end of another version from this one's
                offset = 0
            bar.n = offset
            try:
                reply = _request(url, part, name, offset, version, wanted, bar)
            except (
                requests.exceptions.InvalidURL,
                requests.exceptions.MissingSchema,
                requests.exceptions.InvalidSchema,
            ) as error:
                raise DownloadError(f"{name}: {url!r} is no http address: {error}") from error
            except requests.exceptions.TooManyRedirects as error:
                raise DownloadError(
                    f"{name}: {url} sends from address to address without end; "
                    "check it in a browser, or put the archive into the data folder by hand"
                ) from error
            except requests.RequestException as error:
                reply = _Reply(False, _first_line(error), version=version)
            if reply.complete:
                return
            version = reply.version
            now = part.stat().st_size if part.exists() else 0
            failures = 1 if now - offset >= PROGRESS_BYTES else failures + 1
            if failures > manner.retries:
                kept = f"{now} bytes are kept in {part}: the same command goes on from there"
                raise DownloadError(
                    f"{name} from {url}: gave up after {manner.retries} retries ({reply.reason}); "
                    + (kept if now else "nothing came: try the same command later")
                )
            wait_s = (
                manner.backoff_s * 2 ** (failures - 1) if reply.wait_s is None else reply.wait_s
            )
            time.sleep(min(wait_s, MAX_WAIT_S))


def _request(
    url: str, part: Path, name: str, offset: int, version: str | None, wanted: Wanted, bar: Any
) -> _Reply:
    """One request, from ``offset`` on where the server can; appends to ``part``."""
    import requests

    headers = {"Accept-Encoding": "identity"}
    if offset:
        headers["Range"] = f"bytes={offset}-"
        if version:
            headers["If-Range"] = version
    with requests.get(url, headers=headers, stream=True, timeout=TIMEOUT_S) as response:
        status = response.status_code
        if status in RETRY_STATUS:
            return _Reply(False, f"status {status}", _retry_after_s(response.headers), version)
        start, total = _content_range(response.headers.get("Content-Range", ""))
        if status == 416:
            if total != offset:
                part.unlink(missing_ok=True)  # longer than the file there: begin again
            return _Reply(total == offset, f"status 416 at byte {offset}")
        if status not in (200, 206) or (status == 206 and start is None):
            raise DownloadError(
                f"{name}: {url} answered {status} {response.reason}; "
                "check the address in a browser, or put the archive into the data folder by hand"
            )
        if status == 206 and start != offset:
            part.unlink()
            return _Reply(False, f"asked for byte {offset}, got byte {start}")
        if status == 200:  # from the start, asked for or not
            offset, total = 0, _length(response.headers)
        if wanted.n_bytes is not None and total is not None and total != wanted.n_bytes:
            raise DownloadError(
                f"{name}: {url} offers {total} bytes, expected {wanted.n_bytes}"
                f"{wanted.note('size')}: another version or a page in its place; "
                "check the address in a browser"
            )
        bar.total, bar.n = total or wanted.n_bytes, offset
        version = _version(response.headers)
        try:
            _save(response, part, name, offset, bar, wanted.n_bytes)
        except requests.RequestException as error:
            return _Reply(False, _first_line(error), version=version)
    got = part.stat().st_size
    expected = wanted.n_bytes if total is None else total
    if expected is not None and got != expected:
        if got > expected:
            part.unlink()  # no telling which of them are the file's
        return _Reply(False, f"the connection ended at {got} of {expected} bytes", version=version)
    if expected is None and not wanted.has_hash and not _tells_its_end(response.headers):
        raise DownloadError(
            f"{name}: {url} does not say how long it is, and neither size nor hash is known: a "
            "cut could not be told from the end; get it by hand, and state its bytes or md5"
        )
    return _Reply(True)


def _save(response: Any, part: Path, name: str, offset: int, bar: Any, most: int | None) -> None:
    """``most``: bytes of the whole file, where they are known; a server may send without end."""
    is_page = response.headers.get("Content-Type", "").startswith("text/html")
    first = offset == 0
    with part.open("ab" if offset else "wb") as file:
        for chunk in response.iter_content(CHUNK_BYTES):
            if first and (is_page or _looks_like_html(chunk)) and not name.endswith(".html"):
                file.truncate(0)
                raise DownloadError(
                    f"{name}: {response.url} sent a web page, not the file: a log-in, a proxy or "
                    "a notice stands in the way; open the address in a browser"
                )
            first = False
            file.write(chunk)
            bar.update(len(chunk))
            if most is not None and file.tell() > most:
                break
        file.flush()
        os.fsync(file.fileno())


def _looks_like_html(chunk: bytes) -> bool:
    head = chunk[:256].lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    return head.startswith((b"<!doctype html", b"<html"))


def _content_range(value: str) -> tuple[int | None, int | None]:
    """``bytes 5-9/10`` -> (5, 10); ``bytes */10`` -> (None, 10)."""
    span, _, total = value.removeprefix("bytes").strip().partition("/")
    start = span.split("-")[0]
    return _number(start), _number(total)


def _number(text: str) -> int | None:
    """Of the digits 0 to 9, as RFC 9110 has them; a superscript is a digit to Python."""
    return int(text) if text.isascii() and text.isdigit() else None


def _version(headers: Any) -> str | None:
    """A validator that If-Range takes (RFC 9110, 13.1.5): a strong ETag, or a date."""
    etag: str = headers.get("ETag", "")
    return etag if etag.startswith('"') else headers.get("Last-Modified")


def _length(headers: Any) -> int | None:
    encoded = headers.get("Content-Encoding", "identity") != "identity"
    return None if encoded else _number(headers.get("Content-Length", ""))


def _tells_its_end(headers: Any) -> bool:
    """Whether a connection cut short is noticed below us, in the HTTP library."""
    return "Content-Length" in headers or headers.get("Transfer-Encoding", "") == "chunked"


def _retry_after_s(headers: Any) -> float | None:
    """Seconds to wait, from a number or an HTTP date; None where the server names none."""
    value = headers.get("Retry-After", "")
    if (seconds := _number(value)) is not None:
        return float(seconds)
    try:
        when = email.utils.parsedate_to_datetime(value)
    except ValueError:
        return None
    if when.tzinfo is None:  # "-0000": a time in UTC of unknown origin
        when = when.replace(tzinfo=UTC)
    return max(0.0, (when - datetime.now(UTC)).total_seconds())


def look_at(path: Path, *, progress: bool = False) -> Found:
    """Size and hashes of a file. OSError where it cannot be read."""
    from tqdm import tqdm

    md5, sha256 = hashlib.md5(usedforsecurity=False), hashlib.sha256()
    n_bytes = path.stat().st_size
    with (
        path.open("rb") as file,
        tqdm(
            desc=f"check {path.name}",
            total=n_bytes,
            unit="B",
            unit_scale=True,
            leave=False,
            disable=None if progress and n_bytes >= LARGE_BYTES else True,
        ) as bar,
    ):
        n_bytes = 0
        while chunk := file.read(1 << 20):
            md5.update(chunk)
            sha256.update(chunk)
            n_bytes += len(chunk)
            bar.update(len(chunk))
    return Found(n_bytes, md5.hexdigest(), sha256.hexdigest())


def _first_line(error: BaseException) -> str:
    """The cause at the bottom: requests and urllib3 wrap "name not known" three times over.

    Our own errors are no cause: a fetch may begin because a data set was found to be missing.
    """
    while (below := error.__cause__ or error.__context__) and not isinstance(below, FxError):
        error = below
    return (str(error).splitlines() or [""])[0] or type(error).__name__
