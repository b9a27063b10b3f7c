"""Reading shards: both backends alike, every damage named, several directories as one."""

from __future__ import annotations

import contextlib
import dataclasses
import io
import tarfile

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fixtures.shards import assert_same, make_shards
from fxtrain.contract import (
    INDEX_NAME,
    ContractError,
    DamagedError,
    FxError,
    LocalFolder,
    SplitCounts,
    UnfinishedError,
    UsageError,
    concatenate,
    pack_block,
    write_index,
)
from fxtrain.data import BACKENDS, open_shards, read_arrays, read_shard, zarr_reader
from fxtrain.data.tar_reader import split_tar

backends = pytest.mark.parametrize("backend", BACKENDS)


def first_file(index, split="train", number=0):
    """The shard's file that holds the codes."""
    files = index.shards_of(split)[number].files
    return next(file.path for file in files if file.path.endswith(".tar") or "/codes/" in file.path)


def corrupt(path, change):
    path.write_bytes(change(path.read_bytes()))


@pytest.mark.parametrize("with_mel", [False, True])
def test_both_backends_hold_the_same_samples(with_mel, tmp_path):
    loaded = []
    for backend in BACKENDS:
        make_shards(tmp_path / backend, backend=backend, with_mel=with_mel)
        dataset = open_shards(tmp_path / backend)
        assert dataset.index.backend == backend
        loaded.append({split: dataset.load(split) for split in ("train", "valid", "test")})
    for split, expected in loaded[0].items():
        assert_same(loaded[1][split], expected)
        assert [record["id"] for record in expected.records] == [
            f"{split}-{i}" for i in range(len(expected))
        ]


@backends
def test_both_ways_to_read_give_the_same_samples(backend, tmp_path):
    make_shards(tmp_path, backend=backend, with_mel=True)
    dataset = open_shards(str(tmp_path))
    whole = dataset.load("train")
    entries = dataset.index.shards_of("train")
    assert len(entries) == 3
    plain = [b for e in entries for b in read_shard(dataset.folder, e, dataset.index)]
    assert_same(concatenate(plain), whole)
    for name, array in dataset.load_arrays("train").items():
        np.testing.assert_array_equal(array, whole.arrays()[name])
    assert dataset.n_samples("train") == len(whole) == 64


@backends
def test_remote_folders(backend, tmp_path):
    uri = f"memory://data-{backend}/set"
    make_shards(uri, backend=backend)
    make_shards(tmp_path, backend=backend)
    assert_same(open_shards(uri).load("valid"), open_shards(tmp_path).load("valid"))


@backends
def test_order_in_the_index_does_not_matter(backend, tmp_path):
    index = make_shards(tmp_path, backend=backend)
    expected = open_shards(tmp_path).load("train")
    write_index(LocalFolder(tmp_path), dataclasses.replace(index, shards=index.shards[::-1]))
    dataset = open_shards(tmp_path)
    for name, array in dataset.load_arrays("train").items():
        np.testing.assert_array_equal(array, expected.arrays()[name])
    assert_same(dataset.load("train"), expected)


# Damage


@backends
@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda data: bytes([data[0] ^ 1]) + data[1:], "another CRC-32C"),
        (lambda data: data[:-1], "bytes, the index says"),
        (lambda data: b"", "has 0 bytes"),
    ],
)
def test_an_altered_shard_is_named(backend, change, message, tmp_path):
    index = make_shards(tmp_path, backend=backend)
    name = first_file(index, number=1)
    corrupt(tmp_path / name, change)
    dataset = open_shards(tmp_path)
    for read in (dataset.load, dataset.load_arrays):
        with pytest.raises(DamagedError, match=message) as caught:
            read("train")
        assert name in str(caught.value)
        assert "\n" not in str(caught.value)
    assert len(dataset.load("valid")) == 16  # the others are whole


@backends
def test_a_missing_shard_is_named(backend, tmp_path):
    index = make_shards(tmp_path, backend=backend)
    name = first_file(index, number=2)
    (tmp_path / name).unlink()
    with pytest.raises(DamagedError, match="is missing") as caught:
        open_shards(tmp_path).load("train")
    assert name in str(caught.value)
    for read in (blocks_without_hashes, arrays_without_hashes):
        with pytest.raises(DamagedError, match="is missing") as caught:
            read(tmp_path)
        assert name in str(caught.value)


def blocks_without_hashes(path):
    for shard in open_shards(path).shards_of("train"):
        list(read_shard(shard.folder, shard.entry, shard.index, verify=False))


def arrays_without_hashes(path):
    for shard in open_shards(path).shards_of("train"):
        shard.arrays(verify=False)


@backends
def test_shards_that_changed_places_are_noticed(backend, tmp_path):
    index = make_shards(tmp_path, backend=backend)
    a, b = (tmp_path / first_file(index, number=number) for number in (0, 1))
    first, second = a.read_bytes(), b.read_bytes()
    a.write_bytes(second)
    b.write_bytes(first)
    with pytest.raises(DamagedError, match=r"CRC-32C|bytes"):
        open_shards(tmp_path).load("train")


def test_missing_zarr_metadata_is_named(tmp_path):
    make_shards(tmp_path, backend="zarr")
    (tmp_path / "train.zarr" / "codes" / "zarr.json").unlink()
    with pytest.raises(DamagedError, match=r"train\.zarr/codes/zarr\.json is missing"):
        open_shards(tmp_path).load("train")


@pytest.mark.parametrize(
    ("keep", "message"),
    [
        (lambda size: 0, "not a readable tar"),
        (lambda size: 700, "cut in member|not a readable"),
        (lambda size: size // 2 // 512 * 512, "cut in member|not a readable"),
        (lambda size: size * 3 // 4, "cut in member|not a readable"),
    ],
)
def test_a_cut_tar_is_noticed_without_hashes(keep, message, tmp_path):
    index = make_shards(tmp_path, n_train=300, shard_size=600)
    name = first_file(index)
    corrupt(tmp_path / name, lambda data: data[: keep(len(data))])
    for read in (blocks_without_hashes, arrays_without_hashes):
        with pytest.raises(DamagedError, match=f"train-000000.*({message})"):
            read(tmp_path)


def test_a_tar_cut_between_blocks_is_noticed_without_hashes(tmp_path):
    index = make_shards(tmp_path, n_train=300, shard_size=600)
    name = first_file(index)
    with tarfile.open(tmp_path / name) as tar:
        second = next(m for m in tar.getmembers() if "-0001." in m.name)
    corrupt(tmp_path / name, lambda data: data[: second.offset])
    for read in (blocks_without_hashes, arrays_without_hashes):
        with pytest.raises(DamagedError, match="holds 250 samples, the index says 300"):
            read(tmp_path)


@pytest.fixture(scope="module", params=list(BACKENDS))
def tiny(request, tmp_path_factory):
    path = tmp_path_factory.mktemp("tiny")
    index = make_shards(
        path,
        backend=request.param,
        n_train=3,
        n_valid=0,
        n_test=0,
        n_codebooks=2,
        n_audio_samples=4,
        hop_samples=1,
    )
    return LocalFolder(path), index


class Altered:
    """A folder whose one file reads with other bytes."""

    def __init__(self, folder, name, data):
        self.uri, self._folder, self._name, self._data = folder.uri, folder, name, data

    def size(self, name):
        return self._folder.size(name)

    def read(self, name, n_bytes=None):
        return self._data if name == self._name else self._folder.read(name, n_bytes)


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_no_bytes_raise_anything_but_a_typed_error(tiny, data):
    """Unverified, any mutation either reads as samples of the right shape or is a DamagedError."""
    folder, index = tiny
    (entry,) = index.shards
    shared = [file.path for file in index.files if file.path.endswith("/zarr.json")]
    name = data.draw(st.sampled_from([file.path for file in entry.files] + shared))
    whole = bytearray(folder.read(name))
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(whole) - 1))
        whole[at] = data.draw(st.sampled_from([0, 1, 0x20, 0x28, 0x30, 0x39, 0x7B, 0x80, 0xFF]))
    if data.draw(st.booleans()):
        del whole[data.draw(st.integers(0, len(whole))) :]
    altered = Altered(folder, name, bytes(whole))
    with contextlib.suppress(FxError):
        assert read_arrays(altered, entry, index, verify=False)["codes"].shape == (3, 2, 4)
    with contextlib.suppress(FxError):
        assert sum(map(len, read_shard(altered, entry, index, verify=False))) == 3


def make_tar(members):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for info, content in members:
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


@settings(max_examples=60, deadline=None)
@given(
    contents=st.dictionaries(
        st.from_regex(r"[a-z0-9]{1,40}\.[a-z.]{1,50}", fullmatch=True).filter(
            lambda name: not name.endswith(".")
        ),
        st.binary(max_size=1200),
        min_size=1,
        max_size=5,
    ),
    form=st.sampled_from([tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT]),
)
def test_members_are_where_tarfile_puts_them(contents, form):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=form) as tar:
        for name, content in contents.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    found = {f"{key}.{rest}": bytes(data) for key, rest, data in split_tar(buffer.getvalue(), "")}
    assert found == contents


def evil_members(tiny_block):
    """(what, extra tar members) that no honest writer makes."""
    link = tarfile.TarInfo("train-000000-0000.link")
    link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
    folder = tarfile.TarInfo("train-000000-0000.d")
    folder.type = tarfile.DIRTYPE
    return {
        "a link": [(link, b"")],
        "a folder": [(folder, b"")],
        "a name without a dot": [(tarfile.TarInfo("README"), b"hello")],
        "a way out": [(tarfile.TarInfo("../../escape"), b"gotcha")],
        "pickled objects": [(tarfile.TarInfo("train-000000-0000.codes.npy"), object_array())],
    }


def object_array():
    buffer = io.BytesIO()
    np.save(buffer, np.array([{}, {}, {}], dtype=object), allow_pickle=True)
    return buffer.getvalue()


@pytest.mark.parametrize("what", list(evil_members(None)))
def test_evil_tars_are_refused(what, tmp_path):
    index = make_shards(tmp_path / "set", n_train=3, n_valid=0, n_test=0)
    (entry,) = index.shards
    dataset = open_shards(tmp_path / "set")
    honest = pack_block(dataset.load("train"))
    members = [(tarfile.TarInfo(f"train-000000-0000.{n}"), data) for n, data in honest.items()]
    altered = Altered(dataset.folder, entry.files[0].path, make_tar(members))
    assert read_arrays(altered, entry, index, verify=False)["codes"].shape[0] == 3
    members += evil_members(None)[what]
    altered = Altered(dataset.folder, entry.files[0].path, make_tar(members))
    with pytest.raises(DamagedError, match="train-000000"):
        read_arrays(altered, entry, index, verify=False)
    with pytest.raises(DamagedError, match="train-000000"):
        list(read_shard(altered, entry, index, verify=False))
    assert {path.name for path in tmp_path.iterdir()} == {"set"}


def test_members_of_a_later_version_are_left_alone(tmp_path):
    index = make_shards(tmp_path, n_train=3, n_valid=0, n_test=0)
    (entry,) = index.shards
    dataset = open_shards(tmp_path)
    block = dataset.load("train")
    members = {**pack_block(block), "note.txt": b"from the future"}
    named = [(tarfile.TarInfo(f"train-000000-0000.{n}"), data) for n, data in members.items()]
    altered = Altered(dataset.folder, entry.files[0].path, make_tar(named))
    assert_same(concatenate(list(read_shard(altered, entry, index, verify=False))), block)


# Opening


def test_an_unfinished_directory_says_what_to_do(tmp_path):
    make_shards(tmp_path)
    (tmp_path / INDEX_NAME).unlink()
    with pytest.raises(UnfinishedError, match="fxpipe encode"):
        open_shards(tmp_path)


def test_nothing_given():
    with pytest.raises(UsageError, match="no shards directory"):
        open_shards([])


def test_unknown_and_empty_splits(tmp_path):
    make_shards(tmp_path, n_valid=0)
    dataset = open_shards(tmp_path)
    with pytest.raises(UsageError, match="unknown split 'trian': did you mean 'train'"):
        dataset.load("trian")
    for read in (dataset.load, dataset.load_arrays, dataset.n_samples):
        with pytest.raises(
            ContractError, match="no samples in split 'valid', only in: train, test"
        ):
            read("valid")


def test_a_split_counted_as_empty_is_not_named_among_those_there(tmp_path):
    index = make_shards(tmp_path, n_valid=0)
    none = dict.fromkeys(index.vocabulary.names, 0)
    counts = index.counts | {"valid": SplitCounts(0, {}, none)}
    counted = dataclasses.replace(index, counts=counts)
    write_index(LocalFolder(tmp_path), counted)
    with pytest.raises(ContractError, match=r"'valid', only in: train, test$"):
        open_shards(tmp_path).n_samples("valid")


def test_a_format_this_build_cannot_read_is_named(tmp_path):
    index = make_shards(tmp_path)
    write_index(LocalFolder(tmp_path), dataclasses.replace(index, backend="parquet"))
    with pytest.raises(ContractError, match="unknown shard format 'parquet'"):
        open_shards(tmp_path).load("train")


def test_a_gap_in_the_index_is_refused_on_opening(tmp_path):
    index = make_shards(tmp_path)
    write_index(LocalFolder(tmp_path), dataclasses.replace(index, shards=index.shards[1:]))
    with pytest.raises(ContractError, match="starts at sample 24, expected 0"):
        open_shards(tmp_path)


@backends
def test_codes_outside_the_codebook_are_refused(backend, tmp_path):
    index = make_shards(tmp_path, backend=backend)
    codec = dataclasses.replace(index.codec, codebook_size=8)
    write_index(LocalFolder(tmp_path), dataclasses.replace(index, codec=codec))
    dataset = open_shards(tmp_path)
    for read in (dataset.load, dataset.load_arrays):
        with pytest.raises(DamagedError, match=r"is out of range \(codebooks hold 8\)"):
            read("train")


# Speed without another meaning


@pytest.mark.parametrize(("n_samples", "shard_size"), [(48, 24), (50, 24), (7, 256), (513, 512)])
def test_zarr_read_directly_gives_what_zarr_gives(n_samples, shard_size, tmp_path, monkeypatch):
    make_shards(tmp_path, backend="zarr", with_mel=True, n_train=n_samples, shard_size=shard_size)
    direct = open_shards(tmp_path).load_arrays("train")
    used = []
    decode = zarr_reader._decode
    monkeypatch.setattr(zarr_reader, "_decode", lambda *a: used.append(1) or decode(*a))
    open_shards(tmp_path).load_arrays("train")
    assert not used
    monkeypatch.setattr(zarr_reader, "_decode_directly", lambda *a: None)
    for name, array in open_shards(tmp_path).load_arrays("train").items():
        np.testing.assert_array_equal(direct[name], array)
        assert direct[name].dtype == array.dtype
    assert used


def test_another_zarr_layout_is_left_to_zarr(tmp_path):
    make_shards(tmp_path, backend="zarr")
    metadata = (tmp_path / "train.zarr" / "codes" / "zarr.json").read_bytes()
    assert zarr_reader.grid_of(metadata) == zarr_reader.Grid(64, 24, 24, (4, 16), "uint16")
    for old, new in (
        (b'"end"', b'"start"'),
        (b'"blosc"', b'"zstd"'),
        (b'"little"', b'"big"'),
        (b'"crc32c"', b'"crc"'),
        (b'"regular"', b'"rectangular"'),
        (b"24", b"24.0"),
        (b"{", b"["),
    ):
        assert zarr_reader.grid_of(metadata.replace(old, new)) is None


@backends
def test_only_what_is_asked_for_is_read(backend, tmp_path):
    index = make_shards(tmp_path, backend=backend, with_mel=True)
    read = []

    class Watched(LocalFolder):
        def read(self, name, n_bytes=None):
            read.append(name)
            return super().read(name, n_bytes)

    (entry, *_) = index.shards_of("train")
    found = read_arrays(Watched(tmp_path), entry, index, fields=("codes", "order"))
    assert sorted(found) == ["codes", "order"]
    assert not [name for name in read if "params" in name or "mel" in name or "records" in name]
    out = {"order": np.zeros((24, 3), np.uint8)}
    assert read_arrays(Watched(tmp_path), entry, index, out=out) is out
    np.testing.assert_array_equal(out["order"], found["order"])
