"""Nulls and ceilings of chain distributions, against what follows from counting."""

from __future__ import annotations

import dataclasses
import math
import re

import pytest

from fxpipe.chains.chain import ChainSpec
from fxpipe.orders.ceiling import Bounds, bounds, mean_bounds, text_table
from fxpipe.pedals import POOLS
from fxtrain.contract import normal_form

NOTHING = frozenset()
DELAY_REVERB = frozenset({frozenset(("delay", "reverb"))})


def spec_of(pool: str, **rest: object) -> ChainSpec:
    return ChainSpec(pool=POOLS[pool], lengths={1: 1.0, 2: 1.0, 3: 1.0}, **rest)


def test_without_commuting_pairs_the_null_is_one_over_factorial() -> None:
    found = bounds(spec_of("take4"), NOTHING, seed=0)
    for length, b in found.items():
        assert b.null == pytest.approx(1 / math.factorial(length))
        assert b.null_class == b.null
        assert b.ceiling == b.ceiling_class == b.class_size == 1.0


def test_the_ceiling_is_classes_over_orders() -> None:
    """Okita & Katayose's three pedals plus delay: 2 of 12 ordered pairs sound like another."""
    found = bounds(spec_of("take4"), DELAY_REVERB, seed=0)
    classes, orders = 0, 0
    for pair in ("distortion", "chorus"), ("distortion", "delay"), ("distortion", "reverb"), (
        "chorus", "delay"), ("chorus", "reverb"), ("delay", "reverb"):  # fmt: skip
        classes += len({normal_form(order, DELAY_REVERB) for order in (pair, pair[::-1])})
        orders += 2
    assert found[2].ceiling == pytest.approx(classes / orders, abs=0.01)
    assert found[1].ceiling == 1.0
    assert found[2].null < found[2].null_class < 1


def test_scored_by_class_a_perfect_listener_is_always_right() -> None:
    """Shown with answers, not assumed."""
    for order in ("uniform", "realistic", "fixed"):
        found = bounds(spec_of("take4", order=order), DELAY_REVERB, seed=1, n_draws=800)
        assert all(b.ceiling_class == 1.0 for b in found.values())


def test_a_listener_who_knows_the_policy_guesses_better() -> None:
    realistic = bounds(spec_of("take4", order="realistic", temperature=0.2), DELAY_REVERB, seed=0)
    uniform = bounds(spec_of("take4"), DELAY_REVERB, seed=0)
    assert realistic[3].null > uniform[3].null + 0.3
    fixed = bounds(spec_of("take4", order="fixed"), DELAY_REVERB, seed=0)
    assert fixed[3].ceiling == fixed[3].null == 1.0


def test_the_mean_follows_the_lengths() -> None:
    spec = ChainSpec(pool=POOLS["okita3"], lengths={1: 3.0, 2: 1.0})
    found = bounds(spec, NOTHING, seed=0)
    assert mean_bounds(spec, found).null == pytest.approx(0.75 + 0.25 * found[2].null)
    assert "mean" in text_table(spec, found)


def test_a_listener_is_asked_for_other_chains_than_it_has_studied() -> None:
    spec = ChainSpec(("delay", "reverb"), {2: 1.0}, order="realistic", temperature=9.0)
    found = {bounds(spec, DELAY_REVERB, seed=seed, n_draws=1)[2].ceiling for seed in range(20)}
    assert found == {0.0, 1.0}


def test_a_listener_answers_the_order_that_it_has_heard_most() -> None:
    """Not the one that stands for the class."""
    pair = ("wah", "chorus")
    spec = ChainSpec(pair, {2: 1.0}, order="fixed")
    commutes = frozenset({frozenset(pair)})
    assert bounds(spec, commutes, seed=0, n_draws=5)[2].ceiling == 1.0
    often = bounds(dataclasses.replace(spec, order="realistic"), commutes, seed=0, n_draws=200)[2]
    assert 0.6 < often.ceiling == often.null < 1


def test_the_null_by_class_is_the_class_of_the_textbook_order() -> None:
    """Six orders in four classes; the textbook's, whose two free pedals do not meet, holds one."""
    spec = ChainSpec(("wah", "chorus", "reverb"), {3: 1.0})
    found = bounds(spec, frozenset({frozenset(("wah", "reverb"))}), seed=0, n_draws=200)[3]
    assert found.null == found.null_class == pytest.approx(1 / 6)


def test_every_bound_stands_below_its_name() -> None:
    spec = ChainSpec(("delay", "reverb"), {2: 1.0}, order="realistic")
    lines = text_table(spec, {2: Bounds(0.1, 0.2, 0.3, 0.4, 5.0)}).splitlines()
    names = ["length", "null", "ceiling", "null, class", "ceiling, class", "orders a class"]
    assert re.split(r"  +", lines[0].strip()) == names
    for line, name in zip(lines[1:3], ("2", "mean"), strict=True):
        assert line.split() == [name, "0.100", "0.300", "0.200", "0.400", "5.00"]
    assert lines[-1] == "That listener has met 4000 chains of each length: a lower bound."
    assert "lower bound" not in text_table(spec_of("take4"), {2: Bounds(0.1, 0.2, 0.3, 0.4, 5.0)})


def test_orders_that_are_held_out_for_test_are_asked_for() -> None:
    pair = ("chorus", "wah")
    spec = ChainSpec(
        pair, {1: 0.0, 2: 1.0}, order="realistic", temperature=9.0, held_out=(("chorus", "wah"),)
    )
    found = bounds(spec, NOTHING, seed=0, n_draws=200)
    assert list(found) == [2]
    assert 0.3 < found[2].null < 0.7  # the other order is all that training has


def test_pedals_that_repeat_have_fewer_orders() -> None:
    """Half of the chains are one pedal twice, which the null has right; of the rest it has half."""
    spec = ChainSpec(("chorus", "wah"), {2: 1.0}, repeats=True)
    assert bounds(spec, NOTHING, seed=0)[2].null == pytest.approx(0.75, abs=0.02)
