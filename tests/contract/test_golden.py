"""What was written once in format version 1 is read the same for ever."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import numpy as np
import pytest

from fxtrain.contract import check_dataset, read_codebooks
from fxtrain.data import BACKENDS, open_shards, read_shard

GOLDEN = Path(__file__).parent.parent / "golden"


@pytest.fixture(scope="module")
def make_golden():
    spec = importlib.util.spec_from_file_location("make_golden", GOLDEN / "make_golden.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("backend", BACKENDS)
def test_golden_shards_hold_what_is_written_beside_them(backend):
    expected = json.loads((GOLDEN / "v1" / "expected.json").read_text(encoding="utf-8"))
    dataset = open_shards(GOLDEN / "v1" / backend)
    assert dataset.index.format_version == 1
    for split, fields in expected.items():
        block = dataset.load(split)
        assert list(block.records) == fields.pop("records")
        assert block.arrays().keys() == fields.keys()
        for name, values in fields.items():
            array = block.arrays()[name]
            wanted = np.array(values, dtype=float)  # null becomes NaN
            np.testing.assert_array_equal(array.astype(float), wanted)


@pytest.mark.parametrize("backend", BACKENDS)
def test_golden_shards_have_no_problem(backend):
    dataset = open_shards(GOLDEN / "v1" / backend)
    assert list(check_dataset(dataset.folder, read_shard)) == []
    codebooks = read_codebooks(dataset.folder, dataset.index)
    np.testing.assert_array_equal(codebooks.ravel(), np.arange(codebooks.size) / 64)


def test_writing_them_again_gives_the_same(make_golden, tmp_path):
    make_golden.make(tmp_path)
    assert make_golden.changed(tmp_path) == []


def test_a_change_is_noticed(make_golden, tmp_path, monkeypatch):
    monkeypatch.setattr(make_golden, "HERE", tmp_path / "there")
    make_golden.make(tmp_path / "there")
    make_golden.make(tmp_path / "new")
    assert make_golden.changed(tmp_path / "new") == []
    tar = tmp_path / "there" / "webdataset" / "train-000000.tar"
    tar.write_bytes(tar.read_bytes()[:-1] + b"x")
    assert make_golden.changed(tmp_path / "new") == ["webdataset/train-000000.tar differs"]
    tar.unlink()
    assert "files are" in make_golden.changed(tmp_path / "new")[0]


def test_the_script_checks_and_refuses_other_words(make_golden, monkeypatch):
    monkeypatch.setattr("sys.argv", ["make_golden.py", "--check"])
    assert make_golden.main() == 0
    monkeypatch.setattr("sys.argv", ["make_golden.py", "--chekc"])
    assert make_golden.main() == 2
