"""Owns the layout of a webdataset shard, for reading. Standard library and numpy only.

``webdataset`` itself reads these shards too; the library is not used here because it costs 0.8 s
to import and hands out one sample at a time. Members are located and sliced in memory: no name
in a tar is ever used as a path.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import groupby

import numpy as np

from fxtrain.contract import (
    ContractError,
    DamagedError,
    DatasetIndex,
    FileEntry,
    Record,
    ShardEntry,
    check_name,
    shorten,
    unpack_members,
    unpack_npy,
)

BLOCK_BYTES = 512
NAME, SIZE, SUM = slice(0, 100), slice(124, 136), slice(148, 156)
KIND, PREFIX = slice(156, 157), slice(345, 500)
"""Where a header holds them."""
REGULAR = b"0"


def read_tar(
    fetch: Callable[[FileEntry], bytes],
    entry: ShardEntry,
    index: DatasetIndex,
    where: str,
    fields: tuple[str, ...],
    with_records: bool,
    room: dict[str, np.ndarray],
) -> Iterator[tuple[dict[str, np.ndarray], list[Record] | None]]:
    """One part a webdataset sample, that is up to 250 of our samples."""
    for file in entry.files:
        members = split_tar(fetch(file), where)
        for key, group in groupby(members, key=lambda member: member[0]):
            part = {name: data for _, name, data in group}
            inside = f"{where}: {key}"
            if with_records:
                yield unpack_members({name: bytes(view) for name, view in part.items()}, inside)
            else:
                yield _arrays_only(part, fields, inside), None


def split_tar(data: bytes, where: str) -> Iterator[tuple[str, str, memoryview]]:
    """(key, member name after the first dot, its bytes in place) of every member, in order.

    Headers are read here, for regular files and nothing else: ``tarfile`` takes three times as
    long, and has to be kept from what an archive may hold besides (links, names in members of
    their own, sizes that lead backwards: CVE-2025-8194). Source: POSIX.1-2017, pax, "ustar
    Interchange Format".
    """
    view, at = memoryview(data), 0
    while at < len(data):
        block = data[at : at + BLOCK_BYTES]
        if at and block.count(0) == BLOCK_BYTES:
            return
        name, start = _member_name(block, where), at + BLOCK_BYTES
        key, dot, field = name.partition(".")
        if not dot:
            raise DamagedError(f"{where}: unexpected tar member {shorten(name)}")
        end = start + _octal(block[SIZE], where)
        if end > len(data):
            raise DamagedError(f"{where}: the tar is cut in member {shorten(name)}")
        yield key, field, view[start:end]
        at = end + -end % BLOCK_BYTES
    if not at:
        raise DamagedError(f"{where}: not a readable tar (no bytes)")


def _member_name(block: bytes, where: str) -> str:
    """Of one header, whose sum and form are checked."""
    if len(block) < BLOCK_BYTES:
        raise DamagedError(f"{where}: not a readable tar (a header of {len(block)} bytes)")
    stored, found = _octal(block[SUM], where), sum(block) - sum(block[SUM]) + 8 * ord(" ")
    if stored != found:
        raise DamagedError(
            f"{where}: not a readable tar (a header adds up to {found}, not {stored})"
        )
    try:
        name = check_name(block[NAME].partition(b"\0")[0].decode(errors="surrogateescape"))
    except ContractError as error:
        raise DamagedError(f"{where}: {error}") from None
    if block[KIND] != REGULAR or block[PREFIX].strip(b"\0"):
        raise DamagedError(f"{where}: unexpected tar member {shorten(name)}")
    return name


def _octal(field: bytes, where: str) -> int:
    digits = field.strip(b" \0")
    if not digits or digits.strip(b"01234567"):
        raise DamagedError(f"{where}: not a readable tar (no octal number: {field!r})")
    return int(digits, 8)


def _arrays_only(
    part: dict[str, memoryview], fields: tuple[str, ...], where: str
) -> dict[str, np.ndarray]:
    members = {name: f"{name}.npy" for name in fields}
    return {
        name: unpack_npy(part[member], f"{where}: {member}", copy=False)
        for name, member in members.items()
        if member in part
    }
