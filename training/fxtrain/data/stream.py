"""Owns shards -> batches on the training device, in an order that only (seed, epoch) decides.

A split that fits lies on the device as one tensor a field (50,000 clips are 156 MB of codes);
a larger one is streamed shard by shard. Both hand out every sample exactly once an epoch.
Shapes: B batch, K codebook, T frame, M mel band, L pedal position, P parameter.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset, get_worker_info

from fxtrain.contract import PAD, ContractError, FxError, UsageError, open_folder
from fxtrain.data.dataset import Shard, ShardDataset

RESIDENT_BYTES = 4 * 2**30
"""A split up to this size is kept on the device: 1.3 million clips of codes, 300,000 with mel."""

POOL_SAMPLES = 4096
"""Samples a stream shuffles at a time: about four shards in random order."""


@dataclass(frozen=True, eq=False)
class Batch:
    """``codes`` int64 [B, K, T], ``mel`` float32 [B, M, T] in 0..1 (stored value / 255) or None,
    ``order`` int64 [B, L] pedal ids then 255, ``params`` float32 [B, L, P] with NaN where none,
    ``lengths`` int64 [B] pedals in the chain, ``position`` int64 [B] place in the split.
    """

    codes: Tensor
    mel: Tensor | None
    order: Tensor
    params: Tensor
    lengths: Tensor
    position: Tensor

    def __len__(self) -> int:
        return len(self.position)

    def to(self, device: torch.device | str, non_blocking: bool = False) -> Batch:
        def move(tensor: Tensor) -> Tensor:
            return tensor.to(device, non_blocking=non_blocking)

        return Batch(
            codes=move(self.codes),
            mel=None if self.mel is None else move(self.mel),
            order=move(self.order),
            params=move(self.params),
            lengths=move(self.lengths),
            position=move(self.position),
        )


class Loader(Protocol):
    """Batches of one split. Call ``set_epoch`` before each epoch: it decides the order."""

    def set_epoch(self, epoch: int) -> None: ...

    def __len__(self) -> int:
        """Batches that this rank sees in an epoch."""

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
    drop_last: bool = False,
    verify: bool = True,
) -> Loader:
    """Batches of ``split`` for one of ``world_size`` ranks.

    ``resident`` None keeps the split on the device when it has at most ``RESIDENT_BYTES``.
    ``drop_last`` gives every rank equally many whole batches, as lock-step training on several
    devices needs; without it every sample comes exactly once and the last batch may be short.
    """
    if batch_size < 1 or not 0 <= rank < world_size or n_workers < 0:
        raise UsageError(
            f"batch size {batch_size}, rank {rank} of {world_size}, {n_workers} workers: expected "
            "a batch size of at least 1, a rank below the number of ranks, no negative number"
        )
    n_samples = dataset.n_samples(split)
    if resident is None:
        resident = n_samples * bytes_per_sample(dataset) <= RESIDENT_BYTES
    loader: Loader
    if resident:
        loader = ResidentLoader(
            dataset.load_arrays(split, verify=verify),
            batch_size=batch_size,
            seed=seed,
            shuffle=shuffle,
            device=device,
            rank=rank,
            world_size=world_size,
            drop_last=drop_last,
        )
    else:
        loader = StreamLoader(
            StreamingDataset(
                dataset.shards_of(split),
                batch_size=batch_size,
                seed=seed,
                shuffle=shuffle,
                rank=rank,
                world_size=world_size,
                drop_last=drop_last,
                verify=verify,
            ),
            device=device,
            n_workers=n_workers,
        )
    if len(loader) == 0:
        raise ContractError(
            f"{dataset.folder.uri}: {n_samples} samples in {split!r} do not fill one batch of "
            f"{batch_size} on each of {world_size} ranks; lower the batch size"
        )
    return loader


def bytes_per_sample(dataset: ShardDataset) -> int:
    """Bytes of one sample's codes, mel, order and parameters as stored."""
    index = dataset.index
    n_mels = index.mel.n_mels if index.mel else 0
    per_pedal = 1 + 4 * index.vocabulary.max_params
    per_frame = 2 * index.codec.n_codebooks + n_mels
    return per_frame * index.n_frames + per_pedal * index.max_chain_length


def widen(stored: dict[str, Tensor], position: Tensor) -> Batch:
    """A batch from rows as they are stored: ``codes`` int16 with the bits of uint16."""
    mel = stored.get("mel")
    order = stored["order"].to(torch.int64)
    return Batch(
        codes=stored["codes"].to(torch.int64).bitwise_and_(0xFFFF),
        mel=None if mel is None else mel.to(torch.float32).div_(255.0),
        order=order,
        params=stored["params"],
        lengths=(order != PAD).sum(dim=1),
        position=position,
    )


def as_tensors(arrays: dict[str, np.ndarray]) -> dict[str, Tensor]:
    """Stored arrays as tensors over the same memory; torch indexes int16 everywhere, uint16 not."""
    views = {k: v.view(np.int16) if v.dtype == np.uint16 else v for k, v in arrays.items()}
    return {name: torch.from_numpy(view) for name, view in views.items()}


class ResidentLoader:
    """A whole split on the device; an epoch is one permutation, dealt out to the ranks."""

    def __init__(
        self,
        arrays: dict[str, np.ndarray],
        *,
        batch_size: int,
        seed: int,
        shuffle: bool,
        device: torch.device | str = "cpu",
        rank: int = 0,
        world_size: int = 1,
        drop_last: bool = False,
    ) -> None:
        self._stored = {name: t.to(device) for name, t in as_tensors(arrays).items()}
        self._n_samples = len(arrays["order"])
        self._batch_size, self._seed, self._shuffle = batch_size, seed, shuffle
        self._rank, self._world_size, self._drop_last = rank, world_size, drop_last
        self._epoch = 0

    def set_epoch(self, epoch: int) -> None:
        self._epoch = epoch

    def __len__(self) -> int:
        if self._drop_last:
            return self._n_samples // (self._batch_size * self._world_size)
        return -(-len(range(self._rank, self._n_samples, self._world_size)) // self._batch_size)

    def __iter__(self) -> Iterator[Batch]:
        mine = self._permutation()[self._rank :: self._world_size]
        for number in range(len(self)):
            rows = mine[number * self._batch_size : (number + 1) * self._batch_size]
            picked = {name: t.index_select(0, rows) for name, t in self._stored.items()}
            yield widen(picked, rows)

    def _permutation(self) -> Tensor:
        """int64 [N] on the device; drawn on the CPU, so the same on every device."""
        device = self._stored["order"].device
        if not self._shuffle:
            return torch.arange(self._n_samples, device=device)
        state = np.random.SeedSequence([self._seed, self._epoch]).generate_state(1, np.uint64)
        generator = torch.Generator().manual_seed(int(state[0]) >> 1)
        return torch.randperm(self._n_samples, generator=generator).to(device)


Rows = dict[str, np.ndarray]
"""Samples as they are stored, field by field, and their ``position``."""


class StreamingDataset(IterableDataset[Rows | FxError]):
    """Batches, as stored, of the samples that fall to one worker of one rank.

    The split is laid out shard after shard in the order of (seed, epoch) and cut into as many
    equal runs of samples as there are workers on all ranks. So nothing is lost or doubled however
    few shards there are, and all ranks get equally much; a shard on a cut is read by both sides.
    """

    def __init__(
        self,
        shards: tuple[Shard, ...],
        *,
        batch_size: int,
        seed: int,
        shuffle: bool,
        rank: int = 0,
        world_size: int = 1,
        drop_last: bool = False,
        verify: bool = True,
        pool_samples: int = POOL_SAMPLES,
    ) -> None:
        super().__init__()
        self._shards, self._batch_size = shards, batch_size
        self._seed, self._shuffle = seed, shuffle
        self._rank, self._world_size = rank, world_size
        self._drop_last, self._verify = drop_last, verify
        self._pool_samples = pool_samples if shuffle else batch_size
        self._epoch = 0

    def set_epoch(self, epoch: int) -> None:
        self._epoch = epoch

    def n_batches(self, n_workers: int) -> int:
        """Batches of this rank in an epoch, over all of its workers."""
        runs = [self._run(worker, max(1, n_workers)) for worker in range(max(1, n_workers))]
        if self._drop_last:
            return sum(len(run) // self._batch_size for run in runs)
        return sum(-(-len(run) // self._batch_size) for run in runs)

    def __iter__(self) -> Iterator[Rows | FxError]:
        """Batches; in a worker process an error is the last item, as :class:`StreamLoader` expects.

        Raised there, it would reach the user as a traceback of many lines.
        """
        info = get_worker_info()
        if info is None:
            yield from self._batches(0, 1, reopen=False)
            return
        try:
            yield from self._batches(info.id, info.num_workers, reopen=True)
        except FxError as error:
            yield error

    def _batches(self, worker: int, n_workers: int, *, reopen: bool) -> Iterator[Rows]:
        run = self._run(worker, n_workers)
        rng = np.random.default_rng([self._seed, self._epoch, 1, run.start])
        kept: list[Rows] = []
        for part in self._parts(run, reopen=reopen):
            kept.append(part)
            if sum(len(part["order"]) for part in kept) >= self._pool_samples:
                batches, kept = self._draw(kept, rng)
                yield from batches
        batches, kept = self._draw(kept, rng)
        yield from batches
        if kept and not self._drop_last:
            yield kept[0]

    def _run(self, worker: int, n_workers: int) -> range:
        """Places, in the order of this epoch, of the samples that fall to one worker."""
        n_samples = sum(len(shard) for shard in self._shards)
        consumer, n_consumers = self._rank * n_workers + worker, self._world_size * n_workers
        if self._drop_last:
            quota = n_samples // n_consumers
            return range(consumer * quota, (consumer + 1) * quota)
        return range(consumer * n_samples // n_consumers, (consumer + 1) * n_samples // n_consumers)

    def _parts(self, run: range, *, reopen: bool) -> Iterator[Rows]:
        """What lies in ``run``, shard by shard; ``position`` stands beside the fields."""
        order = np.arange(len(self._shards))
        if self._shuffle:
            order = np.random.default_rng([self._seed, self._epoch, 0]).permutation(order)
        start = 0
        for number in order:
            shard = self._shards[number]
            low, high = max(run.start, start) - start, min(run.stop, start + len(shard)) - start
            start += len(shard)
            if low >= high:
                continue
            if reopen:  # clients of remote storage do not survive a fork
                shard = Shard(open_folder(shard.folder.uri), shard.entry, shard.index, shard.first)
            arrays = {k: v[low:high] for k, v in shard.arrays(verify=self._verify).items()}
            arrays["position"] = np.arange(shard.first + low, shard.first + high)
            yield arrays

    def _draw(
        self, parts: list[Rows], rng: np.random.Generator
    ) -> tuple[Iterator[Rows], list[Rows]]:
        """(whole batches of the shuffled pool, what is left of it for the next one)."""
        if not parts:
            return iter(()), []
        pool = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
        n_samples = len(pool["order"])
        rows = rng.permutation(n_samples) if self._shuffle else np.arange(n_samples)
        n_whole = n_samples // self._batch_size * self._batch_size
        starts = range(0, n_whole, self._batch_size)
        batches = (_take(pool, rows[i : i + self._batch_size]) for i in starts)
        return batches, [_take(pool, rows[n_whole:])] if n_whole < n_samples else []


class StreamLoader:
    """A streaming data set read by worker processes, its batches moved to the device."""

    def __init__(
        self, dataset: StreamingDataset, *, device: torch.device | str = "cpu", n_workers: int = 0
    ) -> None:
        self._dataset, self._device, self._n_workers = dataset, torch.device(device), n_workers
        self._loader: DataLoader[Any] = DataLoader(
            dataset,
            batch_size=None,
            num_workers=n_workers,
            collate_fn=_as_it_is,
            generator=torch.Generator(),  # else it draws from the global one
        )

    def set_epoch(self, epoch: int) -> None:
        self._dataset.set_epoch(epoch)  # workers are started afresh each epoch and see it

    def __len__(self) -> int:
        return self._dataset.n_batches(self._n_workers)

    def __iter__(self) -> Iterator[Batch]:
        for rows in self._loader:
            if isinstance(rows, FxError):
                raise rows
            moved = {name: t.to(self._device) for name, t in as_tensors(rows).items()}
            yield widen(moved, moved.pop("position"))


def _as_it_is(rows: Any) -> Any:
    """Workers send arrays: as tensors, each would take a shared-memory file of its own."""
    return rows


def _take(rows: Rows, numbers: np.ndarray) -> Rows:
    return {name: array[numbers] for name, array in rows.items()}
