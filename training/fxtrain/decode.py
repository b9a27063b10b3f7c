"""From scores of the next pedal to whole chains: beam search under rules, n-best, probabilities.

Knows a scorer, not a model: anything that gives next-token log-probabilities for prefixes.
Shapes: B sample, N beam, U step so far, V pedal (id V ends a chain), W window.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from fxtrain.config import DecodeSettings, Rules
from fxtrain.contract import Commutes, Vocabulary, normal_form
from fxtrain.models import Memory, SetOrder, Translator

Scorer = Callable[[Tensor], Tensor]
"""int64 [B, N, U] (boundary, then pedals) -> log-probabilities float32 [B, N, V + 1]."""


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


def batch_scorer(model: Translator, memory: Memory) -> Scorer:
    """Every sample of ``memory`` [B, S, D] is a recording of its own."""

    def score(prefixes: Tensor) -> Tensor:
        return model.decode(prefixes, memory)[:, :, -1].log_softmax(-1)

    return score


def window_weight(n_windows: int, correlation: float) -> float:
    """Weight of each of ``n_windows`` log-probabilities in their sum."""
    return 1.0 / (1.0 + (n_windows - 1) * correlation)


def joint_scorer(model: Translator, memory: Memory, correlation: float) -> Scorer:
    """All of ``memory`` [W, S, D] is windows of one recording, scored together (B = 1)."""
    n_windows = len(memory.states)
    weight = window_weight(n_windows, correlation)
    every_window = batch_scorer(model, memory)

    def score(prefixes: Tensor) -> Tensor:
        alone = every_window(prefixes.expand(n_windows, -1, -1))
        return (weight * alone.sum(0, keepdim=True)).log_softmax(-1)

    return score


def joint_head(heard: SetOrder, correlation: float) -> SetOrder:
    """The head's logits for windows [W, …] of one recording, taken together [1, …]."""
    weight = window_weight(len(heard.presence), correlation)
    return SetOrder(*(weight * logits.sum(0, keepdim=True) for logits in heard))


@torch.inference_mode()
def beam_search(
    scorer: Scorer,
    n_samples: int,
    rules: Rules,
    *,
    beam_size: int,
    length_bias: float = 0.0,
    device: torch.device | str = "cpu",
) -> list[list[Hypothesis]]:
    """The likeliest chains of every sample, best first; ``beam_size`` 1 is greedy search.

    Probabilities are renormalised over what the rules allow at each step, so that they sum to 1
    over all legal chains. Ended chains stay in the beam and compete with growing ones; one of the
    greatest length has to end, which needs no asking.
    """
    end = rules.n_pedals
    prefixes = torch.full((n_samples, beam_size, 1), end, device=device)
    scores = torch.full((n_samples, beam_size), -math.inf, device=device)
    scores[:, 0] = 0.0
    ended = torch.zeros(n_samples, beam_size, dtype=torch.bool, device=device)
    for step in range(rules.max_length):
        log_probs = scorer(prefixes).clone()
        log_probs[..., end] += length_bias
        if not rules.repeats and step:
            log_probs.scatter_(2, prefixes[..., 1:].clamp_max(end - 1), -math.inf)
        if step < rules.min_length:
            log_probs[..., end] = -math.inf
        log_probs = log_probs.log_softmax(-1)
        log_probs = log_probs.masked_fill(log_probs.isnan(), -math.inf)
        log_probs = log_probs.masked_fill(ended[..., None], -math.inf)
        log_probs[..., end] = log_probs[..., end].masked_fill(ended, 0.0)
        totals = (scores[..., None] + log_probs).flatten(1)
        scores, picks = totals.topk(beam_size, dim=1)
        rows, tokens = picks // (end + 1), picks % (end + 1)
        prefixes = prefixes.gather(1, rows[..., None].expand(-1, -1, step + 1))
        prefixes = torch.cat((prefixes, tokens[..., None]), dim=2)
        ended = ended.gather(1, rows) | (tokens == end)
        if bool(ended.all()):
            break
    return [
        [
            Hypothesis(tuple(i for i in ids if i != end), score)
            for ids, score in zip(beams, beam_scores, strict=True)
            if score > -math.inf
        ]
        for beams, beam_scores in zip(prefixes.tolist(), scores.tolist(), strict=True)
    ]


@torch.inference_mode()
def n_best(
    scorer: Scorer,
    heard: SetOrder,
    rules: Rules,
    settings: DecodeSettings,
) -> list[list[Hypothesis]]:
    """Beam search, never worse than greedy, then weighed with the set and precedence head.

    ``heard``: the head's logits for the same B samples.
    """
    return ranked(search(scorer, heard, rules, settings), heard, settings.head_weight)


@torch.inference_mode()
def search(
    scorer: Scorer, heard: SetOrder, rules: Rules, settings: DecodeSettings
) -> list[list[Hypothesis]]:
    """What a beam finds of each sample, and greedy search; the head has no say yet."""
    n_samples, device = len(heard.presence), heard.presence.device
    runs = [
        beam_search(
            scorer,
            n_samples,
            rules,
            beam_size=size,
            length_bias=settings.length_bias,
            device=device,
        )
        for size in {1, settings.beam_size}
    ]
    return [list({h.ids: h for run in runs for h in run[b]}.values()) for b in range(n_samples)]


def ranked(
    found: Sequence[Sequence[Hypothesis]], heard: SetOrder, head_weight: float
) -> list[list[Hypothesis]]:
    """Every sample's chains, best first, weighed with the head."""
    weighed = weigh_with_head(found, heard, head_weight) if head_weight else found
    return [sorted(hypotheses, key=lambda h: (-h.score, h.ids)) for hypotheses in weighed]


def weigh_with_head(
    found: Sequence[Sequence[Hypothesis]], heard: SetOrder, weight: float
) -> list[list[Hypothesis]]:
    """Add ``weight`` times the head's log-likelihood of each chain's set and order."""
    there = torch.nn.functional.logsigmoid(heard.presence).tolist()
    absent = torch.nn.functional.logsigmoid(-heard.presence).tolist()
    before = torch.nn.functional.logsigmoid(heard.precedence).tolist()
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


def direct(heard: SetOrder, names: tuple[str, ...]) -> list[Direct]:
    """Of every sample of ``heard``."""
    there, before = heard.presence.sigmoid().tolist(), heard.precedence.sigmoid().tolist()
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
