"""What lies beside a data set, stands in its place or was altered around it."""

from __future__ import annotations

import json
import os
import shutil

import pytest

from faults.conftest import RENDER, Fx, copy_of, digests, remake
from fixtures.datasets import make_folder
from fxpipe.resume import SHARDS


@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("renders", "train-000000.npy"),
        ("shards", "train-000000.tar"),
        ("zarr", "train-records/000000.jsonl"),
    ],
)
def test_a_shard_that_the_index_does_not_list_is_found(tmp_path, whole, fx: Fx, name, file):
    copy = copy_of(whole / name, tmp_path)
    first = copy / file
    stray = first.with_name(first.name.replace("000000", "000077"))
    shutil.copy(first, stray)
    checked = fx("check", copy)
    assert checked.code == 1
    assert f"{stray.relative_to(copy)}: is not in index.json" in checked.out


@pytest.mark.parametrize("change", [lambda data: b"", lambda data: data[:-2] + b"?}"])
def test_a_damaged_plan_is_not_the_same(tmp_path, whole, fx: Fx, change):
    copy = copy_of(whole / "renders", tmp_path)
    (copy / "plan.json").write_bytes(change((copy / "plan.json").read_bytes()))
    for sides in ((copy, whole / "renders"), (whole / "renders", copy)):
        compared = fx("check", sides[0], "--against", sides[1])
        assert compared.code == 1
        assert f"{copy}/plan.json" in compared.out


def test_an_index_that_is_not_that_of_its_plan(tmp_path, whole, fx: Fx):
    copy = copy_of(whole / "renders", tmp_path)
    shutil.rmtree(copy / ".receipts")  # as a copy by `cp dir/*` lacks it
    checked = fx("check", copy)
    assert checked.code == 0
    assert ".receipts/index.sha256 is not in" in checked.err
    index = json.loads((copy / "index.json").read_text())
    (copy / "index.json").write_text(json.dumps(index | {"seed": index["seed"] + 5}))
    checked = fx("check", copy)
    assert checked.code == 1
    assert "index.json: seed is not that of plan.json" in checked.out


@pytest.mark.parametrize("name", ["train-000000.npy", "index.json"])
def test_a_pipe_in_place_of_a_file_is_waited_for_by_nobody(tmp_path, whole, fx: Fx, name):
    copy = copy_of(whole / "renders", tmp_path)
    (copy / name).unlink()
    os.mkfifo(copy / name)
    assert fx("check", copy, "--against", whole / "renders").code == 1
    assert fx("check", copy).code == 1


def test_what_another_run_left_goes_before_a_new_one_writes_there(tmp_path, whole, fx: Fx):
    copy = tmp_path / "shards"
    (copy / ".receipts").mkdir(parents=True)
    mark = {"kind": SHARDS.index_kind, "identity": "0" * 64}
    (copy / ".receipts/owner").write_text(json.dumps(mark))
    (copy / "train.zarr").mkdir()
    (copy / "train.zarr/zarr.json").write_text("{}")
    (copy / "notes.txt").write_text("mine")
    assert fx(*remake("shards", whole, copy)).code == 0
    assert (copy / "notes.txt").read_text() == "mine"
    (copy / "notes.txt").unlink()
    assert not (copy / "train.zarr/zarr.json").exists()
    assert digests(copy) == digests(whole / "shards")


def test_a_finished_set_of_other_shards_is_refused(tmp_path, whole, fx: Fx):
    copy = copy_of(whole / "renders", tmp_path)
    line = [word for word in RENDER.split() if word != "-o"]
    at = line.index("--shard-size")
    size = int(line[at + 1])
    line[at + 1] = str(size + 1)
    done = fx(*line, "-o", copy)
    assert done.code == 2
    assert f"its shards are of {size} clips, not {size + 1}" in done.last_line


@pytest.mark.parametrize("address", ["foo", "tcp://", "tcp://host", "host:port", "a b:1"])
def test_a_scheduler_that_is_no_address_touches_nothing(tmp_path, fx: Fx, address):
    done = fx(*RENDER.split(), tmp_path / "out", "--scheduler", address)
    assert done.code == 2
    assert "give it as 'dask scheduler' prints it" in done.last_line
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("kind", ["file", "link"])
def test_what_stands_where_a_directory_must_be_is_told(tmp_path, fx: Fx, kind):
    place = tmp_path / "out"
    if kind == "file":
        place.write_bytes(b"mine")
    else:
        place.symlink_to(tmp_path / "nowhere")
    done = fx(*RENDER.split(), place)
    assert done.code == 1
    assert "a file or a broken link, is in the way" in done.last_line


def test_a_process_that_lives_on_goes_by_the_plan_of_the_run(tmp_path, fx: Fx):
    """As a standing cluster's worker does, which has read the plan and the index of before."""
    make_folder(tmp_path / "here", duration_s=0.5)
    out, shards = tmp_path / "renders", tmp_path / "shards"

    def render(place: str, size: int) -> int:
        words = f"render --n-chains 12 --pool okita3 --lengths 1 --clip-s 0.2 --shard-size {size}"
        dataset = ["--dataset", f"folder:{tmp_path / place}"]
        return fx(*words.split(), *dataset, "-j", "1", "-o", out, "--overwrite").code

    encode = ["encode", out, "--codec", "embedded", "--mel-only", "-j", "1", "-o", shards]
    assert render("here", 4) == 0
    assert fx(*encode).code == 0
    (tmp_path / "here").rename(tmp_path / "there")
    assert render("there", 4) == 0  # the same data set: where it lies is no part of that
    assert render("there", 6) == 0
    assert fx(*encode, "--overwrite").code == 0
    assert fx("check", shards).code == 0
