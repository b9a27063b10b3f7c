"""Samples a second that reach the model, against the limit of a plain numpy memmap.

    python tests/bench/bench_stream.py [--samples 20000] [--batch-size 256] [--repeats 3]

All but the "load" rows end in batches with int64 codes, as the model takes them; the page cache is
warm. The best of the repeats is printed, a CPU-second for what runs in one process, so that a busy
machine gives the same figures; a wall second with workers, which also cost a start an epoch.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).parent.parent))

from fixtures.shards import make_shards
from fxpipe.store import BACKENDS, DEFAULT_SHARD_SIZE
from fxtrain.data import ShardDataset, open_shards
from fxtrain.data.stream import make_loader

N_CODEBOOKS, CODEBOOK_SIZE, N_AUDIO_SAMPLES = 9, 1024, 88_200


def memmap_batches(path: Path, batch_size: int, *, shuffle: bool) -> Iterator[torch.Tensor]:
    codes = np.load(path, mmap_mode="r")
    rows = np.random.default_rng(0).permutation(len(codes)) if shuffle else np.arange(len(codes))
    for start in range(0, len(codes), batch_size):
        batch = codes[rows[start : start + batch_size]] if shuffle else codes[start:][:batch_size]
        yield torch.from_numpy(batch.astype(np.int64))


def loader_batches(dataset: ShardDataset, batch_size: int, **options: object) -> Iterator[object]:
    loader = make_loader(
        dataset,
        "train",
        batch_size=batch_size,
        seed=0,
        shuffle=True,
        **options,  # type: ignore[arg-type]
    )
    yield from loader


def best_rate(
    n_samples: int, repeats: int, clock: Callable[[], float], run: Callable[[], object]
) -> float:
    seconds = []
    for _ in range(repeats):
        start = clock()
        run()
        seconds.append(clock() - start)
    return n_samples / min(seconds)


def drain(batches: Iterator[object]) -> None:
    for _ in batches:
        pass


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--samples", type=int, default=20_000)
    parser.add_argument("--batch-size", type=int, default=256)
    parser.add_argument("--repeats", type=int, default=3)
    args = parser.parse_args()
    torch.set_num_threads(1)  # idle cores that spin for a busy one cost 10 ms an operation
    rows: list[tuple[str, float]] = []

    def add(
        name: str, run: Callable[[], object], clock: Callable[[], float] = time.process_time
    ) -> None:
        rows.append((name, best_rate(args.samples, args.repeats, clock, run)))

    with tempfile.TemporaryDirectory() as scratch:
        for backend in BACKENDS:
            make_shards(
                Path(scratch) / backend,
                backend=backend,
                n_train=args.samples,
                n_valid=0,
                n_test=0,
                n_codebooks=N_CODEBOOKS,
                codebook_size=CODEBOOK_SIZE,
                n_audio_samples=N_AUDIO_SAMPLES,
                shard_size=DEFAULT_SHARD_SIZE[backend],
            )
        sets = {backend: open_shards(Path(scratch) / backend) for backend in BACKENDS}
        first = sets["webdataset"]
        plain = Path(scratch) / "codes.npy"
        np.save(plain, first.load_arrays("train")["codes"])
        n = args.batch_size
        add("memmap, in order", lambda: drain(memmap_batches(plain, n, shuffle=False)))
        add("memmap, shuffled", lambda: drain(memmap_batches(plain, n, shuffle=True)))
        resident = make_loader(first, "train", batch_size=n, seed=0, shuffle=True, resident=True)
        add("resident, shuffled", lambda: drain(iter(resident)))
        for backend, dataset in sets.items():
            add(f"{backend}: load once", lambda d=dataset: d.load_arrays("train"))  # type: ignore[misc]
            add(f"{backend}: load with records", lambda d=dataset: d.load("train"))  # type: ignore[misc]
            for verify, n_workers in ((True, 0), (False, 0), (True, 2)):
                words = f"{'' if verify else 'no hashes, '}{n_workers or 'no'} workers"
                add(
                    f"{backend}: stream, {words}{' (wall)' if n_workers else ''}",
                    lambda d=dataset, v=verify, w=n_workers: drain(  # type: ignore[misc]
                        loader_batches(d, n, resident=False, verify=v, n_workers=w)
                    ),
                    time.perf_counter if n_workers else time.process_time,
                )
    limit = dict(rows)["memmap, shuffled"]
    print(f"{args.samples} samples of {N_CODEBOOKS} x 173 codes, batches of {args.batch_size}")
    print(f"{'way':<36}{'samples/s':>12}{'of memmap':>11}")
    for name, rate in rows:
        print(f"{name:<36}{rate:>12,.0f}{rate / limit:>11.2f}")


if __name__ == "__main__":
    main()
