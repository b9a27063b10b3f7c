"""The report's pictures, as SVG text: equal results give equal bytes."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from fxtrain.contract import MissingExtraError, to_install
from fxtrain.listen.analysis.abx import AbxResult
from fxtrain.listen.analysis.ratings import RatingResult
from fxtrain.listen.analysis.votes import VoteResult

if TYPE_CHECKING:
    from matplotlib.axes import Axes

INK, ACT, SOFT = "#1d1b19", "#1f5f8b", "#9a938a"


def _drawn(draw: Callable[[Any], None], width: float, height: float) -> str:
    try:
        import matplotlib as mpl
        from matplotlib.figure import Figure
    except ImportError:
        raise MissingExtraError(
            f"the report needs matplotlib, which is not installed: {to_install('listen')}"
        ) from None

    with mpl.rc_context({"svg.hashsalt": "fxtrain", "svg.fonttype": "none", "font.size": 9}):
        figure = Figure(figsize=(width, height), layout="constrained")
        axes = figure.add_subplot()
        axes.spines[["top", "right"]].set_visible(False)
        draw(axes)
        out = io.StringIO()
        figure.savefig(out, format="svg", metadata={"Date": None, "Creator": None})
    text = out.getvalue()
    return text[text.index("<svg") :]


def abx_plot(result: AbxResult) -> str:
    """Share right against distance, with exact intervals and the fitted curve."""

    def draw(axes: Axes) -> None:
        x = np.array([max(item.distance_db, 1e-3) for item in result.items])
        y = np.array([item.share.value for item in result.items])
        low = [item.share.low for item in result.items]
        high = [item.share.high for item in result.items]
        axes.axhline(0.5, color=SOFT, linewidth=1, linestyle="--")
        axes.text(1, 0.51, "guessing", transform=axes.get_yaxis_transform(), ha="right", color=SOFT)
        axes.errorbar(x, y, yerr=[y - low, high - y], fmt="o", color=ACT, capsize=3)
        for item, a, b in zip(result.items, x, y, strict=True):
            axes.annotate(str(item.item + 1), (a, b), xytext=(5, 4), textcoords="offset points")
        if result.threshold is not None:
            grid = np.geomspace(x.min() / 1.3, x.max() * 1.3, 200)
            axes.plot(grid, result.threshold.curve(grid), color=INK, linewidth=1.2)
            if x.min() / 1.3 < result.threshold.at_db < x.max() * 1.3:
                axes.axvline(result.threshold.at_db, color=INK, linewidth=0.8, linestyle=":")
        axes.set_xscale("log")
        axes.set_xticks(ticks := [t for t in (0.25, 0.5, 1, 2, 4, 8) if _within(t, x)])
        axes.set_xticklabels([f"{t:g}" for t in ticks])
        axes.minorticks_off()
        axes.set_ylim(0, 1.03)
        axes.set_xlabel("how far the swap moves the sound, log-mel dB")
        axes.set_ylabel("share of answers that are right")

    return _drawn(draw, 6.6, 3.8)


def _within(tick: float, x: np.ndarray) -> bool:
    return bool(x.size and x.min() / 1.4 <= tick <= x.max() * 1.4)


def ratings_plot(result: RatingResult) -> str:
    """Every listener's mean, the median and the quartiles, and the mean's interval."""

    def draw(axes: Axes) -> None:
        n = len(result.conditions)
        columns = [column[np.isfinite(column)] for column in result.matrix.T]
        axes.boxplot(columns, positions=range(n), widths=0.5, whis=(0, 100), showfliers=False,
                     medianprops={"color": INK}, boxprops={"color": SOFT},
                     whiskerprops={"color": SOFT}, capprops={"color": SOFT})  # fmt: skip
        shift = np.random.default_rng(0).uniform(-0.16, 0.16, len(result.matrix))
        for i, column in enumerate(result.matrix.T):
            axes.plot(i + shift, column, "o", color=ACT, alpha=0.35, markersize=3.5)
        for i, c in enumerate(result.conditions):
            axes.errorbar(i + 0.36, c.mean, yerr=[[c.mean - c.low], [c.high - c.mean]], fmt="D",
                          color=INK, markersize=4, capsize=3)  # fmt: skip
        axes.set_xticks(range(n), [c.name for c in result.conditions], rotation=20, ha="right")
        axes.set_xlim(-0.6, n - 0.3)
        axes.set_ylim(-2, 102)
        axes.set_yticks(range(0, 101, 20))
        axes.set_ylabel("nearness to the reference")

    return _drawn(draw, 6.6, 4.0)


def strengths_plot(result: VoteResult) -> str:
    def draw(axes: Axes) -> None:
        ranked = sorted(result.strengths, key=lambda s: s.value)
        y = np.arange(len(ranked))
        value = np.array([s.value for s in ranked])
        spread = [value - [s.low for s in ranked], np.array([s.high for s in ranked]) - value]
        axes.errorbar(value, y, xerr=np.nan_to_num(np.maximum(spread, 0)), fmt="o", color=ACT,
                      capsize=3)  # fmt: skip
        axes.axvline(0, color=SOFT, linewidth=1, linestyle="--")
        axes.set_yticks(y, [s.name for s in ranked])
        axes.set_ylim(-0.6, len(ranked) - 0.4)
        axes.set_xlabel("nearness to the reference, log odds (Bradley-Terry)")

    return _drawn(draw, 6.6, 0.9 + 0.42 * len(result.strengths))


def wins_plot(result: VoteResult) -> str:
    """Share of votes that the row got against the column."""

    def draw(axes: Axes) -> None:
        names = [s.name for s in result.strengths]
        total = result.matrix + result.matrix.T
        shares = np.divide(result.matrix, total, out=np.full(total.shape, np.nan), where=total > 0)
        axes.imshow(shares, cmap="PuOr", vmin=0, vmax=1)
        for i, j in np.argwhere(total > 0):
            shade = "white" if abs(shares[i, j] - 0.5) > 0.3 else INK
            text = f"{shares[i, j]:.0%}\n{result.matrix[i, j]:.0f}/{total[i, j]:.0f}"
            axes.text(j, i, text, ha="center", va="center", fontsize=7.5, color=shade)
        axes.set_xticks(range(len(names)), names, rotation=20, ha="right")
        axes.set_yticks(range(len(names)), names)
        axes.set_title("votes of the row against the column", fontsize=9)

    side = 1.6 + 0.85 * len(result.strengths)
    return _drawn(draw, side + 0.6, side)
