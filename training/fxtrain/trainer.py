"""Runs lightning's trainer, in this process or in one for each device. Knows nothing of scores."""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import math
import os
import signal
import threading
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

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
from lightning.pytorch.plugins.environments import LightningEnvironment
from lightning.pytorch.strategies import DDPStrategy
from torch.nn.attention import SDPBackend, sdpa_kernel

from fxtrain import ranks
from fxtrain.callbacks import (
    Flag,
    KeepBest,
    StayEnded,
    StopOnSignal,
    StopRequestedError,
    WholeCheckpoints,
)
from fxtrain.calm import keep_freed_memory
from fxtrain.checkpoint import ModelCard, card_of, new_model
from fxtrain.config import Config, TrainConfig
from fxtrain.contract import (
    ContractError,
    FxError,
    UsageError,
    n_cores,
    read_codebooks,
    shorten,
)
from fxtrain.data import ShardDataset
from fxtrain.errors import CheckpointError
from fxtrain.installed import versions_of
from fxtrain.models import Translator, resolve_model
from fxtrain.module import TranslatorModule
from fxtrain.ranks import Say
from fxtrain.runs import LAST_NAME, check_resume
from fxtrain.start import as_it_answers, deeper, load_start, take_over, with_ears_for_knobs
from fxtrain.weights import n_bytes, shapes_of

TRAINING_COPIES = 4
"""Of every weight: itself, its gradient, and the optimiser's two moments."""

LIBRARIES = ("fxpipe", "torch", "lightning", "numpy", "safetensors")
"""What shapes a model, and stands with its version in the card."""


def prepare(
    dataset: ShardDataset, config: Config, *, resume: Path | None = None
) -> tuple[ModelCard, Translator]:
    """The card and the model, with weights drawn from ``config.train.seed``, or those of the run
    that ``config.train.start_from`` names. The run ``resume`` needs none: it has begun.

    What the model knows from there stays known: recordings, and the licences they came with.
    """
    index = dataset.index
    begun = check_resume(resume, dataset, max_epochs=config.train.max_epochs) if resume else None
    before = load_start(None if resume else config.train.start_from)
    resolved = resolve_model(
        deeper(before, config) if before else with_ears_for_knobs(config),
        n_codebooks=index.codec.n_codebooks,
        has_mel=index.mel is not None,
        has_clues=index.clues is not None,
        # A run that knows tokens already may be taught without for a while.
        has_codes=before is not None or not index.mel_only,
        all_codes=dataset.all_codes,
    )
    if config.train.clues_lr is not None and not resolved.use_clues:
        raise UsageError(
            f"clues_lr is {config.train.clues_lr}, but this model hears no clues of the wave; "
            "leave it away, or take shards that hold them (encode --with-mel)"
        )
    try:
        dataset.shards_of("train")
        dataset.shards_of("valid")
    except ContractError as error:
        raise ContractError(
            f"{error}; fit needs train and valid: give shards beside these that hold the other, or "
            "render again with other --fractions"
        ) from None
    if not index.max_chain_length:
        raise ContractError(
            f"{dataset.folder.uri}: there is no pedal on any clip, so there is nothing to learn; "
            "render again with other --lengths"
        )
    card = card_of(index, resolved, versions_of(*LIBRARIES))
    if before:
        begun = before.card
    if begun:
        known = {*card.recordings.split(), *begun.recordings.split()}
        card = dataclasses.replace(
            card,
            recordings=" ".join(sorted(known)),
            licences=begun.licences | card.licences,
            shareable=begun.shareable and card.shareable,
        )
        if config.train.knobs_alone:
            card = as_it_answers(begun, card)
    memory, needed = machine_bytes(), TRAINING_COPIES * n_bytes(shapes_of(card))
    if needed > memory:
        raise UsageError(
            f"d_model {resolved.d_model} with {resolved.n_layers} layers takes "
            f"{needed / 1e9:.0f} GB or more to train, this machine has {memory / 1e9:.0f} GB; "
            "take a smaller model"
        )
    codebooks = torch.from_numpy(read_codebooks(dataset.folder, index))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.train.seed)
        model = new_model(card, codebooks)
    if before:
        take_over(before, card, model)
    return card, model


def machine_bytes() -> float:
    """Of memory; no limit where the system does not tell (Windows)."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError):
        return math.inf


@dataclass(frozen=True)
class Task:
    """What is to be trained, in words that can travel to another process."""

    dataset: ShardDataset
    config: Config
    run: Path
    resume: bool
    device: torch.device
    progress: bool


READER_DIED = "DataLoader worker"
"""In what torch says of it."""

StepTimes = list[dict[str, float]]
"""Of every epoch: mean milliseconds a step took, and of those waited for its batch."""


def train(
    task: Task,
    card: ModelCard,
    model: Translator,
    asked: Flag,
    say: Say,
    module_type: type[TranslatorModule] = TranslatorModule,
) -> StepTimes:
    """The epochs of one process, alone or one of several (then in a process of its own)."""
    config = task.config.train
    if task.device.type == "cpu":
        keep_freed_memory()
        torch.set_num_threads(min(torch.get_num_threads(), n_cores()))
    module = module_type(model, card, config, task.dataset)
    callbacks: list[Callback] = [KeepBest(task.run, say), StopOnSignal(asked), StayEnded(say)]
    with quiet_lightning():
        trainer = make_trainer(task.run, config, task.device, task.progress, callbacks)
        last = str(task.run / LAST_NAME) if task.resume else None
        with begins_or_says_why(module, last), attention(config.precision, task.device):
            trainer.fit(module, ckpt_path=last, weights_only=True if task.resume else None)
    return module.step_times


def attention(precision: str, device: torch.device) -> contextlib.AbstractContextManager[None]:
    """In plain products in bf16 on a CPU, where torch's fused attention takes four times as long
    on its way back (44 steps, torch 2.13); elsewhere as torch likes it."""
    plain = precision == "bf16" and device.type == "cpu"
    return sdpa_kernel(SDPBackend.MATH) if plain else contextlib.nullcontext()


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


def train_on_ranks(task: Task, say: Say) -> StepTimes:
    """:func:`train` on every device, each in a process of its own."""
    context = ranks.spawning()
    asked = context.Event()
    with stopped_by_ctrl_c(asked, say):
        found: StepTimes = ranks.run_ranks(
            train_rank, (task, asked), task.config.train.n_devices, say
        )
    return found


def train_rank(rank: int, say: Say, task: Task, asked: Flag) -> StepTimes:
    """What one of the processes does. All draw the same first weights, from the seed."""
    card, model = prepare(task.dataset, task.config, resume=task.run if task.resume else None)
    return train(task, card, model, asked, say)


def make_trainer(
    run: Path, config: TrainConfig, device: torch.device, progress: bool, more: list[Callback]
) -> Trainer:
    """lightning's trainer, set to be quiet and to keep what :func:`fit` needs."""
    accelerator = "gpu" if device.type == "cuda" else "cpu"
    # Who asks for plain epochs at the end wants to see the end.
    patience = config.max_epochs if config.plain_epochs else config.patience
    callbacks: list[Callback] = [
        LearningRateMonitor(logging_interval="step"),
        *more,
        EarlyStopping("valid/score", mode="max", patience=patience, check_finite=False),
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
        # The frozen tables are the same everywhere: sending them around each step is for nothing.
        strategy="auto" if config.n_devices == 1 else DDPStrategy(broadcast_buffers=False),
        precision=lightning_precision(config.precision, device),
        max_epochs=config.max_epochs,
        callbacks=callbacks,
        # Else lightning would take a Slurm job for its own way of starting processes.
        plugins=[WholeCheckpoints(), LightningEnvironment()],
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


@contextlib.contextmanager
def quiet_lightning() -> Iterator[None]:
    """Its notices about hardware, tips and loaders are not for the user of this program."""
    loggers = [logging.getLogger(name) for name in ("lightning.pytorch", "lightning.fabric")]
    levels = [logger.level for logger in loggers]
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module=r"lightning\.")
        warnings.filterwarnings("ignore", module=r"torch\.optim\.lr_scheduler")
        warnings.filterwarnings("ignore", r"This DataLoader will create \d+ worker processes")
        for logger in loggers:
            logger.setLevel(logging.ERROR)
        try:
            yield
        finally:
            for logger, level in zip(loggers, levels, strict=True):
                logger.setLevel(level)


@contextlib.contextmanager
def stopped_by_ctrl_c(asked: Flag, say: Say) -> Iterator[None]:
    """The first Ctrl-C ends training between two batches, the second one at once. SIGTERM, which a
    cluster sends before it ends a job, and a terminal that is closed count as the first; the latter
    not under nohup: there nobody hears of it. A cluster tells every process of a job at once: those
    that read batches may die of it first."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def ask(signum: int, frame: Any) -> None:
        asked.set()
        if signum == signal.SIGINT:
            say("stopping after this step; press Ctrl-C again to stop at once")
            signal.signal(signal.SIGINT, signal.default_int_handler)

    endings = [n for n in ranks.ENDINGS if signal.getsignal(n) == signal.SIG_DFL]
    before = {number: signal.signal(number, ask) for number in (signal.SIGINT, *endings)}
    try:
        yield
    except (RuntimeError, FxError) as error:
        if asked.is_set() and READER_DIED in str(error):
            raise StopRequestedError from None
        raise
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
