"""How little a window sounds like a guitar: features of its log-mel picture, then two layers.

The codec's model cannot say so itself: its states were taught to tell pedals apart, and a density
over them let eight strangers of ten through (docs/log.md). This check was taught on strangers, and
it belongs to no model, so it works with every run. numpy only, but for the loudness rule.

Shapes: W window, B mel band, T frame, F feature, H hidden unit.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fxpipe.ears import level
from fxpipe.errors import CodecError
from fxpipe.mel import log_mel
from fxtrain.contract import MelInfo

RATE_HZ = 44_100
WINDOW_S = 2.0
SHORTEST_S = 0.3
PICTURE = MelInfo(64, 2048, 512, 40.0, 16_000.0, -80.0, 0.4)
N_FRAMES = 173
RANGE_DB = 65.0
"""What lies deeper under the loudest spot is floor: no recording is to be told by its hiss."""

N_CEPSTRA = 20
BEATS = ((1, 2), (2, 4), (4, 6), (6, 9), (9, 13), (13, 18), (18, 25), (25, 40))
"""Bins of the envelope's spectrum, half a hertz each: syllables come at 3 to 8 Hz."""

QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95, 0.99)
CLIP = 4.0
FORMAT_VERSION = 1
WEIGHTS = Path(__file__).with_name("check.safetensors")
TENSORS = ("centre", "spread", "hidden_weight", "hidden_bias", "out_weight", "out_bias", "limit")


@dataclass(frozen=True)
class Check:
    """The classifier: ``centre`` and ``spread`` [F] of the features, two layers, and the ``limit``
    that a set share of real guitar windows lies above."""

    centre: np.ndarray
    spread: np.ndarray
    hidden_weight: np.ndarray
    hidden_bias: np.ndarray
    out_weight: np.ndarray
    out_bias: np.ndarray
    limit: np.ndarray

    def strangeness(self, pictures: np.ndarray) -> np.ndarray:
        """uint8 [W, B, T] -> [W]; above 0 a window does not sound like a guitar."""
        scaled = np.clip((describe(pictures) - self.centre) / self.spread, -CLIP, CLIP)
        hidden = np.maximum(scaled @ self.hidden_weight.T + self.hidden_bias, 0.0)
        scores: np.ndarray = hidden @ self.out_weight + self.out_bias - self.limit
        return scores


@functools.cache
def load_check(path: Path = WEIGHTS) -> Check:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="numpy") as file:
            version = (file.metadata() or {}).get("format_version")
            found = {name: file.get_tensor(name) for name in TENSORS}
    except (OSError, SafetensorError) as error:
        raise CodecError(f"{path}: the guitar check cannot be read ({error})") from None
    if version != str(FORMAT_VERSION):
        raise CodecError(f"{path}: found version {version}, this build reads {FORMAT_VERSION}")
    return Check(**found)


def strangeness(
    waves: Sequence[np.ndarray], sample_rate_hz: int, known: Sequence[np.ndarray] | None = None
) -> tuple[float, ...]:
    """Of every window [N], whatever its length: the mean over its stretches of two seconds.

    ``known``: a `picture` of each whole window, where somebody has made them.
    """
    check = load_check()
    scores = []
    for number, wave in enumerate(waves):
        parts = pieces(wave, sample_rate_hz)
        if known is not None and len(parts[0]) == len(wave):
            pictures = [known[number]]
        else:
            pictures = [picture(part, sample_rate_hz) for part in parts]
        scores.append(check.strangeness(np.stack(pictures)))
    return tuple(float(np.mean(part)) for part in scores)


def pieces(wave: np.ndarray, sample_rate_hz: int) -> list[np.ndarray]:
    """Stretches of two seconds, the last one flush with the end; a shorter wave as it is.

    Silence that was put behind a short recording does not count: it would look like a cut.
    """
    sounding = np.flatnonzero(wave)
    least = round(SHORTEST_S * sample_rate_hz)
    end = max(least, int(sounding[-1]) + 1 if len(sounding) else 0)
    wave = np.pad(wave[:end], (0, max(0, least - len(wave))))
    n = round(WINDOW_S * sample_rate_hz)
    if len(wave) <= n:
        return [wave]
    cut = [wave[start : start + n] for start in range(0, len(wave) - n + 1, n)]
    return cut if len(wave) % n == 0 else [*cut, wave[-n:]]


def picture(wave: np.ndarray, sample_rate_hz: int) -> np.ndarray:
    """uint8 [B, T]: log-mel at the loudness that models hear."""
    return log_mel(level(wave, sample_rate_hz, RATE_HZ)[0], RATE_HZ, PICTURE)


def describe(pictures: np.ndarray) -> np.ndarray:
    """uint8 [W, B, T] -> float32 [W, F]: timbre, how it moves, beats, noisiness and steadiness."""
    decibels = pictures.astype(np.float32) * PICTURE.step_db + PICTURE.floor_db
    decibels = np.maximum(decibels, decibels.max((1, 2), keepdims=True) - RANGE_DB)
    power = 10 ** (decibels / 10)
    cepstra = np.einsum("kb,wbt->wkt", _cosines(), decibels)
    peaks = decibels[:, 1:-1] - 0.5 * (decibels[:, :-2] + decibels[:, 2:])
    loud = 10 * np.log10(power.sum(1) + 1e-9)
    bands = np.arange(PICTURE.n_mels, dtype=np.float32)[None, :, None]
    centroid = (power * bands).sum(1) / power.sum(1)
    parts = [
        cepstra.mean(2)[:, 1:],
        cepstra.std(2),
        np.abs(np.diff(cepstra, axis=2)).mean(2),
        _beats(loud),
        _quantiles(np.diff(loud, axis=1)),
        _quantiles(np.maximum(np.diff(decibels, axis=2), 0).mean(1)),
        _quantiles(decibels.mean(1) - 10 * np.log10(power.mean(1) + 1e-12)),
        _quantiles(np.maximum(peaks, 0).mean(1)),
        _quantiles(centroid),
        _quantiles(np.abs(np.diff(centroid, axis=1))),
        _steadiness(peaks),
    ]
    found: np.ndarray = np.nan_to_num(np.concatenate(parts, axis=1)).astype(np.float32)
    return found


@functools.cache
def _cosines() -> np.ndarray:
    bands = np.arange(PICTURE.n_mels) + 0.5
    waves: np.ndarray = np.cos(np.pi * np.outer(np.arange(N_CEPSTRA), bands) / PICTURE.n_mels) / 8
    return waves


def _beats(loud: np.ndarray) -> np.ndarray:
    """[W, T] -> [W, beats]: how strongly the loudness swings, by rate."""
    around = (loud - loud.mean(1, keepdims=True)) * np.hanning(loud.shape[1])
    swings = np.abs(np.fft.rfft(around, N_FRAMES, axis=1))
    found = np.stack([swings[:, low:high].mean(1) for low, high in BEATS], axis=1)
    logs: np.ndarray = np.log(found + 1e-3)
    return logs


def _quantiles(values: np.ndarray) -> np.ndarray:
    found: np.ndarray = np.quantile(values, QUANTILES, axis=1).T
    return found


def _steadiness(peaks: np.ndarray, apart: int = 9, every: int = 8) -> np.ndarray:
    """[W, B, T] -> [W, 1]: correlation of the spectrum's peaks a tenth of a second apart."""
    centred = peaks - peaks.mean(1, keepdims=True)
    norm = np.sqrt((centred**2).sum(1)) + 1e-6
    both = (centred[:, :, :-apart] * centred[:, :, apart:]).sum(1)
    alike = both / (norm[:, :-apart] * norm[:, apart:])
    steady: np.ndarray = alike[:, ::every].mean(1, keepdims=True)
    return steady
