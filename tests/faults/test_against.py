"""``fxpipe check --against``: same seed, same bytes; every difference is listed."""

from __future__ import annotations

import json
import shutil

import pytest

from faults.conftest import RENDER, Fx, copy_of, digests, remake
from fixtures.cli import run
from fxpipe.against import _look
from fxtrain.contract import SPLITS, LocalFolder


@pytest.mark.parametrize("name", ["renders", "shards", "zarr"])
def test_equal_directories_are_one_line_with_counts(tmp_path, whole, fx: Fx, name):
    copy = copy_of(whole / name, tmp_path)
    done = fx("check", copy, "--against", whole / name)
    data = [
        path
        for path in (whole / name).rglob("*")
        if path.is_file()
        and path.name not in ("index.json", "plan.json")
        and path.parent.name != ".receipts"
    ]
    n_bytes = sum(path.stat().st_size for path in data)
    assert (done.code, done.out) == (0, "")
    assert done.err.strip() == (
        f"{copy}: the same as {whole / name}: {len(data)} files, {n_bytes:,} bytes"
    )


def test_workers_order_and_machine_change_no_byte(tmp_path, whole, fx: Fx):
    """Two real worker processes against tasks one after another in this process."""
    made = tmp_path / "renders"
    line = RENDER.replace("-j 1", "-j 2").split()
    assert run("fxpipe", *line, made, cwd=tmp_path).code == 0
    done = fx("check", made, "--against", whole / "renders")
    assert done.code == 0, done.out
    assert digests(made) == digests(whole / "renders")


def test_a_repaired_directory_is_the_same_again(tmp_path, whole, fx: Fx):
    copy = copy_of(whole / "zarr", tmp_path)
    shutil.rmtree(copy / "train.zarr/codes/c")
    against = ("check", copy, "--against", whole / "zarr")
    lost = fx(*against)
    assert lost.code == 1
    assert f"train.zarr/codes/c/0/0/0: is only in {whole / 'zarr'}" in lost.out
    assert fx(*remake("zarr", whole, copy), "--resume").code == 0
    assert fx(*against).code == 0


def test_a_files_length_is_asked_for_before_it_is_read(tmp_path, monkeypatch):
    """By it a store knows for how long a large one may be waited for."""
    folder, asked = LocalFolder(tmp_path), []
    folder.write("train-000000.npy", b"xyz")
    read = folder.read
    monkeypatch.setattr(folder, "read", lambda *told: asked.append(told) or read(*told))
    assert _look(folder, "train-000000.npy", {}).n_bytes == 3
    assert asked == [("train-000000.npy", 3)]


def test_a_file_in_place_of_a_folder_is_a_difference(tmp_path, whole, fx: Fx):
    copy = copy_of(whole / "zarr", tmp_path)
    shutil.rmtree(copy / "train.zarr")
    (copy / "train.zarr").write_text("x")
    done = fx("check", whole / "zarr", "--against", copy)
    assert done.code == 1
    assert "train.zarr/codes/c/0/0/0: is only here" in done.out


def test_every_difference_is_listed(tmp_path, whole, fx: Fx):
    copy = copy_of(whole / "shards", tmp_path)
    data = bytearray((copy / "train-000000.tar").read_bytes())
    data[600] ^= 1
    (copy / "train-000000.tar").write_bytes(data)
    (copy / "test-000000.tar").unlink()
    (copy / "valid-000000.tar").unlink()
    (copy / "valid-000000.tar").mkdir()  # in the place of a file
    (copy / "train-000009.tar").write_bytes(b"more")
    done = fx("check", copy, "--against", whole / "shards", "--json")
    assert done.code == 1
    found = {line["where"]: line["what"] for line in map(json.loads, done.out.splitlines())}
    assert set(found) == {f"{split}-000000.tar" for split in SPLITS} | {"train-000009.tar"}
    assert "not what the index says here" in found["train-000000.tar"]
    assert found["test-000000.tar"].startswith("is only in")
    assert found["valid-000000.tar"].startswith("is only in")
    assert found["train-000009.tar"].startswith("is only here")
    assert "4 problem(s) against" in done.last_line


def test_damage_on_both_sides_alike_is_no_sameness(tmp_path, whole, fx: Fx):
    copies = [copy_of(whole / "shards", tmp_path / side) for side in ("a", "b")]
    for copy in copies:
        (copy / "train-000000.tar").write_bytes(b"lost")
    done = fx("check", copies[0], "--against", copies[1])
    assert done.code == 1
    assert "same on both sides; not what the index says here and in" in done.out


def test_another_seed_names_the_key(whole, fx: Fx):
    for name, key in (("renders", "seed"), ("shards", "recipe.seed")):
        done = fx("check", whole / f"other-{name}", "--against", whole / name)
        assert done.code == 1
        assert "another data set" in done.out
        assert f"index.json: {key} is 1 here, 0 in {whole / name}" in done.out
        assert "train-000000" in done.out


def test_another_codec_or_backend_names_the_keys(tmp_path, whole, fx: Fx):
    done = fx("check", whole / "zarr", "--against", whole / "shards")
    assert done.code == 1
    assert "index.json: backend is 'zarr' here, 'webdataset' in" in done.out
    assert "train-000000.tar: is only in" in done.out
    copy = copy_of(whole / "shards", tmp_path)
    index = json.loads((copy / "index.json").read_text())
    index["codec"]["precision"] = index["recipe"]["precision"] = "tf32"
    index["codec"]["weights_sha256"] = "0" * 64
    (copy / "index.json").write_text(json.dumps(index))
    done = fx("check", copy, "--against", whole / "shards")
    assert done.code == 1
    for key in ("codec.precision", "codec.weights_sha256", "recipe.precision"):
        assert f"index.json: {key} is" in done.out


def test_what_only_the_machine_decides_is_a_note(tmp_path, whole, fx: Fx):
    copy = copy_of(whole / "shards", tmp_path)
    index = json.loads((copy / "index.json").read_text())
    index["codec"]["backend"] = "another device"
    index["versions"]["python"] = "9.9"
    index["recipe"]["peak_vram_gb"] = 3.1
    (copy / "index.json").write_text(json.dumps(index))
    done = fx("check", copy, "--against", whole / "shards")
    assert (done.code, done.out) == (0, "")
    assert "note: index.json: codec.backend is 'another device' here" in done.err
    assert "note: index.json: versions.python is '9.9' here" in done.err
    assert "note: index.json: recipe.peak_vram_gb is 3.1 here" in done.err


def test_renders_and_shards_or_an_unfinished_directory_cannot_be_compared(tmp_path, whole, fx: Fx):
    done = fx("check", whole / "renders", "--against", whole / "shards")
    assert done.code == 1
    assert "fxpipe-renders here, fxpipe-shards in" in done.out
    copy = copy_of(whole / "renders", tmp_path)
    (copy / "index.json").unlink()
    assert "no index.json" in fx("check", whole / "renders", "--against", copy).last_line


def test_damage_that_one_index_alone_tells_is_no_sameness(tmp_path, whole, fx: Fx):
    copy = copy_of(whole / "renders", tmp_path)
    index = json.loads((copy / "index.json").read_text())
    index["shards"][0]["files"][0]["sha256"] = "0" * 64
    (copy / "index.json").write_text(json.dumps(index))
    for sides, where in (((copy, whole / "renders"), "here"), ((whole / "renders", copy), "in")):
        done = fx("check", sides[0], "--against", sides[1])
        assert done.code == 1
        assert f"is the same on both sides; not what the index says {where}" in done.out


def test_what_both_sides_lack_or_hold_beside_the_index(tmp_path, whole, fx: Fx):
    copies = [copy_of(whole / "shards", tmp_path / side) for side in ("a", "b")]
    for copy in copies:
        (copy / "notes.txt").write_text("mine")
    assert fx("check", copies[0], "--against", copies[1]).code == 0
    for copy in copies:
        (copy / "train-000000.tar").unlink()
    done = fx("check", copies[0], "--against", copies[1])
    assert done.code == 1
    assert "train-000000.tar: is missing on both sides, although both indexes list it" in done.out


def test_other_recordings_are_no_fact_of_the_machine(tmp_path, whole, fx: Fx):
    copy = copy_of(whole / "renders", tmp_path)
    index = json.loads((copy / "index.json").read_text())
    index["source"], index["source_digest"] = "elsewhere", "0" * 64
    (copy / "index.json").write_text(json.dumps(index))
    done = fx("check", copy, "--against", whole / "renders")
    assert done.code == 1
    assert "index.json: source_digest is" in done.out
    assert "note: index.json: source is 'elsewhere' here" in done.err


def test_a_key_that_one_index_alone_has_is_a_difference_from_either_side(tmp_path, whole, fx: Fx):
    copy = copy_of(whole / "shards", tmp_path)
    index = json.loads((copy / "index.json").read_text())
    del index["recipe"]["with_mel"]
    (copy / "index.json").write_text(json.dumps(index))
    for sides in ((copy, whole / "shards"), (whole / "shards", copy)):
        done = fx("check", sides[0], "--against", sides[1])
        assert done.code == 1
        assert "index.json: recipe.with_mel is" in done.out
