"""Which model a page opens. Loads no torch, so that a wrong name is said at once."""

from __future__ import annotations

from pathlib import Path

from fxtrain.errors import CheckpointError

RUNS = Path("runs")
CARD_NAME = "model.json"


def model_folder(run: Path | None) -> Path:
    """``run``, or the newest under ``runs/``."""
    if run is not None:
        if not (run / CARD_NAME).is_file():
            raise CheckpointError(
                f"{run}: no {CARD_NAME}, so there is no trained model here; train one with "
                "'fxtrain fit', or give another run"
            )
        return run
    cards = sorted(RUNS.glob(f"*/{CARD_NAME}"), key=lambda card: card.stat().st_mtime)
    if not cards:
        raise CheckpointError(
            f"no trained model under {RUNS}/: train one with 'fxtrain fit SHARDS', or name one "
            "with --run RUN"
        )
    return cards[-1].parent
