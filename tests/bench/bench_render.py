"""`fxpipe render` against a bare pedalboard loop on the same clips and chains.

    python tests/bench/bench_render.py [n_chains] [workers]

The bare loop calls each pedal on clips that are already in memory, in one process: no draws, no
audibility check, no noise, no storage, no dask. Prints one table; run by hand.
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path

from fxpipe.config import render_spec
from fxpipe.encode import chain_of
from fxpipe.pedals import build_pedal
from fxpipe.render import draw_clip
from fxpipe.renders import make_plan, read_shard, render_all, take_clip
from fxpipe.sources import open_source
from fxpipe.tasks import Workers
from fxtrain.contract import open_folder


def main(n_chains: int, n_workers: int) -> None:
    spec = render_spec(None, {})
    plan = make_plan(spec, open_source("synth"), n_chains, 0, progress=False)
    with tempfile.TemporaryDirectory() as path:
        folder = open_folder(Path(path) / "renders")
        shards = []
        began = time.perf_counter()
        index = render_all(folder, plan, Workers(n_workers), shards.append)
        ours_s = time.perf_counter() - began
        records = [r for shard in index.shards for r in read_shard(folder, shard)[1]]
    began = time.perf_counter()
    clips = []
    for record in records:
        split, position = record["split"], record["seed"][1]
        draw = draw_clip(spec, plan.seed, split, position, record["seed"][2])
        clips.append(take_clip(plan, split, position, record["seed"][2], draw)[0])
    source_s = time.perf_counter() - began
    began = time.perf_counter()
    for dry, record in zip(clips, records, strict=True):
        wave = dry
        for pedal in chain_of(record).pedals:
            wave = build_pedal(pedal, spec.sample_rate_hz)(wave)
    bare_s = time.perf_counter() - began
    redraws = sum(len(record["redraws"]) for record in records)
    print(f"{n_chains} chains, {redraws} redraws, {n_workers} workers")
    print(f"{'':34}{'clips/s':>9}  {'ratio to bare':>13}")
    for label, seconds in (
        ("bare pedalboard loop, 1 process", bare_s),
        ("  with playing the dry clips", bare_s + source_s),
        (f"fxpipe render, {n_workers} workers, dask, disk", ours_s),
    ):
        print(f"{label:34}{n_chains / seconds:9.1f}  {bare_s / seconds:13.2f}")


if __name__ == "__main__":
    arguments = [int(word) for word in sys.argv[1:]] + [1000, 2][len(sys.argv) - 1 :]
    main(*arguments)
