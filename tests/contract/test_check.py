"""``check_dataset`` reports every kind of fault, all faults at once, and nothing on a whole set."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest

from fixtures.shards import make_shards
from fxtrain.contract import (
    CODEBOOKS_NAME,
    INDEX_NAME,
    MISSING_CODE,
    FileEntry,
    FxError,
    LocalFolder,
    Problem,
    SplitCounts,
    check_counts,
    check_dataset,
    check_files,
    concatenate,
    difference,
    pack_npy,
    read_index,
    select,
    write_index,
)
from fxtrain.data import BACKENDS, read_shard

backends = pytest.mark.parametrize("backend", BACKENDS)


@pytest.fixture
def made(tmp_path):
    index = make_shards(tmp_path, n_train=30, n_valid=4, n_test=4, with_mel=True)
    return LocalFolder(tmp_path), index


def found(folder, read=read_shard):
    return [str(problem) for problem in check_dataset(folder, read)]


def altering(shard_name, change):
    """``read_shard``, but one shard's samples are changed on the way."""

    def read(folder, entry, index, held):
        for block in read_shard(folder, entry, index, held):
            yield change(block) if entry.name == shard_name else block

    return read


def edit_records(block, **values):
    return dataclasses.replace(block, records=tuple({**r, **values} for r in block.records))


@backends
def test_a_whole_data_set_has_no_problem(backend, tmp_path):
    make_shards(tmp_path, backend=backend, with_mel=True)
    assert found(LocalFolder(tmp_path)) == []
    assert found(LocalFolder(tmp_path), None) == []


@backends
def test_no_file_of_a_shard_is_read_twice(backend, tmp_path, monkeypatch):
    index = make_shards(tmp_path, backend=backend, with_mel=True)
    folder, seen = LocalFolder(tmp_path), []
    read = folder.read
    monkeypatch.setattr(folder, "read", lambda name, *size: seen.append(name) or read(name, *size))
    assert found(folder) == []
    files = [file.path for shard in index.shards for file in shard.files]
    assert sorted(name for name in seen if name in files) == sorted(files)


@backends
def test_remote_data_sets_are_checked_too(backend):
    from fxtrain.contract import open_folder

    uri = f"memory://check-{backend}"
    index = make_shards(uri, backend=backend)
    folder = open_folder(uri)
    assert found(folder) == []
    folder.delete(index.shards[0].files[0].path)
    assert len(found(folder)) == 1


def test_an_unreadable_index_is_the_only_problem(made):
    folder, _ = made
    folder.write(INDEX_NAME, b"{")
    (problem,) = check_dataset(folder, read_shard)
    assert problem.where == INDEX_NAME
    assert "not JSON" in problem.what


@backends
def test_every_file_of_every_shard_is_checked(backend, tmp_path):
    index = make_shards(tmp_path, backend=backend, n_train=10, n_valid=4, n_test=4)
    folder = LocalFolder(tmp_path)
    listed = [*index.files, *(file for shard in index.shards for file in shard.files)]
    for file in listed:
        data = folder.read(file.path)
        folder.write(file.path, data[:-1] + bytes([data[-1] ^ 1]))
        problems = list(check_dataset(folder, None))
        assert file.path in {problem.where for problem in problems}
        assert any("another sha256" in problem.what for problem in problems)
        folder.write(file.path, data)
    assert found(folder) == []


def test_missing_and_cut_files(made):
    folder, index = made
    first, second = (shard.files[0].path for shard in index.shards_of("train"))
    folder.delete(first)
    folder.write(second, folder.read(second)[:-1])
    missing, cut = check_dataset(folder, read_shard)
    assert (missing.where, cut.where) == (first, second)
    assert "is missing" in missing.what
    assert "bytes, the index says" in cut.what


def test_check_files_alone(made):
    folder, index = made
    assert check_files(folder, index.files) == []
    (problem,) = check_files(folder, (FileEntry("nothing", 1, "0"),))
    assert problem.where == "nothing"


def test_a_store_that_does_not_answer_is_an_error_and_no_problem(made, monkeypatch):
    """After what was found before it."""
    folder, index = made
    first, second = (shard.files[0].path for shard in index.shards_of("train"))
    read = folder.read
    folder.write(first, b"cut")

    def silent(name, *size):
        if name == second:
            raise FxError(f"cannot read {name}: no answer in 60 s; tried 8 times")
        return read(name, *size)

    monkeypatch.setattr(folder, "read", silent)
    problems = check_dataset(folder, read_shard)
    assert next(problems).where == first
    with pytest.raises(FxError, match=f"cannot read {second}: .*tried 8 times"):
        next(problems)


def test_codebooks_of_another_shape(made):
    folder, index = made
    entry = folder.write(CODEBOOKS_NAME, pack_npy(np.zeros((4, 64, 9), np.float32)))
    write_index(folder, dataclasses.replace(index, files=(entry,)))
    (problem,) = found(folder)
    assert problem.startswith("codebooks:")
    assert "expected float32 (4, 64, 8)" in problem


def test_an_index_without_codebooks(made):
    folder, index = made
    write_index(folder, dataclasses.replace(index, files=()))
    (problem,) = found(folder)
    assert "codebooks" in problem


def test_gaps_and_overlaps(made):
    folder, index = made
    first, second = index.shards_of("train")
    others = tuple(shard for shard in index.shards if shard.split != "train")
    for shards, start, expected in (
        ((second,), 24, 0),
        ((first, dataclasses.replace(second, first=20)), 20, 24),
        ((first, dataclasses.replace(second, first=25)), 25, 24),
    ):
        write_index(folder, dataclasses.replace(index, shards=(*shards, *others)))
        problems = found(folder)
        assert any(f"starts at sample {start}, expected {expected}" in p for p in problems)


def test_more_or_fewer_samples_than_the_index_says(made):
    folder, index = made
    shards = [
        dataclasses.replace(shard, n_samples=5) if shard.split == "test" else shard
        for shard in index.shards
    ]
    write_index(folder, dataclasses.replace(index, shards=tuple(shards)))
    (problem,) = found(folder)
    assert "holds 4 samples, the index says 5" in problem


@pytest.mark.parametrize(
    ("change", "what"),
    [
        ({"n_samples": 5}, "samples 5 in the index, 4 in the samples"),
        ({"by_length": {9: 4}}, "length 2 nothing in the index, 2 in the samples"),
        ({"by_pedal": {}}, "pedal compressor nothing in the index, 1 in the samples"),
    ],
)
def test_tallies_that_differ(made, change, what):
    folder, index = made
    wrong = dataclasses.replace(index.counts["valid"], **change)
    write_index(folder, dataclasses.replace(index, counts={**index.counts, "valid": wrong}))
    assert found(folder) == [f"valid: counts in the index differ from the samples: {what}"]


def test_a_licence_that_the_index_hides_or_makes_up(made):
    folder, index = made
    (key, licence), *_ = index.licences.items()
    closed = dataclasses.replace(licence, name="CC BY-NC-ND 4.0", shareable=False)
    for change, expected in (
        ({"licences": {}}, ["licence 'CC0-1.0' is in the samples alone"]),
        ({"licences": {key: licence, "x": licence}}, []),
        ({"licences": {key: licence, "x": closed}, "shareable": False},
         ["licence 'x' is in the index alone"]),
        ({"shareable": False}, ["shareable is false, its licences say otherwise"]),
    ):  # fmt: skip
        write_index(folder, dataclasses.replace(index, **change))
        assert found(folder) == [f"{INDEX_NAME}: {what}" for what in expected]


def test_tallies_of_a_split_that_is_not_there(made):
    folder, index = made
    shards = tuple(shard for shard in index.shards if shard.split != "valid")
    write_index(folder, dataclasses.replace(index, shards=shards))
    (problem,) = found(folder)
    assert problem.startswith("valid")
    counts = {split: n for split, n in index.counts.items() if split != "valid"}
    write_index(folder, dataclasses.replace(index, shards=shards, counts=counts))
    assert found(folder) == []


def test_a_split_that_nobody_knows(made):
    folder, index = made
    odd = dataclasses.replace(index.shards[-1], split="extra", first=0)
    write_index(folder, dataclasses.replace(index, shards=(*index.shards[:-1], odd)))
    assert any("extra" in problem for problem in found(folder))


def test_numbers_that_one_side_alone_has_are_told():
    assert difference({"samples": 3}, {"samples": 3}) == ""
    assert difference({"samples": 3, "length 9": 1}, {"samples": 3}).startswith("length 9 1 in")
    assert difference({"samples": 3}, {"samples": 3, "length 9": 1}).startswith("length 9 nothing")


def test_tallies_of_a_split_that_nobody_knows_are_told(made):
    _, index = made
    said = {**index.counts, "extra": index.counts["test"]}
    (problem,) = check_counts(said, index.counts, index.vocabulary)
    assert problem.where == "extra"


def with_value(field, value):
    def change(block):
        array = block.arrays()[field].copy()
        array.flat[0] = value
        return dataclasses.replace(block, **{field: array})

    return change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (with_value("codes", MISSING_CODE), "code 65535 was never written"),
        (with_value("codes", 64), r"code 64 is out of range (codebooks hold 64)"),
        (with_value("order", 4), "pedal id 4 is not in the vocabulary"),
        (lambda b: dataclasses.replace(b, codes=b.codes[:, :3]), "codes is (3, 16), expected"),
        (lambda b: dataclasses.replace(b, codes=b.codes[:, :, 1:]), "codes is (4, 15), expected"),
        (lambda b: dataclasses.replace(b, order=b.order[:, :2]), "order is (2,), expected (3,)"),
        (lambda b: dataclasses.replace(b, params=b.params[:, :, :1]), "params is (3, 1), expected"),
        (lambda b: dataclasses.replace(b, mel=b.mel[:, :7]), "mel is (7, 16), expected (8, 16)"),
        (lambda b: dataclasses.replace(b, mel=None), "block lacks mel"),
        (lambda b: edit_records(b, id="twice"), "sample 'twice' stands twice"),
        (lambda b: edit_records(b, split="train"), "says split 'train'"),
        (
            lambda b: edit_records(b, group="train-0"),
            "group 'train-0' is in 'valid' and in 'train'",
        ),
    ],
)
def test_faults_inside_a_shard(made, change, message):
    folder, _ = made
    problems = list(check_dataset(folder, altering("valid-000000", change)))
    assert problems
    assert {problem.where for problem in problems} == {"valid-000000"}
    assert message in str(problems[0])


def test_a_pedal_after_the_end_of_its_chain(made):
    folder, index = made

    def change(block):
        order = np.full_like(block.order, 255)
        order[:, -1] = 0
        return dataclasses.replace(block, order=order)

    (problem,) = check_dataset(folder, altering("valid-000000", change))
    assert f"does not fit a vocabulary of {len(index.vocabulary.pedals)}" in problem.what


def test_mel_that_the_index_does_not_know_of(made):
    folder, index = made
    write_index(folder, dataclasses.replace(index, mel=None))
    problems = found(folder)
    assert len(problems) == len(index.shards)
    assert all("block holds mel" in problem for problem in problems)


def test_all_faults_are_reported_at_once(made):
    folder, index = made
    folder.delete(index.shards_of("train")[0].files[0].path)
    folder.delete(CODEBOOKS_NAME)
    problems = check_dataset(
        folder, altering("test-000000", lambda block: edit_records(block, group="valid-0"))
    )
    where = {problem.where for problem in problems}
    assert {CODEBOOKS_NAME, "train-000000.tar", "test-000000"} <= where


def test_without_a_reader_only_bytes_are_checked(made):
    folder, index = made
    wrong = SplitCounts(1, {}, {})
    write_index(folder, dataclasses.replace(index, counts={"train": wrong}))
    assert found(folder, None) == []


def test_problems_are_lines():
    assert str(Problem("train-000000", "is missing")) == "train-000000: is missing"


def test_the_fixture_is_what_these_tests_think(made):
    """Guards the tests above: several shards, groups that stay on one side, readable records."""
    folder, index = made
    assert read_index(folder) == index
    assert [shard.name for shard in index.shards_of("train")] == ["train-000000", "train-000001"]
    blocks = [b for s in index.shards_of("train") for b in read_shard(folder, s, index)]
    whole = concatenate(blocks)
    assert len(select(whole, slice(5))) == 5
    assert len({record["id"] for record in whole.records}) == 30
    json.dumps(whole.records)
