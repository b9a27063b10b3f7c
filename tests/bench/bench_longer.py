"""Does a longer recording help? The model in the package on 2, 5 and 10 seconds of the same boards.

    python tests/bench/bench_longer.py OUT [--run RUN] [--clips 200] [--seed 921]

Clips of ten seconds of the built-in guitar through chains of one to five pedals, heard in windows
of two seconds as `fxtrain predict` takes them from the first two seconds, from five and from all
ten; and, to compare, with windows that overlap by half. What is in OUT already is used again.
"""

from __future__ import annotations

import argparse
import subprocess
from pathlib import Path

import numpy as np

from fxpipe.codec import load_codec
from fxpipe.ears import features
from fxpipe.renders import iter_clips, read_renders_index
from fxtrain.answers import Answers
from fxtrain.checkpoint import Run, load_run
from fxtrain.contract import Features, Names, Record, open_folder
from fxtrain.decode import Candidate, Direct
from fxtrain.finding import SHIPPED, model_folder
from fxtrain.judging import judge
from fxtrain.metrics import classes_of
from fxtrain.predict import translate

LONGEST_S = 10
WINDOWS = {
    "2 s": [0],
    "5 s": [0, 2, 3],
    "10 s": [0, 2, 4, 6, 8],
    "5 s, overlapping": [0, 1, 2, 3],
    "10 s, overlapping": list(range(9)),
}
"""Where they begin, in seconds."""
SHOWN = ("exact_class", "set", "pairwise", "f1_micro", "f1_family", "ece_chain", "ece_presence")


def render(out: Path, n_clips: int, seed: int) -> Path:
    renders = out / "renders"
    if not (renders / "index.json").is_file():
        words = (
            f"render --dataset synth --fractions 0,0,1 --n-chains {n_clips} --clip-s {LONGEST_S} "
            f"--pool stompbox --lengths 1-5 --seed {seed} -o {renders}"
        )
        subprocess.run(["fxpipe", *words.split()], check=True, stdout=subprocess.DEVNULL)
    return renders


def hear(run: Run, out: Path, renders: Path) -> tuple[list[Record], list[Features]]:
    """Records and what is heard of every test clip, window by window; windows overlap by half."""
    hearing, folder = run.card.hearing, open_folder(renders)
    codec, index = load_codec(hearing.codec.name), read_renders_index(folder)
    rate, n = index.spec.sample_rate_hz, hearing.n_audio_samples
    records, heard = [], []
    total = index.counts["test"].n_samples
    for number, (wave, record) in enumerate(iter_clips(folder, index, "test", 0, total)):
        kept = out / f"{number}.npz"
        if not kept.is_file():
            starts = range(0, len(wave) - n + 1, n // 2)
            waves = [wave[s : s + n] for s in starts]
            found = features(waves, rate, codec, hearing.mel, None, hearing.clues)
            beside = {"mel": found.mel, "clues": found.clues}
            there = {name: rows for name, rows in beside.items() if rows is not None}
            np.savez(kept, codes=found.codes, **there)
        w = np.load(kept)
        starts_s = tuple(0.5 * i * n / rate for i in range(len(w["codes"])))
        heard.append(Features(w["codes"], w.get("mel"), starts_s, clues=w.get("clues")))
        records.append(record)
    return records, heard


def true_pedals(record: Record) -> Names:
    return tuple(pedal["name"] for pedal in record["chain"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("--run", type=Path, help="a run directory [the shipped model]")
    parser.add_argument("--clips", type=int, default=200)
    parser.add_argument("--seed", type=int, default=921)
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    run = load_run(model_folder(options.run) if options.run else SHIPPED)
    records, heard = hear(run, options.out, render(options.out, options.clips, options.seed))
    truth = list(map(true_pedals, records))
    classes = classes_of(truth, run.card.commuting_pairs)
    print(f"| heard | {' | '.join(SHOWN)} |\n| --- |" + " --- |" * len(SHOWN))
    for name, rows in WINDOWS.items():
        tuned: list[tuple[Candidate, ...]] = []
        untuned: list[tuple[Candidate, ...]] = []
        heads: list[Direct] = []
        for clip in heard:
            one, before, head = translate(run, clip.windows(rows))
            tuned.append(one)
            untuned.append(before)
            heads.append(head)
        answers = Answers("test", truth, tuned, untuned, classes, heads)
        found = judge(run, "", answers).scores
        cells = [f"{s.value:.3f} ({s.low:.3f}–{s.high:.3f})" for s in map(found.get, SHOWN) if s]
        print(f"| {name} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
