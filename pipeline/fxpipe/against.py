"""``fxpipe check --against``: do two directories hold the same data set, down to the byte?

What counts are the bytes that lie there on both sides, not what the indexes say of them. Facts
that may differ from machine to machine (versions, the codec's device, where recordings lie) are
notes, not problems.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from fxpipe.describe import index_kind
from fxpipe.encode_tally import MEASURED
from fxpipe.plan import PLAN_NAME
from fxpipe.renders import KIND, read_renders_index
from fxpipe.tasks import RECEIPTS
from fxtrain.contract import (
    INDEX_NAME,
    Folder,
    Problem,
    ahead,
    check_files,
    open_folder,
    read_index,
    readers,
    shorten,
    to_dict,
)

MACHINE_KEYS = (
    *("versions", "codec.backend", "source", "skipped", "recipe.source"),
    *(f"recipe.{key}" for key in MEASURED),
)
"""Of an index, with all that is below them: the same data set may be made with others."""

NOT_COMPARED = ("shards", "files")
"""Of an index: lists of files with their bytes, which are compared as they lie."""


@dataclass(frozen=True)
class Comparison:
    """``problems``: the data differ. ``notes``: only where or with what they were made."""

    problems: list[Problem]
    notes: list[Problem]
    n_files: int
    n_bytes: int


def compare(one: str, other: str) -> Comparison:
    """All differences of two finished directories, at paths or URIs."""
    folders = open_folder(one), open_folder(other)
    kinds = [index_kind(uri) for uri in (one, other)]
    indexes = [
        read_renders_index(folder) if kind == KIND else read_index(folder)
        for folder, kind in zip(folders, kinds, strict=True)
    ]
    if kinds[0] != kinds[1]:
        what = f"{kinds[0]} here, {kinds[1]} in {other}"
        return Comparison([Problem(INDEX_NAME, what)], [], 0, 0)
    problems: list[Problem] = []
    notes: list[Problem] = []
    if indexes[0].identity != indexes[1].identity:
        problems.append(Problem(INDEX_NAME, f"another data set than {other}: identities differ"))
    for key, a, b in _differences(*(dict(_leaves(to_dict(index))) for index in indexes)):
        found = Problem(INDEX_NAME, f"{key} is {shorten(a)} here, {shorten(b)} in {other}")
        (notes if _is_machines(key) else problems).append(found)
    for folder, index in zip(folders, indexes, strict=True):
        if folder.size(PLAN_NAME) is not None:  # where recordings lie, which may differ
            plan = tuple(file for file in index.files if file.path == PLAN_NAME)
            problems += check_files(folder, plan)
    listed = [
        {file.path: file.sha256 for file in _listed(index) if file.path != PLAN_NAME}
        for index in indexes
    ]
    there = [{name for name in folder.names() if _is_data(name)} for folder in folders]
    names = sorted(set().union(*listed, *there))
    n_bytes = 0

    def look(name: str) -> tuple[_Found, _Found]:
        return _look(folders[0], name, listed[0]), _look(folders[1], name, listed[1])

    sizes = (2 * file.n_bytes for index in indexes for file in _listed(index))
    looked = ahead(look, names, readers(sizes))
    for name, (found_here, found_other) in zip(names, looked, strict=True):
        n_bytes += found_here.n_bytes
        problems += _compare_file(name, found_here, found_other, other)
    return Comparison(problems, notes, len(names), n_bytes)


@dataclass(frozen=True)
class _Found:
    """A file as it lies there; ``sha256`` None: it does not."""

    sha256: str | None
    n_bytes: int
    listed: str | None

    @property
    def is_damaged(self) -> bool:
        return self.listed is not None and self.sha256 != self.listed


def _look(folder: Folder, name: str, listed: Mapping[str, str]) -> _Found:
    n_bytes = folder.size(name)  # and with it a store knows for how long the bytes may take
    if n_bytes is None:
        return _Found(None, 0, listed.get(name))
    data = folder.read(name, n_bytes)
    return _Found(hashlib.sha256(data).hexdigest(), len(data), listed.get(name))


def _compare_file(name: str, here: _Found, there: _Found, other: str) -> list[Problem]:
    if here.sha256 == there.sha256 and not (here.is_damaged or there.is_damaged):
        return []
    if here.sha256 is None and there.sha256 is None:
        return [Problem(name, "is missing on both sides, although both indexes list it")]
    damaged = [
        where
        for where, found in (("here", here), (f"in {other}", there))
        if found.is_damaged and found.sha256 is not None
    ]
    said = f"; not what the index says {' and '.join(damaged)}" if damaged else ""
    if there.sha256 is None:
        return [Problem(name, f"is only here, not in {other}{said}")]
    if here.sha256 is None:
        return [Problem(name, f"is only in {other}{said}")]
    if here.sha256 == there.sha256:
        return [Problem(name, f"is the same on both sides{said}")]
    sizes = f"{here.n_bytes} bytes here, {there.n_bytes} there"
    if here.n_bytes == there.n_bytes:
        sizes = f"{here.n_bytes} bytes on both sides, sha256 {here.sha256[:12]}… here, "
        sizes += f"{there.sha256[:12]}… there"
    return [Problem(name, f"differs from {other}: {sizes}{said}")]


def _listed(index: Any) -> Iterator[Any]:
    yield from index.files
    for shard in index.shards:
        yield from shard.files


def _is_data(name: str) -> bool:
    return name not in (INDEX_NAME, PLAN_NAME) and not name.startswith(f"{RECEIPTS}/")


def _leaves(value: Any, key: str = "") -> Iterator[tuple[str, Any]]:
    """(dotted key, value) of nested objects; lists stay whole."""
    if isinstance(value, Mapping) and value:
        for name, item in value.items():
            if key or name not in NOT_COMPARED:
                yield from _leaves(item, f"{key}.{name}" if key else str(name))
    else:
        yield key, value


def _differences(a: dict[str, Any], b: dict[str, Any]) -> Iterator[tuple[str, Any, Any]]:
    for key in sorted(a.keys() | b.keys()):
        if a.get(key) != b.get(key):
            yield key, a.get(key), b.get(key)


def _is_machines(key: str) -> bool:
    return any(key == fact or key.startswith(f"{fact}.") for fact in MACHINE_KEYS)
