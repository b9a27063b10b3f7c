"""Drawings of the page as SVG: plain functions from numbers to markup, coloured by its style.

Colours are classes of page.css, so one drawing serves dark and light. Names are escaped.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from markupsafe import Markup, escape

from fxtrain.intervals import wilson
from fxtrain.reliability import Bin
from fxtrain.report.curves import Curve

STRIP = (180.0, 20.0)
PLOT = 260.0
LEFT, BELOW = 66.0, 44.0
"""Beside a plot: its title, and the labels, clear of the largest dot."""

GRID = {0.0: "0", 0.5: "50 %", 1.0: "100 %"}

Place = Callable[[float], float]
"""A value -> where it lies in the drawing."""


def number(value: float | None, digits: int = 3) -> str:
    """A number for people; a dash where there is none."""
    if value is None or math.isnan(value):
        return "–"
    return f"{value:.{digits}f}".replace("-", "−")


def strip(
    value: float,
    low: float,
    high: float,
    null: float = math.nan,
    ceiling: float = math.nan,
    beside: str = "null",
    bar: str = "ceiling",
    *,
    top: float = 1.0,
) -> Markup:
    """A share from 0 to ``top`` with its interval, the null as a hollow diamond, the ceiling as a
    bar.

    ``beside``: what the diamond is called; ``bar``: what the bar is.
    """
    if math.isnan(value):
        return Markup("")
    width, height = STRIP
    middle = height / 2

    def x(share: float) -> float:
        return 6 + (width - 12) * min(max(share / top, 0.0), 1.0)

    parts = [f'<line class="rail" x1="6" x2="{width - 6:g}" y1="{middle:g}" y2="{middle:g}"/>']
    if not math.isnan(low):
        wide = max(x(high) - x(low), 1.0)
        parts.append(
            f'<rect class="band" x="{x(low):.1f}" y="{middle - 4:g}" width="{wide:.1f}" '
            'height="8" rx="2"/>'
        )
    if not math.isnan(ceiling):
        parts.append(
            f'<line class="ceiling" x1="{x(ceiling):.1f}" x2="{x(ceiling):.1f}" y1="2" '
            f'y2="{height - 2:g}"/>'
        )
    if not math.isnan(null):
        at = x(null)
        parts.append(
            f'<path class="null" d="M{at - 4:.1f} {middle:g}L{at:.1f} {middle - 4:g}'
            f'L{at + 4:.1f} {middle:g}L{at:.1f} {middle + 4:g}Z"/>'
        )
    parts.append(f'<circle class="dot" cx="{x(value):.1f}" cy="{middle:g}" r="4"/>')
    label = f"{number(value)}, {beside} {number(null)}, {bar} {number(ceiling)}"
    return Markup(
        f'<svg class="strip" viewBox="0 0 {width:g} {height:g}" role="img" aria-label="{label}">'
        + "".join(parts)
        + "</svg>"
    )


def reliability_diagram(bins: Sequence[Bin], label: str) -> Markup:
    """Confidence (across) against how often it came true (up), with 95 % intervals of the shares.

    A dot's area is its number of answers; on the diagonal confidence keeps its promise.
    """
    side = PLOT - BELOW - 10
    width, height = LEFT + side + 10, PLOT

    def x(share: float) -> float:
        return LEFT + side * share

    def y(share: float) -> float:
        return 10 + side * (1 - share)

    parts = _frame(x, y)
    parts.append(
        f'<line class="diagonal" x1="{x(0):g}" y1="{y(0):g}" x2="{x(1):g}" y2="{y(1):g}"/>'
    )
    most = max((b.n for b in bins), default=0)
    for b in bins:
        if not b.n:
            continue
        share = wilson(b.right * b.n, b.n)
        at = x(b.confidence)
        radius = 2.5 + 6.5 * math.sqrt(b.n / most)
        said = f"{b.confidence:.0%} sure, {b.right:.0%} right, of {b.n}"
        parts.append(
            f'<line class="whisker" x1="{at:.1f}" x2="{at:.1f}" y1="{y(share.low):.1f}" '
            f'y2="{y(share.high):.1f}"/>'
            f'<circle class="bubble" cx="{at:.1f}" cy="{y(b.right):.1f}" r="{radius:.1f}">'
            f"<title>{said}</title></circle>"
        )
    parts.append(
        f'<text class="axis" x="{x(0.5):g}" y="{height - 5:g}" text-anchor="middle">how sure</text>'
        f'<text class="axis" transform="translate(12 {y(0.5):g}) rotate(-90)" '
        'text-anchor="middle">how often right</text>'
    )
    return _svg("plot", width, height, label, parts)


def line_chart(
    curves: Sequence[Curve], label: str, *, from_zero: bool, best_epoch: int | None = None
) -> Markup:
    """Values over epochs; curve number i has class ``line-i``, the best epoch a dotted line."""
    width, height = 1.4 * PLOT, 0.9 * PLOT
    left, wide = LEFT, 1.4 * PLOT - LEFT - 12
    values = [v for curve in curves for v in curve.values if math.isfinite(v)]
    epochs = [e for curve in curves for e in curve.epochs]
    if not values:
        return Markup("")
    first, last = min(epochs), max(epochs)
    low = 0.0 if from_zero else min(values)
    high = max(values)
    ticks = _round_ticks(low, high)
    low, high = min(low, ticks[0]), max(high, ticks[-1])

    def x(epoch: float) -> float:
        return left + wide * ((epoch - first) / (last - first) if last > first else 0.5)

    def y(value: float) -> float:
        return 10 + (height - BELOW - 10) * (1 - (value - low) / ((high - low) or 1.0))

    parts = []
    digits = _digits(ticks[1] - ticks[0]) if len(ticks) > 1 else 2
    for tick in ticks:
        level = f"{y(tick):.1f}"
        parts.append(
            f'<line class="grid" x1="{left:g}" x2="{width - 12:g}" y1="{level}" y2="{level}"/>'
            f'<text class="axis" x="{left - 6:g}" y="{y(tick) + 4:.1f}" text-anchor="end">'
            f"{number(tick, digits)}</text>"
        )
    for epoch in dict.fromkeys((first, round((first + last) / 2), last)):
        anchor = "end" if first < epoch == last else "middle"
        parts.append(
            f'<text class="axis" x="{x(epoch):.1f}" y="{height - BELOW + 17:g}" '
            f'text-anchor="{anchor}">{epoch:g}</text>'
        )
    parts.append(
        f'<text class="axis" x="{left + wide / 2:g}" y="{height - 5:g}" '
        'text-anchor="middle">epoch</text>'
    )
    if best_epoch is not None and first <= best_epoch <= last:
        at = x(best_epoch)
        parts.append(
            f'<line class="best" x1="{at:.1f}" x2="{at:.1f}" y1="10" y2="{height - BELOW:g}"/>'
        )
    for i, curve in enumerate(curves):
        known = [(e, v) for e, v in zip(curve.epochs, curve.values, strict=True) if v == v]
        points = " ".join(f"{x(e):.1f},{y(v):.1f}" for e, v in known if math.isfinite(v))
        parts.append(f'<polyline class="line line-{i}" points="{points}"/>')
        if len(known) == 1:
            e, v = known[0]
            parts.append(f'<circle class="mark-{i}" cx="{x(e):.1f}" cy="{y(v):.1f}" r="3.5"/>')
    return _svg("plot wide", width, height, label, parts)


def _frame(x: Place, y: Place) -> list[str]:
    """Grid lines of a square from 0 to 1, and labels outside it, where no dot lies over them."""
    parts = []
    for share, text in GRID.items():
        parts.append(
            f'<line class="grid" x1="{x(0):g}" x2="{x(1):g}" y1="{y(share):g}" y2="{y(share):g}"/>'
        )
        anchor = "start" if not share else "end" if share == 1 else "middle"
        parts.append(
            f'<text class="axis" x="{x(0) - 11:g}" y="{y(share) + 4:g}" '
            f'text-anchor="end">{text}</text>'
            f'<text class="axis" x="{x(share):g}" y="{y(0) + 22:g}" '
            f'text-anchor="{anchor}">{text}</text>'
        )
    return parts


def _round_ticks(low: float, high: float) -> list[float]:
    """Three to six round numbers from about ``low`` to about ``high``."""
    span = (high - low) or abs(high) or 1.0
    power = 10.0 ** math.floor(math.log10(span / 4))
    step = next(m * power for m in (1, 2, 2.5, 5, 10) if span / (m * power) <= 5)
    first = math.floor(low / step + 1e-9)
    n = math.ceil(high / step - 1e-9) - first
    return [(first + i) * step for i in range(n + 1)]


def _digits(step: float) -> int:
    """Decimals that tell one tick from the next: 2 for steps of 0.25, 0 for steps of 10."""
    least = max(0, -math.floor(math.log10(step)))
    exact = abs(round(step, least) - step) < 1e-3 * step
    return least if exact else least + 1


def _svg(css: str, width: float, height: float, label: str, parts: Sequence[str]) -> Markup:
    return Markup(
        f'<svg class="{css}" viewBox="0 0 {width:g} {height:g}" role="img" '
        f'aria-label="{escape(label)}">' + "".join(parts) + "</svg>"
    )
