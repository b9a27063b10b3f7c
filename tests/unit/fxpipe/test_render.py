"""Rendering one clip: pure functions on arrays."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest

from fixtures.audio import RATE_HZ, riff
from fxpipe.chains.chain import ChainSpec, draw_names, draw_settings, generator
from fxpipe.distance import change_db
from fxpipe.pedals import PEDALS, POOLS
from fxpipe.render import (
    After,
    RenderSpec,
    draw_and_render,
    draw_clip,
    finish,
    play,
    run_chain,
    to_input_level,
)
from fxtrain.contract import Chain, UsageError

SPEC = RenderSpec(ChainSpec(POOLS["stompbox"]), clip_s=1.0, run_in_s=0.25)


def chain(*names: str) -> Chain:
    return Chain(tuple(PEDALS[name].example(name) for name in names))


def test_order_is_heard():
    one, _ = run_chain(riff(), chain("distortion", "reverb"), RATE_HZ)
    other, _ = run_chain(riff(), chain("reverb", "distortion"), RATE_HZ)
    assert change_db(one, other) > -30


def test_run_in_is_heard_but_not_kept():
    dry = riff()
    skip = RATE_HZ // 2
    wet, _ = run_chain(dry, chain("delay"), RATE_HZ, skip=skip)
    cold, _ = run_chain(dry[skip:], chain("delay"), RATE_HZ)
    assert wet.shape == cold.shape == (len(dry) - skip,)
    assert change_db(wet, cold) > -40  # echoes of what came before the clip


def test_what_stands_before_an_inaudible_pedal_is_kept():
    dry = riff(SPEC.n_run_in + SPEC.n_samples)
    strict = dataclasses.replace(SPEC, audible_db=-9.0)
    n_kept = 0
    for position in range(30):
        wet = draw_and_render(strict, dry, 3, 0, "train", position)
        first = draw_chain_of(strict, position)
        if wet is None or wet.chain.names != first.names or not wet.redrawn:
            continue
        n_again = [name in wet.redrawn for name in wet.chain.names]
        for pedal, drawn, again in zip(wet.chain.pedals, first.pedals, n_again, strict=True):
            assert (pedal == drawn) != again
            n_kept += not again
        wave, changes = run_chain(dry, wet.chain, RATE_HZ, skip=SPEC.n_run_in)
        np.testing.assert_array_equal(wave, wet.wave)
        assert [round(change, 2) for change in changes] == list(wet.stage_change_db)
        for stage, pedal in enumerate(wet.chain.pedals):
            again = play(pedal, wet.stages[stage], RATE_HZ)
            np.testing.assert_array_equal(again, wet.stages[stage + 1])
    assert n_kept > 5


def draw_chain_of(spec: RenderSpec, position: int) -> Chain:
    """What is tried first, of three pedals."""
    names = draw_names(spec.chain, 3, generator(0, "train", position, "names"), test=False)
    return draw_settings(spec.chain, names, generator(0, "train", position, "settings"))


def test_change_is_blind_to_volume_and_sees_everything_else():
    dry = riff()
    assert change_db(dry, 0.3 * dry) < -100
    noise = np.random.default_rng(0).standard_normal(len(dry)).astype(np.float32)
    noise -= dry * (dry @ noise) / (dry @ dry)
    noise *= np.linalg.norm(dry) / np.linalg.norm(noise)
    assert change_db(dry, dry + noise) == pytest.approx(-10 * math.log10(2), abs=0.01)
    assert change_db(dry, np.zeros_like(dry)) == -math.inf
    assert change_db(np.zeros_like(dry), dry) == 0.0


def test_draw_and_render_gives_only_audible_pedals():
    dry = riff(SPEC.n_run_in + SPEC.n_samples)
    for position in range(12):
        wet = draw_and_render(SPEC, dry, 3, 0, "train", position)
        assert wet is not None
        assert wet.wave.shape == (SPEC.n_samples,)
        assert len(wet.chain.pedals) == 3 == len(wet.stage_change_db)
        assert min(wet.stage_change_db) >= SPEC.audible_db


def test_the_drawn_chain_remakes_the_wave():
    dry = riff(SPEC.n_run_in + SPEC.n_samples)
    wet = draw_and_render(SPEC, dry, 4, 3, "test", 9)
    again, _ = run_chain(dry, wet.chain, RATE_HZ, skip=SPEC.n_run_in)
    np.testing.assert_array_equal(wet.wave, again)


def test_silence_has_no_audible_chain():
    silent = np.zeros(SPEC.n_run_in + SPEC.n_samples, np.float32)
    assert draw_and_render(SPEC, silent, 2, 0, "train", 0) is None


def test_finish_puts_the_noise_where_it_says():
    wave = riff(hiss_dbfs=-200)
    after = After(noise_snr_db=30.0, noise_cutoff_hz=2000.0, gain_db=6.0)
    out = finish(wave, after, RATE_HZ, np.random.default_rng(0))
    noise = out / 10 ** (6 / 20) - wave
    snr_db = 20 * math.log10(np.linalg.norm(wave) / np.linalg.norm(noise))
    assert snr_db == pytest.approx(30.0, abs=0.05)
    spectrum = np.abs(np.fft.rfft(noise)) ** 2
    at_hz = np.fft.rfftfreq(len(noise), 1 / RATE_HZ)
    low, cutoff = (spectrum[abs(at_hz - hz) < 100].mean() for hz in (100, 2000))
    assert 0.4 < cutoff / low < 0.6  # half the power at the corner


def test_input_level_is_that_of_the_whole_recording():
    dry = np.array([0.1, -0.05], np.float32)
    scaled = to_input_level(dry, 0.5, -6.0)
    assert scaled[0] == pytest.approx(0.2 * 10 ** (-6 / 20))


def test_draws_do_not_depend_on_one_another():
    assert draw_clip(SPEC, 5, "train", 7) == draw_clip(SPEC, 5, "train", 7)
    draws = {draw_clip(SPEC, 5, "train", position).item_u for position in range(50)}
    assert len(draws) == 50
    again = draw_clip(SPEC, 5, "train", 7, attempt=1)
    assert again.length == draw_clip(SPEC, 5, "train", 7).length  # redraws keep the balance
    assert again.item_u != draw_clip(SPEC, 5, "train", 7).item_u


@pytest.mark.parametrize(
    "wrong",
    [
        {"clip_s": 0.0},
        {"clip_s": 1e6},
        {"noise_snr_db": (9.0, 1.0)},
        {"run_in_s": 10.5},
        {"pedal_rms": -0.1},
    ],
)
def test_impossible_specs_are_refused(wrong):
    with pytest.raises(UsageError):
        RenderSpec(ChainSpec(POOLS["okita3"], {1: 1.0}), **wrong)
