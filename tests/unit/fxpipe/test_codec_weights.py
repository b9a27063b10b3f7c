"""fxpipe.codec.weights: fetched into DAC's own cache, resumed, checked, locked."""

from __future__ import annotations

import dataclasses
import hashlib
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from fixtures.http import running_server, stall, wait_until
from fxpipe.codec import CODECS, fetch_weights, load_codec, weights
from fxpipe.errors import CodecError, DownloadError, FxError

CONTENT = bytes(range(256)) * 400
SHA256 = hashlib.sha256(CONTENT).hexdigest()


class Server(ThreadingHTTPServer):
    daemon_threads = True
    content = CONTENT

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.ranges: list[str | None] = []


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        wanted = self.headers.get("Range")
        self.server.ranges.append(wanted)
        content, first = self.server.content, 0
        if self.path != "/mirror/weights.pth":
            self.send_error(404)
            return
        if wanted:
            first = int(wanted.removeprefix("bytes=").split("-")[0])
            self.send_response(206)
            last = len(content) - 1
            self.send_header("Content-Range", f"bytes {first}-{last}/{len(content)}")
        else:
            self.send_response(200)
        self.send_header("Content-Length", str(len(content) - first))
        self.send_header("ETag", '"one"')
        self.end_headers()
        self.wfile.write(content[first:])

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as running:
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield running
        running.shutdown()
        thread.join()


@pytest.fixture
def mirror(server: Server) -> str:
    return f"http://127.0.0.1:{server.server_address[1]}/mirror"


@pytest.fixture
def cached(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where dac itself would look for its 44.1 kHz weights, below a fresh home."""
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path / ".cache" / "descript" / "dac" / "weights_44khz_8kbps_0.0.1.pth"


def register(monkeypatch: pytest.MonkeyPatch, sha256: str | None) -> None:
    spec = dataclasses.replace(CODECS["44khz"], sha256=sha256, n_bytes=len(CONTENT))
    monkeypatch.setitem(CODECS, "44khz", spec)


def test_fetched_into_dacs_own_cache_and_only_once(server, mirror, cached, monkeypatch):
    register(monkeypatch, SHA256)
    assert fetch_weights("44khz", progress=False, base_url=mirror) == cached
    assert cached.read_bytes() == CONTENT
    assert fetch_weights("44khz", progress=False, base_url=mirror + "/") == cached
    assert len(server.ranges) == 1


def test_a_cut_download_goes_on_where_it_stopped(server, mirror, cached, monkeypatch):
    register(monkeypatch, SHA256)
    cached.parent.mkdir(parents=True)
    cached.with_name(cached.name + ".part").write_bytes(CONTENT[:50_000])
    fetch_weights("44khz", progress=False, base_url=mirror)
    assert cached.read_bytes() == CONTENT
    assert server.ranges == ["bytes=50000-"]


@pytest.mark.parametrize("sha256", [SHA256, None])
def test_two_at_once_bring_them_once(cached, monkeypatch, sha256):
    register(monkeypatch, sha256)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    go_on = threading.Event()
    with running_server() as server, ThreadPoolExecutor(2) as pool:
        server.files["weights.pth"] = CONTENT
        server.plan = [stall(50_000, go_on)]
        first = pool.submit(fetch_weights, "44khz", progress=False, base_url=server.url)
        wait_until(lambda: bool(server.ranges))
        second = pool.submit(fetch_weights, "44khz", progress=False, base_url=server.url)
        wait([second], timeout=2)
        go_on.set()
        assert first.result() == second.result() == cached
        assert server.ranges == [None, "bytes=49152-"]  # whole chunks of what came at first
    assert cached.read_bytes() == CONTENT


def test_weights_that_lie_where_nobody_may_write_are_used(cached, monkeypatch):
    register(monkeypatch, SHA256)
    cached.parent.mkdir(parents=True)
    cached.write_bytes(CONTENT)
    fetch_weights("44khz", progress=False)
    assert [path.name for path in cached.parent.iterdir()] == [cached.name]


def test_other_bytes_are_refused_and_not_kept(server, mirror, cached, monkeypatch):
    register(monkeypatch, "0" * 64)
    with pytest.raises(DownloadError, match="sha256"):
        fetch_weights("44khz", progress=False, base_url=mirror)
    assert not cached.exists()


def test_a_changed_file_is_found_out(mirror, cached, monkeypatch):
    register(monkeypatch, SHA256)
    cached.parent.mkdir(parents=True)
    cached.write_bytes(b"truncated")
    with pytest.raises(CodecError, match="delete it and fetch again"):
        fetch_weights("44khz", progress=False, base_url=mirror)


def test_an_unknown_hash_is_locked_at_the_first_download(server, mirror, cached, monkeypatch):
    register(monkeypatch, None)
    fetch_weights("44khz", progress=False, base_url=mirror)
    lock = cached.with_name(cached.name + ".sha256")
    assert lock.read_text() == f"{SHA256}  {cached.name}\n"
    cached.write_bytes(b"other")
    with pytest.raises(CodecError, match=SHA256):
        fetch_weights("44khz", progress=False, base_url=mirror)
    cached.unlink()
    server.content = CONTENT[::-1]
    with pytest.raises(FxError, match="sha256"):
        fetch_weights("44khz", progress=False, base_url=mirror)
    assert not cached.exists()


def test_a_changed_file_is_not_loaded(cached):
    cached.parent.mkdir(parents=True)
    cached.write_bytes(CONTENT)
    with pytest.raises(CodecError, match=r"sha256 is .* expected a88eed.*fxpipe codec fetch 44khz"):
        load_codec("44khz")


def test_a_damaged_lock_is_named(cached, monkeypatch):
    register(monkeypatch, None)
    cached.parent.mkdir(parents=True)
    cached.write_bytes(CONTENT)
    cached.with_name(cached.name + ".sha256").write_text("?")
    with pytest.raises(CodecError, match="not a sha256 line"):
        fetch_weights("44khz", progress=False)


def test_embedded_needs_no_download():
    path = fetch_weights("embedded", progress=False)
    assert path == weights.EMBEDDED / "encoder.safetensors"
    assert path.stat().st_size < 6_000_000


def test_unknown_name_lists_what_there_is():
    with pytest.raises(CodecError, match=r"did you mean '24khz'.*embedded"):
        fetch_weights("24kHz!", progress=False)


def test_every_registered_codec_is_described():
    from fxpipe.codec import dac

    for name, spec in CODECS.items():
        assert spec.name == name
        shape = dac.Architecture.from_kwargs(spec.architecture, name)
        assert shape.sample_rate == spec.sample_rate_hz
        assert shape.hop_samples == (512 if spec.sample_rate_hz == 44_100 else 320)
        if spec.url:
            assert spec.url.endswith(f"/{spec.tag}/{spec.file_name}")
            assert weights.weights_path(spec).name == (
                f"weights_{spec.model_type}_{spec.bitrate}_{spec.tag}.pth"
            )
