"""Owns data sets by a manifest of their user's own: ``./my-set.json`` in place of a name."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

from fxpipe.errors import DataMissingError
from fxpipe.sources.base import default_data_dir
from fxpipe.sources.folder import ManifestSource, holds_dry
from fxpipe.sources.manifest import load_manifest, size_text
from fxpipe.sources.scan import walk_audio
from fxtrain.contract import at_home

_OWN = re.compile(r"(?P<file>.*\.json)(?::(?P<path>.+))?", re.IGNORECASE | re.DOTALL)


def is_own(name: str) -> bool:
    """Whether a source is named by a manifest file, with or without ``:PATH`` after it."""
    return _OWN.fullmatch(name) is not None


def manifest_file(name: str) -> str:
    """``./my-set.json`` of ``./my-set.json:PATH``."""
    found = _OWN.fullmatch(name)
    return found["file"] if found else name


def open_own(name: str, data_dir: Path | None, include: tuple[str, ...] = ()) -> ManifestSource:
    """``./my-set.json`` or ``./my-set.json:PATH``, which says where the recordings lie.

    Without a path they are looked for in the data folder, as ``fetch`` leaves them, and beside
    the manifest: in the folder of the data set's name. Raises DataMissingError, and SourceError
    for a manifest that cannot be read.
    """
    found = _OWN.fullmatch(name)
    file, path = (found["file"], found["path"]) if found else (name, None)
    manifest = load_manifest(file)
    base = at_home(data_dir or default_data_dir()).absolute()
    beside = at_home(file).absolute().parent
    places = [base / manifest.name, beside / manifest.name]
    if path is not None:
        places = [at_home(path).absolute()]
    for place in places:
        if holds_dry(place, manifest, include):
            return ManifestSource(place, manifest, include)
    how = manifest.by_hand
    if manifest.files:
        hint = f" --data-dir {shlex.quote(str(base))}" if data_dir is not None else ""
        size = size_text(manifest.download_bytes)
        fetch = f"fxpipe fetch {shlex.quote(file)}{hint}"
        how = f"type '{fetch}' ({size}), or name its folder: {file}:PATH"
    for place in places:
        if n_files := sum(1 for _ in walk_audio(place)):
            how = f"{n_files} sound files are in {place}, and its 'dry' names none of them; {how}"
    raise DataMissingError(
        f"{file}: no dry recording of {manifest.title} in "
        f"{' nor in '.join(map(str, places))}; {how}"
    )
