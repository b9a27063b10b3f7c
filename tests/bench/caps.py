"""Loudspeakers and amplifiers that nobody here drew: those of CAPS, the C* Audio Plugin Suite
(T. Goetze), played by SoX.

    apt-get install sox caps
"""

from __future__ import annotations

import itertools
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import soundfile

LIBRARY = Path("/usr/lib/ladspa/caps.so")
RATE_HZ = 44_100
CABINETS = [("CabinetIV", n) for n in range(8, 25)] + [("CabinetIII", n) for n in range(1, 17)]
"""Without those of CabinetIV whose treble is louder than their middle."""

HEADROOM = 0.25
"""Peak of what goes in; ``AmpVTS`` distorts a sine of that by 0.001 to 0.01 up to a gain of 0.25,
by 0.08 at 0.5 (harmonics to fundamental)."""

Play = Callable[[np.ndarray], np.ndarray]


def missing() -> str | None:
    if shutil.which("sox") is None or not LIBRARY.exists():
        return "SoX and CAPS: apt-get install sox caps"
    return None


def cabinet() -> Play:
    """Each clip through another cabinet, the n-th always through the same."""
    turn = itertools.count()

    def play(wave: np.ndarray) -> np.ndarray:
        rng = np.random.default_rng(next(turn))
        return through(wave, _cabinet(rng))

    return play


def amplifier(gain: tuple[float, float]) -> Play:
    """And through an amplifier before it, with drawn knobs."""
    turn = itertools.count()

    def play(wave: np.ndarray) -> np.ndarray:
        rng = np.random.default_rng(next(turn))
        cabinet = _cabinet(rng)
        knobs = [rng.uniform(*gain), rng.uniform(), rng.uniform(), rng.integers(9)]
        tone = rng.uniform(size=3)
        amp = ["AmpVTS", 1, *knobs, *tone, 0.25, 0.75, 0.75]
        return through(wave, amp, cabinet)

    return play


def _cabinet(rng: np.random.Generator) -> list[object]:
    kind, model = CABINETS[rng.integers(len(CABINETS))]
    return [kind, model, 0, 0] if kind == "CabinetIII" else [kind, model, 0]


def through(wave: np.ndarray, *plugins: list[object]) -> np.ndarray:
    """float32 [N] at a peak of 0.7."""
    words = [
        str(word)
        for plugin in plugins
        for word in ("ladspa", LIBRARY, *plugin)
    ]  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        before, after = Path(folder) / "in.wav", Path(folder) / "out.wav"
        peak = np.float32(HEADROOM / np.abs(wave).max())
        soundfile.write(before, wave * peak, RATE_HZ, subtype="FLOAT")
        float32 = ("-e", "floating-point", "-b", "32")
        line = ["sox", "-R", "-V1", before, *float32, after, *words]
        subprocess.run(line, check=True)
        heard = soundfile.read(after, dtype="float32")[0]
    return heard * np.float32(0.7 / np.abs(heard).max())
