"""Draws of their own for every try, and what lies exactly on a limit."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np
import pytest

from fixtures.audio import RATE_HZ, riff
from fxpipe import render
from fxpipe.chains.chain import ChainSpec
from fxpipe.orders import classes
from fxpipe.orders.commute import LEVELS, PairMeasure, Rule, commutes
from fxpipe.pedals import PEDALS, POOLS
from fxpipe.render import ORDERS, RENDER_KEYS, SETTINGS, RenderSpec, draw_and_render, play
from fxtrain.contract import SPLITS, Chain

SPEC = RenderSpec(ChainSpec(POOLS["stompbox"]), clip_s=0.2, run_in_s=0.0)


def test_every_setting_of_a_render_has_its_meaning() -> None:
    assert [*RENDER_KEYS] == [field.name for field in dataclasses.fields(RenderSpec)][1:]


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[tuple[object, ...]]:
    """The key of every generator; pedals leave the sound as it is, which costs nothing."""
    keys: list[tuple[object, ...]] = []
    generator = render.generator

    def noted(*key: object) -> np.random.Generator:
        keys.append(key)
        return generator(*key)

    monkeypatch.setattr(render, "generator", noted)
    monkeypatch.setattr(render, "play", lambda pedal, wave, *_: wave)
    return keys


def heard_at(monkeypatch: pytest.MonkeyPatch, is_heard: Callable[[int], bool]) -> list[int]:
    """A pedal is heard where ``is_heard`` of the number of times that was asked; those numbers."""
    asked: list[int] = []

    def change_db(before: object, after: object) -> float:
        asked.append(len(asked) + 1)
        return 0.0 if is_heard(asked[-1]) else -100.0

    monkeypatch.setattr(render, "change_db", change_db)
    return asked


def test_no_two_tries_are_drawn_from_one_generator(
    drawn: list[tuple[object, ...]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every pedal is heard at its last setting but the last one never: all that can be tried."""
    asked = heard_at(monkeypatch, lambda n: n % SETTINGS == 0 and n % (3 * SETTINGS) != 0)
    assert draw_and_render(SPEC, riff(SPEC.n_samples), 3, 0, "train", 0) is None
    assert len(asked) == ORDERS * 3 * SETTINGS
    assert len(drawn) == ORDERS * (2 + 3 * (SETTINGS - 1))
    assert len(set(drawn)) == len(drawn)


def test_tries_are_numbered_as_they_always_were(
    drawn: list[tuple[object, ...]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Pinned: other numbers are other data from the same seed."""
    heard_at(monkeypatch, lambda n: n in (3, 4))
    draw_and_render(SPEC, riff(SPEC.n_samples), 3, 0, "train", 5)
    keys = [(0, "train", 5, "names", 0), (0, "train", 5, "settings", 0)]
    first, third = (2, 3), (18, 19, 20, 21, 22, 23, 24)
    keys += [(0, "train", 5, "settings", seat) for seat in (*first, *third)]
    assert drawn[: len(keys) + 2] == [
        *keys,
        (0, "train", 5, "names", 1),
        (0, "train", 5, "settings", 4096),
    ]


@pytest.mark.usefixtures("drawn")
def test_held_out_orders_are_for_the_test_split_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(render, "change_db", lambda before, after: 0.0)
    held = ("chorus", "delay")
    spec = RenderSpec(ChainSpec(held, {2: 1.0}, held_out=(held,)), clip_s=0.1, run_in_s=0.0)
    dry = riff(spec.n_samples)
    found: dict[str, set[tuple[str, ...]]] = {split: set() for split in SPLITS}
    for split in SPLITS:
        for position in range(20):
            wet = draw_and_render(spec, dry, 2, 0, split, position)
            assert wet is not None
            found[split].add(wet.chain.names)
    assert found["train"] == found["valid"] == {held[::-1]}
    assert found["test"] == {held, held[::-1]}


@pytest.mark.usefixtures("drawn")
def test_a_pedal_that_is_just_heard_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(render, "change_db", lambda before, after: SPEC.audible_db)
    wet = draw_and_render(SPEC, riff(SPEC.n_samples), 3, 0, "train", 0)
    assert wet is not None
    assert wet.redrawn == ()


def test_a_level_that_is_set_never_leaves_full_scale() -> None:
    pedal = PEDALS["delay"].example("delay")
    loud = play(pedal, riff(), RATE_HZ, 0.5)
    assert np.abs(loud).max() == 1.0
    soft = play(pedal, riff(), RATE_HZ, 0.01)
    assert np.sqrt(np.mean(np.square(soft))) == pytest.approx(0.01, rel=1e-3)


def test_all_orders_are_played_only_where_they_are_asked_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(classes, "play_orders", lambda *_: pytest.fail("played every order"))
    chain = Chain(tuple(PEDALS[name].example(name) for name in ("delay", "distortion")))
    stages = [riff()]
    for pedal in chain.pedals:
        stages.append(play(pedal, stages[-1], RATE_HZ))
    found = classes.order_class(stages, chain, RATE_HZ, skip=0, alike_db=0.5, all_orders=False)
    assert len(found["swap_db"]) == 1


def test_a_swap_that_lies_on_the_threshold_is_not_heard() -> None:
    on_it = (0.5,) * len(LEVELS)
    entry = PairMeasure(("chorus", "delay"), 40, on_it, on_it, on_it, on_it)
    assert commutes(entry, Rule(0.5))
    assert not commutes(entry, Rule(0.49))
