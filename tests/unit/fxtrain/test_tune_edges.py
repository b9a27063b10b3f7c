"""Tuned settings where clips hardly tell, or where searches found unequally many chains."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from fxtrain.config import DecodeSettings
from fxtrain.contract import OrderClass, PedalEntry, Vocabulary
from fxtrain.decode import Hypothesis
from fxtrain.tune import TEMPERATURES, Trial, best_confidence, choose, standard_error

VOCABULARY = Vocabulary(tuple(PedalEntry(name, "drive", ()) for name in "abc"))


def sureness(scores: Sequence[Sequence[float]], is_right: Sequence[bool]) -> DecodeSettings:
    found = [[Hypothesis((i,), score) for i, score in enumerate(row)] for row in scores]
    classes = [OrderClass(("a",) if right else ("c",)) for right in is_right]
    return best_confidence(DecodeSettings(), found, classes, VOCABULARY, frozenset())


def trial(bias: float, edits: float) -> Trial:
    return Trial(DecodeSettings(length_bias=bias, head_weight=0.5), np.array([1.0, 0.0]), edits)


def test_edits_decide_only_between_settings_that_are_as_near_to_the_usual_ones() -> None:
    assert choose([trial(2.0, 0.1), trial(0.0, 0.9)]).length_bias == 0.0
    assert choose([trial(1.0, 0.9), trial(-1.0, 0.1)]).length_bias == -1.0


def test_where_no_search_found_a_second_chain_nothing_is_made_up() -> None:
    """However they are set, the first is all there is: of settings that are as good, the plainest.
    A wrong answer that was certain must not cost without end."""
    plainest = min(TEMPERATURES, key=lambda t: abs(np.log(t)))
    for is_right in ([True, True], [True, False]):
        best = sureness([(0.0,), (0.0,)], is_right)
        assert (best.temperature, best.tail_weight) == (plainest, 0.0)


def test_a_chain_that_a_search_did_not_find_has_no_say() -> None:
    is_right = [True, False] * 5
    few = sureness([(0.0,), (0.0, -4.0)] * 5, is_right)
    assert few == sureness([(0.0, -1e9), (0.0, -4.0)] * 5, is_right)


def test_two_groups_are_the_fewest_that_tell_how_others_would_do() -> None:
    values = np.array([1.0, 0.0, 1.0, 1.0, 0.0, 0.0])
    assert standard_error(values, np.arange(6) // 3) == 1 / 6  # sums of half a clip either way
    assert np.isinf(standard_error(values, np.zeros(6, int)))
