"""Clips a second of the synthetic guitar, by style and in all. Run by hand:

    OMP_NUM_THREADS=1 python tests/bench/bench_synth.py [clips] [seconds] [--against FOLDER]

Each clip is played three times and its fastest time counts, so that a busy machine does not
disturb the table much. Times are processor time of one thread. ``--against`` names a folder that
holds another state of the package (``git archive COMMIT pipeline | tar x -C FOLDER``): both then
play the same clips by turns in one run, and their ratio is printed instead of the table.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from collections import defaultdict
from itertools import chain
from pathlib import Path

import numpy as np

import fxpipe
from fxpipe.sources.synth import SAMPLE_RATE_HZ, perform

_REPEATS = 3
_TURN = 20  # clips
_PLAYER = """
import sys, time
import numpy as np
from fxpipe.sources.synth import perform
perform(np.random.default_rng(0), 1000)
for line in sys.stdin:
    first, stop, n_samples = map(int, line.split())
    start = time.process_time()
    for seed in range(first, stop):
        perform(np.random.default_rng(seed), n_samples)
    print(time.process_time() - start, flush=True)
"""


def by_style(n_clips: int, n_samples: int) -> None:
    perform(np.random.default_rng(0), n_samples)
    times_ms: dict[str, list[float]] = defaultdict(list)
    notes: dict[str, list[int]] = defaultdict(list)
    for seed in range(n_clips):
        spent_ms = []
        for _ in range(_REPEATS):
            start = time.process_time()
            _, performance = perform(np.random.default_rng(seed), n_samples)
            spent_ms.append(1e3 * (time.process_time() - start))
        times_ms[performance.style].append(min(spent_ms))
        notes[performance.style].append(performance.n_notes)
    print(
        f"{'style':12s} {'clips':>5s} {'notes':>6s} {'mean ms':>8s} {'max ms':>7s} {'clips/s':>8s}"
    )
    for style, spent in sorted(times_ms.items()):
        print(_row(style, spent, notes[style]))
    print(_row("all", list(chain(*times_ms.values())), list(chain(*notes.values()))))


def against(other: Path, n_clips: int, n_samples: int) -> None:
    """Both states play the same seeds by turns; a turn's fastest time counts."""
    here = Path(fxpipe.__file__).parents[1]
    players = [_player(other / "pipeline"), _player(here)]
    spent_s = [0.0, 0.0]
    for first in range(0, n_clips, _TURN):
        order = f"{first} {min(first + _TURN, n_clips)} {n_samples}\n"
        turns_s = [[_play(player, order) for player in players] for _ in range(_REPEATS)]
        spent_s = [sum(pair) for pair in zip(spent_s, map(min, *turns_s), strict=True)]
    for player in players:
        player.terminate()
    for name, spent in zip((other, here), spent_s, strict=True):
        print(f"{n_clips / spent:6.0f} clips/s  {name}")
    print(f"{spent_s[0] / spent_s[1]:6.2f} of the other's speed")


def _player(folder: Path) -> subprocess.Popen[str]:
    env = {**os.environ, "PYTHONPATH": str(folder), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", _PLAYER]
    return subprocess.Popen(
        command, env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )


def _play(player: subprocess.Popen[str], order: str) -> float:
    assert player.stdin
    assert player.stdout
    player.stdin.write(order)
    player.stdin.flush()
    return float(player.stdout.readline())


def _row(name: str, spent_ms: list[float], notes: list[int]) -> str:
    mean_ms = float(np.mean(spent_ms))
    return (
        f"{name:12s} {len(spent_ms):5d} {np.mean(notes):6.1f} {mean_ms:8.2f}"
        f" {max(spent_ms):7.2f} {1e3 / mean_ms:8.0f}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("clips", nargs="?", type=int, default=200)
    parser.add_argument("seconds", nargs="?", type=float, default=2.0)
    parser.add_argument("--against", type=Path, help="a folder with another state's pipeline/")
    args = parser.parse_args()
    n_samples = int(args.seconds * SAMPLE_RATE_HZ)
    if args.against:
        against(args.against, args.clips, n_samples)
    else:
        by_style(args.clips, n_samples)


if __name__ == "__main__":
    main()
