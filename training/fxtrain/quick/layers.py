"""The layers of ``models/`` once more, for arrays. NumPy only.

A layer finds its tensors by the names that torch gave them. Shapes: B batch, Q query, S step, D
channel, A head of attention.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from fxtrain.logits import sigmoid, softmax

NORM_EPSILON = 1e-5
"""torch's own of LayerNorm."""


@dataclass(frozen=True)
class Weights:
    """The tensors below a name: ``weights / "norm"`` are those of a layer in it."""

    tensors: Mapping[str, np.ndarray]
    prefix: str = ""

    def __truediv__(self, name: str | int) -> Weights:
        return Weights(self.tensors, f"{self.prefix}{name}.")

    def __getitem__(self, name: str) -> np.ndarray:
        return self.tensors[self.prefix + name]

    def linear(self, rows: np.ndarray, weight: str = "weight", bias: str = "bias") -> np.ndarray:
        """[..., D] -> [..., D of the layer], as one product: NumPy would make one for every row of
        the axes before the last two."""
        found: np.ndarray = rows.reshape(-1, rows.shape[-1]) @ self[weight].T
        found += self[bias]
        return found.reshape(*rows.shape[:-1], -1)

    def norm(self, rows: np.ndarray) -> np.ndarray:
        """LayerNorm over the last axis."""
        return normed(rows, self["weight"], self["bias"])


def laid_out(tensors: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """``tensors`` with the kernels of convolutions as products take them: [time, channels in,
    channels out], of a picture [time, height times channels in, channels out]."""
    found = dict(tensors)
    for name, kernel in tensors.items():
        if kernel.ndim == 4:
            found[name] = kernel.transpose(3, 2, 1, 0).reshape(kernel.shape[3], -1, len(kernel))
        elif name.endswith("conv.weight"):
            found[name] = np.ascontiguousarray(kernel.transpose(2, 1, 0))
    return found


def normed(rows: np.ndarray, scale: np.ndarray, shift: np.ndarray) -> np.ndarray:
    """[..., D], scale and shift [D]"""
    apart: np.ndarray = rows - rows.mean(-1, keepdims=True)
    variance = np.einsum("...d,...d->...", apart, apart)[..., None] / rows.shape[-1]
    apart *= 1 / np.sqrt(variance + NORM_EPSILON)
    apart *= scale
    apart += shift
    return apart


def gelu(x: np.ndarray) -> np.ndarray:
    """``x`` times the share of a normal distribution below it (Hendrycks & Gimpel 2016), the share
    by Abramowitz & Stegun 1964, 7.1.26, which is right to 1.5e-7."""
    size = np.abs(x)
    t = size * np.float32(0.3275911 * math.sqrt(0.5))
    t += 1
    np.reciprocal(t, out=t)
    tail: np.ndarray = t * np.float32(1.061405429)
    for coefficient in (-1.453152027, 1.421413741, -0.284496736, 0.254829592):
        tail += np.float32(coefficient)
        tail *= t
    bell = np.square(size)
    bell *= np.float32(-0.5)
    np.exp(bell, out=bell)
    tail *= bell
    tail *= size
    tail *= np.float32(-0.5)
    tail += np.maximum(x, 0)
    return tail


def attend(
    weights: Weights,
    queries: np.ndarray,
    memory: np.ndarray,
    n_heads: int,
    hidden: np.ndarray | None = None,
) -> np.ndarray:
    """Multi-head attention (Vaswani et al. 2017, section 3.2): [B, Q, D] to [B, S, D].

    hidden: bool [Q, S], True where a query must not look.
    """
    width = queries.shape[-1]
    into, bias = weights["in_proj_weight"], weights["in_proj_bias"]

    def heads(rows: np.ndarray, part: int) -> np.ndarray:
        """[B, A, S, D / A]"""
        here = slice(part * width, (part + 1) * width)
        found: np.ndarray = rows.reshape(-1, width) @ into[here].T + bias[here]
        return found.reshape(*rows.shape[:-1], n_heads, -1).swapaxes(-2, -3)

    asked, keys, values = heads(queries, 0), heads(memory, 1), heads(memory, 2)
    scores = asked @ keys.swapaxes(-1, -2)
    scores *= np.float32((width // n_heads) ** -0.5)
    if hidden is not None:
        scores[..., hidden] = -np.inf
    heard = softmax(scores) @ values
    together = heard.swapaxes(-2, -3).reshape(queries.shape)
    return (weights / "out_proj").linear(together)


def feed_forward(weights: Weights, rows: np.ndarray) -> np.ndarray:
    return (weights / "linear2").linear(gelu((weights / "linear1").linear(rows)))


def sinusoids(n_steps: int, n_channels: int) -> np.ndarray:
    """[n_steps, n_channels] position code indexed by time (Vaswani et al. 2017, section 3.5)."""
    octave = np.arange(0, n_channels, 2, dtype=np.float32)
    pace = np.exp(octave * np.float32(-math.log(10_000.0) / n_channels))
    angle = np.arange(n_steps, dtype=np.float32)[:, None] * pace
    return np.stack((np.sin(angle), np.cos(angle)), axis=-1).reshape(n_steps, -1)


def gru(weights: Weights, steps: np.ndarray, layer: str) -> np.ndarray:
    """One layer of a GRU in one direction (Cho et al. 2014, as torch has it): [B, S, D] -> [B, S,
    D of the layer]. ``layer``: what the names of its tensors end with."""
    inputs = weights.linear(steps, f"weight_ih_{layer}", f"bias_ih_{layer}")
    width = inputs.shape[-1] // 3
    state = np.zeros((len(steps), width), np.float32)
    found = np.empty((*steps.shape[:-1], width), np.float32)
    order = range(steps.shape[1])
    for s in reversed(order) if layer.endswith("_reverse") else order:
        own = weights.linear(state, f"weight_hh_{layer}", f"bias_hh_{layer}")
        reset, update = np.split(sigmoid(inputs[:, s, : 2 * width] + own[:, : 2 * width]), 2, -1)
        new = np.tanh(inputs[:, s, 2 * width :] + reset * own[:, 2 * width :])
        state = new + update * (state - new)
        found[:, s] = state
    return found


def halved(weights: Weights, frames: np.ndarray) -> np.ndarray:
    """``models.layers.ConvStep``: [B, T, D] -> [B, ceil(T / 2), D of the layer]"""
    kernel = (weights / "conv")["weight"]  # [5, D, D of the layer], see `laid_out`
    size = len(kernel)
    padded = np.pad(frames, ((0, 0), (size // 2, size // 2), (0, 0)))
    n_steps = -(-frames.shape[1] // 2)
    found = sum(padded[:, k : k + 2 * n_steps - 1 : 2] @ under for k, under in enumerate(kernel))
    return gelu((weights / "norm").norm(found + (weights / "conv")["bias"]))
