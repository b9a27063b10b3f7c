"""Owns what all shard writers share: the protocol, names, and checks. Must not import a library.

A writer turns a block of samples into one whole shard. Its bytes depend on the samples alone, so
a task that runs twice writes the same files twice.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from fxtrain.contract import (
    SPLITS,
    Block,
    ContractError,
    FileEntry,
    Folder,
    ShardEntry,
    UsageError,
    unknown_name,
)

Fields = Mapping[str, tuple[str, tuple[int, ...]]]
"""Field name -> (dtype, shape of one sample)."""


class ShardWriter(Protocol):
    """One backend. Writers hold no open file and may be sent to another process."""

    @property
    def shard_size(self) -> int:
        """Samples in every shard of a split but the last."""

    def prepare(
        self, folder: Folder, split: str, n_samples: int, fields: Fields
    ) -> tuple[FileEntry, ...]:
        """Write what all shards of a split share, once, before any :meth:`write`.

        Returns the files written, for ``DatasetIndex.files``; ``()`` where nothing is shared.
        """

    def write(
        self, folder: Folder, split: str, number: int, first: int, block: Block
    ) -> ShardEntry:
        """Write shard ``number``: the samples at ``first .. first + len(block)`` of the split.

        Every file lands whole or not at all, and no other shard has to be there.
        """


def shard_name(split: str, number: int) -> str:
    """``train-000000``: sorts in reading order up to a million shards."""
    return f"{split}-{number:06d}"


def fields_of(block: Block) -> Fields:
    """The fields of a block, as :meth:`ShardWriter.prepare` wants them."""
    return {name: (array.dtype.name, array.shape[1:]) for name, array in block.arrays().items()}


def check_shard_size(shard_size: int) -> int:
    if shard_size < 1:
        raise UsageError(f"shard size {shard_size}: a shard holds at least one sample")
    return shard_size


def check_place(shard_size: int, split: str, number: int, first: int, block: Block) -> None:
    """Raise unless ``block`` is what shard ``number`` has to hold."""
    if split not in SPLITS:
        raise UsageError(unknown_name("split", split, SPLITS))
    name = shard_name(split, number)
    if first != number * shard_size:
        raise ContractError(
            f"shard {name}: starts at sample {first}, expected {number * shard_size} "
            f"({shard_size} samples a shard)"
        )
    if not 1 <= len(block) <= shard_size:
        raise ContractError(f"shard {name}: {len(block)} samples, expected 1 to {shard_size}")
