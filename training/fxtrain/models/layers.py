"""Pieces both models share: positions, masks, other timbres, halving of time. torch only.

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


def causal_mask(n_chains: int, n_steps: int, device: torch.device) -> Tensor:
    """bool [N * U, N * U] for N chains one after another, True where a step must not look:

    at steps after itself, and at every other chain.
    """
    shape = n_chains, n_steps
    chain = torch.arange(n_chains, device=device)[:, None].expand(shape).flatten()
    step = torch.arange(n_steps, device=device).expand(shape).flatten()
    return (chain[:, None] != chain) | (step[:, None] < step)


def hidden_spans(shape: tuple[int, int], fraction: float, device: torch.device) -> Tensor:
    """bool ``shape`` [B, N], True for about ``fraction`` of the N, in spans of 8 (SpecAugment)."""
    n_batch, n_steps = shape
    width = 8
    starts = torch.rand(n_batch, n_steps, device=device) < fraction / width
    hidden = nn.functional.max_pool1d(starts.float(), width, stride=1, padding=width // 2)
    return hidden[:, :n_steps] > 0


def random_timbre(mel: Tensor, spread: float) -> Tensor:
    """``mel`` [B, M, T] in 0..1 with a smooth random curve over the bands added, the same at all
    times: another guitar, pickup or microphone. What lies at the floor stays there.

    ``spread``: standard deviation of each of the curve's four cosines, as a part of the range.
    """
    n_batch, n_mels = mel.shape[:2]
    place = (torch.arange(n_mels, device=mel.device) + 0.5) / n_mels
    cosines = torch.cos(torch.pi * torch.arange(1, 5, device=mel.device)[:, None] * place)
    curve = spread * torch.randn(n_batch, 4, device=mel.device) @ cosines
    return torch.where(mel > 0, (mel + curve[..., None]).clamp(0, 1), mel)


def drop_rarely(layer: nn.TransformerEncoderLayer | nn.TransformerDecoderLayer) -> None:
    """Keep dropout only where a sub-layer joins the residual stream.

    Drawing the masks inside attention and feed-forward cost a sixth of a training step on a CPU,
    and attention without them runs in torch's fused kernel.
    """
    layer.dropout.p = 0.0
    layer.self_attn.dropout = 0.0
    if isinstance(layer, nn.TransformerDecoderLayer):
        layer.multihead_attn.dropout = 0.0


class ConvStep(nn.Module):
    """Halves time: Conv1d (kernel 5, stride 2), LayerNorm, GELU."""

    def __init__(self, n_in: int, n_out: int) -> None:
        super().__init__()
        self.conv = nn.Conv1d(n_in, n_out, 5, stride=2, padding=2)
        self.norm = nn.LayerNorm(n_out)

    def forward(self, frames: Tensor) -> Tensor:
        """[B, T, n_in] -> [B, ceil(T / 2), n_out]"""
        halved: Tensor = self.conv(frames.transpose(1, 2)).transpose(1, 2)
        return nn.functional.gelu(self.norm(halved))
