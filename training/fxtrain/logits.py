"""From logits to probabilities, over the last axis. NumPy only."""

from __future__ import annotations

import numpy as np


def log_softmax(logits: np.ndarray) -> np.ndarray:
    """-inf stays; a row of nothing else becomes NaN."""
    with np.errstate(invalid="ignore"):
        below = logits - logits.max(-1, keepdims=True)
        found: np.ndarray = below - np.log(np.exp(below).sum(-1, keepdims=True))
    return found


def softmax(logits: np.ndarray) -> np.ndarray:
    found: np.ndarray = np.exp(logits - logits.max(-1, keepdims=True))
    found /= found.sum(-1, keepdims=True)
    return found


def sigmoid(logits: np.ndarray) -> np.ndarray:
    found: np.ndarray = 0.5 * (1 + np.tanh(0.5 * logits))
    return found


def log_sigmoid(logits: np.ndarray) -> np.ndarray:
    found: np.ndarray = -np.logaddexp(np.zeros_like(logits), -logits)
    return found
