"""Strokes are found where they were put, to 2 ms."""

from __future__ import annotations

import numpy as np
import pytest

from fixtures.datasets import pluck
from fxpipe.sources.attack import find_attack, last_attack, strokes

RATE_HZ = 44_100


def struck_at(
    *notes: tuple[float, float], duration_s: float = 2.0, hiss_dbfs: float = -60.0
) -> np.ndarray:
    """float32 [N]: (moment in s, MIDI) notes that ring over one another, over hiss."""
    out = np.random.default_rng(0).standard_normal(round(duration_s * RATE_HZ))
    out *= 10 ** (hiss_dbfs / 20)
    for at_s, midi in notes:
        first = round(at_s * RATE_HZ)
        out[first:] += pluck(midi, duration_s, peak=0.5)[: len(out) - first]
    return out.astype(np.float32)


@pytest.mark.parametrize("at_s", [0.0, 0.0037, 0.0891, 0.2])
@pytest.mark.parametrize("midi", [40, 64, 84])
def test_a_note_is_found_to_two_milliseconds(at_s: float, midi: int) -> None:
    found_s = find_attack(struck_at((at_s, midi)), RATE_HZ, -0.05, 0.25)
    assert found_s == pytest.approx(at_s, abs=0.002)


@pytest.mark.parametrize("rate_hz", [16_000, 48_000])
def test_at_any_rate(rate_hz: int) -> None:
    audio = np.zeros(rate_hz, np.float32)
    audio[rate_hz // 10 :] = pluck(57, 0.9, sample_rate_hz=rate_hz)[: rate_hz - rate_hz // 10]
    assert find_attack(audio, rate_hz, 0.0, 0.3) == pytest.approx(0.1, abs=0.002)


def test_hiss_before_a_soft_note_is_no_stroke() -> None:
    assert find_attack(struck_at((0.08, 57), hiss_dbfs=-36.0), RATE_HZ, -0.05, 0.25) == (
        pytest.approx(0.08, abs=0.002)
    )


def test_every_note_of_a_lick_is_found() -> None:
    lick = struck_at((0.1, 52), (0.5, 59), (0.9, 64), (1.3, 55))
    times_s, _ = strokes(lick, RATE_HZ, 0.0, 2.0)
    np.testing.assert_allclose(times_s, [0.1, 0.5, 0.9, 1.3], atol=0.002)


def test_an_excerpt_begins_at_the_stroke_before_it() -> None:
    lick = struck_at((0.1, 52), (0.5, 59), (0.9, 64))
    for at_s, expected_s in ((0.3, 0.1), (0.6, 0.5), (1.9, 0.9), (0.02, 0.1)):
        assert last_attack(lick, RATE_HZ, at_s, reach_s=2.0) == pytest.approx(expected_s, abs=2e-3)
    assert last_attack(lick, RATE_HZ, 1.9, reach_s=0.5) == 1.9  # nothing within reach


def test_silence_and_nothing_have_no_stroke() -> None:
    assert find_attack(np.zeros(RATE_HZ, np.float32), RATE_HZ, 0.1, 0.4) == 0.1
    assert find_attack(np.zeros(0, np.float32), RATE_HZ, -0.05, 0.25) == 0.0
    assert len(strokes(np.zeros(10, np.float32), RATE_HZ, 0.0, 1.0)[0]) == 0
