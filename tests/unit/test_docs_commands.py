"""Every command line in our documents names a command, and options, that there are."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from fxpipe.cli import cli as fxpipe
from fxtrain.cli import cli as fxtrain

ROOT = Path(__file__).resolve().parents[2]
CARD = ROOT / "training/fxtrain/shipped/MODEL_CARD.md"
PAGES = sorted([ROOT / "README.md", CARD, *ROOT.glob("docs/**/*.md")])
PROGRAM = r"(?:fxpipe|fxtrain|python tests/bench/\w+\.py) "
LINE = re.compile(rf"^\s*(?:[A-Z_]+=\S+ )*({PROGRAM}.*?)(?:\s#.*|[|;&>].*)?$", re.MULTILINE)
INLINE = re.compile(rf"`({PROGRAM}[^`|;&>]+)[^`]*`")
OPTION = re.compile(r"--?[a-z][\w-]*")


def command_lines(page: Path) -> Iterator[list[str]]:
    text = re.sub(r"\\\n\s*", " ", page.read_text("utf-8"))
    for line in [*LINE.findall(text), *INLINE.findall(text)]:
        if "`" not in line:  # a sentence that begins with a name
            yield shlex.split(line)


def unknown(words: list[str]) -> list[str]:
    """What of a command line there is not."""
    if words[0] == "python":
        program = (ROOT / words[1]).read_text("utf-8")
        return [word for word in options(words) if f'"{word}"' not in program]
    command: click.Command = {"fxpipe": fxpipe, "fxtrain": fxtrain}[words.pop(0)]
    while isinstance(command, click.Group) and words and not words[0].startswith("-"):
        name = words.pop(0)
        if name not in command.commands:
            return [name]
        command = command.commands[name]
    known = {"--help", *(o for p in command.params for o in (*p.opts, *p.secondary_opts))}
    return [word for word in options(words) if word not in known]


def options(words: list[str]) -> list[str]:
    return [found[0] for word in words if (found := OPTION.match(word))]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_what_is_typed_is_there(page: Path) -> None:
    lines = list(command_lines(page))
    assert [(words, lost) for words in lines if (lost := unknown(list(words)))] == []


def test_what_is_not_there_is_found() -> None:
    assert unknown(shlex.split("fxpipe rendr --n-chains 5")) == ["rendr"]
    assert unknown(shlex.split("fxpipe codec train --chain 5")) == ["--chain"]
    assert unknown(shlex.split("python tests/bench/bench_fit.py --sample 5")) == ["--sample"]
    assert sum(len(list(command_lines(page))) for page in PAGES) > 200
