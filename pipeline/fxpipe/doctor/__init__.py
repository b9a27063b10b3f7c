"""``fxpipe doctor``: this machine as the pipeline sees it, and what to type about it.

A check looks at one thing and returns findings; none may raise, and none changes anything. The
checks are in ``packages``, ``machine``, ``storage`` and, with ``--full``, ``trial``.
"""

from __future__ import annotations

import importlib
import os
import textwrap
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass
from typing import Any

from fxtrain.contract import FxError, to_install

OK, WARNING, PROBLEM = "ok", "warning", "problem"
COLOURS = {OK: "green", WARNING: "yellow", PROBLEM: "red"}
WIDTH = 100
NAME_WIDTH = 22


@dataclass(frozen=True)
class Finding:
    """``found`` says what is; ``do`` what to type about it, where there is anything to do."""

    section: str
    name: str
    state: str
    found: str
    do: str = ""


Check = Callable[[], Iterable[Finding]]


def examine(*, full: bool = False) -> list[Finding]:
    """All findings in the order they are printed; ``full`` also tries a worker and a clip."""
    sections = {"software": "packages", "machine": "machine", "storage": "storage"}
    found: list[Finding] = []
    for section, module in (sections | ({"trial": "trial"} if full else {})).items():
        try:
            checks = importlib.import_module(f"fxpipe.doctor.{module}").CHECKS
        except ModuleNotFoundError as error:
            found.append(_not_looked_at(section, section, error))
            continue
        found += [finding for check in checks for finding in guarded(section, check)]
    return found


def guarded(section: str, check: Check) -> list[Finding]:
    """What a check finds; one that fails is itself a finding, and the others go on."""
    name = getattr(check, "__name__", "check").replace("_", " ")
    try:
        return list(check())
    except ModuleNotFoundError as error:
        return [_not_looked_at(section, name, error)]
    except Exception as error:
        kind = "" if isinstance(error, FxError) else f"{type(error).__name__}: "
        what = " ".join(f"could not be looked at: {kind}{error}".split())
        return [Finding(section, name, WARNING, what[:300])]


def _not_looked_at(section: str, name: str, error: ModuleNotFoundError) -> Finding:
    what = f"{error.name} is not installed, so this was not looked at"
    return Finding(section, name, WARNING, what, to_install("pipeline"))


def exit_code(findings: Iterable[Finding]) -> int:
    return 1 if any(finding.state == PROBLEM for finding in findings) else 0


def as_json(findings: Iterable[Finding]) -> dict[str, Any]:
    listed = list(findings)
    counts = {state: sum(f.state == state for f in listed) for state in COLOURS}
    return {"counts": counts, "findings": [asdict(finding) for finding in listed]}


def lines(findings: Iterable[Finding], *, colour: bool = False) -> Iterator[str]:
    """For people: a section after another, states in one column, what to type below."""
    import click

    listed, section = list(findings), ""
    indent = " " * (2 + 9 + NAME_WIDTH)
    for finding in listed:
        if finding.section != section:
            yield from ([""] if section else [])
            section = finding.section
            yield section.capitalize()
        state = finding.state.ljust(9)
        shown = click.style(state, fg=COLOURS[finding.state]) if colour else state
        text = textwrap.wrap(finding.found, WIDTH - len(indent), break_long_words=False) or [""]
        yield f"  {shown}{finding.name.ljust(NAME_WIDTH)}{text[0]}"
        yield from (indent + line for line in text[1:])
        if finding.do:
            what = textwrap.wrap(
                finding.do, WIDTH - len(indent) - 3, break_long_words=False, break_on_hyphens=False
            )
            yield from (f"{indent}{'-> ' if i == 0 else '   '}{w}" for i, w in enumerate(what))
    problems = sum(finding.state == PROBLEM for finding in listed)
    warnings = sum(finding.state == WARNING for finding in listed)
    yield ""
    yield f"{_count(problems, 'problem')}, {_count(warnings, 'warning')}"


def _count(n: int, what: str) -> str:
    return f"{n or 'no'} {what}{'' if n == 1 else 's'}"


def wants_colour(is_terminal: bool) -> bool:
    """Only on a terminal, and not where NO_COLOR is set to anything (no-color.org)."""
    return is_terminal and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
