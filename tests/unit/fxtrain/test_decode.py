"""Decoding against brute force, and the rules no answer may break."""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Sequence

import numpy as np
import pytest
import torch
from torch import Tensor

from fxtrain.config import DecodeSettings, ModelConfig, Rules
from fxtrain.contract import PAD, PedalEntry, Record, Vocabulary
from fxtrain.data.stream import Batch
from fxtrain.decode import (
    Candidate,
    Hypothesis,
    Scorer,
    beam_search,
    candidates,
    head_score,
    n_best,
    precedence,
    presence,
    weights,
)
from fxtrain.listening import as_arrays, batch_scorer
from fxtrain.logits import log_softmax
from fxtrain.metrics import classes_of
from fxtrain.models import Memory, Translator, resolve_model
from fxtrain.set_order import SetOrder
from fxtrain.tune import (
    MAX_SAMPLES,
    Trial,
    best_confidence,
    choose,
    decode_batches,
    judged,
    some_of,
    standard_error,
    tune,
)

N_PEDALS = 4
VOCABULARY = Vocabulary(tuple(PedalEntry(name, "any", ()) for name in "abcd"))
BOTH_WAYS = frozenset({frozenset("ab")})


def random_scorer(n_samples: int, seed: int) -> Scorer:
    """Log-probabilities that depend on the sample and the whole prefix, and on nothing else."""
    table = np.random.default_rng(seed).normal(0, 1.5, (n_samples, 6, 7, N_PEDALS + 1))
    table = table.astype(np.float32)

    def score(prefixes: np.ndarray) -> np.ndarray:
        last, length = prefixes[..., -1], prefixes.shape[-1]
        mixed = (prefixes[..., 1:] * np.arange(1, length)).sum(-1) % 6
        rows = np.arange(n_samples)[:, None]
        return log_softmax(table[rows, mixed, length - 1] + 0.3 * table[rows, last % 6, 0])

    return score


def brute_force(scorer: Scorer, rules: Rules) -> dict[tuple[int, ...], float]:
    """Log-probability of every legal chain of sample 0, renormalised at each step."""
    found = {}
    for length in range(rules.min_length, rules.max_length + 1):
        for chain in itertools.product(range(rules.n_pedals), repeat=length):
            if not rules.repeats and len(set(chain)) < length:
                continue
            total = 0.0
            for step, token in enumerate((*chain, rules.n_pedals)):
                prefix = np.array([[[rules.n_pedals, *chain[:step]]]])
                row = scorer(prefix)[0, 0].copy()
                if not rules.repeats:
                    row[list(chain[:step])] = -math.inf
                if step < rules.min_length:
                    row[rules.n_pedals] = -math.inf
                if step == rules.max_length:
                    row[: rules.n_pedals] = -math.inf
                total += float(log_softmax(row)[token])
            found[chain] = total
    return found


@pytest.mark.parametrize("repeats", [False, True])
@pytest.mark.parametrize("min_length", [0, 2])
def test_a_wide_beam_finds_what_brute_force_finds(repeats: bool, min_length: int) -> None:
    rules = Rules(N_PEDALS, min_length, 3, repeats=repeats)
    scorer = random_scorer(1, seed=3)
    expected = brute_force(scorer, rules)
    assert math.fsum(map(math.exp, expected.values())) == pytest.approx(1.0, abs=1e-5)
    (found,) = beam_search(scorer, 1, rules, beam_size=len(expected) + 4)
    assert {h.ids for h in found} == set(expected)
    for hypothesis in found:
        assert hypothesis.score == pytest.approx(expected[hypothesis.ids], abs=1e-4)
    assert found[0].ids == max(expected, key=expected.__getitem__)


@pytest.mark.parametrize("seed", range(5))
def test_n_best_is_never_worse_than_greedy(seed: int) -> None:
    rules = Rules(N_PEDALS, 0, 4, repeats=False)
    scorer = random_scorer(20, seed)
    nothing = SetOrder(np.zeros((20, N_PEDALS)), np.zeros((20, N_PEDALS, N_PEDALS)))
    greedy = beam_search(scorer, 20, rules, beam_size=1)
    best = n_best(scorer, nothing, rules, DecodeSettings(beam_size=3))
    for g, b in zip(greedy, best, strict=True):
        assert b[0].score >= g[0].score - 1e-6
        assert [h.score for h in b] == sorted((h.score for h in b), reverse=True)
        assert len({h.ids for h in b}) == len(b)


def test_a_narrow_beam_that_loses_the_greedy_chain_gets_it_back() -> None:
    # Two prefixes of b look better for a while than the greedy prefix of a, and then fall apart.
    table = {
        (): [0.5, 0.5 - 1e-3, 1e-3],
        (0,): [0.35, 0.25, 0.4],
        (1,): [0.4999, 0.4999, 2e-4],
        (1, 0): [0.4, 0.4, 0.2],
        (1, 1): [0.4, 0.4, 0.2],
    }
    later = [0.1, 0.1, 0.8]

    def garden_path(prefixes: np.ndarray) -> np.ndarray:
        rows = [[table.get(tuple(p[1:]), later) for p in sample] for sample in prefixes.tolist()]
        return np.log(np.array(rows, np.float32))

    rules = Rules(2, 0, 6, repeats=True)
    nothing = SetOrder(np.zeros((1, 2)), np.zeros((1, 2, 2)))
    (greedy,) = beam_search(garden_path, 1, rules, beam_size=1)
    assert greedy[0].ids == (0,)
    (narrow,) = beam_search(garden_path, 1, rules, beam_size=2)
    assert greedy[0].ids not in {h.ids for h in narrow}
    best = n_best(garden_path, nothing, rules, DecodeSettings(beam_size=2))[0]
    assert best[0].ids == greedy[0].ids


@pytest.mark.parametrize("beam_size", [1, 5])
def test_no_repeats_and_no_chain_out_of_bounds(beam_size: int) -> None:
    rules = Rules(N_PEDALS, 1, 3, repeats=False)
    found = beam_search(random_scorer(50, seed=1), 50, rules, beam_size=beam_size)
    for hypothesis in itertools.chain.from_iterable(found):
        assert len(set(hypothesis.ids)) == len(hypothesis.ids)
        assert 1 <= len(hypothesis.ids) <= 3
        assert set(hypothesis.ids) <= set(range(N_PEDALS))


def test_repeats_come_where_allowed() -> None:
    def same_again(prefixes: np.ndarray) -> np.ndarray:
        row = log_softmax(np.array([5.0, 0.0, 0.0, 0.0, 0.0]))
        return np.broadcast_to(row, (*prefixes.shape[:2], 5))

    rules = Rules(N_PEDALS, 0, 3, repeats=True)
    assert beam_search(same_again, 1, rules, beam_size=1)[0][0].ids == (0, 0, 0)


def test_a_negative_length_bias_makes_chains_longer() -> None:
    rules = Rules(N_PEDALS, 0, 4, repeats=False)
    means = []
    for bias in (-3.0, 0.0, 3.0):
        found = beam_search(random_scorer(60, 2), 60, rules, beam_size=1, length_bias=bias)
        means.append(sum(len(h[0].ids) for h in found) / 60)
    assert means[0] > means[1] + 0.3 > means[2] + 0.6


def small_model(kind: str = "gru") -> Translator:
    torch.manual_seed(0)
    config = resolve_model(
        ModelConfig(kind=kind, d_model=32, n_heads=2, subsample=1), n_codebooks=2, has_mel=False
    )
    return Translator(config, torch.randn(2, 16, 4), n_pedals=N_PEDALS, n_mels=0, n_knobs=0).eval()


@pytest.mark.parametrize("kind", ["gru", "transformer"])
def test_windows_of_a_recording_are_heard_as_one(kind: str) -> None:
    model = small_model(kind)
    codes = torch.randint(16, (3, 2, 8), generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        windows = model.encode(codes, None)
        together = windows.together(3)
        shuffled = Memory(windows.states[[2, 0, 1]]).together(3)
        one = Memory(windows.states[:1])
        again = Memory(one.states.repeat(4, 1, 1)).together(4)

        def said(memory: Memory) -> list[np.ndarray]:
            scores = batch_scorer(model, memory)(np.array([[[N_PEDALS, 1]]]))
            return [scores, *as_arrays(model.set_order(memory))]

        assert together.states.shape == (1, 3 * windows.states.shape[1], 32)
        for found, in_any_order, alone in zip(
            *(said(memory) for memory in (together, shuffled, one)), strict=True
        ):
            assert np.allclose(found, in_any_order, atol=1e-5)
            assert not np.allclose(found, alone, atol=1e-4)  # the others are heard, too
        for found, alone in zip(said(again), said(one), strict=True):
            assert np.allclose(found, alone, atol=1e-5)  # the same again is no news


def test_inference_never_sees_the_target() -> None:
    # A known trap: feeding the true chain at every step of "inference".
    model = small_model()
    codes = torch.randint(16, (6, 2, 8), generator=torch.Generator().manual_seed(0))
    rules = Rules(N_PEDALS, 1, 3, repeats=False)

    def answers(order: Tensor) -> list[tuple[int, ...]]:
        batch = Batch(
            codes=codes,
            mel=None,
            order=order,
            params=torch.zeros(6, 3, 1),
            lengths=(order != PAD).sum(1),
            position=torch.arange(6),
        )
        found, truth = decode_batches(model, [batch], rules, DecodeSettings())
        assert truth == [tuple(i for i in row if i != PAD) for row in order.tolist()]
        return [h[0].ids for h in found]

    one = torch.tensor([[0, 1, 2]] * 6)
    other = torch.tensor([[3, PAD, PAD]] * 6)
    assert answers(one) == answers(other)


def test_head_score_by_hand() -> None:
    there, absent = [-0.1, -0.2, -0.3], [-1.0, -2.0, -3.0]
    before = [[0.0, -0.5, -0.6], [-5.0, 0.0, -0.7], [-6.0, -7.0, 0.0]]
    assert head_score((2, 0), there, absent, before) == pytest.approx(-0.3 - 0.1 - 2.0 - 6.0)
    assert head_score((), there, absent, before) == pytest.approx(-6.0)


def test_the_head_can_turn_the_answer() -> None:
    def undecided(prefixes: np.ndarray) -> np.ndarray:
        return log_softmax(np.zeros((*prefixes.shape[:2], 3)))

    heard = SetOrder(np.array([[3.0, 3.0]]), np.array([[[0.0, -4.0], [4.0, 0.0]]]))
    rules = Rules(2, 0, 2, repeats=False)
    (best, *_) = n_best(undecided, heard, rules, DecodeSettings(head_weight=1.0))[0]
    assert best.ids == (1, 0)


def test_orders_that_sound_alike_are_merged() -> None:
    hypotheses = [
        Hypothesis((0, 2), math.log(0.4)),
        Hypothesis((1, 0), math.log(0.35)),
        Hypothesis((0, 1), math.log(0.25)),
    ]
    merged = candidates(hypotheses, VOCABULARY, BOTH_WAYS, DecodeSettings())
    assert [c.names for c in merged] == [("b", "a"), ("a", "c")]
    assert [c.probability for c in merged] == pytest.approx([0.6, 0.4])
    assert merged[0].orders == (("b", "a"), ("a", "b"))
    cooler = candidates(hypotheses, VOCABULARY, frozenset(), DecodeSettings(temperature=0.1))
    assert cooler[0].probability > 0.7
    assert math.fsum(c.probability for c in cooler) == pytest.approx(1.0)


def test_what_the_search_left_out_has_its_share() -> None:
    hypotheses = [Hypothesis((i,), math.log(p)) for i, p in enumerate((0.5, 0.3, 0.2))]
    found = candidates(hypotheses, VOCABULARY, frozenset(), DecodeSettings(tail_weight=3.0))
    total = 0.5 + 4 * 0.5
    assert [c.probability for c in found] == pytest.approx([p / total for p in (0.5, 0.3, 0.2)])
    assert weights(found) == pytest.approx([0.2, 0.8 * 0.6, 0.8 * 0.4])  # it is like the others
    assert presence(found) == pytest.approx({"a": 0.2, "b": 0.48, "c": 0.32})
    (alone,) = candidates(hypotheses[:1], VOCABULARY, frozenset(), DecodeSettings(tail_weight=3.0))
    assert alone.probability == 1.0
    assert weights((alone,)) == [1.0]


def test_precedence_and_presence_are_read_off_the_n_best() -> None:
    found = (
        Candidate(("a", "b"), 0.6, ()),
        Candidate(("b", "a", "c"), 0.3, ()),
        Candidate(("c",), 0.1, ()),
    )
    assert precedence(found, "a", "b") == pytest.approx(0.6 / 0.9)
    assert precedence(found, "b", "a") == pytest.approx(0.3 / 0.9)
    assert precedence(found, "a", "d") == 0.5
    assert presence(found) == pytest.approx({"a": 0.9, "b": 0.9, "c": 0.4})


def test_a_trial_counts_classes_and_edits() -> None:
    classes = classes_of([("a", "b"), ("c", "d")], BOTH_WAYS)
    trial = judged(DecodeSettings(), [("b", "a"), ("c",)], classes, BOTH_WAYS)
    assert (trial.right.tolist(), trial.edits) == ([1.0, 0.0], 0.5)


def trial(bias: float, weight: float, right: list[float]) -> Trial:
    return Trial(DecodeSettings(length_bias=bias, head_weight=weight), np.array(right), 1.0)


def test_the_usual_settings_stand_unless_clips_clearly_speak_against_them() -> None:
    usual = trial(0.0, 0.5, [1.0, 0.0] * 50)
    by_chance = trial(2.0, 0.0, [1.0, 1.0, 0.0, 0.0] * 24 + [1.0, 1.0, 1.0, 0.0])  # 51, not 50
    clearly = trial(-1.0, 0.5, [1.0, 0.0] * 40 + [1.0] * 20)
    assert choose([by_chance, usual]) == usual.settings
    for n in range(2, 60):
        one_more = trial(2.0, 0.0, [1.0] + [0.0] * (n - 1))
        assert choose([one_more, trial(0.0, 0.5, [0.0] * n)]) == usual.settings
    assert choose([by_chance, usual, clearly]) == clearly.settings
    near = trial(-1.0, 1.0, [1.0, 0.0] * 40 + [1.0] * 19 + [0.0])  # no worse, but further away
    assert choose([near, clearly, usual]) == clearly.settings


def test_clips_of_one_recording_are_one_voice_in_the_choice() -> None:
    usual = trial(0.0, 0.5, [1.0, 0.0] * 50)
    better = trial(-1.0, 0.5, [1.0, 0.0] * 40 + [1.0] * 20)
    assert choose([usual, better], np.arange(100)) == better.settings
    assert choose([usual, better], np.arange(100) // 34) == usual.settings  # all of one in three
    assert choose([usual, better], np.arange(100) % 50) == better.settings
    assert choose([usual, better], np.zeros(100, int)) == usual.settings


def test_a_standard_error_of_groups_is_that_of_their_sums() -> None:
    values = np.array([1.0, 0.0, 1.0, 1.0, 0.0, 0.0])
    alone = np.std(values, ddof=1) / math.sqrt(6)
    assert standard_error(values) == pytest.approx(alone)
    assert standard_error(values, np.arange(6)) == pytest.approx(alone)
    pairs = np.array([4, 4, 7, 7, 9, 9])
    assert standard_error(values, pairs) == pytest.approx(math.sqrt(3 / 2 * 2) / 6)


def test_where_no_clip_tells_the_usual_settings_stand() -> None:
    trials = [trial(bias, weight, [0.0] * 8) for bias in (-1.0, 0.0, 1.0) for weight in (0.5, 1.0)]
    assert choose(trials) == DecodeSettings(length_bias=0.0, head_weight=0.5)


def sureness(
    scores: Sequence[Sequence[float]], is_right: Sequence[bool]
) -> tuple[DecodeSettings, list[float]]:
    """What is tuned on answers of these scores, and how sure each answer then is."""
    found = [[Hypothesis((i,), score) for i, score in enumerate(row)] for row in scores]
    classes = classes_of([("a",) if right else ("d",) for right in is_right], frozenset())
    best = best_confidence(DecodeSettings(), found, classes, VOCABULARY, frozenset())
    return best, [candidates(h, VOCABULARY, frozenset(), best)[0].probability for h in found]


def test_confidence_falls_when_the_model_is_too_sure() -> None:
    half, sure = sureness([(0.0, -4.0)] * 10, [True, False] * 5)
    assert half.temperature > 3.0
    assert sure[0] == pytest.approx(0.5, abs=0.05)
    always, sure = sureness([(0.0, -4.0)] * 10, [True] * 10)
    assert always.temperature < 1.0
    assert always.tail_weight == 0.0
    assert sure[0] > 0.99


def test_no_temperature_makes_up_for_what_the_search_left_out() -> None:
    # Of two kinds of answers, surer and less sure, a half and a tenth are right.
    scores = [(0.0, -2.2)] * 20 + [(0.0, 0.0)] * 20
    is_right = [True] * 10 + [False] * 10 + [True] * 2 + [False] * 18
    best, sure = sureness(scores, is_right)
    assert best.tail_weight > 1.0
    assert (sure[0], sure[-1]) == (pytest.approx(0.5, abs=0.05), pytest.approx(0.1, abs=0.05))


def always(*chain: int) -> Batch:
    """Eight samples of one chain."""
    n = len(chain)
    return Batch(
        codes=torch.zeros(8, 1, 1, dtype=torch.int64),
        mel=None,
        order=torch.tensor([chain] * 8),
        params=torch.zeros(8, n, 1),
        lengths=torch.full((8,), n),
        position=torch.arange(8),
    )


class Fixed(torch.nn.Module):
    """Deaf: its decoder always says ``row`` (pedals, then the end), its head ``there``."""

    def __init__(self, row: list[float], there: list[float]) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(1))
        self.row, self.there = torch.tensor(row), torch.tensor(there)

    def encode(self, codes: Tensor, mel: Tensor | None, clues: Tensor | None = None) -> Memory:
        return Memory(torch.zeros(len(codes), 1, 1))

    def decode(self, tokens: Tensor, memory: Memory) -> Tensor:
        return self.row.expand(*tokens.shape, -1)

    def set_order(self, memory: Memory) -> SetOrder[Tensor]:
        n = len(memory.states)
        return SetOrder(self.there.expand(n, -1), torch.zeros(n, N_PEDALS, N_PEDALS))


def tuned(
    model: Fixed, batch: Batch, rules: Rules, listed: list[Record] | None = None
) -> tuple[DecodeSettings, set[tuple[int, ...]]]:
    """What tuning on ``batch`` settles on, and what is then answered to it."""
    settings = tune(
        *(model, [batch], rules, DecodeSettings()),  # type: ignore[arg-type]
        *(VOCABULARY, frozenset(), listed),
    )
    found, _ = decode_batches(model, [batch], rules, settings)  # type: ignore[arg-type]
    return settings, {h[0].ids for h in found}


def test_tuning_goes_by_the_orders_that_a_record_lists() -> None:
    says_1_0 = Fixed([1.0, 2.0, -9.0, -9.0, 0.0], [6.0, 6.0, -6.0, -6.0])
    rules = Rules(N_PEDALS, 2, 2, repeats=False)
    by_pairs, said = tuned(says_1_0, always(0, 1), rules)
    assert said == {(1, 0)}
    listed, _ = tuned(says_1_0, always(0, 1), rules, [{"alike": [[0, 1], [1, 0]]}] * 8)
    assert listed.temperature < 1.0 < by_pairs.temperature


def test_tuning_finds_a_clips_record_by_its_place_in_the_split() -> None:
    says_1_0 = Fixed([1.0, 2.0, -9.0, -9.0, 0.0], [6.0, 6.0, -6.0, -6.0])
    rules, batch = Rules(N_PEDALS, 2, 2, repeats=False), always(0, 1)
    later = dataclasses.replace(batch, position=batch.position + 8)
    records: list[Record] = [{"alike": [[0, 1]]}] * 8 + [{"alike": [[0, 1], [1, 0]]}] * 8
    alike, _ = tuned(says_1_0, later, rules, records)
    assert alike.temperature < 1.0 < tuned(says_1_0, batch, rules, records)[0].temperature


@pytest.mark.parametrize("n", [1, 2000, 2001, 6400])
def test_tuning_hears_clips_from_all_over_a_large_split(n: int) -> None:
    batch = always(0, 1)
    places = list(torch.arange(n).split(64))
    batches = [dataclasses.replace(batch, position=part) for part in places]
    heard = [int(place) for part in some_of(batches, n) for place in part.position]
    assert len(heard) == n if n <= MAX_SAMPLES else len(heard) <= MAX_SAMPLES
    assert heard[0] == 0
    assert heard[-1] >= n - 64 * -(-n // MAX_SAMPLES)


def test_tuning_trusts_a_head_that_knows_better() -> None:
    likes_1_a_little = Fixed([2.0, 2.5, -4.0, -4.0, 1.0], [6.0, -6.0, -6.0, -6.0])
    settings, said = tuned(likes_1_a_little, always(0), Rules(N_PEDALS, 1, 1, repeats=False))
    assert settings.head_weight > 0
    assert said == {(0,)}


def test_tuning_does_not_trust_a_head_that_misleads() -> None:
    knows_0 = Fixed([2.5, 2.0, -4.0, -4.0, 1.0], [-6.0, 6.0, -6.0, -6.0])
    settings, said = tuned(knows_0, always(0), Rules(N_PEDALS, 1, 1, repeats=False))
    assert settings.head_weight == 0.0
    assert said == {(0,)}


def test_tuning_lengthens_chains_that_come_out_too_short() -> None:
    """It prefers pedal 0, then 1, but likes to stop a little more."""
    too_short = Fixed([2.0, 1.0, -4.0, -4.0, 2.7], [0.0] * N_PEDALS)
    settings, said = tuned(too_short, always(0, 1), Rules(N_PEDALS, 1, 2, repeats=False))
    assert settings.length_bias < 0
    assert said == {(0, 1)}
