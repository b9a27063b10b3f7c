"""How much of the machine is ours."""

from __future__ import annotations

import os


def n_cores() -> int:
    """Cores that this process may use: of the machine's, those that a scheduler left to it."""
    affinity = getattr(os, "sched_getaffinity", None)
    return len(affinity(0)) if affinity else os.cpu_count() or 1
