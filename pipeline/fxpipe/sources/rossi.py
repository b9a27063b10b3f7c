"""Owns what the names of M. Rossi's dry improvisations tell (doi 10.5281/zenodo.7871720).

``strat_bf1.wav``: the Stratocaster, bridge pickup, fingers, number 1. Four guitars, two pickups,
pick or fingers, 25 improvisations each; licence CC BY 4.0. The code was read from names that others
print, not from the archive: a name of another form costs only its meta. A group is an improvisation
(the manifest's pattern).
"""

from __future__ import annotations

import re
from pathlib import PurePosixPath

from fxpipe.sources.base import MetaValue

GUITARS = {"les": "Les Paul", "prs": "PRS", "strat": "Stratocaster", "tele": "Telecaster"}
PICKUPS = {"b": "bridge", "n": "neck"}
TECHNIQUES = {"f": "finger-style", "p": "picked"}

_NAME = re.compile(r"(les|prs|strat|tele)\w*?_(?:([bn])([fp]))?_?\d+", re.IGNORECASE)


def describe_rossi(item_id: str) -> dict[str, MetaValue]:
    meta: dict[str, MetaValue] = {"kind": "phrase"}
    found = _NAME.fullmatch(PurePosixPath(item_id).stem)
    if found:
        guitar, pickup, technique = (word.lower() if word else "" for word in found.groups())
        meta["guitar"] = GUITARS[guitar]
        if pickup:
            meta |= {"pickup": PICKUPS[pickup], "technique": TECHNIQUES[technique]}
    return meta
