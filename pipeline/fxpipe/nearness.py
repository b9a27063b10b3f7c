"""How near a remade sound comes to the true one, by published measures. The only auraloss import.

SI-SDR (Le Roux et al. 2019), multi-resolution STFT (Yamamoto, Song and Kim 2020) and mel STFT, as
auraloss has them, and the difference of loudness (ITU-R BS.1770). Both waves are
brought to one loudness before the two spectral measures; SI-SDR knows no loudness.
"""

from __future__ import annotations

import functools
import math
from typing import Any

import numpy as np

from fxpipe.level import LEVEL_RULE, loudness_lufs
from fxtrain.contract import NEARNESS_LIMITS, Nearness


def nearness(true: np.ndarray, other: np.ndarray, sample_rate_hz: int) -> Nearness:
    """``other`` against ``true``, float32 [N] both; ``true`` not silent."""
    import torch

    if true.shape != other.shape or true.ndim != 1:
        raise ValueError(f"waves of shapes {true.shape} and {other.shape}, expected [N] twice")
    loud, loud_other = (loudness_lufs(wave, sample_rate_hz) for wave in (true, other))
    levelled = (_levelled(true, loud), _levelled(other, loud_other))
    truth, answer = (torch.from_numpy(wave)[None, None] for wave in levelled)
    si_sdr, mr_stft, mel_stft = _measures(sample_rate_hz)
    with torch.inference_mode():
        return Nearness(
            si_sdr_db=_within("si_sdr_db", -float(si_sdr(answer, truth))),
            mr_stft=float(mr_stft(answer, truth)),
            mel_stft=float(mel_stft(answer, truth)),
            loudness_db=_within("loudness_db", abs(loud - loud_other)),
        )


def _levelled(wave: np.ndarray, loudness: float) -> np.ndarray:
    """float32 [N] at the level rule's loudness; no peak guard, for nobody plays it."""
    gain = 10 ** ((LEVEL_RULE.target_lufs - loudness) / 20) if math.isfinite(loudness) else 1.0
    return (wave * np.float32(gain)).astype(np.float32)


def _within(measure: str, value: float) -> float:
    low, high = NEARNESS_LIMITS[measure]
    return high if math.isnan(value) else min(max(value, low), high)


@functools.lru_cache(maxsize=2)
def _measures(sample_rate_hz: int) -> tuple[Any, Any, Any]:
    """auraloss with its own settings: the published ones."""
    import auraloss

    return (
        auraloss.time.SISDRLoss(),
        auraloss.freq.MultiResolutionSTFTLoss(),
        auraloss.freq.MelSTFTLoss(sample_rate_hz),
    )
