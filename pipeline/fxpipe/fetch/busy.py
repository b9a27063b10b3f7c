"""One process at a time brings a file; a killed one stands in nobody's way."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def alone(lock: Path, name: str, progress: bool) -> Iterator[None]:
    """Hold ``lock``, a file that stays; whoever comes second waits, and says for ``name``."""
    from filelock import FileLock, Timeout

    held = FileLock(lock)
    try:
        held.acquire(blocking=False)
    except Timeout:
        if progress:
            print(f"{name}: another fxpipe is fetching it; waiting", file=sys.stderr)
        held.acquire()
    try:
        yield
    finally:
        held.release()
