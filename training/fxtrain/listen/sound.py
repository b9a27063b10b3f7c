"""What is done to a wave before people hear it: level, true peak, anchors, fades, a WAV file.

float32 [N] in and out. Knows nothing of pedals or studies.
"""

from __future__ import annotations

import io
import math
import wave as wave_file

import numpy as np

TARGET_LUFS = -23.0
"""Loudness of every sound: EBU R 128's, low enough that few chains would clip."""

TRUE_PEAK_DBTP = -1.0
OVERSAMPLING = 4
"""ITU-R BS.1770-4, annex 2: true peak is read at four times the rate."""

FADE_S = 0.005
STOP_DB = 60.0
TRANSITION = 1 / 7
"""The anchor at 3.5 kHz is flat to 3.5 and gone at 4 kHz; BS.1534 wants 25 dB at 4, 50 at 4.5."""


def true_peak_dbtp(wave: np.ndarray) -> float:
    from scipy.signal import resample_poly

    peak = float(np.max(np.abs(resample_poly(wave.astype(np.float64), OVERSAMPLING, 1))))
    return 20 * math.log10(max(peak, 1e-10))


def lowpass(wave: np.ndarray, sample_rate_hz: int, edge_hz: float) -> np.ndarray:
    """A linear-phase low-pass, flat up to ``edge_hz``; the wave stays where it is in time."""
    from scipy.signal import firwin, kaiserord, oaconvolve

    nyquist = sample_rate_hz / 2
    width = edge_hz * TRANSITION
    n_taps, beta = kaiserord(STOP_DB, width / nyquist)
    taps = firwin(n_taps | 1, edge_hz + width / 2, window=("kaiser", beta), fs=sample_rate_hz)
    filtered: np.ndarray = oaconvolve(wave, taps, mode="full")[len(taps) // 2 :][: len(wave)]
    return filtered.astype(np.float32)


def loudest_part(wave: np.ndarray, n_samples: int) -> np.ndarray:
    """``n_samples`` of the wave where it has most energy; shorter waves end in silence."""
    if len(wave) <= n_samples:
        return np.pad(wave, (0, n_samples - len(wave)))
    energy = np.concatenate([[0.0], np.cumsum(np.square(wave, dtype=np.float64))])
    start = int(np.argmax(energy[n_samples:] - energy[:-n_samples]))
    return wave[start : start + n_samples]


def fade(wave: np.ndarray, sample_rate_hz: int) -> np.ndarray:
    """Five milliseconds in and out, so that a loop has no click."""
    n = max(1, round(FADE_S * sample_rate_hz))
    ramp = np.linspace(0, 1, n, dtype=np.float32)
    faded = wave.copy()
    faded[:n] *= ramp
    faded[-n:] *= ramp[::-1]
    return faded


def wav_bytes(wave: np.ndarray, sample_rate_hz: int, rng: np.random.Generator) -> bytes:
    """16-bit WAV with triangular dither. Files of one length have one size: it tells nothing."""
    steps = wave.astype(np.float64) * 32767 + rng.random(len(wave)) - rng.random(len(wave))
    samples = np.clip(np.round(steps), -32768, 32767).astype("<i2")
    return mono_wav(samples.tobytes(), 2, sample_rate_hz)


def mono_wav(samples: bytes, width: int, sample_rate_hz: int) -> bytes:
    """A WAV file of one channel; ``width`` bytes a sample."""
    out = io.BytesIO()
    with wave_file.open(out, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(width)
        file.setframerate(sample_rate_hz)
        file.writeframes(samples)
    return out.getvalue()
