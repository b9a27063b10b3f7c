"""Run directories: where new ones go, what they hold, which can be resumed. No lightning.

A run holds config.json (written first), model.safetensors and model.json (last), metrics.json,
evaluation.json, clips.jsonl, evaluation.html, tensorboard/ and checkpoints/ (the best weights; the
last epoch to resume from).
"""

from __future__ import annotations

import contextlib
import itertools
import os
import shlex
import shutil
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path

import safetensors
import torch

from fxtrain.answers import CLIPS_NAME
from fxtrain.checkpoint import (
    CARD_NAME,
    CONFIG_NAME,
    EVALUATION_NAME,
    METRICS_NAME,
    PAGE_NAME,
    WEIGHTS_NAME,
    ModelCard,
    check_data,
)
from fxtrain.config import Config, config_from_dict, replace_train
from fxtrain.contract import (
    ContractError,
    FxError,
    UsageError,
    cannot_write,
    from_dict,
    read_json,
    sole_writer,
)
from fxtrain.data import ShardDataset
from fxtrain.errors import CheckpointError
from fxtrain.finding import LAST_NAME as LAST_NAME
from fxtrain.finding import refuse_data_set

BEST_NAME = "checkpoints/best.safetensors"
BEST_SCORES_NAME = "checkpoints/best.json"
LOCK_NAME = ".busy"
NEW = "start a new run"
OWN_NAMES = (
    CONFIG_NAME,
    CARD_NAME,
    WEIGHTS_NAME,
    METRICS_NAME,
    EVALUATION_NAME,
    CLIPS_NAME,
    PAGE_NAME,
    "tensorboard",
    "checkpoints",
)
"""All that a run directory may hold; nothing else in it is ever removed."""


def new_run_folder(base: Path) -> Path:
    """Make ``base``/<local time>, with a number where that second is taken; nobody else gets it."""
    stamp = time.strftime("%Y%m%d-%H%M%S")
    for number in itertools.count(1):
        run = base / (stamp if number == 1 else f"{stamp}-{number}")
        try:
            with contextlib.suppress(FileExistsError):
                run.mkdir(parents=True)
                break
        except OSError as error:
            raise cannot_write(run, error) from None
    return run


@contextlib.contextmanager
def sole_fit(run: Path) -> Iterator[None]:
    """Nobody else trains into ``run`` meanwhile; a run that nothing was written to is not left."""
    busy = FxError(
        f"another fxtrain fit is writing {run}; wait until it has ended, or give another --output"
    )
    try:
        with sole_writer(run / LOCK_NAME, busy):
            yield
    finally:
        with contextlib.suppress(OSError):
            run.rmdir()  # unless something is in it


def claim(run: Path, *, overwrite: bool) -> None:
    """Make sure that ``run`` is free; with ``overwrite`` what a fit writes is removed from it."""
    refuse_data_set(run)
    there = [name for name in OWN_NAMES if (run / name).exists()]
    if not there:
        return
    if not overwrite:
        has_epochs = (run / LAST_NAME).is_file()
        go_on = f"go on with --resume {shlex.quote(str(run))}, " if has_epochs else ""
        raise UsageError(
            f"{run}: a run is there already ({', '.join(there)}); {go_on}"
            "replace it with --overwrite, or give another --output"
        )
    clear(run)


def clear(run: Path) -> None:
    """Remove what a fit writes, and nothing else."""
    for name in OWN_NAMES:
        if (run / name).is_dir():
            shutil.rmtree(run / name)
        else:
            (run / name).unlink(missing_ok=True)


def load_run_config(run: str | os.PathLike[str], *, max_epochs: int | None = None) -> Config:
    """The settings a run was begun with; ``max_epochs`` may be raised."""
    run = Path(run)
    where = run / CONFIG_NAME
    if not where.is_file() or not (run / LAST_NAME).is_file():
        missing = CONFIG_NAME if not where.is_file() else LAST_NAME
        raise CheckpointError(
            f"{run}: no {missing}, so there is nothing to resume; start a new run"
        )
    try:
        data = read_json(where.read_bytes(), str(where))
    except ContractError as error:
        raise CheckpointError(str(error)) from None
    config = config_from_dict(data, str(where))
    return config if max_epochs is None else replace_train(config, max_epochs=max_epochs)


def check_settings(run: Path, config: Config) -> None:
    """Raise UsageError unless ``run`` was begun with this ``config``, but for ``max_epochs``."""
    begun = load_run_config(run, max_epochs=config.train.max_epochs)
    for ours, theirs in ((begun.model, config.model), (begun.train, config.train)):
        for name, value in vars(ours).items():
            if value != getattr(theirs, name):
                raise UsageError(
                    f"{run}: it was begun with {name} {value}, {getattr(theirs, name)} is asked; "
                    "go on with the settings of fxtrain.runs.load_run_config, or " + NEW
                )


def check_resume(run: Path, dataset: ShardDataset, *, max_epochs: int | None = None) -> ModelCard:
    """The card that the run began with. Raises unless all is there that going on needs, and the
    shards are those of the run; a difference in pedals or codec is named.

    Nor may ``max_epochs`` be fewer than what the run has behind it.
    """
    card, done = read_last(run)
    check_best(run)
    check_data(card, dataset.index, dataset.folder.uri, all_codes=dataset.all_codes)
    if card.data_identity != dataset.index.identity:
        raise CheckpointError(
            f"{run}: these shards (identity {dataset.index.identity[:12]}) are not those that the "
            f"run began with ({card.data_identity[:12]}); resume on those, or {NEW}"
        )
    if max_epochs is not None and max_epochs < done:
        raise UsageError(
            f"{run}: {done} epochs are done, but {max_epochs} at most are asked for; give "
            f"--epochs {done} to end here, or more to go on"
        )
    return card


def check_best(run: Path) -> None:
    """Raise where the weights of the best epoch are not there, whole: training ends with them."""
    for name in (BEST_NAME, BEST_SCORES_NAME):
        if not (run / name).is_file():
            raise CheckpointError(f"{run / name} is gone, and the best epoch with it; {NEW}")
    try:
        with safetensors.safe_open(run / BEST_NAME, "pt"):
            pass
    except (OSError, safetensors.SafetensorError) as error:
        raise CheckpointError(f"{run / BEST_NAME}: damaged ({_line(error)}); {NEW}") from None


def read_last(run: Path) -> tuple[ModelCard, int]:
    """The card of a run that is to go on, and how many epochs it has behind it."""
    where = run / LAST_NAME
    try:
        with zipfile.ZipFile(where) as whole:  # torch itself believes any byte
            torn = whole.testzip()
        if torn is not None:
            raise CheckpointError(f"{torn} is not as it was written")
        held = torch.load(where, map_location="cpu", weights_only=True)
        card = from_dict(ModelCard, held["fxtrain"]["card"], str(where))
        return card, int(held["epoch"]) + 1
    except Exception as error:  # torch raises half a dozen types for files that are not its own
        raise CheckpointError(
            f"{where}: cannot be read ({_line(error)}); it may be damaged or come from another "
            f"program: {NEW}"
        ) from None


def _line(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:200]
