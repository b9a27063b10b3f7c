"""Data sets fetched from a server on the loopback, their manifests telling the true hashes."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from fixtures.datasets import IDMT_TOP, make_egfxset, make_idmt, pluck, write_wav, zip_tree
from fixtures.http import Server, cut, running_server
from fxpipe.errors import DownloadError, SourceError
from fxpipe.fetch import download as download_module
from fxpipe.fetch import unzip
from fxpipe.fetch.download import fetch_dataset
from fxpipe.sources import open_source
from fxpipe.sources.manifest import DryMembers, Manifest, load_manifest

QUICK = {"progress": False, "backoff_s": 0.0}


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with running_server() as running:
        yield running


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
    assert sorted(p.name for p in data.iterdir()) == ["archives", "idmt", "sources.lock.json"]
    names = [path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()]
    assert not [name for name in names if name.endswith((".csv", ".pdf"))]
    assert [name for name in names if "acoustic" in name]  # optional, and so at hand
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
    assert sorted(path.name for path in data.iterdir()) == ["archives", "sources.lock.json"]


def test_disk_space_is_asked_before_the_first_byte(
    server: Server, publish: Publish, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = make_egfxset(tmp_path / "made", notes=((1, 0),))
    publish("egfxset", zip_tree(made, tmp_path / "a.zip"))
    usage = shutil.disk_usage(tmp_path)._replace(free=1000)
    monkeypatch.setattr(unzip.shutil, "disk_usage", lambda path: usage)
    with pytest.raises(DownloadError, match=r"fetching and unpacking egfxset needs .* GB free"):
        fetch_dataset("egfxset", tmp_path / "data", base_url=server.url, **QUICK)
    assert server.ranges == []


def test_space_is_asked_for_what_is_still_to_come(
    server: Server, publish: Publish, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = make_egfxset(tmp_path / "made", notes=((1, 0),))
    archive = zip_tree(made, tmp_path / "a.zip")
    manifest = publish("egfxset", archive)
    asked: list[int] = []
    monkeypatch.setattr(
        download_module, "need_space", lambda folder, n_bytes, what: asked.append(n_bytes)
    )
    n_bytes, unpacked = archive.stat().st_size, manifest.unpacked_bytes
    server.plan = [cut(1 << 16)]
    data = tmp_path / "data"
    with pytest.raises(DownloadError, match="gave up"):
        fetch_dataset("egfxset", data, base_url=server.url, retries=0, **QUICK)
    fetch_dataset("egfxset", tmp_path / "other", archives=[archive], **QUICK)
    fetch_dataset("egfxset", data, base_url=server.url, **QUICK)
    assert asked == [n_bytes + unpacked, unpacked, n_bytes - (1 << 16) + unpacked]


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
    assert record["dry"]["include"] == ["*Clean/*/*.wav"]
