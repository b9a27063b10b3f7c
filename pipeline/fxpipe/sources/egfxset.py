"""Owns reading EGFxSet's clean notes (Pedroza, Meza and Roman, 2022; doi 10.5281/zenodo.7044411).

``Clean/<Pickup>/<string>-<fret>.wav``: 138 notes through five pickup positions of one
Stratocaster, 48 kHz, 24 bit, mono, 5 s, licence CC BY 4.0. String 1 is the high E, 6 the low E;
fret 0 to 22. Known quirks: every note is peak-normalised; chunks stand before ``fmt`` and after
``data``; the data chunk of ``Clean/Neck/1-0.wav`` is one byte too long; archives carry
``.DS_Store``. All folders but ``Clean`` are wet and never read.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from fxpipe.sources.base import Scan, Skipped, find_root
from fxpipe.sources.manifest import load_manifest, size_text
from fxpipe.sources.scan import Candidate, scan_files, walk_audio
from fxtrain.contract import at_home

NAME = "egfxset"
OPEN_STRING_MIDI = {1: 64, 2: 59, 3: 55, 4: 50, 5: 45, 6: 40}
LAST_FRET = 22
PICKUPS = ("Bridge", "Bridge-Middle", "Middle", "Middle-Neck", "Neck")

_NOTE = re.compile(r"([1-6])-(\d{1,2})")


@dataclass(frozen=True)
class EgfxSetSource:
    """``root`` holds ``Clean/``."""

    root: Path
    include: tuple[str, ...] = ()
    name: str = NAME
    is_generated: bool = False

    def scan(self, *, progress: bool = False) -> Scan:
        manifest = load_manifest(NAME)
        candidates: list[Candidate] = []
        skipped: list[Skipped] = []
        for path, inside in walk_audio(self.root / "Clean"):
            item_id = f"Clean/{inside}"
            if not manifest.dry.is_dry(item_id, self.include):
                continue
            note = _NOTE.fullmatch(path.stem)
            if note is None or int(note[2]) > LAST_FRET:
                skipped.append(Skipped(item_id, "its name is not <string 1-6>-<fret 0-22>"))
                continue
            string, fret = int(note[1]), int(note[2])
            candidates.append(
                Candidate(
                    path=path,
                    item_id=item_id,
                    group=f"{string}-{fret}",
                    licence=manifest.licence_id,
                    meta={
                        "kind": "note",
                        "guitar": "Stratocaster",
                        "pickup": path.parent.name,
                        "string": string,
                        "fret": fret,
                        "midi": OPEN_STRING_MIDI[string] + fret,
                    },
                )
            )
        return scan_files(
            self.name,
            candidates,
            licences={manifest.licence_id: manifest.licence},
            where=str(self.root / "Clean"),
            skipped=skipped,
            progress=progress,
        )


def open_egfxset(path: str, data_dir: Path | None, include: tuple[str, ...]) -> EgfxSetSource:
    """From the unpacked ``Clean.zip``: the folder that holds ``Clean``, or ``Clean`` itself."""
    asked = at_home(path) if path else data_dir
    if asked is not None and asked.name == "Clean" and _has_pickups(asked):
        return EgfxSetSource(asked.absolute().parent, include)
    manifest = load_manifest(NAME)
    root = find_root(
        NAME,
        asked,
        lambda folder: _has_pickups(folder / "Clean"),
        what=f"{manifest.title} (Clean/Bridge/1-0.wav and the like)",
        size=size_text(manifest.download_bytes),
    )
    return EgfxSetSource(root, include)


def _has_pickups(clean: Path) -> bool:
    return any((clean / pickup).is_dir() for pickup in PICKUPS)
