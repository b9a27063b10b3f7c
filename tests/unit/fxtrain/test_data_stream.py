"""Batches: every sample once an epoch however the work is split, in an order the seed decides."""

from __future__ import annotations

import dataclasses
import gc
import tarfile
import threading
import time
import types

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fixtures.http import wait_until
from fixtures.shards import make_shards
from fxtrain.contract import PAD, ContractError, DamagedError, UsageError, sample_layout
from fxtrain.data import BACKENDS, open_shards, pool, stream
from fxtrain.data.shares import n_batches, worker_batches
from fxtrain.data.stream import (
    ResidentLoader,
    StreamingDataset,
    StreamLoader,
    bytes_per_sample,
    made_ahead,
    make_loader,
)

N_TRAIN = 64
kinds = pytest.mark.parametrize("resident", [True, False], ids=["resident", "stream"])


@pytest.fixture(scope="module", params=list(BACKENDS))
def dataset(request, tmp_path_factory):
    path, beside = tmp_path_factory.mktemp(request.param), {"with_mel": True, "with_clues": True}
    make_shards(path, backend=request.param, n_train=N_TRAIN, shard_size=24, **beside)
    return open_shards(path)


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    path = tmp_path_factory.mktemp("plain")
    make_shards(path, n_train=N_TRAIN, shard_size=24)
    return open_shards(path)


def load(dataset, split="train", **options):
    defaults = {"batch_size": 10, "seed": 3, "shuffle": True}
    return make_loader(dataset, split, **{**defaults, **options})


def positions(batches):
    return [int(position) for batch in batches for position in batch.position]


@kinds
def test_batches_hold_what_the_shards_hold(dataset, resident):
    block = dataset.load("train")
    for batch in load(dataset, resident=resident):
        rows = batch.position.numpy()
        assert len(batch) == len(rows)
        assert (batch.codes.dtype, batch.order.dtype) == (torch.int64, torch.int64)
        np.testing.assert_array_equal(batch.codes, block.codes[rows])
        np.testing.assert_array_equal(batch.order, block.order[rows])
        np.testing.assert_array_equal(batch.params, block.params[rows])
        np.testing.assert_array_equal(batch.lengths, (block.order[rows] != PAD).sum(axis=1))
        assert batch.mel.dtype == torch.float32
        np.testing.assert_allclose(batch.mel, block.mel[rows] / 255, rtol=1e-6)


@kinds
def test_without_mel_there_is_none(plain, resident):
    batch = next(iter(load(plain, resident=resident)))
    assert batch.mel is None
    assert batch.to("cpu").mel is None


@kinds
def test_one_rank_sees_every_sample_once(dataset, resident):
    loader = load(dataset, resident=resident)
    batches = list(loader)
    assert sorted(positions(batches)) == list(range(N_TRAIN))
    assert [len(batch) for batch in batches] == [10] * 6 + [4]
    assert len(batches) == len(loader)


@kinds
def test_order_is_decided_by_seed_and_epoch(plain, resident):
    loader = load(plain, resident=resident)
    first = positions(loader)
    loader.set_epoch(0)
    assert positions(loader) == first != sorted(first)
    loader.set_epoch(1)
    second = positions(loader)
    assert second != first
    again = load(plain, resident=resident)
    again.set_epoch(1)
    assert positions(again) == second
    assert positions(load(plain, resident=resident, seed=4)) != first


@kinds
def test_without_shuffling_samples_come_in_order(plain, resident):
    loader = load(plain, resident=resident, shuffle=False)
    assert positions(loader) == list(range(N_TRAIN))
    loader.set_epoch(5)
    assert positions(loader) == list(range(N_TRAIN))


@kinds
def test_the_global_generator_is_left_alone(plain, resident):
    before = torch.get_rng_state(), np.random.get_state()[1].copy()
    list(load(plain, resident=resident))
    assert torch.equal(torch.get_rng_state(), before[0])
    np.testing.assert_array_equal(np.random.get_state()[1], before[1])


@kinds
@pytest.mark.parametrize("world_size", [2, 3, 7])
@pytest.mark.parametrize("shuffle", [True, False])
def test_ranks_share_every_sample_exactly_once(plain, resident, world_size, shuffle):
    seen = []
    for rank in range(world_size):
        loader = load(plain, resident=resident, shuffle=shuffle, rank=rank, world_size=world_size)
        loader.set_epoch(2)
        batches = list(loader)
        assert len(batches) == len(loader)
        seen += positions(batches)
    assert sorted(seen) == list(range(N_TRAIN))


@kinds
def test_a_split_smaller_than_a_batch(plain, resident):
    (batch,) = load(plain, "valid", resident=resident, batch_size=256)
    assert len(batch) == 16


@kinds
@pytest.mark.parametrize(
    ("world_size", "batch_size"), [(2, 16), (3, 10), (7, 3), (5, 100), (70, 1)]
)
def test_all_ranks_make_equally_many_batches(plain, resident, world_size, batch_size):
    """Else ranks that train in lock step would wait for one another for ever."""
    seen, per_rank = [], []
    for rank in range(world_size):
        loader = load(
            plain, resident=resident, batch_size=batch_size, rank=rank, world_size=world_size
        )
        sizes = [len(batch) for batch in loader]
        assert set(sizes[:-1]) <= {batch_size}
        assert sizes[-1] <= batch_size
        per_rank.append(len(sizes))
        assert len(sizes) == len(loader)
        seen += positions(loader)
    assert len(set(per_rank)) == 1
    assert sorted(seen) == list(range(N_TRAIN))


def test_every_step_of_two_ranks_is_that_of_one_with_twice_the_batch(plain):
    whole = list(load(plain, resident=True, batch_size=22))
    halves = [
        list(load(plain, resident=True, batch_size=11, rank=rank, world_size=2)) for rank in (0, 1)
    ]
    for one, two in zip(whole, zip(*halves, strict=True), strict=True):
        assert sorted(positions([one])) == sorted(positions(two))


@given(
    n_samples=st.integers(1, 60),
    batch_size=st.integers(1, 9),
    world_size=st.integers(1, 9),
    n_workers=st.integers(1, 5),
)
def test_shares_of_any_size(n_samples, batch_size, world_size, n_workers):
    expected = n_batches(n_samples, batch_size, world_size)
    dealt = []
    for rank in range(world_size):
        shares = [
            worker_batches(n_samples, batch_size, rank, world_size, worker, n_workers)
            for worker in range(n_workers)
        ]
        assert all(len(run) == sum(sizes) for run, sizes in shares)
        sizes = [size for _, sizes in shares for size in sizes]
        assert len(sizes) == expected
        assert 0 <= min(sizes) <= max(sizes) <= batch_size
        dealt += [place for run, _ in shares for place in run]
    assert dealt == list(range(n_samples))


LAYOUT = {"codes": ("uint16", (1, 1)), "order": ("uint8", (2,))}


class Stand:
    """A shard of numbers, with the little of ``Shard`` that streaming needs."""

    def __init__(self, first, n_samples):
        self.first, self.n_samples = first, n_samples
        self.folder = types.SimpleNamespace(uri="here")
        self.entry = self.index = None

    def __len__(self):
        return self.n_samples

    def arrays(self, *, verify, fields=tuple(LAYOUT), out=None):
        values = np.arange(self.first, self.first + self.n_samples)
        out = out or {name: np.empty((self.n_samples, *LAYOUT[name][1])) for name in fields}
        out["codes"][...] = values[:, None, None]
        out["order"][...] = PAD
        return out


@settings(max_examples=100, deadline=None)
@given(
    sizes=st.lists(st.integers(1, 9), min_size=1, max_size=6),
    batch_size=st.integers(1, 8),
    world_size=st.integers(1, 4),
    n_workers=st.integers(1, 4),
    pool_samples=st.integers(1, 30),
    shuffle=st.booleans(),
    epoch=st.integers(0, 3),
)
def test_workers_and_ranks_cut_any_stream_without_loss_or_doubling(
    sizes, batch_size, world_size, n_workers, pool_samples, shuffle, epoch
):
    """Also with fewer shards than workers, or fewer samples."""
    firsts = np.cumsum([0, *sizes])
    shards = tuple(Stand(int(first), n) for first, n in zip(firsts, sizes, strict=False))
    seen, per_rank = [], []
    for rank in range(world_size):
        streaming = StreamingDataset(
            shards,
            LAYOUT,
            batch_size=batch_size,
            seed=1,
            shuffle=shuffle,
            rank=rank,
            world_size=world_size,
            pool_samples=pool_samples,
        )
        streaming.set_epoch(epoch)
        batches = [
            rows for worker in range(n_workers) for rows in streaming.batches(worker, n_workers)
        ]
        assert len(batches) == len(streaming)
        per_rank.append(len(batches))
        assert {len(rows["position"]) for rows in batches} <= set(range(batch_size + 1))
        for rows in batches:
            np.testing.assert_array_equal(rows["codes"][:, 0, 0], rows["position"])
            seen += rows["position"].tolist()
    assert len(set(per_rank)) == 1
    assert sorted(seen) == list(range(sum(sizes)))


@pytest.mark.parametrize("n_workers", [1, 2])
def test_worker_processes_see_every_sample_once(dataset, n_workers):
    block = dataset.load("train")
    loader = load(dataset, resident=False, n_workers=n_workers)
    before = torch.get_rng_state()
    for epoch in (0, 1):
        loader.set_epoch(epoch)
        batches = list(loader)
        assert len(batches) == len(loader)
        assert sorted(positions(batches)) == list(range(N_TRAIN))
        for batch in batches:
            np.testing.assert_array_equal(batch.codes, block.codes[batch.position])
        if epoch == 0:
            first = positions(batches)
    assert positions(batches) != first
    assert torch.equal(torch.get_rng_state(), before)


def test_damage_met_by_a_worker_is_one_line(tmp_path):
    index = make_shards(tmp_path, n_train=N_TRAIN, shard_size=24)
    name = index.shards_of("train")[1].files[0].path
    (tmp_path / name).write_bytes((tmp_path / name).read_bytes()[:-1])
    loader = load(open_shards(tmp_path), resident=False, n_workers=2)
    with pytest.raises(DamagedError, match=name) as caught:
        list(loader)
    assert "\n" not in str(caught.value)
    with pytest.raises(DamagedError, match=name):
        load(open_shards(tmp_path), resident=True)


def test_a_stream_mixes_shards_and_moves_on_through_pools(plain):
    streaming = StreamingDataset(
        plain.shards_of("train"),
        sample_layout(plain.index),
        batch_size=8,
        seed=0,
        shuffle=True,
        pool_samples=48,
    )
    rows = [batch["position"] for batch in streaming]
    assert len(set(rows[0] // 24)) > 1
    assert sorted(np.concatenate(rows)) == list(range(N_TRAIN))


def test_bytes_are_hashed_once_and_values_checked_always(tmp_path):
    index = make_shards(tmp_path, n_train=N_TRAIN, shard_size=24)
    loader = load(open_shards(tmp_path), resident=False)
    before = positions(loader)
    shard = tmp_path / index.shards_of("train")[1].files[0].path
    whole = shard.read_bytes()
    with tarfile.open(shard) as tar:
        codes, records = (tar.getmembers()[place] for place in (0, 3))
    trusted = bytearray(whole)
    trusted[records.offset_data + 1] ^= 1
    shard.write_bytes(trusted)
    assert positions(loader) == before
    with pytest.raises(DamagedError, match="CRC-32C"):
        positions(load(open_shards(tmp_path), resident=False))
    trusted[codes.offset_data + codes.size - 1] = 0x77
    shard.write_bytes(trusted)
    with pytest.raises(DamagedError, match="out of range"):
        positions(loader)


@pytest.mark.parametrize(("shuffle", "held"), [(True, 32), (False, 8)])
def test_memory_of_a_stream_does_not_grow_with_the_split(
    plain, tmp_path, monkeypatch, shuffle, held
):
    made = []
    empty = np.empty
    monkeypatch.setattr(
        pool.np, "empty", lambda shape, dtype=float: made.append(shape) or empty(shape, dtype)
    )
    make_shards(tmp_path, n_train=8 * N_TRAIN, n_valid=0, n_test=0, shard_size=24)
    sizes = []
    for data in (plain, open_shards(tmp_path)):
        made.clear()
        streaming = StreamingDataset(
            data.shards_of("train"),
            sample_layout(data.index),
            batch_size=8,
            seed=0,
            shuffle=shuffle,
            pool_samples=32,
        )
        rows = [batch["position"] for batch in streaming]
        assert len(np.concatenate(rows)) == data.n_samples("train")
        sizes.append(max(shape[0] if isinstance(shape, tuple) else shape for shape in made))
    assert sizes == [held + 24] * 2


def test_what_is_made_ahead_is_not_written_over(plain):
    """The stream uses its memory again; batches that were handed out keep theirs."""
    loader = load(plain, resident=False, batch_size=3)
    kept = list(loader)
    block = plain.load("train")
    for batch in kept:
        rows = batch.position.numpy()
        np.testing.assert_array_equal(batch.codes, block.codes[rows])
        np.testing.assert_array_equal(batch.params, block.params[rows])


def test_a_stream_may_be_left_in_the_middle(plain):
    loader = load(plain, resident=False, batch_size=3)
    others = set(threading.enumerate())  # any of them may end meanwhile: a count would not do
    for _ in range(3):
        assert len(next(iter(loader))) == 3
    gc.collect()
    wait_until(lambda: set(threading.enumerate()) <= others)
    assert sorted(positions(loader)) == list(range(N_TRAIN))


def test_who_leaves_a_stream_does_not_wait_for_a_store_that_stalls():
    """Else neither would a second Ctrl-C end ``fit``, nor the end of the program after it."""
    asked, answer, others = threading.Event(), threading.Event(), set(threading.enumerate())

    def stalling():
        yield 0
        asked.set()
        answer.wait(10)

    batches = made_ahead(stalling())
    assert next(batches) == 0
    assert asked.wait(10)
    began = time.monotonic()
    batches.close()
    assert time.monotonic() - began < 5
    assert all(each.daemon for each in set(threading.enumerate()) - others)
    answer.set()


def test_a_split_that_is_too_large_streams(plain, monkeypatch):
    assert isinstance(load(plain), ResidentLoader)
    size = sum(array.nbytes for array in plain.load_arrays("train").values())
    assert bytes_per_sample(plain) * N_TRAIN == size
    monkeypatch.setattr(stream, "RESIDENT_BYTES", size)
    assert isinstance(load(plain), ResidentLoader)
    monkeypatch.setattr(stream, "RESIDENT_BYTES", size - 1)
    assert isinstance(load(plain), StreamLoader)
    assert isinstance(load(plain, resident=True), ResidentLoader)


def test_bytes_per_sample_counts_mel(dataset):
    size = sum(array.nbytes for array in dataset.load_arrays("train").values())
    assert bytes_per_sample(dataset) * N_TRAIN == size


def test_codes_keep_all_sixteen_bits():
    codes = np.array([[[0, 32_767, 32_768, 65_534]]], np.uint16)
    arrays = {
        "codes": codes,
        "order": np.zeros((1, 1), np.uint8),
        "params": np.zeros((1, 1, 1), np.float32),
    }
    (batch,) = ResidentLoader(arrays, batch_size=1, seed=0, shuffle=False)
    assert batch.codes.tolist() == [[[0, 32_767, 32_768, 65_534]]]


def test_a_batch_moves_as_a_whole(dataset):
    batch = next(iter(load(dataset))).to("meta")
    tensors = {name: value for name, value in vars(batch).items() if name != "n_windows"}
    assert {tensor.device.type for tensor in tensors.values()} == {"meta"}


@pytest.mark.parametrize(
    "options", [{"batch_size": 0}, {"rank": 2, "world_size": 2}, {"rank": -1}, {"n_workers": -1}]
)
def test_options_that_cannot_be_right(plain, options):
    with pytest.raises(UsageError, match="expected"):
        load(plain, **options)


def test_several_directories_make_one_stream(tmp_path):
    make_shards(tmp_path / "a", seed=1, n_train=20)
    make_shards(tmp_path / "b", seed=2, n_train=30, backend="zarr")
    both = open_shards([tmp_path / "a", tmp_path / "b"])
    block = both.load("train")
    for resident in (True, False):
        batches = list(load(both, resident=resident))
        assert sorted(positions(batches)) == list(range(50))
        for batch in batches:
            np.testing.assert_array_equal(batch.codes, block.codes[batch.position])


def test_a_shard_that_says_it_is_endless_is_one_line(tmp_path):
    make_shards(tmp_path, n_train=8)
    dataset = open_shards(tmp_path)
    (shard,) = dataset.shards_of("train")
    endless = dataclasses.replace(shard.entry, n_samples=10**13)
    shards = (dataclasses.replace(shard, entry=endless),)
    layout = sample_layout(dataset.index)
    loader = StreamingDataset(shards, layout, batch_size=4, seed=0, shuffle=True)
    with pytest.raises(ContractError, match="no memory for 10000000000000 samples"):
        next(loader.batches(0, 1))
