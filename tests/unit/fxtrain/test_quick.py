"""The translator in NumPy: the same answer as with torch, which it never loads."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fixtures.audio import RATE_HZ, riff
from fixtures.shards import make_shards
from fxtrain.card import ModelCard, read_card
from fxtrain.checkpoint import Run, card_of, load_run, new_model, save_model
from fxtrain.config import ModelConfig
from fxtrain.contract import MISSING_CODE, Features, UsageError
from fxtrain.errors import CheckpointError
from fxtrain.finding import SHIPPED
from fxtrain.models import resolve_model
from fxtrain.predict import open_run, predict_features
from fxtrain.quick import QuickRun, QuickTranslator, load_quick
from fxtrain.quick.layers import gelu
from fxtrain.weights import WEIGHTS_NAME, n_bytes, shapes_of

N_BOOKS, N_FRAMES = 4, 21
"""An odd number of frames: halves are rounded up."""


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> ModelCard:
    index = make_shards(tmp_path_factory.mktemp("quick"), n_train=4, with_mel=True, with_clues=True)
    return card_of(index, ModelConfig(), {})


@st.composite
def models(draw: st.DrawFn) -> ModelConfig:
    heard = draw(st.sampled_from(["both", "codes", "mel"]))
    return ModelConfig(
        kind=draw(st.sampled_from(["transformer", "gru"])),
        d_model=draw(st.sampled_from([8, 16])),
        n_layers=draw(st.integers(1, 3)),
        n_decoder_layers=draw(st.integers(1, 2)),
        n_heads=draw(st.sampled_from([1, 2])),
        use_codes=heard != "mel",
        use_mel=heard != "codes",
        use_clues=draw(st.booleans()),
        n_codebooks=draw(st.sampled_from([None, 1, 3])),
        learned_residual=draw(st.booleans()),
        mel_channels=draw(st.sampled_from([0, 2])),
        mel_blocks=draw(st.integers(1, 3)),
        subsample=draw(st.sampled_from([1, 2, 4, 8])),
        hear_knobs=draw(st.booleans()),
    )


def described(plain: ModelCard, config: ModelConfig) -> ModelCard:
    model = resolve_model(config, n_codebooks=N_BOOKS, has_mel=True, has_clues=True)
    return dataclasses.replace(plain, model=model)


@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.too_slow])
@given(models(), st.integers(0, 2**16))
def test_every_model_says_the_same_without_torch(
    plain: ModelCard, config: ModelConfig, seed: int
) -> None:
    card = described(plain, config)
    torch.manual_seed(seed)
    model = new_model(card, torch.randn(N_BOOKS, 64, 8)).eval()
    with torch.no_grad():
        for weight in model.parameters():  # no norm or bias stays where it does nothing
            weight += 0.2 * torch.randn_like(weight)
    state = {name: tensor.numpy() for name, tensor in model.state_dict().items()}
    assert {name: tensor.shape for name, tensor in state.items()} == shapes_of(card)
    assert n_bytes(shapes_of(card)) == sum(tensor.nbytes for tensor in state.values())
    quick = QuickTranslator(card.model, state, card.hearing.clues)

    codes = torch.randint(64, (3, N_BOOKS, N_FRAMES))
    codes[1] = MISSING_CODE  # a clip of log-mel alone
    assert card.hearing.mel is not None
    mel = torch.rand(3, card.hearing.mel.n_mels, N_FRAMES)
    assert card.hearing.clues is not None
    clues = torch.rand(3, card.hearing.clues.n_clues)
    tokens = torch.randint(card.rules.n_pedals + 1, (3, 4, 3))
    with torch.inference_mode():
        memory = model.encode(codes, mel, clues)
        expected = [memory.states, model.decode(tokens, memory), *model.set_order(memory)]
        expected += [model.knobs(memory)] if config.hear_knobs else []
    heard = quick.encode(codes.numpy(), mel.numpy(), clues.numpy())
    found = [heard, quick.decode(tokens.numpy(), heard), *quick.set_order(heard)]
    found += [quick.knobs(heard)] if config.hear_knobs else []
    for ours, theirs in zip(found, expected, strict=True):
        assert ours.dtype == np.float32
        torch.testing.assert_close(torch.from_numpy(ours), theirs, rtol=1e-3, atol=1e-3)


def test_the_model_in_the_package_answers_the_same() -> None:
    with_torch, quick = load_run(SHIPPED), load_quick(SHIPPED)
    rng = np.random.default_rng(0)
    n_frames = with_torch.card.hearing.codec.n_frames(with_torch.card.hearing.n_audio_samples)
    codes = rng.integers(0, 1024, (3, 9, n_frames)).astype(np.uint16)
    mel = rng.integers(0, 255, (3, 96, n_frames)).astype(np.uint8)
    assert with_torch.card.hearing.clues is not None
    clues = rng.integers(0, 255, (3, with_torch.card.hearing.clues.n_clues)).astype(np.uint8)
    features = Features(codes, mel, (0.0, 1.0, 2.0), clues=clues)
    ours, theirs = quick.listen(features), with_torch.listen(features)
    assert ours.knobs is not None
    assert theirs.knobs is not None
    np.testing.assert_allclose(ours.knobs, theirs.knobs, atol=1e-4)
    for one, other in zip(ours.head, theirs.head, strict=True):
        assert one.dtype == np.float32  # doubles would take twice as long
        np.testing.assert_allclose(one, other, atol=1e-4)
    cold, warm = predict_features(quick, features), predict_features(with_torch, features)
    assert cold.names == warm.names
    assert cold.heard == pytest.approx(warm.heard, abs=1e-5)


def test_gelu_is_that_of_torch() -> None:
    x = torch.linspace(-12, 12, 4001)
    ours = torch.from_numpy(gelu(x.numpy()))
    torch.testing.assert_close(ours, torch.nn.functional.gelu(x), rtol=0, atol=1e-6)


COLD = """
import sys
from fxtrain.cli import cli
try:
    cli(["predict", sys.argv[1], "--json"], standalone_mode=False)
finally:
    loaded = {name.partition(".")[0] for name in sys.modules}
    print("torch" in loaded, "scipy" in loaded, "fxtrain" in loaded, file=sys.stderr)
"""


def test_a_clip_is_answered_before_torch_would_be_loaded(tmp_path: Path) -> None:
    clip = tmp_path / "lick.wav"
    soundfile.write(clip, riff(3 * RATE_HZ), RATE_HZ, subtype="FLOAT")
    done = subprocess.run(
        [sys.executable, "-c", COLD, str(clip)], capture_output=True, text=True, check=False
    )
    assert done.stderr == "False False True\n"
    assert set(json.loads(done.stdout)["presence"]) == set(read_card(SHIPPED).vocabulary.names)


def saved(card: ModelCard, path: Path) -> Path:
    torch.manual_seed(0)
    save_model(path, card, new_model(card, torch.randn(N_BOOKS, 64, 8)))
    return path


def test_which_engine_answers(
    plain: ModelCard, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = saved(described(plain, ModelConfig(d_model=16, n_heads=2)), tmp_path)
    for name in ("auto", "cpu", "cpu:0"):
        assert isinstance(open_run(folder, name), QuickRun)
    with pytest.raises(UsageError, match="known: auto, cpu, cuda"):
        open_run(folder, "gpu")
    asked: list[str] = []

    def as_where_there_are_gpus(name: str) -> torch.device:
        asked.append(name)
        return torch.device("cpu")

    monkeypatch.setattr("fxtrain.predict.resolve_device", as_where_there_are_gpus)
    for name in ("cuda", "cuda:1"):
        assert isinstance(open_run(folder, name), Run)
    assert asked == ["cuda", "cuda:1"]


def test_weights_that_do_not_fit_are_refused_as_with_torch(
    plain: ModelCard, tmp_path: Path
) -> None:
    folder = saved(described(plain, ModelConfig(d_model=16, n_heads=2)), tmp_path)
    card = json.loads((folder / "model.json").read_text())
    card["model"]["n_layers"] = 3
    (folder / "model.json").write_text(json.dumps(card))
    said = []
    for load in (load_run, load_quick):
        with pytest.raises(CheckpointError, match="do not fit the model") as refused:
            load(folder)
        said.append(str(refused.value))
    assert said[0] == said[1]
    assert "encoder.context.layers.layers.2" in said[0]
    with (folder / WEIGHTS_NAME).open("ab") as file:
        file.write(b"x")
    with pytest.raises(CheckpointError, match="another sha256"):
        load_quick(folder)
