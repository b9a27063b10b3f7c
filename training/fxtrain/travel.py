"""How far knobs are turned: what a model is taught of them, and what is read off its answer.

A knob's travel goes from 0 to 1 along its own scale. What the head says of a knob is a distribution
over ``N_PLACES`` places of it, those of the contract's coarse grid; between two places it is
linear, so the mean may lie anywhere. Imports torch.
Shapes: B batch, L pedal position, V pedal, P knob of a pedal, W place.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor, nn

from fxtrain.contract import PAD, Vocabulary, from_unit
from fxtrain.decode import window_weight
from fxtrain.knobs import Knob, Knobs, can_be_heard
from fxtrain.models import N_PLACES, Memory, Translator

SURE = 0.8
"""A knob is said to stand between two places that hold this share of what is believed of it."""

ALIKE = 0.7
"""How much windows of one recording err alike (``decode.window_weight``). On 73 recordings of five
windows, 0.7 keeps the promise of the ranges, less would be too sure; the mean of the windows, which
only grows wider, told fewer knobs of a recording than of one window of it."""


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


def mean_travel(believed: Tensor) -> Tensor:
    """[..., W] probabilities -> [...] in 0..1."""
    return believed @ torch.linspace(0, 1, N_PLACES, device=believed.device)


def read_knobs(logits: Tensor, vocabulary: Vocabulary) -> Knobs:
    """What windows [W, V, P, places] of one recording say together, of every pedal."""
    weight = window_weight(len(logits), ALIKE)
    believed = (weight * logits.log_softmax(-1).sum(0)).softmax(-1)
    mean = mean_travel(believed)
    means, ends = mean.tolist(), [end.tolist() for end in _range(believed, mean)]
    found: Knobs = {}
    for v, entry in enumerate(vocabulary.pedals):
        found[entry.name] = {}
        for p, param in enumerate(entry.params):
            if can_be_heard(param):
                travel = means[v][p], ends[0][v][p], ends[1][v][p]
                value, low, high = (from_unit(param, u) for u in travel)
                found[entry.name][param.name] = Knob(param, value, low, high, travel)
    return found


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
        self.knobs += [read_knobs(one[None], self._vocabulary) for one in model.knobs(memory)]
        self._true.append(self._travel(order.cpu(), params.cpu()))

    @property
    def travel(self) -> np.ndarray | None:
        """float32 [n, V, P]"""
        return torch.cat(self._true).numpy() if self._true else None


def _range(believed: Tensor, mean: Tensor) -> tuple[Tensor, Tensor]:
    """(low, high) [...] between which ``SURE`` of the belief lies: from one end of the travel, from
    the other or from its middle, whichever is shortest, and of equals the nearest to ``mean``.

    With as much left out on either side, a dial that is turned to its stop would never be within.
    """
    tails = (0.0, (1 - SURE) / 2, 1 - SURE)
    lows = torch.stack([_quantile(believed, tail) for tail in tails])
    highs = torch.stack([_quantile(believed, tail + SURE) for tail in tails])
    cost = highs - lows + 1e-3 * ((lows + highs) / 2 - mean).abs()
    best = cost.argmin(0, keepdim=True)
    low, high = (ends.gather(0, best)[0] for ends in (lows, highs))
    return torch.minimum(low, mean), torch.maximum(high, mean)


def _quantile(believed: Tensor, share: float) -> Tensor:
    """Where so much of the belief lies below, each place standing for the stretch around it."""
    edges = (torch.arange(N_PLACES + 1, device=believed.device) - 0.5) / (N_PLACES - 1)
    edges = edges.clamp(0.0, 1.0)
    below = torch.cat((torch.zeros_like(believed[..., :1]), believed.cumsum(-1)), dim=-1)
    below = below / below[..., -1:]  # a sum of floats ends beside 1
    upper = (below >= share).int().argmax(-1, keepdim=True).clamp_min(1)
    before, after = below.gather(-1, upper - 1), below.gather(-1, upper)
    part = ((share - before) / (after - before).clamp_min(1e-9)).clamp(0.0, 1.0)
    return torch.lerp(edges[upper - 1], edges[upper], part)[..., 0]
