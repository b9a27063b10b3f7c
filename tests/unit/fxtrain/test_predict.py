"""From a recording to pedals through a frontend that stands in for the ears."""

from __future__ import annotations

import dataclasses
import json
import os
from pathlib import Path

import numpy as np
import pytest
import torch

from fixtures.shards import make_shards
from fxtrain.checkpoint import Run, card_of, load_run, new_model, save_model
from fxtrain.config import ModelConfig
from fxtrain.contract import Chain, Features, FxError, PedalEntry, UsageError
from fxtrain.data import open_shards
from fxtrain.data.stream import make_loader
from fxtrain.decode import Candidate
from fxtrain.errors import CheckpointError, UnreadableFileError
from fxtrain.listening import WINDOWS_AT_ONCE, encode_windows
from fxtrain.models import resolve_model
from fxtrain.predict import (
    AnyRun,
    PairOrder,
    Prediction,
    missing_above_hz,
    predict_features,
    predict_file,
    prediction_dict,
    translate,
)
from fxtrain.quick import QuickRun, load_quick


class Ears:
    """Returns set features for any wave; a wave of nothing has no sounding window."""

    def __init__(self, features: Features) -> None:
        self.features = features

    def read(self, path: str | os.PathLike[str]) -> tuple[np.ndarray, int]:
        if Path(path).read_bytes() == b"not audio":
            raise FxError("not an audio file")
        return np.ones(8, np.float32), 44_100

    def encode(self, wave: np.ndarray, sample_rate_hz: int) -> Features:
        return self.features

    def render(self, dry: np.ndarray, sample_rate_hz: int, chain: Chain) -> np.ndarray:
        return dry

    def pedals(self) -> tuple[PedalEntry, ...]:
        return ()


def make_features(n_windows: int, *, n_mels: int = 8) -> Features:
    rng = np.random.default_rng(n_windows)
    return Features(
        codes=rng.integers(0, 64, (n_windows, 4, 16)).astype(np.uint16),
        mel=rng.integers(0, 255, (n_windows, n_mels, 16)).astype(np.uint8),
        starts_s=tuple(0.5 * i for i in range(n_windows)),
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("predict")
    index = make_shards(path / "shards", n_train=8, n_valid=4, n_test=0, with_mel=True)
    config = ModelConfig(kind="gru", d_model=32, n_heads=2)
    card = card_of(index, resolve_model(config, n_codebooks=4, has_mel=True), {})
    card = dataclasses.replace(card, rules=dataclasses.replace(card.rules, min_length=2))
    torch.manual_seed(1)
    save_model(path / "run", card, new_model(card, torch.randn(4, 64, 8)))
    return path / "run"


@pytest.fixture(scope="module", params=[load_run, load_quick])
def run(folder: Path, request: pytest.FixtureRequest) -> Run | QuickRun:
    loaded: Run | QuickRun = request.param(folder)
    return loaded


def test_probabilities_and_pairs_are_consistent(run: AnyRun) -> None:
    found = predict_features(run, make_features(1))
    assert sum(c.probability for c in found.candidates) == pytest.approx(1.0)
    assert len(set(found.names)) == len(found.names) >= 2
    assert set(found.presence) == set(found.names) == set(found.textbook)
    assert all(0 < p <= 1 + 1e-9 for p in found.presence.values())
    assert len(found.pairs) == len(found.names) * (len(found.names) - 1) // 2
    places = [run.card.vocabulary.names.index(name) for name in found.textbook]
    assert places == sorted(places)


@pytest.mark.parametrize("spoilt", ["all", "head", "rules"])
def test_a_model_that_names_no_chain_is_told_in_a_line(
    folder: Path, tmp_path: Path, spoilt: str
) -> None:
    run = load_run(folder)
    card, model = run.card, run.model
    if spoilt != "rules":
        with torch.no_grad():
            for weight in (model if spoilt == "all" else model.head).parameters():
                weight.fill_(1e38)
    else:
        rules = dataclasses.replace(card.rules, min_length=9, max_length=9)  # of 4 pedals
        card = dataclasses.replace(card, rules=rules)
    save_model(tmp_path, card, model)
    for load in (load_run, load_quick):
        with pytest.raises(CheckpointError, match="no chain"):
            predict_features(load(tmp_path), make_features(1))


def test_features_without_what_the_model_hears_are_told(run: AnyRun) -> None:
    deaf = dataclasses.replace(make_features(1), mel=None)
    with pytest.raises(UsageError, match=r"hears log-mel, and these features hold none"):
        predict_features(run, deaf)


def test_long_recordings_are_heard_in_parts_with_one_answer(run: AnyRun) -> None:
    many = make_features(70)
    found = predict_features(run, many)
    assert len(found.starts_s) == 70
    order = np.random.default_rng(0).permutation(70)
    assert many.mel is not None
    shuffled = Features(many.codes[order], many.mel[order], many.starts_s)
    again = predict_features(run, shuffled)
    assert again.names == found.names
    assert again.candidates[0].probability == pytest.approx(
        found.candidates[0].probability, abs=1e-3
    )


def test_windows_are_heard_as_clips_of_a_shard_are(folder: Path, tmp_path: Path) -> None:
    run = load_run(folder)
    make_shards(tmp_path / "shards", n_train=4, n_valid=2 * WINDOWS_AT_ONCE + 1, with_mel=True)
    dataset = open_shards(tmp_path / "shards")
    n_clips = dataset.n_samples("valid")
    (batch,) = make_loader(dataset, "valid", batch_size=n_clips, seed=0, shuffle=False)
    features = Features(
        codes=batch.codes.numpy().astype(np.uint16),
        mel=(255 * batch.mel).round().byte().numpy(),
        starts_s=tuple(range(n_clips)),
    )
    with torch.inference_mode():
        expected = run.model.encode(batch.codes, batch.mel).states
    torch.testing.assert_close(encode_windows(run.model, run.device, features).states, expected)
    quick = load_quick(folder).model.encode(batch.codes.numpy(), features.mel / np.float32(255))
    torch.testing.assert_close(torch.from_numpy(quick), expected)


def test_files_that_cannot_be_heard_are_named(run: AnyRun, tmp_path: Path) -> None:
    good = Ears(make_features(1))
    with pytest.raises(UnreadableFileError, match=r"gone\.wav: no such file"):
        predict_file(run, good, tmp_path / "gone.wav")
    (tmp_path / "text.wav").write_bytes(b"not audio")
    with pytest.raises(UnreadableFileError, match=r"text\.wav: not an audio file"):
        predict_file(run, good, tmp_path / "text.wav")
    (tmp_path / "silent.wav").write_bytes(b"silence")
    with pytest.raises(UnreadableFileError, match=r"silent\.wav: nothing sounds"):
        predict_file(run, Ears(make_features(0)), tmp_path / "silent.wav")


PREDICTION = Prediction(
    candidates=(
        Candidate(("delay", "reverb", "wah"), 0.7, (("delay", "reverb", "wah"),)),
        Candidate(("distortion", "delay"), 0.2, (("distortion", "delay"),)),
        Candidate((), 0.1, ((),)),
    ),
    presence={"delay": 0.9, "reverb": 0.7, "wah": 0.7},
    pairs=(
        PairOrder("delay", "wah", 0.96, True, 0.9),
        PairOrder("reverb", "wah", 0.62, True, 0.7),
        PairOrder("delay", "reverb", 0.5, False),
    ),
    textbook=("wah", "delay", "reverb"),
    starts_s=(0.0, 0.5),
    heard={"delay": 0.9, "reverb": 0.7, "wah": 0.7, "fuzz": 0.01},
    length_s=3.0,
    n_silent=1,
    guitar=True,
    strangeness=-2.0,
)
STRANGE = dataclasses.replace(PREDICTION, guitar=False, strangeness=3.0)


def test_prediction_as_json(run: AnyRun) -> None:
    data = json.loads(json.dumps(prediction_dict(PREDICTION, "clip.wav", run, 2)))
    assert data["chain"] == ["delay", "reverb", "wah"]
    assert data["guess"] is None
    assert data["guitar"] is True
    assert data["pedals"][:2] == [
        {"name": "delay", "probability": 0.9, "knobs": {}},
        {"name": "reverb", "probability": 0.7, "knobs": {}},
    ]
    assert data["presence"]["fuzz"] == 0.01
    assert [a["chain"] for a in data["alternatives"]] == [
        ["delay", "reverb", "wah"],
        ["distortion", "delay"],
    ]
    assert data["alternatives"][0]["orders_that_sound_alike"] == [["delay", "reverb", "wah"]]
    assert [pair["verdict"] for pair in data["pairs"]] == ["sure", "unsure", "inaudible"]
    assert data["pairs"][2] == {
        "first": "delay", "second": "reverb", "probability": 0.5, "direct": 0.5,
        "audible": False, "verdict": "inaudible",
    }  # fmt: skip
    assert data["turned"] == [["delay", "wah"], ["reverb", "wah"]]
    assert data["windows_start_s"] == [0.0, 0.5]
    assert data["missing_above_hz"] is None
    assert data["windows_left_out"] == {"silent": 1, "not_guitar": 0, "passed_over": 0}
    assert any("DI" in text for text in data["assumptions"])


def test_what_is_no_guitar_has_a_guess_but_no_chain(run: AnyRun) -> None:
    data = prediction_dict(STRANGE, "talk.wav", run, 2)
    assert (data["guitar"], data["chain"]) == (False, None)
    assert data["guess"] == ["delay", "reverb", "wah"]


@pytest.mark.parametrize(
    ("probability", "direct", "audible", "verdict"),
    [
        (0.9, 0.9, True, "sure"),
        (0.75, 0.9, True, "sure"),
        (0.74, 0.8, True, "unsure"),
        (0.6, 0.8, True, "unsure"),
        (0.55, 0.55, True, "open"),
        (0.52, 0.1, True, "open"),
        (0.5, 0.5, False, "inaudible"),
    ],
)
def test_what_is_said_of_a_pair(
    probability: float, direct: float, audible: bool, verdict: str
) -> None:
    assert PairOrder("a", "b", probability, audible, direct).verdict == verdict


def test_strange_windows_are_left_out_unless_most_are(run: AnyRun) -> None:
    features = make_features(5)
    some = dataclasses.replace(features, strangeness=(-3.0, 2.0, -1.0, -2.0, 4.0))
    found = predict_features(run, some)
    assert found.guitar is True
    assert found.starts_s == (0.0, 1.0, 1.5)
    assert found.n_strange == 2
    kept = [0, 2, 3]
    assert features.mel is not None
    alone = Features(features.codes[kept], features.mel[kept], (0.0, 1.0, 1.5))
    assert predict_features(run, alone).candidates == found.candidates
    most = predict_features(
        run, dataclasses.replace(features, strangeness=(-3.0, 2.0, 1.0, 2.0, 4.0))
    )
    assert most.guitar is False
    assert most.strangeness == 2.0
    assert len(most.starts_s) == 5  # all of it, for whoever wants the guess
    assert predict_features(run, features).guitar is None


@pytest.mark.parametrize(
    ("rate_hz", "missing"),
    [(8_000, 4_000.0), (31_999, 15_999.5), (32_000, None), (44_100, None), (0, None)],
)
def test_a_file_of_few_samples_a_second_lacks_what_is_heard(
    run: AnyRun, rate_hz: int, missing: float | None
) -> None:
    features = dataclasses.replace(make_features(1), sample_rate_hz=rate_hz)
    found = predict_features(run, features)
    assert found.missing_above_hz == missing
    assert prediction_dict(found, "clip.wav", run, 1)["missing_above_hz"] == missing


def test_nothing_is_missing_that_the_model_does_not_hear() -> None:
    assert missing_above_hz(16_000, 16_000) is None
    assert missing_above_hz(8_000, 16_000) == 4_000.0


def test_every_pedal_and_every_pair_has_a_probability(run: AnyRun) -> None:
    found = predict_features(run, make_features(2))
    assert list(found.heard) == list(run.card.vocabulary.names)
    assert {name: found.heard[name] for name in found.presence} == pytest.approx(found.presence)
    assert all(0 <= pair.direct <= 1 for pair in found.pairs)
    assert any(pair.direct != 0.5 for pair in found.pairs if pair.audible)


def test_how_sure_an_answer_is_was_tuned(run: AnyRun) -> None:
    features = make_features(2)
    decode = dataclasses.replace(run.card.decode, temperature=4.0, tail_weight=1.0)
    tuned = dataclasses.replace(run, card=dataclasses.replace(run.card, decode=decode))
    found, plain = predict_features(tuned, features), predict_features(run, features)
    after, before, _ = translate(tuned, features)
    assert found.candidates == after
    assert before == plain.candidates
    assert found.names == plain.names
    assert found.candidates[0].probability < plain.candidates[0].probability


def test_a_pair_is_asked_the_way_it_is_told(run: AnyRun) -> None:
    features = make_features(2)
    found, (_, _, own) = predict_features(run, features), translate(run, features)
    place = run.card.vocabulary.names.index
    audible = [pair for pair in found.pairs if pair.audible]
    assert audible
    for pair in audible:
        assert pair.direct == own.before[place(pair.first)][place(pair.second)] != 0.5


def test_the_same_window_again_makes_nothing_surer(run: AnyRun) -> None:
    one = make_features(1)
    assert one.mel is not None
    again = Features(one.codes.repeat(6, axis=0), one.mel.repeat(6, axis=0), (0.0,) * 6)
    alone, together = predict_features(run, one), predict_features(run, again)
    assert together.names == alone.names
    assert together.candidates[0].probability == pytest.approx(
        alone.candidates[0].probability, abs=1e-5
    )
    (_, _, own), (_, _, owns) = translate(run, one), translate(run, again)
    assert owns.presence == pytest.approx(own.presence, abs=1e-5)
    assert np.array(owns.before) == pytest.approx(np.array(own.before), abs=1e-5)


def test_the_textbook_is_the_order_of_the_pool(run: AnyRun) -> None:
    rules = dataclasses.replace(run.card.rules, min_length=4, max_length=4)
    all_of_them = dataclasses.replace(run, card=dataclasses.replace(run.card, rules=rules))
    found = predict_features(all_of_them, make_features(1))
    assert found.textbook == run.card.vocabulary.names != tuple(sorted(found.names))
