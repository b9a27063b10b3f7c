"""Owns data_manifests/*.json: what each data set is, where it comes from, what in it is dry.

Field by field in ``data_manifests/README.md``. Downloads nothing.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cache
from pathlib import Path
from typing import Any

from fxpipe.errors import SourceError
from fxtrain.contract import unknown_name
from fxtrain.contract.schema import Licence

_TOP_FIELDS = (
    *("name", "title", "version", "doi", "url", "files", "licence", "citation"),
    *("audio", "dry", "split_group", "defects"),
)


@dataclass(frozen=True)
class RemoteFile:
    """One file to download. ``n_bytes`` is exact, ``approx_bytes`` only for asking disk space."""

    name: str
    url: str
    n_bytes: int | None = None
    approx_bytes: int | None = None
    md5: str | None = None
    sha256: str | None = None
    unpack_to: str = ""

    @property
    def expected_bytes(self) -> int:
        return self.n_bytes or self.approx_bytes or 0


@dataclass(frozen=True)
class AudioFacts:
    sample_rate_hz: tuple[int, ...]
    bit_depth: tuple[int, ...]
    channels: tuple[int, ...]


@dataclass(frozen=True)
class DryMembers:
    """Globs over posix paths, letter case ignored, ``*`` also crossing ``/``."""

    include: tuple[str, ...]
    exclude: tuple[str, ...] = ()
    also_unpack: tuple[str, ...] = ()
    nested: tuple[str, ...] = ()

    def is_dry(self, path: str) -> bool:
        return _matches(path, self.include) and not _matches(path, self.exclude)

    def is_wanted(self, path: str) -> bool:
        """Whether a member of an archive is unpacked: dry audio, annotations, inner archives."""
        return self.is_dry(path) or _matches(path, self.also_unpack + self.nested)

    def is_nested_archive(self, path: str) -> bool:
        return _matches(path, self.nested)


@dataclass(frozen=True)
class SplitGroup:
    """``pattern``: a regular expression searched in the item id; its group 1 is the group."""

    how: str
    pattern: str | None = None

    def group_of(self, item_id: str) -> str:
        found = re.search(self.pattern, item_id) if self.pattern else None
        return found.group(1) if found else item_id.rsplit(".", 1)[0]


@dataclass(frozen=True)
class Manifest:
    name: str
    title: str
    version: str
    doi: str
    url: str
    files: tuple[RemoteFile, ...]
    by_hand: str
    unpacked_bytes: int
    licence_id: str
    licence: Licence
    terms: str
    citation: str
    audio: AudioFacts
    dry: DryMembers
    split_group: SplitGroup
    defects: tuple[str, ...]

    @property
    def download_bytes(self) -> int:
        return sum(file.expected_bytes for file in self.files)


def load_manifest(name: str) -> Manifest:
    """The manifest of a data set. SourceError for an unknown name or a malformed file."""
    if name not in manifest_names():
        raise SourceError(unknown_name("data set", name, manifest_names()))
    path = manifest_dir() / f"{name}.json"
    return parse_manifest(json.loads(path.read_text(encoding="utf-8")), where=str(path))


@cache
def manifest_names() -> tuple[str, ...]:
    return tuple(sorted(path.stem for path in manifest_dir().glob("*.json")))


def manifest_dir(package: Path | None = None) -> Path:
    """Inside an installed package, or at the top of a checkout."""
    package = Path(__file__).resolve().parents[1] if package is None else package
    candidates = (package / "data_manifests", package.parents[1] / "data_manifests")
    for candidate in candidates:
        if candidate.is_dir():
            return candidate
    raise SourceError(
        f"no data_manifests in {candidates[0]} or {candidates[1]}: the installation is "
        "incomplete; install fxpipe again"
    )


def size_text(n_bytes: int) -> str:
    """Decimal, as download pages print it: ``1.3 GB``; ``size unknown`` for 0."""
    if not n_bytes:
        return "size unknown"
    unit, scale = ("GB", 1e9) if n_bytes >= 1e9 else ("MB", 1e6) if n_bytes >= 1e6 else ("kB", 1e3)
    return f"{n_bytes / scale:.3g} {unit}"


def parse_manifest(data: Mapping[str, Any], *, where: str) -> Manifest:
    """Check and convert a manifest's JSON; ``where`` goes into the error."""
    top = _fields(
        data,
        where,
        _TOP_FIELDS,
        ("by_hand", "unpacked_bytes"),
    )
    licence = _fields(
        top["licence"], f"{where}: licence", ("id", "name", "url", "terms", "shareable")
    )
    audio = _fields(top["audio"], f"{where}: audio", ("sample_rate_hz", "bit_depth", "channels"))
    dry = _fields(top["dry"], f"{where}: dry", ("include",), ("exclude", "also_unpack", "nested"))
    group = _fields(top["split_group"], f"{where}: split_group", ("how",), ("pattern",))
    return Manifest(
        name=top["name"],
        title=top["title"],
        version=top["version"],
        doi=top["doi"],
        url=top["url"],
        files=tuple(
            _remote_file(entry, f"{where}: files[{k}]") for k, entry in enumerate(top["files"])
        ),
        by_hand=top.get("by_hand", ""),
        unpacked_bytes=top.get("unpacked_bytes", 0),
        licence_id=licence["id"],
        licence=Licence(licence["name"], licence["url"], licence["shareable"]),
        terms=licence["terms"],
        citation=top["citation"],
        audio=AudioFacts(**{key: tuple(value) for key, value in audio.items()}),
        dry=DryMembers(**{key: tuple(value) for key, value in dry.items()}),
        split_group=SplitGroup(**group),
        defects=tuple(top["defects"]),
    )


def _remote_file(entry: Mapping[str, Any], where: str) -> RemoteFile:
    optional = ("bytes", "approx_bytes", "md5", "sha256", "unpack_to")
    values = dict(_fields(entry, where, ("name", "url"), optional))
    for key, digits in (("md5", 32), ("sha256", 64)):
        if key in values and not re.fullmatch(f"[0-9a-f]{{{digits}}}", values[key]):
            raise SourceError(f"{where}: {key} is {values[key]!r}, expected {digits} hex digits")
    return RemoteFile(n_bytes=values.pop("bytes", None), **values)


def _fields(
    data: Any, where: str, required: tuple[str, ...], optional: tuple[str, ...] = ()
) -> Mapping[str, Any]:
    if not isinstance(data, Mapping):
        raise SourceError(f"{where}: expected an object, found {type(data).__name__}")
    missing = [key for key in required if key not in data]
    unknown = [key for key in data if key not in (*required, *optional)]
    if missing or unknown:
        raise SourceError(
            f"{where}: missing {missing or 'nothing'}, unknown {unknown or 'nothing'}; "
            "see data_manifests/README.md"
        )
    return data


def _matches(path: str, globs: tuple[str, ...]) -> bool:
    return any(fnmatchcase(path.lower(), glob.lower()) for glob in globs)
