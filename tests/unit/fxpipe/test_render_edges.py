"""Draws of their own for every try, and what lies exactly on a limit."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from fixtures.audio import RATE_HZ, riff
from fxpipe import render
from fxpipe.chains.chain import ChainSpec
from fxpipe.errors import RenderError
from fxpipe.orders import classes
from fxpipe.orders.commute import LEVELS, PairMeasure, Rule, commutes
from fxpipe.pedals import PEDALS, POOLS
from fxpipe.plan import make_plan
from fxpipe.render import ORDERS, RENDER_KEYS, SETTINGS, RenderSpec, draw_and_render, play
from fxpipe.sources import open_source
from fxtrain.contract import SPLITS, Chain, UsageError

SPEC = RenderSpec(ChainSpec(POOLS["stompbox"]), clip_s=0.2, run_in_s=0.0)


def test_every_setting_of_a_render_has_its_meaning() -> None:
    assert [*RENDER_KEYS] == [field.name for field in dataclasses.fields(RenderSpec)][1:]


def test_every_setting_of_a_render_makes_another_data_set() -> None:
    others: dict[str, Any] = {"chain": ChainSpec(POOLS["stompbox"], makes=0.5), "classes": True}
    for name, value in vars(SPEC).items():
        if isinstance(value, tuple):
            others[name] = (value[0], value[1] - 1)
        elif name not in others:
            others[name] = value + 0.25
    plan = make_plan(SPEC, open_source("synth"), 20, 0, progress=False)
    plans = [replace(plan, spec=replace(SPEC, **{name: v})) for name, v in others.items()]
    assert len({each.identity for each in (plan, *plans)}) == 1 + len(RENDER_KEYS) + 1


def test_settings_that_came_later_and_are_off_leave_the_identity_of_before(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("fxpipe.plan.identity_of", lambda told: told)
    told: Any = make_plan(SPEC, open_source("synth"), 20, 0, progress=False).identity
    assert not {"pedal_rms", "guitars", "band_limited"} & told["spec"].keys()
    assert "makes" not in told["spec"]["chain"]
    assert not {"phrases", "played", "guitars", "split_seed"} & told.keys()


@pytest.mark.parametrize(
    ("just", "beyond"),
    [
        ({"clip_s": 0.1}, {"clip_s": 0.099}),
        ({"clip_s": 60.0}, {"clip_s": 60.1}),
        ({"phrases": 1.0, "guitars": 1.0}, {"guitars": 1.01}),
        ({"sample_rate_hz": 192_000}, {"sample_rate_hz": 192_001}),
        ({"sample_rate_hz": 8000}, {"sample_rate_hz": 7999}),
        (
            {"classes": True, "chain": ChainSpec(POOLS["stompbox"], {6: 1.0})},
            {"classes": True, "chain": ChainSpec(POOLS["stompbox"], {7: 1.0})},
        ),
    ],
)
def test_what_a_render_may_just_be(just: dict[str, Any], beyond: dict[str, Any]) -> None:
    replace(SPEC, **just)
    with pytest.raises(UsageError):
        replace(SPEC, **beyond)


def test_seconds_are_the_nearest_number_of_samples() -> None:
    """0.7 s at 44.1 kHz are 30869.999999999996."""
    spec = replace(SPEC, clip_s=0.7, run_in_s=0.7)
    assert (spec.n_samples, spec.n_run_in) == (30_870, 30_870)


def test_a_pedal_that_swallows_its_input_is_silent_at_any_level(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pedal = PEDALS["delay"].example("delay")
    assert not np.any(play(pedal, np.zeros(4410, np.float32), RATE_HZ, 0.1))
    monkeypatch.setattr(render, "build_pedal", lambda *_: lambda wave: wave * np.float32(np.nan))
    with pytest.raises(RenderError, match=r"pedal 'delay' with .* gave a non-finite sample"):
        play(pedal, riff(), RATE_HZ)


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
