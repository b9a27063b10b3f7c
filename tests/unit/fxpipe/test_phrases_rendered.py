"""Phrases in finished renders: no leak, remade from their records, the same on any worker."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from fixtures.datasets import make_egfxset, pluck, write_wav
from fxpipe import plan as plans
from fxpipe import renders as rd
from fxpipe import verbs
from fxpipe.chains.chain import ChainSpec, generator
from fxpipe.cli import cli
from fxpipe.errors import SourceError
from fxpipe.pedals import POOLS
from fxpipe.render import RenderSpec
from fxpipe.sources import clips, open_source, read_recording
from fxpipe.sources.phrases import (
    Phrase,
    draw_phrase,
    play_phrase,
    sounding_share,
)
from fxpipe.verify import check_directory
from fxtrain.contract import ShardEntry, UsageError, check_records, from_dict, open_folder

RATE_HZ = 44_100
SPEC = RenderSpec(ChainSpec(POOLS["okita3"], {1: 1.0}), clip_s=1.0, run_in_s=0.25, phrases=0.7)


def render_inline(path: Path, source, spec=SPEC, n=40):
    folder = open_folder(path)
    plan = rd.make_plan(spec, source, n, 0, progress=False)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rd, "run_tasks", lambda function, jobs, workers: map(function, jobs))
        return folder, plan, rd.render_all(folder, plan, None, lambda shard: None)


NOTES = tuple((string, fret) for string in (2, 3, 4, 5) for fret in (0, 2, 3, 5, 7))


@pytest.fixture(scope="module")
def egfxset(tmp_path_factory):
    root = make_egfxset(tmp_path_factory.mktemp("egfxset"), notes=NOTES, pickups=("Bridge", "Neck"))
    return open_source(f"egfxset:{root}")


@pytest.fixture(scope="module")
def rendered(tmp_path_factory, egfxset):
    return render_inline(tmp_path_factory.mktemp("phrases"), egfxset)


def all_records(folder, index):
    return [r for shard in index.shards for r in rd.read_shard(folder, shard)[1]]


def test_no_group_of_any_note_is_on_two_sides(rendered):
    folder, plan, index = rendered
    sides: dict[str, set[str]] = {}
    n_phrases = 0
    for record in all_records(folder, index):
        notes = record["clip"].get("phrase", {}).get("notes", ())
        n_phrases += bool(notes)
        for group in [record["group"], *(note["group"] for note in notes)]:
            sides.setdefault(group, set()).add(record["split"])
        for note in notes:
            assert plan.splits[note["group"]] == record["split"]
            assert plan.items[note["item"]].group == note["group"]
        pickups = {note["item"].split("/")[1] for note in notes}
        assert len(pickups) <= 1
        if notes:
            assert record["clip"]["pickup"] in pickups
    assert len(sides) > 10
    assert all(len(side) == 1 for side in sides.values())
    assert n_phrases == index.n_phrases
    assert 0.4 * 40 < n_phrases < 40
    assert list(check_directory(folder.uri)) == []


def test_at_least_half_of_every_phrase_sounds(rendered):
    folder, plan, index = rendered
    for record in all_records(folder, index):
        if "phrase" in record["clip"]:
            dry = remade(plan, record)
            assert sounding_share(dry[plan.spec.n_run_in :], RATE_HZ) >= 0.5


def remade(plan, record):
    """The dry phrase from its record and the recordings alone: no plan, no generator."""
    phrase = from_dict(Phrase, record["clip"]["phrase"], record["id"])
    dry = play_phrase(
        phrase,
        lambda item_id: read_recording(plan.items[item_id], RATE_HZ),
        n_samples=plan.spec.n_run_in + plan.spec.n_samples,
        sample_rate_hz=RATE_HZ,
    )
    gain = np.float32(10 ** (record["clip"]["input_peak_dbfs"] / 20) / float(np.abs(dry).max()))
    return dry * gain


def test_a_phrase_is_remade_from_its_record_alone(rendered):
    folder, plan, index = rendered
    records = [r for r in all_records(folder, index) if "phrase" in r["clip"]]
    for record in records[:6]:
        seed, position, attempt = record["seed"]
        draw = rd.draw_clip(plan.spec, seed, record["split"], position, attempt)
        dry, taken = rd.take_clip(plan, record["split"], position, attempt, draw)
        np.testing.assert_array_equal(remade(plan, record), dry)
        assert float(np.abs(dry).max()) == pytest.approx(10 ** (draw.input_peak_dbfs / 20))
        assert taken["clip"]["phrase"]["notes"][0]["group"] == record["group"]


def test_any_worker_makes_the_same_clips_in_any_order(rendered):
    folder, plan, index = rendered
    waves, records = rd.read_shard(folder, index.shards[0])
    for k in (7, 2, 11):
        clips._kept.clear()  # another process has read nothing yet
        wave, record = rd.render_clip(plan, "train", k)
        assert json.loads(json.dumps(record)) == {
            key: value for key, value in records[k].items() if key != "scale"
        }
        scale = records[k]["scale"]
        np.testing.assert_array_equal(waves[k], np.round(wave / scale).astype(np.int16))


def test_clips_that_are_no_phrases_stay_as_they_were(tmp_path, egfxset, rendered):
    """The share decides which clips become phrases and touches no other draw."""
    folder, _, index = rendered
    plain_spec = dataclasses.replace(SPEC, phrases=0.0)
    plain, plan, plain_index = render_inline(tmp_path / "plain", egfxset, plain_spec)
    assert plain_index.n_phrases == 0
    assert plan.identity != rendered[1].identity
    pairs = zip(all_records(folder, index), all_records(plain, plain_index), strict=True)
    same = [mixed == single for mixed, single in pairs if "phrase" not in mixed["clip"]]
    assert same
    assert all(same)


def test_a_greater_share_keeps_the_phrases_of_a_smaller_one(egfxset):
    def chosen(share: float) -> set[int]:
        spec = dataclasses.replace(SPEC, phrases=share)
        plan = rd.make_plan(spec, egfxset, 60, 0, progress=False)
        rolls = (generator(0, "train", k, "phrase").random() for k in range(48))
        expected = {k for k, roll in enumerate(rolls) if roll < share}
        drawn = {
            k
            for k in range(48)
            if "phrase"
            in rd.take_clip(plan, "train", k, 0, rd.draw_clip(spec, 0, "train", k))[1]["clip"]
        }
        assert drawn == expected
        return drawn

    assert chosen(0.3) < chosen(0.8)


def test_a_phrase_is_drawn_apart_from_whether_there_is_one(egfxset):
    spec = dataclasses.replace(SPEC, phrases=1.0)
    plan = rd.make_plan(spec, egfxset, 40, 0, progress=False)
    drawn = []
    for k in range(6):
        draw, rng = rd.draw_clip(spec, 0, "train", k), generator(0, "train", k, "phrase", 1)
        expected = draw_phrase(
            plan.stock["train"], draw.item_u, rng, run_in_s=spec.run_in_s, clip_s=spec.clip_s
        )
        clip = rd.take_clip(plan, "train", k, 0, draw)[1]["clip"]
        drawn.append(clip["phrase"] == dataclasses.asdict(expected))
    assert sum(drawn) >= 4  # the others were too quiet at first


@pytest.mark.parametrize("n_quiet", [2, plans.PHRASE_ATTEMPTS])
def test_a_phrase_of_which_too_little_is_heard_is_drawn_again(egfxset, monkeypatch, n_quiet):
    spec = dataclasses.replace(SPEC, phrases=1.0)
    plan = rd.make_plan(spec, egfxset, 40, 0, progress=False)
    played: list[Phrase] = []

    def quiet_at_first(phrase, read, **how):
        played.append(phrase)
        wave = np.full(how["n_samples"], 0.5, np.float32)
        if len(played) <= n_quiet:  # half of all sounds, but not of the clip
            wave[spec.n_run_in + round(0.4 * RATE_HZ) :] = 0.0
        return wave

    monkeypatch.setattr(plans, "play_phrase", quiet_at_first)
    clip = rd.take_clip(plan, "train", 0, 0, rd.draw_clip(spec, 0, "train", 0))[1]["clip"]
    if n_quiet == 2:
        assert len({phrase.hiss_seed for phrase in played}) == 3
        assert clip["phrase"] == dataclasses.asdict(played[2])
    else:
        assert len(played) == n_quiet
        assert "phrase" not in clip


def test_check_finds_a_group_that_a_phrase_carries_over():
    def record(split: str, *groups: str) -> dict:
        notes = [{"item": f"{g}.wav", "group": g} for g in groups]
        clip = {"phrase": {"notes": notes}}
        return {"id": f"{split}-0", "group": groups[0], "split": split, "clip": clip}

    groups: dict[str, str] = {}
    seen: set[str] = set()
    train, test = ShardEntry("a", "train", 0, 1, ()), ShardEntry("b", "test", 0, 1, ())
    assert check_records([record("train", "x", "y", "y")], train, groups, seen) == []
    problems = check_records([record("test", "z", "y")], test, groups, seen)
    assert [str(problem) for problem in problems] == ["b: group 'y' is in 'test' and in 'train'"]
    odd = {"id": "test-1", "group": "w", "split": "test", "clip": {"phrase": {"notes": 3}}}
    assert check_records([odd], test, groups, seen) == []


# What cannot be


def test_synth_plays_by_itself():
    with pytest.raises(UsageError, match="plays phrases by itself"):
        rd.make_plan(SPEC, open_source("synth"), 30, 0, progress=False)


def test_a_split_without_two_recordings_is_named(tmp_path):
    for k in range(10):
        write_wav(tmp_path / f"{k}.wav", pluck(45 + k, 1.0))
    source = open_source(f"folder:{tmp_path}")
    with pytest.raises(SourceError, match=r"split 'valid' has 1 in all.*--phrases"):
        rd.make_plan(SPEC, source, 30, 0, progress=False)
    plan = rd.make_plan(SPEC, source, 30, 0, progress=False, fractions=(0.5, 0.5, 0.0))
    assert plan.n_clips == {"train": 15, "valid": 15, "test": 0}


@pytest.mark.parametrize("share", [-0.1, 1.1, float("nan")])
def test_a_share_lies_between_0_and_1(share: float) -> None:
    with pytest.raises(UsageError, match="phrases is"):
        dataclasses.replace(SPEC, phrases=share)


def test_the_flags_reach_the_plan(rendered, monkeypatch):
    source = f"egfxset:{rendered[1].scan.items[0].uri.rsplit('/Clean/')[0]}"
    words = ["render", "--dataset", source, "--phrases", "0.5", "--n-chains", "9", "--dry-run"]
    plans = []

    def kept(*args, **kwargs):
        plans.append(rd.make_plan(*args, **kwargs))
        return plans[-1]

    monkeypatch.setattr(verbs, "make_plan", kept)
    done = CliRunner().invoke(cli, [*words, "--kinds", "note", "--fractions", "0.5,0.2,0.3"])
    assert done.exit_code == 0, done.output
    assert plans[0].spec.phrases == 0.5
    assert (plans[0].kinds, plans[0].fractions) == (("note",), (0.5, 0.2, 0.3))
    done = CliRunner().invoke(cli, ["render", "--phrases", "0.5", "--n-chains", "9"])
    assert "plays phrases by itself" in str(done.exception)
