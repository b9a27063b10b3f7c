"""A kit on disk: what is played, where its clips and markers lie, which chains to dial in.

``kit.json`` is written last; without it a directory is no kit. Every number that was drawn is in
it, so the same seed gives the same bytes and a recording can be understood years later.
"""

from __future__ import annotations

import shlex
from dataclasses import dataclass, field
from pathlib import Path

from fxtrain.contract import (
    Chain,
    ContractError,
    FileEntry,
    FormatVersionError,
    LocalFolder,
    PedalEntry,
    UnfinishedError,
    from_dict,
    json_bytes,
    read_json,
    shorten,
)

KIT_NAME = "kit.json"
SHEET_NAME = "sheet.html"
MANIFEST_NAME = "renders.csv"
KIND = "fxtrain-zeroshot-kit"
FORMAT_VERSION = 1


@dataclass(frozen=True)
class Marker:
    """Two sweeps of ``sweep_s`` each: up then down before the first clip, down then up after the
    last one. All kits have the same, so that a later version can change it."""

    low_hz: float = 200.0
    high_hz: float = 6400.0
    sweep_s: float = 0.4
    peak_dbfs: float = -9.0

    def __post_init__(self) -> None:
        if not (0 < 2 * self.low_hz <= self.high_hz <= 20_000 and 0.05 <= self.sweep_s <= 5):
            raise ContractError(
                f"a marker from {self.low_hz:g} to {self.high_hz:g} Hz in {self.sweep_s:g} s: "
                "expected an octave or more below 20 kHz, in 0.05 to 5 s"
            )


@dataclass(frozen=True)
class KitClip:
    """A phrase in a dry file. ``starts_s``: where the part begins that is listened to; before it
    ``run_in_s`` of guitar sets echoes and compressors going."""

    label: str
    starts_s: float
    length_s: float
    run_in_s: float


@dataclass(frozen=True)
class Take:
    """A dry file: marker, clips, marker. No two takes have their markers equally far apart, so a
    recording tells which take it is of."""

    file: FileEntry
    sample_rate_hz: int
    n_samples: int
    first_marker_s: float
    last_marker_s: float
    clips: tuple[KitClip, ...]

    def __post_init__(self) -> None:
        before = [clip.starts_s - clip.run_in_s for clip in self.clips]
        after = [clip.starts_s + clip.length_s for clip in self.clips]
        if self.sample_rate_hz < 1 or not (
            0 <= self.first_marker_s < min(before, default=0.0)
            and max(after, default=0.0) < self.last_marker_s < self.length_s
            and all(clip.length_s > 0 for clip in self.clips)
        ):
            raise ContractError(
                f"take {shorten(self.name)}: expected marker, clips and marker in this order, "
                "inside the file; make the kit again"
            )

    @property
    def name(self) -> str:
        return self.file.path

    @property
    def span_s(self) -> float:
        """From marker to marker."""
        return self.last_marker_s - self.first_marker_s

    @property
    def length_s(self) -> float:
        return self.n_samples / self.sample_rate_hz


@dataclass(frozen=True)
class KitChain:
    """A chain to dial in, the recording's name, and the take to play through it. ``faint``: pedals
    that hardly changed the sound on the kit's own guitar, whatever was drawn."""

    file: str
    take: str
    chain: Chain
    faint: tuple[str, ...] = ()


@dataclass(frozen=True)
class Kit:
    seed: int
    lengths: tuple[int, ...]
    pedals: tuple[PedalEntry, ...]
    takes: tuple[Take, ...]
    chains: tuple[KitChain, ...]
    names: dict[str, str] = field(default_factory=dict)
    marker: Marker = field(default_factory=Marker)
    versions: dict[str, str] = field(default_factory=dict)
    format_version: int = FORMAT_VERSION
    kind: str = KIND

    def __post_init__(self) -> None:
        if not self.takes:
            raise ContractError("a kit without a dry file")

    def take_named(self, name: str) -> Take | None:
        return next((take for take in self.takes if take.name == name), None)


def write_kit(folder: LocalFolder, kit: Kit) -> None:
    folder.write(KIT_NAME, json_bytes(kit))


def read_kit(path: Path) -> Kit:
    """The kit in a directory. Errors say what was found and what to do."""
    where = path / KIT_NAME
    if not where.is_file():
        raise UnfinishedError(
            f"{path}: no {KIT_NAME} here, so there is no kit; to make one: fxtrain zeroshot kit "
            f"{shlex.quote(str(path))}"
        )
    data = read_json(where.read_bytes(), str(where))
    found = data.get("kind") if isinstance(data, dict) else type(data).__name__
    if found != KIND:
        raise ContractError(f"{where}: found kind {shorten(found)}, expected {KIND!r}")
    if data.get("format_version") != FORMAT_VERSION:
        raise FormatVersionError(
            f"{where}: found format version {shorten(data.get('format_version'))}, this build "
            f"reads {FORMAT_VERSION}; install the version that made it"
        )
    return from_dict(Kit, data, str(where))
