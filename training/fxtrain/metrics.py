"""Scores of predicted chains against true ones, with intervals, nulls and ceilings. numpy only.

Chains are tuples of pedal names. Every score is a function of sums over samples, so one matrix of
per-sample columns gives the value and, by weighted sums over groups of samples, its interval.

Definitions (y true, p predicted; exact and levenshtein are what Okita & Katayose, ICASSP 2026, call
EMA and LD, by summaries of their paper):
exact            share with p = y: pedals, order and length (EMA)
levenshtein      mean edit distance in pedals, not normalised (Levenshtein 1966; LD)
f1_micro         F1 of "pedal is on the clip" over all samples and pedals together
f1_family        as f1_micro, of "a pedal of this family is on the clip": any drive for any drive
f1_macro         mean over pedals of their F1, over pedals that are in any y or p
exact_class      share with p and y in one class of orders that sound alike (normal forms equal)
exact_mean       mean over lengths of exact@L, so that short chains do not carry the score
set              share with set(p) = set(y)
order_given_set  exact over samples with the right pedals, as often each, and two or more of them
pairwise         over pairs in both p and y whose order in y can be heard: share in y's order
spearman         mean over samples of the rank correlation of the positions of shared pedals
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from fxtrain.contract import (
    Commutes,
    Names,
    OrderClass,
    Record,
    UsageError,
    listed_class,
    unknown_name,
)
from fxtrain.intervals import (
    N_RESAMPLES,
    SHARE,
    Score,
    Within,
    design_effect,
    group_sums,
    interval,
    resample_sums,
    wilson,
)

Chains = Sequence[Names]
Classes = Sequence[OrderClass]
Columns = dict[str, np.ndarray]
HEADLINES = (
    "exact",
    "exact_class",
    "exact_mean",
    "exact_class_mean",
    "set",
    "order_given_set",
    "order_class_given_set",
    "pairwise",
    "levenshtein",
    "f1_micro",
    "f1_macro",
    "f1_family",
    "spearman",
)
"""Scores over all lengths, in the order in which they are shown."""

WITHIN: dict[str, Within] = {"levenshtein": (0.0, math.inf), "spearman": (-1.0, 1.0)}
"""What a score can be; the others are shares, or means of shares."""

GIVEN_SET = ("order_given_set", "order_class_given_set")
GIVEN_PEDALS = ("pairwise", "spearman")
"""Scores of order, which ask only about what was heard: all pedals of a clip, or some."""


@dataclass(frozen=True)
class PedalScore:
    """One pedal's detection: F1, precision and recall over ``n`` true occurrences.

    ``f1_low`` to ``f1_high`` is a 95 % interval (bootstrap over groups); ``f1_always`` the F1 of
    naming the pedal on every clip.
    """

    f1: float
    precision: float
    recall: float
    n: int
    f1_low: float
    f1_high: float
    f1_always: float


def classes_of(
    truth: Chains, commutes: Commutes, records: Sequence[Record] | None = None
) -> list[OrderClass]:
    """The class of orders each true chain belongs to: what its own record lists, where it was
    rendered with classes, else what pairs that commute allow."""
    found = []
    for i, names in enumerate(truth):
        alike = records[i].get("alike") if records else None
        found.append(OrderClass(names, commutes) if alike is None else listed_class(names, alike))
    return found


def scores(
    truth: Chains,
    predicted: Chains,
    *,
    families: Mapping[str, str],
    classes: Classes,
    groups: np.ndarray | None = None,
    rng: np.random.Generator,
    n_resamples: int = N_RESAMPLES,
) -> dict[str, Score]:
    """Every score by name, ``exact@L`` and ``exact_class@L`` for each true length L among them.

    ``families``: every pedal that may be named -> its family. ``groups`` int [n]: samples of the
    same recordings, which are no independent witnesses; None where all are.
    Raises UsageError where there is no sample, not one answer, class and group for each, or a pedal
    that is not in ``families``.
    """
    truth, predicted = [tuple(y) for y in truth], [tuple(p) for p in predicted]
    if not truth:
        raise UsageError("no sample to score: expected one true chain at least")
    given = {"answers": len(predicted), "classes": len(classes)}
    for what, n in (given if groups is None else given | {"groups": len(groups)}).items():
        if n != len(truth):
            raise UsageError(f"{n} {what} to {len(truth)} true chains: give one for each")
    for name in dict.fromkeys(name for chain in (*truth, *predicted) for name in chain):
        if name not in families:  # it would count as nothing, not as wrong
            raise UsageError(f"{unknown_name('pedal', name, families)}; add it to families")
    columns = sample_columns(truth, predicted, families, classes)
    lengths = sorted({len(y) for y in truth})
    names = list(columns)
    table = group_sums(np.stack([columns[name] for name in names], axis=1), groups)  # [G, columns]
    each = dict(zip(names, table.T, strict=True))
    whole = dict(zip(names, table.sum(0)[:, None], strict=True))
    drawn = dict(zip(names, resample_sums(table, n_resamples, rng).T, strict=True))
    shares, others = _shares(lengths), _others(families, lengths)
    values = {}
    for name, (part, counted) in shares.items():
        effect = design_effect(each[part], each[counted])
        values[name] = wilson(float(whole[part][0]), int(whole[counted][0]), effect)
    for name, (formula, counted) in others.items():
        low, high = interval(formula(drawn), len(table), WITHIN.get(name, SHARE))
        values[name] = Score(float(formula(whole)[0]), low, high, int(whole[counted][0]))
    return {name: values[name] for name in (*HEADLINES, *values)}


def sample_columns(
    truth: Chains, predicted: Chains, families: Mapping[str, str], classes: Classes
) -> Columns:
    """Per-sample numbers [n] from whose sums every score follows."""
    both = zip(classes, map(tuple, truth), map(tuple, predicted), strict=True)
    rows = [_sample(c, y, p) for c, y, p in both]
    columns = {
        name: np.array([row[name] for row in rows], float)
        for name in _sample(OrderClass(()), (), ())
    }
    for length in sorted({len(y) for y in truth}):
        here = np.array([len(y) == length for y in truth], float)
        columns[f"n@{length}"] = here
        columns[f"exact@{length}"] = here * columns["exact"]
        columns[f"class@{length}"] = here * columns["class"]
    for members in (*((pedal,) for pedal in families), *_members(families).values()):
        there = np.array([any(pedal in y for pedal in members) for y in truth])
        said = np.array([any(pedal in p for pedal in members) for p in predicted])
        what = " or ".join(members)
        columns[f"hit:{what}"] = (there & said).astype(float)
        columns[f"miss:{what}"] = (there & ~said).astype(float)
        columns[f"false:{what}"] = (~there & said).astype(float)
    return columns


def _members(families: Mapping[str, str]) -> dict[str, list[str]]:
    """Family -> its pedals."""
    found: dict[str, list[str]] = {}
    for pedal, family in families.items():
        found.setdefault(family, []).append(pedal)
    return found


def _sample(alike: OrderClass, y: Names, p: Names) -> dict[str, float]:
    right, total = pairwise_counts(alike, p)
    rho = spearman(y, p)
    same_pedals = Counter(y) == Counter(p)
    ordered = same_pedals and len(y) > 1
    same_sound = alike.holds(p)
    return {
        "n": 1.0,
        "exact": float(y == p),
        "class": float(same_sound),
        "set": float(set(y) == set(p)),
        "ordered": float(ordered),
        "ordered_exact": float(ordered and y == p),
        "ordered_class": float(ordered and same_sound),
        "pairs": float(total),
        "pairs_right": float(right),
        "edits": float(levenshtein(y, p)),
        "rho": 0.0 if rho is None else rho,
        "rho_n": float(rho is not None),
    }


def formulas(
    families: Mapping[str, str], lengths: Sequence[int]
) -> dict[str, tuple[Callable[[Columns], np.ndarray], str]]:
    """Score name -> (formula on column sums [R], column that counts its samples)."""
    shares = {name: (_share(*share), share[1]) for name, share in _shares(lengths).items()}
    return shares | _others(families, lengths)


def _shares(lengths: Sequence[int]) -> dict[str, tuple[str, str]]:
    """Score name -> (column of successes, column of what counts), one 0 or 1 a sample."""
    shares = {
        "exact": ("exact", "n"),
        "exact_class": ("class", "n"),
        "set": ("set", "n"),
        "order_given_set": ("ordered_exact", "ordered"),
        "order_class_given_set": ("ordered_class", "ordered"),
    }
    for n in lengths:
        shares[f"exact@{n}"] = (f"exact@{n}", f"n@{n}")
        shares[f"exact_class@{n}"] = (f"class@{n}", f"n@{n}")
    return shares


def _others(
    families: Mapping[str, str], lengths: Sequence[int]
) -> dict[str, tuple[Callable[[Columns], np.ndarray], str]]:
    """Score name -> (formula on column sums [R], column that counts its samples)."""
    pedals = list(families)
    kin = [" or ".join(members) for members in _members(families).values()]
    return {
        "exact_mean": (_mean_over_lengths("exact", lengths), "n"),
        "exact_class_mean": (_mean_over_lengths("class", lengths), "n"),
        "pairwise": (_share("pairs_right", "pairs"), "pairs"),
        "levenshtein": (_share("edits", "n"), "n"),
        "f1_micro": (lambda sums: _f1(*(_over_pedals(sums, k, pedals) for k in _KINDS)), "n"),
        "f1_macro": (lambda sums: _f1_macro(sums, pedals), "n"),
        "f1_family": (lambda sums: _f1(*(_over_pedals(sums, k, kin) for k in _KINDS)), "n"),
        "spearman": (_share("rho", "rho_n"), "rho_n"),
    }


_KINDS = ("hit", "miss", "false")


def _share(part: str, whole: str) -> Callable[[Columns], np.ndarray]:
    return lambda sums: _ratio(sums[part], sums[whole])


def _mean_over_lengths(part: str, lengths: Sequence[int]) -> Callable[[Columns], np.ndarray]:
    def mean(sums: Columns) -> np.ndarray:
        """NaN of draws that lack a length: the mean of the others is another score."""
        each = np.stack([_ratio(sums[f"{part}@{n}"], sums[f"n@{n}"]) for n in lengths])
        means: np.ndarray = each.mean(0)
        return means

    return mean


def _ratio(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    out: np.ndarray = np.divide(part, whole, out=np.full_like(part, np.nan), where=whole > 0)
    return out


def _nan_mean(values: np.ndarray) -> np.ndarray:
    known = ~np.isnan(values)
    return _ratio(np.where(known, values, 0.0).sum(0), known.sum(0).astype(float))


def _over_pedals(sums: Columns, kind: str, pedals: Sequence[str]) -> np.ndarray:
    total: np.ndarray = np.sum([sums[f"{kind}:{pedal}"] for pedal in pedals], axis=0)
    return total


def _f1(hit: np.ndarray, miss: np.ndarray, false: np.ndarray) -> np.ndarray:
    return _ratio(2 * hit, 2 * hit + miss + false)


def _f1_macro(sums: Columns, pedals: Sequence[str]) -> np.ndarray:
    return _nan_mean(np.stack([_f1(*(sums[f"{k}:{p}"] for k in _KINDS)) for p in pedals]))


def numbered(names: Iterable[Hashable]) -> np.ndarray:
    """int [n]: equal names get the same number, in the order in which they come."""
    numbers: dict[Hashable, int] = {}
    return np.array([numbers.setdefault(name, len(numbers)) for name in names], int)


def levenshtein(y: Sequence[str], p: Sequence[str]) -> int:
    """Fewest insertions, deletions and substitutions that turn ``p`` into ``y``."""
    row = list(range(len(p) + 1))
    for i, name in enumerate(y, start=1):
        above = row
        row = [i]
        for j, other in enumerate(p, start=1):
            row.append(min(above[j] + 1, row[-1] + 1, above[j - 1] + (name != other)))
    return row[-1]


def pairwise_counts(alike: OrderClass, p: Names) -> tuple[int, int]:
    """(right, all) over pairs whose order can be heard and that stand once in ``p``."""
    right = total = 0
    for first, second in alike.fixed:
        if p.count(first) == p.count(second) == 1:
            total += 1
            right += p.index(first) < p.index(second)
    return right, total


def spearman(y: Names, p: Names) -> float | None:
    """Rank correlation of positions of pedals that stand once in both; None below two of them."""
    shared = [name for name in y if y.count(name) == p.count(name) == 1]
    n = len(shared)
    if n < 2:
        return None
    places = sorted(range(n), key=lambda i: p.index(shared[i]))
    gaps = sum((rank - i) ** 2 for rank, i in enumerate(places))
    return 1.0 - 6.0 * gaps / (n * (n * n - 1))


def fixed_order(truth: Chains, order: Sequence[str]) -> list[Names]:
    """The null's answers: the right pedals, always in one order (a textbook board)."""
    place = {name: i for i, name in enumerate(order)}
    return [tuple(sorted(y, key=place.__getitem__)) for y in truth]


def where_all_was_heard(answers: Chains, truth: Chains, predicted: Chains) -> list[Names]:
    """``answers`` where ``predicted`` has the pedals right, nothing elsewhere: asked for the order
    given the set, they are asked about the same clips."""
    return [
        answer if Counter(y) == Counter(p) else ()
        for answer, y, p in zip(answers, truth, predicted, strict=True)
    ]


def of_what_was_heard(answers: Chains, truth: Chains, predicted: Chains) -> list[Names]:
    """``answers`` less the pedals that ``predicted`` names too often or not often enough: asked for
    the order of pairs, they are asked about the same pairs."""
    return [
        tuple(name for name in answer if p.count(name) == y.count(name))
        for answer, y, p in zip(answers, truth, predicted, strict=True)
    ]


def constant_chain(truth: Chains) -> list[Names]:
    """The best single answer to everything: the commonest true chain, knowing the truth."""
    ((commonest, _),) = Counter(sorted(map(tuple, truth))).most_common(1)
    return [commonest] * len(truth)


def ceilings(classes: Classes, predicted: Chains) -> dict[str, float]:
    """Best expected scores of a listener who hears all but cannot tell apart what sounds alike.

    Such a listener names one of a class's equally likely orders, so it is exact with probability
    1 / size. Scores that know about classes have the ceiling 1; that of ``order_given_set`` is over
    the clips whose pedals ``predicted`` has right.
    """
    shares = np.array([1.0 / alike.size for alike in classes])
    lengths = np.array([len(alike.names) for alike in classes])
    best = {"exact": float(shares.mean())}
    for length in sorted(set(lengths.tolist())):
        best[f"exact@{length}"] = float(shares[lengths == length].mean())
        best[f"exact_class@{length}"] = 1.0
    best["exact_mean"] = float(np.mean([best[f"exact@{n}"] for n in sorted(set(lengths.tolist()))]))
    heard = np.array(
        [Counter(alike.names) == Counter(p) for alike, p in zip(classes, predicted, strict=True)]
    )
    if (heard & (lengths > 1)).any():
        best["order_given_set"] = float(shares[heard & (lengths > 1)].mean())
    reachable = ("exact_class", "exact_class_mean", "set", "order_class_given_set", "pairwise")
    return best | dict.fromkeys((*reachable, "f1_micro", "f1_macro", "f1_family"), 1.0)


def by_pedal(
    truth: Chains,
    predicted: Chains,
    pedals: Sequence[str],
    *,
    groups: np.ndarray | None = None,
    rng: np.random.Generator,
) -> dict[str, PedalScore]:
    """Detection of each pedal; ``groups`` as in `scores`."""
    there = np.array([[pedal in y for pedal in pedals] for y in truth], float)  # [n, V]
    said = np.array([[pedal in p for pedal in pedals] for p in predicted], float)
    hit = there * said
    table = group_sums(np.concatenate([hit, there - hit, said - hit], axis=1), groups)
    drawn = _f1(*np.split(resample_sums(table, N_RESAMPLES, rng), 3, axis=1))  # [R, V]
    hits, n_there, n_said = hit.sum(0), there.sum(0), said.sum(0)
    f1 = _f1(hits, n_there - hits, n_said - hits)
    precision, recall = _ratio(hits, n_said), _ratio(hits, n_there)
    always = _ratio(2 * n_there, n_there + len(there) * (n_there > 0))
    return {
        pedal: PedalScore(
            *(float(f1[v]), float(precision[v]), float(recall[v]), int(n_there[v])),
            *interval(drawn[:, v], len(table), SHARE),
            float(always[v]),
        )
        for v, pedal in enumerate(pedals)
    }


def f1_of_all(pedals: Mapping[str, PedalScore], n: int) -> float:
    """``f1_micro`` of naming every pedal on each of ``n`` clips: what needs no ears. NaN where no
    clip has a pedal."""
    there = sum(pedal.n for pedal in pedals.values())
    return 2 * there / (there + n * len(pedals)) if there else math.nan


def by_pair(classes: Classes, predicted: Chains) -> dict[tuple[str, str], tuple[int, int]]:
    """(right, all) of each unordered pair, named alphabetically, counted as in ``pairwise``."""
    counts: dict[tuple[str, str], tuple[int, int]] = {}
    for alike, p in zip(classes, predicted, strict=True):
        for first, second in alike.fixed:
            if p.count(first) == p.count(second) == 1:
                key = (min(first, second), max(first, second))
                right, total = counts.get(key, (0, 0))
                counts[key] = (right + (p.index(first) < p.index(second)), total + 1)
    return dict(sorted(counts.items()))
