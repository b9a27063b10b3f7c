"""Which windows of a recording are listened to: any length, silence inside, one of many."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fxpipe.errors import SourceError
from fxpipe.windows import MOST, sounding_windows

RATE_HZ = 1000
N = 2000


def tone(n: int, level: float = 0.5) -> np.ndarray:
    return (level * np.sin(np.arange(n) * 0.3)).astype(np.float32)


def test_windows_follow_one_another_and_end_with_the_recording() -> None:
    found = sounding_windows(tone(5300), RATE_HZ, N)
    assert found.starts == [0, 2000, 3300]
    assert all(len(wave) == N for wave in found.waves)
    assert (found.n_silent, found.n_passed_over) == (0, 0)


def test_a_short_one_is_one_window_with_silence_behind() -> None:
    found = sounding_windows(tone(150), RATE_HZ, N)
    assert found.starts == [0]
    assert np.array_equal(found.waves[0][:150], tone(150))
    assert not found.waves[0][150:].any()


@pytest.mark.parametrize("n", [0, 1, 99])
def test_too_short_to_hear(n: int) -> None:
    with pytest.raises(SourceError, match=r"lasts 0\.\d+ s, expected 0\.1 s or more"):
        sounding_windows(tone(n), RATE_HZ, N)


def test_silence_is_refused_and_left_out_inside() -> None:
    with pytest.raises(SourceError, match="nothing sounds: no window is louder than -60 dBFS, so "):
        sounding_windows(np.zeros(5000, np.float32), RATE_HZ, N)
    gap = np.concatenate([tone(2000), np.zeros(4000, np.float32), tone(2000)])
    found = sounding_windows(gap, RATE_HZ, N)
    assert found.starts == [0, 6000]
    assert found.n_silent == 2


def test_an_offset_is_no_sound() -> None:
    with pytest.raises(SourceError, match="nothing sounds"):
        sounding_windows(np.full(5000, 0.5, np.float32), RATE_HZ, N)
    gap = np.concatenate([tone(2000), np.zeros(3000, np.float32), tone(1000)])
    for offset in (0.005, -0.1):
        moved = sounding_windows(gap + np.float32(offset), RATE_HZ, N)
        assert moved.starts == sounding_windows(gap, RATE_HZ, N).starts


def test_the_hiss_between_phrases_is_no_phrase() -> None:
    hiss = np.concatenate([tone(2000, 0.5), tone(4000, 0.003), tone(2000, 0.5)])
    assert sounding_windows(hiss, RATE_HZ, N).starts == [0, 6000]
    alone = sounding_windows(tone(4000, 0.003), RATE_HZ, N)
    assert len(alone.starts) == 2


def test_of_a_long_one_windows_are_taken_all_over() -> None:
    found = sounding_windows(tone(600_000), RATE_HZ, N)
    assert len(found.starts) == MOST
    assert (found.starts[0], found.starts[-1]) == (0, 598_000)
    assert (found.n_silent, found.n_passed_over) == (0, 300 - MOST)
    steps = np.diff(found.starts)
    assert steps.max() - steps.min() <= 2000


@given(st.integers(100, 70_000), st.integers(200, 5000))
def test_any_length_is_heard_from_begin_to_end(length: int, n: int) -> None:
    found = sounding_windows(tone(length), RATE_HZ, n)
    assert 1 <= len(found.waves) <= MOST
    assert all(wave.shape == (n,) for wave in found.waves)
    assert found.starts == sorted(set(found.starts))
    assert found.starts[0] == 0
    assert found.starts[-1] == max(0, length - n)
