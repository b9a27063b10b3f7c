"""When an index goes and when it comes: never while a shard is missing."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
from importlib.metadata import version
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from fxpipe.resume import (
    LOCK_NAME,
    OWNER_NAME,
    RENDERS,
    alone_in,
    is_begun,
    is_finished,
    made_with,
    owner_of,
    refuse_late,
    what_is_left,
    write_finished,
)
from fxpipe.tasks import INDEX_SUM, Receipt, read_receipts, receipt_name, write_receipt
from fxpipe.verbs import resumable
from fxtrain.contract import (
    INDEX_NAME,
    FileEntry,
    FormatVersionError,
    FxError,
    LocalFolder,
    ShardEntry,
    UsageError,
)

NAME = "train-000000"
JOB = {"name": NAME, "split": "train", "first": 0, "n": 3}


def receipt(n: int = 3) -> Receipt:
    files = (FileEntry(f"{NAME}.npy", 3, "0" * 64),)
    return Receipt("mine", ShardEntry(NAME, "train", 0, n, files), {})


@pytest.fixture
def folder(tmp_path: Path) -> LocalFolder:
    """Renders of another data set, finished."""
    found = LocalFolder(tmp_path / "renders")
    names = (f"{NAME}.npy", f"{NAME}.jsonl", "plan.json", ".receipts/train-000000.json", INDEX_SUM)
    for name in names:
        found.write(name, b"{}")
    found.write(OWNER_NAME, b'{"kind": "fxpipe-renders", "identity": "other"}')
    found.write(INDEX_NAME, b'{"kind": "fxpipe-renders"}')
    return found


def watched(monkeypatch: pytest.MonkeyPatch, method: str) -> list[str]:
    """Names in the order in which a local folder's ``method`` was asked for them."""
    names: list[str] = []
    plain = getattr(LocalFolder, method)

    def noted(self: LocalFolder, name: str, *more: Any) -> Any:
        names.append(name)
        return plain(self, name, *more)

    monkeypatch.setattr(LocalFolder, method, noted)
    return names


def test_an_index_goes_where_a_shard_is_to_be_made_and_stays_where_none_is(
    folder: LocalFolder,
) -> None:
    done, missing = what_is_left(folder, [JOB], {NAME: receipt()}, {})
    assert (list(done), missing) == ([NAME], [])
    assert folder.size(INDEX_NAME) is not None
    done, missing = what_is_left(folder, [JOB], {NAME: receipt(n=2)}, {})
    assert (done, missing) == ({}, [JOB])
    assert folder.size(INDEX_NAME) is None


def test_a_shard_is_made_with_a_version_whatever_the_hash_of_its_code() -> None:
    made = made_with("click")
    assert (made["fxpipe"], made["click"]) == (version("fxpipe"), version("click"))


def test_a_receipt_of_no_file_is_no_shard(folder: LocalFolder) -> None:
    empty = Receipt("mine", ShardEntry(NAME, "train", 0, 3, ()), {})
    assert what_is_left(folder, [JOB], {NAME: empty}, {}) == ({}, [JOB])


@pytest.mark.parametrize("other", [{"split": "test"}, {"first": 3}])
def test_a_receipt_of_other_clips_is_not_of_this_shard(folder: LocalFolder, other: Any) -> None:
    there = receipt()
    elsewhere = dataclasses.replace(there, shard=dataclasses.replace(there.shard, **other))
    assert what_is_left(folder, [JOB], {NAME: elsewhere}, {}) == ({}, [JOB])


def test_finished_is_an_index_as_it_was_written_and_every_file_of_it(
    folder: LocalFolder, capsys: pytest.CaptureFixture[str]
) -> None:
    shard = receipt().shard
    plan = folder.write("plan.json", b"{}")

    def is_whole(*files: FileEntry) -> bool:
        shards = (dataclasses.replace(shard, files=files),)
        index = SimpleNamespace(identity="other", files=(plan,), shards=shards)
        return is_finished(folder, RENDERS, lambda _: index, "other")

    wave = folder.write(f"{NAME}.npy", b"abc")
    assert not is_whole(wave)  # its sum is another
    assert "has another sha256 than .receipts/index.sha256 says: it is written anew" in (
        capsys.readouterr().err
    )
    folder.write(INDEX_SUM, hashlib.sha256(folder.read(INDEX_NAME)).hexdigest().encode())
    assert is_whole(wave)
    assert not is_whole(wave, FileEntry("gone.npy", 3, "0" * 64))
    folder.write("plan.json", b"{ }")
    assert not is_whole(wave)
    plan = folder.write("plan.json", b"{ }")
    for name in (OWNER_NAME, receipt_name(NAME)):  # as a copy by `cp dir/*` lacks them
        folder.delete(name)
    assert is_whole(wave)
    assert capsys.readouterr().err == ""


def test_what_a_later_version_wrote_is_not_written_anew(folder: LocalFolder) -> None:
    def read(_: object) -> None:
        raise FormatVersionError("format version 9, this build reads 1")

    with pytest.raises(FormatVersionError):
        is_finished(folder, RENDERS, read, "other")


def test_what_a_killed_run_left_half_written_goes_before_anything_is_looked_at(
    folder: LocalFolder,
) -> None:
    part = folder.path / f"{NAME}.npy.1@elsewhere.part"
    part.write_bytes(b"half")
    os.utime(part, (0, 0))
    folder.delete(INDEX_NAME)
    assert not is_finished(folder, RENDERS, lambda _: None, "other")
    assert not part.exists()


def test_begun_is_what_has_an_index_or_a_receipt(folder: LocalFolder) -> None:
    assert is_begun(folder)
    index = folder.read(INDEX_NAME)
    folder.delete(INDEX_NAME)
    assert is_begun(folder)
    folder.delete(receipt_name(NAME))
    assert not is_begun(folder)
    folder.write(INDEX_NAME, index)
    assert is_begun(folder)


def test_without_a_mark_any_receipt_that_can_be_read_tells(folder: LocalFolder) -> None:
    folder.write(".receipts/train-000001.json", b'{"identity": "another"}')
    folder.write(OWNER_NAME, b'{"kind": "fxpipe-shards", "identity": "other"}')
    assert owner_of(folder) == ("fxpipe-shards", "other")  # whatever the index says
    folder.write(OWNER_NAME, b'{"identity": "other", "kind": 7}')
    assert owner_of(folder) == ("fxpipe-renders", "another")  # the first receipt tells nothing
    folder.delete(OWNER_NAME)
    assert owner_of(folder) == ("fxpipe-renders", "another")


def test_what_another_filled_since_it_was_looked_at_is_left_to_it(folder: LocalFolder) -> None:
    there = folder.names()
    with (
        pytest.raises(UsageError, match="holds another, unfinished data set"),
        alone_in(folder, RENDERS, "mine", overwrite=False),
    ):
        pytest.fail("it was let in")
    assert folder.names() == there
    assert owner_of(folder).identity == "other"


def test_a_late_task_writes_where_its_data_set_or_no_mark_is(folder: LocalFolder) -> None:
    refuse_late(folder, "other")
    with pytest.raises(FxError, match="was replaced by another data set"):
        refuse_late(folder, "mine")
    folder.write(OWNER_NAME, b"[]")
    refuse_late(folder, "mine")
    folder.delete(OWNER_NAME)
    refuse_late(folder, "mine")


def test_overwriting_takes_the_index_first(
    folder: LocalFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    there = set(folder.names())
    deleted = watched(monkeypatch, "delete")
    with alone_in(folder, RENDERS, "mine", overwrite=True):
        assert deleted[0] == INDEX_NAME
        assert set(deleted) == there
        assert json.loads(folder.read(OWNER_NAME))["identity"] == "mine"


@pytest.mark.parametrize(
    "names",
    [
        (f"{NAME}.npy", "plan.json"),
        (OWNER_NAME, "plan.json"),
        (INDEX_NAME, "plan.json"),
        (INDEX_SUM,),
    ],
)
def test_what_is_ours_in_part_may_be_overwritten(
    folder: LocalFolder, names: tuple[str, ...]
) -> None:
    for name in folder.names():
        if name not in names:
            folder.delete(name)
    with alone_in(folder, RENDERS, "mine", overwrite=True):
        assert set(folder.names()) == {OWNER_NAME, LOCK_NAME}


def test_the_index_comes_after_its_sum(
    folder: LocalFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    part = folder.path / f"{NAME}.npy.1@elsewhere.part"
    part.write_bytes(b"half")
    os.utime(part, (0, 0))
    written = watched(monkeypatch, "write")
    monkeypatch.setattr("fxpipe.resume.json_bytes", lambda index: b"whole")
    write_finished(folder, SimpleNamespace(identity="mine", files=(), shards=()))
    assert written == [INDEX_SUM, INDEX_NAME]
    assert folder.read(INDEX_NAME) == b"whole"
    assert not part.exists()  # of a worker that was killed meanwhile


@pytest.mark.parametrize(
    ("program", "line"),
    [
        ("/usr/bin/fxpipe", "fxpipe render -o 'my renders'"),
        ("/lib/fxpipe/__main__.py", "python -m fxpipe render -o 'my renders'"),
    ],
)
def test_what_is_to_be_typed_again_is_a_command(monkeypatch, capsys, program, line) -> None:
    monkeypatch.setattr("sys.argv", [program, "render", "-o", "my renders"])
    with pytest.raises(KeyboardInterrupt), resumable(overwrite=False):
        raise KeyboardInterrupt
    assert capsys.readouterr().err.rstrip().endswith(f"type the same again: {line}")


def test_what_is_to_be_typed_again_deletes_nothing(monkeypatch, capsys) -> None:
    monkeypatch.setattr("sys.argv", ["fxpipe", "encode", "--overwrite", "renders", "-o", "s"])
    with pytest.raises(KeyboardInterrupt), resumable(overwrite=True):
        raise KeyboardInterrupt
    told = capsys.readouterr().err.rstrip()
    assert told.endswith("type this, without --overwrite: fxpipe encode renders -o s")
    for error in (FxError("killed; type the same line again"), OSError(5, "Input/output error")):
        with pytest.raises(type(error)), resumable(overwrite=True):
            raise error
        assert "with --overwrite it begins anew: leave that away" in capsys.readouterr().err
        with pytest.raises(type(error)), resumable(overwrite=False):
            raise error
        assert capsys.readouterr().err == ""


@pytest.mark.parametrize("silent", [receipt_name(NAME), f"{NAME}.npy"])
def test_what_a_store_does_not_answer_for_is_not_made_again(tmp_path: Path, silent: str) -> None:
    class Store(LocalFolder):
        def read(self, name: str, n_bytes: int | None = None) -> bytes:
            if name == silent:
                raise FxError(f"cannot read {name}: no answer in 60 s")
            return super().read(name, n_bytes)

    folder = LocalFolder(tmp_path)
    shard = ShardEntry(NAME, "train", 0, 3, (folder.write(f"{NAME}.npy", b"abc"),))
    write_receipt(folder, whole := Receipt("mine", shard, {}))
    assert read_receipts(folder, "mine", verify=True) == {NAME: whole}
    with pytest.raises(FxError, match="no answer"):
        read_receipts(Store(tmp_path), "mine", verify=True)
    folder.write(f"{NAME}.npy", b"abd")
    assert read_receipts(folder, "mine", verify=False) == {NAME: whole}
    assert read_receipts(folder, "mine", verify=True) == {}
