"""Transfers and data sets from a server on the loopback that misbehaves on request."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from fixtures.datasets import IDMT_TOP, make_egfxset, make_idmt, pluck, write_wav, zip_tree
from fxpipe import download as download_module
from fxpipe import transfer, unzip
from fxpipe.download import ResumingDownloader, download, fetch_dataset
from fxpipe.errors import DownloadError, SourceError
from fxpipe.sources import open_source
from fxpipe.sources.manifest import DryMembers, Manifest, RemoteFile, load_manifest
from fxpipe.transfer import Manner

DATA = bytes(range(256)) * 400  # 102,400 bytes
SHA256 = hashlib.sha256(DATA).hexdigest()
MD5 = hashlib.md5(DATA).hexdigest()
CHUNK = transfer.CHUNK_BYTES
QUICK = {"progress": False, "backoff_s": 0.0}

Answer = Callable[["Handler", bytes], None]


class Handler(BaseHTTPRequestHandler):
    """Serves ``server.files`` with Range; the next of ``server.plan`` answers instead."""

    server: Server

    def do_GET(self) -> None:
        self.server.ranges.append(self.headers.get("Range"))
        body = self.server.files.get(self.path.lstrip("/"))
        if body is None:
            self.send_error(404)
        elif self.server.plan:
            self.server.plan.pop(0)(self, body)
        else:
            serve(self, body)

    def log_message(self, format: str, *args: object) -> None:
        pass


class Server(ThreadingHTTPServer):
    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.files: dict[str, bytes] = {"file.zip": DATA}
        self.plan: list[Answer] = []
        self.ranges: list[str | None] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


def serve(
    handler: Handler,
    body: bytes,
    *,
    send: int | None = None,
    ranges: bool = True,
    content_type: str = "application/octet-stream",
    etag: str | None = '"v1"',
) -> None:
    """Answer with ``body`` or the range asked for; at most ``send`` bytes, then hang up."""
    asked = re.fullmatch(r"bytes=(\d+)-", handler.headers.get("Range", ""))
    start = int(asked[1]) if asked and ranges else 0
    if asked and ranges and start >= len(body):
        handler.send_response(416)
        handler.send_header("Content-Range", f"bytes */{len(body)}")
        handler.send_header("Content-Length", "0")
        handler.end_headers()
        return
    handler.send_response(206 if asked and ranges else 200)
    if asked and ranges:
        handler.send_header("Content-Range", f"bytes {start}-{len(body) - 1}/{len(body)}")
    handler.send_header("Content-Length", str(len(body) - start))
    handler.send_header("Content-Type", content_type)
    if etag:
        handler.send_header("ETag", etag)
    handler.end_headers()
    handler.wfile.write(body[start:] if send is None else body[start : start + send])
    handler.close_connection = True


def cut(n_bytes: int, **options: object) -> Answer:
    return lambda handler, body: serve(handler, body, send=n_bytes, **options)  # type: ignore[arg-type]


def with_body(wrong: bytes, **options: object) -> Answer:
    return lambda handler, body: serve(handler, wrong, **options)  # type: ignore[arg-type]


def status(code: int, **headers: str) -> Answer:
    def answer(handler: Handler, body: bytes) -> None:
        handler.send_response(code)
        for key, value in {"Content-Length": "0", **headers}.items():
            handler.send_header(key.replace("_", "-"), value)
        handler.end_headers()

    return answer


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with Server() as running:
        thread = threading.Thread(target=running.serve_forever, args=(0.01,))
        thread.start()
        yield running
        running.shutdown()
        thread.join()


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "new" / "file.zip"


def leftovers(target: Path) -> list[str]:
    return sorted(path.name for path in target.parent.iterdir())


# One transfer


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


def test_a_cut_is_seen_without_any_hash(server: Server, target: Path) -> None:
    server.plan = [cut(CHUNK)]
    assert download(f"{server.url}/file.zip", target, **QUICK) == SHA256


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


def test_nobody_there_and_no_address(target: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with pytest.raises(DownloadError, match="gave up after 1 retries"):
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
    downloader = ResumingDownloader(RemoteFile("file.zip", url, md5=MD5), Manner(False, 0, 0.0))
    server.plan = [cut(CHUNK)]
    with pytest.raises(DownloadError):
        downloader(url, str(tmp_path / "tmp1234"), None)
    downloader(url, str(tmp_path / "tmp5678"), None)
    assert server.ranges == [None, f"bytes={CHUNK}-"]
    assert (tmp_path / "tmp5678").read_bytes() == DATA


# Data sets


@pytest.fixture
def publish(server: Server, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, Path], Manifest]:
    """Serve an archive as a data set's only file, its manifest telling the true hashes."""

    def put(name: str, archive: Path) -> Manifest:
        manifest = load_manifest(name)
        data = archive.read_bytes()
        server.files[manifest.files[0].name] = data
        file = replace(
            manifest.files[0],
            approx_bytes=len(data),
            n_bytes=None,
            md5=hashlib.md5(data).hexdigest(),
            sha256=hashlib.sha256(data).hexdigest() if manifest.files[0].sha256 else None,
        )
        changed = replace(manifest, files=(file,), unpacked_bytes=len(data))
        monkeypatch.setattr(download_module, "load_manifest", lambda asked: changed)
        return changed

    return put


Publish = Callable[[str, Path], Manifest]


def test_idmt_is_fetched_unpacked_and_read(
    server: Server, publish: Publish, tmp_path: Path
) -> None:
    top = make_idmt(tmp_path / "made")
    publish("idmt", zip_tree(top, tmp_path / "a.zip", prefix=f"{IDMT_TOP}/"))
    server.plan = [cut(70_000)]
    data = tmp_path / "data"
    folder = fetch_dataset("idmt", data, base_url=server.url, **QUICK)
    assert folder == data / "idmt"
    assert sorted(path.name for path in data.iterdir()) == ["archives", "idmt"]
    names = [path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()]
    assert not [name for name in names if "acoustic" in name or name.endswith((".csv", ".pdf"))]
    fetched = open_source("idmt", data_dir=data).scan()
    assert fetched.digest == open_source(f"idmt:{top}").scan().digest
    assert any(item.meta.get("annotation") == "read" for item in fetched.items)

    asked = len(server.ranges)
    assert fetch_dataset("idmt", data, base_url=server.url, **QUICK) == folder
    assert len(server.ranges) == asked  # a second call costs nothing


def test_egfxset_is_fetched_without_its_litter(
    server: Server, publish: Publish, tmp_path: Path
) -> None:
    made = make_egfxset(tmp_path / "made", notes=((1, 0), (6, 0)))
    shutil.rmtree(made / "Chorus")
    publish("egfxset", zip_tree(made, tmp_path / "a.zip"))
    folder = fetch_dataset("egfxset", tmp_path / "data", base_url=f"{server.url}/", **QUICK)
    names = {path.name for path in folder.rglob("*") if path.is_file()}
    assert names == {"1-0.wav", "6-0.wav", "fetched.json"}
    assert len(open_source("egfxset", data_dir=tmp_path / "data").scan().items) == 10


def test_archives_inside_the_archive_are_unpacked(
    server: Server, publish: Publish, tmp_path: Path
) -> None:
    inner = tmp_path / "inner"
    write_wav(inner / "Samples" / "NoFX" / "G61-40100-1111-20593.wav", pluck(40, 0.5))
    write_wav(inner / "Samples" / "Chorus" / "G61-40100-4411-20594.wav", pluck(41, 0.5))
    outer = tmp_path / "outer"
    for name in ("Gitarre monophon", "Gitarre_polyphon2", "Bass monophon"):
        zip_tree(inner, outer / f"{name}.zip", prefix=f"{name}/")
    archive = zip_tree(outer, tmp_path / "a.zip", prefix="IDMT-SMT-AUDIO-EFFECTS/")
    publish("idmt-fx", archive)
    folder = fetch_dataset("idmt-fx", tmp_path / "data", base_url=server.url, **QUICK)
    names = [path.name for path in folder.rglob("*") if path.is_file()]
    assert sorted(names) == ["G61-40100-1111-20593.wav", "fetched.json"]
    assert len(open_source("idmt-fx", data_dir=tmp_path / "data").scan().items) == 1


def test_an_archive_at_hand_is_used_if_it_is_the_right_one(
    server: Server, publish: Publish, tmp_path: Path
) -> None:
    made = make_egfxset(tmp_path / "made", notes=((1, 0),))
    archive = zip_tree(made, tmp_path / "a.zip")
    publish("egfxset", archive)
    data = tmp_path / "data"
    data.mkdir()
    (data / "Clean.zip").write_bytes(b"not it")
    with pytest.raises(DownloadError, match=r"Clean\.zip: md5 is .* move it away"):
        fetch_dataset("egfxset", data, base_url=server.url, **QUICK)
    shutil.copy(archive, data / "Clean.zip")
    fetch_dataset("egfxset", data, base_url=server.url, **QUICK)
    assert server.ranges == []


def test_a_changed_manifest_fetches_anew(
    server: Server, publish: Publish, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = make_egfxset(tmp_path / "made", notes=((1, 0),))
    manifest = publish("egfxset", zip_tree(made, tmp_path / "a.zip"))
    data = tmp_path / "data"
    fetch_dataset("egfxset", data, base_url=server.url, **QUICK)
    narrower = replace(manifest, dry=DryMembers(include=("*Clean/Neck/*.wav",)))
    monkeypatch.setattr(download_module, "load_manifest", lambda name: narrower)
    folder = fetch_dataset("egfxset", data, base_url=server.url, **QUICK)
    assert sorted(path.name for path in (folder / "Clean").iterdir()) == ["Neck"]
    assert len(server.ranges) == 1  # the archive was kept


def test_a_folder_of_the_users_own_is_left_alone(publish: Publish, tmp_path: Path) -> None:
    own = make_egfxset(tmp_path / "egfxset", notes=((1, 0),))
    publish("egfxset", zip_tree(own, tmp_path / "elsewhere" / "a.zip"))
    with pytest.raises(DownloadError, match="was not made by fxpipe"):
        fetch_dataset("egfxset", tmp_path, **QUICK)
    assert open_source("egfxset", data_dir=tmp_path).scan().items


def test_a_failed_unpacking_leaves_no_folder(
    server: Server, publish: Publish, tmp_path: Path
) -> None:
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "readme.txt").write_text("another data set")
    publish("egfxset", zip_tree(tmp_path / "other", tmp_path / "a.zip"))
    data = tmp_path / "data"
    with pytest.raises(DownloadError, match="none of its 1 members is wanted"):
        fetch_dataset("egfxset", data, base_url=server.url, **QUICK)
    assert [path.name for path in data.iterdir()] == ["archives"]


def test_disk_space_is_asked_before_the_first_byte(
    server: Server, publish: Publish, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = make_egfxset(tmp_path / "made", notes=((1, 0),))
    publish("egfxset", zip_tree(made, tmp_path / "a.zip"))
    usage = shutil.disk_usage(tmp_path)._replace(free=1000)
    monkeypatch.setattr(unzip.shutil, "disk_usage", lambda path: usage)
    with pytest.raises(DownloadError, match=r"downloading Clean\.zip needs .* GB free"):
        fetch_dataset("egfxset", tmp_path / "data", base_url=server.url, **QUICK)
    assert server.ranges == []


@pytest.mark.parametrize(("name", "words"), [("synth", "Nothing to download"), ("guitarjam", "hf")])
def test_what_cannot_be_fetched_says_why(name: str, words: str, tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=words):
        fetch_dataset(name, tmp_path, **QUICK)


def test_the_record_of_what_was_fetched_is_readable(
    server: Server, publish: Publish, tmp_path: Path
) -> None:
    made = make_egfxset(tmp_path / "made", notes=((1, 0),))
    manifest = publish("egfxset", zip_tree(made, tmp_path / "a.zip"))
    folder = fetch_dataset("egfxset", tmp_path / "data", base_url=server.url, **QUICK)
    record = json.loads((folder / "fetched.json").read_text())
    assert record["files"][0]["sha256"] == manifest.files[0].sha256
