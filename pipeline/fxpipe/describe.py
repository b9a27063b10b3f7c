"""What ``fxpipe sources`` and ``fxpipe inspect`` print."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from fxpipe.errors import DataMissingError
from fxpipe.renders import KIND, iter_clips, read_renders_index
from fxpipe.sources import SOURCES, open_source
from fxpipe.sources.manifest import load_manifest, manifest_names
from fxpipe.verbs import encode_summary, render_summary
from fxtrain.contract import (
    INDEX_NAME,
    SPLITS,
    UsageError,
    open_folder,
    read_index,
    to_dict,
    unknown_name,
)


def list_sources(as_json: bool) -> str:
    """Every name ``--dataset`` takes, with its licence."""
    known = set(manifest_names())
    manifests = [load_manifest(name) for name in SOURCES if name in known]
    if as_json:
        return "\n".join(
            json.dumps(
                {
                    "name": m.name,
                    "title": m.title,
                    "licence": m.licence_id,
                    "shareable": m.licence.shareable,
                }
            )
            for m in manifests
        )
    rows = [[m.name, m.licence_id, m.title] for m in manifests]
    rows.append(["folder:PATH", "-", "any folder of dry guitar recordings"])
    width = max(len(row[0]) for row in rows)
    wide = max(len(row[1]) for row in rows)
    return "\n".join(f"{a:<{width}}  {b:<{wide}}  {c}" for a, b, c in rows)


def describe_source(name: str, data_dir: Path | None, as_json: bool) -> str:
    """One data set: licence, archive, where it lies, and its clips if it is there."""
    key = name.partition(":")[0]
    if key != "folder" and key not in manifest_names():
        raise UsageError(unknown_name("data set", key, SOURCES))
    facts: dict[str, object] = {"name": name}
    if key != "folder":
        manifest = load_manifest(key)
        facts |= {
            "title": manifest.title,
            "licence": f"{manifest.licence.name}: {manifest.terms}",
            "citation": manifest.citation,
        }
    try:
        source = open_source(name, data_dir=data_dir)
    except DataMissingError as error:
        facts["here"] = f"no: {error}"
    else:
        scan = source.scan()
        minutes = sum(item.duration_s for item in scan.items) / 60
        facts["here"] = (
            "generated, nothing to download"
            if source.is_generated
            else f"{len(scan.items)} recordings, {minutes:.1f} minutes, {len(scan.skipped)} skipped"
        )
    if as_json:
        return json.dumps(facts)
    return "\n".join(f"{fact}: {value}" for fact, value in facts.items())


def inspect_directory(
    directory: str, *, sample: int | None, split: str, listen: Path | None, as_json: bool
) -> str:
    """Summary of renders/ or shards/, or one sample of renders/ as record and wav."""
    folder = open_folder(directory)
    if split not in SPLITS:
        raise UsageError(unknown_name("split", split, SPLITS))
    kind = index_kind(directory)
    if kind != KIND:
        if sample is not None or listen is not None:
            raise UsageError(f"{directory}: holds tokens; --sample and --listen want renders/")
        index = read_index(folder)
        return json.dumps(to_dict(index)) if as_json else encode_summary(index, directory)
    renders = read_renders_index(folder)
    if sample is None and listen is None:
        return json.dumps(to_dict(renders)) if as_json else render_summary(renders, directory)
    position = sample or 0
    clips = list(iter_clips(folder, renders, split, position, 1))
    if not clips:
        n = renders.counts[split].n_samples
        raise UsageError(f"{directory}: no sample {position} in {split}, which holds {n}")
    wave, record = clips[0]
    if listen is not None:
        import soundfile

        loud = wave / np.float32(max(1.0, float(np.abs(wave).max())))
        soundfile.write(listen, loud, renders.spec.sample_rate_hz, subtype="PCM_24")
    return json.dumps(record, indent=None if as_json else 1)


def index_kind(directory: str) -> str:
    """What a directory's index says it is; readers give the full error when it says nothing."""
    folder = open_folder(directory)
    if folder.size(INDEX_NAME) is None:
        return "" if folder.size("codebooks.npy") is not None else KIND
    try:
        return str(json.loads(folder.read(INDEX_NAME)).get("kind"))
    except (ValueError, AttributeError):
        return ""
