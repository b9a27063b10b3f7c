"""Chains as traces: how many orders sound alike, and which pairs have an order at all.

A chain is a word of a trace monoid (Cartier & Foata 1969, Mazurkiewicz 1977): neighbours that
commute may be swapped. The word's orders are the linear extensions of its dependence order, in
which i stands before j when i < j and a path of non-commuting pairs leads from i to j. Pedals are
plain names here. Must not import torch.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

Pairs = Collection[frozenset[str]]


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

    Counted over the down-sets of the dependence order, 2**len(names) at most.
    """
    masks = predecessors(names, commutes)
    ways = {0: 1}
    for _ in names:
        longer: dict[int, int] = {}
        for done, count in ways.items():
            for position, before in enumerate(masks):
                bit = 1 << position
                if not done & bit and before & done == before:
                    longer[done | bit] = longer.get(done | bit, 0) + count
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
