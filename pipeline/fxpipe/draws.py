"""Numbers that a record tells: drawn, rounded to thousandths, checked when they come back."""

from __future__ import annotations

import math

import numpy as np

from fxtrain.contract import UsageError

LIMITS = {
    "hz": (10.0, 1e6),
    "ms": (0.01, 1e4),
    "db": (-60.0, 60.0),
    "q": (0.1, 100.0),
    "bias": (0.0, 2.0),
}
"""By the unit at the end of a field's name: beyond these a record is damaged."""


def even(rng: np.random.Generator, low: float, high: float) -> float:
    return round(float(rng.uniform(low, high)), 3)


def log(rng: np.random.Generator, low: float, high: float) -> float:
    """As often between 1 and 2 as between 2 and 4."""
    return round(math.exp(rng.uniform(math.log(low), math.log(high))), 3)


def check_limits(kind: str, fields: dict[str, float]) -> None:
    """Raise UsageError where a field of a ``kind`` of thing is beyond ``LIMITS``."""
    for name, value in fields.items():
        least, most = LIMITS[name.rpartition("_")[2]]
        if not least <= value <= most:
            raise UsageError(f"{kind}_{name} is {value:g}, expected {least:g} to {most:g}")
