"""What a card says of its data, and what never stands beside other weights."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import torch

from fixtures.shards import PEDALS, make_shards
from fxpipe.chains.chain import ChainSpec
from fxpipe.render import RenderSpec
from fxtrain.checkpoint import (
    CARD_NAME,
    WEIGHTS_NAME,
    ModelCard,
    card_of,
    check_data,
    new_model,
    read_card,
    save_model,
    warning_of_leak,
    warning_of_length,
)
from fxtrain.config import ModelConfig
from fxtrain.contract import (
    DatasetIndex,
    FxError,
    SplitCounts,
    Vocabulary,
    VocabularyError,
    to_dict,
)
from fxtrain.errors import CheckpointError
from fxtrain.finding import SHIPPED, model_folder
from fxtrain.models import resolve_model


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> DatasetIndex:
    path = tmp_path_factory.mktemp("shards")
    return make_shards(path, n_train=8, n_valid=4, n_test=0, with_mel=True)


def card_for(index: DatasetIndex) -> ModelCard:
    config = ModelConfig(kind="gru", d_model=16, n_layers=1, n_heads=2)
    return card_of(index, resolve_model(config, n_codebooks=4, has_mel=True), {})


def test_a_card_tells_of_the_training_split_alone(index: DatasetIndex) -> None:
    counts = {
        "train": SplitCounts(9, {2: 5, 3: 4}, {}),
        "valid": SplitCounts(3, {0: 3}, {}),
        "test": SplitCounts(5, {1: 5}, {}),
    }
    spec = RenderSpec(ChainSpec(PEDALS, {2: 1.0}, repeats=True))
    told = {"train": "a b", "valid": "c", "test": "d"}
    recipe = {"spec": to_dict(spec), "recordings": told}
    card = card_for(dataclasses.replace(index, counts=counts, recipe=recipe))
    assert (card.n_train, card.rules.min_length, card.rules.repeats) == (9, 2, True)
    assert card.recordings == "a b"
    assert not card_for(index).rules.repeats


def test_a_card_never_stands_beside_weights_that_are_not_its_own(
    index: DatasetIndex, tmp_path: Path
) -> None:
    card = card_for(index)
    model = new_model(card)
    save_model(tmp_path, card, model)
    (tmp_path / WEIGHTS_NAME).unlink()
    (tmp_path / WEIGHTS_NAME).mkdir()  # nothing can be put there
    with pytest.raises(FxError, match="cannot write"):
        save_model(tmp_path, card, model)
    assert not (tmp_path / CARD_NAME).exists()
    with pytest.raises(CheckpointError, match="no trained model here"):
        read_card(tmp_path)


def test_weights_may_be_kept_in_half_the_bytes(index: DatasetIndex, tmp_path: Path) -> None:
    card = card_for(index)
    model = new_model(card)
    sizes = [
        save_model(tmp_path / str(dtype), card, model, dtype).weights
        for dtype in (torch.float32, torch.float16)
    ]
    assert sizes[0] is not None
    assert sizes[1] is not None
    assert sizes[1].n_bytes < 0.6 * sizes[0].n_bytes


def test_the_same_pedals_in_another_order_are_others(index: DatasetIndex) -> None:
    turned = Vocabulary(index.vocabulary.pedals[::-1])
    with pytest.raises(VocabularyError, match="the same in another order"):
        check_data(card_for(index), dataclasses.replace(index, vocabulary=turned), "there")


def test_another_log_mel_is_refused_by_what_hears_it(index: DatasetIndex) -> None:
    card = card_for(index)
    assert index.mel is not None
    other = dataclasses.replace(index, mel=dataclasses.replace(index.mel, f_min_hz=60.0))
    with pytest.raises(VocabularyError, match="found mel"):
        check_data(card, other, "there")
    deaf = dataclasses.replace(card, model=dataclasses.replace(card.model, use_mel=False))
    check_data(deaf, other, "there")


def test_recordings_behind_validation_are_told_too(index: DatasetIndex) -> None:
    card = dataclasses.replace(card_for(index), recordings="a b")
    asked = dataclasses.replace(index, recipe={"recordings": {"valid": "b c", "test": "d"}})
    told = warning_of_leak(card, asked, "valid")
    assert told is not None
    assert "trained on 1 of the 2 recordings behind 'valid'" in told
    assert warning_of_leak(card, asked, "test") is None


@pytest.mark.parametrize("times", [0.5, 2])
def test_clips_of_another_length_are_told(index: DatasetIndex, times: float) -> None:
    card, n = card_for(index), index.n_audio_samples
    assert warning_of_length(card, index) is None
    other = dataclasses.replace(index, n_audio_samples=int(times * n))
    told = warning_of_length(card, other)
    assert told is not None
    assert told.endswith(f"clips of {n / 44_100:g} s, these are of {times * n / 44_100:g} s")


def test_a_folder_of_ones_own_goes_before_the_word_for_the_model_in_the_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert model_folder(Path("shipped")) == SHIPPED
    own = tmp_path / "shipped"
    own.mkdir()
    (own / CARD_NAME).write_text("{}")
    assert model_folder(Path("shipped")) == Path("shipped")
