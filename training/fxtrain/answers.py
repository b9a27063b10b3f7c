"""What a model heard on every clip of a split: in memory for scores, and as lines for others' own.

``clips.jsonl`` beside ``evaluation.json`` holds a line a clip, from which whoever doubts a score
can compute it again, and two systems can be compared clip by clip.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from fxtrain.contract import LocalFolder, Names, OrderClass
from fxtrain.decode import Candidate, Direct, pedal_probabilities, presence
from fxtrain.knobs import Knobs

CLIPS_NAME = "clips.jsonl"
DECIMALS = 6


@dataclass(frozen=True)
class Answers:
    """What was on every clip of a split and what was heard, in the order of the split.

    ``heard`` holds each clip's candidates by probability, ``untuned`` the same before
    confidence was tuned; ``classes`` which orders sound like the true chain; ``directs`` what the
    set-and-precedence head says by itself; ``groups`` int [n] which clips play recordings of one
    group, where they are not all independent; ``played`` what, where it is known; ``knobs`` where
    they stand, by clip, and ``travel`` float32 [n, V, P] where they really do, of a model that
    hears them; ``ids`` as in the clips' records.
    """

    split: str
    truth: Sequence[Names]
    heard: Sequence[Sequence[Candidate]]
    untuned: Sequence[Sequence[Candidate]]
    classes: Sequence[OrderClass]
    directs: list[Direct] = field(default_factory=list)
    groups: np.ndarray | None = None
    played: list[str] = field(default_factory=list)
    knobs: list[Knobs] = field(default_factory=list)
    travel: np.ndarray | None = None
    ids: list[str] = field(default_factory=list)

    @property
    def predicted(self) -> list[Names]:
        return [found[0].names for found in self.heard]

    def presence(self, sample: int) -> Mapping[str, float]:
        """How probable each pedal is on a clip, as the answer says it; one not named there: 0."""
        found = self.heard[sample]
        return pedal_probabilities(found, self.directs[sample]) if self.directs else presence(found)


def clip_rows(answers: Answers) -> Iterator[dict[str, Any]]:
    """A clip a row: its truth, its answer, and what of it is right."""
    for i, (truth, found, alike) in enumerate(
        zip(answers.truth, answers.heard, answers.classes, strict=True)
    ):
        best = found[0]
        yield {
            "id": answers.ids[i] if answers.ids else str(i),
            "group": i if answers.groups is None else int(answers.groups[i]),
            "true": list(truth),
            "answer": list(best.names),
            "exact": tuple(best.names) == tuple(truth),
            "exact_class": alike.holds(best.names),
            "orders_alike": alike.size,
            "audible_pairs": [list(pair) for pair in alike.fixed],
            "probability": round(best.probability, DECIMALS),
            "presence": {name: round(p, DECIMALS) for name, p in answers.presence(i).items()},
        }


def save_clips(folder: Path, answers: Answers) -> None:
    """``clips.jsonl`` in ``folder``, which is made."""
    lines = (json.dumps(row, ensure_ascii=False, allow_nan=False) for row in clip_rows(answers))
    LocalFolder(folder).write(CLIPS_NAME, ("\n".join(lines) + "\n").encode())
