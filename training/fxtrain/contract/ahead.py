"""Files looked at by a few threads, ahead of the one that asks: a store answers, a disk reads and
sha256 runs while what is there already is looked through."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future
from itertools import islice
from queue import SimpleQueue
from typing import TypeVar

READERS = 4
HELD_BYTES = 2**30
"""Of files that wait at once; a single one may be larger."""

Item = TypeVar("Item")
Result = TypeVar("Result")


def readers(n_bytes: Iterable[int]) -> int:
    """Threads for items of such sizes: as many as may wait in memory, ``READERS`` at most."""
    return max(1, min(READERS, HELD_BYTES // max(1, max(n_bytes, default=1))))


def ahead(
    function: Callable[[Item], Result],
    items: Iterable[Item],
    n_threads: int = READERS,
    n_waiting: int | None = None,
) -> Iterator[Result]:
    """``function`` of each of ``items``, in their order; at most ``n_waiting`` results wait, one a
    thread where nothing else is said.

    An error is raised where its result would have come. Whoever stops asking, or presses Ctrl-C,
    waits for nothing: a store that stalls would hold the program for minutes.
    """
    asked: SimpleQueue[tuple[Future[Result], Item] | None] = SimpleQueue()

    def begin(item: Item) -> Future[Result]:
        future: Future[Result] = Future()
        asked.put((future, item))
        return future

    def work() -> None:
        while _done(function, asked.get()):
            pass  # and a result is held by nobody but who asked for it

    rest = iter(items)
    waiting = deque(begin(item) for item in islice(rest, n_waiting or n_threads))
    n_begun = min(n_threads, len(waiting))
    for _ in range(n_begun):
        threading.Thread(target=work, daemon=True).start()
    try:
        while waiting:
            result = waiting.popleft().result()
            waiting.extend(begin(item) for item in islice(rest, 1))
            yield result
    finally:
        for future in waiting:
            future.cancel()
        for _ in range(n_begun):
            asked.put(None)


def _done(function: Callable[[Item], Result], job: tuple[Future[Result], Item] | None) -> bool:
    """False: there is no more to do."""
    if job is None:
        return False
    future, item = job
    if not future.set_running_or_notify_cancel():
        return True
    try:
        future.set_result(function(item))
    except BaseException as error:
        future.set_exception(error)
    return True
