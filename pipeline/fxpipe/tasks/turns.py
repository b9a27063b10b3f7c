"""A task that waits for a store need not keep its worker waiting.

A worker has a thread a task. Over a store, a quarter of a task's time and more is spent on waiting
for what was written, so a task steps aside for that (dask's ``secede``): its worker begins the
next. As many tasks as there are threads are at work, and as many more, at most, have something to
write, so memory stays what two shards a thread take.
"""

from __future__ import annotations

import threading

_made = threading.Lock()
_places: tuple[threading.Semaphore, threading.Semaphore] | None = None
_thread = threading.local()


class Turn:
    """``with Turn() as turn:`` work, then ``turn.step_aside()``, then write. Without a worker
    around it, or where it never steps aside, it is as if it were not there."""

    def __enter__(self) -> Turn:
        import distributed

        self._held: threading.Semaphore | None = None
        try:
            worker = distributed.get_worker()
        except ValueError:
            return self
        self._work, self._aside = _of(worker.state.nthreads)
        self._hold(self._work)
        return self

    def step_aside(self) -> None:
        """Wait until there is room for another that writes, and let the next one work."""
        if self._held is None:
            return
        import distributed

        self._hold(self._aside)
        if not getattr(_thread, "aside", False):  # a task of several jobs does so once
            distributed.secede()
            _thread.aside = True

    def _hold(self, place: threading.Semaphore) -> None:
        place.acquire()
        if self._held is not None:
            self._held.release()
        self._held = place

    def __exit__(self, *error: object) -> None:
        if self._held is not None:
            self._held.release()


def _of(n_threads: int) -> tuple[threading.Semaphore, threading.Semaphore]:
    """Places of this process for those at work and for those that write."""
    global _places
    with _made:
        if _places is None:
            _places = threading.Semaphore(n_threads), threading.Semaphore(n_threads)
        return _places
