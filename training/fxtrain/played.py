"""What is played on a clip, and how well it is answered: a held note tells less than a phrase.

Read from the records: the style of a performance, else what its recording holds, and whether it
was joined with others. No audio here, numpy only.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from fxtrain.columns import between, number
from fxtrain.contract import Names, OrderClass, Record
from fxtrain.intervals import Score
from fxtrain.metrics import fixed_order, scores

NOT_SAID = "not said"


@dataclass(frozen=True)
class Playing:
    """The ``n`` clips, of ``n_groups`` groups, on which ``name`` is played.

    ``exact_class`` with its ``null``, the right pedals in textbook order, and ``set`` and
    ``f1_micro`` as in `fxtrain.metrics`; ``n_there`` and ``n_named`` are the mean numbers of pedals
    of a chain and of an answer.
    """

    name: str
    n: int
    n_groups: int
    exact_class: Score
    null: float
    set: Score
    f1_micro: Score
    n_there: float
    n_named: float


def playing_of(record: Record) -> str:
    """``strum``, ``note``, ``note, joined``: in the words of its data set, without underscores."""
    clip = record.get("clip", {})
    performance = clip.get("performance")
    style = performance.get("style") if isinstance(performance, dict) else None
    name = str(style or clip.get("kind") or NOT_SAID).replace("_", " ")
    return f"{name}, joined" if "phrase" in clip else name


def by_playing(
    truth: Sequence[Names],
    predicted: Sequence[Names],
    classes: Sequence[OrderClass],
    played: Sequence[str],
    groups: np.ndarray,
    *,
    families: Mapping[str, str],
    seed: int = 0,
) -> tuple[Playing, ...]:
    """One row for everything that is played, the most frequent first; none where that is one thing.

    ``played`` [n]; ``groups`` int [n]: clips of the same recordings.
    """
    names = sorted(set(played), key=lambda name: (-played.count(name), name))
    rows = []
    for name in names if len(names) > 1 else ():
        here = [i for i, other in enumerate(played) if other == name]
        true, said = [truth[i] for i in here], [predicted[i] for i in here]
        alike = [classes[i] for i in here]
        of, rng = groups[here], np.random.default_rng(seed)
        found = scores(true, said, families=families, classes=alike, groups=of, rng=rng)
        textbook = fixed_order(true, tuple(families))
        held = [c.holds(chain) for c, chain in zip(alike, textbook, strict=True)]
        rows.append(
            Playing(
                name=name,
                n=len(here),
                n_groups=len(np.unique(of)),
                exact_class=found["exact_class"],
                null=float(np.mean(held)),
                set=found["set"],
                f1_micro=found["f1_micro"],
                n_there=float(np.mean([len(chain) for chain in true])),
                n_named=float(np.mean([len(chain) for chain in said])),
            )
        )
    return tuple(rows)


def playing_lines(rows: Sequence[Playing]) -> Iterator[str]:
    """For people; none where there are no rows."""
    if not rows:
        return
    yield ""
    yield (
        f"{'what is played':<22} {'n':>6} {'groups':>6} {'class':>6}  {'95 % interval':<14} "
        f"{'null':>6} {'set':>6} {'F1':>6} {'pedals':>6} {'named':>6}"
    )
    for row in rows:
        yield (
            f"{row.name:<22} {row.n:>6} {row.n_groups:>6} {number(row.exact_class.value):>6}  "
            f"{between(row.exact_class):<14} {number(row.null):>6} {number(row.set.value):>6} "
            f"{number(row.f1_micro.value):>6} {row.n_there:>6.2f} {row.n_named:>6.2f}"
        )
