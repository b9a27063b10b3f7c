"""What docs/evaluate.md says of evaluation.json is what stands there."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

from fxtrain.judging import Evaluation
from fxtrain.metrics import PedalScore
from fxtrain.paired import Difference, differences_dict
from fxtrain.played import Playing
from fxtrain.reliability import Bin, Reliability
from fxtrain.rerender import Rerendered, Row
from fxtrain.turned import Turned

PAGE = Path(__file__).parents[3] / "docs" / "evaluate.md"


def names(cls: type) -> set[str]:
    return {field.name for field in dataclasses.fields(cls)}


def test_every_key_has_its_row() -> None:
    (part,) = re.findall(r"\n## The numbers for programs\n(.*?)\n## ", PAGE.read_text(), re.DOTALL)
    told = [line.split(" | ", 1) for line in part.splitlines() if line.startswith("| `")]
    keys = {key: set(re.findall(r"`(\w+)`", text)) for keys, text in told
            for key in re.findall(r"`(\w+)`", keys)}  # fmt: skip
    beside = differences_dict({}, "")
    assert set(keys) == names(Evaluation) - {"null", "constant", "ceiling"} | set(beside)
    assert {"value", "low", "high", "n", "null", "constant", "ceiling"} <= keys["scores"]
    assert names(Difference) <= keys["differences"]
    assert names(PedalScore) <= keys["pedals"]
    assert {"pair", "right", "n"} <= keys["pairs"]
    assert names(Reliability) | names(Bin) <= keys["reliability"]
    assert names(Playing) <= keys["playing"]
    assert names(Turned) <= keys["turned"]
    assert names(Rerendered) | names(Row) <= keys["rerender"]
