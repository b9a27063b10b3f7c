"""Items from a run and its shards, and what ``listen make`` does with its options."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner

from fixtures.audio import RATE_HZ, riff
from fixtures.errors import one_line
from fixtures.shards import FAMILIES, PARAMS, PEDALS, make_shards
from fixtures.studies import Bench
from fxtrain.checkpoint import card_of, new_model, save_model
from fxtrain.config import ModelConfig
from fxtrain.contract import Chain, FxError, Pedal, PedalEntry, RemadeClip, UsageError
from fxtrain.listen import make as making
from fxtrain.listen.commands import listen
from fxtrain.listen.study import (
    DRY,
    PREDICTED,
    PREDICTED_HEARD,
    PREDICTED_TYPICAL,
    RANDOM_CHAIN,
    REFERENCE,
    WORST_ORDER,
    read_study,
)
from fxtrain.models import resolve_model

RUN_IN = 4410


class Board(Bench):
    """The pedals of the tiny shards, and their clips: a pedal is a gain into a bend of its own."""

    can_remake = True

    def pedals(self) -> tuple[PedalEntry, ...]:
        return tuple(
            PedalEntry(name, FAMILIES[name], PARAMS[: 1 + i % 2]) for i, name in enumerate(PEDALS)
        )

    def _play(self, name: str, knob: float, wave: np.ndarray, rate: int) -> np.ndarray:
        bent = np.tanh((2 + 3 * PEDALS.index(name)) * wave + 0.2 * knob)
        return np.roll(bent - bent.mean(), 50 * PEDALS.index(name))

    def remake(
        self, record: Mapping[str, Any], recipe: Mapping[str, Any], renders: str | None = None
    ) -> RemadeClip:
        if not self.can_remake:
            raise FxError("no renders here")
        dry = riff(RATE_HZ + RUN_IN)
        chain = Chain(tuple(Pedal(p["name"], p["settings"]) for p in record["chain"]))
        return RemadeClip(dry, dry[RUN_IN:], RATE_HZ, RUN_IN, chain)


@pytest.fixture(scope="module")
def run_and_shards(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    path = tmp_path_factory.mktemp("predicted")
    index = make_shards(path / "shards", n_train=8, n_valid=4, n_test=24, with_mel=True)
    for name, hear_knobs in (("run", False), ("hears-knobs", True)):
        config = ModelConfig(kind="gru", d_model=32, n_heads=2, hear_knobs=hear_knobs)
        card = card_of(index, resolve_model(config, n_codebooks=4, has_mel=True), {})
        card = dataclasses.replace(card, rules=dataclasses.replace(card.rules, min_length=2))
        torch.manual_seed(0)
        save_model(path / name, card, new_model(card, torch.randn(4, 64, 8)))
    return path / "run", path / "shards"


@pytest.fixture
def board(monkeypatch: pytest.MonkeyPatch) -> Board:
    found = Board()
    monkeypatch.setattr(making, "open_frontend", lambda: found)
    return found


def make(*words: str | Path) -> Any:
    result = CliRunner().invoke(listen, ["make", *map(str, words)], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result


def test_items_from_a_run(board: Board, run_and_shards: tuple[Path, Path], tmp_path: Path) -> None:
    run, shards = run_and_shards
    out = tmp_path / "study"
    result = make(out, "--kind", "mushra", "--run", run, "--shards", shards, "--n-items", 3)
    study = read_study(out)
    assert study.conditions == (
        REFERENCE, PREDICTED, PREDICTED_TYPICAL, DRY, WORST_ORDER, RANDOM_CHAIN,
    )  # fmt: skip
    assert study.n_samples == RATE_HZ  # the run-in plays, and is not heard
    assert study.recipe["dry"] == "the clips' own"
    assert study.recipe["looked_at"] - study.recipe["right"] == 3
    assert f"of the {study.recipe['looked_at']} clips looked at" in result.output
    for item in study.items:
        chains = {name: study.sounds[sound].chain for name, sound in item.conditions.items()}
        true = {pedal.name: pedal for pedal in chains[REFERENCE].pedals}
        assert len(true) >= 2
        assert chains[PREDICTED].names == chains[PREDICTED_TYPICAL].names
        for pedal in chains[PREDICTED].pedals:
            assert pedal.name not in true or pedal == true[pedal.name]
        assert sorted(chains[WORST_ORDER].names) == sorted(true)
        assert chains[DRY].names == ()
        assert item.dry.startswith("the clip's own, test-")


def test_what_a_model_heard_of_knobs_is_played(
    board: Board, run_and_shards: tuple[Path, Path], tmp_path: Path
) -> None:
    run, shards = run_and_shards
    make(tmp_path / "study", "--kind", "mushra", "--run", run.with_name("hears-knobs"),
         "--shards", shards, "--n-items", 2)  # fmt: skip
    study = read_study(tmp_path / "study")
    assert PREDICTED_HEARD in study.conditions
    assert PREDICTED_TYPICAL not in study.conditions
    for item in study.items:
        chains = {name: study.sounds[sound].chain for name, sound in item.conditions.items()}
        first_try = board.example(chains[PREDICTED_HEARD].names)
        assert chains[PREDICTED_HEARD] != first_try


def test_where_the_clip_cannot_be_made_again_another_guitar_plays(
    board: Board, run_and_shards: tuple[Path, Path], tmp_path: Path
) -> None:
    run, shards = run_and_shards
    board.can_remake = False
    out = tmp_path / "study"
    make(out, "--kind", "pairwise", "--run", run, "--shards", shards, "--n-items", 1,
         "--clip-s", 1)  # fmt: skip
    study = read_study(out)
    assert "no renders here" in study.recipe["dry"]
    assert study.items[0].dry.startswith("built-in guitar")
    again = tmp_path / "given"
    np.save(tmp_path / "mine.npy", riff(RATE_HZ))
    make(again, "--kind", "pairwise", "--run", run, "--shards", shards, "--n-items", 1,
         "--clip-s", 1, "--dry", tmp_path / "mine.npy")  # fmt: skip
    assert read_study(again).items[0].dry == "mine.npy"
    assert read_study(again).recipe["dry"] == ["mine.npy"]


def test_abx_of_the_chains_of_shards(
    board: Board, run_and_shards: tuple[Path, Path], tmp_path: Path
) -> None:
    _, shards = run_and_shards
    out = tmp_path / "study"
    words = ("--kind", "abx", "--shards", shards, "--n-items", 2, "--catches", 0)
    result = make(out, *words, "--band", "0.01,60", "--json")
    study = read_study(out)
    assert json.loads(result.stdout)["kind"] == "abx"
    assert all(item.dry.startswith("the clip's own") for item in study.items)
    assert all(len(item.pair) == 2 for item in study.items)
    assert study.recipe["band_db"] == [0.01, 60.0]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--kind", "mushra"), "give --shards SHARDS, or chains of your own"),
        (("--kind", "abx", "--run", "r"), "ABX asks about orders, not predictions"),
        (("--kind", "abx", "--items", "i.toml", "--shards", "s"), "--items names the chains"),
        (("--kind", "abx", "--pool", "reverb,rverb"), "--pool: unknown pedal 'rverb'.*'reverb'"),
        (("--kind", "abx", "--pool", "reverb"), "a pool of 1 pedals has no order"),
        (("--kind", "abx", "--clip-s", "99"), "clips of 99 s"),
    ],
)
def test_options_that_cannot_be_right(
    board: Board, tmp_path: Path, words: tuple[str, ...], said: str
) -> None:
    with pytest.raises(UsageError, match=said) as error:
        make(tmp_path / "study", *words)
    one_line(error)
    assert not (tmp_path / "study").exists()


def test_a_band_is_two_numbers(tmp_path: Path) -> None:
    result = CliRunner().invoke(listen, ["make", "x", "--kind", "abx", "--band", "wide"])
    assert result.exit_code == 2
    assert "two numbers with a comma" in result.output
