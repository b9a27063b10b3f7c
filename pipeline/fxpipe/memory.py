"""How much memory the machine has, and how much of it one process may count on."""

from __future__ import annotations

import contextlib
import os

from fxtrain.contract import control_groups, n_cores

LIMIT_2, LIMIT_1 = "memory.max", "memory.limit_in_bytes"


def memory_bytes() -> tuple[int, int]:
    """(all, free without swapping)."""
    import psutil

    found = psutil.virtual_memory()
    return int(found.total), int(found.available)


def memory_limit() -> int | None:
    """The least that this process' control groups allow, bytes; None: no limit."""
    found = []
    for group, version in control_groups("memory"):
        with contextlib.suppress(OSError, ValueError):  # "max" is no number
            found.append(int((group / (LIMIT_1 if version == 1 else LIMIT_2)).read_text()))
    return min(found, default=None)


def bytes_a_core() -> int:
    """What a worker may count on where each core has one: a core's share of the machine, or of
    what a control group allows its cores. A scheduler may leave a process few cores and a limit
    that is not to be seen, so that the machine is divided by all its cores."""
    total, _ = memory_bytes()
    share, limit = total // (os.cpu_count() or 1), memory_limit()
    return share if limit is None else min(share, limit // n_cores())
