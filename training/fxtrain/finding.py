"""Which model answers where none is named. Loads no torch, so that a wrong name is said at once."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

from fxtrain.errors import CheckpointError

RUNS = Path("runs")
SHIPPED = Path(str(files("fxtrain"))) / "shipped"
CARD_NAME = "model.json"


def model_folder(run: Path | None) -> Path:
    """``run``, or the model that came with the package, or the newest under ``runs/``.

    The word "shipped" names the one in the package, unless something here has that name.
    """
    if run == Path(SHIPPED.name) and not run.exists():
        return SHIPPED
    if run is not None:
        if not (run / CARD_NAME).is_file():
            raise CheckpointError(
                f"{run}: no {CARD_NAME}, so there is no trained model here; train one with "
                "'fxtrain fit', or give another run"
            )
        return run
    if (SHIPPED / CARD_NAME).is_file():
        return SHIPPED
    cards = sorted(RUNS.glob(f"*/{CARD_NAME}"), key=lambda card: card.stat().st_mtime)
    if not cards:
        raise CheckpointError(
            f"no trained model under {RUNS}/: train one with 'fxtrain fit SHARDS', or name one "
            "with --run RUN"
        )
    return cards[-1].parent
