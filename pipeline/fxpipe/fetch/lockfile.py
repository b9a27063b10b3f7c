"""Owns sources.lock.json: size and hashes every fetched file had when it first came.

A manifest that states no hash is so trusted once, and held to it ever after; one that states some
is held to the rest. Kept in the data folder, by data set, file name and address, for people to
read: deleting an entry accepts the next file that comes.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

from fxpipe.errors import DownloadError
from fxpipe.fetch.transfer import Found, Wanted
from fxpipe.sources.manifest import RemoteFile
from fxtrain.contract import ContractError, alone, from_dict, open_folder, read_json

LOCK_NAME = "sources.lock.json"
LOCK_VERSION = 1
ARCHIVES = "archives"
"""Folder of what was downloaded, in the data folder."""


@dataclass(frozen=True)
class Pin:
    """One entry. ``pinned_on``: the day, in UTC."""

    data_set: str
    file: str
    url: str
    bytes: int
    md5: str
    sha256: str
    pinned_on: str


def read_pins(data_dir: Path) -> tuple[Pin, ...]:
    """All entries; none where nothing was fetched yet. DownloadError for a file of another form."""
    path = data_dir / LOCK_NAME
    try:
        content = read_json(path.read_bytes(), str(path))
        if content["version"] != LOCK_VERSION:
            raise ValueError(f"version {content['version']}, expected {LOCK_VERSION}")
        return tuple(from_dict(Pin, entry, LOCK_NAME) for entry in content["files"])
    except FileNotFoundError:
        return ()
    except (OSError, ValueError, KeyError, TypeError, ContractError) as error:
        raise DownloadError(
            f"{path}: cannot be read as a lock file ({error}); mend it, or delete it to pin every "
            "file anew"
        ) from error


def find_pin(pins: Iterable[Pin], data_set: str, file: RemoteFile) -> Pin | None:
    asked = (data_set, file.name, file.url)
    return next((pin for pin in pins if (pin.data_set, pin.file, pin.url) == asked), None)


def wanted_file(file: RemoteFile, pin: Pin | None, data_dir: Path) -> Wanted:
    """What a file must be: as the manifest says, and where it says nothing, as pinned.

    Raises DownloadError where both speak and disagree.
    """
    if pin is None:
        return Wanted(file.n_bytes, file.md5, file.sha256)
    accept = f"to accept another file, delete that entry of {data_dir / LOCK_NAME}"
    for key, stated, pinned in (
        ("bytes", file.n_bytes, pin.bytes),
        ("md5", file.md5, pin.md5),
        ("sha256", file.sha256, pin.sha256),
    ):
        if stated is not None and stated != pinned:
            raise DownloadError(
                f"{pin.data_set}: {key} of {file.name} is {stated} by the manifest, and was pinned "
                f"as {pinned} on {pin.pinned_on}: the manifest has changed since; {accept}"
            )
    note = f"pinned on {pin.pinned_on}; {accept}"
    stated_keys = {"size": file.n_bytes, "md5": file.md5, "sha256": file.sha256}
    notes = {key: note for key, stated in stated_keys.items() if stated is None}
    return Wanted(pin.bytes, pin.md5, pin.sha256, notes)


def add_pin(data_dir: Path, data_set: str, file: RemoteFile, found: Found) -> None:
    """Write down what a file was, unless that is written already; in one piece or not at all."""
    busy = data_dir / ARCHIVES / ".busy"
    busy.parent.mkdir(exist_ok=True)
    with alone(busy, lambda: None):
        pins = read_pins(data_dir)
        if find_pin(pins, data_set, file) is not None:
            return
        today = datetime.now(UTC).date().isoformat()
        hashes = (found.n_bytes, found.md5, found.sha256)
        pins = (*pins, Pin(data_set, file.name, file.url, *hashes, today))
        entries = sorted(map(asdict, pins), key=lambda e: (e["data_set"], e["file"], e["url"]))
        text = json.dumps({"version": LOCK_VERSION, "files": entries}, indent=1)
        open_folder(str(data_dir)).write(LOCK_NAME, f"{text}\n".encode())
