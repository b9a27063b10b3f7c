"""Owns the embedded guitar: `perform` draws a performance and returns its dry DI audio.

The audio is computed from numbers only, so it is free of any recording's licence (CC0), and it is
deterministic: the same generator state gives the same bytes. Who plays what is in
`fxpipe.sources.score`, how a string sounds in `fxpipe.sources.strings`, the instruments in
`fxpipe.sources.guitars`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
from scipy.signal import lfilter

from fxpipe.sources.guitars import GUITARS, Guitar
from fxpipe.sources.score import STYLES, Hand, choked
from fxpipe.sources.strings import (
    SAMPLE_RATE_HZ,
    FloatArray,
    Note,
    Rig,
    pickup_filter,
    sound,
)

__all__ = ["SAMPLE_RATE_HZ", "Performance", "perform", "record", "set_up"]

_GRID = 2.0**23  # samples lie on the steps of a 24-bit converter
_SOUNDING_SHARE = 0.65  # of the clip, by the score's own estimate
_PALM_MUTE = (0.1, 0.8)  # outside: an open note, a dead note
_PLAYERS = {  # bandwidth of a medium stroke in Hz, level of the contact noise
    "hard_pick": (9000.0, 0.15),
    "soft_pick": (6000.0, 0.08),
    "thumb": (2000.0, 0.015),
    "fingers": (3200.0, 0.03),
}


@dataclass(frozen=True)
class Performance:
    """What was drawn for one clip; plain values, so ``dataclasses.asdict`` is JSON-serialisable."""

    style: str
    tempo_bpm: float
    guitar: str
    pickup: str
    plectrum: str
    tone: float  # tone knob, 0..1
    dynamic: float  # mean playing force, 0..1
    tuning_cents: float
    n_notes: int  # that sound within the clip
    palm_mute_share: float  # of those notes
    starts_ringing: bool  # a note was already sounding at sample 0
    peak_dbfs: float
    hiss_dbfs: float
    hum_hz: int  # 0: none
    hum_dbfs: float


@dataclass(frozen=True)
class Setup:
    """The instrument of one clip by its names, and as numbers."""

    guitar: str
    pickup: str
    plectrum: str
    tuning_cents: float
    rig: Rig


@dataclass(frozen=True)
class Levels:
    """What a take was recorded at; ``hum_hz`` 0 is no hum."""

    peak_dbfs: float
    hiss_dbfs: float
    hum_hz: int
    hum_dbfs: float


def perform(
    rng: np.random.Generator, n_samples: int
) -> tuple[npt.NDArray[np.float32], Performance]:
    """Dry electric guitar, float32 [N] at 44.1 kHz, and the record of what was played.

    At least half of the clip sounds; its peak lies between -20 and -3 dBFS; hiss and, from single
    coils mostly, hum lie between -78 and -66 dBFS. Raises ``ValueError`` if ``n_samples`` < 1.
    """
    if n_samples < 1:
        raise ValueError(f"a clip of {n_samples} samples cannot be played; ask for at least 1")
    setup = set_up(rng)
    dynamic = float(rng.uniform(0.3, 0.9))
    style, hand, notes = _score(rng, setup.rig.guitar, dynamic, n_samples / SAMPLE_RATE_HZ)
    audio, levels = record(rng, setup.rig, notes, dynamic, n_samples)
    muted = sum(_PALM_MUTE[0] < note.mute < _PALM_MUTE[1] for note in notes)
    return audio, Performance(
        style=style,
        tempo_bpm=60.0 / hand.beat_s,
        guitar=setup.guitar,
        pickup=setup.pickup,
        plectrum=setup.plectrum,
        tone=setup.rig.tone,
        dynamic=dynamic,
        tuning_cents=setup.tuning_cents,
        n_notes=len(notes),
        palm_mute_share=muted / len(notes),
        starts_ringing=notes[0].onset_s < 0.0,
        peak_dbfs=levels.peak_dbfs,
        hiss_dbfs=levels.hiss_dbfs,
        hum_hz=levels.hum_hz,
        hum_dbfs=levels.hum_dbfs,
    )


def set_up(rng: np.random.Generator) -> Setup:
    """A guitar, one of its pickups, a plectrum or fingers, strings, knobs and a cable."""
    guitar_name = _pick(rng, tuple(GUITARS))
    guitar = GUITARS[guitar_name]
    pickup_name = _pick(rng, tuple(guitar.pickups))
    plectrum = _pick(rng, tuple(_PLAYERS), (0.45, 0.3, 0.08, 0.17))
    pick_hz, pick_noise = _PLAYERS[plectrum]
    tuning_cents = float(rng.normal(0.0, 6.0))
    rig = Rig(
        guitar=guitar,
        pickup=guitar.pickups[pickup_name],
        cents=tuple(float(c) for c in tuning_cents + rng.normal(0.0, 2.5, 6)),
        wear=float(rng.uniform(0.7, 2.2)),
        pick_hz=pick_hz * float(rng.uniform(0.75, 1.35)),
        pick_noise=pick_noise * float(rng.uniform(0.3, 1.5)),
        tone=1.0 if rng.random() < 0.6 else float(rng.uniform(0.2, 1.0)),
        cable_f=float(rng.uniform(350e-12, 900e-12)),
    )
    return Setup(guitar_name, pickup_name, plectrum, tuning_cents, rig)


def record(
    rng: np.random.Generator, rig: Rig, notes: Sequence[Note], dynamic: float, n_samples: int
) -> tuple[npt.NDArray[np.float32], Levels]:
    """The notes through the pickup and the converter, float32 [N], and how loud what was."""
    dry = lfilter(*pickup_filter(rig), sound(rng, rig, notes, n_samples))
    peak_dbfs = -19.5 + 16.0 * float(0.55 * (dynamic - 0.3) / 0.6 + 0.45 * rng.random())
    dry *= 10.0 ** (peak_dbfs / 20.0) / np.abs(dry).max()
    hiss_dbfs = float(rng.uniform(-78.0, -66.0))
    dry += _hiss(rng, n_samples) * np.float32(10.0 ** (hiss_dbfs / 20.0))
    hum_hz, hum_dbfs = 0, -120.0
    if rng.random() < (0.15 if rig.pickup.humbucking else 0.5):
        hum_hz, hum_dbfs = int(rng.choice((50, 60))), float(rng.uniform(-78.0, -66.0))
        dry += _hum(rng, hum_hz, n_samples) * 10.0 ** (hum_dbfs / 20.0)
    dry *= _GRID
    audio = (np.rint(dry, out=dry) / _GRID).astype(np.float32)
    return audio, Levels(peak_dbfs, hiss_dbfs, hum_hz, hum_dbfs)


def _pick(
    rng: np.random.Generator, names: Sequence[str], shares: Sequence[float] | None = None
) -> str:
    return names[int(rng.choice(len(names), p=shares))]


def _score(
    rng: np.random.Generator, guitar: Guitar, dynamic: float, duration_s: float
) -> tuple[str, Hand, list[Note]]:
    """Style, hand, and the notes that sound within the clip, timed from its first sample.

    Drawn anew, tempo and style included, until enough of the clip sounds.
    """
    styles = tuple(STYLES)
    shares = tuple(share for share, _ in STYLES.values())
    while True:
        style = _pick(rng, styles, shares)
        if rng.random() < 0.5:  # the clip opens in the middle of the playing
            skip_s = float(rng.uniform(0.03, 1.5))
        else:
            skip_s = -float(rng.uniform(0.0, min(0.25, 0.2 * duration_s)))
        hand = Hand(
            open_midi=guitar.open_midi,
            beat_s=60.0 / float(rng.uniform(62.0, 168.0)),
            span_s=duration_s + skip_s,
            dynamic=dynamic,
            pick_mm=float(rng.uniform(25.0, 135.0)),
            palm_mute=float(rng.uniform(0.18, 0.42)),
            loose_s=float(rng.uniform(0.002, 0.012)),
        )
        notes = [
            replace(note, onset_s=note.onset_s - skip_s, end_s=note.end_s - skip_s)
            for note in choked(STYLES[style][1](rng, hand))
            if skip_s < note.end_s and note.onset_s < hand.span_s
        ]
        if _sounding_s(guitar.open_midi, notes, duration_s) >= _SOUNDING_SHARE * duration_s:
            return style, hand, notes


def _sounding_s(open_midi: Sequence[int], notes: Sequence[Note], duration_s: float) -> float:
    """Seconds of the clip in which a note, in time order, has lost less than about 40 dB."""
    covered_s, reached_s = 0.0, 0.0
    for note in notes:
        hz = 440.0 * 2.0 ** ((open_midi[note.string] + note.fret - 69) / 12.0) * note.harmonic
        rate_hz = 1.5 + 0.005 * hz + 2.6 * float(np.expm1(4.2 * note.mute))
        end_s = min(duration_s, note.end_s, note.onset_s + 4.6 / rate_hz)
        covered_s += max(0.0, end_s - max(reached_s, note.onset_s))
        reached_s = max(reached_s, end_s)
    return covered_s


def _hiss(rng: np.random.Generator, n_samples: int) -> npt.NDArray[np.float32]:
    """Noise of unit power with a random tilt, [N]; even draws, as white as normal ones, cheaper."""
    tilt = float(rng.uniform(-0.3, 0.8))
    white = rng.integers(-32768, 32768, n_samples + 1, dtype=np.int16).astype(np.float32)
    white *= np.float32(np.sqrt(3.0 / (1.0 + tilt**2)) / 32768.0)
    hiss = white[1:]
    hiss += np.float32(tilt) * white[:-1]
    return hiss


def _hum(rng: np.random.Generator, mains_hz: int, n_samples: int) -> FloatArray:
    """Mains hum of unit power, [N]: eight harmonics, the odd ones stronger."""
    order = np.arange(1, 9)
    levels = rng.uniform(0.3, 1.0, 8) / order * np.where(order % 2, 1.0, 0.4)
    levels *= np.sqrt(2.0 / np.sum(levels**2))
    turns = np.arange(SAMPLE_RATE_HZ // mains_hz) * (mains_hz / SAMPLE_RATE_HZ)
    phases = 2.0 * np.pi * (np.outer(order, turns) + rng.random((8, 1)))
    return np.resize(levels @ np.sin(phases), n_samples)
