"""Bins, calibration error and its interval, against hand counts and calibrated draws."""

from __future__ import annotations

import math

import numpy as np
import pytest

from fxtrain.contract import OrderClass
from fxtrain.decode import Candidate, Direct
from fxtrain.judging import confidences
from fxtrain.reliability import bins_of, calibration_error, error_by_chance, reliability


def test_calibration_error_by_hand() -> None:
    confidence = np.array([0.95, 0.95, 0.15, 1.0])
    right = np.array([1.0, 0.0, 0.0, 1.0])
    # bin .9-1: |2.9 - 2| ; bin .1-.2: |0.15 - 0|
    assert calibration_error(confidence, right) == pytest.approx((0.9 + 0.15) / 4)
    assert math.isnan(calibration_error(np.array([]), np.array([])))


def test_bins_by_hand() -> None:
    bins = bins_of(np.array([0.0, 0.31, 0.39, 1.0]), np.array([0.0, 1.0, 0.0, 1.0]))
    assert [b.n for b in bins] == [1, 0, 0, 2, 0, 0, 0, 0, 0, 1]
    assert [(b.low, b.high) for b in bins] == [(k / 10, (k + 1) / 10) for k in range(10)]
    assert (bins[3].confidence, bins[3].right) == pytest.approx((0.35, 0.5))
    assert math.isnan(bins[1].right)


def test_what_keeps_its_promise_has_a_small_error_and_boasting_does_not() -> None:
    rng = np.random.default_rng(0)
    chance = rng.uniform(0, 1, 20_000)
    right = (rng.uniform(0, 1, 20_000) < chance).astype(float)
    sample = np.arange(20_000) // 2
    honest = reliability(chance, right, sample, chance**0.3, rng=np.random.default_rng(0))
    assert honest.ece < 0.02
    assert honest.ece_chance == pytest.approx(honest.ece, rel=0.5)
    assert honest.ece_untuned > 0.15
    assert honest.base == pytest.approx(0.5, abs=0.02)
    assert honest.brier == pytest.approx(1 / 6, abs=0.01)  # E[p (1 - p)] of uniform p
    boasting = reliability(chance**0.3, right, sample, rng=np.random.default_rng(0))
    assert boasting.low < boasting.ece < boasting.high
    assert boasting.low > honest.high
    assert math.isnan(boasting.ece_untuned)


def test_nothing_has_no_error() -> None:
    empty = np.array([])
    found = reliability(empty, empty, empty.astype(int), rng=np.random.default_rng(0))
    assert found.n == 0
    assert math.isnan(found.ece)
    assert math.isnan(found.ece_chance)
    assert [b.n for b in found.bins] == [0] * 10


def test_an_error_by_chance_falls_with_the_root_of_n() -> None:
    """Of one bin: the mean of |mean of n coins - 0.5|, sqrt(0.5 / (pi n)) for many."""
    for n in (100, 10_000):
        found = error_by_chance(np.full(n, 0.5), np.random.default_rng(0))
        assert found == pytest.approx(math.sqrt(0.5 / (math.pi * n)), rel=0.15)


def test_one_clip_does_not_say_how_far_others_would_differ() -> None:
    four = np.array([0.9, 0.2, 0.2, 0.6]), np.array([1.0, 0.0, 0.0, 1.0])
    found = reliability(*four, np.zeros(4, int), rng=np.random.default_rng(0))
    assert found.ece == pytest.approx(0.225)
    assert math.isnan(found.low)
    assert math.isnan(found.high)


def test_what_is_said_of_chains_pedals_and_pairs() -> None:
    commutes = frozenset((frozenset(("delay", "reverb")),))
    classes = [OrderClass(("fuzz", "delay", "reverb"), commutes), OrderClass(("fuzz",), commutes)]
    heard = [
        (
            Candidate(("fuzz", "reverb", "delay"), 0.6, ()),
            Candidate(("delay", "fuzz", "reverb"), 0.4, ()),
        ),
        (Candidate(("delay",), 0.7, ()), Candidate(("fuzz", "delay"), 0.3, ())),
    ]
    families = {"fuzz": "drive", "delay": "time", "reverb": "time"}
    found = confidences(heard, classes, families)
    confidence, right, sample = found["chain"]
    assert (confidence.tolist(), right.tolist(), sample.tolist()) == ([0.6, 0.7], [1, 0], [0, 1])
    confidence, right, _ = found["presence"]
    assert confidence.tolist() == pytest.approx([1.0, 1.0, 1.0, 0.3, 1.0, 0.0])
    assert right.tolist() == [1, 1, 1, 1, 0, 0]
    confidence, right, sample = found["named"]  # the second answer is the delay, which is not there
    assert confidence.tolist() == pytest.approx([1.0, 1.0, 1.0, 1.0])
    assert (right.tolist(), sample.tolist()) == ([1, 1, 1, 0], [0, 0, 0, 1])
    confidence, right, _ = found["family"]
    assert confidence.tolist() == pytest.approx([1.0, 1.0, 0.3, 1.0])
    assert right.tolist() == [1, 1, 1, 0]
    # fuzz-delay and fuzz-reverb have an order, delay-reverb has none; the second clip has no pair.
    confidence, right, sample = found["pair"]
    assert confidence.tolist() == pytest.approx([0.6, 1.0])
    assert (right.tolist(), sample.tolist()) == ([1, 1], [0, 0])
    # The head's word counts half.
    names = ("fuzz", "delay", "reverb")
    head = Direct(names, (0.8, 0.4, 0.0), ((0.5, 0.9, 0.2), (0.1, 0.5, 0.5), (0.8, 0.5, 0.5)))
    found = confidences(heard, classes, families, [head, head])
    assert found["family"][0].tolist() == pytest.approx([0.9, 0.7, 0.55, 0.7])
    assert found["presence"][0].tolist() == pytest.approx([0.9, 0.7, 0.6, 0.55, 0.7, 0.0])
    # Of the reverb it would be 0.5, less than of the answer that it stands in.
    assert found["pair"][0].tolist() == pytest.approx([0.75, 0.6])
    assert found["chain"][0].tolist() == [0.6, 0.7]


def test_base_and_untuned_error_are_held_against_what_is_right() -> None:
    confidence, right = np.array([0.9, 0.9, 0.8]), np.array([1.0, 0.0, 0.0])
    untuned = np.array([0.55, 0.55, 0.55])
    found = reliability(confidence, right, np.arange(3), untuned, rng=np.random.default_rng(0))
    assert found.base == pytest.approx(1 / 3)
    assert found.ece_untuned == pytest.approx(0.55 - 1 / 3)


def test_things_of_one_group_are_one_witness() -> None:
    confidence, right = np.linspace(0.05, 0.95, 8), np.array([0.0, 1, 0, 0, 1, 0, 1, 1])
    found = [
        reliability(*(a.repeat(n) for a in (confidence, right, np.arange(8))), rng=rng)
        for n, rng in ((1, np.random.default_rng(0)), (3, np.random.default_rng(0)))
    ]
    assert (found[1].low, found[1].high) == pytest.approx((found[0].low, found[0].high))


def test_groups_that_are_larger_do_not_widen_an_error_that_all_share() -> None:
    """Each draw of groups is divided by the things in it, however many those are."""
    confidence, group = np.full(10, 0.3), np.array([0] * 9 + [1])
    found = reliability(confidence, np.zeros(10), group, rng=np.random.default_rng(0))
    assert found.ece == pytest.approx(0.3)
    assert not any(abs(edge - 0.3) > 1e-6 for edge in (found.low, found.high))
