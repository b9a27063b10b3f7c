"""Owns the layout of a zarr shard, for reading. The only door to ``zarr`` in the trainer.

A shard is one zarr shard object a field and a file of records. zarr decodes from bytes in memory,
so only the files of this shard are touched and all of them were checked against the index.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from fxtrain.contract import (
    FIELDS,
    DamagedError,
    DatasetIndex,
    FileEntry,
    Record,
    ShardEntry,
    unpack_records,
)

if TYPE_CHECKING:
    from zarr.core.buffer import Buffer

GROUP_MARK = ".zarr/"


def read_zarr(
    fetch: Callable[[FileEntry], bytes],
    entry: ShardEntry,
    index: DatasetIndex,
    where: str,
    with_records: bool,
) -> Iterator[tuple[dict[str, np.ndarray], list[Record] | None]]:
    """The whole shard as one part. A field whose shard file is not listed reads as its filling."""
    inside = [file for file in entry.files if GROUP_MARK in file.path]
    roots = {file.path.partition(GROUP_MARK)[0] + GROUP_MARK for file in inside}
    if len(roots) != 1:
        raise DamagedError(f"{where}: files of {len(roots)} zarr groups, expected one")
    (root,) = roots
    shared = [file for file in index.files if file.path.startswith(root)]
    objects = {file.path.removeprefix(root): fetch(file) for file in (*shared, *inside)}
    try:
        arrays = _decode(objects, entry.first, entry.n_samples)
    # zarr and its codecs raise whatever they like on bytes they cannot read.
    except Exception as error:
        raise DamagedError(f"{where}: not readable by zarr ({error})") from error
    records = None
    if with_records:
        records = []
        for file in entry.files:
            if file.path.endswith(".jsonl"):
                records += unpack_records(fetch(file), f"{where}: {file.path}")
        if any(len(array) != len(records) for array in arrays.values()):
            raise DamagedError(f"{where}: {len(records)} records for {entry.n_samples} samples")
    yield arrays, records


def _decode(objects: dict[str, bytes], first: int, n_samples: int) -> dict[str, np.ndarray]:
    import zarr
    from zarr.buffer.cpu import Buffer as CpuBuffer
    from zarr.storage import MemoryStore

    held: dict[str, Buffer] = {key: CpuBuffer.from_bytes(data) for key, data in objects.items()}
    store = MemoryStore(held, read_only=True)
    arrays = {}
    for spec in FIELDS:
        if f"{spec.name}/zarr.json" in objects:
            array: zarr.Array[Any] = zarr.open_array(store, path=spec.name, mode="r")
            if array.dtype != spec.dtype:
                raise TypeError(f"{spec.name} is {array.dtype}, expected {spec.dtype}")
            arrays[spec.name] = np.asarray(array[first : first + n_samples])
    return arrays
