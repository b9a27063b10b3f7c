"""Training a translator on shards, from settings to a run directory. Imports lightning.

A run directory holds config.json, model.safetensors and model.json (written last), metrics.json,
tensorboard/ and checkpoints/ (the best weights, and the last epoch to resume from).
"""

from __future__ import annotations

import contextlib
import dataclasses
import importlib.metadata
import json
import logging
import os
import signal
import threading
import time
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import (
    Callback,
    EarlyStopping,
    LearningRateMonitor,
    ModelCheckpoint,
    TQDMProgressBar,
)
from lightning.pytorch.loggers import TensorBoardLogger

from fxtrain.checkpoint import (
    CONFIG_NAME,
    METRICS_NAME,
    ModelCard,
    card_of,
    least_bytes,
    new_model,
    save_model,
)
from fxtrain.config import Config, TrainConfig, config_json
from fxtrain.contract import FxError, LocalFolder, UsageError, read_codebooks, shorten
from fxtrain.data import ShardDataset
from fxtrain.data.stream import make_loader
from fxtrain.device import resolve_device
from fxtrain.errors import CheckpointError, InterruptedFitError
from fxtrain.metrics import Score, ceilings, classes_of, fixed_order, scores
from fxtrain.models import Translator, resolve_model
from fxtrain.module import (
    KeepBest,
    Say,
    StopOnSignal,
    StopRequestedError,
    TranslatorModule,
    load_best,
    say_on_stderr,
)
from fxtrain.objective import losses
from fxtrain.runs import LAST_NAME
from fxtrain.tune import decode_batches, tune

TRAINING_COPIES = 4
"""Of every weight: itself, its gradient, and the optimiser's two moments."""

LIBRARIES = ("fxpipe", "torch", "lightning", "numpy", "safetensors")


@dataclass(frozen=True)
class Plan:
    """What a fit would do, without doing it; ``seconds`` is a guess from two timed steps."""

    n_train: int
    n_valid: int
    n_parameters: int
    steps_per_epoch: int
    max_epochs: int
    seconds: float
    device: str


@dataclass(frozen=True)
class FitResult:
    """A finished run: where it is, its best epoch, and its scores on the validation split.

    ``null`` and ``ceiling`` are of exact match there: the right pedals in textbook order, and a
    perfect listener.
    """

    path: Path
    card: ModelCard
    best_epoch: int
    seconds: float
    valid: dict[str, Score]
    null: float
    ceiling: float


def plan(dataset: ShardDataset, config: Config, device: str = "auto") -> Plan:
    """Counts, parameters, steps and a guess at the time."""
    place = resolve_device(device)
    _, model = prepare(dataset, config)
    model = model.to(place)
    train = config.train
    n_train, n_valid = dataset.n_samples("train"), dataset.n_samples("valid")
    steps = -(-n_train // (train.batch_size * train.n_devices))
    seconds = steps * train.max_epochs * seconds_a_step(dataset, model, train, place)
    return Plan(n_train, n_valid, model.n_parameters, steps, train.max_epochs, seconds, str(place))


def seconds_a_step(
    dataset: ShardDataset, model: Translator, config: TrainConfig, device: torch.device
) -> float:
    """Wall time of a training step on random codes, the first of two left out."""
    index = dataset.index
    n, codec = config.batch_size, index.codec
    codes = torch.zeros(n, codec.n_codebooks, index.n_frames, dtype=torch.int64, device=device)
    mel = torch.zeros(n, index.mel.n_mels, index.n_frames, device=device) if index.mel else None
    order = torch.zeros(n, index.max_chain_length, dtype=torch.int64, device=device)
    started = 0.0
    for step in range(2):
        if step == 1:
            started = time.perf_counter()
        memory = model.encode(codes, mel)
        found = losses(model, memory, order, label_smoothing=0.0, head_weight=1.0)
        found.total.backward()  # type: ignore[no-untyped-call]
        float(found.total.detach())
    return time.perf_counter() - started


def prepare(dataset: ShardDataset, config: Config) -> tuple[ModelCard, Translator]:
    """The card and the model, with weights drawn from ``config.train.seed``."""
    index = dataset.index
    resolved = resolve_model(
        config.model, n_codebooks=index.codec.n_codebooks, has_mel=index.mel is not None
    )
    dataset.shards_of("train")
    dataset.shards_of("valid")
    card = card_of(index, resolved, versions())
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    if TRAINING_COPIES * least_bytes(card) > memory:
        raise UsageError(
            f"d_model {resolved.d_model} with {resolved.n_layers} layers takes "
            f"{TRAINING_COPIES * least_bytes(card) / 1e9:.0f} GB or more to train, this machine "
            f"has {memory / 1e9:.0f} GB; take a smaller model"
        )
    codebooks = torch.from_numpy(read_codebooks(dataset.folder, index))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.train.seed)
        return card, new_model(card, codebooks)


def fit(
    dataset: ShardDataset,
    config: Config,
    run: Path,
    *,
    resume: bool = False,
    device: str = "auto",
    progress: bool = False,
    say: Say = say_on_stderr,
) -> FitResult:
    """Train, keep the best epoch by validation, tune decoding on it and save it in ``run``.

    Raises ``InterruptedFitError`` (with the line that goes on) when stopped by hand; what was best
    until then is saved and can be used.
    """
    started = time.monotonic()
    place = resolve_device(device)
    card, model = prepare(dataset, config)
    config = dataclasses.replace(config, model=card.model)
    folder = LocalFolder(run)
    folder.write(CONFIG_NAME, config_json(config))
    say(
        f"{run}: {dataset.n_samples('train')} samples, {card.model.kind} of "
        f"{model.n_parameters:,} parameters on {place}"
    )
    module = TranslatorModule(model, card, config.train, dataset)
    stop = StopOnSignal()
    try:
        with (
            quiet_lightning(),
            stopped_by_ctrl_c(stop, say, config.train.n_devices),
            torch.random.fork_rng(devices=[]),
        ):
            callbacks: list[Callback] = [KeepBest(run, say), stop]
            trainer = make_trainer(run, config.train, place, progress, callbacks)
            last = str(run / LAST_NAME) if resume else None
            with begins_or_says_why(module, last):
                trainer.fit(module, ckpt_path=last, weights_only=True if resume else None)
    except (StopRequestedError, KeyboardInterrupt, SystemExit):
        raise InterruptedFitError(interrupted(run, card, model, dataset)) from None
    except torch.OutOfMemoryError:
        raise FxError(
            f"{place} ran out of memory; give a smaller --batch-size than {config.train.batch_size}"
        ) from None
    best = load_best(run, model)
    return finish(run, card, model, dataset, config, place, best, started)


@contextlib.contextmanager
def begins_or_says_why(module: TranslatorModule, checkpoint: str | None) -> Iterator[None]:
    """What goes wrong before the first step of a resumed run is wrong in its checkpoint."""
    try:
        yield
    except Exception as error:
        known = isinstance(error, (FxError, StopRequestedError, torch.OutOfMemoryError))
        if checkpoint is None or module.has_begun or known:
            raise
        raise CheckpointError(
            f"{checkpoint}: cannot be resumed ({shorten(str(error))}); it is damaged or comes from "
            "another program: start a new run"
        ) from None


def finish(
    run: Path,
    card: ModelCard,
    model: Translator,
    dataset: ShardDataset,
    config: Config,
    device: torch.device,
    best: dict[str, float],
    started: float,
) -> FitResult:
    """Tune decoding on validation, score it there, and write the model and its metrics."""
    model = model.to(device).eval()
    loader = make_loader(
        dataset,
        "valid",
        batch_size=max(64, config.train.batch_size),
        seed=0,
        shuffle=False,
        device=device,
    )
    vocabulary, commutes = card.vocabulary, card.commuting_pairs
    settings = tune(model, loader, card.rules, card.decode, vocabulary, commutes)
    card = save_model(run, dataclasses.replace(card, decode=settings), model)
    found, truth = decode_batches(model, loader, card.rules, card.decode)
    chains = [tuple(vocabulary.names[i] for i in ids) for ids in truth]
    classes = classes_of(chains, commutes)
    valid = scores(
        chains,
        [tuple(vocabulary.names[i] for i in hypotheses[0].ids) for hypotheses in found],
        pedals=vocabulary.names,
        classes=classes,
        rng=np.random.default_rng(0),
    )
    textbook = fixed_order(chains, vocabulary.names)
    result = FitResult(
        *(run, card, int(best["epoch"]), time.monotonic() - started, valid),
        null=float(np.mean([t == y for t, y in zip(textbook, chains, strict=True)])),
        ceiling=ceilings(classes)["exact"],
    )
    LocalFolder(run).write(METRICS_NAME, metrics_json(result))
    return result


def metrics_json(result: FitResult) -> bytes:
    """``metrics.json``: validation scores with intervals; null where nothing counts."""
    valid = {name: score_dict(score) for name, score in result.valid.items()}
    data = {
        "best_epoch": result.best_epoch,
        "seconds": round(result.seconds, 1),
        "decode": dataclasses.asdict(result.card.decode),
        "valid": valid,
        "valid_exact_null": result.null,
        "valid_exact_ceiling": result.ceiling,
    }
    return json.dumps(data, indent=1, allow_nan=False).encode() + b"\n"


def score_dict(score: Score) -> dict[str, float | int | None]:
    """A score as JSON, null for NaN."""
    fields = dataclasses.asdict(score)
    return {name: None if value != value else value for name, value in fields.items()}


def make_trainer(
    run: Path, config: TrainConfig, device: torch.device, progress: bool, more: list[Callback]
) -> Trainer:
    """lightning's trainer, set to be quiet and to keep what :func:`fit` needs."""
    accelerator = "gpu" if device.type == "cuda" else "cpu"
    callbacks: list[Callback] = [
        LearningRateMonitor(logging_interval="step"),
        *more,
        EarlyStopping("valid/score", mode="max", patience=config.patience, check_finite=False),
        ModelCheckpoint(
            dirpath=run / Path(LAST_NAME).parent,
            filename=Path(LAST_NAME).stem,
            save_top_k=1,
            save_on_train_epoch_end=True,
            enable_version_counter=False,
        ),
    ]
    if progress:
        callbacks.append(TQDMProgressBar())
    one_device: Any = [device.index] if device.index is not None else 1
    return Trainer(
        accelerator=accelerator,
        devices=one_device if config.n_devices == 1 else config.n_devices,
        strategy="auto" if config.n_devices == 1 else "ddp_spawn",
        precision=lightning_precision(config.precision, device),
        max_epochs=config.max_epochs,
        callbacks=callbacks,
        logger=TensorBoardLogger(run, name="", version="tensorboard", default_hp_metric=False),
        gradient_clip_val=config.grad_clip,
        use_distributed_sampler=False,
        num_sanity_val_steps=0,
        log_every_n_steps=10,
        enable_progress_bar=progress,
        enable_model_summary=False,
    )


def lightning_precision(precision: str, device: torch.device) -> Any:
    """lightning's word for ours."""
    if precision == "auto":
        bf16 = device.type == "cuda" and torch.cuda.is_bf16_supported()
        precision = "bf16" if bf16 else "32"
    if precision == "16" and device.type == "cpu":
        raise UsageError("precision 16 needs a GPU; use 32 or bf16 here")
    return {"32": "32-true", "bf16": "bf16-mixed", "16": "16-mixed"}[precision]


def interrupted(run: Path, card: ModelCard, model: Translator, dataset: ShardDataset) -> str:
    """Save what is best so far; the message says how to go on."""
    if not (run / LAST_NAME).is_file():
        return "stopped before the first epoch was finished; run the same command again"
    load_best(run, model)
    save_model(run, card, model)
    shards = " ".join(dict.fromkeys(shard.folder.uri for shard in dataset.shards))
    return (
        f"stopped; the best epoch so far is saved. Go on with: fxtrain fit {shards} --resume {run}"
    )


def versions() -> dict[str, str]:
    """Versions of what shaped the result; a package run from its sources has none."""
    found = {}
    for name in LIBRARIES:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found[name] = importlib.metadata.version(name)
    return found


@contextlib.contextmanager
def quiet_lightning() -> Iterator[None]:
    """Its notices about hardware, tips and loaders are not for the user of this program."""
    loggers = [logging.getLogger(name) for name in ("lightning.pytorch", "lightning.fabric")]
    levels = [logger.level for logger in loggers]
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module=r"lightning\.")
        warnings.filterwarnings("ignore", module=r"torch\.optim\.lr_scheduler")
        for logger in loggers:
            logger.setLevel(logging.ERROR)
        try:
            yield
        finally:
            for logger, level in zip(loggers, levels, strict=True):
                logger.setLevel(level)


@contextlib.contextmanager
def stopped_by_ctrl_c(stop: StopOnSignal, say: Say, n_devices: int) -> Iterator[None]:
    """The first Ctrl-C ends training between two batches, the second one at once."""
    if n_devices > 1 or threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.getsignal(signal.SIGINT)

    def ask(signum: int, frame: Any) -> None:
        stop.asked = True
        say("stopping after this step; press Ctrl-C again to stop at once")
        signal.signal(signal.SIGINT, signal.default_int_handler)

    signal.signal(signal.SIGINT, ask)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
