"""Owns what sounds besides the strings: hiss, hum, and fingers on the windings. Shape [N]."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from fxpipe.sources.guitars import StringSet
from fxpipe.sources.strings import SAMPLE_RATE_HZ, FloatArray


@dataclass(frozen=True)
class Squeak:
    """A finger that slides along a wound string, fastest half way."""

    string: int
    onset_s: float
    length_s: float
    speed_m_s: float  # at its fastest


def squeaked(
    rng: np.random.Generator, strings: StringSet, squeaks: Sequence[Squeak], n_samples: int
) -> npt.NDArray[np.float32]:
    """Squeaks of about unit peak, float32 [N].

    A finger passes speed over winding width windings a second; the tone of these and its harmonics
    rises and falls with the speed, amid noise: J. Pakarinen, H. Penttinen, B. Bank, "Analysis of
    handling noises on wound strings", JASA 122 (2007), EL197.
    """
    out = np.zeros(n_samples, np.float32)
    for squeak in squeaks:
        start, length = (int(t * SAMPLE_RATE_HZ) for t in (squeak.onset_s, squeak.length_s))
        skipped, end = max(0, -start), min(n_samples, start + length)
        if start + skipped >= end:
            continue
        diameter_m = strings.gauges_in[squeak.string] * 25.4e-3
        winding_m = 0.5 * (1.0 - strings.core_ratio) * diameter_m
        speed = np.sin(np.pi * np.arange(length) / length).astype(np.float32)  # of the fastest
        turns = 2.0 * np.pi * np.cumsum(speed) * (squeak.speed_m_s / winding_m / SAMPLE_RATE_HZ)
        first, second, third = 2.0 * np.pi * rng.random(3)
        tone = np.sin(turns + first) + np.sin(2.0 * turns + second) / 2.0
        tone += np.sin(3.0 * turns + third) / 3.0
        rough = rng.standard_normal(length, np.float32)
        sounding = speed**1.5 * (0.4 * tone + 0.25 * rough)
        out[start + skipped : end] += sounding[skipped : end - start]
    return out


def hiss(rng: np.random.Generator, n_samples: int) -> npt.NDArray[np.float32]:
    """Noise of unit power with a random tilt, [N]; even draws, as white as normal ones, cheaper."""
    tilt = float(rng.uniform(-0.3, 0.8))
    white = rng.integers(-32768, 32768, n_samples + 1, dtype=np.int16).astype(np.float32)
    white *= np.float32(np.sqrt(3.0 / (1.0 + tilt**2)) / 32768.0)
    out = white[1:]
    out += np.float32(tilt) * white[:-1]
    return out


def hum(rng: np.random.Generator, mains_hz: int, n_samples: int) -> FloatArray:
    """Mains hum of unit power, [N]: eight harmonics, the odd ones stronger."""
    order = np.arange(1, 9)
    levels = rng.uniform(0.3, 1.0, 8) / order * np.where(order % 2, 1.0, 0.4)
    levels *= np.sqrt(2.0 / np.sum(levels**2))
    turns = np.arange(SAMPLE_RATE_HZ // mains_hz) * (mains_hz / SAMPLE_RATE_HZ)
    phases = 2.0 * np.pi * (np.outer(order, turns) + rng.random((8, 1)))
    return np.resize(levels @ np.sin(phases), n_samples)
