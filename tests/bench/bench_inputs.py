"""What a small translator learns from codec tokens, log-mel, clues of the wave, and all of them.

    python tests/bench/bench_inputs.py OUT [--seeds 3] [--epochs 12] [--only WORDS]

Every input is taught to the same small translator on the chains of ``bench_unseen.py`` (OUT may be
its directory: what is there is used again), once a seed, and asked for test chains of orders that
were taught. Each row is the mean over the seeds, and the lowest and highest of them in brackets.
``--only`` takes the rows that hold these words.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from bench_carry_over import SHOWN, some
from bench_unseen import held_out_orders, lessons, sh, test_set

from fxtrain.checkpoint import load_run
from fxtrain.data import open_shards
from fxtrain.evaluate import answer
from fxtrain.judging import judge

N_CHAINS, N_CLIPS = 8_000, 500

NO_CLUES = "use_clues = false\n"
INPUTS = {
    "tokens, 1 book": NO_CLUES + "use_mel = false\nn_codebooks = 1",
    "tokens, 3 books": NO_CLUES + "use_mel = false\nn_codebooks = 3",
    "tokens, 9 books": NO_CLUES + "use_mel = false",
    "log-mel, frames as tokens are": NO_CLUES + "use_codes = false\nmel_channels = 0",
    "log-mel, a picture": NO_CLUES + "use_codes = false",
    "both, 9 books and a picture": NO_CLUES,
    "tokens and clues": "use_mel = false",
    "log-mel and clues": "use_codes = false",
    "all three": "",
}


def scores_of(run_path: Path, test: Path) -> list[float]:
    run = load_run(run_path)
    answers = answer(run, open_shards(test))
    held = held_out_orders()
    taught = [i for i, order in enumerate(answers.truth) if order not in held]
    found = judge(run, "", some(answers, taught))
    return [found.scores[name].value for name in SHOWN]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=12)
    parser.add_argument("--only", default="")
    options = parser.parse_args()
    out = options.out
    out.mkdir(parents=True, exist_ok=True)
    taught, test = lessons(out, N_CHAINS), test_set(out, "taught", N_CLIPS)
    print(f"| it hears | seeds | {' | '.join(SHOWN.values())} |")
    print("| --- | ---: |" + " --- |" * len(SHOWN))
    for name, settings in INPUTS.items():
        if options.only not in name:
            continue
        rows = []
        for seed in range(options.seeds):
            stem = f"{''.join(c if c.isalnum() else '-' for c in name)}-{seed}"
            run = out / "inputs" / stem
            if not (run / "metrics.json").is_file():
                run.parent.mkdir(exist_ok=True)
                config = run.with_suffix(".toml")
                config.write_text(f"[model]\n{settings}\n[train]\nseed = {seed}\n")
                sh(
                    f"fxtrain fit {taught} --config {config} --epochs {options.epochs} "
                    f"--output {run} --overwrite"
                )
            rows.append(scores_of(run, test))
        table = np.array(rows)
        cells = [
            f"{mean:.3f} ({low:.3f}–{high:.3f})"
            for mean, low, high in zip(table.mean(0), table.min(0), table.max(0), strict=True)
        ]
        print(f"| {name} | {len(rows)} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
