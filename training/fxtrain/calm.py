"""How a process that hears a few clips starts quickly and shares the cores with others.

Standard library only.
"""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

QUIET = {"OMP_WAIT_POLICY": "PASSIVE", "OPENBLAS_NUM_THREADS": "1"}
"""Threads that wait by spinning take the cores from each other: 12 s of CPU for one window where
others (a DAW) use them, asleep 0.5 s. numpy's products are small; clips are heard side by side."""


def share_the_cores() -> None:
    """Before numpy and torch are loaded; what the user has set stands."""
    for name, value in QUIET.items():
        os.environ.setdefault(name, value)


@contextmanager
def no_garbage() -> Iterator[None]:
    """While torch is imported for the first time: what an import makes stays, and looking through
    it for garbage again and again takes a fifth of the time."""
    if "torch" in sys.modules or not gc.isenabled():
        yield
        return
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()
