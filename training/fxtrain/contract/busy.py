"""One process at a time in a place; the system gives back the lock of one that is killed.

filelock is loaded only when something is locked.
"""

from __future__ import annotations

import contextlib
import errno
from collections.abc import Callable, Iterator
from pathlib import Path

from fxtrain.contract.errors import FxError
from fxtrain.contract.folder import cannot_write

NO_LOCKS = (errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS)
"""What a file system says that knows no locks, as Lustre without ``-o flock``: nobody is kept out
of it. A file in a lock's place would outlast a holder that was killed on another machine."""


@contextlib.contextmanager
def alone(lock: Path, met: Callable[[], None]) -> Iterator[None]:
    """Hold ``lock``, a file. Whoever comes second calls ``met``; unless that raises, it waits."""
    from filelock import FileLock, Timeout

    held = FileLock(lock, fallback_to_soft=False)
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


@contextlib.contextmanager
def sole_writer(lock: Path, busy: FxError) -> Iterator[None]:
    """Hold ``lock``, a file that is there only meanwhile; its directory is made.

    Raises ``busy`` where another process holds it.
    """

    def met() -> None:
        raise busy

    with contextlib.ExitStack() as stack:
        try:
            lock.parent.mkdir(parents=True, exist_ok=True)
            stack.enter_context(alone(lock, met))
        except OSError as error:
            raise cannot_write(lock, error) from None
        try:
            yield
        finally:
            with contextlib.suppress(OSError):
                lock.unlink()


def is_held(lock: Path) -> bool:
    """By a process that runs; not as far as is known, where that cannot be asked."""
    from filelock import FileLock, Timeout

    if not lock.is_file():
        return False
    try:
        with FileLock(lock, blocking=False, fallback_to_soft=False):
            return False
    except Timeout:
        return True
    except OSError:  # read-only, or without locks
        return False
