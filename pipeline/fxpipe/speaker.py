"""A guitar amplifier's loudspeaker before a microphone, as filters: what most recordings of pedals
have been through.

A guitar loudspeaker of 10 or 12 inches plays from its resonance, at 60 to 150 Hz, to some 5 kHz,
loudest between 2 and 4 kHz, and little above (data sheets of Celestion's and Jensen's; J. O. Smith,
"Physical Audio Signal Processing", "Modeling a Twelve-Inch Guitar Speaker"); where the cone breaks
up and before a microphone at its edge there are hills and holes; the amplifier's tone stack takes
away middle. All of it linear: an amplifier that distorts is a pedal that nobody named.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from fxpipe.equaliser import bell, highpass, lowpass
from fxtrain.contract import UsageError

SPEAKER_VERSION = 1
"""Part of the identity of such renders; raise it when the same draw would sound otherwise."""

LIMITS = {"hz": (10.0, 1e6), "db": (-60.0, 60.0), "q": (0.1, 100.0)}
"""By the unit at the end of a field's name: beyond these a record is damaged."""


@dataclass(frozen=True)
class Speaker:
    """High pass of second, bells, low pass of fourth order, in the order of these fields."""

    low_hz: float
    low_q: float
    body_hz: float
    body_db: float
    mid_hz: float
    mid_db: float
    presence_hz: float
    presence_db: float
    hole_hz: float
    hole_db: float
    hole_q: float
    high_hz: float
    high_q: float

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            least, most = LIMITS[name.rpartition("_")[2]]
            if not least <= value <= most:
                raise UsageError(f"speaker_{name} is {value:g}, expected {least:g} to {most:g}")


def draw_speaker(rng: np.random.Generator) -> Speaker:
    def even(low: float, high: float) -> float:
        return round(float(rng.uniform(low, high)), 3)

    def log(low: float, high: float) -> float:
        return round(math.exp(rng.uniform(math.log(low), math.log(high))), 3)

    return Speaker(
        low_hz=log(60, 150),
        low_q=log(0.5, 1.6),
        body_hz=log(100, 300),
        body_db=even(-3, 6),
        mid_hz=log(400, 1200),
        mid_db=even(-10, 3),
        presence_hz=log(1900, 4200),
        presence_db=even(0, 11),
        hole_hz=log(900, 6000),
        hole_db=even(-12, 5),
        hole_q=log(1.5, 5),
        high_hz=log(3500, 7000),
        high_q=log(0.5, 1.1),
    )


def play_through(speaker: Speaker, wave: np.ndarray, sample_rate_hz: int) -> np.ndarray:
    """float32 [N], as loud (RMS) as ``wave``."""
    from scipy.signal import sosfilt

    def w(hz: float) -> float:
        return 2 * math.pi * min(hz / sample_rate_hz, 0.45)

    s = speaker
    sections = np.array(
        [
            highpass(w(s.low_hz), s.low_q),
            bell(w(s.body_hz), s.body_db),
            bell(w(s.mid_hz), s.mid_db, q=0.6),
            bell(w(s.presence_hz), s.presence_db, q=1.2),
            bell(w(s.hole_hz), s.hole_db, s.hole_q),
            lowpass(w(s.high_hz), s.high_q),
            lowpass(w(s.high_hz), 0.6),
        ]
    )
    heard: np.ndarray = sosfilt(sections, wave).astype(np.float32)
    before, after = (float(np.dot(each, each)) for each in (wave, heard))
    return heard * np.float32(math.sqrt(before / after)) if after else heard
