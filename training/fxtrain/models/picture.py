"""The log-mel frames seen as a picture: 2-D convolutions over bands and time. torch only.

A pedal leaves the same mark whatever note is played: moving a filter over the bands says so before
training begins, where a layer that reads each frame as a list of bands has to learn it band by
band.

Shapes: B batch, M mel band, T frame, S encoder step, C channel, H height (bands left), D channel
of the encoder. Pictures are [B, C, T, H] and lie in memory as [B, T, H, C] (channels last): a frame
is one piece, whose norm is a single pass, and convolutions have the order that they like best.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor, nn

from fxtrain.config import WIDENING


class Picture(nn.Module):
    """Four times half the bands, and time halved as often as asked; after the first, which is the
    largest picture by far, residual blocks each time."""

    def __init__(
        self, n_mels: int, n_channels: int, n_halvings: int, width: int, n_blocks: int = 1
    ) -> None:
        """``n_halvings`` of time, at most 3: the first convolution keeps every frame."""
        super().__init__()
        widths = [1, *(n_channels * wider for wider in WIDENING)]
        strides = (1, *(2 if i < n_halvings else 1 for i in range(len(WIDENING) - 1)))
        self.lower = nn.ModuleList()
        self.blocks = nn.ModuleList()
        self.more = nn.ModuleList()
        height = n_mels
        for n_in, n_out, stride in zip(widths[:-1], widths[1:], strides, strict=True):
            height = (height + 1) // 2
            size = 5 if n_in == 1 else 3
            self.lower.append(Filter(n_in, n_out, size, (2, stride), padding=size // 2))
            first = n_in == 1
            self.blocks.append(nn.GELU() if first else Block(n_out))
            others = () if first else (Block(n_out) for _ in range(n_blocks - 1))
            self.more.append(nn.Sequential(*others))
        self.out = nn.Linear(widths[-1] * height, width)

    def forward(self, mel: Tensor) -> Tensor:
        """[B, M, T] -> [B, S, D]"""
        picture = mel.transpose(1, 2)[:, None]
        for lower, block, more in zip(self.lower, self.blocks, self.more, strict=True):
            # One channel does not tell how a picture lies, so the first filter may turn it around.
            picture = lower(picture).contiguous(memory_format=torch.channels_last)
            picture = more(block(picture))
        steps: Tensor = self.out(picture.transpose(1, 2).flatten(2))
        return steps


class Filter(nn.Conv2d):
    """Weights, sizes and strides are of bands by frames; the picture is frames by bands."""

    def forward(self, picture: Tensor) -> Tensor:
        """[B, C, T, H]"""
        weight, stride = self.weight.transpose(2, 3), self.stride[::-1]
        return nn.functional.conv2d(picture, weight, self.bias, stride, self.padding)


class Block(nn.Module):
    """Residual: twice norm, GELU, convolution (He et al. 2016, pre-activation)."""

    def __init__(self, n_channels: int) -> None:
        super().__init__()
        self.norms = nn.ModuleList(FrameNorm(n_channels) for _ in range(2))
        self.convs = nn.ModuleList(Filter(n_channels, n_channels, 3, padding=1) for _ in range(2))

    def forward(self, picture: Tensor) -> Tensor:
        heard = picture
        for norm, conv in zip(self.norms, self.convs, strict=True):
            heard = conv(nn.functional.gelu(norm(heard)))
        joined: Tensor = picture + heard
        return joined


class FrameNorm(nn.Module):
    """LayerNorm of each frame over channels and bands: no frame changes what another one becomes.

    Scale and shift are a channel's, whatever the band.
    """

    def __init__(self, n_channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(n_channels, 1, 1))
        self.bias = nn.Parameter(torch.zeros(n_channels, 1, 1))

    def forward(self, picture: Tensor) -> Tensor:
        """[B, C, T, H]"""
        frames = picture.permute(0, 2, 3, 1)
        scale, shift = (
            v.flatten().repeat(frames.shape[2]).to(frames.dtype) for v in (self.weight, self.bias)
        )
        # Autocast would have the whole picture in fp32; sums are taken so in any case.
        with _as_it_is(picture):
            found = nn.functional.layer_norm(frames.flatten(2), scale.shape, scale, shift)
        return found.view(frames.shape).permute(0, 3, 1, 2)


def _as_it_is(picture: Tensor) -> AbstractContextManager[object]:
    kind = picture.device.type
    return torch.autocast(kind, enabled=False) if torch.is_autocast_enabled(kind) else nullcontext()
