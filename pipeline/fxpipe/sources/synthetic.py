"""Owns the built-in guitar as a source: played on demand, no files, no download."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from fxpipe.sources.base import LICENCES, Scan

SYNTH_VERSION = 2
"""Raise it when the same generator would play other notes: it identifies the audio."""

SYNTH_LICENCE = "CC0-1.0"


@dataclass(frozen=True)
class SynthSource:
    """The renderer draws each performance from ``fxpipe.sources.synth.perform``."""

    name: str = "synth"
    is_generated: bool = True

    def scan(self, *, progress: bool = False) -> Scan:
        """No items: only the licence, and a digest of the instrument's version."""
        digest = hashlib.sha256(f"synth/{SYNTH_VERSION}".encode()).hexdigest()
        return Scan("synth", (), (), {SYNTH_LICENCE: LICENCES[SYNTH_LICENCE]}, digest)
