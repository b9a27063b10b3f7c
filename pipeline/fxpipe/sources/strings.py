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

Shapes: N audio samples, S notes, P partials. The rate is 44.1 kHz everywhere.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from fxpipe.sources.guitars import Guitar, Pickup

SAMPLE_RATE_HZ = 44_100

FloatArray = npt.NDArray[np.float64]
Float32Array = npt.NDArray[np.float32]
ComplexArray = npt.NDArray[np.complex128]

_BLOCK_SAMPLES = 64  # columns of the matrix products in `ring`
_ROWS = 16  # rows of one product: so small that BLAS never shares it among threads
_PRODUCT_SAMPLES = _ROWS * _BLOCK_SAMPLES
_PRODUCTS = 4  # products between two looks at which partials have died
_SEGMENT_SAMPLES = _PRODUCTS * _PRODUCT_SAMPLES
_CONTROL_SAMPLES = 64  # step of the pitch curve of a bent note
_STEPS_AT_ONCE = 128  # pitch steps read at a time: 64 kB, stays in the cache
_MAX_PARTIALS = 96
_HIGHEST_PARTIAL_HZ = 15_000.0
_PICKUP_SLOPE_HZ = 4_000.0  # any pickup takes partials far above this away: they are not computed
_BEATING_PARTIALS = 10  # partials computed in both polarisations
_AUDIBLE = 10 ** (-75 / 20)  # partials this far under the loudest one are left out
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


def sound(rng: np.random.Generator, rig: Rig, notes: Sequence[Note], n_samples: int) -> FloatArray:
    """All notes as the coils feel them, float64 [N]; sample 0 is at second 0 of the notes' clock.

    The signal is the strings' velocity over the coils, before the pickup's own electrical filter
    (`pickup_filter`). A note may have started before sample 0.
    """
    out = np.zeros(n_samples)
    voices = partials(rng, rig, notes)
    loudest = np.abs(voices[2]).max(axis=1)
    parts = []  # of each note, counted from its onset: samples heard, pitch path if bent
    for note in notes:
        onset = round(note.onset_s * SAMPLE_RATE_HZ)
        length = int((note.end_s - note.onset_s + _LIFT_TAIL * note.lift_s) * SAMPLE_RATE_HZ)
        first = max(0, -onset)
        stop = max(first, min(length, n_samples - onset))
        bent = bool(note.bend) or note.vibrato[1] > 0.0
        parts.append((onset, first, stop, _pitch_path(rng, note, first, stop) if bent else None))
    spans = [
        (first, stop) if path is None else (max(0, int(path[0]) - 1), int(path[-1]) + 3)
        for _, first, stop, path in parts
    ]
    for row, steady in enumerate(ring(*voices, spans)):
        note, (onset, first, stop, path) = notes[row], parts[row]
        heard = steady if path is None else _read_along(steady, path - spans[row][0])
        heard = heard[: stop - first]
        lift = int((note.end_s - note.onset_s) * SAMPLE_RATE_HZ)
        if stop > lift:
            start = max(lift, first)
            ages_s = np.arange(start - lift, stop - lift) / SAMPLE_RATE_HZ
            heard[start - first :] *= np.exp(-ages_s / note.lift_s)
        out[onset + first : onset + stop] += heard
        if first < _PICK_NOISE_SAMPLES and not note.legato:
            noise = rng.standard_normal(_PICK_NOISE_SAMPLES) * _PICK_NOISE_SHAPE
            end = min(stop, _PICK_NOISE_SAMPLES)
            out[onset + first : onset + end] += noise[first:end] * (rig.pick_noise * loudest[row])
    return out


def partials(
    rng: np.random.Generator, rig: Rig, notes: Sequence[Note]
) -> tuple[FloatArray, FloatArray, ComplexArray]:
    """Frequencies in Hz, decay rates of amplitude in 1/s and complex amplitudes, each [S, P]."""
    guitar, strings = rig.guitar, rig.guitar.strings
    string = np.array([note.string for note in notes])
    fret = _column([note.fret for note in notes])
    velocity = _column([note.velocity for note in notes])
    mute = _column([note.mute for note in notes])
    legato = _column([note.legato for note in notes])
    f0_hz = _column([note_hz(rig, note) for note in notes])

    length_m = guitar.scale_mm * 1e-3 * 2.0 ** (-fret / 12.0)
    diameter_m = _column(strings.gauges_in)[string] * 25.4e-3
    plain = _column(string >= 6 - strings.n_plain)
    density = np.where(plain, _PLAIN_KG_M3, _WOUND_KG_M3)
    core_m = diameter_m * np.where(plain, 1.0, strings.core_ratio)
    mass_kg_m = density * np.pi * diameter_m**2 / 4.0
    tension_n = mass_kg_m * (2.0 * length_m * f0_hz) ** 2
    stiffness = np.pi**3 * _YOUNG_STEEL_PA * core_m**4 / (64.0 * tension_n * length_m**2)
    k = _PARTIALS  # [P]; all below is [S, P]
    freqs_hz = k * f0_hz * np.sqrt(1.0 + stiffness * k**2)

    layer_kg_m_s = np.sqrt(np.pi * _AIR_VISCOSITY_PA_S * _AIR_KG_M3 * freqs_hz)
    drag_kg_m_s = 2.0 * np.pi * (_AIR_VISCOSITY_PA_S + diameter_m * layer_kg_m_s)
    internal = np.where(plain, strings.plain_internal_loss, strings.wound_internal_loss)
    losses = drag_kg_m_s / (2.0 * np.pi * mass_kg_m * freqs_hz)
    losses += internal * rig.wear * stiffness * k**2  # the viscoelastic term, written with B
    losses += strings.end_loss * np.where(fret > 0, 1.5, 1.0)  # flesh behind the fret
    for mode in guitar.body:
        detune = 2.0 * mode.q * (freqs_hz / mode.hz - 1.0)
        losses += mode.loss / (1.0 + detune**2)
    losses *= np.exp(0.4 * rng.standard_normal(losses.shape))
    rates_hz = np.pi * freqs_hz * losses
    rates_hz += 4.0 * np.expm1(4.2 * mute) * (0.6 + 0.0004 * freqs_hz)

    length_mm = length_m * 1e3
    sense = np.zeros_like(freqs_hz)
    for coil_mm in rig.pickup.coils_mm:
        place_mm = coil_mm + rig.pickup.slant_mm * (2.5 - _column(string)) / 5.0
        sense += np.sin(np.pi * k * (place_mm / length_mm))
    sense *= np.sinc(k * (0.5 * rig.pickup.aperture_mm / length_mm)) / len(rig.pickup.coils_mm)
    pick = np.minimum(0.5, _column([note.pick_mm for note in notes]) / length_mm)
    release_hz = rig.pick_hz * 4.0 ** (velocity - 0.6) * (1.0 - 0.5 * np.minimum(mute, 0.6))
    levels = np.sin(np.pi * k * pick) / (k * np.pi * pick * (1.0 - pick)) * sense
    levels /= 1.0 + (freqs_hz / release_hz) ** 2
    levels *= 10.0 ** (_RELEASE_SLOPE_DB * (velocity - 1.0) / 20.0) * np.where(legato, 0.6, 1.0)
    harmonic = _column([note.harmonic for note in notes])
    loudest = np.abs(levels).max(axis=1, keepdims=True)
    heard = np.abs(levels) / (1.0 + (freqs_hz / _PICKUP_SLOPE_HZ) ** 2) > loudest * _AUDIBLE
    levels[(k % harmonic > 0) | (freqs_hz > _HIGHEST_PARTIAL_HZ) | ~heard] = 0.0

    # the pick also pushes along the body: a second, slightly detuned motion the coils hear less
    pairs = slice(0, _BEATING_PARTIALS)
    lateral = 0.15 + 0.35 * rng.random((len(notes), 1))
    detune = 1.0 + 1.5e-4 + 4.0e-4 * rng.standard_normal((len(notes), _BEATING_PARTIALS))
    ones = np.ones((len(notes), 1))
    knock_hz = np.array([mode.hz for mode in guitar.body])
    knock_rates_hz = np.array([np.pi * mode.hz / mode.q for mode in guitar.body])
    knocks = np.array([10.0 ** (mode.knock_db / 20.0) for mode in guitar.body])
    return (
        np.hstack((freqs_hz, freqs_hz[:, pairs] * detune, ones * knock_hz)),
        np.hstack((rates_hz * 1.6, rates_hz[:, pairs] * 0.55, ones * knock_rates_hz)),
        -1j
        * np.hstack((levels, levels[:, pairs] * lateral, (loudest - loudest * legato) * knocks)),
    )


def ring(
    freqs_hz: FloatArray,
    rates_hz: FloatArray,
    amps: ComplexArray,
    spans: Sequence[tuple[int, int]],
) -> Iterator[Float32Array]:
    """Each note's sum of decaying partials, ``Re sum_p amps_p exp((2 pi j f_p - rate_p) t)``.

    The three arrays are [S, P]; a span is the first sample and the one after the last, counted
    from the note's onset. With t = (first + a M + b) / fs each term is a function of a times a
    function of b, so the sum is a matrix product, (N/M x 2P)(2P x M). It is cut into products
    below OpenBLAS's threshold for threads (m n k = 2^18): the bytes do not depend on their number.
    """
    firsts = np.array([first for first, _ in spans], np.float64)[:, None]
    poles = (2j * np.pi * freqs_hz - rates_hz) / SAMPLE_RATE_HZ
    states = amps * np.exp(poles * firsts)
    levels = np.abs(states) + 1e-300
    lives = np.log(levels / (levels.max(axis=1, keepdims=True) * _AUDIBLE)) / -poles.real
    longest = int(np.count_nonzero(lives > 0.0, axis=1).max())
    order = np.argsort(-lives, axis=1, kind="stable")[:, :longest]
    lives, poles, states = (np.take_along_axis(x, order, axis=1) for x in (lives, poles, states))
    columns = np.conj(_powers(np.exp(poles), _BLOCK_SAMPLES)).view(np.float32)  # [S, M, 2P]
    rows = _powers(np.exp(poles * _BLOCK_SAMPLES), _PRODUCTS * _ROWS)  # [S, a, P]
    leaps = np.exp(poles * _SEGMENT_SAMPLES)
    for note, (first, stop) in enumerate(spans):
        n_products = -(-(stop - first) // _PRODUCT_SAMPLES)
        out = np.empty((n_products, _ROWS, _BLOCK_SAMPLES), np.float32)
        basis, state = columns[note].T, states[note]
        for done in range(0, n_products, _PRODUCTS):
            alive = int(np.count_nonzero(lives[note] > done * _PRODUCT_SAMPLES))
            more = min(_PRODUCTS, n_products - done)
            block = rows[note, : more * _ROWS, :alive] * state[:alive].astype(np.complex64)
            factor = block.view(np.float32).reshape(more, _ROWS, 2 * alive)
            np.matmul(factor, basis[: 2 * alive], out=out[done : done + more])
            state = state * leaps[note]
        yield out.reshape(-1)[: stop - first]


def _column(values: Sequence[float] | npt.NDArray[np.generic]) -> FloatArray:
    return np.asarray(values, np.float64)[:, None]


def _powers(base: ComplexArray, count: int) -> npt.NDArray[np.complex64]:
    """``base ** n`` of [S, P] for n in 0..count-1, [S, count, P], by doubling: no exp per cell.

    Single precision: the error, some 110 dB under the partial, is far below any hiss.
    """
    n_notes, n_partials = base.shape
    out = np.empty((n_notes, count, n_partials), np.complex64)
    out[:, 0] = 1.0
    done, step = 1, base
    while done < count:
        more = min(done, count - done)
        factor = step.astype(np.complex64)[:, None]
        np.multiply(out[:, :more], factor, out=out[:, done : done + more])
        done, step = 2 * done, step * step
    return out


def _pitch_path(rng: np.random.Generator, note: Note, first: int, stop: int) -> FloatArray:
    """Where a bent note reads the steady one, in samples, every ``_CONTROL_SAMPLES`` from first."""
    times_s = np.arange(-(-stop // _CONTROL_SAMPLES) + 2) * (_CONTROL_SAMPLES / SAMPLE_RATE_HZ)
    semitones = np.zeros(times_s.size)
    if note.bend:
        semitones += np.interp(times_s, *np.array(note.bend).T)
    rate_hz, depth = note.vibrato
    swell = np.clip((times_s - 0.15) / 0.25, 0.0, 1.0)  # vibrato comes in after the attack
    phase = rng.uniform(0.0, 2.0 * np.pi)
    semitones += depth * swell * np.sin(2.0 * np.pi * rate_hz * times_s + phase)
    speeds = 2.0 ** (semitones / 12.0)
    path = np.concatenate(([0.0], np.cumsum(0.5 * (speeds[1:] + speeds[:-1])))) * _CONTROL_SAMPLES
    whole, part = divmod(first, _CONTROL_SAMPLES)
    shift = part / _CONTROL_SAMPLES
    return np.asarray(path[whole:-1] * (1.0 - shift) + path[whole + 1 :] * shift)


def _read_along(samples: Float32Array, path: FloatArray) -> Float32Array:
    """The samples at the places of a path, straight between its points, [control steps x 64]."""
    slopes = np.diff(path)[:, None] / _CONTROL_SAMPLES
    grid = np.arange(_CONTROL_SAMPLES)
    out = np.empty((slopes.size, _CONTROL_SAMPLES), np.float32)
    for step in range(0, slopes.size, _STEPS_AT_ONCE):
        steps = slice(step, step + _STEPS_AT_ONCE)
        out[steps] = _read_between(samples, path[:-1][steps, None] + slopes[steps] * grid)
    return out.reshape(-1)


def _read_between(samples: Float32Array, places: FloatArray) -> FloatArray:
    """Values at fractional places by Catmull-Rom cubics; straight lines would dull the treble."""
    whole = places.astype(np.intp)
    part = places - whole
    before, here = samples[np.maximum(whole - 1, 0)], samples[whole]
    after, beyond = samples[whole + 1], samples[whole + 2]
    slope = 0.5 * (after - before)
    bow = before - 2.5 * here + 2.0 * after - 0.5 * beyond
    twist = 0.5 * (beyond - before) + 1.5 * (here - after)
    return np.asarray(((twist * part + bow) * part + slope) * part + here, np.float64)
