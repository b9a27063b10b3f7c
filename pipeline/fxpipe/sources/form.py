"""Owns checking JSON against a schema: the small part of JSON Schema 2020-12 manifests are told in.

So ``data_manifests/schema.json`` is the one place that says what a manifest may hold, and running
needs no validator. A test holds this against the ``jsonschema`` library. Knows no data sets.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from fxpipe.errors import SourceError
from fxtrain.contract import shorten

Schema = Mapping[str, Any]

TYPES: dict[str, tuple[type | tuple[type, ...], str]] = {
    "object": (Mapping, "an object"),
    "array": (list, "a list"),
    "string": (str, "a text"),
    "boolean": (bool, "true or false"),
    "integer": (int, "a whole number"),
    "number": ((int, float), "a number"),
}
SAID = frozenset({"$schema", "$id", "$defs", "title", "description"})
OBEYED = frozenset(
    {"$ref", "type", "anyOf", "required", "properties", "additionalProperties"}
    | {"items", "minItems", "minLength", "pattern", "exclusiveMinimum"}
)


def check_form(value: Any, schema: Schema, *, where: str) -> None:
    """SourceError for the first thing in ``value`` that ``schema`` does not allow.

    ``title`` of a part of the schema says in the error what was expected. ``$ref`` reaches into
    ``$defs``; ``anyOf`` stands at the top only; patterns match the whole text.
    """
    _check(value, schema, schema["$defs"], where, "")


def _check(value: Any, schema: Schema, defs: Schema, where: str, key: str) -> None:
    schema = _resolved(schema, defs)
    strange = set(schema) - SAID - OBEYED
    if strange:
        raise AssertionError(f"schema of {where}: {sorted(strange)} is not understood here")
    kind, words = TYPES[schema["type"]]
    expected = schema.get("title", words)
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if kind in (Mapping, list) and not isinstance(value, kind):
        place = f"{where}: {key}" if key else where
        raise SourceError(f"{place}: expected {words}, found {type(value).__name__}")
    fits = isinstance(value, kind) and (isinstance(value, bool) <= (kind is bool))
    fits = fits and not (
        (isinstance(value, str) and len(value) < schema.get("minLength", 0))
        or ("pattern" in schema and not re.fullmatch(schema["pattern"], value))
        or (is_number and value <= schema.get("exclusiveMinimum", float("-inf")))
        or (isinstance(value, list) and len(value) < schema.get("minItems", 0))
    )
    if not fits:
        raise SourceError(f"{where}: {key} is {shorten(value)}, expected {expected}")
    if isinstance(value, Mapping):
        _check_object(value, schema, defs, f"{where}: {key}" if key else where)
    elif isinstance(value, list):
        for k, entry in enumerate(value):
            _check(entry, schema["items"], defs, where, f"{key}[{k}]")


def _check_object(value: Mapping[str, Any], schema: Schema, defs: Schema, where: str) -> None:
    known, others = schema.get("properties", {}), schema["additionalProperties"]
    missing = [key for key in schema.get("required", ()) if key not in value]
    unknown = [key for key in value if key not in known and others is False]
    if missing or unknown:
        raise SourceError(
            f"{where}: missing {missing or 'nothing'}, unknown {unknown or 'nothing'}; "
            "see data_manifests/README.md"
        )
    for key, entry in value.items():
        _check(entry, known.get(key, others), defs, where, key)
    ways = schema.get("anyOf", ())
    if ways and not any(_goes(value, way) for way in ways):
        needed = " or ".join(key for way in ways for key in _keys(way))
        raise SourceError(f"{where}: {needed} must be given; see data_manifests/README.md")


def _goes(value: Mapping[str, Any], way: Schema) -> bool:
    """One of ``anyOf``: keys that must be there, or lists that must hold something."""
    lists = way.get("properties", {})
    return all(key in value for key in way.get("required", ())) and all(
        len(value[key]) >= wanted["minItems"] for key, wanted in lists.items()
    )


def _keys(way: Schema) -> list[str]:
    return [*way.get("required", ()), *way.get("properties", {})]


def _resolved(schema: Schema, defs: Schema) -> Schema:
    if "$ref" not in schema:
        return schema
    return {**defs[schema["$ref"].removeprefix("#/$defs/")], **schema}
