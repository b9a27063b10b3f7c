"""What is told of a recording by a model whose words are given."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from fxtrain.card import ModelCard, read_card
from fxtrain.config import DecodeSettings, Rules
from fxtrain.contract import Features, UsageError
from fxtrain.decode import Listened
from fxtrain.finding import SHIPPED
from fxtrain.logits import log_softmax
from fxtrain.predict import PairOrder, predict_features, prediction_dict
from fxtrain.set_order import SetOrder

CARD = read_card(SHIPPED)
NAMES = CARD.vocabulary.names


@dataclass(frozen=True)
class Says:
    """At each step of a chain the pedals of ``words`` have its scores, the others next to none; of
    the head's pedals the first has ``lean``. The same of every recording."""

    words: Sequence[dict[str, float]]
    lean: float = 0.0
    card: ModelCard = CARD
    path: Path = SHIPPED

    def listen(self, features: Features) -> Listened:
        n_pedals = len(NAMES)
        presence = np.zeros((1, n_pedals))
        presence[:, 0] = self.lean
        return Listened(self._score, SetOrder(presence, np.zeros((*presence.shape, n_pedals))))

    def _score(self, prefixes: np.ndarray) -> np.ndarray:
        step, end = prefixes.shape[-1] - 1, len(NAMES)
        row = np.full(end + 1, -40.0)
        for name, score in self.words[step].items() if step < len(self.words) else ():
            row[NAMES.index(name)] = score
        row[end] = 0.0 if step == len(self.words) else -40.0
        return log_softmax(np.broadcast_to(row, (*prefixes.shape[:2], end + 1)))


def recording(n_windows: int = 1) -> Features:
    empty = np.zeros((n_windows, 1, 1), np.uint8)
    return Features(empty, empty, (0.0,) * n_windows, clues=empty)


def chain_of(*names: str) -> Says:
    return Says([{name: 0.0} for name in names])


def test_log_mel_of_a_batch_is_not_taken_for_that_of_ears() -> None:
    """In 0 to 1 it is nearly silence: other pedals were heard, and nothing was said."""
    features = recording()
    mel = np.zeros(features.codes.shape, np.float32)
    with pytest.raises(UsageError, match="log-mel of float32, expected uint8"):
        predict_features(chain_of(NAMES[0]), dataclasses.replace(features, mel=mel))


def test_pedals_are_told_in_the_order_of_the_answer() -> None:
    found = predict_features(chain_of("reverb", "distortion"), recording())
    assert found.names == tuple(found.presence) == ("reverb", "distortion")
    assert found.textbook == ("distortion", "reverb")
    assert found.turned == (("reverb", "distortion"),)


def test_of_two_pedals_that_sound_alike_either_way_no_order_is_told() -> None:
    found = predict_features(chain_of("distortion", "delay", "reverb"), recording())
    (unheard,) = [pair for pair in found.pairs if not pair.audible]
    assert unheard == PairOrder("delay", "reverb", 0.5, False)
    assert [(pair.first, pair.second) for pair in found.pairs if pair.audible] == [
        ("distortion", "delay"), ("distortion", "reverb"),
    ]  # fmt: skip


def test_a_pair_is_as_sure_as_the_order_in_which_it_is_told() -> None:
    run = Says([{"distortion": 2.0, "delay": 0.0}, {"distortion": 0.0, "delay": 0.0}])
    found = predict_features(run, recording())
    (pair,) = found.pairs
    assert found.names == (pair.first, pair.second) == ("distortion", "delay")
    assert pair.probability == pytest.approx((found.candidates[0].probability + 0.5) / 2, abs=0.05)


@pytest.mark.parametrize(("strangeness", "guitar"), [(-0.01, True), (0.0, True), (0.01, False)])
def test_strangeness_above_nothing_is_no_guitar(strangeness: float, guitar: bool) -> None:
    features = dataclasses.replace(recording(3), strangeness=(-1.0, strangeness, 1.0))
    found = predict_features(chain_of("delay"), features)
    assert (found.guitar, found.n_strange) == (guitar, 1 if guitar else 0)


def test_what_was_left_out_of_a_recording_is_told() -> None:
    features = dataclasses.replace(recording(), length_s=9.5, n_silent=2, n_passed_over=3)
    found = predict_features(chain_of("delay"), features)
    assert (found.length_s, found.n_silent, found.n_passed_over) == (9.5, 2, 3)
    assert found.window_s == 2.0


def test_where_nobody_looked_for_a_guitar_there_is_a_chain() -> None:
    run = chain_of("delay")
    data = prediction_dict(predict_features(run, recording()), "clip.wav", run, 1)
    assert (data["guitar"], data["chain"], data["guess"]) == (None, ["delay"], None)
    assert data["model"] == "shipped"  # wherever the package lies


@pytest.mark.parametrize(("lean", "answer"), [(1.9, NAMES[1]), (2.1, NAMES[0])])
def test_chains_and_head_have_their_shares_in_the_answer(lean: float, answer: str) -> None:
    card = dataclasses.replace(
        CARD,
        rules=Rules(len(NAMES), 1, 1, repeats=False),
        decode=DecodeSettings(head_weight=1.0, temperature=2.0),
    )
    run = Says([{NAMES[0]: 0.0, NAMES[1]: 2.0}], lean, card)
    found = predict_features(run, recording())
    assert found.names == (answer,)
    assert found.candidates[0].probability == pytest.approx(0.5, abs=0.02)
