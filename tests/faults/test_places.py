"""Two data sets and one place: the later command says whose it is, and nobody's bytes change."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from faults.conftest import ENCODE, RENDER, Fx, copy_of, digests, remake
from fixtures.stores import Mood, flaky_memory
from fxpipe import encode as encode_room
from fxpipe import renders, resume
from fxpipe.against import compare
from fxpipe.renders import read_renders_index
from fxtrain.contract import FxError, LocalFolder, UsageError, open_folder

HOLDER = """
import sys, time
from fxpipe.resume import RENDERS, alone_in
from fxtrain.contract import LocalFolder

with alone_in(LocalFolder(sys.argv[1]), RENDERS, sys.argv[2], overwrite=False):
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def holder(tmp_path: Path):
    """``holder(folder, identity)``: another process that writes there until it is killed."""
    held: list[subprocess.Popen[str]] = []

    def hold(folder: Path, identity: str) -> subprocess.Popen[str]:
        line = [sys.executable, "-c", HOLDER, str(folder), identity]
        held.append(subprocess.Popen(line, stdout=subprocess.PIPE, text=True))
        assert held[-1].stdout is not None
        assert held[-1].stdout.readline() == "held\n"
        return held[-1]

    yield hold
    for process in held:
        process.kill()
        process.wait()
        process.stdout.close()


def encode(renders: Path, out: Path | str, *words: str) -> list[Path | str]:
    return ["encode", renders, *ENCODE.split(), "-o", out, *words]


@pytest.mark.parametrize("words", [[], ["--overwrite"], ["--resume"]])
def test_encode_never_writes_where_it_reads(tmp_path, whole, fx: Fx, words):
    copy = copy_of(whole / "renders", tmp_path)
    link = tmp_path / "link"
    link.symlink_to(copy)
    before = digests(copy)
    for out in (copy, link, f"{copy}/", f"file://{copy}", copy / "../renders"):
        done = fx(*encode(copy, out, *words))
        assert done.code == 2
        assert "is where the renders lie that are to be read; give another -o" in done.last_line
    assert digests(copy) == before


@pytest.mark.parametrize("words", [[], ["--overwrite"], ["--resume"]])
@pytest.mark.parametrize("finished", ["finished", "without index", "without mark"])
def test_another_kind_is_named_and_never_cleared(tmp_path, whole, fx: Fx, words, finished):
    for name, other in (("shards", "other-renders"), ("renders", "shards"), ("renders", "zarr")):
        copy = copy_of(whole / other, tmp_path)
        if finished != "finished":
            (copy / "index.json").unlink()
        if finished == "without mark":
            (copy / resume.OWNER_NAME).unlink()
        before = digests(copy)
        done = fx(*remake(name, whole, copy), *words)
        held = "renders" if name == "shards" else "shards"
        assert done.code == 2
        assert f"{copy} holds {held}, and {name} are to be written; give another" in done.last_line
        assert digests(copy) == before
        shutil.rmtree(copy)


@pytest.mark.parametrize("name", ["index.json", "plan.json", "train-000000.npy"])
def test_files_of_others_with_our_names_are_not_written_over(tmp_path, whole, fx: Fx, name):
    out = tmp_path / "out"
    out.mkdir()
    (out / name).write_text('{"title": "my own"}')
    done = fx(*remake("renders", whole, out))
    assert done.code == 2
    assert "o receipt tells whose" in done.last_line
    assert [p.name for p in out.iterdir()] == [name]
    if name.endswith(".json"):
        done = fx(*remake("renders", whole, out), "--overwrite")
        assert f"would delete {name!r}" in done.last_line
        assert [p.name for p in out.iterdir()] == [name]


@pytest.mark.parametrize("name", ["renders", "shards", "zarr"])
def test_overwrite_clears_all_that_was_written(tmp_path, whole, fx: Fx, name):
    copy = copy_of(whole / f"other-{name}", tmp_path)
    (copy / "train-000077.npy.1@elsewhere.part").write_bytes(b"half")
    assert fx(*remake(name, whole, copy), "--overwrite").code == 0
    (copy / "train-000077.npy.1@elsewhere.part").unlink()
    assert digests(copy) == digests(whole / name)


@pytest.mark.parametrize("name", ["renders", "shards"])
def test_what_is_to_be_gone_on_with_is_not_deleted(tmp_path, whole, fx: Fx, name):
    copy = copy_of(whole / name, tmp_path)
    (copy / "index.json").unlink()
    before = digests(copy)
    done = fx(*remake(name, whole, copy), "--resume", "--overwrite")
    assert done.code == 2
    assert "--resume goes on with what is there, --overwrite deletes it" in done.last_line
    assert digests(copy) == before


@pytest.mark.parametrize("words", [[], ["--overwrite"], ["--resume"]])
def test_one_at_a_time_writes_a_directory(tmp_path, whole, fx: Fx, holder, words):
    for identity in ("another", json.loads((whole / "renders/index.json").read_text())["identity"]):
        out = tmp_path / identity[:4]
        process = holder(out, identity)
        done = fx(*remake("renders", whole, out), *words)
        assert done.code == 1
        assert f"another fxpipe is writing {out}; wait until it has ended" in done.last_line
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert fx(*remake("renders", whole, out), *words).code == 0
        assert digests(out) == digests(whole / "renders")


def test_no_lock_file_stays(tmp_path, whole, fx: Fx):
    assert not list(whole.glob(f"*/{resume.LOCK_NAME}"))
    copy = copy_of(whole / "renders", tmp_path)
    (copy / resume.LOCK_NAME).touch()  # of a process that was killed
    assert fx(*remake("renders", whole, copy), "--resume").code == 0
    assert digests(copy) == digests(whole / "renders")


def test_one_that_is_at_work_is_named_before_its_data_set_is(tmp_path, whole, fx: Fx, holder):
    copy = copy_of(whole / "other-renders", tmp_path)
    identity = json.loads((copy / "index.json").read_text())["identity"]
    (copy / "index.json").unlink()
    process = holder(copy, identity)
    done = fx(*remake("renders", whole, copy))
    assert "another fxpipe is writing" in done.last_line
    process.kill()
    process.wait()
    assert "another, unfinished data set" in fx(*remake("renders", whole, copy)).last_line


def test_the_mark_is_there_before_the_first_shard(tmp_path, whole, fx: Fx, monkeypatch):
    from fxpipe import renders

    seen = []

    def look(function, jobs, workers):
        seen.extend(open_folder(tmp_path / "out").names())
        raise KeyboardInterrupt

    monkeypatch.setattr(renders, "run_tasks", look)
    fx(*remake("renders", whole, tmp_path / "out"))
    assert resume.OWNER_NAME in seen
    assert not any(name.endswith((".npy", ".jsonl")) for name in seen)


def test_a_mark_without_a_shard_holds_no_place(tmp_path, whole, fx: Fx):
    with resume.alone_in(LocalFolder(tmp_path / "out"), resume.RENDERS, "other", overwrite=False):
        (tmp_path / "out/plan.json").write_text("{}")
    assert fx(*remake("renders", whole, tmp_path / "out")).code == 0
    assert digests(tmp_path / "out") == digests(whole / "renders")


def test_a_directory_that_is_older_than_marks_goes_on(tmp_path, whole, fx: Fx):
    copy = copy_of(whole / "renders", tmp_path)
    for name in ("index.json", resume.OWNER_NAME, "train-000001.npy"):
        (copy / name).unlink()
    assert fx(*remake("renders", whole, copy)).code == 0
    assert digests(copy) == digests(whole / "renders")


def test_behind_a_uri_the_mark_alone_tells(whole, fx: Fx):
    with flaky_memory(Mood(0, 0.0, 0.0)) as store:
        uri = f"{store}/renders"
        folder = open_folder(uri)
        with resume.alone_in(folder, resume.RENDERS, "other", overwrite=False):
            done = fx(*RENDER.split(), uri)
            assert done.code == 2
            assert "another, unfinished data set" in done.last_line
        with (
            pytest.raises(FxError, match="another fxpipe began to write another data set"),
            resume.alone_in(folder, resume.RENDERS, "other", overwrite=False),
        ):
            assert fx(*RENDER.split(), uri, "--overwrite").code == 0
        assert compare(uri, str(whole / "renders")).problems == []
        index = read_renders_index(folder)
        folder.delete("index.json")
        folder.write(resume.OWNER_NAME, b'{"kind": "fxpipe-renders", "identity": "other"}')
        for _ in ("another's mark", "no mark any more"):
            with pytest.raises(FxError, match="another fxpipe began to write another data set"):
                resume.write_finished(folder, index)
            folder.delete(resume.OWNER_NAME)
        assert folder.size("index.json") is None
        assert resume.is_same_place(f"{uri}/", uri)


def test_a_run_whose_shards_were_deleted_meanwhile_is_not_finished(whole, fx: Fx, monkeypatch):
    """As by another run of the same data set with --overwrite, behind a URI."""
    ends = resume.write_finished

    def overwritten_first(folder, index):
        folder.delete("train-000001.npy")
        ends(folder, index)

    with flaky_memory(Mood(0, 0.0, 0.0)) as store:
        uri = f"{store}/renders"
        with monkeypatch.context() as patched:
            patched.setattr(renders, "write_finished", overwritten_first)
            done = fx(*RENDER.split(), uri)
        assert done.code == 1
        assert "1 file(s) of it are gone, the first train-000001.npy" in done.last_line
        assert open_folder(uri).size("index.json") is None
        assert fx(*RENDER.split(), uri).code == 0
        assert compare(uri, str(whole / "renders")).problems == []


@pytest.mark.parametrize("name", ["renders", "shards"])
def test_a_task_that_was_given_up_writes_nothing_into_what_replaced_its_data_set(
    tmp_path, whole, fx: Fx, monkeypatch, name
):
    given = []

    def run_and_keep(function, jobs, workers, **_):
        for job in jobs:
            given.append((function, job))
            yield function(job)

    for module in (renders, encode_room):
        monkeypatch.setattr(module, "run_tasks", run_and_keep)
    out = tmp_path / name
    assert fx(*remake(name, whole, out)).code == 0
    function, job = given[0]
    others = [*RENDER.split(), out, "--seed", "1"]
    if name == "shards":
        others = encode(whole / "other-renders", out)
    assert fx(*others, "--overwrite").code == 0
    before = digests(out)
    with pytest.raises(FxError, match="was replaced by another data set"):
        function(job)
    assert digests(out) == before


def test_a_symmetry_table_goes_to_no_data_set(tmp_path, whole, fx: Fx):
    copy = copy_of(whole / "renders", tmp_path)
    line = ["symmetry", "--pool", "wah,fuzz", "--n-clips", "1", "-o", copy, "-j", "1"]
    for missing in ("thesis.txt", "index.json"):
        (copy / missing).unlink(missing_ok=True)
        before = digests(copy)
        done = fx(*line)
        assert done.code == 2
        assert f"{copy} holds a data set, finished or begun; give another -o" in done.last_line
        assert digests(copy) == before


def test_an_interrupted_symmetry_promises_nothing(tmp_path, fx: Fx, monkeypatch):
    from fxpipe.orders import symmetry

    def stop(function, jobs, workers):
        raise KeyboardInterrupt

    monkeypatch.setattr(symmetry, "run_tasks", stop)
    done = fx("symmetry", "--pool", "wah,fuzz", "--n-clips", "1", "-o", tmp_path / "s", "-j", "1")
    assert done.code == 130
    assert "kept" not in done.err


def test_two_real_encoders_of_one_directory(tmp_path, whole, fx: Fx):
    program = Path(sys.executable).with_name("fxpipe")
    out = tmp_path / "out"
    line = [program, *encode(whole / "renders", out)]
    with subprocess.Popen(line, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as first:
        deadline = time.monotonic() + 120
        while not (out / resume.OWNER_NAME).exists():
            assert time.monotonic() < deadline
            assert first.poll() is None
            time.sleep(0.02)
        done = fx(*encode(whole / "other-renders", out))
    assert first.returncode == 0
    assert done.code in (1, 2), done.err
    assert digests(out) == digests(whole / "shards")


def test_a_file_system_without_locks_is_written_all_the_same(tmp_path, monkeypatch):
    import errno

    import filelock

    def refuse(self, **options):
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(filelock.FileLock, "acquire", refuse)
    with resume.alone_in(LocalFolder(tmp_path), resume.SHARDS, "mine", overwrite=False):
        assert resume.owner_of(LocalFolder(tmp_path)) == ("fxpipe-shards", "mine")


def test_a_place_that_cannot_be_written_is_one_line(tmp_path):
    (tmp_path / "file").write_text("in the way")
    folder = LocalFolder(tmp_path / "file/renders")
    with (
        pytest.raises(FxError, match=r"cannot write .*file/renders/\.receipts"),
        resume.alone_in(folder, resume.RENDERS, "mine", overwrite=False),
    ):
        pass


def test_what_is_nobodys_is_refused_with_the_file(tmp_path):
    folder = LocalFolder(tmp_path)
    folder.write("codebooks.npy", b"mine")
    with pytest.raises(UsageError, match=r"holds 'codebooks\.npy', which this would write over"):
        resume.is_finished(folder, resume.SHARDS, lambda folder: None, "identity")


def test_the_lock_is_not_put_where_a_link_leads_out(tmp_path):
    mine, out = tmp_path / "mine", tmp_path / "out"
    mine.mkdir()
    out.mkdir()
    (mine / "lock").write_text("precious")
    (out / ".receipts").symlink_to(mine)
    with (
        pytest.raises(FxError, match="a link leads out of"),
        resume.alone_in(LocalFolder(out), resume.RENDERS, "mine", overwrite=False),
    ):
        pass
    assert (mine / "lock").read_text() == "precious"


def test_home_is_what_a_shell_takes_it_for(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert open_folder("~/renders").uri == str(tmp_path / "renders")
    assert open_folder("~backup/renders").uri == "~backup/renders"  # a name like any other


@pytest.mark.parametrize("uri", ["", "s3://", "s3:/bucket/renders", "s3:///"])
def test_a_uri_that_was_cut_is_no_folder_of_that_name(uri):
    with pytest.raises(UsageError, match="is no directory; give a path, or a URI"):
        open_folder(uri)
