"""Owns who gets which samples: ranks, their worker processes, their batches. Pure numbers.

Training in lock step needs equally many batches on all ranks, and every sample exactly once. So a
rank gets ``n // world_size`` samples or one more, and makes as many batches as the largest share
needs: whole ones, then the rest, which may be none. Where a split lies in memory, a step of W ranks
so sees exactly the samples that one process with W times the batch would see.
"""

from __future__ import annotations

import numpy as np


def n_batches(n_samples: int, batch_size: int, world_size: int) -> int:
    """Batches that each rank makes in an epoch."""
    largest_share = -(-n_samples // world_size)
    return -(-largest_share // batch_size)


def batch_edges(n_samples: int, batch_size: int, world_size: int, share: int) -> np.ndarray:
    """int64 [batches + 1]: where in a rank's ``share`` samples its batches begin and end."""
    steps = np.arange(n_batches(n_samples, batch_size, world_size) + 1)
    return np.minimum(steps * batch_size, share)


def rank_range(n_samples: int, rank: int, world_size: int) -> range:
    """Places that fall to one rank when the split is cut into runs."""
    return range(rank * n_samples // world_size, (rank + 1) * n_samples // world_size)


def worker_batches(
    n_samples: int, batch_size: int, rank: int, world_size: int, worker: int, n_workers: int
) -> tuple[range, list[int]]:
    """(places that fall to one worker of one rank, sizes of the batches it makes of them)."""
    mine = rank_range(n_samples, rank, world_size)
    edges = mine.start + batch_edges(n_samples, batch_size, world_size, len(mine))
    count = len(edges) - 1
    low, high = worker * count // n_workers, (worker + 1) * count // n_workers
    return range(int(edges[low]), int(edges[high])), np.diff(edges[low : high + 1]).tolist()
