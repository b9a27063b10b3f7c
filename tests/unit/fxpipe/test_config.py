"""Options and TOML become one spec; flags win."""

from __future__ import annotations

import pytest

from fxpipe.config import parse_lengths, render_spec
from fxpipe.pedals import POOLS
from fxtrain.contract import UsageError

TOML = """
[render]
clip_s = 1.5
output_gain_db = [-3.0, 3.0]
[chain]
pool = "take4"
lengths = {1 = 1.0, 3 = 2.0}
order = "realistic"
ranges.delay.delay_ms = [100.0, 200.0]
"""


def test_defaults():
    spec = render_spec(None, {})
    assert spec.chain.pool == POOLS["stompbox"]
    assert sorted(spec.chain.lengths) == [1, 2, 3, 4, 5]
    assert spec.n_samples == 88_200


def test_flags_go_above_the_file(tmp_path):
    path = tmp_path / "spec.toml"
    path.write_text(TOML)
    spec = render_spec(path, {"order": "fixed", "clip_s": None, "lengths": None})
    assert (spec.clip_s, spec.chain.order, spec.chain.lengths) == (1.5, "fixed", {1: 1.0, 3: 2.0})
    assert spec.chain.ranges == {"delay": {"delay_ms": (100.0, 200.0)}}
    assert spec.output_gain_db == (-3.0, 3.0)


@pytest.mark.parametrize(
    ("text", "expected"),
    [("1-3", {1: 1, 2: 1, 3: 1}), ("2,4", {2: 1, 4: 1}), ("1:1,2:3.5", {1: 1, 2: 3.5})],
)
def test_lengths(text, expected):
    assert parse_lengths(text) == expected


@pytest.mark.parametrize("text", ["", "a", "3-1", "1:x", "-"])
def test_lengths_that_mean_nothing(text):
    with pytest.raises(UsageError, match="expected"):
        parse_lengths(text)


@pytest.mark.parametrize(
    ("toml", "says"),
    [
        ("[chains]\n", "unknown table"),
        ("[render]\nclip = 2\n", "did you mean 'clip_s'"),
        ("[chain]\nlengths = {one = 1.0}\n", "whole number"),
        ("[chain\n", "not TOML"),
        ("[render]\nclip_s = 'two'\n", "expected float"),
    ],
)
def test_files_that_mean_nothing(tmp_path, toml, says):
    path = tmp_path / "spec.toml"
    path.write_text(toml)
    with pytest.raises(UsageError, match=says):
        render_spec(path, {})
