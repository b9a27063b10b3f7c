"""Log-mel frames beside the codes: the second modality, and the yardstick for what tokens lose.

numpy's FFT takes 4 to 6 ms a clip longer than scipy's, which takes a quarter of a second to import:
who has one clip takes numpy's, who has thousands hands over scipy's. They differ in the last bits.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from fxtrain.contract import CodecInfo, MelInfo

N_MELS = 96

Rfft = Callable[..., Any]
"""``numpy.fft.rfft``, or another that is called as it is."""


def mel_info(codec: CodecInfo) -> MelInfo:
    """96 bands from 40 Hz to 16 kHz, one frame a codec frame, -80 to +22 dB in steps of 0.4 dB."""
    return MelInfo(
        n_mels=N_MELS,
        n_fft=2048 if codec.sample_rate_hz > 32_000 else 1024,
        hop_samples=codec.hop_samples,
        f_min_hz=40.0,
        f_max_hz=min(16_000.0, codec.sample_rate_hz / 2),
        floor_db=-80.0,
        step_db=0.4,
    )


def log_mel(
    wave: np.ndarray, sample_rate_hz: int, info: MelInfo, rfft: Rfft = np.fft.rfft
) -> np.ndarray:
    """uint8 [M, T] of ``wave`` [N]: frame t is centred on codec frame t, T = ceil(N / hop).

    0 dB is a full-scale sine within one band; what lies below the floor is the floor.
    """
    (frames_u8,) = log_mels(wave, sample_rate_hz, [info], rfft)
    return frames_u8


def log_mels(
    wave: np.ndarray, sample_rate_hz: int, infos: Sequence[MelInfo], rfft: Rfft = np.fft.rfft
) -> list[np.ndarray]:
    """The same in several ways; a spectrum that they have in common is made once."""
    spectra = {(info.n_fft, info.hop_samples): info for info in infos}
    powers = {size: power_spectrum(wave, info, rfft) for size, info in spectra.items()}
    return [
        _bytes(powers[info.n_fft, info.hop_samples] @ mel_filters(sample_rate_hz, info), info)
        for info in infos
    ]


def _bytes(bands: np.ndarray, info: MelInfo) -> np.ndarray:
    decibels = 10 * np.log10(np.maximum(bands.T, 1e-12))
    steps = np.round((decibels - info.floor_db) / info.step_db)
    frames_u8: np.ndarray = np.clip(steps, 0, 255).astype(np.uint8)
    return frames_u8


def mel_power(wave: np.ndarray, sample_rate_hz: int, info: MelInfo) -> np.ndarray:
    """float32 [T, M]: power in mel bands, 1 for a full-scale sine within one band."""
    bands: np.ndarray = power_spectrum(wave, info) @ mel_filters(sample_rate_hz, info)
    return bands


def power_spectrum(wave: np.ndarray, info: MelInfo, rfft: Rfft = np.fft.rfft) -> np.ndarray:
    """float32 [T, n_fft // 2 + 1]: power, 1 for a full-scale sine in the middle of a bin."""
    n_frames = -(-len(wave) // info.hop_samples)
    before = (info.n_fft - info.hop_samples) // 2
    padded = np.zeros(n_frames * info.hop_samples + info.n_fft, np.float32)
    padded[before : before + len(wave)] = wave
    frames = np.lib.stride_tricks.sliding_window_view(padded, info.n_fft)[:: info.hop_samples]
    window = np.hanning(info.n_fft + 1)[:-1].astype(np.float32)
    spectrum = rfft(frames[:n_frames] * window, axis=1) * np.float32(2 / window.sum())
    power: np.ndarray = spectrum.real**2 + spectrum.imag**2
    return power


@functools.lru_cache(maxsize=4)
def mel_filters(sample_rate_hz: int, info: MelInfo) -> np.ndarray:
    """float32 [n_fft // 2 + 1, M]: triangles equally spaced in mel (O'Shaughnessy 1987), peak 1."""
    top, bottom = (2595 * np.log10(1 + f / 700) for f in (info.f_max_hz, info.f_min_hz))
    corners = 700 * (10 ** (np.linspace(bottom, top, info.n_mels + 2) / 2595) - 1)
    bins = np.arange(info.n_fft // 2 + 1) * sample_rate_hz / info.n_fft
    # A band narrower than the bin spacing would miss every bin: widen it to one bin each side.
    spacing = sample_rate_hz / info.n_fft
    low = np.minimum(corners[:-2], corners[1:-1] - spacing)
    high = np.maximum(corners[2:], corners[1:-1] + spacing)
    rising = (bins[:, None] - low) / (corners[1:-1] - low)
    falling = (high - bins[:, None]) / (high - corners[1:-1])
    return np.clip(np.minimum(rising, falling), 0, 1).astype(np.float32)
