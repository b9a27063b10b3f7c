"""The translator's answer without torch, whose import alone takes longer than hearing a clip.

The same numbers as ``models/translator.py`` but for rounding, which ``test_quick.py`` checks. NumPy
only.
Shapes: B batch, N chain of a clip, K codebook, T frame, M mel band, C clue, S encoder step, U
decoder step, V pedal, P knob of a pedal, W place of its travel, D channel.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from fxtrain.config import ModelConfig
from fxtrain.contract import MISSING_CODE, ClueInfo
from fxtrain.knobs import N_PLACES
from fxtrain.quick.layers import (
    Weights,
    attend,
    feed_forward,
    gelu,
    gru,
    halved,
    laid_out,
    sinusoids,
)
from fxtrain.quick.picture import see
from fxtrain.quick.wave import tell
from fxtrain.set_order import SetOrder


class QuickTranslator:
    """``models.Translator`` in evaluation mode."""

    def __init__(
        self,
        config: ModelConfig,
        tensors: Mapping[str, np.ndarray],
        clues: ClueInfo | None = None,
    ) -> None:
        """``config`` must be resolved; ``tensors`` float32, by the names of the weights file;
        ``clues``: which there are of the wave."""
        self.config, self._clues = config, clues
        self._weights = Weights(laid_out(tensors))

    def encode(
        self, codes: np.ndarray, mel: np.ndarray | None, clues: np.ndarray | None = None
    ) -> np.ndarray:
        """int [B, K, T], float32 [B, M, T] and [B, C] in 0..1 or None -> states [B, S, D]"""
        config, weights = self.config, self._weights / "encoder"
        n_halvings = config.subsample.bit_length() - 1
        shown = None if mel is None else 4 * mel - 2
        parts, frames = [], []
        if config.use_codes:
            frames.append(_code_frames(weights / "codes", codes, config.learned_residual))
        if config.use_mel:
            assert shown is not None
            if config.mel_channels:
                parts.append(see(weights / "picture", shown, n_halvings, config.mel_blocks))
            else:
                frames.append((weights / "mel").linear(shown.swapaxes(1, 2)))
        if frames:
            steps = (weights / "norm").norm(sum(frames[1:], start=frames[0]))
            for i in range(n_halvings):
                steps = halved(weights / "halvings" / i, steps)
            parts.append(steps)
        if config.use_clues:
            assert clues is not None
            assert self._clues is not None
            parts.append(tell(weights / "clues", clues, self._clues)[:, None])
        together = sum(parts[1:], start=parts[0])
        return CONTEXTS[config.kind](config, weights / "context", together)

    def decode(self, tokens: np.ndarray, memory: np.ndarray) -> np.ndarray:
        """int [B, N, U] (boundary, then pedals so far) -> logits [B, N, U, V + 1]."""
        weights = self._weights / "decoder"
        steps = (weights / "embed")["weight"][tokens]
        states = BODIES[self.config.kind](self.config, weights / "body", steps, memory)
        return (weights / "out").linear(states)

    def set_order(self, memory: np.ndarray) -> SetOrder[np.ndarray]:
        """``models.heads.SetOrderHead``"""
        weights = self._weights / "head"
        pedals = self._asked(weights, memory)
        former = (weights / "former").linear(pedals)
        latter = (weights / "latter").linear(pedals)
        before = former @ latter.swapaxes(1, 2) / np.float32(former.shape[-1] ** 0.5)
        presence = (weights / "presence").linear(pedals)[..., 0]
        return SetOrder(presence, before - before.swapaxes(1, 2))

    def knobs(self, memory: np.ndarray) -> np.ndarray:
        """[B, V, P, W], unnormalised log-probabilities: ``models.heads.KnobHead``."""
        weights = self._weights / "knob_head"
        pedals = self._asked(weights, memory)
        pedals = pedals + gelu((weights / "lift").linear(pedals))
        turned: np.ndarray = (pedals[:, :, None] @ weights["turn"])[:, :, 0] + weights["bias"]
        return turned.reshape(*turned.shape[:2], -1, N_PLACES)

    def _asked(self, weights: Weights, memory: np.ndarray) -> np.ndarray:
        """What a head's query of every pedal hears: [B, V, D]"""
        queries = weights["queries"]
        queries = np.broadcast_to(queries, (len(memory), *queries.shape))
        heard = attend(weights / "attend", queries, memory, self.config.n_heads)
        return (weights / "norm").norm(queries + heard)


def _code_frames(weights: Weights, codes: np.ndarray, learned: bool) -> np.ndarray:
    """int [B, K, T] -> [B, T, D]; zeros for clips that the codec did not hear."""
    table = weights["table"]
    n_books = (weights / "project")["weight"].shape[1] // table.shape[1]
    codes = codes[:, :n_books]
    unheard = codes == MISSING_CODE
    offsets = np.arange(n_books)[:, None] * (len(table) // n_books)
    rows = np.where(unheard, 0, codes) + offsets
    vectors = table[rows].swapaxes(1, 2)  # [B, T, K, dim]
    frames = (weights / "project").linear(vectors.reshape(*vectors.shape[:2], -1))
    if learned:
        frames += (weights / "learned")["weight"][rows].sum(1)
    frames[unheard[:, 0]] = 0
    return frames


def _transformer_context(config: ModelConfig, weights: Weights, steps: np.ndarray) -> np.ndarray:
    states = steps + sinusoids(*steps.shape[1:])
    for i in range(config.n_layers):
        layer = weights / "layers" / "layers" / i
        normed = (layer / "norm1").norm(states)
        states = states + attend(layer / "self_attn", normed, normed, config.n_heads)
        states += feed_forward(layer, (layer / "norm2").norm(states))
    return (weights / "layers" / "norm").norm(states)


def _gru_context(config: ModelConfig, weights: Weights, steps: np.ndarray) -> np.ndarray:
    states = steps
    for i in range(config.n_layers):
        both = (gru(weights / "gru", states, f"l{i}{end}") for end in ("", "_reverse"))
        states = np.concatenate(tuple(both), -1)
    return (weights / "norm").norm(states + steps)


def _transformer_body(
    config: ModelConfig, weights: Weights, steps: np.ndarray, memory: np.ndarray
) -> np.ndarray:
    """[B, N, U, D]"""
    n_batch, n_chains, n_steps, width = steps.shape
    later = np.triu(np.ones((n_steps, n_steps), bool), 1)
    apart, together = (n_batch * n_chains, n_steps, width), (n_batch, n_chains * n_steps, width)
    states = steps + sinusoids(n_steps, width)
    for i in range(config.n_decoder_layers):
        layer = weights / "layers" / "layers" / i
        normed = (layer / "norm1").norm(states).reshape(apart)
        own = attend(layer / "self_attn", normed, normed, config.n_heads, later)
        states = states + own.reshape(states.shape)
        asking = (layer / "norm2").norm(states).reshape(together)
        heard = attend(layer / "multihead_attn", asking, memory, config.n_heads)
        states += heard.reshape(states.shape)
        states += feed_forward(layer, (layer / "norm3").norm(states))
    return (weights / "layers" / "norm").norm(states)


def _gru_body(
    config: ModelConfig, weights: Weights, steps: np.ndarray, memory: np.ndarray
) -> np.ndarray:
    """[B, N, U, D]"""
    states = steps.reshape(-1, *steps.shape[2:])
    for i in range(config.n_decoder_layers):
        states = gru(weights / "gru", states, f"l{i}")
    states = states.reshape(len(steps), -1, steps.shape[-1])
    context = attend(weights / "attend", states, memory, config.n_heads)
    joined = (weights / "join").linear(np.concatenate((states, context), -1))
    return (weights / "norm").norm(states + np.tanh(joined)).reshape(steps.shape)


CONTEXTS = {"transformer": _transformer_context, "gru": _gru_context}
BODIES = {"transformer": _transformer_body, "gru": _gru_body}
