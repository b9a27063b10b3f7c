"""One pedal's settings as they are read for another program, and what got lost on the way."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

from fxpipe.pedals import PEDALS
from fxtrain.contract import Chain, Pedal, to_unit

T = TypeVar("T")
Mapped = Callable[["Dial"], T]


class Dial:
    """Reads knobs and remembers which; ``notes`` says which were never asked for, and what had to
    be moved to fit."""

    def __init__(self, pedal: Pedal, program: str) -> None:
        self._name, self._settings, self._program = pedal.name, pedal.settings, program
        self._params = {param.name: param for param in PEDALS[pedal.name].params}
        self._read: set[str] = set()
        self._moved: list[str] = []

    def __getitem__(self, knob: str) -> float:
        """The setting in its own unit."""
        self._read.add(knob)
        return self._settings[knob]

    def turned(self, knob: str, low: float = 0.0, high: float = 1.0) -> float:
        """The knob's place on its travel, on another knob that goes from ``low`` to ``high``."""
        return low + (high - low) * to_unit(self._params[knob], self[knob])

    def within(self, knob: str, value: float, low: float, high: float) -> float:
        """``value``, which stands for ``knob``, or the nearest that the other program takes."""
        nearest = min(max(value, low), high)
        if abs(nearest - value) > 1e-9 * max(1.0, abs(value)):
            self._moved.append(f"{knob} set to the nearest that {self._program} can do")
        return nearest

    def lose(self, note: str) -> None:
        """Something else that the other program does not do."""
        self._moved.append(note)

    @property
    def notes(self) -> tuple[str, ...]:
        silent = [name for name in self._params if name not in self._read]
        lost = [f"{self._program} has no knob for {', '.join(silent)}"] if silent else []
        return tuple(f"{self._name}: {note}" for note in (*lost, *dict.fromkeys(self._moved)))


def map_chain(
    chain: Chain, mappings: Mapping[str, Mapped[T]], program: str, *, once: bool = False
) -> tuple[list[tuple[Pedal, T]], tuple[str, ...]]:
    """(pedal, what its mapping makes of it) of every pedal that ``program`` has, and the notes.

    once: the program has one of each pedal, so a second of the same name is left out.
    """
    found: list[tuple[Pedal, T]] = []
    notes: list[str] = []
    for pedal in chain.pedals:
        if pedal.name not in mappings:
            notes.append(f"{pedal.name}: left out, {program} has no such pedal")
        elif once and any(pedal.name == before.name for before, _ in found):
            notes.append(f"{pedal.name}: the second one is left out, {program} has one of each")
        else:
            dial = Dial(pedal, program)
            found.append((pedal, mappings[pedal.name](dial)))
            notes.extend(dial.notes)
    return found, tuple(notes)


def beside(mix: float) -> float:
    """How loud what we mix in by ``mix`` is beside a guitar that stays as loud as it was."""
    return mix / (1 - mix)


def time_constant_s(ms: float) -> float:
    """What compressors elsewhere call an attack or release of ``ms``: the time until 63 % of the
    way is gone. JUCE, whose parts we play, lets it be 2 pi times as long, until nearly all is."""
    return ms / 1000 / (2 * math.pi)


def tempo(delay_ms: float) -> tuple[float, int]:
    """(beats a minute, note) of a delay on a pedal that counts in quarters, eighths or sixteenths.

    Guitarix's digital delays take 24 to 360 beats; the longest note that fits is taken.
    """
    note = next((n for n in (4, 8, 16) if 240_000 / (n * delay_ms) <= 360), 16)
    return 240_000 / (note * delay_ms), note


def number(value: float) -> str:
    """A number as people write it, six digits at most."""
    return f"{value:.6g}"


def comment(lines: Sequence[str]) -> str:
    """Lines behind a comment mark; a line break inside one cannot leave the comment."""
    return "".join(f"# {' '.join(line.split())}\n" for line in lines)
