"""Per-render truth: which other orders of this chain, with these settings on this clip, sound the
same. Neighbour swaps for every clip; all orders where that is asked for and the chain is short.

Renders share their beginnings: an order is played on from the longest start that was played before.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence

import numpy as np

from fxpipe.distance import band_distance_db, log_bands
from fxpipe.render import play
from fxtrain.contract import Chain, Record

ALL_ORDERS_UP_TO = 4
"""Longest chain whose orders are all played: 4 pedals are 24 orders, 5 would be 120."""

Order = tuple[int, ...]
"""An order of a chain, as positions in the chain that was rendered."""


def order_class(
    stages: Sequence[np.ndarray],
    chain: Chain,
    sample_rate_hz: int,
    *,
    skip: int,
    alike_db: float,
    all_orders: bool,
    pedal_rms: float = 0.0,
) -> Record:
    """``swap_db`` (mel distance of each neighbour swap) and ``alike`` (orders that sound the same).

    ``stages`` are float32 [skip + N]: the dry clip, then the output of every pedal. Two orders
    sound the same when they lie ``alike_db`` or less apart. With ``all_orders`` chains up to four
    pedals are compared in every order; else, and beyond, ``alike`` holds what quiet swaps reach.
    ``pedal_rms``: as for `fxpipe.render.play`.
    """
    n = len(chain.pedals)
    if n < 2:
        return {"swap_db": [], "alike": []}
    truth = log_bands(stages[-1][skip:], sample_rate_hz)

    def far_db(wave: np.ndarray) -> float:
        return band_distance_db(truth, log_bands(wave[skip:], sample_rate_hz))

    if all_orders and n <= ALL_ORDERS_UP_TO:
        distances = {
            order: far_db(wave)
            for order, wave in play_orders(stages, chain, sample_rate_hz, pedal_rms)
            if order != tuple(range(n))
        }
        swaps = [distances[swapped(n, i)] for i in range(n - 1)]
        alike = [order for order, distance in distances.items() if distance <= alike_db]
    else:
        swaps = [
            far_db(play_swap(stages, chain, i, sample_rate_hz, pedal_rms)) for i in range(n - 1)
        ]
        alike = reachable(n, {i for i, distance in enumerate(swaps) if distance <= alike_db})
    return {
        "swap_db": [round(distance, 3) for distance in swaps],
        "alike": [list(order) for order in sorted(alike)],
    }


def swapped(n: int, i: int) -> Order:
    """0 … n-1 with positions i and i + 1 exchanged."""
    order = list(range(n))
    order[i], order[i + 1] = i + 1, i
    return tuple(order)


def play_swap(
    stages: Sequence[np.ndarray],
    chain: Chain,
    i: int,
    sample_rate_hz: int,
    pedal_rms: float = 0.0,
) -> np.ndarray:
    """The chain with pedals i and i + 1 exchanged, played on from what stands before them."""
    wave = stages[i]
    for position in swapped(len(chain.pedals), i)[i:]:
        wave = play(chain.pedals[position], wave, sample_rate_hz, pedal_rms)
    return wave


def play_orders(
    stages: Sequence[np.ndarray], chain: Chain, sample_rate_hz: int, pedal_rms: float = 0.0
) -> Iterator[tuple[Order, np.ndarray]]:
    """Every order with its sound. Beginnings are played once; the chain's own not at all."""

    def go_on(begun: Order, wave: np.ndarray) -> Iterator[tuple[Order, np.ndarray]]:
        if len(begun) == len(chain.pedals):
            yield begun, wave
        for position, pedal in enumerate(chain.pedals):
            if position in begun:
                continue
            longer = (*begun, position)
            if longer == tuple(range(len(longer))):
                yield from go_on(longer, stages[len(longer)])
            else:
                yield from go_on(longer, play(pedal, wave, sample_rate_hz, pedal_rms))

    yield from go_on((), stages[0])


def reachable(n: int, quiet: Collection[int]) -> list[Order]:
    """Orders that swaps of the quiet neighbours (i, i + 1) lead to, the first order left out.

    Only pairs that stood next to each other were compared; two that come to meet on the way have
    an order. The class of a trace whose commuting letters are these pairs.
    """
    free = {frozenset((i, i + 1)) for i in quiet}
    start = tuple(range(n))
    seen, new = {start}, [start]
    while new:
        here = new.pop()
        for k in range(n - 1):
            if frozenset(here[k : k + 2]) in free:
                there = (*here[:k], here[k + 1], here[k], *here[k + 2 :])
                if there not in seen:
                    seen.add(there)
                    new.append(there)
    return sorted(seen - {start})
