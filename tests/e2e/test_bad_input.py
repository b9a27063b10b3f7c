"""Bad input: one clear line (what, where, expected, what next), a non-zero exit, nothing lost."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from fixtures.cli import Ran, run
from fixtures.datasets import add_bad_files, make_egfxset, make_folder, make_idmt

SHORT = ["--pool", "okita3", "--lengths", "1", "--clip-s", "0.5", "-j", "1"]


def one_line(done: Ran, code: int) -> str:
    assert done.code == code, done.err
    assert "Traceback" not in done.err
    assert done.last_line.startswith(("fxpipe: error: ", "fxtrain: error: "))
    return done.last_line


@contextlib.contextmanager
def patched(**environment: str) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        for name, value in environment.items():
            patch.setenv(name, value)
        yield


@pytest.fixture(scope="module")
def renders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    here = tmp_path_factory.mktemp("renders")
    assert run("fxpipe", "render", "--n-chains", "12", *SHORT, cwd=here).code == 0
    return here / "renders"


@pytest.mark.parametrize(
    ("options", "near"),
    [
        (["--dataset", "idtm"], "did you mean 'idmt'"),
        (["--pool", "stompbx"], "did you mean 'stompbox'"),
        (["--pool", "chorus,revreb"], "did you mean 'reverb'"),
        (["--order", "random"], "known: uniform, realistic, fixed"),
        (["--lengths", "five"], "expected '1-5'"),
        (["--config", "missing.toml"], "missing.toml: cannot be read"),
    ],
)
def test_unknown_names_come_with_the_nearest(tmp_path, options, near):
    done = run("fxpipe", "render", *options, "--n-chains", "3", cwd=tmp_path)
    assert near in one_line(done, done.code)
    assert done.code in (1, 2)
    assert not (tmp_path / "renders").exists()


def test_unknown_codec_and_format_come_with_the_nearest(renders):
    for options, near in ((["--codec", "44kzh"], "'44khz'"), (["--format", "zar"], "'zarr'")):
        done = run("fxpipe", "encode", renders, "-o", "out", *options, cwd=renders.parent)
        assert f"did you mean {near}" in one_line(done, done.code)


def test_shards_in_tars_may_be_called_tar(renders):
    line = ["encode", renders, "--codec", "embedded", "--format", "tar", "--dry-run"]
    done = run("fxpipe", *line, cwd=renders.parent)
    assert done.code == 0, done.err
    assert ": webdataset shards of " in done.out


def test_log_mel_alone_runs_no_codec_that_could_be_told_how(renders):
    line = ["encode", renders, "--codec", "embedded", "--mel-only"]
    for flags in (["--exact"], ["--gpu", "0"], ["--max-vram", "8"]):
        done = run("fxpipe", *line, *flags, cwd=renders.parent)
        assert "--mel-only runs no codec; leave" in one_line(done, 2)
    done = run("fxpipe", *line, "--dry-run", cwd=renders.parent)
    assert done.code == 0, done.err
    assert " as log-mel alone on cpu " in done.out


def test_config_keys_are_checked(tmp_path):
    (tmp_path / "c.toml").write_text("[chain]\npol = 'okita3'\n")
    done = run("fxpipe", "render", "--config", "c.toml", "--n-chains", "3", cwd=tmp_path)
    assert "did you mean 'pool'" in one_line(done, 2)


def test_a_missing_data_set_says_what_to_type(tmp_path):
    done = run("fxpipe", "render", "--dataset", "idmt", "--data-dir", tmp_path, cwd=tmp_path)
    assert "fxpipe fetch idmt" in one_line(done, 1)


def test_a_missing_gpu_says_what_to_type(renders):
    done = run("fxpipe", "encode", renders, "--gpu", "7", "--codec", "embedded", cwd=renders.parent)
    assert "run without --gpu" in one_line(done, 1)


def test_a_folder_without_audio(tmp_path):
    (tmp_path / "empty").mkdir()
    done = run("fxpipe", "render", "--dataset", "folder:empty", "--n-chains", "3", cwd=tmp_path)
    assert "empty" in one_line(done, 1)


def test_bad_files_are_skipped_counted_and_listed(tmp_path):
    make_folder(tmp_path / "mixed")
    bad = add_bad_files(tmp_path / "mixed")
    line = ["render", "--dataset", "folder:mixed", "--n-chains", "6", *SHORT]
    done = run("fxpipe", *line, cwd=tmp_path)
    assert done.code == 0, done.err
    index = json.loads((tmp_path / "renders/index.json").read_text())
    assert len(index["skipped"]) == len(bad)
    for name in bad:
        assert name in done.err


@pytest.mark.parametrize(("name", "make"), [("idmt", make_idmt), ("egfxset", make_egfxset)])
def test_true_layouts_render_with_data_dir(tmp_path, name, make):
    make(tmp_path / "data")
    line = ["render", "--dataset", name, "--data-dir", "data", "--n-chains", "8", *SHORT]
    done = run("fxpipe", *line, cwd=tmp_path)
    assert done.code == 0, done.err
    index = json.loads((tmp_path / "renders/index.json").read_text())
    assert index["shareable"] is (name == "egfxset")
    assert run("fxpipe", "check", "renders", cwd=tmp_path).code == 0


def test_unwritable_output(tmp_path):
    (tmp_path / "file").write_text("in the way")
    done = run("fxpipe", "render", "--n-chains", "3", *SHORT, "-o", "file/renders", cwd=tmp_path)
    assert "cannot write" in one_line(done, 1)


@pytest.mark.skipif(not os.access("/dev/full", os.W_OK), reason="needs Linux's /dev/full")
def test_a_full_disk_is_one_line_and_leaves_no_part(tmp_path):
    from fxtrain.contract import FxError, LocalFolder

    folder = LocalFolder(tmp_path)
    (tmp_path / f"x.{os.getpid()}@{socket.gethostname()}.part").symlink_to("/dev/full")
    with pytest.raises(FxError, match="No space left on device"):
        folder.write("x", b"bytes")
    assert folder.names() == []


def test_encode_refuses_unfinished_renders(renders, tmp_path):
    unfinished = shutil.copytree(renders, tmp_path / "unfinished")
    (unfinished / "index.json").unlink()
    done = run("fxpipe", "encode", unfinished, "--codec", "embedded", cwd=tmp_path)
    assert "no index.json" in one_line(done, 1)
    assert not (tmp_path / "shards").exists()


def test_overwrite_never_deletes_what_is_not_ours(tmp_path):
    (tmp_path / "renders").mkdir()
    (tmp_path / "renders/thesis.txt").write_text("dear")
    line = ["render", "--n-chains", "3", *SHORT, "--overwrite"]
    done = run("fxpipe", *line, cwd=tmp_path)
    assert "thesis.txt" in one_line(done, 2)
    assert (tmp_path / "renders/thesis.txt").exists()


def test_overwrite_knows_its_own_files_by_their_whole_name(tmp_path):
    mine = [
        "takes/test-my-only-take.wav",
        "takes/train-station/a.wav",
        "takes/train-000000.npy.txt",
    ]
    for name in mine:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("dear")
    line = ["render", "--n-chains", "3", *SHORT, "-o", "takes", "--overwrite"]
    said = one_line(run("fxpipe", *line, cwd=tmp_path), 2)
    assert "would delete 'test-my-only-take.wav', which is no part of renders" in said
    there = [p.relative_to(tmp_path).as_posix() for p in tmp_path.rglob("*") if p.is_file()]
    assert sorted(there) == sorted(mine)


def test_a_dry_run_fetches_nothing(tmp_path):
    line = ["render", "--dataset", "guitarset", "--n-chains", "3", *SHORT, "--dry-run"]
    with patched(XDG_DATA_HOME=str(tmp_path / "data"), HTTPS_PROXY="http://127.0.0.1:9"):
        done = run("fxpipe", *line, cwd=tmp_path)
    assert done.code == 0, done.err
    assert done.out.startswith("would fetch guitarset (")
    assert "GB)" in done.out or "MB)" in done.out
    assert not list(tmp_path.iterdir())


def test_a_sound_file_that_cannot_be_written_is_one_line(renders):
    for name, said in (
        ("nodir/x.wav", "cannot write nodir/x.wav: No such file or directory"),
        ("x.xyz", "ends in one of .wav, .flac"),
    ):
        done = run("fxpipe", "inspect", renders, "--listen", name, cwd=renders.parent)
        assert said in one_line(done, done.code)


def test_too_many_pedals_for_the_pool(tmp_path):
    line = ["render", "--pool", "okita3", "--lengths", "4", "--n-chains", "3"]
    assert "larger pool" in one_line(run("fxpipe", *line, cwd=tmp_path), 2)
