"""Can an order be heard? By item, by listener, over all, and from which distance on."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from fxtrain.listen.analysis.answers import Row
from fxtrain.listen.analysis.stats import (
    Psychometric,
    Share,
    findable_rate,
    holm,
    psychometric,
    share,
    trials_needed,
)
from fxtrain.listen.study import REFERENCE, Study

N_BOOTSTRAP = 200
RATES = (0.6, 0.7, 0.75, 0.8, 0.9)


@dataclass(frozen=True)
class ItemResult:
    """``p_holm`` over all items. ``findable``: the smallest hit rate that as many trials would
    have found in four of five studies, at the strictest step of Holm's ladder."""

    item: int
    name: str
    pair: tuple[str, ...]
    distance_db: float
    share: Share
    p_holm: float
    findable: float

    def heard(self, alpha: float) -> bool:
        return self.p_holm <= alpha


@dataclass(frozen=True)
class ListenerResult:
    listener: int
    share: Share
    p_holm: float


@dataclass(frozen=True)
class Threshold:
    """``at_db``: the distance at which three in four answers are right, with its interval."""

    curve: Psychometric
    at_db: float
    low_db: float
    high_db: float


@dataclass(frozen=True)
class AbxResult:
    pooled: Share
    items: tuple[ItemResult, ...]
    listeners: tuple[ListenerResult, ...]
    threshold: Threshold | None
    needed: dict[float, int]


def analyse_abx(study: Study, rows: Sequence[Row], alpha: float, seed: int) -> AbxResult:
    """``rows`` of the listeners that are kept. Answers are independent fair coins where nobody
    hears a difference, whoever gave them, so the exact binomial holds for pooled answers too."""
    counted = [row for row in rows if row.part == "test"]
    items = item_results(study, counted, alpha)
    by_listener = _tally(counted, "listener")
    people = {listener: share(*by_listener[listener], alpha) for listener in sorted(by_listener)}
    p = holm([one.p for one in people.values()])
    return AbxResult(
        pooled=share(sum(row.correct or 0 for row in counted), len(counted), alpha),
        items=items,
        listeners=tuple(
            ListenerResult(listener, one, q)
            for (listener, one), q in zip(people.items(), p, strict=True)
        ),
        threshold=_threshold(study, counted, alpha, seed),
        needed={rate: trials_needed(rate, alpha) for rate in RATES},
    )


def item_results(study: Study, counted: Sequence[Row], alpha: float) -> tuple[ItemResult, ...]:
    """The exact test of every item that was heard, Holm over them."""
    by_item = _tally(counted, "item")
    asked = [i for i in study.asked if i in by_item]
    found = {item: share(*by_item[item], alpha) for item in asked}
    adjusted = dict(zip(asked, holm([found[i].p for i in asked]), strict=True))
    return tuple(
        ItemResult(
            item=i,
            name=study.items[i].name,
            pair=study.items[i].pair,
            distance_db=_distance(study, i),
            share=found[i],
            p_holm=adjusted[i],
            findable=findable_rate(found[i].n, alpha / len(asked)),
        )
        for i in asked
    )


def _tally(rows: Sequence[Row], by: str) -> dict[int, tuple[int, int]]:
    """(right, n) by item or listener."""
    counts: defaultdict[int, list[int]] = defaultdict(list)
    for row in rows:
        counts[getattr(row, by)].append(row.correct or 0)
    return {key: (sum(right), len(right)) for key, right in counts.items()}


def _distance(study: Study, item: int) -> float:
    far = study.items[item].distance_db
    return next(value for name, value in far.items() if name != REFERENCE)


def _threshold(study: Study, rows: Sequence[Row], alpha: float, seed: int) -> Threshold | None:
    """None where fewer than three distances were heard: no curve goes through two points."""
    listeners = sorted({row.listener for row in rows})
    items = sorted({row.item for row in rows})
    distance = np.array([max(_distance(study, i), 1e-3) for i in items])
    if len(set(distance.tolist())) < 3 or not listeners:
        return None
    counts = np.zeros((len(listeners), len(items), 2))
    for row in rows:
        place = listeners.index(row.listener), items.index(row.item)
        counts[place] += (row.correct or 0, 1)
    right, n = counts.sum(0).T
    curve = psychometric(distance, right, n)
    rng = np.random.default_rng(seed)
    draws = []
    for _ in range(N_BOOTSTRAP if len(listeners) > 1 else 0):
        right, n = counts[rng.integers(0, len(listeners), len(listeners))].sum(0).T
        draws.append(psychometric(distance, right, n, start=curve).threshold)
    low, high = np.quantile(draws, [alpha / 2, 1 - alpha / 2]) if draws else (np.nan, np.nan)
    return Threshold(curve, curve.threshold, float(low), float(high))
