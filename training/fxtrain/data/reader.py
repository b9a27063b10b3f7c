"""Owns shard -> arrays, whatever the backend. Must not import torch, webdataset or the pipeline.

Both backends hand over whole verified files; nothing is unpacked to disk and nothing unpickled.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress

import numpy as np

from fxtrain.contract import (
    FIELDS,
    Block,
    ContractError,
    DamagedError,
    DatasetIndex,
    FileEntry,
    Folder,
    Held,
    Record,
    ShardEntry,
    block_of,
    check_fields,
    read_verified,
    sample_layout,
    unknown_name,
    validate_arrays,
)
from fxtrain.data.tar_reader import read_tar
from fxtrain.data.zarr_reader import read_zarr

Part = tuple[dict[str, np.ndarray], list[Record] | None]
"""Arrays by field name, and the records where they were asked for."""

Arrays = dict[str, np.ndarray]

BackendReader = Callable[
    [Callable[[FileEntry], bytes], ShardEntry, DatasetIndex, str, tuple[str, ...], bool, Arrays],
    Iterator[Part],
]
"""(fetch a file, shard, index, words for errors, fields, with records?, rows of the whole shard
that may be written to) -> parts in order; an array among ``rows`` is one of those, filled."""

ALL = tuple(spec.name for spec in FIELDS)

BACKENDS: dict[str, BackendReader] = {"webdataset": read_tar, "zarr": read_zarr}


def read_shard(
    folder: Folder,
    entry: ShardEntry,
    index: DatasetIndex,
    held: Held | None = None,
    *,
    verify: bool = True,
) -> Iterator[Block]:
    """Samples of one shard with their records, in order; matches ``contract.ReadShard``.

    Files that are ``held`` already are not read again.

    Raises ``DamagedError`` naming what is missing, altered, cut or not what it should be.
    """
    where = place(folder, entry)
    total = 0
    parts = _read(folder, entry, index, ALL, with_records=True, verify=verify, held=held)
    for arrays, records in parts:
        block = block_of(arrays, records or [], where)
        total += len(block)
        yield block
    _check_total(total, entry.n_samples, where)


def read_arrays(
    folder: Folder,
    entry: ShardEntry,
    index: DatasetIndex,
    *,
    verify: bool = True,
    fields: tuple[str, ...] | None = None,
    out: Arrays | None = None,
) -> dict[str, np.ndarray]:
    """One shard's arrays by field name, checked against the index; no record is parsed.

    They are written into ``out`` where it is given (one array of ``entry.n_samples`` rows a field,
    which says what is read too), else into new memory: ``fields``, None for all that is stored.
    """
    where = place(folder, entry)
    if out is None:
        try:
            out = empty_arrays(index, entry.n_samples, fields)
        except (MemoryError, ValueError):
            raise DamagedError(f"{where}: no memory for {entry.n_samples} samples") from None
    done = dict.fromkeys(out, 0)
    parts = _read(folder, entry, index, tuple(out), with_records=False, verify=verify, room=out)
    for arrays, _ in parts:
        check_fields(arrays, tuple(out), where)
        validate_arrays(arrays, index, where)
        for name, rows in out.items():
            start, done[name] = done[name], done[name] + len(arrays[name])
            if arrays[name] is not rows and done[name] <= entry.n_samples:
                rows[start : done[name]] = arrays[name]
    for found in done.values():
        _check_total(found, entry.n_samples, where)
    return out


def empty_arrays(
    index: DatasetIndex, n_samples: int, fields: tuple[str, ...] | None
) -> dict[str, np.ndarray]:
    """Memory for ``n_samples`` by field name."""
    return {
        name: np.empty((n_samples, *shape), dtype)
        for name, (dtype, shape) in sample_layout(index).items()
        if fields is None or name in fields
    }


def place(folder: Folder, entry: ShardEntry) -> str:
    """How errors call a shard."""
    return f"{folder.uri}: shard {entry.name}"


def _read(
    folder: Folder,
    entry: ShardEntry,
    index: DatasetIndex,
    fields: tuple[str, ...],
    *,
    with_records: bool,
    verify: bool,
    held: Held | None = None,
    room: Arrays | None = None,
) -> Iterator[Part]:
    if index.backend not in BACKENDS:
        known = unknown_name("shard format", index.backend, BACKENDS)
        raise ContractError(f"{folder.uri}: {known}")

    def fetch(file: FileEntry) -> bytes:
        if held and file in held:
            return held[file]
        if not verify:
            with suppress(FileNotFoundError):
                return folder.read(file.path, file.n_bytes)
        return read_verified(folder, file, quick=True)

    read = BACKENDS[index.backend]
    yield from read(fetch, entry, index, place(folder, entry), fields, with_records, room or {})


def _check_total(found: int, expected: int, where: str) -> None:
    if found != expected:
        raise DamagedError(
            f"{where} holds {found} samples, the index says {expected}; "
            "make it again with the command that wrote this directory"
        )
