"""How far a decoded sound is from its original, in mel bands: as a loss and as a score.

Shapes: B batch, N audio sample.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

FLOOR = 2e-5
"""Amplitudes below this share of full scale carry no label: mel losses do not look there."""


class LogMel(nn.Module):
    """log10 of mel-band amplitude, floored: [B, N] -> [B, M, 1 + N // hop], frames centred."""

    def __init__(self, sample_rate_hz: int, n_fft: int, hop_samples: int, n_mels: int) -> None:
        super().__init__()
        self._n_fft, self._hop = n_fft, hop_samples
        self.register_buffer("window", torch.hann_window(n_fft), persistent=False)
        filters = mel_filters(sample_rate_hz, n_fft, n_mels)
        self.register_buffer("filters", filters, persistent=False)

    def forward(self, audio: Tensor) -> Tensor:
        window = self.get_buffer("window")
        spectrum = torch.stft(audio, self._n_fft, self._hop, window=window, return_complex=True)
        power = torch.view_as_real(spectrum).square().sum(-1)
        amplitude = (power + 1e-12).sqrt() * (2 / window.sum())
        return (self.get_buffer("filters") @ amplitude).clamp_min(FLOOR).log10()


class MelLoss(nn.Module):
    """Mean |difference| of log10 mel amplitude over several windows. [B, N] twice -> scalar."""

    def __init__(self, sample_rate_hz: int, windows: Sequence[int]) -> None:
        super().__init__()
        self.scales = nn.ModuleList(
            LogMel(sample_rate_hz, n, n // 4, max(5, n // 12)) for n in windows
        )

    def forward(self, decoded: Tensor, target: Tensor) -> Tensor:
        losses = [F.l1_loss(scale(decoded), scale(target)) for scale in self.scales]
        return torch.stack(losses).mean()


class MelHead(nn.Module):
    """Reads fine log-mels straight off the latents, while training: what tokens must keep.

    The decoder has to learn to sound before its mel loss can teach the encoder anything fine;
    this head need not. Two frames of a long and four of a short window for each latent frame.
    """

    def __init__(self, latent_channels: int, sample_rate_hz: int, hop_samples: int) -> None:
        super().__init__()
        self._n_each = (2, 4)
        self.mels = nn.ModuleList(
            [
                LogMel(sample_rate_hz, 4 * hop_samples, hop_samples // 2, 128),
                LogMel(sample_rate_hz, hop_samples, hop_samples // 4, 40),
            ]
        )
        width = 2 * latent_channels
        self.layers = nn.Sequential(
            nn.BatchNorm1d(latent_channels),  # latents are small at first
            nn.Conv1d(latent_channels, width, 3, padding=1),
            nn.GELU(),
            nn.Conv1d(width, width, 3, padding=1),
            nn.GELU(),
            nn.Conv1d(width, 2 * 128 + 4 * 40, 1),
        )

    def forward(self, latents: Tensor, audio: Tensor) -> Tensor:
        """Mean |difference| in log10: latents [B, C, T], audio [B, N], N = T hops -> scalar."""
        n_frames = latents.shape[2]
        wanted = []
        for n_each, log_mel in zip(self._n_each, self.mels, strict=True):
            frames = log_mel(audio)[:, :, : n_each * n_frames]
            frames = frames.unflatten(2, (n_frames, n_each)).permute(0, 1, 3, 2)
            wanted.append(frames.flatten(1, 2))
        # Log amplitudes lie around -3: with the offset the last layer starts near its task.
        return F.l1_loss(self.layers(latents) - 3, torch.cat(wanted, 1))


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
