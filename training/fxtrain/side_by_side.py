"""One function on many items, in as many processes as there are cores to use.

Each process is begun afresh, for one that was forked after torch had threads may wait for ever.
"""

from __future__ import annotations

import multiprocessing
import signal
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import Any, TypeVar

from fxtrain.contract import FxError

T = TypeVar("T")
S = TypeVar("S")
R = TypeVar("R")

_work: Any = None
_shared: Any = None
"""Of a process that was begun here."""


def side_by_side(
    work: Callable[[S, T], R], shared: S, items: Sequence[T], n_workers: int
) -> Iterator[R]:
    """``work(shared, item)`` of every item, in their order; here where ``n_workers`` is 1.

    ``work`` is a function of a module; all else is pickled, ``shared`` once a process. What it
    raises is raised here. Each process computes on one thread.
    """
    if n_workers == 1:
        for item in items:
            yield work(shared, item)
        return
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(n_workers, context, _begin, (work, shared))
    try:
        yield from pool.map(_turn, items)
    except BrokenProcessPool:
        raise FxError(
            "a process that worked beside this one was ended from outside; memory may be short: "
            "close what else runs, and type the same line again"
        ) from None
    finally:
        pool.shutdown(cancel_futures=True)


def _begin(work: Callable[[S, T], R], shared: S) -> None:
    global _work, _shared
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # whoever began this also ends it
    import torch

    torch.set_num_threads(1)
    _work, _shared = work, shared


def _turn(item: T) -> Any:
    return _work(_shared, item)
