"""Chains to hold a chain against: its pedals in other orders, or with another chain's knobs."""

from __future__ import annotations

import itertools

import numpy as np

from fxtrain.contract import Chain

ALL_ORDERS_UP_TO = 4
N_ORDERS = 24
"""Longest chain whose orders are all tried; of a longer one at most so many are drawn."""


def other_orders(chain: Chain) -> list[Chain]:
    """Orders of the pedals other than the chain's own, backwards among them: the same at every
    call."""
    n = len(chain.pedals)
    own = tuple(range(n))
    if n <= ALL_ORDERS_UP_TO:
        orders = list(itertools.permutations(own))
    else:
        rng = np.random.default_rng(n)
        drawn = {own[::-1], *(tuple(rng.permutation(n).tolist()) for _ in range(N_ORDERS - 1))}
        orders = sorted(drawn)
    return [Chain(tuple(chain.pedals[i] for i in order)) for order in orders if order != own]


def with_knobs_of(chain: Chain, true: Chain) -> Chain:
    """``chain`` with the knobs of ``true`` on the pedals that stand in both."""
    left = list(true.pedals)
    pedals = []
    for pedal in chain.pedals:
        same = next((known for known in left if known.name == pedal.name), None)
        if same is not None:
            left.remove(same)
        pedals.append(same or pedal)
    return Chain(tuple(pedals))
