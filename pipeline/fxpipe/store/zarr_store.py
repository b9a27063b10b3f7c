"""Owns the zarr writer: one zarr v3 group a split, one array a field, one shard a task.

The only door to ``zarr`` in the pipeline. zarr encodes into memory and the folder writes the
bytes: whole or not at all, hashed, and on any storage. zarr itself lets two processes write into
one shard and loses the chunks of one of them without an error, hence whole shards only.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from fxpipe.store.base import Fields, check_place, check_shard_size, shard_name
from fxtrain.contract import (
    FIELDS,
    MISSING_CODE,
    PAD,
    Block,
    ContractError,
    FileEntry,
    Folder,
    ShardEntry,
    UsageError,
    pack_records,
    unknown_name,
)

if TYPE_CHECKING:
    import zarr
    from zarr.core.buffer import Buffer

Objects = dict[str, "Buffer"]

MAX_CHUNK_SAMPLES = 256
"""Samples that are compressed together: one batch read in order touches one or two chunks."""

MIN_CHUNK_SAMPLES = 32
"""Of a shard that is larger than a chunk: of one sample each there would be thousands, which take
more bytes and are read many times slower."""

FILL_VALUES = {
    "codes": MISSING_CODE,
    "order": PAD,
    "params": math.nan,
    "mel": 255,
    "clues": 255,
}
"""What zarr returns, without an error, where a shard is missing."""


@dataclass(frozen=True)
class ZarrShardWriter:
    shard_size: int

    def __post_init__(self) -> None:
        check_shard_size(self.shard_size)

    def prepare(
        self, folder: Folder, split: str, n_samples: int, fields: Fields
    ) -> tuple[FileEntry, ...]:
        objects = _new_group(split, n_samples, self.shard_size, fields)
        return tuple(folder.write(name, data) for name, data in sorted(objects.items()))

    def write(
        self, folder: Folder, split: str, number: int, first: int, block: Block
    ) -> ShardEntry:
        check_place(self.shard_size, split, number, first, block)
        name = shard_name(split, number)
        files = []
        for field, array in block.arrays().items():
            for key, data in _encode(folder, split, field, first, array, name).items():
                files.append(folder.write(key, data))
        records = pack_records(block.records)
        files.append(folder.write(f"{split}-records/{number:06d}.jsonl", records))
        return ShardEntry(name, split, first, len(block), tuple(files))


def chunk_samples(shard_size: int) -> int:
    """The most samples, at most 256, that divide a shard: 1024 -> 256, 1000 -> 250."""
    return next(n for n in range(MAX_CHUNK_SAMPLES, 0, -1) if shard_size % n == 0)


def refuse_tiny_chunks(shard_size: int) -> None:
    """Raise for a new data set whose shards hardly divide into chunks: 1021 is prime."""
    if _divides_well(shard_size):
        return
    lower = next(n for n in range(shard_size, 0, -1) if _divides_well(n))
    upper = next(n for n in itertools.count(shard_size) if _divides_well(n))
    raise UsageError(
        f"shard size {shard_size}: zarr would compress {chunk_samples(shard_size)} of its samples "
        f"together, the most up to {MAX_CHUNK_SAMPLES} that divide it, expected "
        f"{MIN_CHUNK_SAMPLES} or more; the nearest sizes that work are {lower} and {upper}"
    )


def _divides_well(shard_size: int) -> bool:
    return shard_size <= MAX_CHUNK_SAMPLES or chunk_samples(shard_size) >= MIN_CHUNK_SAMPLES


def _new_group(split: str, n_samples: int, shard_size: int, fields: Fields) -> dict[str, bytes]:
    """Object name -> bytes of an empty group that has room for ``n_samples``."""
    import zarr
    from zarr.codecs import BloscCodec
    from zarr.storage import MemoryStore

    letters = {spec.name: spec.shape.split() for spec in FIELDS}
    objects: Objects = {}
    group = zarr.open_group(MemoryStore(objects), path=f"{split}.zarr", mode="w", zarr_format=3)
    for name, (dtype, shape) in fields.items():
        if name not in FILL_VALUES:
            raise ContractError(unknown_name("field", name, FILL_VALUES))
        inner = tuple(max(1, size) for size in shape)
        group.create_array(
            name,
            shape=(n_samples, *shape),
            dtype=dtype,
            chunks=(chunk_samples(shard_size), *inner),
            shards=(shard_size, *inner),
            # 6 of a code's 16 bits are always zero: bitshuffle reaches the 10-bit limit.
            compressors=BloscCodec(cname="lz4", clevel=5, shuffle="bitshuffle"),
            fill_value=FILL_VALUES[name],
            dimension_names=("B", *letters[name]),
        )
    inside = f"{split}.zarr/"
    return {key: data.to_bytes() for key, data in objects.items() if key.startswith(inside)}


def _encode(
    folder: Folder, split: str, field: str, first: int, array: Any, name: str
) -> dict[str, bytes]:
    """Object name -> bytes of one field of one shard (none where a sample of it is empty)."""
    key = f"{split}.zarr/{field}/zarr.json"
    if folder.size(key) is None:
        raise ContractError(
            f"shard {name}: {folder.uri}/{key} is missing; prepare the split before its shards"
        )
    objects: Objects = {key: _buffer(folder.read(key))}
    target = _open_array(objects, key.removesuffix("/zarr.json"))
    end = min(first + target.shards[0], target.shape[0]) if target.shards else target.shape[0]
    if first + len(array) != end or array.shape[1:] != target.shape[1:]:
        raise ContractError(
            f"shard {name}: {field} is {array.shape}, expected "
            f"{(max(0, end - first), *target.shape[1:])} as prepared in {folder.uri}/{key}"
        )
    if array.dtype != target.dtype:
        raise ContractError(f"shard {name}: {field} is {array.dtype}, expected {target.dtype}")
    target[first:end] = array
    return {name: data.to_bytes() for name, data in objects.items() if name != key}


def _open_array(objects: Objects, path: str) -> zarr.Array[Any]:
    import zarr
    from zarr.storage import MemoryStore

    # A shard that holds nothing but the fill value is written all the same: missing means lost.
    array = zarr.open_array(MemoryStore(objects), path=path, mode="r+")
    return array.with_config({"write_empty_chunks": True})


def _buffer(data: bytes) -> Buffer:
    from zarr.buffer.cpu import Buffer

    return Buffer.from_bytes(data)
