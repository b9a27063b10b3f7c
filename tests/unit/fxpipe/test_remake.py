"""Clips made again from their records, and how near one sound is to another."""

from __future__ import annotations

import dataclasses
import io
import json
from unittest.mock import Mock

import numpy as np
import pytest
import soundfile

from fixtures.datasets import make_egfxset, make_folder
from fxpipe import renders as rd
from fxpipe.chains.chain import ChainSpec
from fxpipe.encode import EncodeSpec, encode_identity
from fxpipe.errors import RenderError, SourceError
from fxpipe.frontend import open_frontend
from fxpipe.level import loudness_lufs
from fxpipe.nearness import nearness
from fxpipe.pedals import POOLS
from fxpipe.render import RenderSpec
from fxpipe.renders import chain_of
from fxpipe.sources import open_source
from fxtrain.contract import CodecInfo, ContractError, open_folder

SPEC = RenderSpec(ChainSpec(POOLS["okita3"], {1: 1.0, 2: 1.0}), clip_s=0.5, run_in_s=0.1)
CODEC = CodecInfo("tiny", "0" * 64, 44_100, 512, 1, 4, 2, "fp32", "cpu")
RATE = 44_100


@pytest.fixture
def make(tmp_path, monkeypatch):
    """(renders folder, waves and records of test, recipe of shards made from them)."""
    monkeypatch.setattr(rd, "run_tasks", lambda function, jobs, workers: map(function, jobs))

    def render(source, spec=SPEC, **asked):
        folder = open_folder(tmp_path / "renders")
        plan = rd.make_plan(spec, source, 20, 0, progress=False, **asked)
        index = rd.render_all(folder, plan, None, lambda shard: None)
        _, recipe = encode_identity(index, CODEC, EncodeSpec("tiny"))
        clips = list(rd.iter_clips(folder, index, "test", 0, 2))
        return folder, clips, json.loads(json.dumps(recipe))

    return render


def test_a_synthetic_clip_needs_nothing_but_its_record(make):
    _, clips, recipe = make(open_source("synth"))
    for wave, record in clips:
        remade = open_frontend().remake(record, recipe)
        np.testing.assert_array_equal(remade.wet, wave)
        assert remade.chain == chain_of(record)
        assert len(remade.dry) - remade.n_run_in == len(wave) == SPEC.n_samples


def test_a_recording_needs_the_renders_it_came_from(make, tmp_path):
    make_folder(tmp_path / "guitar")
    folder, clips, recipe = make(open_source(f"folder:{tmp_path / 'guitar'}"))
    frontend = open_frontend()
    for wave, record in clips:
        np.testing.assert_array_equal(frontend.remake(record, recipe, folder.uri).wet, wave)
        with pytest.raises(SourceError, match="add --renders PATH"):
            frontend.remake(record, recipe)
    other = recipe | {"renders_identity": "0" * 64}
    with pytest.raises(RenderError, match="other renders"):
        frontend.remake(clips[0][1], other, folder.uri)


def test_a_data_set_is_found_where_it_is_kept(make, tmp_path, monkeypatch):
    make_egfxset(tmp_path / "egfxset")
    monkeypatch.setattr("fxpipe.sources.base.default_data_dir", lambda: tmp_path)
    _, clips, recipe = make(open_source("egfxset"))
    frontend = open_frontend()
    for wave, record in clips:
        np.testing.assert_array_equal(frontend.remake(record, recipe).wet, wave)
    monkeypatch.setattr("fxpipe.remake.open_source", Mock(side_effect=[open_source("egfxset")]))
    for _, record in clips:  # looked for once
        with pytest.raises(SourceError, match="not what was rendered") as refused:
            frontend.remake(record, recipe | {"source_digest": "0" * 64})
        assert len(refused.traceback) == 3  # this line, the frontend's and the one that raises


@pytest.mark.parametrize("asked", [{"split_seed": 7}, {"fractions": (0.0, 0.0, 1.0)}])
def test_a_data_set_is_divided_as_it_was(make, tmp_path, monkeypatch, asked):
    make_egfxset(tmp_path / "egfxset")
    monkeypatch.setattr("fxpipe.sources.base.default_data_dir", lambda: tmp_path)
    _, clips, recipe = make(open_source("egfxset"), **asked)
    for wave, record in clips:
        np.testing.assert_array_equal(open_frontend().remake(record, recipe).wet, wave)


def test_another_clip_than_the_one_encoded_is_refused(make):
    _, ((_, record), *_), recipe = make(open_source("synth"))
    frontend = open_frontend()
    with pytest.raises(RenderError, match="another clip"):
        frontend.remake(record | {"stage_change_db": [99.0] * len(record["chain"])}, recipe)
    with pytest.raises(RenderError, match="another clip"):
        frontend.remake(record | {"item": "elsewhere"}, recipe)
    with pytest.raises(RenderError, match="expected three numbers"):
        frontend.remake(record | {"seed": [0]}, recipe)
    with pytest.raises(RenderError, match="says nothing"):
        frontend.remake(record, {"seed": 0})
    for told in ({"fractions": [1.0]}, {"split_seed": "7"}, {"seed": None}):
        with pytest.raises(ContractError, match="recipe"):
            frontend.remake(record, recipe | told)


def test_half_a_decibel_either_way_is_the_same_clip_and_one_is_not(make):
    _, ((_, record), *_), recipe = make(open_source("synth"))
    frontend = open_frontend()
    said = record["stage_change_db"]
    for off_db in (-0.4, 0.4):
        frontend.remake(record | {"stage_change_db": [db + off_db for db in said]}, recipe)
    for off_db in (-1.0, 1.0):
        other = record | {"stage_change_db": [*said[:-1], said[-1] + off_db]}
        with pytest.raises(RenderError, match="another clip"):
            frontend.remake(other, recipe)


def test_equal_sounds_are_as_near_as_can_be_and_volume_counts_once():
    rng = np.random.default_rng(0)
    wave = rng.standard_normal(RATE).astype(np.float32) * 0.1
    same = nearness(wave, wave, RATE)
    assert (same.si_sdr_db, same.mr_stft, same.loudness_db) == (60.0, 0.0, 0.0)
    assert same.mel_stft == pytest.approx(0.0, abs=1e-6)
    quiet = nearness(wave, 0.5 * wave, RATE)
    assert quiet.loudness_db == pytest.approx(20 * np.log10(2), abs=0.01)
    assert quiet.si_sdr_db == 60.0
    assert quiet.mr_stft < 1e-3
    assert quiet.mel_stft < 1e-3


def test_si_sdr_is_what_its_definition_says():
    rng = np.random.default_rng(1)
    true, noise = rng.standard_normal((2, RATE)).astype(np.float32)
    noise -= true * (noise @ true) / (true @ true)
    other = true + 0.1 * noise * np.linalg.norm(true) / np.linalg.norm(noise)
    found = nearness(true, other, RATE)
    assert found.si_sdr_db == pytest.approx(20.0, abs=0.05)
    further = nearness(true, true + noise, RATE)
    assert further.si_sdr_db < found.si_sdr_db
    assert further.mr_stft > found.mr_stft > 0
    assert further.mel_stft > found.mel_stft > 0


def test_silence_is_as_far_as_can_be():
    true = np.random.default_rng(2).standard_normal(RATE).astype(np.float32)
    found = nearness(true, np.zeros_like(true), RATE)
    assert found.loudness_db == 60.0
    assert all(np.isfinite(list(dataclasses.asdict(found).values())))
    with pytest.raises(ValueError, match="expected"):
        nearness(true, true[:-1], RATE)


def test_flac_holds_the_wave_at_the_level_rule():
    wave = np.sin(np.arange(RATE) / 20).astype(np.float32) * 0.01
    data, lufs = open_frontend().flac(wave, RATE)
    audio, rate = soundfile.read(io.BytesIO(data), dtype="float32")
    assert rate == RATE
    assert loudness_lufs(audio, rate) == pytest.approx(-16.0, abs=0.1)
    assert lufs == pytest.approx(-16.0, abs=1e-3)


def test_a_flac_of_silence_says_so():
    data, lufs = open_frontend().flac(np.zeros(RATE, np.float32), RATE)
    assert lufs == -np.inf
    assert not soundfile.read(io.BytesIO(data))[0].any()
