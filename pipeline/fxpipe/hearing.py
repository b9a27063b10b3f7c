"""Clips on their way to the codec: read, resampled, levelled, log-mel; on a GPU ahead of time.

A CPU encodes a clip in a second and reads it in a few milliseconds: one after the other. A GPU
levels its clips itself (`fxpipe.hearing_gpu`), and while it works on one shard the next is read.
"""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable, Hashable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np

from fxpipe.clues import clues
from fxpipe.ears import level
from fxpipe.mel import log_mel
from fxpipe.renders import RendersIndex, iter_clips
from fxpipe.windows import cut
from fxtrain.contract import ClueInfo, Folder, MelInfo, Record, n_cores

MOST_THREADS = 8


@dataclass(frozen=True)
class Heard:
    """``waves`` float32 [B, N] at the codec's rate and the level rule; loudness before, LUFS;
    ``mel`` uint8 [B, M, T] and ``clues`` uint8 [B, C] where asked for. A GPU's waves are a tensor
    there. Of clips in windows a row is a window, beside its clip's record."""

    waves: Any
    records: list[Record]
    loudness_lufs: list[float]
    mel: np.ndarray | None
    clues: np.ndarray | None


@dataclass(frozen=True)
class Part:
    """Clips ``first .. first + n`` of a split of renders, for a codec of ``sample_rate_hz``, in how
    many windows each, and which log-mel frames and clues of them."""

    identity: str
    split: str
    first: int
    n: int
    sample_rate_hz: int
    n_windows: int = 1
    mel: MelInfo | None = None
    clues: ClueInfo | None = None


def read_batches(
    folder: Folder, renders: RendersIndex, part: Part, batch: int
) -> Iterator[tuple[np.ndarray, list[Record]]]:
    """(float32 [B, N] as rendered, records) of a part, in order, about ``batch`` rows at once."""
    clips = iter_clips(folder, renders, part.split, part.first, part.n)
    while found := list(islice(clips, max(1, batch // part.n_windows))):
        rows = [(window, record) for wave, record in found for window in cut(wave, part.n_windows)]
        waves, records = zip(*rows, strict=True)
        yield np.stack(waves), list(records)


def hear(
    folder: Folder,
    renders: RendersIndex,
    part: Part,
    batch: int,
    each: Callable[..., Any] = map,
) -> Iterator[Heard]:
    """Batches of a part, in order. ``each``: ``map``, or that of a pool of threads."""
    for waves, records in read_batches(folder, renders, part, batch):
        done = list(each(functools.partial(_heard, renders.spec.sample_rate_hz, part), waves))
        levelled, loudness, mel, found = zip(*done, strict=True)
        yield Heard(
            np.stack(levelled),
            records,
            list(loudness),
            np.stack(mel) if part.mel else None,
            np.stack(found) if part.clues else None,
        )


def _heard(
    from_hz: int, part: Part, wave: np.ndarray
) -> tuple[np.ndarray, float, np.ndarray | None, np.ndarray | None]:
    import scipy.fft

    rate, mel, found = part.sample_rate_hz, None, None
    levelled, loud = level(wave, from_hz, rate)
    if part.mel is not None:
        mel = log_mel(levelled, rate, part.mel, scipy.fft.rfft)
    if part.clues is not None:
        found = clues(levelled, rate, part.clues, scipy.fft)
    return levelled, loud, mel, found


class Ahead:
    """One piece of work done in advance, in threads. Asked for another piece, it does that."""

    def __init__(self, n_threads: int | None = None) -> None:
        n_threads = n_threads or max(1, min(MOST_THREADS, n_cores() - 1))
        self._pool = ThreadPoolExecutor(n_threads, "level")
        self._reader = ThreadPoolExecutor(1, "read")
        self._key: Hashable = None
        self._work: Future[list[Any]] | None = None
        self._lock = threading.Lock()

    def take(self, key: Hashable, work: Callable[..., list[Any]]) -> list[Any]:
        """What ``work(map)`` gives, whether it was begun before or not."""
        with self._lock:
            begun, self._work = self._work, None
            known = self._key == key
        if begun is not None and known:
            return begun.result()
        if begun is not None:
            begun.cancel()
        return work(self._pool.map)

    def begin(self, key: Hashable, work: Callable[..., list[Any]]) -> None:
        with self._lock:
            self._key, self._work = key, self._reader.submit(work, self._pool.map)
