"""What a wave tells that its log-mel does not, for phases are lost there: rails and echoes.

*Spread*: how a frame's samples lie between its two peaks. What clips or squashes last in a chain
leaves many of them at a rail, whatever is played. *Echo*: how like itself the clip is some time
later, all partials weighing alike (a whitened autocorrelation; the phase transform of Knapp &
Carter 1976, with a smoothed spectrum): a delay is a peak and its repeats, a reverb are many.

A clip's clues are one row of bytes, about as many as four frames of log-mel.
"""

from __future__ import annotations

from types import ModuleType

import numpy as np

from fxtrain.contract import ClueInfo, CodecInfo

NEAR = (0.003, 0.01, 0.02, 0.05, 0.1, 0.2, 0.4, 0.7)
"""Of the way from a peak to zero: which share of the samples lies nearer to the peak."""
QUANTILES = (0.1, 0.5, 0.9)
QUIETEST = 0.01
"""Of the clip's peak, a frame's: quieter ones tell of the noise floor."""
LOPSIDED = 2.0
"""Log of one peak over the other, at most, either way."""
CREST_DB = 30.0
RANGE_DB = 40.0
BAND_HZ = (80.0, 8000.0)
SMOOTH_HZ = 10.0
USUAL_S = (0.045, 0.9)
"""Lags whose median size is the unit: most of them lie between echoes."""
STEP = 1 / 40
"""Of log(1 + size), a byte's."""
TINY = 1e-12


def clue_info(codec: CodecInfo) -> ClueInfo:
    """Frames of 11.6 and 46 ms; lags of 5 to 50 ms in steps of 0.5, to 0.9 s in steps of 2 ms."""
    rate = codec.sample_rate_hz
    return ClueInfo(
        frame_samples=tuple(round(n * rate / 44_100) for n in (512, 2048)),
        lags_ms=((5.0, 50.0, 0.5), (50.0, 900.0, 2.0)),
        n_shapes=2 * len(NEAR) + 3,
        n_quantiles=len(QUANTILES),
    )


def clues(
    wave: np.ndarray, sample_rate_hz: int, info: ClueInfo, fft: ModuleType = np.fft
) -> np.ndarray:
    """uint8 [C] of ``wave`` [N], however loud it is; zeros for silence.

    Spread by size of frame, figure and quantile, then of the whole clip; what agrees by lag, what
    is contrary by lag. ``fft``: NumPy's, or SciPy's, which is quicker and takes longer to import.
    """
    peak = np.abs(wave).max(initial=0)
    if not peak:
        return np.zeros(info.n_clues, np.uint8)
    unit = (wave / peak).astype(np.float32)
    found = np.concatenate([_spread(unit, info), _echo(unit, sample_rate_hz, info, fft)])
    row: np.ndarray = np.clip(np.round(255 * found), 0, 255).astype(np.uint8)
    return row


def _spread(wave: np.ndarray, info: ClueInfo) -> np.ndarray:
    found = []
    for n in info.frame_samples:
        views = np.lib.stride_tricks.sliding_window_view(wave, min(n, len(wave)))
        frames = views[:: frame_step(n, info)]
        loud = frames[np.maximum(frames.max(axis=1), -frames.min(axis=1)) > QUIETEST]
        found.append(np.quantile(_between_peaks(loud), QUANTILES, axis=0).T.ravel())
    return np.concatenate([*found, _between_peaks(wave[None])[0]])


def frame_step(n: int, info: ClueInfo) -> int:
    """Samples from one frame of ``n`` to the next."""
    return max(n // 2, min(info.frame_samples))


def _between_peaks(frames: np.ndarray) -> np.ndarray:
    """[F, N] -> [F, 2 * len(NEAR) + 3] in 0..1"""
    above, below = np.maximum(frames.max(axis=1), TINY), np.maximum(-frames.min(axis=1), TINY)
    rest = 1 - np.array(NEAR, np.float32)
    near = [_share(frames > (above.astype(np.float32) * part)[:, None]) for part in rest]
    near += [_share(frames < (-below.astype(np.float32) * part)[:, None]) for part in rest]
    peak, rms = np.maximum(above, below), np.sqrt(np.mean(np.square(frames), axis=1))
    lopsided = np.log(above / below) / (2 * LOPSIDED) + 0.5
    crest = 20 * np.log10(peak / np.maximum(rms, TINY)) / CREST_DB
    level = 20 * np.log10(peak) / RANGE_DB + 1
    figures = np.column_stack([*map(np.sqrt, near), lopsided, crest, level])
    kept: np.ndarray = np.clip(figures, 0, 1)
    return kept


def _share(which: np.ndarray) -> np.ndarray:
    """How much of each row is true: eight at a time, in half the time of a sum."""
    share: np.ndarray = np.bitwise_count(np.packbits(which, axis=1)).sum(axis=1) / which.shape[1]
    return share


def _echo(wave: np.ndarray, sample_rate_hz: int, info: ClueInfo, fft: ModuleType) -> np.ndarray:
    n_fft = n_fft_for(len(wave), sample_rate_hz, info)
    power = np.square(np.abs(fft.rfft(wave, n_fft)))
    first, end = (round(f * n_fft / sample_rate_hz) for f in BAND_HZ)
    band = power[first:end]
    smooth = _smoothed(band, round(SMOOTH_HZ * n_fft / sample_rate_hz))
    whitened = np.zeros_like(power)
    floor = np.float32(1e-9) * power.max()
    whitened[first : first + len(band)] = band / np.maximum(smooth + floor, TINY) - 1
    likeness = fft.irfft(whitened, n_fft)
    low, high = (round(s * sample_rate_hz) for s in USUAL_S)
    likeness /= np.median(np.abs(likeness[low:high])) + TINY
    edges = np.concatenate([lag_samples(lags, sample_rate_hz) for lags in info.lags_ms], axis=1)
    sizes = [np.maximum.reduceat(side * likeness, edges.T.ravel())[::2] for side in (1, -1)]
    row: np.ndarray = np.log1p(np.maximum(np.concatenate(sizes), 0)) / (255 * STEP)
    return row


def n_fft_for(n_samples: int, sample_rate_hz: int, info: ClueInfo) -> int:
    """Room for the clip and the longest lag, so that its end does not meet its beginning."""
    longest_ms = max(last for _, last, _ in info.lags_ms)
    return 1 << (n_samples + round(longest_ms / 1000 * sample_rate_hz)).bit_length()


def lag_samples(lags_ms: tuple[float, float, float], sample_rate_hz: int) -> np.ndarray:
    """int [2, G]: where each step of lags begins and ends."""
    first, last, step = lags_ms
    edges = np.arange(round((last - first) / step) + 1) * step + first
    samples = np.round(edges * sample_rate_hz / 1000).astype(int)
    return np.stack([samples[:-1], samples[1:]])


def _smoothed(values: np.ndarray, width: int) -> np.ndarray:
    """Mean of ``width`` neighbours and itself, of fewer at the ends."""
    sums = np.concatenate([[0.0], np.cumsum(values, dtype=np.float64)])
    place, half = np.arange(len(values)), width // 2
    low, high = np.maximum(place - half, 0), np.minimum(place + half + 1, len(values))
    mean: np.ndarray = ((sums[high] - sums[low]) / (high - low)).astype(np.float32)
    return mean
