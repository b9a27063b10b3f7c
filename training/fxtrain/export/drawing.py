"""The board as an SVG drawing: stomp boxes in signal order, knobs where they stand.

Plain SVG 1.1 with one style sheet: light by default, dark where the viewer asks for it. Colours of
boxes carry white text at a contrast of 5 to 1 and more in both.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from xml.sax.saxutils import escape

from fxtrain.contract import Param, PedalEntry
from fxtrain.export.board import Board, BoardPedal
from fxtrain.export.words import knobs, label, reading, turn
from fxtrain.telling import percent

COLOURS = {
    "dynamics": "#2b5c8a",
    "pitch": "#6b3fa0",
    "filter": "#8a4b12",
    "drive": "#a32a2a",
    "tone": "#2d6a3e",
    "modulation": "#0f6674",
    "time": "#454a9e",
}
"""By family, so that a drive is told from an echo at a glance; the name says it too."""

OTHER_COLOUR = "#55595f"
BYPASSED_COLOUR = "#62666c"

CARD_W, CARD_H, GAP, MARGIN = 172, 262, 46, 28
HEAD_H, FOOT_H = 84, 34
PER_ROW = 5
KNOB_R = 15
KNOB_ROWS_Y = (80, 142)
PER_KNOB_ROW = 3

STYLE = """
text { font-family: system-ui, -apple-system, "Segoe UI", "DejaVu Sans", sans-serif; }
.paper { fill: #f7f6f3; } .ink { fill: #1d2126; } .soft { fill: #565d66; }
.cable { stroke: #565d66; fill: none; stroke-width: 3; stroke-linecap: round; }
.tip { fill: #565d66; }
@media (prefers-color-scheme: dark) {
  .paper { fill: #16181c; } .ink { fill: #f0f1f3; } .soft { fill: #a9b1bb; }
  .cable { stroke: #a9b1bb; } .tip { fill: #a9b1bb; }
}
"""


def draw(board: Board, entries: Mapping[str, PedalEntry]) -> str:
    """The drawing, one string of SVG."""
    n = len(board.pedals)
    columns = min(max(n, 1), PER_ROW)
    rows = max(1, math.ceil(n / PER_ROW))
    width = max(2 * MARGIN + columns * (CARD_W + GAP) + GAP, 620)
    notes = _notes(board, (width - 2 * MARGIN) // 7)
    height = HEAD_H + rows * (CARD_H + GAP) + FOOT_H + 20 * len(notes)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" '
        f'width="{width}" height="{height}" role="img" aria-labelledby="title desc">',
        f'<title id="title">{_text(f"Pedals on {board.title}")}</title>',
        f'<desc id="desc">{_text(describe(board, entries))}</desc>',
        f"<style>{STYLE}</style>",
        f'<rect class="paper" width="{width}" height="{height}" rx="12"/>',
        f'<text class="ink" x="{MARGIN}" y="42" font-size="22" font-weight="700">'
        f"{_text(_cut(board.title, 44))}</text>",
        f'<text class="soft" x="{MARGIN}" y="66" font-size="14">{_text(_subtitle(board))}</text>',
    ]
    swaps = {frozenset(pair) for pair in board.swaps}
    for place, pedal in enumerate(board.pedals):
        x, y = _corner(place)
        parts.append(_arrow(board, place, swaps))
        parts.append(_card(place, pedal, entries.get(pedal.name), x, y))
    parts.append(_last_arrow(n))
    y = HEAD_H + rows * (CARD_H + GAP) + 22
    for line in notes:
        parts.append(f'<text class="soft" x="{MARGIN}" y="{y}" font-size="13">{_text(line)}</text>')
        y += 20
    return "\n".join([*parts, "</svg>\n"])


def describe(board: Board, entries: Mapping[str, PedalEntry]) -> str:
    """All that the drawing shows, in words."""
    lines = [board.sentence]
    for place, pedal in enumerate(board.pedals, start=1):
        entry = entries.get(pedal.name)
        every = knobs(entry) if entry else ()
        shown = [
            f"{label(param, every)} {_shown(pedal, param)}"
            for param in every
            if param.name in pedal.settings
        ]
        off = ", bypassed" if pedal.bypassed else ""
        lines.append(f"{place}. {pedal.name}{off}: {', '.join(shown)}.")
    return " ".join([*lines, *(f"{remark}." for remark in board.remarks)])


def _subtitle(board: Board) -> str:
    if not board.pedals:
        return "no pedals heard"
    sure = (
        f" · {percent(board.probability)} sure of all of it"
        if board.probability is not None
        else ""
    )
    return f"guitar first, from left to right{sure}"


def _notes(board: Board, n_chars: int) -> list[str]:
    lines = [f"⇄ {a} and {b} could be swapped, nobody would hear it" for a, b in board.swaps]
    found: list[str] = []
    for line in (*lines, *board.remarks):
        while len(line) > n_chars and " " in line[:n_chars]:
            cut = line.rindex(" ", 0, n_chars)
            found.append(line[:cut])
            line = line[cut + 1 :]
        found.append(line)
    return found


def _corner(place: int) -> tuple[int, int]:
    row, column = divmod(place, PER_ROW)
    return MARGIN + GAP + column * (CARD_W + GAP), HEAD_H + row * (CARD_H + GAP)


def _arrow(board: Board, place: int, swaps: set[frozenset[str]]) -> str:
    """The cable into a pedal, and the sign of a swap over it."""
    x, y = _corner(place)
    middle = y + CARD_H // 2
    start = x - GAP + 6
    sign = ""
    if place and frozenset((board.pedals[place - 1].name, board.pedals[place].name)) in swaps:
        sign = (
            f'<text class="ink" x="{x - GAP // 2}" y="{middle - 12}" font-size="20" '
            'text-anchor="middle">⇄</text>'
        )
    return _cable(start, x - 8, middle) + sign


def _last_arrow(n: int) -> str:
    x, y = _corner(max(n - 1, 0))
    middle = y + CARD_H // 2
    end = x + CARD_W if n else MARGIN
    return _cable(end + 6, end + GAP - 8, middle)


def _cable(start: int, end: int, y: int) -> str:
    return (
        f'<path class="cable" d="M{start} {y}H{end - 8}"/>'
        f'<path class="tip" d="M{end - 9} {y - 7}L{end + 3} {y}L{end - 9} {y + 7}Z"/>'
    )


def _card(place: int, pedal: BoardPedal, entry: PedalEntry | None, x: int, y: int) -> str:
    colour = COLOURS.get(entry.family if entry else "", OTHER_COLOUR)
    if pedal.bypassed:
        colour = BYPASSED_COLOUR
    lamp = "#3a3f45" if pedal.bypassed else "#ff5a4d"
    state = "bypassed" if pedal.bypassed else _sure(pedal)
    middle = CARD_W // 2
    size = 17 if len(pedal.name) <= 12 else 13
    parts = [
        f'<g transform="translate({x} {y})">',
        f'<rect width="{CARD_W}" height="{CARD_H}" rx="14" fill="{colour}"/>',
        f'<rect x="1.5" y="1.5" width="{CARD_W - 3}" height="{CARD_H - 3}" rx="12.5" fill="none" '
        'stroke="#ffffff" stroke-opacity="0.28" stroke-width="2"/>',
        f'<text x="12" y="22" font-size="12" fill="#ffffff">{place + 1}</text>',
        f'<text x="{middle}" y="46" font-size="{size}" font-weight="700" letter-spacing="0.5" '
        f'text-anchor="middle" fill="#ffffff">{_text(_cut(pedal.name, 20).upper())}</text>',
    ]
    every = knobs(entry) if entry else ()
    for number, param in enumerate(every):
        row, column = divmod(number, PER_KNOB_ROW)
        if row >= len(KNOB_ROWS_Y) or param.name not in pedal.settings:
            continue  # the description has them all
        in_row = min(PER_KNOB_ROW, len(every) - row * PER_KNOB_ROW)
        cx = CARD_W * (2 * column + 1) / (2 * in_row)
        angle, name = turn(param, pedal.settings[param.name]), label(param, every)
        parts.append(_knob(cx, KNOB_ROWS_Y[row], angle, name, _shown(pedal, param)))
    parts += [
        f'<circle cx="{middle}" cy="206" r="4.5" fill="{lamp}" stroke="#ffffff" '
        'stroke-opacity="0.6"/>',
        f'<circle cx="{middle}" cy="228" r="12" fill="#c9ced4" stroke="#5f666e" stroke-width="3"/>',
        f'<text x="{middle}" y="255" font-size="11" text-anchor="middle" fill="#ffffff">'
        f"{_text(state)}</text>",
        "</g>",
    ]
    return "\n".join(parts)


def _shown(pedal: BoardPedal, param: Param) -> str:
    """A setting, with a question mark where it was not heard."""
    text = reading(param, pedal.settings[param.name])
    return f"{text} ?" if param.name in pedal.unheard else text


def _sure(pedal: BoardPedal) -> str:
    return "" if pedal.probability is None else f"{percent(pedal.probability)} sure it is there"


def _knob(cx: float, cy: float, angle: float, name: str, value: str) -> str:
    x = f"{cx:g}"
    return (
        f'<circle cx="{x}" cy="{cy}" r="{KNOB_R}" fill="#1b1d20" stroke="#ffffff" '
        'stroke-opacity="0.55" stroke-width="1.5"/>'
        f'<path d="M{x} {cy - 4}V{cy - KNOB_R + 2}" stroke="#ffffff" stroke-width="2.5" '
        f'stroke-linecap="round" transform="rotate({angle:.1f} {x} {cy})"/>'
        f'<text x="{x}" y="{cy + 27}" font-size="10" text-anchor="middle" fill="#ffffff">'
        f"{_text(name)}</text>"
        f'<text x="{x}" y="{cy + 39}" font-size="10" font-weight="700" text-anchor="middle" '
        f'fill="#ffffff">{_text(value)}</text>'
    )


def _cut(text: str, n_chars: int) -> str:
    return text if len(text) <= n_chars else f"{text[: n_chars - 1]}…"


def _text(text: str) -> str:
    """Escaped, and without what XML cannot hold."""
    return escape("".join(letter if letter.isprintable() else " " for letter in text))
