"""Answers as tidy rows, one judgement a row: what every statistic reads, and ``answers.csv``."""

from __future__ import annotations

import csv
import dataclasses
import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from fxtrain.listen.session import X, is_right
from fxtrain.listen.store import Answered, Session
from fxtrain.listen.study import Study


@dataclass(frozen=True)
class Row:
    """One judgement.

    ABX: ``condition`` is what X was, ``opponent`` what it was not. Pairwise: ``condition`` was
    chosen over ``opponent``. MUSHRA: ``condition`` got ``rating``. ``part`` is test or catch.
    """

    listener: int
    session_seed: str
    device: str
    trial: int
    part: str
    item: int
    item_name: str
    slot: str
    condition: str
    opponent: str
    sound_sha256: str
    rating: int | None
    choice: str
    correct: int | None
    n_plays: int
    rt_ms: int
    context_rate_hz: int
    app_version: str


def rows_of(study: Study, sessions: Iterable[Session]) -> list[Row]:
    """Every answer that was given; practice trials are left out."""
    found: list[Row] = []
    for session in sessions:
        for asked in session.trials:
            if asked.answer is not None and asked.trial.part != "training":
                found += _rows(study, session, asked)
    return found


def _rows(study: Study, session: Session, asked: Answered) -> list[Row]:
    trial, answer = asked.trial, asked.answer or {}
    item = study.item(trial.part, trial.item)

    def row(
        slot: str,
        condition: str,
        opponent: str = "",
        *,
        rating: int | None = None,
        choice: str = "",
        correct: int | None = None,
    ) -> Row:
        return Row(
            listener=session.number,
            session_seed=session.seed,
            device=session.device,
            trial=asked.number,
            part=trial.part,
            item=trial.item,
            item_name=item.name,
            slot=slot,
            condition=condition,
            opponent=opponent,
            sound_sha256=study.sounds[item.conditions[condition]].file.sha256,
            rating=rating,
            choice=choice,
            correct=correct,
            n_plays=asked.plays.get(slot, 0),
            rt_ms=asked.rt_ms or 0,
            context_rate_hz=asked.context_rate_hz or 0,
            app_version=session.app_version,
        )

    if study.kind == "mushra":
        ratings = answer["ratings"]
        return [row(slot, trial.slots[slot], rating=ratings[slot]) for slot in trial.to_rate]
    choice = answer["choice"]
    if study.kind == "abx":
        other = next(c for c in item.conditions if c != trial.slots[X])
        right = int(is_right(trial, choice))
        return [row(X, trial.slots[X], other, choice=choice, correct=right)]
    loser = trial.slots["b" if choice == "a" else "a"]
    return [row(choice, trial.slots[choice], loser, choice=choice)]


def csv_text(rows: Sequence[Row], kept: set[int]) -> str:
    """Tidy CSV; ``kept`` says 1 where the listener passed the screening."""
    out = io.StringIO()
    names = [field.name for field in dataclasses.fields(Row)]
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow([*names, "kept"])
    for row in rows:
        values = ["" if v is None else v for v in dataclasses.astuple(row)]
        writer.writerow([*values, int(row.listener in kept)])
    return out.getvalue()
