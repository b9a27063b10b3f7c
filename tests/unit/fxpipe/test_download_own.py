"""Archives and manifests of the user's own: used where they lie, checked, pinned."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from fixtures.datasets import pluck, write_wav, zip_tree
from fixtures.http import Server, cut, cut_at, running_server
from fxpipe.errors import DataMissingError, DownloadError, SourceError
from fxpipe.fetch.download import fetch_dataset
from fxpipe.fetch.lockfile import LOCK_NAME
from fxpipe.fetch.transfer import CHUNK_BYTES
from fxpipe.sources import open_source

QUICK = {"progress": False, "backoff_s": 0.0}


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with running_server() as running:
        yield running


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return tmp_path / "data"


def riffs(folder: Path, *, seed: int = 0) -> Path:
    """A zip of three recordings, one of them wet."""
    for name, midi in (("a_1.wav", 45), ("b_1.wav", 47), ("wet_b_1.wav", 47)):
        write_wav(folder / name, pluck(midi, 0.5, seed=seed))
    return zip_tree(folder, folder.with_suffix(".zip"))


def write_manifest(path: Path, files: list[dict[str, Any]], **change: Any) -> Path:
    content = {
        "name": "my-set",
        "title": "My riffs",
        "files": files,
        "licence": {"id": "CC-BY-4.0", "terms": "Share with the name.", "shareable": True},
        "dry": {"include": ["*.wav"], "exclude": ["*wet_*"]},
        "split_group": {"how": "The riff.", "pattern": "([^/_]+)_[^/]*$"},
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content | change))
    return path


@pytest.fixture
def own(server: Server, tmp_path: Path) -> Path:
    """A manifest that states no hash, its archive served as file.zip."""
    server.files["file.zip"] = riffs(tmp_path / "made").read_bytes()
    entry = {"name": "file.zip", "url": f"{server.url}/file.zip"}
    return write_manifest(tmp_path / "my-set.json", [entry])


def pins(data: Path) -> list[dict[str, Any]]:
    content = json.loads((data / LOCK_NAME).read_text())
    assert content["version"] == 1
    files: list[dict[str, Any]] = content["files"]
    return files


def unpin(data: Path) -> None:
    (data / LOCK_NAME).write_text(json.dumps({"version": 1, "files": []}))


# A manifest of one's own


def test_it_works_wherever_a_name_works(own: Path, server: Server, data: Path) -> None:
    with pytest.raises(DataMissingError, match=r"type 'fxpipe fetch .*my-set\.json --data-dir"):
        open_source(str(own), data_dir=data)
    spaced = own.with_name("my set.json")
    shutil.copy(own, spaced)
    with pytest.raises(DataMissingError, match=r"fetch '.*my set\.json' --data-dir '.*my data'"):
        open_source(str(spaced), data_dir=data / "my data")
    folder = fetch_dataset(str(own), data, **QUICK)
    assert folder == data / "my-set"
    assert sorted(p.name for p in folder.iterdir()) == ["a_1.wav", "b_1.wav", "fetched.json"]
    source = open_source(str(own), data_dir=data)
    scan = source.scan()
    assert source.name == "my-set"
    assert [(item.item_id, item.group) for item in scan.items] == [
        ("a_1.wav", "a"),
        ("b_1.wav", "b"),
    ]
    assert scan.licences["CC-BY-4.0"].shareable


def test_an_archive_that_is_named_like_a_draft_is_kept(
    own: Path, server: Server, data: Path
) -> None:
    server.files["tmp1.zip"] = server.files["file.zip"]
    write_manifest(own, [{"name": "tmp1.zip", "url": f"{server.url}/tmp1.zip"}])
    shutil.rmtree(fetch_dataset(str(own), data, **QUICK))
    asked = len(server.ranges)
    fetch_dataset(str(own), data, **QUICK)
    assert len(server.ranges) == asked


def test_its_recordings_may_lie_beside_it_or_be_named(tmp_path: Path) -> None:
    own = write_manifest(tmp_path / "my-set.json", [], by_hand="They lie beside this file.")
    with pytest.raises(DataMissingError, match="They lie beside this file"):
        open_source(str(own), data_dir=tmp_path / "data")
    with pytest.raises(SourceError, match=r"no archive to fetch\. They lie beside"):
        fetch_dataset(str(own), tmp_path / "data", **QUICK)
    riffs(tmp_path / "my-set")
    beside = open_source(str(own), data_dir=tmp_path / "data").scan()
    (tmp_path / "my-set").rename(tmp_path / "elsewhere")
    named = open_source(f"{own}:{tmp_path / 'elsewhere'}").scan()
    assert len(beside.items) == 2
    assert beside.digest == named.digest
    for wav in (tmp_path / "elsewhere").glob("*.wav"):
        wav.rename(wav.with_suffix(".ogg"))
    with pytest.raises(DataMissingError, match=r"sound files are in .* its 'dry' names none of"):
        open_source(f"{own}:{tmp_path / 'elsewhere'}")
    with pytest.raises(DataMissingError, match="nowhere"):
        open_source(f"{own}:{tmp_path / 'nowhere'}")


def test_recordings_come_as_they_are_too(server: Server, tmp_path: Path, data: Path) -> None:
    wav = write_wav(tmp_path / "riff_1.wav", pluck(50, 0.5))
    server.files = {"riff_1.wav": wav.read_bytes()}
    entry = {"name": "riff_1.wav", "url": f"{server.url}/riff_1.wav", "unpack_to": "takes"}
    own = write_manifest(tmp_path / "my-set.json", [entry])
    folder = fetch_dataset(str(own), data, **QUICK)
    assert (folder / "takes" / "riff_1.wav").read_bytes() == wav.read_bytes()
    assert len(open_source(str(own), data_dir=data).scan().items) == 1


def test_two_sets_with_files_of_one_name_do_not_mix(
    own: Path, server: Server, tmp_path: Path, data: Path
) -> None:
    fetch_dataset(str(own), data, **QUICK)
    server.files["else/file.zip"] = riffs(tmp_path / "more", seed=1).read_bytes()
    entry = {"name": "file.zip", "url": f"{server.url}/else/file.zip"}
    second = write_manifest(tmp_path / "second.json", [entry], name="second")
    fetch_dataset(str(second), data, **QUICK)
    first, other = (open_source(str(m), data_dir=data).scan() for m in (own, second))
    assert {i.meta["sha256"] for i in first.items}.isdisjoint(i.meta["sha256"] for i in other.items)
    assert [(pin["data_set"], pin["file"]) for pin in pins(data)] == [
        ("my-set", "file.zip"),
        ("second", "file.zip"),
    ]


# The lock file


def test_a_file_without_a_hash_is_pinned_and_held_to_it(
    own: Path, server: Server, tmp_path: Path, data: Path
) -> None:
    first = server.files["file.zip"]
    fetch_dataset(str(own), data, **QUICK)
    (pin,) = pins(data)
    assert pin == {
        "data_set": "my-set",
        "file": "file.zip",
        "url": f"{server.url}/file.zip",
        "bytes": len(first),
        "md5": hashlib.md5(first).hexdigest(),
        "sha256": hashlib.sha256(first).hexdigest(),
        "pinned_on": pin["pinned_on"],
    }
    wipe(data)
    server.files["file.zip"] = riffs(tmp_path / "changed", seed=1).read_bytes()[:-1] + b"x"
    with pytest.raises(DownloadError) as caught:
        fetch_dataset(str(own), data, **QUICK)
    text = str(caught.value)
    assert f"pinned on {pin['pinned_on']}" in text
    assert f"delete that entry of {data / LOCK_NAME}" in text
    assert "\n" not in text
    assert not (data / "my-set").exists()
    assert pins(data) == [pin]


def test_one_changed_byte_differs_from_the_pin(own: Path, server: Server, data: Path) -> None:
    fetch_dataset(str(own), data, **QUICK)
    (pin,) = pins(data)
    wipe(data)
    whole = server.files["file.zip"]
    server.files["file.zip"] = whole[:100] + bytes([whole[100] ^ 1]) + whole[101:]
    with pytest.raises(DownloadError, match=rf"md5 is \w+, expected {pin['md5']} \(pinned on"):
        fetch_dataset(str(own), data, **QUICK)
    unpin(data)  # accept what is there now
    with pytest.raises(DownloadError, match="not a sound zip archive"):
        fetch_dataset(str(own), data, **QUICK)
    assert pins(data)[0]["sha256"] == hashlib.sha256(server.files["file.zip"]).hexdigest()


def test_a_part_is_gone_on_with_on_the_strength_of_a_pin(
    own: Path, server: Server, data: Path
) -> None:
    fetch_dataset(str(own), data, **QUICK)
    wipe(data)
    server.ranges.clear()
    server.plan = [cut_at(2 * CHUNK_BYTES)]
    with pytest.raises(DownloadError, match="gave up"):
        fetch_dataset(str(own), data, retries=0, **QUICK)
    fetch_dataset(str(own), data, **QUICK)
    assert server.ranges == [None, f"bytes={2 * CHUNK_BYTES}-"]


def test_a_kept_archive_that_was_damaged_is_brought_again(
    own: Path, server: Server, data: Path
) -> None:
    folder = fetch_dataset(str(own), data, **QUICK)
    (data / "archives" / "my-set" / "file.zip").write_bytes(b"damaged")
    (folder / "fetched.json").write_text("{}")
    fetch_dataset(str(own), data, **QUICK)
    assert len(server.ranges) == 2
    kept = data / "archives" / "my-set" / "file.zip"
    assert kept.read_bytes() == server.files["file.zip"]


def test_a_manifest_that_disagrees_with_its_pin_fetches_nothing(
    own: Path, server: Server, data: Path
) -> None:
    fetch_dataset(str(own), data, **QUICK)
    wipe(data)
    server.ranges.clear()
    entry = {"name": "file.zip", "url": f"{server.url}/file.zip", "sha256": "0" * 64}
    write_manifest(own, [entry])
    with pytest.raises(DownloadError, match=r"sha256 of file\.zip is 0{64} by the manifest, and "):
        fetch_dataset(str(own), data, **QUICK)
    assert server.ranges == []


def test_what_the_manifest_states_is_pinned_as_well(own: Path, server: Server, data: Path) -> None:
    body = server.files["file.zip"]
    md5 = hashlib.md5(body).hexdigest()
    write_manifest(own, [{"name": "file.zip", "url": f"{server.url}/file.zip", "md5": md5}])
    fetch_dataset(str(own), data, **QUICK)
    assert pins(data)[0]["sha256"] == hashlib.sha256(body).hexdigest()


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"version": 9, "files": []}', "not json"])
def test_a_lock_file_that_cannot_be_read_is_named(text: str, own: Path, data: Path) -> None:
    data.mkdir()
    (data / LOCK_NAME).write_text(text)
    with pytest.raises(DownloadError, match=r"sources\.lock\.json: cannot be read as a lock file"):
        fetch_dataset(str(own), data, **QUICK)


def test_a_mirror_is_held_to_the_pin(own: Path, server: Server, data: Path) -> None:
    fetch_dataset(str(own), data, **QUICK)
    wipe(data)
    server.files["mirror/file.zip"] = server.files["file.zip"][:-1]
    with pytest.raises(DownloadError, match=r"expected \d+ \(pinned on"):
        fetch_dataset(str(own), data, base_url=f"{server.url}/mirror", **QUICK)


def wipe(data: Path) -> None:
    """All but the lock file."""
    for path in data.iterdir():
        if path.is_dir():
            shutil.rmtree(path)


# An archive at hand


@pytest.fixture
def at_hand(own: Path, server: Server, tmp_path: Path) -> Path:
    body = server.files["file.zip"]
    entry = {"name": "file.zip", "url": f"{server.url}/file.zip"}
    hashes = {"md5": hashlib.md5(body).hexdigest(), "sha256": hashlib.sha256(body).hexdigest()}
    write_manifest(own, [entry | hashes])
    path = tmp_path / "downloads" / "renamed (1).zip"
    path.parent.mkdir()
    path.write_bytes(body)
    return path


def test_an_archive_is_used_where_it_lies(
    own: Path, at_hand: Path, server: Server, data: Path
) -> None:
    folder = fetch_dataset(str(own), data, archives=[at_hand], **QUICK)
    assert (folder / "a_1.wav").is_file()
    assert server.ranges == []
    assert not list(data.rglob("*.zip"))  # neither copied nor moved
    assert at_hand.is_file()
    assert pins(data)[0]["sha256"] == hashlib.sha256(at_hand.read_bytes()).hexdigest()


def test_a_wrong_archive_says_which_hash_differs(
    own: Path, at_hand: Path, server: Server, data: Path
) -> None:
    at_hand.write_bytes(b"another file")
    with pytest.raises(DownloadError, match=r"renamed \(1\)\.zip: md5 is \w{32}, expected \w{32}"):
        fetch_dataset(str(own), data, archives=[at_hand], **QUICK)
    assert server.ranges == []
    assert not (data / "my-set").exists()


def test_an_archive_without_a_known_hash_is_held_to_its_pin(
    own: Path, server: Server, tmp_path: Path, data: Path
) -> None:
    fetch_dataset(str(own), data, **QUICK)
    wipe(data)
    other = riffs(tmp_path / "other", seed=2)
    with pytest.raises(DownloadError, match=r"other\.zip: (size|md5) is .*\(pinned on"):
        fetch_dataset(str(own), data, archives=[other], **QUICK)


def test_an_archive_in_the_data_folder_is_found_by_itself(
    own: Path, at_hand: Path, server: Server, data: Path
) -> None:
    data.mkdir()
    (data / "file.zip").write_bytes(b"not it")
    with pytest.raises(DownloadError, match=r"file\.zip: md5 is .* move it away"):
        fetch_dataset(str(own), data, **QUICK)
    (data / "file.zip").write_bytes(at_hand.read_bytes())
    fetch_dataset(str(own), data, **QUICK)
    assert server.ranges == []


def test_a_stranger_of_that_name_is_not_taken_without_a_hash(
    own: Path, server: Server, data: Path
) -> None:
    data.mkdir()
    (data / "file.zip").write_bytes(b"the file of something else")
    fetch_dataset(str(own), data, **QUICK)
    assert server.ranges == [None]


def test_several_archives_are_told_by_name_and_the_rest_is_fetched(
    server: Server, tmp_path: Path, data: Path
) -> None:
    names = ("one.zip", "two.zip", "three.zip")
    archives = {n: riffs(tmp_path / n[:-4], seed=k) for k, n in enumerate(names)}
    server.files = {name: path.read_bytes() for name, path in archives.items()}
    files = [
        {"name": name, "url": f"{server.url}/{name}", "unpack_to": name[:-4]} for name in names
    ]
    own = write_manifest(tmp_path / "my-set.json", files)
    given = [archives["three.zip"], archives["one.zip"]]
    server.plan = [cut(50)]
    folder = fetch_dataset(str(own), data, archives=given, **QUICK)
    assert len(list(folder.rglob("*.wav"))) == 6
    assert server.ranges == [None, None]  # two.zip, cut once
    assert [pin["file"] for pin in pins(data)] == ["one.zip", "three.zip", "two.zip"]
    stranger = riffs(tmp_path / "stranger")
    for wrong in ([stranger], [archives["one.zip"]] * 2):
        with pytest.raises(SourceError, match=r"expected one each, named one\.zip or two"):
            fetch_dataset(str(own), data, archives=wrong, **QUICK)


def test_an_archive_that_is_not_there_or_a_folder(own: Path, tmp_path: Path, data: Path) -> None:
    for path, words in ((tmp_path / "gone.zip", "not there"), (tmp_path, "a folder: --data-dir")):
        with pytest.raises(SourceError, match=words):
            fetch_dataset(str(own), data, archives=[path], **QUICK)


def test_an_archive_that_does_not_open_is_not_what_a_later_one_must_be(
    own: Path, server: Server, data: Path
) -> None:
    whole = server.files["file.zip"]
    server.files["file.zip"] = whole[: len(whole) // 2]
    with pytest.raises(DownloadError, match=r"file\.zip: not a sound zip archive .* fetch again"):
        fetch_dataset(str(own), data, **QUICK)
    assert not (data / "sources.lock.json").exists()
    (found,) = data.rglob("file.zip")
    found.unlink()  # as the message says
    server.files["file.zip"] = whole
    fetch_dataset(str(own), data, **QUICK)
    assert pins(data)[0]["sha256"] == hashlib.sha256(whole).hexdigest()
