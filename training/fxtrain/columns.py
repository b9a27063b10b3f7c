"""Numbers as tables show them to people, and JSON to programs."""

from __future__ import annotations

import math
from typing import Any

from fxtrain.intervals import Score


def number(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:.3f}"


def between(score: Score) -> str:
    """The 95 % interval."""
    return "-" if math.isnan(score.low) else f"{score.low:.3f}–{score.high:.3f}"


def without_nan(value: Any) -> Any:
    """JSON values; NaN becomes null."""
    if isinstance(value, dict):
        return {key: without_nan(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [without_nan(item) for item in value]
    return None if isinstance(value, float) and math.isnan(value) else value
