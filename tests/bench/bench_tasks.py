"""What the task runner costs: memory of driver and scheduler, and time a task, as tasks grow.

    python tests/bench/bench_tasks.py [tasks …]

Tasks that do nothing, on two workers, driver and scheduler in one process, each row in a fresh one:
by ``run_tasks``, which keeps a few a thread under way, and all submitted at once, as dask's
examples do. Prints one table; run by hand.
"""

from __future__ import annotations

import resource
import subprocess
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

N_TASKS = (500, 2000, 8000)


def jobs(n_tasks: int):
    return ({"name": f"train-{n:06d}", "n": n} for n in range(n_tasks))


def few_at_a_time(n_tasks: int) -> None:
    from fixtures.tasks import double
    from fxpipe.tasks import Workers, run_tasks

    assert sum(1 for _ in run_tasks(double, jobs(n_tasks), Workers(2))) == n_tasks


def all_at_once(n_tasks: int) -> None:
    import distributed

    from fixtures.tasks import double

    with (
        distributed.LocalCluster(
            n_workers=2, threads_per_worker=1, dashboard_address="127.0.0.1:0"
        ) as cluster,
        distributed.Client(cluster) as client,
    ):
        futures = client.map(double, list(jobs(n_tasks)), pure=False, retries=2)
        assert sum(1 for _ in distributed.as_completed(futures)) == n_tasks


WAYS = {"fxpipe, few at a time": few_at_a_time, "dask, all at once": all_at_once}


def main() -> None:
    if sys.argv[1:2] == ["--one"]:
        began = time.perf_counter()
        WAYS[sys.argv[2]](int(sys.argv[3]))
        seconds = time.perf_counter() - began
        print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, seconds)
        return
    print("| tasks | way | peak of driver and scheduler, MB | ms a task, start included |")
    print("|---|---|---|---|")
    for n_tasks in map(int, sys.argv[1:] or N_TASKS):
        for way in WAYS:
            words = [sys.executable, __file__, "--one", way, str(n_tasks)]
            done = subprocess.run(
                words, check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
            )
            peak_mb, seconds = map(float, done.stdout.split())
            print(f"| {n_tasks} | {way} | {peak_mb:.0f} | {1000 * seconds / n_tasks:.1f} |")


if __name__ == "__main__":
    main()
