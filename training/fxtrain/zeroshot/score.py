"""Recordings of a manifest -> answers -> the scores that shards get, by implementation."""

from __future__ import annotations

import dataclasses
import hashlib
import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from fxtrain.answers import Answers
from fxtrain.columns import number
from fxtrain.contract import Features, Frontend, FxError, LocalFolder, Names, arrow, json_bytes
from fxtrain.decode import Candidate, Direct
from fxtrain.judging import Evaluation, evaluation_dict, judge, table
from fxtrain.metrics import HEADLINES, classes_of, numbered
from fxtrain.predict import AnyRun, translate
from fxtrain.zeroshot.manifest import LeftOut, Manifest, read_manifest
from fxtrain.zeroshot.returns import Clip, Return, check_return

Say = Callable[[str], None]
SAID = 3
"""Recordings with the same note that are named one by one."""


@dataclass(frozen=True, eq=False)
class Judged:
    """One recording, or one of its clips: what was heard of it. ``back`` without its sound: a
    thousand recordings stay small. ``clips``: their numbers."""

    back: Return
    clips: tuple[int, ...]
    heard: tuple[Candidate, ...]
    untuned: tuple[Candidate, ...]
    own: Direct


@dataclass(frozen=True, eq=False)
class ZeroShot:
    """``evaluations`` by implementation, in the order of the table."""

    manifest: Manifest
    judged: tuple[Judged, ...]
    left_out: tuple[LeftOut, ...]
    answers: dict[str, Answers]
    evaluations: dict[str, Evaluation]

    def of(self, implementation: str) -> list[Judged]:
        return [one for one in self.judged if one.back.row.implementation == implementation]


def evaluate_manifest(
    run: AnyRun,
    frontend: Frontend,
    path: Path,
    *,
    each_clip: bool = False,
    seed: int = 0,
    say: Say = lambda text: None,
) -> ZeroShot:
    """Score every recording that can be used; each of the others is one line to ``say``.

    All clips of a recording give one answer, as ``fxtrain predict`` hears a file; ``each_clip``
    asks for an answer to each of them, as shards have it.
    """
    manifest = read_manifest(path, run.card.vocabulary.names)
    left_out = list(manifest.left_out)
    for gone in left_out:
        say(f"{gone.file}: left out: {gone.why}")
    judged: list[Judged] = []
    known: dict[str, str] = {}
    notices = _Notices(say)
    for row in manifest.rows:
        if not row.path.is_file():
            left_out.append(LeftOut(row.file, "not recorded yet: no such file", waiting=True))
            continue
        try:
            back = check_return(row, manifest.kit_of(row), manifest.folder_of(row), frontend)
            found = list(_hear(run, frontend, back, each_clip=each_clip))
        except (FxError, OSError) as error:
            why = str(error).removeprefix(f"{row.path}: ")
            left_out.append(LeftOut(row.file, why))
            say(f"{row.file}: left out: {why}")
            continue
        notes = list(found[0].back.notes)
        if back.digest in known:
            notes.append(f"the same recording as {known[back.digest]}")
        known.setdefault(back.digest, row.file)
        for note in notes:
            notices.say(row.file, note)
        noted = dataclasses.replace(back, clips=(), notes=tuple(notes))
        judged += [dataclasses.replace(one, back=noted) for one in found]
    notices.end()
    waiting = [gone.file for gone in left_out if gone.waiting]
    if waiting:
        few = ", ".join(waiting[:5]) + (", …" if len(waiting) > 5 else "")
        say(f"not recorded yet, {len(waiting)} of {len(manifest.rows)}: {few}")
    if not judged:
        raise FxError(f"{path}: none of {len(left_out)} recordings can be scored; see above")
    grouped = {one.back.row.implementation: None for one in judged}
    answers = {name: _answers(run, judged, name) for name in grouped}
    identity = hashlib.sha256("".join(sorted(known)).encode()).hexdigest()
    evaluations = {name: judge(run, identity, found, seed=seed) for name, found in answers.items()}
    return ZeroShot(manifest, tuple(judged), tuple(left_out), answers, evaluations)


class _Notices:
    """A line a note; of those that many recordings have only the first few, and how many."""

    def __init__(self, say: Say) -> None:
        self._say = say
        self._count: Counter[str] = Counter()

    def say(self, file: str, note: str) -> None:
        kind = re.sub(r"[-\d.]+", "…", note)
        self._count[kind] += 1
        if self._count[kind] <= SAID:
            self._say(f"{file}: {note}")

    def end(self) -> None:
        for kind, n in self._count.items():
            if n > SAID:
                self._say(f"and {n - SAID} more: {kind}")


def _hear(run: AnyRun, frontend: Frontend, back: Return, *, each_clip: bool) -> Iterator[Judged]:
    heard: list[tuple[Clip, Features]] = []
    for clip in back.clips:
        try:
            heard.append((clip, frontend.encode(clip.wave, clip.rate_hz)))
        except FxError as error:
            if len(back.clips) == 1:
                raise
            back = dataclasses.replace(
                back, notes=(*back.notes, f"phrase {clip.number + 1} is left out: {error}")
            )
    if not heard:
        raise FxError("nothing sounds in any of its clips; record it again")
    strange = [s for _, features in heard for s in features.strangeness or ()]
    if strange and float(np.median(strange)) > 0:
        words = "does not sound like a guitar to the program, which is asked all the same"
        back = dataclasses.replace(back, notes=(*back.notes, words))
    groups = [[pair] for pair in heard] if each_clip else [heard]
    for group in groups:
        features = Features.together([features for _, features in group])
        clips = tuple(clip.number for clip, _ in group)
        yield Judged(back, clips, *translate(run, features))


def _answers(run: AnyRun, judged: Sequence[Judged], implementation: str) -> Answers:
    ours = [one for one in judged if one.back.row.implementation == implementation]
    truth: list[Names] = [one.back.row.names for one in ours]
    return Answers(
        split=implementation,
        truth=truth,
        heard=[one.heard for one in ours],
        untuned=[one.untuned for one in ours],
        classes=classes_of(truth, run.card.commuting_pairs),
        directs=[one.own for one in ours],
        groups=numbered(one.back.row.file for one in ours),
    )


def zero_shot_dict(found: ZeroShot) -> dict[str, Any]:
    """All of it as JSON values: scores by implementation, every row, what was left out."""
    rows = []
    for name, answers in found.answers.items():
        for one, alike in zip(found.of(name), answers.classes, strict=True):
            back, best = one.back, one.heard[0]
            rows.append(
                {
                    "file": back.row.file,
                    "implementation": name,
                    "effects": list(back.row.names),
                    "settings": back.row.settings,
                    "answer": list(best.names),
                    "probability": round(best.probability, 4),
                    "right": alike.holds(best.names),
                    "clips": [number + 1 for number in one.clips],
                    "late_s": _rounded(back.late_s, 4),
                    "marker_confidence": _rounded(back.confidence, 3),
                    "peak_dbfs": round(back.peak_dbfs, 1),
                    "notes": list(back.notes),
                }
            )
    return {
        "manifest": found.manifest.path.name,
        "implementations": {
            name: evaluation_dict(evaluation) for name, evaluation in found.evaluations.items()
        },
        "rows": rows,
        "left_out": [dataclasses.asdict(row) for row in found.left_out],
    }


def _rounded(value: float | None, digits: int) -> float | None:
    return None if value is None else round(value, digits)


def save(found: ZeroShot) -> Path:
    """``renders.evaluation.json`` beside the manifest; its path."""
    path = found.manifest.path
    name = f"{path.stem}.evaluation.json"
    LocalFolder(path.parent).write(name, json_bytes(zero_shot_dict(found)))
    return path.parent / name


def zero_shot_lines(found: ZeroShot) -> Iterator[str]:
    """For people: all scores of each implementation, then all of them side by side."""
    for i, evaluation in enumerate(found.evaluations.values()):
        if i:
            yield ""
        lines = list(table(evaluation))
        yield f"{evaluation.run} on {evaluation.n} recordings of {evaluation.split!r}"
        yield from lines[1:]
    if len(found.evaluations) > 1:
        yield ""
        yield from _side_by_side(found.evaluations)
    wrong = [
        f"{one.back.row.file:<16} {arrow(one.back.row.names)}  heard: {arrow(one.heard[0].names)}"
        for name, answers in found.answers.items()
        for one, alike in zip(found.of(name), answers.classes, strict=True)
        if not alike.holds(one.heard[0].names)
    ]
    if wrong:
        yield ""
        yield f"not right, {len(wrong)} of {len(found.judged)}:"
        yield from wrong


def _side_by_side(evaluations: dict[str, Evaluation]) -> Iterator[str]:
    names = list(evaluations)
    width = max(12, *map(len, names))
    yield f"{'':<24} " + " ".join(f"{name:>{width}}" for name in names)
    for score in HEADLINES:
        cells = [evaluations[name].scores[score].value for name in names]
        yield f"{score:<24} " + " ".join(f"{number(value):>{width}}" for value in cells)
    for pedal in evaluations[names[0]].pedals:
        cells = [evaluations[name].pedals[pedal].f1 for name in names]
        yield f"{f'F1 of {pedal}':<24} " + " ".join(f"{number(value):>{width}}" for value in cells)
