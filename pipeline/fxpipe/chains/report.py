"""``fxpipe plan``: what a spec draws or a renders/ directory holds, as text, JSON, picture."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import numpy as np
from click.core import ParameterSource

from fxpipe.chains.chain import ChainSpec
from fxpipe.chains.tally import (
    Tally,
    coverage,
    draw_tallies,
    find_starved,
    knob_axes,
    possible_cells,
    tally,
)
from fxpipe.config import parse_fractions, render_spec
from fxpipe.console import table
from fxpipe.plan import split_sizes
from fxpipe.renders import chain_of, read_records, read_renders_index
from fxpipe.sources.splits import DEFAULT_FRACTIONS
from fxtrain.contract import SPLITS, Chain, Param, UsageError, open_folder, to_dict

if TYPE_CHECKING:
    from matplotlib.axes import Axes

BARS = "▁▂▃▄▅▆▇█"
PICTURE_SUFFIXES = (".png", ".svg", ".pdf")
MET = 5e-5
"""A share this near its target, relative to it, would be printed as 0.00 % off."""


@dataclass(frozen=True)
class Report:
    """What is shown: a spec and the chains of each split, drawn or read."""

    spec: ChainSpec
    seed: int
    tallies: dict[str, Tally]

    @property
    def train(self) -> Tally:
        return self.tallies["train"]

    @property
    def shown(self) -> str:
        """The split to look at closely: train, or the first that has chains."""
        return next((split for split, t in self.tallies.items() if t.n_chains), "train")

    @property
    def known_share(self) -> float:
        """Of the different chains in test, those that train holds too."""
        test = self.tallies["test"].orders
        return len(test & self.train.orders) / max(len(test), 1)


def plan_command(
    renders: str | None,
    *,
    n_chains: int,
    seed: int,
    config: Path | None,
    fractions: str | None,
    plot: Path | None,
    as_json: bool,
    **options: Any,
) -> None:
    if plot is not None and plot.suffix not in PICTURE_SUFFIXES:
        raise UsageError(f"--plot {plot}: expected a name that ends in .png, .svg or .pdf")
    context = click.get_current_context()
    given = [
        param.opts[0]
        for param in context.command.params
        if param.name not in ("renders", "pedals", "plot", "as_json")
        and context.get_parameter_source(param.name) is ParameterSource.COMMANDLINE
    ]
    if renders is not None and given:
        raise UsageError(
            f"{renders} is taken for a directory of renders, which have their own spec: leave out "
            f"{' and '.join(given)}, or {renders}"
        )
    if renders is None:
        spec = render_spec(config, options).chain
        parts = parse_fractions(fractions) if fractions is not None else DEFAULT_FRACTIONS
        report = Report(spec, seed, draw_tallies(spec, split_sizes(n_chains, parts), seed))
    else:
        report = read_report(renders)
    for line in warnings(report):
        click.echo(f"warning: {line}", err=True)
    if plot is not None:
        draw_picture(report, plot)
    click.echo(json.dumps(as_dict(report)) if as_json else as_text(report))


def read_report(directory: str) -> Report:
    """What was rendered in the end, with every inaudible pedal drawn again."""
    folder = open_folder(directory)
    index = read_renders_index(folder)
    chains: dict[str, list[Chain]] = {split: [] for split in SPLITS}
    for shard in index.shards:
        chains[shard.split] += [chain_of(record) for record in read_records(folder, shard)]
    spec = index.spec.chain
    tallies = {
        split: tally(spec, [chain.names for chain in chains[split]], chains[split])
        for split in SPLITS
    }
    return Report(spec, index.seed, tallies)


def warnings(report: Report) -> list[str]:
    """One line for each thing that a user may not have meant."""
    lines = [
        f"{starved}; render more chains, or look at lengths, weights, balance and order"
        for starved in find_starved(report.spec, report.train)
    ]
    solved = report.spec.solved
    return lines + ([solved.missed] if solved is not None and solved.missed else [])


def as_dict(report: Report) -> dict[str, Any]:
    """Everything counted, as plain values; arrays follow the order of ``pool``."""
    spec = report.spec
    covered = {str(n): vars(c) for n, c in coverage(spec, report.train).items()}
    solved = spec.solved
    return {
        "seed": report.seed,
        "spec": to_dict(spec),
        "pool": list(spec.pool),
        "splits": {split: _tally_dict(spec, t) for split, t in report.tallies.items()},
        "coverage": covered,
        "test_chains_known": report.known_share,
        "starved": [vars(starved) for starved in find_starved(spec, report.train)],
        "balance": None if solved is None else {"shares": solved.shares, "worst": solved.worst},
    }


def _tally_dict(spec: ChainSpec, counted: Tally) -> dict[str, Any]:
    return {
        "n_chains": counted.n_chains,
        "lengths": counted.lengths,
        "pedals": dict(zip(spec.pool, counted.pedals.tolist(), strict=True)),
        "positions": counted.positions.tolist(),
        "order_pairs": counted.pairs.tolist(),
        "knobs": {
            name: {key: bins.tolist() for key, bins in knobs.items()}
            for name, knobs in counted.knobs.items()
        },
        "n_distinct_chains": len(counted.orders),
    }


def as_text(report: Report) -> str:
    spec, split, splits = report.spec, report.shown, list(report.tallies)
    seen = report.tallies[split]
    counts = ", ".join(f"{split} {t.n_chains}" for split, t in report.tallies.items())
    covered = coverage(spec, seen, split)
    rows = [
        [
            str(length),
            *(str(t.lengths.get(length, 0)) for t in report.tallies.values()),
            str(c.n_distinct),
            str(c.n_possible),
            f"{c.n_distinct / max(c.n_possible, 1):.1%}",
        ]
        for length, c in covered.items()
    ]
    lengths = table(["length", *splits, "different", "possible", "covered"], rows)
    positions, pairs = possible_cells(spec)
    n_seen = int(((seen.pairs > 0) & pairs).sum())
    known = f"; {report.known_share:.1%} of the different chains in test are in train too"
    return "\n\n".join(
        [
            f"{sum(t.n_chains for t in report.tallies.values())} chains from {len(spec.pool)} "
            f"pedals, seed {report.seed}: {counts}",
            f"{lengths}\n(different, possible, covered: chains in {split}"
            f"{known * (split == 'train')})",
            _pedals_text(report),
            f"position in {split}, 1 is nearest the guitar\n"
            + _matrix(
                spec.pool,
                [str(i + 1) for i in range(seen.positions.shape[1])],
                seen.positions,
                positions,
            ),
            f"order in {split}: row before column ({n_seen} of {int(pairs.sum())} possible seen)\n"
            + _matrix(spec.pool, [name[:6] for name in spec.pool], seen.pairs, pairs),
            f"settings in {split}, from the lowest to the highest value drawn\n"
            + _knobs_text(spec, seen),
        ]
    )


def _pedals_text(report: Report) -> str:
    spec, splits = report.spec, list(report.tallies)
    seen = report.tallies[report.shown].pedals
    by_pedal = spec.solved is not None and spec.balance == "pedals"
    asked = spec.solved.shares if spec.solved is not None and by_pedal else {}
    rows = []
    for i, name in enumerate(spec.pool):
        counts = [str(report.tallies[split].pedals[i]) for split in splits]
        row = [name, *counts, f"{seen[i] / max(seen.sum(), 1):.1%}"]
        rows.append(row + [f"{asked.get(name, (0.0, 0.0))[0]:.1%}"] * by_pedal)
    text = table(["pedal", *splits, "share", *["asked"] * by_pedal], rows)
    if spec.solved is None:
        return text
    name, off = spec.solved.worst
    far = f"farthest from its target is {name}, {off:+.2%}"
    return f"{text}\nbalance {spec.balance!r}: {far if abs(off) >= MET else 'all shares are met'}"


def _matrix(
    rows: Sequence[str], columns: Sequence[str], counts: np.ndarray, possible: np.ndarray
) -> str:
    """Counts, and a dot where the spec allows none."""
    cells = [
        [str(n) if n or may else "·" for n, may in zip(line, allowed, strict=True)]
        for line, allowed in zip(counts.tolist(), possible.tolist(), strict=True)
    ]
    return table(["", *columns], [[name, *line] for name, line in zip(rows, cells, strict=True)])


def _knobs_text(spec: ChainSpec, seen: Tally) -> str:
    lines = []
    for name in spec.pool:
        for param in knob_axes(spec, name):
            bins = seen.knobs[name][param.name]
            top = max(int(bins.max()), 1)
            bars = "".join(BARS[round(n / top * (len(BARS) - 1))] for n in bins.tolist())
            lines.append((f"{name} {param.name}", bars, _span(param)))
    width = max(len(line[0]) for line in lines)
    return "\n".join(f"{knob:<{width}}  {bars:<8}  {span}" for knob, bars, span in lines)


def _span(param: Param) -> str:
    unit = "" if param.unit == "ratio" else f" {param.unit}"
    if param.low == param.high:
        return f"{param.low:g}{unit}"
    return f"{param.low:g} to {param.high:g}{unit}" + ", log" * (param.scale == "log")


def draw_picture(report: Report, path: Path) -> None:
    """Lengths, pedals, positions, order of the split shown on top, every knob's histogram below."""
    from matplotlib.figure import Figure

    spec, seen = report.spec, report.tallies[report.shown]
    knobs = [(name, param) for name in spec.pool for param in knob_axes(spec, name)]
    n_columns = min(10, len(knobs))
    n_rows = -(-len(knobs) // n_columns)
    figure = Figure(figsize=(15, 4.2 + 0.75 * n_rows), layout="constrained", dpi=80)
    figure.suptitle(
        f"{seen.n_chains} chains in {report.shown} from {len(spec.pool)} pedals, "
        f"order {spec.order}, "
        f"balance {spec.balance}, seed {report.seed}; dark is often, white is ruled out",
        fontsize="medium",
    )
    panels: Any = figure.subfigures(2, 1, height_ratios=[4.2, 0.75 * n_rows])
    top, bottom = panels
    lengths, pedals, positions, pairs = top.subplots(1, 4, width_ratios=[0.8, 1.2, 1.2, 2])
    possible = possible_cells(spec)
    lengths.bar([str(n) for n in seen.lengths], list(seen.lengths.values()))
    lengths.set_title("chain length")
    pedals.barh(list(spec.pool), seen.pedals)
    pedals.invert_yaxis()
    pedals.set_title("pedals")
    _heat(positions, seen.positions, possible[0], "position, 1 nearest the guitar")
    positions.set_xticks(range(seen.positions.shape[1]), range(1, seen.positions.shape[1] + 1))
    positions.set_yticks(range(len(spec.pool)), [])
    _heat(pairs, seen.pairs, possible[1], "order: row before column")
    pairs.set_xticks(range(len(spec.pool)), spec.pool, rotation=90)
    pairs.set_yticks(range(len(spec.pool)), spec.pool)
    for axes, (name, param) in zip(
        bottom.subplots(n_rows, n_columns, squeeze=False).flat, knobs, strict=False
    ):
        bins = seen.knobs[name][param.name]
        axes.bar(range(len(bins)), bins, width=1.0)
        axes.set_title(f"{name}\n{param.name}", fontsize=7, pad=2)
    for axes in bottom.axes:
        axes.set_axis_off()
    figure.savefig(path)


def _heat(axes: Axes, counts: np.ndarray, possible: np.ndarray, title: str) -> None:
    """Dark is often; white is what the spec rules out."""
    shown = np.where(possible | (counts > 0), counts.astype(float), np.nan)
    axes.imshow(shown, aspect="auto", cmap="viridis_r", vmin=0)
    axes.set_title(title)
