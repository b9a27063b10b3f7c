"""``ahead``: results in order, a few of them made early; ``check`` reads shards so."""

from __future__ import annotations

import threading
import time
from itertools import repeat

import pytest

from fixtures.http import wait_until
from fixtures.shards import make_shards
from fxtrain.contract import LocalFolder, ahead, check_dataset, readers
from fxtrain.contract.ahead import HELD_BYTES, READERS
from fxtrain.data import read_shard


def test_results_come_in_the_order_of_the_items():
    last = threading.Event()

    def first_waits_for_the_last(number):
        if number == 0:
            assert last.wait(10)
        if number == 3:
            last.set()
        return number * number

    assert list(ahead(first_waits_for_the_last, range(20), 4)) == [n * n for n in range(20)]


def test_no_more_is_begun_than_may_wait():
    begun = []
    results = ahead(lambda number: begun.append(number) or number, iter(range(100)), 3)
    for asked in range(5):
        assert next(results) == asked
        assert len(begun) <= asked + 1 + 3
    results.close()
    assert len(begun) < 10


def test_who_stops_asking_does_not_wait_for_what_stalls():
    answer, others = threading.Event(), set(threading.enumerate())
    results = ahead(lambda number: number == 0 or answer.wait(10), range(4), 2)
    assert next(results)
    began = time.monotonic()
    results.close()
    assert time.monotonic() - began < 5
    begun = set(threading.enumerate()) - others
    assert all(each.daemon for each in begun)  # nor does the program's end
    answer.set()


def test_threads_end_with_what_they_were_asked_for():
    before = threading.active_count()
    assert list(ahead(str, range(9), 3)) == list("012345678")
    wait_until(lambda: threading.active_count() <= before)


def test_one_thread_may_make_several_in_their_order():
    made = iter(range(100))
    results = ahead(lambda _: next(made), repeat(None), n_threads=1, n_waiting=4)
    assert [next(results) for _ in range(20)] == list(range(20))
    results.close()
    assert next(made) <= 20 + 4


def test_what_nobody_asks_for_any_more_is_not_begun():
    begun, go_on, others = [], threading.Event(), set(threading.enumerate())

    def work(number):
        begun.append(number)
        return number == 0 or go_on.wait(10)

    results = ahead(work, range(50), n_threads=1, n_waiting=8)
    assert next(results)
    wait_until(lambda: len(begun) == 2)
    results.close()
    go_on.set()
    wait_until(lambda: not set(threading.enumerate()) - others)
    assert begun == [0, 1]


def test_an_error_comes_in_its_turn():
    results = ahead(lambda number: 1 // number, [4, 1, 0, 2])
    assert [next(results), next(results)] == [0, 1]
    with pytest.raises(ZeroDivisionError):
        next(results)


def test_large_files_are_held_by_fewer():
    assert readers([]) == readers([1, 10]) == READERS
    assert readers([1, HELD_BYTES // 3]) == 3
    assert readers([2 * HELD_BYTES]) == 1


def test_nothing_asked_is_nothing_done():
    assert list(ahead(lambda item: item, [])) == []


class Meeting(LocalFolder):
    """Shards' files are read by two at a time, or not at all."""

    def __init__(self, path):
        super().__init__(path)
        self._both = threading.Barrier(2)

    def read(self, name, n_bytes=None):
        if name.endswith(".tar"):
            self._both.wait(timeout=10)
        return super().read(name, n_bytes)


def test_check_reads_shards_side_by_side(tmp_path):
    index = make_shards(tmp_path, n_train=30, n_valid=4, n_test=4)
    assert len(index.shards) % 2 == 0
    assert list(check_dataset(Meeting(tmp_path), read_shard)) == []
