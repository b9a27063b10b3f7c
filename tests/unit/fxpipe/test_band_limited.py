"""Clips without treble, as small files keep them: cut where the record says, all else as before."""

from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from fxpipe import render
from fxpipe.chains.chain import ChainSpec
from fxpipe.config import render_spec
from fxpipe.encode import EncodeSpec, encode_identity
from fxpipe.plan import make_plan
from fxpipe.remake import remake
from fxpipe.render import After, RenderSpec, band_limited, draw_clip, finish
from fxpipe.renders import render_clip
from fxpipe.sources import open_source
from fxtrain.contract import UsageError

RATE_HZ = 44_100
SPEC = RenderSpec(ChainSpec(("overdrive", "delay"), {1: 1.0}), clip_s=0.5)
HALF = dataclasses.replace(SPEC, band_limited=0.5)


def power(wave: np.ndarray, low_hz: float, high_hz: float) -> float:
    spectrum = np.abs(np.fft.rfft(wave.astype(np.float64))) ** 2
    hz = np.fft.rfftfreq(len(wave), 1 / RATE_HZ)
    return float(spectrum[(low_hz <= hz) & (hz < high_hz)].sum())


@pytest.mark.parametrize("bandwidth_hz", [3500.0, 9123.45, 16_000.0])
@pytest.mark.parametrize("n_samples", [2205, 22_051])
def test_what_lies_above_is_gone_and_what_lies_below_is_not(
    bandwidth_hz: float, n_samples: int
) -> None:
    wave = np.random.default_rng(0).standard_normal(n_samples).astype(np.float32)
    kept = band_limited(wave, bandwidth_hz, RATE_HZ)
    assert kept.shape == wave.shape
    assert kept.dtype == np.float32
    above, below = (1.03 * bandwidth_hz, RATE_HZ), (0.0, 0.9 * bandwidth_hz)
    assert power(kept, *above) < 1e-3 * power(wave, *above)
    assert power(kept - wave, *below) < 1e-2 * power(wave, *below)


def test_a_file_that_holds_all_of_it_keeps_all_of_it() -> None:
    wave = np.random.default_rng(0).standard_normal(4410).astype(np.float32)
    np.testing.assert_array_equal(band_limited(wave, 22_050.0, RATE_HZ), wave)
    assert np.any(band_limited(wave, 22_000.0, RATE_HZ) != wave)


def test_a_share_of_the_clips_is_drawn_and_nothing_else_is_drawn_anew() -> None:
    cut = []
    for position in range(200):
        plain, half = (draw_clip(spec, 0, "train", position) for spec in (SPEC, HALF))
        hz = half.after.bandwidth_hz
        assert plain == dataclasses.replace(
            half, after=dataclasses.replace(half.after, bandwidth_hz=None)
        )
        cut += [] if hz is None else [hz]
    assert 80 <= len(cut) <= 120
    low_hz, high_hz = render.BANDWIDTH_HZ
    assert low_hz <= min(cut) <= max(cut) <= high_hz
    middle = math.sqrt(low_hz * high_hz)  # as many octaves below as above
    assert 0.35 < np.mean([hz < middle for hz in cut]) < 0.65


def test_a_clip_is_what_it_was_without_its_treble_noise_and_all() -> None:
    wave = 0.1 * np.random.default_rng(0).standard_normal(4410).astype(np.float32)
    after = After(40.0, 20_000.0, -3.0)
    whole = finish(wave, after, RATE_HZ, np.random.default_rng(1))
    cut = dataclasses.replace(after, bandwidth_hz=5000.0)
    found = finish(wave, cut, RATE_HZ, np.random.default_rng(1))
    np.testing.assert_array_equal(found, band_limited(whole, 5000.0, RATE_HZ))


def test_records_tell_it_and_clips_are_made_again_by_them() -> None:
    plan = make_plan(HALF, open_source("synth"), 40, 0, progress=False)
    without = dataclasses.replace(plan, spec=SPEC)
    told = set()
    for position in range(8):
        wave, record = render_clip(plan, "train", position)
        before, earlier = render_clip(without, "train", position)
        hz = record["after"].pop("bandwidth_hz", None)
        assert record == earlier
        assert sorted(record["after"]) == ["gain_db", "noise_cutoff_hz", "noise_snr_db"]
        assert hz == draw_clip(HALF, 0, "train", position).after.bandwidth_hz
        expected = before if hz is None else band_limited(before, hz, RATE_HZ)
        np.testing.assert_array_equal(wave, expected)
        told.add(hz is None)
    assert told == {True, False}


def test_remade_clips_have_no_treble_either() -> None:
    plan = make_plan(HALF, open_source("synth"), 40, 0, progress=False)
    index: Any = SimpleNamespace(
        identity=plan.identity, source="synth", source_digest=plan.scan.digest, seed=0,
        split_seed=None, fractions=plan.fractions, spec=HALF,
    )  # fmt: skip
    codec: Any = SimpleNamespace(weights_sha256="w", precision="none")
    _, recipe = encode_identity(index, codec, EncodeSpec("embedded"))
    (position,) = [p for p in range(3) if draw_clip(HALF, 0, "train", p).after.bandwidth_hz][:1]
    wave, record = render_clip(plan, "train", position)
    wet = remake(record, json.loads(json.dumps(recipe))).wet
    np.testing.assert_allclose(wet, wave, atol=1e-4 * float(np.abs(wave).max()))


def test_renders_without_it_are_what_they_were_and_others_are_others(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    plan = make_plan(SPEC, open_source("synth"), 40, 0, progress=False)
    half = dataclasses.replace(plan, spec=HALF)
    assert plan.identity == "ea33506c6e532324da46816807ecc94ce0bffdf1e0c5e3f33364909b5d6c9b43"
    before = half.identity
    assert before != plan.identity
    monkeypatch.setattr("fxpipe.plan.BANDWIDTH_HZ", (3000.0, 16_000.0))
    assert plan.identity == "ea33506c6e532324da46816807ecc94ce0bffdf1e0c5e3f33364909b5d6c9b43"
    assert half.identity != before


def test_it_is_asked_for_by_flag_or_file_as_a_share(tmp_path: Path) -> None:
    assert render_spec(None, {"band_limited": 0.5}).band_limited == 0.5
    config = tmp_path / "c.toml"
    config.write_text("[render]\nband_limited = 0.25\n")
    assert render_spec(config, {}).band_limited == 0.25
    for share in (-0.1, 1.1):
        with pytest.raises(UsageError, match=r"band_limited is .*, expected a share from 0 to 1"):
            dataclasses.replace(SPEC, band_limited=share)


@pytest.mark.parametrize("hz", [0.0, -1.0, 99.0, 2e6, float("nan")])
def test_a_record_that_would_leave_nothing_is_refused(hz: float) -> None:
    with pytest.raises(UsageError, match=r"bandwidth_hz is .*, expected 100 to 1e6 Hz"):
        After(50.0, 1000.0, 0.0, hz)
