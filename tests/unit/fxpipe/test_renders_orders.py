"""Order classes on their way: from the renderer's record into shards and the index."""

from __future__ import annotations

import dataclasses
import json
import re
from types import SimpleNamespace

import numpy as np
import pytest

from fxpipe import renders as rd
from fxpipe.chains.chain import ChainSpec
from fxpipe.distance import mel_distance_db
from fxpipe.orders.commute import basis, commuting_pairs
from fxpipe.pedals import POOLS
from fxpipe.plan import make_plan
from fxpipe.render import RenderSpec, draw_clip, run_chain
from fxpipe.renders import chain_of
from fxpipe.sources import open_source
from fxpipe.summary import redraws_text
from fxtrain.contract import Chain, LocalFolder, SplitCounts

PLAIN = RenderSpec(ChainSpec(POOLS["take4"], {2: 1.0, 3: 1.0}), clip_s=0.5, run_in_s=0.1)
SPEC = dataclasses.replace(PLAIN, classes=True)


@pytest.fixture(scope="module")
def plan() -> rd.Plan:
    return make_plan(SPEC, open_source("synth"), 60, 5, progress=False)


@pytest.mark.parametrize("split", ["train", "test"])
def test_a_record_lists_the_orders_that_sound_the_same(plan: rd.Plan, split: str) -> None:
    n_alike = 0
    for position in range(6):
        _, record = rd.render_clip(plan, split, position)
        chain = chain_of(record)
        n_alike += len(record["alike"])
        assert len(record["swap_db"]) == len(chain.pedals) - 1
        dry, _ = rd.take_clip(plan, split, position, 0, draw_clip(SPEC, plan.seed, split, position))

        def play(order: list[int], dry=dry, chain=chain) -> np.ndarray:
            swapped = Chain(tuple(chain.pedals[i] for i in order))
            return run_chain(dry, swapped, 44_100, skip=SPEC.n_run_in)[0]

        truth = play(list(range(len(chain.pedals))))
        for order in record["alike"]:
            far_db = mel_distance_db(truth, play(order), 44_100)
            assert far_db <= SPEC.alike_db or split == "train"  # two quiet swaps may add up
        assert {"delay", "reverb"} - set(chain.names) or record["alike"] or len(chain.names) == 3
    assert n_alike


def test_without_classes_nothing_else_changes(plan: rd.Plan) -> None:
    plain = dataclasses.replace(plan, spec=PLAIN)
    wave, record = rd.render_clip(plain, "train", 0)
    same, longer = rd.render_clip(plan, "train", 0)
    np.testing.assert_array_equal(wave, same)
    assert set(longer) - set(record) == {"swap_db", "alike"}
    assert {key: longer[key] for key in record} == record


def test_the_index_says_which_pairs_commute_and_how_that_is_known(
    plan: rd.Plan, tmp_path, monkeypatch
) -> None:
    monkeypatch.setattr(rd, "run_tasks", lambda function, jobs, workers: map(function, jobs))
    small = dataclasses.replace(plan, n_clips={"train": 4, "valid": 1, "test": 1}, spec=PLAIN)
    folder = LocalFolder(tmp_path)
    index = rd.render_all(folder, small, None, lambda shard: None)
    assert index.commutes == commuting_pairs(POOLS["take4"])
    assert ("delay", "reverb") in index.commutes
    assert index.commutes_basis == basis()
    assert json.loads(folder.read("plan.json"))["commutes_basis"] == basis()


def test_other_pairs_make_another_data_set(plan: rd.Plan) -> None:
    assert dataclasses.replace(plan, commutes=()).identity != plan.identity


def test_the_summary_says_what_was_drawn_again_how_often_and_why(
    plan: rd.Plan, tmp_path, monkeypatch
) -> None:
    monkeypatch.setattr(rd, "run_tasks", lambda function, jobs, workers: map(function, jobs))
    strict = dataclasses.replace(PLAIN, audible_db=-9.0)
    small = dataclasses.replace(plan, n_clips={"train": 10, "valid": 1, "test": 1}, spec=strict)
    index = rd.render_all(LocalFolder(tmp_path), small, None, lambda shard: None)
    text = redraws_text(index)
    assert text.startswith("pedals drawn again because nobody could hear them (below -9 dB): ")
    name, n = max(index.redraws["by_pedal"].items(), key=lambda item: item[1])
    kept = sum(counts.by_pedal[name] for counts in index.counts.values())
    assert f"{name} {n} times ({100 * n / (n + kept):.0f} %)" in text
    assert re.search(r"; in chains of \d: \d+ \(\d+ %\), of \d: \d+ \(\d+ %\)", text)


def test_the_redraws_read_as_a_sentence(plan: rd.Plan) -> None:
    def said(by_pedal: dict[str, int], by_length: dict[str, int]) -> str:
        counts = {"train": SplitCounts(9, {2: 6, 5: 3}, {"compressor": 13, "gate": 14})}
        return redraws_text(
            SimpleNamespace(
                redraws={"by_pedal": by_pedal, "by_length": by_length},
                counts=counts,
                vocabulary=SimpleNamespace(names=("compressor", "gate")),
                spec=SimpleNamespace(audible_db=-30.0),
            )
        )

    why = "pedals drawn again because nobody could hear them (below -30 dB): "
    assert said({"gate": 1, "compressor": 10}, {"5": 2, "2": 9}) == (
        f"{why}compressor 10 times (43 %), gate 1 time (7 %); "
        "in chains of 2: 9 (43 %), of 5: 2 (12 %) of all their draws"
    )
    assert said({"gate": 0, "compressor": 0}, {}) == f"{why}none"
