"""From scores of the next pedal to whole chains: beam search under rules, n-best, probabilities.

Knows a scorer, not a model: anything that gives next-token log-probabilities for prefixes. NumPy
only.
Shapes: B sample, N beam, U step so far, V pedal (id V ends a chain), P knob of a pedal.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from fxtrain.config import DecodeSettings, Rules
from fxtrain.contract import Commutes, Vocabulary, normal_form
from fxtrain.errors import CheckpointError
from fxtrain.logits import log_sigmoid, log_softmax, sigmoid
from fxtrain.set_order import SetOrder

Scorer = Callable[[np.ndarray], np.ndarray]
"""int64 [B, N, U] (boundary, then pedals) -> log-probabilities float32 [B, N, V + 1]."""


@dataclass(frozen=True)
class Listened:
    """What a model says of one recording (B = 1): scores of chains and logits of the head;
    ``knobs`` [V, P, places] unnormalised log-probabilities of where each stands, were its pedal
    there, None of a model that hears none."""

    scorer: Scorer
    head: SetOrder[np.ndarray]
    knobs: np.ndarray | None = None


@dataclass(frozen=True)
class Hypothesis:
    """A chain as pedal ids and its score, a log-probability up to a constant."""

    ids: tuple[int, ...]
    score: float


@dataclass(frozen=True)
class Candidate:
    """Orders that sound alike, taken together: the likeliest stands for all of them."""

    names: tuple[str, ...]
    probability: float
    orders: tuple[tuple[str, ...], ...]


def beam_search(
    scorer: Scorer, n_samples: int, rules: Rules, *, beam_size: int, length_bias: float = 0.0
) -> list[list[Hypothesis]]:
    """The likeliest chains of every sample, best first; ``beam_size`` 1 is greedy search.

    Probabilities are renormalised over what the rules allow at each step, so that they sum to 1
    over all legal chains. Ended chains stay in the beam and compete with growing ones; one of the
    greatest length has to end, which needs no asking.
    """
    end = rules.n_pedals
    prefixes = np.full((n_samples, beam_size, 1), end)
    scores = np.full((n_samples, beam_size), -np.inf, np.float32)
    scores[:, 0] = 0.0
    ended = np.zeros((n_samples, beam_size), bool)
    for step in range(rules.max_length):
        log_probs = np.array(scorer(prefixes))
        log_probs[..., end] += length_bias
        if not rules.repeats:
            np.put_along_axis(log_probs, prefixes[..., 1:], -np.inf, axis=2)
        if step < rules.min_length:
            log_probs[..., end] = -np.inf
        log_probs = log_softmax(log_probs)
        log_probs[ended] = -np.inf
        log_probs[ended, end] = 0.0
        totals = (scores[..., None] + log_probs).reshape(n_samples, -1)
        picks = (-totals).argsort(axis=1, kind="stable")[:, :beam_size]
        scores = np.take_along_axis(totals, picks, axis=1)
        rows, tokens = np.divmod(picks, end + 1)
        prefixes = np.take_along_axis(prefixes, rows[..., None], axis=1)
        prefixes = np.concatenate((prefixes, tokens[..., None]), axis=2)
        ended = np.take_along_axis(ended, rows, axis=1) | (tokens == end)
        if ended.all():
            break
    return [
        [
            Hypothesis(tuple(i for i in ids if i != end), score)
            for ids, score in zip(beams, beam_scores, strict=True)
            if score > -math.inf
        ]
        for beams, beam_scores in zip(prefixes.tolist(), scores.tolist(), strict=True)
    ]


def n_best(
    scorer: Scorer,
    heard: SetOrder[np.ndarray],
    rules: Rules,
    settings: DecodeSettings,
) -> list[list[Hypothesis]]:
    """Beam search, never worse than greedy, then weighed with the set and precedence head.

    ``heard``: the head's logits for the same B samples. CheckpointError where no chain is found, or
    the head says no numbers.
    """
    found = search(scorer, heard, rules, settings)
    if not all(found) or not all(np.isfinite(logits).all() for logits in heard):
        raise CheckpointError(
            "this model names no chain: its numbers overflow, or its rules allow none; train again"
        )
    return ranked(found, heard, settings.head_weight)


def search(
    scorer: Scorer, heard: SetOrder[np.ndarray], rules: Rules, settings: DecodeSettings
) -> list[list[Hypothesis]]:
    """What a beam finds of each sample, and greedy search; the head has no say yet."""
    n_samples, bias = len(heard.presence), settings.length_bias
    runs = [
        beam_search(scorer, n_samples, rules, beam_size=size, length_bias=bias)
        for size in sorted({1, settings.beam_size})
    ]
    return [list({h.ids: h for run in runs for h in run[b]}.values()) for b in range(n_samples)]


def ranked(
    found: Sequence[Sequence[Hypothesis]], heard: SetOrder[np.ndarray], head_weight: float
) -> list[list[Hypothesis]]:
    """Every sample's chains, best first, weighed with the head."""
    weighed = weigh_with_head(found, heard, head_weight) if head_weight else found
    return [sorted(hypotheses, key=lambda h: (-h.score, h.ids)) for hypotheses in weighed]


def weigh_with_head(
    found: Sequence[Sequence[Hypothesis]], heard: SetOrder[np.ndarray], weight: float
) -> list[list[Hypothesis]]:
    """Add ``weight`` times the head's log-likelihood of each chain's set and order."""
    there = log_sigmoid(heard.presence).tolist()
    absent = log_sigmoid(-heard.presence).tolist()
    before = log_sigmoid(heard.precedence).tolist()
    return [
        [
            Hypothesis(h.ids, h.score + weight * head_score(h.ids, there[b], absent[b], before[b]))
            for h in hypotheses
        ]
        for b, hypotheses in enumerate(found)
    ]


def head_score(
    ids: Sequence[int], there: list[float], absent: list[float], before: list[list[float]]
) -> float:
    """Log-likelihood of a chain under independent pedals and pairs."""
    pedals = list(dict.fromkeys(ids))
    score = sum(there[v] if v in pedals else absent[v] for v in range(len(there)))
    pairs = [(a, b) for i, a in enumerate(pedals) for b in pedals[i + 1 :]]
    return score + sum(before[a][b] for a, b in pairs)


def alike(
    hypotheses: Sequence[Hypothesis], vocabulary: Vocabulary, commutes: Commutes
) -> list[tuple[float, list[Hypothesis]]]:
    """Hypotheses (best first) by how they sound: (log of the summed probability, members)."""
    classes: dict[tuple[str, ...], list[Hypothesis]] = {}
    for hypothesis in hypotheses:
        names = [vocabulary.names[i] for i in hypothesis.ids]
        classes.setdefault(normal_form(names, commutes), []).append(hypothesis)
    merged = [(log_sum_exp([h.score for h in group]), group) for group in classes.values()]
    return sorted(merged, key=lambda pair: (-pair[0], pair[1][0].ids))


def as_scored(settings: DecodeSettings) -> DecodeSettings:
    """``settings`` before anything was tuned that says how sure an answer is."""
    return dataclasses.replace(settings, temperature=1.0, tail_weight=0.0)


def log_sum_exp(scores: Sequence[float]) -> float:
    top = max(scores)
    return top + math.log(math.fsum(math.exp(score - top) for score in scores))


def best_ids(
    hypotheses: Sequence[Hypothesis], vocabulary: Vocabulary, commutes: Commutes
) -> tuple[int, ...]:
    """The answer: the likeliest order of the likeliest class of orders that sound alike."""
    return alike(hypotheses, vocabulary, commutes)[0][1][0].ids


def candidates(
    hypotheses: Sequence[Hypothesis],
    vocabulary: Vocabulary,
    commutes: Commutes,
    settings: DecodeSettings,
) -> tuple[Candidate, ...]:
    """Hypotheses (best first) merged by how they sound, with probabilities, likeliest first.

    Orders are summed before the temperature is applied, so that it never changes which is first.
    What the probabilities lack to 1 belongs to chains that are not among the hypotheses.
    """
    merged = alike(hypotheses, vocabulary, commutes)
    found = []
    scores = np.array([score for score, _ in merged])
    for p, (_, group) in zip(probabilities(scores, settings).tolist(), merged, strict=True):
        orders = tuple(tuple(vocabulary.names[i] for i in h.ids) for h in group)
        found.append(Candidate(orders[0], p, orders))
    return tuple(found)


def probabilities(scores: np.ndarray, settings: DecodeSettings) -> np.ndarray:
    """Of chains with ``scores`` [..., N], best first; -inf where there is none."""
    likely = np.exp((scores - scores[..., :1]) / settings.temperature)
    behind = likely[..., 1:].sum(-1, keepdims=True)
    shared: np.ndarray = likely / (1 + (1 + settings.tail_weight) * behind)
    return shared


def weights(found: Sequence[Candidate]) -> list[float]:
    """Probabilities that sum to 1: what is not among ``found`` counts as like those behind the
    first."""
    first, *others = (candidate.probability for candidate in found)
    if not sum(others):
        return [1.0, *others]
    return [first, *((1 - first) * p / sum(others) for p in others)]


def presence(found: Sequence[Candidate]) -> dict[str, float]:
    """Probability that a pedal is in the chain, read off the n-best."""
    there: dict[str, float] = {}
    for candidate, weight in zip(found, weights(found), strict=True):
        for name in dict.fromkeys(candidate.names):
            there[name] = there.get(name, 0.0) + weight
    return there


def precedence(found: Sequence[Candidate], first: str, second: str) -> float:
    """P(first before second | both there once), read off the n-best; 0.5 where none holds both."""
    ahead = behind = 0.0
    for candidate, weight in zip(found, weights(found), strict=True):
        names = candidate.names
        if names.count(first) == names.count(second) == 1:
            if names.index(first) < names.index(second):
                ahead += weight
            else:
                behind += weight
    return ahead / (ahead + behind) if ahead + behind else 0.5


@dataclass(frozen=True)
class Direct:
    """What the set-and-precedence head says of one recording by itself, never having seen a chain.

    ``presence``: probability of every pedal, in the order of ``names``; ``before`` [V][V]: that the
    first stands before the second, given both.
    """

    names: tuple[str, ...]
    presence: tuple[float, ...]
    before: tuple[tuple[float, ...], ...]


def direct(heard: SetOrder[np.ndarray], names: tuple[str, ...]) -> list[Direct]:
    """Of every sample of ``heard``."""
    there, before = sigmoid(heard.presence).tolist(), sigmoid(heard.precedence).tolist()
    return [
        Direct(names, tuple(p), tuple(map(tuple, rows)))
        for p, rows in zip(there, before, strict=True)
    ]


def pedal_probabilities(found: Sequence[Candidate], heard: Direct) -> dict[str, float]:
    """Every pedal's: the mean of chains and head, which keeps its promise better than either; of a
    pedal in the answer no less than the answer's own."""
    chains, answer = presence(found), found[0]
    return {
        name: max(
            (min(1.0, chains.get(name, 0.0)) + p) / 2,
            answer.probability if name in answer.names else 0.0,
        )
        for name, p in zip(heard.names, heard.presence, strict=True)
    }


def family_probabilities(
    found: Sequence[Candidate], heard: Direct | None, families: Mapping[str, str]
) -> dict[str, float]:
    """That a pedal of a family is there, whichever: the mean of chains and head, or chains alone.

    The head is asked for each pedal by itself, so its pedals count as independent. Of a family in
    the answer no less than the answer's own.
    """
    there = dict.fromkeys(families.values(), 0.0)
    for candidate, weight in zip(found, weights(found), strict=True):
        for family in {families[name] for name in candidate.names}:
            there[family] = min(1.0, there[family] + weight)
    if heard is None:
        return there
    absent = dict.fromkeys(there, 1.0)
    for name, p in zip(heard.names, heard.presence, strict=True):
        absent[families[name]] *= 1 - p
    answer = found[0]
    least = {families[name]: answer.probability for name in answer.names}
    return {
        family: max((p + 1 - absent[family]) / 2, least.get(family, 0.0))
        for family, p in there.items()
    }


def pair_probability(found: Sequence[Candidate], heard: Direct, first: str, second: str) -> float:
    """P(first before second | both there): the mean of chains and head."""
    own = heard.before[heard.names.index(first)][heard.names.index(second)]
    return (precedence(found, first, second) + own) / 2
