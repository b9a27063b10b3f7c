"""Owns the embedded guitar: `perform` draws a performance and returns its dry DI audio.

The audio is computed from numbers only, so it is free of any recording's licence (CC0), and it is
deterministic: the same generator state gives the same bytes. Who plays what is in
`fxpipe.sources.score`, what hands do in `fxpipe.sources.gestures`, how a string sounds in
`fxpipe.sources.strings`, the instruments in `fxpipe.sources.guitars`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from fxpipe.sources.gestures import Hand, besides, choked, shaken
from fxpipe.sources.guitars import GUITARS, Guitar
from fxpipe.sources.noises import hiss, hum, squeaked
from fxpipe.sources.ring import sound
from fxpipe.sources.score import STYLES
from fxpipe.sources.strings import SAMPLE_RATE_HZ, Note, Rig, pickup_filter

__all__ = ["SAMPLE_RATE_HZ", "Performance", "draw_hand", "perform", "record", "set_up"]

_GRID = 2.0**23  # samples lie on the steps of a 24-bit converter
_AT_ONCE = 2**14  # samples of a wave worked on at a time: 128 kB, stay in the cache
_SOUNDING_SHARE = 0.65  # of the clip, by the score's own estimate
_HISS_DBFS = (-98.0, -60.0)
_HUM_DBFS = (-92.0, -62.0)
_ARM_SHARE = 0.08  # of the clips on a guitar that has a tremolo arm
_PALM_MUTE = (0.1, 0.8)  # outside: an open note, a dead note
_PLAYERS = {  # bandwidth of a medium stroke in Hz, level of the contact noise
    "hard_pick": (14000.0, 0.35),
    "soft_pick": (9000.0, 0.2),
    "thumb": (2500.0, 0.03),
    "fingers": (4500.0, 0.08),
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
    volume: float  # volume knob, 0..1
    dynamic: float  # mean playing force, 0..1
    tuning_cents: float
    n_notes: int  # that sound within the clip
    n_by_accident: int  # strings brushed or ringing along, squeaks
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
    """What a take was recorded at, and how much got in by accident; ``hum_hz`` 0 is no hum."""

    n_by_accident: int
    peak_dbfs: float
    hiss_dbfs: float
    hum_hz: int
    hum_dbfs: float


def perform(
    rng: np.random.Generator, n_samples: int
) -> tuple[npt.NDArray[np.float32], Performance]:
    """Dry electric guitar, float32 [N] at 44.1 kHz, and the record of what was played.

    At least half of the clip sounds; its peak lies between -20 and -3 dBFS, hiss between -98 and
    -60, hum, which single coils pick up mostly, between -92 and -62. Raises ``ValueError`` if
    ``n_samples`` < 1.
    """
    if n_samples < 1:
        raise ValueError(f"a clip of {n_samples} samples cannot be played; ask for at least 1")
    setup = set_up(rng)
    dynamic = float(rng.uniform(0.3, 0.9))
    style, hand, notes = _score(rng, setup.rig.guitar, dynamic, n_samples / SAMPLE_RATE_HZ)
    audio, levels = record(rng, setup.rig, hand, notes, n_samples)
    muted = sum(_PALM_MUTE[0] < note.mute < _PALM_MUTE[1] for note in notes)
    return audio, Performance(
        style=style,
        tempo_bpm=60.0 / hand.beat_s,
        guitar=setup.guitar,
        pickup=setup.pickup,
        plectrum=setup.plectrum,
        tone=setup.rig.tone,
        volume=setup.rig.volume,
        dynamic=dynamic,
        tuning_cents=setup.tuning_cents,
        n_notes=len(notes),
        n_by_accident=levels.n_by_accident,
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
        wear=float(rng.uniform(0.5, 1.9)),
        pick_hz=pick_hz * float(rng.uniform(0.75, 1.35)),
        pick_noise=pick_noise * _times(rng, 3.0),
        tone=1.0 if rng.random() < 0.65 else float(rng.uniform(0.2, 1.0)),
        cable_f=float(rng.uniform(350e-12, 900e-12)),
        volume=1.0 if rng.random() < 0.7 else float(rng.uniform(0.35, 0.95)),
        ends=0.45 * _times(rng, 2.0),
        spread=0.35,
        fill=0.2 * _times(rng, 2.0),
        pull_per_mm=float(rng.uniform(0.1, 0.4)),
        noise_s=0.0016 * _times(rng, 2.0),
    )
    return Setup(guitar_name, pickup_name, plectrum, tuning_cents, rig)


def draw_hand(rng: np.random.Generator, guitar: Guitar, dynamic: float, span_s: float) -> Hand:
    """A player's timing and touch; ``dynamic`` is the mean playing force, 0..1."""
    return Hand(
        open_midi=guitar.open_midi,
        beat_s=60.0 / float(rng.uniform(62.0, 168.0)),
        span_s=span_s,
        dynamic=dynamic,
        pick_mm=float(rng.uniform(25.0, 135.0)),
        palm_mute=float(rng.uniform(0.18, 0.42)),
        loose_s=float(rng.uniform(0.002, 0.012)),
        contact_s=float(rng.uniform(0.0, 0.02)),
        noisy=float(rng.uniform(0.0, 1.0)),
        open_rings=0.4,
    )


def record(
    rng: np.random.Generator, rig: Rig, hand: Hand, notes: Sequence[Note], n_samples: int
) -> tuple[npt.NDArray[np.float32], Levels]:
    """The notes, and what else the hands do, through pickup and converter, float32 [N]."""
    from scipy.signal import lfilter  # a second and more: for those who play, not who read files

    force = (min(0.9, max(0.3, hand.dynamic)) - 0.3) / 0.6
    peak_dbfs = -19.5 + 16.0 * float(0.55 * force + 0.45 * rng.random())
    hiss_dbfs = float(rng.uniform(*_HISS_DBFS))
    noise = hiss(rng, n_samples) * np.float32(10.0 ** (hiss_dbfs / 20.0))
    faint, squeaks = besides(rng, rig.guitar, hand, notes)
    strings = sound(rng, rig, [*notes, *faint], n_samples)
    strings *= np.float32(10.0 ** (peak_dbfs / 20.0) / _peak(strings))
    if squeaks:
        level_db = peak_dbfs + rig.guitar.strings.squeak_db + float(rng.normal(0.0, 5.0))
        rubbed = squeaked(rng, rig.guitar.strings, squeaks, n_samples)
        strings += rubbed * np.float32(10.0 ** (level_db / 20.0))
    strings += noise[::-1] * np.float32(rng.uniform(0.1, 1.3))  # the coil's own, coloured by it
    dry = lfilter(*pickup_filter(rig), strings)
    gain = 10.0 ** (peak_dbfs / 20.0) / _peak(dry)
    hum_hz, hum_dbfs = 0, -120.0
    if rng.random() < (0.15 if rig.pickup.humbucking else 0.5):
        hum_hz, hum_dbfs = int(rng.choice((50, 60))), float(rng.uniform(*_HUM_DBFS))
        hummed = hum(rng, hum_hz, n_samples) * 10.0 ** (hum_dbfs / 20.0)
    audio = np.empty(n_samples, np.float32)
    for start in range(0, n_samples, _AT_ONCE):
        part = slice(start, start + _AT_ONCE)
        wave = dry[part]
        wave *= gain
        wave += noise[part]
        if hum_hz:
            wave += hummed[part]
        wave *= _GRID
        np.rint(wave, out=wave)
        wave *= 1.0 / _GRID
        audio[part] = wave
    return audio, Levels(len(faint) + len(squeaks), peak_dbfs, hiss_dbfs, hum_hz, hum_dbfs)


def _peak(wave: npt.NDArray[np.floating[Any]]) -> Any:
    """Of the type of the wave's samples."""
    return max(wave.max(), -wave.min())


def _times(rng: np.random.Generator, factor: float) -> float:
    """A positive number around 1; nine of ten lie within ``factor`` up or down."""
    return float(factor ** (rng.standard_normal() / 1.645))


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
        hand = draw_hand(rng, guitar, dynamic, duration_s + skip_s)
        played = choked(STYLES[style][1](rng, hand), hand.contact_s)
        if guitar.arm and rng.random() < _ARM_SHARE:
            played = shaken(rng, played)
        notes = [
            replace(note, onset_s=note.onset_s - skip_s, end_s=note.end_s - skip_s)
            for note in played
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
