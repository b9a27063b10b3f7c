"""One function on many items in several processes: as in this one, only sooner."""

from __future__ import annotations

import os

import pytest

from fixtures.side import scaled
from fxtrain.contract import FxError, UsageError
from fxtrain.side_by_side import side_by_side


def test_the_order_stays_and_each_process_computes_on_one_thread() -> None:
    items = [5, 1, 2, 0, 6]
    found = list(side_by_side(scaled, 10, items, n_workers=2))
    assert [value for value, _, _ in found] == [50, 10, 20, 0, 60]
    assert os.getpid() not in {process for _, process, _ in found}
    assert {n_threads for _, _, n_threads in found} == {1}


def test_one_worker_is_this_process() -> None:
    assert {process for _, process, _ in side_by_side(scaled, 1, [0, 1], 1)} == {os.getpid()}


def test_what_a_process_raises_is_raised_here() -> None:
    with pytest.raises(UsageError, match="3: no such clip; give another"):
        list(side_by_side(scaled, 1, [0, 3, 1], n_workers=2))


def test_a_process_that_was_ended_is_told_in_a_line() -> None:
    with pytest.raises(FxError, match="ended from outside; memory may be short"):
        list(side_by_side(scaled, 1, [0, 4, 1], n_workers=2))
