"""``models/picture.py`` once more, for arrays. NumPy only.

Shapes: B batch, T frame, H height (bands left), C channel. Pictures are [T, H, C], one window at a
time, which stays in the cache of a core.
"""

from __future__ import annotations

import numpy as np

from fxtrain.config import WIDENING
from fxtrain.quick.layers import Weights, gelu, normed


def see(weights: Weights, mel: np.ndarray, n_halvings: int, n_blocks: int) -> np.ndarray:
    """float32 [B, M, T] -> [B, S, D]; ``n_halvings`` of time, the first filter keeps it."""
    return np.stack([_see_one(weights, bands.T[..., None], n_halvings, n_blocks) for bands in mel])


def _see_one(weights: Weights, picture: np.ndarray, n_halvings: int, n_blocks: int) -> np.ndarray:
    """[T, M, 1] -> [S, D]"""
    picture = gelu(_filtered(weights / "lower" / 0, picture, (1, 2)))
    for i in range(1, len(WIDENING)):
        picture = _filtered(weights / "lower" / i, picture, (2 if i <= n_halvings else 1, 2))
        picture = _block(weights / "blocks" / i, picture)
        for j in range(n_blocks - 1):
            picture = _block(weights / "more" / i / j, picture)
    rows = picture.swapaxes(1, 2).reshape(len(picture), -1)  # channels, then bands
    return (weights / "out").linear(rows)


def _block(weights: Weights, picture: np.ndarray) -> np.ndarray:
    heard = picture
    for i in range(2):
        norm, (n_frames, height, n_channels) = weights / "norms" / i, heard.shape
        scale, shift = (np.tile(norm[name].ravel(), height) for name in ("weight", "bias"))
        frames = normed(heard.reshape(n_frames, -1), scale, shift)
        heard = gelu(frames).reshape(n_frames, height, n_channels)
        heard = _filtered(weights / "convs" / i, heard, (1, 1))
    heard += picture
    return heard


def _filtered(weights: Weights, picture: np.ndarray, strides: tuple[int, int]) -> np.ndarray:
    """Convolution of [T, H, C] with half its size of zeros around; ``strides`` of time and height.

    A row of the kernel at a time: what lies under it is written side by side once, and then each
    frame of the kernel is one product, on the same numbers a frame later.
    """
    kernel = weights["weight"]  # [time, height times C, channels out], see `laid_out`
    size, _, n_out = kernel.shape
    (every_t, every_h), margin, n_channels = strides, size // 2, picture.shape[-1]
    padded = np.pad(picture, ((margin, margin), (margin, margin), (0, 0)))
    n_frames, height = (-(-n // s) for n, s in zip(picture.shape, strides, strict=False))
    under = np.empty((len(padded), height, size, n_channels), np.float32)
    for k in range(size):
        under[:, :, k] = padded[:, k : k + every_h * (height - 1) + 1 : every_h]
    under = under.reshape(len(padded), height, size * n_channels)
    found = np.zeros((n_frames * height, n_out), np.float32)
    for k, across in enumerate(kernel):
        rows = under[k : k + every_t * (n_frames - 1) + 1 : every_t]
        found += rows.reshape(n_frames * height, -1) @ across
    found += weights["bias"]
    return found.reshape(n_frames, height, n_out)
