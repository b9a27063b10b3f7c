"""A model that is taught its knobs and nothing else: what it is scored by, on which clips."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest
import torch

from fixtures.modules import Module
from fixtures.shards import make_shards
from fxtrain.config import Config, ModelConfig, TrainConfig
from fxtrain.data import open_shards
from fxtrain.data.stream import Batch, heard_fields, make_loader
from fxtrain.fit import fit
from fxtrain.kept import KeptStates
from fxtrain.models import Memory, Translator
from fxtrain.trainer import prepare
from fxtrain.travel import Travel, knob_loss


def test_the_best_epoch_is_the_one_that_hears_knobs_of_validation_clips_best(
    tmp_path: Path,
) -> None:
    make_shards(tmp_path / "shards", n_train=24, n_valid=24, n_test=8)
    dataset = open_shards(tmp_path / "shards")
    small = ModelConfig(d_model=16, n_heads=2, n_layers=1)
    begun = fit(
        dataset,
        Config(small, TrainConfig(batch_size=8, max_epochs=1)),
        tmp_path / "begun",
        device="cpu",
        say=lambda _: None,
    )
    train = TrainConfig(batch_size=24, start_from=str(begun.path), knobs="alone")
    card, model = prepare(dataset, Config(train=train))
    module = Module(model, card, train, dataset).eval()
    for weights in model.knob_head.parameters():  # type: ignore[union-attr]
        torch.nn.init.normal_(weights)
    module.average.load_state_dict(model.state_dict())
    module.trainer = trainer = SimpleNamespace(  # type: ignore[assignment]
        **{"world_size": 1, "training": True, "is_global_zero": False}
    )
    options = {"seed": 0, "shuffle": False, "fields": heard_fields(card.model.use_mel, False, True)}
    train_clips, clips = (
        next(iter(make_loader(dataset, split, batch_size=24, **options)))  # type: ignore[arg-type]
        for split in ("train", "valid")
    )
    module._encode(model, train_clips)
    trainer.training = False
    with torch.inference_mode():
        module.on_validation_epoch_start()
        module.validation_step(clips, 0)
        module.on_validation_epoch_end()
        memory = model.encode(clips.codes, clips.mel)
        travel = Travel(card.vocabulary)(clips.order, clips.params)
        expected = float(knob_loss(model.knobs(memory), travel))
    assert module.logged["valid/knobs"] == pytest.approx(expected, rel=2e-3)
    assert module.logged["valid/loss"] == module.logged["valid/knobs"]
    assert module.logged["valid/score"] == -module.logged["valid/knobs"]


def test_what_stands_in_for_a_sample_is_not_kept_as_one() -> None:
    """On several devices in lock step: its place is -1, which is also the last of a split."""

    class Heard:
        def encode(
            self, codes: torch.Tensor, mel: torch.Tensor | None, clues: torch.Tensor | None
        ) -> Memory:
            return Memory(codes.float())

    def clip(level: int, place: int) -> Batch:
        codes, order = torch.full((1, 2, 3), level), torch.zeros(1, 1, dtype=torch.long)
        return Batch(codes, None, order, None, torch.ones(1), torch.tensor([place]))

    kept, model = KeptStates(3), cast(Translator, Heard())
    assert kept.encode(model, clip(0, -1)).states.max() == 0
    assert kept.encode(model, clip(7, 2)).states.max() == 7
