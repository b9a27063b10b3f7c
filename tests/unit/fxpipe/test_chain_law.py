"""Draws follow the spec: chi-square against the law worked out by hand, chain by chain.

Seeds are fixed, so a test passes always or never. ``chain_law`` knows nothing of how the package
draws: it walks every sequence of picks and every order.
"""

from __future__ import annotations

import itertools
import math
from collections import Counter, defaultdict

import numpy as np
import pytest
from scipy import stats

from fxpipe.chains.chain import (
    ChainSpec,
    draw_length,
    draw_names,
    draw_order,
    draw_settings,
    generator,
)
from fxpipe.pedals import FAMILIES, PEDALS, POOLS

P_LIMIT = 1e-3
N_DRAWS = 4000
FIVE = ("compressor", "fuzz", "phaser", "chorus", "reverb")
MODULATION = (("phaser", "chorus"),)


def may_stand(names, spec):
    if not spec.repeats and len(set(names)) < len(names):
        return False
    return all(sum(name in group for name in names) <= 1 for group in spec.exclusive)


def set_law(spec, length):
    """Sorted names -> probability, by following every sequence of picks."""
    law = defaultdict(float)

    def completes(taken, n_missing):
        return may_stand(taken, spec) and (
            n_missing == 0 or any(completes((*taken, name), n_missing - 1) for name in spec.pool)
        )

    def walk(taken, p):
        if len(taken) == length:
            law[tuple(sorted(taken))] += p
            return
        odds = {
            name: spec.weights.get(name, 1.0)
            for name in spec.pool
            if spec.weights.get(name, 1.0) and completes((*taken, name), length - len(taken) - 1)
        }
        for name, weight in odds.items():
            walk((*taken, name), p * weight / sum(odds.values()))

    walk((), 1.0)
    return law


def order_law(names, spec):
    """Order -> probability. Realistic: Gumbel noise makes Plackett and Luce's model, last first."""
    orders = list(itertools.permutations(names))
    if spec.order == "fixed":
        return {tuple(sorted(names, key=list(PEDALS).index)): 1.0}
    law = defaultdict(float)
    for order in orders:
        p = 1 / len(orders)
        if spec.order == "realistic":
            pull = [
                math.exp(FAMILIES.index(PEDALS[name].family) / spec.temperature) for name in order
            ]
            p = math.prod(pull[i] / sum(pull[: i + 1]) for i in range(len(order)))
        law[order] += p
    return law


def chain_law(spec, length):
    law = defaultdict(float)
    for names, p in set_law(spec, length).items():
        for order, q in order_law(names, spec).items():
            law[order] += p * q
    return {order: p for order, p in law.items() if order not in spec.held_out}


def drawn(spec, length, n=N_DRAWS, split="train"):
    return Counter(
        draw_names(spec, length, generator(0, split, i, "names"), test=split == "test")
        for i in range(n)
    )


def p_value(counts, law):
    """Chi-square; cells that expect fewer than five are taken together (Cochran 1954)."""
    assert set(counts) <= set(law), "a chain was drawn that the spec does not allow"
    n, total = sum(counts.values()), sum(law.values())
    expected = {cell: n * p / total for cell, p in law.items()}
    rare = [cell for cell in law if expected[cell] < 5]
    common = [cell for cell in law if expected[cell] >= 5]
    observed = [counts[cell] for cell in common] + [sum(counts[cell] for cell in rare)] * bool(rare)
    wanted = [expected[cell] for cell in common] + [sum(expected[c] for c in rare)] * bool(rare)
    return stats.chisquare(observed, wanted).pvalue


SPECS = {
    "uniform": ChainSpec(FIVE, {3: 1.0}),
    "weights": ChainSpec(FIVE, {2: 1.0}, weights={"fuzz": 4.0, "reverb": 0.5, "chorus": 0.0}),
    "realistic": ChainSpec(FIVE, {3: 1.0}, order="realistic", temperature=1.5),
    "fixed": ChainSpec(FIVE, {3: 1.0}, order="fixed", weights={"fuzz": 3.0}),
    "repeats": ChainSpec(FIVE[:3], {3: 1.0}, repeats=True, weights={"fuzz": 2.0}),
    "repeats, realistic": ChainSpec(FIVE[:3], {3: 1.0}, repeats=True, order="realistic"),
    "exclusive": ChainSpec(FIVE, {3: 1.0}, exclusive=MODULATION),
    "exclusive, weights": ChainSpec(
        FIVE, {2: 1.0}, exclusive=(*MODULATION, ("fuzz", "chorus")), weights={"chorus": 5.0}
    ),
    "exclusive, looking ahead": ChainSpec(
        FIVE, {3: 1.0}, exclusive=(("fuzz", "phaser", "chorus"), ("fuzz", "reverb"))
    ),
    "exclusive, repeats": ChainSpec(
        FIVE[:4], {3: 1.0}, exclusive=MODULATION, repeats=True, weights={"phaser": 2.0}
    ),
    "held out": ChainSpec(FIVE, {2: 1.0}, held_out=(("reverb", "fuzz"), ("fuzz", "reverb"))),
}


@pytest.mark.parametrize("name", SPECS)
def test_chains_follow_the_spec(name):
    spec = SPECS[name]
    assert p_value(drawn(spec, spec.max_length), chain_law(spec, spec.max_length)) > P_LIMIT


@pytest.mark.parametrize(
    ("drawn_from", "tested_for"),
    [
        (ChainSpec(FIVE, {2: 1.0}, weights={"fuzz": 1.5}), ChainSpec(FIVE, {2: 1.0})),
        (
            ChainSpec(FIVE, {3: 1.0}, order="realistic", temperature=1.5),
            ChainSpec(FIVE, {3: 1.0}, order="realistic", temperature=2.0),
        ),
        (SPECS["exclusive"], ChainSpec(FIVE, {3: 1.0})),
        (
            SPECS["exclusive"],
            ChainSpec(FIVE, {3: 1.0}, exclusive=MODULATION, weights={"reverb": 1.5}),
        ),
    ],
)
def test_the_check_fails_for_a_wrong_spec(drawn_from, tested_for):
    length = drawn_from.max_length
    assert p_value(drawn(drawn_from, length), chain_law(tested_for, length)) < 1e-6


def test_lengths_follow_their_weights():
    spec = ChainSpec(POOLS["stompbox"], {1: 3.0, 2: 1.0, 4: 0.0, 5: 2.0})
    counts = Counter(draw_length(spec, generator(0, "train", i, "clip")) for i in range(N_DRAWS))
    assert p_value(counts, {1: 3.0, 2: 1.0, 5: 2.0}) > P_LIMIT


@pytest.mark.parametrize(("balance", "longest"), [("pedals", 3), ("lengths", 2), ("pairs", 3)])
def test_balanced_draws_follow_the_solved_tables_and_these_the_target(balance, longest):
    spec = ChainSpec(
        FIVE,
        {1: 1.0, 2: 2.0, longest: 2.0},
        weights={"fuzz": 1.5},
        exclusive=MODULATION,
        balance=balance,
    )
    counts, law, shares = Counter(), {}, defaultdict(float)
    for i in range(N_DRAWS):
        length = draw_length(spec, generator(0, "train", i, "clip"))
        names = draw_names(spec, length, generator(0, "train", i, "names"), test=False)
        counts[tuple(sorted(names))] += 1
    for length, table in spec.solved.tables.items():
        p = np.diff([0.0, *table.cumulative]) * spec.length_p[length]
        for row, share in zip(table.members, p, strict=True):
            names = [spec.sets.names[i] for i in row]
            law[tuple(sorted(names))] = share
            for name in names:
                shares[name, length if balance == "lengths" else 0] += share
            for a, b in itertools.combinations(names, 2):
                shares[a, b] += share
    assert p_value(counts, law) > P_LIMIT
    weights = {name: spec.weights.get(name, 1.0) for name in FIVE}
    if balance == "pairs":
        met = [
            shares[a, b] / (weights[a] * weights[b])
            for a, b in itertools.combinations(FIVE, 2)
            if (a, b) != MODULATION[0]
        ]
        assert met == pytest.approx([met[0]] * 9, rel=1e-4)
    for length in spec.length_p if balance == "lengths" else [0] * (balance == "pedals"):
        met = [shares[name, length] / weights[name] for name in FIVE]
        assert met == pytest.approx([met[0]] * 5, rel=1e-4)
    assert not spec.solved.missed


def test_a_balance_out_of_reach_says_so():
    spec = ChainSpec(FIVE, {4: 1.0}, exclusive=MODULATION, balance="pedals")
    name, off = spec.solved.worst
    assert name in FIVE
    assert off == pytest.approx(-0.375, abs=0.01)  # 1/8 instead of 1/5: one of the two
    assert "cannot be met" in spec.solved.missed


def test_no_exclusion_is_ever_broken_and_no_held_out_order_trained_on():
    drives = ("overdrive", "distortion", "fuzz")
    held = (("delay", "reverb"), ("wah", "fuzz", "delay"))
    for balance in ("weights", "pedals"):
        spec = ChainSpec(
            POOLS["stompbox"], exclusive=(drives,), held_out=held, weights={"fuzz": 3.0},
            balance=balance,
        )  # fmt: skip
        for split in ("train", "valid", "test"):
            orders = [draw_order(spec, 1, split, i) for i in range(1500)]
            assert all(sum(name in drives for name in order) <= 1 for order in orders)
            assert split == "test" or not set(orders) & set(held)
    pair = ChainSpec(FIVE, {2: 1.0}, held_out=(("reverb", "fuzz"),))
    assert drawn(pair, 2, 500, "test")["reverb", "fuzz"] > 0


def test_held_out_orders_are_as_frequent_in_test_as_any_other():
    spec = ChainSpec(FIVE, {2: 1.0}, held_out=(("reverb", "fuzz"),))
    law = dict.fromkeys(itertools.permutations(FIVE, 2), 1.0)
    assert p_value(drawn(spec, 2, split="test"), law) > P_LIMIT


def knob_draws(key, n=2000, **fields):
    spec = ChainSpec(("delay",), {1: 1.0}, **fields)
    rng = np.random.default_rng(0)
    return np.array([draw_settings(spec, ["delay"], rng).pedals[0].settings[key] for _ in range(n)])


@pytest.mark.parametrize(
    ("key", "fields", "law"),
    [
        ("delay_ms", {}, stats.loguniform(80, 600)),
        ("delay_ms", {"ranges": {"delay": {"delay_ms": (100, 200)}}}, stats.loguniform(100, 200)),
        ("delay_ms", {"knobs": "linear"}, stats.uniform(80, 520)),
        ("delay_ms", {"scales": {"delay": {"delay_ms": "linear"}}}, stats.uniform(80, 520)),
        ("mix", {}, stats.uniform(0.2, 0.3)),
        ("mix", {"scales": {"delay": {"mix": "log"}}}, stats.loguniform(0.2, 0.5)),
        ("mix", {"knobs": "typical"}, stats.triang(0.5, 0.2, 0.3)),
        (
            "mix",
            {"knobs": "typical", "ranges": {"delay": {"mix": (0.3, 0.5)}}},
            stats.triang(0.25, 0.3, 0.2),  # the peak stays at 0.35
        ),
        (
            "mix",
            {"knobs": "typical", "ranges": {"delay": {"mix": (0.4, 0.5)}}},
            stats.triang(0.0, 0.4, 0.1),  # the typical value lies below the range
        ),
        (
            "mix",
            {"knobs": "typical", "scales": {"delay": {"mix": "uniform"}}},
            stats.uniform(0.2, 0.3),
        ),
    ],
)
def test_settings_follow_their_scale(key, fields, law):
    values = knob_draws(key, **fields)
    assert stats.kstest(values, law.cdf).pvalue > P_LIMIT


def test_typical_settings_peak_where_the_pedal_says():
    spec = ChainSpec(("eq",), {1: 1.0}, knobs="typical")
    knobs = {knob.param.name: knob.peak for knob in spec.drawn_knobs["eq"]}
    assert knobs["mid_db"] == pytest.approx(PEDALS["eq"].typical["mid_db"], abs=1e-6)
    assert knobs["mid_hz"] == pytest.approx(PEDALS["eq"].typical.get("mid_hz", 0.5), abs=1e-6)


def test_a_phase_stays_uniform_under_typical_knobs():
    spec = ChainSpec(("tremolo",), {1: 1.0}, knobs="typical")
    peaks = {knob.param.name: knob.peak for knob in spec.drawn_knobs["tremolo"]}
    assert peaks["phase_cycles"] is None
    assert peaks["rate_hz"] is not None
