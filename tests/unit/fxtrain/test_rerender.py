"""Chains put on dry guitar: which are played, and what is measured against what."""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest

from fixtures.frontends import ToyFrontend
from fixtures.shards import make_shards
from fxtrain.contract import (
    Chain,
    FxError,
    MissingExtraError,
    Names,
    Pedal,
)
from fxtrain.data import open_shards
from fxtrain.knobs import Knob, Knobs
from fxtrain.rerender import (
    CONDITIONS,
    DRIES,
    MEASURES,
    Rerendered,
    play,
    rerender,
    rerender_lines,
)
from fxtrain.sounds import Sounds

AS_HEARD = {"predicted_heard", "right_heard"}


@pytest.fixture(autouse=True)
def few_draws(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fxtrain.intervals.N_RESAMPLES", 50)


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("rerender") / "shards"
    make_shards(path, n_train=4, n_valid=2, n_test=40)
    return path


def truth_of(shards: Path) -> list[Names]:
    records = open_shards(shards).load("test").records
    return [tuple(p["name"] for p in record["chain"]) for record in records]


def measure(
    shards: Path, said: list[Names], n: int = 40, frontend: ToyFrontend | None = None
) -> tuple[Rerendered, dict[tuple[str, str, bool], float]]:
    """(result, mean distance by condition, dry and group)."""
    sounds = Sounds(open_shards(shards), "test")
    sounds.__dict__["frontend"] = frontend or ToyFrontend()
    found = rerender(truth_of(shards), said, sounds, n)
    return found, {
        (row.condition, row.dry, row.ordered): row.scores["mr_stft"].value for row in found.rows
    }


def test_knobs_as_heard_are_played_where_a_model_hears_them(shards: Path) -> None:
    truth, vocabulary = truth_of(shards), open_shards(shards).index.vocabulary
    entries = {entry.name: entry for entry in vocabulary.pedals}

    class AllKnobs(ToyFrontend):
        def example(self, names: Sequence[str]) -> Chain:
            return Chain(
                tuple(Pedal(n, {param.name: 0.25 for param in entries[n].params}) for n in names)
            )

    sounds = Sounds(open_shards(shards), "test")
    sounds.__dict__["frontend"] = AllKnobs()
    params = {(e.name, param.name): param for e in vocabulary.pedals for param in e.params}

    def well_heard(position: int) -> Knobs:
        return {
            pedal.name: {
                name: Knob(params[pedal.name, name], value, value, value, (0.5, 0.5, 0.5))
                for name, value in pedal.settings.items()
            }
            for pedal in sounds.chain(position).pedals
        }

    knobs = [well_heard(position) for position in range(len(truth))]
    rows = rerender(truth, truth, sounds, 40, knobs=knobs).rows
    far = {(row.condition, row.dry): row.scores["mr_stft"].value for row in rows if not row.ordered}
    assert {condition for condition, _ in far} == set(CONDITIONS) - {"worst_order"}
    for dry in DRIES:
        assert far["predicted_heard", dry] == far["right_heard", dry] == 0.0
        assert far["predicted", dry] > 0
    answered = [row for row in rows if row.condition == "predicted_heard"]  # as a user gets it
    assert all(row.off["mr_stft"].value == 0.0 for row in answered)
    typical = [row for row in rows if row.condition == "predicted"]
    assert all(row.off["mr_stft"].low > 0 and row.is_clear("mr_stft") for row in typical)


def test_a_right_answer_with_true_knobs_is_the_truth(shards: Path) -> None:
    found, far = measure(shards, truth_of(shards))
    assert (found.n, found.skipped) == (40, 0)
    assert found.n_ordered == sum(len(y) > 1 for y in truth_of(shards))
    for dry in DRIES:
        assert far["predicted_true_knobs", dry, False] == 0.0
        assert far["predicted", dry, False] == far["right_typical", dry, False] > 0
        assert far["nothing", dry, False] > 0
        assert far["worst_order", dry, True] > far["predicted_true_knobs", dry, True] == 0.0
        assert ("worst_order", dry, False) not in far  # one pedal has no other order
    assert {row.condition for row in found.rows} == set(CONDITIONS) - AS_HEARD
    for row in found.rows:
        assert set(row.scores) == set(MEASURES)
        for score in row.scores.values():
            assert score.low <= score.value <= score.high or math.isnan(score.low + score.high)
            assert score.n == row.n


def test_chains_are_compared_clip_by_clip(shards: Path) -> None:
    found, far = measure(shards, truth_of(shards))
    rows = {(row.condition, row.dry, row.ordered): row for row in found.rows}
    for (condition, dry, ordered), row in rows.items():
        off = row.off["mr_stft"]
        assert off.value == pytest.approx(
            far[condition, dry, ordered] - far["predicted", dry, ordered]
        )
        if condition in ("predicted", "right_typical"):  # the same chain here: no clip differs
            assert off.value == 0.0
            assert math.isnan(off.low)
            assert not row.is_clear("mr_stft")
    nearer = rows["predicted_true_knobs", "true", False]
    assert nearer.off["mr_stft"].high < 0
    assert nearer.is_clear("mr_stft")
    (line,) = (line for line in rerender_lines(found) if "*:" in line)
    assert "same clips" in line
    (told, *_) = (line for line in rerender_lines(found) if "true knobs where right" in line)
    assert ")*" in told


def test_an_answer_of_no_pedals_is_no_effect(shards: Path) -> None:
    _, far = measure(shards, [()] * 40, n=20)
    for dry in DRIES:
        assert far["predicted", dry, False] == far["nothing", dry, False]
        assert far["predicted_true_knobs", dry, False] == far["nothing", dry, False]


def test_the_worst_order_is_the_furthest_of_all(shards: Path) -> None:
    frontend = ToyFrontend()
    _, far = measure(shards, truth_of(shards), frontend=frontend)
    sounds = Sounds(open_shards(shards), "test")
    sounds.__dict__["frontend"] = frontend
    worst = []
    for position, names in enumerate(truth_of(shards)):
        if len(names) < 2:
            continue
        clip = sounds.remake(position)
        true = frontend.render(clip.dry, 1, clip.chain)[clip.n_run_in :]
        worst.append(
            max(
                frontend.distance_db(
                    true, frontend.render(clip.dry, 1, Chain(order))[clip.n_run_in :], 1
                )
                for order in itertools.permutations(clip.chain.pedals)
            )
        )
    assert far["worst_order", "true", True] == pytest.approx(sum(worst) / len(worst), rel=1e-5)


def test_every_pedal_is_taken_out_once(shards: Path) -> None:
    truth, frontend = truth_of(shards), ToyFrontend()
    found, _ = measure(shards, truth, frontend=frontend)
    assert sum(row.found.n for row in found.faint) == sum(map(len, truth))
    assert sum(row.sets.n for row in found.faint) == sum(1 for y in truth if y)
    assert {row.found.value for row in found.faint} == {1.0}
    sounds = Sounds(open_shards(shards), "test")
    sounds.__dict__["frontend"] = frontend
    far = []
    for position in range(len(truth)):
        clip = sounds.remake(position)
        pedals = clip.chain.pedals
        for pedal in pedals:
            rest = Chain(tuple(other for other in pedals if other is not pedal))
            far.append(frontend.distance_db(clip.wet, play(frontend, clip, rest), 1))
    for row in found.faint:
        high = row.high_db or math.inf
        assert row.found.n == sum(row.low_db <= db < high for db in far)


def test_clips_too_quiet_to_measure_are_left_out_and_counted(shards: Path) -> None:
    found, _ = measure(shards, truth_of(shards), frontend=ToyFrontend(silent=frozenset({1, 5})))
    assert (found.n, found.skipped) == (38, 2)
    with pytest.raises(FxError, match="has to be louder than -60 LUFS"):
        measure(shards, truth_of(shards), frontend=ToyFrontend(silent=frozenset(range(40))))


def test_one_group_has_no_other_dry_guitar(shards: Path) -> None:
    truth = truth_of(shards)
    groups = np.zeros(len(truth), int)
    sounds = Sounds(open_shards(shards), "test")
    with pytest.raises(FxError, match=r"recordings of one group, .*give another --split, or leave"):
        rerender(truth, truth, sounds, 4, groups=groups)


def test_the_same_seed_measures_the_same(shards: Path) -> None:
    one, _ = measure(shards, truth_of(shards), n=10)
    other, _ = measure(shards, truth_of(shards), n=10)
    np.testing.assert_equal(asdict(one), asdict(other))
    assert one.n == 10


def test_lines_say_what_was_put_on_what(shards: Path) -> None:
    found, _ = measure(shards, truth_of(shards))
    text = "\n".join(rerender_lines(found))
    played = [words for name, words in CONDITIONS.items() if name not in AS_HEARD]
    for words in (*played, "another dry clip, 40 clips", "of two or more pedals"):
        assert words in text
    assert "0.00 (all alike)" in text
    assert "when a pedal is taken out" in text


def test_renders_beside_the_shards_are_tried_first(shards: Path) -> None:
    asked: list[str | None] = []

    class Asked(ToyFrontend):
        def remake(self, record, recipe, renders=None):  # type: ignore[no-untyped-def]
            asked.append(renders)
            if renders is not None:
                raise FxError("other renders")
            return super().remake(record, recipe)

    sounds = Sounds(open_shards(shards), "test")
    sounds.__dict__["frontend"] = Asked()
    sounds.remake(0)
    assert asked == [None]
    (shards.parent / "renders").mkdir()
    (shards.parent / "renders" / "index.json").write_text("{}")
    sounds.remake(0)
    assert asked[1:] == [str(shards.parent / "renders"), None]
    chosen = Sounds(open_shards(shards), "test", "nowhere")
    chosen.__dict__["frontend"] = Asked()
    with pytest.raises(FxError, match="other renders"):
        chosen.remake(0)
    assert asked[3:] == ["nowhere"]


def test_the_shards_whose_recordings_are_gone_are_named(tmp_path: Path) -> None:
    for seed, name in enumerate(("one", "two")):
        make_shards(tmp_path / name, seed=seed, n_train=4, n_valid=2, n_test=5)

    class Gone(ToyFrontend):
        def remake(self, record, recipe, renders=None):  # type: ignore[no-untyped-def]
            if recipe["seed"] == 1:
                raise FxError("its recordings are gone; add --renders PATH")
            return super().remake(record, recipe)

    sounds = Sounds(open_shards([tmp_path / "one", tmp_path / "two"]), "test")
    sounds.__dict__["frontend"] = Gone()
    said = f"{tmp_path / 'two'}: its recordings are gone; add --renders PATH"
    with pytest.raises(FxError) as error:
        rerender([("a",)] * 10, [()] * 10, sounds, 10)
    assert str(error.value) == said


def test_without_the_pipeline_it_says_which_extra(
    shards: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing(hearing: object) -> None:
        raise MissingExtraError('pip install "fxpipe[pipeline]"')

    monkeypatch.setattr("fxtrain.sounds.open_frontend", missing)
    sounds = Sounds(open_shards(shards), "test")
    with pytest.raises(MissingExtraError, match="pipeline"):
        sounds.remake(0)
    assert json.dumps(sounds.record(0))  # records need no ears


def test_joined_data_sets_keep_their_own_records_and_recipes(tmp_path: Path) -> None:
    for seed, name in enumerate(("one", "two")):
        make_shards(tmp_path / name, seed=seed, n_train=4, n_valid=2, n_test=30)
    both = open_shards([tmp_path / "one", tmp_path / "two"])
    asked: list[object] = []

    class Asked(ToyFrontend):
        def remake(self, record, recipe, renders=None):  # type: ignore[no-untyped-def]
            asked.append(recipe["seed"])
            return super().remake(record, recipe)

    sounds = Sounds(both, "test")
    sounds.__dict__["frontend"] = Asked()
    whole = both.load("test").records
    for position in (59, 0, 30, 29):
        assert sounds.record(position) == whole[position]
        assert sounds.chain(position).names == tuple(p["name"] for p in whole[position]["chain"])
        sounds.remake(position)
    assert asked == [1, 0, 1, 0]
