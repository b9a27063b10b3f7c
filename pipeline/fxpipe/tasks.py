"""The dask graph: one task is one shard, idempotent and resumable. The only dask import.

A task is a module-level function that gets a small dict (seeds, names, places; never arrays),
writes its own shard and returns a small dict. A lost worker costs its shard, a lost driver
nothing that was finished: each shard leaves a receipt, and only shards without one are run again.
"""

from __future__ import annotations

import hashlib
import json
import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

from fxtrain.contract import (
    INDEX_NAME,
    Folder,
    FxError,
    ShardEntry,
    check_files,
    from_dict,
    identity_of,
    index_bytes,
    read_json,
    to_dict,
)

Job = dict[str, Any]
Result = TypeVar("Result")
RETRIES = 2
STARTS = 3
RECEIPTS = ".receipts"
INDEX_SUM = f"{RECEIPTS}/index.sha256"
WORKER_ENVIRONMENT = {
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "MALLOC_MMAP_THRESHOLD_": str(1 << 30),
    "MALLOC_TRIM_THRESHOLD_": str(1 << 31),
    "MALLOC_TOP_PAD_": str(1 << 26),
}
"""One BLAS thread a worker; and freed memory stays with the process, because an encoder's
activations are otherwise mapped and page-faulted afresh at every layer (dask's own default trims
at 64 kB)."""


@dataclass(frozen=True)
class Receipt:
    """What a finished shard leaves behind. ``tally`` holds sums for the summary."""

    identity: str
    shard: ShardEntry
    tally: dict[str, Any]


@dataclass(frozen=True)
class Workers:
    """Where tasks run: ``n_workers`` local processes, or a running scheduler's own workers."""

    n_workers: int
    scheduler: str | None = None


def default_workers() -> int:
    """One worker a core that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def receipt_name(shard_name: str) -> str:
    return f"{RECEIPTS}/{shard_name}.json"


def write_receipt(folder: Folder, receipt: Receipt) -> None:
    data = to_dict(receipt)
    text = json.dumps(data | {"sha256": identity_of(data)})
    folder.write(receipt_name(receipt.shard.name), text.encode())


def write_finished(folder: Folder, index: Any) -> None:
    """The index, last of all, and before it its sum, by which ``check`` knows it unaltered."""
    data = index_bytes(index)
    folder.write(INDEX_SUM, hashlib.sha256(data).hexdigest().encode())
    folder.sweep()
    folder.write(INDEX_NAME, data)


def read_receipts(folder: Folder, identity: str, *, verify: bool) -> dict[str, Receipt]:
    """Shard name -> receipt, of shards of this identity whose files are all there.

    By length; with ``verify`` by every byte.
    """
    found = {}
    for name in folder.names():
        if not (name.startswith(f"{RECEIPTS}/") and name.endswith(".json")):
            continue
        try:
            data = read_json(folder.read(name), name)
            if data.pop("sha256", None) != identity_of(data):
                continue
            receipt = from_dict(Receipt, data, name)
        except (AttributeError, ValueError, FxError):
            continue  # cut short by a crash, or altered: the shard is made again
        if receipt.identity == identity and is_whole(folder, receipt.shard, verify=verify):
            found[receipt.shard.name] = receipt
    return found


def is_whole(folder: Folder, shard: ShardEntry, *, verify: bool) -> bool:
    """Are all files of a shard there: by length, or with ``verify`` by every byte?"""
    if verify:
        return not check_files(folder, shard.files)
    return all(folder.size(file.path) == file.n_bytes for file in shard.files)


def run_tasks(
    function: Callable[[Job], Result], jobs: Sequence[Job], workers: Workers
) -> Iterator[Result]:
    """Yield what tasks return as they finish, in any order: receipts of shards, or a few numbers.
    A task's ``FxError`` is raised as it is."""
    if not jobs:
        return
    import distributed

    with _client(min(workers.n_workers, len(jobs)), workers.scheduler) as client:
        futures = client.map(_try, [function] * len(jobs), jobs, pure=False, retries=RETRIES)
        try:
            for future in distributed.as_completed(futures):
                outcome = future.result()
                if isinstance(outcome, FxError):
                    raise outcome
                yield outcome
                future.release()
        finally:
            client.cancel(futures, force=True)


def _try(function: Callable[[Job], Result], job: Job) -> Result | FxError:
    """An ``FxError`` is an answer: trying again gives the same. Anything else dask tries again."""
    try:
        return function(job)
    except FxError as error:
        return error


@contextmanager
def _client(n_workers: int, scheduler: str | None) -> Iterator[Any]:
    import dask
    import distributed

    if scheduler:
        try:
            with distributed.Client(scheduler, timeout=10) as client:
                yield client
        except (OSError, TimeoutError) as error:
            raise FxError(
                f"no dask scheduler answers at {scheduler} ({error}); start one with "
                "'dask scheduler', or leave --scheduler away to use this machine"
            ) from None
        return
    with (
        _without_sigint() as hear_again,
        dask.config.set(
            {
                "distributed.worker.memory.terminate": False,
                "distributed.admin.tick.limit": "1h",
                "distributed.nanny.pre-spawn-environ": WORKER_ENVIRONMENT,
            }
        ),
        _started(
            distributed.LocalCluster,
            n_workers=n_workers,
            threads_per_worker=1,
            processes=True,
            memory_limit=0,
            dashboard_address=":0",
            silence_logs="CRITICAL",
        ) as cluster,
        distributed.Client(cluster) as client,
    ):
        hear_again()
        yield client


def _started(cluster: Callable[..., Any], **options: Any) -> Any:
    """A local worker that dies while it starts takes dask's cluster with it: begin anew."""
    for _ in range(STARTS):
        try:
            return cluster(**options)
        except RuntimeError as error:
            cause = str(error.__cause__ or error)
    raise FxError(
        f"local workers died while they started, {STARTS} times ({cause:.100}): not enough memory? "
        "Try fewer at a time (-j); what is finished is kept: type the same line again"
    )


@contextmanager
def _without_sigint() -> Iterator[Callable[[], None]]:
    """Ignore Ctrl-C while workers start: they inherit that, so later only the driver hears it.

    Yields what makes the driver hear it again. A blocked mask would not do: multiprocessing's
    resource tracker unblocks SIGINT when it starts.
    """
    if threading.current_thread() is not threading.main_thread():
        yield lambda: None
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)

    def hear_again() -> None:
        signal.signal(signal.SIGINT, before)

    try:
        yield hear_again
    finally:
        hear_again()


def worker_index() -> int:
    """Which local worker this task runs in, from 0; used to give each GPU its own process.

    A cluster's own workers have names of another kind; each sees its GPU as the first (0).
    """
    import distributed

    name = str(distributed.get_worker().name)
    return int(name) if name.isdigit() else 0
