"""Owns the processes of a training on several devices: one a device, on this machine.

They are started afresh ("spawn"), and told apart by environment variables as torchrun would set
them. What they say, their result and their errors come back through a queue, so that an error in
any of them is one line. Ctrl-C, and a job or a terminal that ends, are the parent's affair: they
never hear of it. They end with the parent, however it ends.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import multiprocessing.connection
import os
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from typing import Any

import torch

from fxtrain.contract import FxError, n_cores
from fxtrain.errors import DiedError

Say = Callable[[str], None]
"""Takes a line for the user."""

POLL_S = 0.2
ENDINGS = tuple(getattr(signal, n) for n in ("SIGTERM", "SIGHUP") if hasattr(signal, n))
"""What a process hears whose job is to end, and one whose terminal is closed (not on Windows)."""


def spawning() -> Any:
    """The way processes are started here; what they share (events, queues) is made from it."""
    return multiprocessing.get_context("spawn")


def run_ranks(work: Callable[..., Any], args: tuple[Any, ...], n_ranks: int, say: Say) -> Any:
    """``work(rank, say, *args)`` in ``n_ranks`` processes; what rank 0 returns.

    ``work`` and ``args`` have to be picklable. The first error of any rank ends all others and is
    raised here.
    """
    context = spawning()
    queue = context.SimpleQueue()
    port = free_port()
    processes = [
        context.Process(
            target=_run_rank, args=(rank, n_ranks, port, queue, work, args), daemon=False
        )
        for rank in range(n_ranks)
    ]
    results: dict[int, Any] = {}
    try:
        with _ignoring_ctrl_c():  # inherited: what is meant for this one reaches the children too
            for process in processes:
                process.start()
        while len(results) < n_ranks:
            multiprocessing.connection.wait(
                [queue._reader, *(p.sentinel for p in processes)], POLL_S
            )
            ended = [p for p in processes if p.exitcode is not None]
            while not queue.empty():
                rank, kind, value = queue.get()
                if kind == "say":
                    say(value)
                elif kind == "error":
                    raise value
                else:
                    results[rank] = value
            for process in ended:
                if process.exitcode and len(results) < n_ranks:
                    raise DiedError(_died(process.exitcode))
        return results[0]
    finally:
        for process in processes:
            if process.pid is not None and process.exitcode is None and len(results) < n_ranks:
                process.kill()
        for process in processes:
            if process.pid is not None:
                process.join()


def free_port() -> int:
    """A port of the loopback interface that is free now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _died(code: int) -> str:
    if code > 0:  # errors of its work are told by the queue
        return (
            f"a training process ended with code {code} before it began; each reads the script "
            "that called fit: put what is not to happen again under 'if __name__ == \"__main__\":'"
        )
    how = f"was killed by {signal.Signals(-code).name}"
    return f"a training process {how}; if memory ran out, it takes a smaller --batch-size"


@contextlib.contextmanager
def _ignoring_ctrl_c() -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread():  # which alone hears of it
        yield
        return
    before = {n: signal.signal(n, signal.SIG_IGN) for n in (signal.SIGINT, *ENDINGS)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _end_with_parent() -> None:
    """Of a parent that was killed nobody would hear, and the run would go on being written."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _run_rank(
    rank: int, n_ranks: int, port: int, queue: Any, work: Callable[..., Any], args: tuple[Any, ...]
) -> None:
    threading.Thread(target=_end_with_parent, daemon=True).start()
    os.environ.update(
        LOCAL_RANK=str(rank), MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port), NODE_RANK="0"
    )
    if "OMP_NUM_THREADS" not in os.environ:
        torch.set_num_threads(max(1, n_cores() // n_ranks))
    try:
        result = work(rank, lambda text: queue.put((rank, "say", text)), *args)
    except BaseException as error:
        queue.put((rank, "error", _portable(error)))
        # The others wait for this one: nothing that Python would still do may wait for them.
        os._exit(1)
    queue.put((rank, "result", result))


def _portable(error: BaseException) -> BaseException:
    """An error that survives the way to another process; only ours are sure to."""
    if isinstance(error, (FxError, torch.OutOfMemoryError)) or type(error).__module__.startswith(
        "fxtrain"
    ):
        return error
    line = (str(error).splitlines() or [""])[0]
    return FxError(f"training stopped: {type(error).__name__}: {line[:300]}")
