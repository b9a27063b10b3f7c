"""A saved model comes back as it was, and what does not belong together is refused."""

from __future__ import annotations

import dataclasses
import json
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
    allows_repeats,
    card_of,
    check_data,
    load_run,
    new_model,
    read_card,
    save_model,
    vocabulary_difference,
    warning_of_leak,
)
from fxtrain.config import DecodeSettings, ModelConfig
from fxtrain.contract import DatasetIndex, VocabularyError, from_dict, to_dict
from fxtrain.errors import CheckpointError
from fxtrain.models import resolve_model


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> DatasetIndex:
    path = tmp_path_factory.mktemp("shards")
    return make_shards(path, n_train=8, n_valid=4, n_test=0, with_mel=True)


@pytest.fixture
def card(index: DatasetIndex) -> ModelCard:
    config = ModelConfig(kind="gru", d_model=32, n_heads=2)
    resolved = resolve_model(config, n_codebooks=4, has_mel=True)
    return card_of(index, resolved, {"torch": "2"})


def saved(card: ModelCard, run: Path) -> ModelCard:
    torch.manual_seed(0)
    return save_model(run, card, new_model(card, torch.randn(4, 64, 8)))


def test_a_model_comes_back_as_it_was(card: ModelCard, tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = new_model(card, torch.randn(4, 64, 8)).eval()
    kept = save_model(tmp_path, dataclasses.replace(card, decode=DecodeSettings(3, -0.5)), model)
    run = load_run(tmp_path)
    assert run.card == kept
    assert run.card.decode.length_bias == -0.5
    codes, mel = torch.randint(64, (2, 4, 16)), torch.rand(2, 8, 16)
    tokens = torch.tensor([[[4, 1]]] * 2)
    expected = model.decode(tokens, model.encode(codes, mel))
    assert torch.equal(run.model.decode(tokens, run.model.encode(codes, mel)), expected)
    assert not run.model.training


def test_the_card_is_plain_json(card: ModelCard) -> None:
    text = json.dumps(to_dict(card))
    assert from_dict(ModelCard, json.loads(text), "card") == card
    assert card.rules.max_length == 3
    assert card.rules.min_length == min(card_lengths(card))
    assert card.hearing.codec.name == "tiny"


def card_lengths(card: ModelCard) -> list[int]:
    return [0, card.rules.max_length]


def test_nothing_is_pickled(card: ModelCard, tmp_path: Path) -> None:
    saved(card, tmp_path)
    assert sorted(p.name for p in tmp_path.iterdir()) == [CARD_NAME, WEIGHTS_NAME]
    head = (tmp_path / WEIGHTS_NAME).read_bytes()[8:9]
    assert head == b"{"  # safetensors: a length, then JSON


def test_no_model_there(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="no trained model here"):
        load_run(tmp_path)


def test_weights_of_another_run_are_refused(card: ModelCard, tmp_path: Path) -> None:
    saved(card, tmp_path)
    with (tmp_path / WEIGHTS_NAME).open("ab") as file:
        file.write(b"x")
    with pytest.raises(CheckpointError, match="another sha256"):
        load_run(tmp_path)
    (tmp_path / WEIGHTS_NAME).unlink()
    with pytest.raises(CheckpointError, match="is missing"):
        load_run(tmp_path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"kind": "fxpipe-shards"}, "expected 'fxtrain-model'"),
        ({"format_version": 99}, "found format version 99"),
        ({"vocabulry": 1}, "did you mean 'vocabulary'"),
    ],
)
def test_foreign_cards_are_refused(
    card: ModelCard, tmp_path: Path, change: dict[str, object], message: str
) -> None:
    saved(card, tmp_path)
    path = tmp_path / CARD_NAME
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(CheckpointError, match=message):
        read_card(tmp_path)


def test_weights_that_do_not_fit_the_card_are_refused(card: ModelCard, tmp_path: Path) -> None:
    saved(card, tmp_path)
    path = tmp_path / CARD_NAME
    data = json.loads(path.read_text())
    data["model"]["d_model"] = 64
    path.write_text(json.dumps(data))
    with pytest.raises(CheckpointError, match="do not fit the model"):
        load_run(tmp_path)


def test_other_pedals_are_refused_by_name(
    card: ModelCard, index: DatasetIndex, tmp_path: Path
) -> None:
    check_data(card, index, "here")
    other = make_shards(tmp_path, n_train=4, n_valid=0, n_test=0, pedals=(*PEDALS[:3], "wah"))
    with pytest.raises(VocabularyError, match=r"only the model knows reverb and .* know wah"):
        check_data(card, other, "there")
    assert "another order" in vocabulary_difference(("a", "b"), ("b", "a"))


@pytest.mark.parametrize(
    ("codec", "refused"),
    [
        ({"weights_sha256": "1" * 64}, True),
        ({"name": "other"}, True),
        ({"precision": "fp16"}, False),
        ({"backend": "cuda"}, False),
    ],
)
def test_another_codec_is_refused(
    card: ModelCard, index: DatasetIndex, codec: dict[str, str], refused: bool
) -> None:
    other = dataclasses.replace(index, codec=dataclasses.replace(index.codec, **codec))
    if refused:
        with pytest.raises(VocabularyError, match=f"codec {next(iter(codec))}"):
            check_data(card, other, "there")
    else:
        check_data(card, other, "there")


def test_another_level_and_mel_are_refused(card: ModelCard, index: DatasetIndex) -> None:
    louder = dataclasses.replace(index.level, target_lufs=-10.0)
    with pytest.raises(VocabularyError, match="found level"):
        check_data(card, dataclasses.replace(index, level=louder), "there")
    deaf = dataclasses.replace(index, mel=None)
    with pytest.raises(VocabularyError, match=r"there: these shards hold no log-mel.*--with-mel"):
        check_data(card, deaf, "there")
    codes_only = dataclasses.replace(card, model=dataclasses.replace(card.model, use_mel=False))
    check_data(codes_only, deaf, "there")


def test_repeats_are_what_any_recipe_allows(index: DatasetIndex) -> None:
    def with_recipe(recipe: dict[str, object]) -> DatasetIndex:
        return dataclasses.replace(index, recipe=recipe)

    def drawn(*, repeats: bool) -> dict[str, object]:
        return {"spec": to_dict(RenderSpec(ChainSpec(PEDALS, {2: 1.0}, repeats=repeats)))}

    assert not allows_repeats(with_recipe({}))
    assert not allows_repeats(with_recipe(drawn(repeats=False)))
    assert allows_repeats(with_recipe(drawn(repeats=True)))
    joined = [drawn(repeats=False), {"spec": {}}, drawn(repeats=True)]
    assert allows_repeats(with_recipe({"joined": joined}))


def test_recordings_known_from_training_are_told(
    index: DatasetIndex, card: ModelCard, tmp_path: Path
) -> None:
    def of(**recordings: tuple[str, ...]) -> DatasetIndex:
        told = {split: " ".join(names) for split, names in recordings.items()}
        return dataclasses.replace(index, recipe={"recordings": told})

    saved(card_of(of(train=("a", "b", "c"), test=("d",)), card.model, {}), tmp_path)
    kept = read_card(tmp_path)
    for fine in (of(train=("a",), test=("d",)), of(test=("x",)), of()):
        assert warning_of_leak(kept, fine, "test") is None
    assert warning_of_leak(kept, of(train=("a",)), "train") is None
    told = warning_of_leak(kept, of(test=("b", "c", "d")), "test")
    assert told is not None
    assert "trained on 2 of the 3 recordings behind 'test'" in told
    assert warning_of_leak(card, of(test=("b",)), "test") is None  # of a card that tells of none
