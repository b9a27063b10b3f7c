"""Items from shards, and from a run that is scored on them: true chains, and what the model named.

The predicted board is heard with the true knobs where the pedal is really there, which asks about
pedals and their order alone; with typical knobs; and, of a model that hears them, with knobs as
heard, as every export has it then.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fxtrain.alternatives import with_knobs_of
from fxtrain.contract import Chain, Features, Frontend, FxError, select
from fxtrain.data import ShardDataset
from fxtrain.knobs import as_heard
from fxtrain.listen.dries import Dries, Dry, own_dry
from fxtrain.listen.items import ItemSpec
from fxtrain.listen.study import PREDICTED, PREDICTED_HEARD, PREDICTED_TYPICAL
from fxtrain.metrics import classes_of
from fxtrain.sounds import Sounds

MOST_LOOKED_AT = 2000


@dataclass(frozen=True)
class Looked:
    """What was gone through to find the items."""

    specs: list[ItemSpec]
    n_looked_at: int
    n_right: int


class Clips:
    """The samples of a split, each with its chain and a dry recording: its own where that can be
    made again, else the next of ``dries``. ``given``: take those of ``dries`` in any case.
    """

    def __init__(self, sounds: Sounds, frontend: Frontend, dries: Dries, *, given: bool) -> None:
        self.sounds = sounds
        self.sounds.frontend = frontend
        self._dries = dries
        self._own = not given
        self.n_own = 0
        self.why = ""

    def take(self, position: int) -> tuple[Dry, Chain]:
        chain = self.sounds.chain(position)
        if self._own:
            try:
                clip = self.sounds.remake(position)
            except FxError as error:
                if self.n_own:
                    raise
                self._own, self.why = False, str(error)
            else:
                self.n_own += 1
                return own_dry(clip, str(self.sounds.record(position).get("id", position))), chain
        return self._dries.take(), chain

    @property
    def dry_words(self) -> str:
        """Where the recordings came from, for the recipe; empty where they were given."""
        if self.n_own:
            return "the clips' own"
        return f"not the clips' own ({self.why})" if self.why else ""


def doubtful_first(
    dataset: ShardDataset,
    split: str,
    clips: Clips,
    rng: np.random.Generator,
    band_db: tuple[float, float],
) -> Iterator[tuple[Dry, Chain]]:
    """Chains of which a swap was measured within the band when they were rendered
    (``fxpipe render --classes``); where nothing was measured, any chain that has an order."""
    low, high = band_db
    rows = rng.permutation(dataset.n_samples(split))[:MOST_LOOKED_AT].tolist()
    clips.sounds.read(rows)
    for row in rows:
        measured = clips.sounds.record(row).get("swap_db")
        doubtful = measured is None or any(low <= swap <= high for swap in measured)
        if len(clips.sounds.chain(row).pedals) > 1 and doubtful:
            yield clips.take(row)


def predicted_items(
    run: Path,
    dataset: ShardDataset,
    split: str,
    n: int,
    clips: Clips,
    *,
    seed: int,
    also_right: bool,
) -> Looked:
    """``n`` clips with their true chain and what the model named.

    Clips that the model got right, up to orders that sound alike, are passed over unless
    ``also_right``: how near they are is known. Chains of one pedal are passed over, for they have
    no worst order.
    """
    from fxtrain.checkpoint import check_data, load_run
    from fxtrain.predict import predict_features

    loaded = load_run(run)
    check_data(loaded.card, dataset.index, dataset.folder.uri, all_codes=dataset.all_codes)
    block = dataset.load(split)
    rows = np.random.default_rng(seed).permutation(len(block))[:MOST_LOOKED_AT].tolist()
    frontend = clips.sounds.frontend
    clips.sounds.read(rows)
    specs: list[ItemSpec] = []
    n_looked_at = n_right = 0
    for row in rows:
        true = clips.sounds.chain(row)
        if len(true.pedals) < 2:
            continue
        one = select(block, slice(row, row + 1))
        found = predict_features(loaded, Features(one.codes, one.mel, (0.0,), clues=one.clues))
        record = clips.sounds.record(row)
        (alike,) = classes_of([true.names], dataset.index.commuting_pairs, [record])
        n_looked_at += 1
        n_right += alike.holds(found.names)
        if alike.holds(found.names) and not also_right:
            continue
        dry, _ = clips.take(row)
        typical = frontend.example(found.names)
        answer = {PREDICTED: with_knobs_of(typical, true)}
        if found.knobs:
            answer[PREDICTED_HEARD] = as_heard(typical, found.knobs)
        else:
            answer[PREDICTED_TYPICAL] = typical
        specs.append(ItemSpec(str(record.get("id", row)), dry, true, answer))
        if len(specs) == n:
            return Looked(specs, n_looked_at, n_right)
    wrong = "" if also_right else " that the model gets wrong"
    raise FxError(
        f"only {len(specs)} of {n} clips of split {split!r} have two pedals or more{wrong}; ask "
        f"for fewer with --n-items{'' if also_right else ', or take --also-right'}"
    )
