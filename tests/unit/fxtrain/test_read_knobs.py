"""What is told of a knob by what is believed of it."""

from __future__ import annotations

import numpy as np
import pytest

from fixtures.knobs import CHORUS, DELAY, RATE, VOCABULARY
from fxtrain.contract import Chain, Param, Pedal, from_unit
from fxtrain.knobs import N_PLACES, as_heard, can_be_heard, read_knobs


def test_what_is_believed_of_a_knob_is_told_with_its_range() -> None:
    logits = np.zeros((3, 3, N_PLACES))
    logits[CHORUS, 0, 6] = 30.0  # sure: six eighths
    logits[DELAY, 0, [2, 4]] = 30.0  # torn between two and four
    knobs = read_knobs(logits, VOCABULARY)
    assert {name: list(each) for name, each in knobs.items()} == {
        "chorus": ["rate_hz", "mix"], "boost": [], "delay": ["mix"],
    }  # fmt: skip
    rate, mix, echo = knobs["chorus"]["rate_hz"], knobs["chorus"]["mix"], knobs["delay"]["mix"]
    assert rate.travel == pytest.approx((0.75, 0.75 - 0.05, 0.75 + 0.05), abs=1e-4)
    assert rate.value == pytest.approx(from_unit(RATE, 0.75), rel=1e-4)
    assert rate.low < rate.value < rate.high
    assert not rate.is_rough
    # Nothing known: the places stand for equal stretches but for those at the ends.
    assert mix.travel[0] == pytest.approx(0.5)
    assert mix.is_rough
    assert mix.travel[2] - mix.travel[1] > 0.8
    assert echo.travel[0] == pytest.approx(3 / 8)
    assert not echo.is_rough
    assert echo.travel[1:] == pytest.approx((0.25 - 0.6 / 16, 0.5 + 0.6 / 16), abs=1e-4)


@pytest.mark.parametrize("place", range(1, N_PLACES - 1))
def test_of_ranges_as_short_the_one_around_the_mean_is_told(place: int) -> None:
    logits = np.zeros((3, 3, N_PLACES))
    logits[..., place] = 60.0
    at = place / (N_PLACES - 1)
    found = read_knobs(logits, VOCABULARY)["delay"]["mix"].travel
    assert found == pytest.approx((at, at - 0.05, at + 0.05), abs=1e-6)


@pytest.mark.parametrize("stop", [0, N_PLACES - 1])
def test_a_dial_at_its_stop_is_within_its_range(stop: int) -> None:
    logits = np.zeros((3, 3, N_PLACES))
    logits[..., stop] = 3.0
    rate = read_knobs(logits, VOCABULARY)["chorus"]["rate_hz"]
    mean, low, high = rate.travel
    assert low <= mean <= high
    assert (high if stop else low) == (1.0 if stop else 0.0)
    assert high - low < 0.6


def test_a_switch_has_no_mean() -> None:
    switch = Param("sign", "number", 0.0, 2.0, "choice", "which way")
    assert not can_be_heard(switch)


def test_what_was_heard_is_put_on_a_chain() -> None:
    knobs = read_knobs(np.zeros((3, 3, N_PLACES)), VOCABULARY)
    first = {"rate_hz": 1.0, "phase_cycles": 0.2, "mix": 0.3}
    chain = Chain((Pedal("chorus", first), Pedal("fuzz", {"bias": 0.1})))
    found = as_heard(chain, knobs)
    assert found.names == chain.names
    assert found.pedals[0].settings == pytest.approx(
        {"rate_hz": from_unit(RATE, 0.5), "phase_cycles": 0.2, "mix": 0.4}
    )
    assert found.pedals[1] == chain.pedals[1]
    assert as_heard(chain, {}) == chain
