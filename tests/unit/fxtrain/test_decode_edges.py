"""What is said of pedals that stand twice, of families, and where nothing is left to share."""

from __future__ import annotations

import numpy as np
import pytest

from fxtrain.config import DecodeSettings, Rules
from fxtrain.decode import (
    Candidate,
    Direct,
    as_scored,
    beam_search,
    family_probabilities,
    head_score,
    joint_head,
    presence,
    weights,
)
from fxtrain.logits import log_softmax
from fxtrain.set_order import SetOrder

FAMILIES = {"fuzz": "drive", "delay": "time", "reverb": "time"}


def said(*found: tuple[tuple[str, ...], float]) -> list[Candidate]:
    return [Candidate(names, probability, (names,)) for names, probability in found]


def test_windows_that_hear_the_same_are_one_witness_for_the_head_too() -> None:
    draw = np.random.default_rng(0).normal
    one = SetOrder(draw(size=(1, 3)), draw(size=(1, 3, 3)))
    two = SetOrder(*(logits.repeat(2, axis=0) for logits in one))
    for joined, alone in zip(joint_head(two, 1.0), one, strict=True):
        assert np.allclose(joined, alone)


def test_a_search_leaves_what_the_scorer_gave_as_it_was() -> None:
    table = log_softmax(np.random.default_rng(0).normal(size=(1, 1, 4)))
    kept = table.copy()
    rules = Rules(n_pedals=3, min_length=1, max_length=2, repeats=False)
    beam_search(lambda prefixes: table, 1, rules, beam_size=1, length_bias=1.0)
    assert np.array_equal(table, kept)


def test_a_pedal_that_stands_twice_counts_once_for_the_head() -> None:
    there, absent = [-0.1, -0.2, -0.3], [-1.0, -2.0, -3.0]
    before = [[0.0, -0.5, -0.6], [-0.7, 0.0, -0.8], [-0.9, -1.1, 0.0]]
    once = head_score((0, 1), there, absent, before)
    assert head_score((0, 1, 0), there, absent, before) == once


def test_as_scored_is_before_any_tuning() -> None:
    tuned = DecodeSettings(temperature=2.0, tail_weight=3.0, length_bias=1.0)
    assert as_scored(tuned) == DecodeSettings(length_bias=1.0)


def test_where_no_other_chain_is_likely_the_first_has_all_the_weight() -> None:
    assert weights(said((("fuzz",), 0.9))) == [1.0]
    assert weights(said((("fuzz",), 1.0), (("delay",), 0.0))) == [1.0, 0.0]


def test_a_chain_speaks_once_for_a_pedal_and_once_for_a_family() -> None:
    found = said((("delay", "reverb", "delay"), 0.25), (("fuzz",), 0.75))
    assert presence(found) == pytest.approx({"delay": 0.25, "reverb": 0.25, "fuzz": 0.75})
    families = family_probabilities(found, None, FAMILIES)
    assert families == pytest.approx({"drive": 0.75, "time": 0.25})


def test_the_pedals_of_a_family_count_as_independent_for_the_head() -> None:
    head = Direct(tuple(FAMILIES), (0.2, 0.5, 0.5), ((0.5,) * 3,) * 3)
    found = family_probabilities(said((("fuzz",), 0.8), (("delay",), 0.2)), head, FAMILIES)
    assert found["time"] == pytest.approx((0.2 + 0.75) / 2)
    # The mean, 0.5, would be less than of the answer that the fuzz stands in.
    assert found["drive"] == 0.8
