"""Are the pedals that a model misses those that a clip hardly holds?

A pedal is taken out of its chain, all else left as it was, and the sound compared with what it had
been: a later pedal may drown what an earlier one did. No audio here, numpy only.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from fxtrain.columns import between, number
from fxtrain.contract import Names
from fxtrain.intervals import Score, design_effect, group_sums, wilson

EDGES_DB = (0.0, 0.5, 1.0, 2.0, 4.0, math.inf)
"""Of log-mel; up to half a dB apart two orders count as sounding the same, too."""


@dataclass(frozen=True)
class Faint:
    """Pedals without which the sound is ``low_db`` to ``high_db`` (None: or more) another.

    ``found``: the share of them that was named. ``null``: how often these pedals were named on
    clips that lack them, which is what saying them without hearing them finds. ``sets``: of the
    clips whose faintest pedal is one of them, the share with the right pedals and no other.
    """

    low_db: float
    high_db: float | None
    found: Score
    null: float
    sets: Score


def faint(
    truth: Sequence[Names],
    predicted: Sequence[Names],
    without_db: Sequence[Sequence[float]],
    groups: np.ndarray,
) -> tuple[Faint, ...]:
    """One row for every step of ``EDGES_DB`` that has any pedal.

    ``without_db`` [n][L]: how far clip n moves without each of its pedals. ``groups`` int [n]:
    clips of the same recordings.
    """
    lacking = {
        name: [name in said for y, said in zip(truth, predicted, strict=True) if name not in y]
        for name in {name for y in truth for name in y}
    }
    false = {name: float(np.mean(said)) for name, said in lacking.items() if said}
    clips = list(zip(truth, predicted, without_db, groups.tolist(), strict=True))
    found = []
    for low, high in itertools.pairwise(EDGES_DB):
        pedals = [
            (name in said, false.get(name, math.nan), group)
            for y, said, moved, group in clips
            for name, db in zip(y, moved, strict=True)
            if low <= db < high
        ]
        sets = [
            (set(y) == set(said), group)
            for y, said, moved, group in clips
            if moved and low <= min(moved) < high
        ]
        if pedals:
            named, nulls, at = zip(*pedals, strict=True)
            score = _share(named, at)
            top = None if math.isinf(high) else high
            null = float(np.mean(nulls))
            found.append(Faint(low, top, score, null, _share(*zip(*sets, strict=True))))
    return tuple(found)


def _share(right: Sequence[bool] = (), groups: Sequence[int] = ()) -> Score:
    if not right:
        return wilson(0, 0)
    table = np.column_stack([right, np.ones(len(right))]).astype(float)
    effect = design_effect(*group_sums(table, np.array(groups)).T)
    return wilson(float(sum(right)), len(right), effect)


def span(row: Faint) -> str:
    """Its range, for people."""
    return f"{row.low_db:g} " + ("or more" if row.high_db is None else f"to {row.high_db:g}")


def faint_lines(rows: Sequence[Faint]) -> Iterator[str]:
    """For people; none where no clip has a pedal."""
    if not rows:
        return
    yield ""
    yield "how far the sound moves when a pedal is taken out, and how many of such are named"
    yield (
        f"{'log-mel, dB':<12} {'pedals':>6} {'found':>6} {'95 % interval':>14} {'null':>6} "
        f"{'clips':>6} {'right set':>9} {'95 % interval':>14}"
    )
    for row in rows:
        yield (
            f"{span(row):<12} {row.found.n:>6} {number(row.found.value):>6} "
            f"{between(row.found):>14} {number(row.null):>6} {row.sets.n:>6} "
            f"{number(row.sets.value):>9} {between(row.sets):>14}"
        )
    yield "null: how often these pedals are named where they are not. clips: by the faintest pedal."
