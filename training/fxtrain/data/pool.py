"""Owns the shuffled stream: shards read one after another into a pool, batches drawn from it.

The pool is one piece of memory a field, filled again and again: new memory for every shard would
cost more than reading it. Shapes: B batch, N sample of the pool.
"""

from __future__ import annotations

import multiprocessing
from collections.abc import Iterator

import numpy as np
import torch
from torch.utils.data import IterableDataset, get_worker_info

from fxtrain.contract import ContractError, FxError, Layout, LocalFolder, open_folder
from fxtrain.data.batch import Rows
from fxtrain.data.dataset import Shard
from fxtrain.data.shares import n_batches, worker_batches

POOL_SAMPLES = 4096
"""Samples a stream shuffles at a time: about four shards in random order."""


class Pool:
    """Rows of up to ``capacity`` samples, appended at the end and drawn in any order."""

    def __init__(self, layout: Layout, capacity: int) -> None:
        self.arrays = {
            name: np.empty((capacity, *shape), dtype) for name, (dtype, shape) in layout.items()
        }
        self.arrays["position"] = np.empty(capacity, np.int64)
        self.n = 0

    def room(self, n_samples: int) -> Rows:
        """Views of the next ``n_samples`` rows, to be written; they count as filled."""
        rows = {name: a[self.n : self.n + n_samples] for name, a in self.arrays.items()}
        self.n += n_samples
        return rows

    def take(self, numbers: np.ndarray, out: Rows | None = None) -> Rows:
        """Copies of some rows, in ``out`` (of at least as many rows) where it is given."""
        if out is None:
            return {name: array[numbers] for name, array in self.arrays.items()}
        n_rows = len(numbers)
        return {
            name: array.take(numbers, axis=0, out=out[name][:n_rows], mode="clip")
            for name, array in self.arrays.items()
        }

    def keep(self, numbers: np.ndarray) -> None:
        """Throw all other rows away."""
        kept = self.take(numbers)
        self.n = 0
        for name, rows in self.room(len(numbers)).items():
            rows[...] = kept[name]


class StreamingDataset(IterableDataset[Rows | FxError]):
    """Batches, as stored, of the samples that fall to one worker of one rank.

    The split is laid out shard after shard in the order of (seed, epoch) and cut into a run of
    samples for every worker of every rank (``shares.py``). So nothing is lost or doubled however
    few shards there are; a shard on a cut is read by both sides.

    A shard's bytes are hashed when it is read for the first time, by whichever worker; then its
    sizes, codes and ids are checked each time.
    """

    def __init__(
        self,
        shards: tuple[Shard, ...],
        layout: Layout,
        *,
        batch_size: int,
        seed: int,
        shuffle: bool,
        rank: int = 0,
        world_size: int = 1,
        pool_samples: int = POOL_SAMPLES,
    ) -> None:
        super().__init__()
        self._shards, self._layout, self._batch_size = shards, layout, batch_size
        self._seed, self._shuffle = seed, shuffle
        self._rank, self._world_size = rank, world_size
        self._pool_samples = max(pool_samples if shuffle else 1, batch_size)
        self._epoch = torch.zeros(1, dtype=torch.int64)
        self._trusted = torch.zeros(len(shards), dtype=torch.bool)

    def share(self) -> None:
        """Put what changes where worker processes see it: they live on from epoch to epoch."""
        try:
            multiprocessing.Lock()  # of which a loader with workers needs some
            for tensor in (self._epoch, self._trusted):
                tensor.share_memory_()  # type: ignore[no-untyped-call]
        except (OSError, RuntimeError) as error:
            raise FxError(
                f"processes that read batches (n_workers) need shared memory: {error}; give this "
                "container a /dev/shm that can be written, or set n_workers = 0"
            ) from None

    def set_epoch(self, epoch: int) -> None:
        self._epoch[0] = epoch

    def __len__(self) -> int:
        """Batches of this rank in an epoch, over all of its workers."""
        return n_batches(self._n_samples, self._batch_size, self._world_size)

    def __iter__(self) -> Iterator[Rows | FxError]:
        """Batches; in a worker process an error is the last item, as ``StreamLoader`` expects.

        Raised there, it would reach the user as a traceback of many lines.
        """
        info = get_worker_info()
        if info is None:
            yield from self.batches(0, 1)
            return
        try:
            yield from self.batches(info.id, info.num_workers, reopen=True)
        except FxError as error:
            yield error

    @property
    def _n_samples(self) -> int:
        return sum(len(shard) for shard in self._shards)

    def batches(
        self, worker: int, n_workers: int, *, reopen: bool = False, reuse: bool = False
    ) -> Iterator[Rows]:
        """The batches of one worker; ``reopen`` where it has a process of its own.

        With ``reuse`` each is written over the one before.
        """
        longest = max(len(shard) for shard in self._shards)
        try:
            run, sizes = worker_batches(
                self._n_samples, self._batch_size, self._rank, self._world_size, worker, n_workers
            )
            pool = Pool(self._layout, self._pool_samples + min(longest, len(run)))
        except (MemoryError, ValueError):  # more bytes than there are, or than exist
            raise ContractError(
                f"{self._shards[0].folder.uri}: no memory for {self._n_samples} samples in shards "
                f"of up to {longest}, as the index says; type 'fxpipe check' with that directory"
            ) from None
        epoch = int(self._epoch)
        rng = np.random.default_rng([self._seed, epoch, 1, run.start])
        sizes.reverse()
        out = Pool(self._layout, self._batch_size).arrays if reuse else None
        for number, low, high in self._parts(run, epoch):
            self._read(number, low, high, pool.room(high - low), reopen=reopen)
            if pool.n >= self._pool_samples:
                yield from self._deal(pool, sizes, rng, out)
        yield from self._deal(pool, sizes, rng, out)

    def _parts(self, run: range, epoch: int) -> Iterator[tuple[int, int, int]]:
        """(number of a shard, first row, end row) of what lies in ``run``, in reading order."""
        order = np.arange(len(self._shards))
        if self._shuffle:
            order = np.random.default_rng([self._seed, epoch, 0]).permutation(order)
        start = 0
        for number in order.tolist():
            end = start + len(self._shards[number])
            low, high = max(run.start, start), min(run.stop, end)
            if low < high:
                yield number, low - start, high - start
            start = end

    def _read(self, number: int, low: int, high: int, room: Rows, *, reopen: bool) -> None:
        shard, position = self._shards[number], room.pop("position")
        if reopen and not isinstance(shard.folder, LocalFolder):  # no client survives a fork
            shard = Shard(open_folder(shard.folder.uri), shard.entry, shard.index, shard.first)
        verify = not self._trusted[number]
        if high - low == len(shard):
            shard.arrays(verify=verify, out=room)
        else:
            whole = shard.arrays(verify=verify, fields=tuple(room))
            for name, rows in room.items():
                rows[...] = whole[name][low:high]
        self._trusted[number] = True
        position[...] = np.arange(shard.first + low, shard.first + high)

    def _deal(
        self,
        pool: Pool,
        sizes: list[int],
        rng: np.random.Generator,
        out: Rows | None,
    ) -> Iterator[Rows]:
        """Batches of the shuffled pool, as many as it can fill; the rest stays for the next."""
        rows = rng.permutation(pool.n) if self._shuffle else np.arange(pool.n)
        done = 0
        while sizes and done + sizes[-1] <= pool.n:
            size = sizes.pop()
            yield pool.take(rows[done : done + size], out)
            done += size
        pool.keep(rows[done:])
