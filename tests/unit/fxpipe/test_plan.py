"""What `fxpipe plan` counts, warns of, prints and draws."""

from __future__ import annotations

import itertools
import json
import re
from collections import Counter

import numpy as np
import pytest
from click.testing import CliRunner

from fxpipe import renders as rd
from fxpipe.chains.chain import ChainSpec, draw_order, draw_settings, generator
from fxpipe.chains.report import Report, read_report
from fxpipe.chains.tally import (
    MIN_COUNT,
    N_BINS,
    Starved,
    coverage,
    draw_tallies,
    find_starved,
    knob_axes,
    possible_cells,
    tally,
)
from fxpipe.cli import cli
from fxpipe.pedals import POOLS
from fxpipe.render import RenderSpec
from fxpipe.renders import chain_of
from fxpipe.sources import open_source
from fxtrain.contract import UsageError, open_folder

FOUR = ("overdrive", "distortion", "chorus", "reverb")
DRIVES = (("overdrive", "distortion"),)
SIZES = {"train": 300, "valid": 20, "test": 40}


def run(*words):
    return CliRunner().invoke(cli, ["plan", *map(str, words)])


@pytest.mark.parametrize("repeats", [False, True])
def test_counts_are_those_of_a_plain_loop(repeats):
    spec = ChainSpec(FOUR, {0: 1.0, 1: 1.0, 3: 1.0}, repeats=repeats)
    train = draw_tallies(spec, SIZES, 7)["train"]
    orders = [draw_order(spec, 7, "train", i) for i in range(SIZES["train"])]
    assert train.n_chains == len(orders)
    assert train.lengths == Counter(map(len, orders))
    assert train.orders == set(orders)
    for i, name in enumerate(FOUR):
        assert train.pedals[i] == sum(order.count(name) for order in orders)
        for position in range(3):
            at = sum(order[position : position + 1] == (name,) for order in orders)
            assert train.positions[i, position] == at
        for j, other in enumerate(FOUR):
            pairs = (pair for order in orders for pair in itertools.combinations(order, 2))
            assert train.pairs[i, j] == sum(pair == (name, other) for pair in pairs)


def test_settings_are_counted_along_the_knobs_own_scale():
    ranges = {"delay": {"delay_ms": (100.0, 400.0), "mix": (0.3, 0.3)}}
    spec = ChainSpec(("delay",), {1: 1.0}, ranges=ranges)
    chains = [
        draw_settings(spec, ["delay"], generator(0, "train", i, "settings")) for i in range(200)
    ]
    knobs = tally(spec, [chain.names for chain in chains], chains).knobs["delay"]
    values = [chain.pedals[0].settings["delay_ms"] for chain in chains]
    expected = [int(N_BINS * np.log(value / 100) / np.log(4)) for value in values]
    assert knobs["delay_ms"].tolist() == [expected.count(i) for i in range(N_BINS)]
    assert knobs["mix"].tolist() == [200]  # it stands still
    assert {param.name: param.scale for param in knob_axes(spec, "delay")}["delay_ms"] == "log"


def test_settings_are_counted_as_render_draws_them():
    spec = ChainSpec(("delay",), {1: 1.0})
    found = draw_tallies(spec, {"train": 100, "valid": 0, "test": 0}, 3)["train"].knobs["delay"]
    drawn = [generator(3, "train", i, "settings") for i in range(100)]
    chains = [draw_settings(spec, ["delay"], rng) for rng in drawn]
    expected = tally(spec, [chain.names for chain in chains], chains).knobs["delay"]
    for name, bins in expected.items():
        assert found[name].tolist() == bins.tolist()


def test_the_known_share_is_of_the_chains_in_test():
    spec = ChainSpec(FOUR, {1: 1.0})
    orders = {"train": FOUR[:3], "valid": (), "test": FOUR[2:] * 2}
    tallies = {split: tally(spec, [(name,) for name in some], []) for split, some in orders.items()}
    assert Report(spec, 0, tallies).known_share == 0.5


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"order": "fixed"},
        {"exclusive": DRIVES},
        {"order": "fixed", "exclusive": DRIVES},
        {"repeats": True, "exclusive": DRIVES},
        {"repeats": True, "order": "fixed"},
        {"weights": {"chorus": 0.0}},
        {"order": "realistic", "lengths": {1: 1.0, 3: 0.0}},
        {"exclusive": (FOUR[:2], (FOUR[0], FOUR[2])), "lengths": {3: 1.0}},
    ],
)
def test_possible_cells_are_those_of_all_possible_chains(fields):
    spec = ChainSpec(FOUR, **{"lengths": {2: 1.0, 3: 1.0}, **fields})
    positions, pairs = possible_cells(spec)
    expected = np.zeros_like(positions), np.zeros_like(pairs)
    for length in range(1, 4):
        for order in itertools.product(FOUR, repeat=length):
            if spec.allows(order):
                places = [FOUR.index(name) for name in order]
                for position, place in enumerate(places):
                    expected[0][place, position] = True
                for one, other in itertools.combinations(places, 2):
                    expected[1][one, other] = True
    np.testing.assert_array_equal(positions, expected[0])
    np.testing.assert_array_equal(pairs, expected[1])


def test_a_balanced_set_that_is_large_enough_starves_nothing():
    spec = ChainSpec(FOUR, {1: 1.0, 2: 1.0}, exclusive=DRIVES, balance="pedals")
    assert (
        find_starved(spec, draw_tallies(spec, {"train": 800, "valid": 0, "test": 0}, 0)["train"])
        == []
    )


def test_what_is_too_rare_is_named():
    spec = ChainSpec(FOUR, {2: 1.0}, weights={"chorus": 0.05})
    train = draw_tallies(spec, {"train": 2000, "valid": 0, "test": 0}, 0)["train"]
    found = {starved.kind: starved for starved in find_starved(spec, train)}
    assert set(found) == {"pedals", "positions", "order pairs"}
    assert found["pedals"].cells == {"chorus": train.pedals[2]}
    assert train.pedals[2] > MIN_COUNT  # often enough by itself, but a quarter of its peers
    assert set(found["positions"].cells) == {"chorus in place 1", "chorus in place 2"}
    assert all("chorus" in cell for cell in found["order pairs"].cells)
    assert len(found["order pairs"].cells) == 6
    assert str(found["order pairs"]).startswith("6 of 12 order pairs are starved in train")


@pytest.mark.parametrize(
    ("counts", "starved"),
    [
        ((80, 80, 20, 19), {"reverb": 19}),  # under MIN_COUNT
        ((100, 100, 100, 25), {}),  # a quarter of their median
        ((100, 100, 100, 24), {"reverb": 24}),
        ((1000, 100, 100, 30), {}),  # less than a quarter of their mean
    ],
)
def test_starved_is_under_twenty_or_a_quarter_of_the_median(counts, starved):
    seen = [(name,) for name, n in zip(FOUR, counts, strict=True) for _ in range(n)]
    spec = ChainSpec((*FOUR, "delay"), {1: 1.0}, weights={"delay": 0.0})  # which is never drawn
    found = {each.kind: each.cells for each in find_starved(spec, tally(spec, seen, []))}
    assert found.get("pedals", {}) == starved


def test_the_rarest_are_named_first_and_five_at_most():
    cells = {"a": 5, "b": 1, "c": 4, "d": 3, "e": 2}
    told = str(Starved("pedals", 9, cells))
    assert told == (
        "5 of 9 pedals are starved in train (under 20, or a quarter of their median): "
        "b: 1, e: 2, d: 3, c: 4, a: 5"
    )
    assert str(Starved("pedals", 9, cells | {"f": 6, "g": 7})).endswith("a: 5, … 2 more")


def test_knobs_of_the_first_chains_are_counted_on_scales_of_their_own(monkeypatch):
    monkeypatch.setattr("fxpipe.chains.tally.MAX_TURNED", 7)
    spec = ChainSpec(("delay",), {1: 1.0}, knobs="linear")
    found = draw_tallies(spec, {"train": 9, "valid": 0, "test": 0}, 0)["train"]
    assert (found.n_chains, found.knobs["delay"]["delay_ms"].sum()) == (9, 7)
    scales = {param.name: param.scale for param in knob_axes(spec, "delay")}
    assert (scales["delay_ms"], spec.drawn_knobs["delay"][0].param.scale) == ("log", "linear")


def test_a_set_without_training_chains_starves_nobody():
    spec = ChainSpec(FOUR, {2: 1.0})
    assert find_starved(spec, tally(spec, [], [])) == []


def test_coverage_counts_different_chains_and_leaves_held_out_ones_out():
    held = (("chorus", "reverb"), ("reverb", "overdrive"))
    spec = ChainSpec(FOUR, {1: 1.0, 2: 1.0}, exclusive=DRIVES, held_out=held)
    train = draw_tallies(spec, {"train": 600, "valid": 0, "test": 0}, 0)["train"]
    covered = coverage(spec, train)
    assert [(c.n_distinct, c.n_possible) for c in covered.values()] == [(4, 4), (8, 8)]
    assert sum(c.n_drawn for c in covered.values()) == 600


def test_text():
    done = run(
        "--pool", "take4", "--exclusive", "delay,reverb", "--balance", "pedals", "--n-chains", 400
    )
    assert done.exit_code == 0, done.output
    assert "400 chains from 4 pedals, seed 0: train 320, valid 40, test 40" in done.stdout
    assert "25.0%" in done.stdout.split("pedal ")[1]
    assert re.search(r"'pedals': farthest from its target is \w+, [+-]\d\.\d\d%\n", done.stdout)
    assert "10 of 10 possible seen" in done.stdout
    assert "delay delay_ms" in done.stdout
    assert "80 to 600 ms, log" in done.stdout


def test_shares_that_are_met_are_no_digits_apart():
    done = run("--pool", "take4", "--lengths", "1-2", "--n-chains", 30, "--balance", "pedals")
    assert done.stdout.split("balance 'pedals': ")[1].startswith("all shares are met\n")


def test_fractions_are_those_of_render():
    words = ("--pool", "okita3", "--n-chains", 60, "--fractions", "0,0,1")
    words += ("--hold-out", "chorus,reverb")  # which test may hold
    splits = json.loads(run(*words, "--json").stdout)["splits"]
    assert [splits[split]["n_chains"] for split in ("train", "valid", "test")] == [0, 0, 60]
    spec = ChainSpec(POOLS["okita3"], {1: 1.0, 2: 1.0, 3: 1.0})
    drawn = draw_tallies(spec, {"train": 0, "valid": 0, "test": 60}, 0)["test"]
    assert splits["test"]["positions"] == drawn.positions.tolist()
    text = run(*words).stdout
    assert "train 0, valid 0, test 60" in text
    assert "position in test" in text
    assert "in train" not in text
    (pairs,) = [line.split() for line in text.splitlines() if line.startswith("2 ")]
    assert pairs[:4] + pairs[5:6] == ["2", "0", "0", str(splits["test"]["lengths"]["2"]), "6"]


def test_what_is_possible_and_was_not_drawn_is_0_and_what_is_not_is_a_dot():
    text = run("--pool", "okita3", "--n-chains", 3, "--lengths", "0,2", "--order", "fixed").stdout
    rows = [line.split() for line in text.split("order in train")[1].splitlines()[2:5]]
    assert [[cell == "·" for cell in row[1:]] for row in rows] == [
        [True, False, False],
        [True, True, False],
        [True, True, True],
    ]
    assert "0" in rows[0] + rows[1]
    assert "▁▁▁▁▁▁▁▁" in run("--pool", "okita3", "--n-chains", 3, "--lengths", "0").stdout


def test_json_is_everything_that_was_counted():
    done = run("--pool", "okita3", "--n-chains", 100, "--seed", 3, "--json")
    data = json.loads(done.stdout)
    assert data["pool"] == list(POOLS["okita3"])
    assert {split: t["n_chains"] for split, t in data["splits"].items()} == {
        "train": 80, "valid": 10, "test": 10,
    }  # fmt: skip
    train = data["splits"]["train"]
    assert sum(train["lengths"].values()) == 80
    assert sum(train["pedals"].values()) == np.sum(train["positions"])
    assert data["coverage"]["3"]["n_possible"] == 6
    assert {kind["kind"] for kind in data["starved"]} <= {"pedals", "positions", "order pairs"}
    assert data["balance"] is None
    assert run("--pool", "okita3", "--n-chains", 100, "--seed", 3, "--json").stdout == done.stdout


@pytest.mark.parametrize(("suffix", "magic"), [("png", b"\x89PNG"), ("svg", b"<?xml")])
def test_pictures(tmp_path, suffix, magic):
    path = tmp_path / f"plan.{suffix}"
    done = run("--pool", "gate,octaver", "--n-chains", 50, "--plot", path)
    assert done.exit_code == 0
    assert path.read_bytes().startswith(magic)


def test_warnings_go_to_stderr():
    done = run("--pool", "seed5", "--n-chains", 30, "--exclusive", "phaser,chorus", "--lengths", 4,
               "--balance", "pedals")  # fmt: skip
    assert done.exit_code == 0
    assert "starved in train" in done.stderr
    assert "balance cannot be met" in done.stderr
    assert "warning" not in done.stdout


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--plot", "plan.txt"], "ends in .png, .svg or .pdf"),
        (["--pool", "seed5", "take4"], "take4 is taken for a directory of renders"),
        (["--pool", "seed5", "take4"], "leave out --pool, or take4"),
        (["renders/", "--fractions", "0,0,1", "--hold-out", "fuzz,wah"], "--hold-out and --frac"),
        (["renders/", "--seed", "0", "--n-chains", "9"], "leave out --n-chains and --seed, or"),
        (["--fractions", "1,1,1"], "sum to 1"),
        (["--balance", "pedal"], "did you mean 'pedals'"),
    ],
)
def test_what_cannot_be_meant(words, says):
    done = run(*words)
    assert isinstance(done.exception, UsageError)
    assert says in str(done.exception)


def test_more_than_a_million_chains_are_not_drawn_one_by_one():
    done = run("--n-chains", "1000001")
    assert done.exit_code != 0
    assert "3<=x<=1000000" in done.stderr


def test_renders_are_counted_as_they_are_and_agree_with_the_draw(tmp_path, monkeypatch):
    chain = ChainSpec(POOLS["okita3"], {1: 1.0, 2: 1.0}, exclusive=(("chorus", "reverb"),))
    spec = RenderSpec(chain, clip_s=0.5, run_in_s=0.1)
    monkeypatch.setattr(rd, "run_tasks", lambda function, jobs, workers: map(function, jobs))
    folder = open_folder(tmp_path / "renders")
    plan = rd.make_plan(spec, open_source("synth"), 30, 5, progress=False)
    index = rd.render_all(folder, plan, None, lambda shard: None)
    report = read_report(str(tmp_path / "renders"))
    assert {split: t.n_chains for split, t in report.tallies.items()} == plan.n_clips
    by_pedal = dict(zip(chain.pool, report.train.pedals.tolist(), strict=True))
    assert by_pedal == index.counts["train"].by_pedal
    assert report.train.knobs["chorus"]["rate_hz"].sum() == by_pedal["chorus"] > 0
    heard = [r for shard in index.shards for r in rd.read_shard(folder, shard)[1]]
    first = [r for r in heard if not r["redraws"] and r["seed"][2] == 0]
    assert len(first) > 15
    for record in first:
        position = record["seed"][1]
        names = draw_order(chain, 5, record["split"], position)
        rng = generator(5, record["split"], position, "settings")
        assert chain_of(record) == draw_settings(chain, names, rng)
    done = run(tmp_path / "renders")
    assert done.exit_code == 0
    assert "30 chains from 3 pedals, seed 5" in done.stdout
