"""The loudness rule and the log-mel frames."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
import scipy.fft

from fixtures.audio import RATE_HZ, riff
from fxpipe.level import LEVEL_RULE, loudness_lufs, normalise
from fxpipe.mel import log_mel, mel_info
from fxtrain.card import read_card
from fxtrain.contract import CodecInfo, MelInfo
from fxtrain.finding import SHIPPED

CODEC = CodecInfo("t", "0" * 64, RATE_HZ, 512, 9, 1024, 8, "fp32", "none")
INFO = mel_info(CODEC)


def tone(f_hz: float, amplitude: float = 1.0, n: int = 2 * RATE_HZ) -> np.ndarray:
    return (amplitude * np.sin(2 * np.pi * f_hz * np.arange(n) / RATE_HZ)).astype(np.float32)


def test_loudness_of_the_standards_own_tone():
    """BS.1770-4: a 997 Hz sine at full scale in one channel reads -3.01 LKFS."""
    assert loudness_lufs(tone(997.0), RATE_HZ) == pytest.approx(-3.01, abs=0.05)


def test_normalised_audio_is_where_the_rule_says_whatever_it_was():
    for gain in (0.01, 1.0):
        loud, before = normalise(gain * riff(), RATE_HZ)
        assert before == pytest.approx(loudness_lufs(gain * riff(), RATE_HZ))
        at_rule = loudness_lufs(loud, RATE_HZ) == pytest.approx(LEVEL_RULE.target_lufs, abs=0.1)
        at_peak = np.abs(loud).max() == pytest.approx(LEVEL_RULE.peak_limit, abs=1e-4)
        assert at_rule or at_peak


def test_peaky_audio_stops_at_the_peak_limit():
    click = np.zeros(2 * RATE_HZ, np.float32)
    click[::20_000] = 0.5
    loud, _ = normalise(click, RATE_HZ)
    assert np.abs(loud).max() == pytest.approx(LEVEL_RULE.peak_limit)


def test_a_soft_wave_is_levelled_as_the_same_one_louder():
    """Its end would lie below the absolute gate of BS.1770 where all of it is soft, and so decide
    only in the loud one whether its middle counts."""
    parts = [tone(997.0, amplitude, RATE_HZ) for amplitude in (0.5, 0.1025, 0.03)]
    fading = np.concatenate(parts)
    (loud, before), (soft, before_soft) = (
        normalise(np.float32(level) * fading, RATE_HZ) for level in (2.0**-4, 2.0**-12)
    )
    assert np.array_equal(soft, loud)
    assert before - before_soft == pytest.approx(8 * 20 * math.log10(2))
    assert loudness_lufs(np.float32(2.0**-12) * fading, RATE_HZ) == -math.inf


def test_silence_and_short_audio_are_measured_without_a_crash():
    silent, before = normalise(np.zeros(RATE_HZ, np.float32), RATE_HZ)
    assert before == -math.inf
    assert not silent.any()
    short = loudness_lufs(tone(997.0, n=4000), RATE_HZ)
    assert short == pytest.approx(-3.01, abs=0.3)


def test_frames_are_those_that_shards_and_the_model_in_the_package_were_made_with():
    assert mel_info(CODEC) == MelInfo(96, 2048, 512, 40.0, 16_000.0, -80.0, 0.4)
    slow = dataclasses.replace(CODEC, sample_rate_hz=24_000, hop_samples=320)
    assert mel_info(slow) == MelInfo(96, 1024, 320, 40.0, 12_000.0, -80.0, 0.4)
    hearing = read_card(SHIPPED).hearing
    assert hearing.mel == mel_info(hearing.codec)


@pytest.mark.parametrize("n_samples", [88_200, 88_064, 513, 512, 1])
def test_one_mel_frame_a_codec_frame(n_samples):
    frames = log_mel(riff(n_samples), RATE_HZ, INFO)
    assert frames.shape == (INFO.n_mels, CODEC.n_frames(n_samples))
    assert frames.dtype == np.uint8


def test_a_tone_lights_its_own_band():
    frames = log_mel(tone(1000.0), RATE_HZ, INFO)
    decibels = INFO.floor_db + INFO.step_db * frames[:, 80].astype(float)
    band = int(decibels.argmax())
    mels = 2595 * np.log10(1 + np.array([INFO.f_min_hz, 1000.0, INFO.f_max_hz]) / 700)
    expected = (mels[1] - mels[0]) / (mels[2] - mels[0]) * (INFO.n_mels + 1) - 1
    assert abs(band - expected) <= 1
    assert decibels[band] == pytest.approx(0.0, abs=3.0)
    assert decibels[np.abs(np.arange(len(decibels)) - band) > 9].max() < -40


def test_every_band_can_be_lit():
    noise = np.random.default_rng(0).standard_normal(RATE_HZ).astype(np.float32)
    assert (log_mel(noise, RATE_HZ, INFO)[:, 40] > 0).all()


def test_scipys_fft_is_as_good_as_numpys():
    ours, theirs = (
        log_mel(riff(88_200), RATE_HZ, INFO, fft.rfft).astype(int) for fft in (np.fft, scipy.fft)
    )
    assert np.abs(ours - theirs).max() <= 1
    assert np.mean(ours != theirs) < 1e-4


def test_residue_below_the_floor_is_not_there():
    assert not log_mel(tone(1000.0, 1e-5), RATE_HZ, INFO).any()
