"""An index whose sums are not those of its records: ``check`` names what differs, in a line."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from faults.conftest import ENCODE, Fx, copy_of, digests, remake
from fxpipe.tasks import INDEX_SUM
from fxtrain.contract import identity_of
from fxtrain.contract.folder import file_entry


def edit(folder: Path, change: Any) -> None:
    """As somebody would who knows of the sum beside the index."""
    index = json.loads((folder / "index.json").read_text())
    change(index)
    data = json.dumps(index).encode()
    (folder / "index.json").write_bytes(data)
    (folder / INDEX_SUM).write_text(hashlib.sha256(data).hexdigest())


def fewer(index: dict[str, Any]) -> None:
    index["counts"]["train"]["n_samples"] -= 1


def another_pedal(index: dict[str, Any]) -> None:
    pedals = index["counts"]["valid"]["by_pedal"]
    pedals["chorus"] += 1


def redrawn(index: dict[str, Any]) -> None:
    index["redraws"]["by_pedal"]["reverb"] = 99


def phrases(index: dict[str, Any]) -> None:
    index["n_phrases"] = 3


def free(index: dict[str, Any]) -> None:
    licence = next(iter(index["licences"].values()))
    index["licences"] = {"made-up": licence | {"name": "made-up"}}


def closed(index: dict[str, Any]) -> None:
    index["shareable"] = not index["shareable"]


COUNTS = "counts in the index differ from the samples"
LIES = [
    (fewer, [f"train: {COUNTS}: samples 10 in the index, 11 in the samples"]),
    (another_pedal, [f"valid: {COUNTS}: pedal chorus "]),
    (free, ["index.json: licence 'made-up' is in the index alone", "index.json: licence "]),
    (closed, ["index.json: shareable is false, its licences say otherwise"]),
]
LIES_OF_RENDERS = [
    (redrawn, ["index.json: redraws by_pedal reverb 99 in the index, "]),
    (phrases, ["index.json: n_phrases 3 in the index, 0 in the samples"]),
]


@pytest.mark.parametrize(
    ("name", "lie", "said"),
    [(name, *each) for name in ("renders", "shards", "zarr") for each in LIES]
    + [("renders", *each) for each in LIES_OF_RENDERS],
)
def test_sums_that_are_not_those_of_the_records(tmp_path, whole, fx: Fx, name, lie, said):
    copy = copy_of(whole / name, tmp_path)
    edit(copy, lie)
    done = fx("check", copy)
    assert done.code == 1
    for line, start in zip(done.out.splitlines(), said, strict=True):
        assert line.startswith(start)


@pytest.mark.parametrize(
    ("key", "value"), [("redraws", 5), ("redraws", [{}]), ("redraws", None), ("licence", None)]
)
def test_records_that_cannot_be_summed_are_one_line(tmp_path, whole, fx: Fx, key, value):
    copy = copy_of(whole / "renders", tmp_path)
    path = copy / "valid-000000.jsonl"
    records = [json.loads(line) for line in path.read_text().splitlines()]
    records[0][key] = value
    if value is None:
        del records[0][key]
    data = "".join(json.dumps(record) + "\n" for record in records).encode()
    path.write_bytes(data)
    seen = dataclasses.asdict(file_entry(path.name, data))

    def list_it(index: dict[str, Any]) -> None:
        files = [file for shard in index["shards"] for file in shard["files"]]
        next(file for file in files if file["path"] == path.name).update(seen)

    edit(copy, list_it)
    done = fx("check", copy)
    assert done.code == 1
    (line,) = done.out.splitlines()
    assert key in line


def more(index: dict[str, Any]) -> None:
    index["counts"]["train"]["n_samples"] += 1


def nothing(index: dict[str, Any]) -> None:
    index["shards"] = []
    for counts in index["counts"].values():
        counts["n_samples"] = 0


def a_split_less(index: dict[str, Any]) -> None:
    del index["counts"]["valid"]


def no_redraws(index: dict[str, Any]) -> None:
    index["redraws"] = {}


def no_length(index: dict[str, Any]) -> None:
    index["redraws"]["by_length"] = {"long": 1}


@pytest.mark.parametrize(
    ("lie", "said"),
    [
        (fewer, "train is of 10 clips, its shards hold 11"),
        (more, "train is of 12 clips, its shards hold 11"),
        (nothing, "there is no shard"),
        (a_split_less, "counts are of ['test', 'train'], expected ('train', 'valid', 'test')"),
        (no_redraws, "redraws are {}, expected ('by_pedal', 'by_length')"),
        (no_length, "redraws are "),
    ],
)
def test_encode_refuses_them_and_resume_mends_them(tmp_path, whole, fx: Fx, lie, said):
    copy = copy_of(whole / "renders", tmp_path)
    edit(copy, lie)
    done = fx("encode", copy, *ENCODE.split(), "-o", tmp_path / "out")
    assert done.code == 1
    assert f"{copy}/index.json: {said}" in done.last_line
    assert not (tmp_path / "out").exists()
    assert fx("inspect", copy).code in (0, 1)
    assert fx(*remake("renders", whole, copy), "--resume").code == 0
    assert digests(copy) == digests(whole / "renders")


@pytest.mark.parametrize("name", ["renders", "shards"])
def test_counts_without_a_pedal_are_shown(tmp_path, whole, fx: Fx, name):
    copy = copy_of(whole / name, tmp_path)

    def forget(index: dict[str, Any]) -> None:
        index["counts"]["valid"]["by_pedal"] = {}

    edit(copy, forget)
    assert fx("inspect", copy).code == 0


def test_counts_of_no_split_are_shown(tmp_path, whole, fx: Fx):
    copy = copy_of(whole / "shards", tmp_path)
    edit(copy, lambda index: index.update(counts={}))
    assert fx("inspect", copy).code == 0


@pytest.mark.parametrize(
    ("name", "part", "change"),
    [
        ("renders", "tally", {"licences": ["made-up"]}),
        ("renders", "tally", {"redraws": {}}),
        ("renders", "tally", {"counts": {"n_samples": 77, "by_length": {}, "by_pedal": {}}}),
        ("renders", "tally", {"counts": {"n_samples": 4, "by_length": {}, "by_pedal": {}}}),
        ("renders", "shard", {"files": []}),
        ("shards", "shard", {"files": []}),
        ("shards", "tally", {"peak_vram": ["much"]}),
        ("shards", "tally", {"changed": {"clips": 4, "share": 0.1}}),
    ],
)
def test_a_receipt_of_something_else_costs_its_shard(tmp_path, whole, fx: Fx, name, part, change):
    copy = copy_of(whole / name, tmp_path)
    path = copy / ".receipts/train-000001.json"
    receipt = json.loads(path.read_text())
    receipt[part].update(change)
    del receipt["sha256"]
    path.write_text(json.dumps(receipt | {"sha256": identity_of(receipt)}))
    (copy / "index.json").unlink()
    assert fx(*remake(name, whole, copy)).code == 0
    assert digests(copy) == digests(whole / name)
