"""What a container or a sandbox takes from a program: home, shared memory, loopback, UTF-8."""

from __future__ import annotations

import errno
import multiprocessing
import os
import pwd
import re
import socket
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import NoReturn

import click
import pytest
from click.testing import CliRunner

from fxpipe import console
from fxpipe.cli import cli
from fxpipe.codec import CODECS, fetch_weights
from fxpipe.codec.weights import find_weights
from fxpipe.doctor import OK, PROBLEM, WARNING, guarded, machine, storage, trial
from fxpipe.errors import CodecError
from fxpipe.fetch.download import fetch_dataset
from fxpipe.pedals.vst3 import search_folders
from fxpipe.tasks import Workers, run_tasks
from fxtrain.cli import run_cli
from fxtrain.contract import FxError, UsageError, open_folder


@pytest.fixture
def homeless(monkeypatch: pytest.MonkeyPatch) -> None:
    """A number for a user, which no list of users has, and nothing said of a home."""

    def unknown(uid: int) -> NoReturn:
        raise KeyError(f"getpwuid(): uid not found: {uid}")

    for name in ("HOME", "XDG_DATA_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(pwd, "getpwuid", unknown)


@pytest.mark.usefixtures("homeless")
def test_without_a_home_a_line_says_what_to_set():
    for work in (
        lambda: find_weights(CODECS["44khz"]),
        lambda: fetch_weights("44khz"),
        lambda: fetch_dataset("guitarset"),
        lambda: open_folder("~/renders"),
    ):
        with pytest.raises(FxError, match="set HOME to a folder that can be written"):
            work()
    done = CliRunner().invoke(cli, ["sources"])
    assert "idmt " in done.output, done.exception
    assert Path("/usr/lib/vst3") in search_folders()
    (found,) = guarded("storage", storage.disks)
    assert "at: there is no home directory" in found.found


@pytest.mark.parametrize(
    "line",
    [
        ["render", "--dataset", "folder:~nobody-here/x"],
        ["render", "--dataset", "idmt", "--data-dir", "~nobody-here/x"],
        ["fetch", "guitarset", "--data-dir", "~nobody-here/x"],
        ["sources", "~nobody-here/set.json"],
    ],
)
def test_a_home_that_nobody_has_is_one_line(line, monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["fxpipe", *line])
    assert console.run(cli, "fxpipe") == UsageError.exit_code
    told = capsys.readouterr().err
    assert told.startswith("fxpipe: error: ~nobody-here/")
    assert "give the path without ~" in told


def test_a_home_that_cannot_be_written_is_named_with_the_way_on(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("HOME", str(tmp_path / "file"))
    with pytest.raises(CodecError, match=r"cannot be made \(Not a directory\); set HOME to"):
        fetch_weights("44khz")
    monkeypatch.setenv("HOME", str(tmp_path / "none"))
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    said = {found.name: found.do for found in storage.disks()}
    assert said["codec weights"] == "choose another place that can be written (HOME)"
    assert said["output"].startswith("make it writable: chmod u+w")


def test_workers_that_could_never_start_are_refused_before_dask_waits(monkeypatch):
    def read_only() -> NoReturn:
        raise OSError(errno.EROFS, "Read-only file system")

    def switched_off(address: object, timeout: float) -> NoReturn:
        raise OSError(errno.ENETUNREACH, "Network is unreachable")

    with monkeypatch.context() as patched:
        patched.setattr(multiprocessing, "Lock", read_only)
        with pytest.raises(FxError, match=r"shared memory \(/dev/shm\) cannot be used \(Read-only"):
            list(run_tasks(trial.double, [{"n": 1}], Workers(1)))
    monkeypatch.setattr(socket, "create_connection", switched_off)
    with pytest.raises(FxError, match=r"itself at 127\.0\.0\.1 \(Network is unreachable\); switch"):
        list(run_tasks(trial.double, [{"n": 1}], Workers(1)))
    (found,) = trial.worker()
    assert (found.state, found.do) == (PROBLEM, "")  # the line has said it


@pytest.mark.parametrize(
    ("n_gpus", "may_write", "state", "do"),
    [(1, True, OK, ""), (2, True, WARNING, "--shm-size=2g"), (0, False, PROBLEM, "can be")],
)
def test_shared_memory_of_a_container(tmp_path, monkeypatch, n_gpus, may_write, state, do):
    """Docker gives 64 MB, which is enough for all but what several GPUs share."""
    usage = SimpleNamespace(total=64 * 2**20, free=0)
    monkeypatch.setattr(machine.shutil, "disk_usage", lambda place: usage)
    monkeypatch.setattr("torch.cuda.device_count", lambda: n_gpus)
    monkeypatch.setattr(os, "access", lambda path, mode: may_write)
    (found,) = machine.shared_memory(tmp_path)
    assert found.state == state
    assert do in found.do


@pytest.mark.parametrize("run", [console.run, run_cli])
@pytest.mark.parametrize(
    ("error", "told"),
    [
        (MemoryError(), r"memory ran out: .* \(ulimit -v\)"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried"), "memory ran out: "),
        (RuntimeError("can't start new thread"), r"no further process or thread .*\(ulimit -u, "),
        (BlockingIOError(errno.EAGAIN, "Resource temporarily unavailable"), "no further process"),
    ],
)
def test_what_a_limit_ends_is_one_line(run, error, told, monkeypatch, capsys):
    @click.command()
    def ends():
        raise error

    monkeypatch.setattr("sys.argv", ["fx"])
    assert run(ends, "fx") == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert re.match(f"fx: error: {told}", line)


@pytest.mark.parametrize(
    ("encoding", "shown"), [("latin-1", r"a \u2192 b \udcff"), ("utf-8", r"a → b \udcff")]
)
@pytest.mark.parametrize(
    ("module", "called"), [("fxpipe.cli", "console.run"), ("fxtrain.cli", "run_cli")]
)
def test_what_stdout_has_no_letter_for_is_written_as_a_number(module, called, encoding, shown):
    code = (
        f"import click, {module} as cli; "
        f"cli.{called} = lambda *_: click.echo('a \\u2192 b \\udcff') or 0; cli.main()"
    )
    env = os.environ | {"PYTHONIOENCODING": f"{encoding}:strict"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, env=env, check=False)
    assert done.stdout.decode(encoding).rstrip() == shown, done.stderr
    assert done.returncode == 0
