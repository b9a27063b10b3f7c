"""Owns reading IDMT-SMT-Guitar V2 (Kehling et al., 2014; doi 10.5281/zenodo.7544110).

Licence CC BY-NC-ND 4.0: nothing made from it may be shared. All is dry, 44.1 kHz, 16 or 24 bit.

- dataset1: single notes (``G53-40100-1111-00001.wav``) and chords, four guitar set-ups.
- dataset2: licks, scales and techniques on three guitars (``AR_Lick1_FN.wav``).
- dataset3: five pieces, one of them stereo.
- dataset4: 64 pieces at two tempi on two electric guitars. The two acoustic folders are left
  out. The first three bars are dropped, as others who trained on it do: a count-in is likely.

Annotations (XML) only fill in ``meta``: some are missing, misnamed or of another kind.
Strings are counted the guitarist's way here, 1 is the high E; the data set counts from the low E.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from xml.etree.ElementTree import Element, ParseError

from defusedxml import DefusedXmlException
from defusedxml.ElementTree import fromstring

from fxpipe.sources.base import MetaValue, Scan, Skipped, find_root
from fxpipe.sources.manifest import load_manifest, size_text
from fxpipe.sources.scan import Candidate, scan_files, walk_audio

NAME = "idmt"
TOP_FOLDER = "IDMT-SMT-GUITAR_V2"
LEAD_IN_BARS = 3
BEATS_PER_BAR = 4
GUITARS = {"AR": "Aristides 010", "FS": "Fender Stratocaster", "LP": "Gibson Les Paul"}
DRY_FX_TYPE = "11"

# Guitar, set-up and playing style; MIDI, string, fret; effect group, type and setting; number.
_NOTE = re.compile(r"[A-Z]\d\d-(\d\d)(\d)(\d\d)-\d(\d\d)\d-\d+")
_LICK = re.compile(r"(Lick\d+)(?:_(\w+))?", re.IGNORECASE)
_TAKE = re.compile(r"_\d+$")
_VOICES = re.compile(r"_(mono|poly)$", re.IGNORECASE)
_PIECE = re.compile(r"([a-z_]+?)_(\d+)_(\d+)bpm", re.IGNORECASE)
_ANNOTATION_SUFFIXES = ("", "VSBHD", "_VSBHD")


@dataclass(frozen=True)
class IdmtSource:
    """``root`` holds dataset1 … dataset4, or some of them."""

    root: Path
    name: str = NAME
    is_generated: bool = False

    def scan(self, *, progress: bool = False) -> Scan:
        manifest = load_manifest(NAME)
        candidates: list[Candidate] = []
        skipped: list[Skipped] = []
        for path, item_id in walk_audio(self.root):
            if not manifest.dry.is_dry(item_id):
                continue
            placed = place(item_id)
            if isinstance(placed, Skipped):
                skipped.append(placed)
                continue
            candidates.append(
                Candidate(
                    path=path,
                    item_id=item_id,
                    group=placed.group,
                    licence=manifest.licence_id,
                    meta=(read_annotation(path) if placed.has_xml else {}) | placed.meta,
                    lead_in_s=placed.lead_in_s,
                )
            )
        return scan_files(
            self.name,
            candidates,
            licences={manifest.licence_id: manifest.licence},
            where=str(self.root),
            skipped=skipped,
            progress=progress,
        )


@dataclass(frozen=True)
class Placed:
    """What a file's path tells: its group, its meta, and the seconds before the music."""

    group: str
    meta: dict[str, MetaValue]
    lead_in_s: float = 0.0
    has_xml: bool = True


def open_idmt(path: str, data_dir: Path | None) -> IdmtSource:
    """From the unpacked archive: its top folder, or one that holds it."""
    manifest = load_manifest(NAME)
    root = find_root(
        NAME,
        Path(path) if path else data_dir,
        lambda folder: any((folder / f"dataset{k}").is_dir() for k in (1, 2, 3, 4)),
        what=f"{manifest.title} ({TOP_FOLDER}/dataset1 and so on)",
        size=size_text(manifest.download_bytes),
    )
    return IdmtSource(root)


def place(item_id: str) -> Placed | Skipped:
    """Group and meta of a file from its path inside the data set.

    One group is one musical content, whichever guitar, pickup, tempo or take it was played with.
    """
    parts = PurePosixPath(item_id).parts
    stem = PurePosixPath(item_id).stem
    if parts[0] == "dataset1":
        return _place_note(item_id, stem, guitar=parts[1])
    if parts[0] == "dataset2":
        return _place_lick(stem)
    if parts[0] == "dataset3":
        group = f"dataset3/{_VOICES.sub('', stem)}"
        return Placed(group, {"guitar": "Ibanez RG2820", "piece": stem})
    if parts[0] == "dataset4":
        return _place_piece(item_id, stem, guitar=parts[1], tempo=parts[2], style=parts[3])
    return Skipped(item_id, "not in dataset1 … dataset4 of the data set's top folder")


def _place_note(item_id: str, stem: str, *, guitar: str) -> Placed | Skipped:
    note = _NOTE.fullmatch(stem)
    if note is None:  # a chord such as "1-E1-Major 05": the shape of E at fret 5
        return Placed(f"dataset1/{stem}", {"guitar": guitar, "chord": stem})
    midi, string, fret, fx_type = note.groups()
    if fx_type != DRY_FX_TYPE:
        return Skipped(item_id, f"effect type {fx_type} in its name, expected {DRY_FX_TYPE} (none)")
    meta: dict[str, MetaValue] = {
        "guitar": guitar,
        "midi": int(midi),
        "string": 7 - int(string),
        "fret": int(fret),
    }
    return Placed(f"dataset1/{midi}-{string}-{fret}", meta)


def _place_lick(stem: str) -> Placed:
    prefix, _, rest = stem.partition("_")
    meta: dict[str, MetaValue] = {}
    if prefix in GUITARS and rest:
        meta["guitar"] = GUITARS[prefix]
    else:
        rest = stem
    lick = _LICK.match(rest)
    if lick is None:
        return Placed(f"dataset2/{_TAKE.sub('', rest)}", meta | {"exercise": rest})
    if lick[2]:
        meta["technique"] = lick[2]
    return Placed(f"dataset2/{lick[1]}", meta | {"lick": lick[1]})


def _place_piece(
    item_id: str, stem: str, *, guitar: str, tempo: str, style: str
) -> Placed | Skipped:
    piece = _PIECE.fullmatch(stem)
    tempo_bpm = int(piece[3]) if piece else 0
    if piece is None or not 30 <= tempo_bpm <= 300:
        return Skipped(item_id, "no tempo in its name: the length of its count-in is unknown")
    meta: dict[str, MetaValue] = {
        "guitar": guitar,
        "style": style,
        "pace": tempo,
        "tempo_bpm": tempo_bpm,
    }
    lead_in_s = LEAD_IN_BARS * BEATS_PER_BAR * 60 / tempo_bpm
    return Placed(f"dataset4/{piece[1]}_{piece[2]}", meta, lead_in_s, has_xml=False)


def read_annotation(audio: Path) -> dict[str, MetaValue]:
    """Meta from the XML beside a recording. Never fails: ``annotation`` says what was found."""
    folder = audio.parent.parent / "annotation"
    files = (folder / f"{audio.stem}{suffix}.xml" for suffix in _ANNOTATION_SUFFIXES)
    file = next((file for file in files if file.is_file()), None)
    if file is None:
        return {"annotation": "missing"}
    try:
        root: Element = fromstring(file.read_bytes(), forbid_dtd=True)
    except (ParseError, DefusedXmlException, OSError, ValueError, LookupError) as error:
        return {"annotation": f"unreadable: {type(error).__name__}"}
    events = list(root.iter("event"))
    meta: dict[str, MetaValue] = {"annotation": "read", "n_notes": len(events)}
    for key, tags in (
        ("model", ("instrumentModel",)),
        ("pickup", ("pickUpSetting", "pickupSetting")),
    ):
        text = next((_text(root, tag) for tag in tags if _text(root, tag)), "")
        if text:
            meta[key] = text
    for key, tag in (("excitation", "excitationStyle"), ("expression", "expressionStyle")):
        styles = sorted({_text(event, tag) for event in events} - {""})
        if styles:
            meta[key] = ",".join(styles)
    return meta


def _text(element: Element, tag: str) -> str:
    found = next(element.iter(tag), None)
    return (found.text or "").strip() if found is not None else ""
