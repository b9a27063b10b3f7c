"""A benchmark with a name: its chains, a translator taught on them, and its scores by length.

    python tests/bench/bench_named.py okita3 OUT [--audio NOTES] [--epochs 12] [--precision bf16]
    python tests/bench/bench_named.py okita3-short OUT [--chains 24000] [--rounds 2]
    python tests/bench/bench_named.py okita3-more OUT --chains 80000      # take4-more, seed5-more …
    python tests/bench/bench_named.py presence-more OUT [--chains 24000] [--rounds 2] [--others DIR]

``okita3``, ``take4``, ``seed5``, ``rossi5`` or ``presence``: pool, lengths, level policy and chains
are those of `at_scale.py` (`scale_plan.py`), which runs them all on a GPU. ``okita3-short``: the
same test clips of ten seconds, heard in windows of two by a translator that was taught on clips of
two; every further round teaches it as many chains more. ``okita3-more``: once, on many more such
clips, as log-mel alone, and scored on new clips of ten seconds; ``take4-more``, ``seed5-more`` and
``rossi5-more`` the same, scored on new clips of two. ``presence-more``: the tests of ``presence``,
and more chains of the same kind to learn from, as log-mel alone; with ``--others`` they are played
by the recordings in a folder, of other instruments. The translator starts from the model in the
package.
``--audio``: a folder of dry notes, half of the lessons and a second test; without it the built-in
guitar plays alone. ``--mel-only``: log-mel and clues of the wave, no tokens, which take a CPU eight
times as long. What is in OUT already is used again.
"""

from __future__ import annotations

import argparse
import math
from dataclasses import replace
from functools import partial
from pathlib import Path

from at_scale import fixed_knobs
from bench_longer import WINDOWS, hear, true_pedals
from bench_unseen import sh
from scale_plan import (
    MORE_SEEDS,
    Part,
    Run,
    more_of,
    more_presence,
    named_parts,
    named_runs,
    settings_of,
    short_okita3,
)

from fxtrain.answers import Answers
from fxtrain.checkpoint import load_run
from fxtrain.data import open_shards
from fxtrain.evaluate import evaluate
from fxtrain.intervals import Score
from fxtrain.judging import Evaluation, judge
from fxtrain.metrics import classes_of, numbered
from fxtrain.predict import translate

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


def rendered(out: Path, part: Part, given: dict[str, Path]) -> Path:
    renders = out / f"{part.name}-renders"
    if not (renders / "index.json").is_file():
        settings = {"okita3": "[render]\npedal_rms = 0.1\n", "presence": fixed_knobs()}
        paths = {name: out / f"{name}.toml" for name in settings}
        for name, text in settings.items():
            paths[name].write_text(text)
        flags = part.flags.format(**given, **paths)
        sh(f"fxpipe render -o {renders} --n-chains {part.n_chains} {flags}")
    return renders


def encoded(out: Path, part: Part, given: dict[str, Path]) -> Path:
    made = out / part.name
    if not (made / "index.json").is_file():
        what = "--mel-only" if part.mel_only else "--with-mel"
        sh(f"fxpipe encode {rendered(out, part, given)} -o {made} --codec embedded {what}")
    return made


def fit(
    out: Path, run: Run, start_from: str, taught: list[Path], options: argparse.Namespace
) -> Path:
    folder = out / f"{run.name}-run"
    if not (folder / "metrics.json").is_file():
        asked = {
            "max_epochs": options.epochs,
            "plain_epochs": options.plain_epochs,
            "batch_size": options.batch_size,
        }
        more = {key: value for key, value in asked.items() if value is not None}
        settings = out / f"{run.name}-fit.toml"
        settings.write_text(settings_of(run, start_from, **more))
        sh(
            f"fxtrain fit {' '.join(map(str, taught))} --config {settings} --output {folder} "
            f"--device {options.device} --precision {options.precision} --overwrite"
        )
    return folder


def by_windows(run_path: Path, renders: Path, kept: Path) -> Evaluation:
    """The test clips of ``renders``, ten seconds each, as `fxtrain predict` hears them."""
    run = load_run(run_path)
    kept.mkdir(exist_ok=True)
    records, heard = hear(run, kept, renders)
    rows = WINDOWS["10 s"]
    found = [translate(run, clip.windows(rows)) for clip in heard]
    truth = list(map(true_pedals, records))
    classes = classes_of(truth, run.card.commuting_pairs, records)
    groups = numbered(record["group"] for record in records)
    tuned, untuned, heads = map(list, zip(*found, strict=True))
    return judge(run, "", Answers("test", truth, tuned, untuned, classes, heads, groups))


def cell(score: Score) -> str:
    found = (score.value, score.low, score.high)
    value, low, high = ("–" if math.isnan(x) else f"{x:.3f}" for x in found)
    return f"{value} ({low}–{high})"


def show(test: str, found: Evaluation) -> None:
    groups = f", {found.n_groups} groups" if found.n_groups < found.n else ""
    print(f"\n**{test}**, {found.n} clips{groups}\n")
    print("| score | model | *null* | *constant* | *ceiling* |\n| --- | --- | --- | --- | --- |")
    by_length = [name for name in found.null if "@" in name]
    for name in [*SHOWN, *by_length]:
        beside = (found.null[name], found.constant[name], found.ceiling.get(name, math.nan))
        cells = ("–" if math.isnan(value) else f"*{value:.3f}*" for value in beside)
        n = f", {found.scores[name].n} clips" if "@" in name else ""
        print(f"| {SHOWN.get(name, name)}{n} | {cell(found.scores[name])} | {' | '.join(cells)} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    known = {run.name: run for run in named_runs({})}
    in_rounds = {"okita3-short": short_okita3, "presence-more": more_presence}
    more = {f"{pool}-more": pool for pool in MORE_SEEDS}
    parser.add_argument("pool", choices=[*known, *in_rounds, *more])
    parser.add_argument("out", type=Path)
    parser.add_argument("--audio", type=Path)
    parser.add_argument("--others", type=Path, help="dry recordings of other instruments")
    parser.add_argument("--chains", type=int, default=24_000, help="a round")
    parser.add_argument("--rounds", type=int, default=1, help=f"of {' or '.join(in_rounds)}")
    parser.add_argument("--mel-only", action="store_true", help="no tokens, in tests neither")
    parser.add_argument("--epochs", type=int, help="[as at_scale.py]")
    parser.add_argument("--plain-epochs", type=int, help="last ones, in which nothing is hidden")
    parser.add_argument("--batch-size", type=int, help="[as at_scale.py]")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--precision", default="auto")
    options = parser.parse_args()
    out, audio, others = options.out, options.audio, options.others
    given = {key: path for key, path in (("audio", audio), ("others", others)) if path}
    out.mkdir(parents=True, exist_ok=True)
    if others is not None:
        if options.pool != "presence-more":
            parser.error("--others is for presence-more")
        in_rounds["presence-more"] = partial(more_presence, others=True)
    if options.pool in in_rounds:
        chosen, its_parts = in_rounds[options.pool](options.chains, options.rounds)
    elif options.pool in more:
        chosen, its_parts = more_of(more[options.pool], options.chains)
    else:
        chosen, its_parts = [known[options.pool]], []
    parts = {part.name: part for part in [*named_parts(), *its_parts]}
    if options.mel_only:
        parts = {name: replace(part, mel_only=True) for name, part in parts.items()}

    def there(names: list[str]) -> list[Part]:
        found = [parts[name] for name in names]
        return [part for part in found if audio is not None or "{audio}" not in part.flags]

    folder = Path("shipped")
    for run in chosen:
        taught = [encoded(out, part, given) for part in there(list(run.parts))]
        folder = fit(out, run, str(folder), taught, options)
    for part in there([name for _, name, _ in run.tests]):
        if options.pool in ("okita3-short", "okita3-more"):
            renders = rendered(out, part, given)
            heard = by_windows(folder, renders, out / f"{part.name}-windows")
        else:
            heard = evaluate(load_run(folder), open_shards(encoded(out, part, given)))
        show(part.name, heard)


if __name__ == "__main__":
    main()
