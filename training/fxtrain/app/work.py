"""Everything slow, one thing after another on one thread: the model, renders, exports.

The model is loaded there too, as the first thing, once the page is up.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, TypeVar

from fxtrain.app.limits import too_much
from fxtrain.contract import FxError
from fxtrain.web.requests import RefusedError

if TYPE_CHECKING:
    from fxtrain.app.ears import Ears

T = TypeVar("T")


class Work:
    def __init__(self, load: Callable[[], Ears]) -> None:
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="work")
        self._load, self._begun, self._closed = load, False, False
        self._ears: Future[Ears] = Future()
        self._waiting, self._lock = 0, threading.Lock()

    def begin(self) -> None:
        """Load the model, if nothing has begun to; returns at once."""
        with self._lock:
            if not self._begun and not self._closed:
                self._begun = True
                self._thread.submit(self._open)

    def _open(self) -> None:
        try:
            self._ears.set_result(self._load())
        except Exception as error:
            self._ears.set_exception(error)

    @property
    def ready(self) -> bool:
        return self._ears.done() or not self._begun

    async def do(self, task: Callable[[Ears], T], most_waiting: int) -> T:
        """Run ``task`` with the ears when its turn comes; refused where too many wait already."""
        self.begin()
        with self._lock:
            if self._waiting >= most_waiting:
                raise too_much()
            self._waiting += 1

        def turn() -> T:
            try:
                return task(self._ears.result())
            finally:
                with self._lock:
                    self._waiting -= 1

        try:
            return await asyncio.wrap_future(self._thread.submit(turn))
        except FxError as error:
            raise RefusedError(422, str(error)) from None

    def close(self) -> bool:
        """Take nothing more; whether nothing is under way either."""
        with self._lock:
            self._closed = True
        self._thread.shutdown(wait=False, cancel_futures=True)
        return self.ready and self._waiting == 0
