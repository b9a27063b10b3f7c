"""Scores where pedals stand twice, where no clip has a pedal, and what is refused."""

from __future__ import annotations

import math

import numpy as np
import pytest

from fxtrain.confusions import pair_orders
from fxtrain.contract import OrderClass, UsageError, listed_class
from fxtrain.intervals import Score
from fxtrain.metrics import (
    by_pair,
    by_pedal,
    ceilings,
    classes_of,
    constant_chain,
    of_what_was_heard,
    pairwise_counts,
    scores,
    spearman,
    where_all_was_heard,
)

FAMILIES = {"drive": "drive", "chorus": "modulation", "delay": "time", "reverb": "time"}
Chains = list[tuple[str, ...]]


def scored(truth: Chains, said: Chains, families: dict[str, str] = FAMILIES) -> dict[str, Score]:
    classes = classes_of(truth, frozenset())
    return scores(truth, said, families=families, classes=classes, rng=np.random.default_rng(0))


def test_a_pedal_that_is_named_twice_has_no_place() -> None:
    alike = OrderClass(("drive", "delay", "reverb"))
    said = ("delay", "drive", "reverb", "delay")
    assert pairwise_counts(alike, said) == (1, 1)  # drive-reverb alone
    assert by_pair([alike], [said]) == {("drive", "reverb"): (1, 1)}
    assert spearman(alike.names, said) == 1.0  # of drive and reverb
    assert spearman(("drive", "delay"), ("delay", "drive", "delay")) is None


def test_where_orders_are_listed_a_pedal_that_stands_twice_has_no_place_either() -> None:
    alike = listed_class(("drive", "delay", "drive"), [])
    assert alike.fixed == []
    assert alike.holds(["drive", "delay", "drive"])


def test_nulls_are_not_asked_about_a_pedal_that_was_heard_too_often() -> None:
    truth, twice = [("drive", "delay", "reverb")], [("delay", "drive", "reverb", "delay")]
    assert where_all_was_heard(truth, truth, twice) == [()]
    assert of_what_was_heard(truth, truth, twice) == [("drive", "reverb")]


def test_where_no_order_was_asked_for_it_has_no_ceiling() -> None:
    for truth, said in (
        (("drive",), ("drive",)),
        (("drive", "delay", "drive"), ("delay", "drive")),
    ):
        assert "order_given_set" not in ceilings(classes_of([truth], frozenset()), [said])


def test_the_order_of_a_pedal_that_stands_twice_is_nobodys() -> None:
    pedals = ("drive", "delay")
    twice, once = ("drive", "delay", "drive"), ("drive", "delay")
    for truth, said, n_true in ((twice, once, 0), (once, twice, 1)):
        found = pair_orders(classes_of([truth], frozenset()), [said], pedals)
        assert found.n_true.sum() == n_true
        assert not found.n.any()
        assert not found.right.any()


def test_a_pedal_that_no_clip_has_and_no_answer_names_is_in_no_mean() -> None:
    truth, said = [("drive",), ("delay",)], [("drive",), ("drive",)]
    found = scored(truth, said)["f1_macro"].value
    assert found == pytest.approx((2 / 3 + 0) / 2)  # drive, delay
    assert scored(truth, said, FAMILIES | {"wah": "filter"})["f1_macro"].value == found


def test_draws_that_lack_a_length_are_no_draws_of_the_mean_over_lengths() -> None:
    """All short chains are right, the one long chain is wrong: 1/2 whenever it is drawn."""
    truth: Chains = [("drive",)] * 5 + [("drive", "delay")]
    mean = scored(truth, [("drive",)] * 6)["exact_mean"]
    assert mean.value == 0.5
    assert not any(edge > 0.5 for edge in (mean.low, mean.high))


def test_of_two_clips_no_interval_leaves_what_its_score_can_be() -> None:
    truth: Chains = [("drive", "delay"), ("drive", "delay")]
    found = scored(truth, [("drive", "delay"), ("delay", "drive")])
    assert (found["levenshtein"].low, found["spearman"].low, found["spearman"].high) == (0, -1, 1)
    assert found["levenshtein"].high > 2
    assert (found["exact_mean"].low, found["exact_mean"].high) == (0, 1)
    drive = by_pedal(truth, [("drive",), ()], ("drive",), rng=np.random.default_rng(0))["drive"]
    assert (drive.f1_low, drive.f1_high) == (0, 1)


def test_of_chains_as_common_the_constant_answer_does_not_depend_on_their_order() -> None:
    truth: Chains = [("drive",), ("delay",)]
    assert constant_chain(truth) == constant_chain(truth[::-1])


def test_what_cannot_be_scored_is_refused() -> None:
    with pytest.raises(UsageError, match="no sample to score"):
        scored([], [])
    for truth, said in ((["drive"], ["dely"]), (["dely"], ["drive"])):
        with pytest.raises(UsageError, match="add it to families"):
            scored([tuple(truth)], [tuple(said)])
    assert not math.isnan(scored([("drive",)], [("delay",)])["exact"].value)


def test_every_chain_wants_one_answer_one_class_and_one_group() -> None:
    chains, rng = [("drive",), ("delay",)], np.random.default_rng(0)
    classes = classes_of(chains, frozenset())
    for said, alike, groups, match in (
        (chains[:1], classes, None, "1 answers to 2 true chains"),
        (chains, classes[:1], None, "1 classes to 2"),
        (chains, classes, np.arange(3), "3 groups to 2"),
    ):
        with pytest.raises(UsageError, match=match):
            scores(chains, said, families=FAMILIES, classes=alike, groups=groups, rng=rng)
