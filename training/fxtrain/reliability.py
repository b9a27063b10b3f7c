"""Does a probability keep what it promises? Bins of confidence against how often it came true.

numpy only. Of things called 70 % sure, 70 % should be right: the expected calibration error is the
mean gap between the two, weighted by how many things lie in each bin (Guo et al. 2017).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from fxtrain.intervals import SHARE, group_sums, interval, resample_sums

N_BINS = 10
N_RESAMPLES = 200


@dataclass(frozen=True)
class Bin:
    """``n`` things whose confidence lies in ``low`` to ``high``: its mean, and the share right.

    Both are NaN in a bin that holds nothing.
    """

    low: float
    high: float
    n: int
    confidence: float
    right: float


@dataclass(frozen=True)
class Reliability:
    """Calibration of one kind of probability over ``n`` things.

    ece: with a 95 % interval (bootstrap over groups, NaN where all agree). ece_untuned: the same
    answers' error before the confidences were tuned on validation, NaN where nothing was tuned.
    ece_chance: the mean error of confidences that keep their promise, over as many things: what
    an error is to be held against.
    brier: mean squared gap. base: share of things that are right, the best constant answer.
    """

    n: int
    ece: float
    low: float
    high: float
    ece_untuned: float
    ece_chance: float
    brier: float
    base: float
    bins: tuple[Bin, ...]


def bins_of(confidence: np.ndarray, right: np.ndarray) -> tuple[Bin, ...]:
    """``N_BINS`` of equal width; ``confidence`` and ``right`` [n] in 0 to 1."""
    which = _bin_of(confidence)
    found = []
    for b in range(N_BINS):
        here = which == b
        n = int(here.sum())
        found.append(
            Bin(
                low=b / N_BINS,
                high=(b + 1) / N_BINS,
                n=n,
                confidence=float(confidence[here].mean()) if n else math.nan,
                right=float(right[here].mean()) if n else math.nan,
            )
        )
    return tuple(found)


def calibration_error(confidence: np.ndarray, right: np.ndarray) -> float:
    """Expected calibration error; NaN of nothing."""
    return _error(_gaps(confidence, right).sum(0), len(confidence))


def reliability(
    confidence: np.ndarray,
    right: np.ndarray,
    group: np.ndarray,
    untuned: np.ndarray | None = None,
    *,
    rng: np.random.Generator,
) -> Reliability:
    """``group`` [n]: what each of the n things belongs to, a sample or several; things of one group
    are drawn together in the bootstrap.

    ``untuned`` [n]: the confidences before tuning.
    """
    n = len(confidence)
    if not n:
        nan = math.nan
        return Reliability(0, nan, nan, nan, nan, nan, nan, nan, bins_of(confidence, right))
    table = np.column_stack([_gaps(confidence, right), np.ones(n)])
    table = group_sums(table, group)
    drawn = resample_sums(table, N_RESAMPLES, rng)
    errors = np.array([_error(sums[:-1], sums[-1]) for sums in drawn])
    low, high = interval(errors, len(table), SHARE)
    return Reliability(
        n=n,
        ece=calibration_error(confidence, right),
        low=low,
        high=high,
        ece_untuned=math.nan if untuned is None else calibration_error(untuned, right),
        ece_chance=error_by_chance(confidence, rng),
        brier=float(np.mean((confidence - right) ** 2)),
        base=float(right.mean()),
        bins=bins_of(confidence, right),
    )


def error_by_chance(confidence: np.ndarray, rng: np.random.Generator) -> float:
    """Mean calibration error where each thing comes true as often as its ``confidence`` [n] says,
    independently of the others."""
    drawn = (rng.random(len(confidence)) < confidence for _ in range(N_RESAMPLES))
    return float(np.mean([calibration_error(confidence, right) for right in drawn]))


def _bin_of(confidence: np.ndarray) -> np.ndarray:
    """int [n]: the bin that each lies in."""
    which: np.ndarray = np.minimum((confidence * N_BINS).astype(int), N_BINS - 1)
    return which


def _gaps(confidence: np.ndarray, right: np.ndarray) -> np.ndarray:
    """[n, bins]: confidence minus right of every thing, in the column of its bin."""
    gaps = np.zeros((len(confidence), N_BINS))
    gaps[np.arange(len(confidence)), _bin_of(confidence)] = confidence - right
    return gaps


def _error(gaps: np.ndarray, n: float) -> float:
    return float(np.abs(gaps).sum() / n) if n else math.nan
