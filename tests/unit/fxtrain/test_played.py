"""Scores by what is played: read from the records, and the same as of these clips alone."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from fixtures.shards import make_shards
from fxtrain.columns import number
from fxtrain.contract import OrderClass, Record
from fxtrain.data import open_shards
from fxtrain.data.dataset import Shard
from fxtrain.evaluate import provenance
from fxtrain.metrics import fixed_order, scores
from fxtrain.played import NOT_SAID, Playing, by_playing, playing_lines, playing_of

FAMILIES = {"fuzz": "drive", "delay": "time", "reverb": "space"}
TRUTH = [("fuzz", "delay"), ("delay", "fuzz"), ("reverb",), ("fuzz",), ("delay", "reverb"), ()]
SAID = [("fuzz", "delay"), ("fuzz", "delay"), ("reverb",), (), ("reverb", "delay"), ("fuzz",)]
ALIKE = [OrderClass(chain, frozenset({frozenset({"delay", "reverb"})})) for chain in TRUTH]
PLAYED = ["note", "strum", "note", "note", "strum", "riff"]
GROUPS = np.array([0, 1, 0, 2, 3, 4])


def rows_of(played: list[str]) -> tuple[Playing, ...]:
    return by_playing(TRUTH, SAID, ALIKE, played, GROUPS, families=FAMILIES)


@pytest.mark.parametrize(
    ("clip", "said"),
    [
        ({"kind": "note", "dynamic": "f"}, "note"),
        ({"kind": "note", "phrase": {"notes": []}}, "note, joined"),
        ({"phrase": {"notes": []}}, "not said, joined"),
        ({"performance": {"style": "strum"}}, "strum"),
        ({"performance": {"style": "double_stop"}}, "double stop"),
        ({"performance": {"style": "funk"}, "kind": "note"}, "funk"),
        ({"performance": {}}, NOT_SAID),
        ({"performance": "loud", "kind": 7}, "7"),
        ({}, NOT_SAID),
    ],
)
def test_what_is_played_stands_in_the_record(clip: Record, said: str) -> None:
    assert playing_of({"clip": clip}) == said
    assert playing_of({}) == NOT_SAID


def test_the_records_of_a_split_are_asked_in_its_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_shards(tmp_path, n_train=4, n_valid=4, n_test=6)
    dataset = open_shards(tmp_path)
    assert provenance(dataset, "test")[1] == [NOT_SAID] * 6
    records = [{"clip": {"kind": "note"}}, {"clip": {"performance": {"style": "riff"}}}]
    monkeypatch.setattr(Shard, "records", lambda self: iter(records))
    assert provenance(dataset, "test")[1] == ["note", "riff"] * len(dataset.shards_of("test"))


def test_each_row_is_the_score_of_its_clips_alone() -> None:
    rows = {row.name: row for row in rows_of(PLAYED)}
    assert list(rows) == ["note", "strum", "riff"]  # most frequent first
    for name, row in rows.items():
        here = [i for i, other in enumerate(PLAYED) if other == name]
        true, said, alike = ([column[i] for i in here] for column in (TRUTH, SAID, ALIKE))
        rng = np.random.default_rng(0)
        alone = scores(true, said, families=FAMILIES, classes=alike, groups=GROUPS[here], rng=rng)
        textbook = fixed_order(true, tuple(FAMILIES))
        null = np.mean([c.holds(y) for c, y in zip(alike, textbook, strict=True)])
        assert dataclasses.astuple(row)[1:3] == (len(here), len(set(GROUPS[here].tolist())))
        for score in ("exact_class", "set", "f1_micro"):
            mine = dataclasses.asdict(getattr(row, score))
            np.testing.assert_equal(mine, dataclasses.asdict(alone[score]))
        assert row.null == null
    assert (rows["note"].exact_class.value, rows["note"].null) == (2 / 3, 1.0)
    assert (rows["strum"].exact_class.value, rows["strum"].null) == (0.5, 0.5)  # one sounds alike
    assert (rows["note"].n_there, rows["note"].n_named) == (4 / 3, 1.0)


def test_nothing_is_told_apart_where_one_thing_is_played_or_nobody_knows() -> None:
    assert rows_of(["note"] * 6) == ()
    assert rows_of([]) == ()
    assert list(playing_lines(())) == []


def test_lines_for_people_hold_every_row() -> None:
    lines = list(playing_lines(rows_of(PLAYED)))
    assert lines[1].split()[:3] == ["what", "is", "played"]
    assert [line.split()[0] for line in lines[2:]] == ["note", "strum", "riff"]
    assert lines[2].split()[1:4] == ["3", "2", "0.667"]
    assert len({len(line) for line in lines[2:]}) == 1
    assert number(rows_of(PLAYED)[0].f1_micro.value) in lines[2]
