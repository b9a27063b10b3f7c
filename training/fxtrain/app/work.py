"""Everything slow, one thing after another on one thread: the model, renders, exports.

The model is loaded there too, as the first thing, once the page is up.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, TypeVar

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
        self._last: dict[str | None, Future[Any]] = {}

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

    async def do(
        self, task: Callable[[Ears], T], most_waiting: int, instead_of: str | None = None
    ) -> T:
        """Run ``task`` with the ears when its turn comes; refused where too many wait already.

        Of those ``instead_of`` one name only the last is wanted: one that still waits is refused.
        """
        self.begin()
        with self._lock:
            earlier = self._last.pop(instead_of, None)
        if earlier is not None:
            earlier.cancel()
        with self._lock:
            if self._waiting >= most_waiting:
                raise too_much()
            self._waiting += 1
            turn = self._thread.submit(lambda: task(self._ears.result()))
            if instead_of is not None:
                self._last[instead_of] = turn
        turn.add_done_callback(lambda _: self._end(turn, instead_of))
        try:
            return await asyncio.wrap_future(turn)
        except FxError as error:
            raise RefusedError(422, str(error)) from None
        except asyncio.CancelledError:
            if turn.cancelled() and not self._closed and not _this_is_cancelled():
                raise RefusedError(409, "Something later was asked for.") from None
            raise

    def _end(self, turn: Future[Any], instead_of: str | None) -> None:
        with self._lock:
            self._waiting -= 1
            if self._last.get(instead_of) is turn:
                del self._last[instead_of]

    def close(self) -> bool:
        """Take nothing more; whether nothing is under way either."""
        with self._lock:
            self._closed = True
        self._thread.shutdown(wait=False, cancel_futures=True)
        return self.ready and self._waiting == 0


def _this_is_cancelled() -> bool:
    """The request itself, not only what it waits for."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0
