"""Hostile inputs that once crashed, hung or took memory, each by its name (docs/faults.md)."""

from __future__ import annotations

import io
import json
import os
import pickle
import tarfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fixtures.errors import one_line
from fixtures.shards import make_shards
from fuzz.mutate import NAMES
from fuzz.targets_data import _respoiled
from fxtrain.contract import (
    ContractError,
    DamagedError,
    DatasetIndex,
    FileEntry,
    FxError,
    LocalFolder,
    check_dataset,
    check_name,
    class_size,
    from_dict,
    need,
    pack_npy,
    read_json,
    to_dict,
    unpack_npy,
    unpack_records,
)
from fxtrain.data import open_shards

# Names

OUTSIDE = [name for name in NAMES if not name.isalnum() and not set(name) <= set("[*%sén~1e-9x")]
OUTSIDE.remove("~/outside")  # a folder of that name, which nothing here takes for a home


@pytest.mark.parametrize(
    "name",
    [*OUTSIDE, "a\u202eb", "x/" * 500 + "x", "éé/" * 250 + "x", "x" * 256, "é" * 128],
    ids=lambda name: repr(name[:20]),
)
def test_a_name_that_leads_out_of_its_folder_is_refused(name):
    with pytest.raises(ContractError, match="no file name inside a data set") as error:
        check_name(name)
    one_line(error)
    with pytest.raises(ContractError, match="files: "):
        from_dict(FileEntry, {"path": name, "n_bytes": 1, "sha256": "0"}, "files")


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=12))
def test_a_name_that_is_allowed_stays_in_its_folder(name):
    try:
        check_name(name)
    except ContractError:
        return
    root = Path("/data/set")
    assert Path(os.path.normpath(root / name)).is_relative_to(root)
    assert name.encode()


def test_our_own_names_are_allowed():
    for name in ("train.zarr/codes/c/0/0/0", ".receipts/train-000001.json", "Ünïcode-3.npy"):
        assert check_name(name) == name


def test_an_index_that_points_elsewhere_reads_nothing(tmp_path):
    secret = tmp_path / "secret.tar"
    secret.write_bytes(b"secret")
    index = make_shards(tmp_path / "shards", n_train=4, n_valid=0, n_test=0)
    data = to_dict(index)
    data["shards"][0]["files"][0]["path"] = "../secret.tar"
    (tmp_path / "shards/index.json").write_text(json.dumps(data))
    (problem,) = check_dataset(LocalFolder(tmp_path / "shards"))
    assert "'../secret.tar' is no file name inside a data set" in problem.what
    with pytest.raises(ContractError, match=r"shards\[0\].files\[0\]"):
        open_shards(tmp_path / "shards")


def test_nothing_is_written_through_a_link_in_a_data_set(tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "renders").mkdir()
    (tmp_path / "renders/.receipts").symlink_to(tmp_path / "elsewhere")
    folder = LocalFolder(tmp_path / "renders")
    for name in (".receipts/train-000000.json", ".receipts/codes/c/0"):
        with pytest.raises(FxError, match="a link leads out of"):
            folder.write(name, b"{}")
    assert not list((tmp_path / "elsewhere").iterdir())
    (tmp_path / "linked").symlink_to(tmp_path / "renders")  # the folder itself may be a link
    LocalFolder(tmp_path / "linked").write("deep/file", b"1")
    (tmp_path / "renders/around").symlink_to("around")
    with pytest.raises(FxError, match="cannot write"):
        folder.write("around/deep/file", b"1")


# Documents


@pytest.mark.parametrize(
    ("data", "what"),
    [
        (b"[" * 100_000, "nested deeper"),
        (b"[" * 65 + b"]" * 65, "nested deeper"),
        (b'{"a":' * 300 + b"1" + b"}" * 300, "nested deeper"),
        (b'{"a": NaN}', "holds NaN"),
        (b'{"a": -Infinity}', "holds -Infinity"),
        (b'{"a": 1, "a": 2}', "'a' stands twice"),
        (b'["\\ud800"]', "surrogates not al"),
        (b"9" * 5000, "4300 digits"),
        ('{"a": 1}'.encode("utf-16"), "utf-8"),
        (b"{", "Expecting"),
        (b"", "Expecting"),
    ],
)
def test_json_that_is_no_document_is_damage(data, what):
    with pytest.raises(DamagedError, match=what) as error:
        read_json(data, "here")
    one_line(error)


def test_json_as_deep_as_allowed_and_full_of_brackets_in_texts_is_read():
    assert read_json(b"[" * 64 + b"]" * 64, "here")
    assert read_json(json.dumps(["[" * 500]).encode(), "here") == ["[" * 500]
    assert read_json(b'["\\ud83c\\udfb8"]', "here") == ["\N{GUITAR}"]


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("n_audio_samples", 10**18),
        ("n_audio_samples", -1),
        ("n_audio_samples", 10**400),
        ("max_chain_length", 10**9),
        ("codec.hop_samples", 0),
        ("codec.n_codebooks", 10**9),
        ("codec.codebook_size", 65_536),
        ("level.target_lufs", 1e400),
        ("vocabulary.pedals.0.params.0.low", 1e308),
        ("shards.0.n_samples", -5),
        ("shards.0.name", "../x"),
        ("counts.train.by_length", {"1": 1, "01": 2}),
    ],
)
def test_sizes_that_no_data_set_has_are_refused(tmp_path, key, value):
    data = to_dict(make_shards(tmp_path, n_train=2, n_valid=0, n_test=0))
    *path, last = [int(part) if part.isdigit() else part for part in key.split(".")]
    node = data
    for part in path:
        node = node[part]
    node[last] = value
    with pytest.raises(ContractError) as error:
        from_dict(DatasetIndex, data, "index.json")
    assert one_line(error).startswith("index.json")


def test_a_split_of_a_million_billion_samples_takes_no_memory(tmp_path):
    data = to_dict(make_shards(tmp_path, n_train=2, n_valid=0, n_test=0))
    data["shards"].append(data["shards"][0] | {"first": 2, "n_samples": 10**15})
    (tmp_path / "index.json").write_text(json.dumps(data))
    with pytest.raises(ContractError, match="no memory for the 1000000000000002 samples"):
        open_shards(tmp_path).load_arrays("train")


def test_255_pedals_that_all_commute_are_not_counted_for_ever():
    names = [f"p{i}" for i in range(255)]
    pairs = {frozenset((a, b)) for a in names for b in names}
    with pytest.raises(ContractError, match="too many orders"):
        class_size(names, pairs)
    assert class_size(names[:9], pairs) == 362_880


@pytest.mark.parametrize(
    "record",
    [
        {"chain": [5]},
        {"chain": [{"name": 5, "settings": {}}]},
        {"chain": [{"name": "a"}]},
        {"chain": [{"name": "a", "settings": {"b": "loud"}}]},
        {"chain": [{"name": "a", "settings": {}}] * 256},
        {"chain": None},
        {"chain": [{"name": "a", "settings": {}}], "alike": [[1]]},
        {"chain": [{"name": "a", "settings": {}}], "alike": [[0, 0]]},
        {"chain": [{"name": "a", "settings": {}}] * 2, "alike": [[0, 0]]},
        {"chain": [{"name": "a", "settings": {}}] * 2, "alike": [[False, True]]},
        {"clip": []},
        {"seed": 7},
        {"swap_db": 0.5},
        {"stage_change_db": {}},
        {"after": []},
        {"after": {"gain_db": None}},
        {"after": {"gain_db": 1e300}},
        {"after": {"gain_db": 5e38}},  # more than a float32 holds
        {"after": {"gain_db": -5e38}},
        {"scale": True},
        {"split": ["train"]},
        {"loudness_lufs": "loud"},
    ],
)
def test_a_record_of_other_kinds_is_damage(record):
    with pytest.raises(DamagedError, match="here: line 1: ") as error:
        unpack_records(json.dumps(record).encode(), "here")
    one_line(error)


def test_a_clip_that_is_silent_has_no_loudness():
    silent = {"loudness_lufs": None, "scale": 0}
    assert unpack_records(json.dumps(silent).encode(), "here") == [silent]


def test_what_is_nothing_is_there_all_the_same():
    need({"chain": [], "scale": 0, "item": ""}, ("chain", "scale", "item"), "here")
    with pytest.raises(DamagedError, match=r"here: record .* has no key 'chain'"):
        need({"scale": 0}, ("chain",), "here")


def test_an_error_is_one_short_line_that_any_terminal_can_show():
    text = str(DamagedError("\udc80" + "x" * 10_000))
    assert len(text) == 2000
    assert text.startswith("\\udc80")
    assert str(pickle.loads(pickle.dumps(DamagedError("it")))) == "it"


# Arrays and shards


@pytest.mark.parametrize(
    "shape", ["0,", "1000000000000,", "4, 3, 5, 0, 99999999999999", "-60,", "60.0,", "(60,)"]
)
def test_an_npy_header_must_say_the_bytes_that_follow(shape):
    header = f"{{'descr': '<u2', 'fortran_order': False, 'shape': ({shape}), }}".encode()
    head = header.ljust(117) + b"\n"
    data = b"\x93NUMPY\x01\0" + len(head).to_bytes(2, "little") + head + bytes(120)
    with pytest.raises(DamagedError, match="not a readable npy array"):
        unpack_npy(data, "here")


@pytest.mark.parametrize("order", ["C", "F"])
def test_npy_of_either_order_comes_back(order):
    array = np.asarray(np.arange(24).reshape(2, 3, 4), np.float32, order=order)
    buffer = io.BytesIO()
    np.save(buffer, array)
    found = unpack_npy(buffer.getvalue(), "here")
    assert np.array_equal(found, array)
    assert found.flags.writeable
    with pytest.raises(DamagedError, match="not a readable npy array"):
        unpack_npy(b"\x93NUMPX" + buffer.getvalue()[6:], "here")
    assert unpack_npy(pack_npy(array[:0]), "here").shape == (0, 3, 4)


def spoilt_tar(tmp_path, spoil):
    folder = LocalFolder(tmp_path)
    index = make_shards(tmp_path, n_train=2, n_valid=0, n_test=0)
    (entry,) = index.shards[0].files
    _respoiled(folder, index, entry.path, spoil(bytearray(folder.read(entry.path))))
    return open_shards(tmp_path)


def with_checksum(data: bytearray) -> bytes:
    total = sum(data[:148]) + 8 * 32 + sum(data[156:512])
    data[148:156] = b"%06o\0 " % total
    return bytes(data)


def test_a_tar_member_of_negative_size_ends(tmp_path):
    """CVE-2025-8194: Python's tarfile goes back and reads it again, for ever."""

    def spoil(data):
        data[124:136] = b"\xff" * 10 + b"\xfe\x00"  # base 256: -512, the header itself
        return with_checksum(data)

    with pytest.raises(DamagedError, match="tar"):
        spoilt_tar(tmp_path, spoil).load_arrays("train")


@pytest.mark.parametrize("name", [b"../../outside.npy", b"/tmp/outside.npy", b"a\x80.npy"])
def test_a_tar_member_with_a_path_is_refused(tmp_path, name):
    def spoil(data):
        data[:100] = name.ljust(100, b"\0")
        return with_checksum(data)

    with pytest.raises(ContractError, match="no file name inside a data set") as error:
        spoilt_tar(tmp_path, spoil).load_arrays("train")
    one_line(error)


def test_a_tar_of_long_names_in_long_names_ends(tmp_path):
    def spoil(data):
        header = tarfile.TarInfo("././@LongLink")
        header.type, header.size = tarfile.GNUTYPE_LONGNAME, 1
        return (header.tobuf() + b"a".ljust(512, b"\0")) * 3000 + bytes(data)

    with pytest.raises(DamagedError, match="@LongLink' is no file name inside a data set"):
        spoilt_tar(tmp_path, spoil).load_arrays("train")


def spoilt_zarr(tmp_path, name, spoil):
    folder = LocalFolder(tmp_path)
    index = make_shards(tmp_path, backend="zarr", n_train=4, n_valid=0, n_test=0, shard_size=4)
    _respoiled(folder, index, name, spoil(folder.read(name)))
    return open_shards(tmp_path)


@pytest.mark.parametrize(
    ("change", "what"),
    [
        (lambda meta: meta["shape"].__setitem__(0, 10**15), None),
        (lambda meta: meta["shape"].__setitem__(2, 10**12), "do not hold"),
        (lambda meta: chunks(meta).__setitem__(2, 10**12), "do not hold"),
        (lambda meta: grid(meta).__setitem__(0, 2**40), "too few for"),
        (lambda meta: grid(meta).__setitem__(0, 0), "chunks"),
        (lambda meta: meta["codecs"].append({"name": "gzip"}), "values to unpack"),
        (lambda meta: inner(meta)[1].__setitem__("name", "numcodecs.zlib"), "laid out as"),
        (lambda meta: meta.__setitem__("data_type", "string"), "not readable by zarr"),
        (lambda meta: meta.__setitem__("codecs", 5), "not readable by zarr"),
    ],
)
def test_zarr_metadata_that_claims_terabytes_or_other_codecs(tmp_path, change, what):
    def spoil(data):
        meta = json.loads(data)
        change(meta)
        return json.dumps(meta).encode()

    dataset = spoilt_zarr(tmp_path, "train.zarr/codes/zarr.json", spoil)
    if what is None:  # more room than samples: fine
        assert len(dataset.load_arrays("train")["codes"]) == 4
        return
    with pytest.raises(DamagedError, match=what) as error:
        dataset.load_arrays("train")
    one_line(error)


def grid(meta):
    return meta["chunk_grid"]["configuration"]["chunk_shape"]


def chunks(meta):
    return meta["codecs"][0]["configuration"]["chunk_shape"]


def inner(meta):
    return meta["codecs"][0]["configuration"]["codecs"]


def test_a_blosc_frame_that_claims_two_gigabytes_is_not_believed(tmp_path):
    def spoil(data):
        out = bytearray(data)
        at = int.from_bytes(data[-20:-12], "little")
        out[at + 4 : at + 8] = (2**31 - 1).to_bytes(4, "little")
        return bytes(out)

    with pytest.raises(DamagedError, match="claims 2147483647, expected"):
        spoilt_zarr(tmp_path, "train.zarr/codes/c/0/0/0", spoil).load_arrays("train")
