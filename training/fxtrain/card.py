"""A model's card: all that stands beside its weights, as ``model.json``. Must not import torch.

Whoever hears a clip needs no more than this to begin.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from pathlib import Path

from fxtrain.config import DecodeSettings, ModelConfig, Rules
from fxtrain.contract import (
    NOT_RUN,
    Commutes,
    ContractError,
    FileEntry,
    Hearing,
    Licence,
    UsageError,
    Vocabulary,
    from_dict,
    read_json,
    shorten,
)
from fxtrain.errors import CheckpointError
from fxtrain.finding import CARD_NAME, no_model

MODEL_FORMAT_VERSION = 1


@dataclass(frozen=True)
class ModelCard:
    """All that stands beside the weights.

    ``hearing`` is how audio became codes in training; ``commutes`` which orders sounded alike
    there; ``data_identity`` the shards' own; ``recordings`` the dry ones that it was trained on, as
    the shards name them, in a line; ``weights`` the file this card belongs to.
    """

    model: ModelConfig
    vocabulary: Vocabulary
    hearing: Hearing
    rules: Rules
    commutes: tuple[tuple[str, str], ...]
    commutes_basis: str
    decode: DecodeSettings
    data_identity: str
    n_train: int
    licences: dict[str, Licence]
    shareable: bool
    versions: dict[str, str]
    recordings: str = field(default="", repr=False)
    weights: FileEntry | None = None
    format_version: int = MODEL_FORMAT_VERSION
    kind: str = "fxtrain-model"

    def __post_init__(self) -> None:
        n_pedals = len(self.vocabulary.pedals)
        if self.rules.n_pedals != n_pedals:
            raise ContractError(f"rules for {self.rules.n_pedals} pedals, expected {n_pedals}")
        if self.model.use_clues and self.hearing.clues is None:
            raise ContractError("use_clues is on, but hearing tells of no clues")

    @property
    def ears(self) -> Hearing:
        """What a frontend is opened with to hear for this model: ``hearing``, its codec run where
        the model reads tokens and nowhere else, however the shards it learnt from were made."""
        precision = "fp32" if self.model.use_codes else NOT_RUN
        codec = dataclasses.replace(self.hearing.codec, precision=precision)
        clues = self.hearing.clues if self.model.use_clues else None
        return dataclasses.replace(self.hearing, codec=codec, clues=clues)

    @property
    def commuting_pairs(self) -> Commutes:
        return frozenset(frozenset(pair) for pair in self.commutes)


def read_card(path: Path) -> ModelCard:
    """``model.json`` of a run directory."""
    where = path / CARD_NAME
    if not where.is_file():
        raise no_model(path)
    try:
        data = read_json(where.read_bytes(), str(where))
    except ContractError as error:
        raise CheckpointError(f"{error}; train again") from None
    found = data.get("kind") if isinstance(data, dict) else type(data).__name__
    if found != "fxtrain-model":
        raise CheckpointError(f"{where}: found kind {shorten(found)}, expected 'fxtrain-model'")
    if data.get("format_version") != MODEL_FORMAT_VERSION:
        raise CheckpointError(
            f"{where}: found format version {shorten(data.get('format_version'))}, this build "
            f"reads {MODEL_FORMAT_VERSION}; train again with this version"
        )
    if isinstance(data.get("decode"), dict):
        data["decode"].pop("window_correlation", None)  # by which windows were once added up
    try:
        return from_dict(ModelCard, data, str(where))
    except (ContractError, UsageError) as error:
        raise CheckpointError(str(error)) from None
