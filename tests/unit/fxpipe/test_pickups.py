"""Another guitar: filters that do what they say, as loud as before, made again from the record."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from fixtures.datasets import make_folder
from fxpipe.chains.chain import ChainSpec, generator
from fxpipe.encode import EncodeSpec, encode_identity
from fxpipe.plan import make_plan, take_clip
from fxpipe.render import RenderSpec, draw_clip
from fxpipe.renders import render_clip
from fxpipe.sources import open_source, pickups
from fxtrain.contract import UsageError

RATE_HZ = 44_100
SPEC = RenderSpec(ChainSpec(("overdrive", "delay"), {1: 1.0}), clip_s=0.5)
PLAIN = pickups.OtherGuitar(
    bass_db=0, mid_hz=700, mid_db=0, treble_db=0, comb_ms=0.5, comb_depth=0,
    resonance_hz=19_000, resonance_q=0.707, hum_hz=50, hum_db=-300, hiss_db=-300,
)  # fmt: skip


def test_a_guitar_without_a_tone_of_its_own_changes_next_to_nothing() -> None:
    dry = np.sin(np.arange(RATE_HZ) / 30).astype(np.float32)
    same = pickups.play_on(PLAIN, dry, RATE_HZ, np.random.default_rng(0))
    assert same.dtype == np.float32
    assert np.abs(same - dry)[1000:].max() < 0.05


def test_guitars_are_as_loud_as_the_recording_and_hum_as_loud_as_asked() -> None:
    rng = np.random.default_rng(1)
    dry = 0.1 * rng.standard_normal(RATE_HZ).astype(np.float32)
    for _ in range(20):
        guitar = dataclasses.replace(pickups.draw_guitar(rng), hum_db=-300, hiss_db=-300)
        wave = pickups.play_on(guitar, dry, RATE_HZ, rng)
        assert np.sqrt(np.mean(wave**2)) == pytest.approx(0.1, rel=0.01)
        assert np.abs(wave - dry).max() > 0.01
    hummed = dataclasses.replace(PLAIN, hum_db=-20)
    quiet, loud = (
        pickups.play_on(g, dry, RATE_HZ, np.random.default_rng(2)) for g in (PLAIN, hummed)
    )
    hum = loud - quiet
    assert 20 * np.log10(np.sqrt(np.mean(hum**2)) / 0.1) == pytest.approx(-20, abs=0.1)
    spectrum = np.abs(np.fft.rfft(hum))
    assert set(np.argsort(spectrum)[-16:]) == set(range(50, 850, 50))
    assert not pickups.play_on(hummed, 0 * dry, RATE_HZ, rng).any()  # silence stays silence


def test_hiss_is_as_loud_as_asked_and_hum_has_its_pitch_at_any_rate() -> None:
    dry = 0.1 * np.random.default_rng(1).standard_normal(22_050).astype(np.float32)
    rms = np.sqrt(np.mean(dry**2))

    def added(**more: float) -> np.ndarray:
        quiet, loud = (
            pickups.play_on(
                dataclasses.replace(PLAIN, resonance_hz=9000, **told),
                dry,
                22_050,
                np.random.default_rng(2),
            )
            for told in ({}, more)
        )
        return loud - quiet

    hiss = added(hiss_db=-20)
    assert 20 * np.log10(np.sqrt(np.mean(hiss**2)) / rms) == pytest.approx(-20, abs=0.2)
    spectrum = np.abs(np.fft.rfft(added(hum_db=-20, hum_hz=60)))
    loudest = np.argsort(spectrum)
    assert set(loudest[-16:]) == set(range(60, 1020, 60))
    assert spectrum[loudest[-17]] < 1e-3 * spectrum[loudest[-16]]


def test_a_pickup_whose_resonance_lies_beyond_the_rate_stays_below_it() -> None:
    dry = 0.1 * np.random.default_rng(1).standard_normal(8000).astype(np.float32)
    one, other = (
        pickups.play_on(
            dataclasses.replace(PLAIN, resonance_hz=hz), dry, 16_000, np.random.default_rng(0)
        )
        for hz in (9000, 7200)
    )
    np.testing.assert_array_equal(one, other)


def test_a_share_of_the_clips_is_played_on_others_and_told(tmp_path: Path) -> None:
    make_folder(tmp_path / "guitar")
    for source in (open_source("synth"), open_source(f"folder:{tmp_path / 'guitar'}")):
        plain, half = (
            make_plan(dataclasses.replace(SPEC, guitars=share), source, 40, 0, progress=False)
            for share in (0.0, 0.5)
        )
        others = 0
        for position in range(24):
            draw = draw_clip(SPEC, 0, "train", position)
            (dry, told), (same, also) = (
                take_clip(plan, "train", position, 0, draw) for plan in (plain, half)
            )
            assert "guitar" not in told["clip"]
            if "guitar" not in also["clip"]:
                np.testing.assert_array_equal(dry, same)
                continue
            others += 1
            rng = generator(0, "train", position, "guitar", 0)
            rng.random()
            assert also["clip"]["guitar"] == dataclasses.asdict(pickups.draw_guitar(rng))
            assert not np.allclose(dry, same, atol=1e-3)
        assert 5 <= others <= 19
        wave, _ = render_clip(half, "train", 0)
        np.testing.assert_array_equal(wave, render_clip(half, "train", 0)[0])


def test_identities_of_renders_without_them_are_what_they_were(tmp_path: Path) -> None:
    plan = make_plan(SPEC, open_source("synth"), 40, 0, progress=False)
    others = dataclasses.replace(plan, spec=dataclasses.replace(SPEC, guitars=0.5))
    assert plan.identity == "ea33506c6e532324da46816807ecc94ce0bffdf1e0c5e3f33364909b5d6c9b43"
    assert others.identity != plan.identity
    with pytest.raises(UsageError, match="guitars is 2, expected a share"):
        dataclasses.replace(SPEC, guitars=2)


def test_shards_of_before_are_gone_on_with() -> None:
    """What was encoded before there were other guitars has an identity without them."""
    codec = SimpleNamespace(weights_sha256="w", precision="none")

    def identity(guitars: float) -> tuple[str, dict[str, Any]]:
        spec = dataclasses.replace(SPEC, guitars=guitars)
        of = {"identity": "r", "source": "synth", "source_digest": "d", "seed": 0, "spec": spec}
        renders = SimpleNamespace(**of, split_seed=None, fractions=(0.8, 0.1, 0.1))
        return encode_identity(renders, codec, EncodeSpec("embedded"))

    (before, recipe), (after, other) = identity(0.0), identity(0.5)
    assert before == "00bdfd7e34d260c6ef2d71b31d6a75c14c4abbc60ba5bd8ccf68f734ecc30043"
    assert "guitars" not in recipe["spec"]
    assert other["spec"]["guitars"] == 0.5
    assert after != before
