"""What a finished shard leaves behind, so that nobody makes it again."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from fxtrain.contract import (
    Folder,
    FxError,
    ShardEntry,
    ahead,
    check_files,
    from_dict,
    identity_of,
    read_json,
    readers,
    to_dict,
)

RECEIPTS = ".receipts"
INDEX_SUM = f"{RECEIPTS}/index.sha256"


@dataclass(frozen=True)
class Receipt:
    """What a finished shard leaves behind. ``tally`` holds sums for the summary."""

    identity: str
    shard: ShardEntry
    tally: dict[str, Any]


def receipt_name(shard_name: str) -> str:
    return f"{RECEIPTS}/{shard_name}.json"


def write_receipt(folder: Folder, receipt: Receipt) -> None:
    data = to_dict(receipt)
    text = json.dumps(data | {"sha256": identity_of(data)})
    folder.write(receipt_name(receipt.shard.name), text.encode())


def read_receipts(folder: Folder, identity: str, *, verify: bool) -> dict[str, Receipt]:
    """Shard name -> receipt, of shards of this identity whose files are all there.

    By length; with ``verify`` by every byte.
    """

    def read(name: str) -> Receipt | None:
        try:
            data = read_json(folder.read(name), name)
            if data.pop("sha256", None) != identity_of(data):
                return None
            receipt = from_dict(Receipt, data, name)
        except (AttributeError, ValueError, FxError):
            return None  # cut short by a crash, or altered: the shard is made again
        return receipt if receipt.identity == identity else None

    def look(receipt: Receipt) -> bool:
        return is_whole(folder, receipt.shard, verify=verify)

    listed = folder.names()
    names = [name for name in listed if name.startswith(f"{RECEIPTS}/") and name.endswith(".json")]
    found = [receipt for receipt in ahead(read, names) if receipt]
    n_read = (file.n_bytes for receipt in found for file in receipt.shard.files if verify)
    whole = ahead(look, found, readers(n_read))
    return {r.shard.name: r for r, is_there in zip(found, whole, strict=True) if is_there}


def is_whole(folder: Folder, shard: ShardEntry, *, verify: bool) -> bool:
    """Are all files of a shard there: by length, or with ``verify`` by every byte?"""
    if verify:
        return not check_files(folder, shard.files)
    return all(folder.size(file.path) == file.n_bytes for file in shard.files)
