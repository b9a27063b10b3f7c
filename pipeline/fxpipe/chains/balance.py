"""Odds of whole sets of pedals that bring shares to a target, and how far they stay from it.

Exclusions make pedals rarer, weights of single picks do not carry over to shares, long chains hold
more pedals than short ones. Where a balance is asked for, sets are not picked pedal by pedal:
every possible set gets the odds exp(sum of its features' log odds), which is the law nearest to
drawing evenly that meets the targets. They are found by generalised iterative scaling (Darroch &
Ratcliff, Annals of Mathematical Statistics 43, 1972), on all sets, once a spec. No draws here.

Shapes: S possible set, P pedal, F feature (a pedal, or a pair of pedals).
"""

from __future__ import annotations

import bisect
import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from fxpipe.chains.sets import PedalSets

BALANCES = ("weights", "pedals", "lengths", "pairs")
MAX_SETS = 50_000
MAX_LOG_ODDS = math.log(1000.0)
"""A feature's odds stay within 1/1000 and 1000: beyond, other chains would all but vanish."""

TOLERANCE = 1e-6
MAX_ROUNDS = 3000
TINY = 1e-300
SLACK = 0.01
"""A share this far from its target, relative to it, is worth a warning."""

DECIMALS = 6
"""Log odds are rounded, so that the last bits of a machine's exp and log cannot change a draw."""


@dataclass(frozen=True)
class SetTable:
    """The sets of one length, int [S, L] pedal indices, with their cumulative probability [S]."""

    members: tuple[tuple[int, ...], ...]
    cumulative: tuple[float, ...]

    def pick(self, u: float) -> tuple[int, ...]:
        """The set at ``u`` in [0, 1)."""
        return self.members[bisect.bisect_right(self.cumulative, u * self.cumulative[-1])]


@dataclass(frozen=True)
class Balance:
    """``shares``: feature -> (share asked for, share reached) of all pedals, or of all pairs.

    Features are named ``delay``, ``delay + reverb``, or ``delay at length 2``.
    """

    tables: dict[int, SetTable]
    shares: dict[str, tuple[float, float]]

    @property
    def worst(self) -> tuple[str, float]:
        """The feature farthest from its target, and reached / asked - 1 (0 where all is met)."""
        off = {name: got / asked - 1 for name, (asked, got) in self.shares.items()}
        name = max(off, key=lambda key: abs(off[key]), default="")
        return name, off.get(name, 0.0)

    @property
    def missed(self) -> str:
        """One line where a target is out of reach, else nothing."""
        name, off = self.worst
        if abs(off) <= SLACK:
            return ""
        asked, reached = self.shares[name]
        return (
            f"balance cannot be met: the share of {name} is {reached:.1%}, not {asked:.1%}; "
            "lengths and exclusions leave no more room"
        )


def solve_balance(
    target: str, sets: PedalSets, lengths: Mapping[int, float], weights: Sequence[float]
) -> Balance:
    """Set tables in which shares go by ``weights`` as ``target`` says.

    "pedals": each pedal's share of all pedals in the whole data set. "lengths": the same within
    every chain length, and so, with uniform order, at every position. "pairs": each pair's share
    of all pairs, in proportion to the product of the two weights; pairs that exclude each other
    are left out. ``lengths`` maps a length to its probability, ``weights`` [P] are above 0.
    """
    members = {length: tuple(sets.sets(length)) for length in sorted(lengths)}
    if target == "lengths":
        groups = [{length: 1.0} for length in members]
    else:
        groups = [{length: lengths[length] for length in members}]
    tables: dict[int, SetTable] = {}
    shares: dict[str, tuple[float, float]] = {}
    for group in groups:
        chosen = {length: members[length] for length in group}
        features, names, asked = _features(target, sets, chosen, weights)
        p = _scale(features, chosen, group, asked)
        reached = p @ features
        begin = 0
        for length, rows in chosen.items():
            part = p[begin : begin + len(rows)]
            begin += len(rows)
            cumulative = tuple((np.cumsum(part) / part.sum()).tolist())
            tables[length] = SetTable(rows, cumulative)
        suffix = f" at length {next(iter(group))}" if target == "lengths" else ""
        for name, want, got in zip(names, asked, reached / max(reached.sum(), TINY), strict=True):
            if reached.any():
                shares[name + suffix] = (float(want), float(got))
    return Balance(tables, shares)


def _features(
    target: str,
    sets: PedalSets,
    members: Mapping[int, tuple[tuple[int, ...], ...]],
    weights: Sequence[float],
) -> tuple[np.ndarray, list[str], np.ndarray]:
    """(float [S, F] how often each set has each feature, names [F], shares asked for [F])."""
    rows = [row for group in members.values() for row in group]
    counts = np.zeros((len(rows), len(sets.names)))
    for i, row in enumerate(rows):
        for pedal in row:
            counts[i, pedal] += 1
    asked = np.asarray(weights, float)
    names = list(sets.names)
    if target == "pairs":
        pairs = list(itertools.combinations(range(len(names)), 2))
        together = np.stack([counts[:, a] * counts[:, b] for a, b in pairs], axis=1)
        possible = np.flatnonzero(together.any(axis=0)).tolist()
        kept = [pairs[i] for i in possible]
        counts = together[:, possible]
        asked = np.array([weights[a] * weights[b] for a, b in kept])
        names = [f"{sets.names[a]} + {sets.names[b]}" for a, b in kept]
    return counts, names, asked / asked.sum()


def _scale(
    features: np.ndarray,
    members: Mapping[int, tuple[tuple[int, ...], ...]],
    length_p: Mapping[int, float],
    asked: np.ndarray,
) -> np.ndarray:
    """Probability of each set [S]; the share of every length is kept as it is."""
    sizes = [len(rows) for rows in members.values()]
    starts = np.concatenate([[0], np.cumsum(sizes)[:-1]]).astype(int)
    of_length = np.repeat([length_p[length] for length in members], sizes)
    even = np.array([_log_orders(row) for rows in members.values() for row in rows])
    step = 1 / max(features.sum(axis=1).max(initial=0.0), 1.0)
    log_odds = np.zeros(features.shape[1])

    def law(log_odds: np.ndarray) -> np.ndarray:
        logit = even + features @ log_odds
        logit -= np.repeat(np.maximum.reduceat(logit, starts), sizes)
        p = np.exp(logit)
        p *= of_length / np.repeat(np.add.reduceat(p, starts), sizes)
        scaled: np.ndarray = p
        return scaled

    for _ in range(MAX_ROUNDS):
        reached = law(log_odds) @ features
        if not reached.any():  # no set has any feature: chains of no pedals
            break
        off = np.log(asked * reached.sum() / np.maximum(reached, TINY))
        if np.abs(off).max() < TOLERANCE:
            break
        log_odds = np.clip(log_odds + step * off, -MAX_LOG_ODDS, MAX_LOG_ODDS)
    return law(np.round(log_odds, DECIMALS))


def _log_orders(row: Sequence[int]) -> float:
    """log of how many different orders a set has: repeated pedals have fewer."""
    repeats = [row.count(i) for i in set(row)]
    return math.lgamma(len(row) + 1) - sum(math.lgamma(n + 1) for n in repeats)
