"""Owns the layout of a zarr shard, for reading. The only door to ``zarr`` in the trainer.

A shard is one zarr shard object a field and a file of records. zarr decodes from bytes in memory,
so only the files of this shard are touched and all of them were checked against the index.
"""

from __future__ import annotations

import functools
import math
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from fxtrain.contract import (
    FIELDS,
    DamagedError,
    DatasetIndex,
    FileEntry,
    Record,
    ShardEntry,
    read_json,
    sample_layout,
    shorten,
    unpack_records,
)

if TYPE_CHECKING:
    from zarr.core.buffer import Buffer

GROUP_MARK = ".zarr/"
MAX_RATIO = 256
"""lz4 makes at most 255 bytes of one."""
PLACE_BYTES, CRC_BYTES = 16, 4
"""Behind the chunks of a zarr shard: offset and size of each, then a CRC-32C of that table."""


def read_zarr(
    fetch: Callable[[FileEntry], bytes],
    entry: ShardEntry,
    index: DatasetIndex,
    where: str,
    fields: tuple[str, ...],
    with_records: bool,
    room: dict[str, np.ndarray],
) -> Iterator[tuple[dict[str, np.ndarray], list[Record] | None]]:
    """The whole shard as one part, in ``room`` where that has a field's rows: they are decoded
    where they are wanted."""
    inside = [file for file in entry.files if GROUP_MARK in file.path]
    roots = {file.path.partition(GROUP_MARK)[0] + GROUP_MARK for file in inside}
    if len(roots) != 1:
        raise DamagedError(f"{where}: files of {len(roots)} zarr groups, expected one")
    (root,) = roots
    shared = [file for file in index.files if file.path.startswith(root)]
    wanted = {
        file.path.removeprefix(root): file
        for file in (*shared, *inside)
        if file.path.removeprefix(root).split("/")[0] in (*fields, "zarr.json")
    }
    objects = {key: fetch(file) for key, file in wanted.items()}
    # zarr and its codecs raise whatever they like on bytes they cannot read.
    try:
        arrays = _decode_directly(objects, entry, index, fields, room)
        if arrays is None:
            for spec in FIELDS:
                if f"{spec.name}/zarr.json" in objects:
                    _check(objects, spec.name, np.dtype(spec.dtype), entry)
            arrays = _decode(objects, entry.first, entry.n_samples, fields)
    except Exception as error:
        raise DamagedError(f"{where}: not readable by zarr ({error})") from error
    records = None
    if with_records:
        records = []
        for file in entry.files:
            if file.path.endswith(".jsonl"):
                records += unpack_records(fetch(file), f"{where}: {file.path}")
        for name, array in arrays.items():
            if len(array) != len(records):
                found = f"field {name!r} holds {len(array)} samples, not {len(records)}"
                raise DamagedError(f"{where}: {found}")
    yield arrays, records


def _check(objects: dict[str, bytes], field: str, dtype: np.dtype[Any], entry: ShardEntry) -> None:
    """Refuse, before zarr takes memory for it, what our writer would not have written.

    zarr believes its metadata and blosc its frames: a few bytes can claim terabytes. Raises
    ValueError, and KeyError or TypeError for metadata of another form.
    """
    where = f"{field}/zarr.json"
    meta = read_json(objects[where], where)
    grid, key_form = meta["chunk_grid"], meta["chunk_key_encoding"]["name"]
    (sharding,) = meta["codecs"]
    inside = sharding["configuration"]
    names = (
        grid["name"],
        key_form,
        sharding["name"],
        *(codec["name"] for codec in inside["codecs"]),
    )
    if names != WRITTEN or inside.get("index_location", "end") != "end":
        raise ValueError(f"{where}: laid out as {names}, expected {WRITTEN}")
    shape, shard, chunk = meta["shape"], grid["configuration"]["chunk_shape"], inside["chunk_shape"]
    for sizes in (shape, shard, chunk):
        if not all(type(size) is int and 0 <= size < 2**53 for size in sizes):
            raise ValueError(f"{where}: {shorten(sizes)} is no shape")
    if 0 in shape:
        return  # pedals without parameters: no bytes, no files
    if 0 in (*shard, *chunk):
        raise ValueError(f"{where}: shards {shard} of chunks {chunk}")
    number, past = divmod(entry.first, shard[0])
    fits = shape[1:] == shard[1:] == chunk[1:] and not shard[0] % chunk[0]
    if not fits or past or entry.n_samples > shard[0]:
        raise ValueError(f"{where}: shards {shard} of chunks {chunk} do not hold {entry.name}")
    key = "/".join([field, "c", str(number), *["0"] * (len(shape) - 1)])
    if key not in objects:
        raise ValueError(f"{key} is not among its files: never written")
    data, n_chunks = objects[key], shard[0] // chunk[0]
    places = len(data) - PLACE_BYTES * n_chunks - CRC_BYTES
    if places < 0:
        raise ValueError(f"{key}: {len(data)} bytes are too few for {n_chunks} chunks")
    n_bytes = math.prod(chunk) * dtype.itemsize
    for offset, size in np.frombuffer(data, "<u8", 2 * n_chunks, places).reshape(-1, 2).tolist():
        if offset == size == NO_CHUNK:
            continue
        claimed = int.from_bytes(data[offset + 4 : offset + 8], "little")
        if offset + size > places or claimed != n_bytes or n_bytes > MAX_RATIO * size:
            raise ValueError(f"{key}: a chunk of {size} bytes claims {claimed}, expected {n_bytes}")


WRITTEN = ("regular", "default", "sharding_indexed", "bytes", "blosc")
NO_CHUNK = 2**64 - 1


@dataclass(frozen=True)
class Grid:
    """A field's samples in shards of ``per_shard``, each in chunks of ``per_chunk``."""

    n_samples: int
    per_shard: int
    per_chunk: int
    shape: tuple[int, ...]
    dtype: str


@functools.lru_cache(maxsize=64)
def grid_of(metadata: bytes) -> Grid | None:
    """What a field's ``zarr.json`` tells, or None where it is not laid out as our writer does."""
    try:
        data = read_json(metadata, "zarr.json")
        n_samples, *shape = data["shape"]
        per_shard, *shard_shape = data["chunk_grid"]["configuration"]["chunk_shape"]
        (sharding,) = data["codecs"]
        inner = sharding["configuration"]
        per_chunk, *chunk_shape = inner["chunk_shape"]
        codecs = [*inner["codecs"], *inner["index_codecs"]]
        ours = (
            (data["node_type"], data["zarr_format"]) == ("array", 3)
            and not data.get("storage_transformers")
            and data["chunk_grid"]["name"] == "regular"
            and data["chunk_key_encoding"]
            == {"name": "default", "configuration": {"separator": "/"}}
            and (sharding["name"], inner["index_location"]) == ("sharding_indexed", "end")
            and [codec["name"] for codec in codecs] == ["bytes", "blosc", "bytes", "crc32c"]
            and all(
                codec.get("configuration", {}).get("endian", "little") == "little"
                for codec in codecs
            )
            and shape == shard_shape == chunk_shape
            and all(type(size) is int for size in (n_samples, per_shard, per_chunk, *shape))
            and min(per_chunk, per_shard) > 0
            and per_shard % per_chunk == 0
        )
        grid = Grid(n_samples, per_shard, per_chunk, tuple(shape), data["data_type"])
    except (DamagedError, ValueError, KeyError, TypeError, AttributeError):
        return None
    return grid if ours else None


def _decode_directly(
    objects: dict[str, bytes],
    entry: ShardEntry,
    index: DatasetIndex,
    fields: tuple[str, ...],
    room: dict[str, np.ndarray],
) -> dict[str, np.ndarray] | None:
    """The shard's arrays from their compressed chunks; None where only zarr itself can tell.

    zarr takes several times as long for the same bytes: it plans and schedules every chunk.
    """
    from numcodecs import blosc

    blosc.use_threads = False  # its threads are shared by the process and do not survive a fork
    arrays = {}
    for name, (dtype, shape) in sample_layout(index).items():
        if name not in fields:
            continue
        grid = grid_of(objects.get(f"{name}/zarr.json", b""))
        if grid is None or (grid.dtype, grid.shape) != (dtype, shape):
            return None
        if entry.first % grid.per_shard or entry.n_samples != min(
            grid.per_shard, grid.n_samples - entry.first
        ):
            return None
        number = entry.first // grid.per_shard
        held = objects.get("/".join([name, "c", str(number), *("0" for _ in shape)]), b"")
        n_all = grid.per_shard // grid.per_chunk
        n_chunks = -(-entry.n_samples // grid.per_chunk)
        places = held[len(held) - n_all * PLACE_BYTES - CRC_BYTES : len(held) - CRC_BYTES]
        if len(places) != n_all * PLACE_BYTES:
            return None
        if grid.per_chunk * math.prod(shape) * np.dtype(dtype).itemsize > MAX_RATIO * len(held):
            return None
        array = room[name] if name in room else np.empty((entry.n_samples, *shape), dtype)
        for chunk in range(n_chunks):
            start, size = struct.unpack_from("<QQ", places, chunk * PLACE_BYTES)
            rows = wanted = array[chunk * grid.per_chunk : (chunk + 1) * grid.per_chunk]
            if len(wanted) < grid.per_chunk:  # the last chunk is whole, the last samples are not
                rows = np.empty((grid.per_chunk, *shape), dtype)
            data = memoryview(held)[start : start + size]
            # A blosc header: bytes 4 to 8 are the size of what it holds, 12 to 16 its own.
            if len(data) != size or struct.unpack_from("<4xI4xI", data) != (rows.nbytes, size):
                return None
            blosc.decompress(data, rows)
            if rows is not wanted:
                wanted[...] = rows[: len(wanted)]
        arrays[name] = array
    return arrays


def _decode(
    objects: dict[str, bytes], first: int, n_samples: int, fields: tuple[str, ...]
) -> dict[str, np.ndarray]:
    """The shard's arrays as zarr reads them."""
    import zarr
    from zarr.buffer.cpu import Buffer as CpuBuffer
    from zarr.storage import MemoryStore

    held: dict[str, Buffer] = {key: CpuBuffer.from_bytes(data) for key, data in objects.items()}
    store = MemoryStore(held, read_only=True)
    arrays = {}
    for spec in FIELDS:
        if spec.name in fields and f"{spec.name}/zarr.json" in objects:
            array: zarr.Array[Any] = zarr.open_array(store, path=spec.name, mode="r")
            arrays[spec.name] = np.asarray(array[first : first + n_samples])
    return arrays
