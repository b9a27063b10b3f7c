"""One transfer from a server on the loopback that misbehaves on request."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from fixtures.http import (
    DATA,
    MD5,
    SHA256,
    Handler,
    Server,
    cut,
    cut_at,
    redirect,
    running_server,
    status,
    with_body,
    without_end,
)
from fxpipe.errors import DownloadError, SourceError
from fxpipe.fetch import transfer
from fxpipe.fetch.download import ResumingDownloader, download
from fxpipe.fetch.transfer import Manner, Wanted

CHUNK = transfer.CHUNK_BYTES
QUICK = {"progress": False, "backoff_s": 0.0}


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with running_server() as running:
        yield running


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "new" / "file.zip"


def leftovers(target: Path) -> list[str]:
    return sorted(path.name for path in target.parent.iterdir())


def test_a_file_arrives_whole_and_alone(server: Server, target: Path) -> None:
    digest = download(f"{server.url}/file.zip", target, sha256=SHA256, md5=MD5, **QUICK)
    assert digest == SHA256
    assert target.read_bytes() == DATA
    assert leftovers(target) == ["file.zip"]


def test_a_cut_transfer_goes_on_where_it_stopped(server: Server, target: Path) -> None:
    server.plan = [cut(CHUNK), cut(2 * CHUNK + 50)]
    download(f"{server.url}/file.zip", target, md5=MD5, **QUICK)
    assert target.read_bytes() == DATA
    assert server.ranges == [None, f"bytes={CHUNK}-", f"bytes={3 * CHUNK}-"]


@pytest.mark.parametrize("seed", range(3))
def test_ten_cuts_at_random_bytes_and_it_finishes(seed: int, server: Server, target: Path) -> None:
    positions = sorted(random.Random(seed).sample(range(len(DATA)), 10))
    server.plan = [cut_at(position) for position in positions]
    download(f"{server.url}/file.zip", target, sha256=SHA256, retries=10, **QUICK)
    assert target.read_bytes() == DATA
    assert leftovers(target) == ["file.zip"]
    assert len(server.ranges) == 11
    assert server.n_sent < len(DATA) + 10 * CHUNK  # a cut costs less than a chunk


def test_a_cut_is_seen_without_any_hash(server: Server, target: Path) -> None:
    server.plan = [cut(CHUNK)]
    assert download(f"{server.url}/file.zip", target, **QUICK) == SHA256


@pytest.mark.parametrize(
    ("headers", "goes_on"),
    [
        ({}, False),
        ({"ETag": 'W/"weak"'}, False),
        ({"Last-Modified": "Wed, 01 Jan 2020 00:00:00 GMT"}, True),
    ],
)
def test_without_any_hash_only_the_same_version_is_gone_on_with(
    headers: dict[str, str], goes_on: bool, server: Server, target: Path
) -> None:
    server.plan = [cut(CHUNK, headers=headers)]
    assert download(f"{server.url}/file.zip", target, **QUICK) == SHA256
    assert server.ranges == [None, f"bytes={CHUNK}-" if goes_on else None]


def test_an_end_that_cannot_be_told_from_a_cut_is_refused(server: Server, target: Path) -> None:
    url = f"{server.url}/file.zip"
    server.plan = [without_end(CHUNK), without_end(CHUNK), without_end(len(DATA))]
    with pytest.raises(DownloadError, match="does not say how long it is"):
        download(url, target, **QUICK)
    assert not target.exists()
    download(url, target, n_bytes=len(DATA), **QUICK)  # the size tells the cut
    target.unlink()
    server.plan = [without_end(len(DATA))]
    download(url, target, md5=MD5, **QUICK)


def beyond_its_range(handler: Handler, body: bytes) -> None:
    """The rest of the file as asked for, and more; no length told."""
    start = int(handler.headers["Range"][6:-1])
    handler.send_response(206)
    handler.send_header("Content-Range", f"bytes {start}-{len(body) - 1}/{len(body)}")
    handler.send_header("ETag", '"v1"')
    handler.end_headers()
    handler.wfile.write(body[start:] + b"more")
    handler.close_connection = True


def test_more_bytes_than_were_told_are_not_kept(server: Server, target: Path) -> None:
    server.plan = [cut(CHUNK), beyond_its_range]
    assert download(f"{server.url}/file.zip", target, **QUICK) == SHA256
    assert server.ranges == [None, f"bytes={CHUNK}-", None]


def test_after_giving_up_the_same_command_goes_on(server: Server, target: Path) -> None:
    server.plan = [cut(CHUNK), cut(0), cut(0)]
    url = f"{server.url}/file.zip"
    with pytest.raises(DownloadError, match=rf"gave up after 2 retries.*{CHUNK} bytes are kept"):
        download(url, target, md5=MD5, retries=2, **QUICK)
    assert leftovers(target) == ["file.zip.part"]
    download(url, target, md5=MD5, **QUICK)
    assert server.ranges[-1] == f"bytes={CHUNK}-"
    assert target.read_bytes() == DATA


def test_progress_starts_the_count_of_retries_again(
    server: Server, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transfer, "PROGRESS_BYTES", CHUNK)
    server.plan = [cut(CHUNK)] * 5
    download(f"{server.url}/file.zip", target, md5=MD5, retries=1, **QUICK)
    assert len(server.ranges) == 6


def test_an_old_part_is_not_trusted_without_a_hash(server: Server, target: Path) -> None:
    target.parent.mkdir()
    target.with_name("file.zip.part").write_bytes(b"x" * 500)
    download(f"{server.url}/file.zip", target, **QUICK)
    assert server.ranges == [None]
    assert target.read_bytes() == DATA


def test_an_old_part_of_another_version_costs_one_restart(server: Server, target: Path) -> None:
    target.parent.mkdir()
    target.with_name("file.zip.part").write_bytes(b"x" * 500)
    download(f"{server.url}/file.zip", target, sha256=SHA256, **QUICK)
    assert server.ranges == ["bytes=500-", None]
    assert target.read_bytes() == DATA


def test_a_part_that_was_whole_already_is_only_checked(server: Server, target: Path) -> None:
    target.parent.mkdir()
    target.with_name("file.zip.part").write_bytes(DATA)
    download(f"{server.url}/file.zip", target, sha256=SHA256, **QUICK)  # answered with 416
    target.rename(target.with_name("file.zip.part"))
    download(f"{server.url}/file.zip", target, md5=MD5, n_bytes=len(DATA), **QUICK)
    assert server.ranges == [f"bytes={len(DATA)}-"]


def test_a_part_longer_than_the_file_is_thrown_away(server: Server, target: Path) -> None:
    target.parent.mkdir()
    for n_bytes in (None, len(DATA)):
        target.with_name("file.zip.part").write_bytes(DATA + b"more")
        download(f"{server.url}/file.zip", target, sha256=SHA256, n_bytes=n_bytes, **QUICK)
        assert target.read_bytes() == DATA
        target.unlink()


def test_a_server_without_ranges_starts_again(server: Server, target: Path) -> None:
    whole = cut(len(DATA), ranges=False)
    server.plan = [cut(CHUNK, ranges=False), whole]
    download(f"{server.url}/file.zip", target, md5=MD5, **QUICK)
    assert server.ranges == [None, f"bytes={CHUNK}-"]
    assert target.read_bytes() == DATA


def test_a_range_that_starts_elsewhere_is_not_joined(server: Server, target: Path) -> None:
    def wrong_place(handler: Handler, body: bytes) -> None:
        status(206, Content_Range=f"bytes 7-9/{len(body)}", Content_Length="0")(handler, body)

    server.plan = [cut(CHUNK), wrong_place]
    download(f"{server.url}/file.zip", target, md5=MD5, **QUICK)
    assert server.ranges == [None, f"bytes={CHUNK}-", None]
    assert target.read_bytes() == DATA


@pytest.mark.parametrize("kind", ["md5", "sha256"])
def test_one_wrong_byte_is_refused_and_nothing_kept(
    kind: str, server: Server, target: Path
) -> None:
    server.files["file.zip"] = DATA[:-1] + b"?"
    expected = {"md5": MD5, "sha256": SHA256}[kind]
    with pytest.raises(DownloadError, match=rf"{kind} is [0-9a-f]+, expected {expected}") as caught:
        download(f"{server.url}/file.zip", target, **{kind: expected}, **QUICK)
    assert "\n" not in str(caught.value)
    assert leftovers(target) == []


def test_a_file_of_another_size_is_refused_before_it_is_read(server: Server, target: Path) -> None:
    server.files["file.zip"] = DATA[:-10]
    with pytest.raises(DownloadError, match=r"offers 102390 bytes, expected 102400"):
        download(f"{server.url}/file.zip", target, n_bytes=len(DATA), **QUICK)
    assert leftovers(target) == []


@pytest.mark.parametrize("content_type", ["text/html; charset=utf-8", "application/zip"])
def test_a_web_page_is_no_archive(content_type: str, server: Server, target: Path) -> None:
    page = b"\n<!DOCTYPE html><html>log in</html>"
    server.plan = [with_body(page, content_type=content_type)]
    with pytest.raises(DownloadError, match="sent a web page, not the file"):
        download(f"{server.url}/file.zip", target, **QUICK)
    assert not target.exists()
    download(f"{server.url}/file.zip", target, md5=MD5, **QUICK)
    assert target.read_bytes() == DATA


@pytest.mark.parametrize("wait", ["0", "Wed, 01 Jan 2020 00:00:00 -0000"])
def test_a_busy_server_is_asked_again_when_it_says(
    wait: str, server: Server, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    waits: list[float] = []
    monkeypatch.setattr(transfer.time, "sleep", waits.append)
    server.plan = [status(503, Retry_After=wait), status(429, Retry_After="7"), status(500)]
    download(f"{server.url}/file.zip", target, md5=MD5, progress=False, backoff_s=1.5)
    assert waits == [0.0, 7.0, 6.0]  # what it asks for; then the third step of 1.5, 3, 6


def test_a_server_that_stays_busy_is_given_up(server: Server, target: Path) -> None:
    server.plan = [status(503, Retry_After="0")] * 3
    with pytest.raises(DownloadError, match=r"gave up after 2 retries \(status 503\)"):
        download(f"{server.url}/file.zip", target, retries=2, **QUICK)


def test_a_missing_file_is_not_asked_for_twice(server: Server, target: Path) -> None:
    with pytest.raises(DownloadError, match="answered 404"):
        download(f"{server.url}/nothing.zip", target, **QUICK)
    assert len(server.ranges) == 1


def test_a_redirect_is_followed_and_resumed_behind(server: Server, target: Path) -> None:
    server.sends_to = {"records/7/file.zip": f"{server.url}/file.zip"}
    server.plan = [cut(CHUNK)]
    download(f"{server.url}/records/7/file.zip", target, **QUICK)
    assert target.read_bytes() == DATA
    assert server.ranges == [None, None, f"bytes={CHUNK}-", f"bytes={CHUNK}-"]


def test_a_redirect_to_another_host_is_followed(server: Server, target: Path) -> None:
    with running_server() as other:
        server.plan = [redirect(f"{other.url}/file.zip")] * 2
        other.plan = [cut(2 * CHUNK)]
        download(f"{server.url}/file.zip", target, sha256=SHA256, **QUICK)
        assert other.ranges == [None, f"bytes={2 * CHUNK}-"]
    assert target.read_bytes() == DATA


def test_redirects_without_end_are_told_at_once(server: Server, target: Path) -> None:
    server.sends_to = {"a.zip": "/b.zip", "b.zip": "/a.zip"}
    with pytest.raises(DownloadError, match="from address to address without end") as caught:
        download(f"{server.url}/a.zip", target, **QUICK)
    assert "\n" not in str(caught.value)
    assert len(server.ranges) < 40  # one attempt, not six
    assert not target.exists()


def test_a_redirect_to_what_is_no_http_is_refused(server: Server, target: Path) -> None:
    server.sends_to = {"a.zip": "file:///etc/hostname"}
    with pytest.raises(DownloadError, match="is no http address"):
        download(f"{server.url}/a.zip", target, **QUICK)
    assert not target.exists()


def test_nobody_there_and_no_address(target: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with pytest.raises(DownloadError, match="gave up after 1 retries"):
        download("http://127.0.0.1:9/file.zip", target, retries=1, **QUICK)
    try:
        raise SourceError("the data set is not here")
    except SourceError:  # what a fetch begins with is not why it failed
        with pytest.raises(DownloadError, match=r"gave up .*\(.*Connection refused\)"):
            download("http://127.0.0.1:9/file.zip", target, retries=1, **QUICK)
    with pytest.raises(DownloadError, match="is no http address"):
        download("ftp://127.0.0.1/file.zip", target, **QUICK)


def test_what_is_there_and_right_is_not_fetched_again(server: Server, target: Path) -> None:
    target.parent.mkdir()
    target.write_bytes(DATA)
    assert download(f"{server.url}/file.zip", target, md5=MD5, **QUICK) == SHA256
    assert server.ranges == []
    target.write_bytes(b"damaged")
    download(f"{server.url}/file.zip", target, md5=MD5, **QUICK)
    assert target.read_bytes() == DATA


def test_a_place_that_cannot_be_written_is_named(server: Server, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(DownloadError, match="cannot be written"):
        download(f"{server.url}/file.zip", tmp_path / "file" / "file.zip", **QUICK)


def test_as_poochs_downloader_the_part_keeps_its_name(server: Server, tmp_path: Path) -> None:
    url = f"{server.url}/file.zip"
    whole: list[str] = []
    downloader = ResumingDownloader(
        *("file.zip", Wanted(md5=MD5), Manner(False, 0, 0.0)),
        lambda path, found: whole.append(found.sha256),
    )
    server.plan = [cut(CHUNK)]
    with pytest.raises(DownloadError):
        downloader(url, str(tmp_path / "tmp1234"), None)
    assert whole == []
    downloader(url, str(tmp_path / "tmp5678"), None)
    assert server.ranges == [None, f"bytes={CHUNK}-"]
    assert (tmp_path / "tmp5678").read_bytes() == DATA
    assert whole == [SHA256]


@pytest.mark.parametrize("value", ["²", "٣", "-1", "1e3", ""])
def test_what_is_no_number_in_a_header_is_none(value: str) -> None:
    assert transfer._retry_after_s({"Retry-After": value}) is None
    assert transfer._length({"Content-Length": value}) is None
    assert transfer._content_range(f"bytes {value}-5/{value}") == (None, None)
    assert transfer._content_range("bytes 5-9/10") == (5, 10)


def test_a_server_that_sends_on_and_on_is_cut_off(server, tmp_path, monkeypatch):
    seen: list[int] = []
    monkeypatch.setattr(transfer, "CHUNK_BYTES", 500)
    monkeypatch.setattr(Path, "unlink", lambda part, **_: seen.append(part.stat().st_size))
    server.plan = [without_end(len(DATA))]
    target = tmp_path / "file.zip"
    with pytest.raises(DownloadError, match=r"gave up .*ended at \d+ of 1000 bytes"):
        download(f"{server.url}/file.zip", target, n_bytes=1000, retries=0, **QUICK)
    assert seen == [1500]
