"""Codes and mel frames to encoder states. torch only.

Shapes: B batch, K codebook, T frame, M mel band, S encoder step, D channel.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from fxtrain.config import ModelConfig
from fxtrain.models.layers import ConvStep, drop_rarely, hide_spans, padding_mask, sinusoids


class Memory(NamedTuple):
    """What the decoder looks at: ``states`` [B, S, D], and where they are real.

    ``padding`` is bool [B, S], True beyond the end, or None where every sample is full length.
    """

    states: Tensor
    padding: Tensor | None


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
        """int64 [B, K, T] -> [B, T, D]"""
        rows = codes[:, : self.n_books] + self.offsets
        vectors = nn.functional.embedding(rows, self.table)  # [B, K, T, dim]
        frames: Tensor = self.project(vectors.transpose(1, 2).flatten(2))
        if self.learned is not None:
            extra = self.learned(rows)  # [B, K, T, D]
            if self.training and self.book_dropout:
                kept = torch.rand(*rows.shape[:2], 1, 1, device=rows.device) >= self.book_dropout
                extra = extra * kept / (1 - self.book_dropout)
            frames = frames + extra.sum(dim=1)
        return frames


class Encoder(nn.Module):
    """Frames from codes and mel, joined, subsampled, then a transformer or a bidirectional GRU."""

    def __init__(self, config: ModelConfig, codebooks: Tensor, n_mels: int) -> None:
        super().__init__()
        n_halvings = config.subsample.bit_length() - 1
        width = config.d_model // 2 if n_halvings else config.d_model
        self.codes = CodeFrames(config, codebooks, width) if config.use_codes else None
        self.mel = nn.Linear(n_mels, width) if config.use_mel else None
        self.norm = nn.LayerNorm(width)
        widths = [width] * n_halvings + [config.d_model]
        self.halvings = nn.ModuleList(map(ConvStep, widths[:-1], widths[1:]))
        self.dropout = nn.Dropout(config.dropout)
        self.frame_mask = config.frame_mask
        self.context = CONTEXTS[config.kind](config)

    def forward(self, codes: Tensor, mel: Tensor | None, n_frames: Tensor | None = None) -> Memory:
        """codes int64 [B, K, T], mel float32 [B, M, T] in 0..1 -> :class:`Memory`.

        n_frames: int64 [B], real frames of each sample; None where all T are real. What stands
        beyond them never changes the result.
        """
        frames = self._frames(codes, mel)
        if self.training and self.frame_mask:
            frames = hide_spans(frames, self.frame_mask)
        lengths = n_frames
        padding = None
        if lengths is not None:
            padding = padding_mask(lengths, frames.shape[1])
            frames = frames.masked_fill(padding[..., None], 0.0)
        for halve in self.halvings:
            frames = halve(frames)
            if lengths is not None:
                lengths = (lengths + 1) // 2
                padding = padding_mask(lengths, frames.shape[1])
                frames = frames.masked_fill(padding[..., None], 0.0)
        return Memory(self.context(self.dropout(frames), lengths, padding), padding)

    def _frames(self, codes: Tensor, mel: Tensor | None) -> Tensor:
        parts = []
        if self.codes is not None:
            parts.append(self.codes(codes))
        if self.mel is not None:
            if mel is None:
                raise ValueError("this model hears log-mel frames, but none were given")
            parts.append(self.mel(4.0 * mel.transpose(1, 2) - 2.0))
        frames: Tensor = self.norm(sum(parts[1:], start=parts[0]))
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

    def forward(self, steps: Tensor, lengths: Tensor | None, padding: Tensor | None) -> Tensor:
        placed = steps + sinusoids(steps.shape[1], steps.shape[2], steps.device).to(steps.dtype)
        states: Tensor = self.layers(placed, src_key_padding_mask=padding)
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

    def forward(self, steps: Tensor, lengths: Tensor | None, padding: Tensor | None) -> Tensor:
        if lengths is None:
            states, _ = self.gru(steps)
        else:
            packed = nn.utils.rnn.pack_padded_sequence(
                steps, lengths.cpu(), batch_first=True, enforce_sorted=False
            )
            states, _ = nn.utils.rnn.pad_packed_sequence(
                self.gru(packed)[0], batch_first=True, total_length=steps.shape[1]
            )
        normed: Tensor = self.norm(states + steps)
        return normed


CONTEXTS: dict[str, type[TransformerContext] | type[GruContext]] = {
    "transformer": TransformerContext,
    "gru": GruContext,
}
