"""Which receipts count: whole ones of this data set, whose files are there."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fxpipe.tasks import Receipt, read_receipts, receipt_name, write_receipt
from fxtrain.contract import LocalFolder, ShardEntry, identity_of, to_dict

NAMES = ("train-000000", "train-000001")


@pytest.fixture
def folder(tmp_path: Path) -> LocalFolder:
    """Two finished shards of two files each."""
    found = LocalFolder(tmp_path)
    for name in NAMES:
        files = tuple(found.write(f"{name}.{end}", b"abc") for end in ("npy", "jsonl"))
        write_receipt(found, Receipt("mine", ShardEntry(name, "train", 0, 3, files), {}))
    return found


def counted(folder: LocalFolder, *, verify: bool = False) -> list[str]:
    return sorted(read_receipts(folder, "mine", verify=verify))


def summed(data: dict[str, Any]) -> bytes:
    return json.dumps(data | {"sha256": identity_of(data)}).encode()


@pytest.mark.parametrize(
    "change",
    [
        lambda data: b"[]",
        lambda data: b"3",
        lambda data: json.dumps(data).encode(),
        lambda data: json.dumps(data | {"sha256": identity_of({})}).encode(),
        lambda data: summed(data)[:-9],
        lambda data: summed(data | {"more": 1}),
        lambda data: summed(data | {"identity": "another"}),
    ],
)
def test_a_receipt_that_is_not_whole_or_of_another_data_set_does_not_count(
    folder: LocalFolder, change: Callable[[dict[str, Any]], bytes]
) -> None:
    whole = read_receipts(folder, "mine", verify=False)
    assert sorted(whole) == sorted(NAMES)
    folder.write(receipt_name(NAMES[0]), change(to_dict(whole[NAMES[0]])))
    assert counted(folder) == [NAMES[1]]


def test_what_has_no_receipts_name_is_none(folder: LocalFolder) -> None:
    data = folder.read(receipt_name(NAMES[0]))
    folder.delete(receipt_name(NAMES[0]))
    for name in (f"{receipt_name(NAMES[0])}~", f"old/{NAMES[0]}.json"):
        folder.write(name, data)
    assert counted(folder) == [NAMES[1]]


@pytest.mark.parametrize("file", [f"{NAMES[0]}.npy", f"{NAMES[0]}.jsonl"])
def test_every_file_of_a_shard_must_be_there_and_by_verify_unaltered(
    folder: LocalFolder, file: str
) -> None:
    folder.write(file, b"abd")
    assert counted(folder) == sorted(NAMES)
    assert counted(folder, verify=True) == [NAMES[1]]
    folder.write(file, b"ab")
    assert counted(folder) == [NAMES[1]]
    folder.delete(file)
    assert counted(folder) == [NAMES[1]]
