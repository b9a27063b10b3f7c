"""What a plan takes from a source: kinds of recordings, and how they are shared out."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from fixtures.datasets import pluck, write_wav
from fxpipe import encode as en
from fxpipe import renders as rd
from fxpipe.chains.chain import ChainSpec
from fxpipe.config import parse_fractions, parse_kinds
from fxpipe.errors import SourceError
from fxpipe.pedals import POOLS
from fxpipe.plan import read_plan, split_sizes
from fxpipe.render import RenderSpec
from fxpipe.sources import open_source
from fxpipe.verify import check_directory
from fxtrain.contract import UsageError, open_folder, read_index

SPEC = RenderSpec(ChainSpec(POOLS["okita3"], {1: 1.0}), clip_s=0.5, run_in_s=0.1)


@pytest.fixture
def source(tmp_path: Path):
    """Twelve notes, three chords, and one recording of unknown kind."""
    rows = ["file,kind"]
    for k in range(16):
        kind = "note" if k < 12 else "chord" if k < 15 else ""
        write_wav(tmp_path / "guitar" / f"{k:02d}.wav", pluck(40 + k, 0.8))
        rows.append(f"{k:02d}.wav,{kind}")
    (tmp_path / "guitar" / "manifest.csv").write_text("\n".join(rows))
    return open_source(f"folder:{tmp_path / 'guitar'}")


def plan_of(source, n=30, **kwargs):
    return rd.make_plan(SPEC, source, n, 0, progress=False, **kwargs)


def kinds_in(plan) -> set[str]:
    return {str(item.meta.get("kind", "")) for item in plan.scan.items}


def test_only_recordings_of_the_kinds_asked_for_are_used(source):
    assert kinds_in(plan_of(source)) == {"note", "chord", ""}
    plan = plan_of(source, kinds=["note", "chord", "note"])
    assert kinds_in(plan) == {"note", "chord"}
    assert plan.kinds == ("chord", "note")
    assert set(plan.splits) == {item.group for item in plan.scan.items}


def test_the_digest_follows_what_is_left_out_and_not_how_it_is_asked_for(source):
    whole, notes = plan_of(source), plan_of(source, kinds=["note"])
    assert notes.scan.digest != whole.scan.digest
    assert notes.identity != whole.identity
    assert plan_of(source, kinds=["note", "note"]).identity == notes.identity
    both = plan_of(source, kinds=["note", "chord"])
    assert plan_of(source, kinds=["chord", "note"]).identity == both.identity
    assert plan_of(source, kinds=["note", "chord", "(none)"]).identity == whole.identity


def test_the_identity_tells_which_recordings_are_of_a_kind(source, tmp_path: Path):
    """The same files under a corrected manifest are other renders, and no resumed ones."""
    table = tmp_path / "guitar" / "manifest.csv"
    before = plan_of(source, kinds=["note"])
    table.write_text(table.read_text().replace("00.wav,note", "00.wav,chord"))
    after = plan_of(open_source(f"folder:{tmp_path / 'guitar'}"), kinds=["note"])
    assert after.scan.digest != before.scan.digest
    assert after.identity != before.identity


def test_the_identity_of_phrases_tells_what_they_go_by(source, tmp_path: Path):
    spec = dataclasses.replace(SPEC, phrases=1.0)
    before, single = rd.make_plan(spec, source, 30, 0, progress=False), plan_of(source)
    table = tmp_path / "guitar" / "manifest.csv"
    rows = table.read_text().splitlines()
    pitched = [f"{row},{'midi' if i == 0 else 40 + i}" for i, row in enumerate(rows)]
    table.write_text("\n".join(pitched))
    again = open_source(f"folder:{tmp_path / 'guitar'}")
    after = rd.make_plan(spec, again, 30, 0, progress=False)
    assert after.scan.digest == before.scan.digest  # the same sound
    assert after.identity != before.identity
    assert plan_of(again).identity == single.identity  # single recordings do not care


def test_an_unknown_kind_names_those_present(source):
    expected = r"no recording of kind 'lick'; there are, by kind: \(none\) 1, chord 3, note 12"
    with pytest.raises(UsageError, match=expected):
        plan_of(source, kinds=["note", "lick"])


def test_the_built_in_guitar_has_no_kinds():
    with pytest.raises(UsageError, match="there are, by kind: none at all"):
        plan_of(open_source("synth"), kinds=["note"])


@pytest.mark.parametrize(
    ("fractions", "expected"),
    [
        ((0.8, 0.1, 0.1), (24, 3, 3)),
        ((0, 0, 1), (0, 0, 30)),
        ((0, 0.5, 0.5), (0, 15, 15)),
        ((1, 0, 0), (30, 0, 0)),
        ((0.98, 0.01, 0.01), (28, 1, 1)),
    ],
)
def test_clips_are_shared_out_like_groups(source, fractions, expected):
    plan = plan_of(source, fractions=fractions)
    assert tuple(plan.n_clips.values()) == expected == tuple(split_sizes(30, fractions).values())
    filled = {split for split, n in plan.n_clips.items() if n}
    assert set(plan.splits.values()) == filled


def test_too_few_chains_or_groups_are_refused(source):
    with pytest.raises(UsageError, match="2 chains are too few to divide: ask for 3 or more"):
        plan_of(source, n=2)
    assert split_sizes(1, (0.0, 0.0, 1.0))["test"] == 1
    for n, fractions in ((3, (0.1, 0.8, 0.1)), (4, (0.1, 0.45, 0.45)), (3, (0.001, 0.998, 0.001))):
        sizes = split_sizes(n, fractions).values()
        assert (min(sizes), sum(sizes)) == (1, n)  # the others are not rounded up over all of it
    with pytest.raises(SourceError, match="cannot fill 3 splits"):
        plan_of(source, kinds=["(none)"])


def test_fractions_change_the_identity_and_what_is_not_given_does_not(source):
    assert plan_of(source).identity == plan_of(source, fractions=(0.8, 0.1, 0.1)).identity
    assert plan_of(source).identity != plan_of(source, fractions=(0.6, 0.2, 0.2)).identity


def test_a_plan_survives_its_file(tmp_path, source):
    folder = open_folder(tmp_path / "r")
    plan = plan_of(source, kinds=["note"], fractions=(0.0, 0.5, 0.5))
    rd.save_plan(folder, plan)
    assert read_plan(folder, plan.identity) == plan


@pytest.mark.parametrize("backend", ["webdataset", "zarr"])
def test_all_of_a_source_as_test_goes_through_to_shards(tmp_path, source, monkeypatch, backend):
    for module in (rd, en):
        monkeypatch.setattr(module, "run_tasks", lambda f, jobs, *_, **__: map(f, jobs))
    folder, out = open_folder(tmp_path / "r"), open_folder(tmp_path / "s")
    plan = plan_of(source, n=12, fractions=(0, 0, 1))
    index = rd.render_all(folder, plan, None, lambda shard: None)
    assert {shard.split for shard in index.shards} == {"test"}
    assert index.fractions == (0, 0, 1)
    assert rd.read_renders_index(folder) == index
    assert list(check_directory(folder.uri)) == []
    spec = en.EncodeSpec("embedded", backend=backend)
    en.encode_all(folder, index, out, spec, None, ["cpu"], lambda shard: None)
    counts = read_index(out).counts
    assert {split: n.n_samples for split, n in counts.items()} == {
        "train": 0,
        "valid": 0,
        "test": 12,
    }
    assert list(check_directory(out.uri)) == []


def test_flags_are_read_or_explained():
    assert parse_fractions("0.8,0.1,0.1") == (0.8, 0.1, 0.1)
    assert parse_fractions("0, 0, 1") == (0.0, 0.0, 1.0)
    assert parse_kinds("note, chord") == ("note", "chord")
    for text in ("0.8,0.2", "1,1,1", "-0.5,0.5,1", "a,b,c", "nan,0,1", ""):
        with pytest.raises(UsageError, match="that sum to 1"):
            parse_fractions(text)
    for text in ("", "note,", ","):
        with pytest.raises(UsageError, match="expected names"):
            parse_kinds(text)


def test_one_split_seed_divides_alike_whatever_is_drawn(source):
    first = plan_of(source)
    other = rd.make_plan(SPEC, source, 30, 1, progress=False)
    kept = rd.make_plan(SPEC, source, 30, 1, progress=False, split_seed=0)
    assert kept.splits == first.splits != other.splits
    assert len({first.identity, other.identity, kept.identity}) == 3
    assert plan_of(source, split_seed=0).identity == first.identity
    assert dataclasses.replace(first, split_seed=None).identity == first.identity
    assert rd.make_plan(SPEC, open_source("synth"), 30, 1, progress=False).split_seed is None
