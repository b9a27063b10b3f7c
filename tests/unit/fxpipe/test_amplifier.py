"""An amplifier before the loudspeaker: each of its parts does what its field says."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from fxpipe.amplifier import Amplifier, amplify, draw_amplifier
from fxpipe.chains.chain import ChainSpec
from fxpipe.render import After, RenderSpec, after_of, draw_clip, finish
from fxpipe.speaker import draw_speaker, play_through
from fxtrain.contract import ContractError, UsageError

RATE_HZ = 44_100
CLEAN = Amplifier(20.0, -50.0, 0.0, 0.0, 500.0, 0.0, 0.0, 0.0, 50.0, -50.0)
AMPLIFIERS = [draw_amplifier(np.random.default_rng(seed)) for seed in range(40)]


def sine(hz: float, rate_hz: int = RATE_HZ) -> np.ndarray:
    return (0.3 * np.sin(2 * np.pi * hz / rate_hz * np.arange(rate_hz))).astype(np.float32)


def spectrum(wave: np.ndarray) -> np.ndarray:
    """By Hz, of the last half second."""
    tail = wave[-RATE_HZ // 2 :].astype(np.float64)
    size: np.ndarray = np.abs(np.fft.rfft(tail * np.hanning(len(tail)), RATE_HZ))
    return size


def harmonic(amplifier: Amplifier, number: int, hz: int = 400) -> float:
    """Size of a harmonic of a sine, by that of the first."""
    heard = spectrum(amplify(amplifier, sine(hz), RATE_HZ))
    return float(heard[number * hz] / heard[hz])


def with_(**fields: float) -> Amplifier:
    return dataclasses.replace(CLEAN, **fields)


def test_a_clean_one_with_a_flat_tone_stack_changes_nothing() -> None:
    wave = sine(2000)
    assert np.abs(amplify(CLEAN, wave, RATE_HZ) - wave)[4410:-4410].max() < 0.03 * wave.max()


@pytest.mark.parametrize("field", ["drive_db", "power_db"])
def test_the_louder_a_stage_is_played_the_more_it_bends_the_wave(field: str) -> None:
    thirds = [harmonic(with_(**{field: db}), 3) for db in (-50, -20, -10, 0, 9)]
    assert thirds == sorted(thirds)
    assert thirds[0] < 0.001
    assert 0.03 < thirds[3] < 0.08
    assert thirds[4] > 0.15


def test_only_a_first_valve_with_a_bias_gives_even_harmonics_and_no_direct_current() -> None:
    assert harmonic(with_(drive_db=0.0), 2) < 1e-3
    assert harmonic(with_(power_db=0.0), 2) < 1e-3
    biased = with_(drive_db=0.0, bias=0.4)
    assert harmonic(biased, 2) > 0.05
    heard = amplify(biased, sine(400), RATE_HZ)[-RATE_HZ // 2 :]
    assert abs(heard.mean()) < 0.01 * np.abs(heard).max()


def test_what_a_stage_puts_above_the_band_does_not_fold_back() -> None:
    hz = 7_000  # the third at 21 kHz is kept; the fifth, at 35 kHz, would come back at 9.1 kHz
    heard = spectrum(amplify(with_(power_db=9.0), sine(hz), RATE_HZ))
    folded = spectrum(np.tanh(10 ** (9 / 20) * sine(hz) / np.float32(0.3)))
    assert folded[9100] > 0.01 * folded[hz]
    assert heard[9100] < 0.05 * folded[9100]


@pytest.mark.parametrize(
    ("field", "value", "hz"), [("bass_db", 6, 40), ("mid_db", -12, 500), ("treble_db", 9, 10_000)]
)
def test_the_tone_stack_turns_its_part_of_the_sound(field: str, value: float, hz: int) -> None:
    click = np.zeros(RATE_HZ, np.float32)
    click[100] = 1
    before, after = (
        np.abs(np.fft.rfft(amplify(each, click, RATE_HZ).astype(np.float64)))
        for each in (CLEAN, with_(**{field: value}))
    )
    elsewhere = 10_000 if hz < 1000 else 100
    told = 20 * np.log10(after / before)
    assert told[hz] - told[elsewhere] == pytest.approx(value, abs=1.0)


def test_the_supply_sags_within_its_time_where_it_is_loud() -> None:
    wave = sine(400)
    wave[: RATE_HZ // 2] *= 0.05
    period = RATE_HZ // 400
    for ms in (20.0, 100.0):
        heard = amplify(with_(sag_db=6.0, sag_ms=ms), wave, RATE_HZ) / wave.max()
        size = np.sqrt(np.mean(heard[: heard.size // period * period].reshape(-1, period) ** 2, 1))
        start = len(size) // 2
        lost = 20 * np.log10(size[start:] / np.median(size[50 : start - 5]) * 0.05)
        assert lost[-20:].mean() == pytest.approx(-6, abs=0.6)
        assert lost[round(ms / 2.5)] == pytest.approx(-6 * (1 - np.exp(-1)), abs=0.5)


@pytest.mark.parametrize("rate_hz", [8_000, 44_100, 96_000])
def test_it_is_as_loud_as_before_at_any_rate_and_of_any_length(rate_hz: int) -> None:
    rng = np.random.default_rng(0)
    for amplifier in AMPLIFIERS[:5]:
        for n_samples in (1, 17, rate_hz // 2):
            wave = 0.1 * rng.standard_normal(n_samples).astype(np.float32)
            heard = amplify(amplifier, wave, rate_hz)
            assert heard.dtype == np.float32
            assert heard.shape == wave.shape
            assert np.isfinite(heard).all()
        assert np.std(heard) == pytest.approx(np.std(wave), rel=0.01)
    assert not amplify(CLEAN, np.zeros(100, np.float32), rate_hz).any()


def test_most_draws_stay_clean_and_none_is_like_another() -> None:
    bent = np.array([max(harmonic(a, 2), harmonic(a, 3)) for a in AMPLIFIERS])
    assert 0.5 < np.mean(bent < 0.06) < 0.9
    assert bent.max() < 0.5
    assert len(set(AMPLIFIERS)) == len(AMPLIFIERS)


def test_it_never_comes_without_a_loudspeaker_and_stands_before_it() -> None:
    spec = RenderSpec(ChainSpec(("overdrive",), {1: 1.0}), clip_s=0.5, speakers=0.2, amplifiers=0.3)
    found = [draw_clip(spec, 0, "train", position).after for position in range(300)]
    assert all(after.speaker for after in found if after.amplifier)
    amplified = [after for after in found if after.amplifier]
    alone = [after for after in found if after.speaker and not after.amplifier]
    assert 60 <= len(amplified) <= 120
    assert 20 <= len(alone) <= 70
    wave = 0.1 * np.random.default_rng(0).standard_normal(4410).astype(np.float32)
    rest = After(20.0, 20_000.0, -3.0)
    speaker = draw_speaker(np.random.default_rng(5))
    after = dataclasses.replace(rest, amplifier=AMPLIFIERS[1], speaker=speaker)
    through = play_through(speaker, amplify(AMPLIFIERS[1], wave, RATE_HZ), RATE_HZ)
    np.testing.assert_array_equal(
        finish(wave, after, RATE_HZ, np.random.default_rng(1)),
        finish(through, rest, RATE_HZ, np.random.default_rng(1)),
    )


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("cut_hz", 0.0),
        ("drive_db", 61.0),
        ("bias", -0.1),
        ("sag_ms", 0.0),
        ("mid_hz", float("nan")),
    ],
)
def test_a_record_of_no_amplifier_is_refused(name: str, value: float) -> None:
    told = After(50.0, 1000.0, 0.0, amplifier=AMPLIFIERS[0]).record()
    assert after_of(told, "a record").amplifier == AMPLIFIERS[0]
    with pytest.raises((UsageError, ContractError), match=name):
        after_of(told | {f"amplifier_{name}": value}, "a record")
    del told["amplifier_bias"]
    with pytest.raises(ContractError, match="bias"):
        after_of(told, "a record")
