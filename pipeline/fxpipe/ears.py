"""What a model hears of a wave: one function for training data and for inference.

Imports little: `fxtrain predict` waits for it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from fxpipe.clues import clues
from fxpipe.codec import Codec
from fxpipe.codec.unheard import Unheard
from fxpipe.level import normalise
from fxpipe.mel import log_mels
from fxtrain.contract import ClueInfo, MelInfo


@dataclass(frozen=True)
class HeardWindows:
    """``codes`` uint16 [B, K, T]; ``mel`` uint8 [B, M, T] or None; loudness before, LUFS;
    ``pictures``: what else was asked for of the same samples, uint8 [M, T] each, or None; ``clues``
    uint8 [B, C] or None."""

    codes: np.ndarray
    mel: np.ndarray | None
    loudness_lufs: list[float]
    pictures: list[np.ndarray] | None
    clues: np.ndarray | None


def features(
    waves: Sequence[np.ndarray],
    sample_rate_hz: int,
    codec: Codec | Unheard,
    mel: MelInfo | None,
    also: MelInfo | None = None,
    told: ClueInfo | None = None,
) -> HeardWindows:
    """What a model hears of windows of one length, ``also`` as another log-mel picture, ``told``
    which clues.

    As ``hearing.hear`` gives of training data: resampling, if any, comes first, then the level
    rule, then codec, mel and clues on the same samples.
    """
    rate = codec.info.sample_rate_hz
    levelled, loudness = zip(*(level(wave, sample_rate_hz, rate) for wave in waves), strict=True)
    codes = codec.encode(np.stack(levelled))
    asked = [info for info in (mel, also) if info]
    found = [log_mels(loud, rate, asked) for loud in levelled]
    return HeardWindows(
        codes,
        np.stack([each[0] for each in found]) if mel else None,
        list(loudness),
        [each[-1] for each in found] if also else None,
        np.stack([clues(loud, rate, told) for loud in levelled]) if told else None,
    )


def level(wave: np.ndarray, from_hz: int, to_hz: int) -> tuple[np.ndarray, float]:
    """(resampled and at the level rule, loudness before)."""
    return normalise(_resample(wave, from_hz, to_hz), to_hz)


def _resample(wave: np.ndarray, from_hz: int, to_hz: int) -> np.ndarray:
    if from_hz == to_hz:
        return wave
    import soxr

    resampled: np.ndarray = soxr.resample(wave, from_hz, to_hz, quality="HQ")
    n = round(len(wave) * to_hz / from_hz)
    return np.pad(resampled, (0, max(0, n - len(resampled))))[:n]
