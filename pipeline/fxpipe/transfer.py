"""Owns one transfer over HTTP: resumed where it was cut, checked before it counts.

Knows addresses, sizes and hashes; nothing of data sets.
"""

from __future__ import annotations

import email.utils
import hashlib
import os
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from fxpipe.errors import DownloadError

CHUNK_BYTES = 1 << 14
"""A cut loses the chunk under way, so chunks are small: slow lines are cut often."""

TIMEOUT_S = (15.0, 60.0)  # to connect, between two packets
MAX_WAIT_S = 120.0
PROGRESS_BYTES = 1 << 20
"""An attempt that brought this much is no failure: the count of retries starts again."""

RETRY_STATUS = frozenset({408, 425, 429, 500, 502, 503, 504})


@dataclass(frozen=True)
class Wanted:
    """What is known of a file beforehand."""

    n_bytes: int | None
    md5: str | None
    sha256: str | None

    @property
    def has_hash(self) -> bool:
        return bool(self.md5 or self.sha256)


@dataclass(frozen=True)
class Manner:
    """How to go about it: a bar or none, retries without progress, the first wait."""

    progress: bool = True
    retries: int = 5
    backoff_s: float = 1.0


@dataclass(frozen=True)
class _Reply:
    """How one request ended. ``etag`` names the version its bytes belong to."""

    complete: bool
    reason: str = ""
    wait_s: float | None = None
    etag: str | None = None


def fetch_part(
    url: str,
    part: Path,
    name: str,
    wanted: Wanted,
    manner: Manner,
) -> str:
    """Fill ``part`` until it is whole and right; returns its sha256."""
    try:
        part.parent.mkdir(parents=True, exist_ok=True)
        if part.exists() and not wanted.has_hash:
            part.unlink()
        inherited = part.exists()
        while True:
            _transfer(url, part, name, wanted, manner)
            problem, digest = verify(part, wanted)
            if not problem:
                return digest
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
    etag: str | None = None
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
            bar.n = offset
            try:
                reply = _request(url, part, name, offset, etag, wanted, bar)
            except (
                requests.exceptions.InvalidURL,
                requests.exceptions.MissingSchema,
                requests.exceptions.InvalidSchema,
            ) as error:
                raise DownloadError(f"{name}: {url!r} is no http address: {error}") from error
            except requests.RequestException as error:
                reply = _Reply(False, _first_line(error), etag=etag)
            if reply.complete:
                return
            etag = reply.etag
            now = part.stat().st_size if part.exists() else 0
            failures = 1 if now - offset >= PROGRESS_BYTES else failures + 1
            if failures > manner.retries:
                raise DownloadError(
                    f"{name} from {url}: gave up after {manner.retries} retries ({reply.reason}); "
                    f"{now} bytes are kept in {part}: the same command goes on from there"
                )
            wait_s = (
                manner.backoff_s * 2 ** (failures - 1) if reply.wait_s is None else reply.wait_s
            )
            time.sleep(min(wait_s, MAX_WAIT_S))


def _request(
    url: str, part: Path, name: str, offset: int, etag: str | None, wanted: Wanted, bar: Any
) -> _Reply:
    """One request, from ``offset`` on where the server can; appends to ``part``."""
    import requests

    headers = {"Accept-Encoding": "identity"}
    if offset:
        headers["Range"] = f"bytes={offset}-"
        if etag:
            headers["If-Range"] = etag
    with requests.get(url, headers=headers, stream=True, timeout=TIMEOUT_S) as response:
        status = response.status_code
        if status in RETRY_STATUS:
            return _Reply(False, f"status {status}", _retry_after_s(response.headers), etag)
        start, total = _content_range(response.headers.get("Content-Range", ""))
        if status == 416:
            if total != offset:
                part.unlink()  # longer than the file there: begin again
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
                f"{name}: {url} offers {total} bytes, expected {wanted.n_bytes}: another version "
                "or a page in its place; check the address in a browser"
            )
        bar.total, bar.n = total or wanted.n_bytes, offset
        new_etag = response.headers.get("ETag", "")
        etag = new_etag if new_etag.startswith('"') else None
        try:
            _save(response, part, name, offset, bar)
        except requests.RequestException as error:
            return _Reply(False, _first_line(error), etag=etag)
    got = part.stat().st_size
    expected = wanted.n_bytes if total is None else total
    if expected is not None and got < expected:
        return _Reply(False, f"the connection ended at {got} of {expected} bytes", etag=etag)
    return _Reply(True, etag=etag)


def _save(response: Any, part: Path, name: str, offset: int, bar: Any) -> None:
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
        file.flush()
        os.fsync(file.fileno())


def _looks_like_html(chunk: bytes) -> bool:
    head = chunk[:256].lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    return head.startswith((b"<!doctype html", b"<html"))


def _content_range(value: str) -> tuple[int | None, int | None]:
    """``bytes 5-9/10`` -> (5, 10); ``bytes */10`` -> (None, 10)."""
    span, _, total = value.removeprefix("bytes").strip().partition("/")
    start = span.split("-")[0]
    return (int(start) if start.isdigit() else None, int(total) if total.isdigit() else None)


def _length(headers: Any) -> int | None:
    value = headers.get("Content-Length", "")
    encoded = headers.get("Content-Encoding", "identity") != "identity"
    return int(value) if value.isdigit() and not encoded else None


def _retry_after_s(headers: Any) -> float | None:
    """Seconds to wait, from a number or an HTTP date; None where the server names none."""
    value = headers.get("Retry-After", "")
    if value.isdigit():
        return float(value)
    try:
        when = email.utils.parsedate_to_datetime(value)
    except ValueError:
        return None
    if when.tzinfo is None:  # "-0000": a time in UTC of unknown origin
        when = when.replace(tzinfo=UTC)
    return max(0.0, (when - datetime.now(UTC)).total_seconds())


def verify(path: Path, wanted: Wanted) -> tuple[str, str]:
    """(what is wrong or "", sha256 of the file)."""
    md5, sha256 = hashlib.md5(usedforsecurity=False), hashlib.sha256()
    n_bytes = 0
    with path.open("rb") as file:
        while chunk := file.read(1 << 20):
            md5.update(chunk)
            sha256.update(chunk)
            n_bytes += len(chunk)
    digest = sha256.hexdigest()
    found = {"size": n_bytes, "md5": md5.hexdigest(), "sha256": digest}
    for key, value in (("size", wanted.n_bytes), ("md5", wanted.md5), ("sha256", wanted.sha256)):
        if value is not None and found[key] != value:
            return f"{key} is {found[key]}, expected {value}", digest
    return "", digest


def _first_line(error: BaseException) -> str:
    """The cause at the bottom: requests and urllib3 wrap "name not known" three times over."""
    while error.__cause__ or error.__context__:
        error = error.__cause__ or error.__context__ or error
    return (str(error).splitlines() or [""])[0] or type(error).__name__
