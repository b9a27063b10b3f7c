"""Owns how like two excerpts of audio are: the same performance, or another take. Reads no files.

Three measures, each dearer and stricter than the one before:

1. ``profile``: which semitones sound. Cheap vectors, compared all with all.
2. ``alignments``: cross-correlation of the excerpts made flat in time and frequency: where they
   may coincide.
3. ``likeness``: how much of one the other explains there, cell by cell in time and frequency. Two
   takes of one note by one player agree in their strong partials to better than 0.1 %; in the weak
   ones, and as they decay, they do not.

Figures in ``fxpipe.sources.duplicates``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Excerpt = npt.NDArray[np.int16]
Floats = npt.NDArray[np.float64]
Profile = npt.NDArray[np.float32]
AnyArray = npt.NDArray[Any]

RATE_HZ = 8000
EXCERPT_S = 3.0
LEAD_S = 0.5
MAX_EXCERPTS = 4
N_ALIGNMENTS = 4

_N = round(EXCERPT_S * RATE_HZ)
_N_FFT = 1 << (2 * _N - 1).bit_length()
_COURSE_HZ = RATE_HZ // 2
_N_COURSE = _N_FFT * _COURSE_HZ // RATE_HZ
_LEAST_OVERLAP_S = 0.3
_FRAME = 512
_CELL_FRAMES = 4
_BAND_EDGES = np.round(np.geomspace(80.0, 3600.0, 17) * _FRAME / RATE_HZ).astype(int)
_SEMITONE_EDGES_HZ = 440.0 * 2 ** ((np.arange(38, 102) - 69.5) / 12)


def excerpts(audio: npt.NDArray[np.float32], sample_rate_hz: int) -> tuple[Excerpt, ...]:
    """The loudest stretches of mono ``audio`` [N]: up to four of at most 3 s, apart, at 8 kHz.

    Their places follow the sound, so that they are the same in a trimmed copy. What is 20 dB below
    the loudest second is left out: the ends of two ringing notes are too much alike.
    """
    import soxr

    wave = soxr.resample(audio, sample_rate_hz, RATE_HZ, quality="LQ")
    if len(wave) <= _N:
        return (_stored(wave),)
    hop, second = RATE_HZ // 20, RATE_HZ
    heard = np.concatenate([[0.0], np.cumsum(np.square(wave, dtype=np.float64))])
    starts = np.arange(0, len(wave) - second + 1, hop)
    energy = heard[starts + second] - heard[starts]
    least = energy.max() * 10**-2
    chosen: list[int] = []
    while len(chosen) < MAX_EXCERPTS and energy.max() > least:
        loudest = int(np.argmax(energy))
        first = min(max(int(starts[loudest]) - round(LEAD_S * RATE_HZ), 0), len(wave) - _N)
        if all(abs(first - other) >= _N for other in chosen):
            chosen.append(first)
        energy[max(loudest - _N // hop, 0) : loudest + _N // hop + 1] = 0.0
    return tuple(_stored(wave[first : first + _N]) for first in chosen)


def profile(excerpt: Excerpt) -> Profile:
    """Which semitones sound, whatever level and equaliser: a vector [63] of length 1."""
    power = np.abs(np.fft.rfft(_steady(excerpt), _N_FFT)) ** 2
    edges = np.round(_SEMITONE_EDGES_HZ * _N_FFT / RATE_HZ).astype(int)
    level_db = 10 * np.log10(np.add.reduceat(power, edges)[:-1] / np.diff(edges) + 1e-20)
    level_db = np.maximum(level_db, level_db.max() - 50.0)
    shape = level_db - _around(level_db, 13)
    return np.asarray(shape / (np.linalg.norm(shape) + 1e-9), dtype=np.float32)


@dataclass(frozen=True)
class Course:
    """An excerpt made flat in time and frequency, at 4 kHz: its spectrum, and the energy of its
    first 0, 1, 2 … samples."""

    n_samples: int
    spectrum: npt.NDArray[np.complex64]
    heard: Floats


def course_of(excerpt: Excerpt) -> Course:
    spectrum = np.fft.rfft(_steady(excerpt), _N_FFT)[: _N_COURSE // 2 + 1]
    power = _around(np.abs(spectrum) ** 2, round(300 * _N_FFT / RATE_HZ))
    spectrum /= np.sqrt(power + power.max() * 10**-2.5 + 1e-30)
    freq_hz = np.fft.rfftfreq(_N_COURSE, 1 / _COURSE_HZ)
    spectrum[(freq_hz < 60) | (freq_hz > 0.46 * _COURSE_HZ)] = 0.0
    n_samples = len(excerpt) * _COURSE_HZ // RATE_HZ
    flat = np.fft.irfft(spectrum, _N_COURSE)[:n_samples]
    heard = np.concatenate([[0.0], np.cumsum(np.square(flat))])
    return Course(n_samples, spectrum.astype(np.complex64), heard)


@dataclass(frozen=True)
class Alignment:
    """``b`` begins ``lag_s`` into ``a``; ``similarity`` there, from 0 to 1."""

    lag_s: float
    similarity: float


def alignments(a: Course, b: Course) -> list[Alignment]:
    """The four best places where two excerpts may coincide, over half of the shorter at least."""
    crossed = np.fft.irfft(a.spectrum * np.conj(b.spectrum), _N_COURSE)
    shortest = max(0.5 * min(a.n_samples, b.n_samples), _LEAST_OVERLAP_S * _COURSE_HZ)
    lags = np.arange(-b.n_samples + 1, a.n_samples)
    first, last = np.maximum(0, -lags), np.minimum(b.n_samples, a.n_samples - lags)
    keep = last - first >= shortest
    if not keep.any():
        return []
    lags, first, last = lags[keep], first[keep], last[keep]
    energy = (a.heard[last + lags] - a.heard[first + lags]) * (b.heard[last] - b.heard[first])
    similarity = np.abs(crossed[lags]) / np.sqrt(np.maximum(energy, 1e-30))
    found = []
    for _ in range(N_ALIGNMENTS):
        top = int(np.argmax(similarity))
        offset = _vertex(similarity[top - 1 : top + 2]) if 0 < top < len(similarity) - 1 else 0.0
        lag_s = (float(lags[top]) + offset) / _COURSE_HZ
        found.append(Alignment(lag_s, min(float(similarity[top]), 1.0)))
        similarity[max(top - 2, 0) : top + 3] = 0.0
    return found


def likeness(a: Excerpt, b: Excerpt, lag_s: float) -> float:
    """How far ``b``, beginning ``lag_s`` into ``a``, is the same performance: 0 to 1.

    Both are cut into cells of a third of an octave and 128 ms. One gain and phase a band, the same
    throughout, turns ``b`` into ``a`` as well as can be, which undoes an equaliser. The likeness is
    1 less the share of energy that stays unexplained in 85 % of the cells that matter: those
    within 25 dB of the loudest of their time and within 30 dB of the loudest of all.
    """
    lag = round(lag_s * RATE_HZ)
    a, b = (a[lag:], b) if lag >= 0 else (a, b[-lag:])
    n = min(len(a), len(b))
    freq_hz = np.fft.rfftfreq(_FRAME, 1 / RATE_HZ)
    rest = np.exp(2j * np.pi * freq_hz * (lag_s - lag / RATE_HZ))
    spectra_a, spectra_b = _spectra(a[:n]) * rest, _spectra(b[:n])
    if len(spectra_a) < _CELL_FRAMES:
        return 0.0
    crossed = _in_bands(spectra_a * np.conj(spectra_b))
    power_a, power_b = _in_bands(np.abs(spectra_a) ** 2), _in_bands(np.abs(spectra_b) ** 2)
    gain = crossed.sum(axis=0) / (power_b.sum(axis=0) + 1e-30)
    energy_a, energy_b = _in_cells(power_a), _in_cells(power_b) * np.abs(gain) ** 2
    unexplained = energy_a + energy_b - 2 * np.real(np.conj(gain) * _in_cells(crossed))
    energy = np.maximum(energy_a, energy_b)
    matters = (energy > energy.max(axis=1, keepdims=True) * 10**-2.5) & (
        energy > energy.max() * 10**-3.0
    )
    if not matters.any():
        return 0.0
    shares = np.clip(unexplained[matters] / energy[matters], 0.0, 1.0)
    return 1.0 - float(np.quantile(shares, 0.85))


def _stored(wave: npt.NDArray[np.float32]) -> Excerpt:
    peak = float(np.abs(wave).max(initial=0.0))
    return np.round(wave * (32767 / peak if peak > 0 else 0.0)).astype(np.int16)


def _steady(excerpt: Excerpt) -> Floats:
    """The excerpt with its level made even over 50 ms: a note's tail counts as its start does."""
    wave = excerpt.astype(np.float64) / 32767
    power = _around(np.square(wave), RATE_HZ // 20)
    return np.asarray(wave / np.sqrt(power + power.max() * 1e-4 + 1e-20))


def _around(values: Floats, n: int) -> Floats:
    """Mean over the ``n`` values around each."""
    total = np.concatenate([[0.0], np.cumsum(values)])
    at = np.arange(len(values))
    first, last = np.maximum(at - n // 2, 0), np.minimum(at + n // 2 + 1, len(values))
    return np.asarray((total[last] - total[first]) / (last - first))


def _vertex(three: Floats) -> float:
    """Where the parabola through three neighbours has its top, in steps from the middle one."""
    bend = float(three[0] - 2 * three[1] + three[2])
    return 0.5 * float(three[0] - three[2]) / bend if bend < 0 else 0.0


def _spectra(excerpt: Excerpt) -> npt.NDArray[np.complex128]:
    """[frames, bins]; frames of 64 ms, half overlapping."""
    if len(excerpt) < _FRAME:
        return np.zeros((0, _FRAME // 2 + 1), dtype=np.complex128)
    frames = np.lib.stride_tricks.sliding_window_view(excerpt, _FRAME)[:: _FRAME // 2]
    return np.asarray(np.fft.rfft(frames * (np.hanning(_FRAME) / 32767)))


def _in_bands(values: AnyArray) -> AnyArray:
    return np.asarray(np.add.reduceat(values[:, : _BAND_EDGES[-1]], _BAND_EDGES[:-1], axis=1))


def _in_cells(values: AnyArray) -> AnyArray:
    n = len(values) // _CELL_FRAMES
    return np.asarray(values[: n * _CELL_FRAMES].reshape(n, _CELL_FRAMES, -1).sum(axis=1))
