"""``models/wave.py`` once more, for arrays. NumPy only.

Shapes: B batch, C clue, G lag, W channel, D channel of the encoder.
"""

from __future__ import annotations

import numpy as np

from fxtrain.config import LAG_CHANNELS, lag_places
from fxtrain.contract import ClueInfo
from fxtrain.quick.layers import Weights, gelu


def tell(weights: Weights, clues: np.ndarray, info: ClueInfo) -> np.ndarray:
    """float32 [B, C] in 0..1 -> [B, D]"""
    spread, echo = clues[:, : info.n_spread], clues[:, info.n_spread :]
    parts = [gelu((weights / "spread").linear(4 * spread - 2))]
    both = 12 * echo.reshape(len(echo), 2, -1) - 3
    ranges = np.split(both, np.cumsum(info.n_lags)[:-1], axis=2)
    parts += [_lags(weights / "lags" / i, heard) for i, heard in enumerate(ranges)]
    joined = gelu((weights / "join").linear(np.concatenate(parts, axis=1)))
    return (weights / "out").linear(joined)


def _lags(weights: Weights, lags: np.ndarray) -> np.ndarray:
    """[B, 2, G] -> [B, 2 * W + channels of places]"""
    side_by_side, n_places = lag_places(lags.shape[2])
    for i in range(len(LAG_CHANNELS)):
        lags = gelu(_filtered(weights / "convs" / i, lags, 2 if i else 1))
    missing = side_by_side * n_places - lags.shape[2]
    rooms = np.pad(lags, ((0, 0), (0, 0), (0, missing)), constant_values=-np.inf)
    rooms = rooms.reshape(*lags.shape[:2], n_places, side_by_side).max(axis=3)
    placed = gelu((weights / "placed").linear(rooms.reshape(len(lags), -1)))
    return np.concatenate([lags.max(axis=2), lags.mean(axis=2), placed], axis=1)


def _filtered(weights: Weights, lags: np.ndarray, stride: int) -> np.ndarray:
    """Convolution of [B, W, G] with half its size of zeros on both sides."""
    kernel = weights["weight"]  # [channels out, channels in, lags]
    half = kernel.shape[2] // 2
    padded = np.pad(lags, ((0, 0), (0, 0), (half, half)))
    under = np.lib.stride_tricks.sliding_window_view(padded, kernel.shape[2], axis=2)
    found: np.ndarray = np.einsum("bigk,oik->bog", under[:, :, ::stride], kernel, optimize=True)
    found += weights["bias"][:, None]
    return found
