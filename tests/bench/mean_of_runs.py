"""The mean of the weights of runs that went on from one another, as one model.

    python tests/bench/mean_of_runs.py OUT RUN RUN... --on SHARDS...

Runs that were trained on from the same weights often lie in one basin, and the mean of them scores
better than each (Wortsman et al., "Model soups", ICML 2022, arXiv:2203.05482). A run that is named
twice counts twice. Each run and the mean are scored on the validation split of ``--on``, with the
usual decoding; the mean's is then tuned there, and it is written to OUT in fp16 beside the card of
the last run. No test split is looked at.
"""

from __future__ import annotations

import argparse
import dataclasses
from pathlib import Path

import torch
from bench_confidence import SCORES, cells, searched

from fxtrain.checkpoint import Run, load_run, save_model
from fxtrain.config import DecodeSettings
from fxtrain.data import open_shards
from fxtrain.evaluate import answer
from fxtrain.finding import model_folder
from fxtrain.tune import USUAL_BIAS, USUAL_WEIGHT


def mean_of(runs: list[Run]) -> Run:
    """The last run with the mean of all weights; it was taught on what each of them was. Ears for
    clues are those of the runs that have them."""
    last, states = runs[-1], [run.model.state_dict() for run in runs]
    shapes = {dataclasses.replace(run.card.model, use_clues=None) for run in runs}
    if len(shapes) > 1:
        raise SystemExit("runs of several shapes have no mean: expected one [model] in all of them")
    mean = {
        name: torch.stack([s[name].float() for s in states if name in s]).mean(0).to(weight.dtype)
        for name, weight in states[-1].items()
    }
    run = load_run(last.path)
    run.model.load_state_dict(mean)
    heard = sorted({name for run in runs for name in run.card.recordings.split()})
    card = dataclasses.replace(last.card, recordings=" ".join(heard))
    return dataclasses.replace(run, card=card)


def usual(run: Run) -> Run:
    """Decoding as it is unless clips speak against it."""
    decode = DecodeSettings(length_bias=USUAL_BIAS, head_weight=USUAL_WEIGHT)
    return dataclasses.replace(run, card=dataclasses.replace(run.card, decode=decode))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("runs", nargs="+", metavar="RUN")
    parser.add_argument("--on", nargs="+", required=True, metavar="SHARDS")
    options = parser.parse_args()
    dataset = open_shards(options.on)
    runs = [usual(load_run(model_folder(Path(name)))) for name in options.runs]
    mean = mean_of(runs)
    print(f"| validation | {' | '.join(SCORES)} |\n| --- |" + " --- |" * len(SCORES))
    once = dict(zip(options.runs, runs, strict=True))
    for name, run in (*once.items(), ("their mean", mean)):
        scores = cells(run, answer(run, dataset, "valid"))[-len(SCORES) :]
        print(f"| {name} | {' | '.join(scores)} |", flush=True)
    tuned = searched(mean, dataset)
    print(f"\n{tuned.card.decode}")
    save_model(options.out, tuned.card, tuned.model, torch.float16)


if __name__ == "__main__":
    main()
