"""Clips from a loudspeaker: through it where the record says, all else as before."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from fxpipe.chains.chain import ChainSpec
from fxpipe.render import After, RenderSpec, after_of, finish
from fxpipe.speaker import Speaker, draw_speaker, play_through
from fxtrain.contract import ContractError, UsageError

RATE_HZ = 44_100
SPEC = RenderSpec(ChainSpec(("overdrive", "delay"), {1: 1.0}), clip_s=0.5)
HALF = dataclasses.replace(SPEC, speakers=0.5)
SPEAKERS = [draw_speaker(np.random.default_rng(seed)) for seed in range(40)]
PLAIN_IDENTITY = "ea33506c6e532324da46816807ecc94ce0bffdf1e0c5e3f33364909b5d6c9b43"


def response_db(speaker: Speaker, hz: list[float], rate_hz: int = RATE_HZ) -> np.ndarray:
    """Of an impulse, at ``hz``."""
    click = np.zeros(rate_hz, np.float32)
    click[0] = 1
    heard = np.abs(np.fft.rfft(play_through(speaker, click, rate_hz).astype(np.float64)))
    found: np.ndarray = 20 * np.log10(heard[np.round(hz).astype(int)] + 1e-9)
    return found


def test_loudspeakers_play_the_middle_and_neither_end() -> None:
    curves = np.array([response_db(s, [20, 800, 2800, 12_000]) for s in SPEAKERS])
    loudest = curves[:, 1:3].max(axis=1)
    assert (loudest - curves[:, 0] > 8).all()
    assert (loudest - curves[:, 3] > 20).all()
    assert np.median(curves[:, 2] - curves[:, 1]) > 2  # more presence than middle
    assert np.std(curves, axis=0).min() > 1.5  # and none is like another


def test_every_filter_does_what_its_fields_say() -> None:
    flat = Speaker(
        *(20.0, 0.707, 200.0, 0.0, 700.0, 0.0, 2500.0, 0.0, 3000.0, 0.0, 2.0, 15_000.0, 0.8)
    )
    hz = [50.0, 200.0, 700.0, 2500.0, 4000.0, 9000.0]
    before = response_db(flat, hz)
    for name, value, place in (
        ("body", 6.0, 1), ("mid", -9.0, 2), ("presence", 8.0, 3)
    ):  # fmt: skip
        changed = response_db(dataclasses.replace(flat, **{f"{name}_db": value}), hz) - before
        told = changed - changed[0 if place > 1 else 5]  # the loudness is kept
        assert told[place] == pytest.approx(value, abs=0.5)
    hole = dataclasses.replace(flat, hole_hz=4000.0, hole_db=-12.0, hole_q=5.0)
    changed = response_db(hole, hz) - before
    assert changed[4] - changed[0] == pytest.approx(-12, abs=0.5)
    high = response_db(dataclasses.replace(flat, high_hz=4000.0), hz)
    assert high[3] - high[5] > 20
    low = response_db(dataclasses.replace(flat, low_hz=200.0), hz)
    assert low[2] - low[0] == pytest.approx(24, abs=1.5)


@pytest.mark.parametrize("rate_hz", [8_000, 44_100, 96_000])
def test_it_is_as_loud_as_before_at_any_rate(rate_hz: int) -> None:
    wave = 0.1 * np.random.default_rng(0).standard_normal(rate_hz // 2).astype(np.float32)
    for speaker in SPEAKERS[:5]:
        heard = play_through(speaker, wave, rate_hz)
        assert heard.dtype == np.float32
        assert heard.shape == wave.shape
        assert np.std(heard) == pytest.approx(np.std(wave), rel=0.01)
    assert not play_through(SPEAKERS[0], np.zeros(100, np.float32), rate_hz).any()


def test_noise_and_gain_come_after_the_loudspeaker() -> None:
    wave = 0.1 * np.random.default_rng(0).standard_normal(4410).astype(np.float32)
    after = After(20.0, 20_000.0, -3.0)
    found = finish(
        wave, dataclasses.replace(after, speaker=SPEAKERS[1]), RATE_HZ, np.random.default_rng(1)
    )
    through = play_through(SPEAKERS[1], wave, RATE_HZ)
    expected = finish(through, after, RATE_HZ, np.random.default_rng(1))
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("low_hz", 0.0),
        ("high_hz", 2e6),
        ("mid_db", 61.0),
        ("hole_q", 0.0),
        ("mid_hz", float("nan")),
    ],
)
def test_a_record_of_no_loudspeaker_is_refused(name: str, value: float) -> None:
    told = After(50.0, 1000.0, 0.0, None, SPEAKERS[0]).record() | {f"speaker_{name}": value}
    with pytest.raises((UsageError, ContractError), match=f"speaker_{name}|{name}"):
        after_of(told, "a record")
    missing = {key: told[key] for key in told if key != "speaker_low_q"}
    with pytest.raises(ContractError, match="low_q"):
        after_of(missing, "a record")
