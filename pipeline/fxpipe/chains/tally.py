"""What a spec draws, counted before anything is rendered: histograms, starved cells, coverage.

Shapes: P pedal of the pool, L position in a chain, B bin of a knob's travel.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from fxpipe.chains.chain import ChainSpec, draw_order, draw_settings, generator, textbook_place
from fxpipe.pedals import PEDALS
from fxtrain.contract import SPLITS, Chain, Param, arrow

N_BINS = 8
MAX_TURNED = 10_000
"""Chains of a split whose settings are drawn too: a bin of a knob in 3 of 10 pedals then holds
about 375, good to 5 %, and 50,000 chains are counted in seconds."""

MIN_COUNT = 20
"""A count of n has a standard error of about sqrt(n) (Poisson). Under 20 that is more than 22 %:
chance decides how often a model sees the cell, and another seed would decide otherwise."""

MIN_OF_MEDIAN = 0.25
"""Four times rarer than its peers, a cell hardly shows in a loss that averages over all of them."""


@dataclass(frozen=True)
class Tally:
    """Histograms of the chains of one split, in the order of the spec's pool.

    ``positions`` int [P, L]: how often a pedal stands at a position. ``pairs`` int [P, P]: how
    often the row's pedal stands before the column's, neighbours or not. ``knobs``: pedal ->
    parameter -> int [B], equal steps of the drawn range along the knob's own scale.
    """

    n_chains: int
    lengths: dict[int, int]
    positions: np.ndarray
    pairs: np.ndarray
    knobs: dict[str, dict[str, np.ndarray]]
    orders: frozenset[tuple[str, ...]]

    @property
    def pedals(self) -> np.ndarray:
        """int [P]: how often each pedal stands in a chain."""
        total: np.ndarray = self.positions.sum(axis=1)
        return total


@dataclass(frozen=True)
class Starved:
    """Cells of one kind ("pedals", "positions", "order pairs") that a model would hardly see."""

    kind: str
    n_cells: int
    cells: dict[str, int]

    def __str__(self) -> str:
        rarest = sorted(self.cells.items(), key=lambda item: item[1])
        shown = ", ".join(f"{cell}: {n}" for cell, n in rarest[:5])
        more = f", … {len(rarest) - 5} more" if len(rarest) > 5 else ""
        return (
            f"{len(self.cells)} of {self.n_cells} {self.kind} "
            f"{'is' if len(self.cells) == 1 else 'are'} starved in train "
            f"(under {MIN_COUNT}, or a quarter of their median): {shown}{more}"
        )


@dataclass(frozen=True)
class Coverage:
    """Of one chain length in a split: how many chains, how many different ones, of how many."""

    n_drawn: int
    n_distinct: int
    n_possible: int


def draw_tallies(spec: ChainSpec, n_clips: Mapping[str, int], seed: int) -> dict[str, Tally]:
    """The chains `fxpipe render` would try first, by split, and the settings of some.

    Inaudible pedals are drawn again while rendering, which moves shares a little; ``tally`` of
    the records counts what came of it.
    """
    tallies = {}
    for split in SPLITS:
        orders = [draw_order(spec, seed, split, i) for i in range(n_clips[split])]
        turned = [
            draw_settings(spec, names, generator(seed, split, i, "settings"))
            for i, names in enumerate(orders[:MAX_TURNED])
        ]
        tallies[split] = tally(spec, orders, turned)
    return tallies


def tally(spec: ChainSpec, orders: Sequence[tuple[str, ...]], turned: Sequence[Chain]) -> Tally:
    """Count ``orders``, and the settings of ``turned``, the same chains or the first of them."""
    place = {name: i for i, name in enumerate(spec.pool)}
    longest = max(spec.max_length, max(map(len, orders), default=0))
    ids = np.full((len(orders), longest), len(place), np.int64)  # one past the pool: no pedal
    for row, order in zip(ids, orders, strict=True):
        row[: len(order)] = [place[name] for name in order]
    values: dict[str, list[Mapping[str, float]]] = {name: [] for name in spec.pool}
    for chain in turned:
        for pedal in chain.pedals:
            values[pedal.name].append(pedal.settings)
    n = len(place) + 1
    positions = np.zeros((n, longest), np.int64)
    for column in range(longest):
        positions[:, column] = np.bincount(ids[:, column], minlength=n)
    pairs = np.zeros(n * n, np.int64)
    for i, j in itertools.combinations(range(longest), 2):
        pairs += np.bincount(ids[:, i] * n + ids[:, j], minlength=n * n)
    lengths = np.bincount([len(order) for order in orders], minlength=longest + 1)
    return Tally(
        n_chains=len(orders),
        lengths={length: int(lengths[length]) for length in range(longest + 1) if lengths[length]},
        positions=positions[:-1],
        pairs=pairs.reshape(n, n)[:-1, :-1],
        knobs={
            name: {
                param.name: _histogram(param, [settings[param.name] for settings in values[name]])
                for param in knob_axes(spec, name)
            }
            for name in spec.pool
        },
        orders=frozenset(orders),
    )


def knob_axes(spec: ChainSpec, name: str) -> list[Param]:
    """A pedal's parameters on their own scales, with the range the spec draws from."""
    return [
        dataclasses.replace(param, low=knob.param.low, high=knob.param.high)
        for param, knob in zip(PEDALS[name].params, spec.drawn_knobs[name], strict=True)
    ]


def _histogram(param: Param, values: Sequence[float]) -> np.ndarray:
    """int [B] along ``param``'s scale; a knob that stands still has one bin of all."""
    at, low, high = np.asarray(values, float), param.low, param.high
    if low == high:
        return np.array([len(at)])
    if param.scale == "log":
        at, low, high = np.log(at), float(np.log(low)), float(np.log(high))
    counts: np.ndarray = np.histogram(np.clip(at, low, high), N_BINS, (low, high))[0]
    return counts


def possible_cells(spec: ChainSpec) -> tuple[np.ndarray, np.ndarray]:
    """(bool [P, L], bool [P, P]): positions and order pairs that the spec allows at all.

    Under the fixed order a position counts as possible where enough pedals may stand before and
    after it, each side taken alone.
    """
    sets, lengths = spec.sets, list(spec.length_p)
    positions = np.zeros((len(spec.pool), spec.max_length), bool)
    pairs = np.zeros((len(spec.pool), len(spec.pool)), bool)
    at = {name: spec.pool.index(name) for name in sets.names}
    for a, one in enumerate(sets.names):
        rest = sets.all & ~sets.rules_out[a]
        before = sum(1 << i for i, name in enumerate(sets.names) if _may_precede(spec, name, one))
        after = sum(1 << i for i, name in enumerate(sets.names) if _may_precede(spec, one, name))
        for length, position in ((n, i) for n in lengths for i in range(n)):
            positions[at[one], position] |= (
                sets.longest(rest) >= length - 1
                and sets.longest(rest & before) >= position
                and sets.longest(rest & after) >= length - 1 - position
            )
        for b, other in enumerate(sets.names):
            if rest >> b & 1 and _may_precede(spec, one, other):
                left = sets.longest(rest & ~sets.rules_out[b])
                pairs[at[one], at[other]] = any(left >= length - 2 >= 0 for length in lengths)
    return positions, pairs


def _may_precede(spec: ChainSpec, one: str, other: str) -> bool:
    return spec.order != "fixed" or textbook_place(one) <= textbook_place(other)


def find_starved(spec: ChainSpec, train: Tally) -> list[Starved]:
    """Possible cells seen less than ``MIN_COUNT`` times or less than a quarter of the median.

    Positions are compared within each position: late ones only long chains have. A data set that
    is all test starves nobody.
    """
    if not train.n_chains:
        return []
    positions, pairs = possible_cells(spec)
    columns = [
        _cells(
            train.positions[:, i],
            positions[:, i],
            [f"{name} in place {i + 1}" for name in spec.pool],
        )
        for i in range(positions.shape[1])
    ]
    names = [arrow(pair) for pair in itertools.product(spec.pool, repeat=2)]
    kinds = {
        "pedals": [_cells(train.pedals, np.any(positions, axis=1), spec.pool)],
        "positions": columns,
        "order pairs": [_cells(train.pairs.ravel(), pairs.ravel(), names)],
    }
    found = []
    for kind, groups in kinds.items():
        cells: dict[str, int] = {}
        for group in groups:
            limit = max(MIN_COUNT, MIN_OF_MEDIAN * float(np.median(list(group.values()) or [0])))
            cells |= {cell: n for cell, n in group.items() if n < limit}
        if cells:
            found.append(Starved(kind, sum(map(len, groups)), cells))
    return found


def _cells(counts: np.ndarray, possible: np.ndarray, names: Iterable[str]) -> dict[str, int]:
    listed = zip(names, counts.tolist(), possible.tolist(), strict=True)
    return {name: count for name, count, may in listed if may}


def coverage(spec: ChainSpec, seen: Tally, split: str = "train") -> dict[int, Coverage]:
    """By chain length; chains that are held out for test do not count as possible elsewhere."""
    distinct = dict.fromkeys(spec.length_p, 0)
    for order in seen.orders:
        distinct[len(order)] += 1
    held = [len(order) for order in set(spec.held_out) if split != "test"]
    return {
        length: Coverage(seen.lengths.get(length, 0), n, spec.n_chains(length) - held.count(length))
        for length, n in distinct.items()
    }
