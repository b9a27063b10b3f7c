"""Owns train, valid and test: which group goes where. Groups are never divided."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from fxpipe.errors import SourceError
from fxtrain.contract import SPLITS

Fractions = tuple[float, float, float]
DEFAULT_FRACTIONS: Fractions = (0.8, 0.1, 0.1)


def assign_splits(
    groups: Sequence[str], *, seed: int, fractions: Fractions = DEFAULT_FRACTIONS
) -> dict[str, str]:
    """Group -> split, in these fractions of the number of groups, none of them empty.

    Groups stand in the order of a hash of their names, test at its start and train at its end:
    when a few groups are added, only those next to a border move, and only to the neighbour.
    A split with fraction 0 stays empty. Raises SourceError where there are fewer groups than
    splits to fill.
    """
    _check(fractions)
    wanted = {split: part for split, part in _from_test(fractions) if part > 0}
    names = sorted(set(groups), key=lambda group: (_uniform(group, seed), group))
    if len(names) < len(wanted):
        raise SourceError(
            f"{len(names)} group(s) of recordings cannot fill {len(wanted)} splits "
            f"({', '.join(wanted)}): a group is never divided, so add recordings, name groups "
            "in a groups.csv (columns file,group), or set a split's fraction to 0"
        )
    shares = {split: len(names) * part for split, part in wanted.items()}
    counts = {split: max(1, round(share)) for split, share in shares.items()}
    while sum(counts.values()) > len(names):
        counts[max(counts, key=lambda split: counts[split])] -= 1
    while sum(counts.values()) < len(names):
        counts[max(counts, key=lambda split: shares[split] - counts[split])] += 1
    places = [split for split in wanted for _ in range(counts[split])]
    return dict(zip(names, places, strict=True))


def _from_test(fractions: Fractions) -> list[tuple[str, float]]:
    return list(zip(SPLITS, fractions, strict=True))[::-1]


def _uniform(group: str, seed: int) -> float:
    digest = hashlib.sha256(f"{seed}\n{group}".encode()).digest()
    return int.from_bytes(digest[:6], "big") / 2**48


def _check(fractions: Fractions) -> None:
    if len(fractions) != 3 or min(fractions) < 0 or not abs(sum(fractions) - 1) < 1e-6:
        raise SourceError(
            f"split fractions {fractions}: expected three numbers of at least 0 "
            "for train, valid, test that sum to 1, such as (0.8, 0.1, 0.1)"
        )
