"""Intervals of shares and of draws: against published formulas, scipy, and how often they hold."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.special import stdtrit

from fxtrain.intervals import (
    SHARE,
    design_effect,
    group_sums,
    interval,
    mean_interval,
    resample_sums,
    t_quantile,
    wilson,
)
from fxtrain.metrics import numbered


def test_wilson_by_published_formula() -> None:
    score = wilson(10, 10)
    assert (score.value, score.high, score.n) == (1.0, pytest.approx(1.0), 10)
    assert score.low == pytest.approx(0.7225, abs=1e-4)  # 1 / (1 + z^2 / n)
    half = wilson(50, 100)
    assert (half.low, half.high) == pytest.approx((0.4038, 0.5962), abs=1e-4)
    assert math.isnan(wilson(0, 0).value)
    assert min(wilson(0, n).low for n in range(1, 100)) == 0.0  # no -0.000 by rounding
    assert max(wilson(n, n).high for n in range(1, 100)) == 1.0


@pytest.mark.parametrize(("n_groups", "each"), [(40, 10), (8, 60), (4, 60), (3, 60), (2, 60)])
def test_intervals_of_clips_that_go_together_hold_the_truth_as_often_as_they_say(
    n_groups: int, each: int
) -> None:
    rng = np.random.default_rng(0)
    n = n_groups * each
    groups = np.repeat(np.arange(n_groups), each)
    covered = {"groups": 0, "clips": 0, "bootstrap": 0}
    for _ in range(300):
        right = (rng.random(n) < np.repeat(rng.beta(1.2, 2.8, n_groups), each)).astype(float)
        table = group_sums(np.stack([right, np.ones(n)], axis=1), groups)
        for name, effect in (("groups", design_effect(*table.T)), ("clips", 1.0)):
            found = wilson(right.sum(), n, effect)
            covered[name] += found.low <= 0.3 <= found.high
        drawn = resample_sums(table, 200, rng)
        low, high = interval(drawn[:, 0] / drawn[:, 1], n_groups)
        covered["bootstrap"] += low <= 0.3 <= high
    assert covered["groups"] / 300 > 0.92
    assert covered["bootstrap"] / 300 > 0.85  # percentiles alone: half with two groups
    assert covered["clips"] / 300 < 0.8


def test_what_groups_cannot_tell() -> None:
    ones = np.full(61, 4.0)
    assert design_effect(ones, ones) == pytest.approx(4 * (2.0003 / 1.96) ** 2, rel=1e-3)
    # all are right: each group counts once
    assert math.isnan(design_effect(np.array([3.0]), np.array([8.0])))
    alone = wilson(3, 8, math.nan)
    assert (alone.value, alone.n, math.isnan(alone.low + alone.high)) == (3 / 8, 8, True)
    assert design_effect(np.ones(1), np.ones(1)) == 1.0  # Wilson's, of a single sample
    apart = np.array([0.0, 1.0, 1.0])
    assert design_effect(apart, np.ones(3)) == 1.0
    alike, two = np.array([1.0, 1.0]), np.array([2.0, 2.0])  # two groups say next to nothing
    assert design_effect(alike, two) == pytest.approx((12.706 / 1.96) ** 2, rel=1e-3)
    all_or_none = design_effect(np.array([4.0, 0.0]), np.full(2, 4.0))  # n / (n - 1) and clips
    assert all_or_none == pytest.approx(2 / 1 * 4 * (12.706 / 1.96) ** 2, rel=1e-3)
    np.testing.assert_equal(numbered("abca"), [0, 1, 2, 0])


def test_interval_ignores_draws_that_do_not_count() -> None:
    assert interval(np.array([np.nan, 1.0, 2.0]), 10**6) == pytest.approx((1.025, 1.975), abs=1e-4)
    for same in ([1.0, 1.0], [0.1 + 0.2, 0.3], [1.0] * 999 + [0.5]):  # nothing is known of others
        assert all(map(math.isnan, interval(np.array(same), 100)))
    assert all(map(math.isnan, interval(np.array([np.nan]), 100)))
    assert all(map(math.isnan, interval(np.array([1.0, 2.0]), 1)))


def test_an_interval_of_few_reaches_further() -> None:
    drawn = np.linspace(0, 1, 10_001)
    widths = [high - low for low, high in (interval(drawn, n) for n in (2, 4, 8, 30, 1000))]
    assert widths == sorted(widths, reverse=True)
    assert widths[2] == pytest.approx(0.9885, abs=2e-4)  # 1.069 * 2.365 standard errors each way
    assert widths[-1] == pytest.approx(0.95, abs=1e-3)
    five, six = (high - low for low, high in (interval(drawn, n) for n in (5, 6)))
    assert five > 1 > six  # Student's, which goes beyond the draws, and percentiles of them


def test_an_interval_of_very_few_stays_within_what_a_score_can_be() -> None:
    drawn = np.array([0.5, 0.9, 0.9, 0.7])
    low, high = interval(drawn, 2)
    reach = math.sqrt(2) * 12.706 * 0.1658
    assert (low, high) == pytest.approx((0.75 - reach, 0.75 + reach), rel=1e-3)
    assert interval(drawn, 2, (0.0, 1.0)) == (0.0, 1.0)


def test_the_interval_of_a_mean_is_that_of_its_groups_by_the_seeds_draws() -> None:
    values, clips = np.linspace(0, 1, 8), np.arange(8)
    once = mean_interval(values, clips, 3)
    assert mean_interval(values.repeat(3), (9 * clips).repeat(3), 3) == pytest.approx(once)
    assert mean_interval(values, clips, 4) != once
    assert mean_interval(values[[0, -1]], clips[:2], 3, SHARE) == (0.0, 1.0)


def test_students_t_is_scipys() -> None:
    df = range(1, 400)
    assert [t_quantile(n) for n in df] == pytest.approx(stdtrit(df, 0.975).tolist(), abs=6e-4)
