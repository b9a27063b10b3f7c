"""Owns reading IDMT-SMT-Guitar V2 (Kehling et al., 2014; doi 10.5281/zenodo.7544110).

Licence CC BY-NC-ND 4.0: nothing made from it may be shared. All is dry, 44.1 kHz, 16 or 24 bit.

- dataset1: single notes (``G53-40100-1111-00001.wav``) and chords, four guitar set-ups.
- dataset2: licks, scales and techniques on three guitars (``AR_Lick1_FN.wav``).
- dataset3: five pieces, one of them stereo.
- dataset4: 64 pieces at two tempi on two electric guitars, and on an acoustic one recorded by
  microphone and pickup at once: the optional part ``acoustic``. The first three bars are dropped,
  as others who trained on it do: a count-in is likely.

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
from fxpipe.sources.idmt_names import DRY_FX_TYPE, read_name
from fxpipe.sources.manifest import load_manifest, size_text
from fxpipe.sources.scan import Candidate, scan_files, walk_audio

NAME = "idmt"
TOP_FOLDER = "IDMT-SMT-GUITAR_V2"
LEAD_IN_BARS = 3
BEATS_PER_BAR = 4
GUITARS = {"AR": "Aristides 010", "FS": "Fender Stratocaster", "LP": "Gibson Les Paul"}
TECHNIQUES = {"F": "finger-style", "K": "picked", "M": "muted"}
EXCITATIONS = {"FS": "finger-style", "PK": "picked", "MU": "muted"}
SIGNALS = {"acoustic_mic": "microphone", "acoustic_pickup": "pickup"}

_SETUP = re.compile(r"(?P<guitar>.+?) Clean (?P<pickup>.+?)(?: Chords)?")
_CHORD = re.compile(r"\d+-(?P<root>[A-G][b#]?)\d+-(?P<chord>.+?) (?P<fret>\d\d)")
_LICK = re.compile(r"(Lick\d+)(?:_(\w+))?", re.IGNORECASE)
_SCALE = re.compile(r"(^|_)(fret|scale)(_|$)", re.IGNORECASE)
_TAKE = re.compile(r"_\d+$")
_VOICES = re.compile(r"_(mono|poly)$", re.IGNORECASE)
_PIECE = re.compile(r"([a-z_]+?)_(\d+)_(\d+)bpm", re.IGNORECASE)
_ANNOTATION_SUFFIXES = ("", "VSBHD", "_VSBHD")
_GLOBAL_TAGS = {
    "guitar": ("instrumentModel",),
    "pickup": ("pickUpSetting", "pickupSetting"),
    "player": ("recordingArtist",),
}


@dataclass(frozen=True)
class IdmtSource:
    """``root`` holds dataset1 … dataset4, or some of them."""

    root: Path
    include: tuple[str, ...] = ()
    name: str = NAME
    is_generated: bool = False

    def scan(self, *, progress: bool = False) -> Scan:
        manifest = load_manifest(NAME)
        candidates: list[Candidate] = []
        skipped: list[Skipped] = []
        groups: dict[str, str] = {}
        for path, item_id in walk_audio(self.root):
            if not manifest.dry.is_dry(item_id, self.include):
                continue
            placed = place(item_id)
            if isinstance(placed, Skipped):
                skipped.append(placed)
                continue
            candidates.append(
                Candidate(
                    path=path,
                    item_id=item_id,
                    # "lick1" is "Lick1", as the patterns below take them
                    group=groups.setdefault(placed.group.casefold(), placed.group),
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


def open_idmt(path: str, data_dir: Path | None, include: tuple[str, ...]) -> IdmtSource:
    """From the unpacked archive: its top folder, or one that holds it."""
    manifest = load_manifest(NAME)
    root = find_root(
        NAME,
        Path(path) if path else data_dir,
        lambda folder: any((folder / f"dataset{k}").is_dir() for k in (1, 2, 3, 4)),
        what=f"{manifest.title} ({TOP_FOLDER}/dataset1 and so on)",
        size=size_text(manifest.download_bytes),
    )
    return IdmtSource(root, include)


def place(item_id: str) -> Placed | Skipped:
    """Group and meta of a file from its path inside the data set.

    One group is one musical content, whichever guitar, pickup, tempo or take it was played with,
    electric or acoustic.
    """
    parts = PurePosixPath(item_id).parts
    stem = PurePosixPath(item_id).stem
    if parts[0] == "dataset1":
        return _place_note(item_id, stem, guitar=parts[1])
    if parts[0] == "dataset2":
        return _place_lick(stem)
    if parts[0] == "dataset3":
        piece = _VOICES.sub("", stem)
        meta: dict[str, MetaValue] = {"kind": "piece", "guitar": "Ibanez RG2820", "piece": piece}
        return Placed(f"dataset3/{piece}", meta)
    if parts[0] == "dataset4":
        return _place_piece(item_id, stem, guitar=parts[1], tempo=parts[2], style=parts[3])
    return Skipped(item_id, "not in dataset1 … dataset4 of the data set's top folder")


def _place_note(item_id: str, stem: str, *, guitar: str) -> Placed | Skipped:
    setup = _SETUP.fullmatch(guitar)
    meta: dict[str, MetaValue] = {**setup.groupdict()} if setup else {"guitar": guitar}
    note = read_name(stem)
    if note is None:
        meta |= {"kind": "chord", "chord": stem}
        shape = _CHORD.fullmatch(stem)
        if shape:  # "1-E1-Major 05": the shape of E major at fret 5
            meta |= {"chord": f"{shape['root']} {shape['chord']}", "fret": int(shape["fret"])}
        return Placed(f"dataset1/{stem}", meta)
    if not note.is_dry:
        reason = f"effect type {note.fx_type} in its name, expected {DRY_FX_TYPE} (none)"
        return Skipped(item_id, reason)
    midi, string, fret = note.content[:2], note.content[2], note.content[3:]
    return Placed(f"dataset1/{midi}-{string}-{fret}", meta | note.meta)


def _place_lick(stem: str) -> Placed:
    prefix, _, rest = stem.partition("_")
    meta: dict[str, MetaValue] = {}
    if prefix in GUITARS and rest:
        meta["guitar"] = GUITARS[prefix]
    else:
        rest = stem
    lick = _LICK.match(rest)
    if lick is None:
        exercise = _TAKE.sub("", rest)
        kind = "scale" if _SCALE.search(exercise) else "technique"
        return Placed(f"dataset2/{exercise}", meta | {"kind": kind, "exercise": exercise})
    code = (lick[2] or "").upper()
    if code[:1] in TECHNIQUES:
        meta["technique"] = TECHNIQUES[code[0]]
    return Placed(f"dataset2/{lick[1]}", meta | {"kind": "lick", "lick": lick[1]})


def _place_piece(
    item_id: str, stem: str, *, guitar: str, tempo: str, style: str
) -> Placed | Skipped:
    piece = _PIECE.fullmatch(stem)
    tempo_bpm = int(piece[3]) if piece else 0
    if piece is None or not 30 <= tempo_bpm <= 300:
        return Skipped(item_id, "no tempo in its name: the length of its count-in is unknown")
    name = f"{piece[1]}_{piece[2]}"
    meta: dict[str, MetaValue] = {
        "kind": "piece",
        "guitar": guitar,
        "piece": name,
        "style": style,
        "pace": tempo,
        "tempo_bpm": tempo_bpm,
    }
    if guitar in SIGNALS:
        meta |= {"guitar": "acoustic", "signal": SIGNALS[guitar]}
    lead_in_s = LEAD_IN_BARS * BEATS_PER_BAR * 60 / tempo_bpm
    return Placed(f"dataset4/{name}", meta, lead_in_s, has_xml=False)


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
    meta: dict[str, MetaValue] = {"annotation": "read"}
    for key, tags in _GLOBAL_TAGS.items():
        text = next((text for tag in tags if (text := _text(root, tag))), "")
        if text and text.lower() != "unknown":
            meta[key] = text
    events = list(root.iter("event"))
    meta["n_notes"] = len(events)
    pitches = [int(text) for event in events if (text := _text(event, "pitch")).isdecimal()]
    if pitches:
        meta |= {"lowest_midi": min(pitches), "highest_midi": max(pitches)}
    struck = {_text(event, "excitationStyle") for event in events} - {""}
    if struck:
        meta["technique"] = ",".join(sorted(EXCITATIONS.get(code, code) for code in struck))
    expressed = {_text(event, "expressionStyle") for event in events} - {""}
    if expressed:
        meta["expression"] = ",".join(sorted(expressed))
    return meta


def _text(element: Element, tag: str) -> str:
    found = next(element.iter(tag), None)
    return (found.text or "").strip() if found is not None else ""
