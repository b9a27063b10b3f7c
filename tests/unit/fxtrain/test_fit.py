"""Training end to end on a tiny learnable data set: results, resuming, stopping, refusing."""

from __future__ import annotations

import dataclasses
import itertools
import json
import os
import re
import shutil
import signal
from pathlib import Path

import pytest
import safetensors.torch
import torch

from fixtures.shards import PEDALS, make_shards
from fxtrain.checkpoint import CARD_NAME, WEIGHTS_NAME, load_run, save_model
from fxtrain.cli import cli, run_cli
from fxtrain.config import Config, ModelConfig, TrainConfig, config_from_dict, replace_train
from fxtrain.contract import (
    ContractError,
    DamagedError,
    FxError,
    Record,
    UsageError,
    VocabularyError,
)
from fxtrain.data import ShardDataset, open_shards
from fxtrain.errors import CheckpointError, InterruptedFitError
from fxtrain.evaluate import evaluate
from fxtrain.fit import fit, plan
from fxtrain.judging import evaluation_dict, save_evaluation, table
from fxtrain.runs import (
    check_resume,
    claim,
    load_run_config,
    new_run_folder,
    read_last,
    sole_fit,
)
from fxtrain.start import with_shared_rows

MODEL = ModelConfig(kind="gru", d_model=32, n_layers=1, n_heads=2, frame_mask=0.0)
SETTINGS = Config(MODEL, TrainConfig(batch_size=16, max_epochs=3, lr=3e-3, warmup_steps=5))


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> ShardDataset:
    path = tmp_path_factory.mktemp("data") / "shards"
    make_shards(path, n_train=96, n_valid=24, n_test=32)
    return open_shards(path)


@pytest.fixture(scope="module")
def finished(dataset: ShardDataset, tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("runs") / "whole"
    fit(dataset, SETTINGS, run, device="cpu", say=lambda text: None)
    return run


def test_a_run_directory_holds_everything(finished: Path) -> None:
    names = {p.relative_to(finished).as_posix() for p in finished.rglob("*") if p.is_file()}
    events = {name for name in names if name.startswith("tensorboard/events")}
    assert len(events) == 1
    assert names - events == {
        "config.json",
        "model.json",
        "model.safetensors",
        "metrics.json",
        "checkpoints/best.json",
        "checkpoints/best.safetensors",
        "checkpoints/last.ckpt",
        "tensorboard/hparams.yaml",
    }
    config = config_from_dict(json.loads((finished / "config.json").read_text()), "config.json")
    assert config.train == SETTINGS.train
    assert config.model.use_mel is False  # resolved: these shards have none
    metrics = json.loads((finished / "metrics.json").read_text())
    assert 1 <= metrics["best_epoch"] <= 3
    assert 0 < metrics["valid_exact_null"] < metrics["valid_exact_ceiling"] <= 1
    assert set(metrics["valid"]["exact"]) == {"value", "low", "high", "n"}


def test_listed_orders_decide_which_epoch_is_best(dataset: ShardDataset, tmp_path: Path) -> None:
    class AnyOrder(ShardDataset):
        """As if every order of every chain had been found to sound the same."""

        def listed_orders(self, split: str) -> tuple[Record, ...]:
            chains = map(self.index.vocabulary.decode_order, self.load(split).order)
            return tuple({"alike": list(itertools.permutations(range(len(c))))} for c in chains)

    settings = replace_train(SETTINGS, max_epochs=8, lr=5e-3)
    alike = AnyOrder(dataset.folder, dataset.index, dataset.shards)
    result = fit(alike, settings, tmp_path / "run", device="cpu", say=lambda text: None)
    best = json.loads((tmp_path / "run" / "checkpoints" / "best.json").read_text())
    assert best["exact_class"] == best["set"] > best["exact"]
    assert result.valid["exact_class"] == result.valid["set"]


def test_tensorboard_holds_losses_scores_rate_and_confusion(finished: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(finished / "tensorboard"))
    events.Reload()
    tags = events.Tags()
    scalars = {"train/loss", "train/tokens", "valid/loss", "valid/exact_class", "valid/set"}
    assert scalars <= set(tags["scalars"])
    assert any(tag.startswith("lr") for tag in tags["scalars"]), tags["scalars"]
    assert tags["images"] == ["valid/confusion"]
    losses = [event.value for event in events.Scalars("train/loss")]
    assert losses[-1] < losses[0] - 0.3


def test_checkpoints_load_without_running_code(finished: Path) -> None:
    held = torch.load(finished / "checkpoints/last.ckpt", weights_only=True)
    assert held["epoch"] == 2
    assert held["fxtrain"]["card"]["kind"] == "fxtrain-model"


def test_the_model_has_learnt_and_evaluation_says_so(dataset: ShardDataset, tmp_path: Path) -> None:
    longer = Config(MODEL, TrainConfig(batch_size=16, max_epochs=14, lr=5e-3, warmup_steps=5))
    said: list[str] = []
    result = fit(dataset, longer, tmp_path / "run", device="cpu", say=said.append)
    assert any(re.match(r"epoch +1/14 +valid loss", line) for line in said)
    run = load_run(tmp_path / "run")
    assert run.card == result.card
    found = evaluate(run, dataset)
    assert found.scores["set"].value > 0.7
    assert found.scores["exact_class"].value > found.null["exact_class"] - 0.2
    assert found.scores["exact_class"].value > found.constant["exact_class"] + 0.2
    assert found.n == 32
    save_evaluation(run.path, found)
    data = json.loads((run.path / "evaluation.json").read_text())
    assert data == json.loads(json.dumps(evaluation_dict(found)))
    assert set(data["scores"]["exact"]) == {
        "value", "low", "high", "n", "null", "constant", "ceiling",
    }  # fmt: skip
    assert data["scores"]["ece_chain"]["value"] == data["reliability"]["chain"]["ece"]
    assert {kind: sum(b["n"] for b in r["bins"]) for kind, r in data["reliability"].items()} == {
        "chain": 32, "presence": 32 * len(PEDALS), "family": 32 * 3,
        "named": data["reliability"]["named"]["n"],
        "pair": data["reliability"]["pair"]["n"],
    }  # fmt: skip
    text = "\n".join(table(found))
    for word in ("exact@2", "null", "ceiling", "95 % interval", "distortion", "confidence"):
        assert word in text


def test_training_can_start_from_another_run_of_the_same_pedals(
    dataset: ShardDataset, finished: Path, tmp_path: Path
) -> None:
    slow = TrainConfig(batch_size=16, max_epochs=1, lr=1e-5, start_from=str(finished))
    other = ModelConfig(d_model=64)  # the run's own settings count
    result = fit(dataset, Config(other, slow), tmp_path / "run", device="cpu", say=lambda _: None)
    before = safetensors.torch.load_file(finished / WEIGHTS_NAME)
    after = safetensors.torch.load_file(tmp_path / "run" / WEIGHTS_NAME)
    assert result.card.model == load_run(finished).card.model
    assert all((before[name] - after[name]).abs().max() < 1e-3 for name in before)
    assert any(not torch.equal(before[name], after[name]) for name in before)
    written = json.loads((tmp_path / "run" / "config.json").read_text())
    assert written["train"]["start_from"] == str(finished)


def test_what_is_to_be_streamed_is_never_held_whole(
    dataset: ShardDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fxtrain.data.stream.ResidentLoader", None)  # not for decoding, either
    config = Config(MODEL, TrainConfig(batch_size=16, max_epochs=1, resident=False))
    result = fit(dataset, config, tmp_path / "run", device="cpu", say=lambda _: None)
    assert result.valid["exact"].n == dataset.n_samples("valid")


def test_what_a_run_was_begun_with_stays_known_when_it_goes_on(
    dataset: ShardDataset, finished: Path, tmp_path: Path
) -> None:
    start, run = load_run(finished), tmp_path / "run"
    save_model(tmp_path / "start", dataclasses.replace(start.card, recordings="a b"), start.model)
    config = Config(MODEL, TrainConfig(batch_size=16, max_epochs=1, start_from=f"{tmp_path}/start"))
    begun = fit(dataset, config, run, device="cpu", say=lambda _: None)
    config = load_run_config(run, max_epochs=2)
    again = fit(dataset, config, run, resume=True, device="cpu", say=lambda _: None)
    assert begun.card.recordings == again.card.recordings == "a b"
    shutil.rmtree(tmp_path / "start")  # what goes on needs it no more
    assert plan(dataset, config, "cpu", run).max_epochs == 2


def test_log_mel_that_no_model_hears_keeps_none_from_starting(
    finished: Path, tmp_path: Path
) -> None:
    make_shards(tmp_path / "shards", n_train=8, n_valid=8, n_test=0, with_mel=True)
    settings = Config(MODEL, TrainConfig(max_epochs=1, start_from=str(finished)))
    assert plan(open_shards(tmp_path / "shards"), settings, "cpu").n_train == 8


def test_what_cannot_be_started_from_is_refused(
    dataset: ShardDataset, finished: Path, tmp_path: Path
) -> None:
    def start_from(name: str) -> None:
        settings = Config(MODEL, TrainConfig(max_epochs=1, start_from=name))
        fit(dataset, settings, tmp_path / "run", device="cpu", say=lambda _: None)

    with pytest.raises(CheckpointError, match="no log-mel frames"):
        start_from("shipped")
    with pytest.raises(CheckpointError, match="no trained model here"):
        start_from(str(tmp_path / "nowhere"))
    run = load_run(finished)
    codec = dataclasses.replace(run.card.hearing.codec, weights_sha256="f" * 64)
    heard = dataclasses.replace(run.card.hearing, codec=codec)
    save_model(tmp_path / "other", dataclasses.replace(run.card, hearing=heard), run.model)
    with pytest.raises(CheckpointError, match="codec weights: ffffffffffff, those of these shards"):
        start_from(str(tmp_path / "other"))
    pedals = [dataclasses.replace(p, name=f"{p.name}2") for p in run.card.vocabulary.pedals]
    others = dataclasses.replace(run.card.vocabulary, pedals=tuple(pedals))
    save_model(tmp_path / "other", dataclasses.replace(run.card, vocabulary=others), run.model)
    with pytest.raises(CheckpointError, match=r"it knows compressor2, .* these shards hold compr"):
        start_from(str(tmp_path / "other"))


def test_a_pedal_that_both_know_keeps_its_rows_and_the_boundary_its_own() -> None:
    known, fresh = torch.arange(5.0)[:, None], -torch.arange(1.0, 5.0)[:, None]
    rows = with_shared_rows(known, fresh, [(3, 0), (1, 2)], 1)
    assert rows.flatten().tolist() == [3.0, -2.0, 1.0, 4.0]
    assert with_shared_rows(known, fresh, [(0, 3)], 0).flatten().tolist() == [-1.0, -2.0, -3.0, 0.0]


def test_stopped_by_ctrl_c_and_resumed_is_as_if_never_stopped(
    dataset: ShardDataset, finished: Path, tmp_path: Path
) -> None:
    run = tmp_path / "stopped run"

    def press_ctrl_c(text: str) -> None:
        if text.startswith("epoch   1/"):
            os.kill(os.getpid(), signal.SIGINT)

    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(InterruptedFitError, match=f"fxtrain fit .*shards --resume '{run}'$"):
        fit(dataset, SETTINGS, run, device="cpu", say=press_ctrl_c)
    assert signal.getsignal(signal.SIGINT) is before
    assert load_run(run).card.n_train == 96  # usable already
    config = load_run_config(run)
    check_resume(run, dataset)
    fit(dataset, config, run, resume=True, device="cpu", say=lambda text: None)
    whole = safetensors.torch.load_file(finished / "checkpoints/best.safetensors")
    again = safetensors.torch.load_file(run / "checkpoints/best.safetensors")
    assert all(torch.equal(whole[name], again[name]) for name in whole)
    ends = [torch.load(r / "checkpoints/last.ckpt", weights_only=True) for r in (finished, run)]
    states = [end["state_dict"] for end in ends]
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])


def test_resuming_on_other_shards_is_refused(finished: Path, tmp_path: Path) -> None:
    make_shards(tmp_path / "pedals", n_train=8, n_valid=8, n_test=0, pedals=("fuzz", "wah"))
    with pytest.raises(VocabularyError, match="only the shards know fuzz, wah"):
        check_resume(finished, open_shards(tmp_path / "pedals"))
    make_shards(tmp_path / "codec", n_train=8, n_valid=8, n_test=0, codec_name="other")
    with pytest.raises(VocabularyError, match="codec name 'other'"):
        check_resume(finished, open_shards(tmp_path / "codec"))
    make_shards(tmp_path / "seed", n_train=8, n_valid=8, n_test=0, seed=5)
    before = (finished / "config.json").read_bytes()
    with pytest.raises(CheckpointError, match="not those that the run began with"):
        fit(
            open_shards(tmp_path / "seed"),
            load_run_config(finished, max_epochs=4),
            finished,
            resume=True,
            device="cpu",
            say=lambda text: None,
        )
    assert (finished / "config.json").read_bytes() == before  # or the next --resume would go on


def test_two_codecs_cannot_be_trained_on_together(tmp_path: Path) -> None:
    make_shards(tmp_path / "a", n_train=8, n_valid=8, n_test=0)
    make_shards(tmp_path / "b", n_train=8, n_valid=8, n_test=0, seed=1, codec_name="other")
    with pytest.raises(VocabularyError, match="codec name"):
        open_shards([tmp_path / "a", tmp_path / "b"])


def test_a_damaged_shard_is_named(tmp_path: Path) -> None:
    index = make_shards(tmp_path / "shards", n_train=32, n_valid=8, n_test=0)
    victim = tmp_path / "shards" / index.shards_of("train")[0].files[0].path
    data = bytearray(victim.read_bytes())
    data[len(data) // 2] ^= 0xFF
    victim.write_bytes(data)
    with pytest.raises(DamagedError, match=re.escape(victim.name)):
        fit(
            open_shards(tmp_path / "shards"),
            SETTINGS,
            tmp_path / "run",
            device="cpu",
            say=lambda text: None,
        )
    assert not (tmp_path / "run" / CARD_NAME).exists()


def test_a_missing_split_is_named(tmp_path: Path) -> None:
    make_shards(tmp_path / "shards", n_train=8, n_valid=0, n_test=8)
    with pytest.raises(ContractError, match="'valid'"):
        plan(open_shards(tmp_path / "shards"), SETTINGS, "cpu")


def test_clips_without_any_pedal_are_refused(dataset: ShardDataset, tmp_path: Path) -> None:
    index = dataclasses.replace(dataset.index, max_chain_length=0)
    with pytest.raises(ContractError, match=r"no pedal on any clip.*--lengths"):
        fit(dataclasses.replace(dataset, index=index), SETTINGS, tmp_path / "run", device="cpu")
    assert not (tmp_path / "run").exists()


def test_a_loss_that_explodes_says_what_to_do(dataset: ShardDataset, tmp_path: Path) -> None:
    wild = Config(MODEL, TrainConfig(batch_size=16, max_epochs=3, lr=1e30, warmup_steps=0))
    with pytest.raises(FxError, match="lower --lr"):
        fit(dataset, wild, tmp_path / "run", device="cpu", say=lambda text: None)


def test_plan_counts(dataset: ShardDataset) -> None:
    found = plan(dataset, SETTINGS, "cpu")
    assert (found.n_train, found.n_valid) == (96, 24)
    assert (found.steps_per_epoch, found.max_epochs) == (6, 3)
    assert found.n_parameters > 10_000
    assert found.seconds > 0


def test_a_run_is_never_replaced_unasked(tmp_path: Path) -> None:
    (tmp_path / WEIGHTS_NAME).write_bytes(b"")
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(UsageError, match="--overwrite"):
        claim(tmp_path, overwrite=False)
    claim(tmp_path, overwrite=True)
    assert [p.name for p in tmp_path.iterdir()] == ["notes.txt"]
    claim(tmp_path, overwrite=False)


def test_fewer_epochs_than_are_done_are_refused(
    dataset: ShardDataset, finished: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    run = shutil.copytree(finished, tmp_path / "run")
    done = SETTINGS.train.max_epochs
    before = (run / "config.json").read_bytes()
    shards = str(dataset.folder.uri)
    assert run_cli(cli, "fxtrain", ["fit", shards, "--resume", str(run), "--epochs", "1"]) == 2
    said = capsys.readouterr().err
    assert f"{done} epochs are done, but 1 at most" in said
    assert f"give --epochs {done} to end here, or more to go on" in said
    assert (run / "config.json").read_bytes() == before  # else nothing could go on with it
    check_resume(run, dataset, max_epochs=done)


def test_a_place_for_runs_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(FxError, match=r"cannot write .*file/runs.*: Not a directory.*in the way"):
        new_run_folder(tmp_path / "file" / "runs")


def test_run_folders_never_collide(tmp_path: Path) -> None:
    folders = [new_run_folder(tmp_path / "runs") for _ in range(3)]
    assert len(set(folders)) == 3
    assert all(folder.is_dir() for folder in folders)


def test_what_cannot_begin_replaces_nothing(
    dataset: ShardDataset, finished: Path, tmp_path: Path
) -> None:
    run = shutil.copytree(finished, tmp_path / "run")
    before = {p: p.read_bytes() for p in run.rglob("*") if p.is_file()}
    half = dataclasses.replace(SETTINGS, train=dataclasses.replace(SETTINGS.train, precision="16"))
    lost = dataclasses.replace(
        SETTINGS, train=dataclasses.replace(SETTINGS.train, start_from=str(tmp_path / "gone"))
    )
    for config, device in ((SETTINGS, "horse"), (half, "cpu"), (lost, "cpu")):
        with pytest.raises(FxError):
            fit(dataset, config, run, overwrite=True, device=device, say=lambda text: None)
    with pytest.raises(UsageError, match="go on with --resume"):
        fit(dataset, SETTINGS, run, device="cpu", say=lambda text: None)
    assert {p: p.read_bytes() for p in run.rglob("*") if p.is_file()} == before


@pytest.mark.parametrize(
    ("error", "message"),
    [(KeyboardInterrupt, "run the same command again"), (torch.OutOfMemoryError, "smaller --b")],
)
def test_ended_in_the_first_epoch_nothing_is_in_the_way(
    error: type[BaseException],
    message: str,
    dataset: ShardDataset,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def stop(*_: object) -> None:
        raise error

    run = tmp_path / "run"
    with monkeypatch.context() as patched:
        patched.setattr("fxtrain.fit.train", stop)
        with pytest.raises(FxError, match=message):
            fit(dataset, SETTINGS, run, device="cpu", say=lambda text: None)
    assert not run.exists()
    claim(run, overwrite=False)


@pytest.mark.parametrize("words", [{"overwrite": True}, {"resume": True}, {}])
def test_two_fits_never_write_one_run(
    dataset: ShardDataset, finished: Path, tmp_path: Path, words: dict[str, bool]
) -> None:
    run = shutil.copytree(finished, tmp_path / "run")
    before = {p: p.read_bytes() for p in run.rglob("*") if p.is_file()}
    with (
        sole_fit(run),  # a lock belongs to an open file: this process is another to itself
        pytest.raises(FxError, match=r"another fxtrain fit is writing .*/run; wait until"),
    ):
        fit(dataset, SETTINGS, run, device="cpu", say=lambda text: None, **words)
    assert {p: p.read_bytes() for p in run.rglob("*") if p.is_file()} == before


def test_a_finished_run_resumed_for_nothing_keeps_its_timings(
    dataset: ShardDataset, finished: Path, tmp_path: Path
) -> None:
    run = shutil.copytree(finished, tmp_path / "run")

    def timings() -> tuple[float, float]:
        fit(dataset, load_run_config(run), run, resume=True, device="cpu", say=lambda text: None)
        found = json.loads((run / "metrics.json").read_text())
        return found["step_ms"], found["wait_ms"]

    before = timings()
    assert before[0] > 0
    assert timings() == before


def test_a_run_that_ended_by_its_patience_stays_ended(
    dataset: ShardDataset, tmp_path: Path
) -> None:
    run, said = tmp_path / "run", []
    train = TrainConfig(batch_size=16, max_epochs=9, lr=1e-9, patience=1)
    fit(dataset, Config(MODEL, train), run, device="cpu", say=said.append)
    assert read_last(run)[1] == 2
    before = (run / "model.safetensors").read_bytes()
    config = load_run_config(run, max_epochs=20)
    fit(dataset, config, run, resume=True, device="cpu", say=said.append)
    assert said[-2].startswith("this run is over: its last 1 epoch(s) were no better (patience 1)")
    assert read_last(run)[1] == 2
    assert (run / "model.safetensors").read_bytes() == before


def test_nothing_to_resume(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"no config\.json"):
        load_run_config(tmp_path)
