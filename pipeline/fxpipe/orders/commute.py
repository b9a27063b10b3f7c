"""Which pairs of pedals commute: the measured table, the rule that reads it, the shipped copy.

A pair commutes where swapping the two, next to each other, can seldom be heard. The table holds
quantiles of how far a swap moves the sound; ``Rule`` draws the line. Plays no audio.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import numpy as np

from fxpipe.pedals import PEDALS, lti_pairs
from fxtrain.contract import (
    ContractError,
    UsageError,
    from_dict,
    identity_of,
    read_json,
    shorten,
    to_dict,
)

KIND = "fxpipe-symmetry"
TABLE_NAME = "symmetry.json"
SHIPPED = Path(__file__).with_name(TABLE_NAME)
LEVELS = tuple(round(0.05 * k, 2) for k in range(21))
"""Quantiles that a table holds: 0, 0.05 … 1."""

Quantiles = tuple[float, ...]
Pair = tuple[str, str]


@dataclass(frozen=True)
class Rule:
    """A pair commutes when this ``quantile`` of its swaps moves the sound by ``threshold_db`` at
    most (mean |dB| of loudness-normalised log-mel).

    0.5 dB is the smallest change of level that listeners notice in steady noise (Miller 1947:
    0.4 to 0.5 dB), here as a mean over all bands and frames. At 0.9, nine clips in ten.
    """

    threshold_db: float = 0.5
    quantile: float = 0.9

    def __post_init__(self) -> None:
        if not self.threshold_db >= 0:  # no number is none either
            raise UsageError(f"threshold is {self.threshold_db} dB, expected 0 or more")
        if not 0 <= self.quantile <= 1:
            raise UsageError(f"quantile is {self.quantile}, expected 0 to 1")


@dataclass(frozen=True)
class PairMeasure:
    """One pair over ``n`` clips: quantiles of the swap's residual, log-mel and STFT distance, and
    of ``floor_db``, the log-mel distance that turning every knob by 1 % makes."""

    pair: Pair
    n: int
    residual_db: Quantiles
    mel_db: Quantiles
    mr_stft: Quantiles
    floor_db: Quantiles

    def __post_init__(self) -> None:
        expected = len(LEVELS) if self.n else 0
        for values in (self.residual_db, self.mel_db, self.mr_stft, self.floor_db):
            if self.n < 0 or len(values) != expected:
                raise ContractError(
                    f"{shorten(self.pair)} over {shorten(self.n)} clips holds {len(values)} "
                    f"quantiles, expected {expected}"
                )

    def at(self, what: str, quantile: float) -> float:
        values: Quantiles = getattr(self, what)
        return float(np.interp(quantile, LEVELS, values)) if self.n else float("nan")


@dataclass(frozen=True)
class SymmetryTable:
    """What ``fxpipe symmetry`` found. ``pedals`` maps a name to the hash of its knobs and ranges:
    a pedal that was changed since counts as never measured."""

    pedals: dict[str, str]
    source: str
    n_clips: int
    seed: int
    clip_s: float
    audible_db: float
    pairs: tuple[PairMeasure, ...]
    versions: dict[str, str]
    kind: str = KIND

    def measured(self, a: str, b: str) -> PairMeasure | None:
        return self._by_pair.get(frozenset((a, b)))

    @cached_property
    def _by_pair(self) -> dict[frozenset[str], PairMeasure]:
        return {frozenset(entry.pair): entry for entry in self.pairs if entry.n}


def pedal_hash(name: str) -> str:
    """Of what a table depends on: knobs, units and ranges."""
    return identity_of(to_dict(PEDALS[name].entry(name)))[:16]


def commuting_pairs(
    pool: Sequence[str], table: SymmetryTable | None = None, rule: Rule | None = None
) -> tuple[Pair, ...]:
    """Pairs of ``pool`` whose order cannot be heard: linear time-invariant ones by theory, the
    rest as measured. A pair that was never measured has an order."""
    table, rule = table or shipped_table(), rule or Rule()
    by_theory = {frozenset(pair) for pair in lti_pairs(pool)}
    known = {name for name in pool if table.pedals.get(name) == pedal_hash(name)}
    found = []
    for i, a in enumerate(pool):
        for b in pool[i + 1 :]:
            entry = table.measured(a, b) if a in known and b in known else None
            quiet = entry is not None and commutes(entry, rule)
            if quiet or frozenset((a, b)) in by_theory:
                found.append((a, b))
    return tuple(found)


def commutes(entry: PairMeasure, rule: Rule) -> bool:
    """The rule on one measured pair; one that was never heard has an order."""
    return entry.at("mel_db", rule.quantile) <= rule.threshold_db


def basis(table: SymmetryTable | None = None, rule: Rule | None = None) -> str:
    """How the pairs are known, in one line for the index."""
    table, rule = table or shipped_table(), rule or Rule()
    return (
        f"measured on {table.n_clips} clips of {table.source}: a swap moves log-mel by "
        f"{rule.threshold_db:g} dB or less on {rule.quantile:.0%} of them; linear time-invariant "
        "pairs by theory"
    )


def quantiles(values: Sequence[float]) -> Quantiles:
    """Of one measure over the clips, at ``LEVELS``; none without values."""
    if not values:
        return ()
    return tuple(round(float(q), 3) for q in np.quantile(np.asarray(values), LEVELS))


@cache
def shipped_table() -> SymmetryTable:
    """The table in the package, made by ``fxpipe symmetry`` for all built-in pedals."""
    return parse_table(json.loads(SHIPPED.read_text(encoding="utf-8")), str(SHIPPED))


def load_table(path: Path) -> SymmetryTable:
    """``symmetry.json``, or the directory that ``fxpipe symmetry`` wrote. UsageError if neither."""
    file = path / TABLE_NAME if path.is_dir() else path
    try:
        return parse_table(read_json(file.read_bytes(), str(file)), str(file))
    except OSError as error:
        raise UsageError(
            f"{file}: cannot be read ({error.strerror}); 'fxpipe symmetry' writes it"
        ) from None
    except ContractError as error:
        raise UsageError(
            f"{file}: no symmetry table ({error}); make it anew with 'fxpipe symmetry'"
        ) from None


def parse_table(data: Any, where: str) -> SymmetryTable:
    if not isinstance(data, dict) or data.get("kind") != KIND:
        raise ContractError(f"{where}: its kind is not {KIND!r}")
    return from_dict(SymmetryTable, data, where)
