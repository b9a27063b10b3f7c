"""How much of the machine is ours."""

from __future__ import annotations

import contextlib
import math
import os
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

CGROUP = Path("/sys/fs/cgroup")
OWN_GROUPS = Path("/proc/self/cgroup")


def n_cores() -> int:
    """Cores that this process may use: of the machine's, those that a scheduler left to it, and no
    more than it gets the time of (a container started with ``--cpus 2`` sees all of them)."""
    affinity = getattr(os, "sched_getaffinity", None)
    n_seen = len(affinity(0)) if affinity else os.cpu_count() or 1
    quota = cpu_quota()
    return n_seen if quota is None else min(n_seen, math.ceil(quota))


def cpu_quota() -> float | None:
    """Cores' worth of time, the least that this process' control groups allow; None: no limit."""
    found = []
    for group, version in control_groups("cpu"):
        words = _read(group / "cpu.max").split()
        if version == 1:
            words = [_read(group / f"cpu.cfs_{what}_us").strip() for what in ("quota", "period")]
        with contextlib.suppress(ValueError):  # "max" is no number, and there may be no file
            quota, period = (float(word) for word in words)
            if quota > 0 and period > 0:
                found.append(quota / period)
    return min(found, default=None)


def control_groups(controller: str) -> Iterator[tuple[Path, int]]:
    """Those of this process and all above them, each with its version, 2 or 1. The limit of a Slurm
    job lies below the root, that of a container is its root's."""
    groups = ["0::/", f"0:{controller}:/", *_read(OWN_GROUPS).splitlines()]
    for line in groups:
        _, kinds, group = line.split(":", 2)
        if kinds and controller not in kinds.split(","):
            continue
        inside = PurePosixPath(group.lstrip("/"))
        for place in (inside, *inside.parents):
            yield (CGROUP / controller / place, 1) if kinds else (CGROUP / place, 2)


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
