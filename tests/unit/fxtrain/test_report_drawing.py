"""Curves, ticks and strips of an evaluation's page: read from the log, drawn in their place."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path

import pytest

from fxtrain.intervals import Score
from fxtrain.report.curves import Curve, Training, read_training
from fxtrain.report.drawing import line_chart, number, strip


def test_curves_are_read_from_the_log(tmp_path: Path) -> None:
    from torch.utils.tensorboard import SummaryWriter

    assert read_training(tmp_path) == Training((), (), None, {})
    writer = SummaryWriter(str(tmp_path / "tensorboard"))
    for epoch in range(3):
        writer.add_scalar("epoch", epoch, 10 * epoch + 9)
        writer.add_scalar("valid/loss", 3.0 - epoch, 10 * epoch + 9)
        writer.add_scalar("train/loss", 3.5 - epoch, 10 * epoch + 9)
        writer.add_scalar("valid/set", 0.25 * epoch, 10 * epoch + 9)
    writer.close()
    exact = {"value": 0.5, "low": 0.4, "high": 0.6, "n": 9}
    valid = {"exact": exact, "set": {"value": None, "low": None, "high": None, "n": 0}}
    (tmp_path / "metrics.json").write_text(json.dumps({"best_epoch": 2, "valid": valid}))
    found = read_training(tmp_path)
    assert found.best_epoch == 2
    assert found.valid == {"exact": Score(**exact)}
    training, validation = found.losses
    assert validation.epochs == (1.0, 2.0, 3.0)
    assert validation.values == (3.0, 2.0, 1.0)
    assert training.values == (3.5, 2.5, 1.5)
    (scores,) = found.scores
    assert scores.values == (0.0, 0.25, 0.5)
    drawn = line_chart(found.losses, "Loss", from_zero=False, best_epoch=2)
    assert drawn.count("<polyline") == 2
    assert drawn.count('class="best"') == 1
    (tmp_path / "metrics.json").write_text("{half")
    again = read_training(tmp_path)
    assert (again.losses, again.best_epoch, again.valid) == (found.losses, None, {})


@pytest.mark.parametrize("values", [[1.0], [2.0, 2.0], [math.nan, 1.0], [-3e-7, 4e-7], [1e6, 0.0]])
def test_any_curve_can_be_drawn(values: list[float]) -> None:
    curve = Curve("x", tuple(range(1, 1 + len(values))), tuple(values))
    drawn = line_chart([curve], "x", from_zero=False)
    assert "nan" not in drawn
    for at in re.findall(r'points="([^"]*)"', drawn)[0].split():
        x, y = map(float, at.split(","))
        assert 0 <= x <= 500
        assert 0 <= y <= 300


@pytest.mark.parametrize(
    ("high", "ticks"),
    [
        (1.19, ["0.00", "0.25", "0.50", "0.75", "1.00", "1.25"]),
        (1.0, ["0.0", "0.2", "0.4", "0.6", "0.8", "1.0"]),
        (12.0, ["0.0", "2.5", "5.0", "7.5", "10.0", "12.5"]),
        (40.0, ["0", "10", "20", "30", "40"]),
        (0.0009, ["0.0000", "0.0002", "0.0004", "0.0006", "0.0008", "0.0010"]),
    ],
)
def test_every_tick_says_where_it_stands(high: float, ticks: list[str]) -> None:
    drawn = line_chart([Curve("x", (1, 2), (high, 0.0))], "x", from_zero=True)
    told = re.findall(r'x="60" y="[^"]*" text-anchor="end">([^<]*)<', drawn)
    assert told == ticks


def test_strips_stay_in_their_box() -> None:
    drawn = strip(0.5, 0.4, 0.6, 0.0, 1.0)
    assert 'aria-label="0.500, null 0.000, ceiling 1.000"' in drawn
    assert strip(math.nan, 0.0, 1.0) == ""
    assert "0.500, always named 0.400, ceiling" in strip(0.5, 0.4, 0.6, 0.4, 1.0, "always named")
    assert "ceiling" not in strip(0.5, math.nan, math.nan).partition(">")[2]
    half = strip(0.2, 0.1, 0.4, 0.25, 0.0, bar="no error", top=0.5)
    assert re.findall(r'c?x1?="[\d.]+"', half) == re.findall(
        r'c?x1?="[\d.]+"', strip(0.4, 0.2, 0.8, 0.5, 0.0)
    )
    assert '"0.200, null 0.250, no error 0.000"' in half
    xs = [float(x) for x in re.findall(r'c?x="([\d.]+)"', strip(2.0, -1.0, 3.0, 0.5, 1.0))]
    assert all(0 <= x <= 180 for x in xs)
    assert number(-0.5, 2) == "−0.50"
