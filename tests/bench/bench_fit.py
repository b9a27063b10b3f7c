"""Steps a second of ``fxtrain fit`` against a bare torch loop: same model, same batches.

    python tests/bench/bench_fit.py [--samples 1920] [--batch-size 64] [--repeats 3] [--model gru]

The bare loop does what has to be done and nothing else: forward, the three losses, backward,
clipping, AdamW, the schedule, on batches that lie ready in memory. "with averaging" adds the
running mean of the weights, which is part of our recipe. ``fit`` is lightning's trainer with all
that a run has: shuffled batches from shards, averaging, logging, the stop button. Its epochs are
timed from the first batch to the last; validation and saving are shown apart. Epochs of all ways
alternate in one process and the best of each is printed.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback

sys.path.insert(0, str(Path(__file__).parent.parent))

from fixtures.shards import make_shards
from fxtrain.callbacks import KeepBest, StopOnSignal
from fxtrain.config import Config, ModelConfig, TrainConfig
from fxtrain.data import ShardDataset, open_shards
from fxtrain.data.stream import Batch, heard_fields, make_loader
from fxtrain.module import TranslatorModule, lr_factor
from fxtrain.objective import alphabetical, canonical_order, commute_table, losses
from fxtrain.trainer import make_trainer, prepare, quiet_lightning

CPU = torch.device("cpu")
PEDALS = ("compressor", "distortion", "overdrive", "fuzz", "chorus", "phaser", "delay", "reverb")


class BareLoop:
    """One epoch of plain torch, again and again."""

    def __init__(self, dataset: ShardDataset, config: Config, *, average: bool) -> None:
        self.card, self.model = prepare(dataset, config)
        self.config = config.train
        loader = make_loader(
            dataset,
            "train",
            batch_size=self.config.batch_size,
            seed=0,
            shuffle=True,
            fields=heard_fields(self.card.model.use_mel, self.card.model.use_clues),
        )
        self.batches: list[Batch] = list(loader)
        matrices = [p for p in self.model.parameters() if p.ndim > 1]
        vectors = [p for p in self.model.parameters() if p.ndim <= 1]
        self.optimizer = torch.optim.AdamW(
            [
                {"params": matrices, "weight_decay": self.config.weight_decay},
                {"params": vectors, "weight_decay": 0.0},
            ],
            lr=self.config.lr,
        )
        n_steps = self.config.max_epochs * len(self.batches)
        self.schedule = torch.optim.lr_scheduler.LambdaLR(
            self.optimizer, lambda step: lr_factor(step, 100, n_steps)
        )
        self.commute = commute_table(self.card.vocabulary, self.card.commuting_pairs)
        self.rank = alphabetical(self.card.vocabulary)
        self.mean = [p.detach().clone() for p in self.model.parameters()] if average else None

    def epoch(self) -> float:
        """Steps a second."""
        config = self.config
        self.model.train()
        began = time.perf_counter()
        for batch in self.batches:
            order = canonical_order(batch.order, self.commute, self.rank)
            memory = self.model.encode(batch.codes, batch.mel, batch.clues)
            found = losses(
                self.model,
                memory,
                order,
                label_smoothing=config.label_smoothing,
                head_weight=config.head_weight,
            )
            self.optimizer.zero_grad()
            found.total.backward()
            torch.nn.utils.clip_grad_norm_(self.model.parameters(), config.grad_clip)
            self.optimizer.step()
            self.schedule.step()
            if self.mean is not None:
                with torch.no_grad():
                    weights: list[Any] = list(self.model.parameters())
                    torch._foreach_lerp_(self.mean, weights, 1 - config.average_decay)
        return len(self.batches) / (time.perf_counter() - began)


class Turns(Callback):  # type: ignore[misc]
    """Lets the other ways run an epoch between two of lightning's, and reads its clock."""

    def __init__(self, others: Callable[[], None]) -> None:
        self.others = others
        self.rates: list[float] = []
        self.rest_s: list[float] = []
        self.ended = 0.0

    def on_train_epoch_start(self, trainer: Any, pl_module: Any) -> None:
        if self.ended:
            self.rest_s.append(time.perf_counter() - self.ended)
        self.others()
        pl_module.epoch_began = self.began = time.perf_counter()

    def on_train_batch_end(self, trainer: Any, pl_module: Any, *args: Any) -> None:
        self.ended = time.perf_counter()

    def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
        self.rates.append(trainer.num_training_batches / (self.ended - self.began))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--samples", type=int, default=1920)
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--model", choices=("transformer", "gru"), action="append")
    args = parser.parse_args()
    print("| model, loader | way | steps/s | of bare + averaging | ms waited a step |")
    print("| --- | --- | ---: | ---: | ---: |")
    with tempfile.TemporaryDirectory() as scratch:
        make_shards(
            Path(scratch) / "shards",
            n_train=args.samples,
            n_valid=256,
            n_test=0,
            n_codebooks=9,
            codebook_size=1024,
            n_audio_samples=88_200,
            shard_size=1000,
            pedals=PEDALS,
            max_chain_length=5,
        )
        dataset = open_shards(Path(scratch) / "shards")
        for kind in args.model or ("transformer", "gru"):
            for resident in (True, False):
                measure(dataset, kind, resident, args, Path(scratch) / f"{kind}-{resident}")


def measure(
    dataset: ShardDataset, kind: str, resident: bool, args: argparse.Namespace, run: Path
) -> None:
    settings = TrainConfig(
        batch_size=args.batch_size, max_epochs=args.repeats + 1, resident=resident, precision="32"
    )
    config = Config(ModelConfig(kind=kind), settings)
    bare = {
        "bare torch": BareLoop(dataset, config, average=False),
        "bare torch, with averaging": BareLoop(dataset, config, average=True),
    }
    rates: dict[str, list[float]] = {name: [] for name in bare}

    def others() -> None:
        for name, loop in bare.items():
            rates[name].append(loop.epoch())

    card, model = prepare(dataset, config)
    module = TranslatorModule(model, card, settings, dataset)
    turns = Turns(others)
    more: list[Any] = [KeepBest(run, lambda line: None), StopOnSignal(threading.Event()), turns]
    with quiet_lightning():
        make_trainer(run, settings, CPU, False, more).fit(module)
    limit = max(rates["bare torch, with averaging"][1:])
    words = f"{kind}, {'in memory' if resident else 'streamed'}"
    for name, found in rates.items():
        print(f"| {words} | {name} | {max(found[1:]):.2f} | {max(found[1:]) / limit:.3f} | |")
    wait = min(each["wait_ms"] for each in module.step_times[1:])
    ours = max(turns.rates[1:])
    print(f"| {words} | fxtrain fit | {ours:.2f} | {ours / limit:.3f} | {wait:.2f} |")
    rest = min(turns.rest_s)
    print(f"| {words} | validation of 256, saving | {rest:.2f} s an epoch | | |", flush=True)


if __name__ == "__main__":
    main()
