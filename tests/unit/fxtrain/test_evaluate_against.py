"""What `evaluate` writes and refuses: two runs, several data sets, the model in the package."""

from __future__ import annotations

import contextlib
import io
import json
import os
import shutil
from pathlib import Path

import pytest
import torch

from fixtures.shards import PEDALS, make_shards
from fxtrain import evaluate as scoring
from fxtrain.answers import CLIPS_NAME
from fxtrain.checkpoint import EVALUATION_NAME, PAGE_NAME, card_of, new_model, save_model
from fxtrain.cli import cli, run_cli
from fxtrain.config import ModelConfig
from fxtrain.contract import DatasetIndex
from fxtrain.data import open_shards
from fxtrain.models import resolve_model


def untaught(run: Path, index: DatasetIndex, seed: int) -> Path:
    model = ModelConfig(kind="gru", d_model=16, n_layers=1, n_heads=2)
    resolved = resolve_model(model, n_codebooks=index.codec.n_codebooks, has_mel=False)
    card = card_of(index, resolved, {})
    torch.manual_seed(seed)
    codec = index.codec
    books = torch.randn(codec.n_codebooks, codec.codebook_size, codec.codebook_dim)
    save_model(run, card, new_model(card, books))
    return run


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two data sets, two runs of theirs, and one of other pedals."""
    path = tmp_path_factory.mktemp("against")
    index = make_shards(path / "one", n_train=8, n_valid=0, n_test=8)
    make_shards(path / "two", n_train=8, n_valid=0, n_test=8, seed=1)
    other = make_shards(path / "wah", n_train=4, n_valid=0, n_test=0, pedals=("wah", *PEDALS[1:]))
    untaught(path / "a", index, 0)
    untaught(path / "b", index, 1)
    untaught(path / "other", other, 0)
    return path


def call(*args: str | Path) -> int:
    return run_cli(cli, "fxtrain", [*map(str, args), "--no-html"])


def test_another_run_that_does_not_fit_is_told_before_any_answer(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delattr(scoring, "answer")
    assert call("evaluate", place / "a", place / "one", "--against", place / "other") == 1
    problem = f"--against {place / 'other'}: {place / 'one'}: its pedals are not the model's: "
    assert f"fxtrain: error: {problem}only the model knows wah" in capsys.readouterr().err


def test_memory_that_runs_out_is_a_line(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(*args: object) -> None:
        raise torch.OutOfMemoryError

    monkeypatch.setattr(scoring, "decode_heard", full)
    assert call("evaluate", place / "a", place / "one") == 1
    assert "cpu ran out of memory; wait until it is free" in capsys.readouterr().err


def test_the_differences_stand_in_the_file_too(
    place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    line = ("evaluate", place / "a", place / "one", "--against", place / "b", "-o", tmp_path)
    assert call(*line, "--json") == 0
    written = json.loads((tmp_path / EVALUATION_NAME).read_text())
    assert written == json.loads(capsys.readouterr().out)
    assert written["against"] == str(place / "b")
    row = written["differences"]["f1_micro"]
    assert row["value"] - row["other"] == pytest.approx(row["difference"])


def test_clips_of_several_data_sets_are_told_apart(place: Path, tmp_path: Path) -> None:
    both = (place / "one", place / "two")
    assert call("evaluate", place / "a", *both, "-o", tmp_path) == 0
    rows = [json.loads(line) for line in (tmp_path / CLIPS_NAME).read_text().splitlines()]
    assert [row["id"] for row in rows] == [
        f"{open_shards(path).index.identity[:12]}/test-{i}" for path in both for i in range(8)
    ]
    assert call("evaluate", place / "a", both[0], "-o", tmp_path) == 0
    first = (tmp_path / CLIPS_NAME).read_text().splitlines()[0]
    assert json.loads(first)["id"] == "test-0"


def test_the_model_in_the_package_has_its_own_name_wherever_scores_go(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("fxtrain.finding.SHIPPED", place / "a")
    for output, options in (("scores", ("-o", "scores")), (f"runs/{(place / 'a').name}", ())):
        assert call("evaluate", place / "a", place / "one", *options) == 0
        assert json.loads(Path(output, EVALUATION_NAME).read_text())["run"] == "a"


def test_scores_of_a_run_whose_name_is_no_text_are_written(
    place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    old = tmp_path / os.fsdecode(b"Andr\xe9")  # in Latin-1, from another machine
    shutil.copytree(place / "a", old)
    (old / "tensorboard").mkdir()
    line = ["evaluate", str(old), str(place / "one"), "--against", str(old)]
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        assert run_cli(cli, "fxtrain", line) == 0
    written = json.loads((old / EVALUATION_NAME).read_bytes())
    assert written["run"] == written["against"] == str(tmp_path / r"Andr\udce9")
    assert r"Andr\udce9" in (old / PAGE_NAME).read_text()
    assert run_cli(cli, "fxtrain", ["fit", str(place / "one"), "-o", str(old / "new")]) == 2
    assert "TensorBoard writes nowhere else; give a run" in capsys.readouterr().err
