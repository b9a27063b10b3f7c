"""Owns the list of sources of dry guitar, and is the one door to them.

A data set is added in one place, ``SOURCES``, with a manifest of the same name in
``data_manifests/``; one that its manifest describes in full needs no reader.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path

from fxpipe.errors import SourceError
from fxpipe.sources.base import (
    KINDS,
    META,
    Item,
    Opener,
    Scan,
    Skipped,
    Source,
    default_data_dir,
)
from fxpipe.sources.clips import pick_start, read_clip, read_recording
from fxpipe.sources.egfxset import open_egfxset
from fxpipe.sources.folder import manifest_opener, open_folder
from fxpipe.sources.guitarset import describe_guitarset
from fxpipe.sources.idmt import open_idmt
from fxpipe.sources.idmt_fx import describe_idmt_fx
from fxpipe.sources.manifest import load_manifest
from fxpipe.sources.own import is_own, manifest_file, open_own
from fxpipe.sources.rossi import describe_rossi
from fxpipe.sources.splits import assign_splits
from fxpipe.sources.synthetic import SynthSource
from fxtrain.contract import unknown_name

SOURCES: dict[str, Opener] = {
    "synth": lambda path, data_dir, include: SynthSource(),
    "folder": open_folder,
    "idmt": open_idmt,
    "egfxset": open_egfxset,
    "guitarset": manifest_opener("guitarset", describe_guitarset),
    "idmt-fx": manifest_opener("idmt-fx", describe_idmt_fx),
    "rossi": manifest_opener("rossi", describe_rossi),
    "guitarjam": manifest_opener(
        "guitarjam",
        lambda item_id: {"kind": "phrase", "guitar": "Stratocaster", "signal": "direct"},
    ),
}


def open_source(
    name: str, *, data_dir: Path | None = None, include: Collection[str] = ()
) -> Source:
    """The source called ``name``: ``idmt``, ``synth``, ``folder:PATH``, ``egfxset:PATH`` …

    A path after the colon says where this one lies and goes before ``data_dir``. A name that ends
    in ``.json`` is a manifest of the user's own. ``include`` names optional parts, which its
    manifest lists and which are otherwise left out, such as ``acoustic`` of ``idmt``. Raises
    SourceError for an unknown name or part, DataMissingError where the data is not on this machine.
    """
    key, _, path = name.partition(":")
    if not is_own(name) and key not in SOURCES:
        hint = f"; for a folder type folder:{name}" if Path(name).is_dir() else ""
        raise SourceError(unknown_name("source", key, SOURCES) + hint)
    if include:
        _check_parts(name if is_own(name) else key, include)
    parts = tuple(sorted(set(include)))
    if is_own(name):
        return open_own(name, data_dir, parts)
    return SOURCES[key](path, data_dir, parts)


def _check_parts(name: str, include: Collection[str]) -> None:
    known: Mapping[str, object] = {}
    if name != "folder":
        known = load_manifest(manifest_file(name)).dry.optional
    for part in include:
        if not known:
            raise SourceError(f"{name} has no optional parts; leave {part!r} away")
        if part not in known:
            raise SourceError(f"{name}: {unknown_name('optional part', part, known)}")


__all__ = [
    "KINDS",
    "META",
    "SOURCES",
    "Item",
    "Scan",
    "Skipped",
    "Source",
    "assign_splits",
    "default_data_dir",
    "open_source",
    "pick_start",
    "read_clip",
    "read_recording",
]
