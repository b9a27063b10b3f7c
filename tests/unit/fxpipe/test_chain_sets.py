"""Possible sets of pedals are counted as brute force counts them."""

from __future__ import annotations

import itertools

from hypothesis import given, settings
from hypothesis import strategies as st

from fxpipe.chains.sets import UNLIMITED, pedal_sets

NAMES = ("compressor", "wah", "fuzz", "chorus", "delay")
groups = st.lists(st.lists(st.sampled_from(NAMES), min_size=1, unique=True), max_size=3)


def keeps_the_rules(order, exclusive, repeats):
    """Said over, naively: no pedal twice without repeats, one of a group at most."""
    if not repeats and len(set(order)) < len(order):
        return False
    return all(sum(name in group for name in order) <= 1 for group in exclusive)


@given(groups, st.booleans(), st.integers(0, 4))
@settings(max_examples=80, deadline=None)
def test_counts_are_those_of_brute_force(exclusive, repeats, length):
    sets = pedal_sets(NAMES, exclusive, repeats=repeats)
    orders = [
        order
        for order in itertools.product(NAMES, repeat=length)
        if keeps_the_rules(order, exclusive, repeats)
    ]
    listed = {tuple(NAMES[i] for i in row) for row in sets.sets(length)}
    assert listed == {tuple(sorted(order, key=NAMES.index)) for order in orders}
    assert sets.n_sets(length) == len(listed) == len(list(sets.sets(length)))
    assert sets.n_orders(length) == len(orders)
    assert (sets.longest() >= length) == bool(orders)


@given(groups, st.booleans(), st.integers(1, 4))
@settings(max_examples=80, deadline=None)
def test_a_next_pick_never_leads_into_a_dead_end(exclusive, repeats, length):
    sets = pedal_sets(NAMES, exclusive, repeats=repeats)
    first = {NAMES[i] for i in sets.next_picks(sets.all, length)}
    assert first == {NAMES[i] for row in sets.sets(length) for i in row}


def test_repeats_have_no_end_unless_every_pedal_is_in_a_group():
    assert pedal_sets(NAMES, [NAMES[:4]], repeats=True).longest() == UNLIMITED
    assert pedal_sets(NAMES, [NAMES[:3], NAMES[3:]], repeats=True).longest() == 2


def test_thirty_pedals_are_counted_without_listing_them():
    names = [f"pedal{i}" for i in range(30)]
    sets = pedal_sets(names, [names[:3], names[2:6]], repeats=False)
    assert sets.longest() == 26  # 24 free pedals, and one of each group
    assert sets.n_sets(2) == 30 * 29 // 2 - 3 - 6
