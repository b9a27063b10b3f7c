"""ChainSpec (what may happen) -> Chain (what did): numbers only, seeded, no audio.

Every draw comes from a generator seeded by (run seed, split, position, purpose, attempt), so a
clip is the same on any number of workers and in any order.
"""

from __future__ import annotations

import bisect
import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import accumulate

import numpy as np

from fxpipe.chains.balance import BALANCES, MAX_SETS, Balance, solve_balance
from fxpipe.chains.sets import PedalSets, pedal_sets
from fxpipe.pedals import FAMILIES, MAKES, PEDALS, PluginPedal, pool_of, register
from fxtrain.contract import (
    PAD,
    SPLITS,
    Chain,
    Param,
    Pedal,
    UsageError,
    arrow,
    from_unit,
    shorten,
    to_unit,
    unknown_name,
)

ORDER_POLICIES = ("uniform", "realistic", "fixed")
KNOB_POLICIES = ("uniform", "linear", "typical")
KNOB_SCALES = (*KNOB_POLICIES, "log")
MAX_HELD_OUT_DRAWS = 1000
PURPOSES = ("clip", "performance", "names", "settings", "noise", "phrase", "guitar")

CHAIN_KEYS = {
    "pool": "a pool's name, or a list of pedals",
    "lengths": "chain length = weight; also a string: `1-5`, `2,3`, `1:1,2:3`",
    "weights": "pedal = weight, 1 where not named, 0 for never; also a string: `reverb:2,gate:0.2`",
    "order": "`uniform` over all orders, `realistic` around the textbook order, `fixed` is it",
    "temperature": "of `realistic`: at 1 neighbouring families swap often, at 0.1 hardly ever",
    "repeats": "may a pedal stand twice in a chain",
    "ranges": "pedal.parameter = [low, high], within what the pedal has",
    "held_out": "whole orders that are drawn for the test split only",
    "exclusive": "groups of pedals of which a chain holds at most one",
    "balance": "what the weights are: odds of each pick (`weights`), or shares that the whole set "
    "(`pedals`), every chain length (`lengths`) or every pair (`pairs`) must reach",
    "knobs": "how settings are drawn: `uniform` along the knob's own scale, `linear` in its value, "
    "`typical` around the pedal's typical setting (a triangle along the scale)",
    "scales": "pedal.parameter = a word of `knobs`, or `log`, for this knob alone",
    "makes": "share of pedals that are another make than ours: the same knobs, other circuits",
    "plugins": "written from `[[pedal]]` tables (docs/vst3.md), not by hand",
}


@dataclass(frozen=True)
class Knob:
    """A parameter as it is drawn: its range and scale, and where a triangle would have its peak."""

    param: Param
    peak: float | None = None

    def turn(self, u: float) -> float:
        """The value at ``u`` in [0, 1), in the parameter's unit."""
        if self.peak is not None:
            below = u < self.peak
            u = math.sqrt(u * self.peak) if below else 1 - math.sqrt((1 - u) * (1 - self.peak))
        return from_unit(self.param, u)


@dataclass(frozen=True)
class ChainSpec:
    """What chains may be drawn; ``CHAIN_KEYS`` says what each field means, and what a file may have
    in its place: a pool's name, strings of lengths and weights.

    Raises UsageError where no chain of an asked length can be drawn.
    """

    pool: tuple[str, ...]
    lengths: dict[int, float] = field(default_factory=lambda: dict.fromkeys(range(1, 6), 1.0))
    weights: dict[str, float] = field(default_factory=dict)
    order: str = "uniform"
    temperature: float = 1.0
    repeats: bool = False
    ranges: dict[str, dict[str, tuple[float, float]]] = field(default_factory=dict)
    held_out: tuple[tuple[str, ...], ...] = ()
    exclusive: tuple[tuple[str, ...], ...] = ()
    balance: str = "weights"
    knobs: str = "uniform"
    scales: dict[str, dict[str, str]] = field(default_factory=dict)
    makes: float = 0.0
    plugins: tuple[PluginPedal, ...] = ()

    def __post_init__(self) -> None:
        register(self.plugins)
        _check_pool(self.pool)
        _check_words(self)
        _check_weights(self)
        _check_knobs(self)
        _check_lengths(self)
        _check_held_out(self)
        if self.balance != "weights":
            _check_balance(self)

    @property
    def max_length(self) -> int:
        return max(self.length_p)

    @cached_property
    def length_p(self) -> dict[int, float]:
        """Probability of every length that can be drawn."""
        total = sum(self.lengths.values())
        return {n: self.lengths[n] / total for n in sorted(self.lengths) if self.lengths[n] > 0}

    @cached_property
    def sets(self) -> PedalSets:
        """Which pedals may stand together, of those whose weight is not 0."""
        names = [name for name in self.pool if self.weights.get(name, 1.0) > 0]
        return pedal_sets(names, self.exclusive, repeats=self.repeats)

    @cached_property
    def solved(self) -> Balance | None:
        """Set tables that meet the balance target; None where pedals are picked one by one."""
        if self.balance == "weights":
            return None
        return solve_balance(self.balance, self.sets, self.length_p, self._weights)

    def allows(self, names: Sequence[str]) -> bool:
        """Whether this chain may be drawn at all, for the test split at least."""
        available = self.sets.all
        for name in names:
            if name not in self.sets.names:
                return False
            pick = self.sets.names.index(name)
            if not available >> pick & 1:
                return False
            available &= ~self.sets.rules_out[pick]
        in_order = self.order != "fixed" or list(names) == sorted(names, key=textbook_place)
        return len(names) in self.length_p and in_order

    def n_chains(self, length: int) -> int:
        """How many different chains of ``length`` may be drawn, held-out ones among them."""
        return self.sets.n_sets(length) if self.order == "fixed" else self.sets.n_orders(length)

    @cached_property
    def drawn_knobs(self) -> dict[str, tuple[Knob, ...]]:
        """Pedal -> its parameters as they are drawn."""
        return {
            name: tuple(self._knob(name, param) for param in PEDALS[name].params)
            for name in self.pool
        }

    def _knob(self, name: str, param: Param) -> Knob:
        low, high = self.ranges.get(name, {}).get(param.name, (param.low, param.high))
        policy = "uniform" if param.unit == "cycles" else self.knobs  # a phase is no knob
        how = self.scales.get(name, {}).get(param.name, policy)
        if how == "typical":
            typical = from_unit(param, PEDALS[name].typical.get(param.name, 0.5))
            narrowed = dataclasses.replace(param, low=low, high=high)
            return Knob(narrowed, to_unit(narrowed, min(max(typical, low), high)))
        scale = param.scale if how == "uniform" or param.scale == "choice" else how
        return Knob(dataclasses.replace(param, low=low, high=high, scale=scale))

    @cached_property
    def _weights(self) -> tuple[float, ...]:
        return tuple(self.weights.get(name, 1.0) for name in self.sets.names)

    @cached_property
    def pick_p(self) -> tuple[float, ...]:
        weights = np.array(self._weights)
        return tuple((weights / weights.sum()).tolist())

    @cached_property
    def length_law(self) -> tuple[list[int], list[float]]:
        """What draws a length: all of them, and the cumulative odds of ``length_p``."""
        return list(self.length_p), _cumulative(list(self.length_p.values()))

    @cached_property
    def _open_picks(self) -> dict[tuple[int, int], tuple[tuple[int, ...], list[float]]]:
        """(available, still missing) -> pedals that may come next and their cumulative odds."""
        return {}

    def next_pick(self, available: int, n_missing: int, u: float) -> int:
        """The pick at ``u`` in [0, 1) among those that leave the chain possible, by weight."""
        key = (available, n_missing)
        if key not in self._open_picks:
            picks = self.sets.next_picks(available, n_missing)
            odds = [self._weights[i] for i in picks]
            self._open_picks[key] = picks, _cumulative(odds)
        picks, cumulative = self._open_picks[key]
        return picks[bisect.bisect_right(cumulative, u)]


def _cumulative(odds: Sequence[float]) -> list[float]:
    """Running sums as shares of the whole: a uniform number falls into its odds' slot."""
    sums = list(accumulate(odds))
    return [value / sums[-1] for value in sums]


def _check_pool(pool: Sequence[str]) -> None:
    """Of a word its letters would be drawn, and of a set other chains in every process."""
    if isinstance(pool, str) or not isinstance(pool, Sequence) or len({*pool}) < len(pool):
        raise UsageError(
            f"pool is {shorten(pool)}, expected a tuple of different pedals, as "
            "fxpipe.pedals.pool_of makes one of a pool's name"
        )
    pool_of(pool)


def _check_words(spec: ChainSpec) -> None:
    for what, word, known in (
        ("order policy", spec.order, ORDER_POLICIES),
        ("balance", spec.balance, BALANCES),
        ("way to draw knobs", spec.knobs, KNOB_POLICIES),
    ):
        if word not in known:
            raise UsageError(unknown_name(what, word, known))
    named = (
        ("held-out orders", [name for order in spec.held_out for name in order]),
        ("exclusive groups", [name for group in spec.exclusive for name in group]),
        ("weights", list(spec.weights)),
        ("ranges", list(spec.ranges)),
        ("scales", list(spec.scales)),
    )
    for where, names in named:
        for name in names:
            if name not in spec.pool:
                raise UsageError(unknown_name(f"pedal in {where}", name, spec.pool))
    for group in spec.exclusive:
        if len(set(group)) < len(group) or len(group) < (1 if spec.repeats else 2):
            raise UsageError(
                f"exclusive group {', '.join(group) or '(empty)'!r}: expected two or more "
                "different pedals, of which a chain holds at most one"
            )


def _check_weights(spec: ChainSpec) -> None:
    if not 1e-9 <= spec.temperature <= 1e9:
        raise UsageError(f"temperature is {spec.temperature}, expected more than 0, 1e9 at most")
    if not spec.lengths or min(spec.lengths) < 0:
        raise UsageError(f"chain lengths are {sorted(spec.lengths)}, expected 0 or more")
    if max(spec.lengths) > PAD:
        raise UsageError(f"a chain of {shorten(max(spec.lengths))} pedals: {PAD} is the longest")
    pedals = {name: spec.weights.get(name, 1.0) for name in spec.pool}
    for what, table in (("length", spec.lengths), ("pedal", pedals)):
        if not all(math.isfinite(w) and w >= 0 for w in table.values()) or not any(table.values()):
            raise UsageError(f"{what} weights must be 0 or more and not all 0: {table}")
        if not all(w == 0 or 1e-9 <= w <= 1e9 for w in table.values()):
            raise UsageError(f"{what} weights must be 0 or lie within 1e-9 and 1e9: {table}")


def _check_knobs(spec: ChainSpec) -> None:
    if not 0 <= spec.makes <= 1:
        raise UsageError(f"makes is {spec.makes:g}, expected a share from 0 to 1")
    for name in (*spec.ranges, *spec.scales):
        params = {param.name: param for param in PEDALS[name].params}
        for key in (*spec.ranges.get(name, ()), *spec.scales.get(name, ())):
            if key not in params:
                raise UsageError(f"pedal {name!r}: {unknown_name('parameter', key, params)}")
            param = params[key]
            low, high = spec.ranges.get(name, {}).get(key, (param.low, param.high))
            if low > high:
                raise UsageError(
                    f"pedal {name!r}: {key} range {low:g} to {high:g}: the first must not be larger"
                )
            if not param.low <= low <= high <= param.high:
                raise UsageError(
                    f"pedal {name!r}: {key} range {low:g} to {high:g} does not lie within "
                    f"{param.low:g} to {param.high:g} {param.unit}"
                )
            how = spec.scales.get(name, {}).get(key, "uniform")
            if how not in KNOB_SCALES:
                raise UsageError(
                    f"pedal {name!r}, {key}: {unknown_name('scale', how, KNOB_SCALES)}"
                )
            choice = how in ("linear", "log") and param.scale == "choice"
            if choice or (how == "log" and low <= 0):
                raise UsageError(
                    f"pedal {name!r}: {key} goes from {low:g} to {high:g} {param.unit} "
                    f"({param.scale}) and cannot be drawn {how!r}; leave it 'uniform'"
                )


def _check_lengths(spec: ChainSpec) -> None:
    longest = spec.sets.longest()
    for length in spec.length_p:
        if length > longest:
            limits = (
                "exclusions and weights of 0" if longest < len(spec.pool) else "without repeats"
            )
            raise UsageError(
                f"a chain of {length} needs repeats or a larger pool: this one has "
                f"{len(spec.pool)} pedal(s) and, {limits}, at most {longest} in a chain"
            )


def _check_held_out(spec: ChainSpec) -> None:
    held = set(spec.held_out)
    for order in spec.held_out:
        if not spec.allows(order):
            raise UsageError(
                f"held-out order {arrow(order)} can never be drawn: its length, a weight of 0, "
                "repeats, an exclusive group or the fixed order forbid it"
            )
    for length in spec.length_p:
        n_held = sum(len(order) == length for order in held)
        if n_held == spec.n_chains(length):
            raise UsageError(
                f"held-out orders leave nothing to train on at length {length}: all {n_held} are "
                "held out; hold out fewer orders"
            )


def _check_balance(spec: ChainSpec) -> None:
    n_sets = sum(spec.sets.n_sets(length) for length in spec.length_p)
    if n_sets > MAX_SETS:
        raise UsageError(
            f"balance {spec.balance!r} looks at every possible set of pedals, here {n_sets}, at "
            f"most {MAX_SETS}; take fewer pedals, shorter chains, or balance 'weights'"
        )
    if spec.balance == "pairs" and (spec.repeats or spec.max_length < 2):
        raise UsageError("balance 'pairs' needs chains of 2 or more, without repeats")


def generator(
    run_seed: int, split: str, position: int, purpose: str, attempt: int = 0
) -> np.random.Generator:
    """The clip's own generator for one purpose; SeedSequence's mixing is stable by NumPy policy."""
    if split not in SPLITS:
        raise UsageError(unknown_name("split", split, SPLITS))
    key = [run_seed, SPLITS.index(split), position, PURPOSES.index(purpose), attempt]
    # The same words as an array, where each fits one, are mixed three times faster.
    entropy = np.array(key, np.uint32) if max(key) < 2**32 else key
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence(entropy)))


def draw_order(spec: ChainSpec, run_seed: int, split: str, position: int) -> tuple[str, ...]:
    """The clip's pedals before anyone listens: the order that `fxpipe render` tries first."""
    length = draw_length(spec, generator(run_seed, split, position, "clip"))
    rng = generator(run_seed, split, position, "names")
    return draw_names(spec, length, rng, test=split == "test")


def draw_length(spec: ChainSpec, rng: np.random.Generator) -> int:
    lengths, cumulative = spec.length_law
    return lengths[bisect.bisect_right(cumulative, rng.random())]


def draw_names(
    spec: ChainSpec, length: int, rng: np.random.Generator, *, test: bool
) -> tuple[str, ...]:
    """Which pedals, in which order. Held-out orders are drawn again unless ``test``.

    Raises UsageError for a ``length`` beyond the spec's longest.
    """
    if length > spec.max_length:
        raise UsageError(f"a chain of {length}, but the spec's longest is {spec.max_length}")
    for _ in range(MAX_HELD_OUT_DRAWS):
        names = _ordered([spec.sets.names[i] for i in _pick(spec, length, rng)], spec, rng)
        if test or names not in spec.held_out:
            return names
    raise UsageError(
        f"held-out orders leave next to nothing to train on at length {length}: "
        f"{MAX_HELD_OUT_DRAWS} draws were all held out; hold out fewer orders"
    )


def _pick(spec: ChainSpec, length: int, rng: np.random.Generator) -> Sequence[int]:
    """Indices into ``spec.sets.names``, in no order that means anything."""
    if spec.solved is not None:
        return spec.solved.tables[length].pick(rng.random())
    if not spec.exclusive:
        return _successive(spec.pick_p, length, rng, repeats=spec.repeats)
    picks: list[int] = []
    available = spec.sets.all
    for n_missing in range(length, 0, -1):
        picks.append(spec.next_pick(available, n_missing, rng.random()))
        available &= ~spec.sets.rules_out[picks[-1]]
    return picks


def _successive(
    p: Sequence[float], n: int, rng: np.random.Generator, *, repeats: bool
) -> list[int]:
    """What ``rng.choice(len(p), n, replace=repeats, p=p)`` draws, number for number, but faster."""
    picks: list[int] = []
    odds = list(p)
    while len(picks) < n:
        cumulative = _cumulative(odds)
        for u in rng.random(n - len(picks)).tolist():
            pick = bisect.bisect_right(cumulative, u)
            if repeats or pick not in picks:
                picks.append(pick)
                odds[pick] = 0.0
    return picks


def _ordered(names: list[str], spec: ChainSpec, rng: np.random.Generator) -> tuple[str, ...]:
    if spec.order == "uniform":
        return tuple(names[i] for i in rng.permutation(len(names)))
    names = sorted(names, key=textbook_place)
    if spec.order == "fixed":
        return tuple(names)
    families = np.array([FAMILIES.index(PEDALS[name].family) for name in names], float)
    noisy = families + spec.temperature * rng.gumbel(size=len(names))
    return tuple(names[i] for i in np.argsort(noisy, kind="stable"))


def textbook_place(name: str) -> int:
    """0 for the pedal nearest the guitar on a textbook board."""
    return list(PEDALS).index(name)


def draw_settings(spec: ChainSpec, names: Sequence[str], rng: np.random.Generator) -> Chain:
    """Every knob within its range, drawn as the spec says, and what is inside of other makes."""
    return Chain(tuple(_draw_pedal(spec, name, rng) for name in names))


def _draw_pedal(spec: ChainSpec, name: str, rng: np.random.Generator) -> Pedal:
    knobs = spec.drawn_knobs[name]
    turns = rng.random(len(knobs)).tolist()
    settings = {knob.param.name: knob.turn(u) for knob, u in zip(knobs, turns, strict=True)}
    if spec.makes and rng.random() < spec.makes and name in MAKES:
        inside = MAKES[name].inside
        turns = rng.random(len(inside)).tolist()
        settings |= {
            param.name: from_unit(param, u) for param, u in zip(inside, turns, strict=True)
        }
    return Pedal(name, settings)
