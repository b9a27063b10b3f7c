"""`fxpipe render` against a bare pedalboard loop on the same clips and chains.

    python tests/bench/bench_render.py [--chains 400] [--workers 1,2] [--repeats 1]
        [--sources folder,synth] [--audio FOLDER] [--shard-sizes 25,50,100,250]

The bare loop: the same dry clips with their run-in, already in memory, the same pedals and settings
through ``build_pedal``, one process; no draws, no audibility check, no noise, no storage, no dask.
Its processes have one BLAS thread and the allocator settings of a worker, as the workers have.

Two sources: a folder of notes (60 of 4 s at 48 kHz, WAV and FLAC, written by the bench; or
``--audio``) and ``synth``, where the guitar is played as well. Rows: the bare loop; what each stage
of `fxpipe render` costs, from one run in this process without dask; the same with dask on n
workers, less the seconds that starting and stopping them takes (a row of their own). Of several
repeats, taken in turn, the fastest counts. Last, n bare loops at once: cores of one machine share
its memory and its clock, and no n workers can do more than that. With ``--shard-sizes`` the table
is another one: the same job in shards of each size; its clips a second are those of as many cores
as are free, its CPU time is not. Run by hand; nothing is asserted.
"""

from __future__ import annotations

import argparse
import functools
import multiprocessing
import os
import resource
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import soxr

from fxpipe import render, renders
from fxpipe.chains.chain import generator
from fxpipe.config import render_spec
from fxpipe.pedals import build_pedal
from fxpipe.plan import Plan, make_plan, save_plan, take_clip
from fxpipe.render import draw_clip
from fxpipe.renders import chain_of
from fxpipe.sources import open_source
from fxpipe.sources.synth import SAMPLE_RATE_HZ, perform
from fxpipe.tasks import Workers
from fxpipe.tasks.where import WORKER_ENVIRONMENT
from fxtrain.contract import Folder, LocalFolder, Record, open_folder

WARM_UP_CLIPS = 40
N_NOTES, NOTE_S, NOTE_RATE_HZ = 60, 4.0, 48_000

STAGES: tuple[tuple[str, tuple[tuple[Any, str], ...]], ...] = (
    ("dry clips: read or played", ((renders, "take_clip"),)),
    ("pedals, redraws included", ((render, "play"),)),
    ("is it heard", ((render, "hear"), (render, "change_db"))),
    ("noise and gain", ((renders, "finish"),)),
    ("draws", ((renders, "draw_clip"), (render, "draw_names"), (render, "draw_settings"))),
    ("hash, write, fsync", ((LocalFolder, "write"),)),
)
REST = "records, int16, what is left"


def write_notes(folder: Path) -> None:
    folder.mkdir()
    for number in range(N_NOTES):
        rng = generator(0, "train", number, "performance")
        wave, _ = perform(rng, round(NOTE_S * SAMPLE_RATE_HZ))
        wave = soxr.resample(wave, SAMPLE_RATE_HZ, NOTE_RATE_HZ)
        wave *= 0.5 / np.abs(wave).max()
        path = folder / f"note{number:02d}.{('wav', 'flac')[number % 2]}"
        soundfile.write(path, wave, NOTE_RATE_HZ, subtype="PCM_24")


@dataclass(frozen=True, order=True)
class Cost:
    """Of some work: seconds on the clock, and of all cores (this process and its children)."""

    wall_s: float = 0.0
    cpu_s: float = 0.0

    def __add__(self, other: Cost) -> Cost:
        return Cost(self.wall_s + other.wall_s, self.cpu_s + other.cpu_s)

    def __sub__(self, other: Cost) -> Cost:
        return Cost(self.wall_s - other.wall_s, self.cpu_s - other.cpu_s)


def now() -> Cost:
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return Cost(time.perf_counter(), time.process_time() + children.ru_utime + children.ru_stime)


@contextmanager
def stage_clock() -> Iterator[dict[str, Cost]]:
    """Cost by stage, that of a stage within another counted once."""
    costs: dict[str, Cost] = {stage: Cost() for stage, _ in STAGES}
    inner: list[Cost] = []

    def clocked(function: Callable[..., Any], stage: str) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            inner.append(Cost())
            began = now()
            try:
                return function(*args, **kwargs)
            finally:
                took = now() - began
                costs[stage] += took - inner.pop()
                if inner:
                    inner[-1] += took

        return call

    before = [(owner, name, getattr(owner, name)) for _, places in STAGES for owner, name in places]
    for stage, places in STAGES:
        for owner, name in places:
            setattr(owner, name, clocked(getattr(owner, name), stage))
    try:
        yield costs
    finally:
        for owner, name, function in before:
            setattr(owner, name, function)


def one_process(folder: Folder, plan: Plan) -> tuple[Cost, list[Record]]:
    """The tasks of `fxpipe render` one after another, and the records of all clips."""
    save_plan(folder, plan)
    jobs = renders.shard_jobs(plan, folder)
    began = now()
    receipts = [renders.render_shard(job) for job in jobs]
    took = now() - began
    return took, [r for receipt in receipts for r in renders.read_records(folder, receipt.shard)]


def with_dask(folder: Folder, plan: Plan, n_workers: int) -> tuple[Cost, Cost]:
    """The render, and starting and stopping the workers alone.

    The start ends when every worker has made a clip: what it imports belongs to it.
    """
    costs = []
    for part in (_tiny(plan, n_workers), plan):
        for name in folder.names():
            folder.delete(name)
        began = now()
        renders.render_all(folder, part, Workers(n_workers), lambda shard: None)
        costs.append(now() - began)
    return costs[1] - costs[0], costs[0]


def _tiny(plan: Plan, n_clips: int) -> Plan:
    """The first clips of it, each a shard."""
    return replace(plan, n_clips=dict.fromkeys(plan.n_clips, 0) | {"train": n_clips}, shard_size=1)


def dry_clips(plan: Plan, records: Sequence[Record]) -> list[np.ndarray]:
    clips = []
    for record in records:
        split, (seed, position, attempt) = record["split"], record["seed"]
        draw = draw_clip(plan.spec, seed, split, position, attempt)
        clips.append(take_clip(plan, split, position, attempt, draw)[0])
    return clips


def bare_loop(clips: Sequence[np.ndarray], records: Sequence[Record], rate_hz: int) -> Cost:
    chains = [chain_of(record) for record in records]
    began = now()
    for dry, chain in zip(clips, chains, strict=True):
        wave = dry
        for pedal in chain.pedals:
            wave = build_pedal(pedal, rate_hz)(wave)
    return now() - began


def bare_loops(
    clips: Sequence[np.ndarray], records: Sequence[Record], rate_hz: int, n: int
) -> Cost:
    """``n`` processes with a loop each over all the clips, begun together: of the slowest."""
    fork = multiprocessing.get_context("fork")
    ready, costs = fork.Barrier(n), fork.SimpleQueue()

    def loop() -> None:
        ready.wait()
        costs.put(bare_loop(clips, records, rate_hz))

    processes = [fork.Process(target=loop) for _ in range(n)]
    for process in processes:
        process.start()
    found = [costs.get() for _ in processes]
    for process in processes:
        process.join()
    return max(found)


def compare(source: str, n_chains: int, workers: Sequence[int], repeats: int, where: Path) -> None:
    plan = make_plan(render_spec(None, {}), open_source(source), n_chains, 0, progress=False)
    folder = open_folder(where / "renders")
    one_process(folder, _tiny(plan, WARM_UP_CLIPS))  # imports, caches, memory
    bares, own = [], []
    asked: dict[int, list[tuple[Cost, Cost]]] = {n: [] for n in workers}
    at_once: dict[int, list[Cost]] = {n: [] for n in workers if n > 1}
    for _ in range(repeats):
        with stage_clock() as stages:
            cost, records = one_process(folder, plan)
        own.append((cost, stages))
        clips = dry_clips(plan, records)
        bares.append(bare_loop(clips, records, plan.spec.sample_rate_hz))
        for n, costs in at_once.items():
            costs.append(bare_loops(clips, records, plan.spec.sample_rate_hz, n))
        del clips
        for n in workers:
            asked[n].append(with_dask(folder, plan, n))
    bare, (ours, stages) = min(bares), min(own, key=lambda pair: pair[0])
    redraws = sum(len(record["redraws"]) for record in records)
    label = "the built-in guitar" if plan.generated else "notes from files"
    print(f"\n**{label}**: {n_chains} chains, {redraws} redraws\n")
    print("| | CPU ms a clip | ms a clip | clips/s | of bare | of n x bare |")
    print("| --- | ---: | ---: | ---: | ---: | ---: |")
    row = functools.partial(print_row, n_clips=n_chains)
    row("bare pedalboard loop, 1 process", bare, of=bare)
    if plan.generated:
        row("bare loop and playing the guitar", bare + stages[STAGES[0][0]], of=bare)
    for stage, cost in stages.items():
        row(f"&nbsp; {stage}", cost)
    row(f"&nbsp; {REST}", functools.reduce(Cost.__sub__, stages.values(), ours))
    row("fxpipe's tasks, 1 process, no dask", ours, of=bare, n=1)
    for n in workers:
        took, start = min(asked[n])
        row(f"fxpipe render, {n} worker{'s' * (n > 1)}", took, of=bare, n=n)
        if plan.generated:
            row("&nbsp; of bare and playing", took, of=bare + stages[STAGES[0][0]], n=n)
        print(f"| &nbsp; start and stop, once: {start.wall_s:.1f} s | | | | | |", flush=True)
    for n, costs in at_once.items():
        shared = Cost(min(costs).wall_s / n, min(costs).cpu_s)
        row(f"{n} bare loops at once", shared, of=bare, n=n)


def print_row(
    label: str, cost: Cost, *, n_clips: int, of: Cost | None = None, n: int | None = None
) -> None:
    cells = [label, f"{1e3 * cost.cpu_s / n_clips:.2f}", f"{1e3 * cost.wall_s / n_clips:.2f}"]
    cells.append(f"{n_clips / cost.wall_s:.1f}" if of else "")
    cells.append(f"{of.wall_s / cost.wall_s:.2f}" if of else "")
    cells.append(f"{of.wall_s / cost.wall_s / n:.2f}" if of and n else "")
    print("| " + " | ".join(cells) + " |")


def compare_shards(
    source: str, n_chains: int, workers: Sequence[int], repeats: int, sizes: list[int], where: Path
) -> None:
    print(f"\n{source.partition(':')[0]}, {n_chains} chains: CPU ms a clip, clips/s\n")
    heads = " | ".join(f"ms, {n} workers | clips/s" for n in workers)
    print(f"| clips a shard | shards | {heads} |")
    print("| ---: | ---: |" + " ---: | ---: |" * len(workers))
    folder = open_folder(where / "renders")
    spec, found = render_spec(None, {}), open_source(source)
    best: dict[tuple[int, int], list[Cost]] = {}
    n_shards = {}
    for _ in range(repeats):
        for size in sizes:
            plan = make_plan(spec, found, n_chains, 0, progress=False, shard_size=size)
            n_shards[size] = len(renders.shard_jobs(plan, folder))
            for n in workers:
                best.setdefault((size, n), []).append(with_dask(folder, plan, n)[0])
    for size in sizes:
        cells = []
        for n in workers:
            cpu_s = min(cost.cpu_s for cost in best[size, n])
            wall_s = min(cost.wall_s for cost in best[size, n])
            cells += [f"{1e3 * cpu_s / n_chains:.2f}", f"{n_chains / wall_s:.1f}"]
        print(f"| {size} | {n_shards[size]} | {' | '.join(cells)} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--chains", type=int, default=400)
    parser.add_argument("--workers", default="1,2")
    parser.add_argument("--repeats", type=int, default=1)
    parser.add_argument("--sources", default="folder,synth")
    parser.add_argument("--audio", type=Path, help="Folder of notes instead of the bench's own.")
    parser.add_argument("--shard-sizes", help="Compare these sizes instead: 25,50,100,250.")
    args = parser.parse_args()
    workers = [int(word) for word in args.workers.split(",") if word]
    with tempfile.TemporaryDirectory() as path:
        if args.audio is None and "folder" in args.sources:
            write_notes(Path(path) / "notes")
        notes = f"folder:{args.audio or Path(path) / 'notes'}"
        for source in args.sources.split(","):
            name = notes if source == "folder" else source
            if args.shard_sizes:
                sizes = [int(word) for word in args.shard_sizes.split(",")]
                compare_shards(name, args.chains, workers, args.repeats, sizes, Path(path))
            else:
                compare(name, args.chains, workers, args.repeats, Path(path))


if __name__ == "__main__":
    if any(os.environ.get(key) != value for key, value in WORKER_ENVIRONMENT.items()):
        os.execve(sys.executable, [sys.executable, *sys.argv], {**os.environ, **WORKER_ENVIRONMENT})
    main()
