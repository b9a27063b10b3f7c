"""Every score of a run on one split, beside its nulls and its ceiling. No audio, no lightning."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from fxtrain.checkpoint import EVALUATION_NAME, Run, check_data
from fxtrain.contract import LocalFolder, Names
from fxtrain.data import ShardDataset
from fxtrain.data.stream import make_loader
from fxtrain.decode import candidates
from fxtrain.metrics import (
    HEADLINES,
    PedalScore,
    Score,
    by_pair,
    by_pedal,
    calibration_error,
    ceilings,
    classes_of,
    constant_chain,
    fixed_order,
    scores,
)
from fxtrain.tune import decode_batches

BATCH_SIZE = 64


@dataclass(frozen=True)
class Evaluation:
    """Scores by name; ``null`` answers the true pedals in textbook order, ``constant`` always the
    commonest chain, ``ceiling`` is what a perfect listener can expect."""

    run: str
    split: str
    data_identity: str
    scores: dict[str, Score]
    null: dict[str, float]
    constant: dict[str, float]
    ceiling: dict[str, float]
    pedals: dict[str, PedalScore]
    pairs: dict[tuple[str, str], tuple[int, int]]
    calibration_error: float
    n: int


def evaluate(run: Run, dataset: ShardDataset, split: str = "test", *, seed: int = 0) -> Evaluation:
    """Decode a split and score it. ``seed`` is the bootstrap's."""
    card, index = run.card, dataset.index
    check_data(card, index, dataset.folder.uri)
    loader = make_loader(
        dataset, split, batch_size=BATCH_SIZE, seed=0, shuffle=False, device=run.device
    )
    found, ids = decode_batches(run.model, loader, card.rules, card.decode)
    names = card.vocabulary.names
    commutes = index.commuting_pairs
    truth: list[Names] = [tuple(names[i] for i in chain) for chain in ids]
    first = [candidates(h, card.vocabulary, commutes, card.decode.temperature)[0] for h in found]
    predicted = [tuple(names[i] for i in hypotheses[0].ids) for hypotheses in found]
    with_classes = index.recipe.get("spec", {}).get("classes", False)
    classes = classes_of(truth, commutes, dataset.load(split).records if with_classes else None)
    right = [alike.holds(top.names) for alike, top in zip(classes, first, strict=True)]

    def score(answers: list[Names], n_resamples: int) -> dict[str, Score]:
        rng = np.random.default_rng(seed)
        return scores(
            truth, answers, pedals=names, classes=classes, rng=rng, n_resamples=n_resamples
        )

    return Evaluation(
        run=str(run.path),
        split=split,
        data_identity=index.identity,
        scores=score(predicted, 1000),
        null={name: s.value for name, s in score(fixed_order(truth, names), 1).items()},
        constant={name: s.value for name, s in score(constant_chain(truth), 1).items()},
        ceiling=ceilings(classes),
        pedals=by_pedal(truth, predicted, names),
        pairs=by_pair(classes, predicted),
        calibration_error=calibration_error(
            np.array([top.probability for top in first]), np.array(right, float)
        ),
        n=len(truth),
    )


def evaluation_dict(evaluation: Evaluation) -> dict[str, Any]:
    """The evaluation as JSON values; NaN becomes null."""
    data = dataclasses.asdict(evaluation)
    data["scores"] = {
        name: {
            **dataclasses.asdict(score),
            "null": evaluation.null[name],
            "constant": evaluation.constant[name],
            "ceiling": evaluation.ceiling.get(name, math.nan),
        }
        for name, score in evaluation.scores.items()
    }
    for name in ("null", "constant", "ceiling"):
        del data[name]
    data["pairs"] = [
        {"pair": pair, "right": right, "n": n} for pair, (right, n) in evaluation.pairs.items()
    ]
    cleaned: dict[str, Any] = _without_nan(data)
    return cleaned


def _without_nan(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_nan(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_without_nan(item) for item in value]
    return None if isinstance(value, float) and math.isnan(value) else value


def save_evaluation(run: Run, evaluation: Evaluation) -> None:
    """``evaluation.json`` in the run directory."""
    text = json.dumps(evaluation_dict(evaluation), indent=1, ensure_ascii=False, allow_nan=False)
    LocalFolder(run.path).write(EVALUATION_NAME, text.encode() + b"\n")


def table(evaluation: Evaluation) -> Iterator[str]:
    """Lines for people: all scores, then by length, by pedal and by pair."""
    yield f"{evaluation.run} on {evaluation.n} samples of split {evaluation.split!r}"
    yield ""
    columns = f"{'n':>6} {'null':>6} {'const':>6} {'ceiling':>7}"
    yield f"{'score':<22} {'value':>6}  {'95 % interval':<14} {columns}"
    by_length = [name for name in evaluation.scores if name not in HEADLINES]
    for name in (*HEADLINES, *by_length):
        score = evaluation.scores[name]
        yield (
            f"{name:<22} {_number(score.value):>6}  {_range(score):<14} {score.n:>6} "
            f"{_number(evaluation.null[name]):>6} {_number(evaluation.constant[name]):>6} "
            f"{_number(evaluation.ceiling.get(name, math.nan)):>7}"
        )
    yield ""
    yield f"{'pedal':<22} {'F1':>6} {'precision':>10} {'recall':>7} {'n':>6}"
    for name, pedal in evaluation.pedals.items():
        yield (
            f"{name:<22} {_number(pedal.f1):>6} {_number(pedal.precision):>10} "
            f"{_number(pedal.recall):>7} {pedal.n:>6}"
        )
    if evaluation.pairs:
        yield ""
        yield f"{'pair (order heard right)':<32} {'share':>6} {'n':>6}"
        worst_first = sorted(evaluation.pairs.items(), key=lambda item: item[1][0] / item[1][1])
        for (a, b), (right, n) in worst_first:
            yield f"{f'{a}, {b}':<32} {_number(right / n):>6} {n:>6}"
    yield ""
    yield f"calibration error of the first answer's probability: {evaluation.calibration_error:.3f}"
    yield "null: the right pedals in textbook order. const: the commonest chain, always."
    yield "ceiling: a perfect listener, who must guess between orders that sound alike."


def _number(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:.3f}"


def _range(score: Score) -> str:
    return "-" if math.isnan(score.low) else f"{score.low:.3f}–{score.high:.3f}"
