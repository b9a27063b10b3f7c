"""How far a score may lie from the truth: shares and means of clips, of which some go together.

Shapes: G group of samples, R bootstrap draw.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

N_RESAMPLES = 1000
Z = 1.959964
T_975 = (12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228)
"""The normal quantile at 97.5 %, and Student's t there by degrees of freedom, from 1 on."""
FEWEST_FOR_DRAWS = 6
"""Draws of n rows lie between the least and the greatest of them, which hold the middle of all
rows with a probability of 1 - 2 ** (1 - n) at most: 50 % of two, 94 % of five."""

Within = tuple[float, float]
"""The least and the greatest value that a score can have."""
ANY: Within = (-math.inf, math.inf)
SHARE: Within = (0.0, 1.0)


@dataclass(frozen=True)
class Score:
    """``value`` with a 95 % interval over ``n`` samples (or pairs); NaN where nothing counts.

    Shares of samples have Wilson's interval (Wilson 1927), honest at 0 and 1; the rest a bootstrap
    (Efron 1979). Both take samples of one group for as much as they say about other groups: the
    bootstrap draws whole groups, Wilson's is told fewer samples (`design_effect`), and both are
    wider where groups are few. NaN of a single group, but for Wilson's of a single sample.
    """

    value: float
    low: float
    high: float
    n: int


def group_sums(table: np.ndarray, groups: np.ndarray | None) -> np.ndarray:
    """[G, columns] sums of a per-sample table over each group's rows; as it is without groups."""
    if groups is None:
        return table
    _, row = np.unique(groups, return_inverse=True)
    sums = np.zeros((int(row.max()) + 1, table.shape[1]))
    np.add.at(sums, row, table)
    return sums


def resample_sums(table: np.ndarray, n_resamples: int, rng: np.random.Generator) -> np.ndarray:
    """[R, columns] sums of a table over bootstrap draws of its rows: samples, or groups of them."""
    n_rows = len(table)
    even = np.full(n_rows, 1.0 / n_rows)
    sums = [rng.multinomial(n_rows, even).astype(float) @ table for _ in range(n_resamples)]
    return np.stack(sums)


def t_quantile(df: int) -> float:
    """Student's t at 97.5 %, within 6e-4: from a table, then by expansion (Abramowitz & Stegun
    26.7.5). The trainer goes without scipy."""
    if df <= len(T_975):
        return T_975[df - 1]
    first, second = Z**3 + Z, 5 * Z**5 + 16 * Z**3 + 3 * Z
    third = 3 * Z**7 + 19 * Z**5 + 17 * Z**3 - 15 * Z
    return Z + first / (4 * df) + second / (96 * df**2) + third / (384 * df**3)


def design_effect(successes: np.ndarray, counted: np.ndarray) -> float:
    """Squared width of a share's interval over groups [G], as a multiple of that of as many
    independent samples: the ratio of their variances (Kish 1965), 1 at least, and of Student's t to
    the normal quantile, for the groups' spread is an estimate itself (Korn & Graubard 1998).

    Where all samples agree there is no spread, and each group counts once. NaN of a single group of
    several.
    """
    n = float(counted.sum())
    n_groups = int(np.count_nonzero(counted))
    if n_groups == n:
        return 1.0
    if n_groups < 2:
        return math.nan
    share = float(successes.sum()) / n
    few = (t_quantile(n_groups - 1) / Z) ** 2
    if share in (0.0, 1.0):
        return few * n / n_groups
    spread = float(np.square(successes - share * counted).sum())
    return few * max(1.0, n_groups / (n_groups - 1) * spread / (n * share * (1 - share)))


def wilson(successes: float, n: int, effect: float = 1.0) -> Score:
    """A share with Wilson's 95 % interval for ``n / effect`` samples."""
    if n == 0:
        return Score(math.nan, math.nan, math.nan, 0)
    share, alone, z = successes / n, n / effect, Z
    if math.isnan(effect):
        return Score(share, math.nan, math.nan, n)
    middle = (share + z * z / (2 * alone)) / (1 + z * z / alone)
    spread = math.sqrt(share * (1 - share) / alone + z * z / (4 * alone * alone))
    half = z / (1 + z * z / alone) * spread
    return Score(share, max(0.0, middle - half), min(1.0, middle + half), n)


def interval(resampled: np.ndarray, n_rows: int, within: Within = ANY) -> tuple[float, float]:
    """Central 95 % of draws of ``n_rows`` rows, and more of them where these are few, for draws of
    few rows spread too little (expanded percentiles, Hesterberg 2015). Of fewer than
    ``FEWEST_FOR_DRAWS`` no percentile reaches far enough: there Student's interval with the draws'
    standard deviation, kept ``within`` what the score can be.

    NaN where no draw counts, or where all are the same: rows that do not differ say nothing about
    how far others would.
    """
    known = resampled[~np.isnan(resampled)]
    if not known.size or n_rows < 2 or np.ptp(known) <= 1e-12 * max(1.0, abs(known.max())):
        return math.nan, math.nan
    reach = math.sqrt(n_rows / (n_rows - 1)) * t_quantile(n_rows - 1)
    if n_rows < FEWEST_FOR_DRAWS:
        middle, half = float(known.mean()), reach * float(known.std())
        return max(within[0], middle - half), min(within[1], middle + half)
    tail = 50 * math.erfc(reach / math.sqrt(2))  # per cent
    low, high = map(float, np.percentile(known, [tail, 100 - tail]))
    return (low, high) if high - low > 1e-12 * max(1.0, abs(high)) else (math.nan, math.nan)


def of_difference(within: Within) -> Within:
    """Between what the difference of two scores lies that are ``within`` this."""
    reach = within[1] - within[0]
    return -reach, reach


def mean_interval(
    values: np.ndarray, groups: np.ndarray, seed: int, within: Within = ANY
) -> tuple[float, float]:
    """Of the mean of ``values`` [n]: a bootstrap over ``groups`` [n], one seed the same draws."""
    table = group_sums(np.column_stack([values, np.ones(len(values))]), groups)
    totals, counts = resample_sums(table, N_RESAMPLES, np.random.default_rng(seed)).T
    return interval(totals / counts, len(table), within)
