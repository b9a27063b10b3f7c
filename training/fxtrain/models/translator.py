"""The translator: codes (log-mel, clues) of a clip in, scores of ordered pedals out. torch only.

Shapes: B batch, N chain of a clip, K codebook, T frame, M mel band, C clue, U decoder step, V
pedal, P knob of a pedal, W place of its travel.
"""

from __future__ import annotations

from torch import Tensor, nn

from fxtrain.config import ModelConfig
from fxtrain.contract import ClueInfo
from fxtrain.models.decoder import Decoder
from fxtrain.models.encoder import Encoder, Memory
from fxtrain.models.heads import KnobHead, SetOrderHead
from fxtrain.set_order import SetOrder


class Translator(nn.Module):
    """Encoder, autoregressive decoder, and heads on the same states: set and precedence, and knobs
    where the model hears them.

    Nothing here takes the answer except :meth:`decode`, which takes the pedals *so far*.
    """

    def __init__(
        self,
        config: ModelConfig,
        codebooks: Tensor,
        *,
        n_pedals: int,
        n_mels: int,
        n_knobs: int,
        clues: ClueInfo | None = None,
    ) -> None:
        """Weights are drawn from torch's generator. ``config`` must be resolved; its ``kind`` picks
        the encoder's context and the decoder's body. codebooks: float32 [K, size, dim] of the
        codec; n_mels: 0 where there is no mel; n_knobs: of the pedal that has most; clues: which
        there are of the wave."""
        super().__init__()
        self.config = config
        self.n_pedals = n_pedals
        self.encoder = Encoder(config, codebooks[: config.n_codebooks], n_mels, clues)
        self.decoder = Decoder(config, n_pedals)
        self.head = SetOrderHead(config, n_pedals)
        self.knob_head = KnobHead(config, n_pedals, n_knobs) if config.hear_knobs else None

    def encode(self, codes: Tensor, mel: Tensor | None, clues: Tensor | None = None) -> Memory:
        """int64 [B, K, T], float32 [B, M, T] and [B, C] in 0..1 or None"""
        memory: Memory = self.encoder(codes, mel, clues)
        return memory

    def decode(self, tokens: Tensor, memory: Memory) -> Tensor:
        """int64 [B, N, U] (boundary, then pedals so far) -> logits float32 [B, N, U, V + 1].

        N chains of the same clip are scored side by side and do not see one another.
        """
        logits: Tensor = self.decoder(tokens, memory)
        return logits

    def set_order(self, memory: Memory) -> SetOrder[Tensor]:
        heard: SetOrder[Tensor] = self.head(memory)
        return heard

    def knobs(self, memory: Memory) -> Tensor:
        """float32 [B, V, P, W], unnormalised log-probabilities of where each knob stands, were its
        pedal there. Only of a model that hears knobs."""
        assert self.knob_head is not None
        turned: Tensor = self.knob_head(memory)
        return turned

    def hide_nothing(self) -> None:
        """From here on training hears clips as they are: no dropout, no masks, no other timbre."""
        for part in self.modules():
            if isinstance(part, nn.Dropout):
                part.p = 0.0
            elif isinstance(part, nn.GRU):
                part.dropout = 0.0
        self.encoder.hide_nothing()

    @property
    def n_parameters(self) -> int:
        """Learned ones; the frozen codebook vectors do not count."""
        return sum(p.numel() for p in self.parameters())
