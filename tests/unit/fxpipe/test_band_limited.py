"""Clips without treble, as small files keep them: cut where the record says, all else as before."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest

from fxpipe import render
from fxpipe.chains.chain import ChainSpec
from fxpipe.render import After, RenderSpec, band_limited, draw_clip, finish
from fxtrain.contract import UsageError

RATE_HZ = 44_100
SPEC = RenderSpec(ChainSpec(("overdrive", "delay"), {1: 1.0}), clip_s=0.5)
HALF = dataclasses.replace(SPEC, band_limited=0.5)


def power(wave: np.ndarray, low_hz: float, high_hz: float) -> float:
    spectrum = np.abs(np.fft.rfft(wave.astype(np.float64))) ** 2
    hz = np.fft.rfftfreq(len(wave), 1 / RATE_HZ)
    return float(spectrum[(low_hz <= hz) & (hz < high_hz)].sum())


@pytest.mark.parametrize("bandwidth_hz", [3500.0, 9123.45, 16_000.0])
@pytest.mark.parametrize("n_samples", [2205, 22_051])
def test_what_lies_above_is_gone_and_what_lies_below_is_not(
    bandwidth_hz: float, n_samples: int
) -> None:
    wave = np.random.default_rng(0).standard_normal(n_samples).astype(np.float32)
    kept = band_limited(wave, bandwidth_hz, RATE_HZ)
    assert kept.shape == wave.shape
    assert kept.dtype == np.float32
    above, below = (1.03 * bandwidth_hz, RATE_HZ), (0.0, 0.9 * bandwidth_hz)
    assert power(kept, *above) < 1e-3 * power(wave, *above)
    assert power(kept - wave, *below) < 1e-2 * power(wave, *below)


def test_a_file_that_holds_all_of_it_keeps_all_of_it() -> None:
    wave = np.random.default_rng(0).standard_normal(4410).astype(np.float32)
    np.testing.assert_array_equal(band_limited(wave, 22_050.0, RATE_HZ), wave)
    assert np.any(band_limited(wave, 22_000.0, RATE_HZ) != wave)


def test_a_share_of_the_clips_is_drawn_and_nothing_else_is_drawn_anew() -> None:
    cut = []
    for position in range(200):
        plain, half = (draw_clip(spec, 0, "train", position) for spec in (SPEC, HALF))
        hz = half.after.bandwidth_hz
        assert plain == dataclasses.replace(
            half, after=dataclasses.replace(half.after, bandwidth_hz=None)
        )
        cut += [] if hz is None else [hz]
    assert 80 <= len(cut) <= 120
    low_hz, high_hz = render.BANDWIDTH_HZ
    assert low_hz <= min(cut) <= max(cut) <= high_hz
    middle = math.sqrt(low_hz * high_hz)  # as many octaves below as above
    assert 0.35 < np.mean([hz < middle for hz in cut]) < 0.65


def test_a_clip_is_what_it_was_without_its_treble_noise_and_all() -> None:
    wave = 0.1 * np.random.default_rng(0).standard_normal(4410).astype(np.float32)
    after = After(40.0, 20_000.0, -3.0)
    whole = finish(wave, after, RATE_HZ, np.random.default_rng(1))
    cut = dataclasses.replace(after, bandwidth_hz=5000.0)
    found = finish(wave, cut, RATE_HZ, np.random.default_rng(1))
    np.testing.assert_array_equal(found, band_limited(whole, 5000.0, RATE_HZ))


@pytest.mark.parametrize("hz", [0.0, -1.0, 99.0, 2e6, float("nan")])
def test_a_record_that_would_leave_nothing_is_refused(hz: float) -> None:
    with pytest.raises(UsageError, match=r"bandwidth_hz is .*, expected 100 to 1e6 Hz"):
        After(50.0, 1000.0, 0.0, hz)
