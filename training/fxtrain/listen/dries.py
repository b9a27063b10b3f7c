"""The dry guitar under the chains: files that were given, or the built-in guitar."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fxtrain.contract import Chain, Frontend, RemadeClip, UsageError
from fxtrain.listen.sound import fade, loudest_part

PEAK_DBFS = -9.0
"""Every recording plays into its chain at this peak, the middle of what training data has."""


@dataclass(frozen=True, eq=False)
class Dry:
    """A dry recording, float32 [run-in + N], and where it came from. The run-in plays into the
    chain and is not heard."""

    wave: np.ndarray
    sample_rate_hz: int
    label: str
    n_run_in: int = 0

    @property
    def n_samples(self) -> int:
        """What is heard."""
        return len(self.wave) - self.n_run_in


def own_dry(clip: RemadeClip, label: str) -> Dry:
    """The recording that a sample was rendered from, at the level it was played in."""
    return Dry(clip.dry, clip.sample_rate_hz, f"the clip's own, {label}", clip.n_run_in)


def play(frontend: Frontend, dry: Dry, chain: Chain) -> np.ndarray:
    """float32 [N]: the recording through the chain, as it comes out."""
    return frontend.render(dry.wave, dry.sample_rate_hz, chain)[dry.n_run_in :]


def sounds(frontend: Frontend, wave: np.ndarray, dry: Dry) -> bool:
    return math.isfinite(frontend.loudness_lufs(wave, dry.sample_rate_hz))


class Dries:
    """Recordings of one length and one rate, in turn."""

    def __init__(
        self, frontend: Frontend, files: Sequence[Path], *, clip_s: float, seed: int
    ) -> None:
        self._frontend = frontend
        self._clip_s = clip_s
        self._seed = seed
        self._taken = 0
        self._rate_hz: int | None = None
        self._read: list[Dry] = []
        self._files = [self.read(path) for path in files]

    def take(self) -> Dry:
        """The next file, or the next phrase of the built-in guitar; where that does not play at
        the rate of what was read, the recordings that items named."""
        number, self._taken = self._taken, self._taken + 1
        if self._files:
            return self._files[number % len(self._files)]
        phrase = 1000 * self._seed + number
        wave, rate = self._frontend.dry(phrase, self._clip_s)
        if self._read and rate != self._rate_hz:
            return self._read[number % len(self._read)]
        return self._cut(wave, rate, f"built-in guitar, phrase {phrase}")

    def under(self, chains: Iterable[Chain]) -> Iterator[tuple[Dry, Chain]]:
        """Each chain on the next recording."""
        return ((self.take(), chain) for chain in chains)

    def read(self, path: Path) -> Dry:
        wave, rate = self._frontend.read(path)
        self._read.append(self._cut(wave, rate, path.name))
        return self._read[-1]

    def _cut(self, wave: np.ndarray, rate: int, label: str) -> Dry:
        if self._rate_hz not in (None, rate):
            raise UsageError(
                f"{label} has {rate} Hz, the recordings before it {self._rate_hz}: a test is heard "
                "at one rate (the built-in guitar plays at 44,100 Hz); resample one of them"
            )
        self._rate_hz = rate
        part = loudest_part(wave, round(self._clip_s * rate))
        peak = float(np.max(np.abs(part)))
        if peak < 1e-4:
            raise UsageError(f"{label}: nothing sounds in it; give a recording with guitar in it")
        scaled = part * np.float32(10 ** (PEAK_DBFS / 20) / peak)
        return Dry(fade(scaled.astype(np.float32), rate), rate, label)
