"""Scores against hand-calculated cases and brute force."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fxtrain.confusions import confusion, confusion_by_position, pair_orders
from fxtrain.contract import (
    OrderClass,
    class_size,
    fixed_pairs,
    free_pairs,
    listed_class,
    normal_form,
)
from fxtrain.intervals import Score
from fxtrain.metrics import (
    GIVEN_PEDALS,
    GIVEN_SET,
    HEADLINES,
    by_pair,
    by_pedal,
    ceilings,
    classes_of,
    constant_chain,
    f1_of_all,
    fixed_order,
    levenshtein,
    numbered,
    of_what_was_heard,
    pairwise_counts,
    scores,
    spearman,
    where_all_was_heard,
)

FAMILIES = {"drive": "drive", "chorus": "modulation", "delay": "time", "reverb": "time"}
PEDALS = tuple(FAMILIES)
COMMUTES = frozenset({frozenset(("delay", "reverb"))})
ALL_PAIRS = [frozenset(pair) for pair in itertools.combinations(PEDALS, 2)]

chains = st.permutations(PEDALS).flatmap(
    lambda order: st.integers(0, 4).map(lambda n: tuple(order[:n]))
)
pair_sets = st.frozensets(st.sampled_from(ALL_PAIRS))

TRUTH = [
    ("drive",),
    ("drive", "delay"),
    ("delay", "reverb"),
    ("chorus", "drive", "reverb"),
]
SAID = [
    ("drive",),  # exact
    ("delay", "drive"),  # right set, wrong order
    ("reverb", "delay"),  # sounds the same
    ("chorus", "reverb"),  # one missed
]


def score_all(truth: list[tuple[str, ...]], said: list[tuple[str, ...]]) -> dict[str, float]:
    rng = np.random.default_rng(0)
    found = scores(
        truth, said, families=FAMILIES, classes=classes_of(truth, COMMUTES), rng=rng, n_resamples=50
    )
    return {name: score.value for name, score in found.items()}


def test_every_score_by_hand() -> None:
    assert score_all(TRUTH, SAID) == pytest.approx(
        {
            "exact": 1 / 4,
            "exact_class": 2 / 4,
            "exact_mean": (1 + 0 + 0) / 3,
            "exact_class_mean": (1 + 1 / 2 + 0) / 3,
            "set": 3 / 4,
            "order_given_set": 0 / 2,
            "order_class_given_set": 1 / 2,
            # drive-delay wrong, chorus-reverb right; delay-reverb cannot be heard
            "pairwise": 1 / 2,
            "levenshtein": (0 + 2 + 2 + 1) / 4,
            # true 8 times, said 7 times, 7 of them right
            "f1_micro": 14 / 15,
            # drive 4/5 and three perfect ones
            "f1_macro": (4 / 5 + 1 + 1 + 1) / 4,
            # true 7 times, said 6 times, each of them rightly
            "f1_family": 12 / 13,
            "spearman": (-1 - 1 + 1) / 3,
            "exact@1": 1.0,
            "exact@2": 0.0,
            "exact@3": 0.0,
            "exact_class@1": 1.0,
            "exact_class@2": 0.5,
            "exact_class@3": 0.0,
        }
    )


def test_perfect_answers_score_one() -> None:
    found = score_all(TRUTH, TRUTH)
    assert found.pop("levenshtein") == 0.0
    assert set(found.values()) == {1.0}
    assert set(HEADLINES) - {"levenshtein"} <= set(found)


def test_what_nothing_counts_for_is_nan() -> None:
    found = score_all([("drive",), ()], [(), ()])
    assert math.isnan(found["pairwise"])
    assert math.isnan(found["order_given_set"])
    assert math.isnan(found["spearman"])
    assert found["exact"] == 0.5
    assert found["f1_micro"] == 0.0


def test_a_repeated_pedal_counts_in_the_set_score_but_not_as_the_right_chain() -> None:
    found = score_all([("drive", "delay")], [("drive", "delay", "drive")])
    assert found["set"] == 1.0
    assert found["exact_class"] == 0.0
    assert math.isnan(found["order_given_set"])


def test_intervals_hold_the_value_and_repeat_with_the_seed() -> None:
    truth, said = TRUTH * 25, SAID * 25

    def run() -> dict[str, tuple[float, float, float]]:
        rng = np.random.default_rng(5)
        found = scores(truth, said, families=FAMILIES, classes=classes_of(truth, COMMUTES), rng=rng)
        return {name: (score.low, score.value, score.high) for name, score in found.items()}

    first = run()
    np.testing.assert_equal(first, run())
    for low, value, high in first.values():
        assert low <= value <= high or math.isnan(low + high)
    assert sum(math.isnan(low) for low, _, _ in first.values()) < len(first) / 3
    low, _, high = first["levenshtein"]
    spread = np.std([0, 2, 2, 1]) / 10  # of a mean over 100 samples
    assert high - low == pytest.approx(2 * 1.96 * spread, rel=0.2)


def test_clips_of_one_recording_are_one_witness() -> None:
    """Every clip three times over, as clips of one group: no interval gets narrower by that."""
    truth, said = TRUTH * 10, SAID * 10
    groups = numbered(f"note {i}" for i in range(len(truth)))

    def run(times: int, groups: np.ndarray | None) -> dict[str, tuple[float, float]]:
        found = scores(
            truth * times, said * times, families=FAMILIES,
            classes=classes_of(truth * times, COMMUTES), groups=groups,
            rng=np.random.default_rng(3),
        )  # fmt: skip
        return {name: (score.low, score.high) for name, score in found.items()}

    once, thrice, unaware = run(1, None), run(3, np.tile(groups, 3)), run(3, None)
    np.testing.assert_equal(once, run(1, groups))
    for name in ("levenshtein", "f1_micro", "f1_macro", "spearman", "exact_class_mean"):
        assert thrice[name] == pytest.approx(once[name])
        assert unaware[name][1] - unaware[name][0] < 0.7 * (thrice[name][1] - thrice[name][0])
    for name in ("exact", "exact_class", "set", "exact@2"):
        assert thrice[name] == pytest.approx(once[name], abs=0.02)
        assert unaware[name][1] - unaware[name][0] < 0.7 * (thrice[name][1] - thrice[name][0])
    pedals = [
        by_pedal(t, s, PEDALS, groups=g, rng=np.random.default_rng(0))["drive"]
        for t, s, g in [(truth, said, None), (truth * 3, said * 3, np.tile(groups, 3))]
    ]
    assert (pedals[0].f1_low, pedals[0].f1_high) == (pedals[1].f1_low, pedals[1].f1_high)


def test_levenshtein_on_known_words() -> None:
    assert levenshtein("kitten", "sitting") == 3
    assert levenshtein("", "abc") == levenshtein("abc", "") == 3
    assert levenshtein("ab", "ba") == 2


@given(a=chains, b=chains, c=chains)
def test_levenshtein_is_a_distance(
    a: tuple[str, ...], b: tuple[str, ...], c: tuple[str, ...]
) -> None:
    assert levenshtein(a, b) == levenshtein(b, a)
    assert (levenshtein(a, b) == 0) == (a == b)
    assert levenshtein(a, c) <= levenshtein(a, b) + levenshtein(b, c)


@given(chain=chains, commutes=pair_sets)
def test_class_size_counts_the_orders_with_one_normal_form(
    chain: tuple[str, ...], commutes: frozenset[frozenset[str]]
) -> None:
    form = normal_form(chain, commutes)
    same = [o for o in itertools.permutations(chain) if normal_form(o, commutes) == form]
    assert class_size(chain, commutes) == len(same)


@given(chain=chains, commutes=pair_sets)
def test_fixed_pairs_keep_their_order_in_every_member_of_the_class(
    chain: tuple[str, ...], commutes: frozenset[frozenset[str]]
) -> None:
    form = normal_form(chain, commutes)
    same = [o for o in itertools.permutations(chain) if normal_form(o, commutes) == form]
    pairs = [(a, b) for i, a in enumerate(chain) for b in chain[i + 1 :]]
    fixed = [(a, b) for a, b in pairs if all(o.index(a) < o.index(b) for o in same)]
    assert sorted(fixed_pairs(chain, commutes)) == sorted(fixed)
    assert sorted(free_pairs(chain, commutes)) == sorted(set(pairs) - set(fixed))


def test_repeated_pedals_have_no_before() -> None:
    assert fixed_pairs(("drive", "delay", "drive"), frozenset()) == []
    assert class_size(("drive", "delay", "drive"), frozenset()) == 1
    both = frozenset({frozenset(("drive", "delay"))})
    assert class_size(("drive", "delay", "drive"), both) == 3


def test_a_pair_that_commutes_may_be_fixed_by_a_third_between() -> None:
    commutes = frozenset({frozenset(("delay", "reverb"))})
    assert ("delay", "reverb") in fixed_pairs(("delay", "drive", "reverb"), commutes)
    alike = OrderClass(("delay", "drive", "reverb"), commutes)
    assert pairwise_counts(alike, ("reverb", "delay")) == (0, 1)


def test_spearman_agrees_with_the_correlation_of_ranks() -> None:
    y = ("drive", "chorus", "delay", "reverb")
    for p in itertools.permutations(y):
        expected = np.corrcoef(range(4), [p.index(name) for name in y])[0, 1]
        assert spearman(y, p) == pytest.approx(expected)
    assert spearman(y, ("reverb", "drive")) == -1.0
    assert spearman(y, ("drive",)) is None


def test_null_is_the_right_pedals_in_one_order() -> None:
    orders = [o for n in (1, 2, 3) for o in itertools.permutations(PEDALS[:3], n)]
    answers = fixed_order(orders, PEDALS)
    assert len(orders) == 15
    found = score_all(orders, answers)
    assert found["set"] == 1.0
    assert found["exact"] == pytest.approx(7 / 15)  # 46.7 %, as derived for three effects
    four = [o for n in (1, 2, 3, 4) for o in itertools.permutations(PEDALS, n)]
    assert score_all(four, fixed_order(four, PEDALS))["exact"] == pytest.approx(15 / 64)


@given(chain=chains, commutes=pair_sets)
def test_a_class_from_pairs_is_the_class_that_lists_its_orders(
    chain: tuple[str, ...], commutes: frozenset[frozenset[str]]
) -> None:
    by_pairs = OrderClass(chain, commutes)
    same = [
        p
        for p in itertools.permutations(range(len(chain)))
        if by_pairs.holds(tuple(chain[i] for i in p))
    ]
    listed = listed_class(chain, same)
    assert listed.size == by_pairs.size
    assert sorted(listed.fixed) == sorted(by_pairs.fixed)
    for other in itertools.permutations(chain):
        assert listed.holds(other) == by_pairs.holds(other)
    assert not by_pairs.holds((*chain, "wah"))


def test_a_clips_own_orders_go_before_the_pairs() -> None:
    truth = [("delay", "reverb"), ("drive", "delay")]
    own = classes_of(truth, COMMUTES, [{"alike": []}, {"alike": [[1, 0]]}])
    said = [("reverb", "delay"), ("delay", "drive")]
    assert [c.holds(p) for c, p in zip(own, said, strict=True)] == [False, True]
    assert [c.size for c in own] == [1, 2]
    assert own[1].fixed == []
    by_table = classes_of(truth, COMMUTES, [{}, {}])
    assert [c.holds(p) for c, p in zip(by_table, said, strict=True)] == [True, False]


def test_constant_answer_is_the_commonest_chain() -> None:
    truth = [("drive",), ("delay",), ("drive",)]
    assert constant_chain(truth) == [("drive",)] * 3


def test_null_and_ceiling_of_order_are_of_the_clips_that_were_heard() -> None:
    """Of two chains alone the pedals are heard: of the harder ones nothing is known."""
    both, swapped = ("drive", "delay"), ("delay", "drive")
    truth = [swapped, both, ("drive", "chorus", "delay"), ("delay",), both]
    predicted = [swapped, swapped, both, ("delay",), ("drive", "delay", "chorus")]
    textbook = fixed_order(truth, ("drive", "chorus", "delay"))
    whole = where_all_was_heard(textbook, truth, predicted)
    assert whole == [both, both, (), ("delay",), ()]
    pairs = of_what_was_heard(textbook, truth, predicted)
    assert pairs == [both, both, both, ("delay",), both]

    def scored(said: list[tuple[str, ...]]) -> dict[str, Score]:
        return scores(
            *(truth, said),
            families=FAMILIES,
            classes=classes_of(truth, frozenset()),
            rng=np.random.default_rng(0),
        )

    found, everything = scored(predicted), scored(textbook)
    for names, null in ((GIVEN_SET, scored(whole)), (GIVEN_PEDALS, scored(pairs))):
        assert [null[name].n for name in names] == [found[name].n for name in names]
        assert [null[name].n for name in names] != [everything[name].n for name in names]
    assert scored(whole)["order_given_set"].value == 0.5
    assert everything["order_given_set"].value == 0.75
    assert scored(pairs)["pairwise"].value == 0.75
    best = ceilings(classes_of(truth, frozenset({frozenset(("delay", "drive"))})), predicted)
    assert best["order_given_set"] == 0.5  # not of the third, whose three orders are one class


def test_ceiling_is_what_a_perfect_listener_gets_on_average() -> None:
    truth = [o for n in (1, 2, 3) for o in itertools.permutations(PEDALS, n)]
    best = ceilings(classes_of(truth, COMMUTES), truth)
    rng = np.random.default_rng(1)
    hits = []
    for y in truth * 200:
        form = normal_form(y, COMMUTES)
        same = [o for o in itertools.permutations(y) if normal_form(o, COMMUTES) == form]
        hits.append(same[rng.integers(len(same))] == y)
    assert best["exact"] == pytest.approx(np.mean(hits), abs=0.01)
    for n in (2, 3):
        classes = orders = 0
        for pedals in itertools.combinations(PEDALS, n):
            words = list(itertools.permutations(pedals))
            classes += len({normal_form(word, COMMUTES) for word in words})
            orders += len(words)
        assert best[f"exact@{n}"] == pytest.approx(classes / orders)
    assert best["exact_class"] == 1.0
    assert [best[f"exact_class@{n}"] for n in (1, 2, 3)] == [1.0] * 3
    assert best["order_given_set"] < best["exact"] < 1.0


def test_by_pedal_and_by_pair() -> None:
    pedals = by_pedal(TRUTH, SAID, (*PEDALS, "wah"), rng=np.random.default_rng(0))
    assert (pedals["drive"].precision, pedals["drive"].recall) == (1.0, 2 / 3)
    assert pedals["drive"].n == 3
    assert math.isnan(pedals["wah"].f1)
    assert math.isnan(pedals["wah"].f1_always)
    drive = pedals["drive"]
    assert drive.f1 == pytest.approx(0.8)
    assert drive.f1_low <= drive.f1 <= drive.f1_high
    assert drive.f1_always == pytest.approx(2 * 3 / (3 + 4))  # named on all four clips
    assert by_pair(classes_of(TRUTH, COMMUTES), SAID) == {
        ("chorus", "reverb"): (1, 1),
        ("delay", "drive"): (0, 1),
    }


def test_naming_all_pedals_needs_no_ears() -> None:
    found = by_pedal(TRUTH, SAID, PEDALS, rng=np.random.default_rng(0))
    said = [PEDALS] * len(TRUTH)
    assert f1_of_all(found, len(TRUTH)) == score_all(TRUTH, said)["f1_micro"] == 16 / 24
    assert math.isnan(f1_of_all(by_pedal([()], [()], PEDALS, rng=np.random.default_rng(0)), 1))


def test_confusion_counts_positions() -> None:
    counts = confusion([("drive", "delay")], [("drive",)], PEDALS)
    assert counts[0, 0] == 1  # drive heard as drive
    assert counts[2, 4] == 1  # delay heard as nothing
    assert counts.sum() == 2
    more = confusion([("drive",)], [("drive", "delay")], PEDALS)
    assert (more[4, 2], more.sum()) == (1, 2)  # nothing heard as delay


def test_confusion_by_position_adds_up() -> None:
    counts = confusion_by_position(TRUTH, SAID, PEDALS)
    assert counts.shape == (3, 5, 5)
    assert (counts.sum(0) == confusion(TRUTH, SAID, PEDALS)).all()
    assert counts[0, 0, 2] == 1  # the second clip begins with drive, heard as delay
    assert counts[2].sum() == 1  # only one chain has a third pedal
    assert confusion_by_position([()], [()], PEDALS).shape == (0, 5, 5)


def test_pair_orders_stand_beside_what_a_perfect_listener_gets() -> None:
    found = pair_orders(classes_of(TRUTH, COMMUTES), SAID, PEDALS)
    drive, delay, reverb, chorus = (PEDALS.index(p) for p in ("drive", "delay", "reverb", "chorus"))
    assert (found.right[drive, delay], found.n[drive, delay]) == (0, 1)
    assert found.ceiling[drive, delay] == 1.0
    assert (found.right[delay, reverb], found.n[delay, reverb]) == (0, 1)
    assert found.ceiling[delay, reverb] == 0.5  # they commute: a coin
    assert (found.n[drive, reverb], found.n_true[drive, reverb]) == (0, 1)  # drive was missed
    assert (found.right[chorus, reverb], found.n[chorus, reverb]) == (1, 1)
    assert math.isnan(found.ceiling[reverb, drive])
