"""A study on disk: items, their conditions, the sounds. ``study.json`` is written last.

An item is one question: a dry recording, the chain that is the reference, and other conditions to
hold against it. ``make`` writes the directory, everything else reads it.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fxtrain.contract import (
    Chain,
    ContractError,
    DamagedError,
    FileEntry,
    FormatVersionError,
    LocalFolder,
    UnfinishedError,
    from_dict,
    identity_of,
    json_bytes,
    read_json,
    shorten,
    unknown_name,
)

STUDY_NAME = "study.json"
ANSWERS_NAME = "answers.sqlite"
SOUNDS = "sounds"
OWN_SOUND = re.compile(r"[0-9a-f]{16}\.wav")
OWN_NAMES = (STUDY_NAME, ANSWERS_NAME, SOUNDS, "analysis")
"""All that a study's directory holds; nothing else in it is ever removed."""

FORMAT = "fxtrain-listening-study"
FORMAT_VERSION = 1

KINDS = {
    "abx": "can the two be told apart? X is A or B, which is it",
    "pairwise": "which of two is nearer to the reference",
    "mushra": "how near is each to the reference, 0 to 100, with a hidden reference",
}
QUESTION = {
    "abx": "Is X the same as A, or the same as B?",
    "pairwise": "Which one is nearer to the reference?",
    "mushra": "How near is each one to the reference?",
}
STANDARDS = ("", "bs1534")

REFERENCE = "reference"
SWAPPED = "swapped"
PREDICTED = "predicted"
PREDICTED_TYPICAL = "predicted (typical knobs)"
PREDICTED_HEARD = "predicted (knobs as heard)"
DRY = "dry"
WORST_ORDER = "worst order"
RANDOM_CHAIN = "random chain"
LOW_ANCHOR, MID_ANCHOR = "low-pass 3.5 kHz", "low-pass 7 kHz"
ANCHOR_HZ = {LOW_ANCHOR: 3500.0, MID_ANCHOR: 7000.0}

MEANING = {
    REFERENCE: "the true chain; hidden among the conditions",
    SWAPPED: "the same pedals and settings, two neighbours exchanged",
    PREDICTED: "the pedals that the model named, in its order, with the true knobs where the "
    "pedal is really there",
    PREDICTED_TYPICAL: "the same with typical knobs, as every export has it of a model that hears "
    "no knobs",
    PREDICTED_HEARD: "the same with the knobs as the model heard them, as every export has it",
    DRY: "no pedal at all",
    WORST_ORDER: "the right pedals and settings, in the order that sounds least like the reference",
    RANDOM_CHAIN: "as many pedals, drawn at random with random settings",
    LOW_ANCHOR: "the reference through a low-pass at 3.5 kHz (BS.1534)",
    MID_ANCHOR: "the reference through a low-pass at 7 kHz (BS.1534)",
}


@dataclass(frozen=True)
class Sound:
    """One file. ``chain`` is what the dry recording went through, ``lowpass_hz`` what came after
    (0: nothing); ``loudness_lufs`` before and ``gain_db`` of the level match."""

    file: FileEntry
    chain: Chain
    lowpass_hz: float
    loudness_lufs: float
    gain_db: float


@dataclass(frozen=True)
class Item:
    """``conditions`` maps a condition to the id of its sound; ``distance_db`` tells how far it
    lies from the reference. ``pair``: the two pedals whose order is asked for (ABX). A ``catch``
    is a question that nobody who listens gets wrong."""

    name: str
    dry: str
    conditions: dict[str, str]
    distance_db: dict[str, float]
    pair: tuple[str, ...] = ()
    catch: bool = False

    def __post_init__(self) -> None:
        if REFERENCE not in self.conditions or len(self.conditions) < 2:
            found = ", ".join(self.conditions) or "none"
            raise ContractError(
                f"item {shorten(self.name)} has the conditions {found}; expected {REFERENCE!r} and "
                "another"
            )


@dataclass(frozen=True)
class Study:
    """``trials_per_session`` and ``repeats`` (ABX: of every item) decide what one listener hears;
    ``catches`` of them are catch items. ``recipe`` says where the items came from."""

    kind: str
    title: str
    standard: str
    seed: int
    sample_rate_hz: int
    n_samples: int
    trials_per_session: int
    repeats: int
    catches: int
    items: tuple[Item, ...]
    training: tuple[Item, ...]
    sounds: dict[str, Sound]
    recipe: dict[str, Any] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)
    format: str = FORMAT
    format_version: int = FORMAT_VERSION

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ContractError(unknown_name("kind of test", self.kind, KINDS))
        if not self.asked:
            raise ContractError("a study without items asks nothing; make it again")
        for item in (*self.items, *self.training):
            for named in item.conditions.values():
                if named not in self.sounds:
                    raise ContractError(f"item {shorten(item.name)}: no sound {shorten(named)}")
        for sound_id, sound in self.sounds.items():
            if sound.file.path != sound_name(sound_id):
                raise ContractError(f"sound {shorten(sound_id)} lies in {shorten(sound.file.path)}")

    @property
    def identity(self) -> str:
        """Of all that a listener's answer depends on."""
        return identity_of(self)

    @property
    def duration_s(self) -> float:
        return self.n_samples / self.sample_rate_hz

    @property
    def asked(self) -> tuple[int, ...]:
        """Positions of the items that count."""
        return tuple(i for i, item in enumerate(self.items) if not item.catch)

    @property
    def caught(self) -> tuple[int, ...]:
        """Positions of the catch items."""
        return tuple(i for i, item in enumerate(self.items) if item.catch)

    @property
    def conditions(self) -> tuple[str, ...]:
        """Of the items that count, in the order of the first one."""
        return tuple(self.items[self.asked[0]].conditions)

    def item(self, part: str, position: int) -> Item:
        return (self.training if part == "training" else self.items)[position]


def sound_name(sound_id: str) -> str:
    return f"{SOUNDS}/{sound_id}.wav"


def write_study(path: Path, study: Study, sounds: Mapping[str, bytes]) -> None:
    """The sounds first, ``study.json`` last: without it the directory is unfinished."""
    folder = LocalFolder(path)
    folder.delete(STUDY_NAME)
    for old in (path / SOUNDS).glob("*.wav"):
        if OWN_SOUND.fullmatch(old.name):
            folder.delete(f"{SOUNDS}/{old.name}")
    for sound_id, data in sounds.items():
        folder.write(sound_name(sound_id), data)
    folder.write(STUDY_NAME, json_bytes(study))


def read_study(path: str | os.PathLike[str]) -> Study:
    """The finished study in ``path``; every sound is there and as long as it should be."""
    where = Path(path) / STUDY_NAME
    if not where.is_file():
        raise UnfinishedError(
            f"{os.fspath(path)}: no {STUDY_NAME}, so no finished listening test; make one with "
            "'fxtrain listen make'"
        )
    data = read_json(where.read_bytes(), str(where))
    told = data if isinstance(data, dict) else {}
    if told.get("format") != FORMAT:
        raise ContractError(f"{where}: is no listening test; make one with 'fxtrain listen make'")
    found = told.get("format_version")
    if found != FORMAT_VERSION:
        raise FormatVersionError(
            f"{where}: format version {shorten(found)}, this build reads {FORMAT_VERSION}; make "
            "the study again"
        )
    study = from_dict(Study, data, str(where))
    for sound in study.sounds.values():
        file = Path(path) / sound.file.path
        if not file.is_file() or file.stat().st_size != sound.file.n_bytes:
            raise DamagedError(f"{file}: missing or of another size; make the study again")
    return study
