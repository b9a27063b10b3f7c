"""How far a decoded sound is from its original, in mel bands: as a loss and as a score.

Shapes: B batch, N audio sample.
"""

from __future__ import annotations

import math

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn


class MelLoss(nn.Module):
    """Mean |difference| of log10 mel magnitude over several windows, fp32. [B, N] x 2 -> scalar.

    Amplitudes are floored at ``floor`` of full scale: quieter bins carry no label.
    """

    def __init__(self, sample_rate_hz: int, windows: tuple[int, ...], floor: float = 2e-5) -> None:
        super().__init__()
        self._windows = windows
        self._floor = floor
        for n in windows:
            self.register_buffer(f"window_{n}", torch.hann_window(n))
            self.register_buffer(f"filters_{n}", mel_filters(sample_rate_hz, n, max(5, n // 12)))

    def forward(self, decoded: Tensor, target: Tensor) -> Tensor:
        total = decoded.new_zeros(())
        for n in self._windows:
            total = total + F.l1_loss(self._log_mel(decoded, n), self._log_mel(target, n))
        return total / len(self._windows)

    def _log_mel(self, audio: Tensor, n: int) -> Tensor:
        window = self.get_buffer(f"window_{n}")
        power = torch.view_as_real(
            torch.stft(audio, n, n // 4, window=window, return_complex=True)
        ).square().sum(-1)  # fmt: skip
        amplitude = (power + 1e-12).sqrt() * (2 / window.sum())
        return (self.get_buffer(f"filters_{n}") @ amplitude).clamp_min(self._floor).log10()


def mel_filters(sample_rate_hz: int, n_fft: int, n_mels: int) -> Tensor:
    """Triangles [n_mels, n_fft // 2 + 1] whose weights sum to 1, on the HTK mel scale, 20 Hz up."""
    top = sample_rate_hz / 2
    lowest, highest = (2595 * math.log10(1 + hz / 700) for hz in (20.0, top))
    mels = np.linspace(lowest, highest, n_mels + 2)
    edges = 700 * (10 ** (mels / 2595) - 1)
    bins = np.linspace(0, top, n_fft // 2 + 1)
    # Low bands are narrower than a bin: widen them to one, or they would be empty.
    half = np.maximum(np.stack([edges[1:-1] - edges[:-2], edges[2:] - edges[1:-1]]), bins[1])
    offset = bins[None] - edges[1:-1, None]
    rise, fall = 1 + offset / half[0][:, None], 1 - offset / half[1][:, None]
    filters = np.clip(np.minimum(rise, fall), 0, None)
    filters /= filters.sum(1, keepdims=True)
    return torch.from_numpy(filters.astype(np.float32))


def mel_error_db(decoded: Tensor, target: Tensor, sample_rate_hz: int) -> float:
    """Mean |dB| between 96-band log-mels of [B, N], equal loudness, floor 65 dB under the peak."""
    window = torch.hann_window(2_048)
    filters = mel_filters(sample_rate_hz, 2_048, 96)

    def log_mel(audio: Tensor) -> Tensor:
        spectrum = torch.stft(audio, 2_048, 512, window=window, return_complex=True).abs()
        return 20 * (filters @ spectrum).clamp_min(1e-9).log10()

    decoded = (
        decoded
        * (target.square().mean(1) / decoded.square().mean(1).clamp_min(1e-12)).sqrt()[:, None]
    )
    wanted = log_mel(target)
    floor = wanted.amax((1, 2), keepdim=True) - 65
    return float((log_mel(decoded).maximum(floor) - wanted.maximum(floor)).abs().mean())
