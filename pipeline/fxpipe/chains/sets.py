"""Which pedals may stand in one chain: possible sets, counted exactly, by bit masks. No draws.

A *set* here is the pedals of a chain without their order; where repeats are allowed a pedal may
be in it more than once.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache

UNLIMITED = 1 << 30
"""Longest chain where some pedal may be repeated without end."""


@dataclass(frozen=True)
class PedalSets:
    """``names`` that may be picked; ``rules_out[i]``: the bit mask of pedals that picking i ends.

    A pedal ends itself unless it may be repeated, and the partners it may not stand with.
    """

    names: tuple[str, ...]
    rules_out: tuple[int, ...]

    @property
    def all(self) -> int:
        """The mask of every pedal."""
        return (1 << len(self.names)) - 1

    @cached_property
    def _endless(self) -> int:
        return sum(1 << i for i, mask in enumerate(self.rules_out) if not mask)

    def longest(self, available: int | None = None) -> int:
        """Most pedals that one chain can take from ``available``."""
        mask = self.all if available is None else available
        return UNLIMITED if mask & self._endless else len(_polynomial(self.rules_out, mask)) - 1

    def next_picks(self, available: int, n_missing: int) -> tuple[int, ...]:
        """Pedals that may be picked now, so that a chain can still get its ``n_missing``."""
        return tuple(
            i
            for i in range(len(self.names))
            if available >> i & 1 and self.longest(available & ~self.rules_out[i]) >= n_missing - 1
        )

    def n_sets(self, length: int) -> int:
        return sum(
            n_once * _n_multisets(self._endless.bit_count(), length - k)
            for k, n_once in enumerate(self._once)
            if k <= length
        )

    def n_orders(self, length: int) -> int:
        """Distinct chains of ``length`` when every order is allowed."""
        n_endless = self._endless.bit_count()
        return sum(
            n_once * math.perm(length, k) * n_endless ** (length - k)
            for k, n_once in enumerate(self._once)
            if k <= length
        )

    @cached_property
    def _once(self) -> tuple[int, ...]:
        """By size: sets of the pedals that may stand only once."""
        return _polynomial(self.rules_out, self.all & ~self._endless)

    def sets(self, length: int) -> Iterator[tuple[int, ...]]:
        """Every set of ``length`` pedals, as indices in ascending order."""
        yield from self._extend(0, self.all, length)

    def _extend(self, first: int, available: int, length: int) -> Iterator[tuple[int, ...]]:
        if length == 0:
            yield ()
            return
        for i in range(first, len(self.names)):
            if available >> i & 1:
                for rest in self._extend(i, available & ~self.rules_out[i], length - 1):
                    yield (i, *rest)


def pedal_sets(
    names: Sequence[str], exclusive: Sequence[Sequence[str]], *, repeats: bool
) -> PedalSets:
    """``exclusive``: of each of these groups at most one pedal, once, stands in a chain."""
    place = {name: i for i, name in enumerate(names)}
    rules_out = [0 if repeats else 1 << i for i in range(len(names))]
    for group in exclusive:
        members = [place[name] for name in group if name in place]
        for i in members:
            rules_out[i] |= sum(1 << j for j in members)
    return PedalSets(tuple(names), tuple(rules_out))


@lru_cache(maxsize=1 << 16)
def _polynomial(rules_out: tuple[int, ...], available: int) -> tuple[int, ...]:
    """Independence polynomial (Gutman & Harary 1983): entry k counts the sets of k pedals."""
    if not available:
        return (1,)
    lowest = available & -available
    without = _polynomial(rules_out, available & ~lowest)
    taken = _polynomial(rules_out, available & ~rules_out[lowest.bit_length() - 1])
    size = max(len(without), len(taken) + 1)
    counts = [0] * size
    for k, n in enumerate(without):
        counts[k] += n
    for k, n in enumerate(taken):
        counts[k + 1] += n
    return tuple(counts)


def _n_multisets(n_kinds: int, size: int) -> int:
    if size == 0:
        return 1
    return math.comb(n_kinds + size - 1, size) if n_kinds else 0
