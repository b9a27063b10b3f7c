"""How much memory the machine has, and how much of it one process may count on."""

from __future__ import annotations

import os
from pathlib import Path

from fxtrain.contract import n_cores

CGROUP = Path("/sys/fs/cgroup")


def memory_bytes() -> tuple[int, int]:
    """(all, free without swapping)."""
    import psutil

    found = psutil.virtual_memory()
    return int(found.total), int(found.available)


def memory_limit() -> int | None:
    """What a control group (version 2, then 1) allows, bytes; None: no limit."""
    for name in ("memory.max", "memory/memory.limit_in_bytes"):
        try:
            text = (CGROUP / name).read_text().strip()
        except OSError:
            continue
        if text.isdigit():
            return int(text)
    return None


def bytes_a_core() -> int:
    """What a worker may count on where each core has one: a core's share of the machine, or of
    what a control group allows its cores. A scheduler may leave a process few cores and a limit
    that is not to be seen, so that the machine is divided by all its cores."""
    total, _ = memory_bytes()
    share, limit = total // (os.cpu_count() or 1), memory_limit()
    return share if limit is None else min(share, limit // n_cores())
