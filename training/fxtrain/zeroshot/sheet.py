"""The sheet to print: every chain as pedal cards in order, knobs as they stand. One HTML file."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.resources import files

import jinja2

from fxtrain.contract import Pedal, PedalEntry
from fxtrain.export.drawing import COLOURS, OTHER_COLOUR
from fxtrain.export.words import knobs, label, reading
from fxtrain.zeroshot.draw import STEPS, hour, step_of
from fxtrain.zeroshot.form import MANIFEST_NAME, Kit, KitChain

TRAVEL = 300.0
"""Degrees of a knob from seven to five o'clock."""


@dataclass(frozen=True)
class Knob:
    name: str
    hour: str
    value: str
    angle: float


@dataclass(frozen=True)
class Card:
    """A pedal on paper. ``own``: what it is called on the reader's board, empty: a line to fill."""

    place: int
    name: str
    own: str
    colour: str
    knobs: tuple[Knob, ...]


def sheet(kit: Kit) -> str:
    """The page; the same kit gives the same bytes."""
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    text = (files("fxtrain.zeroshot") / "sheet.html").read_text(encoding="utf-8")
    used = {name for chain in kit.chains for name in chain.chain.names}
    return environment.from_string(text).render(
        kit=kit,
        chains=[(chain, _cards(chain, kit)) for chain in kit.chains],
        glossary=[
            (entry, [(label(param, knobs(entry)), param.meaning) for param in knobs(entry)])
            for entry in kit.pedals
            if entry.name in used
        ],
        ticks=list(_ticks()),
        manifest=MANIFEST_NAME,
        seconds=math.ceil(max(take.length_s for take in kit.takes)),
    )


def _cards(chain: KitChain, kit: Kit) -> list[Card]:
    entries = {entry.name: entry for entry in kit.pedals}
    return [
        Card(
            place,
            pedal.name,
            kit.names.get(pedal.name, ""),
            COLOURS.get(entries[pedal.name].family, OTHER_COLOUR),
            tuple(_knobs(pedal, entries[pedal.name])),
        )
        for place, pedal in enumerate(chain.chain.pedals, start=1)
    ]


def _knobs(pedal: Pedal, entry: PedalEntry) -> list[Knob]:
    found = []
    for param in knobs(entry):
        value = pedal.settings[param.name]
        step = step_of(param, value)
        found.append(
            Knob(
                label(param, knobs(entry)),
                hour(round(step)),
                reading(param, value),
                round(TRAVEL * (step / STEPS - 0.5), 1),
            )
        )
    return found


def _ticks() -> Iterator[tuple[float, ...]]:
    """(x, y, x, y) from the inner to the outer end of each of a dial's hours."""
    for step in range(STEPS + 1):
        angle = math.radians(TRAVEL * (step / STEPS - 0.5))
        x, y = math.sin(angle), -math.cos(angle)
        yield tuple(round(v, 2) for v in (20 + 16 * x, 20 + 16 * y, 20 + 19 * x, 20 + 19 * y))
