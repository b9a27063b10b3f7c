"""A chain as files of other programs, one module a format. No audio is made here.

Other programs have other pedals: a mapping keeps numbers where both have the unit, and the knob's
place on its travel elsewhere. What a format cannot say is said in its notes, never dropped.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from fxpipe.boards import guitarix, mod, script, sox
from fxtrain.contract import BoardFile, Chain

__all__ = ["FORMATS", "board_files"]

FORMATS: dict[str, Callable[[Chain, str, Sequence[str]], tuple[BoardFile, ...]]] = {
    "pedalboard": script.files,
    "guitarix": guitarix.files,
    "mod": mod.files,
    "sox": sox.files,
}
"""(chain, title, remarks that every file must carry) -> files. A new format is a module and a
line here."""


def board_files(chain: Chain, title: str, remarks: Sequence[str]) -> tuple[BoardFile, ...]:
    """The chain in every format."""
    return tuple(file for write in FORMATS.values() for file in write(chain, title, remarks))
