"""The training loop's body: what a step, an epoch and a validation do. Imports lightning.

Shapes: B batch, V pedal.
"""

from __future__ import annotations

import copy
import functools
import math
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from lightning.pytorch import LightningModule
from torch import Tensor, nn

from fxtrain.checkpoint import ModelCard
from fxtrain.config import TrainConfig
from fxtrain.confusions import confusion
from fxtrain.contract import PAD, FxError, Record, to_dict
from fxtrain.data import ShardDataset
from fxtrain.data.stream import Batch, Loader, heard_fields, make_loader
from fxtrain.decode import beam_search
from fxtrain.kept import KeptStates
from fxtrain.listening import batch_scorer, encode
from fxtrain.metrics import classes_of
from fxtrain.models import Memory, Translator
from fxtrain.objective import (
    Losses,
    alphabetical,
    canonical_order,
    commute_table,
    knobs_alone,
    losses,
    part_counts,
)
from fxtrain.travel import Travel
from fxtrain.tune import names_of

FINAL_LR = 0.02


def lr_factor(step: int, warmup_steps: int, n_steps: int) -> float:
    """Linear warm-up, then a cosine from 1 to ``FINAL_LR`` (Loshchilov & Hutter 2017)."""
    if step < warmup_steps:
        return (step + 1) / (warmup_steps + 1)
    done = min(1.0, (step - warmup_steps) / max(1, n_steps - warmup_steps))
    return FINAL_LR + (1 - FINAL_LR) * 0.5 * (1 + math.cos(math.pi * done))


def groups_of(model: Translator, config: TrainConfig) -> list[dict[str, Any]]:
    """What is taught, as AdamW takes it: matrices decay and vectors do not, and ears for clues
    learn at a rate of their own where one is given."""
    groups: dict[tuple[bool, bool], list[nn.Parameter]] = {}
    for name, weight in model.named_parameters():
        if weight.requires_grad:
            own_rate = config.clues_lr is not None and name.startswith("encoder.clues.")
            groups.setdefault((own_rate, weight.ndim <= 1), []).append(weight)
    return [
        {
            "params": weights,
            "weight_decay": 0.0 if is_vector else config.weight_decay,
            "lr": config.clues_lr if own_rate else config.lr,
        }
        for (own_rate, is_vector), weights in sorted(groups.items(), key=lambda item: item[0])
    ]


class EpochLoader:
    """Tells the loader which epoch it is when iteration starts, so that resumed runs agree.

    ``waited_s`` is how long batches were waited for since :meth:`wait_ms` was last asked.
    """

    def __init__(self, loader: Loader, epoch: Callable[[], int]) -> None:
        self._loader, self._epoch = loader, epoch
        self._waited_s, self._n_batches = 0.0, 0

    def __len__(self) -> int:
        return len(self._loader)

    def __iter__(self) -> Iterator[Batch]:
        self._loader.set_epoch(self._epoch())
        batches = iter(self._loader)
        while True:
            asked = time.perf_counter()
            batch = next(batches, None)
            if batch is None:
                return
            self._waited_s += time.perf_counter() - asked
            self._n_batches += 1
            yield batch

    def wait_ms(self) -> float:
        """Mean wait for a batch since this was last called."""
        mean = 1000 * self._waited_s / max(1, self._n_batches)
        self._waited_s, self._n_batches = 0.0, 0
        return mean


def some_windows(n_windows: int) -> Tensor:
    """int64 [W']: from one to all of them, in order, drawn from torch's generator."""
    n_heard = int(torch.randint(1, n_windows + 1, ()))
    return torch.randperm(n_windows)[:n_heard].sort().values


PARTS = ("tokens", "presence", "precedence", "knobs")
COUNTS = ("n", "loss", "knob_loss", "exact", "exact_class", "set", "hits", "said", "true")


class TranslatorModule(LightningModule):  # type: ignore[misc]
    """One training step, one validation step. ``average`` is the model that is scored and kept.

    Sums are kept on the device and told to lightning once an epoch: telling it every step cost
    more than the optimiser. With several devices they are added up, so that scores count every
    sample exactly once, and a step's gradient is that of all its samples, however they are shared.
    """

    commute: Tensor
    rank: Tensor
    stop_wanted: Tensor

    def __init__(
        self, model: Translator, card: ModelCard, config: TrainConfig, dataset: ShardDataset
    ) -> None:
        super().__init__()
        self.model = model
        self.average = copy.deepcopy(model).requires_grad_(False)
        self.card, self.config, self.dataset = card, config, dataset
        table = commute_table(card.vocabulary, card.commuting_pairs)
        self.register_buffer("commute", table, persistent=False)
        self.register_buffer("rank", alphabetical(card.vocabulary), persistent=False)
        self.travel = Travel(card.vocabulary) if card.model.hear_knobs else None
        self.kept: dict[str, KeptStates] = {}
        if config.encoder_is_frozen:
            taught = "knob_head." if config.knobs_alone else ("decoder.", "head.", "knob_head.")
            for name, weight in model.named_parameters():
                weight.requires_grad_(name.startswith(taught))
            self.kept = {s: KeptStates(dataset.n_samples(s)) for s in ("train", "valid")}
        self.register_buffer("stop_wanted", torch.zeros(1), persistent=False)
        self.seen: list[tuple[tuple[str, ...], tuple[str, ...]]] = []
        self.has_begun = False
        self.step_times: list[dict[str, float]] = []

    @property
    def scored(self) -> Translator:
        """The running mean of the weights, or the weights where none is kept."""
        return self.average if self.config.average_decay else self.model

    @functools.cached_property
    def listed(self) -> tuple[Record, ...] | None:
        return self.dataset.listed_orders("valid")

    @property
    def several(self) -> bool:
        return bool(self.trainer.world_size > 1)

    def _sum_over_ranks(self, values: Tensor) -> Tensor:
        if self.several:
            torch.distributed.all_reduce(values)
        return values

    def _loader(self, split: str, *, train: bool) -> EpochLoader:
        config, model = self.config, self.card.model
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
            fields=heard_fields(model.use_mel, model.use_clues, model.hear_knobs),
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
        optimizer = torch.optim.AdamW(groups_of(self.model, self.config))
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
        plain_from = self.config.max_epochs - self.config.plain_epochs
        if self.current_epoch >= plain_from or self.config.encoder_is_frozen:
            self.model.hide_nothing()
        # [samples, samples times each of PARTS]
        self.sums = torch.zeros(1 + len(PARTS), device=self.device)
        self.weights: tuple[list[Tensor], list[Tensor]] = (
            list(self.model.parameters()),
            list(self.average.parameters()),
        )
        self.epoch_began = self.step_ended = time.perf_counter()

    def _target(self, batch: Batch) -> Tensor:
        if self.config.canonical:
            return canonical_order(batch.order, self.commute, self.rank)
        return batch.order

    def _losses(
        self,
        model: Translator,
        batch: Batch,
        order: Tensor,
        travel: Tensor | None,
        shares: Tensor | None = None,
    ) -> tuple[Losses, Memory]:
        memory = self._encode(model, batch)
        found = losses(
            model,
            memory,
            order,
            label_smoothing=self.config.label_smoothing,
            head_weight=self.config.head_weight,
            knob_weight=self.config.knob_weight,
            travel=travel,
            shares=shares,
        )
        return found, memory

    def _encode(self, model: Translator, batch: Batch) -> Memory:
        """Of a recording some windows, whichever, are taught at a time, and all are scored."""
        training, n_windows = self.trainer.training, batch.n_windows
        some = some_windows(n_windows) if training and n_windows > 1 else None
        if not self.config.encoder_is_frozen:
            return encode(model, batch if some is None else batch.with_windows(some))
        memory = self.kept["train" if training else "valid"].encode(model, batch)
        return memory if some is None else memory.with_windows(some, n_windows)

    def _travel(self, batch: Batch) -> Tensor | None:
        if self.travel is None or batch.params is None:
            return None
        turned: Tensor = self.travel(batch.order, batch.params)
        return turned

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        shares = None
        n_samples = len(batch)
        if self.several:
            # Devices in lock step: one that has no sample left goes along with one that weighs 0.
            batch = batch if n_samples else self._stand_in(batch)
        order, travel = self._target(batch), self._travel(batch)
        if self.several:
            counts = part_counts(order, self.model.n_pedals, travel)
            counts = counts * bool(n_samples)
            total = self._sum_over_ranks(torch.cat((counts, self.stop_wanted.to(counts))))
            # lightning takes the mean of the gradients over the devices.
            shares = self.trainer.world_size * counts / total[:-1].clamp_min(1.0)
            self.stop_agreed = total[-1]
        if self.config.knobs_alone and travel is not None:
            found = knobs_alone(self.model, self._encode(self.model, batch), travel, shares)
        else:
            found, _ = self._losses(self.model, batch, order, travel, shares)
        parts = torch.stack([getattr(found, name).detach() for name in PARTS])
        self.sums[0] += n_samples
        self.sums[1:] += n_samples * parts
        return found.total

    def _stand_in(self, batch: Batch) -> Batch:
        """One silent sample."""

        def zeros(tensor: Tensor) -> Tensor:
            return tensor.new_zeros((1, *tensor.shape[1:]))

        mel, params, clues = (
            None if stored is None else zeros(stored)
            for stored in (batch.mel, batch.params, batch.clues)
        )
        order, position = zeros(batch.order) + PAD, zeros(batch.position) - 1
        heard = zeros(batch.codes), mel, order, params, zeros(batch.lengths), position, clues
        return Batch(*heard, n_windows=batch.n_windows)

    def on_train_batch_end(self, outputs: Any, batch: Any, batch_idx: int) -> None:
        self.has_begun = True
        if self.config.average_decay:
            self._update_average()
        self.step_ended = time.perf_counter()

    def _update_average(self) -> None:
        # A short memory at first, as the weights then move fast.
        decay = min(self.config.average_decay, (1 + self.global_step) / (10 + self.global_step))
        with torch.no_grad():
            new, mean = self.weights
            if self.global_step <= 1:
                torch._foreach_copy_(mean, new)
            else:
                torch._foreach_lerp_(mean, new, 1 - decay)

    def on_train_epoch_end(self) -> None:
        sums = self._sum_over_ranks(self.sums)
        found = dict(zip(PARTS, (sums[1:] / sums[0].clamp_min(1.0)).tolist(), strict=True))
        heads = found["presence"] + found["precedence"]
        found["loss"] = found["tokens"] + self.config.head_weight * heads
        if self.travel is None:
            del found["knobs"]
        elif self.config.knobs_alone:
            found = {"knobs": found["knobs"], "loss": found["knobs"]}
        else:
            found["loss"] += self.config.knob_weight * found["knobs"]
        seconds = self.step_ended - self.epoch_began
        times = {
            "step_ms": 1000 * seconds / self.trainer.num_training_batches,
            "wait_ms": self.trainer.train_dataloader.wait_ms(),
        }
        self.step_times.append(times)
        self.log_dict({f"train/{name}": value for name, value in (found | times).items()})

    def on_validation_epoch_start(self) -> None:
        self.seen = []
        self.counts = torch.zeros(len(COUNTS), dtype=torch.float64, device=self.device)

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        if len(batch) == 0:
            return
        model, rules = self.scored, self.card.rules
        target, travel = self._target(batch), self._travel(batch)
        found, memory = self._losses(model, batch, target, travel)
        if not torch.isfinite(found.total):
            raise FxError(
                f"the loss became {float(found.total)} in epoch {self.current_epoch + 1}; "
                "start again with a lower --lr, or with --precision 32"
            )
        scorer = batch_scorer(model, memory)
        greedy = beam_search(scorer, len(batch), rules, beam_size=1)
        vocabulary, commutes = self.card.vocabulary, self.card.commuting_pairs
        lengths = batch.lengths.tolist()
        truth = [
            names_of(ids[:n], vocabulary)
            for ids, n in zip(batch.order.tolist(), lengths, strict=True)
        ]
        listed = self.listed and [self.listed[i] for i in batch.position.tolist()]
        classes = classes_of(truth, commutes, listed)
        counts = np.zeros(len(COUNTS))
        counts[:3] = len(batch) * np.array([1.0, float(found.total), float(found.knobs)])
        for hypotheses, alike in zip(greedy, classes, strict=True):
            true, said = alike.names, names_of(hypotheses[0].ids, vocabulary)
            both = set(true) & set(said)
            counts[3:6] += (true == said, alike.holds(said), set(true) == set(said))
            counts[6:] += (len(both), len(set(said)), len(set(true)))
            self.seen.append((true, said))
        self.counts += torch.from_numpy(counts).to(self.device)

    def on_validation_epoch_end(self) -> None:
        names = self.card.vocabulary.names
        counts = self._sum_over_ranks(self.counts).tolist()
        n, loss, knob_loss, exact, exact_class, right_set, hits, said, true = counts
        f1 = 2 * hits / max(said + true, 1.0)
        found = {
            "loss": loss / n,
            "exact": exact / n,
            "exact_class": exact_class / n,
            "set": right_set / n,
            "f1": f1,
            # What decides: exact match up to orders that sound alike, and F1 of the pedals, which
            # still moves where no chain is right as a whole.
            "score": exact_class / n + f1,
        }
        if self.travel is not None:
            found["knobs"] = knob_loss / n
        if self.config.knobs_alone:  # nothing else is taught, and nothing else decides
            found["loss"], found["score"] = found["knobs"], -found["knobs"]
        self.log_dict({f"valid/{name}": value for name, value in found.items()})
        truth, predicted = [y for y, _ in self.seen], [p for _, p in self.seen]
        table = torch.from_numpy(np.asarray(confusion(truth, predicted, names), np.float64))
        table = self._sum_over_ranks(table.to(self.device)).cpu()
        writer = self._writer()
        if writer is not None:
            image = confusion_image(table.numpy())
            writer.add_image("valid/confusion", image, self.global_step, dataformats="HWC")

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["fxtrain"] = {"card": to_dict(self.card), "train": to_dict(self.config)}


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
