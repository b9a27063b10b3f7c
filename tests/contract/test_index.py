"""``index.json``: written last, read with one clear line for everything that can stand there."""

from __future__ import annotations

import dataclasses
import errno
import hashlib
import json
import os
import re

import numpy as np
import pytest

from fixtures.shards import make_shards
from fxtrain.contract import (
    CODEBOOKS_NAME,
    FORMAT_VERSION,
    INDEX_NAME,
    ContractError,
    DamagedError,
    FileEntry,
    FormatVersionError,
    FxError,
    LocalFolder,
    MissingExtraError,
    UnfinishedError,
    add_counts,
    cannot_write,
    count_samples,
    identity_of,
    json_bytes,
    open_folder,
    pack_npy,
    read_codebooks,
    read_index,
    read_index_as,
    read_verified,
    write_index,
)


@pytest.fixture
def made(tmp_path):
    index = make_shards(tmp_path, n_train=30, n_valid=2, n_test=2)
    return LocalFolder(tmp_path), index


def change_index(folder, **values):
    data = json.loads(folder.read(INDEX_NAME))
    folder.write(INDEX_NAME, json.dumps({**data, **values}).encode())


def test_what_is_written_is_read(made):
    folder, index = made
    assert read_index(folder) == index
    assert read_index(open_folder(folder.path)) == index
    before = folder.read(INDEX_NAME)
    write_index(folder, index)
    assert folder.read(INDEX_NAME) == before


def test_values_that_follow_from_others(made):
    _, index = made
    assert index.n_frames == 16
    assert index.commuting_pairs == {frozenset({"delay", "reverb"})}
    assert [shard.first for shard in index.shards_of("train")] == [0, 24]
    assert index.shards_of("nothing") == ()


@pytest.mark.parametrize(
    ("n_samples", "hop", "frames"), [(88_200, 512, 173), (88_576, 512, 173), (88_577, 512, 174)]
)
def test_frames_count_the_padded_window(made, n_samples, hop, frames):
    _, index = made
    assert dataclasses.replace(index.codec, hop_samples=hop).n_frames(n_samples) == frames


def test_no_index_means_unfinished(made):
    folder, _ = made
    folder.delete(INDEX_NAME)
    with pytest.raises(UnfinishedError, match=r"no index\.json.*'fxpipe encode'"):
        read_index(folder)


@pytest.mark.parametrize("data", [b"", b"{", b"\xff\xfe", b'{"kind": }'])
def test_an_index_that_is_not_json(made, data):
    folder, _ = made
    folder.write(INDEX_NAME, data)
    with pytest.raises(DamagedError, match=r"index\.json: not JSON"):
        read_index(folder)


@pytest.mark.parametrize(
    ("text", "found"),
    [("[]", "list"), ("3", "int"), ("{}", "None"), ('{"kind": "renders"}', "renders")],
)
def test_an_index_of_something_else(made, text, found):
    folder, _ = made
    folder.write(INDEX_NAME, text.encode())
    with pytest.raises(ContractError, match=f"found kind '?{found}'?, expected 'fxpipe-shards'"):
        read_index(folder)


@pytest.mark.parametrize("version", [0, FORMAT_VERSION + 1, None, "1"])
def test_another_format_version_says_what_to_do(made, version):
    folder, _ = made
    change_index(folder, format_version=version)
    expected = f"found format version {version!r}, this build reads {FORMAT_VERSION}; run 'fxpipe"
    with pytest.raises(FormatVersionError, match=expected):
        read_index(folder)


def test_keys_this_build_does_not_know(made):
    folder, _ = made
    change_index(folder, colour="red")
    with pytest.raises(ContractError, match="unknown key 'colour'"):
        read_index(folder)


def test_indexes_of_other_kinds_get_the_same_checks(tmp_path):
    @dataclasses.dataclass(frozen=True)
    class Other:
        n_things: int
        kind: str = "things"
        format_version: int = FORMAT_VERSION

    folder = LocalFolder(tmp_path)
    write_index(folder, Other(3))
    assert read_index_as(Other, folder, kind="things", made_by="make things") == Other(3)
    with pytest.raises(ContractError, match="found kind 'things', expected 'fxpipe-shards'"):
        read_index(folder)


# Identity and tallies


def test_identity_depends_on_values_and_not_on_key_order():
    assert identity_of({"a": 1, "b": [1, 2]}) == identity_of({"b": (1, 2), "a": 1})
    assert identity_of({"a": 1}) != identity_of({"a": 2})
    assert identity_of({}) == hashlib.sha256(b"{}").hexdigest()


def test_tallies(made):
    _, index = made
    chains = [("delay",), ("delay", "delay"), (), ("reverb", "delay")]
    counts = count_samples(chains, index.vocabulary)
    assert counts.n_samples == 4
    assert counts.by_length == {0: 1, 1: 1, 2: 2}
    assert counts.by_pedal == {"compressor": 0, "distortion": 0, "delay": 3, "reverb": 1}
    parts = [count_samples(some, index.vocabulary) for some in (chains[:2], chains[2:])]
    for order in (parts, parts[::-1]):  # down to the byte, in whatever order they come
        assert json_bytes(add_counts(*order)) == json_bytes(counts)


# Codebooks


def test_codebooks_have_the_shape_the_codec_says(made):
    folder, index = made
    codebooks = read_codebooks(folder, index)
    codec = index.codec
    assert codebooks.shape == (codec.n_codebooks, codec.codebook_size, codec.codebook_dim)
    assert codebooks.dtype == np.float32


def with_codebooks(folder, index, data):
    entry = folder.write(CODEBOOKS_NAME, data)
    files = tuple(entry if file.path == CODEBOOKS_NAME else file for file in index.files)
    return dataclasses.replace(index, files=files)


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.zeros((4, 64, 9), np.float32), r"float32 \(4, 64, 9\), expected float32 \(4, 64, 8\)"),
        (np.zeros((4, 64, 8), np.float64), r"float64 \(4, 64, 8\), expected float32"),
    ],
)
def test_other_codebooks_are_refused(made, array, message):
    folder, index = made
    changed = with_codebooks(folder, index, pack_npy(array))
    with pytest.raises(DamagedError, match=message):
        read_codebooks(folder, changed)


def test_codebooks_that_are_not_an_array(made):
    folder, index = made
    changed = with_codebooks(folder, index, b"no array")
    with pytest.raises(DamagedError, match=r"codebooks\.npy: not a readable npy"):
        read_codebooks(folder, changed)


def test_codebooks_that_the_index_does_not_list(made):
    folder, index = made
    with pytest.raises(FxError, match=r"codebooks\.npy"):
        read_codebooks(folder, dataclasses.replace(index, files=()))


def test_codebooks_that_the_index_lists_twice(made):
    folder, index = made
    with pytest.raises(DamagedError, match="2 times, expected once"):
        read_codebooks(folder, dataclasses.replace(index, files=2 * index.files))


def test_of_a_longer_file_one_byte_too_many_is_read(made, monkeypatch):
    """It may be larger than memory."""
    folder, index = made
    entry = dataclasses.replace(index.files[0], n_bytes=7)
    there, read, held = folder.size(entry.path), folder.read, []
    monkeypatch.setattr(folder, "read", lambda *asked: held.append(read(*asked)) or held[-1])
    with pytest.raises(DamagedError, match=f"has {there} bytes, the index says 7"):
        read_verified(folder, entry)
    assert [len(data) for data in held] == [8]


def test_a_number_that_json_has_not_is_never_written():
    with pytest.raises(ValueError, match="not JSON compliant"):
        json_bytes({"ratio": float("nan")})


# Folders


@pytest.fixture(params=["local", "memory"])
def folder(request, tmp_path):
    if request.param == "local":
        return open_folder(tmp_path / "set")
    return open_folder(f"memory://folder-{tmp_path.name}/set")


def test_files_round_trip(folder):
    entry = folder.write("a/b.bin", b"hello")
    assert entry == FileEntry("a/b.bin", 5, hashlib.sha256(b"hello").hexdigest(), "9a71bb4c")
    folder.write("c", b"")
    assert folder.names() == ["a/b.bin", "c"]
    assert (folder.size("a/b.bin"), folder.size("c"), folder.size("d")) == (5, 0, None)
    assert folder.read("a/b.bin") == b"hello" == read_verified(folder, entry)
    with folder.open("a/b.bin") as file:
        assert file.read(2) == b"he"
    folder.write("a/b.bin", b"again")
    assert folder.read("a/b.bin") == b"again"
    folder.delete("a/b.bin")
    folder.delete("a/b.bin")
    assert folder.names() == ["c"]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (None, "is missing"),
        (b"hell", "has 4 bytes, the index says 5"),
        (b"hellO", "has another sha256"),
    ],
)
def test_files_are_checked_against_the_index(folder, data, message):
    entry = folder.write("a/b.bin", b"hello")
    folder.delete("a/b.bin")
    if data is not None:
        folder.write("a/b.bin", data)
    with pytest.raises(DamagedError, match=f"a/b.bin {message}"):
        read_verified(folder, entry)
    quickly = message.replace("sha256", "CRC-32C")
    with pytest.raises(DamagedError, match=f"a/b.bin {quickly}"):
        read_verified(folder, entry, quick=True)
    with pytest.raises(DamagedError, match=f"a/b.bin {message}"):
        read_verified(folder, dataclasses.replace(entry, crc32c=""), quick=True)


def test_a_file_is_as_its_crc_says(folder):
    """The check value of CRC-32C, as every list of CRCs has it."""
    entry = folder.write("nine", bytearray(b"123456789"))
    assert entry.crc32c == "e3069283"
    for quick in (False, True):
        assert read_verified(folder, entry, quick=quick) == b"123456789"
        with pytest.raises(DamagedError, match="nine has another CRC-32C"):
            read_verified(folder, dataclasses.replace(entry, crc32c="e3069284"), quick=quick)


def test_half_written_files_are_not_there(tmp_path):
    folder = LocalFolder(tmp_path)
    folder.write("whole", b"x")
    (tmp_path / "half.123.part").write_bytes(b"y")
    assert folder.names() == ["whole"]
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith("whole")] == ["whole"]


def test_a_write_that_cannot_succeed_says_so_and_leaves_nothing(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(FxError, match=r"cannot write .*run the same command again"):
        LocalFolder(tmp_path).write("file/below", b"x")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


@pytest.mark.parametrize(
    ("number", "mend"),
    [
        (errno.ENOSPC, "No space left on device; .*free some space or"),
        (errno.EFBIG, "File too large; .*allow larger files .ulimit -f. or"),
        (errno.EACCES, "Permission denied; .*make the directory writable or"),
    ],
)
def test_what_to_do_is_told_by_what_went_wrong(number, mend):
    error = cannot_write("there/index.json", OSError(number, os.strerror(number)))
    assert re.match(f"cannot write there/index.json: {mend} choose another", str(error))


def test_storage_that_nobody_knows(tmp_path):
    with pytest.raises(MissingExtraError, match="nowhere://bucket"):
        open_folder("nowhere://bucket")
