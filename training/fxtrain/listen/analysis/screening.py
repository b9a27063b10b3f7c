"""Who listened: the rules by which a listener is set aside, stated before anyone answered.

Being set aside says nothing about a person; on a noisy bus everybody would be.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from fxtrain.listen.analysis.answers import Row
from fxtrain.listen.study import MID_ANCHOR, REFERENCE, Study

CATCHES_WRONG = 0.25
"""ABX: more than one catch trial in four."""

REFERENCE_LOST = 0.25
"""Pairwise: the hidden reference loses more than one of its votes in four."""

LOW_RATING, OFTEN = 90, 0.15
"""BS.1534: the hidden reference below 90, or the 7 kHz anchor above, in more than 15 % of items."""


@dataclass(frozen=True)
class Verdict:
    """``why`` is empty for who is kept."""

    listener: int
    why: str


def rule_of(study: Study) -> str:
    """The rule in words, for the report."""
    if study.kind == "abx":
        if not study.caught:
            return "no catch trials in this study: nobody is set aside"
        return f"more than {CATCHES_WRONG:.0%} of the catch trials wrong"
    if study.kind == "pairwise":
        return f"the hidden reference loses more than {REFERENCE_LOST:.0%} of its votes"
    rule = f"the hidden reference rated below {LOW_RATING} in more than {OFTEN:.0%} of items"
    if study.standard:
        rule += f", or the 7 kHz anchor above {LOW_RATING} in more than {OFTEN:.0%}"
    return rule


def screening_conditions(study: Study) -> frozenset[str]:
    """Conditions that decide who is kept. A comparison with one of these must count everybody:
    the panel was chosen for how it rates them, and would prove the choice."""
    if study.kind == "abx":
        return frozenset()
    return frozenset({REFERENCE, MID_ANCHOR} if study.standard else {REFERENCE})


def screen(study: Study, rows: Sequence[Row]) -> list[Verdict]:
    """One verdict a listener who gave an answer."""
    by_listener: defaultdict[int, list[Row]] = defaultdict(list)
    for row in rows:
        by_listener[row.listener].append(row)
    return [
        Verdict(listener, "; ".join(_reasons(study, mine)))
        for listener, mine in sorted(by_listener.items())
    ]


def _reasons(study: Study, rows: Sequence[Row]) -> Iterator[str]:
    if study.kind == "abx":
        caught = [row.correct for row in rows if row.part == "catch"]
        wrong = caught.count(0)
        if wrong > CATCHES_WRONG * len(caught):
            yield f"{wrong} of {len(caught)} catch trials wrong"
    elif study.kind == "pairwise":
        votes = [row for row in rows if REFERENCE in (row.condition, row.opponent)]
        lost = sum(row.opponent == REFERENCE for row in votes)
        if lost > REFERENCE_LOST * len(votes):
            yield f"the hidden reference lost {lost} of {len(votes)} votes"
    else:
        yield from _ratings(study, rows)


def _ratings(study: Study, rows: Sequence[Row]) -> Iterator[str]:
    hidden = [row.rating for row in rows if row.condition == REFERENCE and row.rating is not None]
    low = sum(rating < LOW_RATING for rating in hidden)
    if low > OFTEN * len(hidden):
        yield f"the hidden reference below {LOW_RATING} in {low} of {len(hidden)} items"
    anchor = [row.rating for row in rows if row.condition == MID_ANCHOR and row.rating is not None]
    high = sum(rating > LOW_RATING for rating in anchor)
    if study.standard and high > OFTEN * len(anchor):
        yield f"the 7 kHz anchor above {LOW_RATING} in {high} of {len(anchor)} items"
