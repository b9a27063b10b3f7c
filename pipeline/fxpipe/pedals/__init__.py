"""PEDALS: every pedal by name, and the pools that published settings draw from.

Adding a pedal: a build function in ``parts.py`` and an entry here (docs/add-a-pedal.md); the
conformance test then finds it by itself. Order within PEDALS is the textbook order of a board.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from fxpipe.pedals import parts
from fxpipe.pedals.makes import MAKES, Make
from fxpipe.pedals.spec import (
    FAMILIES,
    PedalSpec,
    Process,
    Settings,
    check_settings,
)
from fxpipe.pedals.vst3 import PluginPedal
from fxtrain.contract import Param, Pedal, UsageError, Vocabulary, unknown_name

__all__ = [
    "FAMILIES",
    "MAKES",
    "PEDALS",
    "PLUGINS",
    "POOLS",
    "PedalSpec",
    "PluginPedal",
    "Process",
    "Settings",
    "build_pedal",
    "check_pedal",
    "lti_pairs",
    "make_of",
    "pool_of",
    "register",
    "vocabulary_of",
]

_TONE = Param("tone_hz", "Hz", 1500.0, 6000.0, "log", "higher is brighter")
_PHASE = Param("phase_cycles", "cycles", 0.0, 1.0, "linear", "where the LFO stands at the start")


def _level(low_db: float, high_db: float) -> Param:
    return Param("level_db", "dB", low_db, high_db, "linear", "output volume")


PEDALS: dict[str, PedalSpec] = {
    "compressor": PedalSpec(
        "dynamics",
        "nonlinear",
        "evens out loud and soft notes and makes them ring longer",
        (
            Param("threshold_db", "dBFS", -45.0, -24.0, "linear", "where squeezing starts"),
            Param("ratio", "ratio", 4.0, 20.0, "log", "how hard it squeezes"),
            Param("attack_ms", "ms", 1.0, 40.0, "log", "how much pick gets through"),
            Param("release_ms", "ms", 50.0, 400.0, "log", "how soon it lets go"),
            Param("level_db", "dB", 2.0, 20.0, "linear", "make-up volume"),
        ),
        parts.compressor,
    ),
    "gate": PedalSpec(
        "dynamics",
        "nonlinear",
        "cuts hiss and tails between notes",
        (
            Param("threshold_db", "dBFS", -32.0, -12.0, "linear", "below this it closes"),
            Param("ratio", "ratio", 4.0, 20.0, "log", "how far it closes"),
            Param("attack_ms", "ms", 0.5, 5.0, "log", "how fast it opens"),
            Param("release_ms", "ms", 10.0, 200.0, "log", "how fast it closes"),
        ),
        parts.gate,
    ),
    "octaver": PedalSpec(
        "pitch",
        "nonlinear",
        "adds the note an octave below",
        (Param("mix", "ratio", 0.3, 0.7, "linear", "how much of the low octave"),),
        parts.octaver,
    ),
    "wah": PedalSpec(
        "filter",
        "lti",
        "a wah left in one place: a vocal, honking tone",
        (
            Param("center_hz", "Hz", 400.0, 2000.0, "log", "heel down is low, toe down is high"),
            Param("q", "ratio", 1.5, 6.0, "log", "how sharp the honk is"),
        ),
        parts.wah,
    ),
    "overdrive": PedalSpec(
        "drive",
        "nonlinear",
        "a warm push that still follows your pick",
        (
            Param("drive_db", "dB", 15.0, 36.0, "linear", "how much it breaks up"),
            _TONE,
            _level(-15.0, -3.0),
        ),
        parts.overdrive,
    ),
    "distortion": PedalSpec(
        "drive",
        "nonlinear",
        "hard, saturated, sustaining",
        (
            Param("drive_db", "dB", 20.0, 44.0, "linear", "how much it saturates"),
            Param("tone_hz", "Hz", 2000.0, 8000.0, "log", "higher is brighter"),
            _level(-26.0, -14.0),
        ),
        parts.distortion,
    ),
    "fuzz": PedalSpec(
        "drive",
        "nonlinear",
        "square, buzzing, falling apart",
        (
            Param("fuzz_db", "dB", 30.0, 54.0, "linear", "how much it buzzes"),
            Param("bias", "ratio", 0.02, 0.4, "linear", "how uneven, starved it sounds"),
            _TONE,
            _level(-22.0, -10.0),
        ),
        parts.fuzz,
    ),
    "bitcrusher": PedalSpec(
        "drive",
        "nonlinear",
        "coarse digital grit",
        (Param("bits", "bit", 3.0, 7.0, "linear", "fewer is rougher"),),
        parts.bitcrusher,
    ),
    "eq": PedalSpec(
        "tone",
        "lti",
        "bass, middle and treble up or down",
        (
            Param("bass_db", "dB", -12.0, 12.0, "linear", "below 150 Hz"),
            Param("mid_db", "dB", -12.0, 12.0, "linear", "around the middle"),
            Param("mid_hz", "Hz", 400.0, 2000.0, "log", "where the middle is"),
            Param("treble_db", "dB", -12.0, 12.0, "linear", "above 3 kHz"),
        ),
        parts.eq,
        {"bass_db": 0.7, "mid_db": 0.1, "treble_db": 0.8},
    ),
    "phaser": PedalSpec(
        "modulation",
        "ltv",
        "a slow sweep of notches, swirling",
        (
            Param("rate_hz", "Hz", 0.3, 4.0, "log", "speed of the sweep"),
            Param("depth", "ratio", 0.4, 1.0, "linear", "width of the sweep"),
            Param("center_hz", "Hz", 500.0, 1800.0, "log", "middle of the sweep"),
            Param("feedback", "ratio", 0.0, 0.7, "linear", "sharper, more vocal"),
            _PHASE,
        ),
        parts.phaser,
    ),
    "flanger": PedalSpec(
        "modulation",
        "ltv",
        "a jet passing overhead",
        (
            Param("rate_hz", "Hz", 0.15, 1.5, "log", "speed of the sweep"),
            Param("depth", "ratio", 0.3, 0.9, "linear", "width of the sweep"),
            Param("delay_ms", "ms", 2.0, 6.0, "log", "shorter is higher"),
            Param("feedback", "ratio", 0.4, 0.75, "linear", "how metallic"),
            _PHASE,
        ),
        parts.flanger,
    ),
    "chorus": PedalSpec(
        "modulation",
        "ltv",
        "as if two guitars played, slightly apart",
        (
            Param("rate_hz", "Hz", 0.3, 3.0, "log", "speed of the wobble"),
            Param("depth", "ratio", 0.05, 0.25, "linear", "width of the wobble"),
            Param("delay_ms", "ms", 6.0, 15.0, "log", "distance of the second voice"),
            Param("mix", "ratio", 0.35, 0.6, "linear", "loudness of the second voice"),
            _PHASE,
        ),
        parts.chorus,
    ),
    "tremolo": PedalSpec(
        "modulation",
        "ltv",
        "volume that pulses",
        (
            Param("rate_hz", "Hz", 2.0, 10.0, "log", "speed of the pulse"),
            Param("depth", "ratio", 0.4, 0.95, "linear", "how far it dips"),
            Param("shape", "ratio", 0.0, 1.0, "linear", "from swelling to chopping"),
            _PHASE,
        ),
        parts.tremolo,
    ),
    "delay": PedalSpec(
        "time",
        "lti",
        "echoes",
        (
            Param("delay_ms", "ms", 80.0, 600.0, "log", "time between echoes"),
            Param("feedback", "ratio", 0.1, 0.6, "linear", "how many echoes"),
            Param("mix", "ratio", 0.2, 0.5, "linear", "how loud the echoes are"),
        ),
        parts.delay,
    ),
    "reverb": PedalSpec(
        "time",
        "lti",
        "the room around the guitar",
        (
            Param("room_size", "ratio", 0.2, 0.95, "linear", "from cupboard to cathedral"),
            Param("damping", "ratio", 0.1, 0.9, "linear", "how dark the room is"),
            Param("wet", "ratio", 0.2, 0.6, "linear", "how far away the guitar stands"),
        ),
        parts.reverb,
    ),
}

POOLS: dict[str, tuple[str, ...]] = {
    "seed5": ("compressor", "distortion", "phaser", "chorus", "reverb"),
    "okita3": ("distortion", "chorus", "reverb"),
    "take4": ("distortion", "chorus", "delay", "reverb"),
    "rossi5": ("overdrive", "chorus", "tremolo", "delay", "reverb"),
    "stompbox": (
        "compressor",
        "wah",
        "overdrive",
        "distortion",
        "fuzz",
        "phaser",
        "chorus",
        "tremolo",
        "delay",
        "reverb",
    ),
    "all": tuple(PEDALS),
}
"""Pools by name. ``okita3`` and ``take4`` name the pedals of Okita & Katayose (ICASSP 2026) and
Take et al. (DAFx24); ``rossi5`` those of Zenodo 7871720; ``stompbox`` is the default."""


PLUGINS: dict[str, PluginPedal] = {}
"""Pedals that a spec brought along; they stand in PEDALS too."""


def register(plugins: Iterable[PluginPedal]) -> None:
    """Put plugins into PEDALS, each after our own pedals of its family.

    Whoever reads a spec does so, workers included. A name means one thing in one process.
    """
    new = [plugin for plugin in plugins if PLUGINS.get(plugin.name) != plugin]
    for plugin in new:
        if plugin.name in PLUGINS:
            raise UsageError(
                f"pedal {plugin.name!r} was another plugin, or another build or map of it, earlier "
                "in this process: choose another name, or start the workers anew"
            )
        if plugin.name in PEDALS:
            raise UsageError(f"there is a pedal {plugin.name!r} already; choose another name")
    if new:
        PLUGINS.update({plugin.name: plugin for plugin in new})
        found = PEDALS | {plugin.name: plugin.spec() for plugin in new}
        ordered = sorted(found.items(), key=lambda item: FAMILIES.index(item[1].family))
        PEDALS.clear()
        PEDALS.update(ordered)


def pool_of(names: str | Iterable[str]) -> tuple[str, ...]:
    """Pools and pedals by name, separated by commas -> pedal names in textbook order."""
    if isinstance(names, str):
        listed = [part for part in map(str.strip, names.split(",")) if part]
        for part in listed:
            if part not in POOLS and part not in PEDALS:
                raise UsageError(unknown_name("pool or pedal", part, (*POOLS, *PEDALS)))
        names = [name for part in listed for name in POOLS.get(part, (part,))]
    chosen = dict.fromkeys(names)
    for name in chosen:
        if name not in PEDALS:
            raise UsageError(unknown_name("pedal", name, PEDALS))
    if not chosen:
        raise UsageError(f"a pool needs at least one pedal; known: {', '.join(PEDALS)}")
    return tuple(name for name in PEDALS if name in chosen)


def vocabulary_of(pool: Sequence[str]) -> Vocabulary:
    """The contract's vocabulary of a pool, ids in textbook order."""
    return Vocabulary(tuple(PEDALS[name].entry(name) for name in pool))


def lti_pairs(pool: Sequence[str]) -> tuple[tuple[str, str], ...]:
    """Pairs of linear time-invariant pedals: either order is the same filter, exactly."""
    linear = [name for name in pool if PEDALS[name].linearity == "lti"]
    return tuple((a, b) for i, a in enumerate(linear) for b in linear[i + 1 :])


def build_pedal(pedal: Pedal, sample_rate_hz: int) -> Process:
    """A fresh process for one pedal, ours or another make of it; unknown pedals and settings are
    refused."""
    check_pedal(pedal)
    make = make_of(pedal)
    return (make or PEDALS[pedal.name]).build(pedal.settings, sample_rate_hz)


def check_pedal(pedal: Pedal) -> None:
    """Raises PedalError or UsageError where :func:`build_pedal` could not build it."""
    if pedal.name not in PEDALS:
        raise UsageError(unknown_name("pedal", pedal.name, PEDALS))
    make = make_of(pedal)
    inside = make.inside if make else ()
    check_settings(pedal.name, (*PEDALS[pedal.name].params, *inside), pedal.settings)


def make_of(pedal: Pedal) -> Make | None:
    """The other make that the settings are of; None where they turn our own pedal's knobs alone."""
    make = MAKES.get(pedal.name)
    if make is None or not any(param.name in pedal.settings for param in make.inside):
        return None
    return make
