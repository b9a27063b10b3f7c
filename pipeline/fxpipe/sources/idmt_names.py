"""Owns the file-name code that both IDMT data sets share: ``G53-40100-1111-00001``.

Three signs of instrument; five digits of pitch; four of effect, 1111 for none; a file number.
``G``, one note: MIDI (2 digits), string (1, from the low E), fret (2). ``P``, several: MIDI of the
lowest (2), interval or chord (2), 0. So says the read-me of IDMT-SMT-Audio-Effects.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from fxpipe.sources.base import MetaValue

DRY_FX_TYPE = "11"

_NAME = re.compile(r"([A-Z])(\d)(\d)-(\d\d)(\d)(\d\d)-\d(\d\d)\d-\d+")
_TECHNIQUES = {"1": "finger-style", "2": "finger-style, loud", "3": "picked"}
_INTERVALS = {
    11: "minor third",
    12: "major third",
    13: "fourth",
    14: "fifth",
    15: "minor seventh",
    16: "major seventh",
    17: "octave",
}
_CHORDS = {
    21: "major",
    22: "minor",
    23: "sus4",
    24: "power chord",
    25: "major seventh",
    26: "dominant seventh",
    27: "minor seventh",
}


@dataclass(frozen=True)
class SoundName:
    """What a name tells. ``content``: its five digits, the same for the same notes."""

    setting: str
    content: str
    fx_type: str
    meta: dict[str, MetaValue]

    @property
    def is_dry(self) -> bool:
        return self.fx_type == DRY_FX_TYPE


def read_name(stem: str) -> SoundName | None:
    """Of a file name without its suffix; None where it does not keep to the code."""
    found = _NAME.fullmatch(stem)
    if found is None:
        return None
    letter, setting, style, midi, digit, last, fx_type = found.groups()
    content = midi + digit + last
    meta: dict[str, MetaValue]
    if letter == "P":
        number = int(content[2:4])
        several = _INTERVALS if number in _INTERVALS else _CHORDS
        kind = "double stop" if number in _INTERVALS else "chord"
        meta = {"kind": kind, "root_midi": int(midi), "technique": "picked"}
        if number in several:
            meta["chord"] = several[number]
    else:
        meta = {"kind": "note", "midi": int(midi), "string": 7 - int(digit), "fret": int(last)}
        if style in _TECHNIQUES:
            meta["technique"] = _TECHNIQUES[style]
    return SoundName(setting, content, fx_type, meta)
