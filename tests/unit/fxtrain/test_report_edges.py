"""What a page lets hear of a clip, and what an evaluation says of itself."""

from __future__ import annotations

import dataclasses
import hashlib
import re

import numpy as np
import pytest
import torch

from fixtures.frontends import ToyFrontend
from fixtures.shards import make_shards
from fxtrain.answers import Answers
from fxtrain.checkpoint import WEIGHTS_NAME, Run, card_of, load_run, new_model, save_model
from fxtrain.config import ModelConfig
from fxtrain.contract import Chain, OrderClass, Pedal
from fxtrain.data import ShardDataset, open_shards
from fxtrain.decode import Candidate
from fxtrain.evaluate import answer, by_ear
from fxtrain.judging import judge, table
from fxtrain.knobs import Knob, Knobs
from fxtrain.metrics import by_pair
from fxtrain.models import resolve_model
from fxtrain.reliability import Bin
from fxtrain.report import page
from fxtrain.report.clips import cards, data_uri, pick
from fxtrain.report.curves import Curve
from fxtrain.report.drawing import line_chart, reliability_diagram
from fxtrain.report.page import confusion_grids, order_grids
from fxtrain.rerender import play, rerender
from fxtrain.sounds import Sounds


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> ShardDataset:
    path = tmp_path_factory.mktemp("report") / "shards"
    make_shards(path, n_train=8, n_valid=4, n_test=24)
    return open_shards(path)


@pytest.fixture(scope="module")
def run(dataset: ShardDataset, tmp_path_factory: pytest.TempPathFactory) -> Run:
    path = tmp_path_factory.mktemp("runs") / "run"
    config = ModelConfig(kind="gru", d_model=16, n_layers=1, n_heads=2)
    card = card_of(dataset.index, resolve_model(config, n_codebooks=4, has_mel=False), {})
    torch.manual_seed(0)
    save_model(path, card, new_model(card, torch.randn(4, 64, 8)))
    return load_run(path)


@pytest.fixture(scope="module")
def answers(run: Run, dataset: ShardDataset) -> Answers:
    return answer(run, dataset)


def sounds_of(dataset: ShardDataset) -> Sounds:
    sounds = Sounds(dataset, "test")
    sounds.__dict__["frontend"] = ToyFrontend()
    return sounds


def test_an_evaluation_says_what_it_was_made_of(
    run: Run, dataset: ShardDataset, answers: Answers
) -> None:
    records = dataset.load("test").records
    assert answers.ids == [record["id"] for record in records]
    names = [*answers.truth[1:], answers.truth[0]]  # the next clip's
    heard = [(Candidate(chain, 0.9, (chain,)),) for chain in names]
    said = dataclasses.replace(answers, heard=heard, untuned=heard)
    one, other = (
        judge(run, dataset.index.identity, said),
        judge(run, dataset.index.identity, said, seed=1),
    )
    weights = (run.path / WEIGHTS_NAME).read_bytes()
    assert one.model_sha256 == hashlib.sha256(weights).hexdigest()
    assert (one.seed, other.seed) == (0, 1)
    assert one.scores["exact"] == other.scores["exact"]  # no draw is behind it
    assert one.scores["f1_micro"] != other.scores["f1_micro"]
    drawn = [
        [pedal.f1_high for pedal in found.pedals.values() if pedal.f1_high > 0]
        for found in (one, other)
    ]
    assert [] != drawn[0] != drawn[1]
    assert one.pairs == by_pair(said.classes, said.predicted) != {}


def test_by_ear_goes_by_groups_and_knobs(
    run: Run, dataset: ShardDataset, answers: Answers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fxtrain.intervals.N_RESAMPLES", 50)
    plain = judge(run, dataset.index.identity, answers)
    truth, said = answers.truth, answers.predicted
    found = by_ear(answers, plain, sounds_of(dataset), 12, 3, lambda text: None).rerender
    alone = rerender(truth, said, sounds_of(dataset), 12, groups=answers.groups, seed=3)
    np.testing.assert_equal(dataclasses.asdict(found), dataclasses.asdict(alone))
    turned = dataclasses.replace(answers, knobs=[{}] * len(truth))
    heard = by_ear(turned, plain, sounds_of(dataset), 2, 0, lambda text: None).rerender
    assert heard is not None
    assert "predicted_heard" in {row.condition for row in heard.rows}


def test_the_page_says_how_answers_were_played(
    run: Run, dataset: ShardDataset, answers: Answers
) -> None:
    plain = judge(run, dataset.index.identity, answers)
    for knobs, said in ((None, False), ([{}] * len(answers.truth), True)):
        asked = dataclasses.replace(answers, knobs=knobs)
        found = by_ear(asked, plain, sounds_of(dataset), 2, 0, lambda text: None)
        text = page(run, dataset.index, asked, found, sounds_of(dataset), n_clips=0)
        assert ("first set them, with the knobs as heard, and with the true" in text) == said


@pytest.mark.parametrize(
    ("codes", "mel", "heads", "tells"),
    [
        (True, False, "codec tiny", "codec tokens"),
        (False, True, "log-mel", "log-mel"),
        (True, True, "codec tiny and log-mel", "codec tokens and log-mel"),
    ],
)
def test_the_page_names_what_the_model_hears(
    run: Run,
    dataset: ShardDataset,
    answers: Answers,
    codes: bool,
    mel: bool,
    heads: str,
    tells: str,
) -> None:
    model = dataclasses.replace(run.card.model, use_codes=codes, use_mel=mel)
    heard = dataclasses.replace(run, card=dataclasses.replace(run.card, model=model))
    found = judge(run, dataset.index.identity, answers)
    text = page(heard, dataset.index, answers, found, sounds_of(dataset), n_clips=0)
    assert f"pedals · {heads}</p>" in text
    assert f"gru, {tells}; weights" in text


def test_a_clip_is_heard_wet_dry_and_as_it_was_answered(
    run: Run, dataset: ShardDataset, answers: Answers
) -> None:
    sounds = sounds_of(dataset)
    for position, card in zip(
        (3, 17), cards([3, 17], answers, sounds, run.card.vocabulary), strict=True
    ):
        clip, found = sounds.remake(position), answers.heard[position]
        frontend = sounds.frontend
        waves = (
            clip.wet,
            clip.dry[clip.n_run_in :],
            play(frontend, clip, frontend.example(found[0].names)),
        )
        assert [sound.uri for sound in card.sounds] == [
            data_uri(frontend.flac(wave, clip.sample_rate_hz)[0]) for wave in waves
        ]
        assert card.clip_id == f"test-{position}"
        assert card.truth == answers.truth[position]
        assert (card.answer, card.probability) == (found[0].names, found[0].probability)
        assert card.others == tuple((other.names, other.probability) for other in found[1:3])


def test_an_answer_is_played_with_the_knobs_of_its_own_clip(
    run: Run, dataset: ShardDataset, answers: Answers
) -> None:
    said = (Candidate(("delay",), 1.0, (("delay",),)),)
    mix = run.card.vocabulary.pedals[run.card.vocabulary.index("delay")].params[0]
    heard: Knobs = {"delay": {"mix": Knob(mix, 0.75, 0.7, 0.8, (0.75, 0.7, 0.8))}}
    knobs = [heard if position == 17 else {} for position in range(len(answers.truth))]
    turned = dataclasses.replace(answers, heard=[said] * len(answers.truth), knobs=knobs)
    sounds = sounds_of(dataset)
    typical, own = cards([3, 17], turned, sounds, run.card.vocabulary)
    assert typical.sounds[2].label.endswith("typical knobs")
    assert own.sounds[2].label.endswith("knobs as heard")
    wave = play(sounds.frontend, sounds.remake(17), Chain((Pedal("delay", {"mix": 0.75}),)))
    assert own.sounds[2].uri == data_uri(sounds.frontend.flac(wave, 1)[0])


def test_of_answers_as_wrong_the_surest_is_the_worst() -> None:
    def heard(p: float) -> tuple[Candidate, ...]:
        return (Candidate(("b",), p, (("b",),)),)

    truth = [("a",)] * 3
    found = [heard(p) for p in (0.4, 0.9, 0.4)]
    answers = Answers("test", truth, found, found, [OrderClass(names) for names in truth])
    assert pick(answers, 3) == ([1, 0, 2], [])


@pytest.mark.parametrize("best", [1, 3])
def test_a_best_epoch_at_either_end_is_marked(best: int) -> None:
    curve = Curve("x", (1.0, 2.0, 3.0), (0.1, 0.2, 0.3))
    drawn = line_chart([curve], "x", from_zero=True, best_epoch=best)
    assert drawn.count('class="best"') == 1
    assert 'class="best"' not in line_chart([curve], "x", from_zero=True, best_epoch=4)
    points = re.findall(r'points="([^"]*)"', drawn)[0].split()
    heights = [float(point.split(",")[1]) for point in points]
    assert heights == sorted(heights, reverse=True)  # more is further up


def test_confidence_that_came_true_stands_further_up_within_its_interval() -> None:
    bins = (
        Bin(0.0, 0.1, 0, float("nan"), float("nan")),
        Bin(0.2, 0.3, 40, 0.25, 0.9),
        Bin(0.8, 0.9, 10, 0.85, 0.1),
    )
    drawn = str(reliability_diagram(bins, "kept"))
    assert "nan" not in drawn
    dots = [
        (float(x), float(y), float(r))
        for x, y, r in re.findall(r'class="bubble" cx="([^"]*)" cy="([^"]*)" r="([^"]*)"', drawn)
    ]
    bars = [
        (float(top), float(low))
        for low, top in re.findall(r'class="whisker" [^/]*y1="([^"]*)" y2="([^"]*)"', drawn)
    ]
    (early, high, large), (late, low, small) = dots
    assert early < late
    assert high < low
    assert large > small
    for (_, y, _), (top, bottom) in zip(dots, bars, strict=True):
        assert top < y < bottom


def test_orders_are_shares_of_the_clips_where_both_were_named() -> None:
    truth = [("a", "b")] * 3
    said = [("a", "b"), ("b", "a"), ("a",)]
    found = [(Candidate(names, 1.0, (names,)),) for names in said]
    answers = Answers("test", truth, found, found, [OrderClass(names) for names in truth])
    heard, ceiling = order_grids(answers, ("a", "b"), frozenset())
    cell = heard.rows[0][1][1]
    assert (cell.share, cell.text, cell.mark) == (0.5, "50", "")
    assert "1 of 2 clips" in cell.title
    assert ceiling.rows[0][1][1].share == 1.0
    free, _ = order_grids(answers, ("a", "b"), frozenset({frozenset(("a", "b"))}))
    assert [[cell.mark for cell in row] for _, row in free.rows] == [["", "free"], ["free", ""]]


def test_what_sounds_like_the_truth_is_no_confusion() -> None:
    truth, said = [("a", "b")] * 2, [("b", "a"), ("b", "b")]
    found = [(Candidate(names, 1.0, (names,)),) for names in said]
    alike = OrderClass(("a", "b"), frozenset({frozenset(("a", "b"))}))
    answers = Answers("test", truth, found, found, [alike, alike])
    whole, *_ = confusion_grids(answers, ("a", "b"))
    assert whole.name == "all positions"
    shares = [[cell.share for cell in row] for _, row in whole.rows]
    assert shares[0][:2] == [0.5, 0.5]  # a: once heard, once taken for b
    assert shares[1][:2] == [0.0, 1.0]


def test_pairs_are_told_worst_first(run: Run, answers: Answers) -> None:
    found = judge(run, "some", answers)
    pairs = {("a", "b"): (3, 4), ("b", "c"): (1, 9), ("a", "c"): (5, 5)}
    lines = list(table(dataclasses.replace(found, pairs=pairs)))
    at = next(i for i, line in enumerate(lines) if line.startswith("pair (order heard right)"))
    assert [line[:4] for line in lines[at + 1 : at + 4]] == ["b, c", "a, b", "a, c"]
