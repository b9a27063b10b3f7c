"""Where knobs stand: what is taught of them, what is read off an answer, and who says so."""

from __future__ import annotations

import dataclasses
import math
import os
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fixtures.frontends import ToyFrontend
from fixtures.knobs import BOOST, CHORUS, DELAY, MIX, RATE, VOCABULARY
from fixtures.shards import make_shards
from fxtrain import fit as training
from fxtrain.checkpoint import Run, check_data, load_run
from fxtrain.config import Config, ModelConfig, TrainConfig
from fxtrain.contract import (
    PAD,
    Chain,
    Features,
    Param,
    Pedal,
    UsageError,
    Vocabulary,
    VocabularyError,
    from_unit,
    to_unit,
)
from fxtrain.data import ShardDataset, open_shards
from fxtrain.data.stream import Batch, heard_fields, make_loader
from fxtrain.decode import Candidate
from fxtrain.errors import CheckpointError, InterruptedFitError
from fxtrain.evaluate import answer
from fxtrain.fit import fit, plan
from fxtrain.judging import evaluation_dict, judge, table
from fxtrain.kept import KeptStates
from fxtrain.knobs import N_PLACES, Knob, Knobs, mean_travel
from fxtrain.models import Memory
from fxtrain.module import TranslatorModule
from fxtrain.objective import part_counts
from fxtrain.predict import Prediction, knobs_dict, predict_features, prediction_dict
from fxtrain.report import page
from fxtrain.runs import load_run_config
from fxtrain.sounds import Sounds
from fxtrain.telling import prediction_lines
from fxtrain.trainer import prepare
from fxtrain.travel import Travel, knob_loss
from fxtrain.turned import turned, turned_lines

SMALL = ModelConfig(d_model=16, n_heads=2, n_layers=1, mel_channels=2)


def travel_of(*chains: Chain) -> torch.Tensor:
    order = torch.from_numpy(np.stack([VOCABULARY.encode_order(c.names, 3) for c in chains])).long()
    params = torch.from_numpy(np.stack([VOCABULARY.encode_params(c, 3) for c in chains]))
    return Travel(VOCABULARY)(order, params)


@given(st.floats(0, 1), st.floats(0, 1), st.floats(0, 1))
def test_travel_is_the_contracts_own_measure(rate: float, mix: float, echo: float) -> None:
    chorus = {
        "rate_hz": from_unit(RATE, rate),
        "phase_cycles": 0.3,
        "mix": from_unit(MIX, mix),
    }
    delay = {"mix": from_unit(MIX, echo)}
    pedals = Pedal("delay", delay), Pedal("boost", {"level_db": 3.0}), Pedal("chorus", chorus)
    found = travel_of(Chain(pedals))[0]
    assert float(found[CHORUS, 0]) == pytest.approx(to_unit(RATE, chorus["rate_hz"]), abs=1e-5)
    assert float(found[CHORUS, 2]) == pytest.approx(to_unit(MIX, chorus["mix"]), abs=1e-5)
    assert float(found[DELAY, 0]) == pytest.approx(to_unit(MIX, delay["mix"]), abs=1e-5)
    # A phase, what cannot be turned, and what the pedal does not have.
    assert found[CHORUS, 1].isnan()
    assert found[BOOST].isnan().all()
    assert found[DELAY, 1:].isnan().all()


def test_of_a_pedal_that_stands_twice_the_first_counts() -> None:
    twice = Chain((Pedal("delay", {"mix": 0.3}), Pedal("delay", {"mix": 0.5})))
    found = travel_of(twice, Chain(()))
    assert float(found[0, DELAY, 0]) == pytest.approx(0.25)
    assert found[0, CHORUS].isnan().all()
    assert found[1].isnan().all()


@settings(deadline=None)
@given(st.floats(0, 1))
def test_the_loss_is_least_where_the_mean_is_the_truth(u: float) -> None:
    travel = torch.tensor([[[u, math.nan]]])
    free = torch.zeros(1, 1, 2, N_PLACES, requires_grad=True)
    optimizer = torch.optim.LBFGS([free], max_iter=100, line_search_fn="strong_wolfe")

    def closure() -> torch.Tensor:
        optimizer.zero_grad()
        loss = knob_loss(free, travel)
        loss.backward()  # type: ignore[no-untyped-call]
        return loss

    optimizer.step(closure)
    assert free.grad is not None
    assert not free.grad[0, 0, 1].any()
    believed = free.detach().softmax(-1).numpy()
    assert float(mean_travel(believed)[0, 0, 0]) == pytest.approx(u, abs=0.01)


def test_a_batch_without_knobs_weighs_nothing() -> None:
    logits = torch.randn(2, 3, 3, N_PLACES, requires_grad=True)
    loss = knob_loss(logits, torch.full((2, 3, 3), math.nan))
    loss.backward()  # type: ignore[no-untyped-call]
    assert float(loss.detach()) == 0
    assert not logits.grad.any()
    order = torch.tensor([[DELAY, PAD, PAD]])
    travel = travel_of(Chain((Pedal("delay", {"mix": 0.3}),)))
    assert part_counts(order, 3, travel).tolist() == [2, 1, 0, 1]
    assert part_counts(order, 3).tolist() == [2, 1, 0, 0]


def heard(param: Param, mean: float, low: float, high: float) -> Knob:
    value, least, most = (from_unit(param, u) for u in (mean, low, high))
    return Knob(param, value, least, most, (mean, low, high))


def test_errors_stand_beside_those_of_the_middle() -> None:
    knobs: list[Knobs] = [
        {"delay": {"mix": heard(MIX, 0.3, 0.2, 0.5)}},
        {"delay": {"mix": heard(MIX, 0.9, 0.8, 1.0)}},
        {"delay": {"mix": heard(MIX, 0.0, 0.0, 0.1)}},
    ]
    travel = np.full((3, 3, 3), np.nan, np.float32)
    travel[:2, DELAY, 0] = 0.25, 0.5  # the third clip has no delay
    every, mix = turned(knobs, travel, VOCABULARY, np.array([0, 1, 1]))
    assert dataclasses.replace(every, pedal="delay", knob="mix") == mix
    assert (mix.pedal, mix.knob, mix.n, mix.null) == ("delay", "mix", 2, 0.125)
    assert mix.error.value == pytest.approx((0.05 + 0.4) / 2)
    assert mix.error.n == 2
    assert (mix.between, mix.width) == (0.5, pytest.approx(0.25))
    lines = list(turned_lines((every, mix)))
    assert lines[2].split()[:2] == ["all", "0.225"]
    assert lines[3].startswith("delay mix ")
    assert turned(knobs, np.full_like(travel, np.nan), VOCABULARY, np.arange(3)) == ()
    assert list(turned_lines(())) == []


def test_a_guitarist_reads_what_was_heard_and_no_more() -> None:
    found = Prediction(
        candidates=(Candidate(("delay", "chorus", "boost"), 0.7, ()),),
        presence={"delay": 0.9, "chorus": 0.8, "boost": 0.7},
        pairs=(),
        textbook=("boost", "chorus", "delay"),
        starts_s=(0.0,),
        knobs={
            "delay": {"mix": heard(MIX, 0.5, 0.4, 0.6)},
            "chorus": {"rate_hz": heard(RATE, 0.5, 0.25, 0.7), "mix": heard(MIX, 0.5, 0.1, 0.9)},
            "fuzz": {"mix": heard(MIX, 0.5, 0.4, 0.6)},
        },
    )
    lines = prediction_lines(found, "clip.wav", 3)
    at = lines.index("  knobs       delay: mix 40% (36% to 44%)")
    assert lines[at + 1] == "              chorus: rate 0.95 Hz (0.53 Hz to 1.5 Hz)"
    assert sum("mix" in line for line in lines) == 1


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> ShardDataset:
    path = tmp_path_factory.mktemp("knobs") / "shards"
    make_shards(path, n_train=48, n_valid=12, n_test=12, with_mel=True)
    return open_shards(path)


def teach(dataset: ShardDataset, path: Path, model: ModelConfig | None = None, **told) -> Run:  # type: ignore[no-untyped-def]
    config = Config(model or ModelConfig(), TrainConfig(batch_size=16, **told))
    return load_run(fit(dataset, config, path, device="cpu", say=lambda _: None).path)


@pytest.fixture(scope="module")
def before(dataset: ShardDataset, tmp_path_factory: pytest.TempPathFactory) -> Run:
    return teach(dataset, tmp_path_factory.mktemp("before") / "run", SMALL, max_epochs=1)


@pytest.fixture(scope="module")
def alone(dataset: ShardDataset, before: Run, tmp_path_factory: pytest.TempPathFactory) -> Run:
    path = tmp_path_factory.mktemp("alone") / "run"
    return teach(dataset, path, max_epochs=2, start_from=str(before.path), knobs="alone")


def test_knobs_alone_leave_every_answer_as_it_is(
    dataset: ShardDataset, before: Run, alone: Run
) -> None:
    old, new = before.model.state_dict(), alone.model.state_dict()
    assert {name.split(".")[0] for name in new.keys() - old.keys()} == {"knob_head"}
    assert all(torch.equal(new[name], weights) for name, weights in old.items())
    assert alone.card.decode == before.card.decode
    assert alone.card.model.hear_knobs
    assert answer(alone, dataset).heard == answer(before, dataset).heard
    # And the head has learnt something, though there is nothing to be heard in these clips.
    _, fresh = prepare(
        dataset, Config(train=TrainConfig(start_from=str(before.path), knobs="alone"))
    )
    moved = new["knob_head.turn"] - fresh.state_dict()["knob_head.turn"]
    assert moved.abs().max() > 1e-4


def test_a_run_that_is_taught_anew_hears_knobs_too(dataset: ShardDataset, tmp_path: Path) -> None:
    run = teach(dataset, tmp_path / "too", SMALL, max_epochs=1, knobs="too")
    assert run.card.model.hear_knobs
    again = teach(dataset, tmp_path / "again", max_epochs=1, start_from=str(run.path))
    assert again.card.model.hear_knobs
    moved = again.model.state_dict()["knob_head.turn"] - run.model.state_dict()["knob_head.turn"]
    assert moved.abs().max() > 0


def test_knobs_are_scored_told_and_left_out_of_what_hears_none(
    dataset: ShardDataset, before: Run, alone: Run
) -> None:
    found = judge(alone, dataset.index.identity, answer(alone, dataset))
    assert found.turned[0].pedal == "all"
    assert found.turned[0].n > len(found.turned)
    assert evaluation_dict(found)["turned"][0]["error"]["value"] > 0
    assert any(line.startswith("knob (error in travel)") for line in table(found))
    deaf = judge(before, dataset.index.identity, answer(before, dataset))
    assert deaf.turned == ()
    assert str(found.scores) == str(deaf.scores)

    block = dataset.load("test")
    assert block.mel is not None
    clip = Features(block.codes[:2], block.mel[:2], (0.0, 1.0))
    said = predict_features(alone, clip)
    assert set(said.knobs) == set(alone.card.vocabulary.names)
    for pedal in prediction_dict(said, "clip.wav", alone, 3)["pedals"]:
        assert pedal["knobs"] == knobs_dict(said, pedal["name"])
    for entry in alone.card.vocabulary.pedals:
        knobs = knobs_dict(said, entry.name)
        assert set(knobs) == {param.name for param in entry.params}
        assert all(knob["low"] <= knob["value"] <= knob["high"] for knob in knobs.values())
    assert predict_features(before, clip).knobs == {}


def test_the_page_shows_knobs_where_they_are_heard(
    dataset: ShardDataset, before: Run, alone: Run
) -> None:
    def page_of(run: Run) -> str:
        sounds = Sounds(dataset, "test")
        sounds.__dict__["frontend"] = ToyFrontend()
        answers = answer(run, dataset)
        return page(
            run,
            dataset.index,
            answers,
            judge(run, dataset.index.identity, answers),
            sounds,
            n_clips=1,
        )

    text, deaf = page_of(alone), page_of(before)
    table = text.partition('<section id="knobs">')[2].partition("</section>")[0]
    rows = [row for row in table.split("<tr>") if '<th scope="row">' in row]
    assert len(rows) == len(judge(alone, dataset.index.identity, answer(alone, dataset)).turned)
    assert "The answer on that dry clip, knobs as heard" in text
    assert 'id="knobs"' not in deaf
    assert "The answer on that dry clip, typical knobs" in deaf


def test_an_interrupted_run_that_went_on_is_as_if_never_stopped(
    dataset: ShardDataset, before: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = {"start_from": str(before.path), "knobs": "alone", "max_epochs": 3}
    whole = teach(dataset, tmp_path / "whole", **told)
    as_it_is = TranslatorModule.on_train_batch_end

    def pressing(module: TranslatorModule, *args: Any) -> None:
        as_it_is(module, *args)
        if module.current_epoch == 1:
            os.kill(os.getpid(), signal.SIGINT)

    with monkeypatch.context() as patch:
        patch.setattr(TranslatorModule, "on_train_batch_end", pressing)
        with pytest.raises(InterruptedFitError):
            teach(dataset, tmp_path / "parts", **told)
    config = load_run_config(tmp_path / "parts")
    fit(dataset, config, tmp_path / "parts", resume=True, device="cpu", say=lambda _: None)
    parts = load_run(tmp_path / "parts")
    assert parts.card.decode == before.card.decode
    ends = parts.model.state_dict(), whole.model.state_dict()
    assert all(torch.equal(ends[0][name], ends[1][name]) for name in ends[1])


def test_kept_states_are_those_of_each_sample(
    dataset: ShardDataset, alone: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    loader = make_loader(
        dataset,
        "train",
        batch_size=48,
        seed=0,
        shuffle=False,
        fields=heard_fields(True, False, True),
    )
    (every,) = loader
    n_asked: list[int] = []
    encode = alone.model.encode

    def counted(codes: torch.Tensor, mel: torch.Tensor | None, clues: None) -> Memory:
        n_asked.append(len(codes))
        return encode(codes, mel)

    monkeypatch.setattr(alone.model, "encode", counted)

    def some(places: list[int]) -> Batch:
        rows = torch.tensor(places)
        fields = {f.name: getattr(every, f.name) for f in dataclasses.fields(every)}
        picked = {n: v[rows] for n, v in fields.items() if isinstance(v, torch.Tensor)}
        return dataclasses.replace(every, **picked)

    kept = KeptStates(len(every))
    for places, n_new in (([0, 1, 2], 3), ([3, 1, 4], 2), ([4, 0, 3, 2], 0)):
        n_asked.clear()
        found = kept.encode(alone.model, some(places)).states
        assert sum(n_asked) == n_new
        with torch.no_grad():
            wanted = encode(some(places).codes, some(places).mel).states
        torch.testing.assert_close(found, wanted, rtol=2e-3, atol=2e-3)
    monkeypatch.setattr("fxtrain.kept.RESIDENT_BYTES", 1)
    large = KeptStates(len(every))
    for _ in range(2):
        n_asked.clear()
        large.encode(alone.model, some([0, 1]))
        assert n_asked == [2]


def test_a_plan_of_knobs_alone_encodes_each_sample_once(
    dataset: ShardDataset, before: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    times = iter([5.0, 0.5])
    monkeypatch.setattr(training, "_seconds", lambda work: next(times) + 0 * bool(work()))
    train = TrainConfig(batch_size=16, max_epochs=4, start_from=str(before.path), knobs="alone")
    found = plan(dataset, Config(train=train), "cpu")
    assert (found.steps_per_epoch, found.seconds) == (3, 3 * (5.0 + 4 * 0.5))


def test_shards_with_other_knobs_are_refused_by_what_hears_knobs(
    dataset: ShardDataset, before: Run, alone: Run
) -> None:
    index = dataset.index
    first, *others = index.vocabulary.pedals
    wider = dataclasses.replace(first.params[0], high=2 * first.params[0].high)
    first = dataclasses.replace(first, params=(wider, *first.params[1:]))
    other = dataclasses.replace(index, vocabulary=Vocabulary((first, *others)))
    check_data(before.card, other, "shards")
    check_data(alone.card, index, "shards")
    with pytest.raises(VocabularyError, match=f"the knobs of {first.name} are not those"):
        check_data(alone.card, other, "shards")


def test_other_pedals_are_refused_other_lengths_are_not(before: Run, tmp_path: Path) -> None:
    config = Config(train=TrainConfig(start_from=str(before.path), knobs="alone"))
    told = {"n_train": 8, "n_valid": 4, "n_test": 0, "with_mel": True}
    make_shards(tmp_path / "short", max_chain_length=2, **told)  # type: ignore[arg-type]
    card, _ = prepare(open_shards(tmp_path / "short"), config)
    assert card.rules == before.card.rules
    pedals = ("compressor", "distortion", "delay", "wah")
    make_shards(tmp_path / "wah", pedals=pedals, **told)  # type: ignore[arg-type]
    with pytest.raises(CheckpointError, match="knobs alone: the pedals or their knobs"):
        prepare(open_shards(tmp_path / "wah"), config)


@pytest.mark.parametrize(
    ("told", "problem"),
    [
        ({"knobs": "alone"}, "give start_from as well"),
        ({"knobs": "alone", "start_from": "run", "more_layers": 1}, "neither more_layers"),
        ({"knobs": "alnoe"}, "unknown knobs 'alnoe'"),
        ({"knob_weight": -1.0}, "knob_weight"),
    ],
)
def test_what_makes_no_sense_is_refused(told: dict[str, object], problem: str) -> None:
    with pytest.raises(UsageError, match=problem):
        TrainConfig(**told)  # type: ignore[arg-type]
