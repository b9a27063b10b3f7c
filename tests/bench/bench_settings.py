"""Could fewer pedals have made the same sound, with the knobs of the others turned?

    python tests/bench/bench_settings.py SHARDS [--run RUN] [--clips 100] [--tries 150]

A perfect listener hears a chain up to orders that sound the same, says the ceiling of our tables.
But nobody hears the knobs: where an overdrive into a fuzz sounds like that fuzz a little higher,
no listener can tell. So from the chains of the test split (two pedals or more, no noise) every
pedal is taken out once, and the knobs of the others are turned, from where they stood, until the
sound is as near as it gets (Powell's method, SciPy; log-mel distance as for orders). Where it comes
within 0.5 dB the pedal could not be told; another search might come nearer, so shares are lower
bounds. The dry guitar is known here, which no listener has either.

Prints by pedal: how often it can be left out so, and how often the model names it where it can and
where it cannot; then the same of whole chains. Run by hand; nothing is asserted.
"""

from __future__ import annotations

import argparse
import dataclasses
import sys
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from fxpipe.distance import band_distance_db, log_bands
from fxpipe.pedals import PEDALS
from fxpipe.remake import remake
from fxpipe.render import run_chain
from fxtrain.contract import Chain, Pedal, from_unit, to_unit
from fxtrain.data import open_shards

SAME_DB = (0.5, 1.0, 1.5)


@dataclasses.dataclass(frozen=True)
class Without:
    """Of one pedal: how far the sound is in dB of log-mel, as it is without it, and at best."""

    name: str
    untouched_db: float
    nearest_db: float


def nearest(record: dict[str, Any], recipe: dict[str, Any], n_tries: int) -> list[Without]:
    from scipy.optimize import minimize

    clip = remake(record, recipe)
    chain, rate = clip.chain.pedals, clip.sample_rate_hz

    def bands(pedals: Sequence[Pedal]) -> np.ndarray:
        wet, _ = run_chain(clip.dry, Chain(tuple(pedals)), rate, skip=clip.n_run_in)
        return log_bands(wet, rate)

    truth, found = bands(chain), []
    for place, left_out in enumerate(chain):
        rest = [*chain[:place], *chain[place + 1 :]]
        params = [(pedal, param) for pedal in rest for param in PEDALS[pedal.name].params]
        stood = np.array([to_unit(param, pedal.settings[param.name]) for pedal, param in params])

        def far_db(knobs: np.ndarray, rest: list[Pedal] = rest) -> float:
            knobs, turned = np.clip(knobs, 0, 1), []
            for pedal in rest:
                own = PEDALS[pedal.name].params
                values, knobs = knobs[: len(own)], knobs[len(own) :]
                settings = {
                    p.name: from_unit(p, float(u)) for p, u in zip(own, values, strict=True)
                }
                turned.append(Pedal(pedal.name, settings))
            return band_distance_db(truth, bands(turned))

        untouched = far_db(stood)
        best = minimize(
            far_db,
            stood,
            method="Powell",
            bounds=[(0, 1)] * len(stood),
            options={"maxfev": n_tries, "xtol": 0.02, "ftol": 0.01},
        )
        found.append(Without(left_out.name, untouched, min(untouched, float(best.fun))))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("shards", type=Path)
    parser.add_argument("--run", type=Path, help="a run directory [the shipped model]")
    parser.add_argument("--clips", type=int, default=100)
    parser.add_argument("--tries", type=int, default=150, help="chains played a pedal")
    parser.add_argument("--workers", type=int, default=2)
    options = parser.parse_args()
    dataset = open_shards(options.shards)
    records = [record for shard in dataset.shards_of("test") for record in shard.records()]
    recipe = dataset.shards_of("test")[0].index.recipe
    picked = [i for i, record in enumerate(records) if len(record["chain"]) > 1][: options.clips]
    n = len(picked)
    with ProcessPoolExecutor(options.workers) as pool:
        chosen = [records[i] for i in picked]
        found = list(pool.map(nearest, chosen, [recipe] * n, [options.tries] * n))
    named, right = said(options.run, dataset, picked)
    show(found, named, right)


def said(run: Path | None, dataset: Any, picked: list[int]) -> tuple[list[set[str]], list[bool]]:
    """What the model names on each clip, and whether these are its pedals."""
    from fxtrain.checkpoint import load_run
    from fxtrain.evaluate import answer
    from fxtrain.finding import SHIPPED, model_folder

    answers = answer(load_run(model_folder(run) if run else SHIPPED), dataset)
    named = [set(answers.predicted[i]) for i in picked]
    return named, [named[k] == set(answers.truth[i]) for k, i in enumerate(picked)]


def show(found: list[list[Without]], named: list[set[str]], right: list[bool]) -> None:
    rows = [(w, w.name in named[k]) for k, each in enumerate(found) for w in each]
    names = sorted({w.name for w, _ in rows}, key=list(PEDALS).index)
    print(
        "| pedal | n | knobs left alone | " + " | ".join(f"within {d} dB" for d in SAME_DB), end=""
    )
    print(" | median dB | named where within 0.5 | named elsewhere |")
    print("| --- |" + " ---: |" * (len(SAME_DB) + 5))
    for name in (*names, "all"):
        own = [row for row in rows if name in ("all", row[0].name)]
        near = np.array([w.nearest_db for w, _ in own])
        alone = np.mean([w.untouched_db <= SAME_DB[0] for w, _ in own])
        hit = np.array([hit for _, hit in own])
        print(
            f"| {name} | {len(own)} | {alone:.2f} | "
            + " | ".join(f"{np.mean(near <= d):.2f}" for d in SAME_DB)
            + f" | {np.median(near):.2f} | {share(hit[near <= SAME_DB[0]])} | "
            f"{share(hit[near > SAME_DB[0]])} |"
        )
    print(
        "\n| chains in which a pedal can be left out within | share | right set there | elsewhere |"
    )
    print("| --- | ---: | ---: | ---: |")
    least = np.array([min(w.nearest_db for w in each) for each in found])
    ok = np.array(right)
    for d in SAME_DB:
        there, elsewhere = share(ok[least <= d]), share(ok[least > d])
        print(
            f"| within {d} dB | {np.mean(least <= d):.2f} of {len(least)} | {there} | {elsewhere} |"
        )


def share(hits: np.ndarray) -> str:
    return f"{hits.mean():.2f} of {len(hits)}" if len(hits) else "–"


if __name__ == "__main__":
    sys.exit(main())
