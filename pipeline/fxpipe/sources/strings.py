"""Owns the sound of one plucked electric guitar note; must not import scores, pedals or codecs.

A note is a sum of decaying partials (modal synthesis). The physics, and where it comes from:

* partial frequencies of a stiff string, ``f_k = k f0 sqrt(1 + B k^2)``: H. Fletcher,
  "Normal vibration frequencies of a stiff piano string", JASA 36 (1964);
* losses as the sum of air, internal and fixed-end terms: A. Pate, J.-L. Le Carrou, B. Fabre,
  "Predicting the decay time of solid body electric guitar tones", JASA 135 (2014),
  https://hal.science/hal-01461740, which also finds that a pickup adds no damping and is far
  more sensitive to one of the two polarisations;
* the pickup as a coil with inductance, resistance and capacitance loaded by pots and cable:
  H. Lemme, "The secrets of electric guitar pickups", http://buildyourguitar.com/resources/lemme/.

Shapes: N audio samples, P partials. Everything is float64 at 44.1 kHz.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from fxpipe.sources.guitars import Guitar, Pickup

SAMPLE_RATE_HZ = 44_100

FloatArray = npt.NDArray[np.float64]
ComplexArray = npt.NDArray[np.complex128]

_BLOCK_SAMPLES = 256  # columns of the matrix product in `ring`
_CONTROL_SAMPLES = 64  # step of the pitch curve of a bent note
_ROWS_AT_ONCE = 128  # pitch steps read at a time: 64 kB, stays in the cache
_MAX_PARTIALS = 96
_HIGHEST_PARTIAL_HZ = 15_000.0
_BEATING_PARTIALS = 16  # partials computed in both polarisations
_AUDIBLE = 10 ** (-78 / 20)  # partials this far under the loudest one are left out
_SEGMENT_ENDS_S = (0.1, 0.4, 1.2)  # after each of these the partials that died are dropped
_LIFT_TAIL = 7.0  # time constants kept after the finger lifts: 60 dB
_PICK_NOISE_S = 0.012
_RELEASE_SLOPE_DB = 24.0  # level between the softest and the hardest pick stroke

_PARTIALS = np.arange(1, _MAX_PARTIALS + 1, dtype=np.float64)
_PICK_NOISE_SAMPLES = int(_PICK_NOISE_S * SAMPLE_RATE_HZ)
_PICK_NOISE_SHAPE = np.exp(-np.arange(_PICK_NOISE_SAMPLES) / (0.0016 * SAMPLE_RATE_HZ))

_YOUNG_STEEL_PA = 2.0e11
_PLAIN_KG_M3 = 7850.0
_WOUND_KG_M3 = 6600.0  # windings leave air between them
_AIR_VISCOSITY_PA_S = 1.8e-5
_AIR_KG_M3 = 1.2
_AMP_INPUT_OHM = 1.0e6
_EDDY_OHM = 600e3  # losses in magnets and covers, as a resistor across the coil
# s = 2 fs (z - 1) / (z + 1): row n is (z - 1)^n (z + 1)^(3 - n), highest power of z first
_BILINEAR = np.array([[1, 3, 3, 1], [1, 1, -1, -1], [1, -1, -1, 1], [1, -3, 3, -1]], np.float64)


@dataclass(frozen=True)
class Rig:
    """The instrument as it is set up: what stays the same over a whole clip."""

    guitar: Guitar
    pickup: Pickup
    cents: tuple[float, ...]  # out of tune, one a string
    wear: float  # 1 new strings, 2 old ones: multiplies the internal losses
    pick_hz: float  # bandwidth of a medium pick stroke: a soft fingertip 900, a hard pick 5000
    pick_noise: float  # level of the pick's own noise against the note
    tone: float  # tone knob, 0..1
    cable_f: float  # capacitance of the cable


@dataclass(frozen=True)
class Note:
    """One played note: what the two hands did.

    ``string`` 0 is the lowest; ``fret`` 0 is open. ``velocity`` lies in 0..1. ``mute`` lies in
    0..1: 0.2 to 0.5 is a palm mute, 1 a dead note. ``bend`` holds (seconds after the onset,
    semitones) break points, ``vibrato`` is (rate in Hz, depth in semitones). ``harmonic`` n keeps
    every n-th partial (a touched node). ``lift_s`` is the time constant of the damping finger.
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


def pickup_filter(rig: Rig) -> tuple[FloatArray, FloatArray]:
    """Digital (b, a), each [4], of coil, pots, tone capacitor and cable; unity gain at 0 Hz."""
    coil, guitar = rig.pickup, rig.guitar
    load_s = 1.0 / guitar.pot_ohm + 1.0 / _AMP_INPUT_OHM + 1.0 / _EDDY_OHM
    capacitance_f = coil.capacitance_f + rig.cable_f
    tone_ohm = 2e3 + guitar.pot_ohm * rig.tone**2  # audio taper
    # polynomials in s, lowest power first
    branch = np.array([1.0, tone_ohm * guitar.tone_cap_f])
    admittance = np.convolve([load_s, capacitance_f], branch)
    admittance[1] += guitar.tone_cap_f
    denominator = np.convolve([coil.resistance_ohm, coil.inductance_h], admittance)
    denominator[:2] += branch
    scale = (2.0 * SAMPLE_RATE_HZ) ** np.arange(4)
    a = (denominator * scale) @ _BILINEAR
    b = (branch * scale[:2]) @ _BILINEAR[:2]
    return b * (a.sum() / b.sum() / a[0]), a / a[0]


def note_hz(rig: Rig, note: Note) -> float:
    """Frequency of the note's first partial before any bend, in Hz (A4 = 440)."""
    midi = rig.guitar.open_midi[note.string] + note.fret + rig.cents[note.string] / 100.0
    return float(440.0 * 2.0 ** ((midi - 69.0) / 12.0))


def last_sample(note: Note) -> int:
    """Number of samples from the note's onset to the end of its damped tail."""
    return int((note.end_s - note.onset_s + _LIFT_TAIL * note.lift_s) * SAMPLE_RATE_HZ)


def pluck(rng: np.random.Generator, rig: Rig, note: Note, first: int, stop: int) -> FloatArray:
    """Samples ``first`` to ``stop`` of a note counted from its onset, float64 [stop - first].

    The signal is the string's velocity over the coils, before the pickup's own electrical filter
    (`pickup_filter`), which is linear and so is applied once to the mix of all notes.
    """
    freqs_hz, rates_hz, amps = partials(rng, rig, note)
    if note.bend or note.vibrato[1]:
        out = _bent(rng, note, freqs_hz, rates_hz, amps, first, stop)
    else:
        out = ring(freqs_hz, rates_hz, amps, first, stop)
    if first < _PICK_NOISE_SAMPLES and not note.legato:
        noise = rng.standard_normal(_PICK_NOISE_SAMPLES) * _PICK_NOISE_SHAPE
        noise *= rig.pick_noise * float(np.abs(amps).max())
        length = min(stop, _PICK_NOISE_SAMPLES) - first
        out[:length] += noise[first : first + length]
    lift = int((note.end_s - note.onset_s) * SAMPLE_RATE_HZ)
    if stop > lift:
        start = max(lift, first)
        ages_s = np.arange(start - lift, stop - lift) / SAMPLE_RATE_HZ
        out[start - first :] *= np.exp(-ages_s / note.lift_s)
    return out


def partials(
    rng: np.random.Generator, rig: Rig, note: Note
) -> tuple[FloatArray, FloatArray, ComplexArray]:
    """Frequencies in Hz, decay rates of amplitude in 1/s and complex amplitudes, each [P]."""
    guitar, strings = rig.guitar, rig.guitar.strings
    f0_hz = note_hz(rig, note)
    length_m = guitar.scale_mm * 1e-3 * 2.0 ** (-note.fret / 12.0)
    diameter_m = strings.gauges_in[note.string] * 25.4e-3
    plain = note.string >= 6 - strings.n_plain
    density = _PLAIN_KG_M3 if plain else _WOUND_KG_M3
    core_m = diameter_m if plain else diameter_m * strings.core_ratio
    mass_kg_m = density * np.pi * diameter_m**2 / 4.0
    tension_n = mass_kg_m * (2.0 * length_m * f0_hz) ** 2
    stiffness = np.pi**3 * _YOUNG_STEEL_PA * core_m**4 / (64.0 * tension_n * length_m**2)

    count = int(min(_MAX_PARTIALS, _HIGHEST_PARTIAL_HZ / f0_hz))
    k = _PARTIALS[note.harmonic - 1 : count : note.harmonic]
    freqs_hz = k * f0_hz * np.sqrt(1.0 + stiffness * k**2)

    layer_kg_m_s = np.sqrt(np.pi * _AIR_VISCOSITY_PA_S * _AIR_KG_M3 * freqs_hz)
    drag_kg_m_s = 2.0 * np.pi * (_AIR_VISCOSITY_PA_S + diameter_m * layer_kg_m_s)
    internal = strings.plain_internal_loss if plain else strings.wound_internal_loss
    ends = strings.end_loss * (1.0 if note.fret == 0 else 1.5)  # flesh behind the fret
    losses = drag_kg_m_s / (2.0 * np.pi * mass_kg_m * freqs_hz) + ends
    losses += internal * rig.wear * stiffness * k**2  # Pate 2014, Eq. for viscoelasticity, via B
    for mode in guitar.body:
        detune = 2.0 * mode.q * (freqs_hz / mode.hz - 1.0)
        losses += mode.loss / (1.0 + detune**2)
    losses *= np.exp(0.3 * rng.standard_normal(k.size))
    rates_hz = np.pi * freqs_hz * losses
    rates_hz += 4.0 * np.expm1(4.2 * note.mute) * (0.6 + 0.0004 * freqs_hz)

    length_mm = length_m * 1e3
    pick = min(0.5, note.pick_mm / length_mm)
    sense = np.zeros(k.size)
    for coil_mm in rig.pickup.coils_mm:
        position_mm = coil_mm + rig.pickup.slant_mm * (2.5 - note.string) / 5.0
        sense += np.sin(np.pi * k * (position_mm / length_mm))
    sense *= np.sinc(k * (0.5 * rig.pickup.aperture_mm / length_mm)) / len(rig.pickup.coils_mm)
    release_hz = rig.pick_hz * 4.0 ** (note.velocity - 0.6) * (1.0 - 0.5 * min(note.mute, 0.6))
    levels = np.sin(np.pi * k * pick) / (k * np.pi * pick * (1.0 - pick)) * sense
    levels /= 1.0 + (freqs_hz / release_hz) ** 2
    levels *= 10.0 ** (_RELEASE_SLOPE_DB * (note.velocity - 1.0) / 20.0)
    if note.legato:
        levels *= 0.6

    lateral = 0.15 + 0.3 * rng.random()  # the pick pushes along the body too; coils hear it less
    pairs = min(k.size, _BEATING_PARTIALS)
    detune = 1.0 + 1.5e-4 + 3.0e-4 * rng.standard_normal(pairs)
    loudest = float(np.abs(levels).max())
    knock = 0.0 if note.legato else loudest
    body_hz = np.array([mode.hz for mode in guitar.body])
    body_rates_hz = np.array([np.pi * mode.hz / mode.q for mode in guitar.body])
    body_levels = np.array([knock * 10.0 ** (mode.knock_db / 20.0) for mode in guitar.body])
    return (
        np.concatenate((freqs_hz, freqs_hz[:pairs] * detune, body_hz)),
        np.concatenate((rates_hz * 1.25, rates_hz[:pairs] * 0.6, body_rates_hz)),
        -1j * np.concatenate((levels, levels[:pairs] * lateral, body_levels)),
    )


def ring(
    freqs_hz: FloatArray, rates_hz: FloatArray, amps: ComplexArray, first: int, stop: int
) -> FloatArray:
    """Sum of decaying partials: ``Re sum_p amps_p exp((2 pi j f_p - rate_p) t)``, [stop - first].

    With t = (first + a M + b) / fs each term is a function of a times a function of b, so the sum
    is one matrix product, (N/M x 2P)(2P x M). Float64 keeps it within 1e-13 of the same numbers
    whatever the number of threads; the caller rounds coarser than that.
    """
    poles = (2j * np.pi * freqs_hz - rates_hz) / SAMPLE_RATE_HZ
    starts = amps * np.exp(poles * first)
    levels = np.abs(starts) + 1e-300
    lives = np.log(levels / (levels.max() * _AUDIBLE)) / -poles.real  # in samples
    order = np.argsort(-lives, kind="stable")[: int(np.count_nonzero(lives > 0.0))]
    lives, poles = lives[order], poles[order]
    columns = _powers(np.exp(poles), _BLOCK_SAMPLES)
    real_columns = np.conj(columns, out=columns).view(np.float64).T  # [2P, M]
    strides = np.exp(poles * _BLOCK_SAMPLES)
    n_blocks = -(-(stop - first) // _BLOCK_SAMPLES)
    out = np.empty((n_blocks, _BLOCK_SAMPLES))
    starts, done = starts[order], 0
    for end_s in (*_SEGMENT_ENDS_S, np.inf):
        last = int(min(n_blocks, 1 + end_s * SAMPLE_RATE_HZ // _BLOCK_SAMPLES))
        if last > done:
            alive = int(np.count_nonzero(lives > done * _BLOCK_SAMPLES))
            rows = _powers(strides[:alive], last - done)
            rows *= starts[:alive] * np.exp(poles[:alive] * (done * _BLOCK_SAMPLES))
            np.matmul(rows.view(np.float64), real_columns[: 2 * alive], out=out[done:last])
            done = last
    return out.reshape(-1)[: stop - first]


def _powers(base: ComplexArray, count: int) -> ComplexArray:
    """``base ** n`` for n in 0..count-1, [count, P], by doubling: no exp per cell."""
    out = np.empty((count, base.size), np.complex128)
    out[0] = 1.0
    done, step = 1, base
    while done < count:
        more = min(done, count - done)
        np.multiply(out[:more], step, out=out[done : done + more])
        done, step = 2 * done, step * step
    return out


def _bent(
    rng: np.random.Generator,
    note: Note,
    freqs_hz: FloatArray,
    rates_hz: FloatArray,
    amps: ComplexArray,
    first: int,
    stop: int,
) -> FloatArray:
    """A note with a moving pitch, [stop - first]: the steady note read along a warped time axis."""
    steps = np.arange(-(-stop // _CONTROL_SAMPLES) + 1)
    times_s = steps * (_CONTROL_SAMPLES / SAMPLE_RATE_HZ)
    semitones = np.zeros(steps.size)
    if note.bend:
        semitones += np.interp(times_s, *np.array(note.bend).T)
    rate_hz, depth = note.vibrato
    swell = np.clip((times_s - 0.15) / 0.25, 0.0, 1.0)  # vibrato comes in after the attack
    phase = rng.uniform(0.0, 2.0 * np.pi)
    semitones += depth * swell * np.sin(2.0 * np.pi * rate_hz * times_s + phase)
    speeds = 2.0 ** (semitones / 12.0)
    nodes = np.concatenate(([0.0], np.cumsum(0.5 * (speeds[1:] + speeds[:-1]))))
    nodes *= _CONTROL_SAMPLES
    block = first // _CONTROL_SAMPLES
    slopes = np.diff(nodes[block:])[:, None] / _CONTROL_SAMPLES
    start, end = int(nodes[block]) - 1, int(nodes[-1]) + 3
    steady = ring(freqs_hz, rates_hz, amps, max(start, 0), end)
    steady = np.concatenate((np.zeros(max(-start, 0)), steady))
    grid = np.arange(_CONTROL_SAMPLES)
    out = np.empty((slopes.size, _CONTROL_SAMPLES))
    for row in range(0, slopes.size, _ROWS_AT_ONCE):
        rows = slice(row, row + _ROWS_AT_ONCE)
        out[rows] = _read_between(steady, nodes[block:-1][rows, None] + slopes[rows] * grid - start)
    skip = first - block * _CONTROL_SAMPLES
    return out.reshape(-1)[skip : skip + stop - first]


def _read_between(samples: FloatArray, places: FloatArray) -> FloatArray:
    """Values at fractional places by Catmull-Rom cubics; straight lines would dull the treble."""
    whole = places.astype(np.intp)
    part = places - whole
    before, here = samples[whole - 1], samples[whole]
    after, beyond = samples[whole + 1], samples[whole + 2]
    slope = 0.5 * (after - before)
    bow = before - 2.5 * here + 2.0 * after - 0.5 * beyond
    twist = 0.5 * (beyond - before) + 1.5 * (here - after)
    return ((twist * part + bow) * part + slope) * part + here
