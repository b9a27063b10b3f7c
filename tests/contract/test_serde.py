"""Packing and JSON: the way back gives what went in, and bytes depend on values alone."""

from __future__ import annotations

import dataclasses
import io
import json
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from fixtures.shards import make_shards
from fxtrain.contract import (
    FIELDS,
    PARAM_SCALES,
    RECORD_FIELDS,
    Block,
    CodecInfo,
    ContractError,
    DamagedError,
    DatasetIndex,
    FileEntry,
    FxError,
    LevelRule,
    Licence,
    MelInfo,
    Param,
    PedalEntry,
    ShardEntry,
    SplitCounts,
    Vocabulary,
    block_of,
    canonical_json,
    concatenate,
    empty_npy,
    from_dict,
    pack_block,
    pack_members,
    pack_npy,
    pack_records,
    read_json,
    select,
    to_dict,
    unpack_block,
    unpack_members,
    unpack_npy,
    unpack_records,
)

json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**60), 2**60)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=8,
)
records = st.dictionaries(
    st.text(max_size=8).filter(lambda key: key not in RECORD_FIELDS), json_values, max_size=4
)


@st.composite
def blocks(draw, at_least=0, with_all=None):
    """Any block: all axes of any size, NaN and every bit pattern included."""
    n = draw(st.integers(at_least, 4))
    sizes = {letter: draw(st.integers(0, 4)) for letter in "KTLPMC"}
    arrays = {}
    for spec in FIELDS:
        shape = (n, *(sizes[letter] for letter in spec.shape.split()))
        arrays[spec.name] = draw(hnp.arrays(spec.dtype, shape))
    for name in ("mel", "clues"):
        if not (draw(st.booleans()) if with_all is None else with_all):
            arrays[name] = None
    return Block(**arrays, records=tuple(draw(st.lists(records, min_size=n, max_size=n))))


def assert_same(a, b):
    assert a.records == b.records
    assert a.arrays().keys() == b.arrays().keys()
    for name, array in a.arrays().items():
        assert array.dtype == b.arrays()[name].dtype
        np.testing.assert_array_equal(array, b.arrays()[name])


def one_sample():
    return {spec.name: np.zeros([1] + [2] * len(spec.shape.split()), spec.dtype) for spec in FIELDS}


@settings(max_examples=40, deadline=None)
@given(blocks())
def test_unpack_gives_back_what_was_packed(block):
    members = pack_block(block)
    assert_same(unpack_block(members, "here"), block)
    assert pack_block(unpack_block(members, "here")) == members


@settings(max_examples=40, deadline=None)
@given(blocks())
def test_bytes_do_not_depend_on_memory_layout(block):
    turned = dataclasses.replace(
        block, **{name: np.asfortranarray(array) for name, array in block.arrays().items()}
    )
    assert pack_block(turned) == pack_block(block)


@settings(max_examples=40, deadline=None)
@given(blocks(at_least=1, with_all=True), st.integers(0, 4))
def test_a_cut_block_joins_to_itself(block, at):
    parts = [part for part in (select(block, slice(at)), select(block, slice(at, None))) if part]
    assert_same(concatenate(parts), block)


def test_nothing_cannot_be_joined():
    with pytest.raises(ContractError, match="no samples to join"):
        concatenate([])


@pytest.mark.parametrize("name", ["mel", "clues"])
def test_joining_drops_what_not_all_have(name):
    arrays = {
        spec.name: np.zeros((1, *([1] * len(spec.shape.split()))), spec.dtype) for spec in FIELDS
    }
    block = Block(**arrays, records=({},))
    joined = concatenate([block, dataclasses.replace(block, **{name: None})])
    assert joined.arrays().keys() == block.arrays().keys() - {name}


def test_members_are_npy_and_json_lines_that_anyone_can_read():
    block = Block(
        codes=np.arange(4, dtype=np.uint16).reshape(2, 1, 2),
        order=np.array([[1, 255], [255, 255]], np.uint8),
        params=np.zeros((2, 2, 0), np.float32),
        mel=None,
        records=({"b": 1, "a": "é"}, {}),
    )
    members = pack_block(block)
    assert list(members) == ["codes.npy", "order.npy", "params.npy", "records.jsonl"]
    assert members["records.jsonl"] == '{"a":"é","b":1}\n{}\n'.encode()
    codes = np.load(io.BytesIO(members["codes.npy"]), allow_pickle=False)
    np.testing.assert_array_equal(codes, block.codes)


def test_counts_must_agree_when_packing_and_unpacking():
    with pytest.raises(ContractError, match="'codes' holds 2 samples but there are 1 records"):
        pack_members({"codes": np.zeros(2, np.uint16)}, [{}])
    members = pack_members({"codes": np.zeros(2, np.uint16)}, [{}, {}])
    with pytest.raises(DamagedError, match=r"train-3: field 'codes' holds 2 samples, not 1"):
        unpack_members({**members, "records.jsonl": b"{}\n"}, "train-3")
    with pytest.raises(DamagedError, match="holds no samples"):
        unpack_members({**members, "codes.npy": pack_scalar()}, "train-3")
    with pytest.raises(DamagedError, match=r"train-3: no member 'records\.jsonl'"):
        unpack_members({"codes.npy": members["codes.npy"]}, "train-3")


def pack_scalar():
    buffer = io.BytesIO()
    np.save(buffer, np.uint16(3))
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"codes": None}, "field 'codes' is missing"),
        ({"params": None}, "field 'params' is missing"),
        ({"codes": np.zeros((1, 2, 3), np.int64)}, r"codes is int64 with 3 axes, expected uint16"),
        ({"order": np.zeros((1, 2, 3), np.uint8)}, r"order is uint8 with 3 axes.*\[B L\]"),
    ],
)
def test_a_block_of_other_arrays_is_refused(change, message):
    arrays = {
        spec.name: np.zeros((1, *([2] * len(spec.shape.split()))), spec.dtype) for spec in FIELDS
    }
    arrays = {name: a for name, a in {**arrays, **change}.items() if a is not None}
    with pytest.raises(DamagedError, match=message):
        block_of(arrays, [{}], "train-3")


# npy and JSON lines


@given(st.lists(st.integers(0, 4), max_size=3).map(tuple), st.sampled_from(["i2", "u1", "f4"]))
def test_an_array_filled_in_place_is_packed_as_any_other(shape, dtype):
    array, packed = empty_npy(shape, dtype)
    values = np.arange(array.size, dtype=dtype).reshape(shape)
    array[...] = values
    if shape:
        assert packed == pack_npy(values)
    np.testing.assert_array_equal(unpack_npy(bytes(packed), "here"), values)


@pytest.mark.parametrize("codec", ["pickle", "objects"])
def test_objects_are_never_unpickled(codec):
    buffer = io.BytesIO()
    np.save(buffer, np.array([{"evil": 1}], dtype=object), allow_pickle=True)
    data = buffer.getvalue() if codec == "objects" else b"\x80\x04\x95."
    with pytest.raises(DamagedError, match="not a readable npy"):
        unpack_npy(data, "here")
    with pytest.raises(ValueError, match="allow_pickle=False"):
        pack_npy(np.array([{}], dtype=object))


@pytest.mark.parametrize(
    "header",
    [
        b"{'descr': '<u2', 'fortran_order': False, 'shape': (3, }",
        b"{'descr': '<u2', 'fortran_order': False, 'shape': (3,",  # tokenize.TokenError in numpy
        b"{'descr': '<u2', 'fortran_order': False, 'shape': (9999999999999,), }",
        b"{'descr': '|O', 'fortran_order': False, 'shape': (3,), }",
        b"{'descr': 'nonsense', 'fortran_order': False, 'shape': (3,), }",
        b"{'shape': (3,), }",
        b"((((((((((((((((",
        b"\xff\xfe",
        b"",
    ],
)
def test_bad_npy_headers_are_damage(header):
    header = header.ljust(117) + b"\n"
    data = b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header + b"\0" * 6
    with pytest.raises(DamagedError, match="here: not a readable npy array"):
        unpack_npy(data, "here")


@given(st.binary(max_size=200))
def test_any_bytes_are_an_array_or_damage(data):
    with pytest.raises(DamagedError):
        unpack_npy(data, "here")


@settings(max_examples=40, deadline=None)
@given(st.lists(records, max_size=4))
def test_records_round_trip(rows):
    assert unpack_records(pack_records(rows), "here") == rows


@given(st.binary(max_size=60))
def test_any_bytes_are_records_or_damage(data):
    try:
        found = unpack_records(data, "here")
    except DamagedError:
        return
    assert all(isinstance(record, dict) for record in found)


@pytest.mark.parametrize("data", [b"[1]\n", b"3\n", b'{"a":1}\n{"b"', b"\xff\n", b"[" * 100_000])
def test_lines_that_are_not_objects_are_damage(data):
    with pytest.raises(DamagedError, match="here: "):
        unpack_records(data, "here")


@settings(max_examples=40, deadline=None)
@given(records)
def test_canonical_json_does_not_depend_on_key_order(record):
    turned = dict(reversed(record.items()))
    assert canonical_json(turned) == canonical_json(record)
    assert json.loads(canonical_json(record)) == record


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_numbers_that_json_does_not_have_are_refused(value):
    with pytest.raises(ValueError, match="JSON compliant"):
        canonical_json({"x": value})


@pytest.mark.parametrize("number", ["1e999", "-1e400", "9" * 400 + ".0"])
def test_numbers_that_no_float_holds_are_damage(number):
    for read in (read_json, unpack_records):
        with pytest.raises(DamagedError, match=r"here.*no float holds"):
            read(b'{"x":%s}' % number.encode(), "here")


# Dataclasses

words = st.text(max_size=6)
numbers = st.integers(0, 2**40)
reals = st.floats(allow_nan=False, allow_infinity=False)
places = st.text("abc-09", min_size=1, max_size=6)
params = st.tuples(st.floats(1, 9), st.floats(9, 99)).flatmap(
    lambda ends: st.builds(
        Param, words, words, *map(st.just, ends), st.sampled_from(PARAM_SCALES), words
    )
)
pedals = st.builds(PedalEntry, words, words, st.lists(params, max_size=2).map(tuple))
files = st.builds(FileEntry, places, numbers, words)
indexes = st.builds(
    DatasetIndex,
    identity=words,
    backend=words,
    codec=st.builds(
        CodecInfo,
        words,
        words,
        st.integers(1, 192_000),
        st.integers(1, 4096),
        st.integers(1, 32),
        st.integers(1, 65_535),
        st.integers(1, 1024),
        words,
        words,
    ),
    mel=st.none()
    | st.builds(
        *(MelInfo, st.integers(1, 128), st.integers(1, 4096), st.integers(1, 4096)),
        *(reals, reals, reals, reals),
    ),
    level=st.builds(LevelRule, reals, reals),
    n_audio_samples=st.integers(1, 200_000),
    vocabulary=st.builds(
        Vocabulary, st.lists(pedals, max_size=3, unique_by=lambda pedal: pedal.name).map(tuple)
    ),
    max_chain_length=st.integers(0, 255),
    commutes=st.lists(st.tuples(words, words), max_size=2).map(tuple),
    commutes_basis=words,
    licences=st.dictionaries(words, st.builds(Licence, words, words, st.booleans()), max_size=2),
    shareable=st.booleans(),
    counts=st.dictionaries(
        words,
        st.builds(
            SplitCounts,
            numbers,
            st.dictionaries(st.integers(0, 9), numbers, max_size=2),
            st.dictionaries(words, numbers, max_size=2),
        ),
        max_size=2,
    ),
    shards=st.lists(
        st.builds(
            ShardEntry, places, words, numbers, numbers, st.lists(files, max_size=2).map(tuple)
        ),
        max_size=2,
    ).map(tuple),
    files=st.lists(files, max_size=2).map(tuple),
    recipe=st.dictionaries(words, json_values, max_size=2),
    versions=st.dictionaries(words, words, max_size=2),
)


@settings(max_examples=40, deadline=None)
@given(indexes)
def test_from_dict_undoes_to_dict(index):
    assert from_dict(DatasetIndex, to_dict(index), "here") == index
    through_json = json.loads(json.dumps(to_dict(index)))
    assert from_dict(DatasetIndex, through_json, "here") == index


@settings(max_examples=40, deadline=None)
@given(indexes, st.data())
def test_a_changed_index_is_a_typed_error_or_an_index(index, data):
    """One value anywhere replaced by any other: never another exception."""
    tree = to_dict(index)
    node = tree
    while True:
        keys = sorted(node) if isinstance(node, dict) else list(range(len(node)))
        if not keys:
            return
        key = data.draw(st.sampled_from(keys))
        child = node[key]
        if not isinstance(child, (dict, list)) or data.draw(st.booleans()):
            break
        node = child
    node[key] = data.draw(json_values)
    try:
        found = from_dict(DatasetIndex, tree, "here")
    except FxError as error:
        assert str(error)  # noqa: PT017
        return
    assert isinstance(found, DatasetIndex)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"name": "a", "url": "b"}, "here: key 'shareable' is missing"),
        (
            {"name": "a", "url": "b", "sharable": True},
            "here: unknown key 'sharable': did you mean 'shareable'",
        ),
        ({"name": 3, "url": "b", "shareable": True}, r"here\.name: expected str, found 3"),
        ({"name": "a", "url": "b", "shareable": 1}, r"here\.shareable: expected bool, found 1"),
        ([1], "here: expected an object, found list"),
    ],
)
def test_what_does_not_fit_is_named(data, message):
    with pytest.raises(ContractError, match=message):
        from_dict(Licence, data, "here")


@pytest.mark.parametrize(
    ("cls", "data", "message"),
    [
        (LevelRule, {"target_lufs": True, "peak_limit": 1.0}, "expected float, found True"),
        (FileEntry, {"path": "a", "n_bytes": True, "sha256": ""}, "expected int, found True"),
        (FileEntry, {"path": "a", "n_bytes": 1.5, "sha256": ""}, "expected int, found 1.5"),
        (
            SplitCounts,
            {"n_samples": 1, "by_length": {"two": 1}, "by_pedal": {}},
            "expected a whole number as key, found 'two'",
        ),
        (
            ShardEntry,
            {"name": "a", "split": "b", "first": 0, "n_samples": 1, "files": [{"path": "x"}]},
            r"here\.files\[0\]: key 'n_bytes' is missing",
        ),
    ],
)
def test_types_inside_are_checked(cls, data, message):
    with pytest.raises(ContractError, match=message):
        from_dict(cls, data, "here")


def test_whole_numbers_may_stand_for_reals():
    rule = from_dict(LevelRule, {"target_lufs": -16, "peak_limit": 1}, "here")
    assert rule == LevelRule(-16.0, 1.0)
    assert isinstance(rule.target_lufs, float)


def test_a_real_index_round_trips(tmp_path):
    index = make_shards(tmp_path, backend="zarr", with_mel=True)
    assert from_dict(DatasetIndex, json.loads(json.dumps(to_dict(index))), "here") == index
