"""Shard writers: whole, repeatable, independent of each other, and readable by their libraries."""

from __future__ import annotations

import dataclasses
import gc
import hashlib
import io
import os
import subprocess
import sys
import tarfile
import time

import numpy as np
import pytest

from fixtures.shards import make_shards, random_block
from fxpipe.store import BACKENDS, DEFAULT_SHARD_SIZE, fields_of, open_writer, shard_name
from fxpipe.store.tar_store import BLOCK_SAMPLES, pack_tar
from fxpipe.store.zarr_store import MAX_CHUNK_SAMPLES, chunk_samples, refuse_tiny_chunks
from fxtrain.contract import (
    PAD,
    Block,
    ClueInfo,
    ContractError,
    DamagedError,
    FxError,
    LocalFolder,
    MelInfo,
    Param,
    PedalEntry,
    UsageError,
    Vocabulary,
    concatenate,
    open_folder,
    select,
    unpack_block,
)
from fxtrain.data import read_arrays, read_shard

VOCABULARY = Vocabulary(
    tuple(
        PedalEntry(name, "drive", (Param("gain_db", "dB", 0.0, 1.0, "linear", ""),))
        for name in ("fuzz", "wah", "echo")
    )
)


FOUR_CLUES = ClueInfo((), ((1.0, 2.0, 1.0),), n_shapes=2)


def tiny_block(n_samples=7, *, n_mels=3, seed=0):
    return random_block(
        np.random.default_rng(seed),
        "train",
        n_samples,
        vocabulary=VOCABULARY,
        max_chain_length=2,
        n_codebooks=2,
        codebook_size=16,
        n_frames=5,
        n_mels=n_mels,
        n_clues=FOUR_CLUES.n_clues if n_mels else None,
    )


def write_all(folder, backend, block, shard_size, numbers=None):
    writer = open_writer(backend, shard_size)
    shared = writer.prepare(folder, "train", len(block), fields_of(block))
    firsts = list(range(0, len(block), shard_size))
    entries = {
        number: writer.write(
            folder, "train", number, firsts[number], select(block, rows(firsts[number], shard_size))
        )
        for number in (range(len(firsts)) if numbers is None else numbers)
    }
    return shared, [entries[number] for number in sorted(entries)]


def rows(first, n):
    return slice(first, first + n)


def index_for(tmp_path, backend, block, shared):
    """An index that fits ``block``: only what readers look at matters."""
    index = make_shards(tmp_path / "any", backend=backend, n_train=1, n_valid=0, n_test=0)
    mel = block.mel
    if mel is not None:
        mel = MelInfo(mel.shape[1], 2048, 1, 30.0, 16_000.0, -80.0, 0.5)
    codec = dataclasses.replace(
        index.codec, n_codebooks=block.codes.shape[1], codebook_size=16, hop_samples=1
    )
    return dataclasses.replace(
        index,
        codec=codec,
        mel=mel,
        clues=FOUR_CLUES if block.clues is not None else None,
        n_audio_samples=block.codes.shape[2],
        vocabulary=VOCABULARY,
        max_chain_length=2,
        files=shared,
    )


@pytest.mark.parametrize("backend", BACKENDS)
def test_what_is_written_is_read(backend, tmp_path):
    block = tiny_block(7)
    folder = LocalFolder(tmp_path / "out")
    shared, entries = write_all(folder, backend, block, shard_size=3)
    assert [(e.name, e.first, e.n_samples) for e in entries] == [
        ("train-000000", 0, 3),
        ("train-000001", 3, 3),
        ("train-000002", 6, 1),
    ]
    index = index_for(tmp_path, backend, block, shared)
    found = concatenate([b for entry in entries for b in read_shard(folder, entry, index)])
    for name, array in block.arrays().items():
        np.testing.assert_array_equal(found.arrays()[name], array)
        assert found.arrays()[name].dtype == array.dtype
    assert found.records == block.records
    listed = {file.path for entry in entries for file in entry.files} | {f.path for f in shared}
    assert set(folder.names()) == listed


@pytest.mark.parametrize("backend", BACKENDS)
def test_bytes_depend_on_samples_alone(backend, tmp_path, monkeypatch):
    block = tiny_block(7)
    first = LocalFolder(tmp_path / "a")
    shared, entries = write_all(first, backend, block, 3)
    monkeypatch.setattr(time, "time", lambda: 2_000_000_000.0)
    again = write_all(LocalFolder(tmp_path / "b"), backend, block, 3, numbers=(2, 0, 1))
    assert (shared, entries) == again
    assert write_all(first, backend, block, 3) == again  # over what is there
    for entry in entries:
        for file in entry.files:
            data = first.read(file.path)
            assert (len(data), hashlib.sha256(data).hexdigest()) == (file.n_bytes, file.sha256)


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_shard_needs_no_other_shard(backend, tmp_path):
    block = tiny_block(7)
    folder = LocalFolder(tmp_path / "alone")
    shared, (entry,) = write_all(folder, backend, block, 3, numbers=(1,))
    index = index_for(tmp_path, backend, block, shared)
    (found,) = read_shard(folder, entry, index)
    np.testing.assert_array_equal(found.codes, block.codes[3:6])
    assert found.records == block.records[3:6]


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_write_that_fails_leaves_no_half_file(backend, tmp_path):
    class FullDisk(LocalFolder):
        def write(self, name, data):
            if name.endswith((".tar", ".jsonl")):
                raise FxError(f"cannot write {name}: no space left")
            return super().write(name, data)

    block = tiny_block(3)
    with pytest.raises(FxError, match="no space"):
        write_all(FullDisk(tmp_path), backend, block, 3)
    assert not [name for name in LocalFolder(tmp_path).names() if name.endswith((".tar", "jsonl"))]
    shared, entries = write_all(LocalFolder(tmp_path), backend, block, 3)
    assert write_all(LocalFolder(tmp_path / "fresh"), backend, block, 3) == (shared, entries)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("n_mels", [None, 3])
def test_pedals_without_parameters_and_empty_chains(backend, n_mels, tmp_path):
    block = tiny_block(4, n_mels=n_mels)
    bare = dataclasses.replace(
        block,
        order=np.full_like(block.order, PAD),
        params=np.empty((4, 2, 0), np.float32),
    )
    folder = LocalFolder(tmp_path / "bare")
    shared, entries = write_all(folder, backend, bare, 3)
    vocabulary = Vocabulary((PedalEntry("fuzz", "drive", ()),))
    index = index_for(tmp_path, backend, bare, shared)
    index = dataclasses.replace(index, vocabulary=vocabulary)
    arrays = [read_arrays(folder, entry, index) for entry in entries]
    assert np.concatenate([a["params"] for a in arrays]).shape == (4, 2, 0)
    assert (np.concatenate([a["order"] for a in arrays]) == PAD).all()
    assert ("mel" in arrays[0]) == (n_mels is not None)


@pytest.mark.parametrize("backend", BACKENDS)
def test_round_trip_through_remote_storage(backend, tmp_path):
    uri = f"memory://store-{backend}"
    make_shards(uri, backend=backend, with_mel=True)
    make_shards(tmp_path, backend=backend, with_mel=True)
    remote, local = open_folder(uri), LocalFolder(tmp_path)
    assert remote.names() == local.names()
    assert all(remote.read(name) == local.read(name) for name in local.names())


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(
    ("number", "first", "n", "message"),
    [
        (1, 2, 3, r"train-000001: starts at sample 2, expected 3 \(3 samples a shard\)"),
        (1, 4, 3, "train-000001: starts at sample 4, expected 3"),
        (0, 0, 4, "train-000000: 4 samples, expected 1 to 3"),
        (0, 0, 0, "train-000000: 0 samples, expected 1 to 3"),
    ],
)
def test_a_block_in_the_wrong_place_is_refused(backend, number, first, n, message, tmp_path):
    block = tiny_block(7)
    writer = open_writer(backend, 3)
    writer.prepare(LocalFolder(tmp_path), "train", 7, fields_of(block))
    with pytest.raises(ContractError, match=message):
        writer.write(LocalFolder(tmp_path), "train", number, first, select(block, rows(0, n)))


@pytest.mark.parametrize("backend", BACKENDS)
def test_unknown_split_and_shard_size(backend, tmp_path):
    with pytest.raises(UsageError, match="did you mean 'train'"):
        open_writer(backend, 3).write(LocalFolder(tmp_path), "trian", 0, 0, tiny_block(3))
    with pytest.raises(UsageError, match="shard size 0"):
        open_writer(backend, 0)


def test_unknown_backend_names_the_nearest():
    with pytest.raises(UsageError, match=r"shard format 'webdatset': did you mean 'webdataset'\?"):
        open_writer("webdatset")


def test_default_sizes_are_whole_blocks_and_chunks():
    assert set(DEFAULT_SHARD_SIZE) == set(BACKENDS)
    assert {name: open_writer(name).shard_size for name in BACKENDS} == DEFAULT_SHARD_SIZE
    assert DEFAULT_SHARD_SIZE["webdataset"] % BLOCK_SAMPLES == 0
    assert DEFAULT_SHARD_SIZE["zarr"] % MAX_CHUNK_SAMPLES == 0


def test_names_sort_in_reading_order():
    names = [shard_name("train", n) for n in (0, 9, 10, 99_999, 100_000)]
    assert names == sorted(names)


def test_importing_the_store_loads_no_library():
    code = (
        "import sys, fxpipe.store; "
        "print([m for m in ('torch', 'zarr', 'webdataset') if m in sys.modules])"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=True
    )
    assert result.stdout.strip() == "[]"


# webdataset


@pytest.mark.parametrize("sizes", [[BLOCK_SAMPLES, 10], [BLOCK_SAMPLES, BLOCK_SAMPLES]])
def test_tar_members_are_blocks_in_fixed_order(sizes):
    block = tiny_block(sum(sizes), n_mels=None)
    with tarfile.open(fileobj=io.BytesIO(pack_tar(block, "train-000007"))) as tar:
        members = tar.getmembers()
        codes = [tar.extractfile(m).read() for m in members if m.name.endswith("codes.npy")]
    fields = ["codes.npy", "order.npy", "params.npy", "records.jsonl"]
    assert [m.name for m in members] == [
        f"train-000007-{part:04d}.{field}" for part in (0, 1) for field in fields
    ]
    assert [len(np.load(io.BytesIO(data))) for data in codes] == sizes
    assert {(m.mtime, m.uid, m.gid, m.uname, m.gname, m.mode) for m in members} == {
        (0, 0, 0, "fxpipe", "fxpipe", 0o444)
    }


@pytest.mark.filterwarnings("ignore::ResourceWarning")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_the_webdataset_library_reads_our_shards(tmp_path):
    """The library leaves the shard open until it is collected, hence the filters."""
    block = tiny_block(BLOCK_SAMPLES + 10)
    folder = LocalFolder(tmp_path)
    write_all(folder, "webdataset", block, 1000)
    import webdataset

    assert webdataset.utils.enforce_security  # WDS_SECURE was set before it was imported
    samples = list(
        webdataset.WebDataset(
            str(tmp_path / "train-000000.tar"), shardshuffle=False, empty_check=False
        )
    )
    assert [sample["__key__"] for sample in samples] == ["train-000000-0000", "train-000000-0001"]
    gc.collect()
    parts = []
    for sample in samples:
        members = {name: data for name, data in sample.items() if not name.startswith("__")}
        assert all(isinstance(data, bytes) for data in members.values())  # nothing was decoded
        parts.append(unpack_block(members, "wds"))
    found = concatenate(parts)
    np.testing.assert_array_equal(found.codes, block.codes)
    np.testing.assert_array_equal(found.mel, block.mel)
    assert found.records == block.records


# zarr


@pytest.mark.parametrize(
    ("shard_size", "chunk"), [(1024, 256), (1000, 250), (24, 24), (256, 256), (257, 1), (4096, 256)]
)
def test_chunks_divide_a_shard(shard_size, chunk):
    assert chunk_samples(shard_size) == chunk


@pytest.mark.parametrize(
    ("shard_size", "chunk", "nearest"),
    [(257, 1, "256 and 258"), (1021, 1, "1020 and 1022"), (514, 2, "513 and 515")],
)
def test_a_size_that_hardly_divides_is_refused_with_those_that_do(shard_size, chunk, nearest):
    with pytest.raises(UsageError) as refused:
        refuse_tiny_chunks(shard_size)
    line = str(refused.value)
    assert line.startswith(f"shard size {shard_size}: zarr would compress {chunk} of its samples")
    assert line.endswith(f"the nearest sizes that work are {nearest}")
    for size in map(int, nearest.split(" and ")):
        refuse_tiny_chunks(size)


def test_a_shard_of_one_chunk_may_have_any_size_up_to_it():
    for size in (*range(1, MAX_CHUNK_SAMPLES + 1), *DEFAULT_SHARD_SIZE.values()):
        refuse_tiny_chunks(size)


def test_the_zarr_library_reads_our_shards_in_place(tmp_path):
    import zarr

    block = tiny_block(7)
    write_all(LocalFolder(tmp_path), "zarr", block, 3)
    group = zarr.open_group(tmp_path / "train.zarr", mode="r")
    assert sorted(name for name, _ in group.arrays()) == [
        "clues", "codes", "mel", "order", "params"
    ]  # fmt: skip
    for name, array in block.arrays().items():
        np.testing.assert_array_equal(group[name][:], array)
    codes = group["codes"]
    assert (codes.chunks, codes.shards) == ((3, 2, 5), (3, 2, 5))
    assert codes.metadata.dimension_names == ("B", "K", "T")
    assert codes.fill_value == 65535
    assert np.isnan(group["params"].fill_value)


def test_codes_take_ten_bits_in_zarr(tmp_path):
    rng = np.random.default_rng(0)
    block = tiny_block(256, n_mels=None)
    block = dataclasses.replace(block, codes=rng.integers(0, 1024, (256, 9, 173)).astype(np.uint16))
    _, (entry,) = write_all(LocalFolder(tmp_path), "zarr", block, 256)
    (codes,) = (file for file in entry.files if "/codes/" in file.path)
    assert codes.n_bytes < 1.02 * 256 * 9 * 173 * 10 / 8


def test_a_missing_zarr_shard_never_looks_like_codes(tmp_path):
    """zarr returns the filling for it and no error; the filling is no code of any codec."""
    import zarr

    block = tiny_block(6)
    folder = LocalFolder(tmp_path / "out")
    shared, entries = write_all(folder, "zarr", block, 3)
    index = index_for(tmp_path, "zarr", block, shared)
    lost = next(file for file in entries[1].files if "/codes/" in file.path)
    folder.delete(lost.path)
    codes = zarr.open_group(tmp_path / "out" / "train.zarr", mode="r")["codes"]
    assert (codes[3:] == 65535).all()
    with pytest.raises(DamagedError, match=r"train\.zarr/codes/c/1/0/0 is missing"):
        list(read_shard(folder, entries[1], index))
    forgotten = dataclasses.replace(
        entries[1], files=tuple(file for file in entries[1].files if file != lost)
    )
    with pytest.raises(DamagedError, match="codes/c/1/0/0 is not among its files: never written"):
        list(read_shard(folder, forgotten, index))


def test_a_field_that_is_all_filling_is_written_all_the_same(tmp_path):
    block = tiny_block(3)
    block = dataclasses.replace(block, order=np.full_like(block.order, PAD))
    _, (entry,) = write_all(LocalFolder(tmp_path), "zarr", block, 3)
    assert any("/order/" in file.path for file in entry.files)


def test_zarr_shards_want_a_prepared_split(tmp_path):
    block = tiny_block(7)
    writer = open_writer("zarr", 3)
    folder = LocalFolder(tmp_path)
    with pytest.raises(ContractError, match="prepare the split before its shards"):
        writer.write(folder, "train", 0, 0, select(block, rows(0, 3)))
    writer.prepare(folder, "train", 7, fields_of(block))
    with pytest.raises(ContractError, match=r"train-000002: codes is \(2, 2, 5\), expected \(1"):
        writer.write(folder, "train", 2, 6, select(block, rows(0, 2)))
    with pytest.raises(ContractError, match=r"expected \(3, 2, 5\)"):
        writer.write(folder, "train", 0, 0, select(block, rows(0, 2)))
    wide = dataclasses.replace(block, codes=block.codes.astype(np.int64))
    with pytest.raises(ContractError, match="expected uint16"):
        writer.write(folder, "train", 0, 0, select(wide, rows(0, 3)))


def test_fields_the_contract_does_not_know_are_refused(tmp_path):
    fields = {"code": ("uint16", (2,))}
    with pytest.raises(ContractError, match="unknown field 'code': did you mean 'codes'"):
        open_writer("zarr", 3).prepare(LocalFolder(tmp_path), "train", 3, fields)


def test_blocks_differ_between_seeds():
    """Guards the tests above: equal blocks would let a mix-up of samples pass."""
    a, b = tiny_block(seed=0), tiny_block(seed=1)
    assert isinstance(a, Block)
    assert not np.array_equal(a.codes, b.codes)
    assert len(np.unique(a.codes.reshape(len(a), -1), axis=0)) == len(a)
