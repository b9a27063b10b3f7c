"""Per-render order classes against playing every order from its beginning."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

from fxpipe.config import render_spec
from fxpipe.distance import band_distance_db, log_bands, mel_distance_db
from fxpipe.orders.classes import order_class, play_orders, play_swap, reachable, swapped
from fxpipe.pedals import PEDALS, build_pedal
from fxpipe.render import play
from fxtrain.contract import Chain, UsageError
from fxtrain.contract.orders import OrderClass

RATE_HZ = 44_100
SKIP = RATE_HZ // 4


@pytest.fixture(scope="module")
def dry() -> np.ndarray:
    time_s = np.arange(SKIP + RATE_HZ) / RATE_HZ
    saw = sum(np.sin(2 * np.pi * 110 * k * time_s) / k for k in range(1, 30))
    return (0.2 * saw * np.exp(-2 * (time_s % 0.5))).astype(np.float32)


def chain_of(*names: str) -> Chain:
    return Chain(tuple(PEDALS[name].example(name) for name in names))


def played(dry: np.ndarray, chain: Chain) -> list[np.ndarray]:
    stages = [dry]
    for pedal in chain.pedals:
        stages.append(build_pedal(pedal, RATE_HZ)(stages[-1]))
    return stages


def classify(dry: np.ndarray, chain: Chain, *, all_orders: bool, alike_db: float = 0.5):
    return order_class(
        played(dry, chain), chain, RATE_HZ, skip=SKIP, alike_db=alike_db, all_orders=all_orders
    )


def test_every_order_sounds_as_when_played_from_the_start(dry: np.ndarray) -> None:
    chain = chain_of("overdrive", "chorus", "delay")
    found = dict(play_orders(played(dry, chain), chain, RATE_HZ))
    assert sorted(found) == sorted(itertools.permutations(range(3)))
    for order, wave in found.items():
        from_start = played(dry, Chain(tuple(chain.pedals[i] for i in order)))[-1]
        np.testing.assert_array_equal(wave, from_start)


def test_a_swap_is_the_same_order(dry: np.ndarray) -> None:
    chain = chain_of("overdrive", "chorus", "delay")
    orders = dict(play_orders(played(dry, chain), chain, RATE_HZ))
    for i in range(2):
        swap = play_swap(played(dry, chain), chain, i, RATE_HZ)
        np.testing.assert_array_equal(swap, orders[swapped(3, i)])


def test_swaps_are_played_at_the_level_that_pedals_are_kept_at(dry: np.ndarray) -> None:
    chain = chain_of("distortion", "reverb")
    stages = [dry]
    for pedal in chain.pedals:
        stages.append(play(pedal, stages[-1], RATE_HZ, 0.1))
    found = [
        order_class(
            *(stages, chain, RATE_HZ), skip=SKIP, alike_db=0.5, all_orders=every, pedal_rms=0.1
        )
        for every in (False, True)
    ]
    assert found[0] == found[1]
    (far_db,) = found[0]["swap_db"]
    turned = dry
    for pedal in reversed(chain.pedals):
        turned = play(pedal, turned, RATE_HZ, 0.1)
    truth, other = (log_bands(wave[SKIP:], RATE_HZ) for wave in (stages[-1], turned))
    assert far_db == pytest.approx(band_distance_db(truth, other), abs=1e-3)


def test_beginnings_are_played_once(dry: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
    chain = chain_of("overdrive", "eq", "chorus", "delay")
    stages, n_built = played(dry, chain), 0

    def counted(*args):
        nonlocal n_built
        n_built += 1
        return build_pedal(*args)

    monkeypatch.setattr("fxpipe.render.build_pedal", counted)
    list(play_orders(stages, chain, RATE_HZ))
    # Beginnings of 1 to 4 pedals, less the chain's own four; each order anew would be 23 * 4.
    assert n_built == sum(math.perm(4, k) for k in (1, 2, 3, 4)) - 4 == 60


def test_delay_and_reverb_have_no_order_distortion_has(dry: np.ndarray) -> None:
    quiet = classify(dry, chain_of("delay", "reverb"), all_orders=True)
    assert quiet["alike"] == [[1, 0]]
    assert quiet["swap_db"][0] < 0.1
    heard = classify(dry, chain_of("distortion", "reverb"), all_orders=True)
    assert heard["alike"] == []
    assert heard["swap_db"][0] > 0.5


def test_all_orders_are_judged_by_their_distance(dry: np.ndarray) -> None:
    chain = chain_of("wah", "distortion", "eq")
    found = classify(dry, chain, all_orders=True, alike_db=4.0)
    truth = played(dry, chain)[-1][SKIP:]
    for order in itertools.permutations(range(3)):
        wave = played(dry, Chain(tuple(chain.pedals[i] for i in order)))[-1][SKIP:]
        far_db = mel_distance_db(truth, wave, RATE_HZ)
        assert (list(order) in found["alike"]) == (0 < far_db <= 4.0)


def test_swaps_alone_reach_what_they_reach(dry: np.ndarray) -> None:
    chain = chain_of("delay", "reverb", "distortion")
    by_swaps = classify(dry, chain, all_orders=False)
    assert by_swaps["alike"] == [[1, 0, 2]]
    assert by_swaps == classify(dry, chain, all_orders=True)


def test_swaps_are_alike_up_to_the_limit_that_is_asked_for(dry: np.ndarray) -> None:
    chain = chain_of("wah", "distortion")
    (far_db,) = classify(dry, chain, all_orders=False)["swap_db"]
    assert far_db > 0.6
    for limit_db, alike in ((far_db + 0.1, [[1, 0]]), (far_db - 0.1, [])):
        assert classify(dry, chain, all_orders=False, alike_db=limit_db)["alike"] == alike


@pytest.mark.parametrize(
    ("n", "all_orders", "n_alike"),
    [(3, False, 2), (3, True, 5), (4, False, 4), (4, True, 23), (5, False, 7), (5, True, 7)],
)
def test_all_orders_are_compared_of_four_pedals_at_most(
    dry: np.ndarray, n: int, all_orders: bool, n_alike: int
) -> None:
    """Where every distance is near enough; swaps alone never compare two that meet on the way."""
    chain = chain_of(*("overdrive", "eq", "wah", "delay", "reverb")[:n])
    found = classify(dry, chain, all_orders=all_orders, alike_db=1e9)
    assert len(found["alike"]) == n_alike


@pytest.mark.parametrize("n", [1, 2, 3, 4, 5])
def test_reach_is_the_class_of_a_trace(n: int) -> None:
    for size in range(n):
        for quiet in itertools.combinations(range(n - 1), size):
            names = tuple(str(i) for i in range(n))
            pairs = frozenset(frozenset((str(i), str(i + 1))) for i in quiet)
            trace = OrderClass(names, pairs)
            expected = [
                order
                for order in itertools.permutations(range(n))
                if trace.holds(tuple(str(i) for i in order)) and order != tuple(range(n))
            ]
            assert reachable(n, quiet) == sorted(expected)


def test_short_and_long_chains(dry: np.ndarray) -> None:
    assert classify(dry, chain_of("delay"), all_orders=True) == {"swap_db": [], "alike": []}
    with pytest.raises(UsageError, match="up to 6 pedals, --lengths go up to 7"):
        render_spec(None, {"lengths": "1-7", "classes": True})
