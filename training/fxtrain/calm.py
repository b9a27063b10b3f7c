"""How a process starts quickly and shares the cores with others.

Standard library only.
"""

from __future__ import annotations

import ctypes
import os
import sys
import time
from pathlib import Path

QUIET = {"OMP_WAIT_POLICY": "PASSIVE", "OPENBLAS_NUM_THREADS": "1"}
"""Threads that wait by spinning take the cores from each other: 12 s of CPU for one window where
others (a DAW) use them, asleep 0.5 s. numpy's products are small; clips are heard side by side."""


def share_the_cores() -> None:
    """Before numpy and torch are loaded; what the user has set stands."""
    for name, value in QUIET.items():
        os.environ.setdefault(name, value)


TAKEN = 0.25
"""Of all cores, used by others: from here on threads of a training sleep while they wait. Beside
three busy processes on two cores a step then took a seventh to a ninth of the time; alone, a
quarter more."""
LOOK_S = 0.3
STAT = Path("/proc/stat")


def share_taken_cores() -> None:
    """:func:`share_the_cores` where others use them now; nothing where torch is loaded already."""
    if "torch" not in sys.modules and taken_by_others() >= TAKEN:
        share_the_cores()


M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_THRESHOLD = -1, -2, -3
"""mallopt(3)'s names for what malloc gives back, takes ahead, and maps by itself."""


def keep_freed_memory() -> None:
    """From here on glibc keeps what this process frees: each step's arrays are otherwise mapped
    anew, and their pages faulted in, which is a quarter of a step of `fit` on a CPU.

    What the environment says about malloc stands; without glibc nothing changes.
    """
    said = [*os.environ, *os.environ.get("GLIBC_TUNABLES", "").split(".")]
    if sys.platform != "linux" or any(name.upper().startswith("MALLOC") for name in said):
        return
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except AttributeError:
        return
    if not mallopt(M_MMAP_THRESHOLD, 1 << 30):
        mallopt(M_MMAP_THRESHOLD, 1 << 25)  # the most that glibc before 2.35 takes
    mallopt(M_TRIM_THRESHOLD, (1 << 31) - 1)
    mallopt(M_TOP_PAD, 1 << 26)


def taken_by_others() -> float:
    """Share of all cores, 0 to 1, that is used while this process sleeps; 0 where nothing tells."""
    try:
        used, total = _ticks()
        time.sleep(LOOK_S)
        now_used, now_total = _ticks()
    except (OSError, IndexError, ValueError):  # not Linux
        return 0.0
    return (now_used - used) / max(1, now_total - total)


def _ticks() -> tuple[int, int]:
    """(used, all) ticks of all cores since the start of the machine; see proc_stat(5)."""
    user, nice, system, idle, iowait, *others = map(
        int, STAT.read_text().split("\n")[0].split()[1:9]
    )
    used = user + nice + system + sum(others)
    return used, used + idle + iowait
