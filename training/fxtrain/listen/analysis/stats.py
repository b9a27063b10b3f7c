"""The statistics, on plain arrays: exact binomial, Holm, Friedman, Wilcoxon, Bradley-Terry, power.

Knows nothing of studies. scipy comes with the extra ``[listen]``. Shapes: L listener, C condition.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from fxtrain.contract import MissingExtraError, to_install

try:
    from scipy import optimize, special, stats
except ImportError:
    raise MissingExtraError(
        f"the analysis needs scipy, which is not installed: {to_install('listen')}"
    ) from None

POWER = 0.8
MOST_TRIALS, MOST_LISTENERS = 5000, 2000
"""How far a study is sized."""

WILCOXON_EFFICIENCY = 3 / math.pi
"""Of the signed-rank test against the t test where differences are normal (Pitman)."""

RIDGE = 0.01
"""Pulls Bradley-Terry strengths towards 0: a condition that always wins stays finite."""

N_BOOTSTRAP = 2000


@dataclass(frozen=True)
class Share:
    """``right`` of ``n``: one-sided exact p against guessing, exact two-sided interval."""

    right: int
    n: int
    p: float
    low: float
    high: float

    @property
    def value(self) -> float:
        return self.right / self.n if self.n else math.nan


def share(right: int, n: int, alpha: float = 0.05) -> Share:
    if n == 0:
        return Share(0, 0, 1.0, 0.0, 1.0)
    p = stats.binomtest(right, n, 0.5, alternative="greater").pvalue
    # Clopper and Pearson 1934, by the incomplete beta function.
    low = special.betaincinv(right, n - right + 1, alpha / 2) if right else 0.0
    high = special.betaincinv(right + 1, n - right, 1 - alpha / 2) if right < n else 1.0
    return Share(right, n, float(p), float(low), float(high))


def sign_test(wins: int, losses: int) -> float:
    """Two-sided exact p that both are as likely."""
    n = wins + losses
    return 1.0 if n == 0 else float(stats.binomtest(wins, n, 0.5).pvalue)


def holm(p: Sequence[float]) -> list[float]:
    """Holm's step-down adjustment (1979): compare with alpha, whatever the tests depend on."""
    order = np.argsort(p, kind="stable")
    adjusted = [0.0] * len(p)
    highest = 0.0
    for rank, i in enumerate(order):
        highest = max(highest, (len(p) - rank) * p[i])
        adjusted[i] = min(1.0, highest)
    return adjusted


# ---- power of an exact binomial test ---------------------------------------------------------


def critical(n: int, alpha: float = 0.05) -> int:
    """The smallest number right of ``n`` that guessing reaches with probability ``alpha`` at most;
    ``n`` + 1 where there is none."""
    return int(stats.binom.isf(alpha, n, 0.5)) + 1 if n else 1


def findable_rate(n: int, alpha: float = 0.05) -> float:
    """The smallest hit rate that ``n`` trials find with ``POWER``; NaN where none is."""
    limit = critical(n, alpha)
    return math.nan if limit > n else float(special.betaincinv(limit, n - limit + 1, POWER))


def trials_needed(rate: float, alpha: float = 0.05) -> int:
    """Trials from which on a hit rate of ``rate`` is found with ``POWER``, however many more."""
    ns = np.arange(1, MOST_TRIALS + 1)
    limits = stats.binom.isf(alpha, ns, 0.5)
    short = np.flatnonzero(stats.binom.sf(limits, ns, rate) < POWER)
    return int(short[-1]) + 2 if len(short) else 1


# ---- ratings -------------------------------------------------------------------------------


@dataclass(frozen=True)
class Friedman:
    """``agreement`` is Kendall's W: 0 none, 1 all listeners rank alike."""

    chi2: float
    p: float
    agreement: float
    n: int


def friedman(ratings: np.ndarray) -> Friedman:
    """Do conditions differ at all? ``ratings`` [L, C], one mean a listener and condition."""
    n, k = ratings.shape
    ranks = stats.rankdata(ratings, axis=1)
    if n < 2 or k < 3 or np.all(ranks == ranks[:, :1]):
        return Friedman(0.0, 1.0, 0.0, n)
    found = stats.friedmanchisquare(*ratings.T)
    chi2 = float(found.statistic)
    return Friedman(chi2, float(found.pvalue), chi2 / (n * (k - 1)), n)


@dataclass(frozen=True)
class Comparison:
    """``difference`` is the mean of first - second with its bootstrap interval; ``p_holm`` is what
    to look at."""

    first: str
    second: str
    difference: float
    low: float
    high: float
    n: int
    p: float
    p_holm: float


def signed_rank(differences: np.ndarray) -> float:
    """Wilcoxon's signed-rank test, two-sided, with Pratt's zeros (ranked, then left out).

    Exact for every panel: given the ranks, every combination of signs is as likely. scipy does so
    only without ties, which ratings have, or by a slow permutation. Means over items are rounded
    first: 33.3 - 20.1 and 20.0 - 6.8 are a tie.
    """
    differences = np.round(differences, 9)
    ranks = stats.rankdata(np.abs(differences))[differences != 0]
    if len(ranks) == 0:
        return 1.0
    steps = np.round(2 * ranks).astype(int)  # ties have half ranks
    chance = np.zeros(steps.sum() + 1)  # of every sum of the ranks with a plus
    chance[0] = 1.0
    for step in steps:
        chance[step:] += chance[:-step].copy()
        chance /= 2
    found = int(steps[differences[differences != 0] > 0].sum())
    return float(min(1.0, 2 * min(chance[: found + 1].sum(), chance[found:].sum())))


def bootstrap_interval(
    values: np.ndarray, rng: np.random.Generator, alpha: float = 0.05
) -> tuple[float, float]:
    """Of the mean of ``values`` [L], by drawing listeners again."""
    if len(values) < 2:
        return math.nan, math.nan
    draws = values[rng.integers(0, len(values), (N_BOOTSTRAP, len(values)))].mean(1)
    low, high = np.quantile(draws, [alpha / 2, 1 - alpha / 2])
    return float(low), float(high)


def findable_difference(sd: float, n: int, alpha: float = 0.05) -> float:
    """The smallest mean difference that ``n`` listeners find with ``POWER``, when differences
    scatter by ``sd``: the paired t test's, at Wilcoxon's efficiency."""
    effective = n * WILCOXON_EFFICIENCY
    if n < 2 or not sd > 0:
        return math.nan
    gap = lambda d: _t_power(d / sd, effective, alpha) - POWER  # noqa: E731
    return float(optimize.brentq(gap, 0.0, 100 * sd))


def fewest_listeners(alpha: float) -> int:
    """With fewer the signed-rank test cannot pass: all alike have p = 2 / 2^n."""
    return 1 + math.ceil(math.log2(1 / alpha))


def listeners_needed(difference: float, sd: float, alpha: float = 0.05) -> int | None:
    """Listeners that find a mean difference; None where more than ``MOST_LISTENERS``. Never fewer
    than the exact test needs to find anything."""
    for n in range(fewest_listeners(alpha), MOST_LISTENERS + 1):
        if _t_power(difference / sd, n * WILCOXON_EFFICIENCY, alpha) >= POWER:
            return n
    return None


def _t_power(effect: float, n: float, alpha: float) -> float:
    """Two-sided power of a t test on ``n`` differences of mean ``effect`` standard deviations. The
    far tail is left out: it holds less than alpha / 2, and scipy gives NaN there."""
    freedom = max(n - 1, 1.0)
    shift = effect * math.sqrt(n)
    if shift > 30:
        return 1.0
    limit = special.stdtrit(freedom, 1 - alpha / 2)
    return float(1 - special.nctdtr(freedom, shift, limit))


def rank_correlation(one: Sequence[float], other: Sequence[float]) -> float:
    """Spearman's; NaN for fewer than five pairs, or where one side is constant."""
    if len(one) < 5 or min(len(set(one)), len(set(other))) < 2:
        return math.nan
    return float(stats.spearmanr(one, other).statistic)


# ---- votes ---------------------------------------------------------------------------------


def bradley_terry(wins: np.ndarray, ridge: float = RIDGE) -> np.ndarray:
    """Strengths [C] of mean 0 from ``wins`` [C, C] (row over column): i beats j with probability
    1 / (1 + exp(s_j - s_i)). Bradley and Terry 1952, by maximum likelihood with a little ridge."""
    n = len(wins)

    def loss(s: np.ndarray) -> tuple[float, np.ndarray]:
        gap = s[:, None] - s[None, :]
        lost = wins * special.expit(-gap)
        value = float(np.sum(wins * np.logaddexp(0, -gap)) + ridge / 2 * np.sum(s**2))
        return value, -lost.sum(1) + lost.sum(0) + ridge * s

    found = optimize.minimize(loss, np.zeros(n), jac=True, method="L-BFGS-B")
    strengths: np.ndarray = found.x - found.x.mean()
    return strengths


# ---- what distance is heard ----------------------------------------------------------------

LAPSE = 0.02
"""Slips of the finger: nobody is right more often than in 99 of 100 trials."""

SLOPES = (0.3, 8.0)
"""Per factor e of distance; ear and memory are neither flatter nor steeper."""


@dataclass(frozen=True)
class Psychometric:
    """P(right) = 1/2 + (1/2 - lapse/2) logistic(slope ln(distance / middle))."""

    middle: float
    slope: float

    def __call__(self, distance: np.ndarray) -> np.ndarray:
        up: np.ndarray = special.expit(self.slope * np.log(np.asarray(distance) / self.middle))
        return 0.5 + (0.5 - LAPSE / 2) * up

    @property
    def threshold(self) -> float:
        """The distance at which three in four answers are right."""
        return float(self.middle * math.exp(special.logit(0.25 / (0.5 - LAPSE / 2)) / self.slope))


def psychometric(
    distance: np.ndarray, right: np.ndarray, n: np.ndarray, start: Psychometric | None = None
) -> Psychometric:
    """By maximum likelihood, from ``right`` of ``n`` trials at every distance; the middle stays
    within eight times the measured range. Searched from many places, or from ``start`` alone."""
    log_distance = np.log(distance)
    lows, highs = float(log_distance.min() - np.log(8)), float(log_distance.max() + np.log(8))

    def loss(theta: np.ndarray) -> float:
        up = special.expit(np.exp(theta[1]) * (log_distance - theta[0]))
        p = 0.5 + (0.5 - LAPSE / 2) * up
        return float(-np.sum(right * np.log(p) + (n - right) * np.log1p(-p)))

    bounds = [(lows, highs), (math.log(SLOPES[0]), math.log(SLOPES[1]))]
    starts = list(itertools.product(np.linspace(lows, highs, 5), np.log([0.8, 3.0])))
    if start is not None:
        starts = [(math.log(start.middle), math.log(start.slope))]
    best = min(
        (optimize.minimize(loss, np.array(s), method="L-BFGS-B", bounds=bounds) for s in starts),
        key=lambda found: float(found.fun),
    )
    return Psychometric(math.exp(best.x[0]), math.exp(best.x[1]))
