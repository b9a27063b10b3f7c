"""What is said of pedals that stand twice, of families, and where nothing is left to share."""

from __future__ import annotations

import math

import numpy as np
import pytest

from fxtrain.config import DecodeSettings, Rules
from fxtrain.contract import PedalEntry, Vocabulary
from fxtrain.decode import (
    Candidate,
    Direct,
    Hypothesis,
    as_scored,
    beam_search,
    best_ids,
    candidates,
    direct,
    family_probabilities,
    head_score,
    n_best,
    pair_probability,
    pedal_probabilities,
    precedence,
    presence,
    weights,
)
from fxtrain.errors import CheckpointError
from fxtrain.logits import log_softmax, sigmoid
from fxtrain.set_order import SetOrder

VOCABULARY = Vocabulary(tuple(PedalEntry(name, "any", ()) for name in "abc"))
FAMILIES = {"fuzz": "drive", "delay": "time", "reverb": "time"}


def said(*found: tuple[tuple[str, ...], float]) -> list[Candidate]:
    return [Candidate(names, probability, (names,)) for names, probability in found]


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


def undecided(prefixes: np.ndarray) -> np.ndarray:
    return log_softmax(np.zeros((*prefixes.shape[:2], 3)))


PRESENCE = np.array([[4.0, -4.0], [-4.0, 4.0]])
ORDER = np.array([[[0.0, 4.0], [-4.0, 0.0]], [[0.0, -4.0], [4.0, 0.0]]])


@pytest.mark.parametrize(
    ("heard", "answers"),
    [
        (SetOrder(PRESENCE, 0 * ORDER), [(0,), (1,)]),
        (SetOrder(0 * PRESENCE + 4, ORDER), [(0, 1), (1, 0)]),
    ],
    ids=["presence", "order"],
)
def test_every_clip_is_weighed_with_what_the_head_says_of_it(
    heard: SetOrder[np.ndarray], answers: list[tuple[int, ...]]
) -> None:
    settings = DecodeSettings(head_weight=1.0)
    found = n_best(undecided, heard, Rules(2, 0, 2, repeats=False), settings)
    assert [hypotheses[0].ids for hypotheses in found] == answers


@pytest.mark.parametrize("spoilt", ["decoder", "head"])
def test_one_clip_of_many_without_a_chain_is_told(spoilt: str) -> None:
    bad = np.array([[[0.0]], [[np.nan]]])
    heard = SetOrder(PRESENCE + (bad[0] if spoilt == "decoder" else bad[:, 0]), ORDER)
    with pytest.raises(CheckpointError, match="names no chain"):
        n_best(
            lambda prefixes: undecided(prefixes) + (bad if spoilt == "decoder" else 0),
            *(heard, Rules(2, 0, 2, repeats=False), DecodeSettings()),
        )


@pytest.mark.parametrize("score", [0.0, -2000.0])
def test_the_answer_is_the_likeliest_sound_however_unlikely_all_are(score: float) -> None:
    """a before b alone is less likely than a before c, but sounds like b before a."""
    both_ways = frozenset({frozenset("ab")})
    found = [
        Hypothesis(ids, score + math.log(p))
        for ids, p in (((0, 2), 0.4), ((1, 0), 0.35), ((0, 1), 0.25))
    ]
    assert best_ids(found, VOCABULARY, both_ways) == (1, 0)
    merged = candidates(found, VOCABULARY, both_ways, DecodeSettings())
    assert [c.probability for c in merged] == pytest.approx([0.6, 0.4])


def test_what_the_search_left_out_has_its_say_in_an_order() -> None:
    found = said((("a", "b"), 0.2), (("b", "a"), 0.12), (("c",), 0.08))
    assert precedence(found, "a", "b") == pytest.approx(0.2 / (0.2 + 0.48))


def test_a_chain_with_a_pedal_twice_says_nothing_of_its_order() -> None:
    found = said((("b", "a", "b"), 0.6), (("a", "b"), 0.4))
    assert precedence(found, "a", "b") == 1.0
    assert precedence(found, "b", "a") == 0.0


def test_chains_and_head_say_half_each_of_an_order() -> None:
    (own,) = direct(SetOrder(np.zeros((1, 2)), np.array([[[0.0, 2.0], [-2.0, 0.0]]])), ("a", "b"))
    found = said((("b", "a"), 0.75), (("a", "b"), 0.25))
    agreed = (0.25 + float(sigmoid(np.array(2.0)))) / 2
    assert pair_probability(found, own, "a", "b") == pytest.approx(agreed)
    assert pair_probability(found, own, "b", "a") == pytest.approx(1 - agreed)


def test_chains_and_head_say_half_each_of_a_pedal() -> None:
    head = Direct(tuple(FAMILIES), (0.2, 0.5, 0.4), ((0.5,) * 3,) * 3)
    found = pedal_probabilities(said((("fuzz",), 0.8), (("delay",), 0.2)), head)
    # The mean, 0.5, would be less than of the answer that the fuzz stands in.
    assert found == pytest.approx({"fuzz": 0.8, "delay": 0.35, "reverb": 0.2})
