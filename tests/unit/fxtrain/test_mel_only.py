"""Clips that the codec did not hear, alone and beside clips that it did."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch

from fixtures.audio import RATE_HZ, riff
from fixtures.models import random_run
from fixtures.shards import make_shards
from fxpipe.frontend import open_frontend
from fxtrain.checkpoint import card_of, check_data, load_run
from fxtrain.cli import cli, run_cli
from fxtrain.config import Config, ModelConfig, TrainConfig
from fxtrain.contract import MISSING_CODE, NOT_RUN, FxError, VocabularyError, check_dataset
from fxtrain.data import open_shards, read_shard
from fxtrain.evaluate import evaluate
from fxtrain.fit import fit
from fxtrain.models import Translator, resolve_model
from fxtrain.predict import predict_features
from fxtrain.trainer import prepare

SMALL = ModelConfig(kind="gru", d_model=16, n_heads=2, n_layers=1, mel_channels=2, dropout=0.0)
TWO_EPOCHS = Config(SMALL, TrainConfig(max_epochs=2, batch_size=16))


@pytest.fixture
def both(tmp_path: Path) -> tuple[Path, Path]:
    """Shards without codes, and with."""
    make_shards(tmp_path / "mel", mel_only=True, seed=1)
    make_shards(tmp_path / "both", with_mel=True, seed=2, backend="zarr")
    return tmp_path / "mel", tmp_path / "both"


@pytest.mark.parametrize("backend", ["webdataset", "zarr"])
def test_shards_without_codes_are_whole(backend: str, tmp_path: Path) -> None:
    index = make_shards(tmp_path, mel_only=True, backend=backend)
    assert index.mel_only
    dataset = open_shards(tmp_path)
    assert not list(check_dataset(dataset.folder, read_shard))
    codes = dataset.load_arrays("train")["codes"]
    assert codes.shape == (64, 4, 16)
    assert (codes == MISSING_CODE).all()


def test_a_code_where_the_codec_was_not_run_is_damage(tmp_path: Path) -> None:
    index = make_shards(tmp_path, with_mel=True)
    dataset = open_shards(tmp_path)
    wrong = dataclasses.replace(index.codec, precision=NOT_RUN)
    shard = dataclasses.replace(dataset.shards[0], index=dataclasses.replace(index, codec=wrong))
    with pytest.raises(FxError, match=r"train-000000: code \d+ where the codec was not run"):
        shard.arrays()


def test_an_index_without_codes_and_without_log_mel_is_refused(tmp_path: Path) -> None:
    index = make_shards(tmp_path, mel_only=True)
    with pytest.raises(FxError, match="of the sound nothing is stored"):
        dataclasses.replace(index, mel=None)


@pytest.mark.parametrize("mel_channels", [0, 2])
@pytest.mark.parametrize("learned_residual", [False, True])
def test_no_codes_are_silence_and_no_code(mel_channels: int, learned_residual: bool) -> None:
    config = dataclasses.replace(
        SMALL, mel_channels=mel_channels, learned_residual=learned_residual
    )
    config = resolve_model(config, n_codebooks=3, has_mel=True)
    torch.manual_seed(0)
    model = Translator(config, torch.randn(3, 20, 4), n_pedals=4, n_mels=6, n_knobs=0).eval()
    mel = torch.rand(3, 6, 12)
    codes = torch.zeros(3, 3, 12, dtype=torch.int64)
    codes[1:] = MISSING_CODE
    states = model.encode(codes, mel).states
    alone = model.encode(codes[1:], mel[1:]).states
    torch.testing.assert_close(states[1:], alone)
    heard = model.encode(torch.zeros_like(codes), mel).states
    torch.testing.assert_close(states[0], heard[0])
    assert (states[1:] - heard[1:]).abs().max() > 1e-3
    assert (states[1] - states[2]).abs().max() > 1e-3  # log-mel is heard


@pytest.mark.parametrize("turned", [False, True])
def test_both_kinds_are_one_data_set(both: tuple[Path, Path], turned: bool) -> None:
    dataset = open_shards(both[::-1] if turned else both)
    assert not dataset.all_codes
    assert not dataset.index.mel_only
    assert dataset.index.codec.precision == "fp32"
    codes = dataset.load_arrays("train")["codes"]
    unheard = (codes == MISSING_CODE).all((1, 2))
    assert unheard.sum() == 64
    assert (codes[~unheard] < 64).all()
    card, _ = prepare(dataset, TWO_EPOCHS)
    assert card.model.use_codes
    assert card.model.use_mel
    deaf = dataclasses.replace(TWO_EPOCHS, model=dataclasses.replace(SMALL, use_mel=False))
    with pytest.raises(FxError, match="a model of tokens alone would hear nothing of them"):
        prepare(dataset, deaf)


def test_a_model_of_both_is_taught_and_scored_without_codes(
    both: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    taught = fit(open_shards(both), TWO_EPOCHS, tmp_path / "run", say=lambda text: None)
    mel_only = open_shards(both[0])
    found = evaluate(load_run(taught.path), mel_only, "test")
    assert found.n == 16
    for shards, warned in ((both[0], True), (both[1], False)):
        line = ["evaluate", str(taught.path), str(shards), "--no-html"]
        assert run_cli(cli, "fxtrain", line) == 0
        assert ("hold log-mel alone" in capsys.readouterr().err) == warned
    # Taken on from there without a code, it stays a model of both.
    start = TrainConfig(max_epochs=1, batch_size=16, start_from=str(taught.path))
    card, model = prepare(mel_only, Config(train=start))
    assert card.model.use_codes
    assert card.hearing.codec.precision == NOT_RUN
    assert card.ears.codec.precision == "fp32"  # and hears tokens where it is used
    np.testing.assert_array_equal(
        model.encoder.codes.project.weight.detach(),
        prepare(open_shards(both[1]), Config(train=start))[1].encoder.codes.project.weight.detach(),
    )


def test_without_any_code_a_new_model_hears_log_mel(both: tuple[Path, Path]) -> None:
    card, model = prepare(open_shards(both[0]), TWO_EPOCHS)
    assert not card.model.use_codes
    assert model.encoder.codes is None
    asked = dataclasses.replace(TWO_EPOCHS, model=dataclasses.replace(SMALL, use_codes=True))
    with pytest.raises(FxError, match="use_codes is on, but these shards hold no tokens"):
        prepare(open_shards(both[0]), asked)


def test_a_model_of_tokens_alone_is_told(both: tuple[Path, Path]) -> None:
    index = open_shards(both[1]).index
    tokens = dataclasses.replace(SMALL, use_mel=False)
    card = card_of(index, resolve_model(tokens, n_codebooks=4, has_mel=False), {})
    dataset = open_shards(both)
    check_data(card, index, "here")
    with pytest.raises(VocabularyError, match="there: these shards hold log-mel alone"):
        check_data(card, dataset.index, "there", all_codes=dataset.all_codes)


def test_what_reads_no_tokens_needs_no_codec_to_predict(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not even the weights of the one it was encoded for, which may be a download away."""
    run = load_run(random_run(tmp_path / "run", use_codes=False))
    wave = riff(3 * RATE_HZ)
    with_codec = open_frontend(run.card.hearing).encode(wave, RATE_HZ)
    assert (with_codec.codes != MISSING_CODE).all()
    absent = dataclasses.replace(run.card.hearing.codec, name="44khz", weights_sha256="f" * 64)
    hearing = dataclasses.replace(run.card.hearing, codec=absent)
    card = dataclasses.replace(run.card, hearing=hearing)
    monkeypatch.setattr("fxpipe.frontend.load_codec", None)
    alone = open_frontend(card.ears).encode(wave, RATE_HZ)
    assert (alone.codes == MISSING_CODE).all()
    assert alone.codes.shape == with_codec.codes.shape
    np.testing.assert_array_equal(alone.mel, with_codec.mel)
    assert predict_features(run, alone) == predict_features(run, with_codec)
