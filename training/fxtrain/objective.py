"""What the translator is taught: canonical targets, teacher forcing, losses. torch only.

Shapes: B batch, L pedal position, V pedal (id V starts the input and ends the output).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from fxtrain.contract import PAD, Commutes, Vocabulary
from fxtrain.models import Memory, Translator
from fxtrain.set_order import SetOrder
from fxtrain.travel import knob_loss

IGNORED = -100


@dataclass(frozen=True, eq=False)
class Losses:
    """``total`` is what is minimised; the others are its parts, in nats. ``knobs``: 0 where the
    model hears none."""

    total: Tensor
    tokens: Tensor
    presence: Tensor
    precedence: Tensor
    knobs: Tensor


def commute_table(vocabulary: Vocabulary, commutes: Commutes) -> Tensor:
    """bool [V, V], True where the order of the two cannot be heard."""
    names = vocabulary.names
    return torch.tensor([[frozenset((a, b)) in commutes for b in names] for a in names])


def alphabetical(vocabulary: Vocabulary) -> Tensor:
    """int64 [V]: each pedal's place in the alphabet, which decides canonical orders."""
    return torch.from_numpy(np.argsort(np.argsort(np.array(vocabulary.names))))


def canonical_order(order: Tensor, commute: Tensor, rank: Tensor) -> Tensor:
    """Each chain's least order among those that sound alike; :func:`contract.normal_form` in bulk.

    order: int64 [B, L], ``PAD`` at the end; commute: bool [V, V]; rank: int64 [V].
    """
    n_pedals, length = len(rank), order.shape[1]
    left = order != PAD
    ids = order.clamp_max(n_pedals - 1)
    swaps = commute[ids[:, :, None], ids[:, None, :]]  # [B, L, L]
    earlier = torch.ones(length, length, dtype=torch.bool, device=order.device).tril(-1)
    canonical = torch.full_like(order, PAD)
    for position in range(length):
        blocked = (earlier & left[:, None, :] & ~swaps).any(-1)
        keys = rank[ids].masked_fill(blocked | ~left, n_pedals)
        best, pick = keys.min(dim=1)
        chosen = order.gather(1, pick[:, None])[:, 0]
        canonical[:, position] = torch.where(best < n_pedals, chosen, PAD)
        left = left.scatter(1, pick[:, None], False)
    return canonical


def teacher_tokens(order: Tensor, n_pedals: int) -> tuple[Tensor, Tensor]:
    """(inputs, targets) int64 [B, L + 1]: the boundary then pedals; pedals then the boundary."""
    there = order != PAD
    boundary = torch.full_like(order[:, :1], n_pedals)
    inputs = torch.cat((boundary, order.masked_fill(~there, n_pedals)), dim=1)
    ignored = torch.full_like(boundary, IGNORED)
    targets = torch.cat((order.masked_fill(~there, IGNORED), ignored), dim=1)
    return inputs, targets.scatter(1, there.sum(1, keepdim=True), n_pedals)


def presence_target(order: Tensor, n_pedals: int) -> Tensor:
    """float32 [B, V]: 1 where a pedal is in the chain."""
    return one_hot(order, n_pedals).amax(1)


def precedence_target(order: Tensor, n_pedals: int) -> Tensor:
    """float32 [B, V, V]: 1 where the first stands before the second and never after it."""
    places = one_hot(order, n_pedals)
    later = torch.ones(order.shape[1], order.shape[1], device=order.device).triu(1)
    before = torch.einsum("biv,ij,bjw->bvw", places, later, places) > 0
    return (before & ~before.transpose(1, 2)).float()


def one_hot(order: Tensor, n_pedals: int) -> Tensor:
    """float32 [B, L, V]; all zero at ``PAD``."""
    return functional.one_hot(order.clamp_max(n_pedals), n_pedals + 1)[..., :n_pedals].float()


def head_losses(heard: SetOrder[Tensor], order: Tensor) -> tuple[Tensor, Tensor]:
    """(presence, precedence): mean binary cross-entropy a pedal and a pair."""
    n_pedals = heard.presence.shape[1]
    presence = functional.binary_cross_entropy_with_logits(
        heard.presence, presence_target(order, n_pedals)
    )
    pairs = precedence_target(order, n_pedals)
    wrong = functional.softplus(-heard.precedence) * pairs
    return presence, wrong.sum() / pairs.sum().clamp_min(1.0)


def part_counts(order: Tensor, n_pedals: int, travel: Tensor | None = None) -> Tensor:
    """float32 [4]: tokens, samples, pairs and knobs, over which the parts of :class:`Losses` are
    means."""
    pairs = precedence_target(order, n_pedals).sum()
    n_samples = pairs.new_tensor(float(len(order)))
    n_knobs = pairs.new_zeros(()) if travel is None else (~travel.isnan()).sum()
    return torch.stack(((order != PAD).sum() + n_samples, n_samples, pairs, n_knobs))


def losses(
    model: Translator,
    memory: Memory,
    order: Tensor,
    *,
    label_smoothing: float,
    head_weight: float,
    knob_weight: float = 0.0,
    travel: Tensor | None = None,
    shares: Tensor | None = None,
) -> Losses:
    """Cross-entropy of the next pedal given the true ones before it, and the heads' losses.

    ``travel`` float32 [B, V, P]: how far knobs are turned, for a model that hears them
    (:class:`fxtrain.travel.Travel`).
    ``shares`` weighs the parts in ``total`` where these samples are some of a larger batch.
    """
    inputs, targets = teacher_tokens(order, model.n_pedals)
    logits = model.decode(inputs[:, None], memory)
    tokens = functional.cross_entropy(
        logits.flatten(0, 2),
        targets.flatten(),
        ignore_index=IGNORED,
        label_smoothing=label_smoothing,
    )
    presence, precedence = head_losses(model.set_order(memory), order)
    knobs = tokens.new_zeros(())
    if travel is not None:
        knobs = knob_loss(model.knobs(memory), travel)
    if shares is None:
        total = tokens + head_weight * (presence + precedence) + knob_weight * knobs
    else:
        heads = head_weight * presence, head_weight * precedence, knob_weight * knobs
        total = (shares * torch.stack((tokens, *heads))).sum()
    return Losses(total, tokens, presence, precedence, knobs)


def knobs_alone(
    model: Translator, memory: Memory, travel: Tensor, shares: Tensor | None = None
) -> Losses:
    """The knob head's loss and nothing else, for a model that is taught no more than that."""
    knobs = knob_loss(model.knobs(memory), travel)
    nothing = knobs.new_zeros(())
    return Losses(knobs if shares is None else shares[-1] * knobs, nothing, nothing, nothing, knobs)
