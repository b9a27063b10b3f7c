"""How much memory the machine has, and how much of it one process may count on."""

from __future__ import annotations

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
    """A core's share of all that may be used; workers are as many as cores."""
    total, _ = memory_bytes()
    return min(total, memory_limit() or total) // n_cores()
