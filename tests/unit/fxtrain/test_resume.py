"""A run that goes on: what of it stays, what is refused, and what is told before a run begins."""

from __future__ import annotations

import dataclasses
import errno
import json
import os
import re
import shutil
import signal
import tempfile
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch

from fixtures.shards import make_shards
from fxtrain import fit as training
from fxtrain.answers import CLIPS_NAME
from fxtrain.checkpoint import (
    CARD_NAME,
    CONFIG_NAME,
    METRICS_NAME,
    PAGE_NAME,
    WEIGHTS_NAME,
    load_run,
)
from fxtrain.cli import cli, run_cli
from fxtrain.columns import without_nan
from fxtrain.config import Config, DecodeSettings, ModelConfig, TrainConfig, replace_train
from fxtrain.contract import ContractError, FxError, LocalFolder, UsageError
from fxtrain.contract import folder as folder_module
from fxtrain.data import ShardDataset, open_shards
from fxtrain.errors import CheckpointError, InterruptedFitError
from fxtrain.evaluate import evaluate
from fxtrain.finding import model_folder
from fxtrain.fit import fit, plan, put_model
from fxtrain.module import TranslatorModule
from fxtrain.predict import open_run
from fxtrain.runs import BEST_NAME, BEST_SCORES_NAME, LAST_NAME, claim, load_run_config

MODEL = ModelConfig(kind="gru", d_model=16, n_layers=1, n_heads=2, frame_mask=0.0)
SETTINGS = Config(MODEL, TrainConfig(batch_size=16, max_epochs=2, lr=3e-3, warmup_steps=5))


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> ShardDataset:
    path = tmp_path_factory.mktemp("data") / "shards"
    make_shards(path, n_train=96, n_valid=24, n_test=0)
    return open_shards(path)


@pytest.fixture(scope="module")
def finished(dataset: ShardDataset, tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("runs") / "whole"
    fit(dataset, SETTINGS, run, device="cpu", say=lambda text: None)
    return run


@pytest.fixture
def run(finished: Path, tmp_path: Path) -> Path:
    """A copy, whose decoding was tuned to something that no default says."""
    found = shutil.copytree(finished, tmp_path / "run")
    loaded = load_run(found)
    tuned = DecodeSettings(length_bias=0.7, head_weight=0.3, temperature=1.7)
    put_model(found, dataclasses.replace(loaded.card, decode=tuned), loaded.model)
    for name in (PAGE_NAME, CLIPS_NAME):
        (found / name).write_text("scores of these weights")
    return found


def stop(dataset: ShardDataset, run: Path, monkeypatch: pytest.MonkeyPatch, epoch: int) -> None:
    """Go on, and press Ctrl-C at the first step of this epoch, counted from 0."""
    as_it_is = TranslatorModule.on_train_batch_end

    def pressing(module: TranslatorModule, *args: Any) -> None:
        as_it_is(module, *args)
        if module.current_epoch == epoch:
            os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(TranslatorModule, "on_train_batch_end", pressing)
    config = load_run_config(run, max_epochs=9)
    with pytest.raises(InterruptedFitError, match="the best epoch so far is saved"):
        fit(dataset, config, run, resume=True, device="cpu", say=lambda text: None)


def test_stopped_without_a_better_epoch_a_finished_run_is_as_it_was(
    dataset: ShardDataset, run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = ("model.json", "model.safetensors", METRICS_NAME, PAGE_NAME, CLIPS_NAME)
    before = {name: (run / name).read_bytes() for name in names}
    stop(dataset, run, monkeypatch, epoch=2)
    assert {name: (run / name).read_bytes() for name in names} == before


def test_stopped_with_a_better_one_it_stays_tuned_and_has_no_scores_of_other_weights(
    dataset: ShardDataset, run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before, tuned = (run / "model.safetensors").read_bytes(), load_run(run).card.decode
    stop(dataset, run, monkeypatch, epoch=8)
    assert (run / "model.safetensors").read_bytes() != before
    assert load_run(run).card.decode == tuned
    assert not (run / METRICS_NAME).exists()
    assert not (run / PAGE_NAME).exists()
    assert not (run / CLIPS_NAME).exists()


@pytest.mark.parametrize(
    ("name", "n_bytes", "problem"),
    [
        ("best.safetensors", None, "best.safetensors is gone, and the best epoch with it"),
        ("best.json", None, "best.json is gone"),
        ("best.safetensors", 2000, "best.safetensors: damaged"),
    ],
)
def test_a_best_epoch_that_is_lost_is_told_before_any_training(
    dataset: ShardDataset, run: Path, name: str, n_bytes: int | None, problem: str
) -> None:
    lost = run / "checkpoints" / name
    if n_bytes is None:
        lost.unlink()
    else:
        lost.write_bytes(lost.read_bytes()[:n_bytes])
    with pytest.raises(CheckpointError, match=f"{problem}.*start a new run"):
        plan(dataset, load_run_config(run), "cpu", run)


def test_a_flipped_bit_in_the_last_epoch_is_told_before_any_training(
    dataset: ShardDataset, run: Path
) -> None:
    last = run / "checkpoints" / "last.ckpt"
    data = bytearray(last.read_bytes())
    data[len(data) // 2] ^= 4
    last.write_bytes(data)
    with pytest.raises(CheckpointError, match=r"last\.ckpt: cannot be read .*start a new run"):
        plan(dataset, load_run_config(run), "cpu", run)


def test_a_dry_run_refuses_what_could_not_be_resumed(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make_shards(tmp_path / "others", n_train=8, n_valid=8, n_test=0, seed=5)
    line = ["fit", str(tmp_path / "others"), "--resume", str(run), "--dry-run"]
    assert run_cli(cli, "fxtrain", line) == 1
    assert "not those that the run began with" in capsys.readouterr().err


def test_recordings_that_the_start_was_taught_on_are_told(
    dataset: ShardDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    def leak(card: object, index: object, split: str) -> str | None:
        asked.append(split)
        return f"warning: known recordings behind {split}" if split == "valid" else None

    monkeypatch.setattr(training, "warning_of_leak", leak)
    said: list[str] = []
    fit(dataset, SETTINGS, tmp_path / "run", device="cpu", say=said.append)
    assert asked == ["valid", "test"]
    assert said[0] == "warning: known recordings behind valid"


def test_a_run_ends_with_its_best_epoch_and_the_scores_of_that(
    dataset: ShardDataset, run: Path
) -> None:
    best = safetensors.torch.load_file(run / BEST_NAME)
    best["decoder.out.bias"] += 0.5
    safetensors.torch.save_file(best, run / BEST_NAME)
    fit(dataset, load_run_config(run), run, resume=True, device="cpu", say=lambda text: None)
    kept = safetensors.torch.load_file(run / WEIGHTS_NAME)
    assert all(torch.equal(kept[name], weights) for name, weights in best.items())
    found = evaluate(load_run(run), dataset, "valid")
    told = json.loads((run / METRICS_NAME).read_bytes())
    assert found.n_groups < found.n
    assert told["valid"] == {
        name: without_nan(dataclasses.asdict(found.scores[name])) for name in told["valid"]
    }
    assert told["valid_exact_null"] == found.null["exact"]
    assert told["valid_exact_ceiling"] == found.ceiling["exact"]


def test_a_disk_that_fills_up_leaves_the_epoch_before_to_go_on_with(
    dataset: ShardDataset, run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    last = run / LAST_NAME
    before = last.read_bytes()
    whole = folder_module._write_whole

    def write(part: Path, data: bytes) -> None:
        if not part.name.startswith(last.name):
            return whole(part, data)
        part.write_bytes(data[:1000])
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(folder_module, "_write_whole", write)
    more = load_run_config(run, max_epochs=3)
    how = r"cannot write .*last\.ckpt: No space left on device; .* go on with: .* --resume "
    with pytest.raises(FxError, match=how + re.escape(str(run))):
        fit(dataset, more, run, resume=True, device="cpu", say=lambda text: None)
    assert last.read_bytes() == before
    monkeypatch.setattr(folder_module, "_write_whole", whole)
    # Files that travel through the system's temporary folder cannot be put in place at once.
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "full"))
    assert fit(dataset, more, run, resume=True, device="cpu", say=lambda text: None).path == run
    assert {path.name for path in last.parent.iterdir()} == {
        Path(name).name for name in (LAST_NAME, BEST_NAME, BEST_SCORES_NAME)
    }


def test_stopped_after_its_last_epoch_a_run_says_how_to_finish_it(
    dataset: ShardDataset, run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(*args: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(training, "tune", stop)
    again = re.escape(f"fxtrain fit {dataset.folder.uri} --resume {run}")
    with pytest.raises(InterruptedFitError, match=f"no epoch is lost.*{again}$"):
        fit(dataset, load_run_config(run), run, resume=True, device="cpu", say=lambda text: None)
    monkeypatch.undo()
    found = fit(dataset, load_run_config(run), run, resume=True, device="cpu", say=lambda _: None)
    assert (run / METRICS_NAME).is_file()
    assert found.best_epoch in (1, 2)


def test_a_run_that_has_not_ended_is_no_model_yet_but_can_be_gone_on_with(run: Path) -> None:
    (run / CARD_NAME).unlink()  # as after a kill
    run = run.rename(run.with_name("my run"))
    with pytest.raises(CheckpointError, match=f"has not ended.*--resume '{re.escape(str(run))}'$"):
        load_run(run)
    with pytest.raises(UsageError, match=f"go on with --resume '{re.escape(str(run))}', replace"):
        claim(run, overwrite=False)


def test_a_line_to_type_holds_where_there_is_a_space_in_a_path(tmp_path: Path) -> None:
    run = tmp_path / "my run"
    LocalFolder(run).write(LAST_NAME, b"")
    told = f"--resume '{re.escape(str(run))}'"
    with pytest.raises(CheckpointError, match=told):
        load_run(run)
    with pytest.raises(UsageError, match=told):
        claim(run, overwrite=False)


def test_shards_where_a_run_is_asked_for_are_called_shards(dataset: ShardDataset) -> None:
    with pytest.raises(CheckpointError, match=r"a data set lies there \(index\.json\)"):
        model_folder(Path(dataset.folder.uri))


def test_without_clips_to_validate_on_it_says_where_to_get_some(tmp_path: Path) -> None:
    make_shards(tmp_path / "shards", n_train=8, n_valid=0, n_test=0)
    with pytest.raises(ContractError, match=r"no samples in split 'valid'.* --fractions"):
        plan(open_shards(tmp_path / "shards"), SETTINGS, "cpu")


def test_other_settings_than_it_began_with_are_refused_and_not_written_into_a_run(
    dataset: ShardDataset, run: Path
) -> None:
    before = (run / CONFIG_NAME).read_bytes()
    for other, problem in (
        (dataclasses.replace(SETTINGS, model=dataclasses.replace(MODEL, d_model=32)), "d_model 16"),
        (replace_train(SETTINGS, lr=0.5), "lr 0.003"),
    ):
        with pytest.raises(UsageError, match=f"begun with {problem}.*load_run_config"):
            fit(dataset, other, run, resume=True, device="cpu", say=lambda text: None)
    assert (run / CONFIG_NAME).read_bytes() == before
    more = replace_train(SETTINGS, max_epochs=3)
    assert fit(dataset, more, run, resume=True, device="cpu", say=lambda text: None).path == run


def test_a_run_may_be_named_by_a_string(dataset: ShardDataset, finished: Path) -> None:
    assert load_run(str(finished)).path == open_run(str(finished)).path == finished
    assert load_run_config(str(finished)) == load_run_config(finished)
    with pytest.raises(UsageError, match="a run is there already"):
        fit(dataset, SETTINGS, str(finished), device="cpu", say=lambda text: None)


def test_training_and_loading_leave_torch_as_it_was(
    dataset: ShardDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither the user's own draws change, nor how many threads torch takes."""
    monkeypatch.setattr("fxtrain.trainer.n_cores", lambda: 1)
    before = torch.get_num_threads(), torch.get_rng_state().tolist()
    try:
        torch.set_num_threads(2)
        run = fit(dataset, replace_train(SETTINGS, max_epochs=1), tmp_path / "run", device="cpu")
        load_run(run.path)
        assert (torch.get_num_threads(), torch.get_rng_state().tolist()) == (2, before[1])
    finally:
        torch.set_num_threads(before[0])
