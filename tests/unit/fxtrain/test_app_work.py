"""One thread for all that is slow: what waits, what is refused, what a later wish takes away."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from fxtrain.app.work import Work
from fxtrain.contract import UsageError
from fxtrain.web.requests import RefusedError

MOST = 8


@pytest.fixture
def work() -> Iterator[Work]:
    ears: Any = SimpleNamespace(heard=[])
    found = Work(lambda: ears)
    yield found
    found.close()


class Slow:
    """Tasks of which the first takes until it is let go."""

    def __init__(self) -> None:
        self.begun, self.go = threading.Event(), threading.Event()

    def first(self, ears: Any) -> str:
        self.begun.set()
        assert self.go.wait(10)
        return "first"

    @staticmethod
    def other(number: int) -> Any:
        def task(ears: Any) -> int:
            ears.heard.append(number)
            return number

        return task


async def ask(work: Work, slow: Slow, n: int, instead_of: str | None) -> list[Any]:
    """The first, and ``n`` while it is under way; what became of each."""
    first = asyncio.create_task(work.do(slow.first, MOST, instead_of))
    await asyncio.to_thread(slow.begun.wait, 10)
    others = []
    for number in range(n):
        others.append(asyncio.create_task(work.do(slow.other(number), MOST, instead_of)))
        await asyncio.sleep(0)
    slow.go.set()
    return await asyncio.gather(first, *others, return_exceptions=True)


def test_of_many_wishes_for_one_thing_the_last_is_done_and_none_is_too_much(work: Work) -> None:
    first, *others, last = asyncio.run(ask(work, Slow(), 30, "render"))
    assert [first, last] == ["first", 29]
    assert {(type(each), each.status) for each in others} == {(RefusedError, 409)}
    assert asyncio.run(work.do(lambda ears: list(ears.heard), 1)) == [29]


def test_wishes_for_different_things_wait_for_one_another_up_to_a_limit(work: Work) -> None:
    first, *others = asyncio.run(ask(work, Slow(), 10, None))
    assert first == "first"
    assert others[: MOST - 1] == list(range(MOST - 1))
    assert {each.status for each in others[MOST - 1 :]} == {503}
    assert asyncio.run(work.do(lambda ears: len(ears.heard), 1)) == MOST - 1  # all were counted out


def test_what_fails_is_counted_out_and_told(work: Work) -> None:
    def fails(ears: Any) -> None:
        raise UsageError("not so")

    for _ in range(3):
        with pytest.raises(RefusedError, match="not so") as told:
            asyncio.run(work.do(fails, 1, "render"))
        assert told.value.status == 422
    assert work.close()


def test_a_request_that_is_given_up_is_given_up(work: Work) -> None:
    slow = Slow()

    async def give_up() -> None:
        first = asyncio.create_task(work.do(slow.first, MOST))
        await asyncio.to_thread(slow.begun.wait, 10)
        second = asyncio.create_task(work.do(slow.other(2), MOST, "render"))
        await asyncio.sleep(0)
        second.cancel()
        with pytest.raises(asyncio.CancelledError):
            await second
        slow.go.set()
        assert await first == "first"

    asyncio.run(give_up())
    assert asyncio.run(work.do(lambda ears: list(ears.heard), 1)) == []
