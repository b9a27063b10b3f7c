"""kill -9 in the middle of a fetch: nothing half-made is taken for whole, nothing is lost."""

from __future__ import annotations

import hashlib
import json
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from fixtures.datasets import write_wav, zip_tree
from fixtures.http import Server, running_server, stall, wait_until
from fxpipe.errors import DataMissingError
from fxpipe.fetch.download import fetch_dataset
from fxpipe.fetch.transfer import CHUNK_BYTES
from fxpipe.sources import open_source

N_FILES = 6
FETCH = [str(Path(sys.executable).with_name("fxpipe")), "fetch"]

# Runs ``fxpipe fetch`` and kills itself, as kill -9 does, at the n-th call of a function.
SUICIDE = """
import functools, importlib, os, signal, sys

place, moment, when = sys.argv[1], int(sys.argv[2]), sys.argv[3]
module, _, path = place.partition(":")
*owners, name = path.split(".")
owner = functools.reduce(getattr, owners, importlib.import_module(module))
real, calls = getattr(owner, name), 0

def deadly(*args, **kwargs):
    global calls
    calls += 1
    if calls == moment and when == "before":
        os.kill(os.getpid(), signal.SIGKILL)
    result = real(*args, **kwargs)
    if calls == moment:
        os.kill(os.getpid(), signal.SIGKILL)
    return result

setattr(owner, name, deadly)
sys.argv[1:] = ["fetch", *sys.argv[4:]]
from fxpipe.cli import main
main()
"""


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with running_server() as running:
        yield running


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return tmp_path / "data"


@pytest.fixture
def own(server: Server, tmp_path: Path) -> Path:
    """A manifest, its archive of incompressible recordings served as file.zip."""
    rng = np.random.default_rng(0)
    for k in range(N_FILES):
        noise = rng.uniform(-0.5, 0.5, 22050).astype(np.float32)
        write_wav(tmp_path / "made" / f"riff{k}.wav", noise)
    body = zip_tree(tmp_path / "made", tmp_path / "made.zip").read_bytes()
    server.files["file.zip"] = body
    sha256 = hashlib.sha256(body).hexdigest()
    return write_manifest(tmp_path / "sets" / "my-set.json", server, sha256)


def write_manifest(path: Path, server: Server, sha256: str, *, exclude: str = "none") -> Path:
    content = {
        "name": "my-set",
        "title": "My riffs",
        "files": [{"name": "file.zip", "url": f"{server.url}/file.zip", "sha256": sha256}],
        "licence": {"id": "CC0-1.0", "terms": "Do as you like.", "shareable": True},
        "dry": {"include": ["*.wav"], "exclude": [exclude]},
        "split_group": {"how": "Each file."},
    }
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(content))
    return path


def n_recordings(own: Path, data: Path) -> int:
    """As a reader sees it; 0 where it says that nothing is there."""
    try:
        return len(open_source(str(own), data_dir=data).scan().items)
    except DataMissingError:
        return 0


def finish(own: Path, data: Path) -> None:
    fetch_dataset(str(own), data, progress=False, backoff_s=0.0)
    assert n_recordings(own, data) == N_FILES
    hidden = [p.name for p in data.iterdir() if p.name.startswith(".")]
    kept = [p.name for p in (data / "archives" / "my-set").iterdir()]
    assert hidden == []
    assert sorted(kept) == [".busy", "file.zip"]


@pytest.mark.parametrize("share", [0.0, 0.3, 0.97])
def test_killed_while_downloading(share: float, own: Path, server: Server, data: Path) -> None:
    n_bytes = len(server.files["file.zip"])
    n_sent = round(share * n_bytes)
    go_on = threading.Event()
    server.plan = [stall(n_sent, go_on)]
    part = data / "archives" / "my-set" / "file.zip.part"
    process = subprocess.Popen([*FETCH, str(own), "--data-dir", str(data)])
    try:
        n_kept = n_sent // CHUNK_BYTES * CHUNK_BYTES
        wait_until(lambda: bool(server.ranges) and size(part) >= n_kept)
    finally:
        process.send_signal(signal.SIGKILL)
        assert process.wait(30) == -signal.SIGKILL
        go_on.set()
    assert not (data / "my-set").exists()
    assert n_recordings(own, data) == 0
    finish(own, data)
    assert server.ranges == [None, f"bytes={n_kept}-" if n_kept else None]
    assert server.n_sent < n_bytes + CHUNK_BYTES  # what was there was not sent again


def size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def kill_at(moment: tuple[str, int, str], own: Path, data: Path) -> None:
    place, call, when = moment
    words = [place, str(call), when, str(own), "--data-dir", str(data)]
    done = subprocess.run([sys.executable, "-c", SUICIDE, *words], timeout=60, check=False)
    assert done.returncode == -signal.SIGKILL


DOWNLOADED = [
    ("fxpipe.fetch.transfer:look_at", 1, "before"),  # all bytes there, none checked
    ("pooch.core:hash_matches", 1, "before"),
    ("pooch.core:shutil.move", 1, "before"),
    ("fxpipe.fetch.download:add_pin", 1, "after"),
]
UNPACKING = [
    ("fxpipe.fetch.unzip:shutil.copyfileobj", 4, "before"),
    ("fxpipe.fetch.unzip:shutil.copyfileobj", N_FILES, "after"),
    ("os:sync", 1, "before"),
    ("fxpipe.fetch.download:Path.replace", 2, "before"),  # the first is the lock file's
]


@pytest.mark.parametrize("moment", DOWNLOADED + UNPACKING, ids=lambda m: f"{m[0]}-{m[1]}")
def test_killed_between_the_last_byte_and_the_folder(
    moment: tuple[str, int, str], own: Path, server: Server, data: Path
) -> None:
    kill_at(moment, own, data)
    assert not (data / "my-set").exists()
    assert n_recordings(own, data) == 0
    finish(own, data)
    assert server.n_sent == len(server.files["file.zip"])  # not one byte came twice


def test_killed_when_the_folder_has_its_name(own: Path, server: Server, data: Path) -> None:
    kill_at(("fxpipe.fetch.download:Path.replace", 2, "after"), own, data)
    assert n_recordings(own, data) == N_FILES
    finish(own, data)
    assert len(server.ranges) == 1


@pytest.mark.parametrize("call", [1, 2])
def test_killed_while_another_edition_takes_its_place(
    call: int, own: Path, server: Server, data: Path
) -> None:
    sha256 = hashlib.sha256(server.files["file.zip"]).hexdigest()
    write_manifest(own, server, sha256, exclude="*riff0*")
    fetch_dataset(str(own), data, progress=False)
    assert n_recordings(own, data) == N_FILES - 1
    write_manifest(own, server, sha256)
    kill_at(("fxpipe.fetch.download:Path.replace", call, "before"), own, data)
    assert n_recordings(own, data) in (0, N_FILES - 1)
    finish(own, data)
    assert len(server.ranges) == 1


def test_two_at_once_bring_it_once(own: Path, server: Server, data: Path) -> None:
    go_on = threading.Event()
    server.plan = [stall(CHUNK_BYTES, go_on)]
    command = [*FETCH, str(own), "--data-dir", str(data)]
    first = subprocess.Popen(command)
    wait_until(lambda: len(server.ranges) == 1)
    second = subprocess.Popen(command)
    go_on.set()
    assert (first.wait(60), second.wait(60)) == (0, 0)
    assert [asked for asked in server.ranges if asked is None] == [None]
    finish(own, data)
