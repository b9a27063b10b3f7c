"""Reading and writing ``index.json``, the file that makes a directory a finished data set."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any, TypeVar

import numpy as np

from fxtrain.contract.chain import Vocabulary
from fxtrain.contract.errors import (
    ContractError,
    DamagedError,
    FormatVersionError,
    UnfinishedError,
    shorten,
)
from fxtrain.contract.folder import Folder, crc32c
from fxtrain.contract.schema import (
    CODEBOOKS_NAME,
    FORMAT_VERSION,
    INDEX_NAME,
    SPLITS,
    DatasetIndex,
    FileEntry,
    SplitCounts,
)
from fxtrain.contract.serde import (
    canonical_json,
    from_dict,
    json_bytes,
    read_json,
    to_dict,
    unpack_npy,
)

T = TypeVar("T")


def identity_of(recipe: Any) -> str:
    """sha256 of what changes the data; leave out devices, workers and paths."""
    return hashlib.sha256(canonical_json(to_dict(recipe))).hexdigest()


def write_index(folder: Folder, index: Any) -> FileEntry:
    """Write it last: readers take its presence to mean that everything else is whole."""
    return folder.write(INDEX_NAME, json_bytes(index))


def read_index(folder: Folder) -> DatasetIndex:
    """The index of a shards directory, or one line that says what stands there instead."""
    return read_index_as(DatasetIndex, folder, kind="fxpipe-shards", made_by="fxpipe encode")


def read_index_as(cls: type[T], folder: Folder, *, kind: str, made_by: str) -> T:
    """Read an index of another kind with the same checks: presence, kind, format version."""
    where = f"{folder.uri}/{INDEX_NAME}"
    if folder.size(INDEX_NAME) is None:
        raise UnfinishedError(
            f"{folder.uri}: no {INDEX_NAME}, so this is no finished data set; "
            f"finish or make it with '{made_by}', or name another directory"
        )
    try:
        data = read_json(folder.read(INDEX_NAME), where)
    except DamagedError as error:
        raise DamagedError(f"{error}; run '{made_by}' again") from None
    if not isinstance(data, dict) or data.get("kind") != kind:
        found = shorten(data.get("kind") if isinstance(data, dict) else type(data).__name__)
        raise ContractError(f"{where}: found kind {found}, expected {kind!r} from '{made_by}'")
    if data.get("format_version") != FORMAT_VERSION:
        raise FormatVersionError(
            f"{where}: found format version {shorten(data.get('format_version'))}, this build "
            f"reads {FORMAT_VERSION}; run '{made_by}' again with this version"
        )
    return from_dict(cls, data, where)


def count_samples(chains: Iterable[tuple[str, ...]], vocabulary: Vocabulary) -> SplitCounts:
    """Tallies of one split from its samples' pedal names."""
    by_length: dict[int, int] = {}
    by_pedal = dict.fromkeys(vocabulary.names, 0)
    total = 0
    for names in chains:
        total += 1
        by_length[len(names)] = by_length.get(len(names), 0) + 1
        for name in set(names):
            by_pedal[name] += 1
    return SplitCounts(total, dict(sorted(by_length.items())), by_pedal)


def add_counts(*counts: SplitCounts) -> SplitCounts:
    """The tallies of several parts of one split, or of several data sets of one vocabulary."""
    by_length: Counter[int] = Counter()
    by_pedal: Counter[str] = Counter(dict.fromkeys(counts[0].by_pedal, 0))
    for one in counts:
        by_length.update(one.by_length)
        by_pedal.update(one.by_pedal)
    total = sum(one.n_samples for one in counts)
    return SplitCounts(total, dict(sorted(by_length.items())), dict(by_pedal))


def count_all(counts: Mapping[str, SplitCounts]) -> int:
    """Samples of all splits."""
    return sum(one.n_samples for one in counts.values())


def recipes_of(index: DatasetIndex) -> list[dict[str, Any]]:
    """The recipe of the shards, and those of several joined; they come from elsewhere."""
    joined = index.recipe.get("joined")
    recipes = [index.recipe, *(joined if isinstance(joined, list) else ())]
    return [recipe for recipe in recipes if isinstance(recipe, dict)]


def recordings_of(index: DatasetIndex) -> dict[str, frozenset[str]]:
    """The dry recordings behind each split, each by the first digits of its file's sha256, as
    ``recipe.recordings`` lists them in a line; of one data set or of several joined. Of guitar that
    was played anew for every clip there are none."""
    found: dict[str, set[str]] = {split: set() for split in SPLITS}
    for recipe in recipes_of(index):
        told = recipe.get("recordings")
        for split, names in told.items() if isinstance(told, dict) else ():
            if split in found and isinstance(names, str):
                found[split].update(names.split())
    return {split: frozenset(names) for split, names in found.items()}


def read_codebooks(folder: Folder, index: DatasetIndex) -> np.ndarray:
    """float32 [K, codebook_size, codebook_dim]: the codec's own vectors, frozen in the model."""
    where = f"{folder.uri}/{CODEBOOKS_NAME}"
    entries = [file for file in index.files if file.path == CODEBOOKS_NAME]
    if len(entries) != 1:
        raise DamagedError(
            f"{folder.uri}/{INDEX_NAME} lists {CODEBOOKS_NAME} {len(entries)} times, expected once"
        )
    data = read_verified(folder, entries[0])
    codebooks = unpack_npy(data, where)
    codec = index.codec
    expected = (codec.n_codebooks, codec.codebook_size, codec.codebook_dim)
    if codebooks.shape != expected or codebooks.dtype != np.float32:
        raise DamagedError(
            f"{where}: {codebooks.dtype} {codebooks.shape}, expected float32 {expected}"
        )
    return codebooks


def read_verified(folder: Folder, entry: FileEntry, *, quick: bool = False) -> bytes:
    """A file's bytes, checked against the index; ``quick``: not the sha256 where the index has a
    CRC-32C."""
    try:
        data = folder.read(entry.path, entry.n_bytes)  # it may be larger than RAM
    except FileNotFoundError:
        problem = "is missing"
    else:
        if len(data) != entry.n_bytes:
            problem = f"has {folder.size(entry.path)} bytes, the index says {entry.n_bytes}"
        elif not (quick and entry.crc32c) and hashlib.sha256(data).hexdigest() != entry.sha256:
            problem = "has another sha256 than the index says"
        elif entry.crc32c and crc32c(data) != entry.crc32c:
            problem = "has another CRC-32C than the index says"
        else:
            return data
    raise DamagedError(
        f"{folder.uri}/{entry.path} {problem}; make it again: type the command that wrote this "
        "directory, with --resume (what is whole is kept)"
    )
