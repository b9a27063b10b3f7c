"""Which pairs commute: the rule on made-up tables, the measurement in sound, the shipped table."""

from __future__ import annotations

import csv
import json
import re
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from fxpipe import verbs_orders
from fxpipe.chains.chain import ChainSpec, draw_settings, generator
from fxpipe.cli import cli
from fxpipe.distance import change_db, mel_distance_db, mr_stft
from fxpipe.orders import commute, symmetry
from fxpipe.orders.ceiling import bounds
from fxpipe.orders.commute import (
    LEVELS,
    PairMeasure,
    Rule,
    SymmetryTable,
    basis,
    commuting_pairs,
    load_table,
    pedal_hash,
    quantiles,
    shipped_table,
)
from fxpipe.pedals import PEDALS, make_of
from fxpipe.plan import Plan, make_plan, save_plan, take_clip
from fxpipe.render import RenderSpec, draw_clip, run_chain
from fxpipe.sources import open_source
from fxtrain.contract import (
    Chain,
    ContractError,
    LocalFolder,
    Pedal,
    UsageError,
    from_dict,
    from_unit,
    to_dict,
    to_unit,
)

POOL = ("overdrive", "chorus", "delay", "reverb")


def table_of(**mel_db: float) -> SymmetryTable:
    """Pairs by ``a_b``; the swap moves the sound by 0 to twice the given distance."""
    pairs = []
    for name, middle_db in mel_db.items():
        a, b = name.split("_")
        spread = tuple(2 * middle_db * level for level in LEVELS)
        pairs.append(PairMeasure((a, b), 40, spread, spread, spread, spread))
    hashes = {name: pedal_hash(name) for name in POOL}
    return SymmetryTable(hashes, "synth", 40, 0, 2.0, -30.0, tuple(pairs), {})


def test_a_pair_commutes_below_the_threshold_at_the_quantile() -> None:
    table = table_of(overdrive_chorus=1.0, chorus_delay=0.25)
    found = commuting_pairs(POOL, table, Rule(0.5, 0.9))
    assert ("chorus", "delay") in found  # 0.45 dB at 90 %
    assert ("overdrive", "chorus") not in found  # 1.8 dB
    assert ("chorus", "delay") not in commuting_pairs(POOL, table, Rule(0.4, 0.9))
    assert ("chorus", "delay") in commuting_pairs(POOL, table, Rule(0.4, 0.5))


def test_linear_pairs_commute_by_theory_the_unmeasured_do_not() -> None:
    assert commuting_pairs(POOL, table_of()) == (("delay", "reverb"),)


def test_a_changed_pedal_counts_as_never_measured() -> None:
    table = table_of(overdrive_chorus=0.01)
    assert ("overdrive", "chorus") in commuting_pairs(POOL, table)
    for name in ("overdrive", "chorus"):
        stale = replace(table, pedals=table.pedals | {name: "another"})
        assert ("overdrive", "chorus") not in commuting_pairs(POOL, stale)


def test_a_table_goes_through_json(tmp_path: Path) -> None:
    table = table_of(overdrive_chorus=0.3)
    (tmp_path / "symmetry.json").write_text(json.dumps(to_dict(table)))
    assert load_table(tmp_path) == load_table(tmp_path / "symmetry.json") == table
    assert "0.5 dB or less on 90%" in basis(table)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{}", "kind"),
        ("[]", "kind"),
        ("[", "no symmetry table"),
        ('{"kind": "fxpipe-symmetry"}', "missing"),
    ],
)
def test_what_is_no_table_says_so(text: str, words: str, tmp_path: Path) -> None:
    (tmp_path / "symmetry.json").write_text(text)
    with pytest.raises(UsageError, match=words):
        load_table(tmp_path)
    with pytest.raises(UsageError, match="cannot be read"):
        load_table(tmp_path / "nowhere.json")


def test_quantiles_are_those_of_the_values() -> None:
    assert quantiles(range(21)) == tuple(float(k) for k in range(21))
    assert quantiles([]) == ()
    assert set(quantiles([0.12345])) == {0.123}


@pytest.mark.parametrize(("threshold_db", "quantile"), [(-0.1, 0.9), (np.nan, 0.9), (0.5, 1.2)])
def test_a_senseless_rule_is_refused(threshold_db: float, quantile: float) -> None:
    with pytest.raises(UsageError):
        Rule(threshold_db, quantile)
    assert [Rule(0.0, end).quantile for end in (0.0, 1.0)] == [0.0, 1.0]


def test_a_pair_that_was_never_heard_has_an_order_and_says_so() -> None:
    never = PairMeasure(("overdrive", "chorus"), 0, (), (), (), ())
    table = replace(table_of(chorus_delay=0.1), pairs=(never, *table_of(chorus_delay=0.1).pairs))
    assert not commute.commutes(never, Rule())
    assert ("overdrive", "chorus") not in commuting_pairs(POOL, table)
    *_, quiet, last = symmetry.text_table(table, Rule()).split("\n\n")[0].splitlines()
    assert quiet.startswith("chorus, delay")
    assert quiet.endswith("no order  ")
    assert last.split() == ["overdrive,", "chorus", "0", "never", "heard", "together"]
    for n, values in ((0, (1.0,)), (40, (1.0,)), (-1, ())):
        with pytest.raises(ContractError, match=f"over {n} clips holds {len(values)} quantiles"):
            PairMeasure(("overdrive", "chorus"), n, values, values, values, values)


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> tuple[Plan, SymmetryTable]:
    """Four pedals on three clips of a second, without dask."""
    spec = RenderSpec(ChainSpec(POOL, lengths={1: 1.0}), clip_s=1.0, run_in_s=0.25)
    plan = make_plan(spec, open_source("synth"), 5, 3, progress=False)
    folder = LocalFolder(tmp_path_factory.mktemp("symmetry"))
    sha256 = save_plan(folder, plan).sha256
    rows = []
    for position in range(3):
        job = {
            "uri": folder.uri,
            "identity": plan.identity,
            "plan_sha256": sha256,
            "position": position,
        }
        rows += symmetry.measure_clip(job)
    return plan, symmetry._table(plan, sorted(rows), 3)


def test_where_the_table_is_written_is_told(
    measured: tuple[Plan, SymmetryTable], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Plan] = []

    def noted(folder: LocalFolder, plan: Plan, *_: object) -> SymmetryTable:
        asked.append(plan)
        return measured[1]

    monkeypatch.setattr(verbs_orders, "measure", noted)
    config = tmp_path / "render.toml"  # of what chains are made, which is not asked here
    config.write_text(
        '[chain]\nheld_out = [["chorus", "delay"]]\nexclusive = ["wah,phaser"]\n'
        'balance = "pairs"\nlengths = "2"\n'
    )
    line = ["symmetry", "--pool", ",".join(POOL), "--n-clips", "3", "-o", f"{tmp_path}/"]
    line += ["--config", str(config)]
    done = CliRunner().invoke(cli, line)
    assert done.stderr.endswith(f"written: {tmp_path}/symmetry.json, .csv, .png, .svg\n")
    assert load_table(tmp_path / "symmetry.json") == measured[1]
    assert asked[0].n_clips == {"train": 3, "valid": 0, "test": 0}
    assert asked[0].spec.chain.pool == POOL


def test_the_ceiling_goes_by_the_table_and_the_line_that_are_given(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(verbs_orders, "bounds", partial(bounds, n_draws=20))

    def said(*words: str) -> dict[str, object]:
        line = ["ceiling", "--pool", "overdrive,chorus", "--lengths", "2", "--json", *words]
        found: dict[str, object] = json.loads(CliRunner().invoke(cli, line).stdout)
        return found

    quiet = tmp_path / "quiet.json"
    quiet.write_text(json.dumps(to_dict(table_of(overdrive_chorus=1.0))))
    assert said()["commutes"] == []
    assert said("--symmetry", str(quiet))["commutes"] == []
    found = said("--symmetry", str(quiet), "--threshold-db", "1", "--quantile", "0.5")
    assert found["commutes"] == [["overdrive", "chorus"]]
    assert found["mean"] == found["lengths"]["2"] | {"ceiling": 0.5}  # type: ignore[index]


def test_every_clip_is_measured_as_it_would_be_by_hand(
    measured: tuple[Plan, SymmetryTable],
) -> None:
    plan, table = measured
    spec, found = plan.spec, []
    for position in range(3):
        draw = draw_clip(spec, plan.seed, symmetry.SPLIT, position)
        dry, _ = take_clip(plan, symmetry.SPLIT, position, 0, draw)
        one, other = (symmetry._audible_pedals(plan, position, dry)[0][name] for name in POOL[:2])
        rng = generator(plan.seed, symmetry.SPLIT, position, "settings", 1_000_000)
        nudged = [symmetry._nudged(pedal, rng) for pedal in (one, other)]
        ab, ba, near = (
            run_chain(dry, Chain(tuple(order)), spec.sample_rate_hz, skip=spec.n_run_in)[0]
            for order in ((one, other), (other, one), nudged)
        )
        swap_db, floor_db = (mel_distance_db(ab, wave, spec.sample_rate_hz) for wave in (ba, near))
        found.append((change_db(ba, ab), swap_db, mr_stft(ba, ab), floor_db))
    entry = table.measured(*POOL[:2])
    assert entry is not None
    names = ("residual_db", "mel_db", "mr_stft", "floor_db")
    for name, values in zip(names, zip(*found, strict=True), strict=True):
        told = [entry.at(name, quantile) for quantile in (0.0, 0.5, 1.0)]
        assert told == pytest.approx(sorted(values), abs=2e-3), name
    assert (table.source, table.n_clips, table.seed) == (plan.scan.source, 3, 3)
    assert (table.clip_s, table.audible_db) == (1.0, -30.0)


def test_a_pair_is_told_by_its_quantile_and_its_floor() -> None:
    """Each measure from half to one and a half times of what is given."""

    def entry(a: str, b: str, *middles: float) -> PairMeasure:
        return PairMeasure((a, b), 40, *(tuple(m * (0.5 + lv) for lv in LEVELS) for m in middles))

    pairs = (
        entry("overdrive", "chorus", -30.0, 2.0, 3.0, 1.0),
        entry("overdrive", "delay", -20.0, 1.0, 4.0, 1.5),
        entry("chorus", "delay", -10.0, 0.25, 5.0, 0.1),
    )
    table = replace(table_of(), pairs=pairs)
    _, _, *lines = symmetry.text_table(table, Rule(0.5, 0.9)).split("\n\n")[0].splitlines()
    assert [re.split(r"  +", line.strip()) for line in lines] == [
        ["chorus, delay", "40", "0.25", "0.35", "0.10", "-10", "no order"],
        ["overdrive, delay", "40", "1.00", "1.40", "1.50", "-20", "blind guess"],
        ["overdrive, chorus", "40", "2.00", "2.80", "1.00", "-30", "audible"],
    ]
    header, first, *_, last = symmetry._csv_rows(table, Rule(0.1, 0.1))
    assert dict(zip(header, first, strict=True)) == {
        **{"first": "overdrive", "second": "chorus", "n": 40, "commutes": 0},
        **{"residual_db_q10": -18.0, "residual_db_q50": -30.0, "residual_db_q90": -42.0},
        **{"mel_db_q10": 1.2, "mel_db_q50": 2.0, "mel_db_q90": 2.8},
        **{"mr_stft_q10": 1.8, "mr_stft_q50": 3.0, "mr_stft_q90": 4.2},
        **{"floor_db_q10": 0.6, "floor_db_q50": 1.0, "floor_db_q90": 1.4},
    }
    assert last[3] == 0  # 0.15 dB at a tenth


def test_what_theory_says_is_measured(measured: tuple[Plan, SymmetryTable]) -> None:
    _, table = measured
    filters = table.measured("delay", "reverb")
    assert filters is not None
    assert filters.at("residual_db", 1.0) < -80
    assert filters.at("mel_db", 1.0) < 0.05
    driven = table.measured("reverb", "overdrive")
    assert driven is not None
    assert driven.at("mel_db", 0.5) > 0.3
    assert driven.at("floor_db", 0.5) > 0
    assert commuting_pairs(POOL, table) == (("delay", "reverb"),)


def test_another_make_stays_one_when_its_knobs_are_nudged() -> None:
    spec = ChainSpec(("overdrive",), {1: 1.0}, makes=1.0)
    (pedal,) = draw_settings(spec, ("overdrive",), np.random.default_rng(0)).pedals
    nudged = symmetry._nudged(pedal, np.random.default_rng(1))
    assert make_of(nudged) is make_of(pedal) is not None
    changed = {name for name, value in nudged.settings.items() if value != pedal.settings[name]}
    assert changed == {param.name for param in PEDALS["overdrive"].params}


def test_settings_that_nobody_hears_are_drawn_again(measured: tuple[Plan, SymmetryTable]) -> None:
    plan = replace(measured[0], spec=replace(measured[0].spec, audible_db=-4.0))
    spec, n_first = plan.spec, 0
    for position in range(2):
        draw = draw_clip(spec, plan.seed, symmetry.SPLIT, position)
        dry, _ = take_clip(plan, symmetry.SPLIT, position, 0, draw)
        pedals, alone = symmetry._audible_pedals(plan, position, dry)
        for name, pedal in pedals.items():
            np.testing.assert_array_equal(alone[name], symmetry._play(pedal, dry, spec))
            wet = alone[name][spec.n_run_in :]
            assert change_db(dry[spec.n_run_in :], wet) >= spec.audible_db
            seat = POOL.index(name) * symmetry.SETTINGS_TRIES
            rng = generator(plan.seed, symmetry.SPLIT, position, "settings", seat)
            n_first += draw_settings(spec.chain, (name,), rng).pedals[0] == pedal
    assert 0 < n_first < 2 * len(POOL)


def test_pedals_are_played_at_the_level_that_the_spec_sets(
    measured: tuple[Plan, SymmetryTable],
) -> None:
    spec = replace(measured[0].spec, pedal_rms=0.1)
    pedal = PEDALS["reverb"].example("reverb")
    wave = 0.01 * np.random.default_rng(0).standard_normal(spec.n_samples).astype(np.float32)
    wet = symmetry._play(pedal, wave, spec)
    assert np.sqrt(np.mean(wet**2)) == pytest.approx(0.1, rel=1e-3)


def test_a_pair_counts_where_one_of_the_two_is_heard_after_the_other(
    measured: tuple[Plan, SymmetryTable], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan, _ = measured
    folder = LocalFolder(tmp_path)
    job = {"uri": folder.uri, "identity": plan.identity, "position": 0}
    job["plan_sha256"] = save_plan(folder, plan).sha256
    hiss = 0.1 * np.random.default_rng(0).standard_normal(plan.spec.n_run_in + plan.spec.n_samples)
    pedals = {name: PEDALS[name].example(name) for name in ("overdrive", "chorus")}
    monkeypatch.setattr(
        symmetry, "_audible_pedals", lambda *_: (pedals, dict.fromkeys(pedals, hiss))
    )

    def pairs(overdrive: np.ndarray | None, chorus: np.ndarray | None) -> list[tuple[str, str]]:
        """What each makes of anything; None: nothing at all."""
        made = {"overdrive": overdrive, "chorus": chorus}
        monkeypatch.setattr(
            symmetry,
            "_play",
            lambda pedal, wave, spec: wave if made[pedal.name] is None else made[pedal.name],
        )
        return [row[:2] for row in symmetry.measure_clip(job)]

    assert pairs(None, None) == []
    assert pairs(hiss[::-1], None) == pairs(None, hiss[::-1]) == [("overdrive", "chorus")]
    assert pairs(hiss[::-1], 0 * hiss) == []  # a swallowed sound is as far as can be from any


def test_knobs_are_nudged_by_a_hundredth_of_their_travel_and_stay_on_it() -> None:
    for name, spec in PEDALS.items():
        for u in (0.0, 0.005, 0.5, 1.0):
            pedal = Pedal(name, {param.name: from_unit(param, u) for param in spec.params})
            moved = symmetry._nudged(pedal, np.random.default_rng(0))
            for param in spec.params:
                before, after = (to_unit(param, p.settings[param.name]) for p in (pedal, moved))
                assert abs(after - before) == pytest.approx(0.01, abs=1e-4), (name, param.name)


def test_table_and_pictures_are_written(
    measured: tuple[Plan, SymmetryTable], tmp_path: Path
) -> None:
    _, table = measured
    folder = LocalFolder(tmp_path)
    symmetry.write_table(folder, table, Rule())
    assert load_table(tmp_path) == table
    with (tmp_path / "symmetry.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 6
    assert [row["commutes"] for row in rows if row["second"] == "reverb"] == ["0", "0", "1"]
    assert (tmp_path / "symmetry.png").read_bytes().startswith(b"\x89PNG")
    assert b"<svg" in (tmp_path / "symmetry.svg").read_bytes()
    text = symmetry.text_table(table, Rule())
    assert "delay, reverb" in text
    assert "1 of 6 pairs commute" in text


def test_the_shipped_table_knows_every_pedal_as_it_is_now() -> None:
    table = shipped_table()
    assert {name: pedal_hash(name) for name in PEDALS} == table.pedals, (
        "a pedal's knobs changed since the table was made: run "
        "'fxpipe symmetry --pool all -o DIR' and copy its symmetry.json"
    )
    n = len(PEDALS)
    assert len(table.pairs) == n * (n - 1) // 2
    assert all(entry.n >= 10 for entry in table.pairs)
    assert from_dict(SymmetryTable, to_dict(table), "shipped") == table


def test_the_shipped_table_is_what_is_measured_now(measured: tuple[Plan, SymmetryTable]) -> None:
    """Three clips against many: each within the extremes of the shipped distances, widened."""
    _, fresh = measured
    for entry in fresh.pairs:
        shipped = shipped_table().measured(*entry.pair)
        assert shipped is not None
        low, high = shipped.at("mel_db", 0.0), shipped.at("mel_db", 1.0)
        assert 0.3 * low - 0.05 <= entry.at("mel_db", 0.5) <= 1.5 * high + 0.05, entry.pair


def test_default_rule_reads_the_shipped_table(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(commute, "shipped_table", lambda: table_of(overdrive_chorus=0.01))
    assert ("overdrive", "chorus") in commuting_pairs(POOL)
