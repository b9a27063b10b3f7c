"""A guitar amplifier's loudspeaker before a microphone, as filters: what most recordings of pedals
have been through.

A guitar loudspeaker of 10 or 12 inches plays from its resonance, at 60 to 150 Hz, to some 5 kHz,
loudest between 2 and 4 kHz, and little above (data sheets of Celestion's and Jensen's; J. O. Smith,
"Physical Audio Signal Processing", "Modeling a Twelve-Inch Guitar Speaker"); where the cone breaks
up and before a microphone at its edge there are hills and holes; the amplifier's tone stack takes
away middle. All of it linear; what else an amplifier does is in ``amplifier.py``.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from fxpipe.draws import check_limits, even, log
from fxpipe.equaliser import bell, highpass, lowpass
from fxpipe.level import as_loud_as

SPEAKER_VERSION = 1
"""Part of the identity of such renders; raise it when the same draw would sound otherwise."""


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
        check_limits("speaker", vars(self))


def draw_speaker(rng: np.random.Generator) -> Speaker:
    return Speaker(
        low_hz=log(rng, 60, 150),
        low_q=log(rng, 0.5, 1.6),
        body_hz=log(rng, 100, 300),
        body_db=even(rng, -3, 6),
        mid_hz=log(rng, 400, 1200),
        mid_db=even(rng, -10, 3),
        presence_hz=log(rng, 1900, 4200),
        presence_db=even(rng, 0, 11),
        hole_hz=log(rng, 900, 6000),
        hole_db=even(rng, -12, 5),
        hole_q=log(rng, 1.5, 5),
        high_hz=log(rng, 3500, 7000),
        high_q=log(rng, 0.5, 1.1),
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
    return as_loud_as(wave, sosfilt(sections, wave).astype(np.float32))
