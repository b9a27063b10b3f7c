"""Is one of two systems better on the same clips? Differences of scores, clip by clip. numpy only.

Two intervals that overlap say little: both systems fail at the same hard clips. So every bootstrap
draw takes the same groups of clips for both, and the interval is that of the difference.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from fxtrain.answers import Answers
from fxtrain.columns import number, without_nan
from fxtrain.contract import UsageError, legible
from fxtrain.intervals import (
    N_RESAMPLES,
    SHARE,
    group_sums,
    interval,
    of_difference,
    resample_sums,
)
from fxtrain.metrics import HEADLINES, WITHIN, formulas, sample_columns


@dataclass(frozen=True)
class Difference:
    """``value`` of one system and ``other``'s on ``n`` clips or pairs that count for the first;
    ``difference`` is the first less the second, with a 95 % interval."""

    value: float
    other: float
    difference: float
    low: float
    high: float
    n: int

    @property
    def is_clear(self) -> bool:
        """Chance alone makes so much of a difference in fewer than one test of twenty."""
        return self.low > 0 or self.high < 0


def differences(
    one: Answers, other: Answers, families: Mapping[str, str], *, seed: int = 0
) -> dict[str, Difference]:
    """Every score by name, of ``one`` less that of ``other``. ``families``: as in `scores`.

    Raises UsageError where the two did not answer the same clips.
    """
    clips, others = ([answers.ids, *map(tuple, answers.truth)] for answers in (one, other))
    if clips != others:
        raise UsageError(
            f"answers to {len(one.truth)} and to {len(other.truth)} clips that are not the same "
            "ones: let both answer one split of one data set"
        )
    columns = [
        sample_columns(one.truth, answers.predicted, families, one.classes)
        for answers in (one, other)
    ]
    names = list(columns[0])
    both = np.stack([side[name] for side in columns for name in names], axis=1)  # [n, 2 columns]
    table = group_sums(both, one.groups)

    def sides(sums: np.ndarray) -> list[dict[str, np.ndarray]]:
        """Sums [R, 2 columns] -> by system and column [R]."""
        return [dict(zip(names, half.T, strict=True)) for half in np.split(sums, 2, axis=1)]

    whole = sides(table.sum(0)[None])
    drawn = sides(resample_sums(table, N_RESAMPLES, np.random.default_rng(seed)))
    lengths = sorted({len(chain) for chain in one.truth})
    found = {}
    for name, (formula, counted) in formulas(families, lengths).items():
        value, held = (float(formula(side)[0]) for side in whole)
        within = of_difference(WITHIN.get(name, SHARE))
        low, high = interval(formula(drawn[0]) - formula(drawn[1]), len(table), within)
        n = int(whole[0][counted][0])
        found[name] = Difference(value, held, value - held, low, high, n)
    return {name: found[name] for name in (*HEADLINES, *found)}


def difference_lines(
    found: Mapping[str, Difference], one: str, other: str, n_groups: int
) -> Iterator[str]:
    """For people: a row a score."""
    yield f"A: {one}"
    yield f"B: {other}"
    yield f"on the same clips, of {n_groups} group{'' if n_groups == 1 else 's'}"
    yield ""
    yield f"{'score':<22} {'A':>6} {'B':>6} {'A - B':>7}  {'95 % interval':<16} {'n':>6}"
    for name, row in found.items():
        between = f"{row.low:+.3f} to {row.high:+.3f}" if not math.isnan(row.low) else "–"
        mark = " *" if row.is_clear else ""
        apart = "-" if math.isnan(row.difference) else f"{row.difference:+.3f}"
        yield (
            f"{name:<22} {number(row.value):>6} {number(row.other):>6} {apart:>7}  "
            f"{between:<16} {row.n:>6}{mark}"
        )
    yield ""
    yield "*: the interval leaves out 0. Of many scores one in twenty does so by chance alone."


def differences_dict(found: Mapping[str, Difference], other: str) -> dict[str, Any]:
    """As JSON values; a number that is none becomes null."""
    rows = {name: without_nan(dataclasses.asdict(row)) for name, row in found.items()}
    return {"against": legible(other), "differences": rows}
