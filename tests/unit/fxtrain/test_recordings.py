"""Samples of several windows: taught, scored and answered as the recordings that they are."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from fixtures.modules import Module
from fixtures.shards import make_shards
from fxtrain.card import CARD_NAME, read_card
from fxtrain.checkpoint import load_run
from fxtrain.config import Config, ModelConfig, TrainConfig
from fxtrain.contract import Features, UsageError, VocabularyError
from fxtrain.data import ShardDataset, open_shards
from fxtrain.data.stream import Batch, make_loader
from fxtrain.evaluate import answer
from fxtrain.fit import fit, plan
from fxtrain.kept import KeptStates
from fxtrain.listening import encode
from fxtrain.models import Memory, Translator
from fxtrain.module import some_windows
from fxtrain.objective import losses
from fxtrain.predict import translate
from fxtrain.trainer import prepare

N_WINDOWS = 3
SMALL = ModelConfig(d_model=16, n_heads=2, n_layers=1)
ONE_EPOCH = TrainConfig(batch_size=8, max_epochs=1)


@pytest.fixture(scope="module")
def recordings(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """In each window of a recording one place of its chain is heard."""
    path = tmp_path_factory.mktemp("recordings") / "shards"
    sizes = {"n_train": 24, "n_valid": 12, "n_test": 12}
    make_shards(path, with_mel=True, with_clues=True, n_windows=N_WINDOWS, **sizes)
    return path


@pytest.fixture(scope="module")
def dataset(recordings: Path) -> ShardDataset:
    return open_shards(recordings)


@pytest.fixture(scope="module")
def run(dataset: ShardDataset, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("run") / "run"
    return fit(dataset, Config(SMALL, ONE_EPOCH), path, device="cpu", say=lambda _: None).path


def batch_of(dataset: ShardDataset, split: str = "valid", resident: bool = True) -> Batch:
    options = {"batch_size": 12, "seed": 0, "shuffle": False, "resident": resident}
    return next(iter(make_loader(dataset, split, **options)))  # type: ignore[arg-type]


@pytest.mark.parametrize("resident", [True, False])
def test_a_batch_knows_its_windows(dataset: ShardDataset, recordings: Path, resident: bool) -> None:
    batch = batch_of(dataset, resident=resident)
    codes, mel, clues = batch.windows()
    assert mel is not None
    assert clues is not None
    n_frames = dataset.index.n_frames // N_WINDOWS
    for sample in range(12):
        for i in range(N_WINDOWS):
            row, frames = sample * N_WINDOWS + i, slice(i * n_frames, (i + 1) * n_frames)
            assert torch.equal(codes[row], batch.codes[sample, :, frames])
            assert torch.equal(mel[row], batch.mel[sample, :, frames])  # type: ignore[index]
    stored = dataset.load_arrays("valid", fields=("clues",))["clues"]
    assert np.array_equal((255 * clues).round().byte().numpy().reshape(stored.shape), stored)
    some = batch.with_windows(torch.tensor([0, 2]))
    assert torch.equal(some.windows()[0][:2], codes[[0, 2]])
    assert torch.equal(some.windows()[2][2:4], clues[[3, 5]])  # type: ignore[index]
    assert (some.n_windows, len(some)) == (2, 12)
    assert batch.to("cpu").n_windows == N_WINDOWS


def test_a_sample_is_answered_as_the_recording_of_its_windows(
    dataset: ShardDataset, run: Path
) -> None:
    loaded = load_run(run)
    batch = batch_of(dataset, "test")
    codes, mel, clues = (np.asarray(t) for t in batch.windows())
    given = answer(loaded, dataset, "test")
    for sample, candidates in enumerate(given.heard):
        rows = slice(sample * N_WINDOWS, (sample + 1) * N_WINDOWS)
        stored = ((255 * heard[rows]).round().astype(np.uint8) for heard in (mel, clues))
        shown, told = stored
        features = Features(codes[rows].astype(np.uint16), shown, (0.0, 1.0, 2.0), clues=told)
        found, _, _ = translate(loaded, features)
        assert found[0].names == candidates[0].names
        assert found[0].probability == pytest.approx(candidates[0].probability, abs=1e-4)


def test_some_windows_are_taught_at_a_time() -> None:
    torch.manual_seed(0)
    drawn = [tuple(some_windows(3).tolist()) for _ in range(200)]
    every = {(0,), (1,), (2,), (0, 1), (0, 2), (1, 2), (0, 1, 2)}
    assert set(drawn) == every
    assert 40 < sum(len(windows) == 3 for windows in drawn) < 95


@pytest.mark.parametrize("frozen", [False, True])
def test_training_hears_what_was_drawn_and_scoring_hears_all(
    dataset: ShardDataset, run: Path, frozen: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    train = TrainConfig(batch_size=12, start_from=str(run), freeze_encoder=frozen)
    card, model = prepare(dataset, Config(train=train))
    model.hide_nothing()
    module = Module(model, card, train, dataset).eval()
    module.trainer = trainer = SimpleNamespace(world_size=1)  # type: ignore[assignment]
    monkeypatch.setattr("fxtrain.module.some_windows", lambda n: torch.tensor([0, n - 1]))
    batch = batch_of(dataset)
    every = encode(model, batch).states.unflatten(1, (N_WINDOWS, -1))
    for training, expected in ((True, every[:, [0, 2]]), (False, every)):
        trainer.training = training
        heard = module._encode(model, batch).states
        torch.testing.assert_close(heard, expected.flatten(1, 2), rtol=1e-2, atol=1e-2)


@pytest.mark.parametrize(("frozen", "heard"), [(False, {2}), (True, {N_WINDOWS})])
def test_the_time_said_before_is_that_of_the_windows_of_a_lesson(
    dataset: ShardDataset, run: Path, frozen: bool, heard: set[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """On average from one to all of them, that is half: all were counted."""
    encoded, taught = set(), set()

    def listen(model: Translator, batch: Batch) -> Memory:
        encoded.add(batch.n_windows)
        return encode(model, batch)

    def teach(model: Translator, memory: Memory, *rest: object, **more: object) -> object:
        taught.add(memory.states.shape[1])
        return losses(model, memory, *rest, **more)  # type: ignore[arg-type]

    monkeypatch.setattr("fxtrain.fit.encode", listen)
    monkeypatch.setattr("fxtrain.fit.losses", teach)
    train = TrainConfig(batch_size=12, start_from=str(run), freeze_encoder=frozen)
    assert plan(dataset, Config(train=train), device="cpu").seconds > 0
    n_steps = load_run(run).model.encode(*batch_of(dataset).windows()).states.shape[1]
    assert (encoded, taught) == (heard, {2 * n_steps})


def test_a_frozen_encoder_hears_as_before_and_answers_otherwise(
    dataset: ShardDataset, run: Path, tmp_path: Path
) -> None:
    train = TrainConfig(batch_size=8, max_epochs=2, start_from=str(run), freeze_encoder=True)
    taught = fit(dataset, Config(train=train), tmp_path / "run", device="cpu", say=lambda _: None)
    before, after = (load_run(path).model.state_dict() for path in (run, taught.path))
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert {name.partition(".")[0] for name in changed} == {"decoder", "head"}


def test_states_of_recordings_are_kept_whole(dataset: ShardDataset, run: Path) -> None:
    model = load_run(run).model
    batch, kept = batch_of(dataset), KeptStates(dataset.n_samples("valid"))
    first = kept.encode(model, batch).states
    torch.testing.assert_close(first, encode(model, batch).states, rtol=1e-2, atol=1e-2)
    nothing = dataclasses.replace(batch, codes=torch.zeros_like(batch.codes))
    assert torch.equal(kept.encode(model, nothing).states, first)  # it was not asked again


def test_what_stands_in_for_a_sample_has_all_that_is_heard(
    dataset: ShardDataset, run: Path
) -> None:
    """A rank that has none left goes along: of a model with clues it failed."""
    card, model = prepare(dataset, Config(train=TrainConfig(start_from=str(run))))
    module = Module(model, card, TrainConfig(), dataset)
    batch = batch_of(dataset)
    silent = module._stand_in(batch)
    assert (len(silent), silent.n_windows) == (1, N_WINDOWS)
    assert encode(model, silent).states.shape[1:] == encode(model, batch).states.shape[1:]


@pytest.mark.parametrize("settings", [{"start_from": None}, {"more_layers": 1}, {"more_blocks": 1}])
def test_only_a_run_that_stays_as_it_is_can_be_frozen(settings: dict[str, object]) -> None:
    with pytest.raises(UsageError, match="freeze_encoder: a run is to go on hearing as it does"):
        TrainConfig(freeze_encoder=True, **{"start_from": "run", **settings})  # type: ignore[arg-type]


def test_recordings_and_single_windows_are_no_one_data_set(
    recordings: Path, tmp_path: Path
) -> None:
    make_shards(tmp_path / "single", with_mel=True, with_clues=True, seed=1)
    with pytest.raises(VocabularyError, match="number of windows is 3 in the first and 1 in the"):
        open_shards([recordings, tmp_path / "single"])


def test_a_run_of_before_whose_windows_were_added_up_is_read(run: Path, tmp_path: Path) -> None:
    card = json.loads((run / CARD_NAME).read_text())
    card["decode"]["window_correlation"] = 0.25
    (tmp_path / CARD_NAME).write_text(json.dumps(card))
    assert read_card(tmp_path) == read_card(run)
