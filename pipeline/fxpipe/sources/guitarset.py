"""Owns what the names of GuitarSet tell (Xi et al., ISMIR 2018; doi 10.5281/zenodo.3371780).

``00_BN1-129-Eb_comp_mic.wav``: player 00, bossa nova, progression 1, 129 beats a minute, in Eb,
comping, by microphone. 360 performances of about 30 s on an acoustic guitar with a pickup for each
string, 44.1 kHz, 16 bit, licence CC BY 4.0; ``_mic`` and ``_mix`` (of the pickups) are one
performance.

A group is a player (the manifest's pattern). All six play the same 30 sheets, each as ``comp`` and
as ``solo``, so sheet and player cannot both be kept on one side: that would leave one group.
A player is what leaks: hands, strings, room and microphone of one session, a solo over the comping
just heard. A sheet shared with another player is not: it is a key, a tempo and chords, played anew.
"""

from __future__ import annotations

import re
from pathlib import PurePosixPath

from fxpipe.sources.base import MetaValue, Skipped

STYLES = {"BN": "bossa nova", "Funk": "funk", "Jazz": "jazz", "Rock": "rock"}
STYLES["SS"] = "singer-songwriter"
SIGNALS = {"mic": "microphone", "mix": "pickup"}

_NAME = re.compile(r"(\d\d)_([A-Za-z]+)(\d)-(\d+)-([A-G][b#]?)_(comp|solo)_(mic|mix)")


def describe_guitarset(item_id: str) -> dict[str, MetaValue] | Skipped:
    found = _NAME.fullmatch(PurePosixPath(item_id).stem)
    if found is None:
        return Skipped(item_id, "its name is not one such as 00_BN1-129-Eb_comp_mic")
    player, style, progression, tempo_bpm, key, part, signal = found.groups()
    return {
        "kind": "phrase",
        "guitar": "acoustic",
        "signal": SIGNALS[signal],
        "player": player,
        "style": STYLES.get(style, style),
        "progression": int(progression),
        "tempo_bpm": int(tempo_bpm),
        "key": key,
        "part": part,
    }
