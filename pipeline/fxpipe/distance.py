"""How different two sounds are, whatever their volume: residual, log-mel and multi-scale STFT.

Knows nothing of pedals. All three take float [N] waves of one length at one rate.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass

import numpy as np

from fxpipe.level import LEVEL_RULE, loudness_lufs
from fxpipe.mel import mel_power
from fxtrain.contract import MelInfo

N_BANDS = 96
FLOOR_DB = 65.0
"""Bands this far below the louder clip's loudest band count as silent: real recordings carry
noise there, and nobody hears below it."""

SILENT_DBFS = -70.0
STFT_SIZES = (512, 1024, 2048)


@dataclass(frozen=True)
class Heard:
    """A wave [N] in double precision and its energy: what every comparison of it needs."""

    wave: np.ndarray
    energy: float


def hear(wave: np.ndarray) -> Heard:
    exact = wave.astype(np.float64)
    return Heard(exact, float(np.dot(exact, exact)))


def change_db(before: np.ndarray | Heard, after: np.ndarray | Heard) -> float:
    """How much of ``after`` is not ``before`` at another volume, in dB relative to ``after``.

    20 log10(|after - g before| / |after|) at the best gain g. -inf where ``after`` is silent: a
    chain that swallows its input is as useless as one that does nothing to it.
    """
    before = before if isinstance(before, Heard) else hear(before)
    after = after if isinstance(after, Heard) else hear(after)
    energy = after.energy
    if energy <= 10 ** (SILENT_DBFS / 10) * len(after.wave):
        return -math.inf
    common = float(np.dot(before.wave, after.wave))
    residual = energy - common**2 / before.energy if before.energy else energy
    return 10 * math.log10(max(residual / energy, 1e-15))


def mel_distance_db(one: np.ndarray, other: np.ndarray, sample_rate_hz: int) -> float:
    """Mean |dB| over 96 log-mel bands and all frames, both waves brought to one loudness.

    Bands more than 65 dB below the loudest of both count as equal there. 0 for two silent waves.
    """
    return band_distance_db(log_bands(one, sample_rate_hz), log_bands(other, sample_rate_hz))


def log_bands(wave: np.ndarray, sample_rate_hz: int) -> np.ndarray:
    """float32 [T, 96]: log-mel in dB at the level rule's loudness; what is silent is -200 dB."""
    power = mel_power(wave, sample_rate_hz, _bands(sample_rate_hz))
    loudness = loudness_lufs(wave, sample_rate_hz)
    if not math.isfinite(loudness):
        return np.full(power.shape, -200.0, np.float32)
    decibels: np.ndarray = 10 * np.log10(np.maximum(power, 1e-20)) + np.float32(
        LEVEL_RULE.target_lufs - loudness
    )
    return decibels


def band_distance_db(one: np.ndarray, other: np.ndarray) -> float:
    """The mean |dB| of two results of ``log_bands``, above their common floor."""
    floor = max(float(one.max()), float(other.max())) - FLOOR_DB
    return float(np.mean(np.abs(np.maximum(one, floor) - np.maximum(other, floor))))


@functools.lru_cache(maxsize=4)
def _bands(sample_rate_hz: int) -> MelInfo:
    return MelInfo(
        n_mels=N_BANDS,
        n_fft=2048 if sample_rate_hz > 32_000 else 1024,
        hop_samples=1024,
        f_min_hz=40.0,
        f_max_hz=min(16_000.0, sample_rate_hz / 2),
        floor_db=0.0,
        step_db=1.0,
    )


def mr_stft(one: np.ndarray, other: np.ndarray) -> float:
    """Multi-resolution STFT distance (Yamamoto, Song and Kim 2020) at equal RMS.

    Spectral convergence plus mean |ln magnitude| difference, averaged over windows of 512, 1024
    and 2048 samples with a hop of a quarter window.
    """
    a, b = _unit_rms(one), _unit_rms(other)
    return float(np.mean([_stft_distance(a, b, size) for size in STFT_SIZES]))


def _unit_rms(wave: np.ndarray) -> np.ndarray:
    rms = math.sqrt(float(np.dot(wave, wave)) / len(wave))
    scaled: np.ndarray = wave / np.float32(max(rms, 1e-9))
    return scaled


def _stft_distance(one: np.ndarray, other: np.ndarray, size: int) -> float:
    import scipy.fft

    window = np.hanning(size + 1)[:-1].astype(np.float32)
    scale = np.float32(1 / window.sum())
    magnitudes = []
    for wave in (one, other):
        frames = np.lib.stride_tricks.sliding_window_view(wave, size)[:: size // 4]
        spectrum = scipy.fft.rfft(frames * window, axis=1) * scale
        magnitudes.append(np.maximum(np.abs(spectrum), np.float32(1e-4)))
    a, b = magnitudes
    convergence = np.linalg.norm(a - b) / np.linalg.norm(b)
    return float(convergence + np.mean(np.abs(np.log(a / b))))
