"""Typed errors of both programs: one line each, and the exit code that goes with it.

FxError                       exit 1
├── UsageError                exit 2: a name or option that cannot be right
├── MissingExtraError         the part of the distribution that is not installed
├── UnwrittenError            what the system let nobody write
├── StoreError                a store that does not answer, or refuses: it tells nothing of the data
└── ContractError             data that does not keep the shard contract
    ├── UnfinishedError       no index.json: never finished, or not a data set at all
    ├── FormatVersionError    written for another format version
    ├── DamagedError          bytes differ from what the index says
    └── VocabularyError       pedals or codec differ from what was expected

A message says what was found, where, what was expected, and what to do next.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable

MAX_MESSAGE = 2000
"""Characters of an error; a line that repeats a hostile document is cut here."""


CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


def legible(text: str) -> str:
    """What any terminal can show: what is no text in it, as in some files' names, as \\udcff."""
    return text.encode("utf-8", "backslashreplace").decode()


def printable(text: str) -> str:
    """On one line, and without what would move a terminal's cursor or turn its letters round."""
    return CONTROL.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


class FxError(Exception):
    """Base of every error a user may see; its text is one line that any terminal can show."""

    exit_code = 1

    def __init__(self, message: str = "") -> None:
        text = " ".join(map(printable, message.split("\n")))
        super().__init__(text if len(text) <= MAX_MESSAGE else f"{text[: MAX_MESSAGE - 1]}…")


class UsageError(FxError):
    exit_code = 2


class MissingExtraError(FxError):
    pass


class UnwrittenError(FxError):
    """``problem``: what could not be written and why, without what to do about it."""

    problem = ""


class StoreError(FxError):
    pass


class ContractError(FxError):
    pass


class UnfinishedError(ContractError):
    pass


class FormatVersionError(ContractError):
    pass


class DamagedError(ContractError):
    pass


class VocabularyError(ContractError):
    pass


def starved(error: BaseException) -> str:
    """What the system gives no more of, where ``error`` is that, and what to do; or nothing."""
    said = str(error)
    if isinstance(error, MemoryError) or "can't allocate memory" in said:
        return "memory ran out: close other programs, or allow this job more (ulimit -v)"
    if isinstance(error, BlockingIOError) or "can't start new thread" in said:
        return (
            "no further process or thread can be started: allow this job more of them (ulimit -u, "
            "a container's limit of pids), or more memory (ulimit -v)"
        )
    return ""


def expected(error: Exception) -> tuple[str, int] | None:
    """One line for the user, and the exit code; None where it is a fault of the program."""
    code = 1
    if isinstance(error, FxError):
        said, code = str(error), error.exit_code
    elif not (said := starved(error)):
        if not isinstance(error, OSError):
            return None
        said = error.strerror or str(error)
        said = f"{error.filename}: {said}" if error.filename else said
    return " ".join(said.split()), code


SHOWN = 80
"""Characters of a foreign value that an error repeats."""


def shorten(value: object) -> str:
    """A value from elsewhere as one short line: never a wall of text, never half a character."""
    try:
        text = repr(value[: SHOWN + 1] if isinstance(value, (str, bytes)) else value)
    except (ValueError, RecursionError):  # a number of 5,000 digits, lists in lists in lists
        return f"(a {type(value).__name__} too large to print)"
    text = legible(text)
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}…"


REINSTALL = "pip install --force-reinstall --no-deps . in a copy of the repository"
"""What helps where a file of the package itself is missing or damaged."""


def to_install(extra: str) -> str:
    """What to type for an extra. The package is on no index: its name there may be anybody's."""
    return f'pip install ".[{extra}]" in a copy of the repository'


def unknown_name(kind: str, name: str, known: Iterable[str]) -> str:
    """One line for a name that is not registered: the nearest names first, then all of them."""
    names = list(known)
    near = difflib.get_close_matches(str(name)[:SHOWN].lower(), names, n=3, cutoff=0.5)
    hint = f"did you mean {' or '.join(repr(n) for n in near)}? " if near else ""
    return f"unknown {kind} {shorten(name)}: {hint}known: {', '.join(names)}"
