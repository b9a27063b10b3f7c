"""What is taken for what: pedals by their position, and pairs by their order. numpy only.

Shapes: L position, V pedal.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from fxtrain.contract import Names, OrderClass

Chains = Sequence[Names]


def confusion(truth: Chains, predicted: Chains, pedals: Sequence[str]) -> np.ndarray:
    """int64 [V + 1, V + 1]: true against predicted pedal at the same position; last is "none"."""
    counts: np.ndarray = confusion_by_position(truth, predicted, pedals).sum(0)
    return counts


def confusion_by_position(truth: Chains, predicted: Chains, pedals: Sequence[str]) -> np.ndarray:
    """int64 [L, V + 1, V + 1]: :func:`confusion` at each position; beyond both chains, nothing."""
    place = {name: i for i, name in enumerate(pedals)}
    none = len(pedals)
    longest = max((len(chain) for chain in (*truth, *predicted)), default=0)
    counts = np.zeros((longest, none + 1, none + 1), np.int64)
    for y, p in zip(truth, predicted, strict=True):
        for i in range(max(len(y), len(p))):
            said = place[p[i]] if i < len(p) else none
            counts[i, place[y[i]] if i < len(y) else none, said] += 1
    return counts


@dataclass(frozen=True)
class PairOrders:
    """How often the order of two pedals was heard; [V, V] each, row before column in the truth.

    ``right`` of ``n`` clips with both in truth and answer have them in the true order. ``ceiling``
    is what a perfect listener can expect over all ``n_true`` clips with both: 1 where the order can
    be heard on that clip, a half, for a coin, where it cannot; NaN without clips.
    """

    right: np.ndarray
    n: np.ndarray
    ceiling: np.ndarray
    n_true: np.ndarray


def pair_orders(
    classes: Sequence[OrderClass], predicted: Chains, pedals: Sequence[str]
) -> PairOrders:
    """Every pair, whether its order can be heard or not."""
    place = {name: i for i, name in enumerate(pedals)}
    right, n, audible, n_true = np.zeros((4, len(pedals), len(pedals)))
    for alike, p in zip(classes, predicted, strict=True):
        fixed = set(alike.fixed)
        once = [name for name in alike.names if alike.names.count(name) == 1]
        for first, second in itertools.combinations(once, 2):
            at = place[first], place[second]
            n_true[at] += 1
            audible[at] += (first, second) in fixed
            if p.count(first) == p.count(second) == 1:
                n[at] += 1
                right[at] += p.index(first) < p.index(second)
    ceiling = np.full_like(n_true, np.nan)
    np.divide(audible + 0.5 * (n_true - audible), n_true, out=ceiling, where=n_true > 0)
    return PairOrders(right.astype(int), n.astype(int), ceiling, n_true.astype(int))
