"""Owns looking at audio files: what is usable, where it sounds, what identifies it."""

from __future__ import annotations

import hashlib
import json
import os
import unicodedata
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import numpy as np
import soundfile

from fxpipe.errors import SourceError
from fxpipe.recording import Audio, missing_bytes, no_sound, read_file, read_mono
from fxpipe.sources.base import Item, MetaValue, Scan, Skipped
from fxtrain.contract import RECORDING_SUFFIXES, SOUND_SUFFIXES, legible
from fxtrain.contract.folder import is_empty
from fxtrain.contract.schema import Licence

T = TypeVar("T")

SCAN_VERSION = 1
"""Part of every digest; raise it when the rules below change what a clip may contain."""

JUNK_NAMES = frozenset({"__MACOSX"})

MIN_DURATION_S = 0.1
FRAME_S = 0.05
SILENCE_DBFS = -60.0
RANGE_DB = 45.0
BRIDGE_S = 0.1
"""Shorter gaps do not split a sounding region; one of just this length may, as its times round.
Counting frames would settle it, and give every data set of recordings another digest."""


@dataclass(frozen=True)
class Candidate:
    """A file a source would use, before anyone has listened to it."""

    path: Path
    item_id: str
    group: str
    licence: str
    meta: Mapping[str, MetaValue] = field(default_factory=dict)
    lead_in_s: float = 0.0


class _UnusableError(Exception):
    """Why one file cannot be used; becomes a Skipped."""


def is_junk(name: str) -> bool:
    """Hidden files and what macOS leaves in archives: ``.DS_Store``, ``._*``, ``__MACOSX``."""
    return name.startswith(".") or name in JUNK_NAMES


def walk_audio(root: Path) -> Iterator[tuple[Path, str]]:
    """Audio files under ``root`` as (absolute path, posix path inside root), in a fixed order.

    Follows links and enters each real folder once, so a loop of links ends. What cannot be listed
    is not taken for empty.
    """
    root = root.absolute()

    def refuse(error: OSError) -> None:
        if not is_empty(error, is_first=Path(error.filename) == root):
            raise SourceError(f"{error.filename}: cannot be listed ({error.strerror}); try again")

    entered: set[Path] = set()
    for folder, subfolders, names in os.walk(root, onerror=refuse, followlinks=True):
        real = Path(folder).resolve()
        if real in entered:
            subfolders.clear()
            continue
        entered.add(real)
        subfolders[:] = sorted(name for name in subfolders if not is_junk(name))
        for name in sorted(names):
            if not is_junk(name) and Path(name).suffix.lower() in RECORDING_SUFFIXES:
                path = Path(folder, name)
                yield path, unicodedata.normalize("NFC", path.relative_to(root).as_posix())


def sounding_regions(audio: Audio, sample_rate_hz: int) -> tuple[tuple[float, float], ...]:
    """Stretches of ``audio`` [N] that sound, in seconds.

    A 50 ms frame sounds when its RMS lies above -60 dBFS and above the loudest frame's less 45 dB.
    """
    frame = max(1, round(FRAME_S * sample_rate_hz))
    n_frames = -(-len(audio) // frame)
    if n_frames == 0:
        return ()
    power = np.zeros(n_frames * frame, dtype=np.float64)
    power[: len(audio)] = np.square(audio, dtype=np.float64)
    lengths = np.full(n_frames, frame)
    lengths[-1] = len(audio) - (n_frames - 1) * frame
    level_db = 10 * np.log10(power.reshape(n_frames, frame).sum(axis=1) / lengths + 1e-30)
    on = level_db > max(SILENCE_DBFS, float(level_db.max()) - RANGE_DB)
    edges = np.flatnonzero(np.diff(np.concatenate([[False], on, [False]]).astype(np.int8)))
    regions: list[list[float]] = []
    for first, last in edges.reshape(-1, 2).tolist():
        start = round(first * frame / sample_rate_hz, 6)
        end = round(min(last * frame, len(audio)) / sample_rate_hz, 6)
        if regions and start - regions[-1][1] <= BRIDGE_S:
            regions[-1][1] = end
        else:
            regions.append([start, end])
    return tuple((start, end) for start, end in regions)


def scan_files(
    source: str,
    candidates: Iterable[Candidate],
    *,
    licences: Mapping[str, Licence],
    where: str,
    skipped: Iterable[Skipped] = (),
    progress: bool = False,
) -> Scan:
    """Read every candidate once. Unusable files become ``skipped``; none usable is a SourceError.

    A file whose bytes were already seen under another name is skipped: two copies in two groups
    would put the same sound on both sides of a split.
    """
    items: list[Item] = []
    passed = list(skipped)
    seen: dict[str, str] = {}
    before = ""
    ordered = sorted(candidates, key=lambda candidate: candidate.item_id)
    for candidate in with_progress(ordered, f"scan {source}", progress):
        try:
            if candidate.item_id == before:
                raise _UnusableError("another has its name, with accents in other bytes: rename it")
            before = candidate.item_id
            item = _look_at(candidate)
            twin = seen.setdefault(str(item.meta["sha256"]), item.item_id)
            if twin != item.item_id:
                raise _UnusableError(f"same bytes as {twin}")
        except _UnusableError as error:
            passed.append(Skipped(legible(candidate.item_id), str(error)))
        else:
            items.append(item)
    if not items:
        first = f"; the first: {passed[0].item_id}: {passed[0].reason}" if passed else ""
        raise SourceError(
            f"{source}: no usable recording among {len(passed)} audio files in {where}{first}; "
            f"expected {', '.join(sorted(SOUND_SUFFIXES))}, {MIN_DURATION_S} s or longer"
        )
    used = sorted({item.licence for item in items})
    return Scan(
        source=source,
        items=tuple(items),
        skipped=tuple(sorted(passed, key=lambda entry: entry.item_id)),
        licences={key: licences[key] for key in used},
        digest=_digest(source, items),
    )


def with_progress(entries: list[T], title: str, progress: bool) -> Iterable[T]:
    """The entries behind a bar on stderr; no bar where stderr is not a terminal."""
    if not progress:
        return entries
    from tqdm import tqdm

    shown: Iterable[T] = tqdm(entries, desc=title, unit="file", disable=None)
    return shown


def _look_at(candidate: Candidate) -> Item:
    if candidate.item_id != legible(candidate.item_id):
        raise _UnusableError("its name is not valid UTF-8: rename it")
    if not candidate.path.is_file():
        raise _UnusableError("not a file (a broken link?)")
    try:
        data = read_file(candidate.path)
        if not data:
            raise _UnusableError("empty (0 bytes): copy it again")
        audio, sample_rate_hz, facts = read_mono(data)
    except ValueError as error:
        raise _UnusableError(f"cannot be used: {error}") from error
    except (soundfile.SoundFileError, OSError) as error:
        detail = next(iter(str(error).split(": ", 1)[-1].splitlines()), repr(error))
        help_ = "" if candidate.path.suffix.lower() in SOUND_SUFFIXES else " Save it as WAV or FLAC"
        raise _UnusableError(f"cannot be read: {detail}{help_}") from error
    if missing := missing_bytes(data):
        raise _UnusableError(f"cut short: {missing} bytes of it are missing; copy it again")
    if len(audio) < MIN_DURATION_S * sample_rate_hz:
        raise _UnusableError(f"too short: {len(audio)} samples at {sample_rate_hz} Hz")
    if len(no_sound(audio)):
        raise _UnusableError("holds samples that are not numbers, or far beyond full scale")
    used = audio[round(candidate.lead_in_s * sample_rate_hz) :]
    if len(used) < MIN_DURATION_S * sample_rate_hz:
        raise _UnusableError(f"nothing after its {candidate.lead_in_s:.1f} s lead-in")
    regions = sounding_regions(used, sample_rate_hz)
    if sum(end - start for start, end in regions) < MIN_DURATION_S:
        raise _UnusableError(f"silent: less than {MIN_DURATION_S} s above {SILENCE_DBFS:.0f} dBFS")
    meta: dict[str, MetaValue] = dict(candidate.meta) | facts
    meta["sha256"] = hashlib.sha256(data).hexdigest()
    meta["n_bytes"] = len(data)
    offset_s = (len(audio) - len(used)) / sample_rate_hz
    if offset_s:
        meta["lead_in_s"] = offset_s
    return Item(
        item_id=candidate.item_id,
        group=candidate.group,
        uri=str(candidate.path),
        n_samples=len(audio),
        sample_rate_hz=sample_rate_hz,
        licence=candidate.licence,
        peak=float(np.abs(used).max()),
        sounding=tuple((round(a + offset_s, 6), round(b + offset_s, 6)) for a, b in regions),
        meta=meta,
    )


def _digest(source: str, items: Iterable[Item]) -> str:
    """Over what decides the sound and the split; never paths, nor what the bytes imply."""
    rows = [
        [item.item_id, item.group, item.licence, item.n_samples, item.sample_rate_hz]
        + [item.meta[key] for key in ("n_bytes", "sha256")]
        + [item.meta.get("lead_in_s", 0)]
        for item in items
    ]
    text = json.dumps([SCAN_VERSION, source, rows], separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()
