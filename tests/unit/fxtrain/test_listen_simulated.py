"""Listeners of known ability: the analysis finds what was put in, and nothing where nothing is."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from fixtures.listeners import CONDITIONS, NEARNESS, Ear, hear, heard_rows, panel, study
from fxtrain.listen.analysis import analyse, stats
from fxtrain.listen.analysis.abx import AbxResult, item_results
from fxtrain.listen.analysis.answers import rows_of
from fxtrain.listen.analysis.ratings import RatingResult
from fxtrain.listen.analysis.report import report_html
from fxtrain.listen.analysis.screening import Verdict, screen
from fxtrain.listen.analysis.stats import critical, friedman, holm, share, sign_test, signed_rank
from fxtrain.listen.analysis.votes import VoteResult
from fxtrain.listen.analysis.words import sentences
from fxtrain.listen.study import MID_ANCHOR, PREDICTED, REFERENCE, Study

ALPHA = 0.05


def kept_of(test: Study, rows) -> set[int]:
    return {verdict.listener for verdict in screen(test, rows) if not verdict.why}


@pytest.fixture(autouse=True)
def quick_intervals(monkeypatch: pytest.MonkeyPatch) -> None:
    """No p-value depends on the bootstrap."""
    monkeypatch.setattr(stats, "N_BOOTSTRAP", 200)


def most_false(n: int) -> int:
    """Significant results that ``n`` studies without an effect may give: a count beyond it has
    less than one chance in 10,000 where the error rate is ``ALPHA``."""
    from scipy.stats import binom

    return int(binom.isf(1e-4, n, ALPHA))


# ---- ABX -----------------------------------------------------------------------------------


def test_abx_finds_the_threshold_that_was_put_in() -> None:
    test = study("abx")
    rows = heard_rows(test, panel(24, 0, threshold_db=1.0), 3)
    found = analyse(test, rows, kept_of(test, rows))
    assert isinstance(found, AbxResult)
    assert found.threshold is not None
    assert found.threshold.low_db <= 1.0 <= found.threshold.high_db
    assert found.threshold.at_db == pytest.approx(1.0, rel=0.3)
    heard = {item.item: item.heard(ALPHA) for item in found.items}
    assert heard[7]
    assert heard[6]
    assert not heard[0]


def test_abx_finds_nothing_where_nothing_is_heard() -> None:
    """200 studies of 12 deaf listeners: any item heard at all, after Holm; and all items pooled."""
    test = study("abx", catches=0)
    any_item = pooled = 0
    for seed in range(200):
        rows = heard_rows(test, panel(12, seed), seed)
        any_item += any(item.heard(ALPHA) for item in item_results(test, rows, ALPHA))
        pooled += share(sum(row.correct or 0 for row in rows), len(rows)).p <= ALPHA
    assert any_item <= most_false(200)
    assert pooled <= most_false(200)


def test_abx_power_is_what_was_promised() -> None:
    """Listeners exactly at the hit rate that is called findable are found in four of five."""
    test = study("abx", n_items=1, distances=[1.0], catches=0, trials=1, repeats=1)
    rows = heard_rows(test, panel(40, 0, threshold_db=1.0), 0)
    (result,) = item_results(test, rows, ALPHA)
    rng = np.random.default_rng(0)
    passed = rng.binomial(40, result.findable, 4000) >= critical(40)
    assert passed.mean() == pytest.approx(0.8, abs=0.03)


def test_abx_sets_aside_who_does_not_listen() -> None:
    test = study("abx", catches=6)
    ears = [Ear(threshold_db=0.5)] * 10 + [Ear(careless=True)] * 10
    verdicts = screen(test, heard_rows(test, ears, 5))
    out = [verdict.listener for verdict in verdicts if verdict.why]
    assert not [listener for listener in out if listener < 10]
    assert len(out) >= 7
    assert "catch trials wrong" in next(v.why for v in verdicts if v.why)


# ---- ratings -------------------------------------------------------------------------------


def test_ratings_find_what_was_put_in() -> None:
    test = study("mushra", trials=8, standard="bs1534")
    ears = [*panel(18, 0), Ear(careless=True), Ear(careless=True)]
    rows = heard_rows(test, ears, 1)
    kept = kept_of(test, rows)
    assert kept == set(range(18))
    found = analyse(test, rows, kept)
    assert isinstance(found, RatingResult)
    assert found.friedman.p < 1e-6
    for condition in found.conditions:
        if condition.name != REFERENCE:
            assert condition.mean == pytest.approx(NEARNESS[condition.name], abs=6)
    by_pair = {(c.first, c.second): c for c in found.comparisons}
    for (first, second), c in by_pair.items():
        true = NEARNESS[first] - NEARNESS[second]
        if abs(true) >= 10:
            assert c.p_holm <= ALPHA
            assert np.sign(c.difference) == np.sign(true)
    ours = by_pair[PREDICTED, MID_ANCHOR]
    assert ours.n == 20  # the anchor is part of the screening: everybody counts


def test_ratings_find_nothing_where_nothing_is() -> None:
    """All conditions but the reference sound alike, and are rated with noise."""
    test = study("mushra", n_items=2, trials=2)
    alike = {name: 97.0 if name == REFERENCE else 60.0 for name in NEARNESS}
    any_pair = omnibus = 0
    n = 100
    for seed in range(n):
        rows = heard_rows(test, panel(15, seed, nearness=alike, noise=14.0), seed)
        kept = kept_of(test, rows)
        assert len(kept) >= 11
        found = analyse(test, rows, kept)
        assert isinstance(found, RatingResult)
        any_pair += any(
            c.p_holm <= ALPHA for c in found.comparisons if REFERENCE not in (c.first, c.second)
        )
        omnibus += found.friedman.p <= ALPHA
    assert any_pair <= most_false(n)
    assert omnibus <= most_false(n)


def test_a_panel_too_small_to_find_anything_is_told_so() -> None:
    test = study("mushra", trials=8)
    rows = heard_rows(test, panel(6, 0), 1)
    found = analyse(test, rows, set(range(6)))
    assert isinstance(found, RatingResult)
    assert np.isnan(found.findable)
    assert min(c.p_holm for c in found.comparisons) > ALPHA
    said = sentences(test, found, [Verdict(i, "") for i in range(6)], 0, ALPHA)
    assert "ask more people" in said[-1]


def test_screening_on_the_reference_would_find_what_it_chose() -> None:
    """Why pairs with the hidden reference count everybody: among those who happened to rate it
    high it is 'nearer' than the others, though all are noise."""
    test = study("mushra", n_items=4, trials=4)
    alike = dict.fromkeys(NEARNESS, 92.0)
    ears = [Ear(nearness=alike, noise=6.0)] * 60
    naive = ours = tested = 0
    for seed in range(30):
        rows = heard_rows(test, ears, seed)
        kept = kept_of(test, rows)
        if len(kept) < 6:
            continue
        tested += 1
        found = analyse(test, rows, kept)
        assert isinstance(found, RatingResult)
        matrix = found.matrix  # the kept alone
        p = [signed_rank(matrix[:, 0] - matrix[:, j]) for j in range(1, len(CONDITIONS))]
        naive += min(holm(p)) <= ALPHA
        ours += any(c.p_holm <= ALPHA for c in found.comparisons)
    assert tested >= 25
    assert naive > tested / 2
    assert ours <= most_false(tested)


# ---- votes ---------------------------------------------------------------------------------


def test_votes_find_what_was_put_in() -> None:
    test = study("pairwise", n_items=4, trials=40)
    rows = heard_rows(test, panel(24, 0), 2)
    found = analyse(test, rows, kept_of(test, rows))
    assert isinstance(found, VoteResult)
    ranked = [s.name for s in sorted(found.strengths, key=lambda s: -s.value)]
    assert ranked == sorted(CONDITIONS, key=lambda name: -NEARNESS[name])
    strength = {s.name: s for s in found.strengths}
    for first, second in ((PREDICTED, "worst order"), (PREDICTED, "random chain")):
        true = (NEARNESS[first] - NEARNESS[second]) / 15
        assert strength[first].value - strength[second].value == pytest.approx(true, abs=0.6)
    assert all(pair.p_holm <= ALPHA for pair in found.pairs)


def test_power_of_votes_counts_who_has_a_majority() -> None:
    """A listener of a short test hears a third of the questions, and is split on some pairs."""
    test = study("pairwise", n_items=4, trials=15)
    rows = heard_rows(test, panel(30, 0), 2)
    found = analyse(test, rows, set(range(30)))
    assert isinstance(found, VoteResult)
    own = [pair for pair in found.pairs if REFERENCE not in (pair.first, pair.second)]
    assert found.n_deciding == int(np.median([pair.wins + pair.losses for pair in own])) < 30
    strict = ALPHA / 2 / len(found.pairs)
    assert found.findable == pytest.approx(stats.findable_rate(found.n_deciding, strict))
    assert found.findable > stats.findable_rate(30, strict)
    assert found.needed is not None
    assert found.needed > stats.trials_needed(0.75, strict)
    said = sentences(test, found, [Verdict(i, "") for i in range(30)], 0, ALPHA)[-1]
    assert f"Of 30 listeners, {found.n_deciding} lean to one side" in said
    assert f"take about {found.needed} listeners" in said


def test_votes_on_the_reference_count_everybody() -> None:
    """Who is kept was chosen by them."""
    test = study("pairwise", n_items=4, trials=40)
    rows, kept = heard_rows(test, panel(20, 0), 3), set(range(8))
    found = analyse(test, rows, kept)
    assert isinstance(found, VoteResult)
    for pair in found.pairs:
        both = {pair.first, pair.second}
        votes = [row for row in rows if {row.condition, row.opponent} == both]
        counted = [row for row in votes if row.listener in kept or REFERENCE in both]
        assert pair.votes == len(counted)
        assert (len(counted) == len(votes)) is (REFERENCE in both)


def test_votes_find_nothing_where_nothing_is() -> None:
    test = study("pairwise", n_items=2, trials=20)
    alike = dict.fromkeys(NEARNESS, 50.0)
    any_pair = 0
    n = 80
    for seed in range(n):
        rows = heard_rows(test, panel(15, seed, nearness=alike), seed)
        wins: dict[tuple[str, str], list[int]] = {}
        leads: dict[tuple[int, str, str], int] = {}
        for row in rows:
            a, b = sorted((row.condition, row.opponent))
            sign = 1 if row.condition == a else -1
            leads[row.listener, a, b] = leads.get((row.listener, a, b), 0) + sign
        for (_, a, b), lead in leads.items():
            wins.setdefault((a, b), [0, 0])[lead < 0] += lead != 0
        any_pair += min(holm([sign_test(*counts) for counts in wins.values()])) <= ALPHA
    assert any_pair <= most_false(n)


# ---- all kinds -----------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["abx", "pairwise", "mushra"])
def test_sessions_are_balanced_and_seeded(kind: str) -> None:
    test = study(kind, trials=8, n_items=12, repeats=1, catches=0)
    sessions = hear(test, [Ear()] * 30, 0)
    assert sessions == hear(test, [Ear()] * 30, 0)
    other = hear(dataclasses.replace(test, seed=1), [Ear()] * 30, 0)
    assert [t.trial for t in other[0].trials] != [t.trial for t in sessions[0].trials]
    rows = rows_of(test, sessions)
    heard = np.bincount([row.item for row in rows], minlength=12)
    assert heard.max() - heard.min() <= 0.25 * heard.mean() + len(CONDITIONS)
    if kind == "abx":
        x = [row.condition == REFERENCE for row in rows]
        assert 0.35 < np.mean(x) < 0.65
        trials = [asked.trial for session in sessions for asked in session.trials]
        first = [trial.slots["a"] == REFERENCE for trial in trials]
        assert 0.35 < np.mean(first) < 0.65
    if kind == "mushra":
        place = [int(row.slot) for row in rows if row.condition == REFERENCE]
        assert set(place) == set(range(1, len(CONDITIONS) + 1))


def test_friedman_over_what_the_screening_does_not_look_at() -> None:
    test = study("mushra", trials=8)
    rows = heard_rows(test, panel(12, 0), 1)
    found = analyse(test, rows, kept_of(test, rows))
    assert isinstance(found, RatingResult)
    assert REFERENCE not in found.friedman_over
    assert found.friedman == friedman(found.matrix[:, 1:])


@pytest.mark.parametrize("kind", ["abx", "pairwise", "mushra"])
def test_a_report_is_written_where_nobody_is_left(kind: str) -> None:
    test = study(kind)
    rows = heard_rows(test, panel(2, 1), 1)
    verdicts = [Verdict(listener, "set aside") for listener in range(2)]
    result = analyse(test, rows, set())
    lines = sentences(test, result, verdicts, 0, ALPHA)
    assert "is left" in " ".join(lines)
    assert "0 of 2 kept" in report_html(test, result, verdicts, rows, lines, ALPHA)
