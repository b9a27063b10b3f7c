"""Owns the guitars the synthetic source plays: strings, pickups, bodies. Numbers only.

Positions are millimetres from the bridge saddle, averaged over the six strings; ``slant_mm`` moves
a coil away from the bridge on the low strings and towards it on the high ones. Gauges are inches,
as printed on a packet of strings. Inductance, resistance and capacitance are in the ranges given by
H. Lemme, "The secrets of electric guitar pickups" (http://buildyourguitar.com/resources/lemme/);
with 250 to 500 kilo-ohm pots and 300 to 1,000 pF of cable the loaded resonances fall
between 2 and 5 kHz. Body modes stand in for the neck and body resonances that make some
notes die sooner than others (Pate, Le Carrou, Fabre, JASA 135, 2014).
"""

from __future__ import annotations

from dataclasses import dataclass

STANDARD_TUNING = (40, 45, 50, 55, 59, 64)  # MIDI numbers, lowest string first


@dataclass(frozen=True)
class StringSet:
    """Six strings. ``core_ratio`` is core over outer diameter of a wound string."""

    gauges_in: tuple[float, ...]  # lowest string first
    n_plain: int
    core_ratio: float = 0.38
    plain_internal_loss: float = 0.004
    wound_internal_loss: float = 0.045
    end_loss: float = 7.0e-4
    squeak_db: float = -34.0  # of a sliding finger, against the loudest note


@dataclass(frozen=True)
class Pickup:
    """One position of the selector: one coil, a humbucker (two coils) or a mix."""

    coils_mm: tuple[float, ...]
    inductance_h: float
    resistance_ohm: float
    capacitance_f: float
    aperture_mm: float
    slant_mm: float = 0.0
    humbucking: bool = False


@dataclass(frozen=True)
class BodyMode:
    """One resonance: it takes energy from partials near it and knocks when a string is struck."""

    hz: float
    q: float
    loss: float  # added to 1/Q of a partial that lies on it
    knock_db: float  # level of its ring against the note


@dataclass(frozen=True)
class Guitar:
    """An instrument; ``pot_ohm`` is the value of both its volume and its tone pot."""

    scale_mm: float
    strings: StringSet
    pickups: dict[str, Pickup]
    body: tuple[BodyMode, ...]
    pot_ohm: float = 250e3
    tone_cap_f: float = 22e-9
    arm: bool = False  # a tremolo arm
    open_midi: tuple[int, ...] = STANDARD_TUNING


def _single(position_mm: float, slant_mm: float = 0.0, inductance_h: float = 2.4) -> Pickup:
    return Pickup((position_mm,), inductance_h, 6.0e3, 110e-12, 8.0, slant_mm)


def _wide_single(position_mm: float, inductance_h: float) -> Pickup:
    return Pickup((position_mm,), inductance_h, 8.0e3, 120e-12, 18.0)


def _humbucker(centre_mm: float, inductance_h: float) -> Pickup:
    coils_mm = (centre_mm - 9.0, centre_mm + 9.0)
    return Pickup(coils_mm, inductance_h, 8.0e3, 120e-12, 9.0, humbucking=True)


def _both(first: Pickup, second: Pickup) -> Pickup:
    """Two pickups in parallel: half the inductance and resistance, twice the capacitance."""
    return Pickup(
        first.coils_mm + second.coils_mm,
        0.25 * (first.inductance_h + second.inductance_h),
        0.25 * (first.resistance_ohm + second.resistance_ohm),
        first.capacitance_f + second.capacitance_f,
        0.5 * (first.aperture_mm + second.aperture_mm),
        0.5 * (first.slant_mm + second.slant_mm),
        humbucking=True,
    )


_SOLID = (
    BodyMode(98.0, 18.0, 2.0e-4, -50.0),
    BodyMode(232.0, 25.0, 8.0e-4, -46.0),
    BodyMode(437.0, 30.0, 9.0e-4, -50.0),
)
_BOLTED = (
    BodyMode(62.0, 15.0, 1.0e-4, -52.0),
    BodyMode(188.0, 22.0, 1.2e-3, -45.0),
    BodyMode(391.0, 35.0, 1.3e-3, -48.0),
    BodyMode(655.0, 40.0, 8.0e-4, -52.0),
)
_HOLLOW = (
    BodyMode(112.0, 16.0, 1.5e-3, -36.0),
    BodyMode(208.0, 20.0, 2.5e-3, -34.0),
    BodyMode(337.0, 26.0, 2.2e-3, -38.0),
    BodyMode(520.0, 30.0, 1.5e-3, -42.0),
)

_TENS = StringSet((0.046, 0.036, 0.026, 0.017, 0.013, 0.010), 3)
_NINES = StringSet((0.042, 0.032, 0.024, 0.016, 0.011, 0.009), 3)
_ELEVENS = StringSet((0.049, 0.038, 0.028, 0.018, 0.014, 0.011), 3)
_HEAVY_BOTTOM = StringSet((0.052, 0.042, 0.030, 0.017, 0.013, 0.010), 3)
_FLATWOUND = StringSet(
    (0.052, 0.042, 0.032, 0.024, 0.016, 0.012),
    2,
    core_ratio=0.43,
    wound_internal_loss=0.075,
    squeak_db=-54.0,  # flat windings are nearly mute
)
_BARITONE = StringSet((0.068, 0.056, 0.044, 0.034, 0.022, 0.014), 1, core_ratio=0.35)

_S_NECK, _S_MIDDLE, _S_BRIDGE = _single(158.0), _single(98.0), _single(42.0, 10.0, 2.7)
_T_NECK, _T_BRIDGE = _single(162.0, 0.0, 2.0), _single(41.0, 13.0, 3.0)
_H_NECK, _H_BRIDGE = _humbucker(143.0, 4.0), _humbucker(38.0, 4.8)
_J_NECK, _J_BRIDGE = _wide_single(150.0, 3.6), _wide_single(56.0, 3.9)
_P_NECK, _P_BRIDGE = _wide_single(146.0, 5.0), _wide_single(44.0, 5.6)
_M_NECK, _M_BRIDGE = _humbucker(150.0, 4.6), _humbucker(40.0, 6.5)

GUITARS: dict[str, Guitar] = {
    "double_cut_sss": Guitar(
        648.0,
        _TENS,
        {
            "neck": _S_NECK,
            "neck+middle": _both(_S_NECK, _S_MIDDLE),
            "middle": _S_MIDDLE,
            "bridge+middle": _both(_S_BRIDGE, _S_MIDDLE),
            "bridge": _S_BRIDGE,
        },
        _BOLTED,
        arm=True,
    ),
    "single_cut_ss": Guitar(
        648.0,
        _NINES,
        {"neck": _T_NECK, "both": _both(_T_NECK, _T_BRIDGE), "bridge": _T_BRIDGE},
        _BOLTED,
    ),
    "single_cut_hh": Guitar(
        628.0,
        _TENS,
        {"neck": _H_NECK, "both": _both(_H_NECK, _H_BRIDGE), "bridge": _H_BRIDGE},
        _SOLID,
        500e3,
    ),
    "semi_hollow_hh": Guitar(
        628.0,
        _ELEVENS,
        {"neck": _H_NECK, "both": _both(_H_NECK, _H_BRIDGE), "bridge": _H_BRIDGE},
        _HOLLOW,
        500e3,
    ),
    "archtop_flatwound": Guitar(
        635.0,
        _FLATWOUND,
        {"neck": _H_NECK, "both": _both(_H_NECK, _H_BRIDGE)},
        _HOLLOW,
        500e3,
    ),
    "offset_wide_single": Guitar(
        648.0,
        _ELEVENS,
        {"neck": _J_NECK, "both": _both(_J_NECK, _J_BRIDGE), "bridge": _J_BRIDGE},
        _BOLTED,
        1000e3,
        arm=True,
    ),
    "slab_p90": Guitar(
        628.0,
        _TENS,
        {"neck": _P_NECK, "both": _both(_P_NECK, _P_BRIDGE), "bridge": _P_BRIDGE},
        _SOLID,
        500e3,
    ),
    "modern_drop_d": Guitar(
        648.0,
        _HEAVY_BOTTOM,
        {"neck": _M_NECK, "both": _both(_M_NECK, _M_BRIDGE), "bridge": _M_BRIDGE},
        _BOLTED,
        500e3,
        open_midi=(38, 45, 50, 55, 59, 64),
    ),
    "baritone": Guitar(
        686.0,
        _BARITONE,
        {"neck": _H_NECK, "both": _both(_H_NECK, _J_BRIDGE), "bridge": _J_BRIDGE},
        _SOLID,
        500e3,
        open_midi=(35, 40, 45, 50, 54, 59),
    ),
}
