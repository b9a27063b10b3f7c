"""Names that lead home, halves that nobody finishes, and who writes a directory alone."""

from __future__ import annotations

import errno
import os
import re
import socket
import subprocess
import threading
import time
from pathlib import Path

import pytest

from fxtrain.contract import FxError, LocalFolder, open_folder
from fxtrain.contract import folder as folder_module
from fxtrain.contract.busy import alone, is_held, sole_writer
from fxtrain.contract.folder import STALE_S, file_entry


def test_home_and_file_uris_are_local(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    open_folder("~/set").write("a", b"1")
    assert (tmp_path / "set" / "a").read_bytes() == b"1"
    named = open_folder(f"file://{tmp_path}/set")
    assert isinstance(named, LocalFolder)
    assert named.read("a") == b"1"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["set"]


def test_a_slash_behind_a_directory_is_not_said_twice(tmp_path: Path) -> None:
    assert open_folder(f"{tmp_path}/").uri == str(tmp_path)
    assert open_folder("/").uri == "/"
    assert open_folder("C:/set").uri == "C:/set"  # a drive of Windows is no scheme


@pytest.mark.parametrize("is_link", [False, True])
def test_what_is_in_the_way_of_a_directory_is_named(tmp_path: Path, *, is_link: bool) -> None:
    place = tmp_path / "taken"
    if is_link:
        place.symlink_to(tmp_path / "nothing")
    else:
        place.write_bytes(b"")
    told = re.escape(f"{place}, a file or a broken link, is in the way: choose another")
    for name in ("index.json", ".receipts/owner"):
        with pytest.raises(FxError, match=told):
            LocalFolder(place).write(name, b"x")
    with pytest.raises(FxError, match=told), sole_writer(place / ".receipts/lock", FxError("busy")):
        pytest.fail("there is a lock")


def test_halves_of_another_machine_go_when_nobody_can_write_them_any_more(tmp_path: Path) -> None:
    pid = 2**31 - 1  # of no process here
    old, new = (tmp_path / f"{name}.{pid}@elsewhere.part" for name in ("old", "new"))
    for path in (old, new):
        path.write_bytes(b"half")
    past = time.time() - STALE_S - 60
    os.utime(old, (past, past))
    assert LocalFolder(tmp_path).sweep() == [old.name]
    assert new.exists()


def test_a_half_goes_with_its_writer_though_nobody_has_counted_that_one_dead_yet(
    tmp_path: Path,
) -> None:
    with subprocess.Popen(["true"]) as writer:
        os.waitid(os.P_PID, writer.pid, os.WEXITED | os.WNOWAIT)
        dead, alive = (f"x.{pid}@{socket.gethostname()}.part" for pid in (writer.pid, os.getpid()))
        for name in (dead, alive):
            (tmp_path / name).write_bytes(b"half")
        assert LocalFolder(tmp_path).sweep() == [dead]
    assert [path.name for path in tmp_path.iterdir()] == [alive]


def test_a_half_that_was_swept_before_it_was_whole_is_written_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By a machine that cannot see that its writer lives."""
    write, tries = folder_module._write_whole, []

    def swept_once(part: Path, data: bytes) -> None:
        write(part, data)
        tries.append(part)
        if len(tries) == 1:
            part.unlink()

    monkeypatch.setattr(folder_module, "_write_whole", swept_once)
    assert LocalFolder(tmp_path).write("a", b"whole") == file_entry("a", b"whole")
    assert [(path.name, path.read_bytes()) for path in tmp_path.iterdir()] == [("a", b"whole")]


def test_what_cannot_be_deleted_is_told_and_what_is_not_there_is_not(tmp_path: Path) -> None:
    folder = LocalFolder(tmp_path)
    folder.write("a/b", b"")
    folder.delete("a/none")
    folder.delete("a/b/none")
    with pytest.raises(FxError, match=f"cannot delete {re.escape(str(tmp_path))}/a: .*; make the"):
        folder.delete("a")
    assert folder.names() == ["a/b"]


def test_one_writer_at_a_time_and_no_lock_is_left(tmp_path: Path) -> None:
    lock, busy = tmp_path / "set" / ".busy", FxError("somebody is writing")
    assert not is_held(lock)
    with sole_writer(lock, busy):
        assert is_held(lock)
        with pytest.raises(FxError, match="somebody is writing"), sole_writer(lock, busy):
            pytest.fail("two writers")
        assert is_held(lock)
    assert not lock.exists()
    with sole_writer(lock, busy):
        pass


def test_who_comes_second_is_told_and_waits(tmp_path: Path) -> None:
    lock, told, order = tmp_path / "lock", threading.Event(), []

    def second() -> None:
        with alone(lock, told.set):
            order.append("second")

    with alone(lock, lambda: pytest.fail("nobody is there")):
        waiting = threading.Thread(target=second)
        waiting.start()
        assert told.wait(10)
        order.append("first")
    waiting.join(10)
    assert order == ["first", "second"]


def test_a_link_to_itself_hides_no_file_beside_it(tmp_path: Path) -> None:
    names = [f"train-{number:06d}.npy" for number in range(50)]
    (tmp_path / "around").symlink_to("around")
    for name in names:
        (tmp_path / name).touch()
    assert LocalFolder(tmp_path).names() == names


@pytest.mark.parametrize("number", [errno.EIO, errno.EMFILE, errno.ESTALE])
def test_a_folder_that_cannot_be_listed_is_not_taken_for_empty(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    (tmp_path / ".receipts").mkdir()
    scandir = os.scandir

    def failing(path: str) -> object:
        if path.endswith(".receipts"):
            raise OSError(number, os.strerror(number), path)
        return scandir(path)

    monkeypatch.setattr(os, "scandir", failing)
    with pytest.raises(OSError, match=r"\.receipts"):
        LocalFolder(tmp_path).names()


def test_what_nobody_may_list_is_told_of_the_folder_itself_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "set" / "lost+found").mkdir(parents=True)
    (tmp_path / "set" / "a").touch()
    closed, scandir = "lost+found", os.scandir

    def failing(path: str) -> object:
        if path.endswith(closed):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), path)
        return scandir(path)

    monkeypatch.setattr(os, "scandir", failing)
    assert LocalFolder(tmp_path / "set").names() == ["a"]
    closed = "set"
    with pytest.raises(PermissionError, match="set"):
        LocalFolder(tmp_path / "set").names()


@pytest.fixture
def refused(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """What the system says where somebody wants a lock: the last number."""
    numbers: list[int] = []

    def refuse(self: object, **options: object) -> None:
        raise OSError(numbers[-1], os.strerror(numbers[-1]))

    monkeypatch.setattr("filelock.FileLock.acquire", refuse)
    return numbers


def test_where_nothing_can_be_locked_nobody_is_kept_out(tmp_path: Path, refused: list[int]) -> None:
    refused.append(errno.ENOLCK)
    with sole_writer(tmp_path / ".busy", FxError("busy")):
        refused.append(errno.EACCES)
    with pytest.raises(FxError, match="cannot write"), sole_writer(tmp_path / "x", FxError("busy")):
        pytest.fail("went on")


def test_without_locks_a_killed_holder_of_another_machine_keeps_nobody_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def flock(number: int, operation: int) -> None:
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))

    monkeypatch.setattr("fcntl.flock", flock)
    lock = tmp_path / ".busy"
    lock.write_text(f"{os.getpid()}\nelsewhere\n")
    assert not is_held(lock)
    with sole_writer(lock, FxError("busy")):
        pass
    assert not lock.exists()
