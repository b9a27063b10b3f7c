"""Another guitar in place of the one that was recorded: other pickups, another tone, hum and hiss.

A model that was taught two guitars hears the third one's tone as a pedal, and its hum, which a
drive lifts by forty decibels, as another. So a share of the clips goes through filters drawn for
each of them, before the first pedal. What they stand for: a pickup with its cable is a lowpass
with a resonance at 2 to 9 kHz; where it lies under the strings it misses what has a node there, a
comb (Paiva, Pakarinen and Valimaki, "Acoustics and modeling of pickups", JAES 2012); woods,
strings and tone knobs are shelves and a bell here. Hum is the mains and its harmonics.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from fxpipe.draws import even, log
from fxpipe.equaliser import bell, lowpass, shelf

GUITAR_VERSION = 1
"""Part of the identity of such renders; raise it when the same draw would sound otherwise."""

HUM_HARMONICS = 16
BASS_HZ, TREBLE_HZ = 200.0, 2500.0


@dataclass(frozen=True)
class OtherGuitar:
    """Filters in the order of these fields; ``hum_db`` and ``hiss_db`` relative to the guitar's
    RMS."""

    bass_db: float
    mid_hz: float
    mid_db: float
    treble_db: float
    comb_ms: float
    comb_depth: float
    resonance_hz: float
    resonance_q: float
    hum_hz: float
    hum_db: float
    hiss_db: float


def draw_guitar(rng: np.random.Generator) -> OtherGuitar:
    return OtherGuitar(
        bass_db=even(rng, -9, 6),
        mid_hz=log(rng, 350, 1500),
        mid_db=even(rng, -6, 6),
        treble_db=even(rng, -9, 9),
        comb_ms=log(rng, 0.1, 1.2),
        comb_depth=even(rng, -0.6, 0.6),
        resonance_hz=log(rng, 1800, 9000),
        resonance_q=log(rng, 0.6, 3),
        hum_hz=float(rng.choice((50, 60))),
        hum_db=even(rng, -80, -38),
        hiss_db=even(rng, -85, -48),
    )


def play_on(
    guitar: OtherGuitar, dry: np.ndarray, sample_rate_hz: int, rng: np.random.Generator
) -> np.ndarray:
    """float32 [N], as loud (RMS) as ``dry``; ``rng`` draws the phases of the hum, and the hiss."""
    from scipy.signal import sosfilt

    rms = _rms(dry)
    if not rms:
        return dry
    w = 2 * math.pi / sample_rate_hz
    sections = np.array(
        [
            shelf(w * BASS_HZ, guitar.bass_db, low=True),
            bell(w * guitar.mid_hz, guitar.mid_db),
            shelf(w * TREBLE_HZ, guitar.treble_db, low=False),
            lowpass(w * min(guitar.resonance_hz, 0.45 * sample_rate_hz), guitar.resonance_q),
        ]
    )
    wave: np.ndarray = sosfilt(sections, dry)
    gap = max(1, round(guitar.comb_ms / 1000 * sample_rate_hz))
    wave[gap:] -= guitar.comb_depth * wave[:-gap]
    wave *= rms / max(_rms(wave), 1e-12)
    wave += 10 ** (guitar.hum_db / 20) * rms * _hum(guitar.hum_hz, len(dry), sample_rate_hz, rng)
    wave += 10 ** (guitar.hiss_db / 20) * rms * rng.standard_normal(len(dry), np.float32)
    return wave.astype(np.float32)


def _rms(wave: np.ndarray) -> float:
    return math.sqrt(float(np.dot(wave, wave)) / len(wave))


def _hum(
    hum_hz: float, n_samples: int, sample_rate_hz: int, rng: np.random.Generator
) -> np.ndarray:
    """float64 [N] of RMS 1: harmonics that fall off with their number, each its own."""
    places = np.arange(1, HUM_HARMONICS + 1)
    sizes = rng.uniform(0.2, 1.0, HUM_HARMONICS) / places
    phases = rng.uniform(0, 2 * math.pi, HUM_HARMONICS)
    n_period = sample_rate_hz // math.gcd(sample_rate_hz, round(hum_hz))
    angles = 2 * math.pi * hum_hz / sample_rate_hz * np.outer(places, np.arange(n_period))
    period = sizes @ np.cos(angles + phases[:, None])
    period /= math.sqrt(float(np.square(sizes).sum()) / 2)
    wave: np.ndarray = np.resize(period, n_samples)
    return wave
