"""Which of two is nearer: votes, who wins over whom, and one scale for all (Bradley-Terry)."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from fxtrain.listen.analysis.answers import Row
from fxtrain.listen.analysis.screening import screening_conditions
from fxtrain.listen.analysis.stats import (
    bradley_terry,
    findable_rate,
    holm,
    sign_test,
    trials_needed,
)
from fxtrain.listen.study import Study

N_BOOTSTRAP = 300
RATE = 0.75


@dataclass(frozen=True)
class PairResult:
    """Votes for ``first`` out of ``votes``. ``wins`` and ``losses`` count listeners by the
    majority of their votes; the test is on listeners, for one's votes are not independent."""

    first: str
    second: str
    votes_first: int
    votes: int
    wins: int
    losses: int
    p: float
    p_holm: float


@dataclass(frozen=True)
class Strength:
    """``value`` in natural units of log odds: 1.1 is three votes in four against 0."""

    name: str
    value: float
    low: float
    high: float


@dataclass(frozen=True)
class VoteResult:
    """``matrix`` [C, C]: votes of the kept, row over column. ``n_deciding``: kept listeners with a
    majority in a pair, the median over pairs; nobody hears every pair often, and a draw does not
    count. ``findable``: the smallest share of these on one side that is found in four of five
    studies; ``needed`` listeners would find ``RATE``."""

    strengths: tuple[Strength, ...]
    pairs: tuple[PairResult, ...]
    n_kept: int
    n_all: int
    n_deciding: int
    findable: float
    needed: int | None
    matrix: np.ndarray


def analyse_votes(
    study: Study, rows: Sequence[Row], kept: set[int], alpha: float, seed: int
) -> VoteResult:
    """``rows`` of everybody; comparisons with the hidden reference count everybody."""
    names = study.conditions
    listeners = sorted({row.listener for row in rows})
    votes = np.zeros((len(listeners), len(names), len(names)))
    for row in rows:
        who = listeners.index(row.listener)
        votes[who, names.index(row.condition), names.index(row.opponent)] += 1
    passed = np.array([listener in kept for listener in listeners], bool)
    panel = votes[passed]
    outside = screening_conditions(study)
    tested = []
    for i, j in itertools.combinations(range(len(names)), 2):
        people = votes if {names[i], names[j]} & outside else panel
        lead = people[:, i, j] - people[:, j, i]
        wins, losses = int(np.sum(lead > 0)), int(np.sum(lead < 0))
        first, both = int(people[:, i, j].sum()), int((people[:, i, j] + people[:, j, i]).sum())
        tested.append((names[i], names[j], first, both, wins, losses, sign_test(wins, losses)))
    adjusted = holm([row[-1] for row in tested])
    pairs = tuple(PairResult(*row, p_holm=q) for row, q in zip(tested, adjusted, strict=True))
    strict = alpha / 2 / max(1, len(pairs))
    own = [pair for pair in pairs if not {pair.first, pair.second} & outside]
    deciding = int(np.median([pair.wins + pair.losses for pair in own])) if own else len(panel)
    needed = math.ceil(trials_needed(RATE, strict) * len(panel) / deciding) if deciding else None
    return VoteResult(
        strengths=_strengths(names, panel, alpha, np.random.default_rng(seed)),
        pairs=pairs,
        n_kept=len(panel),
        n_all=len(votes),
        n_deciding=deciding,
        findable=findable_rate(deciding, strict),
        needed=needed,
        matrix=panel.sum(0),
    )


def _strengths(
    names: Sequence[str], panel: np.ndarray, alpha: float, rng: np.random.Generator
) -> tuple[Strength, ...]:
    nan = float("nan")
    if not len(panel):
        return tuple(Strength(name, nan, nan, nan) for name in names)
    values = bradley_terry(panel.sum(0))
    draws = np.array(
        [
            bradley_terry(panel[rng.integers(0, len(panel), len(panel))].sum(0))
            for _ in range(N_BOOTSTRAP if len(panel) > 1 else 0)
        ]
    )
    if len(draws):
        low, high = np.quantile(draws, [alpha / 2, 1 - alpha / 2], axis=0)
    else:
        low = high = np.full(len(names), nan)
    return tuple(
        Strength(name, float(v), float(a), float(b))
        for name, v, a, b in zip(names, values, low, high, strict=True)
    )
