"""What a finished shard leaves behind, so that nobody makes it again."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from fxtrain.contract import (
    ContractError,
    DamagedError,
    FileEntry,
    Folder,
    ShardEntry,
    ahead,
    from_dict,
    identity_of,
    read_json,
    read_verified,
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

    By length; with ``verify`` by every byte. A store that does not answer is an error: what is
    there must not be made again for that.
    """

    def read(name: str) -> Receipt | None:
        try:
            data = read_json(folder.read(name), name)
            if data.pop("sha256", None) != identity_of(data):
                return None
            receipt = from_dict(Receipt, data, name)
        except (AttributeError, TypeError, ValueError, ContractError):
            return None  # cut short by a crash, or altered: the shard is made again
        return receipt if receipt.identity == identity else None

    def differs(receipt: Receipt) -> bool:
        try:
            for file in receipt.shard.files:
                read_verified(folder, file)
        except DamagedError:
            return True
        return False

    listed = folder.names()
    names = [name for name in listed if name.startswith(f"{RECEIPTS}/") and name.endswith(".json")]
    found = [receipt for receipt in ahead(read, names, folder.at_once) if receipt]
    lacking = not_there(folder, (file for receipt in found for file in receipt.shard.files))
    found = [r for r in found if lacking.isdisjoint(file.path for file in r.shard.files)]
    if verify:
        n_read = (file.n_bytes for receipt in found for file in receipt.shard.files)
        looked = ahead(differs, found, readers(n_read))
        found = [r for r, is_other in zip(found, looked, strict=True) if not is_other]
    return {receipt.shard.name: receipt for receipt in found}


def not_there(folder: Folder, files: Iterable[FileEntry]) -> set[str]:
    """Names of those that are missing, or of another length."""
    listed = list(files)
    sizes = folder.sizes([file.path for file in listed])
    return {file.path for file, n in zip(listed, sizes, strict=True) if n != file.n_bytes}
