"""Owns data_manifests/*.json: what each data set is, where it comes from, what in it is dry.

Field by field in ``data_manifests/schema.json``, for people in the README beside it; a manifest
of a user's own is a file of the same form. Downloads nothing.
"""

from __future__ import annotations

import codecs
import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from functools import cache
from pathlib import Path
from typing import Any

import regex

from fxpipe.errors import SourceError
from fxpipe.sources.base import LICENCES
from fxpipe.sources.form import check_form
from fxtrain.contract import DamagedError, at_home, read_json, shorten, unknown_name
from fxtrain.contract.schema import Licence

SCHEMA_NAME = "schema.json"
PATTERN_S = 1.0
"""For one file's name; a sound pattern takes microseconds."""


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
    """What the dry files are said to be; their headers decide."""

    sample_rate_hz: tuple[int, ...] = ()
    bit_depth: tuple[int, ...] = ()
    channels: tuple[int, ...] = ()
    recordings: int | None = None
    minutes: float | None = None


@dataclass(frozen=True)
class DryMembers:
    """Globs over posix paths, letter case ignored, ``*`` also crossing ``/``.

    ``optional``: parts that are dry and yet left out unless asked for by name.
    """

    include: tuple[str, ...]
    exclude: tuple[str, ...] = ()
    also_unpack: tuple[str, ...] = ()
    nested: tuple[str, ...] = ()
    optional: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def is_dry(self, path: str, include: Collection[str] = ()) -> bool:
        """Whether a path is dry audio; ``include`` names the optional parts asked for.

        Raises SourceError for a part this data set does not have.
        """
        globs = self.include + tuple(glob for part in include for glob in self._part(part))
        return _matches(path, globs) and not _matches(path, self.exclude)

    def is_in_part(self, path: str, part: str) -> bool:
        """Whether a path belongs to the optional part of that name."""
        return _matches(path, self._part(part)) and not _matches(path, self.exclude)

    def is_wanted(self, path: str) -> bool:
        """Whether a member of an archive is unpacked: dry, optional, annotation or archive."""
        return self.is_dry(path, self.optional) or _matches(path, self.also_unpack + self.nested)

    def is_nested_archive(self, path: str) -> bool:
        return _matches(path, self.nested)

    def _part(self, name: str) -> tuple[str, ...]:
        if name not in self.optional:
            raise SourceError(unknown_name("optional part", name, self.optional))
        return self.optional[name]


@dataclass(frozen=True)
class SplitGroup:
    """``pattern``: a regular expression searched in the item id; its group 1 is the group. Where it
    finds none, the recording is one by itself."""

    how: str
    pattern: str | None = None

    def group_of(self, item_id: str) -> str:
        if self.pattern is None:
            return item_id.rsplit(".", 1)[0]
        try:
            # Not re: a pattern such as (a+)+$ would keep it busy for years over a long name.
            found = regex.search(self.pattern, item_id, timeout=PATTERN_S)
        except TimeoutError:
            raise SourceError(
                f"split_group: pattern {shorten(self.pattern)} takes more than {PATTERN_S:g} s on "
                f"{shorten(item_id)}; write it without repeats inside of repeats"
            ) from None
        group = found and found[1]  # None where the part of the pattern that names it was not met
        return str(group) if group is not None else item_id.rsplit(".", 1)[0]


@dataclass(frozen=True)
class Manifest:
    """``typed``: what ``fetch`` and ``--dataset`` take: the name, or the path of a user's file."""

    name: str
    typed: str
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
    reading: tuple[str, ...]
    split_group: SplitGroup
    defects: tuple[str, ...]

    @property
    def download_bytes(self) -> int:
        """0 where the size of a file is not known."""
        sizes = [file.expected_bytes for file in self.files]
        return sum(sizes) if all(sizes) else 0


def load_manifest(name: str) -> Manifest:
    """The manifest of a data set by its name, or by the path of a user's own ``.json`` file.

    Raises SourceError for an unknown name, a missing file or a malformed one.
    """
    if name.lower().endswith(".json"):
        return _load_own(at_home(name))
    if name not in manifest_names():
        hint = "; a manifest of your own is named by its file, such as ./my-set.json"
        raise SourceError(unknown_name("data set", name, manifest_names()) + hint)
    path = manifest_dir() / f"{name}.json"
    return parse_manifest(_read(path), where=str(path))


def _load_own(path: Path) -> Manifest:
    manifest = parse_manifest(_read(path), where=str(path), typed=str(path))
    if manifest.name in (*manifest_names(), "folder"):
        raise SourceError(
            f"{path}: name is {manifest.name!r}, which is a data set of fxpipe's own: type "
            f"{manifest.name!r} for that one, or give yours another name"
        )
    return manifest


def _read(path: Path) -> Any:
    try:
        return read_json(path.read_bytes().removeprefix(codecs.BOM_UTF8), str(path))
    except OSError as error:
        raise SourceError(f"{path}: no manifest there ({error.strerror or error})") from error
    except DamagedError as error:
        raise SourceError(str(error)) from error


@cache
def manifest_names() -> tuple[str, ...]:
    files = manifest_dir().glob("*.json")
    return tuple(sorted(path.stem for path in files if path.name != SCHEMA_NAME))


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
    units = (("TB", 1e12), ("GB", 1e9), ("MB", 1e6))
    # 999.5 MB would be printed as 1e+03 MB.
    unit, scale = next((each for each in units if n_bytes >= 0.9995 * each[1]), ("kB", 1e3))
    return f"{n_bytes / scale:.3g} {unit}"


def parse_manifest(data: Any, *, where: str, typed: str = "") -> Manifest:
    """Check and convert a manifest's JSON; ``where`` goes into the error.

    Beyond the schema: the licence must agree with one of that id, file names differ, and the
    pattern of groups has one group. Raises SourceError for the first thing that is wrong.
    """
    check_form(data, schema(), where=where)
    licence, group = data["licence"], data["split_group"]
    dry, audio = data["dry"], data.get("audio", {})
    if not _has_one_group(group.get("pattern", "()")):
        raise SourceError(
            f"{where}: split_group: pattern is {shorten(group['pattern'])}, expected a regular "
            "expression with one group"
        )
    return Manifest(
        name=data["name"],
        typed=typed or data["name"],
        title=data["title"],
        version=data.get("version", ""),
        doi=data.get("doi", ""),
        url=data.get("url", ""),
        files=_remote_files(data["files"], where),
        by_hand=data.get("by_hand", ""),
        unpacked_bytes=data.get("unpacked_bytes", 0),
        licence_id=licence["id"],
        licence=_licence(licence, where),
        terms=licence["terms"],
        citation=data.get("citation", ""),
        audio=AudioFacts(
            sample_rate_hz=tuple(audio.get("sample_rate_hz", ())),
            bit_depth=tuple(audio.get("bit_depth", ())),
            channels=tuple(audio.get("channels", ())),
            recordings=audio.get("recordings"),
            minutes=audio.get("minutes"),
        ),
        dry=DryMembers(
            **{key: tuple(value) for key, value in dry.items() if key != "optional"},
            optional={part: tuple(globs) for part, globs in dry.get("optional", {}).items()},
        ),
        reading=tuple(data.get("reading", ())),
        split_group=SplitGroup(**group),
        defects=tuple(data.get("defects", ())),
    )


@cache
def schema() -> dict[str, Any]:
    """What a manifest may hold: ``data_manifests/schema.json``."""
    found: dict[str, Any] = _read(manifest_dir() / SCHEMA_NAME)
    return found


def _licence(values: Mapping[str, Any], where: str) -> Licence:
    """One that is known by its id must not be called shareable where it is not."""
    stated = Licence(values.get("name", values["id"]), values.get("url", ""), values["shareable"])
    known = LICENCES.get(values["id"])
    if known is not None and known.shareable != stated.shareable:
        raise SourceError(
            f"{where}: licence: shareable is {json.dumps(stated.shareable)}, which "
            f"{values['id']} is not; correct one of them"
        )
    return known or stated


def _remote_files(entries: list[Mapping[str, Any]], where: str) -> tuple[RemoteFile, ...]:
    names = [entry["name"].lower() for entry in entries]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice:
        raise SourceError(f"{where}: files: {twice!r} stands there twice")
    return tuple(
        RemoteFile(
            n_bytes=entry.get("bytes"), **{key: entry[key] for key in entry if key != "bytes"}
        )
        for entry in entries
    )


def _has_one_group(pattern: str) -> bool:
    try:
        return len(pattern) < 1000 and regex.compile(pattern).groups == 1
    except (regex.error, RecursionError, OverflowError):
        return False


def _matches(path: str, globs: tuple[str, ...]) -> bool:
    return any(fnmatchcase(path.lower(), glob.lower()) for glob in globs)
