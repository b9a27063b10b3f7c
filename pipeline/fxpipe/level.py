"""The one loudness rule, at encode and at inference: codec tokens are level-sensitive.

A gain of -1 dB changes 6 % of DAC's codes and -6 dB more than half, so every window is brought to
one loudness first. DAC itself was trained at -16 LUFS.
"""

from __future__ import annotations

import math

import numpy as np

from fxpipe.loudness import BLOCK_S, integrated_lufs
from fxtrain.contract import LevelRule

LEVEL_RULE = LevelRule(target_lufs=-16.0, peak_limit=0.999)

SOFT_EXPONENT = -5
"""What peaks below 2 ** -6, that is -36 dBFS, is soft."""

DB_A_DOUBLING = 20 * math.log10(2)


def loudness_lufs(wave: np.ndarray, sample_rate_hz: int) -> float:
    """Integrated loudness of mono ``wave`` [N]; -inf for silence.

    What is shorter than a gating block is looped for measuring only.
    """
    shortest = math.ceil(BLOCK_S * sample_rate_hz) + 1
    if not np.any(wave):
        return -math.inf
    if len(wave) < shortest:
        wave = np.resize(wave, shortest)
    return integrated_lufs(wave, sample_rate_hz)


def normalise(wave: np.ndarray, sample_rate_hz: int) -> tuple[np.ndarray, float]:
    """(float32 [N] at the level rule's loudness, the loudness before). Silence stays silence.

    A soft wave is measured after so many doublings that it peaks at -36 to -30 dBFS: the absolute
    gate of BS.1770, -70 LUFS, would take parts of it, or all, for silence.
    """
    doublings = n_doublings(wave)
    louder = np.ldexp(wave, doublings) if doublings else wave
    before = loudness_lufs(louder, sample_rate_hz)
    if not math.isfinite(before):
        return wave.astype(np.float32), before
    gain = 10 ** ((LEVEL_RULE.target_lufs - before) / 20)
    peak = float(np.max(np.abs(louder)))
    levelled = louder * np.float32(min(gain, LEVEL_RULE.peak_limit / peak))
    return levelled.astype(np.float32, copy=False), before - doublings * DB_A_DOUBLING


def as_loud_as(wave: np.ndarray, heard: np.ndarray) -> np.ndarray:
    """``heard`` float32 [N] at the RMS of ``wave``; silence stays silence."""
    before, after = (float(np.dot(each, each)) for each in (wave, heard))
    return heard * np.float32(math.sqrt(before / after)) if after else heard


def n_doublings(wave: np.ndarray) -> int:
    """How often a soft wave is doubled before it is measured: 0 for what is not soft, and silence.

    Doubling changes no bit of a sample but its exponent."""
    _, exponent = math.frexp(float(np.abs(wave).max(initial=0.0)))
    return max(0, SOFT_EXPONENT - exponent)
