"""A board: pedals in order with settings, and how sure we are of them. ``chain.json`` both ways.

Must not import torch. ``chain.schema.json`` beside this file says the same for other programs; a
test holds the two together.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fxtrain.contract import (
    Chain,
    ContractError,
    DamagedError,
    FormatVersionError,
    Frontend,
    Pedal,
    PedalEntry,
    UsageError,
    arrow,
    from_dict,
    read_json,
    shorten,
    to_dict,
    to_unit,
    unknown_name,
)
from fxtrain.export.words import spoken
from fxtrain.knobs import Knobs, as_heard
from fxtrain.telling import ASSUMPTIONS, percent, what_is_missing

if TYPE_CHECKING:
    from fxtrain.predict import Prediction

VERSION = 1
"""Raised whenever older readers would misread newer files."""

KIND = "fxtrain-chain"
CHAIN_NAME = "chain.json"
SCHEMA_NAME = "chain.schema.json"
EXPECTED = f"expected a {CHAIN_NAME}, which 'fxtrain predict CLIP --export DIR' writes"
N_ALTERNATIVES = 3
MAX_PEDALS = 255

NO_GUITAR = "this does not sound like a guitar through known pedals: all of it is a guess"

BASES = {
    "typical": "typical settings: the pedals were heard, the places of their knobs were not",
    "heard": "settings as heard, roughly: the model is surer of the pedals than of their knobs",
    "given": "settings as given",
}
"""Where the settings come from, and the line that every file carries about it."""


@dataclass(frozen=True)
class BoardPedal:
    """``settings``: parameter -> value in its own unit. ``probability``: that it is there.
    ``unheard``: knobs that may stand nearly anywhere, so that theirs is but a place to begin."""

    name: str
    settings: dict[str, float]
    probability: float | None = None
    bypassed: bool = False
    unheard: tuple[str, ...] = ()


@dataclass(frozen=True)
class Alternative:
    """Another chain that may have been played."""

    pedals: tuple[str, ...]
    probability: float


@dataclass(frozen=True)
class Neighbours:
    """Two pedals of the board; ``audible``: whether their order can be heard."""

    first: str
    second: str
    probability: float
    audible: bool


@dataclass(frozen=True)
class Board:
    """``title`` is what was listened to. ``settings`` is a key of ``BASES``. ``doubt``: why all of
    it is but a guess, empty where it is not. ``missing``: what the recording cannot hold."""

    title: str
    settings: str
    pedals: tuple[BoardPedal, ...]
    probability: float | None = None
    alternatives: tuple[Alternative, ...] = ()
    pairs: tuple[Neighbours, ...] = ()
    textbook: tuple[str, ...] = ()
    assumptions: tuple[str, ...] = ()
    doubt: str = ""
    missing: str = ""
    model: str = ""
    version: int = VERSION
    kind: str = KIND

    def __post_init__(self) -> None:
        if self.settings not in BASES:
            raise ContractError(unknown_name("settings", self.settings, BASES))
        if len(self.pedals) > MAX_PEDALS:
            raise ContractError(f"{len(self.pedals)} pedals, expected {MAX_PEDALS} at most")

    @property
    def chain(self) -> Chain:
        """What sounds: the pedals that are not bypassed."""
        on = (pedal for pedal in self.pedals if not pedal.bypassed)
        return Chain(tuple(Pedal(pedal.name, pedal.settings) for pedal in on))

    @property
    def remarks(self) -> tuple[str, ...]:
        """What every file has to say of itself."""
        off = [pedal.name for pedal in self.pedals if pedal.bypassed]
        lines = [self.doubt] if self.doubt else []
        if self.missing:
            lines.append(f"missing from the recording: {self.missing}")
        lines.append(BASES[self.settings])
        guessed = [
            f"{', '.join(spoken(name, pedal.settings) for name in pedal.unheard)} of {pedal.name}"
            for pedal in self.pedals
            if pedal.unheard
        ]
        if guessed:
            lines.append(f"not heard, but a place to begin: {'; '.join(guessed)}")
        if off:
            lines.append(f"bypassed and left out: {', '.join(off)}")
        if self.assumptions:
            lines.append(f"assumes {'; '.join(self.assumptions)}")
        return tuple(lines)

    @property
    def swaps(self) -> tuple[tuple[str, str], ...]:
        """Pairs whose order cannot be heard."""
        return tuple((pair.first, pair.second) for pair in self.pairs if not pair.audible)

    @property
    def sentence(self) -> str:
        """The board in words."""
        text = arrow([pedal.name for pedal in self.pedals]) if self.pedals else "No pedals"
        if self.probability is not None:
            text += f", {percent(self.probability)} sure"
        swaps = "; ".join(f"{a} and {b}" for a, b in self.swaps)
        return f"{text}. Could be swapped, nobody would hear it: {swaps}." if swaps else f"{text}."


def board_of(prediction: Prediction, title: str, frontend: Frontend, model: str) -> Board:
    """The board of a prediction. Where the model hears no knobs, they stand as a guitarist would
    first set them."""
    best = prediction.candidates[0]
    return Board(
        title=title,
        settings="heard" if prediction.knobs else "typical",
        pedals=tuple(
            replace(pedal, probability=_round(prediction.presence[pedal.name]))
            for pedal in as_set(best.names, prediction.knobs, frontend)
        ),
        probability=_round(best.probability),
        alternatives=tuple(
            Alternative(candidate.names, _round(candidate.probability))
            for candidate in prediction.candidates[:N_ALTERNATIVES]
        ),
        pairs=tuple(
            Neighbours(pair.first, pair.second, _round(pair.probability), pair.audible)
            for pair in prediction.pairs
        ),
        textbook=prediction.textbook,
        assumptions=ASSUMPTIONS,
        doubt=NO_GUITAR if prediction.guitar is False else "",
        missing=what_is_missing(prediction),
        model=model,
    )


def as_set(names: Sequence[str], knobs: Knobs, frontend: Frontend) -> tuple[BoardPedal, ...]:
    """Pedals with their knobs where they were heard, as far as those of the pedals here go; of
    others as a guitarist would first set them."""
    entries = entries_of(frontend)
    return tuple(
        BoardPedal(
            pedal.name,
            {
                param.name: min(max(pedal.settings[param.name], param.low), param.high)
                for param in entries[pedal.name].params
            },
            unheard=tuple(n for n, knob in knobs.get(pedal.name, {}).items() if knob.is_rough),
        )
        for pedal in as_heard(frontend.example(names), knobs).pedals
    )


def as_it_is_now(board: Board, entries: Mapping[str, PedalEntry]) -> Board:
    """Without what was said of other pedals, or of another order, than the board now has."""
    names = tuple(pedal.name for pedal in board.pedals)
    place = {name: i for i, name in enumerate(names)}
    told = [pair for pair in board.pairs if pair.audible]
    if (
        (not board.alternatives or names == board.alternatives[0].pedals)
        and (not board.textbook or sorted(names) == sorted(board.textbook))
        and all(place.get(pair.first, 0) < place.get(pair.second, 0) for pair in told)
    ):
        return board
    listed = list(entries)  # in the order of a textbook board
    textbook = tuple(sorted(names, key=lambda name: listed.index(name) if name in entries else 0))
    return replace(board, probability=None, alternatives=(), pairs=(), textbook=textbook)


def _round(probability: float) -> float:
    return round(min(1.0, max(0.0, probability)), 4)


def check_board(board: Board, entries: Mapping[str, PedalEntry]) -> None:
    """Refuse pedals that are not here, and settings that are unknown, missing or out of range."""
    for pedal in board.pedals:
        if pedal.name not in entries:
            raise UsageError(unknown_name("pedal", pedal.name, entries))
        params = {param.name: param for param in entries[pedal.name].params}
        for name in pedal.settings:
            if name not in params:
                raise UsageError(f"pedal {pedal.name!r}: {unknown_name('setting', name, params)}")
        for name, param in params.items():
            if name not in pedal.settings:
                raise ContractError(f"pedal {pedal.name!r}: setting {name!r} is missing")
            try:
                to_unit(param, pedal.settings[name])
            except ContractError as error:
                raise ContractError(f"pedal {pedal.name!r}: {error}") from None
        for name in pedal.unheard:
            if name not in params:
                raise UsageError(f"pedal {pedal.name!r}: {unknown_name('setting', name, params)}")


def entries_of(frontend: Frontend) -> dict[str, PedalEntry]:
    return {entry.name: entry for entry in frontend.pedals()}


def board_bytes(board: Board) -> bytes:
    """``chain.json``: indented, for people too."""
    text = json.dumps(to_dict(board), indent=1, ensure_ascii=False, allow_nan=False)
    return text.encode("utf-8", "replace") + b"\n"


def read_board(path: str | os.PathLike[str]) -> Board:
    """A ``chain.json`` that was written here, or edited since."""
    where = os.fspath(path)
    try:
        data = Path(path).read_bytes()
    except OSError as error:
        inside = Path(path) / CHAIN_NAME
        instead = f"did you mean {inside}?" if inside.is_file() else EXPECTED
        raise UsageError(f"{where}: cannot be read ({error.strerror}); {instead}") from None
    try:
        found = read_json(data, where)
    except DamagedError as error:
        raise DamagedError(f"{error}; {EXPECTED}") from None
    return parse_board(found, where)


def parse_board(data: Any, where: str) -> Board:
    """The inverse of :func:`board_bytes`, from JSON values."""
    kind = data.get("kind") if isinstance(data, dict) else type(data).__name__
    if kind != KIND:
        raise ContractError(f"{where}: found kind {shorten(kind)}, expected {KIND!r}")
    version = data.get("version")
    if version != VERSION:
        raise FormatVersionError(
            f"{where}: found version {shorten(version)}, this build reads {VERSION}; export again"
        )
    return from_dict(Board, data, where)
