"""What is to be heard, before anything is rendered: item specs, and the file they may come from.

A file is TOML or JSON, see docs/listening-test.md. A chain is a list of pedals: a name alone, or a
table with the knobs that are set; the others stand as the reference has them, or in the middle.
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from fxtrain.alternatives import with_knobs_of
from fxtrain.contract import (
    Chain,
    ContractError,
    Pedal,
    PedalEntry,
    UsageError,
    from_unit,
    shorten,
    to_unit,
    unknown_name,
)
from fxtrain.listen.dries import Dries, Dry
from fxtrain.listen.study import REFERENCE

ITEM_KEYS = ("name", "dry", "reference", "conditions")


@dataclass(frozen=True, eq=False)
class ItemSpec:
    """One question: chains by condition, on one dry recording.

    ``pair``: the pedals whose order differs.
    """

    name: str
    dry: Dry
    reference: Chain
    conditions: Mapping[str, Chain]
    pair: tuple[str, ...] = ()
    catch: bool = False


def by_name(pedals: Iterable[PedalEntry]) -> dict[str, PedalEntry]:
    return {entry.name: entry for entry in pedals}


def middle(entry: PedalEntry) -> Pedal:
    """Every knob in the middle of its travel."""
    return Pedal(entry.name, {param.name: from_unit(param, 0.5) for param in entry.params})


def drawn(entry: PedalEntry, rng: np.random.Generator) -> Pedal:
    """Every knob anywhere along its travel."""
    return Pedal(entry.name, {p.name: from_unit(p, float(rng.random())) for p in entry.params})


def _entry(name: Any, pedals: Mapping[str, PedalEntry], where: str) -> PedalEntry:
    if not isinstance(name, str) or name not in pedals:
        raise UsageError(f"{where}: {unknown_name('pedal', str(name), pedals)}")
    return pedals[name]


def parse_chain(
    data: Any, pedals: Mapping[str, PedalEntry], where: str, like: Chain | None = None
) -> Chain:
    """A list of names and tables -> a chain whose every knob is set."""
    if not isinstance(data, list):
        raise UsageError(f"{where}: expected a list of pedals, found {shorten(data)}")
    plain = []
    for part in data:
        name = part.get("pedal") if isinstance(part, dict) else part
        plain.append(middle(_entry(name, pedals, where)))
    chain = with_knobs_of(Chain(tuple(plain)), like or Chain(()))
    turned = []
    for part, pedal in zip(data, chain.pedals, strict=True):
        knobs = {k: v for k, v in part.items() if k != "pedal"} if isinstance(part, dict) else {}
        params = {param.name: param for param in pedals[pedal.name].params}
        for key, value in knobs.items():
            if key not in params:
                raise UsageError(
                    f"{where}: pedal {pedal.name!r}: {unknown_name('knob', key, params)}"
                )
            try:
                to_unit(params[key], value)
            except (ContractError, TypeError):
                p = params[key]
                raise UsageError(
                    f"{where}: pedal {pedal.name!r}: {key} is {shorten(value)}, expected "
                    f"{p.low:g} to {p.high:g} {p.unit}"
                ) from None
        turned.append(
            Pedal(pedal.name, {**pedal.settings, **{k: float(v) for k, v in knobs.items()}})
        )
    return Chain(tuple(turned))


def read_items(
    path: Path, pedals: Mapping[str, PedalEntry], kind: str, dries: Dries
) -> list[ItemSpec]:
    """Every item of a TOML or JSON file. ABX takes one condition beside the reference."""
    data = _read(path)
    items = data.get("item") if isinstance(data, dict) else None
    if not isinstance(items, list) or not items:
        raise UsageError(f"{path}: no [[item]]; expected one for every question")
    specs: list[ItemSpec] = []
    for number, table in enumerate(items, start=1):
        where = f"{path}: item {number}"
        if not isinstance(table, dict):
            raise UsageError(f"{where}: expected a table, found {shorten(table)}")
        for key in table:
            if key not in ITEM_KEYS:
                raise UsageError(f"{where}: {unknown_name('key', key, ITEM_KEYS)}")
        if "reference" not in table:
            raise UsageError(f"{where}: no 'reference', the chain that the others are held against")
        reference = parse_chain(table["reference"], pedals, f"{where}, reference")
        others = table.get("conditions", {})
        if not isinstance(others, dict) or REFERENCE in others:
            raise UsageError(f"{where}: expected [item.conditions] with a chain for every name")
        conditions = {
            str(name): parse_chain(chain, pedals, f"{where}, {name}", reference)
            for name, chain in others.items()
        }
        if kind == "abx" and len(conditions) != 1:
            raise UsageError(
                f"{where}: {len(conditions)} conditions beside the reference, ABX compares it with "
                "exactly one"
            )
        name = str(table.get("name", f"item {number}"))
        dry = table.get("dry")
        if dry is not None and not isinstance(dry, str):
            raise UsageError(f"{where}: dry is {shorten(dry)}, expected the name of an audio file")
        at = dries.take() if dry is None else dries.read(path.parent / dry)
        pair = swapped_pair(reference, next(iter(conditions.values()))) if kind == "abx" else ()
        specs.append(ItemSpec(name, at, reference, conditions, pair))
    if kind != "abx" and len({frozenset(spec.conditions) for spec in specs}) > 1:
        raise UsageError(
            f"{path}: the items have different conditions; every item needs the same ones, or they "
            "cannot be compared"
        )
    return specs


def _read(path: Path) -> Any:
    try:
        text = path.read_text(encoding="utf-8-sig")
        return json.loads(text) if path.suffix == ".json" else tomllib.loads(text)
    except OSError as error:
        raise UsageError(f"{path}: cannot be read ({error.strerror or error})") from None
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{path}: not readable as TOML or JSON ({error})") from None


def swapped_pair(one: Chain, other: Chain) -> tuple[str, ...]:
    """The two pedals that changed places, where that is all that differs."""
    places = [i for i, (a, b) in enumerate(zip(one.pedals, other.pedals, strict=False)) if a != b]
    if len(one.pedals) == len(other.pedals) and len(places) == 2 and places[1] == places[0] + 1:
        i, j = places
        if (one.pedals[i], one.pedals[j]) == (other.pedals[j], other.pedals[i]):
            return one.names[i], one.names[j]
    return ()


def swap(chain: Chain, i: int) -> Chain:
    """Pedals i and i + 1 exchanged."""
    p = chain.pedals
    return Chain((*p[:i], p[i + 1], p[i], *p[i + 2 :]))
