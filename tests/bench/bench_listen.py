"""How often a listening test finds what is there, and what is not: simulated panels, by hand.

    python tests/bench/bench_listen.py [--studies 500]

Prints two tables: false alarms of whole studies at alpha = 0.05 (any comparison after Holm), and
power against the number of listeners.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))

from fixtures.listeners import NEARNESS, Ear, heard_rows, panel, study
from fxtrain.listen.analysis import stats
from fxtrain.listen.analysis.abx import item_results
from fxtrain.listen.analysis.ratings import analyse_ratings
from fxtrain.listen.analysis.screening import screen
from fxtrain.listen.analysis.votes import analyse_votes
from fxtrain.listen.study import PREDICTED, REFERENCE, WORST_ORDER, Study

ALPHA = 0.05


def kept_of(test: Study, rows: list) -> set[int]:
    return {verdict.listener for verdict in screen(test, rows) if not verdict.why}


def abx(test: Study, ears: list[Ear], seed: int) -> list[float]:
    rows = heard_rows(test, ears, seed)
    kept = kept_of(test, rows)
    mine = [row for row in rows if row.listener in kept and row.part == "test"]
    return [item.p_holm for item in item_results(test, mine, ALPHA)]


def ratings(test: Study, ears: list[Ear], seed: int) -> dict[tuple[str, str], float]:
    rows = heard_rows(test, ears, seed)
    found = analyse_ratings(test, rows, kept_of(test, rows), ALPHA, seed)
    return {(c.first, c.second): c.p_holm for c in found.comparisons}


def votes(test: Study, ears: list[Ear], seed: int) -> dict[tuple[str, str], float]:
    rows = heard_rows(test, ears, seed)
    found = analyse_votes(test, rows, kept_of(test, rows), ALPHA, seed)
    return {(p.first, p.second): p.p_holm for p in found.pairs}


def share(name: str, n: int, one: Callable[[int], bool]) -> tuple[str, float, float]:
    """(name, share of studies, its standard error)."""
    hits = sum(one(seed) for seed in range(n))
    p = hits / n
    return name, p, float(np.sqrt(max(p * (1 - p), 1 / n) / n))


def without_reference(p: dict[tuple[str, str], float]) -> float:
    """The smallest p among conditions that are all alike."""
    return min(value for pair, value in p.items() if REFERENCE not in pair)


def omnibus(test: Study, ears: list[Ear], seed: int) -> float:
    rows = heard_rows(test, ears, seed)
    return analyse_ratings(test, rows, kept_of(test, rows), ALPHA, seed).friedman.p


def false_alarms(n: int) -> Iterator[tuple[str, float, float]]:
    deaf = study("abx")
    yield share(
        "ABX, 12 listeners who hear nothing, any of 8 items", n,
        lambda seed: min(abx(deaf, [Ear()] * 12, seed)) <= ALPHA,
    )  # fmt: skip
    alike = {name: 97.0 if name == REFERENCE else 60.0 for name in NEARNESS}
    test = study("mushra", n_items=6, trials=6)
    for people in (8, 15, 30):

        def ears(seed: int, people: int = people) -> list[Ear]:
            return panel(people, seed, nearness=alike, noise=14.0)

        yield share(
            f"MUSHRA, {people} listeners, all but the reference alike: Friedman", n,
            lambda seed, ears=ears: omnibus(test, ears(seed), seed) <= ALPHA,
        )  # fmt: skip
        yield share(
            f"MUSHRA, {people} listeners: any of 10 pairs", n,
            lambda seed, ears=ears: without_reference(ratings(test, ears(seed), seed)) <= ALPHA,
        )  # fmt: skip
    even = study("pairwise", n_items=2, trials=30)
    yield share(
        "pairwise, 15 listeners, all but the reference alike: any of 10 pairs", n,
        lambda seed: without_reference(
            votes(even, panel(15, seed, nearness=alike), seed)
        ) <= ALPHA,
    )  # fmt: skip


def powers(n: int) -> Iterator[tuple[str, float, float]]:
    one = study("abx", n_items=8, distances=[1.0] * 8)
    for people in (10, 20, 30):
        yield share(
            f"ABX, {people} listeners right in 3 of 4, one given item of 8 heard twice each", n,
            lambda seed, people=people: abx(one, [Ear(threshold_db=1.0)] * people, seed)[0]
            <= ALPHA,
        )  # fmt: skip
    gap = {**NEARNESS, PREDICTED: 70.0, WORST_ORDER: 62.0}
    for people in (10, 20, 30):
        test = study("mushra", n_items=4, trials=4)
        yield share(
            f"MUSHRA, {people} listeners, 8 points apart, noise 15, 4 items", n,
            lambda seed, test=test, people=people: ratings(
                test, panel(people, seed, nearness=gap, noise=15.0), seed
            )[PREDICTED, WORST_ORDER] <= ALPHA,
        )  # fmt: skip
    for people in (20, 40, 60):
        test = study("pairwise", n_items=2, trials=20)
        gap = {**NEARNESS, PREDICTED: 70.0, WORST_ORDER: 70.0 - 15 * np.log(3)}
        yield share(
            f"pairwise, {people} listeners, 3 votes in 4, each pair heard twice", n,
            lambda seed, test=test, people=people, gap=gap: votes(
                test, panel(people, seed, nearness=gap), seed
            )[PREDICTED, WORST_ORDER] <= ALPHA,
        )  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--studies", type=int, default=200)
    n = parser.parse_args().studies
    stats.N_BOOTSTRAP = 2  # no p-value depends on it
    import fxtrain.listen.analysis.votes as voting

    voting.N_BOOTSTRAP = 2
    for title, rows in (("false alarms", false_alarms(n)), ("found", powers(n))):
        print(f"\n| {title}, of {n} studies | share | standard error |\n|---|---|---|")
        for name, p, error in rows:
            print(f"| {name} | {p:.3f} | {error:.3f} |", flush=True)


if __name__ == "__main__":
    main()
