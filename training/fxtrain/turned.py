"""How well the knobs of pedals are heard: an error for each, beside that of their middle.

Of pedals that are really there, whatever the answer says. numpy only.
Shapes: N clip, V pedal, P knob of a pedal.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from fxtrain.columns import between, number
from fxtrain.contract import Vocabulary
from fxtrain.intervals import SHARE, Score, mean_interval
from fxtrain.knobs import Knobs

MIDDLE = 0.5
ALL = ("all", "")

Row = tuple[int, tuple[float, float, float, float]]
"""A clip, and of a knob on it: error, that of the middle, whether in range, width of the range."""


@dataclass(frozen=True)
class Turned:
    """A knob on the ``n`` clips that have its pedal.

    ``error``: mean distance to the true place, in parts of the knob's travel; ``null``: the same of
    its middle, always. ``between``: share of clips where it lies in the range that was named, which
    claims 80 %; ``width``: how wide that is.
    """

    pedal: str
    knob: str
    n: int
    error: Score
    null: float
    between: float
    width: float


def turned(
    knobs: Sequence[Knobs],
    travel: np.ndarray,
    vocabulary: Vocabulary,
    groups: np.ndarray,
    *,
    seed: int = 0,
) -> tuple[Turned, ...]:
    """One row a knob that was on some clip, and one over all; none where none was heard.

    ``travel`` float32 [N, V, P]: the truth, NaN where there is none. ``groups`` int [N]: clips of
    the same recordings.
    """
    names = ((entry.name, param.name) for entry in vocabulary.pedals for param in entry.params)
    by_knob: dict[tuple[str, str], list[Row]] = {ALL: [], **{name: [] for name in names}}
    for clip, heard in enumerate(knobs):
        for v, entry in enumerate(vocabulary.pedals):
            for p, param in enumerate(entry.params):
                true = float(travel[clip, v, p])
                knob = heard.get(entry.name, {}).get(param.name)
                if knob is None or np.isnan(true):
                    continue
                mean, low, high = knob.travel
                inside = float(low <= true <= high)
                row = clip, (abs(mean - true), abs(MIDDLE - true), inside, high - low)
                by_knob[ALL].append(row)
                by_knob[entry.name, param.name].append(row)
    return tuple(_row(name, rows, groups, seed) for name, rows in by_knob.items() if rows)


def _row(name: tuple[str, str], rows: Sequence[Row], groups: np.ndarray, seed: int) -> Turned:
    values = np.array([row for _, row in rows])
    of = groups[[clip for clip, _ in rows]]
    error, null, inside, width = values.mean(0).tolist()
    score = Score(error, *mean_interval(values[:, 0], of, seed, SHARE), len(values))
    return Turned(*name, len(values), score, null, inside, width)


def turned_lines(rows: Sequence[Turned]) -> Iterator[str]:
    """For people; nothing where there is nothing."""
    if not rows:
        return
    yield ""
    yield (
        f"{'knob (error in travel)':<26} {'error':>6}  {'95 % interval':<14} {'middle':>6} "
        f"{'in 80 %':>7} {'width':>6} {'n':>6}"
    )
    for row in rows:
        yield (
            f"{f'{row.pedal} {row.knob}'.strip():<26} {number(row.error.value):>6}  "
            f"{between(row.error):<14} {number(row.null):>6} {number(row.between):>7} "
            f"{number(row.width):>6} {row.n:>6}"
        )
