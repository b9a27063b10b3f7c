"""Whose directory is this, is it whole, may it be written: asked before a command goes on with it.

A directory belongs to the data set whose identity stands in its index, or, where there is none
or it is damaged, in the receipts of its finished shards.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import click

from fxpipe.plan import PLAN_NAME
from fxpipe.tasks import RECEIPTS
from fxtrain.contract import (
    CODEBOOKS_NAME,
    INDEX_NAME,
    SPLITS,
    ContractError,
    Folder,
    FormatVersionError,
    UsageError,
)

RECEIPTS_ASKED = 20
"""One that can be read is enough; a directory never holds those of two data sets."""


def is_finished(
    folder: Folder, read: Callable[[Folder], Any], identity: str, *, overwrite: bool
) -> bool:
    """True: this very data set is there, whole. Another one is refused, or cleared if asked.

    Half-written files that a killed run left behind are deleted first.
    """
    folder.sweep()
    if overwrite:
        _clear(folder)
        return False
    damage, index = "", None
    if folder.size(INDEX_NAME) is not None:
        try:
            index = read(folder)
        except FormatVersionError:
            raise
        except ContractError as error:
            damage = str(error)
    if index is not None and index.identity == identity:
        files = (*index.files, *(file for shard in index.shards for file in shard.files))
        return all(folder.size(file.path) == file.n_bytes for file in files)
    owner = _owner(folder)
    if owner == identity:
        if damage:
            click.echo(f"{damage}: it is written anew", err=True)
        return False
    if owner is None and not damage and index is None:
        return False
    if damage and owner is None:
        raise UsageError(
            f"{damage}. No receipt tells whose directory it was: choose another --output, or "
            "replace it with --overwrite"
        )
    state = "another finished" if index is not None else "another, unfinished"
    raise UsageError(
        f"{folder.uri} holds {state} data set; choose another --output, or replace it with "
        "--overwrite"
    )


def _owner(folder: Folder) -> str | None:
    """The identity in the first receipts that can be read."""
    names = [name for name in folder.names() if name.startswith(f"{RECEIPTS}/")]
    names = [name for name in names if name.endswith(".json")]
    for name in names[:RECEIPTS_ASKED]:
        try:
            found = json.loads(folder.read(name))
        except (ValueError, FileNotFoundError):
            continue  # damaged: another one tells
        if isinstance(found, dict) and isinstance(found.get("identity"), str):
            return str(found["identity"])
    return None


def _clear(folder: Folder) -> None:
    names = folder.names()
    foreign = [name for name in names if not _is_ours(name)]
    if foreign:
        raise UsageError(
            f"{folder.uri}: --overwrite would delete {foreign[0]!r}, which fxpipe did not "
            "write; choose another --output"
        )
    for name in sorted(names, key=lambda name: name != INDEX_NAME):
        folder.delete(name)


def _is_ours(name: str) -> bool:
    ours = (INDEX_NAME, PLAN_NAME, CODEBOOKS_NAME)
    return name in ours or name.startswith(
        (f"{RECEIPTS}/", *(f"{split}{mark}" for split in SPLITS for mark in "-."))
    )
