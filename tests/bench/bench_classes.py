"""What `fxpipe render --classes` costs: clips with and without, in one run.

    python tests/bench/bench_classes.py [clips] [seed]

One process, no dask, no storage; the default pool and lengths on the synthetic guitar. Prints the
milliseconds a clip for training clips (neighbour swaps) and test clips (all orders up to four
pedals), and their ratio to rendering alone. Run by hand; nothing is asserted.
"""

from __future__ import annotations

import dataclasses
import sys
import time

from fxpipe.chains.chain import ChainSpec
from fxpipe.pedals import POOLS
from fxpipe.plan import Plan, make_plan
from fxpipe.render import RenderSpec
from fxpipe.renders import render_clip
from fxpipe.sources import open_source


def ms_a_clip(plan: Plan, split: str, n_clips: int) -> tuple[float, int]:
    """(milliseconds, clips of two pedals and more that share their sound with another order)."""
    began, n_alike = time.perf_counter(), 0
    for position in range(n_clips):
        _, record = render_clip(plan, split, position)
        n_alike += bool(record.get("alike"))
    return 1e3 * (time.perf_counter() - began) / n_clips, n_alike


def main(n_clips: int = 60, seed: int = 0) -> None:
    spec = RenderSpec(ChainSpec(POOLS["stompbox"]))
    plan = make_plan(spec, open_source("synth"), 30 * n_clips, seed, progress=False)
    with_classes = dataclasses.replace(plan, spec=dataclasses.replace(spec, classes=True))
    render_clip(plan, "train", 10 * n_clips)  # tables and buffers of the first clip
    print(f"{n_clips} clips a row, seed {seed}\n")
    print(f"{'split':<8} {'without, ms':>12} {'with, ms':>9} {'ratio':>6} {'share an order':>15}")
    for split in ("train", "test"):
        plain, _ = ms_a_clip(plan, split, n_clips)
        full, n_alike = ms_a_clip(with_classes, split, n_clips)
        share, ratio = n_alike / n_clips, full / plain
        print(f"{split:<8} {plain:>12.1f} {full:>9.1f} {ratio:>6.2f} {share:>15.0%}")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
