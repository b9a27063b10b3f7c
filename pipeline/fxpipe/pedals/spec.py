"""What a pedal is: its knobs with unit and range, and a function that builds it. No audio here."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from fxpipe.errors import PedalError
from fxtrain.contract import Param, Pedal, PedalEntry, from_unit, unknown_name

Settings = Mapping[str, float]
Process = Callable[[np.ndarray], np.ndarray]
"""float32 [N] in, float32 [N] out; made fresh for every render, used once."""

FAMILIES = ("dynamics", "pitch", "filter", "drive", "tone", "modulation", "time")
"""Textbook order of a board, guitar first: dynamics and pitch want the clean string, gain before
modulation, echoes last. The usual advice, not a law: the order policy only leans on it."""

LINEARITIES = ("lti", "ltv", "nonlinear")
"""Linear time-invariant pedals commute with each other exactly; the others need measuring."""

UNITS = ("dB", "dBFS", "Hz", "ms", "ratio", "cycles", "bit")
SCALES = ("linear", "log")
"""Of a knob's travel, so that a step sounds about as large at either end."""


@dataclass(frozen=True)
class PedalSpec:
    """``build(settings, sample_rate_hz)`` gives a fresh process; ``meaning`` is for a guitarist.

    ``typical`` turns a knob (0 to 1 along its scale) away from the middle where the middle is off.
    """

    family: str
    linearity: str
    meaning: str
    params: tuple[Param, ...]
    build: Callable[[Settings, int], Process]
    typical: Mapping[str, float] = field(default_factory=dict)

    def entry(self, name: str) -> PedalEntry:
        return PedalEntry(name, self.family, self.params)

    def example(self, name: str) -> Pedal:
        """The pedal as a guitarist would first try it."""
        turned = {param.name: self.typical.get(param.name, 0.5) for param in self.params}
        return Pedal(
            name, {param.name: from_unit(param, turned[param.name]) for param in self.params}
        )


def check_settings(name: str, params: Sequence[Param], settings: Settings) -> None:
    """Refuse unknown, missing, non-finite and out-of-range settings in one line."""
    known = {param.name: param for param in params}
    for key in settings:
        if key not in known:
            raise PedalError(f"pedal {name!r}: {unknown_name('parameter', key, known)}")
    for key, param in known.items():
        if key not in settings:
            raise PedalError(f"pedal {name!r}: parameter {key!r} ({param.unit}) is missing")
        value = settings[key]
        if not (math.isfinite(value) and param.low <= value <= param.high):
            raise PedalError(
                f"pedal {name!r}: {key} is {value} {param.unit}, "
                f"expected {param.low:g} to {param.high:g}"
            )
