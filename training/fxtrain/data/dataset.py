"""Owns a finished shards directory, or several that were made alike, seen as one data set.

Must not import torch: checks and reports read data sets too.
"""

from __future__ import annotations

import dataclasses
import itertools
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from fxtrain.contract import (
    SPLITS,
    Block,
    ContractError,
    DatasetIndex,
    Folder,
    MelInfo,
    Record,
    ShardEntry,
    UsageError,
    VocabularyError,
    add_counts,
    concatenate,
    identity_of,
    open_folder,
    read_index,
    recordings_of,
    shorten,
    to_dict,
    unknown_name,
    validate_block,
)
from fxtrain.contract.check import check_layout
from fxtrain.data.reader import empty_arrays, place, read_arrays, read_shard

Uri = str | os.PathLike[str]


@dataclass(frozen=True)
class Shard:
    """A shard where it lies. ``first`` is its place in the joined split, ``entry`` in its own."""

    folder: Folder
    entry: ShardEntry
    index: DatasetIndex = dataclasses.field(repr=False)
    first: int

    def __len__(self) -> int:
        return self.entry.n_samples

    def blocks(self) -> Iterator[Block]:
        """The samples in order, records included, checked against the index."""
        for block in read_shard(self.folder, self.entry, self.index):
            validate_block(block, self.index, place(self.folder, self.entry))
            yield block

    def records(self) -> Iterator[Record]:
        """Of every sample, in order; never more than a block of them in memory."""
        for block in self.blocks():
            yield from block.records

    def arrays(
        self,
        *,
        verify: bool = True,
        fields: tuple[str, ...] | None = None,
        out: dict[str, np.ndarray] | None = None,
    ) -> dict[str, np.ndarray]:
        """:func:`reader.read_arrays` of this shard."""
        return read_arrays(
            self.folder, self.entry, self.index, verify=verify, fields=fields, out=out
        )


@dataclass(frozen=True)
class ShardDataset:
    """``folder`` and ``index`` describe all of it; of several directories, ``folder`` is the first.

    ``shards`` come in reading order, split by split; a sample's position in its split is the
    ``first`` of its shard plus its row.
    """

    folder: Folder
    index: DatasetIndex
    shards: tuple[Shard, ...]

    def __repr__(self) -> str:
        """On one line: an index lists every shard, and every shard has its index."""
        counts = {split: facts.n_samples for split, facts in self.index.counts.items()}
        return f"ShardDataset({self.folder.uri!r}, {counts})"

    @property
    def all_codes(self) -> bool:
        """Of every clip; some, or all, may be log-mel frames alone."""
        return not any(shard.index.mel_only for shard in self.shards)

    def shards_of(self, split: str) -> tuple[Shard, ...]:
        """The shards of a split; a split that is unknown or empty is an error."""
        if split not in SPLITS:
            raise UsageError(unknown_name("split", split, SPLITS))
        found = tuple(shard for shard in self.shards if shard.entry.split == split)
        if not found:
            there = {shard.entry.split for shard in self.shards}
            filled = ", ".join(name for name in SPLITS if name in there)
            raise ContractError(
                f"{self.folder.uri}: no samples in split {split!r}, only in: {filled or 'none'}"
            )
        return found

    def n_samples(self, split: str) -> int:
        return sum(len(shard) for shard in self.shards_of(split))

    def load(self, split: str) -> Block:
        """A whole split in memory, records included."""
        shards = self.shards_of(split)
        return concatenate([block for shard in shards for block in shard.blocks()])

    def listed_orders(self, split: str) -> tuple[Record, ...] | None:
        """The records of a split that was rendered with the orders that sound alike, clip by clip;
        None of any other, whose pairs decide."""
        shards = self.shards_of(split)
        specs = [shard.index.recipe.get("spec") for shard in shards]
        if not any(isinstance(spec, dict) and spec.get("classes", False) for spec in specs):
            return None
        return tuple(record for shard in shards for record in shard.records())

    def load_arrays(
        self, split: str, *, fields: tuple[str, ...] | None = None
    ) -> dict[str, np.ndarray]:
        """A whole split by field name, without the records and without a second copy in memory."""
        shards = self.shards_of(split)
        try:
            whole = empty_arrays(self.index, self.n_samples(split), fields)
        except (MemoryError, ValueError):  # more bytes than there are, or than exist
            raise ContractError(
                f"{self.folder.uri}: no memory for the {self.n_samples(split)} samples that the "
                f"index says are in {split!r}; stream them (resident = false)"
            ) from None
        for shard in shards:
            rows = slice(shard.first, shard.first + len(shard))
            shard.arrays(out={name: array[rows] for name, array in whole.items()})
        return whole


def open_shards(uris: Uri | Sequence[Uri]) -> ShardDataset:
    """A finished data set at a path or fsspec URI; several that were encoded alike count as one.

    Raises what the contract raises for a directory that is unfinished, damaged or of another
    version; ``VocabularyError`` naming both when two cannot be used together.
    """
    given = [uris] if isinstance(uris, (str, os.PathLike)) else list(uris)
    if not given:
        raise UsageError("no shards directory given")
    folders = [open_folder(uri) for uri in given]
    indexes = [read_index(folder) for folder in folders]
    for folder, index in zip(folders, indexes, strict=True):
        for problem in check_layout(index.shards):
            raise ContractError(f"{folder.uri}: {problem}; make the data set again")
    for folder, index in zip(folders[1:], indexes[1:], strict=True):
        check_alike(folders[0].uri, indexes[0], folder.uri, index)
    check_sides(folders, indexes)
    for (a, first), (b, second) in itertools.combinations(zip(folders, indexes, strict=True), 2):
        if first.identity == second.identity:
            raise UsageError(f"{a.uri} and {b.uri} hold the same data: give one of them")
    check_clips(folders, indexes)
    shards = []
    for split in SPLITS:
        position = 0
        for folder, index in zip(folders, indexes, strict=True):
            for entry in sorted(index.shards_of(split), key=lambda entry: entry.first):
                shards.append(Shard(folder, entry, index, position))
                position += entry.n_samples
    index = indexes[0] if len(indexes) == 1 else _join(indexes, shards)
    return ShardDataset(folders[0], index, tuple(shards))


def check_alike(uri: str, index: DatasetIndex, other_uri: str, other: DatasetIndex) -> None:
    """Raise unless a model can learn from both: same codec, sound level, window, pedals, symmetry.

    The encoder's device and precision may differ: fp16 and TF32 change at most 3 codes in 1000.
    One of them may be log-mel frames alone.
    """
    for what, found, expected in (
        *_facts("codec", other.codec, index.codec, leave_out=("precision", "backend")),
        *_facts("level", other.level, index.level),
        ("log-mel", _stored(other.mel), _stored(index.mel)),
        *(_facts("mel", other.mel, index.mel) if other.mel and index.mel else ()),
        ("clues of the wave", other.clues, index.clues),
        ("window in audio samples", other.n_audio_samples, index.n_audio_samples),
        ("number of windows", other.n_windows, index.n_windows),
        ("pedals", ", ".join(other.vocabulary.names), ", ".join(index.vocabulary.names)),
        ("pedal parameters", other.vocabulary, index.vocabulary),
        ("longest chain", other.max_chain_length, index.max_chain_length),
        ("pairs that commute", *map(_pairs, (other, index))),
    ):
        if found != expected:
            raise VocabularyError(
                f"{uri} and {other_uri} cannot be used together: {what} is {shorten(expected)} "
                f"in the first and {shorten(found)} in the second; make them with equal settings"
            )


def check_sides(folders: Sequence[Folder], indexes: Sequence[DatasetIndex]) -> None:
    """Raise where a recording is on one side of the split here and on another there, or on both in
    one: a model would be tested on what it was trained on."""
    sides: dict[str, tuple[str, str]] = {}
    crossed: Counter[tuple[str, str, str, str]] = Counter()
    for folder, index in zip(folders, indexes, strict=True):
        for split, recordings in recordings_of(index).items():
            for recording in sorted(recordings):
                other, other_uri = sides.setdefault(recording, (split, folder.uri))
                if other != split:
                    crossed[other, other_uri, split, folder.uri] += 1
    for (other, other_uri, split, uri), n in crossed.most_common(1):
        if other_uri == uri:
            raise UsageError(
                f"{n} recording(s) are in both {other} and {split} of {uri}: a model would be "
                "tested on what it was trained on; render and encode it again"
            )
        raise UsageError(
            f"{n} recording(s) are in {other} of {other_uri} and in {split} of {uri}: a model "
            "would be tested on what it was trained on; render both from the same recordings, with "
            "one --split-seed and the same --fractions and --kinds"
        )


def check_clips(folders: Sequence[Folder], indexes: Sequence[DatasetIndex]) -> None:
    """Raise where two hold the same clips: encoded twice, or a smaller draw of a larger one. They
    would count double, and narrow every interval."""
    drawn: dict[str, str] = {}
    for folder, index in zip(folders, indexes, strict=True):
        recipe, spec = index.recipe, index.recipe.get("spec")
        if not isinstance(spec, dict) or not {"source_digest", "seed"} <= recipe.keys():
            continue
        heard = {key: value for key, value in spec.items() if key not in ("classes", "alike_db")}
        key = identity_of([recipe["source_digest"], recipe["seed"], heard])
        other_uri = drawn.setdefault(key, folder.uri)
        if other_uri != folder.uri:
            raise UsageError(
                f"{other_uri} and {folder.uri} hold the same clips: one source, one spec and one "
                f"seed ({recipe['seed']}), so that the larger begins with the smaller; give the "
                "larger one alone, or render another with another --seed"
            )


def _facts(
    what: str, found: Any, expected: Any, leave_out: tuple[str, ...] = ()
) -> Iterator[tuple[str, Any, Any]]:
    for field in dataclasses.fields(expected):
        if field.name not in leave_out:
            a, b = getattr(found, field.name), getattr(expected, field.name)
            yield f"{what} {field.name}", a, b


def _pairs(index: DatasetIndex) -> list[str]:
    return sorted("/".join(sorted(pair)) for pair in index.commuting_pairs)


def _stored(mel: MelInfo | None) -> str:
    return "stored" if mel else "left away"


def _join(indexes: list[DatasetIndex], shards: list[Shard]) -> DatasetIndex:
    """One index over data sets that are alike; its shards are placed one after another."""
    first = indexes[0]
    counts = {}
    for split in SPLITS:
        found = [index.counts[split] for index in indexes if split in index.counts]
        if found:
            counts[split] = add_counts(*found)
    heard = next((index for index in indexes if not index.mel_only), first)
    return dataclasses.replace(
        first,
        codec=heard.codec,
        identity=identity_of([index.identity for index in indexes]),
        licences={name: item for index in indexes for name, item in index.licences.items()},
        shareable=all(index.shareable for index in indexes),
        counts=counts,
        shards=tuple(dataclasses.replace(shard.entry, first=shard.first) for shard in shards),
        recipe={"joined": [to_dict(index.recipe) for index in indexes]},
    )
