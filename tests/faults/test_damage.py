"""A file with one flipped bit, cut short, missing or from another run: found, named, repaired."""

from __future__ import annotations

import hashlib
import json
import os
import socket
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from faults.conftest import Fx, copy_of, digests, remake
from fxtrain.contract import DamagedError, read_codebooks
from fxtrain.data import open_shards

FILES = {
    "renders": ["train-000000.npy", "valid-000000.jsonl", "plan.json"],
    "shards": ["train-000001.tar", "test-000000.tar", "codebooks.npy"],
    "zarr": [
        "train.zarr/codes/c/1/0/0",
        "train.zarr/codes/zarr.json",
        "test-records/000000.jsonl",
        "codebooks.npy",
    ],
}
SAME_IN_EVERY_RUN = ("codebooks.npy", "train.zarr/codes/zarr.json")


def flip(target: Path, other: Path) -> None:
    data = bytearray(target.read_bytes())
    data[len(data) // 2] ^= 1
    target.write_bytes(data)


def cut(target: Path, other: Path) -> None:
    target.write_bytes(target.read_bytes()[:-1])


def remove(target: Path, other: Path) -> None:
    target.unlink()


def exchange(target: Path, other: Path) -> None:
    """The file of that name of another seed; waves and codes even have the same length."""
    target.write_bytes(other.read_bytes())


DAMAGES = {damage.__name__: damage for damage in (flip, cut, remove, exchange)}


def files_of(name: str, damage: str) -> list[str]:
    files = FILES[name]
    if damage == "exchange":
        return [file for file in files if file not in SAME_IN_EVERY_RUN]
    return [file for file in files if damage != "remove" or file != "plan.json"]


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("damage", DAMAGES)
def test_damage_is_found_named_and_repaired(tmp_path, whole, fx: Fx, name, damage):
    copy = copy_of(whole / name, tmp_path)
    for file in files_of(name, damage):
        DAMAGES[damage](copy / file, whole / f"other-{name}" / file)
    checked = fx("check", copy)
    assert checked.code == 1
    for file in files_of(name, damage):
        assert f"{copy}/{file} " in checked.out
    assert "--resume" in checked.out
    assert fx(*remake(name, whole, copy), "--resume").code == 0
    assert digests(copy) == digests(whole / name)
    assert fx("check", copy).code == 0


@pytest.mark.parametrize("damage", DAMAGES)
def test_encode_names_the_damaged_file_and_finishes_nothing(tmp_path, whole, fx: Fx, damage):
    copy = copy_of(whole / "renders", tmp_path)
    DAMAGES[damage](copy / "train-000000.npy", whole / "other-renders/train-000000.npy")
    line = remake("shards", whole, tmp_path / "out")
    done = fx("encode", copy, *line[2:])
    assert done.code == 1
    assert f"{copy}/train-000000.npy" in done.last_line
    assert "--resume" in done.last_line
    assert not (tmp_path / "out/index.json").exists()


@pytest.mark.parametrize("name", ["shards", "zarr"])
@pytest.mark.parametrize("damage", DAMAGES)
def test_what_fit_reads_names_the_damaged_file(tmp_path, whole, name, damage):
    copy = copy_of(whole / name, tmp_path)
    for file in files_of(name, damage):
        if file.endswith(".jsonl"):
            continue  # records are no part of training
        intact = (copy / file).read_bytes()
        DAMAGES[damage](copy / file, whole / f"other-{name}" / file)
        with pytest.raises(DamagedError, match=f"{copy}/{file} "):
            read_all(copy)
        (copy / file).write_bytes(intact)
    read_all(copy)


def read_all(folder: Path) -> None:
    dataset = open_shards(folder)
    read_codebooks(dataset.folder, dataset.index)
    for split in ("train", "valid", "test"):
        dataset.load_arrays(split)


def test_fit_itself_names_it(tmp_path, whole, capsys):
    from fxtrain.cli import cli, run_cli

    copy = copy_of(whole / "shards", tmp_path)
    flip(copy / "train-000001.tar", copy)
    line = ["fit", str(copy), "--device", "cpu", "--output", str(tmp_path / "run")]
    assert run_cli(cli, "fxtrain", line) == 1
    said = capsys.readouterr().err.splitlines()[-1]
    assert f"{copy}/train-000001.tar has another CRC-32C" in said
    assert "--resume" in said


def edit(change: Callable[[str], str]) -> Callable[[Path], None]:
    return lambda path: path.write_text(change(path.read_text()))


INDEX_DAMAGES = {
    "cut short": edit(lambda text: text[:-20]),
    "another hash": edit(lambda text: text.replace('"sha256": "', '"sha256": "0', 1)),
    "another crc": edit(lambda text: text.replace('"crc32c": "', '"crc32c": "0', 1)),
    "another identity": edit(lambda text: text.replace('"identity": "', '"identity": "0', 1)),
    "a word": edit(lambda text: text.replace("CC0", "CC1", 1)),
    "a key": edit(lambda text: text.replace('"seed"', '"sead"', 1)),
    "empty": edit(lambda text: ""),
}


@pytest.mark.parametrize("name", ["renders", "shards"])
@pytest.mark.parametrize("damage", INDEX_DAMAGES)
def test_a_damaged_index_is_found_and_written_anew(tmp_path, whole, fx: Fx, name, damage):
    copy = copy_of(whole / name, tmp_path)
    INDEX_DAMAGES[damage](copy / "index.json")
    assert (copy / "index.json").read_bytes() != (whole / name / "index.json").read_bytes()
    checked = fx("check", copy)
    assert checked.code == 1
    assert "index.json" in checked.out
    assert fx(*remake(name, whole, copy), "--resume").code == 0
    assert digests(copy) == digests(whole / name)


@pytest.mark.parametrize("name", ["renders", "shards"])
def test_a_damaged_receipt_costs_its_shard_and_no_byte(tmp_path, whole, fx: Fx, name):
    copy = copy_of(whole / name, tmp_path)
    first, second, third = sorted((copy / ".receipts").glob("t*.json"))[:3]
    receipt = json.loads(first.read_text())
    receipt["shard"]["n_samples"] += 1
    first.write_text(json.dumps(receipt))
    second.write_bytes(second.read_bytes()[:-9])
    third.unlink()
    (copy / "index.json").unlink()
    assert fx(*remake(name, whole, copy)).code == 0
    assert digests(copy) == digests(whole / name)


def test_without_receipts_all_is_made_again(tmp_path, whole, fx: Fx):
    copy = copy_of(whole / "renders", tmp_path)
    for receipt in (copy / ".receipts").iterdir():
        receipt.unlink()
    assert fx(*remake("renders", whole, copy), "--resume").code == 0
    assert digests(copy) == digests(whole / "renders")


@pytest.mark.parametrize("name", ["renders", "shards", "zarr"])
def test_typed_again_without_resume_it_makes_what_is_missing(tmp_path, whole, fx: Fx, name):
    copy = copy_of(whole / name, tmp_path)
    for file in FILES[name]:
        (copy / file).unlink()
    assert fx(*remake(name, whole, copy)).code == 0
    assert digests(copy) == digests(whole / name)


def test_an_unfinished_directory_of_another_data_set_is_not_written_over(tmp_path, whole, fx: Fx):
    copy = copy_of(whole / "other-renders", tmp_path)
    (copy / "index.json").unlink()
    before = digests(copy)
    done = fx(*remake("renders", whole, copy), "--resume")
    assert done.code == 2
    assert "another, unfinished data set" in done.last_line
    assert digests(copy) == before
    (copy / "index.json").write_text("{")
    for receipt in (copy / ".receipts").iterdir():
        receipt.unlink()
    done = fx(*remake("renders", whole, copy))
    assert done.code == 2
    assert "No receipt tells whose directory it was" in done.last_line
    assert fx(*remake("renders", whole, copy), "--overwrite").code == 0
    assert digests(copy) == digests(whole / "renders")


def test_half_written_files_of_the_dead_are_swept_and_of_the_living_are_not(tmp_path, whole, fx):
    copy = copy_of(whole / "renders", tmp_path)
    dead = subprocess.Popen(["true"])
    dead.wait()
    names = {pid: f"train-000000.npy.{pid}@{socket.gethostname()}.part" for pid in (dead.pid, 1)}
    names[0] = f"x.npy.{os.getpid()}@another-machine.part"
    old = copy / "valid-000000.npy.77@another-machine.part"
    foreign = copy / "thesis.part"
    for path in (*(copy / name for name in names.values()), old, foreign):
        path.write_bytes(b"half")
    os.utime(old, (0, 0))
    os.utime(foreign, (0, 0))
    assert "nothing to do" in fx(*remake("renders", whole, copy)).err
    left = sorted(path.name for path in copy.rglob("*.part"))
    assert left == sorted([names[1], names[0], foreign.name])


def test_a_damaged_sum_of_the_index_is_a_problem_like_any_other(tmp_path, whole, fx):
    copy = copy_of(whole / "shards", tmp_path)
    (copy / ".receipts/index.sha256").write_bytes(b"\xff\xfe")
    done = fx("check", copy)
    assert done.code == 1
    assert "another sha256" in done.out


@pytest.mark.parametrize("name", FILES)
def test_an_altered_index_is_written_anew(tmp_path, whole, fx, name):
    copy = altered(whole / name, tmp_path)
    done = fx(*remake(name, whole, copy))
    assert done.code == 0
    assert (
        "index.json has another sha256 than .receipts/index.sha256 says: it is written" in done.err
    )
    assert digests(copy) == digests(whole / name)


@pytest.mark.parametrize(("name", "verb"), [("renders", "encode"), ("shards", "export")])
def test_nothing_is_made_from_an_altered_index(tmp_path, whole, fx, name, verb):
    out = {"encode": ["-o", tmp_path / "out"], "export": [tmp_path / "out"]}[verb]
    done = fx(verb, altered(whole / name, tmp_path), *out)
    assert done.code == 1
    assert "another sha256" in done.err
    assert "--resume" in done.err
    assert done.err.count("\n") == 1
    assert not (tmp_path / "out").exists()


def altered(folder: Path, tmp_path: Path) -> Path:
    """In a place that no reader looks at."""
    copy = copy_of(folder, tmp_path)
    index = json.loads((copy / "index.json").read_text())
    index["licences"]["CC0-1.0"]["url"] += "?"
    (copy / "index.json").write_text(json.dumps(index))
    return copy


def test_a_sum_of_the_index_lies_beside_the_receipts(whole):
    for name in FILES:
        data = (whole / name / "index.json").read_bytes()
        found = (whole / name / ".receipts/index.sha256").read_text()
        assert found == hashlib.sha256(data).hexdigest()
