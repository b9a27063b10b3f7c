"""Kills drivers and workers of render and encode at drawn moments, goes on, compares the bytes.

    python tests/faults/kills.py 50 [--seed 0] [--first 0] [--here DIR]

prints a row a round; exit code 1 if one differs. ``--here`` keeps the undisturbed runs, so that
``--first`` can go on there with a further chunk of the rounds.

A round: start a command with two workers, wait for a drawn moment, send SIGKILL. A killed driver's
command is typed again at once, while its orphans may still write; after a killed worker the
command has to finish by itself. Then every byte is compared with an undisturbed run's.
"""

from __future__ import annotations

import argparse
import contextlib
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil

from fxpipe.against import compare
from fxtrain.contract import FxError

PROGRAM = Path(sys.executable).with_name("fxpipe")
WAIT_S = 600
RENDER = "render --n-chains 200 --pool okita3 --lengths 1-2 --clip-s 0.5 -o {out} -j {workers}"
SOURCE = "render --n-chains 24 --pool okita3 --lengths 1 --clip-s 0.3 -o {out} -j {workers}"
ENCODE = "encode source --codec embedded --shard-size 3 -o {out} -j {workers}"
JOBS = {"render": RENDER, "encode": ENCODE, "encode-zarr": ENCODE + " --format zarr"}
CASES = tuple(
    (job, victim)
    for encode in ("encode", "encode-zarr")
    for victim in ("driver", "worker")
    for job in ("render", encode)
)


@dataclass(frozen=True)
class Round:
    """What was killed, when (shards finished then), what lay there, and how it ended."""

    job: str
    victim: str
    n_shards: int
    n_parts: int
    orphans_s: float
    ended: str
    problems: tuple[str, ...]

    def row(self) -> list[str]:
        equal = "yes" if not self.problems else "NO: " + "; ".join(self.problems)
        orphans = f"{self.orphans_s:.2f}" if self.victim == "driver" else "-"
        shown = (self.job, self.victim, self.n_shards, self.n_parts, orphans, self.ended, equal)
        return [str(cell) for cell in shown]


HEADER = ["job", "killed", "shards", ".part", "orphans s", "then", "same bytes"]


def prepare(here: Path, job: str) -> None:
    """Undisturbed runs of a job and of what it reads, on one worker: ``here/<job>-whole``."""
    lines = {f"{job}-whole": JOBS[job]}
    if job != "render":
        lines = {"source": SOURCE} | lines
    for out, line in lines.items():
        if not (here / out / "index.json").exists():
            command(here, line, out=out, workers=1)


def command(here: Path, line: str, *, out: str, workers: int) -> None:
    words = line.format(out=out, workers=workers).split()
    done = subprocess.run(
        [PROGRAM, *words], cwd=here, capture_output=True, text=True, timeout=WAIT_S, check=False
    )
    if done.returncode:
        raise RuntimeError(f"{line}: exit code {done.returncode}: {done.stderr[-2000:]}")


def kill_once(here: Path, job: str, victim: str, rng: random.Random, number: int) -> Round:
    """One round in ``here``."""
    prepare(here, job)
    out = here / f"{job}-{number}"
    shutil.rmtree(out, ignore_errors=True)
    words = JOBS[job].format(out=out.name, workers=2).split()
    n_whole = count(here / f"{job}-whole", ".receipts/*.json")
    at, later_s = rng.randrange(n_whole), rng.random() * 0.3
    log = here / f"{out.name}.log"
    with log.open("w") as stream:
        process = psutil.Popen([PROGRAM, *words], cwd=here, stdout=stream, stderr=stream)
        with ended(process):
            wait_for(lambda: process.poll() is not None or is_due(process, out, victim, at))
            time.sleep(later_s)
            over = process.poll() is not None
            family = children(process)
            target = process if victim == "driver" else rng.choice(workers(family) or [process])
            with contextlib.suppress(psutil.NoSuchProcess):
                target.kill()
            n_shards, n_parts = count(out, ".receipts/*.json"), count(out, "**/*.part")
            if target is process and not over:
                return go_on(here, job, out, family, (n_shards, n_parts))
            code = process.wait(WAIT_S)
    problems = [] if code == 0 else [f"exit code {code}: {log.read_text()[-300:]!r}"]
    return Round(
        *(job, victim, n_shards, n_parts, 0.0, "was over" if over else "finished by itself"),
        (*problems, *different(here, job, out)),
    )


def go_on(
    here: Path, job: str, out: Path, family: list[psutil.Process], there: tuple[int, int]
) -> Round:
    """The driver is dead: type the same again at once, and see how long its workers live."""
    killed = time.monotonic()
    words = JOBS[job].format(out=out.name, workers=2).split()
    with (here / f"{out.name}.again.log").open("w") as stream:
        again = psutil.Popen([PROGRAM, *words], cwd=here, stdout=stream, stderr=stream)
        with ended(again):
            _, alive = psutil.wait_procs(family, timeout=60)
            orphans_s = time.monotonic() - killed
            code = again.wait(WAIT_S)
    problems = [f"{len(alive)} orphans live after 60 s"] if alive else []
    if code:
        problems.append(f"again: exit code {code}: {Path(stream.name).read_text()[-300:]!r}")
    return Round(
        *(job, "driver", *there, orphans_s, "typed again"),
        (*problems, *different(here, job, out)),
    )


def different(here: Path, job: str, out: Path) -> list[str]:
    """Every difference from the undisturbed run, and half-written files that stayed."""
    try:
        found = compare(str(out), str(here / f"{job}-whole"))
    except FxError as error:
        return [str(error)]
    left = [f"{part.name} stayed" for part in out.rglob("*.part")]
    return [str(problem) for problem in (*found.problems, *found.notes)] + left


def is_due(process: psutil.Process, out: Path, victim: str, at: int) -> bool:
    """Are ``at`` shards finished, and is there somebody to kill?"""
    there = count(out, ".receipts/*.json") >= at
    return there and (victim == "driver" or bool(workers(children(process))))


def children(process: psutil.Process) -> list[psutil.Process]:
    try:
        return list(process.children(recursive=True))
    except psutil.NoSuchProcess:
        return []


def workers(family: list[psutil.Process]) -> list[psutil.Process]:
    found = []
    for child in family:
        with contextlib.suppress(psutil.NoSuchProcess, psutil.ZombieProcess):
            if any("spawn_main" in word for word in child.cmdline()):
                found.append(child)
    return found


def count(folder: Path, pattern: str) -> int:
    return sum(1 for _ in folder.glob(pattern))


def wait_for(true: Callable[[], bool]) -> None:
    end = time.monotonic() + WAIT_S
    while not true():
        if time.monotonic() > end:
            raise TimeoutError("the moment never came")
        time.sleep(0.01)


@contextlib.contextmanager
def ended(process: psutil.Process) -> Iterator[None]:
    """Whatever happens here, the process and what it started are gone afterwards."""
    family: list[psutil.Process] = []
    try:
        yield
    finally:
        family = children(process)
        for each in (process, *family):
            with contextlib.suppress(psutil.NoSuchProcess):
                each.kill()
        process.wait(60)


def play(here: Path, rounds: range, seed: int) -> Iterator[Round]:
    """All cases in turn; the moments are drawn from ``seed`` and the number of the round."""
    for number in rounds:
        job, victim = CASES[number % len(CASES)]
        yield kill_once(here, job, victim, random.Random(f"{seed}-{number}"), number)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("n_rounds", type=int, nargs="?", default=6)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--here", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="fxpipe-kills-") as name:
        here = (options.here or Path(name)).resolve()
        here.mkdir(parents=True, exist_ok=True)
        print("| " + " | ".join(HEADER) + " |\n|" + " --- |" * len(HEADER), flush=True)
        rounds = []
        numbers = range(options.first, options.first + options.n_rounds)
        for each in play(here, numbers, options.seed):
            rounds.append(each)
            print("| " + " | ".join(each.row()) + " |", flush=True)
    bad = sum(bool(each.problems) for each in rounds)
    orphans = [each.orphans_s for each in rounds if each.victim == "driver"]
    print(
        f"{len(rounds)} kills, {len(rounds) - bad} with the same bytes, {bad} not; "
        f"orphans lived {max(orphans, default=0):.2f} s at most"
    )
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
