"""Decoding settings fitted on validation chains: when to stop, what to trust, how sure to be.

Shapes: B batch.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from fxtrain.config import DecodeSettings, Rules
from fxtrain.contract import Commutes, Names, OrderClass, Record, Vocabulary, normal_form
from fxtrain.data.stream import Batch
from fxtrain.decode import (
    Hypothesis,
    alike,
    best_ids,
    n_best,
    probabilities,
    ranked,
    search,
)
from fxtrain.intervals import group_sums
from fxtrain.listening import as_arrays, batch_scorer, encode
from fxtrain.metrics import classes_of, levenshtein
from fxtrain.models import Memory, Translator
from fxtrain.set_order import SetOrder

LENGTH_BIASES = (-2.0, -1.0, 0.0, 1.0, 2.0)
HEAD_WEIGHTS = (0.0, 0.25, 0.5, 1.0, 2.0)
USUAL_BIAS, USUAL_WEIGHT = 0.0, 0.5
"""What is taken unless the clips speak against it."""
TEMPERATURES: tuple[float, ...] = tuple(np.geomspace(0.7, 5.0, 15).tolist())
TAIL_WEIGHTS = (0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0, 8.0, 12.0)
MAX_SAMPLES = 2000


@dataclass(frozen=True, eq=False)
class Heard:
    """A batch as the encoder hears it, and its true pedal ids, places in the split and settings,
    which are only passed along."""

    memory: Memory
    set_order: SetOrder[np.ndarray]
    truth: list[tuple[int, ...]]
    places: list[int]
    order: Tensor
    params: Tensor | None


@torch.inference_mode()
def listen_batches(model: Translator, batches: Iterable[Batch]) -> Iterator[Heard]:
    """Encode each batch once, on the model's device."""
    device = next(model.parameters()).device
    for batch in batches:
        batch = batch.to(device)
        memory = encode(model, batch)
        lengths = batch.lengths.tolist()
        truth = [tuple(ids[:n]) for ids, n in zip(batch.order.tolist(), lengths, strict=True)]
        heard = as_arrays(model.set_order(memory))
        yield Heard(memory, heard, truth, batch.position.tolist(), batch.order, batch.params)


def decode_heard(
    model: Translator, heard: Iterable[Heard], rules: Rules, settings: DecodeSettings
) -> tuple[list[list[Hypothesis]], list[tuple[int, ...]]]:
    """(n-best, true ids) of every sample."""
    found: list[list[Hypothesis]] = []
    truth: list[tuple[int, ...]] = []
    for part in heard:
        found += n_best(batch_scorer(model, part.memory), part.set_order, rules, settings)
        truth += part.truth
    return found, truth


def decode_batches(
    model: Translator, batches: Iterable[Batch], rules: Rules, settings: DecodeSettings
) -> tuple[list[list[Hypothesis]], list[tuple[int, ...]]]:
    """(n-best, true ids) of every sample, in the order of ``batches``."""
    return decode_heard(model, listen_batches(model, batches), rules, settings)


def tune(
    model: Translator,
    batches: Iterable[Batch],
    rules: Rules,
    settings: DecodeSettings,
    vocabulary: Vocabulary,
    commutes: Commutes,
    listed: Sequence[Record] | None = None,
    groups: np.ndarray | None = None,
) -> DecodeSettings:
    """``settings`` with the best length bias, head weight and confidence on these samples.

    The first two are chosen together (:func:`choose`), for the head has a say in length;
    temperature and tail weight minimise the log loss of "the first answer is right".
    ``listed``: the records of the whole split, where these list what sounds alike. ``groups`` int
    [n]: which of its clips play recordings of one group.
    """
    held = list(listen_batches(model, batches))
    chains = [names_of(ids, vocabulary) for part in held for ids in part.truth]
    records = [listed[place] for part in held for place in part.places] if listed else None
    classes = classes_of(chains, commutes, records)
    searched = {
        bias: [
            search(
                *(batch_scorer(model, part.memory), part.set_order, rules),
                dataclasses.replace(settings, length_bias=bias),
            )
            for part in held
        ]
        for bias in LENGTH_BIASES
    }

    def found(trial: DecodeSettings) -> list[list[Hypothesis]]:
        parts = zip(searched[trial.length_bias], held, strict=True)
        return [h for some, p in parts for h in ranked(some, p.set_order, trial.head_weight)]

    trials = []
    for bias, weight in itertools.product(LENGTH_BIASES, HEAD_WEIGHTS):
        trial = dataclasses.replace(settings, length_bias=bias, head_weight=weight)
        said = [names_of(best_ids(h, vocabulary, commutes), vocabulary) for h in found(trial)]
        trials.append(judged(trial, said, classes, commutes))
    places = [place for part in held for place in part.places]
    best = choose(trials, None if groups is None else groups[places])
    return best_confidence(best, found(best), classes, vocabulary, commutes)


@dataclass(frozen=True, eq=False)
class Trial:
    """``right`` float [n], 0 or 1: answers that are right by class. ``edits`` a clip, between
    canonical forms."""

    settings: DecodeSettings
    right: np.ndarray
    edits: float

    @property
    def change(self) -> float:
        settings = self.settings
        return abs(settings.length_bias - USUAL_BIAS) + abs(settings.head_weight - USUAL_WEIGHT)


def judged(
    settings: DecodeSettings,
    predicted: Sequence[Names],
    classes: Sequence[OrderClass],
    commutes: Commutes,
) -> Trial:
    right, edits = [], []
    for said, true in zip(predicted, classes, strict=True):
        right.append(true.holds(said))
        edits.append(levenshtein(normal_form(true.names, commutes), normal_form(said, commutes)))
    return Trial(settings, np.array(right, float), float(np.mean(edits)))


def choose(trials: Sequence[Trial], groups: np.ndarray | None = None) -> DecodeSettings:
    """Of the settings that are no worse than the best, as far as these clips tell, those nearest
    to the usual ones.

    Class-aware exact match hardly differs between settings that name pedals very differently, so
    its maximum over all of them is mostly chance: on other clips it does worse (docs/log.md). No
    worse: behind by no more than one standard error of the difference on these clips (the rule of
    Breiman et al. 1984, pairwise). ``groups`` [n]: clips of one group err together; of a single
    group nothing tells how others would do.
    """
    best = max(trials, key=lambda t: (t.right.mean(), -t.edits, -t.change))

    def no_worse(trial: Trial) -> bool:
        behind = best.right - trial.right
        most = standard_error(behind, groups) * (1 + 1e-9)  # one clip alone lies just so far behind
        return bool(behind.mean() <= most)

    level = [trial for trial in trials if no_worse(trial)]
    return min(level, key=lambda t: (t.change, t.edits)).settings


def standard_error(values: np.ndarray, groups: np.ndarray | None = None) -> float:
    """Of the mean of ``values`` [n], of which those of one group go together; without end of one
    group alone."""
    apart = group_sums((values - values.mean())[:, None], groups)
    n_groups = len(apart)
    if n_groups < 2:
        return math.inf
    return math.sqrt(n_groups / (n_groups - 1) * float(np.square(apart).sum())) / len(values)


def some_of(batches: Iterable[Batch], n_samples: int) -> Iterator[Batch]:
    """As many of the batches of a split as make up to ``MAX_SAMPLES``, from all over it: of data
    sets that were joined, some of each."""
    return itertools.islice(batches, 0, None, -(-n_samples // MAX_SAMPLES))


def names_of(ids: Sequence[int], vocabulary: Vocabulary) -> Names:
    return tuple(vocabulary.names[i] for i in ids)


def best_confidence(
    settings: DecodeSettings,
    found: Sequence[Sequence[Hypothesis]],
    classes: Sequence[OrderClass],
    vocabulary: Vocabulary,
    commutes: Commutes,
) -> DecodeSettings:
    """``settings`` with the temperature and the tail weight at which the first answer's
    probability best foretells that it is right."""
    merged = [alike(hypotheses, vocabulary, commutes) for hypotheses in found]
    right = np.array(
        [
            true.holds(names_of(groups[0][1][0].ids, vocabulary))
            for groups, true in zip(merged, classes, strict=True)
        ]
    )
    scores = np.full((len(merged), max(map(len, merged))), -math.inf)
    for row, groups in zip(scores, merged, strict=True):
        row[: len(groups)] = [score for score, _ in groups]

    def log_loss(trial: DecodeSettings) -> float:
        p = np.clip(probabilities(scores, trial)[:, 0], 1e-4, 1 - 1e-4)
        return float(-np.log(np.where(right, p, 1 - p)).sum())

    trials = (
        dataclasses.replace(settings, temperature=temperature, tail_weight=tail_weight)
        for temperature, tail_weight in itertools.product(TEMPERATURES, TAIL_WEIGHTS)
    )
    return min(trials, key=lambda t: (log_loss(t), t.tail_weight, abs(math.log(t.temperature))))
