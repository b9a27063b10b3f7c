"""A run that starts from a smaller one: it begins where that stopped, and its new layers learn."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import torch
from tests.fixtures.shards import make_shards

from fxtrain import trainer
from fxtrain.checkpoint import load_run, save_model
from fxtrain.config import Config, ModelConfig, TrainConfig
from fxtrain.contract import Licence, UsageError
from fxtrain.data import open_shards
from fxtrain.errors import CheckpointError
from fxtrain.fit import fit, plan
from fxtrain.trainer import prepare

SMALL = ModelConfig(d_model=16, n_heads=2, n_layers=1, mel_channels=2)


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Shards, and what was taught on them: a transformer, one without a picture, a GRU."""
    folder = tmp_path_factory.mktemp("start")
    make_shards(folder / "shards", n_train=32, n_valid=8, n_test=0, with_mel=True)
    kinds = {
        "picture": SMALL,
        "list": ModelConfig(d_model=16, n_heads=2, n_layers=1, mel_channels=0),
        "gru": ModelConfig("gru", d_model=16, n_heads=2, n_layers=1, mel_channels=2),
    }
    dataset = open_shards(folder / "shards")
    for name, model in kinds.items():
        train = TrainConfig(batch_size=16, max_epochs=1)
        fit(dataset, Config(model, train), folder / name, device="cpu", say=lambda _: None)
    return folder


def test_a_deeper_model_begins_where_the_smaller_one_stopped(runs: Path, tmp_path: Path) -> None:
    dataset, before = open_shards(runs / "shards"), load_run(runs / "picture")
    train = TrainConfig(
        batch_size=16, max_epochs=1, start_from=str(before.path), more_layers=2, more_blocks=1
    )
    card, model = prepare(dataset, Config(train=train))
    assert (card.model.n_layers, card.model.mel_blocks) == (3, 2)
    assert model.n_parameters > before.model.n_parameters
    codes = torch.randint(64, (3, 4, 20), generator=torch.Generator().manual_seed(0))
    mel = torch.rand(3, card.hearing.mel.n_mels if card.hearing.mel else 0, 20)
    with torch.inference_mode():
        assert torch.equal(
            model.eval().encode(codes, mel).states, before.model.encode(codes, mel).states
        )

    taught = fit(dataset, Config(train=train), tmp_path / "run", device="cpu", say=lambda _: None)
    again = load_run(taught.path)
    assert again.card.model == card.model
    added = set(again.model.state_dict()) - set(before.model.state_dict())
    assert {name.split(".")[1] for name in added} == {"picture", "context"}
    for name in added:
        moved = again.model.state_dict()[name] - model.state_dict()[name]
        assert moved.abs().max() > 0, name


@pytest.mark.parametrize(
    ("name", "more", "problem"),
    [
        ("gru", {"more_layers": 1}, "a layer on top of a gru changes what it says"),
        ("list", {"more_blocks": 1}, "this model sees no picture of the log-mel frames"),
    ],
)
def test_what_cannot_be_added_to_is_refused(
    runs: Path, name: str, more: dict[str, int], problem: str
) -> None:
    train = TrainConfig(start_from=str(runs / name), **more)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match=problem):
        prepare(open_shards(runs / "shards"), Config(train=train))


def test_added_layers_need_a_run_to_be_added_to() -> None:
    with pytest.raises(UsageError, match="give start_from as well, or set n_layers and mel_blocks"):
        TrainConfig(more_blocks=1)


def test_what_a_run_came_with_stays_with_what_starts_from_it(
    runs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = load_run(runs / "picture")
    closed = Licence("CC-BY-NC-ND-4.0", "https://creativecommons.org/licenses/by-nc-nd/4.0/", False)
    card = dataclasses.replace(
        before.card, licences={"closed": closed}, shareable=False, recordings="aa bb"
    )
    monkeypatch.setattr(trainer, "load_start", lambda _: dataclasses.replace(before, card=card))
    train = TrainConfig(start_from=str(before.path))
    found, _ = prepare(open_shards(runs / "shards"), Config(train=train))
    assert found.licences == {"closed": closed} | before.card.licences
    assert not found.shareable
    assert found.recordings == "aa bb"


def test_what_names_pedals_is_taken_over_pedal_by_pedal(runs: Path, tmp_path: Path) -> None:
    before = load_run(runs / "picture")
    pedals = ("wah", "reverb", "compressor")  # the last and the first of those that it knows
    make_shards(tmp_path, n_train=4, n_valid=2, n_test=0, with_mel=True, pedals=pedals)
    train = TrainConfig(start_from=str(before.path))
    card, model = prepare(open_shards(tmp_path), Config(train=train))
    assert card.vocabulary.names == pedals
    known, found = before.model.state_dict(), model.state_dict()
    named = {"decoder.embed.weight", "decoder.out.weight", "decoder.out.bias", "head.queries"}
    for name in named:
        assert torch.equal(found[name][1:3], known[name][[3, 0]]), name
        assert not any(torch.equal(found[name][0], row) for row in known[name]), name
        if name != "head.queries":
            assert torch.equal(found[name][-1], known[name][-1]), name
    for name in found.keys() - named:
        assert torch.equal(found[name], known[name]), name


def test_another_log_mel_cannot_be_started_from_where_it_is_heard(
    runs: Path, tmp_path: Path
) -> None:
    dataset, before = open_shards(runs / "shards"), load_run(runs / "picture")
    assert dataset.index.mel is not None
    mel = dataclasses.replace(dataset.index.mel, f_min_hz=60.0)
    other = dataclasses.replace(dataset, index=dataclasses.replace(dataset.index, mel=mel))
    config = Config(train=TrainConfig(start_from=str(before.path)))
    with pytest.raises(CheckpointError, match="its log-mel: MelInfo"):
        prepare(other, config)
    model = dataclasses.replace(before.card.model, use_mel=False, mel_channels=0)
    deaf, fresh = prepare(dataset, Config(model))
    save_model(tmp_path, deaf, fresh)
    prepare(other, Config(train=TrainConfig(start_from=str(tmp_path))))


@pytest.mark.parametrize(("batch_size", "n_devices", "steps"), [(16, 1, 2), (24, 1, 2), (12, 2, 2)])
def test_a_plan_counts_the_last_batch_of_all_devices(
    runs: Path, batch_size: int, n_devices: int, steps: int
) -> None:
    train = TrainConfig(batch_size=batch_size, n_devices=n_devices)  # of 32 clips
    found = plan(open_shards(runs / "shards"), Config(SMALL, train), "cpu")
    assert found.steps_per_epoch == steps
