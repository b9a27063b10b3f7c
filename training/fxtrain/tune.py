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

from fxtrain.config import DecodeSettings, Rules
from fxtrain.contract import Commutes, Names, OrderClass, Record, Vocabulary, normal_form
from fxtrain.data.stream import Batch
from fxtrain.decode import Hypothesis, alike, batch_scorer, best_ids, n_best, probabilities
from fxtrain.metrics import classes_of, levenshtein
from fxtrain.models import Memory, SetOrder, Translator

LENGTH_BIASES: tuple[float, ...] = tuple(np.arange(-3.0, 2.25, 0.5).tolist())
HEAD_WEIGHTS = (0.0, 0.25, 0.5, 1.0)
TEMPERATURES: tuple[float, ...] = tuple(np.geomspace(0.7, 5.0, 15).tolist())
TAIL_WEIGHTS = (0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0, 8.0, 12.0)
MAX_SAMPLES = 2000


@dataclass(frozen=True, eq=False)
class Heard:
    """A batch as the encoder hears it, and its true pedal ids and places in the split, which are
    only passed along."""

    memory: Memory
    set_order: SetOrder
    truth: list[tuple[int, ...]]
    places: list[int]


@torch.inference_mode()
def listen_batches(model: Translator, batches: Iterable[Batch]) -> Iterator[Heard]:
    """Encode each batch once, on the model's device."""
    device = next(model.parameters()).device
    for batch in batches:
        batch = batch.to(device)
        memory = model.encode(batch.codes, batch.mel)
        lengths = batch.lengths.tolist()
        truth = [tuple(ids[:n]) for ids, n in zip(batch.order.tolist(), lengths, strict=True)]
        yield Heard(memory, model.set_order(memory), truth, batch.position.tolist())


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
) -> DecodeSettings:
    """``settings`` with the best length bias, head weight and confidence on these samples.

    The first two maximise class-aware exact match, ties broken by edit distance and then by the
    smaller change; temperature and tail weight minimise the log loss of "the first answer is
    right".
    ``listed``: the records of the whole split, where these list what sounds alike.
    """
    held = list(listen_batches(model, batches))
    chains = [names_of(ids, vocabulary) for part in held for ids in part.truth]
    records = [listed[place] for part in held for place in part.places] if listed else None
    classes = classes_of(chains, commutes, records)
    judged: list[tuple[tuple[float, ...], DecodeSettings]] = []

    def judge(trial: DecodeSettings) -> None:
        found, _ = decode_heard(model, held, rules, trial)
        said = [names_of(best_ids(h, vocabulary, commutes), vocabulary) for h in found]
        score = quality(said, classes, commutes)
        change = abs(trial.length_bias) + abs(trial.head_weight)
        judged.append(((*score, -change), trial))

    greedy = dataclasses.replace(settings, beam_size=1, head_weight=0.0)
    for bias in LENGTH_BIASES:
        judge(dataclasses.replace(greedy, length_bias=bias))
    bias = max(judged, key=lambda pair: pair[0])[1].length_bias
    judged.clear()
    for weight in HEAD_WEIGHTS:
        judge(dataclasses.replace(settings, length_bias=bias, head_weight=weight))
    best = max(judged, key=lambda pair: pair[0])[1]
    found, _ = decode_heard(model, held, rules, best)
    return best_confidence(best, found, classes, vocabulary, commutes)


def some_of(batches: Iterable[Batch], n_samples: int) -> Iterator[Batch]:
    """As many of the batches of a split as make up to ``MAX_SAMPLES``, from all over it: of data
    sets that were joined, some of each."""
    return itertools.islice(batches, 0, None, -(-n_samples // MAX_SAMPLES))


def quality(
    predicted: Sequence[Names], classes: Sequence[OrderClass], commutes: Commutes
) -> tuple[float, float]:
    """(class-aware exact matches, minus the edits between canonical forms), both a sample."""
    right = edits = 0
    for said, true in zip(predicted, classes, strict=True):
        right += true.holds(said)
        edits += levenshtein(normal_form(true.names, commutes), normal_form(said, commutes))
    return right / len(classes), -edits / len(classes)


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
