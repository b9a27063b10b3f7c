"""Clues of the wave that log-mel leaves out: a clip's row of bytes to one vector. torch only.

Shapes: B batch, C clue, G lag, W channel, P place, D channel of the encoder.
"""

from __future__ import annotations

import itertools

import torch
from torch import Tensor, nn

from fxtrain.config import LAG_CHANNELS, N_PLACED, lag_places
from fxtrain.contract import ClueInfo


class WaveClues(nn.Module):
    """How samples are spread through a layer; along lags, where an echo is a peak wherever it
    lies, convolutions: the most and the mean of what they find, and what they find where."""

    def __init__(self, info: ClueInfo, width: int, dropout: float) -> None:
        super().__init__()
        self.n_spread, self.n_lags = info.n_spread, info.n_lags
        self.spread = nn.Linear(info.n_spread, width)
        self.lags = nn.ModuleList(Lags(n) for n in info.n_lags)
        n_found = width + len(info.n_lags) * (2 * LAG_CHANNELS[-1] + N_PLACED)
        self.dropout = nn.Dropout(dropout)
        self.join = nn.Linear(n_found, width)
        self.out = nn.Linear(width, width)

    def forward(self, clues: Tensor) -> Tensor:
        """float32 [B, C] in 0..1 -> [B, D]"""
        spread, echo = clues[:, : self.n_spread], clues[:, self.n_spread :]
        parts = [nn.functional.gelu(self.spread(4.0 * spread - 2.0))]
        both = 12.0 * echo.reshape(-1, 2, sum(self.n_lags)) - 3.0  # what agrees, what is contrary
        for heard, ranged in zip(
            self.lags, torch.split(both, list(self.n_lags), dim=2), strict=True
        ):
            parts.append(heard(ranged))
        joined = nn.functional.gelu(self.join(self.dropout(torch.cat(parts, dim=1))))
        vector: Tensor = self.out(joined)
        return vector


class Lags(nn.Module):
    """One range of lags."""

    def __init__(self, n_lags: int) -> None:
        super().__init__()
        widths = 2, *LAG_CHANNELS
        self.convs = nn.ModuleList(
            nn.Conv1d(n_in, n_out, 5, stride=2 if i else 1, padding=2)
            for i, (n_in, n_out) in enumerate(itertools.pairwise(widths))
        )
        self.side_by_side, n_places = lag_places(n_lags)
        self.placed = nn.Linear(widths[-1] * n_places, N_PLACED)

    def forward(self, lags: Tensor) -> Tensor:
        """[B, 2, G] -> [B, 2 * W + N_PLACED]"""
        for conv in self.convs:
            lags = nn.functional.gelu(conv(lags))
        rooms = nn.functional.max_pool1d(lags, self.side_by_side, ceil_mode=True)
        placed = nn.functional.gelu(self.placed(rooms.flatten(1)))
        return torch.cat([lags.amax(2), lags.mean(2), placed], dim=1)
