"""What any listener can reach on a distribution of chains: null, ceiling, class-aware ceiling.

Numbers only: chains are drawn from a ChainSpec and judged by the pairs that commute.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from fxpipe.chains.chain import ChainSpec, draw_names
from fxtrain.contract import Commutes, Names, OrderClass, normal_form

N_DRAWS = 4000
"""Chains drawn for every length."""


@dataclass(frozen=True)
class Bounds:
    """Shares of exact match at one length, or their mean over lengths.

    Where orders are not drawn evenly the listener knows from ``N_DRAWS`` chains how often each
    comes, so that the ceiling of long chains is a lower bound: most of them were never met.
    ``null``: the right pedals, always in textbook order; ``null_class`` the same, scored by class.
    ``ceiling``: a perfect listener, who must guess between orders that sound alike;
    ``ceiling_class`` the same answers scored by class. ``class_size``: mean orders a class holds.
    """

    null: float
    null_class: float
    ceiling: float
    ceiling_class: float
    class_size: float


def bounds(
    spec: ChainSpec, commutes: Commutes, *, seed: int, n_draws: int = N_DRAWS
) -> dict[int, Bounds]:
    """Bounds by chain length, for the lengths that the spec draws."""
    rng = np.random.default_rng(seed)
    found = {}
    for length in spec.length_p:
        drawn = [draw_names(spec, length, rng, test=True) for _ in range(2 * n_draws)]
        found[length] = _bounds(spec, drawn[:n_draws], drawn[n_draws:], commutes)
    return found


def mean_bounds(spec: ChainSpec, found: dict[int, Bounds]) -> Bounds:
    """Over lengths, weighted as the spec draws them."""
    weights = np.array([spec.lengths[length] for length in found])
    rows = np.array([list(vars(entry).values()) for entry in found.values()])
    return Bounds(*(weights @ rows / weights.sum()).tolist())


def _bounds(
    spec: ChainSpec,
    known: Sequence[Names],
    asked: Sequence[Names],
    commutes: Commutes,
) -> Bounds:
    """The listener has studied ``known`` and is asked ``asked``."""
    place = {name: i for i, name in enumerate(spec.pool)}
    classes = [OrderClass(names, commutes) for names in asked]
    textbook = [tuple(sorted(names, key=place.__getitem__)) for names in asked]
    answers = _perfect_listener(known, asked, commutes)
    sizes = np.array([alike.size for alike in classes], float)
    if spec.order == "uniform":  # every order is as likely: count them, rather than sample them
        orders = np.array([_n_orders(names) for names in asked], float)
        in_class = np.array([OrderClass(names, commutes).size for names in textbook], float)
        null, null_class = np.mean(1 / orders), np.mean(in_class / orders)
        ceiling = np.mean(1 / sizes)
    else:
        null = np.mean([t == y for t, y in zip(textbook, asked, strict=True)])
        null_class = np.mean([c.holds(t) for c, t in zip(classes, textbook, strict=True)])
        ceiling = np.mean([a == y for a, y in zip(answers, asked, strict=True)])
    return Bounds(
        null=float(null),
        null_class=float(null_class),
        ceiling=float(ceiling),
        ceiling_class=float(np.mean([c.holds(a) for c, a in zip(classes, answers, strict=True)])),
        class_size=float(sizes.mean()),
    )


def _n_orders(names: Names) -> int:
    """Different orders of these pedals; one that stands twice is the same in both places."""
    repeats = math.prod(math.factorial(n) for n in Counter(names).values())
    return math.factorial(len(names)) // repeats


def _perfect_listener(
    known: Sequence[Names], asked: Sequence[Names], commutes: Commutes
) -> list[Names]:
    """Hears the class of every chain and answers its commonest order among those studied."""
    counts: defaultdict[Names, Counter[Names]] = defaultdict(Counter)
    for names in known:
        counts[normal_form(names, commutes)][names] += 1
    answers = []
    for names in asked:
        heard = normal_form(names, commutes)
        studied = counts[heard].most_common(1)
        answers.append(studied[0][0] if studied else heard)
    return answers


def text_table(spec: ChainSpec, found: dict[int, Bounds]) -> str:
    """For people: one line a length, then the mean."""
    lines = [
        f"{'length':<8} {'null':>7} {'ceiling':>8} {'null, class':>12} {'ceiling, class':>15} "
        f"{'orders a class':>15}"
    ]
    named = {str(length): entry for length, entry in found.items()}
    for name, b in (named | {"mean": mean_bounds(spec, found)}).items():
        lines.append(
            f"{name:<8} {b.null:>7.3f} {b.ceiling:>8.3f} {b.null_class:>12.3f} "
            f"{b.ceiling_class:>15.3f} {b.class_size:>15.2f}"
        )
    lines += [
        "null: the right pedals, always in textbook order. ceiling: exact match of a listener who",
        "hears everything but must guess between orders that sound alike.",
    ]
    if spec.order != "uniform":
        lines.append(f"That listener has met {N_DRAWS} chains of each length: a lower bound.")
    return "\n".join(lines)
