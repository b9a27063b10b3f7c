"""Loudness by BS.1770, against pyloudnorm."""

from __future__ import annotations

import math
import subprocess
import sys
import tracemalloc
import warnings

import numpy as np
import pyloudnorm
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.signal import lfilter

from fixtures.audio import RATE_HZ, riff
from fxpipe import loudness
from fxpipe.level import normalise
from fxpipe.loudness import BLOCK_S, RUN, filtered, integrated_lufs, k_weighting

RATES_HZ = (4_000, 16_000, 44_100, 48_000, 96_000, 192_000)


def theirs(wave: np.ndarray, rate: int) -> float:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        return float(pyloudnorm.Meter(rate, block_size=BLOCK_S).integrated_loudness(wave))


@pytest.mark.parametrize("rate", RATES_HZ)
def test_the_filters_are_those_of_pyloudnorm(rate):
    expected = pyloudnorm.Meter(rate)._filters.values()
    for (b, a), own in zip(k_weighting(rate), expected, strict=True):
        np.testing.assert_allclose(b, own.b, rtol=1e-14)
        np.testing.assert_allclose(a, own.a, rtol=1e-14)


@pytest.mark.parametrize("n_samples", [1, 2, RUN - 1, RUN, RUN + 1, 5 * RUN + 7, 30_000])
def test_filtering_in_runs_is_filtering(n_samples):
    wave = np.random.default_rng(0).standard_normal(n_samples)
    for b, a in k_weighting(RATE_HZ):
        np.testing.assert_allclose(filtered(wave, b, a), lfilter(b, a, wave), atol=1e-12)


@pytest.mark.parametrize("n_samples", [7 * RUN, 8 * RUN, 8 * RUN + 1, 50 * RUN + 9])
def test_filtering_a_part_at_a_time_changes_no_bit(n_samples, monkeypatch):
    wave = np.random.default_rng(0).standard_normal(n_samples).astype(np.float32)
    for b, a in k_weighting(RATE_HZ):
        whole = filtered(wave, b, a)
        monkeypatch.setattr(loudness, "RUNS_AT_ONCE", 8)
        np.testing.assert_array_equal(filtered(wave, b, a), whole)
        monkeypatch.undo()


def test_a_long_wave_takes_little_memory_beside_its_own(monkeypatch):
    """Two minutes at 655 kHz, 0.3 GB, took the page 2.9 GB."""
    monkeypatch.setattr(loudness, "RUNS_AT_ONCE", 128, raising=False)
    wave = np.random.default_rng(0).standard_normal(1_000_000).astype(np.float32)
    tracemalloc.start()
    normalise(wave, RATE_HZ)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2.5 * wave.nbytes


@settings(max_examples=40, deadline=None)
@given(
    rate=st.sampled_from(RATES_HZ),
    seconds=st.floats(BLOCK_S + 0.01, 3.0),
    gain_db=st.floats(-90.0, 6.0),
    gap=st.booleans(),
    dtype=st.sampled_from([np.float32, np.float64]),
    seed=st.integers(0, 2**32 - 1),
)
def test_loudness_is_that_of_pyloudnorm(rate, seconds, gain_db, gap, dtype, seed):
    rng = np.random.default_rng(seed)
    wave = rng.standard_normal(math.ceil(seconds * rate)) * 10 ** (gain_db / 20)
    if gap:  # what the gates are for
        wave[len(wave) // 3 :] *= 1e-3
    wave = wave.astype(dtype)
    assert integrated_lufs(wave, rate) == pytest.approx(theirs(wave, rate), abs=1e-6)


def test_silence_does_not_lower_the_gate():
    """What is 15 dB below the playing is left out, however long nothing is played."""
    rng = np.random.default_rng(0)
    parts = [(1.0, 1), (10 ** (-15 / 20), 1), (1e-5, 4)]
    wave = np.concatenate([0.1 * gain * rng.standard_normal(n * RATE_HZ) for gain, n in parts])
    assert integrated_lufs(wave, RATE_HZ) == pytest.approx(theirs(wave, RATE_HZ), abs=1e-6)


def test_a_guitar_has_the_same_loudness_to_the_last_digit_nearly_always():
    windows = riff(8 * RATE_HZ).reshape(16, -1)
    same = [integrated_lufs(wave, RATE_HZ) == theirs(wave, RATE_HZ) for wave in windows]
    assert sum(same) >= 15


def test_silence_has_none():
    assert integrated_lufs(np.zeros(RATE_HZ, np.float32), RATE_HZ) == -math.inf


LIGHT = """
import sys
import numpy as np
from fxpipe.codec import load_codec
from fxpipe.ears import features
from fxpipe.guitar.check import strangeness
from fxpipe.mel import mel_info
codec = load_codec("embedded")
waves = [np.sin(np.arange(88_200) / 30).astype(np.float32)]
heard = features(waves, 44_100, codec, mel_info(codec.info))
assert heard.codes.shape == (1, 9, 173) and heard.mel.shape[2] == 173
strangeness(waves, 44_100)
print([name for name in ("torch", "dac", "scipy", "dask", "pedalboard") if name in sys.modules])
"""


def test_hearing_with_the_embedded_codec_loads_no_heavy_library():
    """They take longer than hearing ten seconds does."""
    done = subprocess.run(
        [sys.executable, "-c", LIGHT], capture_output=True, text=True, check=False
    )
    assert done.stdout == "[]\n", done.stderr
