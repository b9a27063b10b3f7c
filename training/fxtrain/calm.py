"""How a process that hears a few clips shares the cores with others. Standard library only."""

from __future__ import annotations

import os

QUIET = {"OMP_WAIT_POLICY": "PASSIVE", "OPENBLAS_NUM_THREADS": "1"}
"""Threads that wait by spinning take the cores from each other: 12 s of CPU for one window where
others (a DAW) use them, asleep 0.5 s. numpy's products are small; clips are heard side by side."""


def share_the_cores() -> None:
    """Before numpy and torch are loaded; what the user has set stands."""
    for name, value in QUIET.items():
        os.environ.setdefault(name, value)
