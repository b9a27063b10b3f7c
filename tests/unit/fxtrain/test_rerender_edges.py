"""Which dry guitar, which chain and which group a measured clip is held against."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fixtures.frontends import ToyFrontend
from fixtures.shards import make_shards
from fxtrain.contract import NEARNESS_LIMITS, FxError, Names
from fxtrain.data import open_shards
from fxtrain.rerender import DRIES, MEASURES, Rerendered, rerender
from fxtrain.sounds import Sounds

N = 40


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("rerender") / "shards"
    make_shards(path, n_train=4, n_valid=2, n_test=N)
    return path


@pytest.fixture(autouse=True)
def few_draws(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fxtrain.intervals.N_RESAMPLES", 50)


@pytest.fixture(scope="module")
def truth(shards: Path) -> list[Names]:
    records = open_shards(shards).load("test").records
    return [tuple(p["name"] for p in record["chain"]) for record in records]


def measure(
    shards: Path, truth: list[Names], frontend: ToyFrontend | None = None, **options: Any
) -> Rerendered:
    sounds = Sounds(open_shards(shards), "test")
    sounds.__dict__["frontend"] = frontend or ToyFrontend()
    return rerender(truth, truth, sounds, **{"n_clips": N, **options})


def test_other_dry_guitar_is_of_another_group_and_a_random_chain_another_clips(
    shards: Path, truth: list[Names]
) -> None:
    class Told(ToyFrontend):
        def remake(self, record, recipe, renders=None):  # type: ignore[no-untyped-def]
            groups.append(record["group"])
            return super().remake(record, recipe, renders)

    groups: list[str] = []
    known = open_shards(shards).load("test").records
    _, numbers = np.unique([record["group"] for record in known], return_inverse=True)
    rows = measure(shards, truth, Told(), groups=numbers).rows
    assert len(groups) == 2 * N
    assert all(own != other for own, other in zip(groups[::2], groups[1::2], strict=True))
    far = {(row.condition, row.dry): row.scores["mr_stft"].value for row in rows if not row.ordered}
    assert all(far["random", dry] > 0 for dry in DRIES)


@pytest.mark.parametrize("grouped", [False, True])
def test_other_dry_guitar_is_found_where_it_is_rare_and_where_no_group_is_named(
    grouped: bool, shards: Path, truth: list[Names], monkeypatch: pytest.MonkeyPatch
) -> None:
    groups = (np.arange(N) == 7).astype(int) if grouped else None
    monkeypatch.setattr(
        Sounds, "record", lambda sounds, at: {**sounds._known[at][0], "group": "all of one"}
    )
    found = measure(shards, truth, groups=groups)
    assert (found.n, found.skipped) == (N, 0)


def test_clips_that_are_left_out_take_their_answers_with_them(
    shards: Path, truth: list[Names]
) -> None:
    found = measure(shards, truth, ToyFrontend(silent=frozenset(range(0, N, 3))))
    assert found.n + found.skipped == N
    assert {row.found.value for row in found.faint} == {1.0}
    assert found.n_ordered <= sum(len(names) > 1 for names in truth)
    far = {(row.condition, row.dry): row.scores["mr_stft"].value for row in found.rows}
    assert far["predicted_true_knobs", "true"] == 0.0


def test_clips_that_nobody_asked_for_are_not_skipped(shards: Path, truth: list[Names]) -> None:
    found = measure(shards, truth, n_clips=10)
    assert (found.n, found.skipped) == (10, 0)
    assert measure(shards, truth, n_clips=10, seed=1) != found


def test_each_row_knows_the_groups_of_its_own_clips(shards: Path, truth: list[Names]) -> None:
    ordered = np.array([len(names) > 1 for names in truth])
    rows = measure(shards, truth, groups=ordered.astype(int)).rows
    of = {(row.condition, row.dry, row.ordered): row.scores["mr_stft"] for row in rows}
    for dry in DRIES:
        assert of["nothing", dry, False].n == N
        assert not math.isnan(of["nothing", dry, False].low)
        assert of["nothing", dry, True].n == ordered.sum()
        assert math.isnan(of["nothing", dry, True].low)  # one group alone


def test_no_interval_leaves_what_a_measure_can_be(shards: Path, truth: list[Names]) -> None:
    rows = measure(shards, truth, n_clips=3).rows  # too few for percentiles
    for name in MEASURES:
        low, high = NEARNESS_LIMITS[name]
        told = [row.scores[name] for row in rows if not math.isnan(row.scores[name].low)]
        assert told
        assert all(low <= score.low <= score.high <= high for score in told)


def test_a_sound_that_hardly_is_one_is_no_measure(shards: Path, truth: list[Names]) -> None:
    class Faint(ToyFrontend):
        def loudness_lufs(self, wave: np.ndarray, sample_rate_hz: int) -> float:
            return -60.5

    with pytest.raises(FxError, match="louder than -60 LUFS"):
        measure(shards, truth, Faint())


def test_clips_with_an_order_are_those_of_the_truth(shards: Path, truth: list[Names]) -> None:
    sounds = Sounds(open_shards(shards), "test")
    sounds.__dict__["frontend"] = ToyFrontend()
    found = rerender(truth, [names[:1] for names in truth], sounds, N)
    assert 0 < found.n_ordered < N
    assert found.n_ordered == sum(len(names) > 1 for names in truth)
