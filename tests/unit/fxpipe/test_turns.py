"""A worker goes on while a store is waited for: with one task at work, and one that writes."""

from __future__ import annotations

import itertools

import distributed
import pytest

from fixtures.tasks import work_and_write
from fxpipe.errors import SourceError
from fxpipe.tasks import Workers, run_tasks

Span = tuple[float, float]


def spans(n: int, *, aside: bool, work_s: float, write_s: float) -> tuple[list[Span], list[Span]]:
    """(work, writing) of ``n`` jobs on one worker, by when they began."""
    job = {"aside": aside, "work_s": work_s, "write_s": write_s}
    found = sorted(run_tasks(work_and_write, [job] * n, Workers(1)))
    assert len(found) == n
    return [(t[0], t[1]) for t in found], [(t[2], t[3]) for t in sorted(found, key=lambda t: t[2])]


def overlaps(some: list[Span], others: list[Span]) -> int:
    return sum(a[0] < b[1] and b[0] < a[1] for a in some for b in others)


def one_at_a_time(some: list[Span]) -> bool:
    return all(before[1] <= after[0] for before, after in itertools.pairwise(some))


@pytest.mark.parametrize(("work_s", "write_s"), [(0.06, 0.03), (0.03, 0.06), (0.4, 0.3)])
def test_one_works_while_one_writes_and_never_two_of_a_kind(work_s: float, write_s: float) -> None:
    """Short jobs go several a task, long ones alone."""
    n = 20 if work_s < 0.1 else 4
    work, writing = spans(n, aside=True, work_s=work_s, write_s=write_s)
    assert one_at_a_time(work)
    assert one_at_a_time(writing)
    assert overlaps(work, writing) >= n // 2


def test_a_task_that_stays_keeps_its_worker() -> None:
    work, writing = spans(6, aside=False, work_s=0.03, write_s=0.03)
    assert one_at_a_time(sorted(work + writing))
    assert overlaps(work, writing) == 0


def test_what_fails_gives_its_place_back() -> None:
    job = {"aside": True, "work_s": 0.0, "write_s": 0.0}
    with (
        distributed.LocalCluster(
            n_workers=1, threads_per_worker=1, dashboard_address=None
        ) as cluster,
        distributed.Client(cluster) as client,
    ):
        for _ in range(3):
            with pytest.raises(SourceError, match="not so"):
                client.submit(work_and_write, job | {"fails": True}, pure=False).result(timeout=30)
        times = client.submit(work_and_write, job).result(timeout=30)
    assert times == sorted(times)


def test_without_a_worker_there_is_nobody_to_wait_for() -> None:
    times = work_and_write({"aside": True, "work_s": 0.0, "write_s": 0.0})
    assert times == sorted(times)
