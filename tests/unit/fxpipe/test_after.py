"""A share of clips that is heard through something after the chain: a cut, a loudspeaker, an
amplifier. What holds for all of them."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from fxpipe.chains.chain import ChainSpec
from fxpipe.config import render_spec
from fxpipe.encode import EncodeSpec, encode_identity
from fxpipe.plan import make_plan
from fxpipe.remake import remake
from fxpipe.render import After, RenderSpec, after_of, draw_clip
from fxpipe.renders import render_clip
from fxpipe.sources import open_source
from fxtrain.contract import UsageError
from fxtrain.contract.record import check_record

SPEC = RenderSpec(ChainSpec(("overdrive", "delay"), {1: 1.0}), clip_s=0.5)
IDENTITY = "ea33506c6e532324da46816807ecc94ce0bffdf1e0c5e3f33364909b5d6c9b43"
SETTINGS = ("band_limited", "speakers", "amplifiers")
VERSIONS = [
    ("band_limited", "BANDWIDTH_HZ", (3000.0, 16_000.0)),
    ("speakers", "SPEAKER_VERSION", 99),
    ("amplifiers", "AMPLIFIER_VERSION", 99),
    ("amplifiers", "SPEAKER_VERSION", 99),
]


def half_of(setting: str) -> RenderSpec:
    return dataclasses.replace(SPEC, **{setting: 0.5})


def without(after: After) -> After:
    return dataclasses.replace(after, bandwidth_hz=None, speaker=None, amplifier=None)


@pytest.mark.parametrize("setting", SETTINGS)
def test_a_share_of_the_clips_is_drawn_and_nothing_else_is_drawn_anew(setting: str) -> None:
    half = half_of(setting)
    every = dataclasses.replace(SPEC, **dict.fromkeys(SETTINGS, 0.5))
    through = 0
    for position in range(200):
        plain, drawn, most = (draw_clip(s, 0, "train", position) for s in (SPEC, half, every))
        assert dataclasses.replace(drawn, after=without(drawn.after)) == plain
        assert dataclasses.replace(most, after=without(most.after)) == plain
        through += drawn.after != plain.after
    assert 80 <= through <= 120


@pytest.mark.parametrize("setting", SETTINGS)
def test_records_tell_it_and_clips_are_made_again_by_them(setting: str) -> None:
    spec = half_of(setting)
    plan = make_plan(spec, open_source("synth"), 40, 0, progress=False)
    index: Any = SimpleNamespace(
        identity=plan.identity, source="synth", source_digest=plan.scan.digest, seed=0,
        split_seed=None, fractions=plan.fractions, spec=spec,
    )  # fmt: skip
    codec: Any = SimpleNamespace(weights_sha256="w", precision="none")
    _, recipe = encode_identity(index, codec, EncodeSpec("embedded"))
    recipe = json.loads(json.dumps(recipe))
    plain_plan = dataclasses.replace(plan, spec=SPEC)
    told = set()
    for position in range(8):
        wave, record = render_clip(plan, "train", position)
        before, earlier = render_clip(plain_plan, "train", position)
        record = json.loads(json.dumps(record))
        check_record(record, "a record")
        wet = remake(record, recipe).wet
        np.testing.assert_allclose(wet, wave, atol=1e-4 * float(np.abs(wave).max()))
        after = after_of(record.pop("after"), "a record")
        assert after == draw_clip(spec, 0, "train", position).after
        assert without(after).record() == earlier.pop("after")
        assert record == json.loads(json.dumps(earlier))
        through = after != without(after)
        assert np.any(wave != before) == through
        told.add(through)
    assert told == {True, False}


@pytest.mark.parametrize(("setting", "constant", "value"), VERSIONS)
def test_renders_without_it_are_what_they_were_and_others_are_others(
    setting: str, constant: str, value: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = make_plan(SPEC, open_source("synth"), 40, 0, progress=False)
    half = dataclasses.replace(plan, spec=half_of(setting))
    assert plan.identity == IDENTITY
    before = half.identity
    assert before != plan.identity
    monkeypatch.setattr(f"fxpipe.plan.{constant}", value)
    assert plan.identity == IDENTITY
    assert half.identity != before


@pytest.mark.parametrize("setting", SETTINGS)
def test_it_is_asked_for_by_flag_or_file_as_a_share(setting: str, tmp_path: Path) -> None:
    assert getattr(render_spec(None, {setting: 0.5}), setting) == 0.5
    config = tmp_path / "c.toml"
    config.write_text(f"[render]\n{setting} = 0.25\n")
    assert getattr(render_spec(config, {}), setting) == 0.25
    for share in (-0.1, 1.1):
        with pytest.raises(UsageError, match=rf"{setting} is .*, expected a share from 0 to 1"):
            dataclasses.replace(SPEC, **{setting: share})
