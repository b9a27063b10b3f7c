"""Filters of the cookbook: their gain where it is known."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.signal import freqz_sos

from fxpipe.equaliser import bell, highpass, lowpass, shelf

RATE_HZ = 44_100


def gain_db(section: list[float], hz: float) -> float:
    _, response = freqz_sos(np.array([section]), worN=[hz], fs=RATE_HZ)
    return float(20 * np.log10(np.abs(response[0])))


def test_filters_have_the_gains_that_they_are_asked_for() -> None:
    w = 2 * np.pi / RATE_HZ
    for asked in (-9.0, 6.0):
        low, high = (shelf(w * 1000, asked, low=low) for low in (True, False))
        hill = bell(w * 1000, asked)
        assert gain_db(low, 20) == pytest.approx(asked, abs=0.1)
        assert gain_db(low, 20_000) == pytest.approx(0, abs=0.1)
        assert gain_db(high, 20) == pytest.approx(0, abs=0.1)
        assert gain_db(high, 20_000) == pytest.approx(asked, abs=0.1)
        assert gain_db(hill, 1000) == pytest.approx(asked, abs=0.01)
        assert abs(gain_db(hill, 30)) < 0.1
        for half in (low, high):
            assert gain_db(half, 1000) == pytest.approx(asked / 2, abs=0.01)
    pickup = lowpass(w * 3000, 2.0)
    assert gain_db(pickup, 3000) == pytest.approx(20 * np.log10(2.0), abs=0.01)
    assert gain_db(pickup, 15_000) < -24
    low_cut = highpass(w * 300, 0.5)
    assert gain_db(low_cut, 300) == pytest.approx(20 * np.log10(0.5), abs=0.01)
    assert gain_db(low_cut, 30) == pytest.approx(-40, abs=0.2)
    assert gain_db(low_cut, 15_000) == pytest.approx(0, abs=0.1)
