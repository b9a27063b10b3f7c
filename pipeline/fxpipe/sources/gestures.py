"""Owns the gestures of two hands: a stroke, a bend, a slide, and what hands do besides the notes.

A gesture becomes a `fxpipe.sources.strings.Note`; `besides` adds what nobody writes down: a string
brushed, a finger lifted from a ringing string, a finger that squeaks along the windings.
Times are seconds.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from fxpipe.sources.guitars import Guitar
from fxpipe.sources.noises import Squeak
from fxpipe.sources.shapes import Shape, one
from fxpipe.sources.strings import Note

DEAD_MUTE = 0.95

# chance a note, with the noisiest hands
_BRUSHES_NEIGHBOUR = 0.08
_LIFT_SOUNDS = 0.25
_TOUCHED_WHILE_RINGING = 0.2
_SHIFT_SQUEAKS = 0.45


@dataclass(frozen=True)
class Hand:
    """The player: one for a whole clip. ``loose_s`` is the spread of the timing."""

    open_midi: tuple[int, ...]
    beat_s: float
    span_s: float
    dynamic: float  # 0..1, mean velocity
    pick_mm: float
    palm_mute: float
    loose_s: float
    contact_s: float = 0.0  # the pick lies on a ringing string before it strikes it again
    noisy: float = 0.0  # 0..1: how often the hands do what is not in the score
    open_rings: float = 0.0  # 0..1: how often strings that nobody plays are free to ring along


def touch(
    rng: np.random.Generator,
    hand: Hand,
    string: int,
    fret: int,
    at_s: float,
    length_s: float,
    accent: float = 0.0,
) -> Note:
    """A picked note with this player's scatter in time, force and place."""
    late, force, place, lift = rng.standard_normal(4).tolist()
    onset_s = max(0.0, at_s + hand.loose_s * late)
    return Note(
        string=string,
        fret=fret,
        onset_s=onset_s,
        end_s=onset_s + max(length_s, 0.03),
        velocity=min(1.0, max(0.05, hand.dynamic + accent + 0.07 * force)),
        pick_mm=max(12.0, hand.pick_mm + 6.0 * place),
        lift_s=0.03 * 2.0 ** (0.6 * lift),
    )


def stroke(
    rng: np.random.Generator,
    hand: Hand,
    shape: Shape,
    at_s: float,
    length_s: float,
    spread_s: float,
    accent: float = 0.0,
    mute: float = 0.0,
) -> list[Note]:
    """All strings of a shape in the given order; ``spread_s`` from the first to the last."""
    gap_s = spread_s / max(1, len(shape) - 1)
    steady = replace(hand, loose_s=0.15 * gap_s)
    late_s = hand.loose_s * float(rng.standard_normal())
    fade = float(rng.uniform(0.0, 0.03))  # a stroke loses force on its way
    notes = []
    for count, (string, fret) in enumerate(shape):
        onset_s = at_s + late_s + count * gap_s
        force = accent - fade * count
        note = touch(rng, steady, string, fret, onset_s, length_s - count * gap_s, force)
        notes.append(replace(note, mute=mute) if mute else note)
    return notes


def choked(notes: Sequence[Note], contact_s: float = 0.0) -> list[Note]:
    """The notes in time order, each ended where its string is struck again, or touched for it."""
    ordered = sorted(notes, key=lambda note: (note.onset_s, note.string))
    following: dict[int, Note] = {}
    out = []
    for note in reversed(ordered):
        again = following.get(note.string)
        following[note.string] = note
        if again is not None and again.onset_s <= note.end_s:
            end_s = again.onset_s - (0.0 if again.legato else contact_s)
            note = replace(note, end_s=max(end_s, note.onset_s + 0.01), lift_s=0.004)
        out.append(note)
    return out[::-1]


def besides(
    rng: np.random.Generator, guitar: Guitar, hand: Hand, notes: Sequence[Note]
) -> tuple[list[Note], list[Squeak]]:
    """What the hands do besides these notes: faint notes, and squeaks.

    The faint ones: a neighbour string the pick brushes; the open string that sounds for a moment
    when a finger leaves it; a fret, pick or finger that touches a string while it rings; strings
    that ring along because nobody holds them.
    """
    faint: list[Note] = []
    squeaks: list[Squeak] = []
    held = [note for note in notes if note.mute < 0.9]
    n_wound = len(hand.open_midi) - guitar.strings.n_plain
    last_fret = 0
    for note in held:
        brushes, lifts, touches, squeals = rng.random(4).tolist()
        if brushes < _BRUSHES_NEIGHBOUR * hand.noisy and not note.legato:
            string = note.string + (1 if note.string == 0 else one(rng, (-1, 1)))
            if string < len(hand.open_midi):
                faint.append(_brushed(rng, note, string, 0, note.onset_s, 0.35))
        if lifts < _LIFT_SOUNDS * hand.noisy and note.fret and note.lift_s > 0.01:
            faint.append(_brushed(rng, note, note.string, 0, note.end_s, 0.3))
        length_s = note.end_s - note.onset_s
        if touches < _TOUCHED_WHILE_RINGING * hand.noisy and length_s > 0.35:
            at_s = note.onset_s + float(rng.uniform(0.12, 0.8)) * length_s
            faint.append(_brushed(rng, note, note.string, note.fret, at_s, 0.2))
        shifts = note.fret and last_fret and abs(note.fret - last_fret) > 1
        if shifts and squeals < _SHIFT_SQUEAKS * hand.noisy:
            lasts_s = float(rng.uniform(0.05, 0.16))
            at_s = note.onset_s - lasts_s - float(rng.uniform(0.0, 0.03))
            string = min(note.string, int(rng.integers(n_wound)))
            squeaks.append(Squeak(string, at_s, lasts_s, float(rng.uniform(0.25, 1.1))))
        last_fret = note.fret or last_fret
    if held and rng.random() < hand.open_rings:
        faint += _ringing_along(rng, hand, held)
    return faint, squeaks


def _brushed(
    rng: np.random.Generator, note: Note, string: int, fret: int, at_s: float, least_mute: float
) -> Note:
    """A string set in motion by accident and damped again at once."""
    return replace(
        note,
        string=string,
        fret=fret,
        onset_s=at_s,
        end_s=at_s + float(rng.uniform(0.03, 0.15)),
        pick_mm=float(rng.uniform(20.0, 300.0)),
        mute=float(rng.uniform(least_mute, 0.85)),
        legato=True,
        bend=(),
        vibrato=(0.0, 0.0),
        harmonic=1,
        faint_db=float(rng.uniform(10.0, 36.0)),
    )


def _ringing_along(rng: np.random.Generator, hand: Hand, held: Sequence[Note]) -> list[Note]:
    """One to three open strings, set going by the first note, that no note of the clip needs."""
    used = {note.string for note in held}
    free = [
        string for string in rng.permutation(len(hand.open_midi)).tolist() if string not in used
    ]
    level_db = float(rng.uniform(32.0, 54.0))
    return [
        replace(
            held[0],
            string=string,
            fret=0,
            end_s=hand.span_s + 1.0,
            mute=0.0,
            legato=True,
            bend=(),
            vibrato=(0.0, 0.0),
            harmonic=1,
            faint_db=level_db + float(rng.uniform(0.0, 8.0)),
        )
        for string in free[: int(rng.integers(1, 4))]
    ]


def vibrato(rng: np.random.Generator) -> tuple[float, float]:
    return float(rng.uniform(4.2, 6.8)), float(rng.uniform(0.08, 0.4))


def slide(rng: np.random.Generator, semitones: int) -> tuple[tuple[float, float], ...]:
    """From ``semitones`` away to the note, a fret at a time."""
    fret_s = float(rng.uniform(0.015, 0.035))
    points = [(0.03, float(semitones))]
    for count in range(1, abs(semitones) + 1):
        left = float(semitones - count * np.sign(semitones))
        points += [(0.03 + count * fret_s, left), (0.03 + (count + 0.6) * fret_s, left)]
    return tuple(points)


def bend_up(
    rng: np.random.Generator, length_s: float, semitones: int
) -> tuple[tuple[float, float], ...]:
    """Up to ``semitones`` above the fret, at times let down again."""
    if rng.random() < 0.2:  # bent before it is struck, then let down
        hold_s = float(rng.uniform(0.1, 0.5)) * length_s
        return ((hold_s, float(semitones)), (hold_s + float(rng.uniform(0.08, 0.3)), 0.0))
    start_s = float(rng.uniform(0.02, 0.12))
    up_s = start_s + float(rng.uniform(0.06, 0.2))
    points = [(start_s, 0.0), (up_s, float(semitones))]
    if rng.random() < 0.4:
        down_s = max(up_s + 0.05, 0.6 * length_s)
        points += [(down_s, float(semitones)), (down_s + 0.15, 0.0)]
    return tuple(points)


def fall(length_s: float, semitones: int) -> tuple[tuple[float, float], ...]:
    """A slide away from the fret at the note's end, to nowhere."""
    start_s = 0.7 * length_s
    return ((start_s, 0.0), (start_s + 0.05 * semitones, -float(semitones)))


def rake(rng: np.random.Generator, hand: Hand, note: Note) -> list[Note]:
    """The pick drawn over two or three damped strings into the note."""
    gap_s = float(rng.uniform(0.012, 0.03))
    steady = replace(hand, loose_s=0.0)
    dead = []
    for back in range(min(note.string, int(rng.integers(2, 4))), 0, -1):
        at_s = max(0.0, note.onset_s - back * gap_s)
        struck = touch(rng, steady, note.string - back, 0, at_s, gap_s, -0.15)
        dead.append(replace(struck, mute=DEAD_MUTE))
    return dead


def shaken(rng: np.random.Generator, notes: Sequence[Note]) -> list[Note]:
    """All strings moved together by the tremolo arm, but those a finger bends."""
    vibrato = (float(rng.uniform(3.0, 6.5)), float(rng.uniform(0.05, 0.25)))
    return [note if note.bend else replace(note, vibrato=vibrato) for note in notes]
