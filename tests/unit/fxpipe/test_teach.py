"""``fxpipe teach``: the commands that it types, and what it says of them."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import click
import numpy as np
import pytest

from fixtures.datasets import pluck, write_wav
from fxpipe import steps, teach
from fxpipe.cli import cli as fxpipe_cli
from fxtrain.cli import cli as fxtrain_cli
from fxtrain.contract import FxError, UsageError

PROGRAMS = {"fxpipe": fxpipe_cli, "fxtrain": fxtrain_cli}


@pytest.fixture
def typed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Every command, which its program's own parser has to understand; nothing is run."""
    lines: list[str] = []

    def run(line: str, cwd: Path, again: str, *, quiet: bool = False) -> str:
        program, verb, *words = shlex.split(line)
        group = PROGRAMS[program]
        # With the group's settings: a command keeps the help options that it was first asked with.
        parent = click.Context(group, info_name=program, **group.context_settings)
        group.commands[verb].make_context(verb, words, parent=parent)
        lines.append(line)
        row = {"value": 0.433, "other": 0.033}
        found = {"n": 200, "n_groups": 1, "differences": dict.fromkeys(teach.TOLD, row)}
        return json.dumps(found)

    monkeypatch.setattr(teach, "run_step", run)
    return lines


@pytest.fixture
def takes(tmp_path: Path) -> Path:
    folder = tmp_path / "my takes"
    for i in range(3):
        write_wav(folder / f"take{i}.wav", pluck(50 + i, 1.0).astype(np.float32))
    return folder


def test_it_renders_encodes_goes_on_learning_and_compares(
    typed: list[str], takes: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "mine"
    teach.teach(takes, out, 500)
    assert [line.split()[1] for line in typed] == ["render", "encode", "fit", "evaluate"]
    assert f"--dataset 'folder:{takes}' --n-chains 500 " in typed[0]
    assert "--codec embedded --with-mel" in typed[1]
    assert "--start-from shipped" in typed[2]
    assert "--against shipped" in typed[3]
    said = capsys.readouterr().out
    assert "On 200 clips of recordings that it was not taught:" in said
    row = next(line for line in said.splitlines() if "the whole board" in line)
    assert row.split()[-2:] == ["0.033", "0.433"]
    assert "one group of recordings" in said
    assert said.endswith(f"fxtrain serve --run {out / 'run'}\n")
    (out / "run").mkdir()
    teach.teach(takes, out, 500)
    assert [line.endswith(" --overwrite") for line in typed[4:]] == [False, False, True, False]
    teach.teach(takes, out, 600, overwrite=True)
    assert [line.endswith(" --overwrite") for line in typed[8:]] == [True, True, True, False]


@pytest.mark.parametrize(
    ("n", "said"), [(0, "0 recordings"), (1, "1 recording,"), (2, "2 recordings, expected a fol")]
)
def test_too_few_recordings_are_refused(
    typed: list[str], takes: Path, tmp_path: Path, n: int, said: str
) -> None:
    for path in sorted(takes.iterdir())[n:]:
        path.unlink()
    with pytest.raises(UsageError, match=said):
        teach.teach(takes, tmp_path / "mine", 500)
    assert typed == []
    assert not (tmp_path / "mine").exists()


def test_takes_of_one_thing_and_copies_are_told(
    typed: list[str], takes: Path, tmp_path: Path
) -> None:
    for i in range(3):
        (takes / f"take{i}.wav").rename(takes / f"my riff take {i}.wav")
    (takes / "copy.wav").write_bytes((takes / "my riff take 0.wav").read_bytes())
    with pytest.raises(
        UsageError, match=r"takes: 4 recordings, but of 2 things only \(copy, my ri"
    ):
        teach.teach(takes, tmp_path / "mine", 500)
    assert typed == []
    assert not (tmp_path / "mine").exists()
    (takes / "copy.wav").unlink()
    (takes / "groups.csv").write_text(
        "file,group\n" + "".join(f"my riff take {i}.wav,{i}\n" for i in range(3))
    )
    teach.teach(takes, tmp_path / "mine", 500)
    assert len(typed) == 4


def test_a_folder_that_is_none_and_recordings_of_a_phone_are_told(
    typed: list[str], takes: Path, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match="takes2: is not there, expected a folder"):
        teach.teach(tmp_path / "takes2", tmp_path / "mine", 500)
    with pytest.raises(UsageError, match=r"take0\.wav: is a file, expected a folder"):
        teach.teach(takes / "take0.wav", tmp_path / "mine", 500)
    (takes / "take0.wav").rename(takes / "take0.m4a")
    with pytest.raises(UsageError, match=r"2 recordings and 1 to save as WAV .*\(take0\.m4a\)"):
        teach.teach(takes, tmp_path / "mine", 500)
    assert typed == []


def test_a_step_that_fails_says_how_to_go_on(tmp_path: Path) -> None:
    with pytest.raises(FxError, match=r"'fxpipe check none' ended with exit code 1; what is fin.*"):
        steps.run_step("fxpipe check none", tmp_path, "fxpipe demo")
    with pytest.raises(UsageError, match=r"'fxpipe check' refused to begin; the line above says"):
        steps.run_step("fxpipe check", tmp_path, "fxpipe demo")  # typed again, it refuses again
    assert steps.run_step("fxpipe --version", tmp_path, "", quiet=True).startswith("fxpipe")
