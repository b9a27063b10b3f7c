"""Owns batches of a whole split that lies on the device as one tensor a field."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from fxtrain.data.batch import Batch, Rows, as_tensors, widen
from fxtrain.data.shares import n_batches


class ResidentLoader:
    """An epoch is one permutation, dealt out to the ranks sample by sample."""

    def __init__(
        self,
        arrays: Rows,
        *,
        batch_size: int,
        seed: int,
        shuffle: bool,
        device: torch.device | str = "cpu",
        rank: int = 0,
        world_size: int = 1,
        n_windows: int = 1,
    ) -> None:
        self._stored = {name: t.to(device) for name, t in as_tensors(arrays).items()}
        self._n_samples = len(arrays["order"])
        self._batch_size, self._seed, self._shuffle = batch_size, seed, shuffle
        self._rank, self._world_size = rank, world_size
        self._n_windows, self._epoch = n_windows, 0

    def set_epoch(self, epoch: int) -> None:
        self._epoch = epoch

    def __len__(self) -> int:
        return n_batches(self._n_samples, self._batch_size, self._world_size)

    def __iter__(self) -> Iterator[Batch]:
        mine = self._permutation()[self._rank :: self._world_size]
        for number in range(len(self)):
            rows = mine[number * self._batch_size : (number + 1) * self._batch_size]
            picked = {name: t.index_select(0, rows) for name, t in self._stored.items()}
            yield widen(picked, rows, self._n_windows)

    def _permutation(self) -> Tensor:
        """int64 [N] on the device; drawn on the CPU, so the same on every device."""
        device = self._stored["order"].device
        if not self._shuffle:
            return torch.arange(self._n_samples, device=device)
        state = np.random.SeedSequence([self._seed, self._epoch]).generate_state(1, np.uint64)
        generator = torch.Generator().manual_seed(int(state[0]) >> 1)
        return torch.randperm(self._n_samples, generator=generator).to(device)
