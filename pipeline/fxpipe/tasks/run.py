"""Keeps a few tasks a worker under way, and turns what can go wrong with them into one line.

Neither the driver nor the scheduler ever holds more than ``TASKS_A_THREAD`` tasks a thread:
memory is flat in the number of shards. Short jobs are sent several a task.
"""

from __future__ import annotations

import concurrent.futures
import itertools
import operator
import sys
import time
import uuid
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

from fxpipe.errors import SourceError
from fxpipe.tasks.receipts import Receipt, not_there
from fxpipe.tasks.release import Release, differences, here, refusal, release_here
from fxpipe.tasks.where import Crew, Workers, missing_there, open_crew
from fxtrain.contract import FxError, open_folder

Job = dict[str, Any]
Result = TypeVar("Result")
RETRIES = 2
TASKS_A_THREAD = 4
"""Under way for each thread: one at work, one waiting beside it, two on their way. From more than
two a thread on, dask keeps the rest at the scheduler, so a lost worker loses what it was at."""
TASK_S, JOBS_A_TASK = 2.0, 16
"""Jobs are sent together until they take a worker so long, at most so many: dask's messages for a
task take the one driver some 10 ms, so that 64 workers with tasks of half a second keep it busy."""
LOOK_AT_WORKERS_S = 1.0
OURS = ("fxpipe", "fxtrain")
SEEN_WITHIN_S = 60.0
"""A network file system may show a new file this late."""
SAME_PATHS = (
    " (a worker on another machine reads the data set under the same path as this one: give "
    "--data-dir a folder that all of them see)"
)


def run_tasks(
    function: Callable[[Job], Result], jobs: Iterable[Job], workers: Workers, *, alone: bool = False
) -> Iterator[Result]:
    """Yield what tasks return as they finish, in any order: receipts of shards, or a few numbers.
    A task's ``FxError`` is raised as it is. ``jobs`` may be a generator: it is read as workers
    become free. Short jobs are sent several a task unless each is to be ``alone``; the last ones of
    a known number are, so that no worker waits long for another.
    """
    waiting = iter(jobs)
    first = list(itertools.islice(waiting, workers.n_workers))
    if not first:
        return
    with open_crew(workers, len(first)) as crew:
        yield from _flow(function, first, waiting, _Room(crew, 1 if alone else JOBS_A_TASK))


def _flow(
    function: Callable[[Job], Result], first: list[Job], waiting: Iterator[Job], room: _Room
) -> Iterator[Result]:
    import distributed

    crew, uri = room.crew, first[0].get("uri")
    client = crew.client
    jobs = itertools.chain(first, waiting)
    under_way: set[Any] = set()
    finished = distributed.as_completed(loop=client.loop)
    group = f"{function.__name__}-{uuid.uuid4().hex[:8]}"  # one group: dask tells tasks by it
    numbers = itertools.count()
    unseen = crew.workers.are_remote

    def next_task() -> list[Job]:
        return list(itertools.islice(jobs, room.jobs_a_task(operator.length_hint(waiting, -1))))

    def top_up() -> None:
        tasks = [task for _ in range(room.for_more(len(under_way))) if (task := next_task())]
        if not tasks:
            return
        keys = [(group, next(numbers), _name(task)) for task in tasks]
        same = [function] * len(tasks), tasks, [crew.release] * len(tasks)
        more = client.map(_try_each, *same, key=keys, pure=False, retries=RETRIES)
        under_way.update(more)
        finished.update(more)

    try:
        top_up()
        for future in finished:
            under_way.discard(future)
            outcomes, took_s = _outcome(future, crew)
            future.release()
            if not isinstance(outcomes[-1], FxError):
                room.saw(len(outcomes), took_s)
                top_up()
            for outcome in outcomes:
                if isinstance(outcome, FxError):
                    raise outcome
                if unseen and uri:
                    _wait_to_see(outcome, uri)
                    unseen = "://" not in uri  # a folder may be missing on one, a store is one
                yield outcome
    finally:
        if client.status == "running":
            with suppress(Exception):  # of a scheduler that has just gone
                client.cancel(list(under_way), force=True)


class _Room:
    """How many more tasks may be under way, by the threads there are now, and of how many jobs."""

    def __init__(self, crew: Crew, jobs_a_task: int = JOBS_A_TASK) -> None:
        self.crew, self._most = crew, jobs_a_task
        self._looked, self._size = -LOOK_AT_WORKERS_S, 0
        self._seen: deque[tuple[int, float]] = deque(maxlen=TASKS_A_THREAD)

    def for_more(self, n_under_way: int) -> int:
        """None until a quarter is free: one message brings several."""
        now = time.monotonic()
        if now - self._looked >= LOOK_AT_WORKERS_S:
            self._looked = now
            n_threads = 0
            with suppress(OSError):  # a task sent all the same tells what is wrong
                n_threads = sum(self.crew.client.nthreads().values())
            at_least = 1 if self.crew.workers.scheduler else self.crew.workers.n_workers
            self._size = TASKS_A_THREAD * max(n_threads, at_least)
        free = self._size - n_under_way
        return free if free >= self._size // TASKS_A_THREAD else 0

    def saw(self, n_jobs: int, took_s: float) -> None:
        self._seen.append((n_jobs, took_s))

    def jobs_a_task(self, n_left: int) -> int:
        """As many as take ``TASK_S``, by the last tasks; a share of the ``n_left`` (-1: who knows)
        that leaves every thread two more."""
        n_jobs, took_s = sum(n for n, _ in self._seen), sum(s for _, s in self._seen)
        in_time = min(self._most, int(TASK_S * n_jobs / took_s)) if took_s else 1
        n_threads = self._size // TASKS_A_THREAD
        return max(1, in_time if n_left < 0 else min(in_time, n_left // (2 * n_threads)))


def _try_each(
    function: Callable[[Job], Result], jobs: Sequence[Job], release: Release | None
) -> tuple[list[Result | FxError], float]:
    """What the jobs of a task return, up to the first ``FxError``, and how long they took, s."""
    began = time.perf_counter()
    outcomes: list[Result | FxError] = []
    for job in jobs:
        outcomes.append(_try(function, job, release))
        if isinstance(outcomes[-1], FxError):
            break
    return outcomes, time.perf_counter() - began


def _try(function: Callable[[Job], Result], job: Job, release: Release | None) -> Result | FxError:
    """An ``FxError`` is an answer: trying again gives the same. Anything else dask tries again.

    ``release`` is what must be installed here; None on the driver's own machine.
    """
    if release is None:
        try:
            return function(job)
        except FxError as error:
            return error
    if differing := differences(release_here(), release):
        return FxError(refusal(f"the worker on {here()}", differing))
    _stop_profile()
    try:
        return function(job)
    except FxError as error:
        return FxError(f"on {here()}: {_told(error, job)}")
    except OSError as error:
        if error.errno is None:
            raise
        raise OSError(error.errno, f"{error.strerror} on {here()}", error.filename) from error


def _told(error: FxError, job: Job) -> str:
    """What helps is not what the error says where the machine lacks the folders of the run, which
    are all there before its first task."""
    for uri in (job.get("renders"), job.get("uri")):
        if uri and "://" not in uri and not Path(uri).is_dir():
            return (
                f"there is no {uri} there; every worker must see the output, and what is read, "
                "under one path with the machine you type on, or in a store such as s3://: mend "
                "that, then type the same line again"
            )
    return f"{error}{SAME_PATHS if isinstance(error, SourceError) else ''}"


def _stop_profile() -> None:
    """Of a worker that we did not start. dask looks at its threads a hundred times a second, and
    in Python 3.11 the whole process may stand still for ever over that, with no error to see
    (python/cpython issue 106883, dask/distributed issue 8616).
    """
    import distributed

    worker = distributed.get_worker()
    profile = worker.periodic_callbacks.get("profile")
    if sys.version_info < (3, 12) and profile is not None and profile.is_running():
        worker.loop.add_callback(profile.stop)


def _name(task: Sequence[Job]) -> str:
    first, last = (str(job.get("name", "task")) for job in (task[0], task[-1]))
    return first if len(task) == 1 else f"{first} to {last}"


def _outcome(future: Any, crew: Crew) -> tuple[list[Any], float]:
    """What a task returned; what befell it on the way there as an ``FxError``."""
    import distributed

    address = crew.client.scheduler.address if crew.client.scheduler else crew.workers.scheduler
    name = future.key[-1]
    lost = concurrent.futures.CancelledError, distributed.client.FutureCancelledError
    try:
        outcomes: tuple[list[Any], float] = future.result()
        return outcomes
    except distributed.KilledWorker as error:
        raise FxError(
            f"{name}: {error.allowed_failures + 1} workers died while making it, the last at "
            f"{error.last_worker.address}: not enough memory? Try fewer at a time (-j), or look "
            "into that worker's log; finished shards are kept: type the same line again"
        ) from None
    except (*lost, distributed.comm.CommClosedError):
        raise FxError(
            f"lost the dask scheduler at {address}; finished shards are kept: start it and its "
            "workers again, then type the same line again"
        ) from None
    except ModuleNotFoundError as error:
        if crew.release is None or (error.name or "").partition(".")[0] not in OURS:
            raise
        raise FxError(missing_there("a worker", error)) from None
    except OSError as error:
        if crew.release is None:
            raise
        raise FxError(
            f"{name}: {error.filename or ''}: {error.strerror or error}; every worker must see "
            "the output and the data set under the same path, or in a store such as s3://; "
            "finished shards are kept: mend that, then type the same line again"
        ) from None


def _wait_to_see(receipt: Any, uri: str) -> None:
    """A shard that a worker wrote must be here too: what only it can see would be lost."""
    if not isinstance(receipt, Receipt):
        return
    folder, give_up = open_folder(uri), time.monotonic() + SEEN_WITHIN_S
    while not_there(folder, receipt.shard.files):
        if time.monotonic() > give_up:
            raise FxError(
                f"{uri}: a worker wrote {receipt.shard.name} there, and it is not to be seen from "
                "this machine; the output must be a folder that this machine and all workers "
                "share, or a store such as s3://"
            )
        time.sleep(0.2)
