"""Where the knobs of a pedal were heard to stand. Must not import torch.

A knob's travel goes from 0 to 1 along its own scale. What a model says of a knob is a distribution
over ``N_PLACES`` places of it, those of the contract's coarse grid; between two places it is
linear, so the mean may lie anywhere. ``travel.py`` is how a model comes to say so.
Shapes: V pedal, P knob of a pedal.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from fxtrain.contract import COARSE, Chain, Param, Pedal, Vocabulary, from_unit
from fxtrain.contract.knobs import is_cyclic
from fxtrain.logits import softmax

N_PLACES = COARSE.n_steps + 1
"""Of a knob's travel, both ends among them."""

SURE = 0.8
"""A knob is said to stand between two places that hold this share of what is believed of it."""

ROUGH = 0.5
"""A knob that may stand anywhere in more than this part of its travel was not heard."""


@dataclass(frozen=True)
class Knob:
    """A knob as it was heard, in its own unit: the mean of what is believed, and the two places
    between which 80 % of it lies. ``travel``: all three on the knob's way from 0 to 1."""

    param: Param
    value: float
    low: float
    high: float
    travel: tuple[float, float, float]

    @property
    def is_rough(self) -> bool:
        _, low, high = self.travel
        return high - low > ROUGH


Knobs = dict[str, dict[str, Knob]]
"""Pedal -> parameter -> how it was heard."""


def can_be_heard(param: Param) -> bool:
    """Not where it cannot be turned; nor a phase, which is another in every window; nor a switch,
    of whose positions there is no mean."""
    return param.low < param.high and not is_cyclic(param) and param.scale != "choice"


def as_heard(chain: Chain, knobs: Mapping[str, Mapping[str, Knob]]) -> Chain:
    """``chain`` with what was heard of its knobs; of others the settings stay."""

    def turned(pedal: Pedal) -> Pedal:
        heard = knobs.get(pedal.name, {})
        found = {n: heard[n].value if n in heard else v for n, v in pedal.settings.items()}
        return dataclasses.replace(pedal, settings=found)

    return Chain(tuple(map(turned, chain.pedals)))


def read_knobs(logits: np.ndarray, vocabulary: Vocabulary) -> Knobs:
    """What a model says of a recording [V, P, places], of every pedal."""
    believed = softmax(logits)
    mean = mean_travel(believed)
    means, ends = mean.tolist(), [end.tolist() for end in _range(believed, mean)]
    found: Knobs = {}
    for v, entry in enumerate(vocabulary.pedals):
        found[entry.name] = {}
        for p, param in enumerate(entry.params):
            if can_be_heard(param):
                travel = means[v][p], ends[0][v][p], ends[1][v][p]
                value, low, high = (from_unit(param, u) for u in travel)
                found[entry.name][param.name] = Knob(param, value, low, high, travel)
    return found


def mean_travel(believed: np.ndarray) -> np.ndarray:
    """[..., places] probabilities -> [...] in 0..1."""
    mean: np.ndarray = believed @ np.linspace(0, 1, N_PLACES, dtype=believed.dtype)
    return mean


def _range(believed: np.ndarray, mean: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(low, high) [...] between which ``SURE`` of the belief lies: from one end of the travel, from
    the other or from its middle, whichever is shortest, and of equals the nearest to ``mean``.

    With as much left out on either side, a dial that is turned to its stop would never be within.
    """
    tails = (0.0, (1 - SURE) / 2, 1 - SURE)
    lows = np.stack([_quantile(believed, tail) for tail in tails])
    highs = np.stack([_quantile(believed, tail + SURE) for tail in tails])
    cost = highs - lows + 1e-3 * np.abs((lows + highs) / 2 - mean)
    best = cost.argmin(0)[None]
    low, high = (np.take_along_axis(ends, best, 0)[0] for ends in (lows, highs))
    return np.minimum(low, mean), np.maximum(high, mean)


def _quantile(believed: np.ndarray, share: float) -> np.ndarray:
    """Where so much of the belief lies below, each place standing for the stretch around it."""
    edges = ((np.arange(N_PLACES + 1) - 0.5) / (N_PLACES - 1)).clip(0, 1).astype(believed.dtype)
    nothing = np.zeros_like(believed[..., :1])
    below = np.concatenate((nothing, believed.cumsum(-1)), axis=-1)
    below /= below[..., -1:].copy()  # a sum of floats ends beside 1
    upper = (below >= share).argmax(-1)[..., None].clip(1)
    before, after = (np.take_along_axis(below, at, -1) for at in (upper - 1, upper))
    part = ((share - before) / (after - before).clip(1e-9)).clip(0, 1)
    found: np.ndarray = (edges[upper - 1] + part * (edges[upper] - edges[upper - 1]))[..., 0]
    return found
