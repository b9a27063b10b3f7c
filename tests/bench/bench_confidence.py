"""How sure a run is, tuned on some clips and held against what comes true on others.

    python tests/bench/bench_confidence.py RUN --on SHARDS... [--test SHARDS...]

Temperature and tail weight are chosen on the validation split of ``--on``, as ``fxtrain fit`` does
at its end; each row is the expected calibration error on a test split, by what is foretold: before
(what stands in RUN), the best temperature without a tail, and both. Prints the settings to keep.
"""

from __future__ import annotations

import argparse
import dataclasses
from pathlib import Path

from fxtrain import tune
from fxtrain.checkpoint import Run, load_run
from fxtrain.data import ShardDataset, open_shards
from fxtrain.data.stream import make_loader
from fxtrain.evaluate import Answers, answer, judge_answers
from fxtrain.finding import model_folder
from fxtrain.metrics import classes_of

KINDS = ("chain", "presence", "family", "pair")


def tuned(run: Run, dataset: ShardDataset) -> Run:
    """``run`` with its confidence tuned on the validation split; nothing else is changed."""
    card = run.card
    loader = make_loader(dataset, "valid", batch_size=64, seed=0, shuffle=False, device=run.device)
    found, ids = tune.decode_batches(run.model, loader, card.rules, card.decode)
    chains = [tune.names_of(chain, card.vocabulary) for chain in ids]
    classes = classes_of(chains, card.commuting_pairs, dataset.listed_orders("valid"))
    settings = tune.best_confidence(
        card.decode, found, classes, card.vocabulary, card.commuting_pairs
    )
    return dataclasses.replace(run, card=dataclasses.replace(card, decode=settings))


def errors(run: Run, answers: Answers) -> list[str]:
    found = judge_answers(run, "", answers).reliability
    return [f"{found[k].ece:.3f} ({found[k].low:.3f}–{found[k].high:.3f})" for k in KINDS]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path)
    parser.add_argument("--on", nargs="+", required=True, metavar="SHARDS")
    parser.add_argument("--test", nargs="+", default=[], metavar="SHARDS")
    options = parser.parse_args()
    before = load_run(model_folder(options.run))
    dataset, weights = open_shards(options.on), tune.TAIL_WEIGHTS
    tune.TAIL_WEIGHTS = (0.0,)
    runs = {"before": before, "temperature alone": tuned(before, dataset)}
    tune.TAIL_WEIGHTS = weights
    runs["temperature and tail"] = tuned(before, dataset)
    for name, run in runs.items():
        print(f"{name}: {run.card.decode}")
    print(f"\n| test | sure by | {' | '.join(KINDS)} |\n| --- | --- |" + " --- |" * len(KINDS))
    for shards in options.test:
        test = open_shards(shards)
        for name, run in runs.items():
            print(
                f"| {shards} | {name} | {' | '.join(errors(run, answer(run, test)))} |", flush=True
            )


if __name__ == "__main__":
    main()
