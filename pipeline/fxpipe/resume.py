"""Whose directory is this, is it whole, may it be written: asked before a command goes on with it.

A directory belongs to the data set whose identity stands in its owner's mark, which is written
before the first shard; in one that is older than marks, in the receipts of its finished shards.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import click

from fxpipe.differs import Facts, unlike
from fxpipe.plan import PLAN_NAME
from fxpipe.tasks import INDEX_SUM, RECEIPTS, Job, Receipt, not_there
from fxpipe.tasks.release import RENDERING, Release, differences, release_here
from fxtrain.contract import (
    CODEBOOKS_NAME,
    FIELDS,
    INDEX_NAME,
    SPLITS,
    ContractError,
    FileEntry,
    Folder,
    FormatVersionError,
    FxError,
    LocalFolder,
    UsageError,
    from_dict,
    is_held,
    json_bytes,
    read_json,
    shorten,
    sole_writer,
)

RECEIPTS_ASKED = 20
"""One that can be read is enough; a directory never holds those of two data sets."""
RELEASE = "release"
"""Key of a receipt's tally: what its shard was made with."""
OWNER_NAME = f"{RECEIPTS}/owner"
FACTS = "facts"
"""Key of the mark: what was asked for, in the words of ``differs``."""
LOCK_NAME = f"{RECEIPTS}/lock"
AGAIN = "type the command that wrote this directory, with --resume"

_SPLIT = f"(?:{'|'.join(SPLITS)})"
_RECEIPT = re.compile(rf"{re.escape(RECEIPTS)}/{_SPLIT}-\d{{6,}}\.json")
_FIELD = f"(?:{'|'.join(field.name for field in FIELDS)})"


@dataclass(frozen=True)
class Kind:
    """What one command writes: ``files`` are its shards', ``common`` lies beside them."""

    name: str
    index_kind: str
    files: re.Pattern[str]
    common: str

    def writes(self, name: str) -> bool:
        own = (INDEX_NAME, self.common, INDEX_SUM, OWNER_NAME, LOCK_NAME)
        return name in own or any(p.fullmatch(name) for p in (_RECEIPT, self.files))


RENDERS = Kind(
    "renders", "fxpipe-renders", re.compile(rf"{_SPLIT}-\d{{6,}}\.(?:npy|jsonl)"), PLAN_NAME
)
SHARDS = Kind(
    "shards",
    "fxpipe-shards",
    re.compile(
        rf"{_SPLIT}-\d{{6,}}\.tar|{_SPLIT}-records/\d{{6,}}\.jsonl"
        rf"|{_SPLIT}\.zarr/(?:zarr\.json|{_FIELD}/(?:zarr\.json|c(?:/\d+)+))"
    ),
    CODEBOOKS_NAME,
)
KINDS = (RENDERS, SHARDS)


class Owner(NamedTuple):
    """``kind`` is that of an index, ``identity`` that of a data set; each None where unknown."""

    kind: str | None
    identity: str | None


def is_same_place(one: str, other: str) -> bool:
    """Do two paths or URIs name one directory, through links too?"""
    plain = [uri.removeprefix("file://") for uri in (one, other)]
    if any("://" in uri for uri in plain):
        return plain[0].rstrip("/") == plain[1].rstrip("/")
    a, b = (Path(path).resolve() for path in plain)
    return a == b or (a.exists() and b.exists() and a.samefile(b))


def owner_of(folder: Folder) -> Owner:
    """Whose it is: by the mark, else by the first receipts that can be read, and by the index."""
    index_kind = _index_kind(folder)
    for name in _tellers(folder):
        try:
            found = read_json(folder.read(name), name)
        except (ContractError, FileNotFoundError, NotADirectoryError):
            continue  # damaged: another one tells
        if _is_text(found, "identity") and (name != OWNER_NAME or _is_text(found, "kind")):
            kind = found["kind"] if name == OWNER_NAME else _kind_of_receipt(found)
            return Owner(kind or index_kind, found["identity"])
    return Owner(index_kind, None)


def _is_text(data: Any, key: str) -> bool:
    return isinstance(data, dict) and isinstance(data.get(key), str)


def _tellers(folder: Folder) -> Iterator[str]:
    yield OWNER_NAME
    yield from _receipts(folder)[:RECEIPTS_ASKED]


def _receipts(folder: Folder) -> list[str]:
    return [name for name in folder.names() if _RECEIPT.fullmatch(name)]


def is_begun(folder: Folder) -> bool:
    """Does an index or a finished shard lie there, whosever it is?"""
    return folder.size(INDEX_NAME) is not None or bool(_receipts(folder))


def _kind_of_receipt(data: dict[str, Any]) -> str | None:
    with suppress(FxError):
        receipt = from_dict(Receipt, {k: v for k, v in data.items() if k != "sha256"}, OWNER_NAME)
        for kind in KINDS:
            if any(kind.files.fullmatch(file.path) for file in receipt.shard.files):
                return kind.index_kind
    return None


def _index_kind(folder: Folder) -> str | None:
    """None: there is no index, or one of no kind."""
    if folder.size(INDEX_NAME) is None:
        return None
    try:
        found = read_json(folder.read(INDEX_NAME), INDEX_NAME)
    except (ContractError, FileNotFoundError):
        return None
    return str(found["kind"]) if _is_text(found, "kind") else None


def is_finished(
    folder: Folder,
    kind: Kind,
    read: Callable[[Folder], Any],
    identity: str,
    facts_of: Callable[[Any], Facts] | None = None,
    asked: Facts | None = None,
) -> bool:
    """True: this very data set is there, whole. Another one is refused; its index (by
    ``facts_of``) or its mark says what of it is not as ``asked``.

    Half-written files that a killed run left behind are deleted first.
    """
    folder.sweep()
    owner = owner_of(folder)
    _refuse_other_kind(folder, kind, owner)
    damage, index = "", None
    if folder.size(INDEX_NAME) is not None:
        try:
            index = read(folder)
        except FormatVersionError:
            raise
        except ContractError as error:
            damage = str(error)
        else:
            damage = altered_index(folder)
            index = None if damage else index
    if index is not None and index.identity == identity:
        return not not_there(folder, _files_of(index))
    if owner.identity == identity:
        if damage:
            click.echo(f"{damage}: it is written anew", err=True)
        return False
    if index is None and not damage:
        if owner.identity is None:
            _refuse_nobodys(folder, kind)
        if not _is_anothers(folder, owner, identity):
            return False
    if damage and owner.identity is None:
        raise UsageError(
            f"{damage}. No receipt tells whose directory it was: choose another --output, or "
            "replace it with --overwrite"
        )
    if index is None and isinstance(folder, LocalFolder) and is_held(folder.path / LOCK_NAME):
        raise _busy(folder)
    if index is None:
        raise _unfinished(folder, asked)
    raise _another(folder, "another finished", facts_of and facts_of(index), asked)


def _files_of(index: Any) -> list[FileEntry]:
    return [*index.files, *(file for shard in index.shards for file in shard.files)]


def _is_anothers(folder: Folder, owner: Owner, identity: str) -> bool:
    """A mark alone claims nothing where a lock would tell of its writer."""
    if owner.identity in (None, identity):
        return False
    return not isinstance(folder, LocalFolder) or bool(_receipts(folder))


def _unfinished(folder: Folder, asked: Facts | None) -> UsageError:
    """What it was to be stands in its mark; in one of an earlier version only whose it is."""
    told = _mark_of(folder).get(FACTS)
    return _another(folder, "another, unfinished", told if isinstance(told, dict) else None, asked)


def _mark_of(folder: Folder) -> dict[str, Any]:
    """Empty where there is none that can be read."""
    with suppress(ContractError, FileNotFoundError, NotADirectoryError):
        found = read_json(folder.read(OWNER_NAME), OWNER_NAME)
        return found if isinstance(found, dict) else {}
    return {}


def _another(folder: Folder, state: str, there: Facts | None, asked: Facts | None) -> UsageError:
    differs = "" if there is None or asked is None else f" ({unlike(there, asked)})"
    return UsageError(
        f"{folder.uri} holds {state} data set{differs}; choose another --output, or replace it "
        "with --overwrite"
    )


def _refuse_other_kind(folder: Folder, kind: Kind, owner: Owner) -> None:
    if owner.kind in (None, kind.index_kind):
        return
    names = {each.index_kind: each.name for each in KINDS} | {"fxpipe-export": "an export"}
    held = names.get(owner.kind or "", f"what its {INDEX_NAME} calls {shorten(owner.kind)}")
    raise UsageError(
        f"{folder.uri} holds {held}, and {kind.name} are to be written; give another -o "
        f"(--overwrite replaces {kind.name} alone)"
    )


def _refuse_nobodys(folder: Folder, kind: Kind) -> None:
    """Files that would be written over, where nothing says that they are ours."""
    for name in folder.names():
        if kind.writes(name) and not name.startswith(f"{RECEIPTS}/"):
            raise UsageError(
                f"{folder.uri} holds {name!r}, which this would write over, and no receipt tells "
                "whose it is; choose another --output, or replace it with --overwrite"
            )


@contextmanager
def alone_in(
    folder: Folder, kind: Kind, identity: str, *, overwrite: bool, asked: Facts | None = None
) -> Iterator[None]:
    """Nobody else writes there meanwhile, and the mark says whose it is before the first shard,
    and what it is to be: as ``asked``.

    ``overwrite``: what lies there is deleted first, if all of it is of this kind.
    """
    told = {FACTS: asked} if asked else {}
    mark = json.dumps({"kind": kind.index_kind, "identity": identity, **told}).encode()
    if overwrite:
        _to_clear(folder, kind)  # before a lock file is put there
    with _locked(folder):
        if overwrite:
            for name in _to_clear(folder, kind):
                folder.delete(name)
        else:
            owner = owner_of(folder)
            if _is_anothers(folder, owner, identity):  # since it was looked at
                raise _unfinished(folder, asked)
            if owner.identity not in (None, identity):  # killed before its first shard was whole
                for name in filter(kind.files.fullmatch, folder.names()):
                    folder.delete(name)
        if _read(folder, OWNER_NAME) != mark:
            folder.write(OWNER_NAME, mark)
        yield
        _refuse_two_writers(folder, identity)


def write_finished(folder: Folder, index: Any) -> None:
    """The index, last of all, and before it its sum, by which ``check`` knows it unaltered.
    Not where another's shards may lie under it, or some are gone."""
    _refuse_two_writers(folder, index.identity)
    if gone := not_there(folder, _files_of(index)):
        raise FxError(
            f"{folder.uri}: {len(gone)} file(s) of it are gone, the first {min(gone)}: another "
            "fxpipe began there with --overwrite meanwhile, or somebody deleted them; wait until "
            "nobody else writes there, then type the same line again"
        )
    data = json_bytes(index)
    folder.write(INDEX_SUM, hashlib.sha256(data).hexdigest().encode())
    folder.sweep()
    folder.write(INDEX_NAME, data)


def altered_index(folder: Folder) -> str:
    """What is wrong with an index that is not as it was written; nothing where no sum tells."""
    index, told = _read(folder, INDEX_NAME), _read(folder, INDEX_SUM)
    if index is None or told is None or told == hashlib.sha256(index).hexdigest().encode():
        return ""
    return f"{folder.uri}/{INDEX_NAME} has another sha256 than {INDEX_SUM} says"


def refuse_altered(folder: Folder) -> None:
    """Nothing is made from what an altered index says of the data."""
    if told := altered_index(folder):
        raise FxError(f"{told}; {AGAIN}")


def _refuse_two_writers(folder: Folder, identity: str) -> None:
    """Behind a URI nothing is locked: the later one of two has put its own mark there."""
    if isinstance(folder, LocalFolder):
        return
    if _mark_of(folder).get("identity") != identity:
        raise FxError(
            f"{folder.uri}: another fxpipe began to write another data set there meanwhile, "
            "and what lies there is of both; make one anew with --overwrite, and give the "
            "other another -o"
        )


def refuse_late(folder: Folder, identity: str) -> None:
    """A task on another machine runs on when its driver is gone: what it was to write for may have
    been replaced since."""
    if _mark_of(folder).get("identity") not in (None, identity):
        raise FxError(
            f"{folder.uri} was replaced by another data set while a shard for it was being made; "
            "nothing was written"
        )


def _read(folder: Folder, name: str) -> bytes | None:
    try:
        return folder.read(name)
    except FileNotFoundError:
        return None


def _locked(folder: Folder) -> AbstractContextManager[None]:
    """A local directory's lock; its file goes: a directory holds what it would in a store."""
    if not isinstance(folder, LocalFolder):
        return nullcontext()
    folder.stays_inside(LOCK_NAME)
    return sole_writer(folder.path / LOCK_NAME, _busy(folder))


def _busy(folder: Folder) -> FxError:
    return FxError(
        f"another fxpipe is writing {folder.uri}; wait until it has ended, or give another -o"
    )


def _to_clear(folder: Folder, kind: Kind) -> list[str]:
    """All that --overwrite deletes, the index first; refused where any of it is not ours.

    Names such as plan.json are ours only where a receipt, a shard or the index says so too.
    """
    owner, names = owner_of(folder), folder.names()
    _refuse_other_kind(folder, kind, owner)
    is_ours = owner != Owner(None, None) or any(kind.files.fullmatch(name) for name in names)
    for name in names:
        if not (kind.writes(name) and (is_ours or name.startswith(f"{RECEIPTS}/"))):
            raise UsageError(
                f"{folder.uri}: --overwrite would delete {name!r}, which is no part of "
                f"{kind.name} that fxpipe wrote; choose another --output"
            )
    kept = (LOCK_NAME,)
    return sorted((n for n in names if n not in kept), key=lambda name: name != INDEX_NAME)


def made_with(*more: str) -> Release:
    """Versions of what computes a shard here, for its tally; ``more`` packages than for all."""
    here = release_here()
    names = ("fxpipe", "shard format", *RENDERING)
    found = {name: here[name].partition(" (code")[0] for name in names}
    return found | {name: version(name) for name in more}


def has_same_clips(receipt: Receipt, job: Job) -> bool:
    """Another version's receipt may be of other clips under the same name, or of no file."""
    shard = receipt.shard
    return bool(shard.files) and (shard.split, shard.first, shard.n_samples) == (
        job["split"],
        job["first"],
        job["n"],
    )


def what_is_left(
    folder: Folder,
    jobs: Sequence[Job],
    found: Mapping[str, Receipt],
    release: Release,
    counts: Callable[[Receipt, Job], bool] = has_same_clips,
) -> tuple[dict[str, Receipt], list[Job]]:
    """(receipts that count, by shard; jobs to do). Where any is to do there is no index any more,
    and finished shards of another ``release`` than this are told."""
    done = {
        job["name"]: found[job["name"]]
        for job in jobs
        if job["name"] in found and counts(found[job["name"]], job)
    }
    missing = [job for job in jobs if job["name"] not in done]
    if missing:
        _warn_of_other_release(folder, done.values(), release)
        folder.delete(INDEX_NAME)
    return done, missing


def _warn_of_other_release(folder: Folder, receipts: Iterable[Receipt], here: Release) -> None:
    """One line where finished shards, whose tallies say so, were made with other versions."""
    found = [receipt.tally.get(RELEASE) for receipt in receipts]
    told = [differences(release, here) for release in found if isinstance(release, dict)]
    others = [text for text in told if text]
    if others:
        click.echo(
            f"warning: {folder.uri}: {len(others)} of {len(found)} finished shards were made with "
            f"{others[0]}; the others may differ from them: to have all of one version, make them "
            "anew with --overwrite",
            err=True,
        )
