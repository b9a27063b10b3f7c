"""Owns what a source of dry guitar is: items, scans, where a data set lies. Reads no audio."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from fxpipe.errors import DataMissingError, SourceError
from fxtrain.contract import ContractError, at_home, shorten
from fxtrain.contract.schema import Licence

MetaValue = str | int | float

KINDS = (
    *("note", "double stop", "chord"),  # one stroke
    *("scale", "technique", "lick"),  # some seconds
    *("phrase", "piece"),  # as long as they like
    "recording",
)
"""What a recording holds, in ``meta["kind"]``; absent where nobody said. A ``manifest.csv`` of a
user may hold other words; they are kept."""

META: dict[str, str] = {
    "kind": "what it holds: one of KINDS",
    "guitar": "the instrument, as its data set names it",
    "pickup": "pickup or its position, as its data set names it",
    "signal": "what was recorded: direct, pickup or microphone; absent where there is no choice",
    "player": "who plays: a name or a number of the data set",
    "string": "1 is the high E, 6 the low E, however the data set counts",
    "fret": "0 is the open string; of a chord, where its shape lies",
    "midi": "pitch of a single note; 69 is 440 Hz",
    "root_midi": "lowest pitch of a double stop or chord, where its name tells it",
    "lowest_midi": "of all annotated notes",
    "highest_midi": "of all annotated notes",
    "n_notes": "how many notes are annotated",
    "chord": "name of the chord, or of the double stop's interval",
    "lick": "name of the lick",
    "exercise": "name of the scale or technique",
    "piece": "name of the piece of music",
    "progression": "number of the chord progression",
    "part": "comp or solo",
    "style": "of music",
    "key": "tonic of the music, such as Eb",
    "tempo_bpm": "beats a minute",
    "pace": "slow or fast, of two takes of one piece",
    "technique": "how strings are struck: picked, finger-style, muted, or the data set's word",
    "expression": "annotated articulations, in the data set's own codes, with commas between",
    "dynamic": "ppp to fff",
    "annotation": "of its annotation file: read, missing, or why it could not be read",
    "lead_in_s": "seconds at the start that no clip may contain",
    "channels": "of the file, before mixing to mono",
    "subtype": "sample format of the file, such as PCM_24",
    "n_bytes": "of the file",
    "sha256": "of the file",
}
"""Key of ``Item.meta`` -> what it means: one name for one thing in every data set. Each is there
only where the data set tells it. A ``manifest.csv`` of a user may add keys of its own."""

NUMBERS = frozenset(
    {"string", "fret", "midi", "root_midi", "lowest_midi", "highest_midi", "n_notes"}
    | {"progression", "tempo_bpm"}
)
"""Keys whose values are numbers."""

_CC = "https://creativecommons.org"

LICENCES: dict[str, Licence] = {
    "CC0-1.0": Licence("CC0 1.0", f"{_CC}/publicdomain/zero/1.0/", True),
    "CC-BY-4.0": Licence("CC BY 4.0", f"{_CC}/licenses/by/4.0/", True),
    "CC-BY-3.0": Licence("CC BY 3.0", f"{_CC}/licenses/by/3.0/", True),
    "CC-BY-SA-4.0": Licence("CC BY-SA 4.0", f"{_CC}/licenses/by-sa/4.0/", True),
    "CC-BY-NC-4.0": Licence("CC BY-NC 4.0", f"{_CC}/licenses/by-nc/4.0/", False),
    "CC-BY-NC-SA-4.0": Licence("CC BY-NC-SA 4.0", f"{_CC}/licenses/by-nc-sa/4.0/", False),
    "CC-BY-ND-4.0": Licence("CC BY-ND 4.0", f"{_CC}/licenses/by-nd/4.0/", False),
    "CC-BY-NC-ND-4.0": Licence("CC BY-NC-ND 4.0", f"{_CC}/licenses/by-nc-nd/4.0/", False),
    "MIT": Licence("MIT", "https://opensource.org/license/mit", True),
    "unknown": Licence("no licence stated", "", False),
}
"""Licences known by their SPDX id. Non-commercial and no-derivatives are not shareable on."""


@dataclass(frozen=True)
class Item:
    """One dry recording: one file.

    ``item_id`` is a posix path inside the data set, the same on every machine; ``uri`` is where
    the file lies on this one. ``sounding`` holds the stretches, in seconds from the file's start,
    that sound. ``meta`` holds what the data set tells of it, by the names in ``META``.
    """

    item_id: str
    group: str
    uri: str
    n_samples: int
    sample_rate_hz: int
    licence: str
    peak: float
    sounding: tuple[tuple[float, float], ...]
    meta: dict[str, MetaValue] = field(default_factory=dict)

    def __post_init__(self) -> None:
        edges = [edge for region in self.sounding for edge in region]
        if self.n_samples < 0 or self.sample_rate_hz < 1 or not self.peak > 0:
            raise ContractError(
                f"{shorten(self.item_id)}: {shorten(self.n_samples)} samples at "
                f"{shorten(self.sample_rate_hz)} Hz with a peak of {self.peak} are no recording"
            )
        if edges != sorted(edges) or (edges and edges[0] < 0):
            raise ContractError(f"{shorten(self.item_id)}: its sounding regions are not in order")

    @property
    def duration_s(self) -> float:
        return self.n_samples / self.sample_rate_hz


@dataclass(frozen=True)
class Skipped:
    item_id: str
    reason: str


@dataclass(frozen=True)
class Scan:
    """What one look at a source found.

    ``digest`` is the sha256 over the ids, groups, sizes and bytes of the items; it does not
    depend on where the files lie.
    """

    source: str
    items: tuple[Item, ...]
    skipped: tuple[Skipped, ...]
    licences: dict[str, Licence]
    digest: str


class Source(Protocol):
    """A place dry guitar comes from. ``is_generated``: played on demand, so a scan has no items."""

    @property
    def name(self) -> str: ...

    @property
    def is_generated(self) -> bool: ...

    def scan(self, *, progress: bool = False) -> Scan: ...


Opener = Callable[[str, Path | None, tuple[str, ...]], Source]
"""(path after the colon or "", data dir or None, optional parts to include) -> the source."""


def licence_named(licence_id: str) -> Licence:
    """The licence of that id; one that is not known is kept by name and not shareable."""
    return LICENCES.get(licence_id) or Licence(licence_id, "", False)


def default_data_dir() -> Path:
    """Where data sets are kept unless told otherwise."""
    import platformdirs

    try:
        return Path(platformdirs.user_data_dir("fxpipe"))
    except RuntimeError:
        raise SourceError(
            "there is no home directory, where data sets are kept: set HOME to a folder that can "
            "be written, or name a --data-dir"
        ) from None


def find_root(
    name: str,
    data_dir: Path | None,
    is_root: Callable[[Path], bool],
    *,
    what: str,
    size: str,
) -> Path:
    """The folder of an unpacked data set under ``data_dir``.

    Accepts the folder `fxpipe fetch` writes, the data set's own top folder, or a folder at most
    one level above it. Raises DataMissingError naming ``what`` is missing and its ``size``.
    """
    base = default_data_dir() if data_dir is None else at_home(data_dir).absolute()
    for candidate in _candidates(base, name):
        if is_root(candidate):
            return candidate
    hint = f" --data-dir {shlex.quote(str(base))}" if data_dir is not None else ""
    raise DataMissingError(
        f"{name}: {what} is not in {base / name} nor in {base}; type 'fxpipe fetch {name}{hint}' "
        f"({size}), or point --data-dir at a copy you have"
    )


def _candidates(base: Path, name: str) -> Iterator[Path]:
    for folder in (base / name, base):
        if folder.is_dir():
            yield folder
            yield from sorted(p for p in folder.iterdir() if p.is_dir() and p.name[0] != ".")
