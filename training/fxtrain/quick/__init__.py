"""A clip's answer without torch, whose import alone takes longer than hearing ten seconds of sound.

NumPy only, and for a few clips: it computes one recording at a time and cannot be trained.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fxtrain.card import ModelCard
from fxtrain.contract import Features
from fxtrain.decode import Listened
from fxtrain.logits import log_softmax
from fxtrain.quick.translator import QuickTranslator
from fxtrain.weights import read_weights

__all__ = ["QuickRun", "QuickTranslator", "load_quick"]


@dataclass(frozen=True)
class QuickRun:
    """A trained model as it was loaded, ready to predict."""

    path: Path
    card: ModelCard
    model: QuickTranslator

    def listen(self, features: Features) -> Listened:
        """What the model says of one recording, as ``listening.listen`` does."""
        mel, clues = (
            None if stored is None else stored.astype(np.float32) / 255
            for stored in (features.mel, features.clues)
        )
        windows = self.model.encode(features.codes, mel, clues)
        memory = windows.reshape(1, -1, windows.shape[-1])

        def score(prefixes: np.ndarray) -> np.ndarray:
            return log_softmax(self.model.decode(prefixes, memory)[:, :, -1])

        knobs = self.model.knobs(memory)[0] if self.card.model.hear_knobs else None
        return Listened(score, self.model.set_order(memory), knobs)


def load_quick(path: Path) -> QuickRun:
    """The model of a run directory, its weights checked against the card."""
    card, tensors = read_weights(path)
    return QuickRun(path, card, QuickTranslator(card.model, tensors, card.hearing.clues))
