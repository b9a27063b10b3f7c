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


def normalise(
    wave: np.ndarray, sample_rate_hz: int, rule: LevelRule = LEVEL_RULE
) -> tuple[np.ndarray, float]:
    """(float32 [N] at the rule's loudness, the loudness before). Silence stays silence."""
    before = loudness_lufs(wave, sample_rate_hz)
    if not math.isfinite(before):
        return wave.astype(np.float32), before
    gain = 10 ** ((rule.target_lufs - before) / 20)
    peak = float(np.max(np.abs(wave)))
    return (wave * np.float32(min(gain, rule.peak_limit / peak))).astype(np.float32), before
