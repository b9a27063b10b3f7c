"""The training loop's body by itself: seeds, rates, the running mean, scores, the best epoch."""

from __future__ import annotations

import dataclasses
import itertools
import json
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch

from fixtures.modules import Module
from fixtures.shards import make_shards
from fxtrain.callbacks import KeepBest
from fxtrain.config import Config, DecodeSettings, ModelConfig, TrainConfig
from fxtrain.contract import PAD
from fxtrain.data import ShardDataset, open_shards
from fxtrain.data.stream import make_loader
from fxtrain.decode import Hypothesis
from fxtrain.metrics import classes_of, scores
from fxtrain.module import EpochLoader
from fxtrain.objective import canonical_order, losses
from fxtrain.runs import BEST_NAME, BEST_SCORES_NAME
from fxtrain.trainer import make_trainer, prepare
from fxtrain.tune import decode_batches, names_of

MODEL = ModelConfig(kind="gru", d_model=16, n_layers=1, n_heads=2)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> ShardDataset:
    path = tmp_path_factory.mktemp("data") / "shards"
    make_shards(path, n_train=32, n_valid=24, n_test=0)
    return open_shards(path)


@pytest.fixture(autouse=True)
def own_generator() -> Iterator[None]:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        yield


def module_of(dataset: ShardDataset, **train: Any) -> Module:
    config = Config(MODEL, TrainConfig(**train))
    card, model = prepare(dataset, config)
    return Module(model, card, config.train, dataset)


def trainer_of(module: Module, **facts: Any) -> SimpleNamespace:
    """A trainer that knows these facts."""
    usual = {"current_epoch": 0, "global_step": 0, "global_rank": 0, "world_size": 1}
    states = {"is_global_zero": False, "training": False}
    module.held = trainer = SimpleNamespace(**usual | states | facts)
    module.trainer = trainer
    return trainer


def test_every_seed_epoch_and_process_draws_its_own_dropout(dataset: ShardDataset) -> None:
    drawn = []
    for seed in range(3):
        module = module_of(dataset, seed=seed)
        for epoch, rank in itertools.product(range(3), range(3)):
            trainer_of(module, current_epoch=epoch, global_rank=rank)
            module.on_train_epoch_start()
            drawn.append(torch.initial_seed())
    assert len(set(drawn)) == 27


def test_the_order_of_clips_is_the_seeds_and_the_epochs(dataset: ShardDataset) -> None:
    def places(loader: EpochLoader) -> tuple[int, ...]:
        return tuple(place for batch in loader for place in batch.position.tolist())

    orders = set()
    for seed, epoch in itertools.product(range(2), range(2)):
        module = module_of(dataset, seed=seed, batch_size=8)
        trainer_of(module, current_epoch=epoch)
        orders.add(places(module.train_dataloader()))
        assert places(module.val_dataloader()) == tuple(range(24))
    assert len(orders) == 4
    assert all(sorted(order) == list(range(32)) for order in orders)


def test_vectors_do_not_decay_and_the_rate_warms_up_step_by_step(dataset: ShardDataset) -> None:
    module = module_of(dataset, weight_decay=0.3, lr=0.5, warmup_steps=1000)
    trainer_of(module, estimated_stepping_batches=50)
    found = module.configure_optimizers()
    decays = {
        parameter.ndim > 1: group["weight_decay"]
        for group in found["optimizer"].param_groups
        for parameter in group["params"]
    }
    assert decays == {True: 0.3, False: 0.0}
    assert found["lr_scheduler"]["interval"] == "step"
    # A fifth of all steps at most.
    assert found["lr_scheduler"]["scheduler"].get_last_lr() == pytest.approx([0.5 / 11] * 2)


def test_the_running_mean_forgets_fast_at_first(dataset: ShardDataset) -> None:
    module = module_of(dataset, average_decay=0.9)
    trainer = trainer_of(module)
    module.on_train_epoch_start()
    ours, mean = module.model.decoder.out.bias, module.average.decoder.out.bias
    expected = 0.0
    for step, decay in ((1, 0.0), (2, 3 / 12), (8, 9 / 18), (1000, 0.9)):
        trainer.global_step = step
        with torch.no_grad():
            ours.fill_(float(step))
        module.on_train_batch_end(None, None, 0)
        expected = decay * expected + (1 - decay) * step
        assert mean.tolist() == pytest.approx([expected] * len(mean))
    assert module.scored is module.average
    assert module_of(dataset, average_decay=0.0).scored is not module.average


def test_validation_scores_are_those_of_the_mean_over_clips(dataset: ShardDataset) -> None:
    module = module_of(dataset, label_smoothing=0.1, head_weight=0.7)
    with torch.no_grad():
        for weights in module.average.parameters():
            weights.add_(0.3 * torch.randn(weights.shape))
    trainer_of(module)
    module.eval()
    loader = make_loader(dataset, "valid", batch_size=16, seed=0, shuffle=False)
    batches = list(loader)
    assert [len(batch) for batch in batches] == [16, 8]
    with torch.inference_mode():
        module.on_validation_epoch_start()
        for number, batch in enumerate(batches):
            module.validation_step(batch, number)
        module.on_validation_epoch_end()
        each = [
            losses(
                module.average,
                module.average.encode(batch.codes, batch.mel),
                canonical_order(batch.order, module.commute, module.rank),
                label_smoothing=0.1,
                head_weight=0.7,
            )
            for batch in batches
        ]
    loss = np.average([float(found.total) for found in each], weights=[16, 8])
    greedy = DecodeSettings(beam_size=1)
    card = module.card
    found, ids = decode_batches(module.average, batches, card.rules, greedy)
    truth = [names_of(chain, card.vocabulary) for chain in ids]
    said = [names_of(best[0].ids, card.vocabulary) for best in found]
    expected = scores(
        *(truth, said),
        families=card.vocabulary.families,
        classes=classes_of(truth, card.commuting_pairs),
        rng=np.random.default_rng(0),
        n_resamples=1,
    )
    logged = module.logged
    for name, score in (("exact", "exact"), ("exact_class", "exact_class"), ("set", "set")):
        assert logged[f"valid/{name}"] == pytest.approx(expected[score].value)
    assert logged["valid/f1"] == pytest.approx(expected["f1_micro"].value)
    assert logged["valid/f1"] > 0
    assert logged["valid/score"] == pytest.approx(logged["valid/exact_class"] + logged["valid/f1"])
    assert logged["valid/loss"] == pytest.approx(loss, rel=1e-5)


def test_orders_that_sound_alike_decide_which_epoch_is_best(
    dataset: ShardDataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    card, model = prepare(dataset, Config(MODEL))
    pairs = tuple(itertools.combinations(card.vocabulary.names, 2))
    card = dataclasses.replace(card, commutes=pairs)
    module = Module(model, card, TrainConfig(), dataset)
    trainer_of(module)
    (batch,) = make_loader(dataset, "valid", batch_size=24, seed=0, shuffle=False)
    chains = [[i for i in ids if i != PAD] for ids in batch.order.tolist()]
    backwards = [[Hypothesis(tuple(ids[::-1]), 0.0)] for ids in chains]
    monkeypatch.setattr("fxtrain.module.beam_search", lambda *args, **options: backwards)
    with torch.inference_mode():
        module.on_validation_epoch_start()
        module.validation_step(batch, 0)
        module.on_validation_epoch_end()
    assert module.logged["valid/exact"] == np.mean([len(ids) < 2 for ids in chains]) < 1
    assert module.logged["valid/exact_class"] == module.logged["valid/f1"] == 1.0
    assert module.logged["valid/score"] == 2.0


def test_the_first_of_equal_epochs_is_kept_and_a_worse_one_after_a_stop_is_not(
    dataset: ShardDataset, tmp_path: Path
) -> None:
    module = module_of(dataset)

    def validate(keep: KeepBest, epoch: int, score: float) -> None:
        with torch.no_grad():
            module.average.decoder.out.bias.fill_(float(epoch))
        found = dict.fromkeys(("valid/loss", "valid/exact", "valid/exact_class"), 0.0)
        keep.on_validation_end(
            SimpleNamespace(  # type: ignore[arg-type]
                callback_metrics=found | {"valid/score": score, "train/loss": 9.0},
                current_epoch=epoch,
                is_global_zero=True,
                progress_bar_callback=object(),
            ),
            module,
        )

    def kept() -> tuple[float, float]:
        weights = safetensors.torch.load_file(tmp_path / BEST_NAME)
        told = json.loads((tmp_path / BEST_SCORES_NAME).read_bytes())
        assert set(told) == {"loss", "exact", "exact_class", "score", "epoch"}
        return float(weights["decoder.out.bias"][0]), told["epoch"]

    keep = KeepBest(tmp_path, print)
    for epoch, score in enumerate((0.5, 0.7, 0.7, 0.6)):
        validate(keep, epoch, score)
    assert kept() == (1.0, 2.0)
    again = KeepBest(tmp_path, print)
    again.load_state_dict(keep.state_dict())
    validate(again, 4, 0.65)
    assert kept() == (1.0, 2.0)
    validate(again, 5, 0.71)
    assert kept() == (5.0, 6.0)


def test_first_weights_are_the_seeds_and_nobody_elses_generator_moves(
    dataset: ShardDataset,
) -> None:
    before = torch.get_rng_state()

    def drawn(seed: int) -> torch.Tensor:
        return prepare(dataset, Config(MODEL, TrainConfig(seed=seed)))[1].decoder.embed.weight

    assert torch.equal(drawn(1), drawn(1))
    assert not torch.equal(drawn(1), drawn(2))
    assert torch.equal(torch.get_rng_state(), before)


def test_a_trainer_clips_and_stops_as_asked(tmp_path: Path) -> None:
    config = TrainConfig(grad_clip=0.25, patience=3)
    trainer = make_trainer(tmp_path, config, torch.device("cpu"), False, [])
    assert trainer.gradient_clip_val == 0.25
    stopping = trainer.early_stopping_callback
    assert stopping is not None
    assert (stopping.monitor, stopping.mode, stopping.patience) == ("valid/score", "max", 3)
