"""Other makes of our pedals: the same knobs on other circuits.

A model that has learnt one phaser knows that phaser and not phasers. A make keeps a pedal's name,
family and knobs and changes what is inside: where a drive begins to clip and how, a compressor's
detector, a phaser's stages, the tone of a delay's repeats. What is inside is drawn like knobs are,
within the bounds stated here, and stands in the record beside them; it is no knob and no label. The
bounds are ours, after the circuits and papers that ``circuits.py`` names, not measured on anything.
"""

from __future__ import annotations

from dataclasses import dataclass

from fxpipe.pedals import circuits, parts
from fxpipe.pedals.circuits import Build
from fxtrain.contract import Param


@dataclass(frozen=True)
class Make:
    """``inside``: what is drawn beside the knobs; ``build`` gets both in one table."""

    build: Build
    inside: tuple[Param, ...]


def _inside(name: str, unit: str, low: float, high: float, meaning: str) -> Param:
    """On a log scale where it is a frequency, a time or a factor."""
    log = unit in ("Hz", "ms", "times")
    return Param(name, unit, low, high, "log" if log else "linear", meaning)


def _choice(name: str, low: int, high: int, meaning: str) -> Param:
    return Param(name, "number", low, high, "choice", meaning)


def _voice(bell_db: float, high_hz: float) -> tuple[Param, ...]:
    """The tone of a box's input and output stages."""
    return (
        _inside("low_hz", "Hz", 15.0, 160.0, "what is below gets lost"),
        _inside("high_hz", "Hz", high_hz, 18_000.0, "what is above gets lost"),
        _inside("bell_hz", "Hz", 300.0, 4000.0, "middle of its hump or dip"),
        _inside("bell_db", "dB", -bell_db, bell_db, "height of the hump"),
        _inside("volume_db", "dB", -6.0, 6.0, "louder or softer at the same knob"),
    )


CLEAN_VOICE = _voice(4.0, 6000.0)
DRIVE_VOICE = _voice(9.0, 3500.0)
_BIAS = _inside("uneven", "ratio", 0.0, 0.5, "how unlike the halves of the wave are clipped")
_LFO = _inside("corner", "ratio", 0.0, 1.0, "the sweep, from a sine to a triangle")


def _gain(low_db: float, high_db: float) -> Param:
    return _inside("gain_db", "dB", low_db, high_db, "more or less gain at the same knob")


def _clean(build: Build, *inside: Param) -> Make:
    return Make(circuits.voiced(build), (*inside, *CLEAN_VOICE))


def _drive(build: Build, *inside: Param) -> Make:
    return Make(circuits.voiced(build), (*inside, *DRIVE_VOICE))


MAKES: dict[str, Make] = {
    "compressor": _clean(
        circuits.compressor,
        _inside("window_ms", "ms", 0.5, 20.0, "over which it measures"),
        _inside("knee_db", "dB", 0.0, 20.0, "how gently squeezing sets in"),
        _inside("shift_db", "dB", -6.0, 6.0, "louder or softer guitar at the same threshold"),
        _inside("blend", "ratio", 0.0, 0.5, "unsqueezed guitar beside it"),
    ),
    "gate": _clean(parts.gate),
    "octaver": _clean(parts.octaver),
    "wah": _clean(
        circuits.wah,
        _inside("travel", "times", 0.75, 1.35, "where the pedal's travel lies"),
        _inside("skirt", "times", 0.4, 1.0, "how much is left beside the peak"),
        _inside("peak_db", "dB", 9.0, 20.0, "height of the peak"),
    ),
    "overdrive": _drive(
        circuits.overdrive,
        _inside("lean_hz", "Hz", 60.0, 1000.0, "what is below is clipped less"),
        _inside("clean", "ratio", 0.0, 0.6, "clean guitar beneath"),
        _inside("knee", "ratio", 0.0, 0.7, "how suddenly it clips: from germanium to silicon"),
        _BIAS,
        _gain(-8.0, 6.0),
    ),
    "distortion": _drive(
        circuits.distortion,
        _inside("lean_hz", "Hz", 20.0, 400.0, "what is below is clipped less"),
        _inside("push_db", "dB", -10.0, 18.0, "gain of the first stage"),
        _inside("knee", "ratio", 0.3, 1.0, "how suddenly it clips"),
        _BIAS,
        _gain(-6.0, 8.0),
    ),
    "fuzz": _drive(
        circuits.fuzz,
        _inside("lean_hz", "Hz", 20.0, 250.0, "what is below is clipped less"),
        _inside("octave", "ratio", -0.6, 0.6, "how much is folded over; nothing at 0 and below"),
        _inside("knee", "ratio", 0.3, 1.0, "how suddenly it clips"),
        _gain(-12.0, 6.0),
    ),
    "bitcrusher": _clean(parts.bitcrusher),
    "eq": _clean(parts.eq),
    "phaser": _clean(
        circuits.phaser,
        _choice("pairs", 1, 5, "pairs of all-pass stages, a notch each"),
        _inside("span_oct", "octaves", 0.7, 2.2, "how far the sweep goes"),
        _inside("travel", "times", 0.6, 1.6, "where the sweep lies"),
        _inside("mix", "ratio", 0.35, 0.6, "how deep the notches are"),
        _choice("sign", 0, 1, "which way the feedback goes"),
        _LFO,
    ),
    "flanger": _clean(
        circuits.flanger,
        _choice("sign", 0, 1, "which way the feedback goes"),
        _inside("mix", "ratio", 0.35, 0.6, "how deep the comb is"),
        _LFO,
    ),
    "chorus": _clean(
        circuits.chorus,
        _choice("voices", 1, 3, "how many play along"),
        _inside("later", "times", 0.8, 2.5, "further from the guitar"),
        _inside("reach", "times", 0.5, 2.5, "how far the wobble goes"),
        _inside("dull_hz", "Hz", 2500.0, 16_000.0, "what is above the voices lose"),
        _LFO,
    ),
    "tremolo": _clean(
        circuits.tremolo,
        _inside("rise", "ratio", 0.25, 0.75, "share of a pulse in which it swells"),
        _choice("harmonic", 0, 3, "3: lows and highs pulse in turn"),
        _inside("split_hz", "Hz", 400.0, 1200.0, "where a harmonic one divides"),
    ),
    "delay": _clean(
        circuits.delay,
        _inside("travel", "times", 0.7, 1.4, "longer or shorter at the same knob"),
        _inside("dull_hz", "Hz", 1500.0, 16_000.0, "what is above each repeat loses"),
        _inside("thin_hz", "Hz", 20.0, 300.0, "what is below each repeat loses"),
    ),
    "reverb": _clean(
        circuits.reverb,
        _inside("long", "times", 0.6, 1.6, "a longer or shorter room at the same knob"),
        _inside("predelay_ms", "ms", 0.5, 50.0, "before the room answers"),
        _choice("walls", 0, 255, "which room it is"),
        _choice("spring", 0, 3, "3: a spring"),
    ),
}
"""Every pedal of ours has one: where only the voice is another, the circuit is ours."""
