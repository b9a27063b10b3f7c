"""Chains to hold a chain against."""

from __future__ import annotations

import itertools

from fxtrain.alternatives import N_ORDERS, other_orders, with_knobs_of
from fxtrain.contract import Chain, Pedal


def chain_of(letters: str) -> Chain:
    return Chain(tuple(Pedal(name, {}) for name in letters))


def test_all_other_orders_of_a_short_chain() -> None:
    expected = {"".join(order) for order in itertools.permutations("abcd")} - {"abcd"}
    found = ["".join(order.names) for order in other_orders(chain_of("abcd"))]
    assert sorted(found) == sorted(expected)
    assert other_orders(chain_of("a")) == []
    assert other_orders(chain_of("")) == []


def test_orders_of_a_long_chain_are_drawn_the_same_each_time() -> None:
    chain = chain_of("abcdef")
    orders = other_orders(chain)
    assert N_ORDERS - 4 < len(orders) <= N_ORDERS
    assert len({order.names for order in orders}) == len(orders)
    assert chain not in orders
    assert chain_of("fedcba") in orders
    assert all(sorted(order.names) == list("abcdef") for order in orders)
    assert orders == other_orders(chain)


def test_knobs_are_true_where_the_pedal_is_there() -> None:
    a, b, again = Pedal("a", {"mix": 0.9}), Pedal("b", {"mix": 0.8}), Pedal("a", {"mix": 0.7})
    typical = Chain(tuple(Pedal(name, {"mix": 0.5}) for name in "aaac"))
    mixed = with_knobs_of(typical, Chain((a, b, again)))
    assert mixed.pedals == (a, again, *typical.pedals[2:])
    assert with_knobs_of(Chain(()), Chain((a,))) == Chain(())
