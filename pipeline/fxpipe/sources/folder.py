"""Owns a folder of anyone's dry recordings, and the data sets that need nothing but a manifest.

What a folder may hold beside audio, at its top:

- ``groups.csv`` (columns ``file,group``): recordings that must stay on one side of a split.
- ``manifest.csv`` (column ``file``; ``licence`` and ``group`` where known; others become meta).
- ``LICENCE.txt``: the SPDX id of the licence of every file that ``manifest.csv`` does not name.

Without a ``group``, takes of one thing are told by their name: ``riff_mf_rr1.wav`` and
``riff_p_take2.wav`` are one group, ``riff``.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from fxpipe.errors import DataMissingError, SourceError
from fxpipe.sources.base import LICENCES, MetaValue, Scan, find_root, licence_named
from fxpipe.sources.manifest import Manifest, load_manifest, size_text
from fxpipe.sources.scan import Candidate, scan_files, walk_audio

_TAKE_MARKS = re.compile(
    r"(?:[ _-]+(?:rr\d+|take[ _-]?\d+|ppp|pp|p|mp|mf|f|ff|fff))+$"  # dynamics in lower case only
)
_LICENCE_NAMES = ("LICENCE.txt", "LICENSE.txt")
_RESERVED = frozenset({"file", "licence", "group", "lead_in_s"})


@dataclass(frozen=True)
class FolderSource:
    """Every readable audio file under ``root``."""

    root: Path
    name: str = "folder"
    is_generated: bool = False

    def scan(self, *, progress: bool = False) -> Scan:
        files = {item_id: path for path, item_id in walk_audio(self.root)}
        rows = _read_csv(self.root / "manifest.csv", ("file",))
        groups = _read_csv(self.root / "groups.csv", ("file", "group"))
        unknown = sorted(set(groups) - set(files))
        if unknown:
            raise SourceError(
                f"{self.root / 'groups.csv'}: names {unknown[0]!r}, which is no audio file there "
                f"({len(unknown)} such line(s)); paths are relative to {self.root}"
            )
        default = _folder_licence(self.root)
        candidates = []
        for item_id, path in files.items():
            row = rows.get(item_id, {})
            group = groups.get(item_id, {}).get("group") or row.get("group")
            meta: dict[str, MetaValue] = {k: v for k, v in row.items() if k not in _RESERVED and v}
            candidates.append(
                Candidate(
                    path=path,
                    item_id=item_id,
                    group=group or group_by_name(item_id),
                    licence=row.get("licence") or default,
                    meta=meta,
                )
            )
        return scan_files(
            self.name,
            candidates,
            licences={c.licence: licence_named(c.licence) for c in candidates},
            where=str(self.root),
            progress=progress,
        )


@dataclass(frozen=True)
class ManifestSource:
    """A data set whose dry files and groups its manifest tells in full."""

    root: Path
    manifest: Manifest
    is_generated: bool = False

    @property
    def name(self) -> str:
        return self.manifest.name

    def scan(self, *, progress: bool = False) -> Scan:
        manifest = self.manifest
        candidates = [
            Candidate(path, item_id, manifest.split_group.group_of(item_id), manifest.licence_id)
            for path, item_id in walk_audio(self.root)
            if manifest.dry.is_dry(item_id)
        ]
        return scan_files(
            self.name,
            candidates,
            licences={manifest.licence_id: manifest.licence},
            where=str(self.root),
            progress=progress,
        )


def open_folder(path: str, data_dir: Path | None) -> FolderSource:
    """``folder:PATH``. DataMissingError where PATH is no folder."""
    root = Path(path).expanduser().absolute() if path else data_dir
    if root is None:
        raise SourceError("folder: which one? type folder:PATH, for example folder:my-recordings")
    if not root.is_dir():
        found = "a file, not a folder" if root.exists() else "not there"
        raise DataMissingError(f"folder: {root} is {found}; give a folder of recordings")
    return FolderSource(root)


def manifest_opener(name: str) -> Callable[[str, Path | None], ManifestSource]:
    """An entry of ``SOURCES`` for a data set without a reader of its own."""

    def open_it(path: str, data_dir: Path | None) -> ManifestSource:
        manifest = load_manifest(name)
        if path and _holds_dry(Path(path), manifest):
            return ManifestSource(Path(path).absolute(), manifest)
        own = {name, *(Path(file.name).stem.lower() for file in manifest.files)}
        root = find_root(
            name,
            Path(path) if path else data_dir,
            # By name too: a folder of several data sets must not pass for one of them.
            lambda folder: folder.name.lower() in own and _holds_dry(folder, manifest),
            what=manifest.title,
            size=size_text(manifest.download_bytes),
        )
        return ManifestSource(root, manifest)

    return open_it


def group_by_name(item_id: str) -> str:
    """``notes/e2_mf_rr1.wav`` -> ``notes/e2``: the name less takes, round robins and dynamics."""
    path = PurePosixPath(item_id)
    return str(path.with_name(_TAKE_MARKS.sub("", path.stem) or path.stem))


def _holds_dry(folder: Path, manifest: Manifest) -> bool:
    return any(manifest.dry.is_dry(item_id) for _, item_id in walk_audio(folder))


def _folder_licence(root: Path) -> str:
    for name in _LICENCE_NAMES:
        path = root / name
        if path.is_file():
            text = path.read_text(encoding="utf-8", errors="replace")
            words = {word.rstrip(".") for word in re.findall(r"[A-Za-z0-9.-]+", text)}
            named = [key for key in LICENCES if key in words]
            return named[0] if len(named) == 1 else "unknown"
    return "unknown"


def _read_csv(path: Path, columns: tuple[str, ...]) -> dict[str, dict[str, str]]:
    """Rows by their ``file`` column; nothing where there is no such file."""
    if not path.is_file():
        return {}
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file)
            missing = [name for name in columns if name not in (reader.fieldnames or ())]
            if missing:
                raise SourceError(
                    f"{path}: no column {missing[0]!r} in {reader.fieldnames}; "
                    f"expected at least {','.join(columns)}"
                )
            rows = [{k: (v or "").strip() for k, v in row.items() if k} for row in reader]
    except (UnicodeDecodeError, csv.Error) as error:
        raise SourceError(f"{path}: not a UTF-8 CSV file ({error})") from error
    return {row["file"].replace("\\", "/").removeprefix("./"): row for row in rows}
