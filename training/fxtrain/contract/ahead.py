"""Files looked at by a few threads, ahead of the one that asks: a store answers, a disk reads and
sha256 runs while what is there already is looked through."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
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
    function: Callable[[Item], Result], items: Iterable[Item], n_threads: int = READERS
) -> Iterator[Result]:
    """``function`` of each of ``items``, in their order; at most ``n_threads`` results wait.

    An error is raised where its result would have come. Whoever stops asking waits for what is
    being worked on, and no more is begun.
    """
    waiting: deque[Future[Result]] = deque()
    rest = iter(items)
    with ThreadPoolExecutor(n_threads, "ahead") as pool:
        try:
            waiting.extend(pool.submit(function, item) for item in islice(rest, n_threads))
            while waiting:
                result = waiting.popleft().result()
                waiting.extend(pool.submit(function, item) for item in islice(rest, 1))
                yield result
        finally:
            for future in waiting:
                future.cancel()
