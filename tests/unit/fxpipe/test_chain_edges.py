"""Draws at the ends of what a spec may ask for: the longest chain, odds out of reach, switches."""

import numpy as np
import pytest

from fxpipe.chains.balance import SetTable, solve_balance
from fxpipe.chains.chain import ChainSpec, draw_names, draw_order
from fxpipe.chains.sets import pedal_sets
from fxpipe.chains.tally import coverage, find_starved, tally
from fxpipe.pedals import POOLS
from fxtrain.contract import PAD, Param, UsageError

POOL = ("overdrive", "chorus", "delay")
STOMPBOX = POOLS["stompbox"]


def test_the_longest_chain_is_what_a_shard_can_hold():
    assert ChainSpec(POOL, {PAD: 1.0}, repeats=True).max_length == PAD
    with pytest.raises(UsageError, match=f"{PAD} is the longest"):
        ChainSpec(POOL, {PAD + 1: 1.0}, repeats=True)


def test_a_split_that_does_not_exist_is_told_with_those_that_do():
    told = "unknown split 'val': did you mean 'valid'\\? known: train, valid, test"
    with pytest.raises(UsageError, match=told):
        draw_order(ChainSpec(POOL, {1: 1.0}), 0, "val", 0)


@pytest.mark.parametrize(
    "fields",
    [
        {"temperature": 1e9, "order": "realistic"},
        {"weights": {"chorus": 1e-9, "delay": 1e9}},
        {"repeats": True, "exclusive": (("delay",),), "lengths": {2: 1.0}},
        {"pool": POOL[:2], "held_out": (POOL[:2], POOL[:2])},
        {"lengths": {1: 1.0, 9: 0.0}},
        {"lengths": {1: 1.0, PAD: 0.0}, "balance": "pedals", "repeats": True, "pool": STOMPBOX},
    ],
)
def test_what_just_may_be_asked_for_is_drawn(fields):
    spec = ChainSpec(**{"pool": POOL, "lengths": {1: 1.0, 2: 1.0}, **fields})
    rng = np.random.default_rng(0)
    for length in spec.length_p:
        assert len(draw_names(spec, length, rng, test=False)) == length


@pytest.mark.parametrize("knobs", ["uniform", "linear"])
def test_a_switch_stands_at_one_of_its_places_however_knobs_are_drawn(knobs):
    switch = Param("mode", "number", 0.0, 2.0, "choice", "which way")
    knob = ChainSpec(POOL, {1: 1.0}, knobs=knobs)._knob("delay", switch)
    assert {knob.turn(u) for u in np.linspace(0, 0.999, 50)} == {0.0, 1.0, 2.0}


def test_the_last_bits_of_a_machines_arithmetic_change_no_table():
    sets = pedal_sets(POOL, (), repeats=False)
    lengths = {1: 0.5, 2: 0.5}
    one = solve_balance("pedals", sets, lengths, (1.0, 2.0, 3.0))
    other = solve_balance("pedals", sets, lengths, (1.0, 2.0, 3.0 * (1 + 1e-13)))
    assert one.tables == other.tables


def test_odds_that_sum_to_a_hair_less_than_one_leave_no_draw_without_a_set():
    table = SetTable(((0,), (1,)), (0.5, 1 - 1e-9))
    assert [table.pick(u) for u in (0.0, 0.499, 0.501, 1 - 1e-16)] == [(0,), (0,), (1,), (1,)]


def test_one_share_that_is_met_from_the_start_is_not_all_of_them():
    sets = pedal_sets(POOL, (), repeats=False)
    solved = solve_balance("pedals", sets, {1: 1.0}, (1.0, 2.0, 3.0))
    p = np.diff((0.0, *solved.tables[1].cumulative))
    assert p == pytest.approx([1 / 6, 2 / 6, 3 / 6], rel=1e-4)


@pytest.mark.parametrize("balance", ["pedals", "lengths", "pairs"])
def test_the_shares_of_a_large_pool_are_met(balance):
    weights = {"fuzz": 1.3, "delay": 0.8}
    lengths = {3: 1.0, 5: 2.0}
    spec = ChainSpec(STOMPBOX, lengths, weights=weights, balance=balance)
    assert abs(spec.solved.worst[1]) < 1e-3


def test_no_set_vanishes_for_a_share_that_is_out_of_reach():
    sets = pedal_sets(POOL, (), repeats=False)
    solved = solve_balance("pedals", sets, {1: 1.0}, (1e-9, 1.0, 1.0))
    least = np.diff((0.0, *solved.tables[1].cumulative)).min()
    assert 1e-7 < least < 1e-2
    assert "share of overdrive" in solved.missed


def test_where_pedals_repeat_all_orders_are_as_likely():
    """a-b and b-a are two chains, a-a is one."""
    sets = pedal_sets(POOL[:2], (), repeats=True)
    table = solve_balance("pedals", sets, {2: 1.0}, (1.0, 1.0)).tables[2]
    p = dict(zip(table.members, np.diff((0.0, *table.cumulative)), strict=True))
    assert p == pytest.approx({(0, 0): 0.25, (0, 1): 0.5, (1, 1): 0.25})


def test_an_order_that_is_held_out_twice_is_one():
    held = ("delay", "overdrive")
    spec = ChainSpec(POOL, {2: 1.0}, held_out=(held, held))
    found = coverage(spec, tally(spec, [("overdrive", "delay")], []))
    assert found[2].n_possible == 3 * 2 - 1


def test_an_order_that_is_held_out_is_possible_in_test():
    held = ("delay", "overdrive")
    spec = ChainSpec(POOL, {2: 1.0}, held_out=(held,))
    found = coverage(spec, tally(spec, [held, ("overdrive", "delay")], []), "test")
    assert (found[2].n_distinct, found[2].n_possible) == (2, 3 * 2)


def test_a_place_that_no_chain_has_reached_is_starved():
    spec = ChainSpec(POOL, {1: 1.0, 2: 1.0})
    seen = tally(spec, [(name,) for name in POOL] * 20, [])
    starved = {found.kind: found.cells for found in find_starved(spec, seen)}
    assert starved["positions"] == {f"{name} in place 2": 0 for name in POOL}
    assert set(starved) == {"positions", "order pairs"}


@pytest.mark.parametrize("pool", ["seed5", "delay", ("delay", "chorus", "delay"), {"delay"}])
def test_a_pool_that_would_be_drawn_as_another_is_refused(pool):
    """Of a word its letters were drawn, and a pedal that stands twice stood twice in a chain."""
    with pytest.raises(UsageError, match=r"^pool is .*pool_of makes one of a pool's name"):
        ChainSpec(pool, {1: 1.0})


@pytest.mark.parametrize("rules", [{}, {"exclusive": (POOL[:2],)}, {"balance": "pedals"}])
@pytest.mark.parametrize("length", [3, 9])
def test_a_chain_beyond_the_spec_is_not_drawn(rules, length):
    spec = ChainSpec(POOL, {1: 1.0, 2: 1.0}, **rules)
    with pytest.raises(UsageError, match=f"a chain of {length}, .* longest is 2$"):
        draw_names(spec, length, np.random.default_rng(0), test=False)
