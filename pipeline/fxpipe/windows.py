"""Which parts of a recording or a long clip are listened to: windows of the training length.

Shapes: N audio sample, W window.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from fxpipe.errors import SourceError

SHORTEST_S = 0.1
SILENT_DBFS = -60.0
RANGE_DB = 40.0
"""Below the loudest window by this much is the room between phrases: brought to the level rule, its
hiss would be as loud as the playing."""

MOST = 32
"""Over a minute of playing. More would take longer to hear; what they would add is not known."""


@dataclass(frozen=True)
class Windows:
    """``waves``: their samples [N]; ``starts`` in samples; how many were silent, and how many that
    sound were passed over in a recording with more than ``MOST``."""

    waves: list[np.ndarray]
    starts: list[int]
    n_silent: int
    n_passed_over: int


def sounding_windows(wave: np.ndarray, sample_rate_hz: int, n: int) -> Windows:
    """Windows of ``n`` samples one after another, the last one flush with the end.

    Overlapping ones would cost twice as much and bring nothing (docs/results-carry-over.md,
    "Longer recordings").

    A shorter recording is one window, with silence behind it. Of more than ``MOST`` that sound,
    those are taken that lie evenly over the recording. SourceError where nothing sounds.
    """
    if len(wave) < SHORTEST_S * sample_rate_hz:
        raise SourceError(
            f"lasts {len(wave) / sample_rate_hz:.3f} s, expected {SHORTEST_S:g} s or more; give a "
            "second or two of guitar"
        )
    padded = np.pad(wave, (0, max(0, n - len(wave))))
    starts = list(range(0, len(padded) - n + 1, n))
    if starts[-1] + n < len(padded):
        starts.append(len(padded) - n)
    levels = np.array([_level_db(padded[start : start + n]) for start in starts])
    least = max(SILENT_DBFS, levels.max() - RANGE_DB)
    sounding = [start for start, level in zip(starts, levels, strict=True) if level > least]
    if not sounding:
        raise SourceError(
            f"nothing sounds: no window is louder than {SILENT_DBFS:g} dBFS, so this does not "
            "sound like a guitar through known pedals; give a clip with guitar in it, or record it "
            "louder"
        )
    heard = sounding
    if len(sounding) > MOST:
        heard = [sounding[i] for i in np.linspace(0, len(sounding) - 1, MOST).round().astype(int)]
    return Windows(
        [padded[start : start + n] for start in heard],
        heard,
        n_silent=len(starts) - len(sounding),
        n_passed_over=len(sounding) - len(heard),
    )


def cut(wave: np.ndarray, n_windows: int) -> list[np.ndarray]:
    """A clip as so many windows, one after another; it is as long as they are together.

    Where nothing sounds in one, as :func:`sounding_windows` leaves out, the one before it that
    does is heard again: a clip of a data set has as many windows as any other.
    """
    if n_windows == 1:
        return [wave]
    windows = np.split(wave, n_windows)
    levels = np.array([_level_db(window) for window in windows])
    sounds = levels > max(SILENT_DBFS, levels.max() - RANGE_DB)
    heard = int(sounds.argmax())
    found = []
    for i, is_heard in enumerate(sounds):
        heard = i if is_heard else heard
        found.append(windows[heard])
    return found


def _level_db(window: np.ndarray) -> float:
    """RMS in dBFS about the mean, for an interface's offset is no sound; a window of nothing is far
    below all."""
    return float(10 * np.log10(np.var(window, dtype=np.float64) + 1e-20))
