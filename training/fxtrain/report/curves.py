"""How a run was trained: curves from its TensorBoard log, the end from metrics.json.

The only tensorboard import of the report.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fxtrain.contract import ContractError, from_dict, legible, read_json
from fxtrain.finding import METRICS_NAME
from fxtrain.intervals import Score

LOG_FOLDER = "tensorboard"
LOSSES = {"train/loss": "training", "valid/loss": "validation"}
SCORES = {
    "valid/exact_class": "chain right, up to orders that sound alike",
    "valid/set": "all pedals right",
    "valid/f1": "F1 of the pedals",
}
"""Tag -> what it is called."""

VALID = ("exact", "exact_class", "set", "f1_micro")
"""Scores of metrics.json that are shown."""


@dataclass(frozen=True)
class Curve:
    """One value an epoch, counted from 1."""

    name: str
    epochs: tuple[float, ...]
    values: tuple[float, ...]


@dataclass(frozen=True)
class Training:
    """What is known; a model that was only copied may have neither log nor metrics.

    ``valid``: the scores on validation at the end, a name of ``fxtrain.metrics`` each.
    """

    losses: tuple[Curve, ...]
    scores: tuple[Curve, ...]
    best_epoch: int | None
    valid: dict[str, Score]


def read_training(run: Path) -> Training:
    scalars = read_scalars(run / LOG_FOLDER)
    losses, scores = (
        tuple(curve for tag, name in tags.items() if (curve := _curve(tag, name, scalars)))
        for tags in (LOSSES, SCORES)
    )
    metrics = _metrics(run / METRICS_NAME)
    best = metrics.get("best_epoch")
    found = metrics.get("valid")
    valid = {
        name: score
        for name in VALID
        if isinstance(found, dict) and (score := _score(found.get(name))) is not None
    }
    return Training(losses, scores, best if isinstance(best, int) else None, valid)


Scalars = dict[str, dict[int, float]]
"""Tag -> step -> value; of a step that was logged twice, after a resume, the later one."""


def read_scalars(folder: Path) -> Scalars:
    """All scalars under a log folder; none where it is not there or cannot be read."""
    if not folder.is_dir() or legible(str(folder)) != str(folder):  # no UTF-8: not for TensorBoard
        return {}
    logging.getLogger("tensorboard").setLevel(logging.ERROR)
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    log = EventAccumulator(str(folder), size_guidance={"scalars": 0})
    log.Reload()
    return {
        tag: {event.step: float(event.value) for event in log.Scalars(tag)}
        for tag in log.Tags()["scalars"]
    }


def _curve(tag: str, name: str, scalars: Scalars) -> Curve | None:
    """``epoch`` is logged with every value, counted from 0; without it values are counted."""
    found = sorted(scalars.get(tag, {}).items())
    if not found:
        return None
    epoch_at = scalars.get("epoch", {})
    epochs = tuple(epoch_at.get(step, i) + 1.0 for i, (step, _) in enumerate(found))
    return Curve(name, epochs, tuple(value for _, value in found))


def _metrics(file: Path) -> dict[str, Any]:
    """``metrics.json``; nothing where it is not there or not whole."""
    try:
        found = read_json(file.read_bytes(), str(file))
    except (ContractError, OSError):
        return {}
    return found if isinstance(found, dict) else {}


def _score(found: Any) -> Score | None:
    try:
        return from_dict(Score, found, METRICS_NAME)
    except ContractError:  # null where nothing counted
        return None
