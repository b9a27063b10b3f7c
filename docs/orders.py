"""Tables of docs/symmetry.md, from the shipped symmetry table."""

from __future__ import annotations

from collections.abc import Callable

from fxpipe.chains.chain import ChainSpec
from fxpipe.orders.ceiling import bounds, mean_bounds
from fxpipe.orders.commute import Rule, commuting_pairs, shipped_table
from fxpipe.orders.symmetry import commutes
from fxpipe.pedals import POOLS

Rows = Callable[[list[str], list[list[str]]], str]
POOLS_SHOWN = {"okita3": 3, "take4": 4, "seed5": 4, "rossi5": 5, "stompbox": 5, "all": 5}


def facts() -> str:
    table, rule = shipped_table(), Rule()
    n_quiet = sum(commutes(entry, rule) for entry in table.pairs)
    n_blind = sum(
        not commutes(entry, rule) and entry.at("mel_db", 0.5) <= entry.at("floor_db", 0.5)
        for entry in table.pairs
    )
    return (
        f"{len(table.pairs)} pairs of {len(table.pedals)} pedals, {table.n_clips} clips of "
        f"{table.clip_s:g} s from `{table.source}`, settings drawn anew for every clip and drawn "
        f"again where a pedal could not be heard on it (below {table.audible_db:g} dB): "
        f"**{n_quiet} pairs have no order, {n_blind} are a blind guess, "
        f"{len(table.pairs) - n_quiet - n_blind} are audible.** Made with "
        f"`fxpipe symmetry --n-clips {table.n_clips} --seed {table.seed}`."
    )


def pairs(rows: Rows) -> str:
    table, rule = shipped_table(), Rule()
    cells = []
    for entry in sorted(table.pairs, key=lambda e: e.at("mel_db", rule.quantile)):
        middle, floor = entry.at("mel_db", 0.5), entry.at("floor_db", 0.5)
        verdict = "audible"
        if commutes(entry, rule):
            verdict = "**no order**"
        elif middle <= floor:
            verdict = "blind guess"
        cells.append(
            [
                ", ".join(entry.pair),
                f"{middle:.2f}",
                f"{entry.at('mel_db', rule.quantile):.2f}",
                f"{floor:.2f}",
                f"{entry.at('residual_db', 0.5):.0f}",
                verdict,
            ]
        )
    header = ["pair", "swap, median dB", "swap, 90 %", "1 % of the knobs", "residual dB", "order"]
    return rows(header, cells)


def ceilings(rows: Rows) -> str:
    cells = []
    for pool, longest in POOLS_SHOWN.items():
        spec = ChainSpec(POOLS[pool], dict.fromkeys(range(1, longest + 1), 1.0))
        quiet = frozenset(frozenset(pair) for pair in commuting_pairs(spec.pool))
        mean = mean_bounds(spec, bounds(spec, quiet, seed=0, n_draws=600))
        named = ", ".join("–".join(sorted(pair)) for pair in sorted(quiet, key=sorted))
        shown = named if pool != "all" else f"{len(quiet)} pairs, above"
        values = (mean.null, mean.null_class, mean.ceiling, mean.ceiling_class)
        cells.append(
            [f"`{pool}`, 1–{longest}", *(f"{value:.3f}" for value in values), shown or "none"]
        )
    header = ["pool, lengths", "null", "null, by class", "ceiling", "ceiling, by class"]
    return rows([*header, "pairs without an order"], cells)
