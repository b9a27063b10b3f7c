"""Pedals sound like pedals: what each must do to a signal, measured (docs/pedals/)."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.signal

from fxpipe.level import loudness_lufs
from fxpipe.pedals import PEDALS, build_pedal
from fxpipe.pedals.parts import hard_clip
from fxpipe.sources.synth import perform
from fxtrain.contract import Pedal, from_unit

RATE_HZ = 44_100
HIGHEST_NOTE_HZ = 1318.5
"""24th fret of the first string."""


def turned(name: str, **knobs: float) -> Pedal:
    """The pedal as first tried, some knobs moved."""
    return Pedal(name, PEDALS[name].example(name).settings | knobs)


def wet(pedal: Pedal, audio: np.ndarray) -> np.ndarray:
    return build_pedal(pedal, RATE_HZ)(audio.astype(np.float32))


def sine(hz: float, amplitude: float = 0.3, n: int = RATE_HZ) -> np.ndarray:
    return amplitude * np.sin(2 * np.pi * hz * np.arange(n) / RATE_HZ)


def level_db(wave: np.ndarray) -> float:
    return float(20 * np.log10(np.sqrt(np.mean(np.square(wave, dtype=float))) + 1e-12))


def gain_at_db(pedal: Pedal, hz: float, amplitude: float = 0.05) -> float:
    tone = sine(hz, amplitude)
    return level_db(wet(pedal, tone)[-20_000:]) - level_db(tone[-20_000:])


def answers_db(pedal: Pedal, n_clicks: int = 60, every: int = 1764) -> np.ndarray:
    """[clicks, frequency]: the pedal's gain in dB, every 40 ms."""
    clicks = np.zeros(n_clicks * every)
    clicks[::every] = 0.1
    answers = np.fft.rfft(wet(pedal, clicks).reshape(n_clicks, every) / 0.1, axis=1)
    return 20 * np.log10(np.abs(answers) + 1e-9)


@pytest.fixture(scope="module")
def guitar() -> list[np.ndarray]:
    clips = [perform(np.random.default_rng([7, i]), 2 * RATE_HZ)[0] for i in range(6)]
    return [clip * np.float32(10 ** (-9 / 20) / np.abs(clip).max()) for clip in clips]


@pytest.mark.parametrize("name", sorted(PEDALS))
def test_no_pedal_jumps_in_level(name, guitar):
    """As first tried on medium playing, every pedal stays within 6 LU of its input."""
    pedal = PEDALS[name].example(name)
    jumps = [loudness_lufs(wet(pedal, d), RATE_HZ) - loudness_lufs(d, RATE_HZ) for d in guitar]
    assert abs(float(np.median(jumps))) < 6


@pytest.mark.parametrize("name", ["overdrive", "distortion", "fuzz"])
def test_drives_do_not_alias(name):
    """All knobs up, on a guitar's highest note: what is no harmonic is 40 dB down."""
    n = 1 << 15
    bin_ = round(HIGHEST_NOTE_HZ * n / RATE_HZ) | 1
    loudest = Pedal(name, {p.name: p.high for p in PEDALS[name].params})
    power = np.abs(np.fft.rfft(wet(loudest, sine(bin_ * RATE_HZ / n, n=2 * n))[n:])) ** 2
    harmonic = np.zeros(len(power), bool)
    for k in range(0, len(power), bin_):
        harmonic[max(0, k - 2) : k + 3] = True
    below_16k = np.arange(len(power)) < 16_000 * n / RATE_HZ
    rest = power[~harmonic & below_16k].sum()
    assert 10 * np.log10(rest / power[harmonic].sum()) < -45


def test_hard_clip_clips():
    slow = np.linspace(-2, 2, 40_001)
    np.testing.assert_allclose(hard_clip(slow, 0.5), np.clip(slow, -0.5, 0.5), atol=1e-4)
    np.testing.assert_array_equal(hard_clip(np.zeros(100), 0.5), 0)


@pytest.mark.parametrize("name", sorted(PEDALS))
def test_silence_stays_silence(name):
    """No thump when the sound begins, no hiss of its own."""
    assert np.abs(wet(PEDALS[name].example(name), np.zeros(RATE_HZ))).max() < 1e-4


def test_an_overdrive_has_a_hump_in_the_middle():
    quiet = 1e-4
    low, middle, high = (gain_at_db(turned("overdrive"), hz, quiet) for hz in (80, 1200, 9000))
    assert middle > low + 9
    assert middle > high + 6


def test_an_overdrive_follows_the_pick_and_a_distortion_does_not():
    def span_db(name: str) -> float:
        loud, soft = (level_db(wet(turned(name), sine(220, a))[-9000:]) for a in (0.5, 0.05))
        return loud - soft

    assert span_db("overdrive") > span_db("distortion") + 4


def test_bias_makes_even_harmonics():
    def second_db(bias: float) -> float:
        out = wet(turned("fuzz", bias=bias), sine(441, 0.02, RATE_HZ))[-22_050:]
        power = np.abs(np.fft.rfft(out * np.hanning(len(out))))
        return float(20 * np.log10(power[441] / power[220:222].max()))

    assert second_db(0.4) > second_db(0.02) + 6


@pytest.mark.parametrize("center_hz", [400.0, 900.0, 2000.0])
def test_a_wah_honks_where_it_stands(center_hz):
    pedal = turned("wah", center_hz=center_hz)
    peak = gain_at_db(pedal, center_hz)
    assert peak > 8
    assert peak > gain_at_db(pedal, center_hz / 3) + 10
    assert peak > gain_at_db(pedal, center_hz * 3) + 10


def test_a_flanger_is_a_comb_that_never_stops():
    pedal = turned("flanger", depth=0.9, rate_hz=1.0)
    gains = answers_db(pedal)[5:, 8:120]
    assert np.percentile(gains, 95) > 2
    assert np.percentile(gains, 5) < -12
    step = np.abs(np.diff(gains, axis=0)).mean(axis=1)
    assert np.sort(step)[len(step) // 5] > 0.3, "stands still for part of its cycle"


def test_a_phaser_keeps_its_notches_under_feedback():
    for feedback in (0.0, 0.7):
        gains = answers_db(turned("phaser", feedback=feedback))[5:, 4:300]
        assert np.percentile(gains, 5) < -12
    assert np.percentile(gains, 99) > 4


@pytest.mark.parametrize("name", ["phaser", "flanger", "chorus"])
def test_the_phase_is_what_it_says_however_slow(name):
    """A quarter turn later is the same sweep, begun a quarter of its period later."""
    (rate,) = (p.low for p in PEDALS[name].params if p.name == "rate_hz")
    tone = sine(700, 0.1, 4 * RATE_HZ)
    late = round(0.25 / rate * RATE_HZ)
    one = wet(turned(name, rate_hz=rate, phase_cycles=0.6), tone)
    other = wet(turned(name, rate_hz=rate, phase_cycles=0.85), tone)

    def gain(wave: np.ndarray) -> np.ndarray:
        return scipy.ndimage.uniform_filter1d(np.abs(scipy.signal.hilbert(wave)), 2000) / 0.1

    n = min(RATE_HZ, len(tone) - late - 8000)
    here, there = gain(one)[late + 4000 : late + 4000 + n], gain(other)[4000 : 4000 + n]
    np.testing.assert_allclose(here, there, atol=0.12)


def test_a_chorus_stays_in_tune():
    """At most a semitone, all knobs up; about 15 cents as first tried (delay slope, in cents)."""
    for u, low, high in ((0.5, 8, 30), (1.0, 40, 100)):
        settings = {p.name: from_unit(p, u) for p in PEDALS["chorus"].params}
        slope = settings["depth"] * 10e-3 * 2 * np.pi * settings["rate_hz"]
        assert low < 1200 * np.log2(1 + slope) < high


def test_a_tremolo_dips_as_deep_as_it_says():
    out = wet(turned("tremolo", depth=0.9, shape=0.0), sine(1000, 0.5, 2 * RATE_HZ))
    envelope = np.abs(scipy.signal.hilbert(out))[2000:-2000] / 0.5
    assert envelope.min() == pytest.approx(0.1, abs=0.02)
    assert envelope.max() == pytest.approx(1.0, abs=0.02)


@pytest.mark.parametrize("hz", [82.4, 220.0, 659.3])
def test_an_octaver_adds_one_clean_octave(hz):
    t = np.arange(2 * RATE_HZ) / RATE_HZ
    note = sum(np.sin(2 * np.pi * hz * k * t + k) / k for k in range(1, 10)) * np.exp(-t) * 0.2
    out = wet(turned("octaver"), note)[RATE_HZ // 4 :][: 1 << 15]
    power = np.abs(np.fft.rfft(out * np.hanning(len(out)))) ** 2
    f_hz = np.fft.rfftfreq(len(out), 1 / RATE_HZ)
    partial = np.abs(f_hz / (hz / 2) - np.round(f_hz / (hz / 2))) * hz / 2 < 8
    sub = power[np.abs(f_hz - hz / 2) < 8].sum()
    assert 10 * np.log10(sub / power[np.abs(f_hz - hz) < 8].sum()) > -3
    assert 10 * np.log10(power[~partial & (f_hz < 8000)].sum() / power.sum()) < -40


def test_a_compressor_evens_out_and_lets_the_pick_through():
    pedal = turned("compressor", attack_ms=20.0)
    loud, soft = (level_db(wet(pedal, sine(440, a))[-9000:]) for a in (0.4, 0.04))
    assert loud - soft < 8
    out = np.abs(wet(pedal, np.concatenate([np.zeros(4410), sine(440, 0.4)])))
    assert out[4410:5300].max() > 1.5 * out[-4410:].max()


def test_a_gate_closes_and_opens():
    pedal = turned("gate")
    assert gain_at_db(pedal, 440, 0.3) == pytest.approx(0, abs=0.5)
    assert gain_at_db(pedal, 440, 0.02) < -30


def test_echoes_come_on_time():
    click = np.zeros(RATE_HZ)
    click[0] = 0.5
    out = wet(turned("delay", delay_ms=250.0, feedback=0.5, mix=0.5), click)
    np.testing.assert_allclose(out[[0, 11_025, 22_050]], [0.25, 0.25, 0.125], atol=1e-3)


def test_a_large_room_rings_longer_and_wet_is_far_away():
    def tail_db(pedal: Pedal) -> float:
        click = np.zeros(2 * RATE_HZ)
        click[0] = 0.5
        out = wet(pedal, click)
        return level_db(out[RATE_HZ // 2 :]) - level_db(out[:100])

    assert tail_db(turned("reverb", room_size=0.95)) > tail_db(turned("reverb", room_size=0.2)) + 15
    assert tail_db(turned("reverb", wet=0.6)) > tail_db(turned("reverb", wet=0.2)) + 6


@pytest.mark.parametrize("share", [0.2, 0.4])
def test_a_room_leaves_the_dry_sound_what_the_wet_does_not_take(share):
    click = np.zeros(RATE_HZ)
    click[0] = 0.5
    assert wet(turned("reverb", wet=share), click)[0] == pytest.approx(0.5 * (1 - share), rel=0.02)


def test_a_damped_room_rings_darker():
    click = np.zeros(RATE_HZ)
    click[0] = 0.5

    def brightness(damping: float) -> float:
        tail = wet(turned("reverb", damping=damping), click)[RATE_HZ // 5 :]
        power = np.abs(np.fft.rfft(tail)) ** 2
        return float(power[len(power) // 4 :].sum() / power.sum())

    assert brightness(0.8) < 0.5 * brightness(0.2)
