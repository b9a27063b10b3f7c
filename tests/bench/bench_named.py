"""A benchmark with a name: its chains, a translator taught on them, and its scores by length.

    python tests/bench/bench_named.py okita3 OUT [--audio NOTES] [--epochs 12] [--precision bf16]

``okita3``, ``take4``, ``seed5``, ``rossi5`` or ``presence``: pool, lengths, level policy and chains
are those of `at_scale.py` (`scale_plan.py`), which runs them all on a GPU. The translator starts
from the model in the package. ``--audio``: a folder of dry notes, half of the lessons and a second
test; without it the built-in guitar plays alone. What is in OUT already is used again.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from at_scale import fixed_knobs
from bench_unseen import sh
from scale_plan import Part, Run, named_parts, named_runs, settings_of

from fxtrain.checkpoint import load_run
from fxtrain.data import open_shards
from fxtrain.evaluate import Evaluation, evaluate
from fxtrain.metrics import Score

SHOWN = {
    "exact": "exact",
    "exact_class": "by class",
    "set": "right set",
    "order_class_given_set": "order given the set, by class",
    "pairwise": "pairs in the right order",
    "f1_micro": "micro F1",
    "f1_macro": "macro F1",
    "levenshtein": "Levenshtein",
}


def shards(out: Path, part: Part, audio: Path | None) -> Path:
    renders, made = out / f"{part.name}-renders", out / part.name
    if not (made / "index.json").is_file():
        for name, text in (
            ("okita3", "[render]\npedal_rms = 0.1\n"),
            ("presence", fixed_knobs()),
        ):
            (out / f"{name}.toml").write_text(text)
        flags = part.flags.format(
            audio=audio, okita3=out / "okita3.toml", presence=out / "presence.toml"
        )
        sh(f"fxpipe render -o {renders} --n-chains {part.n_chains} {flags}")
        sh(f"fxpipe encode {renders} -o {made} --codec embedded --with-mel")
    return made


def fit(out: Path, run: Run, taught: list[Path], options: argparse.Namespace) -> Path:
    folder = out / f"{run.name}-run"
    if not (folder / "metrics.json").is_file():
        asked = {"max_epochs": options.epochs, "batch_size": options.batch_size}
        more = {key: value for key, value in asked.items() if value is not None}
        settings = out / f"{run.name}-fit.toml"
        settings.write_text(settings_of(run, "shipped", **more))
        sh(
            f"fxtrain fit {' '.join(map(str, taught))} --config {settings} --output {folder} "
            f"--device {options.device} --precision {options.precision} --overwrite"
        )
    return folder


def cell(score: Score) -> str:
    return f"{score.value:.3f} ({score.low:.3f}–{score.high:.3f})"


def show(test: str, found: Evaluation) -> None:
    groups = f", {found.n_groups} groups" if found.n_groups < found.n else ""
    print(f"\n**{test}**, {found.n} clips{groups}\n")
    print("| score | model | *null* | *constant* | *ceiling* |\n| --- | --- | --- | --- | --- |")
    by_length = [name for name in found.null if "@" in name]
    for name in [*SHOWN, *by_length]:
        beside = (found.null[name], found.constant[name], found.ceiling.get(name))
        cells = ("–" if value is None else f"*{value:.3f}*" for value in beside)
        n = f", {found.scores[name].n} clips" if "@" in name else ""
        print(f"| {SHOWN.get(name, name)}{n} | {cell(found.scores[name])} | {' | '.join(cells)} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    known = {run.name: run for run in named_runs({})}
    parser.add_argument("pool", choices=known)
    parser.add_argument("out", type=Path)
    parser.add_argument("--audio", type=Path)
    parser.add_argument("--epochs", type=int, help="[as at_scale.py]")
    parser.add_argument("--batch-size", type=int, help="[as at_scale.py]")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--precision", default="auto")
    options = parser.parse_args()
    run, parts = known[options.pool], {part.name: part for part in named_parts()}
    options.out.mkdir(parents=True, exist_ok=True)

    def made(name: str) -> Path:
        return shards(options.out, parts[name], options.audio)

    def is_there(name: str) -> bool:
        return options.audio is not None or "{audio}" not in parts[name].flags

    tests = {name: made(name) for _, name, _ in run.tests if is_there(name)}
    taught = [made(name) for name in run.parts if is_there(name)]
    model = load_run(fit(options.out, run, taught, options))
    for name, path in tests.items():
        show(name, evaluate(model, open_shards(path)))


if __name__ == "__main__":
    main()
