"""What a run answers to every clip of a split. Imports torch; no audio, no lightning.

What answers are worth is in `judging.py`, without torch.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Hashable, Iterator
from typing import NamedTuple

import numpy as np
import torch

from fxtrain.answers import Answers
from fxtrain.checkpoint import Run, check_data
from fxtrain.contract import FxError, Names, n_cores
from fxtrain.data import ShardDataset
from fxtrain.data.stream import heard_fields, make_loader
from fxtrain.decode import Direct, as_scored, candidates, direct
from fxtrain.judging import Evaluation, judge
from fxtrain.metrics import classes_of, numbered
from fxtrain.played import playing_of
from fxtrain.rerender import rerender
from fxtrain.sounds import Sounds
from fxtrain.travel import KnobEars
from fxtrain.tune import Heard, decode_heard, listen_batches

BATCH_SIZE = 64
CLIPS_A_WORKER = 16
"""To be measured by ear: fewer take less time than a process needs to begin."""


class Provenance(NamedTuple):
    """Of a split's samples, in its order: int [n], those that play recordings of one group have
    the same number; what is played on each; its id, behind the identity of its data set where that
    is one of several."""

    groups: np.ndarray
    playing: list[str]
    ids: list[str]


def evaluate(run: Run, dataset: ShardDataset, split: str = "test", *, seed: int = 0) -> Evaluation:
    """Decode a split and score it. ``seed`` is the bootstrap's."""
    return judge(run, dataset.index.identity, answer(run, dataset, split), seed=seed)


def answer(run: Run, dataset: ShardDataset, split: str = "test") -> Answers:
    """Decode a split."""
    card, index = run.card, dataset.index
    check_data(card, index, dataset.folder.uri, all_codes=dataset.all_codes)
    loader = make_loader(
        dataset,
        split,
        batch_size=BATCH_SIZE,
        seed=0,
        shuffle=False,
        device=run.device,
        fields=heard_fields(card.model.use_mel, card.model.use_clues, card.model.hear_knobs),
    )
    names, commutes = card.vocabulary.names, index.commuting_pairs
    directs: list[Direct] = []
    ears = KnobEars(card.vocabulary)

    def noted(parts: Iterator[Heard]) -> Iterator[Heard]:
        for part in parts:
            directs.extend(direct(part.set_order, names))
            if card.model.hear_knobs:
                ears.hear(run.model, part.memory, part.order, part.params)
            yield part

    parts = noted(listen_batches(run.model, loader))
    try:
        found, ids = decode_heard(run.model, parts, card.rules, card.decode)
    except torch.OutOfMemoryError:
        raise FxError(
            f"{run.device} ran out of memory; wait until it is free, or take the CPU (--device cpu)"
        ) from None
    truth: list[Names] = [tuple(names[i] for i in chain) for chain in ids]
    heard, untuned = (
        [candidates(h, card.vocabulary, commutes, settings) for h in found]
        for settings in (card.decode, as_scored(card.decode))
    )
    classes = classes_of(truth, commutes, dataset.listed_orders(split))
    groups, played, clip_ids = provenance(dataset, split)
    return Answers(
        *(split, truth, heard, untuned, classes, directs, groups, played, ears.knobs, ears.travel),
        ids=clip_ids,
    )


def provenance(dataset: ShardDataset, split: str) -> Provenance:
    """Where a split's samples come from. One pass over the records.

    What is played anew for each clip is its data set's own, a recording the same in all of them; a
    record that names no group is one by itself.
    """
    groups: list[Hashable] = []
    playing: list[str] = []
    ids: list[str] = []
    joined = len({shard.index.identity for shard in dataset.shards}) > 1
    for shard in dataset.shards_of(split):
        before = f"{shard.index.identity[:12]}/" if joined else ""
        for record in shard.records():
            played = "performance" in record.get("clip", ())
            owner = shard.index.identity if played else record.get("source")
            groups.append((record["group"], owner) if "group" in record else len(groups))
            playing.append(playing_of(record))
            ids.append(f"{before}{record.get('id', len(ids))}")
    return Provenance(numbered(groups), playing, ids)


def by_ear(
    answers: Answers,
    evaluation: Evaluation,
    sounds: Sounds,
    n_clips: int,
    seed: int,
    say: Callable[[str], None],
) -> Evaluation:
    """The evaluation with ``n_clips`` answers put on dry guitar and measured, clips side by side,
    each on one thread: steps this small take several times as long where threads wait for each
    other."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        found = rerender(
            *(answers.truth, answers.predicted, sounds, n_clips),
            knobs=answers.knobs,
            groups=answers.groups,
            seed=seed,
            say=say,
            n_workers=max(1, min(n_cores(), n_clips // CLIPS_A_WORKER)),
        )
    finally:
        torch.set_num_threads(before)
    return dataclasses.replace(evaluation, rerender=found)
