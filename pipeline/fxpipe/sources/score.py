"""Owns what the synthetic guitarist plays: styles, chords and rhythms turned into notes.

It knows hands and frets, not sound: `fxpipe.sources.strings` makes a note audible. A style is a
function of a generator and a `Hand`; it fills the span from 0 to ``hand.span_s`` with notes, in any
order. Times are seconds; a *string* is counted from the lowest, a *shape* is (string, fret) pairs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

import numpy as np

from fxpipe.sources.gestures import (
    DEAD_MUTE,
    Hand,
    bend_up,
    fall,
    rake,
    slide,
    stroke,
    touch,
    vibrato,
)
from fxpipe.sources.shapes import one, position, power, progression
from fxpipe.sources.strings import Note

_CELLS: tuple[tuple[float, ...], ...] = (  # rhythm, in beats
    (1.0,),
    (0.5, 0.5),
    (0.75, 0.25),
    (1.5, 0.5),
    (1 / 3, 1 / 3, 1 / 3),
    (0.25, 0.25, 0.5),
    (0.25, 0.25, 0.25, 0.25),
    (2.0,),
)
_STRUMS = ("D-DU-UDU", "D-D-D-DU", "D-DUD-DU", "DUDUDUDU", "D---D-D-", "D-xUD-xU", "D-U-xUDU")
_FUNK = ("D-xUD-xU", "D-DUxxD-", "DxU-D-xU", "D-xUxUD-", "DU-xD-UD")
_PICKING = ((0, 2, 1, 3, 2, 4), (0, 1, 2, 3), (0, 3, 2, 1), (0, 2, 3, 1, 2, 3), (0, 1, 2, 3, 2, 1))
_RIFF_SLOTS = "mmmmmmmmmPPPPnnnnn--."  # palm mute, power chord, run, let ring, rest
_LEAST_STEP_S = 0.06  # no hand is faster

Style = Callable[[np.random.Generator, Hand], list[Note]]


def play_note(rng: np.random.Generator, hand: Hand) -> list[Note]:
    """A few long single notes, at times with vibrato, a bend or a natural harmonic."""
    notes, at_s = [], 0.0
    while at_s < hand.span_s:
        length_s = hand.beat_s * one(rng, (2.0, 3.0, 4.0, 6.0))
        string = int(rng.integers(6))
        fret = int(rng.integers(0, 18)) if rng.random() < 0.85 else 0
        note = touch(rng, hand, string, fret, at_s, length_s)
        luck = rng.random()
        if luck < 0.12:
            note = replace(note, fret=0, harmonic=one(rng, (2, 3, 4, 5)))
        elif luck < 0.35 and fret:
            note = replace(note, vibrato=vibrato(rng))
        elif luck < 0.45 and fret and string > 2:
            note = replace(note, bend=bend_up(rng, length_s, int(rng.integers(1, 3))))
        notes.append(note)
        at_s += length_s * float(rng.uniform(0.8, 1.05))
    return notes


def play_double_stop(rng: np.random.Generator, hand: Hand) -> list[Note]:
    """Two strings at a time in thirds to octaves, some slid into from below."""
    notes: list[Note] = []
    low = int(rng.integers(0, 4))
    fret = int(rng.integers(2, 13))
    for at_s, length_s in _rhythm(rng, hand, (0, 1, 2, 3, 7)):
        high = low + (1 if rng.random() < 0.75 else 2)
        span = hand.open_midi[high] - hand.open_midi[low]
        choices = [i for i in (3, 4, 5, 7, 8, 9, 12) if -3 <= i - span <= 3]
        other = fret + one(rng, choices) - span
        if low > 1 and high == low + 1 and fret + 2 >= span and rng.random() < 0.08:
            # a unison bend: the lower string is pulled up to the pitch of the upper one
            upper = touch(rng, hand, high, fret + 2 - span, at_s, length_s * 0.97)
            lower = touch(rng, hand, low, fret, at_s, length_s * 0.97)
            notes += [upper, replace(lower, bend=bend_up(rng, length_s, 2))]
            continue
        slid = slide(rng, -2) if rng.random() < 0.15 else ()
        for string, at_fret in ((low, fret), (high, max(0, other))):
            note = touch(rng, hand, string, at_fret, at_s, length_s * 0.97)
            notes.append(replace(note, bend=slid))
        fret = min(15, max(1, fret + one(rng, (-3, -2, -1, 0, 0, 1, 2, 3))))
        if rng.random() < 0.15:
            low = int(rng.integers(0, 4))
    return notes


def play_chord(rng: np.random.Generator, hand: Hand) -> list[Note]:
    """Chords struck once and held."""
    shapes = progression(rng, hand.open_midi)
    notes: list[Note] = []
    for count, (at_s, length_s) in enumerate(_rhythm(rng, hand, (0, 3, 7, 7))):
        shape = shapes[count % len(shapes)]
        stay_s = length_s * float(rng.uniform(0.85, 1.0))
        notes += stroke(rng, hand, shape, at_s, stay_s, spread_s=float(rng.uniform(0.002, 0.02)))
    return notes


def play_arpeggio(rng: np.random.Generator, hand: Hand) -> list[Note]:
    """A held chord picked string by string; every string rings until it is struck again."""
    shapes = progression(rng, hand.open_midi)
    pattern = one(rng, _PICKING)
    step_s = hand.beat_s * one(rng, (0.5, 0.5, 1 / 3, 0.25))
    change = int(rng.integers(6, 17))  # steps a chord stays
    notes = []
    for step in range(int(hand.span_s / step_s) + 1):
        shape = shapes[step // change % len(shapes)]
        string, fret = shape[pattern[step % len(pattern)] % len(shape)]
        left = change - step % change
        accent = 0.08 if step % len(pattern) == 0 else 0.0
        notes.append(touch(rng, hand, string, fret, step * step_s, left * step_s, accent))
    return notes


def play_strum(rng: np.random.Generator, hand: Hand) -> list[Note]:
    """Down and up strokes over a chord progression, some of them dead."""
    return _strum(rng, hand, one(rng, _STRUMS), 0.5, (0.008, 0.04))


def play_funk(rng: np.random.Generator, hand: Hand) -> list[Note]:
    """Sixteenths on the high strings: short chords between dead strokes."""
    return _strum(rng, hand, one(rng, _FUNK), 0.25, (0.003, 0.012))


def play_riff(rng: np.random.Generator, hand: Hand) -> list[Note]:
    """Palm-muted low notes with power chords and runs between them."""
    root = int(rng.integers(0, 6))
    step_s = hand.beat_s * one(rng, (0.5, 0.5, 0.25))
    slots = [one(rng, _RIFF_SLOTS) for _ in range(8)]
    slots[0] = one(rng, "mP")
    degrees = [one(rng, (0, 0, 0, 3, 5, 7, 10)) for _ in range(8)]
    n_strings = one(rng, (2, 3))
    second = hand.open_midi[1] - hand.open_midi[0]  # frets from string 0 to string 1
    notes: list[Note] = []
    for step in range(int(hand.span_s / step_s) + 1):
        slot, at_s = slots[step % 8], step * step_s
        fret = root + degrees[step % 8]
        if slot == "m":
            muted = touch(rng, hand, 0, root, at_s, step_s * 0.95)
            notes.append(replace(muted, mute=hand.palm_mute))
        elif slot == "P":
            shape = power(hand.open_midi, 0, fret, n_strings)
            held = 2 if slots[(step + 1) % 8] == "-" else 1
            notes += stroke(rng, hand, shape, at_s, held * step_s * 0.95, 0.006, accent=0.12)
        elif slot == "n":
            place = (1, fret - second) if fret >= second else (0, fret)
            notes.append(touch(rng, hand, *place, at_s, step_s))
    return notes


def play_phrase(rng: np.random.Generator, hand: Hand) -> list[Note]:
    """A melody in one position: hammer-ons, slides, bends and vibrato among picked notes."""
    places = position(rng, hand.open_midi)
    here = int(rng.integers(len(places)))
    notes: list[Note] = []
    for at_s, length_s in _rhythm(rng, hand, (0, 1, 1, 2, 3, 4, 5, 6)):
        string, fret = places[here]
        note = touch(rng, hand, string, fret, at_s, length_s * float(rng.uniform(0.8, 1.0)))
        luck = rng.random()
        if notes and notes[-1].string == string and 0 < abs(fret - notes[-1].fret) < 5:
            if luck < 0.3:
                note = replace(note, legato=True)
            elif luck < 0.45:
                note = replace(note, legato=True, bend=slide(rng, notes[-1].fret - fret))
        elif luck < 0.2 and fret and string > 2 and length_s > 0.3:
            note = replace(note, bend=bend_up(rng, length_s, int(rng.integers(1, 3))))
        if length_s > 0.45 and fret and rng.random() < 0.5:
            note = replace(note, vibrato=vibrato(rng))
        if not note.legato and rng.random() < 0.05:  # the thumb touches a node behind the pick
            note = replace(note, harmonic=one(rng, (3, 4, 5, 6)))
        if not note.bend and fret > 5 and rng.random() < 0.05:
            note = replace(note, bend=fall(length_s, int(rng.integers(2, 6))))
        if string and not note.legato and rng.random() < 0.06:
            notes += rake(rng, hand, note)
        notes.append(note)
        here = min(len(places) - 1, max(0, here + one(rng, (-3, -2, -1, -1, 1, 1, 2, 3))))
    return notes


def play_legato(rng: np.random.Generator, hand: Hand) -> list[Note]:
    """Trills, hammer-ons and pull-offs, some from the open string, some tapped far up the neck."""
    notes: list[Note] = []
    step_s = max(_LEAST_STEP_S, hand.beat_s * one(rng, (0.25, 0.25, 1 / 6, 0.125)))
    string, low = int(rng.integers(6)), int(rng.integers(0, 12))
    frets = _figure(rng, low)
    for step in range(int(hand.span_s / step_s) + 1):
        place = step % len(frets)
        if place == 0 and step and rng.random() < 0.3:
            string = min(5, max(0, string + one(rng, (-1, 1))))
            low = min(12, max(0, low + one(rng, (-2, 0, 0, 2))))
            frets = _figure(rng, low)
            place = 0
        note = touch(rng, hand, string, frets[place], step * step_s, step_s * 1.2)
        notes.append(replace(note, legato=place > 0 or rng.random() < 0.6))
    return notes


def play_tremolo(rng: np.random.Generator, hand: Hand) -> list[Note]:
    """One string picked as fast as the hand goes, the melody under it moving slowly."""
    places = position(rng, hand.open_midi)
    here = int(rng.integers(len(places)))
    step_s = min(0.14, max(_LEAST_STEP_S, hand.beat_s / one(rng, (4, 6, 8))))
    mute = hand.palm_mute * 0.6 if rng.random() < 0.3 else 0.0
    notes = []
    for step in range(int(hand.span_s / step_s) + 1):
        if step % 8 == 0 and step:
            here = min(len(places) - 1, max(0, here + one(rng, (-2, -1, 0, 1, 2))))
        string, fret = places[here]
        accent = (0.05 if step % 4 == 0 else -0.03) - 0.04 * (step % 2)  # up strokes are weaker
        note = touch(rng, hand, string, fret, step * step_s, step_s, accent)
        notes.append(replace(note, mute=mute))
    return notes


STYLES: dict[str, tuple[float, Style]] = {  # name: share of the clips, function
    "note": (0.13, play_note),
    "double_stop": (0.10, play_double_stop),
    "chord": (0.13, play_chord),
    "arpeggio": (0.15, play_arpeggio),
    "strum": (0.13, play_strum),
    "funk": (0.06, play_funk),
    "riff": (0.12, play_riff),
    "phrase": (0.13, play_phrase),
    "legato": (0.03, play_legato),
    "tremolo": (0.02, play_tremolo),
}


def _figure(rng: np.random.Generator, low: int) -> list[int]:
    """Frets of one trill or tapped figure, each reached from the one before without a pick."""
    first = 0 if rng.random() < 0.2 else low
    second, third = low + int(rng.integers(1, 4)), low + int(rng.integers(4, 6))
    tapped = low + int(rng.integers(7, 10))
    return one(rng, ([first, second], [first, second, third, second], [tapped, first, second]))


def _strum(
    rng: np.random.Generator,
    hand: Hand,
    pattern: str,
    step_beats: float,
    spread_s: tuple[float, float],
) -> list[Note]:
    """Strokes of a pattern: D down, U up, x dead, - let ring; the chord changes every pattern."""
    shapes = progression(rng, hand.open_midi)
    step_s = hand.beat_s * step_beats
    short = step_beats < 0.5
    notes: list[Note] = []
    for step in range(int(hand.span_s / step_s) + 1):
        way = pattern[step % len(pattern)]
        shape = shapes[step // len(pattern) % len(shapes)]
        if short:
            shape = shape[-4:]
        if way == "U":
            shape = shape[: -int(rng.integers(3, 6)) - 1 : -1]
        if way != "-":
            dead = way == "x"
            accent = 0.06 if step % 4 == 0 else -0.05 * (way == "U") - 0.1 * dead
            length_s = step_s * (0.9 if dead else 1.8) if short or dead else 4.0 * hand.beat_s
            spread = float(rng.uniform(*spread_s))
            mute = DEAD_MUTE if dead else 0.0
            notes += stroke(rng, hand, shape, step * step_s, length_s, spread, accent, mute)
    return notes


def _rhythm(
    rng: np.random.Generator, hand: Hand, cells: Sequence[int]
) -> Iterator[tuple[float, float]]:
    """Onset and length, in seconds, of notes that fill the span from random cells."""
    at_s = 0.0
    while at_s < hand.span_s:
        for beats in _CELLS[one(rng, cells)]:
            yield at_s, beats * hand.beat_s
            at_s += beats * hand.beat_s
