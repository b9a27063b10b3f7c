"""Clues of the wave: heard where shards hold them, learnt by a run that knew none, never missed."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from tests.fixtures.shards import TINY_CLUES, make_shards

from fxtrain.checkpoint import card_of, check_data, load_run, new_model
from fxtrain.config import MOST_PLACES, Config, ModelConfig, TrainConfig, lag_places
from fxtrain.contract import ContractError, Features, FxError, UsageError, VocabularyError
from fxtrain.data import open_shards
from fxtrain.errors import CheckpointError
from fxtrain.evaluate import evaluate
from fxtrain.fit import fit, plan
from fxtrain.models import resolve_model
from fxtrain.module import groups_of
from fxtrain.predict import predict_features
from fxtrain.quick import load_quick
from fxtrain.trainer import prepare

SMALL = ModelConfig(d_model=16, n_heads=2, n_layers=1, mel_channels=2)
TRAIN = TrainConfig(batch_size=16, max_epochs=1)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Shards with and without clues, and a run that was taught on each."""
    folder = tmp_path_factory.mktemp("clues")
    for name, with_clues in (("told", True), ("plain", False)):
        seed = 1 + with_clues
        make_shards(folder / name, n_train=32, with_mel=True, with_clues=with_clues, seed=seed)
        taught = fit(
            open_shards(folder / name),
            Config(SMALL, TRAIN),
            folder / f"{name}-run",
            device="cpu",
            say=lambda _: None,
        )
        assert load_run(taught.path).card.model.use_clues == with_clues
    return folder


def one_clip(folder: Path) -> Features:
    block = open_shards(folder / "told").load("test")
    assert block.clues is not None
    assert block.mel is not None
    return Features(block.codes[:1], block.mel[:1], (0.0,), clues=block.clues[:1])


def test_windows_keep_all_that_was_heard_of_them() -> None:
    rng = np.random.default_rng(0)
    codes, mel = rng.integers(64, size=(3, 2, 5)), rng.integers(256, size=(3, 4, 5))
    clues = rng.integers(256, size=(3, 7))
    whole = Features(codes, mel, (0.0, 1.0, 2.0), 4.0, 1, 2, (0.1, -0.2, 0.3), 44_100, clues)
    some = whole.windows([2, 0])
    for kept, rows in ((some.codes, codes), (some.mel, mel), (some.clues, clues)):
        np.testing.assert_array_equal(kept, rows[[2, 0]])
    assert (some.starts_s, some.strangeness) == ((2.0, 0.0), (0.3, 0.1))
    assert (some.length_s, some.n_silent, some.n_passed_over) == (4.0, 1, 2)
    assert some.sample_rate_hz == 44_100
    masked = whole.windows(np.array([True, False, True]))
    again = Features.together([masked, whole.windows([1])])
    for kept, rows in ((again.codes, codes), (again.mel, mel), (again.clues, clues)):
        np.testing.assert_array_equal(kept, rows[[0, 2, 1]])
    assert (again.starts_s, again.strangeness) == ((0.0, 2.0, 1.0), (0.1, 0.3, -0.2))
    deaf = Features(codes, None, (0.0, 1.0, 2.0))
    assert (deaf.windows([0]).mel, deaf.windows([0]).clues) == (None, None)
    both = Features.together([whole, deaf])
    assert (len(both.codes), both.mel, both.clues, both.strangeness) == (6, None, None, None)


def test_what_is_told_is_heard_and_scored(folder: Path) -> None:
    run = load_run(folder / "told-run")
    assert run.card.ears.clues == TINY_CLUES
    assert load_run(folder / "plain-run").card.ears.clues is None
    assert evaluate(run, open_shards(folder / "told"), "test").n == 16
    features = one_clip(folder)
    answers = [predict_features(each, features) for each in (run, load_quick(run.path))]
    for ours, theirs in zip(*(each.heard.values() for each in answers), strict=True):
        assert ours == pytest.approx(theirs, abs=1e-3)
    assert features.clues is not None
    other = dataclasses.replace(features, clues=255 - features.clues)
    assert predict_features(run, other).heard != answers[0].heard


def test_a_model_that_hears_clues_says_what_it_misses(folder: Path) -> None:
    run = load_run(folder / "told-run")
    deaf = dataclasses.replace(one_clip(folder), clues=None)
    for each in (run, load_quick(run.path)):
        with pytest.raises(UsageError, match="hears clues of the wave, and these features hold"):
            predict_features(each, deaf)
    with pytest.raises(VocabularyError, match="hold no clues of the wave"):
        check_data(run.card, open_shards(folder / "plain").index, "there")
    others = dataclasses.replace(TINY_CLUES, lags_ms=((5.0, 25.0, 1.0), (20.0, 80.0, 1.0)))
    index = dataclasses.replace(open_shards(folder / "told").index, clues=others)
    with pytest.raises(VocabularyError, match="found clues ClueInfo"):
        check_data(run.card, index, "there")
    codes, mel = torch.zeros(1, 4, 16, dtype=torch.int64), torch.zeros(1, 8, 16)
    with pytest.raises(ValueError, match="hears clues of the wave, but none were given"):
        run.model.encode(codes, mel)


def test_both_kinds_of_shards_are_not_one_data_set(folder: Path) -> None:
    with pytest.raises(VocabularyError, match="cannot be used together: clues of the wave"):
        open_shards([folder / "told", folder / "plain"])


def test_a_run_that_knew_no_clues_begins_where_it_stopped_and_learns_them(
    folder: Path, tmp_path: Path
) -> None:
    before, dataset = load_run(folder / "plain-run"), open_shards(folder / "told")
    train = TrainConfig(batch_size=16, max_epochs=3, average_decay=0.0)
    start = Config(train=dataclasses.replace(train, start_from=str(before.path)))
    card, model = prepare(dataset, start)
    assert card.model.use_clues
    batch = dataset.load("test")
    codes = torch.from_numpy(batch.codes.astype(np.int64))
    mel, told = (torch.from_numpy(rows / np.float32(255)) for rows in (batch.mel, batch.clues))
    with torch.inference_mode():
        assert torch.equal(
            model.eval().encode(codes, mel, told).states, before.model.encode(codes, mel).states
        )
    fresh = {n: w for n, w in model.state_dict().items() if n.startswith("encoder.clues.")}
    assert {n for n, w in fresh.items() if not w.any()} == {
        "encoder.clues.out.weight",
        "encoder.clues.out.bias",
    }
    taught = fit(dataset, start, tmp_path / "run", device="cpu", say=lambda _: None)
    after = load_run(taught.path).model.state_dict()
    added = after.keys() - before.model.state_dict().keys()
    assert {name.split(".")[1] for name in added} == {"clues"}
    for name in added:
        assert (after[name] - model.state_dict()[name]).abs().max() > 0, name


def test_knobs_alone_teach_no_clues(folder: Path) -> None:
    alone = dataclasses.replace(TRAIN, start_from=str(folder / "plain-run"), knobs="alone")
    card, _ = prepare(open_shards(folder / "told"), Config(train=alone))
    assert card.model.use_clues is False
    kept = dataclasses.replace(alone, start_from=str(folder / "told-run"))
    card, _ = prepare(open_shards(folder / "told"), Config(train=kept))
    assert card.model.use_clues


def test_a_run_is_taught_without_clues_where_that_is_asked(folder: Path) -> None:
    start = dataclasses.replace(TRAIN, start_from=str(folder / "plain-run"))
    card, _ = prepare(open_shards(folder / "told"), Config(ModelConfig(use_clues=False), start))
    assert card.model.use_clues is False
    hears = dataclasses.replace(start, start_from=str(folder / "told-run"))
    with pytest.raises(UsageError, match="it hears clues of the wave, and cannot go on without"):
        prepare(open_shards(folder / "told"), Config(ModelConfig(use_clues=False), hears))


def test_ears_for_clues_learn_at_a_rate_of_their_own(folder: Path) -> None:
    dataset = open_shards(folder / "told")
    _, model = prepare(dataset, Config(SMALL, TRAIN))
    names = {id(weight): name for name, weight in model.named_parameters()}
    plain = groups_of(model, TrainConfig(lr=1e-4, weight_decay=0.1))
    assert [(group["lr"], group["weight_decay"]) for group in plain] == [(1e-4, 0.1), (1e-4, 0.0)]
    groups = groups_of(model, TrainConfig(lr=1e-4, clues_lr=3e-3, weight_decay=0.1))
    found = {names[id(p)]: group for group in groups for p in group["params"]}
    assert found.keys() == set(names.values())
    for name, group in found.items():
        assert group["lr"] == (3e-3 if name.startswith("encoder.clues.") else 1e-4), name
        assert group["weight_decay"] == (0.1 if model.get_parameter(name).ndim > 1 else 0), name


def test_a_rate_for_clues_that_nobody_hears_is_refused(folder: Path) -> None:
    train = dataclasses.replace(TRAIN, clues_lr=3e-3)
    with pytest.raises(UsageError, match=r"clues_lr is 0\.003, but this model hears no clues"):
        prepare(open_shards(folder / "plain"), Config(SMALL, train))


def test_a_run_that_hears_clues_is_not_taken_on_without(folder: Path) -> None:
    start = dataclasses.replace(TRAIN, start_from=str(folder / "told-run"))
    with pytest.raises(FxError, match="use_clues is on, but these shards hold no clues"):
        prepare(open_shards(folder / "plain"), Config(train=start))
    others = dataclasses.replace(TINY_CLUES, n_quantiles=2)
    dataset = open_shards(folder / "told")
    index = dataclasses.replace(dataset.index, clues=others)
    with pytest.raises(CheckpointError, match="its clues of the wave: ClueInfo"):
        prepare(dataclasses.replace(dataset, index=index), Config(train=start))


def test_who_wants_none_hears_none(folder: Path) -> None:
    deaf = dataclasses.replace(SMALL, use_clues=False)
    card, model = prepare(open_shards(folder / "told"), Config(deaf, TRAIN))
    assert card.ears.clues is None
    assert model.encoder.clues is None
    assert plan(open_shards(folder / "told"), Config(SMALL, TRAIN)).n_parameters > (
        model.n_parameters
    )
    with pytest.raises(CheckpointError, match="use_clues is on, but these shards hold no clues"):
        prepare(open_shards(folder / "plain"), Config(dataclasses.replace(SMALL, use_clues=True)))


def test_a_card_that_hears_clues_says_which(folder: Path) -> None:
    card = load_run(folder / "told-run").card
    with pytest.raises(ContractError, match="use_clues is on, but hearing tells of no clues"):
        dataclasses.replace(card, hearing=dataclasses.replace(card.hearing, clues=None))


def test_an_echo_is_heard_wherever_it_lies(folder: Path) -> None:
    """Moved along the lags, a peak leaves the most and the mean of what is found nearly alike."""
    index = open_shards(folder / "told").index
    model = resolve_model(SMALL, n_codebooks=4, has_mel=True, has_clues=True)
    torch.manual_seed(0)
    lags = new_model(card_of(index, model, {})).encoder.clues.lags[1].eval()
    early, late = torch.zeros(2, 1, 2, 60)
    early[..., 20], late[..., 36] = 1.0, 1.0  # four steps apart, as they are halved twice
    with torch.inference_mode():
        one, other = lags(early)[0], lags(late)[0]
    n_placed = len(one) - 2 * 64
    torch.testing.assert_close(one[:-n_placed], other[:-n_placed])
    assert (one[-n_placed:] - other[-n_placed:]).abs().max() > 1e-3


@pytest.mark.parametrize("n_lags", [1, 2, 90, 97, 425, 10_000])
def test_places_hold_all_lags(n_lags: int) -> None:
    side_by_side, n_places = lag_places(n_lags)
    left = (((n_lags + 1) // 2) + 1) // 2
    assert side_by_side * (n_places - 1) < left <= side_by_side * n_places
    assert n_places <= MOST_PLACES
