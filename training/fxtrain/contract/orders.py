"""Chains as traces: which orders sound alike, how many they are, and which pairs have an order.

A chain is a word of a trace monoid (Cartier & Foata 1969, Mazurkiewicz 1977): neighbours that
commute may be swapped. The word's orders are the linear extensions of its dependence order, in
which i stands before j when i < j and a path of non-commuting pairs leads from i to j. Pedals are
plain names here. Standard library only.
"""

from __future__ import annotations

import itertools
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

from fxtrain.contract.errors import ContractError

Names = tuple[str, ...]
Commutes = frozenset[frozenset[str]]
"""Pairs of pedals whose order cannot be told apart by ear."""

Pairs = Collection[frozenset[str]]

MAX_DOWN_SETS = 2**16
"""16 pedals of which all pairs commute; more would take minutes, and 255 for ever."""


def normal_form(names: Sequence[str], commutes: Pairs) -> tuple[str, ...]:
    """The lexicographically least order that sounds the same, given pairs that commute.

    Chains that differ only by swaps of commuting neighbours form a trace (Cartier & Foata 1969,
    Mazurkiewicz 1977); two chains are equivalent exactly when their normal forms are equal
    (Anisimov & Knuth 1979). Greedy: take the least letter that commutes with all before it.
    """
    rest, word = list(names), []
    while rest:
        best = min(
            (
                i
                for i, name in enumerate(rest)
                if all(frozenset((name, before)) in commutes for before in rest[:i])
            ),
            key=lambda i: rest[i],
        )
        word.append(rest.pop(best))
    return tuple(word)


def predecessors(names: Sequence[str], commutes: Pairs) -> list[int]:
    """For every position, the positions that must come before it, as a bit mask (closed)."""
    masks: list[int] = []
    for j, name in enumerate(names):
        mask = 0
        for i in range(j):
            if frozenset((names[i], name)) not in commutes:
                mask |= masks[i] | 1 << i
        masks.append(mask)
    return masks


def class_size(names: Sequence[str], commutes: Pairs) -> int:
    """How many orders sound like this one, itself included: the linear extensions.

    Counted over the down-sets of the dependence order, 2**len(names) at most. ContractError where
    there are more than ``MAX_DOWN_SETS``: no chain that anyone plays.
    """
    masks = predecessors(names, commutes)
    ways, seen = {0: 1}, 0
    for _ in names:
        longer: dict[int, int] = {}
        for done, count in ways.items():
            for position, before in enumerate(masks):
                bit = 1 << position
                if not done & bit and before & done == before:
                    longer[done | bit] = longer.get(done | bit, 0) + count
            if seen + len(longer) > MAX_DOWN_SETS:
                raise ContractError(
                    f"a chain of {len(names)} pedals has too many orders that sound alike to "
                    "count; take shorter chains"
                )
        seen += len(longer)
        ways = longer
    (total,) = ways.values()
    return total


def fixed_pairs(names: Sequence[str], commutes: Pairs) -> list[tuple[str, str]]:
    """(earlier, later) of every pair that keeps its order in all orders that sound alike.

    A pair that commutes may still be fixed, by a third pedal between the two. Pedals that stand
    twice in the chain are left out: "before" has no single meaning for them.
    """
    return _pairs(names, commutes, fixed=True)


def free_pairs(names: Sequence[str], commutes: Pairs) -> list[tuple[str, str]]:
    """Pairs whose order in this chain cannot be heard; the rest of :func:`fixed_pairs`."""
    return _pairs(names, commutes, fixed=False)


def _pairs(names: Sequence[str], commutes: Pairs, *, fixed: bool) -> list[tuple[str, str]]:
    masks = predecessors(names, commutes)
    once = [names.count(name) == 1 for name in names]
    return [
        (names[i], names[j])
        for j in range(len(names))
        for i in range(j)
        if once[i] and once[j] and bool(masks[j] >> i & 1) == fixed
    ]


@dataclass(frozen=True)
class OrderClass:
    """All orders of one chain that sound like it, itself included.

    Known from pairs that commute (``commutes``), or listed one by one (``orders``) where they were
    rendered and compared on this very clip; a list goes before the pairs.
    """

    names: Names
    commutes: Pairs = frozenset()
    orders: frozenset[Names] | None = None

    def holds(self, other: Sequence[str]) -> bool:
        """Does ``other`` sound like this chain?"""
        if self.orders is not None:
            return tuple(other) in self.orders
        same = sorted(other) == sorted(self.names)
        return same and normal_form(other, self.commutes) == self._form

    @cached_property
    def _form(self) -> Names:
        return normal_form(self.names, self.commutes)

    @cached_property
    def size(self) -> int:
        if self.orders is not None:
            return len(self.orders)
        return class_size(self.names, self.commutes)

    @cached_property
    def fixed(self) -> list[tuple[str, str]]:
        """(earlier, later) of the pairs that stand in this order in every order of the class."""
        if self.orders is None:
            return fixed_pairs(self.names, self.commutes)
        once = [name for name in self.names if self.names.count(name) == 1]
        return [
            (a, b)
            for a, b in itertools.combinations(once, 2)
            if all(order.index(a) < order.index(b) for order in self.orders)
        ]


def listed_class(names: Names, alike: Iterable[Sequence[int]]) -> OrderClass:
    """The class of a record that lists its orders as positions in ``names``."""
    orders = {tuple(names[i] for i in order) for order in alike}
    return OrderClass(names, orders=frozenset(orders | {names}))
