"""The clips of one task of `encode`, heard on its worker's device.

A worker with a GPU keeps its ears from task to task, and reads the next one's clips meanwhile.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from fxpipe.hearing import Ahead, Heard, Part, hear, read_batches
from fxpipe.renders import RendersIndex
from fxpipe.tasks import Job
from fxtrain.contract import ClueInfo, MelInfo, open_folder

if TYPE_CHECKING:
    from fxpipe.hearing_gpu import GpuEars

BATCH = 32
GPU_BATCHES = 512
"""Clips read ahead for a GPU at a time: several of its batches, so that it need not wait."""
ON_THE_GPU = 128
"""Levelled clips that lie on it at once, 45 MB of two seconds each."""
SHORTEST_S = 0.5
"""Shorter clips are looped to be measured, which a GPU leaves to the CPU."""

Beside = tuple[MelInfo | None, ClueInfo | None]
"""What is wanted of a clip beside its codes."""


@functools.lru_cache(maxsize=1)
def _ahead() -> Ahead:
    return Ahead()


def heard_clips(
    job: Job, renders: RendersIndex, sample_rate_hz: int, beside: Beside, device: str
) -> Iterator[Heard]:
    """A shard's clips; on a GPU the shard that probably comes next is read meanwhile."""
    folder = open_folder(job["renders"])

    n_windows = job["n_windows"]

    def part(of: Job) -> Part:
        where = (of["split"], of["first"], of["n"])
        return Part(job["renders_identity"], *where, sample_rate_hz, n_windows, *beside)

    if device == "cpu":
        yield from hear(folder, renders, part(job), BATCH)
        return
    spec = renders.spec
    ears = None
    if spec.sample_rate_hz == sample_rate_hz and spec.clip_s >= SHORTEST_S * n_windows:
        ears = _ears(sample_rate_hz, beside, device)

    def work(of: Part) -> Callable[..., list[Any]]:
        if ears is not None:
            return lambda each: list(read_batches(folder, renders, of, GPU_BATCHES))
        return lambda each: list(hear(folder, renders, of, GPU_BATCHES, each))

    now = _ahead().take(part(job), work(part(job)))
    if "next" in job:
        _ahead().begin(part(job["next"]), work(part(job["next"])))
    for found in now:
        if ears is None:
            yield found
        else:
            waves, records = found
            for first in range(0, len(waves), ON_THE_GPU):
                some = slice(first, first + ON_THE_GPU)
                levelled, loudness, mel, clues = ears(waves[some])
                yield Heard(levelled, records[some], loudness, mel, clues)


@functools.lru_cache(maxsize=1)
def _ears(sample_rate_hz: int, beside: Beside, device: str) -> GpuEars:
    import torch

    from fxpipe.hearing_gpu import GpuEars

    return GpuEars(sample_rate_hz, *beside, torch.device(device))
