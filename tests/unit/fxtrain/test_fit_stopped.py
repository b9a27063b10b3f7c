"""How training hears that it is to end, and what a run says that goes on or begins with another."""

from __future__ import annotations

import os
import re
import shutil
import signal
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch

from fixtures.shards import PEDALS, make_shards
from fxtrain import fit as training
from fxtrain.checkpoint import load_run
from fxtrain.cli import cli, run_cli
from fxtrain.config import Config, ModelConfig, TrainConfig, replace_train
from fxtrain.contract import FxError, UsageError
from fxtrain.data import ShardDataset, open_shards
from fxtrain.data.stream import make_loader
from fxtrain.errors import DiedError, InterruptedFitError
from fxtrain.fit import fit, plan
from fxtrain.runs import load_run_config
from fxtrain.start import what_is_known

MODEL = ModelConfig(kind="gru", d_model=16, n_layers=1, n_heads=2, frame_mask=0.0)
SETTINGS = Config(MODEL, TrainConfig(batch_size=16, max_epochs=2, lr=3e-3, warmup_steps=5))


def quiet(text: str) -> None:
    pass


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> ShardDataset:
    path = tmp_path_factory.mktemp("data") / "shards"
    make_shards(path, n_train=48, n_valid=16, n_test=0)
    return open_shards(path)


@pytest.fixture(scope="module")
def finished(dataset: ShardDataset, tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("runs") / "my run"
    fit(dataset, SETTINGS, run, device="cpu", say=quiet)
    return run


@pytest.fixture(params=["SIGHUP", "SIGTERM"])
def ending(request: pytest.FixtureRequest) -> Iterator[signal.Signals]:
    """A terminal that is closed, and a job that a cluster ends."""
    number = signal.Signals[request.param]
    before = signal.getsignal(number)
    yield number
    signal.signal(number, before)


def end_after_an_epoch(number: int, text: str) -> None:
    if text.startswith("epoch   1/"):
        os.kill(os.getpid(), number)
        os.kill(os.getpid(), number)  # the shell and the system, one each


def test_a_terminal_or_a_job_that_ends_leaves_a_model(
    dataset: ShardDataset, tmp_path: Path, ending: signal.Signals
) -> None:
    signal.signal(ending, signal.SIG_DFL)
    say = partial(end_after_an_epoch, ending)
    with pytest.raises(InterruptedFitError, match="the best epoch so far is saved"):
        fit(dataset, SETTINGS, tmp_path / "run", device="cpu", say=say)
    assert load_run(tmp_path / "run").card.n_train == 48
    assert signal.getsignal(ending) == signal.SIG_DFL


def test_under_nohup_training_goes_on(
    dataset: ShardDataset, tmp_path: Path, ending: signal.Signals
) -> None:
    signal.signal(ending, signal.SIG_IGN)
    say = partial(end_after_an_epoch, ending)
    fit(dataset, SETTINGS, tmp_path / "run", device="cpu", say=say)


def test_a_job_ends_for_those_too_who_read_batches(
    dataset: ShardDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A cluster tells every process at once, and a reader dies of it."""

    def train(task: Any, card: Any, model: Any, asked: Any, *args: Any) -> None:
        asked.set()
        raise RuntimeError("DataLoader worker (pid 7) is killed by signal: Terminated.")

    monkeypatch.setattr(training, "train", train)
    with pytest.raises(InterruptedFitError, match="stopped before the first epoch"):
        fit(dataset, SETTINGS, tmp_path / "run", device="cpu", say=quiet)


def test_ctrl_c_is_not_answered_by_those_who_read_batches(
    dataset: ShardDataset, tmp_path: Path
) -> None:
    heard = tmp_path / "heard"
    before = signal.signal(signal.SIGINT, lambda *_: heard.touch())
    try:
        loader = make_loader(
            dataset, "train", batch_size=8, seed=0, shuffle=True, resident=False, n_workers=1
        )
        loader.set_epoch(0)
        batches = iter(loader)
        next(batches)
        workers = psutil.Process().children()
        for worker in workers:
            worker.send_signal(signal.SIGINT)
        assert workers
        assert len(list(batches)) == 5
    finally:
        signal.signal(signal.SIGINT, before)
    assert not heard.exists()


@pytest.mark.parametrize("error", [DiedError, RuntimeError])
def test_where_a_process_died_only_what_is_there_is_gone_on_with(
    error: type[Exception],
    dataset: ShardDataset,
    finished: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def die(*args: Any) -> None:
        raise error("DataLoader worker (pid 7) is killed by signal: Killed.")

    monkeypatch.setattr(training, "train", die)
    run = shutil.copytree(finished, tmp_path / "a run")
    line = re.escape(f"fxtrain fit {dataset.folder.uri} --resume '{run}'")
    with pytest.raises(FxError, match=f"What the last epoch saved is kept; go on with: {line}$"):
        fit(dataset, load_run_config(run), run, resume=True, device="cpu", say=quiet)
    with pytest.raises(DiedError) as told:
        fit(dataset, SETTINGS, tmp_path / "new", device="cpu", say=quiet)
    assert "go on" not in str(told.value)
    assert not (tmp_path / "new").exists()


def test_where_the_system_gives_no_more_what_is_there_is_gone_on_with(
    dataset: ShardDataset, finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*args: Any) -> None:
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 8")

    monkeypatch.setattr(training, "train", full)
    run = shutil.copytree(finished, tmp_path / "run")
    with pytest.raises(FxError, match=r"^memory ran out: .* is kept; go on with: .* --resume "):
        fit(dataset, load_run_config(run), run, resume=True, device="cpu", say=quiet)


def test_memory_that_runs_out_after_training_costs_no_epoch(
    dataset: ShardDataset, finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*args: Any) -> None:
        raise torch.OutOfMemoryError

    run = shutil.copytree(finished, tmp_path / "run")
    monkeypatch.setattr(training, "tune", full)
    with pytest.raises(FxError, match=r"no epoch is lost. .* --resume .*/run --device cpu$"):
        fit(dataset, load_run_config(run), run, resume=True, device="cpu", say=quiet)


def test_a_run_without_an_epoch_left_says_so(
    dataset: ShardDataset, finished: Path, tmp_path: Path
) -> None:
    run, said = shutil.copytree(finished, tmp_path / "run"), []
    fit(dataset, load_run_config(run), run, resume=True, device="cpu", say=said.append)
    assert said[1:] == ["no epoch is left to train; what follows training is done now"]


def test_a_dry_run_tells_what_is_left(
    dataset: ShardDataset,
    finished: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(training, "_seconds", lambda work: 60.0)
    shards, more = str(dataset.folder.uri), replace_train(SETTINGS, max_epochs=5)
    assert plan(dataset, more, "cpu").seconds == 3 * 5 * 60.0  # three steps an epoch
    assert plan(dataset, more, "cpu", finished).seconds == 3 * 3 * 60.0
    line = ["fit", shards, "--resume", str(finished), "--dry-run", "--epochs"]
    assert run_cli(cli, "fxtrain", [*line, "3"]) == 0
    told = capsys.readouterr().out
    assert "3 an epoch, 3 epochs at most, 2 of them done" in told
    assert "about 3.0 min at most" in told
    assert run_cli(cli, "fxtrain", [*line, "2"]) == 0
    assert "about 0.0 min at most" in capsys.readouterr().out


def test_pedals_that_the_start_does_not_know_are_told(
    dataset: ShardDataset, finished: Path, tmp_path: Path
) -> None:
    card = load_run(finished).card
    assert what_is_known(str(finished), card) is None
    make_shards(tmp_path / "shards", n_train=16, n_valid=8, n_test=0, pedals=("wah", *PEDALS[2:]))
    said: list[str] = []
    start = replace_train(SETTINGS, start_from=str(finished), max_epochs=1)
    start = Config(train=start.train)
    fit(open_shards(tmp_path / "shards"), start, tmp_path / "run", device="cpu", say=said.append)
    assert said[0] == (
        f"{finished}: it knows delay, reverb already, has never heard wah, will know compressor, "
        "distortion no more"
    )


def test_going_on_from_python_needs_a_run(
    dataset: ShardDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match="resume goes on with a run: name it"):
        fit(dataset, SETTINGS, resume=True, device="cpu", say=quiet)
    assert not list(tmp_path.iterdir())
