"""Targets: renders and shards: their indexes, plans, receipts, records, tars, zarr, npy."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import random
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from fuzz.mutate import Case, json_bytes, mutate_bytes

SPLITS = ("train", "valid", "test")


TAR_FIELDS = [
    *(b"../../outside", b"/tmp/outside", b"\xff" * 12, b"77777777777", b"\x80" + b"\x7f" * 11),
    *(b"2", b"1", b"5", b"x", b"g", b"L", b"K", b"S", b"-0000000001"),
]


def _shards(folder: Path, backend: str) -> tuple[Any, Any]:
    from fixtures.shards import make_shards
    from fxtrain.contract import LocalFolder

    index = make_shards(
        folder,
        backend=backend,
        n_train=8,
        n_valid=3,
        n_test=3,
        shard_size=4,
        with_mel=True,
        with_clues=True,
    )
    return LocalFolder(folder), index


def shards_index(root: Path) -> Case:
    """index.json of token shards, through open_shards, check and a first look of fit."""
    from fxtrain.checkpoint import card_of
    from fxtrain.config import ModelConfig
    from fxtrain.contract import check_dataset, to_dict
    from fxtrain.data import open_shards, read_shard
    from fxtrain.models import resolve_model

    folder, index = _shards(root / "shards", "webdataset")
    valid = to_dict(index)

    def case(rng: random.Random) -> None:
        (root / "shards/index.json").write_bytes(json_bytes(rng, valid))
        list(check_dataset(folder, read_shard))
        dataset = open_shards(root / "shards")
        for split in SPLITS:
            if any(shard.split == split for shard in dataset.index.shards):
                dataset.load_arrays(split)
        codec = dataset.index.codec
        has_mel = dataset.index.mel is not None
        card_of(
            dataset.index,
            resolve_model(ModelConfig(), n_codebooks=codec.n_codebooks, has_mel=has_mel),
            {},
        )

    return case


def _respoiled(folder: Any, index: Any, name: str, data: bytes) -> Any:
    """The index with the true size and hash of spoilt bytes: then they are really decoded."""
    from fxtrain.contract import write_index

    files = getattr(index, "files", ())
    fresh = folder.write(name, data)

    def swap(listed: Any) -> Any:
        return tuple(fresh if file.path == name else file for file in listed)

    shards = tuple(dataclasses.replace(s, files=swap(s.files)) for s in index.shards)
    spoilt = dataclasses.replace(index, shards=shards)
    if files:
        spoilt = dataclasses.replace(spoilt, files=swap(files))
    write_index(folder, spoilt)
    return spoilt


def _files_case(root: Path, backend: str, wanted: Callable[[str], bool], spoil: Any) -> Case:
    from fxtrain.contract import FxError, check_dataset
    from fxtrain.data import open_shards, read_shard

    folder, index = _shards(root / "shards", backend)
    names = [f.path for s in index.shards for f in s.files] + [f.path for f in index.files]
    valid = {name: folder.read(name) for name in names if wanted(name)}

    def case(rng: random.Random) -> None:
        name = rng.choice(sorted(valid))
        try:
            _respoiled(folder, index, name, spoil(rng, valid[name]))
            list(check_dataset(folder, read_shard))
            dataset = open_shards(root / "shards")
            for split in SPLITS:
                with contextlib.suppress(FxError):
                    dataset.load_arrays(split)
            for split in SPLITS:
                dataset.load(split)
        finally:
            folder.write(name, valid[name])

    return case


def tar_shard(root: Path) -> Case:
    """Tar shards: headers, sizes, names, members."""
    return _files_case(root, "webdataset", lambda name: name.endswith(".tar"), _spoil_tar)


def _spoil_tar(rng: random.Random, data: bytes) -> bytes:
    if rng.random() < 0.5:
        return mutate_bytes(rng, data)
    out = bytearray(data)
    headers = [i for i in range(0, len(out) - 512, 512) if out[i + 257 : i + 262] == b"ustar"]
    for at in rng.sample(headers, min(len(headers), rng.choice([1, 2]))):
        field, size = rng.choice([(0, 100), (124, 12), (136, 12), (156, 1), (157, 100), (345, 155)])
        value = rng.choice([*TAR_FIELDS, rng.randbytes(size)])[:size]
        out[at + field : at + field + size] = value.ljust(size, b"\0")
        head = bytes(out[at : at + 148]) + b" " * 8 + bytes(out[at + 156 : at + 512])
        out[at + 148 : at + 156] = b"%06o\0 " % sum(head)
    return bytes(out)


def zarr_metadata(root: Path) -> Case:
    """zarr.json of groups and arrays: shapes, chunks, codecs, types."""
    return _files_case(
        root,
        "zarr",
        lambda name: name.endswith("zarr.json"),
        lambda rng, data: json_bytes(rng, json.loads(data)),
    )


def zarr_shard(root: Path) -> Case:
    """Bytes of zarr shards: their index, blosc frames."""
    return _files_case(root, "zarr", lambda name: "/c/" in name, mutate_bytes)


def npy(root: Path) -> Case:
    """npy members: magic, header, promised sizes."""
    from fxtrain.contract import pack_npy, unpack_npy

    valid = [
        pack_npy(np.zeros((4, 3, 5), np.uint16)),
        pack_npy(np.zeros((4, 2), np.float32)),
        pack_npy(np.zeros((0, 2), np.int16)),
    ]

    def case(rng: random.Random) -> None:
        data = rng.choice(valid)
        if rng.random() < 0.5:
            header = rng.choice(
                ["{{'descr': '{d}', 'fortran_order': {f}, 'shape': ({s}), }}", "({s})", "{s}"]
            ).format(
                d=rng.choice(["<u2", "|O", "<f8", "V99999999", "<U9", ">i4", "f4,O", "|b1"]),
                f=rng.choice(["True", "False", "1", "open('x')"]),
                s=rng.choice(["4, 3, 5", "1000000000000,", "0, 9999999999999", "-1,", "(" * 900]),
            )
            head = header.encode().ljust(rng.choice([54, 118, 60_000])) + b"\n"
            data = b"\x93NUMPY\x01\0" + struct.pack("<H", len(head) % 65_536) + head + data[128:]
        else:
            data = mutate_bytes(rng, data)
        unpack_npy(data, "fuzz")

    return case


def records(root: Path) -> Case:
    """JSON lines of samples, through every reader of a record."""
    from fxpipe.renders import chain_of
    from fxtrain.contract import ShardEntry, check_records, unpack_records
    from fxtrain.contract.check import check_labels
    from fxtrain.metrics import classes_of

    valid = [_record(i) for i in range(3)]
    shard = ShardEntry("train-000000", "train", 0, 3, ())

    def case(rng: random.Random) -> None:
        lines = [json_bytes(rng, record).replace(b"\n", b" ") for record in valid]
        found = unpack_records(b"\n".join(lines), "fuzz")
        check_records(found, shard, {}, set())
        chains = [chain_of(record) if "chain" in record else None for record in found]
        names = [() if chain is None else chain.names for chain in chains]
        check_labels(names, found, shard)
        for known in classes_of(names, frozenset(), found):
            assert known.size >= 1

    return case


def _record(position: int) -> dict[str, Any]:
    return {
        "id": f"train-{position:08d}",
        "source": "idmt",
        "item": "dataset1/a.wav",
        "group": "a",
        "licence": "CC0-1.0",
        "split": "train",
        "seed": [0, position, 0],
        "clip": {"start_s": 0.5, "phrase": {"notes": [{"item": "a", "group": "b"}]}},
        "chain": [
            {"name": "delay", "settings": {"delay_ms": 200.0, "mix": 0.3}},
            {"name": "fuzz", "settings": {"gain_db": 20.0}},
        ],
        "after": {"gain_db": 0.0, "noise_snr_db": 50.0, "noise_cutoff_hz": 9000.0},
        "loudness_lufs": -20.0,
        "stage_change_db": [-3.0, -4.0],
        "redraws": ["fuzz"],
        "swap_db": [0.4],
        "alike": [[1, 0]],
        "scale": 0.0001,
    }


def renders(root: Path) -> Case:
    """index.json of renders and everything beside it, through check, inspect and encode."""
    from fxpipe.describe import inspect_directory
    from fxpipe.renders import iter_clips, read_renders_index
    from fxpipe.verify import check_renders
    from fxtrain.contract import LocalFolder, to_dict

    folder, index = _renders(root)
    valid = to_dict(index)
    names = [file.path for shard in index.shards for file in shard.files]
    originals = {name: folder.read(name) for name in names}

    def case(rng: random.Random) -> None:
        document, name = valid, rng.choice(names)
        if rng.random() < 0.6:
            (root / "renders/index.json").write_bytes(json_bytes(rng, document))
        else:
            data = originals[name]
            if name.endswith(".jsonl"):
                lines = data.splitlines()
                at = rng.randrange(len(lines))
                lines[at] = json_bytes(rng, json.loads(lines[at])).replace(b"\n", b" ")
                data = b"\n".join(lines) + b"\n"
            else:
                data = mutate_bytes(rng, data)
            _respoiled(folder, index, name, data)
        try:
            list(check_renders(str(root / "renders")))
            read = read_renders_index(LocalFolder(root / "renders"))
            inspect_directory(
                str(root / "renders"), sample=None, split="train", listen=None, as_json=True
            )
            inspect_directory(
                str(root / "renders"), sample=0, split="train", listen=None, as_json=False
            )
            for split in SPLITS:
                list(iter_clips(folder, read, split, 0, 5))
        finally:
            folder.write(name, originals[name])

    return case


def _renders(root: Path) -> tuple[Any, Any]:
    """Four clips a split, made through the real task, without dask."""
    from fxpipe import renders as module
    from fxpipe.config import render_spec
    from fxpipe.plan import save_plan
    from fxpipe.renders import make_plan, render_shard, shard_jobs
    from fxpipe.sources import open_source
    from fxtrain.contract import LocalFolder, write_index

    spec = render_spec(None, {"pool": "take4", "clip_s": 0.25, "lengths": "1-2"})
    plan = make_plan(spec, open_source("synth"), 6, 1, progress=False)
    folder = LocalFolder(root / "renders")
    plan_file = save_plan(folder, plan)
    receipts = [render_shard(job) for job in shard_jobs(plan, folder)]
    index = module._index_of(plan, receipts, plan_file)
    write_index(folder, index)
    return folder, index


def plan_and_receipts(root: Path) -> Case:
    """plan.json and receipts, as a worker and a resumed driver read them."""
    from fxpipe.plan import PLAN_NAME, Plan, read_plan
    from fxpipe.render import draw_clip
    from fxpipe.renders import _is_counted, shard_jobs, take_clip
    from fxpipe.tasks import read_receipts
    from fxtrain.contract import from_dict, read_json

    folder, index = _renders(root)
    recorded = _scanned(root / "audio")
    plan = read_plan(folder, index.identity)
    jobs = shard_jobs(plan, folder)
    generated = json.loads(folder.read(PLAN_NAME))
    receipts = {
        name: json.loads(folder.read(name)) for name in folder.names() if ".receipts/" in name
    }

    def case(rng: random.Random) -> None:
        if rng.random() < 0.3:
            name = rng.choice(sorted(receipts))
            folder.write(name, json_bytes(rng, receipts[name]))
            found = read_receipts(folder, index.identity, verify=rng.random() < 0.5)
            for job in jobs:
                if job["name"] in found:
                    _is_counted(plan, found[job["name"]], job)
            folder.write(name, json.dumps(receipts[name]).encode())
            return
        document = generated | (recorded if rng.random() < 0.6 else {})
        data = json_bytes(rng, document)
        folder.write(PLAN_NAME, data)
        found = from_dict(Plan, read_json(data, "plan"), "plan")
        read_plan(folder, found.identity)
        for split in SPLITS:
            if found.n_clips[split] and (found.generated or found.items_of(split)):
                draw = draw_clip(found.spec, found.seed, split, 0)
                take_clip(found, split, 0, 0, draw)

    return case


def _scanned(folder: Path) -> dict[str, Any]:
    """Keys of a plan over three short recordings."""
    from fixtures.datasets import pluck, write_wav
    from fxpipe.sources import open_source
    from fxtrain.contract import to_dict

    for number in range(3):
        write_wav(folder / f"note{number}.wav", pluck(50 + number, 0.8))
    scan = open_source(f"folder:{folder}").scan()
    groups = sorted({item.group for item in scan.items})
    return {
        "generated": False,
        "scan": to_dict(scan),
        "splits": dict(zip(groups, SPLITS, strict=True)),
        "split_seed": 1,
    }
