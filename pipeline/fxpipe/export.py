"""``fxpipe export``: shards as plain webdataset tars, one set of members a sample, for other tools.

Larger and slower to read than our own blocks (docs/shard-format.md). What was made from a source
whose licence forbids passing it on is refused.
"""

from __future__ import annotations

import io
import json
import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from fxpipe.errors import ExportError
from fxpipe.sources.manifest import load_manifest, manifest_names
from fxpipe.store.base import shard_name
from fxpipe.store.tar_store import tar_writer
from fxtrain.contract import (
    INDEX_NAME,
    SPLITS,
    Block,
    DatasetIndex,
    Folder,
    UsageError,
    pack_npy,
    to_dict,
)
from fxtrain.data import ShardDataset, open_shards

LICENCE_NAME = "LICENCE.txt"
SAMPLES_A_TAR = 1000
KIND = "fxpipe-export"


def export(
    shards: str, folder: Folder, *, private: bool, on_sample: Callable[[int], None]
) -> tuple[str, ...]:
    """Write ``<split>-<number>.tar``, ``LICENCE.txt`` and, last, ``index.json``; their names.

    Members of a sample: ``<id>.codes.npy`` uint16 [K, T] where the codec was run, ``<id>.mel.npy``
    uint8 [M, T] and ``<id>.clues.npy`` uint8 [C] where there are, and ``<id>.json``: its record,
    whose ``chain`` is the label.

    Raises ExportError where the licence forbids it, unless ``private``; UsageError where ``folder``
    holds something else than tars that an export of the same shards left there: those are kept.
    """
    dataset = open_shards(shards)
    refuse_unshareable(dataset.index, shards, private=private)
    _refuse_others(folder, dataset.index)
    folder.delete(INDEX_NAME)  # there is none while a tar is missing
    names = []
    for split in SPLITS:
        for number, samples in enumerate(_tars(dataset, split)):
            name, data = f"{shard_name(split, number)}.tar", _pack(samples, heard=dataset.all_codes)
            if folder.size(name) is None:  # asked now: another export may have begun since
                folder.write(name, data)
            elif folder.read(name, len(data)) != data:
                raise _not_empty(folder, name)
            names.append(name)
            on_sample(len(samples))
    folder.write(LICENCE_NAME, licence_text(dataset.index).encode())
    folder.write(INDEX_NAME, _index(dataset.index, names))
    return tuple(names)


def is_exported(folder: Folder, index: DatasetIndex) -> bool:
    """Is this very export there, finished, with all of its tars?"""
    return _has_our_index(folder, index) and {LICENCE_NAME, *tar_names(index)} <= set(
        folder.names()
    )


def tar_names(index: DatasetIndex) -> tuple[str, ...]:
    return tuple(
        f"{shard_name(split, number)}.tar"
        for split in SPLITS
        if split in index.counts
        for number in range(math.ceil(index.counts[split].n_samples / SAMPLES_A_TAR))
    )


def _has_our_index(folder: Folder, index: DatasetIndex) -> bool:
    try:
        return folder.read(INDEX_NAME) == _index(index, tar_names(index))
    except (FileNotFoundError, NotADirectoryError):
        return False


def _refuse_others(folder: Folder, index: DatasetIndex) -> None:
    """UsageError unless all files are of an export of these shards: of an interrupted one its first
    tars, as many as there are, of one that was finished whichever are left."""
    folder.sweep()
    there, wanted = set(folder.names()), tar_names(index)
    ours = set(wanted[: len(there & set(wanted))])
    if _has_our_index(folder, index):
        ours = {INDEX_NAME, *wanted}
    if LICENCE_NAME in there and folder.read(LICENCE_NAME) == licence_text(index).encode():
        ours.add(LICENCE_NAME)
    for name in sorted(there - ours):
        raise _not_empty(folder, name)


def _not_empty(folder: Folder, name: str) -> UsageError:
    return UsageError(
        f"{folder.uri}: is not empty, it holds {name!r}, which is no part of this export begun "
        "earlier; choose another directory to export to"
    )


def refuse_unshareable(index: DatasetIndex, uri: str, *, private: bool) -> None:
    """ExportError naming the licences that forbid passing the data on."""
    closed = [licence.name for licence in index.licences.values() if not licence.shareable]
    if (closed or not index.shareable) and not private:
        raise ExportError(
            f"{uri}: made from {_source(index)} ({', '.join(closed) or 'no licence stated'}), "
            "which may not be passed on in any changed form: not exported. To use it with other "
            "tools on your own machine, add --private"
        )


def licence_text(index: DatasetIndex) -> str:
    """What goes with the data: sources, licences, whom to cite, and whether it may be shared."""
    lines = [f"Made by fxpipe from the data set {_source(index)!r}.", ""]
    lines += [f"Licence of the recordings: {x.name} {x.url}" for x in index.licences.values()]
    if _source(index) in manifest_names():
        lines.append(f"Please cite: {load_manifest(_source(index)).citation}")
    lines.append(
        "May be shared under these terms."
        if index.shareable
        else "NOT to be shared: the licence allows no changed copies. Keep it on your own machine."
    )
    return "\n".join(lines) + "\n"


def _source(index: DatasetIndex) -> str:
    return str(index.recipe.get("source", "unknown"))


def _tars(dataset: ShardDataset, split: str) -> Iterator[list[tuple[Block, int]]]:
    """Samples, as (block, row), a thousand at a time; none of a split that is empty."""
    waiting: list[tuple[Block, int]] = []
    for shard in (shard for shard in dataset.shards if shard.entry.split == split):
        for block in shard.blocks():
            for row in range(len(block)):
                waiting.append((block, row))
                if len(waiting) == SAMPLES_A_TAR:
                    yield waiting
                    waiting = []
    if waiting:
        yield waiting


def _pack(samples: list[tuple[Block, int]], *, heard: bool) -> bytes:
    buffer = io.BytesIO()
    with tar_writer(buffer) as tar:
        for block, row in samples:
            record = block.records[row]
            members: dict[str, Any] = {"__key__": record["id"]}
            if heard:
                members["codes.npy"] = pack_npy(block.codes[row])
            for name, rows in (("mel", block.mel), ("clues", block.clues)):
                if rows is not None:
                    members[f"{name}.npy"] = pack_npy(rows[row])
            tar.write(members | {"json": json.dumps(record, ensure_ascii=False).encode()})
    return buffer.getvalue()


def _index(index: DatasetIndex, names: Sequence[str]) -> bytes:
    heard = ("codec", "mel", "clues", "level")
    kept = ("identity", *heard, "vocabulary", "commutes", "licences", "shareable", "counts")
    facts = {key: to_dict(getattr(index, key)) for key in kept}
    return (json.dumps({"kind": KIND, "tars": names, **facts}, indent=1) + "\n").encode()
