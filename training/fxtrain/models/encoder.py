"""Codes, mel frames and clues of the wave to encoder states. torch only.

Shapes: B batch, K codebook, T frame, M mel band, C clue, S encoder step, D channel.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from fxtrain.config import ModelConfig
from fxtrain.contract import MISSING_CODE, ClueInfo
from fxtrain.models.layers import (
    ConvStep,
    drop_rarely,
    hidden_spans,
    random_timbre,
    sinusoids,
)
from fxtrain.models.picture import Picture
from fxtrain.models.wave import WaveClues


class Memory(NamedTuple):
    """What the decoder looks at: ``states`` [B, S, D]."""

    states: Tensor

    def together(self, n_windows: int) -> Memory:
        """Windows [B W, S, D] as recordings of W each [B, W S, D], which have the states of all.

        Attention weighs every state of every window by what is asked for: a window in which a
        pedal is plain to hear speaks louder than one in which it is not, and the same window again
        is no news.
        """
        if n_windows == 1:
            return self
        return Memory(self.states.view(-1, n_windows, *self.states.shape[1:]).flatten(1, 2))

    def with_windows(self, chosen: Tensor, n_windows: int) -> Memory:
        """Recordings of ``n_windows``, of which only ``chosen`` int64 [W] are remembered."""
        windows = self.states.view(len(self.states), n_windows, -1, self.states.shape[-1])
        return Memory(windows.index_select(1, chosen.to(windows.device)).flatten(1, 2))


class CodeFrames(nn.Module):
    """Codes to frames: the codec's own vectors, frozen, side by side, normalised, projected.

    Learned tables overfit (590,000 free parameters, each code rare), so they are only an optional
    residual with whole books dropped in training.
    """

    table: Tensor
    offsets: Tensor

    def __init__(self, config: ModelConfig, codebooks: Tensor, width: int) -> None:
        """``codebooks``: float32 [K, size, dim], with K the number of books to read."""
        super().__init__()
        n_books, size, dim = codebooks.shape
        centred = codebooks - codebooks.mean(dim=1, keepdim=True)
        spread = centred.std(dim=1, keepdim=True).clamp_min(1e-6)
        self.register_buffer("table", (centred / spread).reshape(n_books * size, dim))
        offsets = torch.arange(n_books)[:, None] * size
        self.register_buffer("offsets", offsets, persistent=False)
        self.n_books = n_books
        self.project = nn.Linear(n_books * dim, width)
        self.learned = nn.Embedding(n_books * size, width) if config.learned_residual else None
        if self.learned is not None:
            nn.init.normal_(self.learned.weight, std=0.02)
        self.book_dropout = config.codebook_dropout

    def forward(self, codes: Tensor) -> Tensor:
        """int64 [B, K, T] -> [B, T, D]; zeros for clips that the codec did not hear."""
        codes = codes[:, : self.n_books]
        unheard = codes == MISSING_CODE
        rows = codes.masked_fill(unheard, 0) + self.offsets
        vectors = nn.functional.embedding(rows, self.table)  # [B, K, T, dim]
        frames: Tensor = self.project(vectors.transpose(1, 2).flatten(2))
        if self.learned is not None:
            extra = self.learned(rows)  # [B, K, T, D]
            if self.training and self.book_dropout:
                kept = torch.rand(*rows.shape[:2], 1, 1, device=rows.device) >= self.book_dropout
                extra = extra * kept / (1 - self.book_dropout)
            frames = frames + extra.sum(dim=1)
        return frames.masked_fill(unheard[:, 0, :, None], 0.0)


class Encoder(nn.Module):
    """What is heard, subsampled and joined, then a transformer or a bidirectional GRU.

    Codes and mel are read frame by frame and joined before they are subsampled; with
    ``mel_channels`` the mel frames are a :class:`Picture` of their own, joined after it. What the
    clues of the wave say is added to every step.
    """

    def __init__(
        self, config: ModelConfig, codebooks: Tensor, n_mels: int, clues: ClueInfo | None = None
    ) -> None:
        super().__init__()
        n_halvings = config.subsample.bit_length() - 1
        width = config.d_model // 2 if n_halvings else config.d_model
        seen = config.use_mel and config.mel_channels > 0
        self.codes = CodeFrames(config, codebooks, width) if config.use_codes else None
        self.mel = nn.Linear(n_mels, width) if config.use_mel and not seen else None
        self.picture: Picture | None = None
        self.norm: nn.LayerNorm | None = None
        self.halvings: nn.ModuleList | None = None
        if seen:
            self.picture = Picture(
                n_mels, config.mel_channels, n_halvings, config.d_model, config.mel_blocks
            )
        if self.codes is not None or self.mel is not None:
            self.norm = nn.LayerNorm(width)
            widths = [width] * n_halvings + [config.d_model]
            self.halvings = nn.ModuleList(map(ConvStep, widths[:-1], widths[1:]))
        self.clues: WaveClues | None = None
        if config.use_clues:
            assert clues is not None
            self.clues = WaveClues(clues, config.d_model, config.dropout)
        self.dropout = nn.Dropout(config.dropout)
        self.frame_mask, self.band_mask = config.frame_mask, config.band_mask
        self.timbre_spread = config.timbre_spread
        self.context = CONTEXTS[config.kind](config)

    def forward(self, codes: Tensor, mel: Tensor | None, clues: Tensor | None = None) -> Memory:
        """codes int64 [B, K, T], mel float32 [B, M, T] and clues float32 [B, C] in 0..1 ->
        :class:`Memory`."""
        if mel is None and (self.mel is not None or self.picture is not None):
            raise ValueError("this model hears log-mel frames, but none were given")
        if clues is None and self.clues is not None:
            raise ValueError("this model hears clues of the wave, but none were given")
        hidden = None
        if self.training and self.frame_mask:
            shape = codes.shape[0], codes.shape[2]
            hidden = hidden_spans(shape, self.frame_mask, codes.device)
        if self.training and mel is not None:
            mel = self._varied(mel)
        parts = []
        if self.halvings is not None:
            parts.append(self._steps(self._frames(codes, mel), hidden))
        if self.picture is not None and mel is not None:
            shown = 4.0 * mel - 2.0
            if hidden is not None:
                shown = shown.masked_fill(hidden[:, None], 0.0)
            parts.append(self.picture(shown))
        if self.clues is not None and clues is not None:
            parts.append(self.clues(clues)[:, None])
        steps: Tensor = sum(parts[1:], start=parts[0])
        return Memory(self.context(self.dropout(steps)))

    def hide_nothing(self) -> None:
        """No more masks and other timbres, and every book is heard."""
        self.frame_mask = self.band_mask = self.timbre_spread = 0.0
        if self.codes is not None:
            self.codes.book_dropout = 0.0

    def _varied(self, mel: Tensor) -> Tensor:
        """Another guitar, and some bands not heard."""
        if self.timbre_spread:
            mel = random_timbre(mel, self.timbre_spread)
        if self.band_mask:
            bands = hidden_spans((mel.shape[0], mel.shape[1]), self.band_mask, mel.device)
            mel = mel.masked_fill(bands[..., None], 0.5)
        return mel

    def _frames(self, codes: Tensor, mel: Tensor | None) -> Tensor:
        parts = []
        if self.codes is not None:
            parts.append(self.codes(codes))
        if self.mel is not None and mel is not None:
            parts.append(self.mel(4.0 * mel.transpose(1, 2) - 2.0))
        assert self.norm is not None
        frames: Tensor = self.norm(sum(parts[1:], start=parts[0]))
        return frames

    def _steps(self, frames: Tensor, hidden: Tensor | None) -> Tensor:
        """[B, T, D] -> [B, S, D]"""
        assert self.halvings is not None
        if hidden is not None:
            frames = frames.masked_fill(hidden[..., None], 0.0)
        for halve in self.halvings:
            frames = halve(frames)
        return frames


class TransformerContext(nn.Module):
    """Pre-norm transformer over time, with positions indexed by time."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        layer = nn.TransformerEncoderLayer(
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
        self.layers = nn.TransformerEncoder(
            layer, config.n_layers, norm=norm, enable_nested_tensor=False
        )

    def forward(self, steps: Tensor) -> Tensor:
        placed = steps + sinusoids(steps.shape[1], steps.shape[2], steps.device).to(steps.dtype)
        states: Tensor = self.layers(placed)
        return states


class GruContext(nn.Module):
    """Bidirectional GRU; each direction has half the channels."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.gru = nn.GRU(
            config.d_model,
            config.d_model // 2,
            config.n_layers,
            batch_first=True,
            bidirectional=True,
            dropout=config.dropout if config.n_layers > 1 else 0.0,
        )
        self.norm = nn.LayerNorm(config.d_model)

    def forward(self, steps: Tensor) -> Tensor:
        states, _ = self.gru(steps)
        normed: Tensor = self.norm(states + steps)
        return normed


CONTEXTS: dict[str, type[TransformerContext] | type[GruContext]] = {
    "transformer": TransformerContext,
    "gru": GruContext,
}
