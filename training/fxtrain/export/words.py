"""Knobs in a guitarist's words: ``drive_db`` 25.5 is "drive" at "25.5 dB"."""

from __future__ import annotations

from collections.abc import Iterable

from fxtrain.contract import Param, PedalEntry, to_unit
from fxtrain.contract.knobs import is_cyclic

SUFFIXES = ("_db", "_hz", "_ms")


def knobs(entry: PedalEntry) -> tuple[Param, ...]:
    """The parameters that a pedal has a knob for: not where an LFO stands as a clip begins."""
    return tuple(param for param in entry.params if not is_cyclic(param))


def label(param: Param, among: Iterable[Param]) -> str:
    """The knob's name without its unit, where no other knob of the pedal has that name."""
    plain = _plain(param.name)
    twins = [other for other in among if _plain(other.name) == plain]
    return f"{plain} {param.unit}" if len(twins) > 1 else plain


def spoken(name: str, among: Iterable[str]) -> str:
    """:func:`label` where only names of settings are known."""
    plain = _plain(name)
    twins = [other for other in among if _plain(other) == plain]
    return name.replace("_", " ") if len(twins) > 1 else plain


def _plain(name: str) -> str:
    for suffix in SUFFIXES:
        if name.endswith(suffix):
            return name.removesuffix(suffix).replace("_", " ")
    return name.replace("_", " ")


def reading(param: Param, value: float) -> str:
    """A setting as it would stand beside the knob."""
    if param.unit == "ratio":
        return f"{100 * value:.0f}%" if param.high <= 1 else _short(value)
    if param.unit == "Hz" and value >= 1000:
        return f"{_short(value / 1000)} kHz"
    return f"{_short(value)} {param.unit.removesuffix('FS')}"


def _short(value: float) -> str:
    """Three digits at most."""
    if abs(value) >= 100:
        return f"{value:.0f}"
    text = f"{value:.{1 if abs(value) >= 10 else 2}f}"
    text = text.rstrip("0").rstrip(".")
    return "0" if text == "-0" else text


def turn(param: Param, value: float) -> float:
    """The knob's angle in degrees: seven o'clock is -135, five o'clock 135."""
    return 270.0 * to_unit(param, value) - 135.0
