"""How much memory the machine has, and how much of it one process may count on."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path, PurePosixPath

from fxtrain.contract import n_cores

CGROUP = Path("/sys/fs/cgroup")
OWN_GROUPS = Path("/proc/self/cgroup")
LIMIT_2, LIMIT_1 = "memory.max", "memory.limit_in_bytes"


def memory_bytes() -> tuple[int, int]:
    """(all, free without swapping)."""
    import psutil

    found = psutil.virtual_memory()
    return int(found.total), int(found.available)


def memory_limit() -> int | None:
    """The least that this process' control group (version 2 or 1) or one above it allows, bytes;
    None: no limit. That of a Slurm job lies below the root, that of a container is its root."""
    groups = ["0::/", "0:memory:/"]
    with contextlib.suppress(OSError):
        groups += OWN_GROUPS.read_text().splitlines()
    found = []
    for line in groups:
        _, kinds, group = line.split(":", 2)
        if kinds and "memory" not in kinds.split(","):
            continue
        root, name = (CGROUP / "memory", LIMIT_1) if kinds else (CGROUP, LIMIT_2)
        inside = PurePosixPath(group.lstrip("/"))
        for place in (inside, *inside.parents):
            with contextlib.suppress(OSError, ValueError):  # "max" is no number
                found.append(int((root / place / name).read_text()))
    return min(found, default=None)


def bytes_a_core() -> int:
    """What a worker may count on where each core has one: a core's share of the machine, or of
    what a control group allows its cores. A scheduler may leave a process few cores and a limit
    that is not to be seen, so that the machine is divided by all its cores."""
    total, _ = memory_bytes()
    share, limit = total // (os.cpu_count() or 1), memory_limit()
    return share if limit is None else min(share, limit // n_cores())
