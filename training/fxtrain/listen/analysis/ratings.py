"""How near is each condition to the reference: ratings of 0 to 100, listener by listener."""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from fxtrain.listen.analysis.answers import Row
from fxtrain.listen.analysis.screening import screening_conditions
from fxtrain.listen.analysis.stats import (
    Comparison,
    Friedman,
    bootstrap_interval,
    fewest_listeners,
    findable_difference,
    friedman,
    holm,
    listeners_needed,
    rank_correlation,
    signed_rank,
)
from fxtrain.listen.study import Study

POINTS = 10.0
"""A difference that one would not want to miss: half a band of the scale."""


@dataclass(frozen=True)
class ConditionResult:
    """Over listeners' means; the interval is of the mean."""

    name: str
    mean: float
    low: float
    high: float
    median: float
    quartiles: tuple[float, float]


@dataclass(frozen=True)
class Agreement:
    """Rank correlation (Spearman) of a sound's mean rating with its measured distance from the
    reference, over ``n`` sounds; NaN where there are too few. -1: the measure ranks as ears do."""

    rank_correlation: float
    n: int


@dataclass(frozen=True)
class RatingResult:
    """``matrix`` [L, C]: a mean rating of every kept listener and condition. ``scatter``: the
    median standard deviation of a difference; ``findable`` the smallest difference that this panel
    finds in four of five studies; ``needed`` listeners would find ``POINTS`` points."""

    conditions: tuple[ConditionResult, ...]
    friedman: Friedman
    friedman_over: tuple[str, ...]
    comparisons: tuple[Comparison, ...]
    n_kept: int
    n_all: int
    scatter: float
    findable: float
    needed: int | None
    matrix: np.ndarray
    by_distance: Agreement


def analyse_ratings(
    study: Study, rows: Sequence[Row], kept: set[int], alpha: float, seed: int
) -> RatingResult:
    """``rows`` of everybody; ``kept`` are the listeners that passed the screening.

    Listeners are what was drawn from a population, so each counts once, with the mean over items.
    """
    names = study.conditions
    everybody, listeners = _means(rows, names)
    passed = np.array([listener in kept for listener in listeners], bool)
    panel = everybody[passed]
    rng = np.random.default_rng(seed)
    outside = screening_conditions(study)
    inside = tuple(name for name in names if name not in outside)
    columns = [names.index(name) for name in inside]
    pairs = list(itertools.combinations(range(len(names)), 2))
    found = []
    for i, j in pairs:
        people = everybody if {names[i], names[j]} & outside else panel
        difference = people[:, i] - people[:, j]
        found.append((difference, signed_rank(difference)))
    adjusted = holm([p for _, p in found])
    comparisons = tuple(
        Comparison(
            names[i], names[j], _mean(difference), *bootstrap_interval(difference, rng, alpha),
            n=len(difference), p=p, p_holm=q,
        )
        for (i, j), (difference, p), q in zip(pairs, found, adjusted, strict=True)
    )  # fmt: skip
    own = [
        d for (i, j), (d, _) in zip(pairs, found, strict=True) if not {names[i], names[j]} & outside
    ]
    spread = [float(np.std(d, ddof=1)) for d in own if len(d) > 1]
    scatter = float(np.median(spread)) if spread else float("nan")
    strict = alpha / max(1, len(pairs))
    possible = len(panel) >= fewest_listeners(strict)
    return RatingResult(
        conditions=tuple(_condition(name, panel[:, i], rng, alpha) for i, name in enumerate(names)),
        friedman=friedman(panel[:, columns]),
        friedman_over=inside,
        comparisons=comparisons,
        n_kept=len(panel),
        n_all=len(everybody),
        scatter=scatter,
        findable=findable_difference(scatter, len(panel), strict) if possible else float("nan"),
        needed=listeners_needed(POINTS, scatter, strict) if scatter > 0 else None,
        matrix=panel,
        by_distance=_agreement(study, rows, kept),
    )


def _agreement(study: Study, rows: Sequence[Row], kept: set[int]) -> Agreement:
    given: defaultdict[tuple[int, str], list[int]] = defaultdict(list)
    for row in rows:
        measured = study.items[row.item].distance_db
        if row.listener in kept and row.rating is not None and row.condition in measured:
            given[row.item, row.condition].append(row.rating)
    far = [study.items[item].distance_db[condition] for item, condition in given]
    near = [float(np.mean(ratings)) for ratings in given.values()]
    return Agreement(rank_correlation(far, near), len(given))


def _means(rows: Sequence[Row], names: Sequence[str]) -> tuple[np.ndarray, list[int]]:
    """float [L, C], and the listeners; each rated every condition of at least one item."""
    listeners = sorted({row.listener for row in rows})
    sums = np.zeros((len(listeners), len(names), 2))
    for row in rows:
        if row.rating is not None:
            sums[listeners.index(row.listener), names.index(row.condition)] += (row.rating, 1)
    return sums[..., 0] / sums[..., 1], listeners


def _mean(values: np.ndarray) -> float:
    return float(np.mean(values)) if len(values) else float("nan")


def _condition(
    name: str, values: np.ndarray, rng: np.random.Generator, alpha: float
) -> ConditionResult:
    nan = float("nan")
    low, median, high = np.quantile(values, [0.25, 0.5, 0.75]) if len(values) else (nan, nan, nan)
    return ConditionResult(
        name, _mean(values), *bootstrap_interval(values, rng, alpha),
        median=float(median), quartiles=(float(low), float(high)),
    )  # fmt: skip
