"""The statistics against closed forms, published tables and simulation."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binom, binomtest, rankdata, wilcoxon

from fxtrain.listen.analysis import stats
from fxtrain.listen.analysis.abx import Threshold
from fxtrain.listen.analysis.words import _threshold_text


@pytest.mark.parametrize(
    ("n", "needed", "p"), [(10, 9, 0.011), (12, 10, 0.019), (16, 12, 0.038), (25, 18, 0.022)]
)
def test_critical_numbers_of_the_binomial_table(n: int, needed: int, p: float) -> None:
    assert stats.critical(n) == needed
    tail = sum(math.comb(n, k) for k in range(needed, n + 1)) / 2**n
    assert stats.share(needed, n).p == pytest.approx(tail)
    assert tail == pytest.approx(p, abs=5e-4)


@pytest.mark.parametrize(("right", "n"), [(0, 8), (5, 8), (8, 8), (31, 40)])
def test_intervals_are_clopper_and_pearsons(right: int, n: int) -> None:
    found = stats.share(right, n, 0.1)
    expected = binomtest(right, n).proportion_ci(0.9, method="exact")
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high), abs=1e-6)


def test_too_few_trials_can_prove_nothing() -> None:
    assert stats.critical(4) == 5
    assert math.isnan(stats.findable_rate(4))
    assert stats.share(0, 0).p == 1.0


def test_power_is_what_simulation_gives() -> None:
    def power(n: int, rate: float) -> float:
        return float(binom.sf(stats.critical(n) - 1, n, rate))

    rng = np.random.default_rng(0)
    passed = rng.binomial(40, stats.findable_rate(40), 20_000) >= stats.critical(40)
    assert passed.mean() == pytest.approx(0.8, abs=0.01)
    assert power(40, stats.findable_rate(40)) == pytest.approx(0.8, abs=1e-6)
    n = stats.trials_needed(0.75)
    assert min(power(m, 0.75) for m in range(n, n + 200)) >= 0.8
    assert power(n - 1, 0.75) < 0.8


def test_holm_by_hand() -> None:
    assert stats.holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert stats.holm([]) == []


@given(st.lists(st.floats(0, 1), min_size=1, max_size=12))
def test_holm_never_lowers_and_keeps_the_order(p: list[float]) -> None:
    adjusted = stats.holm(p)
    assert all(a >= b for a, b in zip(adjusted, p, strict=True))
    assert all(a <= 1 for a in adjusted)
    for (p1, a1), (p2, a2) in itertools.combinations(zip(p, adjusted, strict=True), 2):
        assert (a1 <= a2) if p1 <= p2 else (a2 <= a1)


def test_friedman_by_hand() -> None:
    """Three listeners who rank four conditions alike: chi2 = n (k - 1), W = 1."""
    found = stats.friedman(np.array([[1.0, 2, 3, 4], [10, 20, 30, 40], [0, 5, 6, 99]]))
    assert found.chi2 == pytest.approx(9.0)
    assert found.agreement == pytest.approx(1.0)
    nothing = stats.friedman(np.full((5, 4), 50.0))
    assert (nothing.p, nothing.agreement) == (1.0, 0.0)


def test_signed_rank_is_exact_for_small_panels() -> None:
    assert stats.signed_rank(np.array([1.0, 2, 3, 4, 5, 6])) == pytest.approx(2 / 2**6)
    assert stats.signed_rank(np.zeros(8)) == 1.0
    assert stats.sign_test(6, 0) == pytest.approx(2 / 2**6)
    assert stats.sign_test(0, 0) == 1.0


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(-6, 6), min_size=1, max_size=8))
def test_signed_rank_with_ties_and_zeros_by_going_through_all_signs(values: list[int]) -> None:
    d = np.array(values, float)
    ranks = rankdata(np.abs(d)) * (d != 0)
    sums = np.array([np.dot(signs, ranks) for signs in itertools.product((0, 1), repeat=len(d))])
    found = ranks[d > 0].sum()
    p = 2 * min(np.mean(sums <= found + 1e-9), np.mean(sums >= found - 1e-9))
    assert stats.signed_rank(d) == pytest.approx(min(1.0, p))


def test_signed_rank_equals_scipy_where_that_is_exact() -> None:
    d = np.random.default_rng(3).normal(0.4, 1, 30)
    assert stats.signed_rank(d) == pytest.approx(float(wilcoxon(d).pvalue))


def test_power_of_ratings_is_what_simulation_gives() -> None:
    """The formula is the t test's at Wilcoxon's efficiency; simulate the test itself."""
    rng = np.random.default_rng(1)
    n, sd = 20, 15.0
    difference = stats.findable_difference(sd, n)
    found = [stats.signed_rank(rng.normal(difference, sd, n)) <= 0.05 for _ in range(500)]
    assert np.mean(found) == pytest.approx(0.8, abs=0.06)
    assert stats.listeners_needed(difference, sd) == pytest.approx(n, abs=1)
    assert math.isnan(stats.findable_difference(0.0, 20))
    assert stats.listeners_needed(0.01, 50.0) is None


def test_differences_of_means_that_are_equal_on_paper_are_tied() -> None:
    means = np.array([(33.3, 20.1), (20.0, 6.8), (20.1, 33.3), (5.1, 0.0), (0.0, 1.2), (7.7, 0.0)])
    differences = means[:, 0] - means[:, 1]
    assert len(set(np.abs(differences[:3]))) > 1  # not equal as floating point has them
    assert stats.signed_rank(differences) == stats.signed_rank(np.round(differences, 1))


@pytest.mark.parametrize("alpha", [0.05, 0.05 / 10, 0.05 / 15, 0.05 / 28, 2.0**-9])
def test_no_panel_is_called_enough_that_the_exact_test_cannot_pass(alpha: float) -> None:
    fewest = stats.listeners_needed(1000.0, 1.0, alpha)
    assert fewest is not None
    assert stats.signed_rank(np.arange(1.0, fewest + 1)) <= alpha
    assert stats.signed_rank(np.arange(1.0, fewest)) > alpha


def test_bradley_terry_of_two_is_the_log_odds() -> None:
    strengths = stats.bradley_terry(np.array([[0.0, 30], [10, 0]]), ridge=1e-9)
    assert strengths[0] - strengths[1] == pytest.approx(math.log(3), abs=1e-3)


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 10_000))
def test_bradley_terry_finds_what_was_put_in(seed: int) -> None:
    rng = np.random.default_rng(seed)
    true = rng.normal(0, 1, 5)
    true -= true.mean()
    p = 1 / (1 + np.exp(true[None, :] - true[:, None]))
    wins = rng.binomial(2000, p).astype(float)
    wins[np.tril_indices(5)] = 0
    wins += np.tril((2000 - wins).T, -1)
    assert stats.bradley_terry(wins) == pytest.approx(true, abs=0.25)


def test_a_condition_that_always_wins_stays_finite() -> None:
    strengths = stats.bradley_terry(np.array([[0.0, 9, 9], [0, 0, 5], [0, 4, 0]]))
    assert np.isfinite(strengths).all()
    assert np.argmax(strengths) == 0


@pytest.mark.parametrize("threshold", [0.5, 1.0, 2.0])
def test_the_threshold_of_hearing_is_found(threshold: float) -> None:
    distance = np.geomspace(0.25, 4, 8)
    true = stats.Psychometric(threshold, 2.0)
    n = np.full(8, 4000)
    right = np.round(n * true(distance))
    found = stats.psychometric(distance, right, n)
    assert found.threshold == pytest.approx(true.threshold, rel=0.05)
    assert found(np.array([found.threshold])) == pytest.approx(0.75)


def test_a_threshold_beyond_what_was_asked_is_no_finding() -> None:
    curve = stats.Psychometric(1.0, 2.0)

    def told(at_db: float, low_db: float = 0.9, high_db: float = 1.3) -> str:
        return _threshold_text(Threshold(curve, at_db, low_db, high_db), [0.64, 2.0, 4.85])

    assert "at the smallest distance that was asked already, 0.64 dB" in told(0.08)
    assert "at none of the distances that were asked, 4.8 dB" in told(9.0)
    assert told(1.1).endswith("from 1.1 dB of log-mel on (interval 0.9 to 1.3 dB).")
    assert told(1.1, math.nan, math.nan).endswith("from 1.1 dB of log-mel on.")
