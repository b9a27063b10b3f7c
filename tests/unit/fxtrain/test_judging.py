"""What an evaluation says of answers that are given, by hand."""

from __future__ import annotations

import dataclasses
from types import SimpleNamespace
from typing import cast

import numpy as np
import pytest

from fxtrain.answers import Answers, clip_rows
from fxtrain.card import read_card
from fxtrain.contract import OrderClass
from fxtrain.decode import Candidate, Direct
from fxtrain.finding import SHIPPED
from fxtrain.judging import Evaluation, judge, table
from fxtrain.knobs import Knob
from fxtrain.predict import AnyRun

CARD = read_card(SHIPPED)
RUN = cast(AnyRun, SimpleNamespace(path=SHIPPED, card=CARD))
NAMES = CARD.vocabulary.names
TRUTH = [
    ("distortion", "delay"),
    ("distortion", "delay"),
    ("delay", "distortion"),
    ("reverb",),
    ("delay", "reverb"),
]
SAID = [("distortion", "delay"), ("delay",), ("distortion", "delay"), ("delay",), ("delay",)]


def surely(*probabilities: float) -> list[tuple[Candidate, ...]]:
    return [
        (Candidate(said, p, (said,)), Candidate((), 1 - p, ((),)))
        for said, p in zip(SAID, probabilities, strict=True)
    ]


ANSWERS = Answers(
    *("test", TRUTH, surely(0.8, 0.6, 0.6, 0.6, 0.6), surely(0.9, 0.9, 0.9, 0.9, 0.9)),
    [OrderClass(names) for names in TRUTH],
    groups=np.array([0, 0, 1, 2, 2]),
)
PLAYED = ["note", "riff", "note", "riff", "riff"]


def judged(answers: Answers) -> Evaluation:
    return judge(RUN, "identity", answers)


@pytest.fixture(scope="module")
def found() -> Evaluation:
    return judged(ANSWERS)


def test_scores_stand_beside_their_own_null_constant_and_ceiling(found: Evaluation) -> None:
    beside = {
        name: (found.scores[name].value, found.null[name], found.constant[name])
        for name in ("exact", "order_given_set", "pairwise")
    }
    assert beside == {
        "exact": (1 / 5, 4 / 5, 2 / 5),
        "order_given_set": (1 / 2, 1 / 2, 2 / 3),  # of the two clips whose pedals were heard
        "pairwise": (1 / 2, 1 / 2, 2 / 3),
    }
    assert found.ceiling["exact"] == 1.0
    assert (found.n, found.n_groups) == (5, 3)
    rows = {line.split()[0]: line.split() for line in table(found) if line}
    assert [rows["exact"][at] for at in (1, -3, -2, -1)] == ["0.200", "0.800", "0.400", "1.000"]


def test_confidences_are_held_against_what_came_true_before_and_after_tuning(
    found: Evaluation,
) -> None:
    chain = found.reliability["chain"]
    assert chain.ece == pytest.approx((0.2 + 4 * 0.6) / 5)
    assert chain.ece_untuned == pytest.approx((5 * 0.9 - 1) / 5)
    assert (found.scores["ece_chain"].n, found.scores["ece_pair"].n) == (5, 2)
    rows = {line.split()[0]: line.split() for line in table(found) if line}
    assert rows["chain"][-3:] == ["5", "0.700", f"{chain.ece_chance:.3f}"]


def test_the_head_has_a_word_in_confidences_before_tuning_too() -> None:
    n = len(NAMES)
    head = Direct(NAMES, (0.3,) * n, ((0.4,) * n,) * n)
    alike = dataclasses.replace(ANSWERS, untuned=ANSWERS.heard, directs=[head] * len(TRUTH))
    for kept in judged(alike).reliability.values():
        assert kept.ece_untuned == kept.ece
    assert next(clip_rows(alike))["presence"]["reverb"] == 0.15  # in no chain; the mean with 0.3


def test_pairs_are_told_by_the_share_that_is_right_the_worst_first(found: Evaluation) -> None:
    pairs = {("fuzz", "wah"): (1, 1), ("delay", "wah"): (3, 9)}
    lines = list(table(dataclasses.replace(found, pairs=pairs)))
    assert [line.split()[-2:] for line in lines if ", wah" in line] == [
        ["0.333", "9"],
        ["1.000", "1"],
    ]


def test_intervals_take_clips_of_one_group_for_one_witness() -> None:
    """Every clip three times over, as clips of one group: no draw tells more by that."""
    place, first = NAMES.index("delay"), CARD.vocabulary.pedals[NAMES.index("delay")].params[0]
    knobs = [
        {"delay": {first.name: Knob(first, first.low, first.low, first.high, (0.5, 0.0, 1.0))}}
    ] * 5
    travel = np.full((5, len(NAMES), CARD.vocabulary.max_params), np.nan, np.float32)
    travel[:, place, 0] = np.linspace(0, 1, 5)
    thrice = dataclasses.replace(
        ANSWERS,
        truth=TRUTH * 3,
        heard=ANSWERS.heard * 3,
        untuned=ANSWERS.untuned * 3,
        classes=ANSWERS.classes * 3,
        played=PLAYED * 3,
        knobs=knobs * 3,
        travel=np.tile(travel, (3, 1, 1)),
        groups=np.tile(np.arange(5), 3),
    )
    alone = {"groups": None, "played": PLAYED, "knobs": knobs, "travel": travel}
    once = judged(dataclasses.replace(ANSWERS, **alone))
    more = judged(thrice)
    for name in ("levenshtein", "f1_micro", "ece_chain", "ece_presence", "ece_named"):
        known, found = once.scores[name], more.scores[name]
        assert (found.low, found.high) == pytest.approx((known.low, known.high)), name
        assert found.n == 3 * known.n
    for pedal, scored in more.pedals.items():
        assert scored.f1_low == pytest.approx(once.pedals[pedal].f1_low, nan_ok=True)
    assert (
        [row.n_groups for row in more.playing] == [row.n_groups for row in once.playing] == [3, 2]
    )
