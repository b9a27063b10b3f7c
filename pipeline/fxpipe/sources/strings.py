"""Owns the physics of a plucked electric guitar string; must not import scores, pedals or codecs.

A note is a sum of decaying partials (modal synthesis): `partials` says which, `fxpipe.sources.ring`
makes them audible. The physics, and where it comes from:

* partial frequencies of a stiff string, ``f_k = k f0 sqrt(1 + B k^2)``: H. Fletcher,
  "Normal vibration frequencies of a stiff piano string", JASA 36 (1964);
* losses as the sum of air, internal and fixed-end terms: A. Pate, J.-L. Le Carrou, B. Fabre,
  "Predicting the decay time of solid body electric guitar tones", JASA 135 (2014),
  https://hal.science/hal-01461740, which also finds that a pickup adds no damping and is far
  more sensitive to one of the two polarisations;
* a large motion also feeds the modes that the pick leaves out: K. A. Legge, N. H. Fletcher,
  "Nonlinear generation of missing modes on a vibrating string", JASA 76 (1984);
* the pitch that glides down as a loud note dies: T. Tolonen, V. Valimaki, M. Karjalainen,
  "Modeling of tension modulation nonlinearity in plucked strings", IEEE Transactions on Speech
  and Audio Processing 8 (2000);
* the pickup's place, width, resonance, and its magnet, whose pull depends on the string's distance:
  R. C. D. Paiva, J. Pakarinen, V. Valimaki, "Acoustics and modeling of pickups", JAES 60 (2012);
* longitudinal modes of wound strings, heard when they are rubbed or struck: J. Pakarinen,
  H. Penttinen, B. Bank, "Analysis of handling noises on wound strings", JASA 122 (2007), EL197;
* coil, pots, tone capacitor and cable as one circuit: H. Lemme, "The secrets of electric guitar
  pickups", http://buildyourguitar.com/resources/lemme/.

Shapes: S notes, P partials. The rate is 44.1 kHz everywhere.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from fxpipe.sources.guitars import Guitar, Pickup

SAMPLE_RATE_HZ = 44_100

FloatArray = npt.NDArray[np.float64]
ComplexArray = npt.NDArray[np.complex128]

_MAX_PARTIALS = 96
_HIGHEST_PARTIAL_HZ = 15_000.0
_PICKUP_SLOPE_HZ = 4_000.0  # any pickup takes partials far above this away: they are not computed
_AUDIBLE = 10 ** (-75 / 20)  # partials this far under their note's loudest one are left out
_AUDIBLE_IN_CLIP = 10 ** (-80 / 20)  # and those this far under the clip's loudest one
_BEATING_PARTIALS = 10  # partials computed in both polarisations
_PULLING_PARTIALS = 6  # low partials whose motion changes the distance to the magnet
_RELEASE_SLOPE_DB = 24.0  # level between the softest and the hardest pick stroke
_HARDEST_MM = 3.3  # how far the hardest stroke pulls the string aside

_PARTIALS = np.arange(1, _MAX_PARTIALS + 1, dtype=np.float64)

_YOUNG_STEEL_PA = 2.0e11
_PLAIN_KG_M3 = 7850.0
_WOUND_KG_M3 = 6600.0  # windings leave air between them
_AIR_VISCOSITY_PA_S = 1.8e-5
_AIR_KG_M3 = 1.2
_AMP_INPUT_OHM = 1.0e6
_EDDY_OHM = 600e3  # losses in magnets and covers, as a resistor across the coil
# by order n: row m is (z - 1)^m (z + 1)^(n - m), highest power of z first; s = 2 fs (z - 1)/(z + 1)
_BILINEAR = {
    3: np.array([[1, 3, 3, 1], [1, 1, -1, -1], [1, -1, -1, 1], [1, -3, 3, -1]], np.float64),
    4: np.array(
        [
            [1, 4, 6, 4, 1],
            [1, 2, 0, -2, -1],
            [1, 0, -2, 0, 1],
            [1, -2, 0, 2, -1],
            [1, -4, 6, -4, 1],
        ],
        np.float64,
    ),
}


@dataclass(frozen=True)
class Rig:
    """The instrument as it is set up: what stays the same over a whole clip.

    The fields with a default describe an ideal instrument unless they are set.
    """

    guitar: Guitar
    pickup: Pickup
    cents: tuple[float, ...]  # out of tune, one a string
    wear: float  # 1 new strings, 2 old ones: multiplies the internal losses
    pick_hz: float  # bandwidth of a medium pick stroke: a thumb 2,500, a hard pick 14,000
    pick_noise: float  # level of the pick's own noise against the note
    tone: float  # tone knob, 0..1
    cable_f: float  # capacitance of the cable
    volume: float = 1.0  # volume knob, 0..1: turned down, the cable takes treble
    ends: float = 1.0  # multiplies the losses at nut, frets and saddle
    spread: float = 0.0  # from note to note, of losses and polarisations, natural logarithm
    fill: float = 0.0  # how far the nodes of pick and pickup are filled, 0..1
    pull_per_mm: float = 0.0  # what a millimetre towards the coil adds to its sensitivity
    noise_s: float = 0.0016  # time constant of the pick's noise


@dataclass(frozen=True)
class Note:
    """One played note: what the two hands did.

    ``string`` 0 is the lowest; ``fret`` 0 is open. ``velocity`` lies in 0..1. ``mute`` lies in
    0..1: 0.2 to 0.5 is a palm mute, 1 a dead note. ``bend`` holds (seconds after the onset,
    semitones) break points, ``vibrato`` is (rate in Hz, depth in semitones). ``harmonic`` n keeps
    every n-th partial (a touched node). ``lift_s`` is the time constant of the damping finger.
    ``faint_db`` is taken off a string that nobody picked: it was brushed, or rings along.
    """

    string: int
    fret: int
    onset_s: float
    end_s: float
    velocity: float
    pick_mm: float
    mute: float = 0.0
    legato: bool = False
    bend: tuple[tuple[float, float], ...] = ()
    vibrato: tuple[float, float] = (0.0, 0.0)
    harmonic: int = 1
    lift_s: float = 0.03
    faint_db: float = 0.0


@dataclass(frozen=True)
class Partials:
    """Of each note's partials: frequencies in Hz, decay rates of amplitude in 1/s, and complex
    amplitudes, each [S, P].

    A note starts sharp by ``glide`` [S] of its frequency; the excess falls to 1/e in ``settle_s``
    [S]. Below ``floor`` [S] a partial is not heard.
    """

    freqs_hz: FloatArray
    rates_hz: FloatArray
    amps: ComplexArray
    glide: FloatArray
    settle_s: FloatArray
    floor: FloatArray


def pickup_filter(rig: Rig) -> tuple[FloatArray, FloatArray]:
    """Digital (b, a) of coil, pots, tone capacitor and cable; unity gain at 0 Hz.

    The coil, impedance z, feeds the top of the volume pot; coil capacitance and tone branch lie
    across it, admittance y. Behind the wiper, series resistance w, lie the lower part of the pot,
    cable and amplifier, admittance x. The output is 1 / ((1 + w x) (1 + z y) + z x) of what the
    strings induce: of the third order, of the fourth with the volume turned down.
    """
    coil, guitar = rig.pickup, rig.guitar
    below = max(0.02, rig.volume**2)  # audio taper
    tone_ohm = 2e3 + guitar.pot_ohm * rig.tone**2
    # polynomials in s, lowest power first; all but w x over the tone branch
    branch = np.array([1.0, tone_ohm * guitar.tone_cap_f])
    z = np.array([coil.resistance_ohm, coil.inductance_h])
    y = np.convolve([1.0 / _EDDY_OHM, coil.capacitance_f], branch)
    y[1] += guitar.tone_cap_f
    x = np.array([1.0 / (below * guitar.pot_ohm) + 1.0 / _AMP_INPUT_OHM, rig.cable_f])
    before = np.convolve(z, y)
    before[:2] += branch
    denominator = np.convolve((1.0 - below) * guitar.pot_ohm * x + [1.0, 0.0], before)
    denominator[:4] += np.convolve(np.convolve(z, x), branch)
    order = 4 if denominator[4] else 3
    scale = (2.0 * SAMPLE_RATE_HZ) ** np.arange(order + 1)
    a = (denominator[: order + 1] * scale) @ _BILINEAR[order]
    b = (branch * scale[:2]) @ _BILINEAR[order][:2]
    return b * (a.sum() / b.sum() / a[0]), a / a[0]


def note_hz(rig: Rig, note: Note) -> float:
    """Frequency of the note's first partial before any bend, in Hz (A4 = 440)."""
    midi = rig.guitar.open_midi[note.string] + note.fret + rig.cents[note.string] / 100.0
    return float(440.0 * 2.0 ** ((midi - 69.0) / 12.0))


def partials(rng: np.random.Generator, rig: Rig, notes: Sequence[Note]) -> Partials:
    """What the pickup senses of each note.

    After the string's own partials come the second polarisation of the first ten, two longitudinal
    modes, and the knock of the body's modes.
    """
    lengths = _lengths(rig, notes)
    end, across, along, slant, split = np.exp(rig.spread * rng.standard_normal((5, len(notes), 1)))
    freqs_hz = lengths.freqs_hz
    rates_hz = _rates_hz(rng, rig, notes, lengths, end)
    force, levels = _levels(rng, rig, notes, lengths)
    loudest = np.abs(levels).max(axis=1, keepdims=True)
    floor = np.maximum(loudest * _AUDIBLE, loudest.max() * _AUDIBLE_IN_CLIP)
    heard = np.abs(levels) / (1.0 + (freqs_hz / _PICKUP_SLOPE_HZ) ** 2)
    levels[(freqs_hz > _HIGHEST_PARTIAL_HZ) | (heard < floor)] = 0.0

    # the pick also pushes along the body: a second, slightly detuned motion the coils hear less
    pairs = slice(0, _BEATING_PARTIALS)
    lateral = (0.15 + 0.35 * rng.random((len(notes), 1))) * slant
    drift = 7.0e-4 * split**2 * rng.standard_normal((len(notes), _BEATING_PARTIALS))
    across = rates_hz * (1.6 * across)
    along = np.minimum(rates_hz * (0.55 * along), across)

    picked = loudest * (1.0 - _column([note.legato for note in notes]))
    sound_m_s = lengths.core_m * np.sqrt(_YOUNG_STEEL_PA * np.pi / 4.0 / lengths.mass_kg_m)
    long_hz = sound_m_s / (2.0 * lengths.length_m) * [1.0, 2.0]
    long_levels = 10.0 ** (rng.uniform(-52.0, -34.0, long_hz.shape) / 20.0)
    long_rates_hz = rng.uniform(12.0, 60.0, long_hz.shape)
    ones, body = np.ones((len(notes), 1)), rig.guitar.body
    knock_hz = ones * [mode.hz for mode in body]
    knock_rates_hz = ones * [np.pi * mode.hz / mode.q for mode in body]
    knocks = picked * [10.0 ** (mode.knock_db / 20.0) for mode in body]

    pick = _pick(notes, lengths)
    pulled_m = force * _HARDEST_MM * 1e-3
    strain = (pulled_m / lengths.length_m) ** 2 / (4.0 * pick * (1.0 - pick))  # mean of a swing
    steel_m2 = np.pi * lengths.core_m**2 / 4.0
    return Partials(
        np.hstack((freqs_hz, freqs_hz[:, pairs] * (1.00015 + drift), long_hz, knock_hz)),
        np.hstack((across, along[:, pairs], long_rates_hz, knock_rates_hz)),
        -1j * np.hstack((levels, levels[:, pairs] * lateral, picked * long_levels, knocks)),
        glide=(0.5 * _YOUNG_STEEL_PA * steel_m2 * strain / lengths.tension_n)[:, 0],
        settle_s=0.5 / across[:, :_PULLING_PARTIALS].mean(axis=1),  # tension: amplitude squared
        floor=floor[:, 0],
    )


@dataclass(frozen=True)
class _Lengths:
    """The sounding lengths of string, [S, 1], and the frequencies of their partials, [S, P]."""

    length_m: FloatArray
    diameter_m: FloatArray
    core_m: FloatArray
    mass_kg_m: FloatArray
    tension_n: FloatArray
    stiffness: FloatArray  # B
    is_plain: npt.NDArray[np.bool_]
    freqs_hz: FloatArray


def _lengths(rig: Rig, notes: Sequence[Note]) -> _Lengths:
    guitar, strings = rig.guitar, rig.guitar.strings
    string = np.array([note.string for note in notes])
    f0_hz = _column([note_hz(rig, note) for note in notes])
    length_m = guitar.scale_mm * 1e-3 * 2.0 ** (-_column([note.fret for note in notes]) / 12.0)
    diameter_m = _column(strings.gauges_in)[string] * 25.4e-3
    is_plain = string[:, None] >= 6 - strings.n_plain
    core_m = diameter_m * np.where(is_plain, 1.0, strings.core_ratio)
    mass_kg_m = np.where(is_plain, _PLAIN_KG_M3, _WOUND_KG_M3) * np.pi * diameter_m**2 / 4.0
    tension_n = mass_kg_m * (2.0 * length_m * f0_hz) ** 2
    stiffness = np.pi**3 * _YOUNG_STEEL_PA * core_m**4 / (64.0 * tension_n * length_m**2)
    freqs_hz = _PARTIALS * f0_hz * np.sqrt(1.0 + stiffness * _PARTIALS**2)
    return _Lengths(
        length_m, diameter_m, core_m, mass_kg_m, tension_n, stiffness, is_plain, freqs_hz
    )


def _rates_hz(
    rng: np.random.Generator, rig: Rig, notes: Sequence[Note], lengths: _Lengths, end: FloatArray
) -> FloatArray:
    """Decay rates [S, P] of the partials; ``end`` [S, 1] multiplies what nut and saddle take."""
    strings, freqs_hz = rig.guitar.strings, lengths.freqs_hz
    is_fretted = _column([note.fret for note in notes]) > 0
    mute = _column([note.mute for note in notes])
    layer_kg_m_s = np.sqrt(np.pi * _AIR_VISCOSITY_PA_S * _AIR_KG_M3 * freqs_hz)
    drag_kg_m_s = 2.0 * np.pi * (_AIR_VISCOSITY_PA_S + lengths.diameter_m * layer_kg_m_s)
    internal = np.where(lengths.is_plain, strings.plain_internal_loss, strings.wound_internal_loss)
    losses = drag_kg_m_s / (2.0 * np.pi * lengths.mass_kg_m * freqs_hz)
    losses += internal * rig.wear * lengths.stiffness * _PARTIALS**2  # viscoelastic, written with B
    losses += (
        strings.end_loss * rig.ends * end * np.where(is_fretted, 1.5, 1.0)
    )  # flesh at the fret
    for mode in rig.guitar.body:
        detune = 2.0 * mode.q * (freqs_hz / mode.hz - 1.0)
        losses += mode.loss / (1.0 + detune**2)
    losses *= np.exp(0.2 * rng.standard_normal(losses.shape))
    damped_hz = 4.0 * np.expm1(4.2 * mute) * (0.6 + 0.0004 * freqs_hz)  # by the palm
    return np.asarray(np.pi * freqs_hz * losses + damped_hz)


def _levels(
    rng: np.random.Generator, rig: Rig, notes: Sequence[Note], lengths: _Lengths
) -> tuple[FloatArray, ComplexArray]:
    """The force of each note, [S, 1], and what the coils sense of its partials, [S, P]."""
    k, length_mm = _PARTIALS, lengths.length_m * 1e3
    string = _column([note.string for note in notes])
    sense = np.zeros(lengths.freqs_hz.shape)
    for coil_mm in rig.pickup.coils_mm:
        place_mm = coil_mm + rig.pickup.slant_mm * (2.5 - string) / 5.0
        sense += np.sin(np.pi * k * (place_mm / length_mm))
    sense /= len(rig.pickup.coils_mm)
    pick = _pick(notes, lengths)
    # what fills the nodes comes a quarter turn away, by turns ahead and behind
    fill = 1j * rig.fill * np.exp(0.3 * rng.standard_normal(sense.shape)) * (-1.0) ** k
    levels = (sense + fill) * (np.sin(np.pi * k * pick) + fill[:, ::-1])
    levels *= np.sinc(k * (0.5 * rig.pickup.aperture_mm / length_mm))

    velocity = _column([note.velocity for note in notes])
    mute = _column([note.mute for note in notes])
    faint_db = _column([note.faint_db for note in notes])
    force = 10.0 ** ((_RELEASE_SLOPE_DB * (velocity - 1.0) - faint_db) / 20.0)
    force *= np.where(_column([note.legato for note in notes]), 0.6, 1.0)
    levels *= force / (k * np.pi * pick * (1.0 - pick))
    release_hz = rig.pick_hz * 3.0 ** (velocity - 0.6) * (1.0 - 0.5 * np.minimum(mute, 0.6))
    levels /= 1.0 + (lengths.freqs_hz / release_hz) ** 2
    levels[k % _column([note.harmonic for note in notes]) > 0] = 0.0
    levels = _pulled(levels, rig.pull_per_mm)
    sizes = np.abs(levels)
    ahead = levels.imag.sum(axis=1, keepdims=True) / sizes.sum(axis=1, keepdims=True)
    levels -= 1j * ahead * sizes  # the string is at rest before the pick lets go: no step
    return force, levels


def _pick(notes: Sequence[Note], lengths: _Lengths) -> FloatArray:
    """Where the string is struck, from the bridge, in sounding lengths, [S, 1]."""
    place_mm = _column([note.pick_mm for note in notes])
    return np.minimum(0.5, place_mm / (lengths.length_m * 1e3))


def _pulled(levels: ComplexArray, pull_per_mm: float) -> ComplexArray:
    """Levels [S, P] with what the magnet's uneven pull adds: sums and differences of partials.

    The coil hears v (1 + c d) of a string with velocity v and displacement d; a partial's d is its
    v over its number. The product of partials m and n lies at m + n and m - n, so near the partials
    of these numbers that it is counted to them.
    """
    half = 0.5 * pull_per_mm * (2.0 * _HARDEST_MM / np.pi)
    out = levels.copy()
    for n in range(1, _PULLING_PARTIALS + 1):
        moved = levels.real[:, n - 1 : n] * (half / n)
        out[:, n:] -= moved * levels.real[:, :-n]
        out[:, :-n] -= moved * levels.real[:, n:]
    return out


def _column(values: Sequence[float] | npt.NDArray[np.generic]) -> FloatArray:
    return np.asarray(values, np.float64)[:, None]
