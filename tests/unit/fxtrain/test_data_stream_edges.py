"""Orders of epochs that nobody shares, and what is read of a sample."""

from __future__ import annotations

import dataclasses
import io
import json
import tarfile
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from fixtures.shards import make_shards
from fxtrain.contract import (
    MISSING_CODE,
    DamagedError,
    FxError,
    LocalFolder,
    UsageError,
    pack_npy,
    sample_layout,
    unpack_npy,
)
from fxtrain.data import ShardDataset, open_shards, read_shard
from fxtrain.data.batch import as_tensors, widen
from fxtrain.data.stream import StreamingDataset, heard_fields, make_loader
from fxtrain.data.tar_reader import split_tar


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> ShardDataset:
    path = tmp_path_factory.mktemp("stream") / "shards"
    beside = {"with_mel": True, "with_clues": True}
    make_shards(path, n_train=40, n_valid=4, n_test=0, shard_size=4, **beside)
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


@pytest.mark.parametrize("n_workers", [0, 1])
def test_a_data_set_stays_where_it_was_when_the_process_goes_elsewhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, n_workers: int
) -> None:
    make_shards(tmp_path / "shards", n_train=8, n_valid=4, n_test=0, shard_size=4)
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path)
    dataset = open_shards("shards")
    monkeypatch.chdir(tmp_path / "elsewhere")
    loader = make_loader(
        dataset, "train", batch_size=4, seed=0, shuffle=True, resident=False, n_workers=n_workers
    )
    assert sum(len(batch) for batch in loader) == 8
    assert len(dataset.load("valid")) == 4
    assert repr(dataset).startswith("ShardDataset('shards', ")  # as it was typed


def test_only_reader_processes_need_shared_memory(dataset: ShardDataset, monkeypatch) -> None:
    def refuse(tensor: torch.Tensor) -> None:
        raise RuntimeError("unable to open shared memory object </torch_7> in read-write mode")

    monkeypatch.setattr(torch.Tensor, "share_memory_", refuse)
    assert sorted(order_of(dataset, 0, 0, resident=False)) == list(range(40))
    with pytest.raises(FxError, match=r"need shared memory: unable to open .* n_workers = 0"):
        make_loader(
            *(dataset, "train"), batch_size=8, seed=0, shuffle=True, resident=False, n_workers=1
        )


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


def test_a_reader_with_a_process_of_its_own_opens_its_folders_itself(tmp_path: Path) -> None:
    """A client of a remote store that was made before a fork may wait for ever."""
    for name, seed in (("a", 1), ("b", 2)):
        make_shards(tmp_path / name, seed=seed, n_train=20, n_valid=0, n_test=0, shard_size=12)
    both = open_shards([tmp_path / "a", tmp_path / "b"])
    closed = tuple(
        dataclasses.replace(shard, folder=SimpleNamespace(uri=shard.folder.uri))
        for shard in both.shards
    )
    stream = stream_of(dataclasses.replace(both, shards=closed), 8)
    rows = list(stream.batches(0, 1, reopen=True))
    places = np.concatenate([batch["position"] for batch in rows])
    assert sorted(places) == list(range(40))
    codes = np.concatenate([batch["codes"] for batch in rows])
    np.testing.assert_array_equal(codes, both.load("train").codes[places])


def test_of_a_shard_that_is_cut_between_ranks_no_more_is_read_than_is_heard(tmp_path: Path) -> None:
    make_shards(tmp_path, backend="zarr", with_mel=True, n_train=24, n_valid=0, n_test=0)
    seen: list[str] = []

    class Watched(LocalFolder):
        def read(self, name: str, n_bytes: int | None = None) -> bytes:
            seen.append(name)
            return super().read(name, n_bytes)

    found = open_shards(tmp_path)
    shards = tuple(dataclasses.replace(s, folder=Watched(tmp_path)) for s in found.shards)
    watched = dataclasses.replace(found, shards=shards)
    for fields in (heard_fields(True, False), heard_fields(False, False)):
        seen.clear()
        loader = make_loader(
            *(watched, "train"),
            batch_size=4,
            seed=0,
            shuffle=True,
            resident=False,
            world_size=2,
            fields=fields,
        )
        assert sum(map(len, loader)) == 12
        assert any("/mel/c/" in name for name in seen) == ("mel" in fields)
        assert not any("/params/c/" in name for name in seen)


@pytest.mark.parametrize("resident", [True, False])
@pytest.mark.parametrize("shuffle", [True, False])
def test_batches_lie_on_the_device(dataset: ShardDataset, resident: bool, shuffle: bool) -> None:
    loader = make_loader(
        dataset, "train", batch_size=8, seed=0, shuffle=shuffle, resident=resident, device="meta"
    )
    for batch in loader:
        for name, value in vars(batch).items():
            assert name == "n_windows" or value.device.type == "meta", name


class Elsewhere(torch.Tensor):
    """In the memory of a GPU, as it says."""

    device = torch.device("cuda")


def test_codes_keep_all_sixteen_bits_on_a_gpu_too() -> None:
    codes = np.array([[[0, 32_767, 32_768, MISSING_CODE]]], np.uint16)
    stored = as_tensors({"codes": codes, "order": np.zeros((1, 1), np.uint8)})
    stored["codes"] = stored["codes"].as_subclass(Elsewhere)
    assert widen(stored, torch.arange(1)).codes.tolist() == codes.tolist()


def test_a_tar_name_in_two_pieces_is_refused() -> None:
    held = io.BytesIO()
    with tarfile.open(fileobj=held, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        tar.addfile(tarfile.TarInfo("d" * 90 + "/train-000000.codes.npy"))
    with pytest.raises(DamagedError, match="unexpected tar member"):
        list(split_tar(held.getvalue(), "here"))


@pytest.mark.parametrize("bit", [1, 2])  # the sum of the header falls, and rises
def test_a_tar_header_that_was_altered_is_told(bit: int) -> None:
    held = io.BytesIO()
    with tarfile.open(fileobj=held, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        tar.addfile(tarfile.TarInfo("train-000000-0000.codes.npy"))
    altered = bytearray(held.getvalue())
    altered[3] ^= bit
    with pytest.raises(DamagedError, match="a header adds up to"):
        list(split_tar(bytes(altered), "here"))


def test_a_tar_ends_where_tarfile_ends_it() -> None:
    held, content = io.BytesIO(), b"x" * 512
    with tarfile.open(fileobj=held, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        member = tarfile.TarInfo("train-000000-0000.note")
        member.size = len(content)
        tar.addfile(member, io.BytesIO(content))
    data, whole = held.getvalue(), [("train-000000-0000", "note", content)]
    for good in (data, data[:1024], data + data):  # without its end, and with more behind it
        assert [(key, name, bytes(view)) for key, name, view in split_tar(good, "here")] == whole
    for bad, message in (
        (data[:1023], "the tar is cut in member 'train-000000-0000.note'"),
        (data[:1124], "a header of 100 bytes"),
        (data[:1024] + b"\0" + data[1:], "a header adds up to"),
        (bytes(1024), "no octal number"),
    ):
        with pytest.raises(DamagedError, match=message):
            list(split_tar(bad, "here"))


def test_a_shard_of_several_parts_is_read_whole(tmp_path: Path) -> None:
    index = make_shards(tmp_path, n_train=260, n_valid=0, n_test=0, shard_size=260)
    assert len(index.shards) == 1
    found = open_shards(tmp_path)
    block, arrays = found.load("train"), found.load_arrays("train")
    assert arrays.keys() == block.arrays().keys()
    for name, array in block.arrays().items():
        np.testing.assert_array_equal(arrays[name], array)


Parts = list[dict[str, np.ndarray]]


def one_row_later(parts: Parts) -> None:
    """As many rows in the whole shard, but from there on each beside its neighbour's codes."""
    first, second = (part["order"] for part in parts)
    parts[0]["order"], parts[1]["order"] = first[:-1], np.concatenate((first[-1:], second))


def one_row_lost(parts: Parts) -> None:
    parts[1]["order"] = parts[1]["order"][:-1]


def none_there(parts: Parts) -> None:
    del parts[1]["order"]


def wide(parts: Parts) -> None:
    parts[1]["codes"] = parts[1]["codes"].astype(np.int64)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (one_row_later, "249 of order, .*expected as many of each"),
        (one_row_lost, "9 of order, .*expected as many of each"),
        (none_there, "field 'order' is missing"),
        (wide, "codes is int64 .*expected uint16"),
    ],
)
def test_fields_that_are_not_side_by_side_are_refused(change, message: str, tmp_path: Path) -> None:
    make_shards(tmp_path, n_train=260, n_valid=0, n_test=0, shard_size=260)
    (shard,) = open_shards(tmp_path).shards
    tar = tmp_path / shard.entry.files[0].path
    parts: Parts = [{}, {}]
    for key, name, data in split_tar(tar.read_bytes(), "here"):
        if name.endswith(".npy"):
            parts[int(key[-4:])][name.removesuffix(".npy")] = unpack_npy(data, "here")
    change(parts)
    with tarfile.open(tar, "w") as out:
        for number, part in enumerate(parts):
            for name, array in part.items():
                member = tarfile.TarInfo(f"{shard.entry.name}-{number:04d}.{name}.npy")
                data = pack_npy(array)
                member.size = len(data)
                out.addfile(member, io.BytesIO(data))
    with pytest.raises(DamagedError, match=message):
        shard.arrays(verify=False)


@pytest.mark.parametrize("short", [("codes",), ("codes", "order", "params")])
def test_zarr_arrays_that_end_before_their_records_are_refused(
    short: tuple[str, ...], tmp_path: Path
) -> None:
    make_shards(tmp_path, backend="zarr", n_train=20, n_valid=0, n_test=0, shard_size=24)
    (shard,) = open_shards(tmp_path).shards
    for field in short:
        metadata = tmp_path / "train.zarr" / field / "zarr.json"
        told = json.loads(metadata.read_bytes())
        told["shape"][0] = 19
        metadata.write_text(json.dumps(told))
    with pytest.raises(DamagedError, match="field 'codes' holds 19 samples, not 20"):
        list(read_shard(shard.folder, shard.entry, shard.index, verify=False))
    with pytest.raises(DamagedError, match=r"as many of each|holds 19 samples, the index says 20"):
        shard.arrays(verify=False)


def test_a_zarr_array_of_another_dtype_is_refused(tmp_path: Path) -> None:
    make_shards(tmp_path, backend="zarr", n_train=24, n_valid=0, n_test=0)
    (shard,) = open_shards(tmp_path).shards
    metadata = tmp_path / "train.zarr" / "codes" / "zarr.json"
    told = json.loads(metadata.read_bytes()) | {"data_type": "int16", "fill_value": 0}
    metadata.write_text(json.dumps(told))
    with pytest.raises(DamagedError, match="codes is int16 with 3 axes, expected uint16"):
        shard.arrays(verify=False)
    with pytest.raises(DamagedError, match="codes is int16 with 3 axes, expected uint16"):
        list(read_shard(shard.folder, shard.entry, shard.index, verify=False))


def test_a_shard_of_two_zarr_groups_is_refused(tmp_path: Path) -> None:
    make_shards(tmp_path, backend="zarr", n_train=24, n_valid=24, n_test=0)
    train, valid = open_shards(tmp_path).shards
    both = dataclasses.replace(train.entry, files=train.entry.files + valid.entry.files)
    with pytest.raises(DamagedError, match="files of 2 zarr groups, expected one"):
        dataclasses.replace(train, entry=both).arrays()


def test_a_model_reads_what_it_hears_and_no_more(dataset: ShardDataset) -> None:
    assert heard_fields(None, None) == heard_fields(False, False) == ("codes", "order")
    assert heard_fields(True, False) == ("codes", "order", "mel")
    assert heard_fields(False, True, True) == ("codes", "order", "clues", "params")
    for resident in (True, False):
        (batch, *_) = make_loader(
            *(dataset, "train"),
            batch_size=8,
            seed=0,
            shuffle=False,
            resident=resident,
            fields=heard_fields(False, False),
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
    stream = stream_of(dataset, 8)
    for _ in range(2):  # told once, it is no more whole than before
        with pytest.raises(DamagedError, match="another CRC-32C"):
            list(stream.batches(0, 1))


@pytest.mark.parametrize("resident", [True, False])
@pytest.mark.parametrize("fields", ["codes", ("codes",), ("codes", "order", "mell")])
def test_fields_that_are_no_fields_are_named(dataset: ShardDataset, resident: bool, fields) -> None:
    """Of the last one, log-mel was left away without a word."""
    with pytest.raises(UsageError, match=r"^fields are .* expected 'codes', 'order' and what"):
        make_loader(
            *(dataset, "train"),
            **{"batch_size": 4, "seed": 0, "shuffle": True},
            resident=resident,
            fields=fields,
        )
