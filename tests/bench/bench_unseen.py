"""Orders and settings that a model is never taught, kept from it by design.

    python tests/bench/bench_unseen.py OUT [--chains 8000] [--clips 500] [--epochs 20]

A small translator is taught from nothing on chains of one to four pedals of ``seed5`` (no two of
which commute). A quarter of all orders of three and of four pedals is in no lesson
(`fxpipe render --hold-out`), and every knob stays in the middle three fifths of its travel
(`--range`). It is then asked for chains of taught and of held-out orders, with knobs where they
were taught, in the lowest fifth and in the highest. What is in OUT already is used again.
"""

from __future__ import annotations

import argparse
import itertools
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
from bench_carry_over import show, some

from fxpipe.pedals import PEDALS, pool_of
from fxtrain.checkpoint import load_run
from fxtrain.contract import from_unit
from fxtrain.data import open_shards
from fxtrain.evaluate import answer

POOL, LENGTHS = "seed5", "1:1,2:1,3:2,4:2"
HELD_OUT_LENGTHS, HELD_OUT_SHARE = (3, 4), 0.25
SEED, TEST_SEED = 30, 908
PHASE = "phase_cycles"
"""Where an LFO stands at the start has no ends: it is drawn anywhere."""

MODEL = "mel_channels = 0"
"""Log-mel as lists of bands: a quarter of an hour on two cores instead of two hours."""

TRAVEL = {"taught": (0.2, 0.8), "lowest": (0.0, 0.2), "highest": (0.8, 1.0)}


def held_out_orders() -> set[tuple[str, ...]]:
    rng = np.random.default_rng(SEED)
    found: set[tuple[str, ...]] = set()
    for length in HELD_OUT_LENGTHS:
        orders = list(itertools.permutations(pool_of(POOL), length))
        picks = rng.choice(len(orders), round(HELD_OUT_SHARE * len(orders)), replace=False)
        found |= {orders[i] for i in picks}
    return found


def ranges(travel: tuple[float, float]) -> str:
    """Flags that keep every knob of the pool within a stretch of its travel."""
    return " ".join(
        f"--range {name}.{param.name}:{from_unit(param, travel[0])}..{from_unit(param, travel[1])}"
        for name in pool_of(POOL)
        for param in PEDALS[name].params
        if param.name != PHASE
    )


def sh(command: str) -> None:
    print(f"$ {command[:150]}", file=sys.stderr, flush=True)
    subprocess.run(shlex.split(command), check=True, stdout=subprocess.DEVNULL)


def shards(out: Path, name: str, flags: str) -> Path:
    made = out / name
    if not (made / "index.json").is_file():
        sh(
            f"fxpipe render --dataset synth --pool {POOL} --lengths {LENGTHS} {flags} "
            f"-o {out / name}-renders"
        )
        sh(f"fxpipe encode {out / name}-renders -o {made} --codec embedded --with-mel")
    return made


def lessons(out: Path, n_chains: int) -> Path:
    held = sorted(held_out_orders())
    hold_out = " ".join(f"--hold-out {','.join(order)}" for order in held)
    taught = f"{hold_out} {ranges(TRAVEL['taught'])} --fractions 0.92,0.08,0 --seed {SEED}"
    return shards(out, "lessons", f"{taught} --n-chains {n_chains}")


def test_set(out: Path, name: str, n_clips: int) -> Path:
    """Of all orders, knobs in that part of their travel."""
    flags = f"{ranges(TRAVEL[name])} --fractions 0,0,1 --seed {TEST_SEED} --n-chains {n_clips}"
    return shards(out, f"test-{name}", flags)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("--chains", type=int, default=8_000)
    parser.add_argument("--clips", type=int, default=500, help="of each test set")
    parser.add_argument("--epochs", type=int, default=20)
    options = parser.parse_args()
    out, held = options.out, held_out_orders()
    out.mkdir(parents=True, exist_ok=True)
    taught = lessons(out, options.chains)
    tests = {name: test_set(out, name, options.clips) for name in TRAVEL}
    if not (out / "run" / "model.json").is_file():
        settings = out / "settings.toml"
        settings.write_text(f"[model]\n{MODEL}\n")
        sh(
            f"fxtrain fit {taught} --config {settings} --epochs {options.epochs} "
            f"--output {out / 'run'}"
        )
    run = load_run(out / "run")
    heard = {name: answer(run, open_shards(path)) for name, path in tests.items()}
    rows = {}
    for length in HELD_OUT_LENGTHS:
        for words, wanted in (("taught", False), ("never taught", True)):
            truth = heard["taught"].truth
            picked = [
                i
                for i, order in enumerate(truth)
                if len(order) == length and (order in held) == wanted
            ]
            rows[f"{length} pedals, an order it was {words}"] = some(heard["taught"], picked)
    show("the order is", rows, run)
    rows = {f"in the {name} part of their travel": answers for name, answers in heard.items()}
    show("knobs stand", rows, run)


if __name__ == "__main__":
    main()
