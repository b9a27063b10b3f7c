"""Owns where notes lie on a fretboard: chords, power chords and scales as (string, fret) pairs.

A *string* is counted from the lowest; chords are written for standard tuning and moved to others.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

import numpy as np

from fxpipe.sources.guitars import STANDARD_TUNING

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


def one(rng: np.random.Generator, choices: Sequence[T]) -> T:
    """One of the choices; faster than ``Generator.choice`` and keeps the type."""
    return choices[int(rng.integers(len(choices)))]


def progression(rng: np.random.Generator, open_midi: Sequence[int]) -> list[Shape]:
    """One to four chords: open ones, movable ones, or power chords."""
    luck, count = rng.random(), int(rng.integers(1, 5))
    if luck < 0.45:
        picks = rng.choice(len(_OPEN_CHORDS), size=count, replace=False)
        return [_shape(open_midi, _OPEN_CHORDS[int(pick)], 0) for pick in picks]
    frets = [int(fret) for fret in rng.integers(1, 10, size=count)]
    if luck < 0.9:
        form = one(rng, _MOVABLE_CHORDS)
        return [_shape(open_midi, form, fret) for fret in frets]
    root_string, n_strings = one(rng, (0, 1)), one(rng, (2, 3))
    return [power(open_midi, root_string, fret, n_strings) for fret in frets]


def power(open_midi: Sequence[int], root_string: int, fret: int, n_strings: int) -> Shape:
    """Root, fifth and (with three strings) octave on neighbouring strings, in any tuning."""
    root = open_midi[root_string] + fret
    strings = range(root_string, root_string + n_strings)
    return [(s, root + up - open_midi[s]) for s, up in zip(strings, (0, 7, 12), strict=False)]


def _shape(open_midi: Sequence[int], frets: Sequence[int], up: int) -> Shape:
    """A chord written for standard tuning as it lies on this guitar, moved ``up`` frets."""
    transposed = open_midi[-1] - STANDARD_TUNING[-1]
    shape = []
    for string, fret in enumerate(frets):
        if fret != _X:
            retuned = STANDARD_TUNING[string] + transposed - open_midi[string]
            shape.append((string, fret + up + retuned))
    return shape


def position(rng: np.random.Generator, open_midi: Sequence[int]) -> Shape:
    """Places of one scale within four frets, in order of pitch."""
    scale = one(rng, _SCALES)
    root, low_fret = int(rng.integers(12)), int(rng.integers(0, 13))
    places = {}
    for string, low in enumerate(open_midi):
        for fret in range(low_fret, low_fret + 4):
            if (low + fret - root) % 12 in scale:
                places[low + fret] = (string, fret)
    return [places[midi] for midi in sorted(places)]
