"""Numbers as tables for people show them."""

from __future__ import annotations

import math

from fxtrain.intervals import Score


def number(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:.3f}"


def between(score: Score) -> str:
    """The 95 % interval."""
    return "-" if math.isnan(score.low) else f"{score.low:.3f}–{score.high:.3f}"
