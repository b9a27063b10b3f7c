"""An index whose sums are not those of its records: ``check`` names what differs, in a line."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from faults.conftest import Fx, copy_of
from fxpipe.tasks import INDEX_SUM


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
    seen = {"n_bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}

    def list_it(index: dict[str, Any]) -> None:
        files = [file for shard in index["shards"] for file in shard["files"]]
        next(file for file in files if file["path"] == path.name).update(seen)

    edit(copy, list_it)
    done = fx("check", copy)
    assert done.code == 1
    (line,) = done.out.splitlines()
    assert key in line
