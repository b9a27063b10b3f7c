"""A valve guitar amplifier between the last pedal and the loudspeaker: tone stack, valves that
saturate, a supply that sags.

A small model after what is common to such circuits (J. Pakarinen and D. Yeh, "A Review of Digital
Techniques for Modeling Vacuum-Tube Guitar Amplifiers", Computer Music Journal 33(2), 2009): a
first valve that bends one half of the wave more than the other; a tone stack that takes away
middle (D. Yeh and J. Smith, "Discretization of the '59 Fender Bassman Tone Stack", DAFx 2006); a
supply whose voltage falls while it plays loud; a push-pull power stage that bends both halves
alike. Most draws stay clean: one that distorts is a pedal that nobody named.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import soxr

from fxpipe.draws import check_limits, even, log
from fxpipe.equaliser import bell, highpass, shelf
from fxpipe.level import as_loud_as

AMPLIFIER_VERSION = 1
"""Part of the identity of such renders; raise it when the same draw would sound otherwise."""

BASS_HZ, TREBLE_HZ = 150.0, 2_000.0


@dataclass(frozen=True)
class Amplifier:
    """From in to out. ``drive_db`` and ``power_db``: how far the loudest sample stands above the
    knee of the first valve and of the power stage; ``sag_db`` of gain are lost where it plays
    loudest, within ``sag_ms``."""

    cut_hz: float
    drive_db: float
    bias: float
    bass_db: float
    mid_hz: float
    mid_db: float
    treble_db: float
    sag_db: float
    sag_ms: float
    power_db: float

    def __post_init__(self) -> None:
        check_limits("amplifier", vars(self))


def draw_amplifier(rng: np.random.Generator) -> Amplifier:
    return Amplifier(
        cut_hz=log(rng, 20, 200),
        drive_db=even(rng, -24, 9),
        bias=even(rng, 0, 0.4),
        bass_db=even(rng, -9, 6),
        mid_hz=log(rng, 300, 900),
        mid_db=even(rng, -15, 3),
        treble_db=even(rng, -9, 9),
        sag_db=even(rng, 0, 6),
        sag_ms=log(rng, 20, 200),
        power_db=even(rng, -24, 3),
    )


def amplify(amplifier: Amplifier, wave: np.ndarray, sample_rate_hz: int) -> np.ndarray:
    """float32 [N], as loud (RMS) as ``wave``."""
    from scipy.signal import lfilter, sosfilt

    a = amplifier
    w = 2 * math.pi / sample_rate_hz
    heard = sosfilt([highpass(w * a.cut_hz, 0.707)], wave)
    heard = _bent(heard, a.drive_db, a.bias)
    stack = [
        highpass(w * 10, 0.707),  # what a bent wave has of direct current
        shelf(w * BASS_HZ, a.bass_db, low=True),
        bell(w * a.mid_hz, a.mid_db, q=0.5),
        shelf(w * TREBLE_HZ, a.treble_db, low=False),
    ]
    heard = sosfilt(stack, heard)
    pole = math.exp(-1e3 / (a.sag_ms * sample_rate_hz))
    load = lfilter([1 - pole], [1, -pole], np.abs(heard))
    heard = heard * 10 ** (-a.sag_db / 20 * load / (load.max() or 1))
    return as_loud_as(wave, _bent(heard, a.power_db))


def _bent(wave: np.ndarray, peak_db: float, bias: float = 0.0) -> np.ndarray:
    """float32, through tanh(x + bias) at twice the sample rate, the loudest sample at
    ``peak_db``."""
    gain = 10 ** (peak_db / 20) / (np.abs(wave).max() or 1)
    fine = soxr.resample((gain * wave).astype(np.float32), 1, 2)
    bent = np.tanh(fine + np.float32(bias)) - np.float32(math.tanh(bias))
    coarse: np.ndarray = soxr.resample(bent, 2, 1)
    return coarse
