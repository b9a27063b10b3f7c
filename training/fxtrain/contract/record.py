"""What the known keys of a sample's record hold; see ``schema.RECORD_FIELDS``. No other import.

Records are free to hold more; what is read by name must be of the kind that its readers expect.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from fxtrain.contract.errors import DamagedError, shorten

MAX_CHAIN = 255
"""Pedals; ``order`` is uint8 and ``PAD`` its last value."""


def _text(value: Any) -> bool:
    return isinstance(value, str)


def _number(value: Any) -> bool:
    """A finite number that fits a float32."""
    kind = type(value)
    return (kind is float or kind is int) and -1e38 < value < 1e38


def _numbers(value: Any) -> bool:
    return isinstance(value, list) and all(map(_number, value))


def _pedals(value: Any) -> bool:
    return isinstance(value, list) and len(value) <= MAX_CHAIN and all(map(_pedal, value))


def _pedal(value: Any) -> bool:
    return (
        isinstance(value, dict)
        and _text(value.get("name"))
        and _numbers_by_name(value.get("settings"))
    )


def _numbers_by_name(value: Any) -> bool:
    return isinstance(value, dict) and all(map(_number, value.values()))


KINDS: dict[str, tuple[Callable[[Any], bool], str]] = {
    "id": (_text, "a text"),
    "source": (_text, "a text"),
    "item": (_text, "a text"),
    "group": (_text, "a text"),
    "licence": (_text, "a text"),
    "split": (_text, "a text"),
    "seed": (lambda value: isinstance(value, list), "a list"),
    "clip": (lambda value: isinstance(value, dict), "an object"),
    "chain": (_pedals, "a list of pedals with a name and settings"),
    "after": (_numbers_by_name, "an object of numbers"),
    "loudness_lufs": (lambda value: value is None or _number(value), "a number or null"),
    "stage_change_db": (_numbers, "a list of numbers"),
    "swap_db": (_numbers, "a list of numbers"),
    "scale": (_number, "a number"),
}


def check_record(record: Mapping[str, Any], where: str) -> None:
    """Raise DamagedError for the first known key that holds something of another kind."""
    for key, (fits, words) in KINDS.items():
        if key in record and not fits(record[key]):
            raise DamagedError(f"{where}: {key} is {shorten(record[key])}, expected {words}")
    orders = record.get("alike")
    if orders is not None and not _orders(orders, len(record.get("chain", ()))):
        raise DamagedError(f"{where}: alike is {shorten(orders)}, expected orders of its chain")


def _orders(value: Any, n_pedals: int) -> bool:
    """Lists that each name every place of the chain once."""
    places = list(range(n_pedals))
    return isinstance(value, list) and all(
        isinstance(order, list)
        and all(type(place) is int for place in order)
        and sorted(order) == places
        for order in value
    )


def need(record: Mapping[str, Any], keys: tuple[str, ...], where: str) -> None:
    """Raise DamagedError unless the record has all of ``keys``."""
    for key in keys:
        if key not in record:
            name = shorten(record.get("id", "(no id)"))
            raise DamagedError(f"{where}: record {name} has no key {key!r}")
