"""Encoder states and the pedals so far to scores of the next pedal. torch only.

Tokens are pedal ids; the id ``n_pedals`` is the chain's boundary: it starts the input and, as an
output, ends the chain. A clip's N chains are decoded side by side, so that what the decoder takes
from the sound is computed once for all of them.

Shapes: B batch, N chain of a clip, S encoder step, U decoder step, V pedal, D channel.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from fxtrain.config import ModelConfig
from fxtrain.models.encoder import Memory
from fxtrain.models.layers import causal_mask, drop_rarely, sinusoids


class Decoder(nn.Module):
    """Autoregressive: scores at step u depend on tokens 0..u and never on later ones."""

    def __init__(self, config: ModelConfig, n_pedals: int) -> None:
        super().__init__()
        self.embed = nn.Embedding(n_pedals + 1, config.d_model)
        nn.init.normal_(self.embed.weight, std=config.d_model**-0.5)
        self.dropout = nn.Dropout(config.dropout)
        self.body = BODIES[config.kind](config)
        self.out = nn.Linear(config.d_model, n_pedals + 1)

    def forward(self, tokens: Tensor, memory: Memory) -> Tensor:
        """int64 [B, N, U] -> float32 [B, N, U, V + 1], unnormalised log-probabilities."""
        states = self.body(self.dropout(self.embed(tokens)), memory)
        logits: Tensor = self.out(states)
        return logits.float()


class TransformerBody(nn.Module):
    """Pre-norm transformer decoder with cross-attention."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        layer = nn.TransformerDecoderLayer(
            config.d_model,
            config.n_heads,
            dim_feedforward=2 * config.d_model,
            dropout=config.dropout,
            activation="gelu",
            batch_first=True,
            norm_first=True,
        )
        drop_rarely(layer)
        norm = nn.LayerNorm(config.d_model)
        self.layers = nn.TransformerDecoder(layer, config.n_decoder_layers, norm=norm)

    def forward(self, steps: Tensor, memory: Memory) -> Tensor:
        n_chains, n_steps, width = steps.shape[1:]
        placed = steps + sinusoids(n_steps, width, steps.device).to(steps.dtype)
        states: Tensor = self.layers(
            placed.flatten(1, 2),
            memory.states,
            tgt_mask=causal_mask(n_chains, n_steps, steps.device),
            # Left open, torch looks into the mask, which an exported graph cannot branch on.
            tgt_is_causal=False if torch.compiler.is_compiling() else None,
        )
        return states.view(steps.shape)


class GruBody(nn.Module):
    """GRU over the pedals so far; each of its states attends to the encoder (Luong et al. 2015)."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        width = config.d_model
        self.gru = nn.GRU(width, width, config.n_decoder_layers, batch_first=True)
        self.attend = nn.MultiheadAttention(width, config.n_heads, batch_first=True)
        self.join = nn.Linear(2 * width, width)
        self.norm = nn.LayerNorm(width)

    def forward(self, steps: Tensor, memory: Memory) -> Tensor:
        states = self.gru(steps.flatten(0, 1))[0].reshape(steps.shape[0], -1, steps.shape[-1])
        context, _ = self.attend(states, memory.states, memory.states, need_weights=False)
        joined: Tensor = self.norm(states + torch.tanh(self.join(torch.cat((states, context), -1))))
        return joined.view(steps.shape)


BODIES: dict[str, type[TransformerBody] | type[GruBody]] = {
    "transformer": TransformerBody,
    "gru": GruBody,
}
