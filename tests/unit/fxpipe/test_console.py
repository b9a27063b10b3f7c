"""Errors are one line. Progress: what was there is counted apart from what is made now."""

from __future__ import annotations

import contextlib
import errno

import click
import pytest
import tqdm

from fxpipe import console
from fxpipe.cli import cli
from fxpipe.console import Progress
from fxtrain.contract import FxError, ShardEntry


@pytest.mark.parametrize(
    ("words", "found"),
    [
        (["rendr"], "No such command 'rendr'"),
        (["check"], "Missing argument 'DIRECTORY'"),
        (["encode", "--codek", "embedded"], "No such option '--codek'"),
        (["render", "--n-chains", "1"], "1 is not in the range 3<=x<=1000000000"),
        (["render", "--cluster", "moon"], "'moon' is not one of 'slurm', 'k8s'"),
        (["codec", "fetsh"], "No such command 'fetsh'"),
        (["codec", "train", "run"], "Missing option '--renders'"),
    ],
)
def test_usage_errors_are_one_line(words, found, monkeypatch, capsys):
    monkeypatch.setattr(console.sys, "argv", ["fxpipe", *words])
    assert console.run(cli, "fxpipe") == 2
    streams = capsys.readouterr()
    (line,) = streams.err.splitlines()
    assert line.startswith("fxpipe: error: ")
    assert found in line
    assert streams.out == ""


@pytest.mark.parametrize(("words", "code"), [(["render", "--help"], 0), ([], 2)])
def test_help_is_as_click_has_it(words, code, monkeypatch, capsys):
    monkeypatch.setattr(console.sys, "argv", ["fxpipe", *words])
    assert console.run(cli, "fxpipe") == code
    streams = capsys.readouterr()
    assert (streams.out + streams.err).startswith("Usage: fxpipe ")


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (FileNotFoundError(errno.ENOENT, "No such file", "a.wav"), "a.wav: No such file"),
        (OSError(errno.ENOSPC, "No space left"), "No space left"),
        (TimeoutError("timed out"), "timed out"),
    ],
)
def test_what_the_system_says_is_one_line(error, said, monkeypatch, capsys):
    @click.command()
    def fails():
        raise error

    monkeypatch.setattr(console.sys, "argv", ["fxpipe"])
    assert console.run(fails, "fxpipe") == 1
    assert capsys.readouterr().err == f"fxpipe: error: {said}\n"


def shard(n: int) -> ShardEntry:
    return ShardEntry("train-000000", "train", 0, n, ())


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [100.0]
    monkeypatch.setattr(console.time, "monotonic", lambda: now[0])
    return now


def test_rate_and_time_left_are_of_what_is_made_now(clock, capsys):
    with Progress(1000, "render") as bar:
        clock[0] += 50  # in which every byte was read
        bar.found(shard(900))
        clock[0] += 10
        bar.shard(shard(20))
        clock[0] += 10
        bar.shard(shard(80))
    assert capsys.readouterr().err.splitlines() == [
        "render: 920/1000 clips, 2.0 clips/s, 40 s left",
        "render: finished at 1000/1000 clips after 70.0 s, 900 of them were there",
    ]


def test_without_an_earlier_run_nothing_is_said_of_one(clock, capsys):
    with Progress(10, "encode") as bar:
        clock[0] += 20
        bar.add(5)
        bar.add(5)
    assert capsys.readouterr().err.splitlines() == [
        "encode: 5/10 clips, 0.2 clips/s, 20 s left",
        "encode: finished at 10/10 clips after 20.0 s",
    ]


def test_a_bar_leaves_out_of_its_rate_what_was_there(monkeypatch, capsys):
    monkeypatch.setattr(console.sys.stderr, "isatty", lambda: True, raising=False)
    with Progress(1000, "render") as bar:
        bar.found(shard(900))
        assert isinstance(bar._bar, tqdm.tqdm)
        assert (bar._bar.n, bar._bar.initial) == (900, 900)
        bar.shard(shard(20))
        assert bar._bar.n == 920


def stop_after(n: int) -> None:
    with contextlib.suppress(FxError), Progress(10, "render") as bar:
        if n:
            bar.add(n)
        raise FxError("no scheduler there")


def test_where_it_stopped_is_said_once_something_is_done(clock, capsys):
    stop_after(5)
    assert capsys.readouterr().err == "render: stopped at 5/10 clips after 0.0 s\n"
    stop_after(0)
    assert capsys.readouterr().err == ""


def test_a_bar_that_never_moved_is_wiped_away(monkeypatch, capsys):
    monkeypatch.setattr(console.sys.stderr, "isatty", lambda: True, raising=False)
    stop_after(0)
    shown = capsys.readouterr().err
    assert "stopped" not in shown
    assert not shown.rpartition("\r")[2].strip()
