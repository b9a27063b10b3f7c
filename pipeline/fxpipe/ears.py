"""What a model hears of a wave: one function for training data and for inference.

Imports little: `fxtrain predict` waits for it.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from fxpipe.codec import Codec
from fxpipe.level import normalise
from fxpipe.mel import log_mel
from fxtrain.contract import MelInfo


def features(
    waves: Sequence[np.ndarray], sample_rate_hz: int, codec: Codec, mel: MelInfo | None
) -> tuple[np.ndarray, np.ndarray | None, list[float]]:
    """What a model hears of windows of one length: (codes, mel or None, loudness before, LUFS).

    The same function serves training data and inference. Resampling, if any, comes first, then
    the level rule, then codec and mel on the same samples.
    """
    rate = codec.info.sample_rate_hz
    levelled, loudness = zip(*(level(wave, sample_rate_hz, rate) for wave in waves), strict=True)
    codes = codec.encode(np.stack(levelled))
    frames = np.stack([log_mel(loud, rate, mel) for loud in levelled]) if mel else None
    return codes, frames, list(loudness)


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
