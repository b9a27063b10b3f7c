"""Draws: pure, seeded, within the spec."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fixtures.specs import specs
from fxpipe.chains.chain import (
    CHAIN_KEYS,
    ChainSpec,
    draw_length,
    draw_names,
    draw_settings,
    generator,
)
from fxpipe.pedals import PEDALS, POOLS
from fxtrain.contract import UsageError, from_dict, to_dict

STOMPBOX = POOLS["stompbox"]
DRIVES = ("overdrive", "distortion", "fuzz")
BOTH = (("chorus", "reverb"), ("reverb", "chorus"))


def draw_chain(spec, seed):
    rng = np.random.default_rng(seed)
    return draw_settings(spec, draw_names(spec, draw_length(spec, rng), rng, test=False), rng)


@given(specs(), st.integers(0, 2**63))
@settings(max_examples=80, deadline=None)
def test_draws_keep_to_the_spec(spec, seed):
    chain = draw_chain(spec, seed)
    assert len(chain.pedals) in spec.lengths
    assert set(chain.names) <= set(spec.pool)
    if not spec.repeats:
        assert len(set(chain.names)) == len(chain.names)
    for group in spec.exclusive:
        assert sum(name in group for name in chain.names) <= 1
    assert all(spec.weights.get(name, 1.0) > 0 for name in chain.names)
    if spec.order == "fixed":
        assert list(chain.names) == sorted(chain.names, key=list(PEDALS).index)
    assert spec.allows(chain.names)
    for pedal in chain.pedals:
        params = {param.name: param for param in PEDALS[pedal.name].params}
        assert set(pedal.settings) == set(params)
        for key, value in pedal.settings.items():
            low, high = params[key].low, params[key].high
            low, high = spec.ranges.get(pedal.name, {}).get(key, (low, high))
            assert low <= value <= high
    assert draw_chain(spec, seed) == chain


@given(specs())
@settings(max_examples=40, deadline=None)
def test_spec_survives_json(spec):
    assert from_dict(ChainSpec, to_dict(spec), "spec") == spec


def test_generators_differ_by_every_part_of_their_key():
    keys = [
        (0, "train", 0, "clip", 0),
        (1, "train", 0, "clip", 0),
        (0, "test", 0, "clip", 0),
        (0, "train", 1, "clip", 0),
        (0, "train", 0, "noise", 0),
        (0, "train", 0, "clip", 1),
    ]
    assert len({generator(*key).integers(2**63) for key in keys}) == len(keys)


def test_the_stream_is_the_same_on_every_machine():
    """Pinned: a change here would silently make other data from the same seed."""
    assert generator(0, "train", 0, "clip").integers(0, 1_000_000, 3).tolist() == [
        802_237,
        942_937,
        5_483,
    ]


@pytest.mark.parametrize("repeats", [False, True])
def test_picks_are_those_of_numpys_choice(repeats):
    """Pinned: the chains of a seed stay what they were when NumPy itself made the picks."""
    weights = {"delay": 3.0, "wah": 0.1}
    spec = ChainSpec(STOMPBOX, weights=weights, repeats=repeats)
    p = np.array([weights.get(name, 1.0) for name in STOMPBOX])
    for i in range(200):
        length = i % 6
        ours, theirs = (generator(0, "train", i, "names") for _ in range(2))
        chosen = theirs.choice(STOMPBOX, size=length, replace=repeats, p=p / p.sum())
        expected = tuple(str(chosen[k]) for k in theirs.permutation(length))
        assert draw_names(spec, length, ours, test=False) == expected
        lengths = theirs.choice([1, 2, 3, 4, 5], p=np.full(5, 0.2))
        assert draw_length(spec, ours) == lengths


def test_large_seeds_have_streams_of_their_own():
    for seed in (2**32, 2**40 + 1):
        expected = np.random.default_rng(np.random.SeedSequence([seed, 0, 7, 2, 0])).random()
        assert generator(seed, "train", 7, "names").random() == expected
    assert generator(1, "train", 7, "names").random() != expected


def test_realistic_leans_on_the_textbook_and_fixed_is_it():
    places = {name: place for place, name in enumerate(PEDALS)}

    def inversions(order, temperature):
        spec = ChainSpec(STOMPBOX, {5: 1.0}, order=order, temperature=temperature)
        rng = np.random.default_rng(0)
        total = 0
        for _ in range(300):
            ranks = [places[name] for name in draw_names(spec, 5, rng, test=False)]
            total += sum(a > b for i, a in enumerate(ranks) for b in ranks[i + 1 :])
        return total / 300

    assert inversions("fixed", 1.0) == 0
    assert inversions("realistic", 0.05) < inversions("realistic", 1.0) < inversions("uniform", 1)


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"pool": ("delay",), "lengths": {2: 1.0}}, "without repeats, at most 1 in a chain"),
        ({"pool": STOMPBOX, "order": "unifrom"}, "did you mean 'uniform'"),
        ({"pool": STOMPBOX, "temperature": 0.0}, "expected more than 0"),
        ({"pool": STOMPBOX, "temperature": 1.1e9}, "1e9 at most"),
        ({"pool": STOMPBOX, "weights": {"dely": 1.0}}, "did you mean 'delay'"),
        ({"pool": STOMPBOX, "weights": {"delay": -1.0}}, "0 or more"),
        ({"pool": STOMPBOX, "weights": {"delay": 9e-10}}, "or lie within 1e-9 and 1e9"),
        ({"pool": STOMPBOX, "lengths": {1: 1.1e9}}, "or lie within 1e-9 and 1e9"),
        ({"pool": STOMPBOX, "ranges": {"delay": {"mxi": (0.2, 0.3)}}}, "did you mean 'mix'"),
        ({"pool": STOMPBOX, "ranges": {"delay": {"mix": (0.2, 3.0)}}}, "does not lie within"),
        ({"pool": STOMPBOX, "ranges": {"delay": {"mix": (0.1, 0.3)}}}, "does not lie within"),
        ({"pool": STOMPBOX, "ranges": {"delay": {"mix": (0.3, 0.2)}}}, "first must not be larger"),
        ({"pool": STOMPBOX, "lengths": {}}, "lengths"),
        ({"pool": STOMPBOX, "lengths": {-1: 1.0, 1: 1.0}}, r"lengths are \[-1, 1\], expected 0"),
        ({"pool": STOMPBOX, "held_out": (("delay", "revreb"),)}, "did you mean 'reverb'"),
        ({"pool": STOMPBOX, "lengths": {1: math.nan}}, "length weights"),
        ({"pool": STOMPBOX, "weights": {"delay": math.inf}}, "pedal weights"),
        ({"pool": STOMPBOX, "weights": dict.fromkeys(STOMPBOX, 0.0)}, "not all 0"),
        ({"pool": STOMPBOX, "lengths": {9: 1.0}, "exclusive": (DRIVES,)}, "at most 8 in a chain"),
        ({"pool": STOMPBOX, "lengths": {10: 1.0}, "weights": {"wah": 0.0}}, "at most 9"),
        ({"pool": STOMPBOX, "exclusive": (("delay", "revreb"),)}, "exclusive groups 'revreb'"),
        ({"pool": STOMPBOX, "exclusive": (("delay",),)}, "two or more different"),
        ({"pool": STOMPBOX, "exclusive": (("delay", "delay"),)}, "two or more different"),
        ({"pool": STOMPBOX, "balance": "pedal"}, "did you mean 'pedals'"),
        ({"pool": STOMPBOX, "balance": "pairs", "lengths": {1: 1.0}}, "chains of 2 or more"),
        ({"pool": STOMPBOX, "balance": "pairs", "repeats": True}, "without repeats"),
        (
            {"pool": tuple(PEDALS), "balance": "pedals", "repeats": True, "lengths": {9: 1.0}},
            "at most 50000",
        ),
        ({"pool": STOMPBOX, "knobs": "log"}, "unknown way to draw knobs"),
        ({"pool": STOMPBOX, "scales": {"dely": {"mix": "log"}}}, "did you mean 'delay'"),
        ({"pool": STOMPBOX, "scales": {"delay": {"mxi": "log"}}}, "did you mean 'mix'"),
        ({"pool": STOMPBOX, "scales": {"delay": {"mix": "lgo"}}}, "did you mean 'log'"),
        ({"pool": STOMPBOX, "scales": {"phaser": {"feedback": "log"}}}, "leave it 'uniform'"),
        ({"pool": STOMPBOX, "held_out": (("delay",) * 2,)}, "can never be drawn"),
        ({"pool": STOMPBOX, "lengths": {1: 1.0}, "held_out": BOTH}, "can never be drawn"),
        ({"pool": STOMPBOX, "held_out": (("delay", "wah"),), "order": "fixed"}, "never be drawn"),
        (
            {"pool": STOMPBOX, "held_out": (("fuzz", "overdrive"),), "exclusive": (DRIVES,)},
            "never be drawn",
        ),
        ({"pool": ("chorus", "reverb"), "lengths": {2: 1.0}, "held_out": BOTH}, "hold out fewer"),
    ],
)
def test_specs_that_cannot_be_drawn_are_refused(wrong, says):
    with pytest.raises(UsageError, match=says):
        ChainSpec(**wrong)


def test_holding_out_nearly_everything_is_an_error_not_a_hang():
    spec = ChainSpec(
        ("compressor", "reverb"),
        {2: 1.0},
        order="realistic",
        temperature=0.01,
        held_out=(("compressor", "reverb"),),
    )
    with pytest.raises(UsageError, match="hold out fewer"):
        draw_names(spec, 2, np.random.default_rng(0), test=False)


def test_every_key_of_the_spec_is_explained():
    assert list(CHAIN_KEYS) == [field.name for field in dataclasses.fields(ChainSpec)]
