"""Chains and pedal vocabularies as plain values; which orders sound alike, ``orders.py`` knows.

The trainer learns every pedal's name, family and parameters from the data it reads; no pedal is
named in this file. Must not import anything but the standard library and numpy.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from fxtrain.contract.errors import (
    ContractError,
    UsageError,
    VocabularyError,
    shorten,
    unknown_name,
)

PAD = 255
"""Fills ``order`` beyond the end of a chain; a vocabulary holds at most 255 pedals."""

PARAM_SCALES = ("linear", "log", "choice")
MAX_PARAMS = 1000
"""Parameters of one pedal; a shard keeps as many numbers for every pedal of every chain."""


@dataclass(frozen=True)
class Param:
    """One knob: ``scale`` is "linear", "log" (equal ratios are equal steps) or "choice"."""

    name: str
    unit: str
    low: float
    high: float
    scale: str
    meaning: str

    def __post_init__(self) -> None:
        fine = self.scale in PARAM_SCALES and self.low <= self.high
        if not fine or (self.scale == "log" and self.low <= 0):
            raise ContractError(
                f"parameter {shorten(self.name)} goes from {self.low:g} to {self.high:g} "
                f"({shorten(self.scale)}), expected a range, above 0 where log, and one of "
                f"{', '.join(PARAM_SCALES)}"
            )
        if self.scale == "choice" and self.high - self.low > PAD:
            raise ContractError(f"parameter {shorten(self.name)} has more than {PAD + 1} choices")


@dataclass(frozen=True)
class PedalEntry:
    """A pedal as the shards know it. ``family`` orders a textbook board (drive before time)."""

    name: str
    family: str
    params: tuple[Param, ...]

    def __post_init__(self) -> None:
        if len(self.params) > MAX_PARAMS:
            raise ContractError(
                f"a pedal of {len(self.params)} parameters, expected {MAX_PARAMS} at most"
            )


@dataclass(frozen=True)
class Pedal:
    """One pedal with its settings, parameter name -> value in the parameter's own unit."""

    name: str
    settings: dict[str, float]


@dataclass(frozen=True)
class Chain:
    """Pedals in signal order: the first is nearest the guitar."""

    pedals: tuple[Pedal, ...]

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(pedal.name for pedal in self.pedals)

    def __str__(self) -> str:
        return arrow(self.names)


def arrow(names: Sequence[str]) -> str:
    """How a chain is written for people: ``compressor → delay``."""
    return " → ".join(names) if names else "(no pedals)"


@dataclass(frozen=True)
class Vocabulary:
    """The pedals a data set may name; a pedal's id is its position here."""

    pedals: tuple[PedalEntry, ...]

    def __post_init__(self) -> None:
        if len(self.pedals) > PAD:
            raise ContractError(f"{len(self.pedals)} pedals in a vocabulary; at most {PAD} fit")
        if len(set(self.names)) != len(self.names):
            listed = shorten(", ".join(self.names))
            raise ContractError(f"a pedal stands twice in the vocabulary: {listed}")

    @cached_property
    def names(self) -> tuple[str, ...]:
        return tuple(pedal.name for pedal in self.pedals)

    @cached_property
    def families(self) -> dict[str, str]:
        """Pedal -> its family."""
        return {pedal.name: pedal.family for pedal in self.pedals}

    @property
    def max_params(self) -> int:
        return max((len(pedal.params) for pedal in self.pedals), default=0)

    def index(self, name: str) -> int:
        try:
            return self.names.index(name)
        except ValueError:
            raise UsageError(unknown_name("pedal", name, self.names)) from None

    def encode_order(self, names: Sequence[str], max_length: int) -> np.ndarray:
        """uint8 [L]: pedal ids, then ``PAD``."""
        if len(names) > max_length:
            raise ContractError(f"chain {arrow(names)} is longer than {max_length}")
        order = np.full(max_length, PAD, np.uint8)
        order[: len(names)] = [self.index(name) for name in names]
        return order

    def decode_order(self, order: np.ndarray) -> tuple[str, ...]:
        """Names of the ids before the first ``PAD``."""
        ids = [int(i) for i in order]
        length = ids.index(PAD) if PAD in ids else len(ids)
        known = range(len(self.pedals))
        if any(i != PAD for i in ids[length:]) or any(i not in known for i in ids[:length]):
            raise VocabularyError(f"order {ids} does not fit a vocabulary of {len(self.pedals)}")
        return tuple(self.names[i] for i in ids[:length])

    def encode_params(self, chain: Chain, max_length: int) -> np.ndarray:
        """float32 [L, P]: settings in the order of the vocabulary's parameters, NaN elsewhere."""
        values = np.full((max_length, self.max_params), np.nan, np.float32)
        for position, pedal in enumerate(chain.pedals):
            entry = self.pedals[self.index(pedal.name)]
            for column, param in enumerate(entry.params):
                if param.name not in pedal.settings:
                    raise ContractError(f"pedal {pedal.name!r}: no setting {param.name!r}")
                values[position, column] = pedal.settings[param.name]
        return values
