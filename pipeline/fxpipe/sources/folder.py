"""Owns a folder of anyone's dry recordings, and data sets that need a manifest and no more.

What a folder may hold beside audio, at its top:

- ``groups.csv`` (columns ``file,group``): recordings that must stay on one side of a split.
- ``manifest.csv`` (column ``file``; ``licence`` and ``group`` where known; others become meta, best
  by the names in ``fxpipe.sources.base.META``: ``kind``, ``guitar``, ``pickup``, ``midi`` …).
- ``LICENCE.txt``: the SPDX id of the licence of every file that ``manifest.csv`` does not name.

Without a ``group``, recordings of one thing are told by their name: ``riff_mf_rr1.wav``,
``riff_p_take2.wav``, ``riff_mic.wav``, ``riff_neck_slow.wav`` and ``riff_90bpm.wav`` are one group,
``riff``. Groups whose names differ by capitals alone are one, under the first of these names.
"""

from __future__ import annotations

import csv
import math
import re
import unicodedata
from collections.abc import Callable, Collection
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path, PurePosixPath

from fxpipe.errors import DataMissingError, SourceError
from fxpipe.sources.base import (
    KINDS,
    LICENCES,
    NUMBERS,
    MetaValue,
    Opener,
    Scan,
    Skipped,
    find_root,
    licence_named,
)
from fxpipe.sources.manifest import Manifest, load_manifest, size_text
from fxpipe.sources.scan import Candidate, scan_files, walk_audio
from fxtrain.contract import at_home, shorten

_DYNAMIC = r"ppp|pp|p|mp|mf|f|ff|fff"  # in lower case only: F is a pitch
_SAME_AGAIN = (
    r"rr\d+|take[ _-]?\d+|\d{2,3}[ _-]?bpm|mic|di|pickup|neck|middle|bridge|slow|fast|mono|poly"
)
_TAKE_MARKS = re.compile(rf"(?:[ _-]+(?:(?i:{_SAME_AGAIN})|{_DYNAMIC}))+$")
_STROKE = re.compile(rf"(?:^|.*[ _-])(?i:[a-g][b#]?\d)(?:[ _-]+(?:rr\d+|(?P<dynamic>{_DYNAMIC})))+")
_LICENCE_NAMES = ("LICENCE.txt", "LICENSE.txt")
_SHOWN_ROWS = 3
_RESERVED = frozenset({"file", "licence", "group", "lead_in_s", "start_s", "phrase", "performance"})
"""Columns that are no remarks: some tell of the file, others are what a render's record says."""


@dataclass(frozen=True)
class FolderSource:
    """Every readable audio file under ``root``."""

    root: Path
    name: str = "folder"
    is_generated: bool = False

    def scan(self, *, progress: bool = False) -> Scan:
        walked = list(walk_audio(self.root))
        files = {item_id for _, item_id in walked}
        rows = _read_csv(self.root / "manifest.csv", ("file",), files)
        _check_spelling(self.root / "manifest.csv", set().union(*rows.values()))
        groups = _read_csv(self.root / "groups.csv", ("file", "group"), files)
        default = _folder_licence(self.root)
        candidates = []
        spelt: dict[str, str] = {}
        for path, item_id in walked:
            row = rows.get(item_id, {})
            group = groups.get(item_id, {}).get("group") or row.get("group")
            group = group or group_by_name(item_id)
            told = {k: _value(k, v) for k, v in row.items() if k not in _RESERVED and v}
            candidates.append(
                Candidate(
                    path=path,
                    item_id=item_id,
                    group=spelt.setdefault(group.casefold(), group),
                    licence=row.get("licence") or default,
                    meta=stroke_by_name(item_id) | told,
                )
            )
        return scan_files(
            self.name,
            candidates,
            licences={c.licence: licence_named(c.licence) for c in candidates},
            where=str(self.root),
            progress=progress,
        )


Describe = Callable[[str], dict[str, MetaValue] | Skipped]
"""Item id -> its meta, or why it is left out."""


def tells_nothing(item_id: str) -> dict[str, MetaValue]:
    return {}


@dataclass(frozen=True)
class ManifestSource:
    """A data set whose dry files and groups its manifest tells; ``describe`` reads their names."""

    root: Path
    manifest: Manifest
    include: tuple[str, ...] = ()
    describe: Describe = tells_nothing
    is_generated: bool = False

    @property
    def name(self) -> str:
        return self.manifest.name

    def scan(self, *, progress: bool = False) -> Scan:
        manifest = self.manifest
        candidates: list[Candidate] = []
        skipped: list[Skipped] = []
        for path, item_id in walk_audio(self.root):
            if not manifest.dry.is_dry(item_id, self.include):
                continue
            meta = self.describe(item_id)
            if isinstance(meta, Skipped):
                skipped.append(meta)
                continue
            group = manifest.split_group.group_of(item_id)
            candidates.append(Candidate(path, item_id, group, manifest.licence_id, meta))
        return scan_files(
            self.name,
            candidates,
            licences={manifest.licence_id: manifest.licence},
            where=str(self.root),
            skipped=skipped,
            progress=progress,
        )


def open_folder(path: str, data_dir: Path | None, include: tuple[str, ...] = ()) -> FolderSource:
    """``folder:PATH``. DataMissingError where PATH is no folder. A folder has no optional parts."""
    root = at_home(path).absolute() if path else data_dir
    if root is None:
        raise SourceError("folder: which one? type folder:PATH, for example folder:my-recordings")
    if not root.is_dir():
        found = "a file, not a folder" if root.exists() else "not there"
        raise DataMissingError(f"folder: {root} is {found}; give a folder of recordings")
    return FolderSource(root)


def manifest_opener(name: str, describe: Describe = tells_nothing) -> Opener:
    """An entry of ``SOURCES`` for a data set whose files and groups its manifest tells."""

    def open_it(path: str, data_dir: Path | None, include: tuple[str, ...]) -> ManifestSource:
        manifest = load_manifest(name)
        named = at_home(path) if path else None
        if named is not None and holds_dry(named, manifest, include):
            return ManifestSource(named.absolute(), manifest, include, describe)
        own = {name, *(Path(file.name).stem.lower() for file in manifest.files)}
        root = find_root(
            name,
            named or data_dir,
            # By name too: a folder of several data sets must not pass for one of them.
            lambda folder: folder.name.lower() in own and holds_dry(folder, manifest, include),
            what=manifest.title,
            size=size_text(manifest.download_bytes),
        )
        return ManifestSource(root, manifest, include, describe)

    return open_it


def group_by_name(item_id: str) -> str:
    """``notes/e2_mf_rr1.wav`` -> ``notes/e2``: the name less what tells one recording of a thing
    from another: takes, round robins, dynamics, tempo, microphone and pickup."""
    path = PurePosixPath(item_id)
    return str(path.with_name(_TAKE_MARKS.sub("", path.stem) or path.stem))


def stroke_by_name(item_id: str) -> dict[str, MetaValue]:
    """``e2_mf_rr1``, the way sample libraries name a note: its kind and dynamic. Nothing else.

    Not its pitch: libraries do not agree on which octave is number 4.
    """
    found = _STROKE.fullmatch(PurePosixPath(item_id).stem)
    if found is None:
        return {}
    meta: dict[str, MetaValue] = {"kind": "note"}
    if found["dynamic"]:
        meta["dynamic"] = found["dynamic"]
    return meta


def kind_in_words(words: str) -> str:
    """One of KINDS where the words name one (``single_notes`` is ``note``), else the words."""
    plain = " ".join(words.lower().replace("_", " ").replace("-", " ").split()).removesuffix("s")
    return next((kind for kind in KINDS if f" {plain}".endswith(f" {kind}")), words)


def _value(key: str, text: str) -> MetaValue:
    if key == "kind":
        return kind_in_words(text)
    if key in NUMBERS:
        try:
            number = float(text)
        except ValueError:
            return text
        if math.isfinite(number):
            return int(number) if number.is_integer() else number
    return text


def holds_dry(folder: Path, manifest: Manifest, include: tuple[str, ...]) -> bool:
    """Whether any audio file under ``folder`` is one of the manifest's dry ones, or of the optional
    parts ``include``."""
    return any(manifest.dry.is_dry(item_id, include) for _, item_id in walk_audio(folder))


def _folder_licence(root: Path) -> str:
    for name in _LICENCE_NAMES:
        path = root / name
        if path.is_file():
            text = path.read_text(encoding="utf-8", errors="replace")
            words = {word.rstrip(".") for word in re.findall(r"[A-Za-z0-9.-]+", text)}
            named = [key for key in LICENCES if key in words]
            return named[0] if len(named) == 1 else "unknown"
    return "unknown"


def _read_csv(
    path: Path, columns: tuple[str, ...], files: Collection[str]
) -> dict[str, dict[str, str]]:
    """Rows by their ``file`` column, NFC like the item ids ``files``; nothing where there is no
    such table. SourceError for a row that is of none of the files, or a second one of a file: what
    it tells would be lost."""
    if not path.is_file():
        return {}
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file)
            reader.fieldnames = [_nfc(name) for name in reader.fieldnames or ()]
            missing = [name for name in columns if name not in reader.fieldnames]
            if missing:
                raise SourceError(
                    f"{path}: no column {missing[0]!r} in {reader.fieldnames}; "
                    f"expected at least {','.join(columns)}"
                )
            rows = [{k: _nfc(v or "") for k, v in row.items() if k} for row in reader]
    except (UnicodeDecodeError, csv.Error) as error:
        raise SourceError(f"{path}: not a UTF-8 CSV file ({error})") from error
    told: dict[str, dict[str, str]] = {}
    for row in filter(lambda row: any(row.values()), rows):
        name = row["file"] = row["file"].replace("\\", "/").removeprefix("./")
        if told.setdefault(name, row) != row:
            raise SourceError(
                f"{path}: {shorten(name)} stands there twice, with different words; leave one line"
            )
    unknown = [name for name in told if name not in files]
    if unknown:
        shown = ", ".join(map(shorten, unknown[:_SHOWN_ROWS]))
        raise SourceError(
            f"{path}: {len(unknown)} line(s) name no audio file there: "
            f"{shown}{', …' * (len(unknown) > _SHOWN_ROWS)}; write paths relative to "
            f"{path.parent}, or take these lines out"
        )
    return told


def _check_spelling(path: Path, columns: Collection[str]) -> None:
    """A ``license`` or ``Group`` would be taken for a remark, and what it says of the file lost."""
    for meant in {"group", "licence"}.difference(columns):
        for found in sorted(columns):
            if get_close_matches(found.lower(), (meant,), cutoff=0.8):
                raise SourceError(
                    f"{path}: column {found!r} is not known: did you mean {meant!r}? name it so"
                )


def _nfc(text: str) -> str:
    return unicodedata.normalize("NFC", text.strip())
