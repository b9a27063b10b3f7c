"""Items from a run and the shards it is scored on: true chains, and what the model named.

Settings are not part of a prediction: a pedal that is on the true chain keeps its true settings,
any other stands in the middle. So the test asks about pedals and their order alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from fxtrain.contract import (
    Block,
    Chain,
    Features,
    FxError,
    Pedal,
    PedalEntry,
    UsageError,
    arrow,
    normal_form,
)
from fxtrain.data import ShardDataset, open_shards
from fxtrain.listen.dries import Dries
from fxtrain.listen.items import ItemSpec, dressed
from fxtrain.listen.study import PREDICTED

MOST_LOOKED_AT = 2000


@dataclass(frozen=True)
class Looked:
    """What was gone through to find the items."""

    specs: list[ItemSpec]
    n_looked_at: int
    n_right: int


def doubtful_first(
    dataset: ShardDataset, split: str, rng: np.random.Generator, band_db: tuple[float, float]
) -> Iterator[Chain]:
    """Chains of which a swap was measured within the band when they were rendered
    (``fxpipe render --classes``); where nothing was measured, any chain that has an order."""
    block = dataset.load(split)
    low, high = band_db
    for row in rng.permutation(len(block)):
        chain = chain_of(block, int(row))
        measured = block.records[int(row)].get("swap_db")
        doubtful = measured is None or any(low <= swap <= high for swap in measured)
        if len(chain.pedals) > 1 and doubtful:
            yield chain


def chain_of(block: Block, row: int) -> Chain:
    pedals: Sequence[Mapping[str, Any]] = block.records[row]["chain"]
    return Chain(tuple(Pedal(p["name"], dict(p["settings"])) for p in pedals))


def predicted_items(
    run: Path,
    shards: Sequence[str],
    split: str,
    n: int,
    *,
    seed: int,
    also_right: bool,
    pedals: Mapping[str, PedalEntry],
    dries: Dries,
) -> Looked:
    """``n`` clips with their true chain and what the model named.

    Clips that the model got right, up to orders that sound alike, are passed over unless
    ``also_right``: what is near about them is known. Chains of one pedal are passed over, for they
    have no worst order.
    """
    from fxtrain.checkpoint import check_data, load_run
    from fxtrain.predict import predict_features

    dataset = open_shards(shards)
    loaded = load_run(run)
    check_data(loaded.card, dataset.index, dataset.folder.uri)
    commutes = dataset.index.commuting_pairs
    block = dataset.load(split)
    rows = np.random.default_rng(seed).permutation(len(block))[:MOST_LOOKED_AT]
    specs: list[ItemSpec] = []
    n_looked_at = n_right = 0
    for row in map(int, rows):
        chain = chain_of(block, row)
        if len(chain.pedals) < 2:
            continue
        mel = None if block.mel is None else block.mel[row : row + 1]
        found = predict_features(loaded, Features(block.codes[row : row + 1], mel, (0.0,)))
        n_looked_at += 1
        right = normal_form(found.names, commutes) == normal_form(chain.names, commutes)
        n_right += right
        if right and not also_right:
            continue
        known = [pedal for pedal in chain.names if pedal not in pedals]
        if known:
            raise UsageError(f"{arrow(chain.names)}: pedal {known[0]!r} cannot be rendered here")
        answer = dressed(found.names, chain, pedals, "prediction")
        name = str(block.records[row].get("id", f"{split} {row}"))
        specs.append(ItemSpec(name, dries.take(), chain, {PREDICTED: answer}))
        if len(specs) == n:
            break
    if len(specs) < n:
        wrong = "" if also_right else " that the model gets wrong"
        raise FxError(
            f"only {len(specs)} of {n} clips of split {split!r} have two pedals or more{wrong}; "
            f"ask for fewer with --items{'' if also_right else ', or take --also-right'}"
        )
    return Looked(specs, n_looked_at, n_right)
