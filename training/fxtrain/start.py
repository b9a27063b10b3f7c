"""Training that begins with what another run knows: which weights are taken over. Imports torch.

Everything that hears is taken over as it is. Of what names pedals, a pedal that both know keeps its
rows; the rows of others are drawn.
"""

from __future__ import annotations

from pathlib import Path

from torch import Tensor

from fxtrain.checkpoint import ModelCard, Run, load_run
from fxtrain.errors import CheckpointError
from fxtrain.finding import model_folder
from fxtrain.models import Translator

ROWS = {
    "decoder.embed.weight": 1,
    "decoder.out.weight": 1,
    "decoder.out.bias": 1,
    "head.queries": 0,
}
"""Tensors with a row a pedal, and how many rows come after those: the chain's boundary."""


def load_start(start_from: str | None) -> Run | None:
    """The run that training begins with; "shipped" is the one in the package."""
    return load_run(model_folder(Path(start_from))) if start_from is not None else None


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
        known[name] = with_shared_rows(known[name], state[name], shared, n_after)
    model.load_state_dict(known)


def with_shared_rows(
    known: Tensor, fresh: Tensor, shared: list[tuple[int, int]], n_after: int
) -> Tensor:
    """``fresh`` with the rows (theirs, ours) of pedals that both know, and the last ``n_after``."""
    rows = fresh.clone()
    old, new = (list(side) for side in zip(*shared, strict=True))
    rows[new] = known[old]
    if n_after:
        rows[-n_after:] = known[-n_after:]
    return rows


def refuse_other_ears(before: Run, card: ModelCard) -> None:
    """Weights mean something for sound heard through the same codec only, and the same log-mel
    where the model hears it."""
    theirs, ours = before.card.hearing, card.hearing
    facts: list[tuple[str, object, object]] = [
        ("codec weights", theirs.codec.weights_sha256[:12], ours.codec.weights_sha256[:12])
    ]
    if before.card.model.use_mel:
        facts.append(("log-mel", theirs.mel, ours.mel))
    for what, one, other in facts:
        if one != other:
            raise CheckpointError(
                f"{before.path}: its {what}: {one}, those of these shards: {other}; training can "
                "start from a run that hears as they were encoded only"
            )
