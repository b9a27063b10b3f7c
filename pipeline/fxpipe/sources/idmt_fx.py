"""Owns what the names of IDMT-SMT-Audio-Effects tell (Stein, 2010; doi 10.5281/zenodo.7544032).

Licence CC BY-NC-ND 4.0: nothing made from it may be shared. Its dry part: 2 s notes, double stops
and chords of two guitars in two settings each, 44.1 kHz, 16 bit, in ``Samples/NoFX``. Type 12 in a
name is an amplifier, and not dry. The same notes are one group on both guitars, in all settings
and playing styles (the manifest's pattern).
"""

from __future__ import annotations

from pathlib import PurePosixPath

from fxpipe.sources.base import MetaValue, Skipped
from fxpipe.sources.idmt_names import DRY_FX_TYPE, read_name

_SETTINGS = {
    "6": ("Schecter Diamond C-1 Classic", "setting 1"),
    "7": ("Schecter Diamond C-1 Classic", "setting 2"),
    "8": ("Chester Stratocaster", "setting 1"),
    "9": ("Chester Stratocaster", "setting 2"),
}


def describe_idmt_fx(item_id: str) -> dict[str, MetaValue] | Skipped:
    name = read_name(PurePosixPath(item_id).stem)
    if name is None:
        return Skipped(item_id, "its name is not a code such as G61-40100-1111-20593")
    if not name.is_dry:
        reason = f"effect type {name.fx_type} in its name, expected {DRY_FX_TYPE} (none)"
        return Skipped(item_id, reason)
    if name.setting not in _SETTINGS:
        return name.meta
    guitar, pickup = _SETTINGS[name.setting]
    return name.meta | {"guitar": guitar, "pickup": pickup}
