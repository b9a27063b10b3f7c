"""What a training run is told: model and training settings, TOML in and JSON out.

Must not import torch.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fxtrain.contract import (
    PAD,
    ContractError,
    UsageError,
    from_dict,
    read_toml,
    settings_of,
    to_dict,
    unknown_name,
)

MODEL_KINDS = ("transformer", "gru")
PRECISIONS = ("auto", "32", "bf16", "16")
KNOBS = ("none", "too", "alone")
WIDENING = (1, 2, 4, 4)
"""Channels after each convolution that halves the bands of a picture, times ``mel_channels``."""
LAG_CHANNELS = (32, 64, 64)
"""Of the convolutions along the lags at which a clip is held against itself; all but the first
halve them."""
MOST_PLACES = 24
"""So many stretches of lags, at most, are told apart."""
N_PLACED = 128
"""Channels that say what was found where along the lags."""
MAX_SEED = 2**32 - 1
"""An epoch's own seed is some hundred thousand times this, and torch keeps 64 bits."""


@dataclass(frozen=True)
class ModelConfig:
    """The translator's shape.

    kind: "transformer" or "gru", for encoder and decoder alike.
    n_layers, n_decoder_layers: of ``d_model`` channels and, in attention, ``n_heads`` heads.
    use_codes, use_mel, use_clues: what is heard; None means tokens, log-mel frames, or clues of
        the wave (how samples lie between their peaks, and echoes) where the shards hold them.
    n_codebooks: how many of the codec's books are read, None for all.
    learned_residual: add learned code embeddings to the frozen vectors. They overfit below about
        100,000 chains; ``codebook_dropout`` leaves out whole books of them in training.
    mel_channels: of the first 2-D convolutions over the log-mel picture; 0 reads each frame as a
        list of bands. 8 suit a CPU; with a GPU and many chains take 32 and ``d_model`` 256.
    mel_blocks: residual blocks each time the picture's bands are halved, but for the first time.
    frame_mask, band_mask: parts of the frames and of the mel bands hidden in training, in spans
        (SpecAugment, Park et al. 2019).
    timbre_spread: of a smooth random curve over the mel bands in training, as a part of their range
        (102 dB): another guitar or microphone.
    subsample: input frames a step of the encoder stands for, a power of two.
    hear_knobs: whether it hears where the knobs stand, too.
    """

    kind: str = "transformer"
    d_model: int = 128
    n_layers: int = 2
    n_decoder_layers: int = 1
    n_heads: int = 4
    dropout: float = 0.1
    use_codes: bool | None = None
    use_mel: bool | None = None
    use_clues: bool | None = None
    n_codebooks: int | None = None
    learned_residual: bool = False
    codebook_dropout: float = 0.4
    mel_channels: int = 8
    mel_blocks: int = 1
    frame_mask: float = 0.1
    band_mask: float = 0.1
    timbre_spread: float = 0.02
    subsample: int = 4
    hear_knobs: bool = False

    def __post_init__(self) -> None:
        if self.kind not in MODEL_KINDS:
            raise UsageError(unknown_name("model", self.kind, MODEL_KINDS))
        if self.use_codes is False and self.use_mel is False:
            raise UsageError("use_codes and use_mel are both off: the model would hear nothing")
        _between(1, 2**16, self, "d_model", "n_heads")
        _between(1, 64, self, "n_layers", "n_decoder_layers", "mel_blocks", "subsample")
        _between(0, 1024, self, "mel_channels")
        _between(0, 0.95, self, "dropout", "codebook_dropout", "frame_mask", "band_mask")
        _between(0, 1, self, "timbre_spread")
        if self.n_codebooks is not None:
            _at_least(1, self, "n_codebooks")
        if self.d_model % (2 * self.n_heads):
            raise UsageError(
                f"d_model is {self.d_model}, expected a multiple of 2 * n_heads: {2 * self.n_heads}"
            )
        if self.subsample & (self.subsample - 1):
            raise UsageError(f"subsample is {self.subsample}, expected a power of two")
        if self.mel_channels and self.subsample > 8:
            raise UsageError(f"subsample is {self.subsample}, expected at most 8 with mel_channels")


@dataclass(frozen=True)
class TrainConfig:
    """How the translator is taught.

    batch_size: samples a step on every device.
    lr: peak of a warm-up over ``warmup_steps`` and a cosine that ends at a fiftieth of it.
    clues_lr: the same for what hears clues of the wave; None is ``lr``. Where a run is taught them
        that knew none, they have all to learn and the rest hardly anything.
    weight_decay: AdamW's, on matrices only.
    head_weight: of the set and precedence head's loss beside the decoder's.
    canonical: teach one order of every class of orders that sound alike, not the one drawn.
    average_decay: of the running mean of the weights that is scored and kept, 0 for none.
    patience: epochs without a better validation score before training stops.
    plain_epochs: of ``max_epochs``, the last ones in which nothing is hidden or bent: no dropout,
        no masks, no other timbre (as YOLOX ends without its mixing, Ge et al. 2021). For many
        chains that are each heard once or twice; few chains are learnt by heart so. Such a run is
        trained to its end, whatever ``patience`` says.
    precision: "auto" is bf16 on a GPU that has it and 32 elsewhere.
    resident: keep the whole split on the device; None decides by its size.
    start_from: a run whose weights training begins with, or "shipped"; its model settings count,
        but a run that hears no clues is taught them where they are and ``use_clues`` is not false.
    knobs: "too" teaches where the knobs stand beside all else; "alone" teaches a run that is
        started from nothing but that, and its answers stay what they are.
    knob_weight: of the knob head's loss, where the model hears knobs.
    freeze_encoder: the run that is started from goes on hearing as it does, and what answers is
        taught: decoder and heads, with nothing hidden. What is heard is kept, so all epochs but the
        first are quick. For samples of several windows, which it was not taught as recordings.
    more_layers, more_blocks: what is added to that run's ``n_layers`` and ``mel_blocks``. They
        change nothing at first (`fxtrain.start.deeper`).
    n_devices: GPUs (or, on a CPU, processes) trained on in parallel, ``batch_size`` on each.
    """

    batch_size: int = 64
    max_epochs: int = 30
    lr: float = 1e-3
    clues_lr: float | None = None
    warmup_steps: int = 100
    weight_decay: float = 0.02
    label_smoothing: float = 0.05
    head_weight: float = 0.5
    knob_weight: float = 0.2
    grad_clip: float = 1.0
    average_decay: float = 0.99
    canonical: bool = True
    patience: int = 10
    plain_epochs: int = 0
    precision: str = "auto"
    seed: int = 0
    resident: bool | None = None
    start_from: str | None = None
    more_layers: int = 0
    more_blocks: int = 0
    knobs: str = "none"
    freeze_encoder: bool = False
    n_workers: int = 0
    n_devices: int = 1

    def __post_init__(self) -> None:
        _between(1, 2**20, self, "batch_size")
        _between(0, 1024, self, "n_workers")
        _at_least(1, self, "max_epochs", "patience", "n_devices")
        _at_least(0, self, "warmup_steps", "weight_decay", "head_weight", "knob_weight")
        _between(0, self.max_epochs, self, "plain_epochs")
        _between(0, 64, self, "more_layers", "more_blocks")
        if self.start_from is None and (self.more_layers or self.more_blocks):
            raise UsageError(
                "more_layers and more_blocks are added to a run: give start_from as well, or set "
                "n_layers and mel_blocks under [model]"
            )
        if self.knobs not in KNOBS:
            raise UsageError(unknown_name("knobs", self.knobs, KNOBS))
        added = self.more_layers or self.more_blocks
        if self.encoder_is_frozen and (self.start_from is None or added):
            what = "knobs alone" if self.knobs_alone else "freeze_encoder"
            raise UsageError(
                f"{what}: a run is to go on hearing as it does: give start_from as well, and "
                "neither more_layers nor more_blocks"
            )
        _between(0, MAX_SEED, self, "seed")
        _between(0, 0.9999, self, "label_smoothing", "average_decay")
        for name in ("lr", "clues_lr", "grad_clip"):
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise UsageError(f"{name} is {value}, expected a number above 0")
        if self.precision not in PRECISIONS:
            raise UsageError(unknown_name("precision", self.precision, PRECISIONS))

    @property
    def knobs_alone(self) -> bool:
        return self.knobs == "alone"

    @property
    def encoder_is_frozen(self) -> bool:
        return self.freeze_encoder or self.knobs_alone


def lag_places(n_lags: int) -> tuple[int, int]:
    """(steps a place, places) of what convolutions leave of so many lags."""
    for _ in LAG_CHANNELS[1:]:
        n_lags = (n_lags + 1) // 2
    side_by_side = -(-n_lags // MOST_PLACES)
    return side_by_side, -(-n_lags // side_by_side)


@dataclass(frozen=True)
class Rules:
    """What a chain may be: how many pedals, and whether one may stand twice."""

    n_pedals: int
    min_length: int
    max_length: int
    repeats: bool

    def __post_init__(self) -> None:
        _between(1, PAD, self, "n_pedals")
        _between(0, PAD, self, "max_length")
        _between(0, self.max_length, self, "min_length")


@dataclass(frozen=True)
class DecodeSettings:
    """How chains are searched and weighed; all but the first are tuned on validation.

    beam_size: chains followed at once (1 is greedy).
    length_bias: added to the score of ending a chain; below 0 makes chains longer.
    head_weight: share of the set and precedence head's log-likelihood in a chain's score.
    temperature: chains are as likely as exp(score / temperature), up to a constant.
    tail_weight: chains that are not in the n-best are together so many times as likely as those
        in it behind the first. A search that follows eight chains cannot know what it left out.
    """

    beam_size: int = 8
    length_bias: float = 0.0
    head_weight: float = 0.0
    temperature: float = 1.0
    tail_weight: float = 0.0

    def __post_init__(self) -> None:
        _between(1, 1024, self, "beam_size")
        _between(1e-6, 1e6, self, "temperature")
        _between(0, 1e6, self, "tail_weight")


@dataclass(frozen=True)
class Config:
    """The whole of a run's settings: tables ``[model]`` and ``[train]`` of a TOML file."""

    model: ModelConfig = field(default_factory=ModelConfig)
    train: TrainConfig = field(default_factory=TrainConfig)


def load_config(path: str | Path | None, flags: Mapping[str, Mapping[str, Any]]) -> Config:
    """Defaults, then the TOML file at ``path``, then ``flags`` (table -> key -> value or None).

    A flag of None was not given. Unknown keys are refused with the nearest known ones.
    """
    tables: dict[str, Any] = {}
    where = "settings"
    if path is not None:
        where = str(path)
        tables = read_toml(path)
        _refuse_loose_keys(tables, where)
    for table, values in flags.items():
        given = {key: value for key, value in values.items() if value is not None}
        inner = tables.setdefault(table, {})
        if isinstance(inner, dict):
            inner.update(given)
    with settings_of(path):
        config = config_from_dict(tables, where)
    others = [name for name in tables.get("model", {}) if name != "use_clues"]
    if config.train.start_from is not None and others:
        raise UsageError(
            f"{where}: training that starts from a run takes the model's settings from it; leave "
            f"{', '.join(others)} under [model] away"
        )
    return config


def _refuse_loose_keys(tables: Mapping[str, Any], where: str) -> None:
    """A known key that stands above every table; others are refused with all the rest."""
    for table, settings in (("model", ModelConfig), ("train", TrainConfig)):
        for key in tables:
            if key in {field.name for field in dataclasses.fields(settings)}:
                raise UsageError(
                    f"{where}: {key} stands outside of any table; put it below a line [{table}]"
                )


def config_from_dict(data: Any, where: str) -> Config:
    """A :class:`Config` from plain values; what is missing keeps its default."""
    try:
        return from_dict(Config, data, where)
    except ContractError as error:
        raise UsageError(str(error)) from None


def config_json(config: Config) -> bytes:
    """The resolved settings, as they are saved beside the results."""
    return json.dumps(to_dict(config), indent=1).encode() + b"\n"


def _at_least(low: float, config: Any, *names: str) -> None:
    for name in names:
        if not getattr(config, name) >= low:
            raise UsageError(f"{name} is {getattr(config, name)}, expected at least {low}")


def _between(low: float, high: float, config: Any, *names: str) -> None:
    for name in names:
        if not low <= getattr(config, name) <= high:
            raise UsageError(f"{name} is {getattr(config, name)}, expected {low} to {high}")


def replace_train(config: Config, **changes: Any) -> Config:
    """``config`` with some training settings changed."""
    return dataclasses.replace(config, train=dataclasses.replace(config.train, **changes))
