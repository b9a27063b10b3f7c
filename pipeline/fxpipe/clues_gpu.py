"""The clues of whole batches on a GPU: what `fxpipe.clues` does a clip, to a byte's rounding.

Shapes: B batch, N audio sample, F frame, C clue.
"""

from __future__ import annotations

import torch
from torch import Tensor

from fxpipe.clues import (
    BAND_HZ,
    CREST_DB,
    LOPSIDED,
    NEAR,
    QUANTILES,
    QUIETEST,
    RANGE_DB,
    SMOOTH_HZ,
    STEP,
    TINY,
    USUAL_S,
    frame_step,
    lag_samples,
    n_fft_for,
)
from fxtrain.contract import ClueInfo


def clues(waves: Tensor, sample_rate_hz: int, info: ClueInfo) -> Tensor:
    """float32 [B, N] -> uint8 [B, C]; zeros for silence."""
    peak = waves.abs().amax(1, keepdim=True)
    unit = waves / peak.clamp_min(TINY)
    found = torch.cat([_spread(unit, info), _echo(unit, sample_rate_hz, info)], 1)
    rows = (255 * found).round().clamp(0, 255)
    return torch.where(peak > 0, rows, 0).to(torch.uint8)


def _spread(waves: Tensor, info: ClueInfo) -> Tensor:
    found = []
    levels = torch.tensor(QUANTILES, device=waves.device)
    for n in info.frame_samples:
        frames = waves.unfold(1, min(n, waves.shape[1]), frame_step(n, info))
        quiet = frames.abs().amax(2) <= QUIETEST
        shapes = _between_peaks(frames).masked_fill(quiet[..., None], torch.nan)
        found.append(shapes.nanquantile(levels, dim=1).permute(1, 2, 0).flatten(1))
    return torch.cat([*found, _between_peaks(waves[:, None])[:, 0]], 1)


def _between_peaks(frames: Tensor) -> Tensor:
    """[B, F, N] -> [B, F, 2 * len(NEAR) + 3] in 0..1"""
    above, below = frames.amax(2).clamp_min(TINY), (-frames.amin(2)).clamp_min(TINY)
    near = [
        (side * frames > (peak * (1 - part))[..., None]).float().mean(2)
        for side, peak in ((1, above), (-1, below))
        for part in NEAR
    ]
    peak, rms = torch.maximum(above, below), frames.square().mean(2).sqrt()
    lopsided = (above / below).log() / (2 * LOPSIDED) + 0.5
    crest = 20 * (peak / rms.clamp_min(TINY)).log10() / CREST_DB
    level = 20 * peak.log10() / RANGE_DB + 1
    return torch.stack([*(share.sqrt() for share in near), lopsided, crest, level], 2).clamp(0, 1)


def _echo(waves: Tensor, sample_rate_hz: int, info: ClueInfo) -> Tensor:
    n_fft = n_fft_for(waves.shape[1], sample_rate_hz, info)
    power = torch.fft.rfft(waves, n_fft).abs().square()
    first, end = (round(f * n_fft / sample_rate_hz) for f in BAND_HZ)
    end = min(end, power.shape[1])
    band, floor = power[:, first:end], 1e-9 * power.amax(1, keepdim=True)
    whitened = torch.zeros_like(power)
    smooth = _smoothed(band, round(SMOOTH_HZ * n_fft / sample_rate_hz))
    whitened[:, first:end] = band / (smooth + floor).clamp_min(TINY) - 1
    likeness = torch.fft.irfft(whitened, n_fft)
    low, high = (round(s * sample_rate_hz) for s in USUAL_S)
    likeness /= likeness[:, low:high].abs().quantile(0.5, dim=1, keepdim=True) + TINY
    stepped = [_in_steps(likeness, lags, sample_rate_hz) for lags in info.lags_ms]
    tops = [(side * each).amax(2) for side in (1, -1) for each in stepped]
    return torch.cat(tops, 1).clamp_min(0).log1p() / (255 * STEP)


def _in_steps(likeness: Tensor, lags_ms: tuple[float, float, float], rate_hz: int) -> Tensor:
    """[B, N] -> [B, G, W]: what lies in each step of lags, the last of a short one twice."""
    begin, end = torch.from_numpy(lag_samples(lags_ms, rate_hz)).to(likeness.device)
    inside = torch.arange(int((end - begin).max()), device=likeness.device)
    places = torch.minimum(begin[:, None] + inside, end[:, None] - 1)
    return likeness[:, places]


def _smoothed(values: Tensor, width: int) -> Tensor:
    sums = torch.nn.functional.pad(values.double().cumsum(1), (1, 0))
    place, half = torch.arange(values.shape[1], device=values.device), width // 2
    low, high = (place - half).clamp_min(0), (place + half + 1).clamp_max(values.shape[1])
    return ((sums[:, high] - sums[:, low]) / (high - low)).float()
