"""The page itself: what stands in it, filled into page.html. All text is escaped by the template.

The same evaluation gives the same bytes: no date, no path but the run's own name.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

import jinja2
import numpy as np
from markupsafe import Markup

from fxtrain.answers import Answers
from fxtrain.card import ModelCard
from fxtrain.confusions import confusion_by_position, pair_orders
from fxtrain.contract import Commutes, DatasetIndex, LocalFolder, arrow, legible
from fxtrain.data import ShardDataset
from fxtrain.faint import span
from fxtrain.finding import PAGE_NAME
from fxtrain.intervals import Score
from fxtrain.judging import Evaluation
from fxtrain.metrics import HEADLINES
from fxtrain.predict import AnyRun
from fxtrain.report import drawing
from fxtrain.report.clips import cards, pick
from fxtrain.report.curves import read_training
from fxtrain.rerender import CONDITIONS, DRIES, MEASURES, Rerendered
from fxtrain.sounds import Sounds
from fxtrain.telling import percent

TILES = {
    "exact_class": "whole chain right, up to orders that sound alike",
    "set": "all pedals right, in any order",
    "pairwise": "pairs of pedals in the right order, where it can be heard",
    "f1_micro": "pedals found (micro F1)",
}
KINDS = {
    "chain": "The first answer is right",
    "presence": "A pedal is on the clip",
    "named": "A pedal that is named is on the clip",
    "family": "A pedal of this family is on the clip",
    "pair": "Two pedals stand in the order said",
}
DEFINITIONS = {
    "exact": "share of clips with the right pedals, order and length",
    "exact_class": "share of clips that are exact, or in an order that sounds the same",
    "exact_mean": "mean over lengths of exact, so that short chains do not carry the score",
    "exact_class_mean": "mean over lengths of exact_class",
    "set": "share of clips with the right pedals, in any order",
    "order_given_set": "exact, over clips whose two or more pedals are all right, as often each",
    "order_class_given_set": "exact_class, over the same clips",
    "pairwise": "of pairs that are there and named, and whose order can be heard: share in the "
    "right order",
    "levenshtein": "mean number of pedals to put in, take out or exchange; less is better",
    "f1_micro": "F1 of “this pedal is on the clip”, over all clips and pedals together; F1 is the "
    "harmonic mean of precision and recall",
    "f1_macro": "mean over pedals of each one's F1",
    "f1_family": "as f1_micro, of “a pedal of this family is on the clip”: any drive for any drive",
    "spearman": "mean over clips of the rank correlation, −1 to 1, of the places of pedals that "
    "are there and named",
}
"""What each score is, as ``metrics.py`` has it."""

NOT_SHARES = ("levenshtein", "spearman")
"""Scores that no strip from 0 to 1 can show."""

N_CLIPS = 3


@dataclass(frozen=True)
class Cell:
    """One square of a heat map: ``share`` decides its colour, ``text`` stands in it."""

    share: float
    text: str
    title: str
    mark: str = ""

    @property
    def percent(self) -> int:
        return 0 if math.isnan(self.share) else round(100 * self.share)


@dataclass(frozen=True)
class Grid:
    name: str
    rows: tuple[tuple[str, tuple[Cell, ...]], ...]


def write_page(
    run: AnyRun,
    dataset: ShardDataset,
    answers: Answers,
    evaluation: Evaluation,
    sounds: Sounds,
    *,
    n_clips: int = N_CLIPS,
    folder: Path | None = None,
) -> Path:
    """``evaluation.html`` in ``folder``, or in the run directory; its path."""
    text = page(run, dataset.index, answers, evaluation, sounds, n_clips=n_clips)
    folder = folder or run.path
    LocalFolder(folder).write(PAGE_NAME, text.encode("utf-8", "backslashreplace"))
    return folder / PAGE_NAME


def page(
    run: AnyRun,
    index: DatasetIndex | ModelCard,
    answers: Answers,
    evaluation: Evaluation,
    sounds: Sounds,
    *,
    n_clips: int = N_CLIPS,
    what: str = "split",
) -> str:
    """The whole page as text; ``n_clips`` of the worst and as many of the best can be heard.
    ``index`` says whose the sounds are and which pairs commute, ``what`` the evaluation's split is.
    """
    vocabulary = run.card.vocabulary
    pedals = vocabulary.names
    worst, best = pick(answers, n_clips)
    return str(
        template().render(
            css=asset("page.css"),
            js=asset("page.js"),
            run=legible(run.path.resolve().name),
            what=what,
            evaluation=evaluation,
            card=run.card,
            index=index,
            tiles=[(TILES[name], scored(evaluation, name)) for name in TILES],
            definitions=DEFINITIONS,
            all_scores=[scored(evaluation, name) for name in HEADLINES],
            lengths=[
                (title, list(_by_length(evaluation, name)))
                for title, name in (
                    ("Right up to orders that sound alike", "exact_class"),
                    ("Exactly as it was played", "exact"),
                )
            ],
            pedals=evaluation.pedals,
            confusions=confusion_grids(answers, pedals),
            orders=order_grids(answers, pedals, index.commuting_pairs),
            kinds=KINDS,
            training=read_training(run.path),
            rerendered=rerender_groups(evaluation.rerender),
            clips=[
                ("The worst", cards(worst, answers, sounds, vocabulary)),
                ("The best", cards(best, answers, sounds, vocabulary)),
            ],
        )
    )


def template() -> jinja2.Template:
    """page.html; an unknown name in it is an error, every value is escaped."""
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters |= {"number": drawing.number, "arrow": arrow, "percent": _sure}
    environment.globals |= {"draw": drawing, "span": span}
    return environment.from_string(str(asset("page.html")))


def _sure(probability: float) -> str:
    return percent(probability).replace("%", " %")


@cache
def asset(name: str) -> Markup:
    """A file of this package, our own and safe to stand in the page as it is."""
    return Markup((files("fxtrain.report") / name).read_text(encoding="utf-8"))


def scored(evaluation: Evaluation, name: str) -> dict[str, Any]:
    """One score with what stands beside it."""
    score = evaluation.scores[name]
    null, ceiling = evaluation.null[name], evaluation.ceiling.get(name, math.nan)
    shares = () if name in NOT_SHARES else (score.value, score.low, score.high, null, ceiling)
    return {
        "name": name,
        "score": score,
        "null": null,
        "constant": evaluation.constant[name],
        "ceiling": ceiling,
        "strip": drawing.strip(*shares) if shares else "",
    }


def _by_length(evaluation: Evaluation, name: str) -> Iterator[tuple[str, dict[str, Any]]]:
    for key in evaluation.null:
        kind, _, length = key.partition("@")
        if kind == name and length:
            yield length, scored(evaluation, key)


def confusion_grids(answers: Answers, pedals: Sequence[str]) -> list[Grid]:
    """Shares of a row, by position and over all of them; a row or column "none" has no pedal.

    An answer that sounds like the truth counts as the truth: only what can be heard is a mistake.
    """
    said = [
        alike.names if alike.holds(p) else p
        for alike, p in zip(answers.classes, answers.predicted, strict=True)
    ]
    counts = confusion_by_position(answers.truth, said, pedals)
    names = [*pedals, "none"]
    named = {"all positions": counts.sum(0)}
    named |= {f"position {i}": table for i, table in enumerate(counts, start=1)}
    return [
        Grid(
            name,
            tuple(
                (row_name, tuple(_confused(row, row_name, names)))
                for row_name, row in zip(names, table, strict=True)
            ),
        )
        for name, table in named.items()
    ]


def _confused(row: np.ndarray, true: str, names: Sequence[str]) -> Iterator[Cell]:
    total = int(row.sum())
    for said, n in zip(names, row.tolist(), strict=True):
        share = n / total if total else math.nan
        text = str(round(100 * share)) if n else ""
        yield Cell(share, text, f"{true} heard as {said}: {n} of {total}", "same" * (true == said))


def order_grids(answers: Answers, pedals: Sequence[str], commutes: Commutes) -> list[Grid]:
    """(heard, ceiling): rows stand before columns in the truth; a mark where the pair commutes."""
    found = pair_orders(answers.classes, answers.predicted, pedals)
    heard, ceiling = [], []
    for i, a in enumerate(pedals):
        rows: tuple[list[Cell], list[Cell]] = ([], [])
        for j, b in enumerate(pedals):
            n, right = int(found.n[i, j]), int(found.right[i, j])
            share = right / n if n else math.nan
            best, n_true = float(found.ceiling[i, j]), int(found.n_true[i, j])
            mark = "free" if frozenset((a, b)) in commutes and a != b else ""
            before = f"{a} before {b}: "
            rows[0].append(
                Cell(share, _percent(share), f"{before}heard so on {right} of {n} clips", mark)
            )
            rows[1].append(
                Cell(best, _percent(best), f"{before}at best {_percent(best)} % of {n_true}", mark)
            )
        heard.append((a, tuple(rows[0])))
        ceiling.append((a, tuple(rows[1])))
    return [Grid("heard", tuple(heard)), Grid("ceiling", tuple(ceiling))]


def _percent(share: float) -> str:
    return "" if math.isnan(share) else str(round(100 * share))


def rerender_groups(found: Rerendered | None) -> list[dict[str, Any]]:
    """One table for every kind of dry clip and group of clips."""
    if found is None:
        return []
    groups: dict[tuple[bool, str], list[tuple[str, list[tuple[Score, bool]]]]] = {}
    sizes = {}
    for row in found.rows:
        key = (row.ordered, row.dry)
        cells = [(row.scores[name], row.is_clear(name)) for name in MEASURES]
        groups.setdefault(key, []).append((CONDITIONS[row.condition], cells))
        sizes[key] = row.n
    return [
        {
            "title": f"On {DRIES[dry]}" + (", two or more pedals" if ordered else ""),
            "n": sizes[ordered, dry],
            "columns": [label for label, _ in MEASURES.values()],
            "rows": rows,
        }
        for (ordered, dry), rows in groups.items()
    ]
