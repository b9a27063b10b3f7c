"""A frontend without a codec: dry guitar, measures, and which windows it hears of a file."""

from __future__ import annotations

import dataclasses
import math
import re
import tracemalloc
from collections.abc import Callable

import numpy as np
import pytest

from fixtures.audio import RATE_HZ, riff
from fxpipe.errors import CodecError
from fxpipe.frontend import open_frontend
from fxpipe.guitar.check import strangeness
from fxpipe.level import LEVEL_RULE
from fxpipe.mel import mel_info
from fxpipe.nearness import nearness
from fxpipe.render import run_chain
from fxtrain.contract import MISSING_CODE, NOT_RUN, CodecInfo, Hearing, UsageError

CODEC = CodecInfo("t", "0" * 64, RATE_HZ, 512, 2, 4, 2, NOT_RUN, "none")
HEARING = Hearing(CODEC, mel_info(CODEC), LEVEL_RULE, RATE_HZ // 2)
"""Of half a second, log-mel alone."""


def test_a_seed_plays_one_phrase() -> None:
    frontend = open_frontend()
    first, rate = frontend.dry(3, 0.5)
    assert (first.shape, first.dtype, rate) == ((RATE_HZ // 2,), np.float32, RATE_HZ)
    np.testing.assert_array_equal(first, frontend.dry(3, 0.5)[0])
    assert not np.array_equal(first, frontend.dry(4, 0.5)[0])


def test_loudness_and_distance() -> None:
    """A full-scale sine at 997 Hz has -3.01 LUFS by BS.1770; distance does not know volume."""
    frontend = open_frontend()
    sine = np.sin(2 * np.pi * 997 * np.arange(2 * 48_000) / 48_000).astype(np.float32)
    assert frontend.loudness_lufs(sine, 48_000) == pytest.approx(-3.01, abs=0.05)
    assert frontend.loudness_lufs(0 * sine, 48_000) == -math.inf
    wave = riff(RATE_HZ)
    assert frontend.distance_db(wave, 0.1 * wave, RATE_HZ) == pytest.approx(0, abs=0.05)
    assert frontend.distance_db(wave, np.tanh(20 * wave), RATE_HZ) > 3


def test_nearness_is_that_of_the_second_wave_to_the_first() -> None:
    true, other = riff(RATE_HZ), np.tanh(20 * riff(RATE_HZ))
    found = open_frontend().nearness(true, other, RATE_HZ)
    assert found == nearness(true, other, RATE_HZ)
    assert found.mr_stft != pytest.approx(nearness(other, true, RATE_HZ).mr_stft, rel=0.01)


def test_a_chain_is_played_in_little_memory_and_with_the_samples_of_a_render() -> None:
    """What each pedal changed, in double precision, took the page 1.1 GB (2 min at 192 kHz)."""
    frontend, dry = open_frontend(), np.tile(riff(RATE_HZ), 10)
    chain = frontend.example(["overdrive", "tremolo", "eq"])
    tracemalloc.start()
    wet = frontend.render(dry, RATE_HZ, chain)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 4 * dry.nbytes
    np.testing.assert_array_equal(wet, run_chain(dry, chain, RATE_HZ)[0])


def test_without_a_codec_nothing_is_encoded() -> None:
    with pytest.raises(CodecError, match="without a codec"):
        open_frontend().encode(riff(RATE_HZ), RATE_HZ)


@pytest.mark.parametrize("rate_hz", [8_000, RATE_HZ, 48_000])
def test_windows_are_told_in_seconds_of_the_file_whatever_its_rate(rate_hz: int) -> None:
    frontend = open_frontend(HEARING)
    half = rate_hz // 2
    wave = np.resize(riff(half), round(2.3 * rate_hz))
    wave[half : 2 * half] = 0
    heard = frontend.encode(wave, rate_hz)
    assert heard.starts_s == pytest.approx((0.0, 1.0, 1.5, 1.8))
    assert heard.length_s == pytest.approx(2.3)
    assert (heard.n_silent, heard.n_passed_over, heard.sample_rate_hz) == (1, 0, rate_hz)
    assert heard.codes.shape == (4, 2, 44)
    assert (heard.codes == MISSING_CODE).all()
    assert heard.mel is not None
    assert heard.mel.shape == (4, 96, 44)
    for frames, start_s in zip(heard.mel, heard.starts_s, strict=True):
        start = round(start_s * rate_hz)
        alone = frontend.encode(wave[start : start + half], rate_hz)
        assert alone.mel is not None
        np.testing.assert_array_equal(alone.mel[0], frames)


def test_windows_beyond_the_most_are_counted() -> None:
    heard = open_frontend(HEARING).encode(np.tile(riff(RATE_HZ // 2), 40), RATE_HZ)
    assert (len(heard.starts_s), heard.n_silent, heard.n_passed_over) == (32, 0, 8)


def test_whether_it_is_a_guitar_does_not_hang_on_the_rate_of_the_codec() -> None:
    wave, found = riff(2 * RATE_HZ), []
    for rate_hz in (RATE_HZ, 24_000):
        codec = dataclasses.replace(CODEC, sample_rate_hz=rate_hz)
        hearing = Hearing(codec, mel_info(codec), LEVEL_RULE, 2 * rate_hz)
        found.append(open_frontend(hearing).encode(wave, RATE_HZ).strangeness)
    assert found[1] == pytest.approx(found[0], abs=1e-3)
    assert found[0] == pytest.approx(strangeness([wave], RATE_HZ), abs=1e-3)


def test_a_model_of_another_level_is_refused() -> None:
    louder = dataclasses.replace(LEVEL_RULE, target_lufs=-14.0)
    with pytest.raises(CodecError, match="another level rule"):
        open_frontend(dataclasses.replace(HEARING, level=louder))


def asked_of(wave: np.ndarray, rate_hz: float) -> list[Callable[[], object]]:
    """All that a frontend can be asked of a wave."""
    frontend = open_frontend(HEARING)
    return [
        lambda: frontend.encode(wave, rate_hz),
        lambda: frontend.render(wave, rate_hz, frontend.example(["delay"])),
        lambda: frontend.loudness_lufs(wave, rate_hz),
        lambda: frontend.distance_db(wave, wave, rate_hz),
        lambda: frontend.nearness(wave, wave, rate_hz),
        lambda: frontend.flac(wave, rate_hz),
    ]


WAVE = riff(RATE_HZ)


@pytest.mark.parametrize(
    ("wave", "rate_hz", "told"),
    [
        ((WAVE * 32767).astype(np.int16), RATE_HZ, "int16 [44100], expected floats [N]"),
        (WAVE[None], RATE_HZ, "float32 [1, 44100], expected floats [N]"),
        (np.stack([WAVE, WAVE], 1), RATE_HZ, "float32 [44100, 2], expected floats [N]"),
        (np.where(WAVE[7] == WAVE, np.nan, WAVE), RATE_HZ, "that are no numbers or far beyond"),
        (WAVE, 44.1, "a sample rate of 44.1 Hz, expected 4000 to 768000"),
    ],
    ids=["int16", "[1, N]", "[N, 2]", "NaN", "kHz"],
)
def test_a_wave_that_would_be_heard_as_something_else_is_refused(wave, rate_hz, told) -> None:
    for ask in asked_of(wave, rate_hz):
        with pytest.raises(UsageError, match=re.escape(told)):
            ask()


@pytest.mark.parametrize("rate_hz", [float(RATE_HZ), np.int32(RATE_HZ), np.uint16(RATE_HZ)])
def test_a_rate_may_be_any_number_that_libraries_give(rate_hz) -> None:
    """As of 32 bits, the length of a window in samples overflowed."""
    found = open_frontend(HEARING).encode(WAVE, rate_hz)
    assert found.starts_s == open_frontend(HEARING).encode(WAVE, RATE_HZ).starts_s
    assert (type(found.length_s), type(found.sample_rate_hz)) == (float, int)


def test_waves_of_two_lengths_have_no_distance() -> None:
    with pytest.raises(UsageError, match="waves of 44100 and 1000 samples"):
        open_frontend().distance_db(WAVE, WAVE[:1000], RATE_HZ)


def test_pedals_of_a_generator_are_all_there() -> None:
    names = ("overdrive", "delay")
    assert open_frontend().example(name for name in names).names == names
