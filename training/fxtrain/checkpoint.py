"""A run directory's model: weights as safetensors, everything else as one JSON card. No pickle.

``model.safetensors`` holds the weights and the frozen codebook vectors, so that a prediction needs
no shards. ``model.json`` is written after it and names its hash: both or neither are there.
"""

from __future__ import annotations

import dataclasses
import os
from dataclasses import dataclass
from pathlib import Path

import safetensors.torch
import torch

from fxtrain.card import ModelCard as ModelCard
from fxtrain.card import read_card as read_card
from fxtrain.config import DecodeSettings, ModelConfig, Rules
from fxtrain.contract import (
    CodecInfo,
    DatasetIndex,
    Features,
    Hearing,
    LocalFolder,
    SplitCounts,
    VocabularyError,
    json_bytes,
    recipes_of,
    recordings_of,
    shorten,
)
from fxtrain.decode import Listened
from fxtrain.finding import CARD_NAME as CARD_NAME
from fxtrain.finding import EVALUATION_NAME as EVALUATION_NAME
from fxtrain.finding import METRICS_NAME as METRICS_NAME
from fxtrain.finding import PAGE_NAME as PAGE_NAME
from fxtrain.listening import listen
from fxtrain.models import Translator
from fxtrain.weights import WEIGHTS_NAME as WEIGHTS_NAME
from fxtrain.weights import Tensors, read_tensors, read_weights

CONFIG_NAME = "config.json"


@dataclass(frozen=True)
class Run:
    """A trained model as it was loaded, ready to predict (in evaluation mode)."""

    path: Path
    card: ModelCard
    model: Translator
    device: torch.device

    def listen(self, features: Features) -> Listened:
        """What the model says of one recording."""
        return listen(self.model, self.device, features)


def card_of(index: DatasetIndex, model: ModelConfig, versions: dict[str, str]) -> ModelCard:
    """The card of a model about to be trained on shards with this index."""
    counts = index.counts.get("train", SplitCounts(0, {}, {}))
    return ModelCard(
        model=model,
        vocabulary=index.vocabulary,
        hearing=hearing_of(index),
        rules=Rules(
            n_pedals=len(index.vocabulary.pedals),
            min_length=min(counts.by_length, default=0),
            max_length=index.max_chain_length,
            repeats=allows_repeats(index),
        ),
        commutes=index.commutes,
        commutes_basis=index.commutes_basis,
        decode=DecodeSettings(),
        data_identity=index.identity,
        n_train=counts.n_samples,
        licences=index.licences,
        shareable=index.shareable,
        versions=versions,
        recordings=" ".join(sorted(recordings_of(index)["train"])),
    )


def hearing_of(index: DatasetIndex) -> Hearing:
    return Hearing(index.codec, index.mel, index.level, index.n_audio_samples, index.clues)


def allows_repeats(index: DatasetIndex) -> bool:
    """Whether the recipe of the shards, or of any of several joined, lets a pedal stand twice."""
    specs = [recipe.get("spec") for recipe in recipes_of(index)]
    chains = [spec.get("chain") for spec in specs if isinstance(spec, dict)]
    return any(bool(chain.get("repeats")) for chain in chains if isinstance(chain, dict))


def new_model(card: ModelCard, codebooks: torch.Tensor | None = None) -> Translator:
    """The card's model with fresh weights; without ``codebooks`` the table waits for a state."""
    codec, mel = card.hearing.codec, card.hearing.mel
    if codebooks is None:
        codebooks = torch.zeros(codec.n_codebooks, codec.codebook_size, codec.codebook_dim)
    return Translator(
        card.model,
        codebooks,
        n_pedals=card.rules.n_pedals,
        n_mels=mel.n_mels if mel else 0,
        n_knobs=card.vocabulary.max_params,
        clues=card.hearing.clues,
    )


def save_model(
    path: Path, card: ModelCard, model: Translator, dtype: torch.dtype = torch.float32
) -> ModelCard:
    """Write weights, then card. The card comes back with the weights' size and hash.

    The card of a model that was there goes first: it never stands beside other weights.

    ``dtype``: float16 halves the file of a model that is passed on; it computes in float32 again.
    """
    folder = LocalFolder(path)
    folder.delete(CARD_NAME)
    state = {
        name: tensor.detach().cpu().to(dtype).contiguous()
        for name, tensor in model.state_dict().items()
    }
    card = dataclasses.replace(
        card, weights=folder.write(WEIGHTS_NAME, safetensors.torch.save(state))
    )
    folder.write(CARD_NAME, json_bytes(card))
    return card


def load_run(path: str | os.PathLike[str], device: str | torch.device = "cpu") -> Run:
    """The model of a run directory, its weights checked against the card."""
    path = Path(path)
    card, tensors = read_weights(path)
    with torch.random.fork_rng(devices=[]):  # the weights that are drawn are not those it gets
        model = new_model(card)
    _put(tensors, model)
    return Run(path, card, model.to(device).eval(), torch.device(device))


def load_state(model: Translator, data: bytes, where: str) -> None:
    """Put safetensors bytes into ``model``; every tensor must be there and fit."""
    wanted = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
    _put(read_tensors(data, wanted, where), model)


def _put(tensors: Tensors, model: Translator) -> None:
    model.load_state_dict({name: torch.from_numpy(tensor) for name, tensor in tensors.items()})


def check_data(card: ModelCard, index: DatasetIndex, where: str, *, all_codes: bool = True) -> None:
    """Raise ``VocabularyError`` naming the difference unless the model understands the shards.

    ``all_codes`` false: some of them are log-mel frames alone.
    """
    ours, theirs = card.vocabulary.names, index.vocabulary.names
    if ours != theirs:
        raise VocabularyError(
            f"{where}: its pedals are not the model's: {vocabulary_difference(ours, theirs)}; "
            "give shards of the same pool, or train on these"
        )
    if card.model.hear_knobs:
        for our, their in zip(card.vocabulary.pedals, index.vocabulary.pedals, strict=True):
            if our.params != their.params:
                raise VocabularyError(
                    f"{where}: the knobs of {our.name} are not those that the model hears (others, "
                    "or with another range); render again with the same pedals, or train on these"
                )
    heard, found = card.hearing, hearing_of(index)
    facts = [
        (f"codec {name}", getattr(heard.codec, name), getattr(found.codec, name))
        for name in CODEC_FACTS
    ]
    facts.append(("level", heard.level, found.level))
    model = card.model
    beside = ("mel", "log-mel", model.use_mel), ("clues", "clues of the wave", model.use_clues)
    for name, what, is_heard in beside:
        if is_heard and getattr(found, name) is None:
            raise VocabularyError(
                f"{where}: these shards hold no {what}, which this model hears; "
                "encode again with --with-mel, or train on these"
            )
        if is_heard:
            facts.append((name, getattr(heard, name), getattr(found, name)))
    if not model.use_mel and not all_codes:
        raise VocabularyError(
            f"{where}: these shards hold log-mel alone (--mel-only), and this model hears tokens "
            "alone; encode again without --mel-only, or train on these"
        )
    for what, expected, there in facts:
        if expected != there:
            raise VocabularyError(
                f"{where}: found {what} {shorten(there)}, the model was trained with "
                f"{shorten(expected)}; encode again with the model's settings, or train on these"
            )


def warning_of_leak(card: ModelCard, index: DatasetIndex, split: str) -> str | None:
    """A line where recordings of this split are known to the model from its training."""
    if split == "train":
        return None
    asked = recordings_of(index)[split]
    if known := len(asked.intersection(card.recordings.split())):
        return (
            f"warning: the model was trained on {known} of the {len(asked)} recordings behind "
            f"{split!r}: it scores too well here; render with the --split-seed and --fractions of "
            "its training, from the same recordings"
        )
    return None


def warning_of_length(card: ModelCard, index: DatasetIndex) -> str | None:
    """A line where clips are not as long as those that the model was taught on."""
    taught, here = card.hearing.n_audio_samples, index.n_audio_samples
    if taught == here:
        return None
    rate = card.hearing.codec.sample_rate_hz
    return (
        f"warning: the model was taught on clips of {taught / rate:g} s, these are of "
        f"{here / rate:g} s"
    )


CODEC_FACTS = tuple(
    field.name
    for field in dataclasses.fields(CodecInfo)
    if field.name not in ("precision", "backend")
)
"""What must agree. fp16 and TF32 encoders change at most 3 codes in 1000, so they may differ."""


def vocabulary_difference(ours: tuple[str, ...], theirs: tuple[str, ...]) -> str:
    """In words: pedals only here, only there, or the same in another order."""
    missing = [name for name in ours if name not in theirs]
    extra = [name for name in theirs if name not in ours]
    parts = []
    if missing:
        parts.append(f"only the model knows {', '.join(missing)}")
    if extra:
        parts.append(f"only the shards know {', '.join(extra)}")
    return " and ".join(parts) or f"the same in another order ({', '.join(theirs)})"
