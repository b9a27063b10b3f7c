"""What happens around training: what is kept of it, Ctrl-C is heard. Imports lightning."""

from __future__ import annotations

import io
import json
import math
import signal
import threading
import time
from pathlib import Path
from typing import Any, Protocol

import safetensors.torch
import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.plugins.io import TorchCheckpointIO

from fxtrain.checkpoint import load_state
from fxtrain.contract import LocalFolder, read_json
from fxtrain.errors import CheckpointError
from fxtrain.models import Translator
from fxtrain.module import TranslatorModule
from fxtrain.ranks import Say
from fxtrain.runs import BEST_NAME, BEST_SCORES_NAME, NEW


class KeepBest(Callback):  # type: ignore[misc]
    """Writes the scored model whenever validation is better than ever, as safetensors."""

    def __init__(self, run: Path, say: Say) -> None:
        self.run, self.say = run, say
        self.best: dict[str, float] = {}
        self.started = time.monotonic()

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        now = {
            name.removeprefix("valid/"): float(value)
            for name, value in trainer.callback_metrics.items()
            if name.startswith("valid/")
        }
        now["epoch"] = trainer.current_epoch + 1
        better = now["score"] > self.best.get("score", -math.inf)
        if better:
            self.best = now
        if trainer.is_global_zero:
            if better:
                assert isinstance(pl_module, TranslatorModule)
                save_best(self.run, pl_module.scored, now)
            if not trainer.progress_bar_callback:
                self.say(self.line(trainer, now, better))

    def line(self, trainer: Trainer, now: dict[str, float], better: bool) -> str:
        seconds = time.monotonic() - self.started
        knobs = f"knobs {now['knobs']:.3f}  " if "knobs" in now else ""
        return (
            f"epoch {trainer.current_epoch + 1:3d}/{trainer.max_epochs}  "
            f"valid loss {now['loss']:.3f}  exact {now['exact']:.3f}  "
            f"class {now['exact_class']:.3f}  f1 {now['f1']:.3f}  {knobs}{seconds:.0f} s"
            f"{'  best' if better else ''}"
        )

    def state_dict(self) -> dict[str, Any]:
        return {"best": dict(self.best)}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.best = dict(state_dict["best"])


class StayEnded(Callback):  # type: ignore[misc]
    """A run that ended because its patience was used up trains no further when it is resumed."""

    def __init__(self, say: Say) -> None:
        self.say = say

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        stopping = trainer.early_stopping_callback
        if stopping is not None and stopping.wait_count >= stopping.patience:
            trainer.should_stop = True
            if trainer.is_global_zero:
                self.say(
                    f"this run is over: its last {stopping.wait_count} epoch(s) were no better "
                    f"(patience {stopping.patience})"
                )


def save_best(run: Path, model: Translator, scores: dict[str, float]) -> None:
    """The best weights so far and their validation scores, each whole or not at all."""
    state = {name: t.detach().cpu().contiguous() for name, t in model.state_dict().items()}
    LocalFolder(run).write(BEST_NAME, safetensors.torch.save(state))
    LocalFolder(run).write(BEST_SCORES_NAME, json.dumps(scores, indent=1).encode() + b"\n")


def load_best(run: Path, model: Translator) -> dict[str, float]:
    """Put the best weights of a run into ``model``; their validation scores come back."""
    path, scores = run / BEST_NAME, run / BEST_SCORES_NAME
    if not path.is_file() or not scores.is_file():
        raise CheckpointError(
            f"{path} or {scores.name} is missing: no epoch was finished, or it was removed; {NEW}"
        )
    load_state(model, path.read_bytes(), str(path))
    found = read_json(scores.read_bytes(), str(scores))
    try:
        return {name: float(value) for name, value in found.items()}
    except (AttributeError, TypeError, ValueError):
        raise CheckpointError(f"{scores}: expected numbers by name, as fit writes them") from None


class WholeCheckpoints(TorchCheckpointIO):  # type: ignore[misc]
    """Writes a checkpoint beside the one it replaces, then puts it in its place.

    lightning writes into the system's temporary folder. From there to another file system a file is
    copied, over the one that was there: stopped on the way, neither of them is left.
    """

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None
    ) -> None:
        data = io.BytesIO()
        torch.save(checkpoint, data)
        target = Path(path)
        LocalFolder(target.parent).write(target.name, data.getvalue())


class Flag(Protocol):
    """An event of a thread or of a process."""

    def is_set(self) -> bool: ...

    def set(self) -> None: ...


class StopOnSignal(Callback):  # type: ignore[misc]
    """Ends training between two batches once ``asked`` is set.

    Several devices have to stop after the same step: what each was asked travels with the counts
    that they add up anyway, and is looked at every few steps, because looking waits for the device.
    """

    EVERY = 10

    def __init__(self, asked: Flag) -> None:
        self.asked = asked
        self.on_sigterm = signal.getsignal(signal.SIGTERM)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """lightning would end one of several processes, and the others would wait for it."""
        mine = threading.current_thread() is threading.main_thread()
        if mine and self.on_sigterm is not None:  # None: not Python's to put back
            signal.signal(signal.SIGTERM, self.on_sigterm)

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int
    ) -> None:
        if trainer.world_size > 1 and self.asked.is_set():
            assert isinstance(pl_module, TranslatorModule)
            pl_module.stop_wanted.fill_(1.0)

    def on_train_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        assert isinstance(pl_module, TranslatorModule)
        if trainer.world_size == 1:
            stop = self.asked.is_set()
        else:
            stop = batch_idx % self.EVERY == 0 and bool(pl_module.stop_agreed)
        if stop:
            raise StopRequestedError


class StopRequestedError(Exception):
    """Ctrl-C, noticed between two batches."""
