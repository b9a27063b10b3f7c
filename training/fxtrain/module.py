"""The training loop's body and callbacks; besides fit.py the only door to lightning.

Shapes: B batch, V pedal.
"""

from __future__ import annotations

import json
import math
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, cast

import numpy as np
import safetensors.torch
import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor
from torch.optim.swa_utils import AveragedModel

from fxtrain.checkpoint import ModelCard, load_state
from fxtrain.config import TrainConfig
from fxtrain.contract import FxError, LocalFolder, from_dict, read_json, to_dict
from fxtrain.data import ShardDataset
from fxtrain.data.stream import Batch, Loader, make_loader
from fxtrain.decode import batch_scorer, beam_search
from fxtrain.errors import CheckpointError
from fxtrain.metrics import confusion
from fxtrain.models import Translator
from fxtrain.objective import Losses, alphabetical, canonical_order, commute_table, losses
from fxtrain.runs import LAST_NAME
from fxtrain.tune import canonical

BEST_NAME = "checkpoints/best.safetensors"
BEST_SCORES_NAME = "checkpoints/best.json"
FINAL_LR = 0.02
Say = Callable[[str], None]


def say_on_stderr(text: str) -> None:
    """A log line; a named function, so that it can travel to other processes."""
    print(text, file=sys.stderr, flush=True)


def lr_factor(step: int, warmup_steps: int, n_steps: int) -> float:
    """Linear warm-up, then a cosine from 1 to ``FINAL_LR`` (Loshchilov & Hutter 2017)."""
    if step < warmup_steps:
        return (step + 1) / (warmup_steps + 1)
    done = min(1.0, (step - warmup_steps) / max(1, n_steps - warmup_steps))
    return FINAL_LR + (1 - FINAL_LR) * 0.5 * (1 + math.cos(math.pi * done))


class EpochLoader:
    """Tells the loader which epoch it is when iteration starts, so that resumed runs agree."""

    def __init__(self, loader: Loader, epoch: Callable[[], int]) -> None:
        self._loader, self._epoch = loader, epoch

    def __len__(self) -> int:
        return len(self._loader)

    def __iter__(self) -> Iterator[Batch]:
        self._loader.set_epoch(self._epoch())
        yield from self._loader


class TranslatorModule(LightningModule):  # type: ignore[misc]
    """One training step, one validation step. ``average`` is the model that is scored and kept."""

    commute: Tensor
    rank: Tensor

    def __init__(
        self, model: Translator, card: ModelCard, config: TrainConfig, dataset: ShardDataset
    ) -> None:
        super().__init__()
        self.model = model
        self.average = AveragedModel(model, avg_fn=self._mix)
        self.card, self.config, self.dataset = card, config, dataset
        table = commute_table(card.vocabulary, card.commuting_pairs)
        self.register_buffer("commute", table, persistent=False)
        self.register_buffer("rank", alphabetical(card.vocabulary), persistent=False)
        self.seen: list[tuple[tuple[str, ...], tuple[str, ...]]] = []
        self.validation: dict[str, float] = {}
        self.has_begun = False

    @property
    def scored(self) -> Translator:
        """The running mean of the weights, or the weights where none is kept."""
        averaged = cast(Translator, self.average.module)
        return averaged if self.config.average_decay else self.model

    def _mix(self, mean: Tensor, new: Tensor, _: Any) -> Tensor:
        step = self.global_step
        decay = min(self.config.average_decay, (1 + step) / (10 + step))
        return mean.lerp(new, 1 - decay)

    def _loader(self, split: str, *, train: bool) -> EpochLoader:
        config, several = self.config, self.trainer.world_size > 1
        loader = make_loader(
            self.dataset,
            split,
            batch_size=config.batch_size,
            seed=config.seed,
            shuffle=train,
            device=self.device,
            resident=config.resident,
            rank=self.trainer.global_rank,
            world_size=self.trainer.world_size,
            n_workers=config.n_workers,
            drop_last=train and several,
        )
        return EpochLoader(loader, lambda: self.trainer.current_epoch)

    def train_dataloader(self) -> EpochLoader:
        return self._loader("train", train=True)

    def val_dataloader(self) -> EpochLoader:
        return self._loader("valid", train=False)

    def transfer_batch_to_device(
        self, batch: Any, device: torch.device, dataloader_idx: int
    ) -> Any:
        return batch.to(device)

    def configure_optimizers(self) -> Any:
        matrices = [p for p in self.model.parameters() if p.ndim > 1]
        vectors = [p for p in self.model.parameters() if p.ndim <= 1]
        groups = [
            {"params": matrices, "weight_decay": self.config.weight_decay},
            {"params": vectors, "weight_decay": 0.0},
        ]
        optimizer = torch.optim.AdamW(groups, lr=self.config.lr)
        n_steps = int(self.trainer.estimated_stepping_batches)
        warmup = min(self.config.warmup_steps, n_steps // 5)
        schedule = torch.optim.lr_scheduler.LambdaLR(
            optimizer, lambda step: lr_factor(step, warmup, n_steps)
        )
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": schedule, "interval": "step", "name": "lr"},
        }

    def _writer(self) -> Any:
        """TensorBoard's writer on the first rank, None elsewhere."""
        return self.logger.experiment if self.trainer.is_global_zero and self.logger else None

    def on_fit_start(self) -> None:
        writer = self._writer()
        if writer is not None:
            rows = ", ".join((*self.card.vocabulary.names, "none"))
            writer.add_text("valid/confusion", f"Rows are true, columns predicted: {rows}.")

    def on_train_epoch_start(self) -> None:
        # Dropout draws from torch's own generator: setting it here makes an epoch repeatable.
        torch.manual_seed(
            self.config.seed * 100_003 + self.current_epoch * 1_009 + self.global_rank
        )

    def _losses(self, model: Translator, batch: Batch) -> tuple[Losses, Any]:
        order = batch.order
        if self.config.canonical:
            order = canonical_order(order, self.commute, self.rank)
        memory = model.encode(batch.codes, batch.mel)
        found = losses(
            model,
            memory,
            order,
            label_smoothing=self.config.label_smoothing,
            head_weight=self.config.head_weight,
        )
        return found, memory

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        found, _ = self._losses(self.model, batch)
        parts = {
            "train/loss": found.total,
            "train/tokens": found.tokens,
            "train/presence": found.presence,
            "train/precedence": found.precedence,
        }
        self.log_dict(
            {name: part.detach() for name, part in parts.items()},
            on_step=False,
            on_epoch=True,
            batch_size=len(batch),
        )
        return found.total

    def on_train_batch_end(self, outputs: Any, batch: Any, batch_idx: int) -> None:
        self.has_begun = True
        if self.config.average_decay:
            self.average.update_parameters(self.model)

    def on_validation_epoch_start(self) -> None:
        self.seen = []

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        model, rules = self.scored, self.card.rules
        found, memory = self._losses(model, batch)
        if not torch.isfinite(found.total):
            raise FxError(
                f"the loss became {float(found.total)} in epoch {self.current_epoch + 1}; "
                "start again with a lower --lr, or with --precision 32"
            )
        scorer = batch_scorer(model, memory)
        greedy = beam_search(scorer, len(batch), rules, beam_size=1, device=self.device)
        vocabulary, commutes = self.card.vocabulary, self.card.commuting_pairs
        counts = np.zeros(3)
        overlaps: list[tuple[int, int, int]] = []
        for hypotheses, ids, n in zip(
            greedy, batch.order.tolist(), batch.lengths.tolist(), strict=True
        ):
            true, said = tuple(ids[:n]), hypotheses[0].ids
            alike = canonical(true, vocabulary, commutes) == canonical(said, vocabulary, commutes)
            counts += (true == said, alike, set(true) == set(said))
            overlaps.append((len(set(true) & set(said)), len(set(said)), len(set(true))))
            self.seen.append(
                (
                    tuple(vocabulary.names[i] for i in true),
                    tuple(vocabulary.names[i] for i in said),
                )
            )
        exact, exact_class, right_set = (counts / len(batch)).tolist()
        self.log_dict(
            {
                "valid/loss": found.total,
                "valid/exact": exact,
                "valid/exact_class": exact_class,
                "valid/set": right_set,
            },
            batch_size=len(batch),
            sync_dist=self.trainer.world_size > 1,
        )
        hits, n_said, n_true = (float(sum(column)) for column in zip(*overlaps, strict=True))
        f1 = 2 * hits / max(n_said + n_true, 1.0)
        self.log_dict(
            # What decides: exact match up to orders that sound alike, and F1 of the pedals, which
            # still moves where no chain is right as a whole. F1 is a mean over batches here.
            {"valid/f1": f1, "valid/score": exact_class + f1},
            batch_size=len(batch),
            sync_dist=self.trainer.world_size > 1,
        )

    def on_validation_epoch_end(self) -> None:
        names = self.card.vocabulary.names
        truth, predicted = [y for y, _ in self.seen], [p for _, p in self.seen]
        image = confusion_image(confusion(truth, predicted, names))
        writer = self._writer()
        if writer is not None:
            writer.add_image("valid/confusion", image, self.global_step, dataformats="HWC")

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["fxtrain"] = {"card": to_dict(self.card), "train": to_dict(self.config)}

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        card = from_dict(ModelCard, checkpoint["fxtrain"]["card"], LAST_NAME)
        if card.data_identity != self.card.data_identity:
            raise CheckpointError(
                f"{LAST_NAME}: these shards (identity {self.card.data_identity[:12]}) are not the "
                f"ones the run began with ({card.data_identity[:12]}); resume on those, or start a "
                "new run"
            )


def confusion_image(counts: np.ndarray, cell: int = 16) -> np.ndarray:
    """uint8 [H, W, 3]: rows true, columns predicted, "none" last; shares of a row, white to blue.

    The names in order are in the text tab: drawing letters would need a plotting library.
    """
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    grid = np.kron(shares, np.ones((cell, cell)))[..., None]
    blue = np.array([20.0, 60.0, 160.0])
    image = 255.0 + grid * (blue - 255.0)
    image[::cell] = image[:, ::cell] = 200.0
    return image.astype(np.uint8)


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
        return (
            f"epoch {trainer.current_epoch + 1:3d}/{trainer.max_epochs}  "
            f"valid loss {now['loss']:.3f}  exact {now['exact']:.3f}  "
            f"class {now['exact_class']:.3f}  f1 {now['f1']:.3f}  {seconds:.0f} s"
            f"{'  best' if better else ''}"
        )

    def state_dict(self) -> dict[str, Any]:
        return {"best": dict(self.best)}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.best = dict(state_dict["best"])


def save_best(run: Path, model: Translator, scores: dict[str, float]) -> None:
    """The best weights so far and their validation scores, each whole or not at all."""
    state = {name: t.detach().cpu().contiguous() for name, t in model.state_dict().items()}
    LocalFolder(run).write(BEST_NAME, safetensors.torch.save(state))
    LocalFolder(run).write(BEST_SCORES_NAME, json.dumps(scores, indent=1).encode() + b"\n")


def load_best(run: Path, model: Translator) -> dict[str, float]:
    """Put the best weights of a run into ``model``; their validation scores come back."""
    path, scores = run / BEST_NAME, run / BEST_SCORES_NAME
    if not path.is_file() or not scores.is_file():
        raise CheckpointError(f"{path} is missing: no epoch of this run was finished")
    load_state(model, path.read_bytes(), str(path))
    found = read_json(scores.read_bytes(), str(scores))
    try:
        return {name: float(value) for name, value in found.items()}
    except (AttributeError, TypeError, ValueError):
        raise CheckpointError(f"{scores}: expected numbers by name, as fit writes them") from None


class StopOnSignal(Callback):  # type: ignore[misc]
    """Ends training after the batch during which ``asked`` was set."""

    def __init__(self) -> None:
        self.asked = False

    def on_train_batch_end(self, trainer: Trainer, *args: Any, **kwargs: Any) -> None:
        if self.asked:
            raise StopRequestedError


class StopRequestedError(Exception):
    """Ctrl-C, noticed between two batches."""
