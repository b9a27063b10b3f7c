"""One process at a time in a place; the system gives back the lock of one that is killed."""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

NO_LOCKS = (errno.ENOLCK, errno.ENOTSUP)
"""What a file system says that knows no locks: nobody is kept out of it."""


@contextmanager
def alone(lock: Path, met: Callable[[], None]) -> Iterator[None]:
    """Hold ``lock``, a file. Whoever comes second calls ``met``; unless that raises, it waits."""
    from filelock import FileLock, Timeout

    held = FileLock(lock)
    try:
        held.acquire(blocking=False)
    except Timeout:
        met()
        held.acquire()
    except OSError as error:
        if error.errno not in NO_LOCKS:
            raise
    try:
        yield
    finally:
        held.release()


def is_held(lock: Path) -> bool:
    """By a process that runs; not as far as is known, where that cannot be asked."""
    from filelock import FileLock, Timeout

    if not lock.is_file():
        return False
    try:
        with FileLock(lock, blocking=False):
            return False
    except Timeout:
        return True
    except OSError:  # read-only, or without locks
        return False
