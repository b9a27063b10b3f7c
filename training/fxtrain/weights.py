"""The weights beside a model's card, checked before anything is computed with them. Must not import
torch.
"""

from __future__ import annotations

import hashlib
import math
from pathlib import Path

import numpy as np
import safetensors
import safetensors.numpy

from fxtrain.card import ModelCard, read_card
from fxtrain.config import LAG_CHANNELS, N_PLACED, WIDENING, lag_places
from fxtrain.contract import REINSTALL, ClueInfo, shorten
from fxtrain.errors import CheckpointError
from fxtrain.finding import CARD_NAME, SHIPPED
from fxtrain.knobs import N_PLACES

WEIGHTS_NAME = "model.safetensors"

Tensors = dict[str, np.ndarray]
Shapes = dict[str, tuple[int, ...]]


def read_weights(path: Path) -> tuple[ModelCard, Tensors]:
    """The card of a run directory and its weights, float32 by name, checked against the card."""
    card = read_card(path)
    where = path / WEIGHTS_NAME
    is_ours = path == SHIPPED
    if card.weights is None or not where.is_file():
        do = REINSTALL if is_ours else "train again or copy the whole run directory"
        raise CheckpointError(f"{where} is missing; {do}")
    data = where.read_bytes() if where.stat().st_size == card.weights.n_bytes else b""
    if hashlib.sha256(data).hexdigest() != card.weights.sha256:
        raise CheckpointError(
            f"{where} has another sha256 than {CARD_NAME} says; "
            + (REINSTALL if is_ours else "the two are not from one run")
        )
    return card, read_tensors(data, shapes_of(card), str(where))


def read_tensors(data: bytes, wanted: Shapes, where: str) -> Tensors:
    """The tensors in safetensors bytes, float32: those that are wanted, all of them, and finite."""
    try:
        with np.errstate(over="ignore"):
            found = {n: t.astype(np.float32) for n, t in safetensors.numpy.load(data).items()}
    except KeyError as error:  # NumPy has no such type
        problem = f"numbers of type {shorten(error.args[0])}, expected F32 or F16"
    except (ValueError, TypeError, safetensors.SafetensorError) as error:
        problem = shorten(str(error))
    else:
        shapes = {name: tensor.shape for name, tensor in found.items()}
        names = sorted({*wanted, *shapes}, key=lambda name: (name not in wanted, name))
        wrong = next((name for name in names if wanted.get(name) != shapes.get(name)), None)
        if wrong is None and all(np.isfinite(tensor).all() for tensor in found.values()):
            return found
        problem = "not all are finite numbers"
        if wrong is not None:
            problem = f"{shorten(wrong)} is {shapes.get(wrong)}, expected {wanted.get(wrong)}"
    raise CheckpointError(f"{where}: these weights do not fit the model ({problem})")


def shapes_of(card: ModelCard) -> Shapes:
    """What ``new_model(card).state_dict()`` holds, without building it: a card may describe
    terabytes, and whoever hears one clip has no torch."""
    model, codec, mel = card.model, card.hearing.codec, card.hearing.mel
    width, n_pedals, n_knobs = model.d_model, card.rules.n_pedals, card.vocabulary.max_params
    n_halvings = model.subsample.bit_length() - 1
    narrow = width // 2 if n_halvings else width
    seen = bool(model.use_mel and model.mel_channels)
    found: Shapes = {}
    if model.use_codes:
        n_books = min(model.n_codebooks or codec.n_codebooks, codec.n_codebooks)
        n_codes, dim = n_books * codec.codebook_size, codec.codebook_dim
        found["encoder.codes.table"] = n_codes, dim
        found |= _linear("encoder.codes.project", n_books * dim, narrow)
        if model.learned_residual:
            found["encoder.codes.learned.weight"] = n_codes, narrow
    n_mels = mel.n_mels if mel else 0
    if seen:
        found |= _picture("encoder.picture", n_mels, model.mel_channels, model.mel_blocks, width)
    elif model.use_mel:
        found |= _linear("encoder.mel", n_mels, narrow)
    if model.use_clues and card.hearing.clues:
        found |= _wave("encoder.clues", card.hearing.clues, width)
    if model.use_codes or not seen:
        found |= _norm("encoder.norm", narrow)
        for i in range(n_halvings):
            n_out = width if i == n_halvings - 1 else narrow
            found |= _affine(f"encoder.halvings.{i}.conv", (n_out, narrow, 5))
            found |= _norm(f"encoder.halvings.{i}.norm", n_out)
    if model.kind == "gru":
        for i in range(model.n_layers):
            for end in ("", "_reverse"):
                found |= _gru("encoder.context.gru", f"l{i}{end}", width, width // 2)
        found |= _norm("encoder.context.norm", width)
        for i in range(model.n_decoder_layers):
            found |= _gru("decoder.body.gru", f"l{i}", width, width)
        found |= _attention("decoder.body.attend", width)
        found |= _linear("decoder.body.join", 2 * width, width)
        found |= _norm("decoder.body.norm", width)
    else:
        own, both = ("self_attn",), ("self_attn", "multihead_attn")
        found |= _transformer("encoder.context.layers", model.n_layers, width, own)
        found |= _transformer("decoder.body.layers", model.n_decoder_layers, width, both)
    found["decoder.embed.weight"] = n_pedals + 1, width
    found |= _linear("decoder.out", width, n_pedals + 1)
    found |= _asked("head", n_pedals, width) | _linear("head.presence", width, 1)
    found |= _linear("head.former", width, width // 2) | _linear("head.latter", width, width // 2)
    if model.hear_knobs:
        n_words = n_knobs * N_PLACES
        found |= _asked("knob_head", n_pedals, width) | _linear("knob_head.lift", width, width)
        found["knob_head.turn"] = n_pedals, width, n_words
        found["knob_head.bias"] = n_pedals, n_words
    return found


def n_bytes(shapes: Shapes) -> int:
    """Of tensors of these shapes in float32."""
    return 4 * sum(map(math.prod, shapes.values()))


def _affine(name: str, shape: tuple[int, ...]) -> Shapes:
    return {f"{name}.weight": shape, f"{name}.bias": shape[:1]}


def _linear(name: str, n_in: int, n_out: int) -> Shapes:
    return _affine(name, (n_out, n_in))


def _norm(name: str, *shape: int) -> Shapes:
    return {f"{name}.weight": shape, f"{name}.bias": shape}


def _attention(name: str, width: int) -> Shapes:
    into = {f"{name}.in_proj_weight": (3 * width, width), f"{name}.in_proj_bias": (3 * width,)}
    return into | _linear(f"{name}.out_proj", width, width)


def _asked(name: str, n_pedals: int, width: int) -> Shapes:
    queries = {f"{name}.queries": (n_pedals, width)}
    return queries | _attention(f"{name}.attend", width) | _norm(f"{name}.norm", width)


def _gru(name: str, layer: str, n_in: int, n_out: int) -> Shapes:
    rows = 3 * n_out
    weights = {f"weight_ih_{layer}": (rows, n_in), f"weight_hh_{layer}": (rows, n_out)}
    biases = {f"bias_ih_{layer}": (rows,), f"bias_hh_{layer}": (rows,)}
    return {f"{name}.{part}": shape for part, shape in (weights | biases).items()}


def _transformer(name: str, n_layers: int, width: int, attentions: tuple[str, ...]) -> Shapes:
    found = _norm(f"{name}.norm", width)
    for i in range(n_layers):
        layer = f"{name}.layers.{i}"
        for part in attentions:
            found |= _attention(f"{layer}.{part}", width)
        for n in range(len(attentions) + 1):
            found |= _norm(f"{layer}.norm{n + 1}", width)
        found |= _linear(f"{layer}.linear1", width, 2 * width)
        found |= _linear(f"{layer}.linear2", 2 * width, width)
    return found


def _wave(name: str, info: ClueInfo, width: int) -> Shapes:
    found = _linear(f"{name}.spread", info.n_spread, width)
    n_found = width
    for i, n_lags in enumerate(info.n_lags):
        n_in = 2
        for j, n_out in enumerate(LAG_CHANNELS):
            found |= _affine(f"{name}.lags.{i}.convs.{j}", (n_out, n_in, 5))
            n_in = n_out
        found |= _linear(f"{name}.lags.{i}.placed", n_in * lag_places(n_lags)[1], N_PLACED)
        n_found += 2 * n_in + N_PLACED
    found |= _linear(f"{name}.join", n_found, width)
    return found | _linear(f"{name}.out", width, width)


def _picture(name: str, n_mels: int, n_channels: int, n_blocks: int, width: int) -> Shapes:
    found: Shapes = {}
    n_in, height = 1, n_mels
    for i, wider in enumerate(WIDENING):
        n_out, size, height = n_channels * wider, 3 if i else 5, (height + 1) // 2
        found |= _affine(f"{name}.lower.{i}", (n_out, n_in, size, size))
        blocks = [f"{name}.blocks.{i}", *(f"{name}.more.{i}.{j}" for j in range(n_blocks - 1))]
        for block in blocks if i else ():
            for part in range(2):
                found |= _norm(f"{block}.norms.{part}", n_out, 1, 1)
                found |= _affine(f"{block}.convs.{part}", (n_out, n_out, 3, 3))
        n_in = n_out
    return found | _linear(f"{name}.out", n_in * height, width)
