"""Other makes: the same pedal on another circuit, drawn, written down and made again."""

from __future__ import annotations

import dataclasses
import json
import re

import numpy as np
import pytest
import soundfile

from fixtures.audio import RATE_HZ, riff
from fxpipe import renders as rd
from fxpipe.chains.chain import ChainSpec, draw_settings
from fxpipe.distance import change_db
from fxpipe.encode import EncodeSpec, encode_identity
from fxpipe.errors import PedalError
from fxpipe.frontend import open_frontend
from fxpipe.pedals import MAKES, PEDALS, POOLS, build_pedal, lti_pairs, make_of
from fxpipe.pedals.circuits import FRAME, bend, delayed, swept
from fxpipe.plan import PLAN_NAME, read_plan
from fxpipe.render import RenderSpec, run_chain
from fxpipe.renders import chain_of
from fxpipe.sources import open_source
from fxpipe.verify import check_renders
from fxtrain.contract import (
    Chain,
    CodecInfo,
    Pedal,
    UsageError,
    from_dict,
    from_unit,
    open_folder,
    to_dict,
)

DRY = riff()
CODEC = CodecInfo("tiny", "0" * 64, 44_100, 512, 1, 4, 2, "fp32", "cpu")


def another(name: str, seed: int = 0) -> Pedal:
    spec = ChainSpec((name,), {1: 1.0}, makes=1.0)
    (pedal,) = draw_settings(spec, [name], np.random.default_rng(seed)).pedals
    return pedal


def wet(pedal: Pedal, dry: np.ndarray = DRY) -> np.ndarray:
    return build_pedal(pedal, RATE_HZ)(dry)


def test_every_pedal_of_ours_has_one_whose_values_are_no_knobs():
    assert set(MAKES) == set(PEDALS)
    for name, make in MAKES.items():
        inside = [param.name for param in make.inside]
        assert len(set(inside)) == len(inside)
        assert not set(inside) & {param.name for param in PEDALS[name].params}


@pytest.mark.parametrize("name", sorted(MAKES))
def test_sounds_sound_and_repeats_to_the_bit(name):
    for seed in range(6):
        pedal = another(name, seed)
        out = wet(pedal)
        assert out.shape == DRY.shape
        assert out.dtype == np.float32
        assert np.isfinite(out).all()
        assert np.abs(out).max() < 16
        np.testing.assert_array_equal(out, wet(pedal))
        own = {param.name: pedal.settings[param.name] for param in PEDALS[name].params}
        assert change_db(wet(Pedal(name, own)), out) > -40  # another pedal, and to be heard


def test_does_not_change_its_input():
    before = DRY.copy()
    for name in MAKES:
        wet(another(name))
    np.testing.assert_array_equal(before, DRY)


HIDDEN_BY = {"octave": {}, "split_hz": {"harmonic": 3.0}, "walls": {"spring": 0.0}}
"""What is inside and heard only beside something else."""


@pytest.mark.parametrize("name", sorted(MAKES))
def test_all_that_is_inside_is_heard(name):
    pedal = another(name, seed=3)
    for param in MAKES[name].inside:
        settings = pedal.settings | HIDDEN_BY.get(param.name, {})
        low, high = (settings | {param.name: from_unit(param, u)} for u in (0.0, 1.0))
        if param.name == "corner":  # a sine and a triangle meet four times a turn
            low, high = low | {"phase_cycles": 0.1}, high | {"phase_cycles": 0.1}
        assert not np.array_equal(wet(Pedal(name, low)), wet(Pedal(name, high))), param.name


def test_linear_pedals_stay_linear_and_commute():
    for a, b in lti_pairs(POOLS["all"]):
        pair = another(a, 1), another(b, 2)
        there, _ = run_chain(DRY, Chain(pair), RATE_HZ)
        back, _ = run_chain(DRY, Chain(pair[::-1]), RATE_HZ)
        assert change_db(there, back) < -60, (a, b)


def test_none_are_drawn_unless_asked_for_and_the_rest_is_drawn_as_before():
    pool = POOLS["stompbox"]
    plain, mixed, all_others = (ChainSpec(pool, makes=share) for share in (0.0, 0.5, 1.0))
    for spec, least, most in ((plain, 0, 0), (mixed, 60, 140), (all_others, 200, 200)):
        rng = np.random.default_rng(5)
        pedals = [p for _ in range(20) for p in draw_settings(spec, pool, rng).pedals]
        assert least <= sum(make_of(pedal) is not None for pedal in pedals) <= most
    first = [draw_settings(s, pool, np.random.default_rng(5)).pedals[0] for s in (plain, mixed)]
    own = {param.name for param in PEDALS[pool[0]].params}
    assert {k: v for k, v in first[1].settings.items() if k in own} == first[0].settings


def test_a_record_says_all_that_is_needed_to_make_it_again():
    chain = Chain(tuple(another(name) for name in POOLS["stompbox"]))
    read = from_dict(Chain, json.loads(json.dumps(to_dict(chain))), "record")
    np.testing.assert_array_equal(
        run_chain(DRY, read, RATE_HZ)[0], run_chain(DRY, chain, RATE_HZ)[0]
    )


def test_half_a_make_is_refused():
    pedal = another("phaser")
    half = {key: value for key, value in pedal.settings.items() if key != "pairs"}
    with pytest.raises(PedalError, match="'pairs'"):
        wet(Pedal("phaser", half))
    with pytest.raises(PedalError, match="pairs is 9"):
        wet(Pedal("phaser", pedal.settings | {"pairs": 9}))


@pytest.mark.parametrize("share", [-0.1, 1.5, float("nan")])
def test_a_share_that_is_none_is_refused(share):
    with pytest.raises(UsageError, match="makes is"):
        dataclasses.replace(ChainSpec(("wah",), {1: 1.0}), makes=share)


# What the circuits are said to do.


def test_clipping_goes_from_soft_to_hard_and_leaves_silence_alone():
    x = np.linspace(-4, 4, 801, dtype=np.float32)
    np.testing.assert_allclose(bend(x.copy(), 0.5, 0.0), np.tanh(x), atol=1e-6)
    np.testing.assert_allclose(bend(x.copy(), 1.0, 0.0), np.clip(x, -1, 1), atol=1e-6)
    np.testing.assert_allclose(bend(x.copy(), 0.0, 0.0), x / (1 + np.abs(x)), atol=1e-6)
    for knee in (0.0, 0.3, 0.5, 0.8, 1.0):
        uneven = bend(x.copy(), knee, 0.4)
        assert abs(uneven[400]) < 1e-6
        assert uneven[-1] < -uneven[0]
        assert (np.diff(uneven) >= -1e-6).all()


def test_a_filter_that_stands_still_is_the_filter():
    from scipy.signal import lfilter

    a = (np.tan(np.pi * 800 / RATE_HZ) - 1) / (np.tan(np.pi * 800 / RATE_HZ) + 1)
    z = np.exp(-1j * np.pi * np.arange(FRAME + 1) / FRAME)
    response = ((a + z) / (1 + a * z)) ** 4
    expected = DRY
    for _ in range(4):
        expected = lfilter([a, 1], [1, a], expected)
    n = 2 + len(DRY) // (FRAME // 2)
    found = swept(DRY, np.tile(response, (n, 1)))
    assert change_db(expected.astype(np.float32), found) < -50


def test_a_delay_between_samples_comes_later_by_so_much():
    t = np.arange(2000) / RATE_HZ
    tone = np.sin(2 * np.pi * 220 * t).astype(np.float32)
    later = delayed(tone, np.full(2000, 100.25))
    np.testing.assert_allclose(
        later[200:], np.sin(2 * np.pi * 220 * (t[200:] - 100.25 / RATE_HZ)), atol=1e-3
    )
    assert not later[:100].any()


def test_the_compressor_cuts_what_its_threshold_and_ratio_say():
    tone = (0.5 * np.sin(2 * np.pi * 300 * np.arange(RATE_HZ) / RATE_HZ)).astype(np.float32)
    settings = {
        "threshold_db": -26.0, "ratio": 4.0, "attack_ms": 5.0, "release_ms": 100.0, "level_db": 2.0,
        "window_ms": 10.0, "knee_db": 0.0, "shift_db": 0.0, "blend": 0.0,
        "low_hz": 15.0, "high_hz": 18_000.0, "bell_hz": 1000.0, "bell_db": 0.0, "volume_db": 0.0,
    }  # fmt: skip
    out = wet(Pedal("compressor", settings), tone)
    peak_db = 20 * np.log10(np.abs(out[-4000:]).max())
    expected = -26 + (20 * np.log10(0.5) + 26) / 4 + 2
    assert abs(peak_db - expected) < 0.6


def test_echoes_of_another_delay_come_in_time_and_darker_each_time():
    click = np.zeros(RATE_HZ, np.float32)
    click[0] = 1.0
    settings = another("delay").settings | {
        "delay_ms": 200.0, "travel": 1.0, "feedback": 0.5, "mix": 0.5, "dull_hz": 1500.0,
        "thin_hz": 20.0, "high_hz": 18_000.0, "volume_db": 0.0, "bell_db": 0.0,
    }  # fmt: skip
    out = wet(Pedal("delay", settings), click)
    step = round(0.2 * RATE_HZ)
    echoes = [out[n * step : n * step + 2000] for n in (1, 2, 3)]
    assert not np.any(np.abs(out[2000 : step - 1]) > 1e-3)
    brightness = []
    for echo in echoes:
        spectrum = np.abs(np.fft.rfft(echo))
        brightness.append(spectrum[300:].sum() / spectrum[:60].sum())
    assert brightness[0] > 1.5 * brightness[1] > 2 * brightness[2]


# In a data set.


@pytest.fixture
def render(tmp_path, monkeypatch):
    monkeypatch.setattr(rd, "run_tasks", lambda function, jobs, workers: map(function, jobs))

    def made(makes: float):
        chain = ChainSpec(POOLS["okita3"], {1: 1.0, 2: 1.0}, makes=makes)
        spec = RenderSpec(chain, clip_s=0.5, run_in_s=0.1)
        folder = open_folder(tmp_path / f"renders-{makes}")
        plan = rd.make_plan(spec, open_source("synth"), 20, 0, progress=False)
        return folder, rd.render_all(folder, plan, None, lambda shard: None)

    return made


def test_a_set_with_makes_is_checked_and_its_clips_are_made_again(render):
    folder, index = render(1.0)
    assert list(check_renders(folder.uri)) == []
    _, recipe = encode_identity(index, CODEC, EncodeSpec("tiny"))
    for wave, record in rd.iter_clips(folder, index, "test", 0, 2):
        assert all(make_of(pedal) for pedal in chain_of(record).pedals)
        remade = open_frontend().remake(record, json.loads(json.dumps(recipe)))
        np.testing.assert_array_equal(remade.wet, wave)


def test_labels_and_knobs_of_a_set_are_those_of_the_pedals(render):
    (_, plain), (_, mixed) = render(0.0), render(0.5)
    assert plain.vocabulary == mixed.vocabulary
    assert plain.identity != mixed.identity


def test_renders_of_before_keep_their_identity(render, monkeypatch):
    folder, index = render(0.0)
    said = json.loads(folder.read(PLAN_NAME))
    del said["spec"]["chain"]["makes"]  # as it was written then
    folder.write(PLAN_NAME, json.dumps(said).encode())
    plan = read_plan(folder, index.identity)
    hashed: dict = {}
    monkeypatch.setattr("fxpipe.plan.identity_of", lambda values: hashed.update(values) or "")
    assert plan.identity == ""
    assert "makes" not in hashed["spec"]["chain"]


@pytest.mark.parametrize(
    ("rate_hz", "pool", "makes", "low_hz", "said"),
    [
        (32_000, ("wah",), 0.5, 0, "wah: high_hz goes up to 18000 Hz"),
        (36_000, ("wah", "delay", "fuzz"), 0.5, 0, ""),
        (
            12_000,
            ("wah", "distortion"),
            0.0,
            0,
            "narrow it (--range distortion.tone_hz:2000..6000)",
        ),
        (12_000, ("wah", "distortion"), 0.0, 6_000, ""),
        (16_000, tuple(PEDALS), 0.0, 0, ""),
    ],
)
def test_no_corner_lies_above_half_the_sample_rate(rate_hz, pool, makes, low_hz, said, tmp_path):
    """There a filter grows without end: a run would end at the first such clip."""
    ranges = {"distortion": {"tone_hz": (2000.0, float(low_hz))}} if low_hz else {}
    chain = ChainSpec(pool, {1: 1.0}, makes=makes, ranges=ranges)
    soundfile.write(tmp_path / "a.wav", riff(3 * RATE_HZ), RATE_HZ)
    source = open_source(f"folder:{tmp_path}")
    spec = RenderSpec(chain, sample_rate_hz=rate_hz)
    if said:
        with pytest.raises(UsageError, match=re.escape(said)):
            rd.make_plan(spec, source, 9, 0, progress=False, fractions=(1, 0, 0))
        return
    rd.make_plan(spec, source, 9, 0, progress=False, fractions=(1, 0, 0))
    noise = np.random.default_rng(0).standard_normal(rate_hz).astype(np.float32) / 9
    for seed in range(3 * len(pool)):
        name = pool[seed % len(pool)]
        played = draw_settings(chain, [name], np.random.default_rng(seed))
        assert np.abs(run_chain(noise, played, rate_hz)[0]).max() < 30


def test_a_pedal_of_one_make_asks_for_no_rate_of_another(tmp_path, monkeypatch):
    monkeypatch.delitem(MAKES, "wah")
    soundfile.write(tmp_path / "a.wav", riff(3 * RATE_HZ), RATE_HZ)
    spec = RenderSpec(ChainSpec(("wah",), {1: 1.0}, makes=0.5), sample_rate_hz=16_000)
    source = open_source(f"folder:{tmp_path}")
    plan = rd.make_plan(spec, source, 3, 0, progress=False, fractions=(1, 0, 0))
    assert plan.spec.sample_rate_hz == 16_000
