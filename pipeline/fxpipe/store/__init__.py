"""Owns how shards are written: one writer a backend, all behind :class:`ShardWriter`.

The libraries are loaded when a writer is first used, never on import.
"""

from __future__ import annotations

from collections.abc import Callable

from fxpipe.store.base import Fields, ShardWriter, fields_of, shard_name
from fxpipe.store.tar_store import TarShardWriter
from fxpipe.store.zarr_store import ZarrShardWriter, refuse_tiny_chunks
from fxtrain.contract import UsageError, unknown_name

BACKENDS: dict[str, Callable[[int], ShardWriter]] = {
    "webdataset": TarShardWriter,
    "zarr": ZarrShardWriter,
}

ALSO_CALLED = {"tar": "webdataset"}
"""What else people call a backend, on a command line: its files are tars."""

DEFAULT_SHARD_SIZE = {"webdataset": 1000, "zarr": 1024}
"""Samples a shard: about 3 MB of codes, a few seconds of rendering, minutes of encoding on a CPU.
A whole number of tar blocks (250) and of zarr chunks (256)."""


def open_writer(backend: str, shard_size: int | None = None) -> ShardWriter:
    """The writer of ``backend``, ``shard_size`` samples a shard (its default when None)."""
    if backend not in BACKENDS:
        raise UsageError(unknown_name("shard format", backend, BACKENDS))
    return BACKENDS[backend](DEFAULT_SHARD_SIZE[backend] if shard_size is None else shard_size)


def refuse_bad_size(backend: str, shard_size: int | None) -> None:
    """Raise for a size no new data set should have; writers still finish those that have it."""
    if backend == "zarr" and shard_size is not None:
        refuse_tiny_chunks(shard_size)


__all__ = [
    "ALSO_CALLED",
    "BACKENDS",
    "DEFAULT_SHARD_SIZE",
    "Fields",
    "ShardWriter",
    "TarShardWriter",
    "ZarrShardWriter",
    "fields_of",
    "open_writer",
    "refuse_bad_size",
    "shard_name",
]
