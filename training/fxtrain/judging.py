"""What answers are worth: scores beside their nulls and their ceiling, for people and programs.

Must not import torch: answers to recordings of a kit come without it.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np

from fxtrain.answers import Answers
from fxtrain.columns import between, number, without_nan
from fxtrain.contract import LocalFolder, Names, OrderClass, json_bytes
from fxtrain.decode import (
    Candidate,
    Direct,
    family_probabilities,
    pair_probability,
    pedal_probabilities,
    precedence,
    presence,
)
from fxtrain.finding import EVALUATION_NAME, called
from fxtrain.installed import versions_of
from fxtrain.intervals import N_RESAMPLES, Score
from fxtrain.metrics import (
    GIVEN_PEDALS,
    GIVEN_SET,
    HEADLINES,
    PedalScore,
    by_pair,
    by_pedal,
    ceilings,
    constant_chain,
    f1_of_all,
    fixed_order,
    of_what_was_heard,
    scores,
    where_all_was_heard,
)
from fxtrain.played import Playing, by_playing, playing_lines
from fxtrain.predict import AnyRun
from fxtrain.reliability import Reliability, reliability
from fxtrain.rerender import Rerendered, rerender_lines
from fxtrain.turned import Turned, turned, turned_lines


@dataclass(frozen=True)
class Evaluation:
    """Scores by name; ``null`` answers the true pedals in textbook order, ``constant`` always the
    commonest chain, ``ceiling`` is what a perfect listener can expect, all NaN beside a score that
    no clip counts for. ``reliability``: whether confidences come true, of the chain answered, of
    every pedal's and family's presence, and of every pair's order; its errors also stand among the
    scores, as ``ece_chain`` and so on. ``n``: samples, of ``n_groups`` groups of recordings, over
    which the intervals are drawn. ``playing``: by what is played, where that is not one thing.
    ``turned``: how well knobs are heard, of a model that hears them.
    ``rerender``: how near the answers sound, where that was asked for. ``seed`` of the intervals,
    ``model_sha256`` of the weights, ``version`` of fxtrain, empty where it is run from its
    sources: what to name beside a score."""

    run: str
    split: str
    data_identity: str
    scores: dict[str, Score]
    null: dict[str, float]
    constant: dict[str, float]
    ceiling: dict[str, float]
    pedals: dict[str, PedalScore]
    pairs: dict[tuple[str, str], tuple[int, int]]
    reliability: dict[str, Reliability]
    n: int
    n_groups: int
    playing: tuple[Playing, ...] = ()
    turned: tuple[Turned, ...] = ()
    rerender: Rerendered | None = None
    seed: int = 0
    model_sha256: str = ""
    version: str = ""


def judge(run: AnyRun, identity: str, answers: Answers, *, seed: int = 0) -> Evaluation:
    """Score what was heard; ``identity`` says of what."""
    families, truth, predicted = run.card.vocabulary.families, answers.truth, answers.predicted
    names, n = tuple(families), len(truth)
    groups = np.arange(n) if answers.groups is None else answers.groups

    def score(said: list[Names], n_resamples: int) -> dict[str, Score]:
        rng = np.random.default_rng(seed)
        return scores(
            *(truth, said),
            families=families,
            classes=answers.classes,
            groups=groups,
            rng=rng,
            n_resamples=n_resamples,
        )

    calibration = {
        kind: reliability(sure, right, groups[sample], before[0], rng=np.random.default_rng(seed))
        for (kind, (sure, right, sample)), before in zip(
            confidences(answers.heard, answers.classes, families, answers.directs).items(),
            confidences(answers.untuned, answers.classes, families, answers.directs).values(),
            strict=True,
        )
    }
    errors = {f"ece_{kind}": Score(r.ece, r.low, r.high, r.n) for kind, r in calibration.items()}
    found = score(predicted, N_RESAMPLES)

    def beside(values: Mapping[str, float]) -> dict[str, float]:
        """Nothing to hold against a score that there is none of."""
        return {
            name: math.nan if math.isnan(found[name].value) else v for name, v in values.items()
        }

    def values(said: list[Names]) -> dict[str, float]:
        return {name: s.value for name, s in score(said, 1).items()}

    textbook = fixed_order(truth, names)
    asked = {
        **_some(values(where_all_was_heard(textbook, truth, predicted)), GIVEN_SET),
        **_some(values(of_what_was_heard(textbook, truth, predicted)), GIVEN_PEDALS),
    }
    return Evaluation(
        run=called(run.path),
        split=answers.split,
        data_identity=identity,
        scores=found | errors,
        null=beside(values(textbook) | asked),
        constant=beside(values(constant_chain(truth))),
        ceiling=beside(ceilings(answers.classes, predicted)),
        pedals=by_pedal(truth, predicted, names, groups=groups, rng=np.random.default_rng(seed)),
        pairs=by_pair(answers.classes, predicted),
        reliability=calibration,
        n=n,
        n_groups=len(np.unique(groups)),
        playing=by_playing(
            *(truth, predicted, answers.classes, answers.played, groups),
            families=families,
            seed=seed,
        ),
        turned=()
        if answers.travel is None
        else turned(answers.knobs, answers.travel, run.card.vocabulary, groups, seed=seed),
        seed=seed,
        model_sha256=run.card.weights.sha256 if run.card.weights else "",
        version=versions_of("fxpipe").get("fxpipe", ""),
    )


def _some(values: Mapping[str, float], names: Sequence[str]) -> dict[str, float]:
    return {name: values[name] for name in names}


def confidences(
    heard: Sequence[Sequence[Candidate]],
    classes: Sequence[OrderClass],
    families: Mapping[str, str],
    directs: Sequence[Direct] | None = None,
) -> dict[str, tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """(confidence, right, sample) of all that is said, by kind.

    chain: the answer is the truth, or sounds like it. presence: a pedal is on the clip; every
    pedal of the pool on every clip. named: the same of the pedals in the answer, which is what
    somebody reads; the others are mostly sure not to be there. family: any pedal of a family is.
    pair: two pedals on the clip and in the answer, whose order can be heard, stand there as the
    answer says. ``directs``: of the head, whose word counts half for pedals, families and pairs;
    without it the chains alone speak.
    """
    rows: dict[str, list[tuple[float, float, int]]] = {
        kind: [] for kind in ("chain", "presence", "named", "family", "pair")
    }
    for sample, (found, alike) in enumerate(zip(heard, classes, strict=True)):
        answer, own = found[0], directs[sample] if directs else None
        rows["chain"].append((answer.probability, float(alike.holds(answer.names)), sample))
        there = pedal_probabilities(found, own) if own else presence(found)
        rows["presence"] += [(there.get(p, 0.0), float(p in alike.names), sample) for p in families]
        named = set(answer.names)
        rows["named"] += [(there[p], float(p in alike.names), sample) for p in sorted(named)]
        kin = {families[name] for name in alike.names}
        rows["family"] += [
            (p, float(family in kin), sample)
            for family, p in family_probabilities(found, own, families).items()
        ]
        for first, second in alike.fixed:
            if answer.names.count(first) == answer.names.count(second) == 1:
                said = answer.names.index(first) < answer.names.index(second)
                pair = (first, second) if said else (second, first)
                p = pair_probability(found, own, *pair) if own else precedence(found, *pair)
                rows["pair"].append((p, float(said), sample))
    tables = {kind: np.array(found, float).reshape(-1, 3) for kind, found in rows.items()}
    return {
        kind: (np.minimum(t[:, 0], 1.0), t[:, 1], t[:, 2].astype(int)) for kind, t in tables.items()
    }


def evaluation_dict(evaluation: Evaluation) -> dict[str, Any]:
    """The evaluation as JSON values; NaN becomes null."""
    data = dataclasses.asdict(evaluation)
    data["scores"] = {
        name: {
            **dataclasses.asdict(score),
            "null": evaluation.null.get(name, math.nan),
            "constant": evaluation.constant.get(name, math.nan),
            "ceiling": evaluation.ceiling.get(name, math.nan),
        }
        for name, score in evaluation.scores.items()
    }
    for name in ("null", "constant", "ceiling"):
        del data[name]
    data["pairs"] = [
        {"pair": pair, "right": right, "n": n} for pair, (right, n) in evaluation.pairs.items()
    ]
    cleaned: dict[str, Any] = without_nan(data)
    return cleaned


def save_evaluation(
    folder: Path, evaluation: Evaluation, differences: Mapping[str, Any] = MappingProxyType({})
) -> None:
    """``evaluation.json`` in ``folder``, which is made. ``differences``: of another run, as
    ``paired.differences_dict`` has them."""
    data = evaluation_dict(evaluation) | {**differences}
    LocalFolder(folder).write(EVALUATION_NAME, json_bytes(data))


def table(evaluation: Evaluation) -> Iterator[str]:
    """Lines for people: all scores, then by length, by what is played, by pedal and by pair."""
    plural = "" if evaluation.n_groups == 1 else "s"
    few = evaluation.n_groups < evaluation.n
    groups = f" ({evaluation.n_groups} group{plural})" if few else ""
    yield f"{evaluation.run} on {evaluation.n} samples{groups} of split {evaluation.split!r}"
    yield ""
    columns = f"{'n':>6} {'null':>6} {'const':>6} {'ceiling':>7}"
    yield f"{'score':<22} {'value':>6}  {'95 % interval':<14} {columns}"
    by_length = [name for name in evaluation.null if name not in HEADLINES]
    for name in (*HEADLINES, *by_length):
        score = evaluation.scores[name]
        yield (
            f"{name:<22} {number(score.value):>6}  {between(score):<14} {score.n:>6} "
            f"{number(evaluation.null[name]):>6} {number(evaluation.constant[name]):>6} "
            f"{number(evaluation.ceiling.get(name, math.nan)):>7}"
        )
    yield from playing_lines(evaluation.playing)
    yield from turned_lines(evaluation.turned)
    yield ""
    yield f"{'pedal':<22} {'F1':>6} {'precision':>10} {'recall':>7} {'always':>7} {'n':>6}"
    for name, pedal in evaluation.pedals.items():
        yield (
            f"{name:<22} {number(pedal.f1):>6} {number(pedal.precision):>10} "
            f"{number(pedal.recall):>7} {number(pedal.f1_always):>7} {pedal.n:>6}"
        )
    yield (
        "always: the F1 of naming it on every clip; of naming all of them, f1_micro "
        f"{number(f1_of_all(evaluation.pedals, evaluation.n))}."
    )
    if evaluation.pairs:
        yield ""
        yield f"{'pair (order heard right)':<32} {'share':>6} {'n':>6}"
        worst_first = sorted(evaluation.pairs.items(), key=lambda item: item[1][0] / item[1][1])
        for (a, b), (right, n) in worst_first:
            yield f"{f'{a}, {b}':<32} {number(right / n):>6} {n:>6}"
    yield ""
    columns = f"{'n':>6} {'untuned':>7} {'chance':>6}"
    yield f"{'confidence (of)':<22} {'error':>6}  {'95 % interval':<14} {columns}"
    for kind, kept in evaluation.reliability.items():
        yield (
            f"{kind:<22} {number(kept.ece):>6}  "
            f"{between(evaluation.scores[f'ece_{kind}']):<14} {kept.n:>6} "
            f"{number(kept.ece_untuned):>7} {number(kept.ece_chance):>6}"
        )
    if evaluation.rerender is not None:
        yield from rerender_lines(evaluation.rerender)
    yield ""
    yield "null: the right pedals in textbook order. const: the commonest chain, always."
    yield "ceiling: a perfect listener, who must guess between orders that sound alike."
