"""``fxpipe symmetry``: how far swapping two neighbouring pedals moves the sound, pair by pair.

One task is one dry clip: every pedal gets settings that can be heard on it, and every pair is
played both ways round. Beside each swap stands its floor: the same pair with every knob turned by
1 % of its travel. What lies below that floor cannot be told by anyone who does not know the knobs.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterator, Sequence
from importlib.metadata import version
from typing import Any

import numpy as np

from fxpipe.chains.chain import draw_settings, generator
from fxpipe.distance import band_distance_db, change_db, log_bands, mr_stft
from fxpipe.orders.commute import (
    TABLE_NAME,
    PairMeasure,
    Rule,
    SymmetryTable,
    commutes,
    pedal_hash,
    quantiles,
)
from fxpipe.pedals import PEDALS
from fxpipe.plan import Plan, load_plan, save_plan, take_clip
from fxpipe.render import RenderSpec, draw_clip, play
from fxpipe.tasks import Job, Workers, run_tasks
from fxtrain.contract import Folder, Pedal, from_unit, to_dict, to_unit

SETTINGS_TRIES = 16
NUDGE = 0.01
SPLIT = "train"
CSV_NAME = "symmetry.csv"

Row = tuple[str, str, float, float, float, float]
"""Two pedals, then residual_db, mel_db, mr_stft and floor_db of one clip."""


def measure(
    folder: Folder, plan: Plan, workers: Workers, on_clip: Callable[[], None]
) -> SymmetryTable:
    """Play every pair of the plan's pool both ways round on its training clips."""
    sha256 = save_plan(folder, plan).sha256
    n_clips = plan.n_clips[SPLIT]
    jobs: list[Job] = [
        {"uri": folder.uri, "identity": plan.identity, "plan_sha256": sha256, "position": position}
        for position in range(n_clips)
    ]
    rows: list[Row] = []
    for found in run_tasks(measure_clip, jobs, workers):
        rows += found
        on_clip()
    return _table(plan, sorted(rows), n_clips)


def measure_clip(job: Job) -> list[Row]:
    """The dask task: all pairs that can be heard on one clip."""
    plan = load_plan(job["uri"], job["identity"], job["plan_sha256"])
    spec, position = plan.spec, job["position"]
    dry, _ = take_clip(plan, SPLIT, position, 0, draw_clip(spec, plan.seed, SPLIT, position))
    pedals, alone = _audible_pedals(plan, position, dry)
    rng = generator(plan.seed, SPLIT, position, "settings", 1_000_000)
    moved = {name: _nudged(pedal, rng) for name, pedal in pedals.items()}
    alone_moved = {name: _play(pedal, dry, spec) for name, pedal in moved.items()}
    rate, skip = spec.sample_rate_hz, spec.n_run_in
    rows: list[Row] = []
    names = list(pedals)
    for i, a in enumerate(names):
        for b in names[i + 1 :]:
            ab, ba = _play(pedals[b], alone[a], spec), _play(pedals[a], alone[b], spec)
            heard = (
                change_db(alone[a][skip:], ab[skip:]) >= spec.audible_db
                or change_db(alone[b][skip:], ba[skip:]) >= spec.audible_db
            )
            residual_db = change_db(ba[skip:], ab[skip:])
            if not heard or not np.isfinite(residual_db):
                continue
            near = _play(moved[b], alone_moved[a], spec)
            bands, swapped, nudged = (log_bands(w[skip:], rate) for w in (ab, ba, near))
            rows.append(
                (
                    *(a, b, residual_db, band_distance_db(bands, swapped)),
                    *(mr_stft(ba[skip:], ab[skip:]), band_distance_db(bands, nudged)),
                )
            )
    return rows


def _audible_pedals(
    plan: Plan, position: int, dry: np.ndarray
) -> tuple[dict[str, Pedal], dict[str, np.ndarray]]:
    """(pedals whose drawn settings can be heard on this clip, what each makes of it)."""
    spec, pedals, alone = plan.spec, {}, {}
    for number, name in enumerate(spec.chain.pool):
        for attempt in range(SETTINGS_TRIES):
            seat = number * SETTINGS_TRIES + attempt
            rng = generator(plan.seed, SPLIT, position, "settings", seat)
            (pedal,) = draw_settings(spec.chain, (name,), rng).pedals
            wet = _play(pedal, dry, spec)
            if change_db(dry[spec.n_run_in :], wet[spec.n_run_in :]) >= spec.audible_db:
                pedals[name], alone[name] = pedal, wet
                break
    return pedals, alone


def _play(pedal: Pedal, wave: np.ndarray, spec: RenderSpec) -> np.ndarray:
    return play(pedal, wave, spec.sample_rate_hz, spec.pedal_rms)


def _nudged(pedal: Pedal, rng: np.random.Generator) -> Pedal:
    """Every knob turned by 1 % of its travel, up or down, away from its ends."""
    settings = dict(pedal.settings)  # of another make: what is inside stays
    for param in PEDALS[pedal.name].params:
        u = to_unit(param, pedal.settings[param.name])
        step = NUDGE if rng.random() < 0.5 else -NUDGE
        settings[param.name] = from_unit(param, u + step if 0 <= u + step <= 1 else u - step)
    return Pedal(pedal.name, settings)


def _table(plan: Plan, rows: Sequence[Row], n_clips: int) -> SymmetryTable:
    pool = plan.spec.chain.pool
    pairs = []
    for i, a in enumerate(pool):
        for b in pool[i + 1 :]:
            found = np.array([row[2:] for row in rows if row[:2] == (a, b)], float).reshape(-1, 4)
            columns = (quantiles(column.tolist()) for column in found.T)
            pairs.append(PairMeasure((a, b), len(found), *columns))
    return SymmetryTable(
        pedals={name: pedal_hash(name) for name in pool},
        source=plan.scan.source,
        n_clips=n_clips,
        seed=plan.seed,
        clip_s=plan.spec.clip_s,
        audible_db=plan.spec.audible_db,
        pairs=tuple(pairs),
        versions={name: version(name) for name in ("fxpipe", "pedalboard", "numpy")},
    )


def write_table(folder: Folder, table: SymmetryTable, rule: Rule) -> None:
    """``symmetry.json``, ``symmetry.csv`` and the heat map as PNG and SVG."""
    folder.write(TABLE_NAME, (json.dumps(to_dict(table)) + "\n").encode())
    text = io.StringIO()
    out = csv.writer(text, lineterminator="\n")
    lines = list(_csv_rows(table, rule))
    out.writerows(lines)
    folder.write(CSV_NAME, text.getvalue().encode())
    for kind in ("png", "svg"):
        folder.write(f"symmetry.{kind}", heat_map(table, rule, kind))


def _csv_rows(table: SymmetryTable, rule: Rule) -> Iterator[list[Any]]:
    whats, levels = ("residual_db", "mel_db", "mr_stft", "floor_db"), (0.1, 0.5, 0.9)
    yield [
        "first",
        "second",
        "n",
        "commutes",
        *(f"{w}_q{q:.0%}"[:-1] for w in whats for q in levels),
    ]
    for entry in table.pairs:
        values = [round(entry.at(what, q), 3) for what in whats for q in levels]
        yield [*entry.pair, entry.n, int(commutes(entry, rule)), *values]


def text_table(table: SymmetryTable, rule: Rule) -> str:
    """Pairs from the least to the most audible, for people."""
    lines = [
        f"{'pair':<26} {'n':>4} {'swap, log-mel dB':>22} {'1 % of the knobs':>17} "
        f"{'residual dB':>12}  {'order':<10}",
        f"{'':<31} {'median':>10} {f'{rule.quantile:.0%}':>11} {'median':>17} {'median':>12}",
    ]
    for entry in sorted(table.pairs, key=lambda e: (not e.n, e.at("mel_db", rule.quantile))):
        name = f"{entry.pair[0]}, {entry.pair[1]}"
        if not entry.n:
            lines.append(f"{name:<26} {0:>4}  never heard together")
            continue
        middle, floor = entry.at("mel_db", 0.5), entry.at("floor_db", 0.5)
        verdict = (
            "no order" if commutes(entry, rule)
            else "blind guess" if middle <= floor
            else "audible"
        )  # fmt: skip
        lines.append(
            f"{name:<26} {entry.n:>4} {middle:>10.2f} {entry.at('mel_db', rule.quantile):>11.2f} "
            f"{floor:>17.2f} {entry.at('residual_db', 0.5):>12.0f}  {verdict:<10}"
        )
    n_quiet = sum(commutes(entry, rule) for entry in table.pairs)
    lines += [
        "",
        f"{n_quiet} of {len(table.pairs)} pairs commute: a swap moves log-mel by "
        f"{rule.threshold_db:g} dB or less on {rule.quantile:.0%} of {table.n_clips} clips.",
        "blind guess: a swap moves the sound no more than 1 % of every knob would; who does not "
        "know the knobs can hardly tell.",
    ]
    return "\n".join(lines)


def heat_map(table: SymmetryTable, rule: Rule, kind: str) -> bytes:
    """The median log-mel distance of every pair; a ring marks the pairs that commute."""
    from matplotlib.figure import Figure

    names = list(table.pedals)
    grid = np.full((len(names), len(names)), np.nan)
    ringed = []
    for entry in table.pairs:
        i, j = (names.index(name) for name in entry.pair)
        grid[i, j] = grid[j, i] = entry.at("mel_db", 0.5)
        if commutes(entry, rule):
            ringed += [(i, j), (j, i)]
    side = 2.2 + 0.48 * len(names)
    figure = Figure(figsize=(side + 0.8, side), layout="constrained")
    axes = figure.add_subplot()
    image = axes.imshow(grid, cmap="viridis", vmin=0, vmax=3)
    axes.set_xticks(range(len(names)), names, rotation=60, ha="right")
    axes.set_yticks(range(len(names)), names)
    for i, j in np.argwhere(np.isfinite(grid)):
        shade = "black" if grid[i, j] > 1.8 else "white"
        axes.text(j, i, f"{grid[i, j]:.1f}", ha="center", va="center", color=shade, fontsize=7)
    if ringed:
        rows, columns = zip(*ringed, strict=True)
        axes.scatter(columns, rows, s=260, facecolors="none", edgecolors="red", linewidths=1.2)
    axes.set_title(
        f"What swapping two neighbours changes: log-mel dB, median of {table.n_clips} clips\n"
        f"red ring: {rule.threshold_db:g} dB or less on {rule.quantile:.0%} of clips, no order",
        fontsize=9,
    )
    figure.colorbar(image, ax=axes, shrink=0.7, label="dB", extend="max")
    out = io.BytesIO()
    metadata = {"Software": None} if kind == "png" else {"Date": None, "Creator": None}
    figure.savefig(out, format=kind, dpi=90, metadata=metadata)
    return out.getvalue()
