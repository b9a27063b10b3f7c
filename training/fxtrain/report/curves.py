"""Training curves of a run, read from its TensorBoard log. The only tensorboard import here."""

from __future__ import annotations

import json
import logging
from dataclasses import dataclass
from pathlib import Path

from fxtrain.checkpoint import METRICS_NAME
from fxtrain.contract import ContractError, read_json

LOG_FOLDER = "tensorboard"
LOSSES = {"train/loss": "training", "valid/loss": "validation"}
SCORES = {
    "valid/exact_class": "chain right, up to orders that sound alike",
    "valid/set": "all pedals right",
    "valid/f1": "F1 of the pedals",
}
"""Tag -> what it is called."""


@dataclass(frozen=True)
class Curve:
    """One value an epoch, counted from 1."""

    name: str
    epochs: tuple[float, ...]
    values: tuple[float, ...]


@dataclass(frozen=True)
class Curves:
    losses: tuple[Curve, ...]
    scores: tuple[Curve, ...]
    best_epoch: int | None


def read_curves(run: Path) -> Curves | None:
    """None where the run has no log, or one without a curve, as a model that was only copied."""
    scalars = read_scalars(run / LOG_FOLDER)
    losses, scores = (
        tuple(curve for tag, name in tags.items() if (curve := _curve(tag, name, scalars)))
        for tags in (LOSSES, SCORES)
    )
    if not losses and not scores:
        return None
    return Curves(losses, scores, _best_epoch(run))


Scalars = dict[str, dict[int, float]]
"""Tag -> step -> value; of a step that was logged twice, after a resume, the later one."""


def read_scalars(folder: Path) -> Scalars:
    """All scalars under a log folder; none where it is not there or cannot be read."""
    if not folder.is_dir():
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


def _best_epoch(run: Path) -> int | None:
    file = run / METRICS_NAME
    if not file.is_file():
        return None
    try:
        found = read_json(file.read_bytes(), str(file))
    except (ContractError, json.JSONDecodeError, OSError):
        return None
    best = found.get("best_epoch") if isinstance(found, dict) else None
    return best if isinstance(best, int) else None
