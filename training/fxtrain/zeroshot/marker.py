"""The marker as sound, and where it stands in a recording, whatever pedals it went through.

On a real board the marker goes through the pedals too. A sweep survives that better than a click:
it is long, so hiss does not hide it, and every octave of it has a time of its own. It is looked for
octave by octave, each by its share of the energy around it; a pedal that turns the phase, cuts the
treble, pumps or swells spoils some octaves and not the sum. Harmonics of a distortion come early in
a rising sweep and late in a falling one, so with both in a row neither wins. Farina, "Simultaneous
measurement of impulse response and distortion with a swept-sine technique", AES 108, 2000.

numpy only. Shapes: N sample of the recording, n of the same at about ``SEARCH_HZ``, K octave.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from fxtrain.zeroshot.form import Marker

SEARCH_HZ = 14_000.0
"""More than twice the highest octave, a third of what recordings have."""

FADE_S = 0.01
STRETCH = 0.001
"""A recorder's clock is off by less; a wrong sample rate by far more."""

ECHO_S, ECHO_SHARE = 1.3, 0.8
"""A marker so long before the best one and nearly as clear is the guitar, the best an echo."""

NEAR_S = 0.05
"""Two peaks nearer than this are one."""

SURE = 0.22
"""Mean share of both markers above which they are found. Guitar without a marker, through 200
random boards of one to five pedals, gave 0.15 at most."""

ALIKE = 0.4
"""Of two markers through one board, neither is so much fainter than the other: that is chance."""

ECHOES = 1.3

ALONE = 0.35
"""The same of one marker, where the other is cut off; there guitar gave 0.22 at most."""


def marker_wave(marker: Marker, sample_rate_hz: int, *, first: bool) -> np.ndarray:
    """float32 [N]: up and down before the first clip, down and up after the last."""
    n = round(marker.sweep_s * sample_rate_hz)
    up = _sweep(marker, sample_rate_hz, n).real
    down = up[::-1]
    wave = np.concatenate([up, down] if first else [down, up])
    fade = round(FADE_S * sample_rate_hz)
    ramp = 0.5 - 0.5 * np.cos(np.pi * np.arange(fade) / fade)
    wave[:fade] *= ramp
    wave[-fade:] *= ramp[::-1]
    scaled: np.ndarray = wave * 10 ** (marker.peak_dbfs / 20)
    return scaled.astype(np.float32)


def _sweep(marker: Marker, rate_hz: float, n: int) -> np.ndarray:
    """complex [n]: equal time in every octave."""
    growth = math.log(marker.high_hz / marker.low_hz)
    t = np.arange(n) / rate_hz
    per_growth = marker.low_hz * marker.sweep_s / growth
    turns = per_growth * (np.exp(t / marker.sweep_s * growth) - 1.0)
    sweep: np.ndarray = np.exp(2j * np.pi * turns)
    return sweep


@dataclass(frozen=True)
class Found:
    """Where a recording has the markers, in its own seconds; None: not in it.

    confidence: 0 to 1, the mean share of the energy around it that the marker explains, octave by
    octave. stretch: how much longer the recording takes from marker to marker than the take.
    polarity: 1, -1 for a recording turned over, 0 where pedals leave no answer.
    """

    first_s: float | None
    last_s: float | None
    confidence: float
    stretch: float
    polarity: int
    which: int


def find_markers(
    wave: np.ndarray, rate_hz: float, marker: Marker, spans_s: Sequence[float]
) -> Found | None:
    """The pair of markers one of ``spans_s`` apart, or one of them alone; None where neither is.

    ``which`` is the place of the span that fits; -1 where one marker alone cannot tell.
    """
    heard = _Search(wave, rate_hz, marker)
    pairs = [(*heard.pair(span), which) for which, span in enumerate(spans_s)]
    share, i, j, which = max(pairs)
    two = heard.shares[0][i], heard.shares[1][j]
    # A marker far clearer than both: its fellow is cut off, and these are echoes of the two.
    clearest = max(float(s.max()) for s in heard.shares)
    if share < SURE or min(two) < ALIKE * max(two) or clearest > ECHOES * max(two):
        return heard.alone()
    i, j = heard.before_echo(i, j)
    return Found(
        first_s=i / heard.rate_hz,
        last_s=j / heard.rate_hz,
        confidence=share,
        stretch=(j - i) / heard.rate_hz / spans_s[which] - 1,
        polarity=heard.polarity(0, i),
        which=which,
    )


class _Search:
    """``shares[0]``, ``shares[1]`` float64 [n]: how much the first and the last marker explain of
    the sound that begins there."""

    def __init__(self, wave: np.ndarray, rate_hz: float, marker: Marker) -> None:
        n_pad = _fast_length(len(wave) + round(2.5 * marker.sweep_s * rate_hz))
        n = _fast_length(math.ceil(n_pad * SEARCH_HZ / rate_hz))
        self.rate_hz = rate_hz * n / n_pad
        low = _cropped(np.fft.rfft(wave.astype(np.float64), n_pad), n) * (n / n_pad)
        half = round(marker.sweep_s * self.rate_hz)
        template = _sweep(marker, self.rate_hz, half)
        n_octaves = max(1, round(math.log2(marker.high_hz / marker.low_hz)))
        edges = np.linspace(0, half, n_octaves + 1).round().astype(int)
        sound = np.fft.irfft(low, n)
        energy = np.concatenate([[0.0], np.cumsum(np.square(sound))])
        floor = 1e-9 * max(1e-12, float(energy[-1]))
        spectrum = np.fft.fft(sound)
        parts: dict[tuple[str, int], np.ndarray] = {}
        for k, (start, end) in enumerate(itertools.pairwise(edges.tolist())):
            piece = template[start:end]
            size = float(np.sum(np.square(piece.real)))
            ends = np.minimum(np.arange(n) + (end - start), n)
            around = np.sqrt((energy[ends] - energy[:-1] + floor) * size)
            for way, shape in (("up", piece), ("down", np.conj(piece[::-1]))):
                fit = np.fft.ifft(spectrum * np.conj(np.fft.fft(shape, n)))
                parts[way, k] = fit / around
        self.shares, self._signs = [], []
        for ways in (("up", "down"), ("down", "up")):
            share, sign = np.zeros(n), np.zeros(n)
            for place, way in enumerate(ways):
                for k in range(n_octaves):
                    start = edges[k] if way == "up" else half - edges[k + 1]
                    moved = np.roll(parts[way, k], -(place * half + int(start)))
                    share += np.minimum(np.abs(moved), 1.0) / (2 * n_octaves)
                    if k < 3:  # where a sample more or less does not turn the phase
                        sign += moved.real
            self.shares.append(share)
            self._signs.append(sign / 6)

    def pair(self, span_s: float) -> tuple[float, int, int]:
        """(mean share, first, last): the best two places ``span_s`` apart, or nearly."""
        span, slack = span_s * self.rate_hz, span_s * self.rate_hz * STRETCH
        least, width = round(span - slack), round(2 * slack) + 1
        n = len(self.shares[0]) - least - width
        if n < 1:
            return 0.0, 0, 0
        later = _running_max(self.shares[1][least:], width)[:n]
        both = self.shares[0][:n] + later
        i = int(np.argmax(both))
        j = i + least + int(np.argmax(self.shares[1][i + least : i + least + width]))
        return float(both[i]) / 2, i, j

    def before_echo(self, i: int, j: int) -> tuple[int, int]:
        """The pair itself, or the earliest as far apart and nearly as clear: what is behind it is
        an echo of it."""
        most = min(i, round(ECHO_S * self.rate_hz))
        both = self.shares[0][i - most : i + 1] + self.shares[1][j - most : j + 1]
        early = int(np.argmax(both >= ECHO_SHARE * both[-1]))
        near = round(NEAR_S * self.rate_hz)
        early += int(np.argmax(both[early : early + near]))
        return i - most + early, j - most + early

    def alone(self) -> Found | None:
        """One marker, where it is clear."""
        tops = [(float(self.shares[w].max()), w, int(np.argmax(self.shares[w]))) for w in (0, 1)]
        share, which, place = max(tops)
        if share < ALONE:
            return None
        at = place / self.rate_hz
        return Found(
            first_s=at if which == 0 else None,
            last_s=at if which == 1 else None,
            confidence=share,
            stretch=0.0,
            polarity=self.polarity(which, place),
            which=-1,
        )

    def polarity(self, which: int, place: int) -> int:
        sign = self._signs[which][place]
        clear = abs(sign) > 0.5 * self.shares[which][place]
        return int(np.sign(sign)) if clear else 0


def _running_max(values: np.ndarray, width: int) -> np.ndarray:
    """The largest of each value and the ``width`` - 1 after it."""
    out, done = values.copy(), 1
    while done < width:
        step = min(done, width - done)
        np.maximum(out[:-step], out[step:], out=out[:-step])
        done += step
    return out


def _fast_length(n: int) -> int:
    """The next length that an FFT is quick at."""
    two = 1 << max(0, (n - 1).bit_length())
    return next(m for m in (two * 5 // 8, two * 3 // 4, two) if m >= n)


def _cropped(spectrum: np.ndarray, n: int) -> np.ndarray:
    """Half a spectrum of as many bins as ``n`` samples have, cut or filled with nothing."""
    bins = n // 2 + 1
    return np.pad(spectrum[:bins], (0, max(0, bins - len(spectrum))))
