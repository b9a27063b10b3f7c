"""Training on several processes: each sample once, one gradient, one line for an error."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
import torch

from fixtures.ranks import train_and_record, train_each_and_record
from fixtures.ranks_ending import fail_on_one, kill_one, tell_place
from fixtures.shards import make_shards
from fxtrain.callbacks import load_best
from fxtrain.checkpoint import load_run
from fxtrain.config import Config, ModelConfig, TrainConfig, replace_train
from fxtrain.contract import DamagedError, FxError, UsageError
from fxtrain.data import ShardDataset, open_shards
from fxtrain.errors import DiedError, InterruptedFitError
from fxtrain.fit import fit
from fxtrain.module import TranslatorModule
from fxtrain.ranks import run_ranks
from fxtrain.trainer import Task, make_trainer, prepare, quiet_lightning

CPU = torch.device("cpu")
MODEL = ModelConfig(kind="gru", d_model=32, n_layers=1, n_heads=2, frame_mask=0.0, dropout=0.0)
TRAIN = TrainConfig(batch_size=8, max_epochs=2, lr=3e-3, warmup_steps=0, precision="32")


def quiet(text: str) -> None:
    pass


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> ShardDataset:
    """33 samples on two ranks with batches of 8: 17 and 16, so that the last step lacks one."""
    path = tmp_path_factory.mktemp("data") / "shards"
    make_shards(path, n_train=33, n_valid=13, n_test=0, shard_size=10)
    return open_shards(path)


def task_of(dataset: ShardDataset, run: Path, **changes: object) -> Task:
    config = replace_train(Config(MODEL, TRAIN), max_epochs=1, **changes)
    card, _ = prepare(dataset, config)
    config = dataclasses.replace(config, model=card.model)
    return Task(dataset, config, run, False, CPU, False)


WAYS: dict[str, dict[str, object]] = {
    "resident": {},
    "knobs": {"knobs": "too"},
    "stream": {"resident": False, "n_workers": 2},
}


@pytest.fixture(scope="module")
def trained(dataset: ShardDataset, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What two processes saw, by the way they were trained."""
    out = tmp_path_factory.mktemp("two")
    tasks = {
        name: task_of(dataset, out / name / "run", n_devices=2, **options)
        for name, options in WAYS.items()
    }
    run_ranks(train_each_and_record, (tasks, out), 2, quiet)
    return out


@pytest.mark.parametrize("way", WAYS)
def test_two_processes_see_every_sample_once_and_step_as_one(
    way: str, trained: Path, dataset: ShardDataset, tmp_path: Path
) -> None:
    found = [torch.load(trained / way / f"{rank}.pt", weights_only=True) for rank in range(2)]
    steps = [each["positions"] for each in found]
    assert len(steps[0]) == len(steps[1]) == 3
    seen = [position for rank in steps for step in rank for position in step]
    assert sorted(seen) == list(range(33))
    for a, b in zip(found[0]["gradients"], found[1]["gradients"], strict=True):
        assert all(torch.equal(a[name], b[name]) for name in a)
    if way == "stream":
        return
    one = task_of(dataset, tmp_path / "one", batch_size=16, **WAYS[way])
    (tmp_path / "alone").mkdir()
    train_and_record(0, quiet, one, tmp_path / "alone")
    alone = torch.load(tmp_path / "alone" / "0.pt", weights_only=True)
    for step, expected in enumerate(alone["positions"]):
        assert sorted(steps[0][step] + steps[1][step]) == sorted(expected)
    for step, tolerance in ((0, 1e-5), (2, 1e-3)):  # the last one's weights went two steps
        for name, gradient in alone["gradients"][step].items():
            torch.testing.assert_close(
                found[0]["gradients"][step][name], gradient, rtol=tolerance, atol=tolerance
            )


def test_a_fit_on_two_processes_scores_every_sample_and_goes_on(
    dataset: ShardDataset, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    lines: list[str] = []
    config = replace_train(Config(MODEL, TRAIN), n_devices=2, max_epochs=1)
    result = fit(dataset, config, run, device="cpu", say=lines.append)
    assert sum("valid loss" in line for line in lines) == 1
    assert result.valid["exact"].n == 13
    assert result.step_ms is not None
    best = json.loads((run / "checkpoints" / "best.json").read_bytes())

    found = load_run(run)
    load_best(run, found.model)
    module = TranslatorModule(found.model, found.card, config.train, dataset)
    alone_config = replace_train(config, n_devices=1).train
    with quiet_lightning():
        trainer = make_trainer(tmp_path / "check", alone_config, CPU, False, [])
        (alone,) = trainer.validate(module, verbose=False)
    for name in ("exact", "exact_class", "set", "f1"):
        assert alone[f"valid/{name}"] == pytest.approx(best[name], abs=1e-6), name

    more = replace_train(config, max_epochs=2)
    again = fit(dataset, more, run, resume=True, device="cpu", say=lines.append)
    assert [line.split()[1] for line in lines if "valid loss" in line] == ["1/1", "2/2"]
    assert again.best_epoch in (1, 2)
    last = torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)
    assert (last["epoch"], last["global_step"]) == (1, 6)


@pytest.mark.parametrize("way", ["resident", "stream"])
def test_a_job_that_ends_on_two_processes_leaves_a_model(
    dataset: ShardDataset, tmp_path: Path, way: str
) -> None:
    """A cluster tells the one that was typed, those that it began, and theirs, who read."""

    def end(text: str) -> None:
        if text.startswith("epoch   2/"):
            me = psutil.Process()
            for process in (*me.children(recursive=True), me):
                process.send_signal(signal.SIGTERM)

    config = replace_train(Config(MODEL, TRAIN), n_devices=2, max_epochs=99, **WAYS[way])
    before = signal.signal(signal.SIGTERM, signal.SIG_DFL)
    try:
        with pytest.raises(InterruptedFitError, match="the best epoch so far is saved"):
            fit(dataset, config, tmp_path / "run", device="cpu", say=end)
    finally:
        signal.signal(signal.SIGTERM, before)
    assert load_run(tmp_path / "run").card.n_train == 33


def test_an_error_on_one_process_ends_all_with_its_line() -> None:
    heard: list[str] = []
    with pytest.raises(DamagedError, match="shard 7 is bad"):
        run_ranks(fail_on_one, (DamagedError("shard 7 is bad"),), 2, heard.append)
    assert "rank 1 is here" in heard


def test_errors_of_libraries_are_one_line_too() -> None:
    with pytest.raises(FxError, match=r"training stopped: ValueError: a$"):
        run_ranks(fail_on_one, (ValueError("a\nb"),), 2, quiet)


def test_a_process_that_is_killed_ends_all_with_a_line() -> None:
    with pytest.raises(DiedError, match=r"^a training process was killed by SIGKILL; if"):
        run_ranks(kill_one, (), 2, quiet)


def test_what_the_first_process_returns_is_the_result() -> None:
    heard: list[str] = []
    assert run_ranks(tell_place, (), 2, heard.append) == (0, "0", "127.0.0.1")
    assert sorted(heard) == ["rank 0 of node 0", "rank 1 of node 0"]


def test_no_process_outlives_a_parent_that_is_killed() -> None:
    code = (
        "from fixtures.ranks_ending import wait_for_ever\n"
        "from fxtrain.ranks import run_ranks\n"
        "run_ranks(wait_for_ever, (), 2, lambda text: print(text, flush=True))"
    )
    path = os.pathsep.join([str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH", "")])
    with subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, env=os.environ | {"PYTHONPATH": path}
    ) as parent:
        assert parent.stdout is not None
        ranks = [psutil.Process(int(parent.stdout.readline())) for _ in range(2)]
        assert all(rank.ppid() == parent.pid for rank in ranks)
        parent.kill()
    _, alive = psutil.wait_procs(ranks, timeout=30)
    for rank in alive:
        rank.kill()
    assert alive == []


def test_a_dead_reader_is_one_line(tmp_path, dataset, monkeypatch):
    def killed(*args):
        raise RuntimeError("DataLoader worker (pid 7) is killed by signal: Killed.")

    monkeypatch.setattr("fxtrain.fit.train", killed)
    with pytest.raises(FxError, match=r"reads batches \(n_workers\) died; .* take fewer$"):
        fit(dataset, Config(), tmp_path / "run", device="cpu")
    with pytest.raises(UsageError, match="not to a store"):
        fit(dataset, Config(), Path("s3://bucket/run"), device="cpu")


def test_a_script_without_a_guard_is_told_of_it(tmp_path: Path) -> None:
    """Each process reads the script again; that it ended was laid to memory."""
    script = tmp_path / "mine.py"
    script.write_text("from fxtrain.ranks import run_ranks\n\nrun_ranks(print, (), 1, print)\n")
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True)
    told = done.stderr.splitlines()[-1]
    assert told.startswith("fxtrain.errors.DiedError: a training process ended with code 1 before")
    assert told.endswith("put what is not to happen again under 'if __name__ == \"__main__\":'")
