"""Owns what the synthetic guitarist plays: styles, chords and rhythms turned into notes.

It knows hands and frets, not sound: `fxpipe.sources.strings` makes a note audible. A style is a
function of a generator and a `Hand`; it fills the span from 0 to ``hand.span_s`` with notes, in any
order. Times are seconds; a *string* is counted from the lowest, a *shape* is (string, fret) pairs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np

from fxpipe.sources.guitars import STANDARD_TUNING
from fxpipe.sources.strings import Note

Shape = list[tuple[int, int]]
T = TypeVar("T")

_X = -1  # string not played
_OPEN_CHORDS: tuple[tuple[int, ...], ...] = (
    (_X, 3, 2, 0, 1, 0),  # C
    (_X, 0, 2, 2, 2, 0),  # A
    (3, 2, 0, 0, 0, 3),  # G
    (0, 2, 2, 1, 0, 0),  # E
    (_X, _X, 0, 2, 3, 2),  # D
    (_X, 0, 2, 2, 1, 0),  # Am
    (0, 2, 2, 0, 0, 0),  # Em
    (_X, _X, 0, 2, 3, 1),  # Dm
    (_X, 0, 2, 0, 2, 0),  # A7
    (0, 2, 0, 1, 0, 0),  # E7
    (_X, _X, 3, 2, 1, 0),  # Fmaj7
    (_X, 3, 2, 0, 3, 3),  # Cadd9
    (_X, _X, 0, 2, 3, 0),  # Dsus2
    (3, _X, 0, 0, 1, 3),  # Gsus4
)
_MOVABLE_CHORDS: tuple[tuple[int, ...], ...] = (
    (0, 2, 2, 1, 0, 0),  # major, root on the sixth string
    (0, 2, 2, 0, 0, 0),  # minor
    (0, 2, 0, 0, 0, 0),  # minor 7
    (0, 2, 0, 1, 0, 0),  # dominant 7
    (_X, 0, 2, 2, 2, _X),  # major, root on the fifth string
    (_X, 0, 2, 2, 1, 0),  # minor
    (_X, 0, 2, 1, 2, 0),  # major 7
    (_X, 0, 2, 0, 1, 0),  # minor 7
    (_X, 1, 0, 1, 1, 1),  # dominant 9
    (0, _X, 1, 1, _X, _X),  # major 7 shell
    (0, _X, 0, 0, _X, _X),  # minor 7 shell
    (_X, _X, 0, 2, 1, 2),  # diminished 7
    (_X, _X, _X, 2, 3, 2),  # major triad on three strings
    (_X, _X, _X, 2, 3, 1),  # minor triad on three strings
    (_X, _X, 2, 0, 1, 0),  # four-string major
)
_SCALES: tuple[tuple[int, ...], ...] = (
    (0, 3, 5, 7, 10),  # minor pentatonic
    (0, 2, 4, 7, 9),  # major pentatonic
    (0, 3, 5, 6, 7, 10),  # blues
    (0, 2, 3, 5, 7, 9, 10),  # dorian
    (0, 2, 4, 5, 7, 9, 11),  # major
    (0, 2, 3, 5, 7, 8, 11),  # harmonic minor
)
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
_DEAD_MUTE = 0.95


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


Style = Callable[[np.random.Generator, Hand], list[Note]]


def play_note(rng: np.random.Generator, hand: Hand) -> list[Note]:
    """A few long single notes, at times with vibrato, a bend or a natural harmonic."""
    notes, at_s = [], 0.0
    while at_s < hand.span_s:
        length_s = hand.beat_s * _one(rng, (2.0, 3.0, 4.0, 6.0))
        string = int(rng.integers(6))
        fret = int(rng.integers(0, 18)) if rng.random() < 0.85 else 0
        note = _touch(rng, hand, string, fret, at_s, length_s)
        luck = rng.random()
        if luck < 0.12:
            note = replace(note, fret=0, harmonic=_one(rng, (2, 3, 4, 5)))
        elif luck < 0.35 and fret:
            note = replace(note, vibrato=_vibrato(rng))
        elif luck < 0.45 and fret and string > 2:
            note = replace(note, bend=_bend(rng, length_s, int(rng.integers(1, 3))))
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
        other = fret + _one(rng, choices) - span
        slide = _slide(rng, -2) if rng.random() < 0.15 else ()
        for string, at_fret in ((low, fret), (high, max(0, other))):
            note = _touch(rng, hand, string, at_fret, at_s, length_s * 0.97)
            notes.append(replace(note, bend=slide))
        fret = min(15, max(1, fret + _one(rng, (-3, -2, -1, 0, 0, 1, 2, 3))))
        if rng.random() < 0.15:
            low = int(rng.integers(0, 4))
    return notes


def play_chord(rng: np.random.Generator, hand: Hand) -> list[Note]:
    """Chords struck once and held."""
    shapes = _progression(rng, hand)
    notes: list[Note] = []
    for count, (at_s, length_s) in enumerate(_rhythm(rng, hand, (0, 3, 7, 7))):
        shape = shapes[count % len(shapes)]
        stay_s = length_s * float(rng.uniform(0.85, 1.0))
        notes += _stroke(rng, hand, shape, at_s, stay_s, spread_s=float(rng.uniform(0.002, 0.02)))
    return notes


def play_arpeggio(rng: np.random.Generator, hand: Hand) -> list[Note]:
    """A held chord picked string by string; every string rings until it is struck again."""
    shapes = _progression(rng, hand)
    pattern = _one(rng, _PICKING)
    step_s = hand.beat_s * _one(rng, (0.5, 0.5, 1 / 3, 0.25))
    change = int(rng.integers(6, 17))  # steps a chord stays
    notes = []
    for step in range(int(hand.span_s / step_s) + 1):
        shape = shapes[step // change % len(shapes)]
        string, fret = shape[pattern[step % len(pattern)] % len(shape)]
        left = change - step % change
        accent = 0.08 if step % len(pattern) == 0 else 0.0
        notes.append(_touch(rng, hand, string, fret, step * step_s, left * step_s, accent))
    return notes


def play_strum(rng: np.random.Generator, hand: Hand) -> list[Note]:
    """Down and up strokes over a chord progression, some of them dead."""
    return _strum(rng, hand, _one(rng, _STRUMS), 0.5, (0.008, 0.04))


def play_funk(rng: np.random.Generator, hand: Hand) -> list[Note]:
    """Sixteenths on the high strings: short chords between dead strokes."""
    return _strum(rng, hand, _one(rng, _FUNK), 0.25, (0.003, 0.012))


def play_riff(rng: np.random.Generator, hand: Hand) -> list[Note]:
    """Palm-muted low notes with power chords and runs between them."""
    root = int(rng.integers(0, 6))
    step_s = hand.beat_s * _one(rng, (0.5, 0.5, 0.25))
    slots = [_one(rng, _RIFF_SLOTS) for _ in range(8)]
    slots[0] = _one(rng, "mP")
    degrees = [_one(rng, (0, 0, 0, 3, 5, 7, 10)) for _ in range(8)]
    n_strings = _one(rng, (2, 3))
    second = hand.open_midi[1] - hand.open_midi[0]  # frets from string 0 to string 1
    notes: list[Note] = []
    for step in range(int(hand.span_s / step_s) + 1):
        slot, at_s = slots[step % 8], step * step_s
        fret = root + degrees[step % 8]
        if slot == "m":
            muted = _touch(rng, hand, 0, root, at_s, step_s * 0.95)
            notes.append(replace(muted, mute=hand.palm_mute))
        elif slot == "P":
            shape = _power(hand, 0, fret, n_strings)
            held = 2 if slots[(step + 1) % 8] == "-" else 1
            notes += _stroke(rng, hand, shape, at_s, held * step_s * 0.95, 0.006, accent=0.12)
        elif slot == "n":
            place = (1, fret - second) if fret >= second else (0, fret)
            notes.append(_touch(rng, hand, *place, at_s, step_s))
    return notes


def play_phrase(rng: np.random.Generator, hand: Hand) -> list[Note]:
    """A melody in one position: hammer-ons, slides, bends and vibrato among picked notes."""
    places = _position(rng, hand)
    here = int(rng.integers(len(places)))
    notes: list[Note] = []
    for at_s, length_s in _rhythm(rng, hand, (0, 1, 1, 2, 3, 4, 5, 6)):
        string, fret = places[here]
        note = _touch(rng, hand, string, fret, at_s, length_s * float(rng.uniform(0.8, 1.0)))
        luck = rng.random()
        if notes and notes[-1].string == string and 0 < abs(fret - notes[-1].fret) < 5:
            if luck < 0.3:
                note = replace(note, legato=True)
            elif luck < 0.45:
                note = replace(note, legato=True, bend=_slide(rng, notes[-1].fret - fret))
        elif luck < 0.2 and fret and string > 2 and length_s > 0.3:
            note = replace(note, bend=_bend(rng, length_s, int(rng.integers(1, 3))))
        if length_s > 0.45 and fret and rng.random() < 0.5:
            note = replace(note, vibrato=_vibrato(rng))
        notes.append(note)
        here = min(len(places) - 1, max(0, here + _one(rng, (-3, -2, -1, -1, 1, 1, 2, 3))))
    return notes


STYLES: dict[str, tuple[float, Style]] = {  # name: share of the clips, function
    "note": (0.14, play_note),
    "double_stop": (0.10, play_double_stop),
    "chord": (0.14, play_chord),
    "arpeggio": (0.16, play_arpeggio),
    "strum": (0.14, play_strum),
    "funk": (0.06, play_funk),
    "riff": (0.12, play_riff),
    "phrase": (0.14, play_phrase),
}


def choked(notes: Sequence[Note]) -> list[Note]:
    """The notes in time order, each ended where its string is struck again."""
    ordered = sorted(notes, key=lambda note: (note.onset_s, note.string))
    following: dict[int, float] = {}
    out = []
    for note in reversed(ordered):
        again_s = following.get(note.string, np.inf)
        following[note.string] = note.onset_s
        if again_s <= note.end_s:
            note = replace(note, end_s=max(again_s, note.onset_s + 0.01), lift_s=0.004)
        out.append(note)
    return out[::-1]


def _one(rng: np.random.Generator, choices: Sequence[T]) -> T:
    """One of the choices; faster than ``Generator.choice`` and keeps the type."""
    return choices[int(rng.integers(len(choices)))]


def _touch(
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


def _stroke(
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
        note = _touch(rng, steady, string, fret, onset_s, length_s - count * gap_s, force)
        notes.append(replace(note, mute=mute) if mute else note)
    return notes


def _strum(
    rng: np.random.Generator,
    hand: Hand,
    pattern: str,
    step_beats: float,
    spread_s: tuple[float, float],
) -> list[Note]:
    """Strokes of a pattern: D down, U up, x dead, - let ring; the chord changes every pattern."""
    shapes = _progression(rng, hand)
    step_s = hand.beat_s * step_beats
    short = step_beats < 0.5
    notes: list[Note] = []
    for step in range(int(hand.span_s / step_s) + 1):
        stroke = pattern[step % len(pattern)]
        shape = shapes[step // len(pattern) % len(shapes)]
        if short:
            shape = shape[-4:]
        if stroke == "U":
            shape = shape[: -int(rng.integers(3, 6)) - 1 : -1]
        if stroke != "-":
            dead = stroke == "x"
            accent = 0.06 if step % 4 == 0 else -0.05 * (stroke == "U") - 0.1 * dead
            length_s = step_s * (0.9 if dead else 1.8) if short or dead else 4.0 * hand.beat_s
            spread = float(rng.uniform(*spread_s))
            mute = _DEAD_MUTE if dead else 0.0
            notes += _stroke(rng, hand, shape, step * step_s, length_s, spread, accent, mute)
    return notes


def _rhythm(
    rng: np.random.Generator, hand: Hand, cells: Sequence[int]
) -> Iterator[tuple[float, float]]:
    """Onset and length, in seconds, of notes that fill the span from random cells."""
    at_s = 0.0
    while at_s < hand.span_s:
        for beats in _CELLS[_one(rng, cells)]:
            yield at_s, beats * hand.beat_s
            at_s += beats * hand.beat_s


def _progression(rng: np.random.Generator, hand: Hand) -> list[Shape]:
    """One to four chords: open ones, movable ones, or power chords."""
    luck, count = rng.random(), int(rng.integers(1, 5))
    if luck < 0.45:
        picks = rng.choice(len(_OPEN_CHORDS), size=count, replace=False)
        return [_shape(hand, _OPEN_CHORDS[int(pick)], 0) for pick in picks]
    frets = [int(fret) for fret in rng.integers(1, 10, size=count)]
    if luck < 0.9:
        form = _one(rng, _MOVABLE_CHORDS)
        return [_shape(hand, form, fret) for fret in frets]
    root_string, n_strings = _one(rng, (0, 1)), _one(rng, (2, 3))
    return [_power(hand, root_string, fret, n_strings) for fret in frets]


def _power(hand: Hand, root_string: int, fret: int, n_strings: int) -> Shape:
    """Root, fifth and (with three strings) octave on neighbouring strings, in any tuning."""
    midi = hand.open_midi
    root = midi[root_string] + fret
    strings = range(root_string, root_string + n_strings)
    return [(s, root + up - midi[s]) for s, up in zip(strings, (0, 7, 12), strict=False)]


def _shape(hand: Hand, frets: Sequence[int], up: int) -> Shape:
    """A chord written for standard tuning as it lies on this guitar, moved ``up`` frets."""
    transposed = hand.open_midi[-1] - STANDARD_TUNING[-1]
    shape = []
    for string, fret in enumerate(frets):
        if fret != _X:
            retuned = STANDARD_TUNING[string] + transposed - hand.open_midi[string]
            shape.append((string, fret + up + retuned))
    return shape


def _position(rng: np.random.Generator, hand: Hand) -> Shape:
    """Places of one scale within four frets, in order of pitch."""
    scale = _one(rng, _SCALES)
    root, low_fret = int(rng.integers(12)), int(rng.integers(0, 13))
    places = {}
    for string, open_midi in enumerate(hand.open_midi):
        for fret in range(low_fret, low_fret + 4):
            if (open_midi + fret - root) % 12 in scale:
                places[open_midi + fret] = (string, fret)
    return [places[midi] for midi in sorted(places)]


def _vibrato(rng: np.random.Generator) -> tuple[float, float]:
    return float(rng.uniform(4.2, 6.8)), float(rng.uniform(0.08, 0.4))


def _slide(rng: np.random.Generator, semitones: int) -> tuple[tuple[float, float], ...]:
    """From ``semitones`` away to the note, a fret at a time."""
    fret_s = float(rng.uniform(0.015, 0.035))
    points = [(0.03, float(semitones))]
    for count in range(1, abs(semitones) + 1):
        left = float(semitones - count * np.sign(semitones))
        points += [(0.03 + count * fret_s, left), (0.03 + (count + 0.6) * fret_s, left)]
    return tuple(points)


def _bend(
    rng: np.random.Generator, length_s: float, semitones: int
) -> tuple[tuple[float, float], ...]:
    """Up to ``semitones`` above the fret, at times let down again."""
    start_s = float(rng.uniform(0.02, 0.12))
    up_s = start_s + float(rng.uniform(0.06, 0.2))
    points = [(start_s, 0.0), (up_s, float(semitones))]
    if rng.random() < 0.4:
        down_s = max(up_s + 0.05, 0.6 * length_s)
        points += [(down_s, float(semitones)), (down_s + 0.15, 0.0)]
    return tuple(points)
