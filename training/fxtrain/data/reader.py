"""Owns shard -> arrays, whatever the backend. Must not import torch, webdataset or the pipeline.

Both backends hand over whole verified files; nothing is unpacked to disk and nothing unpickled.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from fxtrain.contract import (
    Block,
    ContractError,
    DamagedError,
    DatasetIndex,
    FileEntry,
    Folder,
    Record,
    ShardEntry,
    block_of,
    read_verified,
    unknown_name,
    validate_block,
)
from fxtrain.data.tar_reader import read_tar
from fxtrain.data.zarr_reader import read_zarr

Part = tuple[dict[str, np.ndarray], list[Record] | None]
"""Arrays by field name, and the records where they were asked for."""

BackendReader = Callable[
    [Callable[[FileEntry], bytes], ShardEntry, DatasetIndex, str, bool], Iterator[Part]
]
"""(fetch a file, shard, index, words for errors, with records?) -> parts in order."""

BACKENDS: dict[str, BackendReader] = {"webdataset": read_tar, "zarr": read_zarr}


def read_shard(
    folder: Folder, entry: ShardEntry, index: DatasetIndex, *, verify: bool = True
) -> Iterator[Block]:
    """Samples of one shard with their records, in order; matches ``contract.ReadShard``.

    Raises ``DamagedError`` naming what is missing, altered, cut or not what it should be.
    """
    where = place(folder, entry)
    total = 0
    for arrays, records in _read(folder, entry, index, with_records=True, verify=verify):
        block = block_of(arrays, records or [], where)
        total += len(block)
        yield block
    _check_total(total, entry, where)


def read_arrays(
    folder: Folder, entry: ShardEntry, index: DatasetIndex, *, verify: bool = True
) -> dict[str, np.ndarray]:
    """One shard's arrays by field name, checked against the index; no record is parsed."""
    where = place(folder, entry)
    parts = []
    for arrays, _ in _read(folder, entry, index, with_records=False, verify=verify):
        block = block_of(arrays, [], where)
        validate_block(block, index, where)
        parts.append(block.arrays())
    fields = parts[0] if parts else {}
    for name in fields:
        _check_total(sum(len(part[name]) for part in parts), entry, where)
    if not parts:
        _check_total(0, entry, where)
    return {name: np.concatenate([part[name] for part in parts]) for name in fields}


def place(folder: Folder, entry: ShardEntry) -> str:
    """How errors call a shard."""
    return f"{folder.uri}: shard {entry.name}"


def _read(
    folder: Folder, entry: ShardEntry, index: DatasetIndex, *, with_records: bool, verify: bool
) -> Iterator[Part]:
    if index.backend not in BACKENDS:
        known = unknown_name("shard format", index.backend, BACKENDS)
        raise ContractError(f"{folder.uri}: {known}")

    def fetch(file: FileEntry) -> bytes:
        if verify or folder.size(file.path) is None:
            return read_verified(folder, file)
        return folder.read(file.path)

    read = BACKENDS[index.backend]
    yield from read(fetch, entry, index, place(folder, entry), with_records)


def _check_total(found: int, entry: ShardEntry, where: str) -> None:
    if found != entry.n_samples:
        raise DamagedError(
            f"{where} holds {found} samples, the index says {entry.n_samples}; "
            "make it again with the command that wrote this directory"
        )
