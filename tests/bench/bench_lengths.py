"""What a small translator learns from clips of one, two, five and ten seconds.

    python tests/bench/bench_lengths.py OUT [--seconds 1 2 5 10] [--chains 4000] [--epochs 12]

Each length has lessons and a test set of its own: the same number of chains of ``seed5``, the
built-in guitar playing for that long, and a small translator taught on them from nothing. What is
in OUT already is used again.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from bench_carry_over import SHOWN
from bench_unseen import MODEL, TEST_SEED, sh, shards

from fxtrain.checkpoint import load_run
from fxtrain.data import open_shards
from fxtrain.evaluate import evaluate

SEED = 31


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("--seconds", type=float, nargs="+", default=[1.0, 2.0, 5.0, 10.0])
    parser.add_argument("--chains", type=int, default=4_000)
    parser.add_argument("--clips", type=int, default=400, help="of each test set")
    parser.add_argument("--epochs", type=int, default=12)
    options = parser.parse_args()
    out = options.out
    out.mkdir(parents=True, exist_ok=True)
    settings = out / "lengths.toml"
    settings.write_text(f"[model]\n{MODEL}\n")
    print(f"| seconds | {' | '.join(SHOWN.values())} | *null, by class* |")
    print("| --- |" + " --- |" * (len(SHOWN) + 1))
    for seconds in options.seconds:
        name, cut = f"{seconds:g}s", f"--clip-s {seconds:g}"
        taught = shards(
            *(out, f"lessons-{name}"),
            f"{cut} --fractions 0.92,0.08,0 --seed {SEED} --n-chains {options.chains}",
        )
        test = shards(
            *(out, f"test-{name}"),
            f"{cut} --fractions 0,0,1 --seed {TEST_SEED} --n-chains {options.clips}",
        )
        run = out / f"run-{name}"
        if not (run / "metrics.json").is_file():
            sh(
                f"fxtrain fit {taught} --config {settings} --epochs {options.epochs} "
                f"--output {run} --overwrite"
            )
        found = evaluate(load_run(run), open_shards(test))
        cells = [f"{s.value:.3f} ({s.low:.3f}–{s.high:.3f})" for s in map(found.scores.get, SHOWN)]
        null = f"*{found.null['exact_class']:.3f}*"
        print(f"| {name} | {' | '.join([*cells, null])} |", flush=True)


if __name__ == "__main__":
    main()
