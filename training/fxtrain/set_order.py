"""What the set-and-precedence head says, as tensors or as arrays. Must not import torch.

Shapes: B batch, V pedal.
"""

from __future__ import annotations

from typing import Generic, NamedTuple, TypeVar

Values = TypeVar("Values")


class SetOrder(NamedTuple, Generic[Values]):
    """``presence`` [B, V]: logit that a pedal is there. ``precedence`` [B, V, V]: logit that the
    first stands before the second, given both; antisymmetric."""

    presence: Values
    precedence: Values
