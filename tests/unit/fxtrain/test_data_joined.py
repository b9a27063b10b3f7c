"""Several shards directories as one data set: alike, divided alike, or named."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys

import numpy as np
import pytest

from fixtures.shards import assert_same, make_shards
from fxtrain.contract import (
    DamagedError,
    Licence,
    LocalFolder,
    UsageError,
    VocabularyError,
    concatenate,
    read_codebooks,
    read_index,
    recordings_of,
    write_index,
)
from fxtrain.contract.check import check_layout
from fxtrain.data import open_shards
from fxtrain.data.dataset import check_sides


def test_directories_made_alike_count_as_one(tmp_path):
    make_shards(tmp_path / "a", seed=1, n_train=30, n_test=0)
    make_shards(tmp_path / "b", seed=2, n_train=50, backend="zarr")
    a, b = open_shards(tmp_path / "a"), open_shards(tmp_path / "b")
    both = open_shards([tmp_path / "a", str(tmp_path / "b")])
    assert_same(both.load("train"), concatenate([a.load("train"), b.load("train")]))
    assert_same(both.load("test"), b.load("test"))
    arrays = both.load_arrays("train")
    np.testing.assert_array_equal(arrays["codes"][30:], b.load("train").codes)
    assert both.index.counts["train"].n_samples == 80 == both.n_samples("train")
    assert both.index.counts["test"] == b.index.counts["test"]
    for length, n in both.index.counts["train"].by_length.items():
        parts = (a.index.counts["train"], b.index.counts["train"])
        assert n == sum(part.by_length.get(length, 0) for part in parts)
    assert both.index.identity not in (a.index.identity, b.index.identity)
    np.testing.assert_array_equal(
        read_codebooks(both.folder, both.index), read_codebooks(a.folder, a.index)
    )


@pytest.mark.parametrize(
    ("other", "what"),
    [
        ({"codec_name": "44khz"}, "codec name is 'tiny' in the first and '44khz' in the second"),
        ({"n_codebooks": 2}, "codec n_codebooks is 4 in the first and 2"),
        ({"with_mel": True}, "log-mel is 'left away' in the first and 'stored'"),
        ({"n_audio_samples": 4096}, "window in audio samples is 8192 in the first and 4096"),
        ({"pedals": ("fuzz", "delay")}, "pedals is 'compressor, distortion, delay, reverb' in"),
        ({"max_chain_length": 2}, "longest chain is 3 in the first and 2"),
    ],
)
def test_directories_that_differ_are_named(other, what, tmp_path):
    make_shards(tmp_path / "notes")
    make_shards(tmp_path / "phrases", seed=1, **other)
    with pytest.raises(VocabularyError, match=what) as caught:
        open_shards([tmp_path / "notes", tmp_path / "phrases"])
    assert str(tmp_path / "notes") in str(caught.value)
    assert str(tmp_path / "phrases") in str(caught.value)


def louder(index):
    return {"level": dataclasses.replace(index.level, target_lufs=-14.0)}


def coarser(index):
    return {"mel": dataclasses.replace(index.mel, step_db=0.5)}


def turned_further(index):
    first, *others = index.vocabulary.pedals
    knob = dataclasses.replace(first.params[0], high=2.0)
    pedals = (dataclasses.replace(first, params=(knob, *first.params[1:])), *others)
    return {"vocabulary": dataclasses.replace(index.vocabulary, pedals=pedals)}


def of_no_pairs(index):
    return {"commutes": ()}


@pytest.mark.parametrize(
    ("change", "what"),
    [
        (louder, "level target_lufs is -16.0 in the first and -14.0"),
        (coarser, "mel step_db is 0.31.* in the first and 0.5"),
        (turned_further, "pedal parameters is "),
        (of_no_pairs, r"pairs that commute is \['delay/reverb'\] in the first and \[\]"),
    ],
)
def test_a_third_directory_that_hears_or_names_otherwise_is_refused(change, what, tmp_path):
    places = [tmp_path / name for name in "abc"]
    for seed, place in enumerate(places):
        index = make_shards(place, seed=seed, n_train=8, with_mel=True)
    write_index(LocalFolder(places[2]), dataclasses.replace(index, **change(index)))
    with pytest.raises(VocabularyError, match=what) as caught:
        open_shards(places)
    assert str(places[2]) in str(caught.value)


def test_a_pair_that_commutes_is_the_same_either_way_round(tmp_path):
    make_shards(tmp_path / "a")
    index = make_shards(tmp_path / "b", seed=1)
    turned = tuple(pair[::-1] for pair in index.commutes)
    write_index(LocalFolder(tmp_path / "b"), dataclasses.replace(index, commutes=turned))
    assert open_shards([tmp_path / "a", tmp_path / "b"]).n_samples("train") == 128


def test_of_as_many_crossed_recordings_always_the_same_are_named(tmp_path):
    make_shards(tmp_path)
    folder, index = LocalFolder(tmp_path), read_index(LocalFolder(tmp_path))
    for number in range(12):  # a set of texts has another order in every process
        sides = {"train": f"{number}a", "valid": f"{number}b", "test": f"{number}a {number}b"}
        crossed = dataclasses.replace(index, recipe={"recordings": sides})
        with pytest.raises(UsageError, match="are in both train and test"):
            check_sides([folder], [crossed])


def behind(path, seed, **recordings):
    index = make_shards(path, seed=seed)
    recipe = {"recordings": {split: " ".join(names) for split, names in recordings.items()}}
    write_index(LocalFolder(path), dataclasses.replace(index, recipe=recipe))
    return path


def test_a_recording_on_two_sides_of_the_split_is_refused(tmp_path):
    a = behind(tmp_path / "a", 0, train=("r1", "r2", "r3"), valid=("r4",), test=("r5",))
    b = behind(tmp_path / "b", 1, train=("r1", "r5"), valid=("r2", "r3"))
    with pytest.raises(
        UsageError, match=r"2 recording\(s\) are in train of .*--split-seed"
    ) as said:
        open_shards([a, b])
    assert f"train of {a} and in valid of {b}" in str(said.value)
    alone = behind(tmp_path / "alone", 4, train=("r1", "r2"), test=("r2", "r3"))
    with pytest.raises(
        UsageError, match=rf"1 recording\(s\) are in both train and test of {alone}"
    ):
        open_shards([alone])
    c = behind(tmp_path / "c", 2, train=("r1", "r6"), test=("r5", "r7"))
    joined = open_shards([a, c, behind(tmp_path / "anew", 3)])
    assert recordings_of(joined.index) == {
        "train": {"r1", "r2", "r3", "r6"},
        "valid": {"r4"},
        "test": {"r5", "r7"},
    }


def drawn(path, seed, *, n_train=64, backend="webdataset", digest="d", **spec):
    index = make_shards(path, seed=n_train, n_train=n_train, backend=backend)
    recipe = {"source_digest": digest, "seed": seed, "spec": {"clip_s": 2.0, **spec}}
    write_index(LocalFolder(path), dataclasses.replace(index, identity=path.name, recipe=recipe))
    return path


def test_clips_that_would_count_double_are_not_joined(tmp_path):
    a = drawn(tmp_path / "a", 0)
    for twice in (
        drawn(tmp_path / "zarr", 0, backend="zarr"),
        drawn(tmp_path / "more", 0, n_train=80),
        drawn(tmp_path / "classes", 0, classes=True, alike_db=0.3),
    ):
        with pytest.raises(UsageError, match=r"hold the same clips.*seed \(0\).*--seed") as caught:
            open_shards([a, twice])
        assert str(a) in str(caught.value)
        assert str(twice) in str(caught.value)
    for other in (
        drawn(tmp_path / "seed", 1),
        drawn(tmp_path / "source", 0, digest="other guitar"),
        drawn(tmp_path / "spec", 0, clip_s=3.0),
    ):
        assert open_shards([a, other]).n_samples("train") == 128


def test_the_machine_that_encoded_may_differ(tmp_path):
    make_shards(tmp_path / "a")
    index = make_shards(tmp_path / "b", seed=1)
    codec = dataclasses.replace(index.codec, precision="float16", backend="cuda")
    write_index(LocalFolder(tmp_path / "b"), dataclasses.replace(index, codec=codec))
    assert open_shards([tmp_path / "a", tmp_path / "b"]).n_samples("train") == 128


def test_the_same_data_twice_is_refused(tmp_path):
    make_shards(tmp_path / "a")
    make_shards(tmp_path / "b", backend="zarr")
    with pytest.raises(UsageError, match="hold the same data"):
        open_shards([tmp_path / "a", tmp_path / "b"])


def test_a_licence_that_forbids_sharing_wins(tmp_path):
    make_shards(tmp_path / "a")
    index = make_shards(tmp_path / "b", seed=1)
    own = {"mine": Licence("all rights reserved", "https://example.org", False)}
    closed = dataclasses.replace(index, shareable=False, licences=own)
    write_index(LocalFolder(tmp_path / "b"), closed)
    joined = open_shards([tmp_path / "a", tmp_path / "b"]).index
    assert not joined.shareable
    assert joined.licences == {**index.licences, **own}
    assert read_index(LocalFolder(tmp_path / "a")).shareable


def test_reading_needs_neither_torch_nor_the_writers_library(tmp_path):
    make_shards(tmp_path)
    code = (
        "import json, sys\n"
        f"sys.path[:0] = {[p for p in sys.path if p]!r}\n"
        "from fxtrain.data import open_shards\n"
        f"n = len(open_shards({str(tmp_path)!r}).load('train'))\n"
        "loaded = [m for m in ('torch', 'zarr', 'webdataset', 'fxpipe') if m in sys.modules]\n"
        "print(json.dumps([n, loaded]))"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert json.loads(result.stdout) == [64, []]


def test_records_that_list_orders_are_asked_where_any_of_the_data_sets_has_them(tmp_path):
    listing, plain = drawn(tmp_path / "a", 0, classes=True), drawn(tmp_path / "b", 1)
    assert open_shards(plain).listed_orders("test") is None
    told = drawn(tmp_path / "c", 2, classes=False)
    assert open_shards(told).listed_orders("test") is None
    joined = open_shards([listing, plain])
    records = joined.listed_orders("test")
    assert records is not None
    assert len(records) == joined.n_samples("test") > open_shards(listing).n_samples("test")


def test_the_order_of_directories_is_part_of_what_they_are(tmp_path):
    make_shards(tmp_path / "a", n_train=30, shard_size=12)
    make_shards(tmp_path / "b", n_train=20, shard_size=12, seed=1)
    one, other = (open_shards([tmp_path / x, tmp_path / y]) for x, y in ("ab", "ba"))
    assert one.index.identity != other.index.identity
    for joined in (one, other):
        assert check_layout(joined.index.shards) == []


def test_a_data_set_of_many_shards_is_shown_on_one_line(tmp_path):
    """In a notebook it may be shown by accident; each shard had shown the whole index again."""
    make_shards(tmp_path, n_train=48, n_valid=4, n_test=0, shard_size=4)
    dataset = open_shards(tmp_path)
    assert repr(dataset) == f"ShardDataset({str(tmp_path)!r}, {{'train': 48, 'valid': 4}})"
    assert max(len(repr(shard)) for shard in dataset.shards) < 1000
    assert "records" not in repr(dataset.load("valid"))


@pytest.mark.parametrize("claim", [{"n_samples": 48}, {"first": 12}])
def test_a_zarr_shard_that_claims_its_neighbours_samples_is_refused(claim, tmp_path):
    make_shards(tmp_path, backend="zarr", n_train=48, n_valid=0, n_test=0, shard_size=24)
    first, _ = open_shards(tmp_path).shards_of("train")
    greedy = dataclasses.replace(first, entry=dataclasses.replace(first.entry, **claim))
    with pytest.raises(DamagedError, match="do not hold train-000000"):
        greedy.arrays()
