"""Pieces both models share: positions, masks, frame dropout. torch only.

Shapes: B batch, T frame, S encoder step, U decoder step, D channel.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn


def sinusoids(n_steps: int, n_channels: int, device: torch.device) -> Tensor:
    """[n_steps, n_channels] position code indexed by time (Vaswani et al. 2017, section 3.5)."""
    time = torch.arange(n_steps, device=device, dtype=torch.float32)[:, None]
    octave = torch.arange(0, n_channels, 2, device=device, dtype=torch.float32)
    angle = time * torch.exp(octave * (-math.log(10_000.0) / n_channels))
    return torch.stack((angle.sin(), angle.cos()), dim=-1).flatten(1)


def padding_mask(lengths: Tensor, n_steps: int) -> Tensor:
    """bool [B, n_steps], True beyond each length."""
    return torch.arange(n_steps, device=lengths.device)[None] >= lengths[:, None]


def causal_mask(n_steps: int, device: torch.device) -> Tensor:
    """bool [U, U], True where a step must not look: everything after itself."""
    return torch.ones(n_steps, n_steps, dtype=torch.bool, device=device).triu(1)


def hide_spans(frames: Tensor, fraction: float, width: int = 8) -> Tensor:
    """``frames`` [B, T, D] with about ``fraction`` of time set to zero in spans of ``width``."""
    n_batch, n_frames = frames.shape[:2]
    starts = torch.rand(n_batch, 1, n_frames, device=frames.device) < fraction / width
    hidden = nn.functional.max_pool1d(starts.to(frames.dtype), width, stride=1, padding=width // 2)
    return frames * (1 - hidden[:, 0, :n_frames, None])


class ConvStep(nn.Module):
    """Halves time: Conv1d (kernel 5, stride 2), LayerNorm, GELU. Frames beyond the end stay 0."""

    def __init__(self, n_in: int, n_out: int) -> None:
        super().__init__()
        self.conv = nn.Conv1d(n_in, n_out, 5, stride=2, padding=2)
        self.norm = nn.LayerNorm(n_out)

    def forward(self, frames: Tensor) -> Tensor:
        """[B, T, n_in] -> [B, ceil(T / 2), n_out]"""
        halved: Tensor = self.conv(frames.transpose(1, 2)).transpose(1, 2)
        return nn.functional.gelu(self.norm(halved))
