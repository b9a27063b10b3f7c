"""The alignment marker is found behind whatever a board or a recorder does to it."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fxtrain.contract import ContractError
from fxtrain.zeroshot.form import Marker
from fxtrain.zeroshot.marker import find_markers, marker_wave

FIRST_S, SPAN_S = 0.5, 4.0
MARKER = Marker()


def take(rate: int, marker: Marker | None = MARKER) -> np.ndarray:
    """Marker, four plucked strings, marker: six seconds."""
    rng = np.random.default_rng(1)
    wave = np.zeros(round(6.5 * rate), np.float32)
    for start, hz in ((1.8, 110.0), (2.3, 146.8), (2.8, 196.0), (3.3, 329.6)):
        t = np.arange(round(1.2 * rate)) / rate
        tone = sum(np.sin(2 * math.pi * n * hz * t + rng.random()) / n for n in range(1, 9))
        at = round(start * rate)
        wave[at : at + len(t)] += (0.15 * tone * np.exp(-4 * t)).astype(np.float32)
    if marker:
        for at, first in ((FIRST_S, True), (FIRST_S + SPAN_S, False)):
            sound = marker_wave(marker, rate, first=first)
            wave[round(at * rate) : round(at * rate) + len(sound)] += sound
    return wave


def found_at(wave: np.ndarray, rate: float) -> tuple[float, float]:
    found = find_markers(wave, rate, MARKER, [SPAN_S])
    assert found is not None
    assert found.first_s is not None
    assert found.last_s is not None
    return found.first_s, found.last_s


def test_a_bare_marker_is_found_to_the_sample_and_surely() -> None:
    found = find_markers(take(44_100), 44_100, MARKER, [SPAN_S])
    assert found is not None
    assert found.first_s == pytest.approx(FIRST_S, abs=1e-4)
    assert found.last_s == pytest.approx(FIRST_S + SPAN_S, abs=1e-4)
    assert found.confidence > 0.95
    assert found.polarity == 1
    assert abs(found.stretch) < 5e-5


@settings(max_examples=12, deadline=None)
@given(
    rate=st.sampled_from([22_050, 44_100, 48_000, 96_000]),
    shift_s=st.floats(-0.4, 1.0),
    gain_db=st.floats(-50, 12),
    turned=st.booleans(),
    drive_db=st.sampled_from([None, 12.0, 40.0]),
    echo=st.sampled_from([None, (0.09, 0.45), (0.5, 0.45)]),
    room=st.booleans(),
    snr_db=st.floats(15, 60),
)
def test_it_is_found_through_drive_echo_room_noise_gain_and_polarity(
    rate: int,
    shift_s: float,
    gain_db: float,
    turned: bool,
    drive_db: float | None,
    echo: tuple[float, float] | None,
    room: bool,
    snr_db: float,
) -> None:
    rng = np.random.default_rng(0)
    wave = take(rate).astype(np.float64)
    if drive_db is not None:
        wave = np.tanh(10 ** (drive_db / 20) * wave)
    if echo is not None:
        late = round(echo[0] * rate)
        wave[late:] += echo[1] * wave[:-late]
    if room:
        n = round(0.5 * rate)
        tail = rng.standard_normal(n) * np.exp(-6 * np.arange(n) / n) / math.sqrt(n)
        size = len(wave) + n
        tail[0] = 1.0
        wave = np.fft.irfft(np.fft.rfft(wave, size) * np.fft.rfft(tail, size), size)[: len(wave)]
    rms = math.sqrt(float(np.mean(wave**2)))
    wave = wave + rms * 10 ** (-snr_db / 20) * rng.standard_normal(len(wave))
    n = round(shift_s * rate)
    wave = np.concatenate([np.zeros(max(0, n)), wave])[max(0, -n) :]
    first, last = found_at((-1 if turned else 1) * 10 ** (gain_db / 20) * wave, rate)
    assert first == pytest.approx(FIRST_S + n / rate, abs=0.005)
    assert last - first == pytest.approx(SPAN_S, abs=0.005)


def test_polarity_and_a_slow_clock_are_told() -> None:
    rate = 44_100
    found = find_markers(-take(rate), rate, MARKER, [SPAN_S])
    assert found is not None
    assert found.polarity == -1
    found = find_markers(take(rate), rate * (1 - 4e-4), MARKER, [SPAN_S])
    assert found is not None
    assert found.stretch == pytest.approx(4e-4, abs=5e-5)


def test_the_span_tells_which_take_it_is() -> None:
    found = find_markers(take(44_100), 44_100, MARKER, [SPAN_S - 0.05, SPAN_S, SPAN_S + 0.05])
    assert found is not None
    assert found.which == 1


@pytest.mark.parametrize("first", [True, False])
def test_one_marker_is_enough_where_the_other_is_cut_off(first: bool) -> None:
    wave = take(44_100)
    half = round(2.0 * 44_100)
    found = find_markers(wave[:-half] if first else wave[half:], 44_100, MARKER, [SPAN_S])
    assert found is not None
    assert found.which == -1
    at = found.first_s if first else found.last_s
    assert at == pytest.approx(FIRST_S if first else FIRST_S + SPAN_S - 2.0, abs=1e-3)
    assert (found.last_s if first else found.first_s) is None


@pytest.mark.parametrize("wave", [take(44_100, None), np.zeros(300_000, np.float32)])
def test_guitar_alone_and_silence_hold_no_marker(wave: np.ndarray) -> None:
    assert find_markers(wave, 44_100, MARKER, [SPAN_S]) is None


def test_noise_and_a_recording_too_short_hold_no_marker() -> None:
    noise = np.random.default_rng(0).standard_normal(300_000).astype(np.float32)
    assert find_markers(noise, 44_100, MARKER, [SPAN_S]) is None
    assert find_markers(noise[:100], 44_100, MARKER, [SPAN_S]) is None


def test_a_marker_nobody_could_hear_is_refused() -> None:
    with pytest.raises(ContractError, match="expected an octave or more"):
        Marker(low_hz=500, high_hz=600)
