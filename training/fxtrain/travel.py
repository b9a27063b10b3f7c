"""How far knobs are turned: what a model is taught of them, and what many clips say of it. Imports
torch.

``knobs.py`` says what a knob's travel is, and reads where a clip's knobs stand.
Shapes: B batch, L pedal position, V pedal, P knob of a pedal, W place.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor, nn

from fxtrain.contract import PAD, Vocabulary
from fxtrain.knobs import N_PLACES, Knobs, can_be_heard, read_knobs
from fxtrain.models import Memory, Translator


class Travel(nn.Module):
    """Settings as they are stored -> how far each knob is turned."""

    low: Tensor
    span: Tensor
    is_log: Tensor
    is_heard: Tensor

    def __init__(self, vocabulary: Vocabulary) -> None:
        super().__init__()
        shape = len(vocabulary.pedals), vocabulary.max_params
        self.register_buffer("low", torch.zeros(shape), persistent=False)
        self.register_buffer("span", torch.ones(shape), persistent=False)
        for name in ("is_log", "is_heard"):
            self.register_buffer(name, torch.zeros(shape, dtype=torch.bool), persistent=False)
        for v, entry in enumerate(vocabulary.pedals):
            for p, param in enumerate(entry.params):
                if can_be_heard(param):
                    is_log = param.scale == "log"
                    low, high = map(math.log if is_log else float, (param.low, param.high))
                    self.is_heard[v, p], self.is_log[v, p] = True, is_log
                    self.low[v, p], self.span[v, p] = low, high - low

    def forward(self, order: Tensor, params: Tensor) -> Tensor:
        """int64 [B, L], float32 [B, L, P] -> float32 [B, V, P] in 0..1, NaN where a pedal is not
        there or has no such knob. Of a pedal that stands twice, its first place counts."""
        n_pedals, n_knobs = self.low.shape
        found = params.new_full((len(order), n_pedals + 1, n_knobs), math.nan)
        for place in reversed(range(order.shape[1])):
            pedals = order[:, place].masked_fill(order[:, place] == PAD, n_pedals)
            rows = pedals[:, None, None].expand(-1, 1, n_knobs)
            found.scatter_(1, rows, params[:, place, None])
        values = found[:, :n_pedals]
        values = torch.where(self.is_log, values.clamp_min(1e-30).log(), values)
        turned = ((values - self.low) / self.span).clamp(0.0, 1.0)
        return turned.masked_fill(~self.is_heard, math.nan)


def knob_loss(logits: Tensor, travel: Tensor) -> Tensor:
    """Mean cross-entropy a knob: float32 [B, V, P, W] against ``travel`` [B, V, P], of which the
    two places next to it are the truth, the nearer the more. 0 where no knob counts."""
    counts = ~travel.isnan()
    places = travel.nan_to_num() * (N_PLACES - 1)
    below = places.floor().clamp_max(N_PLACES - 2)
    share = places - below
    picks = torch.stack((below, below + 1), dim=-1).long()
    picked = logits.log_softmax(-1).gather(-1, picks)
    each = (1 - share) * picked[..., 0] + share * picked[..., 1]
    return -(each * counts).sum() / counts.sum().clamp_min(1)


class KnobEars:
    """Collects what is heard of knobs, batch by batch: ``knobs`` of every clip, and ``travel``, the
    truth; nothing of a model that hears none."""

    def __init__(self, vocabulary: Vocabulary) -> None:
        self._vocabulary, self._travel = vocabulary, Travel(vocabulary)
        self._true: list[Tensor] = []
        self.knobs: list[Knobs] = []

    @torch.inference_mode()
    def hear(self, model: Translator, memory: Memory, order: Tensor, params: Tensor | None) -> None:
        """A batch: what the model says of it, int64 [B, L] and float32 [B, L, P]."""
        if params is None:
            return
        heard = model.knobs(memory).cpu().numpy()
        self.knobs += [read_knobs(one, self._vocabulary) for one in heard]
        self._true.append(self._travel(order.cpu(), params.cpu()))

    @property
    def travel(self) -> np.ndarray | None:
        """float32 [n, V, P]"""
        return torch.cat(self._true).numpy() if self._true else None
