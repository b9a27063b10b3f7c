"""What docs/generate.py writes about data sets, from data_manifests/ and its schema alone."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from fxpipe.sources import SOURCES
from fxpipe.sources.manifest import Manifest, RemoteFile, load_manifest, schema, size_text

Rows = Callable[[list[str], list[list[str]]], str]


def manifests() -> list[Manifest]:
    return [load_manifest(name) for name in SOURCES if name != "folder"]


def overview(rows: Rows) -> str:
    cells = [
        [
            f"[`{m.name}`](#{m.name})",
            text(m.title),
            f"{m.audio.minutes:g}" if m.audio.minutes else "",
            size_text(m.download_bytes) if m.files else "none",
            text(m.licence.name),
            "yes" if m.licence.shareable else "**no**",
            "<br>".join(map(code, m.dry.include)),
        ]
        for m in manifests()
    ]
    header = ["name", "what", "minutes", "download", "licence", "shareable", "dry part"]
    return rows(header, cells)


def details(rows: Rows) -> str:
    return "\n\n".join(section(m, rows) for m in manifests())


def section(m: Manifest, rows: Rows) -> str:
    facts = [[name, value] for name, value in _facts(m) if value]
    parts = [f"## {m.name}", rows([text(m.title), ""], facts)]
    for title, lines in (
        ("How it is read", m.reading),
        ("What stays together", (m.split_group.how,)),
        ("Known defects, and what is done about them", m.defects),
    ):
        if lines:
            parts += [f"**{title}**", "\n".join(f"- {text(line)}" for line in lines)]
    return "\n\n".join(parts)


def _facts(m: Manifest) -> Iterator[tuple[str, str]]:
    yield "page", f"<{m.url}>" if m.url else ""
    yield "edition", text(m.version)
    yield "doi", code(m.doi) if m.doi else ""
    yield "licence", f"[{text(m.licence.name)}]({m.licence.url}) (`{m.licence_id}`)"
    yield "terms", text(m.terms)
    yield "made from it", "may be shared" if m.licence.shareable else "**may not be shared**"
    yield "citation", text(m.citation)
    for file in m.files:
        yield "download", _file(file)
    yield "how to get it", text(m.by_hand)
    yield "unpacked", f"about {size_text(m.unpacked_bytes)}" if m.unpacked_bytes else ""
    yield "sample rate", ", ".join(f"{rate} Hz" for rate in m.audio.sample_rate_hz)
    yield "bit depth", " or ".join(map(str, m.audio.bit_depth))
    yield "channels", " or ".join(map(str, m.audio.channels))
    yield "dry recordings", str(m.audio.recordings or "")
    yield "minutes", f"{m.audio.minutes:g}" if m.audio.minutes else ""
    yield "dry", "<br>".join(map(code, m.dry.include))
    yield "not dry", "<br>".join(map(code, m.dry.exclude))
    for part, globs in m.dry.optional.items():
        yield f"only with `--include {part}`", "<br>".join(map(code, globs))


def _file(file: RemoteFile) -> str:
    size = f"{file.n_bytes} bytes" if file.n_bytes else f"about {size_text(file.approx_bytes or 0)}"
    hashes = [f"{kind} `{value}`" for kind in ("md5", "sha256") if (value := getattr(file, kind))]
    known = size if file.expected_bytes else "size not known"
    return "<br>".join([f"[{text(file.name)}]({file.url}), {known}", *hashes])


def fields(rows: Rows) -> str:
    """Every field of a manifest, as the schema tells it."""
    return rows(["field", "must be", "", "meaning"], list(_fields(schema(), "")))


def _fields(part: Mapping[str, Any], prefix: str) -> Iterator[list[str]]:
    for key, plain in part.get("properties", {}).items():
        field = _resolved(plain)
        name, needed = f"{prefix}{key}", "needed" if key in part.get("required", ()) else ""
        kind = field.get("title") or {"boolean": "true or false"}.get(field["type"], field["type"])
        yield [code(name), text(kind), needed, table_text(field["description"])]
        yield from _fields(field, f"{name}.")
        yield from _fields(_resolved(field.get("items", {})), f"{name}[].")


def _resolved(part: Mapping[str, Any]) -> dict[str, Any]:
    shared = schema()["$defs"].get(part.get("$ref", "").removeprefix("#/$defs/"), {})
    return {**shared, **part}


def code(value: str) -> str:
    return f"`{value}`".replace("|", "\\|")


def text(value: str) -> str:
    """Plain words as markdown: nothing in them is markup."""
    return re.sub(r"([\\`*_|\[\]])", r"\\\1", value).replace("<", "&lt;").replace(">", "&gt;")


def table_text(value: str) -> str:
    """Markdown of our own in a cell."""
    return value.replace("|", "\\|")
