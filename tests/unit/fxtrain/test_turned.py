"""Errors of knobs: where a range ends, who are witnesses, which clip an answer belongs to."""

from __future__ import annotations

from types import SimpleNamespace
from typing import cast

import numpy as np
import pytest
import torch

from fxtrain.config import ModelConfig
from fxtrain.contract import Param, PedalEntry, Vocabulary, from_unit
from fxtrain.intervals import SHARE, mean_interval
from fxtrain.knobs import N_PLACES, Knob, Knobs
from fxtrain.models import Memory, Translator
from fxtrain.models.heads import KnobHead
from fxtrain.predict import Prediction, knobs_dict
from fxtrain.travel import KnobEars
from fxtrain.turned import turned

MIX = Param("mix", "ratio", 0.2, 0.6, "linear", "how much")
DELAY = Vocabulary((PedalEntry("delay", "time", (MIX,)),))


def heard(mean: float, low: float, high: float) -> Knobs:
    value, least, most = (from_unit(MIX, u) for u in (mean, low, high))
    return {"delay": {"mix": Knob(MIX, value, least, most, (mean, low, high))}}


def travel(*places: float) -> np.ndarray:
    return np.array(places, np.float32).reshape(-1, 1, 1)


def test_the_ends_of_a_range_are_in_it() -> None:
    knobs = [heard(0.1, 0.0, 0.5), heard(0.9, 0.5, 1.0), heard(0.3, 0.25, 0.5)]
    every, _ = turned(knobs, travel(0.0, 1.0, 0.125), DELAY, np.arange(3))
    assert every.between == pytest.approx(2 / 3)


def test_an_error_stands_beside_that_of_the_middle() -> None:
    every, _ = turned([heard(0.1, 0.0, 0.5)] * 2, travel(0.25, 0.75), DELAY, np.arange(2))
    assert every.error.value == pytest.approx((0.15 + 0.65) / 2)
    assert every.null == 0.25


def test_witnesses_are_recordings_also_where_clips_have_no_such_knob() -> None:
    errors = np.array([0.0, 0.1, 0.1, 0.4, 0.5, 0.5, 0.6, 0.6, 0.9, 0.7, 0.1, 0.2])
    groups = np.repeat(np.arange(8), 2)
    places = np.full(16, np.nan)
    there = np.array([0, 1, 2, 4, 5, 7, 8, 9, 11, 12, 14, 15])
    places[there] = errors
    _, mix = turned([heard(0.0, 0.0, 0.0)] * 16, travel(*places), DELAY, groups, seed=3)
    expected = mean_interval(errors.astype(np.float32), groups[there], 3, SHARE)
    assert (mix.error.low, mix.error.high) == pytest.approx(expected)


def test_what_was_heard_stays_beside_its_clip() -> None:
    class Model:
        def knobs(self, memory: Memory) -> torch.Tensor:
            return torch.zeros(len(memory.states), 1, 1, N_PLACES)

    ears = KnobEars(DELAY)
    for places in ((0.2, 0.3), (0.6,)):
        n = len(places)
        memory = Memory(torch.zeros(n, 1, 1))
        order, params = torch.zeros(n, 1, dtype=torch.long), torch.tensor(places).reshape(n, 1, 1)
        ears.hear(cast(Translator, Model()), memory, order, params)
    assert len(ears.knobs) == 3
    assert ears.travel is not None
    assert ears.travel.ravel() == pytest.approx([0.0, 0.25, 1.0])


def test_a_knob_that_may_stand_anywhere_was_not_heard() -> None:
    told = {}
    for name, knobs in (("fine", heard(0.5, 0.4, 0.6)), ("rough", heard(0.5, 0.0, 0.9))):
        said = cast(Prediction, SimpleNamespace(knobs=knobs))
        told[name] = knobs_dict(said, "delay")["mix"]["heard"]
    assert told == {"fine": True, "rough": False}


def test_the_words_of_the_knob_head_are_knob_by_knob() -> None:
    """Weights that were saved mean nothing in another order."""
    head = KnobHead(ModelConfig(d_model=8, n_heads=2), n_pedals=2, n_knobs=3)
    memory = Memory(torch.randn(1, 4, 8))
    with torch.no_grad():
        before = head(memory)
        head.bias[1, 2 * N_PLACES + 5] += 1.0
        moved = (head(memory) - before).nonzero().tolist()
    assert moved == [[0, 1, 2, 5]]
