"""Owns shards -> batches on the training device, in an order that only (seed, epoch) decides.

A split that fits lies on the device as one tensor a field (50,000 clips are 156 MB of codes);
a larger one is streamed shard by shard. Both hand out every sample exactly once an epoch, and
equally many batches on every rank.
"""

from __future__ import annotations

import math
import signal
from collections.abc import Iterator
from itertools import repeat, takewhile
from typing import Any, Protocol, TypeVar

import numpy as np
import torch
from torch.utils.data import DataLoader

from fxtrain.contract import FIELDS, FxError, Layout, UsageError, ahead, sample_layout, shorten
from fxtrain.data.batch import Batch, Rows, as_tensors, heard_fields, widen
from fxtrain.data.dataset import ShardDataset
from fxtrain.data.pool import POOL_SAMPLES, StreamingDataset
from fxtrain.data.resident import ResidentLoader

__all__ = [
    "POOL_SAMPLES",
    "RESIDENT_BYTES",
    "Batch",
    "Loader",
    "ResidentLoader",
    "StreamLoader",
    "StreamingDataset",
    "bytes_per_sample",
    "heard_fields",
    "make_loader",
]

RESIDENT_BYTES = 4 * 2**30
"""A split up to this size is kept on the device: 1.3 million clips of codes, 200,000 with mel."""

AHEAD = 4
"""Batches that a stream makes ready while the model works on one."""

T = TypeVar("T")


class Loader(Protocol):
    """Batches of one split. Call ``set_epoch`` before each epoch: it decides the order."""

    def set_epoch(self, epoch: int) -> None: ...

    def __len__(self) -> int:
        """Batches that this rank sees in an epoch, the same number on all ranks."""

    def __iter__(self) -> Iterator[Batch]: ...


def make_loader(
    dataset: ShardDataset,
    split: str,
    *,
    batch_size: int,
    seed: int,
    shuffle: bool,
    device: torch.device | str = "cpu",
    resident: bool | None = None,
    rank: int = 0,
    world_size: int = 1,
    n_workers: int = 0,
    fields: tuple[str, ...] | None = None,
) -> Loader:
    """Batches of ``split`` for one of ``world_size`` ranks.

    ``resident`` None keeps the split on the device when it has at most ``RESIDENT_BYTES``.
    ``fields`` None reads all that is stored; "codes" and "order" are always needed.
    """
    if fields is not None and not {"codes", "order"} <= {*fields} <= {spec.name for spec in FIELDS}:
        raise UsageError(
            f"fields are {shorten(fields)}, expected 'codes', 'order' and what else is wanted of "
            + ", ".join(spec.name for spec in FIELDS if spec.name not in ("codes", "order"))
        )
    if batch_size < 1 or not 0 <= rank < world_size or n_workers < 0:
        raise UsageError(
            f"batch size {batch_size}, rank {rank} of {world_size}, {n_workers} workers: expected "
            "a batch size of at least 1, a rank below the number of ranks, no negative number"
        )
    shards, n_samples = dataset.shards_of(split), dataset.n_samples(split)
    layout = _layout(dataset, fields)
    if resident is None:
        resident = n_samples * bytes_per_sample(dataset, fields) <= RESIDENT_BYTES
    if resident:
        return ResidentLoader(
            dataset.load_arrays(split, fields=tuple(layout)),
            batch_size=batch_size,
            seed=seed,
            shuffle=shuffle,
            device=device,
            rank=rank,
            world_size=world_size,
            n_windows=dataset.index.n_windows,
        )
    stream = StreamingDataset(
        shards,
        layout,
        batch_size=batch_size,
        seed=seed,
        shuffle=shuffle,
        rank=rank,
        world_size=world_size,
    )
    return StreamLoader(
        stream, device=device, n_workers=n_workers, n_windows=dataset.index.n_windows
    )


def _layout(dataset: ShardDataset, fields: tuple[str, ...] | None) -> Layout:
    stored = sample_layout(dataset.index)
    return {name: form for name, form in stored.items() if fields is None or name in fields}


def bytes_per_sample(dataset: ShardDataset, fields: tuple[str, ...] | None = None) -> int:
    """Bytes of one sample's fields as stored."""
    forms = _layout(dataset, fields).values()
    return sum(math.prod(shape) * np.dtype(dtype).itemsize for dtype, shape in forms)


class StreamLoader:
    """A stream read by a thread beside training, or by worker processes, moved to the device."""

    def __init__(
        self,
        dataset: StreamingDataset,
        *,
        device: torch.device | str = "cpu",
        n_workers: int = 0,
        n_windows: int = 1,
    ) -> None:
        self._dataset, self._device = dataset, torch.device(device)
        self._n_windows = n_windows
        self._workers: DataLoader[Any] | None = None
        if n_workers:
            dataset.share()
            self._workers = DataLoader(
                dataset,
                batch_size=None,
                num_workers=n_workers,
                persistent_workers=True,  # starting them takes seconds
                collate_fn=_as_it_is,
                worker_init_fn=_leave_ctrl_c_to_training,
                generator=torch.Generator(),  # else it draws from the global one
            )

    def set_epoch(self, epoch: int) -> None:
        self._dataset.set_epoch(epoch)

    def __len__(self) -> int:
        return len(self._dataset)

    def __iter__(self) -> Iterator[Batch]:
        if self._workers is not None:
            for rows in self._workers:
                if isinstance(rows, FxError):
                    raise rows
                yield self._batch(rows)
            return
        stored = self._dataset.batches(0, 1, reuse=True)
        if self._device.type == "cpu":
            # Widened by the thread that gathered the rows: its core still holds them.
            yield from made_ahead(map(self._batch, stored))
        else:
            yield from map(self._arrived, made_ahead(map(self._ready, stored)))

    def _batch(self, rows: Rows) -> Batch:
        return self._arrived(self._ready(rows))

    def _ready(self, rows: Rows) -> dict[str, torch.Tensor]:
        """Rows as tensors; what :func:`widen` will not copy is copied here."""
        tensors = as_tensors(rows)
        if self._device.type == "cuda":  # only from pinned memory is a copy asynchronous
            return {name: tensor.pin_memory() for name, tensor in tensors.items()}
        widened = ("codes", "order", "mel", "clues") if self._device.type == "cpu" else ()
        return {name: t if name in widened else t.clone() for name, t in tensors.items()}

    def _arrived(self, ready: dict[str, torch.Tensor]) -> Batch:
        moved = {name: t.to(self._device, non_blocking=True) for name, t in ready.items()}
        return widen(moved, moved.pop("position"), self._n_windows)


def made_ahead(items: Iterator[T]) -> Iterator[T]:
    """``items``, up to ``AHEAD`` of them made by a thread before they are asked for."""
    end = object()
    made = ahead(lambda _: next(items, end), repeat(None), n_threads=1, n_waiting=AHEAD)
    yield from takewhile(lambda item: item is not end, made)


def _as_it_is(rows: Any) -> Any:
    """Workers send arrays: as tensors, each would take a shared-memory file of its own."""
    return rows


def _leave_ctrl_c_to_training(worker: int) -> None:
    """Else each worker would answer it as well, as the process does that it was forked from."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
