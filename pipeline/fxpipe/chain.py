"""ChainSpec (what may happen) -> Chain (what did): numbers only, seeded, no audio.

Every draw comes from a generator seeded by (run seed, split, position, purpose, attempt), so a
clip is the same on any number of workers and in any order.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from fxpipe.pedals import FAMILIES, PEDALS, from_unit, pool_of
from fxtrain.contract import SPLITS, Chain, Pedal, UsageError, unknown_name

ORDER_POLICIES = ("uniform", "realistic", "fixed")
MAX_HELD_OUT_DRAWS = 1000
PURPOSES = ("clip", "performance", "names", "settings", "noise")


@dataclass(frozen=True)
class ChainSpec:
    """What chains may be drawn.

    ``lengths`` maps a chain length to its weight; ``weights`` a pedal to its weight (1 where not
    named). ``order``: "uniform" over all orders, "realistic" around the textbook order (at
    ``temperature`` 1 neighbouring families swap often, at 0.1 hardly ever), "fixed" the textbook
    order. ``ranges`` narrows a knob: pedal -> parameter -> (low, high). ``held_out`` orders are
    drawn for the test split only: the unseen-order test.
    """

    pool: tuple[str, ...]
    lengths: dict[int, float] = field(default_factory=lambda: dict.fromkeys(range(1, 6), 1.0))
    weights: dict[str, float] = field(default_factory=dict)
    order: str = "uniform"
    temperature: float = 1.0
    repeats: bool = False
    ranges: dict[str, dict[str, tuple[float, float]]] = field(default_factory=dict)
    held_out: tuple[tuple[str, ...], ...] = ()

    def __post_init__(self) -> None:
        pool_of(self.pool)
        if self.order not in ORDER_POLICIES:
            raise UsageError(unknown_name("order policy", self.order, ORDER_POLICIES))
        if self.temperature <= 0:
            raise UsageError(f"temperature is {self.temperature}, expected more than 0")
        if not self.lengths or min(self.lengths) < 0:
            raise UsageError(f"chain lengths are {sorted(self.lengths)}, expected 0 or more")
        if not self.repeats and max(self.lengths) > len(self.pool):
            raise UsageError(
                f"a chain of {max(self.lengths)} needs repeats or a larger pool: "
                f"this one has {len(self.pool)} pedals"
            )
        for what, table in (("length", self.lengths), ("pedal", self.weights)):
            if min(table.values(), default=0.0) < 0 or (table and not any(table.values())):
                raise UsageError(f"{what} weights must be 0 or more and not all 0: {table}")
        for name in {name for order in self.held_out for name in order}:
            if name not in self.pool:
                raise UsageError(unknown_name("pedal in held-out orders", name, self.pool))
        for name in self.weights:
            if name not in self.pool:
                raise UsageError(unknown_name("pedal in weights", name, self.pool))
        for name, knobs in self.ranges.items():
            if name not in self.pool:
                raise UsageError(unknown_name("pedal in ranges", name, self.pool))
            params = {param.name: param for param in PEDALS[name].params}
            for key, (low, high) in knobs.items():
                if key not in params:
                    raise UsageError(f"pedal {name!r}: {unknown_name('parameter', key, params)}")
                if not params[key].low <= low <= high <= params[key].high:
                    raise UsageError(
                        f"pedal {name!r}: {key} range {low:g} to {high:g} does not lie within "
                        f"{params[key].low:g} to {params[key].high:g} {params[key].unit}"
                    )

    @property
    def max_length(self) -> int:
        return max(length for length, weight in self.lengths.items() if weight > 0)


def generator(
    run_seed: int, split: str, position: int, purpose: str, attempt: int = 0
) -> np.random.Generator:
    """The clip's own generator for one purpose; SeedSequence's mixing is stable by NumPy policy."""
    key = [run_seed, SPLITS.index(split), position, PURPOSES.index(purpose), attempt]
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence(key)))


def draw_length(spec: ChainSpec, rng: np.random.Generator) -> int:
    lengths = sorted(spec.lengths)
    weights = np.array([spec.lengths[length] for length in lengths])
    return int(rng.choice(lengths, p=weights / weights.sum()))


def draw_names(
    spec: ChainSpec, length: int, rng: np.random.Generator, *, test: bool
) -> tuple[str, ...]:
    """Which pedals, in which order. Held-out orders are drawn again unless ``test``."""
    weights = np.array([spec.weights.get(name, 1.0) for name in spec.pool])
    for _ in range(MAX_HELD_OUT_DRAWS):
        chosen = rng.choice(spec.pool, size=length, replace=spec.repeats, p=weights / weights.sum())
        names = _ordered([str(name) for name in chosen], spec, rng)
        if test or names not in spec.held_out:
            return names
    raise UsageError(
        f"held-out orders leave nothing to train on at length {length}: {MAX_HELD_OUT_DRAWS} draws "
        "were all held out; hold out fewer orders"
    )


def _ordered(names: list[str], spec: ChainSpec, rng: np.random.Generator) -> tuple[str, ...]:
    if spec.order == "uniform":
        return tuple(names[i] for i in rng.permutation(len(names)))
    places = {name: place for place, name in enumerate(PEDALS)}
    names = sorted(names, key=places.__getitem__)
    if spec.order == "fixed":
        return tuple(names)
    families = np.array([FAMILIES.index(PEDALS[name].family) for name in names], float)
    noisy = families + spec.temperature * rng.gumbel(size=len(names))
    return tuple(names[i] for i in np.argsort(noisy, kind="stable"))


def draw_settings(spec: ChainSpec, names: Sequence[str], rng: np.random.Generator) -> Chain:
    """Every knob uniform along its own scale, within the spec's range."""
    return Chain(tuple(_draw_pedal(spec, name, rng) for name in names))


def _draw_pedal(spec: ChainSpec, name: str, rng: np.random.Generator) -> Pedal:
    settings = {}
    for param in PEDALS[name].params:
        low, high = spec.ranges.get(name, {}).get(param.name, (param.low, param.high))
        narrowed = dataclasses.replace(param, low=low, high=high)
        settings[param.name] = from_unit(narrowed, float(rng.random()))
    return Pedal(name, settings)
