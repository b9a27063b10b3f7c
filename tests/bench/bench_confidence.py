"""How sure a run is, tuned on some clips and held against what comes true on others.

    python tests/bench/bench_confidence.py RUN --on SHARDS... [--test SHARDS...]

Temperature and tail weight are chosen on the validation split of ``--on``, as ``fxtrain fit`` does
at its end; each row is the expected calibration error on a test split, by what is foretold: before
(what stands in RUN), the best temperature without a tail, both, and with length bias and weight of
the head chosen anew as well, which alone changes answers: their scores stand at the end. Prints the
settings to keep.
"""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Iterable
from pathlib import Path

from fxtrain import tune
from fxtrain.answers import Answers
from fxtrain.checkpoint import Run, load_run
from fxtrain.data import ShardDataset, open_shards
from fxtrain.data.stream import Batch, make_loader
from fxtrain.evaluate import answer, provenance
from fxtrain.finding import model_folder
from fxtrain.judging import judge
from fxtrain.metrics import classes_of

KINDS = ("chain", "presence", "named", "family", "pair")
SCORES = ("exact_class", "set", "f1_micro", "f1_macro", "pairwise", "levenshtein")


def valid(run: Run, dataset: ShardDataset) -> Iterable[Batch]:
    return make_loader(dataset, "valid", batch_size=64, seed=0, shuffle=False, device=run.device)


def searched(run: Run, dataset: ShardDataset) -> Run:
    """``run`` with all of its decoding tuned on the validation split."""
    card, listed = run.card, dataset.listed_orders("valid")
    settings = tune.tune(
        *(run.model, valid(run, dataset), card.rules, card.decode),
        *(card.vocabulary, card.commuting_pairs, listed),
        groups=provenance(dataset, "valid").groups,
    )
    return dataclasses.replace(run, card=dataclasses.replace(card, decode=settings))


def tuned(run: Run, dataset: ShardDataset) -> Run:
    """``run`` with its confidence tuned on the validation split; nothing else is changed."""
    card, loader = run.card, valid(run, dataset)
    found, ids = tune.decode_batches(run.model, loader, card.rules, card.decode)
    chains = [tune.names_of(chain, card.vocabulary) for chain in ids]
    classes = classes_of(chains, card.commuting_pairs, dataset.listed_orders("valid"))
    settings = tune.best_confidence(
        card.decode, found, classes, card.vocabulary, card.commuting_pairs
    )
    return dataclasses.replace(run, card=dataclasses.replace(card, decode=settings))


def cells(run: Run, answers: Answers) -> list[str]:
    found = judge(run, "", answers)
    errors = [(r.ece, r.low, r.high) for r in map(found.reliability.get, KINDS) if r]
    scores = [(s.value, s.low, s.high) for s in map(found.scores.get, SCORES) if s]
    return [f"{value:.3f} ({low:.3f}–{high:.3f})" for value, low, high in (*errors, *scores)]


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
    runs["all of it"] = searched(before, dataset)
    for name, run in runs.items():
        print(f"{name}: {run.card.decode}")
    columns = (*(f"ECE of {kind}" for kind in KINDS), *SCORES)
    print(f"\n| test | tuned | {' | '.join(columns)} |\n| --- | --- |" + " --- |" * len(columns))
    for shards in options.test:
        test = open_shards(shards)
        for name, run in runs.items():
            row = cells(run, answer(run, test))
            print(f"| {shards} | {name} | {' | '.join(row)} |", flush=True)


if __name__ == "__main__":
    main()
