"""Training that begins with what another run knows: which weights are taken over. Imports torch.

Everything that hears is taken over as it is. Of what names pedals, a pedal that both know keeps its
rows; the rows of others are drawn. Layers that are added, and ears for clues of the wave, begin as
doing nothing.
"""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

from torch import Tensor

from fxtrain.checkpoint import ModelCard, Run, load_run, read_card
from fxtrain.config import Config, ModelConfig
from fxtrain.contract import UsageError
from fxtrain.errors import CheckpointError
from fxtrain.finding import model_folder
from fxtrain.models import Translator

ROWS = {
    "decoder.embed.weight": 1,
    "decoder.out.weight": 1,
    "decoder.out.bias": 1,
    "head.queries": 0,
    "knob_head.queries": 0,
    "knob_head.turn": 0,
    "knob_head.bias": 0,
}
"""Tensors with a row a pedal, and how many rows come after those: the chain's boundary."""
LAST_OF_A_LAYER = re.compile(
    r"encoder\.(context\..*\.(self_attn\.out_proj|linear2)|picture\..*\.convs\.1|clues\.out)\.\w+"
)
"""What a layer, a block or a clue adds to what goes past it is the output of these: zero, and it
adds nothing."""


def load_start(start_from: str | None) -> Run | None:
    """The run that training begins with; "shipped" is the one in the package."""
    return load_run(model_folder(Path(start_from))) if start_from is not None else None


def what_is_known(start_from: str | None, card: ModelCard) -> str | None:
    """A line where the run that training begins with knows other pedals than ``card``."""
    if start_from is None:
        return None
    before = read_card(model_folder(Path(start_from))).vocabulary.names
    ours = card.vocabulary.names
    new = [name for name in ours if name not in before]
    gone = [name for name in before if name not in ours]
    parts = [f"knows {', '.join(name for name in ours if name in before)} already"]
    if new:
        parts.append(f"has never heard {', '.join(new)}")
    if gone:
        parts.append(f"will know {', '.join(gone)} no more")
    return f"{start_from}: it {', '.join(parts)}" if new or gone else None


def with_ears_for_knobs(config: Config) -> ModelConfig:
    """The model that is asked for, which hears knobs where it is to be taught them."""
    hears = config.model.hear_knobs or config.train.knobs != "none"
    return dataclasses.replace(config.model, hear_knobs=hears)


def deeper(before: Run, config: Config) -> ModelConfig:
    """The model of ``before`` with what ``config`` adds: layers, blocks, ears for knobs and clues.

    Layers and blocks add nothing until they are taught: a larger model begins where a smaller one
    stopped (Chen et al. 2016, Net2Net). Raises UsageError where there is nothing to add them to,
    and where ears are to be taken away.
    """
    model, train = before.card.model, config.train
    if model.use_clues and config.model.use_clues is False:
        raise UsageError(
            f"{before.path}: it hears clues of the wave, and cannot go on without; leave "
            "use_clues = false (--no-clues) away"
        )
    if train.more_layers and model.kind != "transformer":
        raise UsageError(
            f"{before.path}: more_layers is {train.more_layers}, but a layer on top of a "
            f"{model.kind} changes what it says; leave it away, or start from a transformer"
        )
    if train.more_blocks and not (model.use_mel and model.mel_channels):
        raise UsageError(
            f"{before.path}: more_blocks is {train.more_blocks}, but this model sees no picture of "
            "the log-mel frames; leave it away"
        )
    return dataclasses.replace(
        model,
        n_layers=model.n_layers + train.more_layers,
        mel_blocks=model.mel_blocks + train.more_blocks,
        hear_knobs=model.hear_knobs or train.knobs != "none",
        use_clues=model.use_clues or (False if train.encoder_is_frozen else config.model.use_clues),
    )


def take_over(before: Run, card: ModelCard, model: Translator) -> None:
    """Put what ``before`` knows into ``model``, whose card is ``card``.

    Raises CheckpointError where nothing could be kept: other ears, or none of the pedals.
    """
    refuse_other_ears(before, card)
    theirs, ours = before.card.vocabulary.names, card.vocabulary.names
    shared = [(theirs.index(name), i) for i, name in enumerate(ours) if name in theirs]
    if not shared:
        raise CheckpointError(
            f"{before.path}: it knows {', '.join(theirs)}, these shards hold {', '.join(ours)}; "
            "training can start from a run that knows at least one of the pedals"
        )
    known, state = before.model.state_dict(), model.state_dict()
    for name, n_after in ROWS.items():
        if name in known:
            known[name] = with_shared_rows(known[name], state[name], shared, n_after)
    for name in state.keys() - known.keys():
        nothing = LAST_OF_A_LAYER.fullmatch(name)
        known[name] = state[name].zero_() if nothing else state[name]
    model.load_state_dict(known)


def with_shared_rows(
    known: Tensor, fresh: Tensor, shared: list[tuple[int, int]], n_after: int
) -> Tensor:
    """``fresh`` with the rows (theirs, ours) of pedals that both know, and the last ``n_after``; as
    it is where rows are of another width (other numbers of knobs)."""
    if known.shape[1:] != fresh.shape[1:]:
        return fresh
    rows = fresh.clone()
    old, new = (list(side) for side in zip(*shared, strict=True))
    rows[new] = known[old]
    if n_after:
        rows[-n_after:] = known[-n_after:]
    return rows


def as_it_answers(before: ModelCard, card: ModelCard) -> ModelCard:
    """``card``, but its answers are found as those of ``before``: by the same rules, with the same
    settings. They are the same only where the pedals are."""
    if before.vocabulary != card.vocabulary:
        raise CheckpointError(
            "knobs alone: the pedals or their knobs in these shards are not those of the run that "
            "is started from; render with the pool that it was taught"
        )
    return dataclasses.replace(
        card,
        rules=before.rules,
        commutes=before.commutes,
        commutes_basis=before.commutes_basis,
        decode=before.decode,
    )


def refuse_other_ears(before: Run, card: ModelCard) -> None:
    """Weights mean something for sound heard through the same codec only, and the same log-mel and
    clues where the model hears them."""
    theirs, ours = before.card.hearing, card.hearing
    facts: list[tuple[str, object, object]] = [
        ("codec weights", theirs.codec.weights_sha256[:12], ours.codec.weights_sha256[:12])
    ]
    if before.card.model.use_mel:
        facts.append(("log-mel", theirs.mel, ours.mel))
    if before.card.model.use_clues:
        facts.append(("clues of the wave", theirs.clues, ours.clues))
    for what, one, other in facts:
        if one != other:
            raise CheckpointError(
                f"{before.path}: its {what}: {one}, those of these shards: {other}; training can "
                "start from a run that hears as they were encoded only"
            )
