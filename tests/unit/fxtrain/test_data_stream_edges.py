"""Orders of epochs that nobody shares, and what is read of a sample."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

import numpy as np
import pytest

from fixtures.shards import make_shards
from fxtrain.contract import DamagedError, sample_layout
from fxtrain.data import ShardDataset, open_shards
from fxtrain.data.stream import StreamingDataset, heard_fields, make_loader
from fxtrain.data.tar_reader import split_tar


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> ShardDataset:
    path = tmp_path_factory.mktemp("stream") / "shards"
    make_shards(path, n_train=40, n_valid=4, n_test=0, shard_size=4, with_mel=True)
    return open_shards(path)


def order_of(dataset: ShardDataset, seed: int, epoch: int, *, resident: bool) -> list[int]:
    loader = make_loader(dataset, "train", batch_size=8, seed=seed, shuffle=True, resident=resident)
    loader.set_epoch(epoch)
    return [place for batch in loader for place in batch.position.tolist()]


@pytest.mark.parametrize("resident", [True, False])
def test_no_epoch_of_one_seed_is_an_epoch_of_another(dataset: ShardDataset, resident: bool) -> None:
    orders = {
        tuple(order_of(dataset, seed, epoch, resident=resident))
        for seed in range(3)
        for epoch in range(3)
    }
    assert len(orders) == 9


def stream_of(
    dataset: ShardDataset, batch_size: int, seed: int = 0, **options: int
) -> StreamingDataset:
    shards, layout = dataset.shards_of("train"), sample_layout(dataset.index)
    return StreamingDataset(
        *(shards, layout), batch_size=batch_size, seed=seed, shuffle=True, **options
    )


def test_no_epoch_reads_shards_in_the_order_of_another(dataset: ShardDataset) -> None:
    orders = set()
    for seed, epoch in ((0, 0), (0, 1), (1, 0), (1, 1), (0, 2)):
        stream = stream_of(dataset, 4, seed, pool_samples=4)  # a shard at a time
        stream.set_epoch(epoch)
        orders.add(tuple(int(rows["position"][0]) // 4 for rows in stream.batches(0, 1)))
    assert len(orders) == 5
    assert all(sorted(order) == list(range(10)) for order in orders)


def test_one_shard_is_shuffled_by_seed_and_epoch(tmp_path: Path) -> None:
    make_shards(tmp_path, n_train=40, n_valid=0, n_test=0, shard_size=40)
    one = open_shards(tmp_path)
    orders = {
        tuple(order_of(one, seed, epoch, resident=False)) for seed in range(3) for epoch in range(3)
    }
    assert len(orders) == 9


def test_readers_of_one_process_do_not_shuffle_alike(tmp_path: Path) -> None:
    make_shards(tmp_path, n_train=40, n_valid=0, n_test=0, shard_size=40)
    stream = stream_of(open_shards(tmp_path), 5)
    halves = [
        np.concatenate([rows["position"] for rows in stream.batches(worker, 2)]) - 20 * worker
        for worker in range(2)
    ]
    assert sorted(halves[0]) == sorted(halves[1]) == list(range(20))
    assert halves[0].tolist() != halves[1].tolist()


def test_a_tar_name_in_two_pieces_is_refused() -> None:
    held = io.BytesIO()
    with tarfile.open(fileobj=held, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        tar.addfile(tarfile.TarInfo("d" * 90 + "/train-000000.codes.npy"))
    with pytest.raises(DamagedError, match="unexpected tar member"):
        list(split_tar(held.getvalue(), "here"))


def test_a_tar_header_that_was_altered_is_told() -> None:
    held = io.BytesIO()
    with tarfile.open(fileobj=held, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        tar.addfile(tarfile.TarInfo("train-000000-0000.codes.npy"))
    altered = bytearray(held.getvalue())
    altered[3] ^= 1
    with pytest.raises(DamagedError, match="a header adds up to"):
        list(split_tar(bytes(altered), "here"))


def test_a_shard_of_several_parts_is_read_whole(tmp_path: Path) -> None:
    index = make_shards(tmp_path, n_train=260, n_valid=0, n_test=0, shard_size=260)
    assert len(index.shards) == 1
    found = open_shards(tmp_path)
    block, arrays = found.load("train"), found.load_arrays("train")
    assert arrays.keys() == block.arrays().keys()
    for name, array in block.arrays().items():
        np.testing.assert_array_equal(arrays[name], array)


def test_a_model_reads_what_it_hears_and_no_more(dataset: ShardDataset) -> None:
    assert heard_fields(None) == heard_fields(False) == ("codes", "order")
    assert heard_fields(True) == ("codes", "order", "mel")
    assert heard_fields(False, True) == ("codes", "order", "params")
    for resident in (True, False):
        (batch, *_) = make_loader(
            *(dataset, "train"),
            batch_size=8,
            seed=0,
            shuffle=False,
            resident=resident,
            fields=heard_fields(False),
        )
        assert batch.mel is None
        assert batch.params is None
        assert batch.codes.tolist() == dataset.load("train").codes[:8].tolist()


@pytest.mark.parametrize(("resident", "world_size"), [(True, 1), (False, 1), (False, 2)])
def test_hashes_are_compared(tmp_path: Path, resident: bool, world_size: int) -> None:
    """Also where one of two ranks reads half of a shard."""
    index = make_shards(tmp_path, n_train=8, n_valid=0, n_test=0)
    (shard,) = index.shards_of("train")
    file = tmp_path / shard.files[0].path
    data = file.read_bytes()
    at = data.index(b'"loudness_lufs"')  # in a record, which training does not read
    file.write_bytes(data[:at] + data[at:].replace(b"-20.0", b"-21.0", 1))

    dataset = open_shards(tmp_path)
    (whole,) = dataset.shards_of("train")
    assert len(whole.arrays(verify=False)["codes"]) == 8
    with pytest.raises(DamagedError, match="another CRC-32C"):
        list(
            make_loader(
                *(dataset, "train"),
                batch_size=8,
                seed=0,
                shuffle=False,
                resident=resident,
                world_size=world_size,
            )
        )
