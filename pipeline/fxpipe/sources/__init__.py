"""Owns the list of sources of dry guitar, and is the one door to them.

A data set is added in one place, ``SOURCES``, with a manifest of the same name in
``data_manifests/``; one that its manifest describes in full needs no reader.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from fxpipe.errors import SourceError
from fxpipe.sources.base import (
    LICENCES,
    Item,
    Scan,
    Skipped,
    Source,
    default_data_dir,
    licence_named,
)
from fxpipe.sources.clips import pick_start, read_clip
from fxpipe.sources.egfxset import open_egfxset
from fxpipe.sources.folder import manifest_opener, open_folder
from fxpipe.sources.idmt import open_idmt
from fxpipe.sources.splits import SPLITS, assign_splits, split_of
from fxpipe.sources.synthetic import SynthSource
from fxtrain.contract import unknown_name

SOURCES: dict[str, Callable[[str, Path | None], Source]] = {
    "synth": lambda path, data_dir: SynthSource(),
    "folder": open_folder,
    "idmt": open_idmt,
    "egfxset": open_egfxset,
    "guitarset": manifest_opener("guitarset"),
    "idmt-fx": manifest_opener("idmt-fx"),
    "rossi": manifest_opener("rossi"),
    "guitarjam": manifest_opener("guitarjam"),
}
"""Name -> opener(path after the colon or "", data dir or None)."""


def open_source(name: str, *, data_dir: Path | None = None) -> Source:
    """The source called ``name``: ``idmt``, ``synth``, ``folder:PATH``, ``egfxset:PATH`` …

    A path after the colon says where this one lies and goes before ``data_dir``. Raises
    SourceError for an unknown name, DataMissingError where the data is not on this machine.
    """
    key, _, path = name.partition(":")
    if key not in SOURCES:
        hint = f"; for a folder type folder:{name}" if Path(name).is_dir() else ""
        raise SourceError(unknown_name("source", key, SOURCES) + hint)
    return SOURCES[key](path, data_dir)


__all__ = [
    "LICENCES",
    "SOURCES",
    "SPLITS",
    "Item",
    "Scan",
    "Skipped",
    "Source",
    "assign_splits",
    "default_data_dir",
    "licence_named",
    "open_source",
    "pick_start",
    "read_clip",
    "split_of",
]
