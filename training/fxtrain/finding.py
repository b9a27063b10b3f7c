"""Which model answers where none is named. Loads no torch, so that a wrong name is said at once."""

from __future__ import annotations

import shlex
from importlib.resources import files
from pathlib import Path

from fxtrain.contract import INDEX_NAME, UsageError, legible
from fxtrain.errors import CheckpointError

RUNS = Path("runs")
SHIPPED = Path(str(files("fxtrain"))) / "shipped"
CARD_NAME = "model.json"
METRICS_NAME = "metrics.json"
EVALUATION_NAME = "evaluation.json"
PAGE_NAME = "evaluation.html"
LAST_NAME = "checkpoints/last.ckpt"
NAMED = 5
"""Runs that an error names at most."""


def model_folder(run: Path | None) -> Path:
    """``run``, or the model that came with the package, or the newest under ``runs/``.

    The word "shipped" names the one in the package, unless something here has that name.
    """
    if run == Path(SHIPPED.name) and not run.exists():
        return SHIPPED
    if run is not None:
        if not (run / CARD_NAME).is_file():
            raise no_model(run)
        return run
    if (SHIPPED / CARD_NAME).is_file():
        return SHIPPED
    runs = runs_in(RUNS)
    if not runs:
        raise CheckpointError(
            f"no trained model under {RUNS}/: train one with 'fxtrain fit SHARDS', or name one "
            "with --run RUN"
        )
    return runs[0]


def called(folder: Path) -> str:
    """A run as people name it: the one in the package by its word, wherever that lies."""
    return SHIPPED.name if folder == SHIPPED else legible(str(folder))


def runs_in(folder: Path) -> list[Path]:
    """Folders in it that hold a trained model, the newest first."""
    cards = folder.glob(f"*/{CARD_NAME}")
    return [c.parent for c in sorted(cards, key=lambda c: c.stat().st_mtime, reverse=True)]


def refuse_data_set(output: Path) -> None:
    """Nothing of a run is written among shards."""
    if (output / INDEX_NAME).exists():
        raise UsageError(f"{output}: a data set lies there ({INDEX_NAME}); give another --output")


def no_model(run: Path) -> CheckpointError:
    """What to tell of a folder that holds no model: perhaps the folder of all runs was meant, or
    it is a data set, or its training was killed."""
    inside = runs_in(run)
    if inside:
        few = ", ".join(map(str, inside[:NAMED])) + (", …" if len(inside) > NAMED else "")
        return CheckpointError(
            f"{run}: no {CARD_NAME}, so it is no run itself, but it holds some: name one of them, "
            f"{few}"
        )
    if (run / INDEX_NAME).is_file():
        return CheckpointError(
            f"{run}: a data set lies there ({INDEX_NAME}), and no trained model; name a run in its "
            "place"
        )
    if (run / LAST_NAME).is_file():
        return CheckpointError(
            f"{run}: no {CARD_NAME}: this training has not ended; give another run, or go on with: "
            f"fxtrain fit SHARDS --resume {shlex.quote(str(run))}"
        )
    return CheckpointError(
        f"{run}: no {CARD_NAME}, so there is no trained model here; train one with "
        "'fxtrain fit', or give another run"
    )
