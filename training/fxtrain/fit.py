"""Training a translator on shards, from settings to a run directory. Imports lightning.

A run directory holds config.json, model.safetensors and model.json (written last), metrics.json,
tensorboard/ and checkpoints/ (the best weights, and the last epoch to resume from).
"""

from __future__ import annotations

import dataclasses
import json
import os
import shlex
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from fxtrain.answers import CLIPS_NAME
from fxtrain.callbacks import StopRequestedError, load_best
from fxtrain.checkpoint import (
    CONFIG_NAME,
    EVALUATION_NAME,
    METRICS_NAME,
    PAGE_NAME,
    ModelCard,
    read_card,
    save_model,
    warning_of_leak,
)
from fxtrain.columns import without_nan
from fxtrain.config import Config, TrainConfig, config_json
from fxtrain.contract import FxError, LocalFolder, UsageError, legible, starved
from fxtrain.contract.errors import UnwrittenError
from fxtrain.contract.folder import CUT_URI
from fxtrain.data import ShardDataset
from fxtrain.data.stream import Batch, heard_fields, make_loader
from fxtrain.decode import best_ids
from fxtrain.device import resolve_device
from fxtrain.errors import DiedError, InterruptedFitError
from fxtrain.evaluate import provenance
from fxtrain.finding import RUNS
from fxtrain.intervals import Score
from fxtrain.listening import encode
from fxtrain.metrics import ceilings, classes_of, fixed_order, scores
from fxtrain.models import Memory, Translator
from fxtrain.objective import Losses, knobs_alone, losses
from fxtrain.ranks import Say
from fxtrain.runs import (
    LAST_NAME,
    check_settings,
    claim,
    clear,
    new_run_folder,
    read_last,
    sole_fit,
)
from fxtrain.start import what_is_known
from fxtrain.trainer import (
    READER_DIED,
    StepTimes,
    Task,
    lightning_precision,
    prepare,
    stopped_by_ctrl_c,
    train,
    train_on_ranks,
)
from fxtrain.tune import decode_batches, names_of, some_of, tune


def say_on_stderr(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


@dataclass(frozen=True)
class Plan:
    """What a fit would do, without doing it; ``n_done`` of the epochs are done already.
    ``seconds``, of the others, is a guess from two timed steps."""

    n_train: int
    n_valid: int
    n_parameters: int
    steps_per_epoch: int
    max_epochs: int
    n_done: int
    seconds: float
    device: str


@dataclass(frozen=True)
class FitResult:
    """A finished run: where it is, its best epoch, and its scores on the validation split.

    ``null`` and ``ceiling`` are of exact match there: the right pedals in textbook order, and a
    perfect listener. ``step_ms`` is what a training step took, ``wait_ms`` how much of that was
    spent waiting for its batch.
    """

    path: Path
    card: ModelCard
    best_epoch: int
    seconds: float
    valid: dict[str, Score]
    null: float
    ceiling: float
    step_ms: float | None
    wait_ms: float | None


def plan(
    dataset: ShardDataset, config: Config, device: str = "auto", resume: Path | None = None
) -> Plan:
    """Counts, parameters, steps and a guess at the time. ``resume``: a run that is to go on."""
    place = resolve_device(device)
    _, model = prepare(dataset, config, resume=resume)
    model = model.to(place)
    train = config.train
    n_train, n_valid = dataset.n_samples("train"), dataset.n_samples("valid")
    steps = -(-n_train // (train.batch_size * train.n_devices))
    n_done = read_last(resume)[1] if resume else 0
    n_left = train.max_epochs - n_done
    seconds = steps * seconds_of_steps(dataset, model, train, place, n_left) if n_left else 0.0
    return Plan(
        *(n_train, n_valid, model.n_parameters, steps, train.max_epochs, n_done, seconds),
        device=str(place),
    )


def seconds_of_steps(
    dataset: ShardDataset,
    model: Translator,
    config: TrainConfig,
    device: torch.device,
    n_epochs: int,
) -> float:
    """What one batch costs over ``n_epochs``, on random codes. Where the encoder is not taught, it
    is encoded once, and heard in every epoch. Of a recording a lesson hears half of the windows,
    taken over all lessons."""
    index = dataset.index
    n, codec = config.batch_size, index.codec
    codes = torch.zeros(n, codec.n_codebooks, index.n_frames, dtype=torch.int64, device=device)
    mel = torch.zeros(n, index.mel.n_mels, index.n_frames, device=device) if index.mel else None
    clues = torch.zeros(n, index.n_clues, device=device) if index.clues else None
    order = torch.zeros(n, index.max_chain_length, dtype=torch.int64, device=device)
    places, vocabulary = torch.arange(n, device=device), index.vocabulary
    batch = Batch(codes, mel, order, None, order[:, 0], places, clues, index.n_windows)
    travel = torch.zeros(n, len(vocabulary.pedals), vocabulary.max_params, device=device)

    some = torch.arange((index.n_windows + 1) // 2)

    def hear() -> Memory:
        with torch.no_grad():
            return encode(model, batch)

    def teach(memory: Memory) -> None:
        if config.knobs_alone:
            _follow(knobs_alone(model, memory, travel))
            return
        told = travel if model.config.hear_knobs else None
        _follow(losses(model, memory, order, label_smoothing=0.0, head_weight=1.0, travel=told))

    if config.encoder_is_frozen:
        memory = hear().with_windows(some, index.n_windows)
        return _seconds(hear) + n_epochs * _seconds(lambda: teach(memory))
    lesson = batch.with_windows(some)
    return n_epochs * _seconds(lambda: teach(encode(model, lesson)))


def _follow(found: Losses) -> None:
    found.total.backward()  # type: ignore[no-untyped-call]
    float(found.total.detach())  # which waits for a GPU


def _seconds(work: Callable[[], object]) -> float:
    """Of the second time; the first starts up."""
    work()
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def fit(
    dataset: ShardDataset,
    config: Config,
    run: str | os.PathLike[str] | None = None,
    *,
    resume: bool = False,
    overwrite: bool = False,
    device: str = "auto",
    progress: bool = False,
    say: Say = say_on_stderr,
) -> FitResult:
    """Train, keep the best epoch by validation, tune decoding on it and save it in ``run``.

    Without ``run`` a new one is made in ``runs/``. A run that is there is replaced only with
    ``overwrite``, and not before everything that training needs is found to be there. ``resume``
    goes on with it, by the ``config`` it was begun with; ``max_epochs`` may be raised.
    Raises ``InterruptedFitError`` (with the line that goes on) when stopped by hand; what was best
    until then is saved and can be used.
    """
    started, n_threads = time.monotonic(), torch.get_num_threads()
    run = None if run is None else Path(run)
    if run is not None and CUT_URI.match(str(run)):
        raise UsageError(
            f"{run}: a run is written to a directory of this machine, not to a store; give a "
            "path, and copy it there when it is finished"
        )
    if run is not None and legible(str(run)) != str(run):
        raise UsageError(
            f"{run}: no text in UTF-8, and TensorBoard writes nowhere else; give a run directory "
            "with another path (-o)"
        )
    if run is None and resume:
        raise UsageError("resume goes on with a run: name it, or leave resume away")
    place = resolve_device(device)
    lightning_precision(config.train.precision, place)
    card, model = prepare(dataset, config, resume=run if resume else None)
    for split in ("valid", "test"):
        if leak := warning_of_leak(card, dataset.index, split):
            say(leak)
    if not resume and (known := what_is_known(config.train.start_from, card)):
        say(known)
    if run is None:
        run = new_run_folder(RUNS)
    config = dataclasses.replace(config, model=card.model)
    if resume:
        check_settings(run, config)
    task = Task(dataset, config, run, resume, place, progress)
    with sole_fit(run):
        if not resume:
            claim(run, overwrite=overwrite)
        try:
            times = teach(task, card, model, say)
            if not times:
                say("no epoch is left to train; what follows training is done now")
            best = load_best(run, model)
            return finish(run, card, model, dataset, config, place, best, started, times)
        except BaseException as error:
            if not (run / LAST_NAME).is_file():
                clear(run)  # nothing that could be gone on with
                raise
            if (told := with_the_way_on(error, task)) is error:
                raise
            raise told from None
        finally:
            torch.set_num_threads(n_threads)  # which training may have lowered


def with_the_way_on(error: BaseException, task: Task) -> BaseException:
    """``error`` of a run that can be gone on with; where it says to begin again, or nothing, it
    says how."""
    if isinstance(error, (KeyboardInterrupt, SystemExit)):
        return InterruptedFitError(
            f"stopped before decoding was tuned; no epoch is lost. Finish with: {go_on(task)}"
        )
    if isinstance(error, torch.OutOfMemoryError):
        return FxError(
            f"{task.device} ran out of memory after training; no epoch is lost. Finish without it: "
            f"{go_on(task)} --device cpu"
        )
    if isinstance(error, UnwrittenError):
        return FxError(
            f"{error.problem}; what was trained before is kept: mend that, then go on with: "
            f"{go_on(task)}"
        )
    if problem := str(error) if isinstance(error, DiedError) else starved(error):
        return FxError(f"{problem}. What the last epoch saved is kept; go on with: {go_on(task)}")
    return error


def teach(task: Task, card: ModelCard, model: Translator, say: Say) -> StepTimes:
    """Train, on one device or several; what steps took. Raises as ``fit`` does."""
    config, run, place = task.config, task.run, task.device
    n_devices = config.train.n_devices
    LocalFolder(run).write(CONFIG_NAME, config_json(config))
    where = place if n_devices == 1 else f"{n_devices} devices"
    say(
        f"{run}: {task.dataset.n_samples('train')} samples, {card.model.kind} of "
        f"{model.n_parameters:,} parameters on {where}"
    )
    try:
        if n_devices > 1:
            return train_on_ranks(task, say)
        asked = threading.Event()
        with stopped_by_ctrl_c(asked, say), torch.random.fork_rng(devices=[]):
            return train(task, card, model, asked, say)
    except (StopRequestedError, KeyboardInterrupt, SystemExit):
        raise InterruptedFitError(interrupted(task, card, model)) from None
    except torch.OutOfMemoryError:
        raise FxError(
            f"{place} ran out of memory; give a smaller --batch-size than {config.train.batch_size}"
        ) from None
    except RuntimeError as error:
        if READER_DIED not in str(error):
            raise
        raise DiedError(
            "a process that reads batches (n_workers) died; if memory ran out, take fewer"
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
    times: StepTimes,
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
        resident=config.train.resident,
        fields=heard_fields(card.model.use_mel, card.model.use_clues),
    )
    vocabulary, commutes = card.vocabulary, card.commuting_pairs
    listed = dataset.listed_orders("valid")
    groups = provenance(dataset, "valid").groups
    if not config.train.knobs_alone:
        some = some_of(loader, dataset.n_samples("valid"))
        settings = tune(model, some, card.rules, card.decode, vocabulary, commutes, listed, groups)
        card = dataclasses.replace(card, decode=settings)
    card = put_model(run, card, model)
    found, truth = decode_batches(model, loader, card.rules, card.decode)
    said = [names_of(best_ids(each, vocabulary, commutes), vocabulary) for each in found]
    chains = [names_of(ids, vocabulary) for ids in truth]
    classes = classes_of(chains, commutes, listed)
    valid = scores(
        *(chains, said),
        families=vocabulary.families,
        classes=classes,
        groups=groups,
        rng=np.random.default_rng(0),
    )
    textbook = fixed_order(chains, vocabulary.names)
    took = timings_of(run, times)
    result = FitResult(
        *(run, card, int(best["epoch"]), time.monotonic() - started, valid),
        null=float(np.mean([t == y for t, y in zip(textbook, chains, strict=True)])),
        ceiling=ceilings(classes, said)["exact"],
        step_ms=took["step_ms"],
        wait_ms=took["wait_ms"],
    )
    LocalFolder(run).write(METRICS_NAME, metrics_json(result))
    return result


def put_model(run: Path, card: ModelCard, model: Translator) -> ModelCard:
    """The model in its run; scores of other weights do not stay beside it."""
    before = None
    with suppress(FxError):
        before = read_card(run).weights
    card = save_model(run, card, model)
    if card.weights != before:
        for name in (METRICS_NAME, EVALUATION_NAME, CLIPS_NAME, PAGE_NAME):
            (run / name).unlink(missing_ok=True)
    return card


def timings_of(run: Path, times: StepTimes) -> dict[str, float | None]:
    """``step_ms`` and ``wait_ms``: medians over the epochs, so that the first, which starts up,
    hardly counts; those of before, where a finished run is resumed without an epoch."""
    names = ("step_ms", "wait_ms")
    if times:
        return {name: round(float(np.median([each[name] for each in times])), 3) for name in names}
    try:
        found = json.loads((run / METRICS_NAME).read_bytes())
        return {name: found[name] for name in names}
    except (OSError, ValueError, KeyError, TypeError):
        return dict.fromkeys(names)


def metrics_json(result: FitResult) -> bytes:
    """``metrics.json``: validation scores with intervals; null where nothing counts."""
    data = {
        "best_epoch": result.best_epoch,
        "seconds": round(result.seconds, 1),
        "step_ms": result.step_ms,
        "wait_ms": result.wait_ms,
        "decode": dataclasses.asdict(result.card.decode),
        "valid": {n: without_nan(dataclasses.asdict(s)) for n, s in result.valid.items()},
        "valid_exact_null": result.null,
        "valid_exact_ceiling": result.ceiling,
    }
    return json.dumps(data, indent=1, allow_nan=False).encode() + b"\n"


def interrupted(task: Task, card: ModelCard, model: Translator) -> str:
    """Save what is best so far; the message says how to go on."""
    run = task.run
    if not (run / LAST_NAME).is_file():
        return "stopped before the first epoch was finished; run the same command again"
    load_best(run, model)
    with suppress(FxError):  # as an earlier end of this run was tuned
        card = dataclasses.replace(card, decode=read_card(run).decode)
    put_model(run, card, model)
    return f"stopped; the best epoch so far is saved. Go on with: {go_on(task)}"


def go_on(task: Task) -> str:
    """The line to type."""
    shards = dict.fromkeys(shard.folder.uri for shard in task.dataset.shards)
    return shlex.join(["fxtrain", "fit", *shards, "--resume", str(task.run)])
