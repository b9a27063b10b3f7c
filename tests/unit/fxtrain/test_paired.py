"""Answers as lines for others, and two systems on the same clips."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest

from fxtrain.answers import CLIPS_NAME, Answers, clip_rows, save_clips
from fxtrain.contract import UsageError
from fxtrain.decode import Candidate
from fxtrain.metrics import HEADLINES, classes_of, constant_chain, numbered, scores
from fxtrain.paired import difference_lines, differences, differences_dict

FAMILIES = {"drive": "drive", "chorus": "modulation", "delay": "time", "reverb": "time"}
ALIKE = frozenset({frozenset({"delay", "reverb"})})
TRUTH = [("drive", "delay"), ("delay", "reverb"), ("chorus",), ("drive", "chorus")] * 10
RIGHT_OFTEN = [TRUTH[0], ("reverb", "delay"), ("delay",), TRUTH[3]] * 10
RIGHT_SELDOM = [TRUTH[0], ("drive",), ("delay",), ("chorus", "drive")] * 10


def answers_of(said: list[tuple[str, ...]], groups: list[int] | None = None) -> Answers:
    heard = [(Candidate(names, 0.75, (names,)), Candidate((), 0.25, ((),))) for names in said]
    return Answers(
        "test",
        *(TRUTH, heard, heard, classes_of(TRUTH, ALIKE)),
        groups=None if groups is None else np.array(groups),
        ids=[f"test-{i:06d}" for i in range(len(said))],
    )


def test_chains_may_be_lists_as_json_has_them() -> None:
    """None of them was exact, though it was of the right class of orders."""
    lists = answers_of([list(names) for names in RIGHT_OFTEN])  # type: ignore[misc]
    lists = dataclasses.replace(lists, truth=[list(names) for names in TRUTH])  # type: ignore[misc]
    other = answers_of(RIGHT_SELDOM)
    assert differences(lists, other, FAMILIES) == differences(
        answers_of(RIGHT_OFTEN), other, FAMILIES
    )
    assert list(clip_rows(lists)) == list(clip_rows(answers_of(RIGHT_OFTEN)))
    assert constant_chain(lists.truth) == constant_chain(TRUTH)


def test_scores_can_be_computed_again_from_the_lines(tmp_path: Path) -> None:
    answers = answers_of(RIGHT_OFTEN, [i // 4 for i in range(40)])
    save_clips(tmp_path, answers)
    rows = [json.loads(line) for line in (tmp_path / CLIPS_NAME).read_text().splitlines()]
    assert rows == list(clip_rows(answers))
    told = scores(
        *(TRUTH, answers.predicted),
        families=FAMILIES,
        classes=answers.classes,
        rng=np.random.default_rng(0),
    )
    assert np.mean([row["exact"] for row in rows]) == told["exact"].value == 0.5
    assert np.mean([row["exact_class"] for row in rows]) == told["exact_class"].value == 0.75
    hits = sum(len({*row["true"]} & {*row["answer"]}) for row in rows)
    named = sum(len(row["true"]) + len(row["answer"]) for row in rows)
    assert 2 * hits / named == pytest.approx(told["f1_micro"].value)
    places = [
        (row["answer"].index(a) < row["answer"].index(b))
        for row in rows
        for a, b in row["audible_pairs"]
        if {a, b} <= {*row["answer"]}
    ]
    assert np.mean(places) == told["pairwise"].value
    first = rows[1]
    assert (first["id"], first["group"], first["orders_alike"]) == ("test-000001", 0, 2)
    assert first["presence"] == {"delay": 0.75, "reverb": 0.75}
    assert numbered(row["group"] for row in rows).tolist() == answers.groups.tolist()


def test_differences_are_those_of_the_scores() -> None:
    one, other = answers_of(RIGHT_OFTEN), answers_of(RIGHT_SELDOM)
    found = differences(one, other, FAMILIES)
    assert list(found)[: len(HEADLINES)] == list(HEADLINES)
    for said, side in ((one, "value"), (other, "other")):
        told = scores(
            *(TRUTH, said.predicted),
            families=FAMILIES,
            classes=one.classes,
            rng=np.random.default_rng(0),
        )
        assert {name: getattr(row, side) for name, row in found.items()} == pytest.approx(
            {name: told[name].value for name in found}, nan_ok=True
        )
    better = found["exact_class"]
    assert better.difference == pytest.approx(0.5)
    assert 0.3 < better.low < better.difference < better.high < 0.7
    assert better.is_clear
    swapped = differences(other, one, FAMILIES)["exact_class"]
    assert (swapped.low, swapped.high) == pytest.approx((-better.high, -better.low))
    assert swapped.is_clear
    again = differences(one, other, FAMILIES, seed=1)["levenshtein"]
    assert again.low != found["levenshtein"].low


def test_a_system_does_not_differ_from_itself() -> None:
    one = answers_of(RIGHT_OFTEN)
    for row in differences(one, one, FAMILIES).values():
        assert row.difference == 0 or row.value != row.value
        assert not row.is_clear


def first_of_each(said: list[tuple[str, ...]]) -> Answers:
    whole, n = answers_of(said), 4
    return dataclasses.replace(
        whole,
        truth=whole.truth[:n],
        heard=whole.heard[:n],
        untuned=whole.untuned[:n],
        classes=whole.classes[:n],
        ids=whole.ids[:n],
    )


def test_clips_of_one_group_are_one_witness() -> None:
    """Paired: clips on which both fail alike widen nothing; groups that go together do."""
    alone = differences(answers_of(RIGHT_OFTEN), answers_of(RIGHT_SELDOM), FAMILIES)
    by_kind = [i % 4 for i in range(40)]
    together = differences(
        answers_of(RIGHT_OFTEN, by_kind), answers_of(RIGHT_SELDOM, by_kind), FAMILIES
    )
    widths = [found["exact_class"].high - found["exact_class"].low for found in (alone, together)]
    assert widths[1] > 2 * widths[0]
    once = differences(*(first_of_each(a) for a in (RIGHT_OFTEN, RIGHT_SELDOM)), FAMILIES)
    for name, row in together.items():
        assert (row.low, row.high) == pytest.approx((once[name].low, once[name].high), nan_ok=True)


def test_no_interval_leaves_what_a_difference_can_be() -> None:
    few = [0] * 38 + [1, 2]
    wrong = [("chorus",) if "delay" in names else ("delay",) for names in TRUTH]
    sides = answers_of(TRUTH[:-1] + wrong[-1:], few), answers_of(wrong, few)
    found, swapped = differences(*sides, FAMILIES), differences(*sides[::-1], FAMILIES)
    assert found["exact"].high == 1.0 > found["exact"].low
    assert swapped["exact"].low == -1.0
    assert swapped["levenshtein"].high > 1.0


def test_other_clips_are_refused() -> None:
    one = answers_of(RIGHT_OFTEN)
    renamed = dataclasses.replace(one, ids=[*one.ids[:-1], "test-000099"])
    redrawn = dataclasses.replace(one, truth=[*one.truth[:-1], ("reverb",)])
    for other in (renamed, redrawn):
        with pytest.raises(UsageError, match="40 and to 40 clips that are not the same ones"):
            differences(one, other, FAMILIES)


def test_lines_and_json_mark_what_is_no_chance() -> None:
    found = differences(answers_of(RIGHT_OFTEN), answers_of(RIGHT_SELDOM), FAMILIES)
    lines = list(difference_lines(found, "runs/a", "runs/b", 40))
    assert lines[:3] == ["A: runs/a", "B: runs/b", "on the same clips, of 40 groups"]
    row = next(line for line in lines if line.startswith("exact_class "))
    assert row.split()[1:4] == ["0.750", "0.250", "+0.500"]
    assert row.endswith(" *")
    (none,) = (line for line in lines if line.startswith("spearman"))
    assert not none.endswith("*")
    silent = differences(answers_of(TRUTH), answers_of([()] * 40), FAMILIES)
    (none,) = (line for line in difference_lines(silent, "a", "b", 40) if "spearman" in line)
    assert none.split()[1:] == ["1.000", "-", "-", "–", "30"]
    data = differences_dict(found, "runs/b")
    assert data["against"] == "runs/b"
    assert data["differences"]["exact_class"]["difference"] == 0.5
    json.dumps(data, allow_nan=False)
