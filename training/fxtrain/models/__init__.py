"""The translator and its parts. torch only; knows nothing of files, shards or training."""

from __future__ import annotations

import dataclasses

from fxtrain.config import ModelConfig
from fxtrain.errors import CheckpointError
from fxtrain.models.encoder import Memory
from fxtrain.models.translator import Translator

__all__ = ["Memory", "Translator", "resolve_model"]


def resolve_model(
    config: ModelConfig,
    *,
    n_codebooks: int,
    has_mel: bool,
    has_clues: bool = False,
    has_codes: bool = True,
    all_codes: bool = True,
) -> ModelConfig:
    """``config`` with nothing left open: whether tokens, mel and clues are heard, which books are
    read.

    ``has_codes``: of some clips at least; ``all_codes``: of every one.
    """
    use_mel = has_mel if config.use_mel is None else config.use_mel
    use_clues = has_clues if config.use_clues is None else config.use_clues
    use_codes = has_codes if config.use_codes is None else config.use_codes
    if use_mel and not has_mel:
        raise CheckpointError(
            "use_mel is on, but these shards hold no log-mel frames; "
            "encode again with --with-mel, or give another model"
        )
    if use_clues and not has_clues:
        raise CheckpointError(
            "use_clues is on, but these shards hold no clues of the wave; "
            "encode again with --with-mel, or give another model"
        )
    if use_codes and not has_codes:
        raise CheckpointError(
            "use_codes is on, but these shards hold no tokens; "
            "encode again without --mel-only, or give another model"
        )
    if not use_mel and not use_codes:
        raise CheckpointError(
            "use_codes is off and these shards hold no log-mel frames: the model would hear nothing"
        )
    if not use_mel and not all_codes:
        raise CheckpointError(
            "some of these shards hold log-mel frames alone (--mel-only), and a model of tokens "
            "alone would hear nothing of them; leave them away, or let it hear log-mel"
        )
    books = config.n_codebooks or n_codebooks
    if books > n_codebooks:
        raise CheckpointError(f"n_codebooks is {books}, but these shards hold {n_codebooks}")
    return dataclasses.replace(
        config, use_codes=use_codes, use_mel=use_mel, use_clues=use_clues, n_codebooks=books
    )
