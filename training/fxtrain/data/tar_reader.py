"""Owns the layout of a webdataset shard, for reading. Standard library and numpy only.

``webdataset`` itself reads these shards too; the library is not used here because it costs 0.8 s
to import and hands out one sample at a time. Members are located and sliced in memory: no name
in a tar is ever used as a path.
"""

from __future__ import annotations

import io
import tarfile
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
    unpack_members,
    unpack_npy,
)


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
    """(key, member name after the first dot, its bytes in place) of every member, in order."""
    members: list[tarfile.TarInfo] = []
    try:
        with tarfile.open(fileobj=io.BytesIO(data), mode="r:") as tar:
            end = -1
            while (member := tar.next()) is not None:
                # A size below 0 leads back, for ever (CVE-2025-8194, Python before 3.11.14).
                if tar.offset <= end or member.size < 0:
                    raise ValueError(f"member {member.name!r:.80} ends before it begins")
                end = tar.offset
                members.append(member)
    except (tarfile.TarError, EOFError, ValueError, OverflowError, RecursionError) as error:
        raise DamagedError(f"{where}: not a readable tar ({error})") from None
    for member in members:
        try:
            check_name(member.name)
        except ContractError as error:
            raise DamagedError(f"{where}: {error}") from None
        key, dot, name = member.name.partition(".")
        if member.type != tarfile.REGTYPE or member.sparse is not None or not dot:
            raise DamagedError(f"{where}: unexpected tar member {member.name!r:.80}")
        end = member.offset_data + member.size
        if not 0 <= member.offset_data <= end <= len(data):
            raise DamagedError(f"{where}: the tar is cut in member {member.name!r:.80}")
        yield key, name, memoryview(data)[member.offset_data : end]


def _arrays_only(
    part: dict[str, memoryview], fields: tuple[str, ...], where: str
) -> dict[str, np.ndarray]:
    members = {name: f"{name}.npy" for name in fields}
    return {
        name: unpack_npy(part[member], f"{where}: {member}", copy=False)
        for name, member in members.items()
        if member in part
    }
