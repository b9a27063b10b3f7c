"""What ``fxpipe symmetry`` and ``fxpipe ceiling`` do: parse, call, print."""

from __future__ import annotations

import dataclasses
import json
import sys
from pathlib import Path
from typing import Any

import click

from fxpipe.config import render_spec
from fxpipe.console import Progress
from fxpipe.orders.ceiling import bounds, mean_bounds, text_table
from fxpipe.orders.commute import Rule, commuting_pairs, load_table
from fxpipe.orders.symmetry import SPLIT, measure, write_table
from fxpipe.orders.symmetry import text_table as symmetry_text
from fxpipe.plan import make_plan
from fxpipe.resume import Owner, owner_of
from fxpipe.tasks import choose_workers, seen_by
from fxpipe.verbs import open_or_fetch, warn_skipped
from fxtrain.contract import INDEX_NAME, Folder, UsageError, open_folder, to_dict


def symmetry_command(
    *,
    dataset: str,
    output: str,
    data_dir: Path | None,
    pool: str | None,
    n_clips: int,
    threshold_db: float,
    quantile: float,
    config: Path | None,
    seed: int,
    workers: int | None,
    scheduler: str | None,
    cluster: str | None,
    as_json: bool,
) -> None:
    where = choose_workers(workers, scheduler, cluster)
    rule = Rule(threshold_db, quantile)
    alone = {"lengths": "1", "balance": "weights", "held_out": [], "exclusive": []}
    spec = render_spec(config, {"pool": pool, **alone}, default_pool="all")
    folder = open_folder(seen_by(where, output))
    _refuse_data_set(folder)
    source = open_or_fetch(dataset, data_dir)
    plan = make_plan(
        spec,
        source,
        n_clips,
        seed,
        progress=sys.stderr.isatty(),
        fractions=(1.0, 0.0, 0.0),
        rule=rule,
    )
    warn_skipped(plan)
    with Progress(plan.n_clips[SPLIT], "symmetry") as bar:
        table = measure(folder, plan, where, bar.add)
    write_table(folder, table, rule)
    click.echo(json.dumps(to_dict(table)) if as_json else symmetry_text(table, rule))
    click.echo(f"written: {folder.uri}/symmetry.json, .csv, .png, .svg", err=True)


def _refuse_data_set(folder: Folder) -> None:
    """The plan of a measurement would take the place of the one a data set was made by."""
    if owner_of(folder) != Owner(None, None) or folder.size(INDEX_NAME) is not None:
        raise UsageError(
            f"{folder.uri} holds a data set, finished or begun; give another -o for the table"
        )


def ceiling_command(
    *,
    config: Path | None,
    symmetry: Path | None,
    threshold_db: float,
    quantile: float,
    seed: int,
    as_json: bool,
    **chain_options: Any,
) -> None:
    spec = render_spec(config, chain_options).chain
    table = load_table(symmetry) if symmetry else None
    pairs = commuting_pairs(spec.pool, table, Rule(threshold_db, quantile))
    found = bounds(spec, frozenset(frozenset(pair) for pair in pairs), seed=seed)
    if as_json:
        mean = dataclasses.asdict(mean_bounds(spec, found))
        lengths = {length: dataclasses.asdict(entry) for length, entry in found.items()}
        click.echo(json.dumps({"commutes": pairs, "lengths": lengths, "mean": mean}))
        return
    click.echo(text_table(spec, found))
    named = ", ".join(f"{a} and {b}" for a, b in pairs)
    click.echo(f"no order: {named or 'no pair'}")
