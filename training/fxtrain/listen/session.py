"""What one listener hears, in which order: drawn from the study's seed and the session's number.

Every shuffle is numpy's, a Fisher-Yates shuffle. Sessions take turns with the study's items, so
that each is heard about as often.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np

from fxtrain.listen.study import DRY, RANDOM_CHAIN, REFERENCE, Study

X = "x"


@dataclass(frozen=True)
class Trial:
    """``part`` is training, test or catch. ``slots`` maps what the listener sees (a, b, x; 1 … n;
    reference) to a condition."""

    part: str
    item: int
    slots: dict[str, str]

    @property
    def to_rate(self) -> tuple[str, ...]:
        """Slots that a rating is asked for."""
        return tuple(slot for slot in self.slots if slot != REFERENCE)


def plan_session(study: Study, number: int) -> list[Trial]:
    """The trials of session ``number`` (0, 1, …): training, then what counts, catches among it."""
    rng = np.random.default_rng([study.seed, 4, number])
    practice = range(len(study.training))
    trained = [trial for item in practice for trial in _training(study, item, rng)]
    units = units_of(study)
    k = min(study.trials_per_session, len(units))
    turn = np.random.default_rng([study.seed, 5]).permutation(len(units))
    mine = [units[turn[(number * k + j) % len(units)]] for j in range(k)]
    counted = [_trial(study, "test", item, conditions, rng) for item, conditions in mine]
    catches = [
        _trial(study, "catch", item, tuple(study.items[item].conditions), rng)
        for item in study.caught
    ]
    together = [*counted, *catches]
    return [*trained, *(together[i] for i in rng.permutation(len(together)))]


def units_of(study: Study) -> list[tuple[int, tuple[str, ...]]]:
    """(item, conditions) of every question that the study has."""
    if study.kind == "pairwise":
        return [
            (item, pair)
            for item in study.asked
            for pair in itertools.combinations(study.items[item].conditions, 2)
        ]
    repeats = study.repeats if study.kind == "abx" else 1
    return [
        (item, tuple(study.items[item].conditions)) for _ in range(repeats) for item in study.asked
    ]


def _training(study: Study, item: int, rng: np.random.Generator) -> list[Trial]:
    conditions = tuple(study.training[item].conditions)
    if study.kind != "pairwise":
        return [_trial(study, "training", item, conditions, rng)]
    far = [name for name in (RANDOM_CHAIN, DRY, *conditions) if name in conditions]
    far = list(dict.fromkeys(name for name in far if name != REFERENCE))
    pairs = [(REFERENCE, far[0]), (far[0], far[-1])]
    return [_trial(study, "training", item, pair, rng) for pair in pairs[: len(far)]]


def _trial(
    study: Study, part: str, item: int, conditions: tuple[str, ...], rng: np.random.Generator
) -> Trial:
    if study.kind == "abx":
        a, b = (conditions[i] for i in rng.permutation(2))
        return Trial(part, item, {"a": a, "b": b, X: (a, b)[int(rng.integers(2))]})
    shuffled = [conditions[i] for i in rng.permutation(len(conditions))]
    names = ("a", "b") if study.kind == "pairwise" else map(str, range(1, len(shuffled) + 1))
    return Trial(part, item, {REFERENCE: REFERENCE, **dict(zip(names, shuffled, strict=True))})


def is_right(trial: Trial, choice: str) -> bool:
    """ABX: is X what the listener chose?"""
    return trial.slots[choice] == trial.slots[X]
