"""Sessions and answers in one SQLite file, written answer by answer.

Nothing personal: a listener is a number and the hash of a random word in a cookie. No names, no
addresses, no times of day, no browser.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import secrets
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fxtrain.contract import FxError
from fxtrain.listen.session import Trial, plan_session
from fxtrain.listen.study import Study

SCHEMA_VERSION = 1
SCHEMA = """
CREATE TABLE study (identity TEXT NOT NULL);
CREATE TABLE session (
    number INTEGER PRIMARY KEY,
    word_sha256 TEXT NOT NULL UNIQUE,
    seed TEXT NOT NULL,
    device TEXT NOT NULL,
    app_version TEXT NOT NULL
);
CREATE TABLE trial (
    session INTEGER NOT NULL REFERENCES session (number),
    number INTEGER NOT NULL,
    part TEXT NOT NULL,
    item INTEGER NOT NULL,
    slots TEXT NOT NULL,
    answer TEXT,
    plays TEXT,
    rt_ms INTEGER,
    context_rate_hz INTEGER,
    PRIMARY KEY (session, number)
);
"""


@dataclass(frozen=True)
class Answered:
    """One trial of one session; ``answer`` is None where it was not reached."""

    number: int
    trial: Trial
    answer: dict[str, Any] | None
    plays: dict[str, int]
    rt_ms: int | None
    context_rate_hz: int | None


@dataclass(frozen=True)
class Session:
    number: int
    seed: str
    device: str
    app_version: str
    trials: tuple[Answered, ...]

    @property
    def position(self) -> int:
        """The first trial without an answer; the number of trials when all have one."""
        open_ones = (t.number for t in self.trials if t.answer is None)
        return next(open_ones, len(self.trials))


class Store:
    """Every call opens the file anew, so threads and processes may share it."""

    def __init__(self, path: Path, study: Study) -> None:
        self.path = path
        self.study = study
        try:
            with self._open() as db:
                self._prepare(db)
        except sqlite3.Error as error:
            raise FxError(
                f"{path}: cannot be used as a file of answers ({error}); move it away, or repair "
                "it with the sqlite3 program"
            ) from None

    def _prepare(self, db: sqlite3.Connection) -> None:
        version = int(db.execute("PRAGMA user_version").fetchone()[0])
        if version == 0:
            identity = f"INSERT INTO study VALUES ('{self.study.identity}');"  # hexadecimal
            version_now = f"PRAGMA user_version = {SCHEMA_VERSION};"
            db.executescript(f"BEGIN IMMEDIATE; {SCHEMA} {identity} {version_now} COMMIT;")
            return
        if version != SCHEMA_VERSION:
            raise FxError(
                f"{self.path}: schema version {version}, this build reads {SCHEMA_VERSION}; use "
                "the build that wrote it"
            )
        (identity,) = db.execute("SELECT identity FROM study").fetchone()
        if identity != self.study.identity:
            raise FxError(
                f"{self.path}: these answers belong to another study than the one beside them; "
                "move them to where their study is"
            )

    @contextlib.contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        """A connection whose writes are on the disk when the block ends, or not there at all."""
        db = sqlite3.connect(self.path, timeout=30)
        try:
            db.execute("PRAGMA synchronous = FULL")
            with db:
                yield db
        finally:
            db.close()

    def begin(self, device: str, app_version: str) -> str:
        """A new session; returns the word that its cookie holds."""
        word = secrets.token_urlsafe(18)
        with self._open() as db:
            db.execute("BEGIN IMMEDIATE")
            (number,) = db.execute("SELECT count(*) FROM session").fetchone()
            seed = f"{self.study.seed}/{number}"
            db.execute(
                "INSERT INTO session VALUES (?, ?, ?, ?, ?)",
                (number, _hash(word), seed, device, app_version),
            )
            db.executemany(
                "INSERT INTO trial (session, number, part, item, slots) VALUES (?, ?, ?, ?, ?)",
                [
                    (number, i, trial.part, trial.item, json.dumps(trial.slots))
                    for i, trial in enumerate(plan_session(self.study, number))
                ],
            )
        return word

    def find(self, word: str) -> Session | None:
        with self._open() as db:
            row = db.execute(
                "SELECT number FROM session WHERE word_sha256 = ?", (_hash(word),)
            ).fetchone()
            return None if row is None else self._session(db, row[0])

    def answer(
        self,
        session: int,
        number: int,
        answer: dict[str, Any],
        plays: dict[str, int],
        rt_ms: int,
        context_rate_hz: int,
    ) -> bool:
        """Keep an answer; False where one is there already, which stays."""
        with self._open() as db:
            done = db.execute(
                "UPDATE trial SET answer = ?, plays = ?, rt_ms = ?, context_rate_hz = ? "
                "WHERE session = ? AND number = ? AND answer IS NULL",
                (
                    json.dumps(answer), json.dumps(plays), rt_ms, context_rate_hz,
                    session, number,
                ),
            )  # fmt: skip
            return done.rowcount == 1

    def sessions(self) -> list[Session]:
        """All sessions in order, the unfinished too."""
        with self._open() as db:
            numbers = db.execute("SELECT number FROM session ORDER BY number").fetchall()
            return [self._session(db, number) for (number,) in numbers]

    def _session(self, db: sqlite3.Connection, number: int) -> Session:
        seed, device, version = db.execute(
            "SELECT seed, device, app_version FROM session WHERE number = ?", (number,)
        ).fetchone()
        rows = db.execute(
            "SELECT number, part, item, slots, answer, plays, rt_ms, context_rate_hz FROM trial "
            "WHERE session = ? ORDER BY number",
            (number,),
        )
        trials = tuple(
            Answered(
                number=position,
                trial=Trial(part, item, json.loads(slots)),
                answer=None if answer is None else json.loads(answer),
                plays=json.loads(plays or "{}"),
                rt_ms=rt_ms,
                context_rate_hz=rate,
            )
            for position, part, item, slots, answer, plays, rt_ms, rate in rows
        )
        return Session(number, seed, device, version, trials)


def count_answers(path: Path) -> int:
    """Answers in a file, 0 where there is none; raises for a file that is something else."""
    if not path.exists():
        return 0
    try:
        with contextlib.closing(sqlite3.connect(path)) as db:
            if int(db.execute("PRAGMA user_version").fetchone()[0]) == 0:
                return 0
            return int(db.execute("SELECT count(*) FROM trial WHERE answer NOT NULL").fetchone()[0])
    except sqlite3.Error as error:
        raise FxError(f"{path}: not a file of answers ({error}); move it away") from None


def _hash(word: str) -> str:
    return hashlib.sha256(word.encode()).hexdigest()
