"""Samples a second that reach the model, against the limit of a plain numpy memmap and peers.

    python tests/bench/bench_stream.py [--samples 20000] [--batch-size 256] [--repeats 5]

All rows end in shuffled batches with int64 codes, as the model takes them; the page cache is warm.
The repeats of all ways alternate and the best of each is printed: a CPU-second for what runs in one
process (all its threads), so that a busy machine gives nearly the same figures, a wall second with
workers, whose start is paid before. Freed memory is kept, as `fit` keeps it. "first epoch" reads
and compares every byte; later ones trust it.
Peers that are not installed are named; see tests/bench/requirements.txt.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).parent.parent))

from bench.stream_peers import PEERS
from fixtures.shards import make_shards
from fxpipe.store import BACKENDS, DEFAULT_SHARD_SIZE
from fxtrain.calm import keep_freed_memory
from fxtrain.data import open_shards
from fxtrain.data.stream import POOL_SAMPLES, Loader, heard_fields, make_loader

N_CODEBOOKS, CODEBOOK_SIZE, N_AUDIO_SAMPLES = 9, 1024, 88_200
LIMIT = "numpy memmap, shuffled (the limit)"
Way = Callable[[], object]


def make_set(folder: Path, backend: str, n_samples: int) -> None:
    make_shards(
        folder,
        backend=backend,
        n_train=n_samples,
        n_valid=0,
        n_test=0,
        n_codebooks=N_CODEBOOKS,
        codebook_size=CODEBOOK_SIZE,
        n_audio_samples=N_AUDIO_SAMPLES,
        shard_size=DEFAULT_SHARD_SIZE[backend],
    )


def memmap_batches(path: Path, batch_size: int) -> Iterator[torch.Tensor]:
    codes = np.load(path, mmap_mode="r")
    rows = np.random.default_rng(0).permutation(len(codes))
    for start in range(0, len(codes), batch_size):
        yield torch.from_numpy(codes[rows[start : start + batch_size]].astype(np.int64))


def open_loader(folder: Path, batch_size: int, **options: object) -> Loader:
    return make_loader(
        open_shards(folder),
        "train",
        batch_size=batch_size,
        seed=0,
        shuffle=True,
        fields=heard_fields(False, False),
        **options,  # type: ignore[arg-type]
    )


def drain(batches: Iterator[object]) -> None:
    for _ in batches:
        pass


class Table:
    """Ways of reading, timed in turns."""

    def __init__(self) -> None:
        self.rows: dict[str, tuple[int, Callable[[], float], Way]] = {}
        self.best: dict[str, float] = {}

    def add(self, name: str, n: int, way: Way, clock: Callable[[], float] | None = None) -> None:
        self.rows[name] = (n, clock or time.process_time, way)

    def run(self, repeats: int) -> None:
        for _ in range(repeats):
            for name, (n, clock, way) in self.rows.items():
                start = clock()
                way()
                self.best[name] = max(self.best.get(name, 0.0), n / (clock() - start))

    def show(self) -> None:
        limit = self.best[LIMIT]
        print("| way | samples/s | of the limit |")
        print("| --- | ---: | ---: |")
        for name, rate in self.best.items():
            print(f"| {name} | {rate:,.0f} | {rate / limit:.3f} |")


def add_ours(table: Table, folder: Path, backend: str, n: int, batch_size: int) -> None:
    def first_epoch() -> None:
        drain(iter(open_loader(folder, batch_size, resident=False)))

    table.add(f"{backend}: stream, first epoch", n, first_epoch)
    loader = open_loader(folder, batch_size, resident=False)
    drain(iter(loader))
    table.add(f"{backend}: stream", n, lambda: drain(iter(loader)))
    working = open_loader(folder, batch_size, resident=False, n_workers=2)
    drain(iter(working))
    table.add(
        f"{backend}: stream, 2 workers (wall)",
        n,
        lambda: drain(iter(working)),
        time.perf_counter,
    )


def add_peers(table: Table, scratch: Path, folder: Path, n: int, batch_size: int) -> None:
    arrays = open_shards(folder).load_arrays("train", fields=heard_fields(False, False))
    arrays = {name: array[:n] for name, array in arrays.items()}
    for number, (name, peer) in enumerate(PEERS.items()):
        try:
            batches = peer(scratch / f"peer-{number}", arrays, batch_size)
            seen = sum(len(batch) for batch in batches())
        except ImportError as error:
            print(f"{name}: left out, {error}", file=sys.stderr)
            continue
        if seen != n:
            print(f"{name}: gave {seen} of {n} samples", file=sys.stderr)
        table.add(name, seen, lambda batches=batches: drain(batches()))  # type: ignore[misc]


def peak_mb() -> int:
    """Of this process alone, unlike ``ru_maxrss``, which begins with that of the parent."""
    (line,) = (
        line
        for line in Path("/proc/self/status").read_text().splitlines()
        if line.startswith("VmHWM")
    )
    return int(line.split()[1]) // 1024


def show_memory(scratch: Path) -> None:
    """Peak memory of processes that stream 1, 4 and 16 pools of samples, and that hold them all."""
    print("| samples | peak memory, streamed | peak memory, in memory |")
    print("| ---: | ---: | ---: |")
    for pools in (1, 4, 16):
        folder = scratch / f"pools-{pools}"
        make_set(folder, "webdataset", pools * POOL_SAMPLES)
        peaks = [
            subprocess.check_output(
                [sys.executable, __file__, "--peak-of", str(folder), *flag], text=True
            ).strip()
            for flag in ([], ["--resident"])
        ]
        print(f"| {pools * POOL_SAMPLES:,} | {peaks[0]} MB | {peaks[1]} MB |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--samples", type=int, default=20_000)
    parser.add_argument("--peer-samples", type=int, default=4_000)
    parser.add_argument("--batch-size", type=int, default=256)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--peak-of", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--resident", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    keep_freed_memory()
    torch.set_num_threads(1)  # idle cores that spin for a busy one cost 10 ms an operation
    if args.peak_of:
        drain(iter(open_loader(args.peak_of, args.batch_size, resident=args.resident)))
        print(peak_mb())
        return
    n, batch_size = args.samples, args.batch_size
    with tempfile.TemporaryDirectory() as name:
        scratch = Path(name)
        for backend in BACKENDS:
            make_set(scratch / backend, backend, n)
        first = scratch / "webdataset"
        plain = scratch / "codes.npy"
        np.save(plain, open_shards(first).load_arrays("train")["codes"])
        table = Table()
        table.add(LIMIT, n, lambda: drain(memmap_batches(plain, batch_size)))
        resident = open_loader(first, batch_size, resident=True)
        table.add("in memory, shuffled", n, lambda: drain(iter(resident)))
        for backend in BACKENDS:
            add_ours(table, scratch / backend, backend, n, batch_size)
        add_peers(table, scratch, first, min(n, args.peer_samples), batch_size)
        table.run(args.repeats)
        print(f"{n} samples of {N_CODEBOOKS} x 173 codes, batches of {batch_size}\n")
        table.show()
        print()
        show_memory(scratch)


if __name__ == "__main__":
    main()
