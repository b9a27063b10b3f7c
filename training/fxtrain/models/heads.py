"""Which pedals are there, which of two comes first and where knobs stand, asked of the sound
directly. torch only.

Trained beside the decoder, so that every pedal and every pair has a probability of its own.
Shapes: B batch, S encoder step, V pedal, D channel, P knob of a pedal, W place of its travel.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from fxtrain.config import ModelConfig
from fxtrain.knobs import N_PLACES
from fxtrain.models.encoder import Memory
from fxtrain.set_order import SetOrder


class SetOrderHead(nn.Module):
    """One learned query a pedal attends to the sound; pairs are compared bilinearly."""

    def __init__(self, config: ModelConfig, n_pedals: int) -> None:
        super().__init__()
        width = config.d_model
        self.queries = nn.Parameter(torch.randn(n_pedals, width) * width**-0.5)
        self.attend = nn.MultiheadAttention(width, config.n_heads, batch_first=True)
        self.norm = nn.LayerNorm(width)
        self.presence = nn.Linear(width, 1)
        self.former = nn.Linear(width, width // 2)
        self.latter = nn.Linear(width, width // 2)

    def forward(self, memory: Memory) -> SetOrder[Tensor]:
        queries = self.queries.expand(memory.states.shape[0], -1, -1)
        heard, _ = self.attend(queries, memory.states, memory.states, need_weights=False)
        pedals = self.norm(queries + heard)  # [B, V, D]
        former, latter = self.former(pedals), self.latter(pedals)
        before = former @ latter.transpose(1, 2) / former.shape[-1] ** 0.5
        return SetOrder(
            self.presence(pedals)[..., 0].float(), (before - before.transpose(1, 2)).float()
        )


class KnobHead(nn.Module):
    """One learned query a pedal attends to the sound, then one classifier a knob, as if the pedal
    were there."""

    def __init__(self, config: ModelConfig, n_pedals: int, n_knobs: int) -> None:
        super().__init__()
        width, n_words = config.d_model, n_knobs * N_PLACES
        self.shape = n_knobs, N_PLACES
        self.queries = nn.Parameter(torch.randn(n_pedals, width) * width**-0.5)
        self.attend = nn.MultiheadAttention(width, config.n_heads, batch_first=True)
        self.norm = nn.LayerNorm(width)
        self.lift = nn.Linear(width, width)
        self.turn = nn.Parameter(torch.randn(n_pedals, width, n_words) * 0.1 * width**-0.5)
        self.bias = nn.Parameter(torch.zeros(n_pedals, n_words))

    def forward(self, memory: Memory) -> Tensor:
        """float32 [B, V, P, W], unnormalised log-probabilities."""
        queries = self.queries.expand(memory.states.shape[0], -1, -1)
        heard, _ = self.attend(queries, memory.states, memory.states, need_weights=False)
        pedals = self.norm(queries + heard)
        pedals = pedals + nn.functional.gelu(self.lift(pedals))
        turned = torch.einsum("bvd,vdo->bvo", pedals, self.turn) + self.bias
        return turned.float().view(*turned.shape[:2], *self.shape)
