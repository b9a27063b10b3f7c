"""Encoder states that are kept: where the encoder is not taught, it says the same every time.

Imports torch. Shapes: B batch, S encoder step, D channel.
"""

from __future__ import annotations

import dataclasses

import torch
from torch import Tensor

from fxtrain.data.stream import RESIDENT_BYTES, Batch
from fxtrain.listening import encode
from fxtrain.models import Memory, Translator


class KeptStates:
    """A split as a frozen encoder hears it, each sample once; in half precision, on the host, and
    only where all of it takes no more than a split may take on a device."""

    def __init__(self, n_samples: int) -> None:
        self._n_samples = n_samples
        self._known = torch.zeros(n_samples, dtype=torch.bool)
        self._states: Tensor | None = None

    @torch.no_grad()
    def encode(self, model: Translator, batch: Batch) -> Memory:
        """What ``listening.encode`` gives, to half precision; asked of it for new samples only."""
        places, device = batch.position.cpu(), batch.codes.device
        if bool((places < 0).any()):  # no sample of the split: it stands in for one
            return encode(model, batch)
        new = ~self._known[places]
        if bool(new.any()):
            rows = new.to(device)
            mel, clues = (None if t is None else t[rows] for t in (batch.mel, batch.clues))
            some = dataclasses.replace(batch, codes=batch.codes[rows], mel=mel, clues=clues)
            found = encode(model, some).states.half()
            if 2 * self._n_samples * found[0].numel() > RESIDENT_BYTES:
                return Memory(found.float())  # none is ever kept, so all were new
            if self._states is None:
                self._states = found.new_empty((self._n_samples, *found.shape[1:]), device="cpu")
            self._states[places[new]] = found.cpu()
            self._known[places[new]] = True
        assert self._states is not None
        return Memory(self._states[places].to(device).float())
