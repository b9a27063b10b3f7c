"""Where tasks run: this machine's cores, a running scheduler's workers, Slurm or Kubernetes.

Each is opened as a dask client and closed again. What distributed logs is kept off the screen:
``run`` turns what went wrong into one line.
"""

from __future__ import annotations

import logging
import multiprocessing
import re
import signal
import socket
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import click

from fxpipe.tasks import farewell
from fxpipe.tasks.release import Release, differences, refusal, release_here
from fxtrain.contract import (
    FxError,
    MissingExtraError,
    UsageError,
    n_cores,
    open_folder,
    shorten,
    to_install,
)
from fxtrain.contract.remote import within

CLUSTERS = {"slurm": "dask_jobqueue", "k8s": "dask_kubernetes"}
CONNECT_S = 10
LOOPBACK = "127.0.0.1"
STARTS = 3
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

WORKER_QUIET = {"DASK_LOGGING__DISTRIBUTED": "critical"}
"""A local worker whose driver has just gone otherwise says so, with a traceback: `silence_logs`
ends with the worker, its connections end after it."""

LITTLE_WATCHING = {
    "distributed.worker.profile.enabled": False,
    "distributed.admin.tick.interval": "500ms",
    "distributed.admin.system-monitor.interval": "2s",
}
"""Otherwise dask looks at each of its processes a hundred times a second, which takes a worker 4 %
of its core and the driver as much."""


@dataclass(frozen=True)
class Workers:
    """``n_workers`` local processes, or at most as many on a ``cluster``, or a running
    ``scheduler``'s own workers, however many they are."""

    n_workers: int
    scheduler: str | None = None
    cluster: str | None = None

    @property
    def are_remote(self) -> bool:
        return bool(self.scheduler or self.cluster)


@dataclass(frozen=True)
class Crew:
    """An open client. ``release``: what workers must have installed, where that is not sure."""

    client: Any
    workers: Workers
    release: Release | None = None


ADDRESS = re.compile(r"(?:[a-z]+://)?(?:\[[0-9A-Fa-f:.%]+\]|[^\s:/\[\]]+):\d{1,5}")
"""Of a dask scheduler: a protocol, a host and a port."""


def choose_workers(workers: int | None, scheduler: str | None, cluster: str | None) -> Workers:
    """The options ``-j``, ``--scheduler`` and ``--cluster`` as one."""
    if scheduler and cluster:
        raise UsageError("--scheduler and --cluster exclude each other: leave one away")
    if scheduler and not ADDRESS.fullmatch(scheduler):
        raise UsageError(
            f"--scheduler {shorten(scheduler)} is no address; give it as 'dask scheduler' prints "
            "it: tcp://HOST:8786"
        )
    if cluster and workers is None:
        raise UsageError(f"--cluster {cluster} needs -j: how many workers there may be at most")
    if cluster and find_spec(CLUSTERS[cluster]) is None:
        raise MissingExtraError(
            f"--cluster {cluster} needs {CLUSTERS[cluster].replace('_', '-')}, which is not "
            f"installed: {to_install('cluster')}"
        )
    return Workers(workers or n_cores(), scheduler, cluster)


def seen_by(workers: Workers, uri: str) -> str:
    """A path as remote workers understand it: theirs is another current directory, and home."""
    if not workers.are_remote or ("://" in uri and not uri.startswith("file://")):
        return uri
    return str(Path(open_folder(uri).uri).absolute())


def worker_index() -> int:
    """Which local worker this task runs in, from 0; used to give each GPU its own process.

    A cluster's own workers have names of another kind; each sees its GPU as the first (0).
    """
    import distributed

    name = str(distributed.get_worker().name)
    return int(name) if name.isdigit() else 0


@contextmanager
def open_crew(workers: Workers, n_jobs: int) -> Iterator[Crew]:
    """Connect or start workers, at most ``n_jobs`` of them; say where they can be watched."""
    with _quiet():
        if workers.scheduler:
            with _connect(workers.scheduler) as client:
                _check_release(client, workers.scheduler)
                yield _ready(client, workers, release_here())
        elif workers.cluster:
            from fxpipe.tasks.cluster import open_cluster

            with open_cluster(workers.cluster, workers.n_workers) as client:
                yield _ready(client, workers, release_here())
        else:
            with _local(min(workers.n_workers, n_jobs)) as client:
                yield _ready(client, workers, None)


def _ready(client: Any, workers: Workers, release: Release | None) -> Crew:
    if find_spec("bokeh") or workers.are_remote:
        click.echo(f"dashboard: {client.dashboard_link}", err=True)
    if workers.are_remote and not client.nthreads():
        click.echo(f"no worker yet at {client.scheduler.address}: waiting for the first", err=True)
    return Crew(client, workers, release)


@contextmanager
def _quiet() -> Iterator[None]:
    import distributed  # gives its loggers levels of their own

    names = [
        name
        for name in (*logging.root.manager.loggerDict, "dask_jobqueue", "kr8s", "tornado")
        if name.partition(".")[0] in (distributed.__name__, "dask_jobqueue", "kr8s", "tornado")
    ]
    before = {name: logging.getLogger(name).level for name in names}
    for name in names:
        logging.getLogger(name).setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        for name, level in before.items():
            logging.getLogger(name).setLevel(level)


@contextmanager
def _connect(scheduler: str) -> Iterator[Any]:
    import distributed

    try:
        with warnings.catch_warnings():
            # Other versions than ours are refused below, in one line.
            warnings.simplefilter("ignore", distributed.versions.VersionMismatchWarning)
            # What listens there and is no scheduler may never answer: dask would wait for ever.
            client = within(
                2 * CONNECT_S,
                lambda: distributed.Client(scheduler, timeout=CONNECT_S, set_as_default=False),
            )
    except (OSError, TimeoutError, ValueError) as error:
        raise FxError(
            f"no dask scheduler answers at {scheduler} ({' '.join(str(error).split())}); start one "
            "with 'dask scheduler', or leave --scheduler away to use this machine"
        ) from None
    try:
        yield client
    finally:
        with suppress(Exception):  # of a scheduler that is no more
            client.close(timeout=2)


def _check_release(client: Any, scheduler: str) -> None:
    """Refuse workers that are there and could make other bytes; later ones are told by their
    tasks."""
    ours = release_here()
    try:
        client.run_on_scheduler(release_here)
    except Exception as error:
        _refuse_without_us(f"the scheduler at {scheduler}", error)
        raise
    for address, found in client.run(release_here, on_error="return").items():
        if isinstance(found, BaseException):
            _refuse_without_us(f"the worker at {address}", found)
        elif differing := differences(found, ours):
            raise FxError(refusal(f"the worker at {address}", differing))


def _refuse_without_us(who: str, error: BaseException) -> None:
    """dask passes on what an import said, at times as an error of its own. Other errors are
    those of a worker that has just gone."""
    if "fxpipe" in str(error) or isinstance(error, ImportError):
        raise FxError(missing_there(who, error)) from None


def missing_there(who: str, error: BaseException) -> str:
    version = release_here()["fxpipe"]
    return (
        f"{who} has no fxpipe, or another one than this, {version}: {error}; install the same "
        f"there ({to_install('pipeline')}), start it again, then type the same line again"
    )


def _can_start() -> None:
    """What dask waits for minutes for, or dies without, where a container or a sandbox lacks it."""
    try:
        multiprocessing.Lock()
    except OSError as error:
        raise FxError(
            f"local workers cannot be started: shared memory (/dev/shm) cannot be used "
            f"({error.strerror}); give this container one that can be written, or name a running "
            "--scheduler"
        ) from None
    try:
        with (
            socket.create_server((LOOPBACK, 0)) as server,
            socket.create_connection(server.getsockname(), CONNECT_S),
        ):
            pass
    except OSError as error:
        raise FxError(
            f"local workers cannot be started: this machine does not reach itself at {LOOPBACK} "
            f"({error.strerror or error}); switch its loopback on (ip link set lo up), or look "
            "for a firewall"
        ) from None


@contextmanager
def _local(n_workers: int) -> Iterator[Any]:
    import dask
    import distributed

    _can_start()
    with (
        _covered_ears() as ears,
        dask.config.set(
            {
                "distributed.worker.memory.terminate": False,
                "distributed.admin.tick.limit": "1h",
                **LITTLE_WATCHING,
                "distributed.nanny.pre-spawn-environ": WORKER_ENVIRONMENT | WORKER_QUIET,
                **_preloads(),
                # A dead process is known by its closed socket. A silent one may be a laptop's
                # that slept, or one that waits for memory: let it.
                "distributed.scheduler.worker-ttl": None,
            }
        ),
        _started(
            distributed.LocalCluster,
            n_workers=n_workers,
            threads_per_worker=1,
            processes=True,
            memory_limit=0,
            dashboard_address="127.0.0.1:0",
            silence_logs="CRITICAL",
        ) as cluster,
        distributed.Client(cluster) as client,
    ):
        ears.open()
        try:
            yield client
        finally:
            ears.shut()


def _preloads() -> dict[str, Any]:
    """What a user's own configuration loads into workers, and after it ours."""
    import dask

    theirs = dask.config.get("distributed.worker.preload")
    names = [theirs] if isinstance(theirs, str) else [*theirs]
    argv = dask.config.get("distributed.worker.preload-argv")
    of_each = [*argv] if argv and not isinstance(argv[0], str) else [argv] * len(names)
    return {
        "distributed.worker.preload": [*names, farewell.__name__],
        "distributed.worker.preload-argv": [*of_each, []],
    }


@contextmanager
def _started(kind: Callable[..., Any], **options: Any) -> Iterator[Any]:
    """A local worker that dies while it starts takes dask's cluster with it: begin anew.

    And dask stumbles on its way out where a worker died just now and the one in its place is no
    process yet ("can only join a started process"): the second time it is gone.
    """
    cluster = _start(kind, options)
    try:
        yield cluster
    finally:
        try:
            cluster.close()
        except AssertionError:
            from distributed.core import Status

            cluster.status = Status.failed  # or it waits for the first try, without end
            cluster.close()


def _start(kind: Callable[..., Any], options: dict[str, Any]) -> Any:
    for _ in range(STARTS):
        try:
            return kind(**options)
        except RuntimeError as error:
            cause = str(error.__cause__ or error)
    raise FxError(
        f"local workers died while they started, {STARTS} times ({cause:.100}): not enough memory, "
        "or too few open files (ulimit -n) or processes (ulimit -u)? Try fewer at a time (-j); "
        "finished shards are kept: type the same line again"
    )


class _Ears:
    """Whether this process hears Ctrl-C: kept while workers start, heard while they run, and while
    they end no more."""

    def __init__(self) -> None:
        is_main = threading.current_thread() is threading.main_thread()
        self._before = signal.getsignal(signal.SIGINT)
        # What a shell starts in the background ignores Ctrl-C already, and so do its workers.
        self._heeds = is_main and callable(self._before)
        self._mask: set[Any] | None = None
        self._heard = False

    def cover(self) -> None:
        """Processes started from here on never hear it, nor do those that replace them: they
        inherit the mask, from threads that are started from here on."""
        if not self._heeds:
            return
        if hasattr(signal, "pthread_sigmask"):
            from multiprocessing import resource_tracker

            resource_tracker.ensure_running()  # it unblocks SIGINT where it starts
            self._mask = set(signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT}))
        # A thread that was there before may still take it.
        signal.signal(signal.SIGINT, self._remember)

    def _remember(self, *_: Any) -> None:
        self._heard = True

    def open(self) -> None:
        """Hear again, and what came meanwhile."""
        self.restore()
        if self._heard:
            raise KeyboardInterrupt

    def shut(self) -> None:
        """One was enough: another would leave half open what is being closed."""
        if self._heeds:
            signal.signal(signal.SIGINT, signal.SIG_IGN)

    def restore(self) -> None:
        if self._mask is not None:
            signal.pthread_sigmask(signal.SIG_SETMASK, self._mask)
        if self._heeds:
            signal.signal(signal.SIGINT, self._before)


@contextmanager
def _covered_ears() -> Iterator[_Ears]:
    ears = _Ears()
    ears.cover()
    try:
        yield ears
    finally:
        ears.restore()
