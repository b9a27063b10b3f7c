"""Owns who plays a phrase: the recordings of one split by guitar, and what one hand reaches.

Knows pitches, strings and frets where a source tells them; no time, no audio.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import TypeVar

import numpy as np

from fxpipe.sources.base import Item, MetaValue

T = TypeVar("T")

LONGEST_S = 15.0
ONE_STROKE = frozenset({"note", "double stop", "chord"})
SEVERAL_STROKES = frozenset({"scale", "technique", "lick", "phrase", "piece"})
LONGEST_NOTE_S = 3.0
"""A recording of another kind, or of none, and without a pitch, that sounds for longer is taken for
several strokes."""

TELLING_PLAYERS = ("pickup", "signal", "player")
PHRASE_KEYS = ("guitar", *TELLING_PLAYERS, "kind", "midi", "string", "fret")
"""All of ``meta`` that decides which recordings a phrase is made of."""


DOUBLE_STOPS = frozenset({3, 4, 5, 7, 8, 9, 12})  # thirds to sixths, octave, in semitones
SCALES: tuple[tuple[int, ...], ...] = (
    (0, 3, 5, 7, 10),  # minor pentatonic
    (0, 2, 4, 7, 9),  # major pentatonic
    (0, 2, 3, 5, 7, 8, 10),  # natural minor
    (0, 2, 4, 5, 7, 9, 11),  # major
)
SPAN_FRETS, SPAN_SEMITONES = 4, 14
FEWEST_PITCHES = 4
PALETTE = (3, 8)
"""How many recordings a phrase without known pitches walks among."""


@dataclass(frozen=True)
class Piece:
    """A recording as a phrase sees it. ``midi``, ``string``, ``fret`` where they are known.

    A lick is whatever holds several strokes; a chord two or more strings in one.
    """

    item: Item
    is_lick: bool
    is_chord: bool
    midi: int | None
    string: int | None
    fret: int | None

    @property
    def start_s(self) -> float:
        return self.item.sounding[0][0]

    @property
    def end_s(self) -> float:
        return self.item.sounding[-1][1]

    @property
    def nature(self) -> tuple[bool, bool]:
        return self.is_lick, self.is_chord

    @property
    def voice(self) -> tuple[str, int | str]:
        """Two pieces of one voice cannot sound together: a string, or the same thing again."""
        if self.string is not None:
            return "string", self.string
        return ("item", self.item.item_id) if self.midi is None else ("pitch", self.midi)


Player = tuple[Piece, ...]
"""One guitar through one pickup, as far as is known: the pieces of a phrase share it."""

Ladder = tuple[tuple[Piece, ...], ...]
"""Rungs from low to high: the takes of one pitch, or one recording where pitch is not known."""


def stock_of(items: Iterable[Item]) -> tuple[Player, ...]:
    """What phrases can be made of: the recordings of one split by player, two or more each.

    A player is a licence, and by ``meta`` a guitar, a pickup, what was recorded and who plays;
    where no guitar is named, a folder stands for it.
    Recordings of more than 15 s are phrases already and are left out. Recordings that are alone
    of their player play together, if their licence is the same.
    """
    by_player: dict[tuple[str, ...], list[Piece]] = defaultdict(list)
    for item in items:
        if item.duration_s - float(item.meta.get("lead_in_s", 0.0)) <= LONGEST_S:
            guitar = item.meta.get("guitar") or PurePosixPath(item.item_id).parent
            told = [str(item.meta.get(key, "")) for key in TELLING_PLAYERS]
            by_player[(item.licence, str(guitar), *told)].append(_piece(item))
    players: list[Player] = []
    alone: dict[str, list[Piece]] = defaultdict(list)
    for (licence, *_), pieces in by_player.items():
        if len(pieces) > 1:
            players.append(tuple(pieces))
        else:
            alone[licence] += pieces
    return (*players, *(tuple(pieces) for pieces in alone.values() if len(pieces) > 1))


def anchor_of(stock: Sequence[Player], u: float) -> tuple[Player, Piece]:
    """Map a uniform draw in [0, 1) to a recording, every one equally likely, and its player."""
    at = int(u * sum(map(len, stock)))
    for player in stock:
        if at < len(player):
            return player, player[at]
        at -= len(player)
    raise IndexError(f"draw {u} lies outside [0, 1), or there is nothing to draw from")


def shared_meta(items: Sequence[Item]) -> dict[str, MetaValue]:
    """What is true of all of them: guitar, pickup, style …"""
    first, *others = items
    return {
        key: value
        for key, value in first.meta.items()
        if all(item.meta.get(key) == value for item in others)
    }


def _piece(item: Item) -> Piece:
    kind = str(item.meta.get("kind", ""))
    midi = _whole(item, "midi")
    sounds_s = sum(end - start for start, end in item.sounding)
    is_long = kind not in ONE_STROKE and midi is None and sounds_s > LONGEST_NOTE_S
    return Piece(
        item=item,
        is_lick=kind in SEVERAL_STROKES or is_long,
        is_chord=kind in ONE_STROKE - {"note"},
        midi=midi,
        string=_whole(item, "string"),
        fret=_whole(item, "fret"),
    )


def _whole(item: Item, key: str) -> int | None:
    try:
        return round(float(item.meta[key]))
    except (KeyError, ValueError, OverflowError):
        return None


def draw_ladder(rng: np.random.Generator, player: Player, anchor: Piece) -> Ladder:
    """What a phrase around ``anchor`` walks on: pitches of one scale that lie under one hand.

    Without pitches: a few recordings like the anchor. Two recordings at least.
    """
    if anchor.midi is None or anchor.is_lick or anchor.is_chord:
        return _any_few(rng, player, anchor)
    middle = anchor.midi
    tonic = middle - one_of(rng, scale := one_of(rng, SCALES))
    rungs: dict[int, list[Piece]] = defaultdict(list)
    for piece in _within_reach(rng, player, anchor):
        rungs[piece.midi or 0].append(piece)
    in_scale = [midi for midi in rungs if (midi - tonic) % 12 in scale]
    chosen = in_scale
    if len(in_scale) < FEWEST_PITCHES:  # this hand holds too little of the scale
        chosen = sorted(rungs, key=lambda midi: (abs(midi - middle), midi))[:FEWEST_PITCHES]
    if sum(len(rungs[midi]) for midi in chosen) < 2:
        return _any_few(rng, player, anchor)
    return tuple(tuple(rungs[midi]) for midi in sorted(chosen))


def _any_few(rng: np.random.Generator, player: Player, anchor: Piece) -> Ladder:
    others = [piece for piece in player if piece != anchor]
    like = [piece for piece in others if piece.nature == anchor.nature] or others
    n = min(len(like), int(rng.integers(PALETTE[0] - 1, PALETTE[1])))
    chosen = rng.choice(len(like), size=n, replace=False)
    return ((anchor,), *((like[int(k)],) for k in chosen))


def _within_reach(rng: np.random.Generator, player: Player, anchor: Piece) -> list[Piece]:
    """Notes within five frets of one another, or within an octave and a tone if frets are unknown.

    Wider where that holds fewer than four pitches; the anchor is always among them.
    """

    def place(piece: Piece) -> int | None:
        return piece.midi if anchor.fret is None else piece.fret

    notes = [piece for piece in player if piece.midi is not None and piece.nature == anchor.nature]
    placed = [(at, piece) for piece in notes if (at := place(piece)) is not None]
    enough = min(FEWEST_PITCHES, len({piece.midi for _, piece in placed}))
    span = SPAN_SEMITONES if anchor.fret is None else SPAN_FRETS
    low = (place(anchor) or 0) - int(rng.integers(0, span + 1))
    high = low + span
    while True:
        within = [piece for at, piece in placed if low <= at <= high]
        if len({piece.midi for piece in within}) >= enough:
            return within
        low, high = low - 1, high + 1


def can_sound_together(piece: Piece, other: Piece) -> bool:
    """A double stop: another string, and an interval that is one. True where pitch is unknown."""
    if piece.item == other.item:
        return False
    if piece.midi is None or other.midi is None:
        return True
    same_string = piece.string is not None and piece.string == other.string
    return not same_string and abs(piece.midi - other.midi) in DOUBLE_STOPS


def one_of(rng: np.random.Generator, choices: Sequence[T]) -> T:
    return choices[int(rng.integers(len(choices)))]
