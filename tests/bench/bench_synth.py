"""Clips a second of the synthetic guitar, by style and in all. Run by hand:

    OMP_NUM_THREADS=1 python tests/bench/bench_synth.py [clips] [seconds]

Each clip is played three times and its fastest time counts, so that a busy machine does not
disturb the table much. Times are processor time of one thread.
"""

from __future__ import annotations

import sys
import time
from collections import defaultdict
from itertools import chain

import numpy as np

from fxpipe.sources.synth import SAMPLE_RATE_HZ, perform

_REPEATS = 3


def main(n_clips: int, seconds: float) -> None:
    n_samples = int(seconds * SAMPLE_RATE_HZ)
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


def _row(name: str, spent_ms: list[float], notes: list[int]) -> str:
    mean_ms = float(np.mean(spent_ms))
    return (
        f"{name:12s} {len(spent_ms):5d} {np.mean(notes):6.1f} {mean_ms:8.2f}"
        f" {max(spent_ms):7.2f} {1e3 / mean_ms:8.0f}"
    )


if __name__ == "__main__":
    main(
        int(sys.argv[1]) if len(sys.argv) > 1 else 200,
        float(sys.argv[2]) if len(sys.argv) > 2 else 2.0,
    )
