"""Writes the pages and tables that come from code: python docs/generate.py [--check].

With ``--check`` nothing is written, and a page that differs from the code is an error.
"""

from __future__ import annotations

import dataclasses
import re
import sys
from pathlib import Path

from fxpipe.pedals import PEDALS, POOLS
from fxtrain.contract import FIELDS, FORMAT_VERSION, RECORD_FIELDS, DatasetIndex

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


def index_table() -> str:
    cells = []
    for field in dataclasses.fields(DatasetIndex):
        kind = re.sub(r"\s+", " ", str(field.type)).replace("|", "\\|")
        cells.append([f"`{field.name}`", f"`{kind}`"])
    return rows(["key", "type"], cells)


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


TABLES = {
    "version": lambda: f"Format version: **{FORMAT_VERSION}**",
    "fields": fields_table,
    "records": records_table,
    "index": index_table,
    "pedals": pedals_table,
    "pools": pools_table,
}


def fill(text: str) -> str:
    """Replace what stands between ``<!-- name -->`` and ``<!-- end -->`` by the table's text."""
    for name, make in TABLES.items():
        pattern = re.compile(rf"(<!-- {name} -->\n).*?(<!-- end -->)", re.DOTALL)
        body = make()
        text = pattern.sub(lambda m, body=body: f"{m[1]}{body}\n{m[2]}", text)
    return text


def main(check: bool) -> int:
    stale = []
    for page in sorted(DOCS.glob("*.md")):
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
