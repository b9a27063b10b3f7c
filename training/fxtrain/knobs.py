"""Where the knobs of a pedal were heard to stand. Must not import torch.

``travel.py`` is how a model comes to say so.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass

from fxtrain.contract import Chain, Param, Pedal
from fxtrain.contract.knobs import is_cyclic

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
