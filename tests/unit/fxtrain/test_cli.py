"""The command line: exit codes, what goes where, and that help is light."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from fixtures.shards import make_shards
from fxtrain.cli import cli, run_cli
from fxtrain.config import ModelConfig, TrainConfig
from fxtrain.contract import Features, FxError, Hearing, MissingExtraError

TINY = """
[model]
kind = "gru"
d_model = 32
n_layers = 1
n_heads = 2
[train]
batch_size = 16
max_epochs = 2
"""


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("cli")
    make_shards(path / "shards", n_train=48, n_valid=16, n_test=16)
    (path / "tiny.toml").write_text(TINY)
    return path


Captured = pytest.CaptureFixture[str]


def call(*args: str | Path) -> int:
    return run_cli(cli, "fxtrain", [str(arg) for arg in args])


@pytest.fixture(scope="module")
def trained(place: Path) -> Path:
    run = place / "runs" / "one"
    code = call("fit", place / "shards", "--config", place / "tiny.toml", "--output", run)
    assert code == 0
    return run


def only_line(text: str) -> str:
    (line,) = text.strip().splitlines()
    return line


@pytest.mark.parametrize("args", [["-h"], ["--help"], ["fit", "-h"], ["predict", "--help"]])
def test_help_is_no_error(args: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert call(*args) == 0
    assert "Usage: fxtrain" in capsys.readouterr().out


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert call("--version") == 0
    assert capsys.readouterr().out.startswith("fxtrain ")


@pytest.mark.parametrize(
    "args",
    [
        ["fitt"],
        ["fit"],
        ["fit", "x", "--epochs", "0"],
        ["fit", "x", "--model", "lstm"],
        ["fit", "x", "--resume", "y", "--lr", "1"],
        ["fit", "x", "--resume", "y", "--overwrite"],
        ["fit", "x", "--lr", "-1"],
        ["fit", "x", "--seed", "4294967296"],
        ["evaluate", "only-one-argument"],
        ["predict"],
    ],
)
def test_usage_errors_exit_2_with_one_line(
    args: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert call(*args) == 2
    streams = capsys.readouterr()
    assert streams.out == ""
    assert only_line(streams.err).startswith("fxtrain: error: ")


@pytest.mark.parametrize("line", ["predict gone.wav --device gpu", "serve --device mps"])
def test_a_device_that_does_not_exist_is_told_before_anything_begins(
    line: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("fxtrain.heard.hear", None)
    monkeypatch.setattr("fxtrain.web.server.bind", None)
    assert call(*line.split()) == 2
    name = line.rpartition(" ")[2]
    known = "auto, cpu, cuda, cuda:1 …"
    assert capsys.readouterr().err == f"fxtrain: error: unknown device {name!r}: known: {known}\n"


def test_data_errors_exit_1_with_one_line(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert call("fit", place / "nowhere") == 1
    assert "no index.json" in only_line(capsys.readouterr().err)
    assert call("evaluate", place / "nothing", place / "shards") == 1
    assert "no trained model here" in only_line(capsys.readouterr().err)


def test_unknown_settings_name_the_nearest(
    place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "bad.toml").write_text("[train]\nbatchsize = 3\n")
    assert call("fit", place / "shards", "--config", tmp_path / "bad.toml") == 2
    assert "did you mean 'batch_size'" in only_line(capsys.readouterr().err)


def test_dry_run_writes_nothing(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    args = ["fit", place / "shards", "--config", place / "tiny.toml", "--dry-run", "--json"]
    assert call(*args) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["n_train"], found["steps_per_epoch"]) == (48, 3)
    assert list(tmp_path.iterdir()) == []


def test_fit_writes_where_it_is_told_and_never_over_a_run(
    place: Path, trained: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    capsys.readouterr()
    assert (trained / "model.json").is_file()
    args = ["fit", place / "shards", "--config", place / "tiny.toml", "--output", trained]
    assert call(*args) == 2
    assert "--overwrite" in only_line(capsys.readouterr().err)


def test_fit_prints_the_run_on_stdout_and_the_log_on_stderr(
    place: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert call("fit", place / "shards", "--config", place / "tiny.toml", "--seed", "3") == 0
    streams = capsys.readouterr()
    run = tmp_path / only_line(streams.out)
    assert run.parent == tmp_path / "runs"
    assert "epoch   2/2" in streams.err
    assert json.loads((run / "config.json").read_text())["train"]["seed"] == 3
    assert call("fit", place / "shards", "--resume", run, "--epochs", "3", "--json") == 0
    streams = capsys.readouterr()
    assert "epoch   3/3" in streams.err
    assert "epoch   2/3" not in streams.err
    assert json.loads(streams.out)["valid"]["exact"]["n"] == 16


def test_evaluate_prints_a_table_or_json(
    place: Path, trained: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call("evaluate", trained, place / "shards", "--no-html") == 0
    assert "ceiling" in capsys.readouterr().out
    assert not (trained / "evaluation.html").exists()
    assert call("evaluate", trained, place / "shards", "--split", "valid", "--json") == 0
    streams = capsys.readouterr()
    assert json.loads(streams.out)["split"] == "valid"
    assert only_line(streams.err) == f"page: {trained / 'evaluation.html'}"
    assert (trained / "evaluation.json").is_file()
    page = (trained / "evaluation.html").read_text()
    assert "Not to be heard here" in page  # nothing says how these clips were rendered
    assert "<polyline" in page
    assert "On validation, at the end: exact" in page


def test_the_scores_of_each_test_set_can_be_kept(
    place: Path, trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = {p: p.read_bytes() for p in trained.rglob("*") if p.is_file()}
    output = tmp_path / "scores" / "valid"
    assert call("evaluate", trained, place / "shards", "--split", "valid", "-o", output) == 0
    assert only_line(capsys.readouterr().err) == f"page: {output / 'evaluation.html'}"
    told = json.loads((output / "evaluation.json").read_text())
    assert (told["split"], told["seed"]) == ("valid", 0)
    weights = hashlib.sha256((trained / "model.safetensors").read_bytes())
    assert told["model_sha256"] == weights.hexdigest()
    rows = [json.loads(line) for line in (output / "clips.jsonl").read_text().splitlines()]
    assert len(rows) == told["n"]
    assert np.mean([row["exact"] for row in rows]) == told["scores"]["exact"]["value"]
    assert "<polyline" in (output / "evaluation.html").read_text()  # the curves are the run's
    assert {p: p.read_bytes() for p in trained.rglob("*") if p.is_file()} == before


def test_two_runs_on_the_same_clips(
    place: Path, trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    line = ("evaluate", trained, place / "shards", "--against", trained, "--no-html")
    assert call(*line) == 0
    out = capsys.readouterr().out
    assert f"A: {trained}\nB: {trained}\non the same clips, of " in out
    assert call(*line, "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert found["against"] == str(trained)
    assert found["differences"]["f1_micro"]["difference"] == 0
    assert found["differences"]["f1_micro"]["value"] == found["scores"]["f1_micro"]["value"]
    assert call(*line[:3], "--against", tmp_path) == 1
    assert f"{tmp_path}: no model.json" in only_line(capsys.readouterr().err)


def test_a_run_is_not_written_among_shards(place: Path, capsys: Captured) -> None:
    shards = place / "shards"
    for line in (("fit", shards, "--epochs", "1"), ("evaluate", "shipped", shards)):
        assert call(*line, "-o", shards) == 2
        told = only_line(capsys.readouterr().err)
        assert "a data set lies there (index.json); give another --output" in told


@pytest.mark.parametrize("name", ["evaluation.json", "clips.jsonl", "evaluation.html"])
def test_scores_are_told_also_where_they_cannot_be_written(
    name: str, place: Path, trained: Path, tmp_path: Path, capsys: Captured
) -> None:
    run = tmp_path / "run"
    shutil.copytree(trained, run)
    (run / name).unlink(missing_ok=True)
    (run / name).mkdir()
    assert call("evaluate", run, place / "shards", "--clips", "0") == 1
    streams = capsys.readouterr()
    assert streams.out.startswith(f"{run} on 16 samples")
    assert only_line(streams.err).startswith(f"fxtrain: error: cannot write {run / name}: ")
    assert call("evaluate", run, place / "shards", "--clips", "0", "--json") == 1
    assert json.loads(capsys.readouterr().out)["n"] == 16


def test_evaluate_warns_of_recordings_known_from_training(
    place: Path, trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run, shards = tmp_path / "run", tmp_path / "shards"
    shutil.copytree(trained, run)
    shutil.copytree(place / "shards", shards)
    card = json.loads((run / "model.json").read_text())
    card["recordings"] = "a b"
    (run / "model.json").write_text(json.dumps(card))
    index = json.loads((shards / "index.json").read_text())
    index["recipe"] = {"recordings": {"test": "b c"}}
    (shards / "index.json").write_text(json.dumps(index))
    assert call("evaluate", run, shards, "--no-html") == 0
    assert "trained on 1 of the 2 recordings behind 'test'" in only_line(capsys.readouterr().err)


def test_what_cannot_be_rerendered_leaves_the_evaluation(
    place: Path, trained: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (trained / "evaluation.json").unlink(missing_ok=True)
    assert call("evaluate", trained, place / "shards", "--rerender", "2") == 1
    streams = capsys.readouterr()
    assert "says nothing of how their clips were rendered" in only_line(streams.err)
    assert streams.out.startswith(f"{trained} on 16 samples")
    assert json.loads((trained / "evaluation.json").read_text())["n"] == 16


class Ears:
    def __init__(self, hearing: Hearing) -> None:
        self.hearing = hearing

    def read(self, path: str) -> tuple[np.ndarray, int]:
        if "bad" in str(path):
            raise FxError("cannot be decoded")
        return np.ones(4, np.float32), 44_100

    def encode(self, wave: np.ndarray, sample_rate_hz: int) -> Features:
        return Features(np.ones((2, 4, 16), np.uint16), None, (0.0, 0.1))


def test_predict_goes_on_after_a_bad_file(
    trained: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr("fxtrain.contract.open_frontend", Ears)
    for name in ("one.wav", "bad.wav", "two.wav"):
        (tmp_path / name).write_bytes(b"")
    clips = [tmp_path / name for name in ("one.wav", "bad.wav", "two.wav")]
    assert call("predict", *clips, "--run", trained, "--json") == 1
    streams = capsys.readouterr()
    lines = [json.loads(line) for line in streams.out.splitlines()]
    assert [Path(line["file"]).name for line in lines] == ["one.wav", "bad.wav", "two.wav"]
    assert ["error" in line for line in lines] == [False, True, False]
    assert "bad.wav: cannot be decoded" in only_line(streams.err)
    monkeypatch.setattr("fxtrain.finding.SHIPPED", trained)
    assert call("predict", clips[0]) == 0
    assert capsys.readouterr().out.startswith(str(clips[0]))
    empty = tmp_path / "empty"
    empty.mkdir()
    assert call("predict", empty, clips[0], "--run", trained, "--csv") == 1
    streams = capsys.readouterr()
    assert "is a folder without sound files; name the files" in only_line(streams.err)
    _, folder, heard = streams.out.splitlines()
    assert folder.startswith(str(empty))
    assert folder.endswith("is a folder without sound files; name the files")
    assert heard.endswith(",")


def test_predict_of_a_folder(
    trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Captured
) -> None:
    monkeypatch.setattr("fxtrain.contract.open_frontend", Ears)
    (tmp_path / "deeper").mkdir()
    for name in ("two.FLAC", "one.wav", "notes.txt", "phone.m4a", ".one.wav", "deeper/three.wav"):
        (tmp_path / name).write_bytes(b"")
    assert call("predict", tmp_path, "--run", trained, "--json") == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    heard = ("one.wav", "phone.m4a", "two.FLAC")  # of a phone's, hearing says that it cannot
    assert [line["file"] for line in lines] == [str(tmp_path / name) for name in heard]


@pytest.mark.parametrize("how", [(), ("--json",), ("--csv",)])
def test_predict_of_a_name_that_is_no_text(
    how: tuple[str, ...], trained: Path, monkeypatch: pytest.MonkeyPatch, capsys: Captured
) -> None:
    monkeypatch.setattr("fxtrain.contract.open_frontend", Ears)
    monkeypatch.setattr("pathlib.Path.is_file", lambda path: True)  # not every system has such
    assert call("predict", os.fsdecode(b"take\xff.wav"), "--run", trained, *how) == 0
    assert "take\\udcff.wav" in capsys.readouterr().out.replace("\\\\", "\\")


def test_evaluate_the_model_in_the_package(
    place: Path, trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("fxtrain.finding.SHIPPED", trained.rename(trained.with_name("shipped")))
    try:
        before = sorted(p.name for p in (place / "runs" / "shipped").iterdir())
        assert call("evaluate", "shipped", place / "shards", "--no-html") == 0
        assert sorted(p.name for p in (place / "runs" / "shipped").iterdir()) == before
    finally:
        (place / "runs" / "shipped").rename(trained)
    assert json.loads((tmp_path / "runs/shipped/evaluation.json").read_text())["n"] == 16


def test_the_defaults_that_help_names_are_the_settings() -> None:
    model, train = ModelConfig(), TrainConfig()
    shown = {
        option.name: str(option.help)[:-1].rsplit("[", 1)[1]
        for option in cli.commands["fit"].params
        if str(getattr(option, "help", "")).endswith("]")
    }
    for name, value in {
        "kind": model.kind,
        "epochs": train.max_epochs,
        "batch_size": train.batch_size,
        "lr": train.lr,
        "seed": train.seed,
        "precision": train.precision,
        "devices": train.n_devices,
    }.items():
        assert shown[name] == str(value)


def test_what_is_no_guitar_is_said_and_is_no_failure(
    trained: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    class Doubtful(Ears):
        def encode(self, wave: np.ndarray, sample_rate_hz: int) -> Features:
            found = super().encode(wave, sample_rate_hz)
            return dataclasses.replace(found, strangeness=(2.0, 3.0))

    monkeypatch.setattr("fxtrain.contract.open_frontend", Doubtful)
    clip = tmp_path / "talk.wav"
    clip.write_bytes(b"")
    assert call("predict", clip, "--run", trained) == 0
    assert "does not sound like a guitar" in capsys.readouterr().out
    assert call("predict", clip, "--run", trained, "--anyway") == 0
    assert "a guess: " in capsys.readouterr().out
    assert call("predict", clip, "--run", trained, "--json") == 0
    line = json.loads(capsys.readouterr().out)
    assert (line["guitar"], line["chain"], line["strangeness"]) == (False, None, 2.5)
    assert call("predict", clip, clip, "--run", trained, "--csv") == 0
    header, *rows = capsys.readouterr().out.splitlines()
    assert header.startswith("file,guitar,chain,")
    assert [row.startswith(f"{clip},no,,") for row in rows] == [True, True]
    assert call("predict", clip, "--run", trained, "--export", tmp_path / "out") == 1
    told = only_line(capsys.readouterr().err)
    assert f"{clip}: no board was written: this does not sound like a guitar" in told
    assert told.endswith("--anyway does")
    assert call("predict", clip, "--run", trained, "--export", clip) == 2
    assert f"{clip} is a file, expected a folder" in only_line(capsys.readouterr().err)
    assert call("predict", clip, "--run", trained, "--csv", "--json") == 2
    assert "give one of them" in only_line(capsys.readouterr().err)


def test_predict_without_the_pipeline_says_which_extra(
    trained: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def missing(hearing: Hearing) -> None:
        raise MissingExtraError('pip install "fxpipe[pipeline]"')

    monkeypatch.setattr("fxtrain.contract.open_frontend", missing)
    assert call("predict", "x.wav", "--run", trained) == 1
    assert "fxpipe[pipeline]" in only_line(capsys.readouterr().err)


def test_predict_without_a_model_says_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("fxtrain.finding.SHIPPED", tmp_path / "none")
    assert call("predict", "x.wav") == 1
    assert "fxtrain fit SHARDS" in only_line(capsys.readouterr().err)


def test_of_the_folder_of_all_runs_the_newest_are_named(tmp_path: Path, capsys: Captured) -> None:
    runs = tmp_path / "runs"
    for number in range(7):
        (runs / f"r{number}").mkdir(parents=True)
        (runs / f"r{number}" / "model.json").write_text("{}")
        os.utime(runs / f"r{number}" / "model.json", (number, number))
    for args in (["predict", "x.wav", "--run", runs], ["evaluate", runs, "shards"]):
        assert call(*args) == 1
        line = only_line(capsys.readouterr().err)
        named = ", ".join(str(runs / f"r{number}") for number in (6, 5, 4, 3, 2))
        assert line.startswith(f"fxtrain: error: {runs}: no model.json")
        assert line.endswith(f"name one of them, {named}, …")


def test_help_loads_nothing_heavy() -> None:
    code = (
        "import sys; from fxtrain.cli import cli, run_cli; run_cli(cli, 'fxtrain', ['-h']);"
        "heavy = {'torch', 'lightning', 'zarr', 'webdataset', 'numpy'} & set(sys.modules);"
        "sys.exit(f'loaded: {heavy}' if heavy else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
