"""What ``fxpipe sources`` prints: every data set there is, or one of them in full."""

from __future__ import annotations

import json
import re
import shutil
import sys
import textwrap
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from fxpipe.console import table
from fxpipe.errors import DataMissingError, SourceError
from fxpipe.sources import SOURCES, Scan, Skipped, Source, open_source
from fxpipe.sources.manifest import Manifest, load_manifest, size_text
from fxpipe.sources.own import is_own, manifest_file
from fxpipe.sources.scan import walk_audio
from fxtrain.contract import UsageError, unknown_name

Facts = dict[str, Any]

NO_KIND = "recording"
LABEL_WIDTH = 12
WIDEST = 100


def list_sources(data_dir: Path | None, as_json: bool) -> str:
    """Every name ``--dataset`` takes: licence, size of the download, on this machine or not."""
    facts = [_in_short(load_manifest(key), data_dir) for key in SOURCES if key != "folder"]
    if as_json:
        return "\n".join(map(json.dumps, facts))
    rows = [
        [
            fact["name"],
            fact["licence"],
            "yes" if fact["shareable"] else "no",
            size_text(fact["download_bytes"]) if fact["fetchable"] else "-",
            "yes" if fact["here"] else "no",
            fact["title"],
        ]
        for fact in facts
    ]
    rows.append(["folder:PATH", "-", "-", "-", "-", "any folder of dry guitar recordings"])
    rows.append(["./FILE.json", "-", "-", "-", "-", "a data set by a manifest of your own"])
    return table(["name", "licence", "shareable", "download", "here", "what"], rows, left=True)


def describe_source(
    name: str, data_dir: Path | None, as_json: bool, include: Sequence[str] = ()
) -> str:
    """One data set: what it is, its licence, where it lies, and what is in it if it is here."""
    key = name.partition(":")[0]
    if not is_own(name) and key not in SOURCES:
        raise UsageError(unknown_name("data set", key, SOURCES))
    facts = source_facts(name, data_dir, include)
    return json.dumps(facts, ensure_ascii=False) if as_json else "\n".join(_lines(facts))


def source_facts(name: str, data_dir: Path | None, include: Sequence[str] = ()) -> Facts:
    """All that is known of one data set, ready for JSON. Reads its recordings if they are here."""
    manifest = _manifest(name)
    facts: Facts = {"name": name} if manifest is None else _stated(manifest)
    try:
        source = open_source(name, data_dir=data_dir, include=include)
    except DataMissingError as error:
        return facts | {"here": False, "how": str(error)}
    root = getattr(source, "root", None)
    facts |= {"here": True, "where": None if root is None else str(root)}
    if source.is_generated:
        return facts
    try:
        facts |= _counted(source.scan(progress=sys.stderr.isatty()))
    except SourceError as error:  # there, and nothing of it can be used: that is worth saying
        facts["problem"] = str(error)
    if manifest is not None and root is not None:
        for part, count in _parts_here(manifest, root).items():
            facts["optional"][part] |= {"here": count, "included": part in include}
    return facts


def _manifest(name: str) -> Manifest | None:
    if is_own(name):
        return load_manifest(manifest_file(name))
    key = name.partition(":")[0]
    return None if key == "folder" else load_manifest(key)


def _in_short(manifest: Manifest, data_dir: Path | None) -> Facts:
    return {
        "name": manifest.name,
        "title": manifest.title,
        "licence": manifest.licence_id,
        "shareable": manifest.licence.shareable,
        "fetchable": bool(manifest.files),
        "download_bytes": manifest.download_bytes,
        "here": _open(manifest.name, data_dir) is not None,
    }


def _open(name: str, data_dir: Path | None) -> Source | None:
    try:
        return open_source(name, data_dir=data_dir)
    except SourceError:
        return None


def _stated(manifest: Manifest) -> Facts:
    """What the manifest says. ``bytes`` and hashes are null where they are not known."""
    return {
        "name": manifest.typed,
        "title": manifest.title,
        "version": manifest.version,
        "page": manifest.url,
        "doi": manifest.doi,
        "licence": {
            "id": manifest.licence_id,
            "name": manifest.licence.name,
            "url": manifest.licence.url,
            "terms": manifest.terms,
            "shareable": manifest.licence.shareable,
        },
        "citation": manifest.citation,
        "download": {
            "bytes": manifest.download_bytes or None,
            "unpacked_bytes": manifest.unpacked_bytes or None,
            "by_hand": manifest.by_hand,
            "files": [
                {
                    "name": file.name,
                    "url": file.url,
                    "bytes": file.n_bytes,
                    "approx_bytes": file.approx_bytes,
                    "md5": file.md5,
                    "sha256": file.sha256,
                }
                for file in manifest.files
            ],
        },
        "audio": {
            "sample_rate_hz": list(manifest.audio.sample_rate_hz),
            "bit_depth": list(manifest.audio.bit_depth),
            "channels": list(manifest.audio.channels),
            "recordings": manifest.audio.recordings,
            "minutes": manifest.audio.minutes,
        },
        "optional": {part: {"globs": globs} for part, globs in manifest.dry.optional.items()},
        "reading": list(manifest.reading),
        "split_group": manifest.split_group.how,
        "defects": list(manifest.defects),
    }


def _counted(scan: Scan) -> Facts:
    """Recordings, minutes and split groups, by kind; what was left out, by reason."""
    kinds: dict[str, list[tuple[float, str]]] = {}
    for item in scan.items:
        kind = str(item.meta.get("kind", NO_KIND))
        kinds.setdefault(kind, []).append((item.duration_s, item.group))
    return {
        "licences": {key: licence.shareable for key, licence in scan.licences.items()},
        "recordings": _sums([(item.duration_s, item.group) for item in scan.items]),
        "by_kind": {kind: _sums(kinds[kind]) for kind in sorted(kinds)},
        "skipped": {"count": len(scan.skipped), "reasons": group_reasons(scan.skipped)},
    }


def _sums(recordings: list[tuple[float, str]]) -> Facts:
    return {
        "count": len(recordings),
        "minutes": round(sum(seconds for seconds, _ in recordings) / 60, 2),
        "groups": len({group for _, group in recordings}),
    }


def group_reasons(skipped: Iterable[Skipped]) -> dict[str, Facts]:
    """Reason less its particulars -> how many, and the first; the most frequent first."""
    grouped: dict[str, Facts] = {}
    for entry in skipped:
        reason = re.sub(r"^(same bytes as) .*", r"\1 another", entry.reason.partition(":")[0])
        reason = re.sub(r"\d+(\.\d+)?", "…", reason)
        fact = grouped.setdefault(reason, {"count": 0, "first": entry.item_id})
        fact["count"] += 1
    return dict(sorted(grouped.items(), key=lambda pair: -pair[1]["count"]))


def _parts_here(manifest: Manifest, root: Path) -> dict[str, int]:
    """Optional part -> how many of its files lie on this machine; they are not opened."""
    parts = manifest.dry.optional
    ids = [item_id for _, item_id in walk_audio(root)] if parts else []
    return {part: sum(manifest.dry.is_in_part(i, part) for i in ids) for part in parts}


def _lines(facts: Facts) -> Iterator[str]:
    """The facts for people: labels at the left, texts wrapped."""
    yield f"{facts['title']} ({facts['name']})" if "title" in facts else facts["name"]
    if "title" in facts:
        yield from _stated_lines(facts)
    if not facts["here"]:
        yield from _labelled("here", f"no: {facts['how']}")
    else:
        yield from _labelled("here", facts["where"] or "yes: it is played on demand")
    if "problem" in facts:
        yield from _labelled("problem", facts["problem"])
    if "recordings" in facts:
        yield from _counted_lines(facts)
    for part, fact in facts.get("optional", {}).items():
        here = f", {fact['here']} files here" if "here" in fact else ""
        state = "included" if fact.get("included") else f"left out without --include {part}"
        yield from _labelled("optional", f"{part}: {state}{here}")
    yield from _bullets("reading", facts.get("reading", []))
    if facts.get("split_group"):
        yield from _labelled("together", facts["split_group"])
    yield from _bullets("defects", facts.get("defects", []))


def _stated_lines(facts: Facts) -> Iterator[str]:
    licence, download, audio = facts["licence"], facts["download"], facts["audio"]
    yield from _labelled("edition", facts["version"])
    yield from _labelled("page", facts["page"])
    mark = "may be shared" if licence["shareable"] else "may NOT be shared"
    yield from _labelled("licence", f"{licence['name']}: {licence['terms']}")
    yield from _labelled("", f"What is made from it {mark}.")
    yield from _labelled("citation", facts["citation"])
    for file in download["files"]:
        size = size_text(file["bytes"] or file["approx_bytes"] or 0)
        yield from _labelled("download", f"{file['name']}, {size}")
    if not download["files"]:
        yield from _labelled("download", download["by_hand"])
    if download["unpacked_bytes"]:
        yield from _labelled("unpacked", f"about {size_text(download['unpacked_bytes'])}")
    said = [
        " or ".join(map(str, audio[key])) + unit
        for key, unit in (("sample_rate_hz", " Hz"), ("bit_depth", " bit"), ("channels", " ch"))
        if audio[key]
    ]
    yield from _labelled("audio", ", ".join(said))


def _counted_lines(facts: Facts) -> Iterator[str]:
    rows = [_count_row(kind, sums) for kind, sums in facts["by_kind"].items()]
    if len(facts["by_kind"]) > 1:
        rows.append(_count_row("all", facts["recordings"]))
    text = table(["kind", "recordings", "minutes", "groups"], rows)
    for k, line in enumerate(text.splitlines()):
        yield ("holds" if k == 0 else "").ljust(LABEL_WIDTH) + line
    if "licence" not in facts:  # a folder: what its files say
        marks = {True: "", False: " (may NOT be shared)"}
        told = [f"{key}{marks[shareable]}" for key, shareable in facts["licences"].items()]
        yield from _labelled("licence", ", ".join(told))
    skipped = facts["skipped"]
    reasons = skipped["reasons"].items()
    lines = [f"{fact['count']} × {reason}, such as {fact['first']}" for reason, fact in reasons]
    yield from _bullets("skipped", lines or ["none"])


def _count_row(kind: str, sums: Mapping[str, Any]) -> list[str]:
    return [kind, str(sums["count"]), f"{sums['minutes']:.1f}", str(sums["groups"])]


def _labelled(label: str, value: str, mark: str = "") -> list[str]:
    """``label`` and the text beside it, wrapped; nothing where the text is empty."""
    width = max(40, min(WIDEST, shutil.get_terminal_size((WIDEST, 24)).columns))
    return textwrap.wrap(
        value,
        width,
        initial_indent=label.ljust(LABEL_WIDTH) + mark,
        subsequent_indent=" " * (LABEL_WIDTH + len(mark)),
        break_long_words=False,
        break_on_hyphens=False,
    )


def _bullets(label: str, values: list[str]) -> Iterator[str]:
    for k, value in enumerate(values):
        yield from _labelled("" if k else label, value, "- ")
