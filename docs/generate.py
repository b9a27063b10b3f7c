"""Writes the pages and tables that come from code: python docs/generate.py [--check].

With ``--check`` nothing is written, and a page that differs from the code is an error.
"""

from __future__ import annotations

import dataclasses
import functools
import json
import re
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, get_args, get_type_hints

import click
import data_sets
import orders
import pedal_pages
import scale

from fxpipe.chains.chain import CHAIN_KEYS, ChainSpec
from fxpipe.cli import plan, render
from fxpipe.pedals import MAKES, PEDALS, POOLS
from fxpipe.pedals.makes import CLEAN_VOICE
from fxpipe.render import RENDER_KEYS, RenderSpec
from fxtrain.contract import FIELDS, FORMAT_VERSION, RECORD_FIELDS, DatasetIndex, to_dict

DOCS = Path(__file__).parent


def rows(header: list[str], cells: list[list[str]]) -> str:
    lines = [header, ["---"] * len(header), *cells]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def fields_table() -> str:
    return rows(
        ["field", "dtype", "one sample", "", "meaning"],
        [
            [f"`{f.name}`", f.dtype, f"[{f.shape}]", "optional" if f.optional else "", f.meaning]
            for f in FIELDS
        ],
    )


def records_table() -> str:
    return rows(["key", "meaning"], [[f"`{key}`", text] for key, text in RECORD_FIELDS.items()])


def keys_of(cls: Any) -> list[list[str]]:
    """Name and type of every field, as code."""
    kinds = {field.name: re.sub(r"\s+", " ", str(field.type)) for field in dataclasses.fields(cls)}
    return [[f"`{name}`", f"`{kind}`".replace("|", "\\|")] for name, kind in kinds.items()]


def index_table() -> str:
    return rows(["key", "type"], keys_of(DatasetIndex))


def made_of(kind: Any) -> Iterator[Any]:
    """The dataclasses that a type holds, itself first."""
    if dataclasses.is_dataclass(kind):
        yield kind
        for held in get_type_hints(kind).values():
            yield from made_of(held)
    for part in get_args(kind):
        yield from made_of(part)


def index_types_table() -> str:
    _, *kinds = dict.fromkeys(made_of(DatasetIndex))
    cells = [
        [
            f"`{kind.__name__}`",
            ", ".join(f"{name} {of}".replace("` `", ": ") for name, of in keys_of(kind)),
            " ".join(kind.__doc__.replace("``", "`").split()),
        ]
        for kind in kinds
    ]
    return rows(["type", "its keys", "meaning"], cells)


def pedals_table() -> str:
    cells = []
    for name, spec in PEDALS.items():
        knobs = ", ".join(
            f"{p.name} {p.low:g}–{p.high:g}{' ' + p.unit if p.unit != 'ratio' else ''}"
            for p in spec.params
        )
        cells.append([f"**{name}**", spec.family, spec.linearity, spec.meaning, knobs])
    return rows(["pedal", "family", "kind", "what it does", "settings"], cells)


def pools_table() -> str:
    return rows(["pool", "pedals"], [[f"`{k}`", ", ".join(v)] for k, v in POOLS.items()])


def makes_table() -> str:
    """What is inside of other makes, but for the voice, which all have."""
    voice = {param.name for param in CLEAN_VOICE}
    cells = []
    for name, make in MAKES.items():
        inside = [p for p in make.inside if p.name not in voice]
        text = "; ".join(f"{p.name} {p.low:g}–{p.high:g}: {p.meaning}" for p in inside)
        cells.append([f"**{name}**", text or "its voice only"])
    return rows(["pedal", "what is drawn inside, beside its voice"], cells)


def keys_table(keys: Mapping[str, str], defaults: Mapping[str, Any], command: click.Command) -> str:
    """Keys of a table of TOML, the option that says the same, and the default."""
    flags = {option.name: option.opts[-1] for option in command.params}
    cells = []
    for key, meaning in keys.items():
        flag = f"`{flags[key]}`" if key in flags else ""
        default = f"`{json.dumps(defaults[key])}`" if defaults[key] not in ({}, []) else ""
        cells.append([f"`{key}`", flag, default, meaning])
    return rows(["key", "flag", "default", "meaning"], cells)


def chain_keys_table() -> str:
    spec = to_dict(ChainSpec(POOLS["stompbox"])) | {"pool": "stompbox", "lengths": "1-5"}
    return keys_table(CHAIN_KEYS, spec, plan)


def render_keys_table() -> str:
    return keys_table(RENDER_KEYS, to_dict(RenderSpec(ChainSpec(POOLS["stompbox"]))), render)


TABLES = {
    "version": lambda: f"Format version: **{FORMAT_VERSION}**",
    "fields": fields_table,
    "records": records_table,
    "index": index_table,
    "index-types": index_types_table,
    "pedals": pedals_table,
    "pools": pools_table,
    "makes": makes_table,
    "chain-keys": chain_keys_table,
    "render-keys": render_keys_table,
    "data-sets": lambda: data_sets.overview(rows),
    "data-set-details": lambda: data_sets.details(rows),
    "manifest-fields": lambda: data_sets.fields(rows),
    "symmetry-facts": orders.facts,
    "symmetry-pairs": lambda: orders.pairs(rows),
    "ceilings": lambda: orders.ceilings(rows),
    "scale-basis": lambda: scale.basis(rows),
    "scale-plan": lambda: scale.plan(rows),
    "scale-cost": lambda: scale.cost(rows),
    "pedal-pages": lambda: pedal_pages.index(rows),
    "knob-tokens": pedal_pages.tokens,
    **{f"knobs {name}": functools.partial(pedal_pages.knobs, name, rows) for name in PEDALS},
}


def fill(text: str) -> str:
    """Replace what stands between ``<!-- name -->`` and ``<!-- end -->`` by the table's text."""
    for name, make in TABLES.items():
        pattern = re.compile(rf"(<!-- {name} -->\n).*?(<!-- end -->)", re.DOTALL)
        text = pattern.sub(lambda m, make=make: f"{m[1]}{make()}\n{m[2]}", text)
    return text


def main(check: bool) -> int:
    stale = pedal_pages.missing(DOCS)
    pages = [*sorted(DOCS.glob("*.md")), *sorted(DOCS.glob("pedals/*.md"))]
    for page in [*pages, DOCS.parent / "data_manifests" / "README.md"]:
        old = page.read_text(encoding="utf-8")
        new = fill(old)
        if new != old:
            stale.append(page.name)
            if not check:
                page.write_text(new, encoding="utf-8")
    if check and stale:
        print(f"docs out of date: {', '.join(stale)}; run python docs/generate.py")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main("--check" in sys.argv[1:]))
