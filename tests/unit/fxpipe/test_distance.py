"""Distances between sounds: blind to volume, zero for the same, in order for larger changes."""

from __future__ import annotations

import math

import numpy as np
import pytest

from fxpipe.distance import (
    N_BANDS,
    band_distance_db,
    change_db,
    log_bands,
    mel_distance_db,
    mr_stft,
)

RATE_HZ = 44_100


@pytest.fixture(scope="module")
def pluck() -> np.ndarray:
    rng = np.random.default_rng(0)
    time_s = np.arange(RATE_HZ) / RATE_HZ
    partials = [np.sin(2 * np.pi * 196 * k * time_s) / k for k in range(1, 20)]
    wave = sum(partials) * np.exp(-3 * time_s) + 1e-4 * rng.standard_normal(RATE_HZ)
    return (0.1 * wave).astype(np.float32)


@pytest.mark.parametrize("gain", [0.1, 1.0, 5.0])
def test_volume_does_not_count(pluck: np.ndarray, gain: float) -> None:
    louder = pluck * np.float32(gain)
    assert change_db(pluck, louder) < -120
    assert mel_distance_db(pluck, louder, RATE_HZ) < 1e-4
    assert mr_stft(pluck, louder) < 1e-4


def test_a_larger_change_is_further_away(pluck: np.ndarray) -> None:
    rng = np.random.default_rng(1)
    noise = 0.1 * rng.standard_normal(len(pluck)).astype(np.float32)
    near, far = (pluck + g * noise for g in np.float32([0.001, 0.03]))
    assert change_db(pluck, near) < change_db(pluck, far)
    assert 0 < mel_distance_db(pluck, near, RATE_HZ) < mel_distance_db(pluck, far, RATE_HZ)
    assert 0 < mr_stft(pluck, near) < mr_stft(pluck, far)


def test_the_mel_distance_is_in_decibels(pluck: np.ndarray) -> None:
    """White noise whose upper half is 6 dB louder: each band differs by what is left of that
    after both have one loudness."""
    rng = np.random.default_rng(2)
    spectrum = np.fft.rfft(rng.standard_normal(RATE_HZ))
    louder = spectrum.copy()
    louder[len(spectrum) // 8 :] *= 10 ** (6 / 20)
    one, other = (np.fft.irfft(s, RATE_HZ).astype(np.float32) for s in (spectrum, louder))
    difference = log_bands(other, RATE_HZ).mean(0) - log_bands(one, RATE_HZ).mean(0)
    assert difference.shape == (N_BANDS,)
    assert difference[-10:].mean() - difference[:10].mean() == pytest.approx(6, abs=0.3)
    assert mel_distance_db(one, other, RATE_HZ) == pytest.approx(abs(difference).mean(), abs=0.3)


def test_what_lies_far_below_the_loudest_is_not_heard(pluck: np.ndarray) -> None:
    rng = np.random.default_rng(3)
    hiss = (10 ** (-100 / 20) * rng.standard_normal(len(pluck))).astype(np.float32)
    assert mel_distance_db(pluck, pluck + hiss, RATE_HZ) < 0.1


def test_a_change_is_what_stands_at_right_angles() -> None:
    turns = 2 * np.pi * 100 * np.arange(RATE_HZ) / RATE_HZ
    before = np.sin(turns)
    for angle in (0.001, 0.3, 1.0):
        after = 0.2 * np.sin(turns + angle)
        assert change_db(before, after) == pytest.approx(20 * math.log10(math.sin(angle)), abs=0.01)
    for peak_db, heard in ((-66, True), (-68, False)):  # 3 dB more than the RMS of a sine
        assert math.isfinite(change_db(before, 10 ** (peak_db / 20) * np.cos(turns))) == heard


@pytest.mark.parametrize("rate_hz", [16_000, 24_000, 48_000])
def test_every_band_lies_below_half_the_rate(rate_hz: int) -> None:
    white = 0.1 * np.random.default_rng(0).standard_normal(rate_hz).astype(np.float32)
    assert np.ptp(log_bands(white, rate_hz).mean(0)) < 25


def test_bands_count_down_to_65_db_below_the_loudest_of_both() -> None:
    one, other = np.array([[0.0, -100.0]]), np.array([[-4.0, -60.0]])
    assert band_distance_db(one, other) == band_distance_db(other, one) == (4 + 5) / 2


def test_the_stft_distance_is_the_published_one(pluck: np.ndarray) -> None:
    """Spectral convergence and mean log magnitude, frame by frame, of waves at one RMS."""
    other = np.tanh(20 * pluck)
    a, b = (wave / np.sqrt(np.mean(np.square(wave))) for wave in (pluck, other))
    found = []
    for size in (512, 1024, 2048):
        window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(size) / size)
        window /= window.sum()
        x, y = (
            np.array(
                [
                    np.abs(np.fft.rfft(window * wave[start : start + size])).clip(1e-4)
                    for start in range(0, len(wave) - size + 1, size // 4)
                ]
            )
            for wave in (a, b)
        )
        found.append(np.sqrt(((x - y) ** 2).sum() / (y**2).sum()) + abs(np.log(x / y)).mean())
    assert mr_stft(pluck, other) == pytest.approx(np.mean(found), rel=1e-3)


def test_silence_has_no_sound_to_compare() -> None:
    silence = np.zeros(RATE_HZ, np.float32)
    assert change_db(silence, silence) == -math.inf
    assert mel_distance_db(silence, silence, RATE_HZ) == 0
    assert mr_stft(silence, silence) == 0
