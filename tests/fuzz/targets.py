"""What is fuzzed: each target has small valid artefacts, a way to spoil them, and a reader.

``make(folder)`` writes what is valid and returns ``case(rng)``: one spoilt input, read as a command
of the programs would read it. It returns nothing where the input was accepted.
"""

from __future__ import annotations

import contextlib
import dataclasses
import io
import json
import pickle
import random
import shutil
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from fuzz.mutate import hostile, json_bytes, mutate_bytes, mutate_json, toml_text

Case = Callable[[random.Random], None]
Make = Callable[[Path], Case]
SPLITS = ("train", "valid", "test")


def _shards(folder: Path, backend: str) -> tuple[Any, Any]:
    from fixtures.shards import make_shards
    from fxtrain.contract import LocalFolder

    index = make_shards(
        folder, backend=backend, n_train=8, n_valid=3, n_test=3, shard_size=4, with_mel=True
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
        check_dataset(folder, read_shard)
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
            check_dataset(folder, read_shard)
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


TAR_FIELDS = [
    *(b"../../outside", b"/tmp/outside", b"\xff" * 12, b"77777777777", b"\x80" + b"\x7f" * 11),
    *(b"2", b"1", b"5", b"x", b"g", b"L", b"K", b"S", b"-0000000001"),
]


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
    from fxpipe.encode import chain_of
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
            check_renders(str(root / "renders"))
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
    from fxpipe.plan import PLAN_NAME, Plan
    from fxpipe.render import draw_clip
    from fxpipe.renders import _is_counted, load_plan, shard_jobs, take_clip
    from fxpipe.tasks import read_receipts
    from fxtrain.contract import from_dict, read_json

    folder, index = _renders(root)
    recorded = _scanned(root / "audio")
    plan = load_plan(folder.uri, index.identity)
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
                    _is_counted(found[job["name"]], job)
            folder.write(name, json.dumps(receipts[name]).encode())
            return
        document = generated | (recorded if rng.random() < 0.6 else {})
        data = json_bytes(rng, document)
        folder.write(PLAN_NAME, data)
        found = from_dict(Plan, read_json(data, "plan"), "plan")
        load_plan.__wrapped__(folder.uri, found.identity)
        for split in SPLITS:
            if found.n_clips[split] and (found.generated or found.items_of(split)):
                draw = draw_clip(found.spec, found.seed, split, 0)
                take_clip(found, split, 0, 0, draw)

    return case


def _scanned(folder: Path) -> dict[str, Any]:
    """Keys of a plan over three short recordings."""
    from fixtures.datasets import pluck, write_wav
    from fxpipe.sources import open_source

    for number in range(3):
        write_wav(folder / f"note{number}.wav", pluck(50 + number, 0.8))
    scan = open_source(f"folder:{folder}").scan()
    groups = sorted({item.group for item in scan.items})
    return {
        "generated": False,
        "scan": scan.to_dict(),
        "splits": dict(zip(groups, SPLITS, strict=True)),
        "split_seed": 1,
    }


def toml_render(root: Path) -> Case:
    """[render], [chain] and [[pedal]], until the first chains are drawn."""
    from fxpipe.chains.chain import draw_order, draw_settings, generator
    from fxpipe.config import render_spec
    from fxpipe.render import draw_clip
    from fxpipe.renders import make_plan
    from fxpipe.sources import open_source

    valid = {
        "render": {
            "clip_s": 2.0,
            "run_in_s": 0.5,
            "sample_rate_hz": 44_100,
            "input_peak_dbfs": [-15.0, -3.0],
            "noise_snr_db": [44.0, 59.0],
            "noise_cutoff_hz": [300.0, 9000.0],
            "output_gain_db": [-12.0, 12.0],
            "audible_db": -30.0,
            "phrases": 0.0,
        },
        "chain": {
            "pool": ["delay", "reverb", "fuzz", "chorus", "eq"],
            "lengths": {"1": 1.0, "2": 2.0, "3": 1.0},
            "weights": {"delay": 3.0},
            "order": "realistic",
            "temperature": 0.5,
            "repeats": False,
            "held_out": [["reverb", "delay"]],
            "exclusive": [["fuzz", "eq"]],
            "balance": "pedals",
            "knobs": "uniform",
            "ranges": {"delay": {"delay_ms": [200.0, 400.0]}},
            "scales": {"delay": {"delay_ms": "typical"}},
        },
    }
    pedal = {"name": "mine", "plugin": "none.vst3", "family": "time", "params": {"mix": {}}}

    def case(rng: random.Random) -> None:
        document = mutate_json(rng, valid)
        if rng.random() < 0.1 and isinstance(document, dict):
            document["pedal"] = [mutate_json(rng, pedal)]
        path = root / "spec.toml"
        path.write_bytes(toml_text(rng, document))
        spec = render_spec(path, {})
        make_plan(spec, open_source("synth"), 10, 0, progress=False)
        for position in range(2):
            names = draw_order(spec.chain, 0, "test", position)
            draw_settings(spec.chain, names, generator(0, "test", position, "settings"))
            draw_clip(spec, 0, "train", position)

    return case


def toml_fit(root: Path) -> Case:
    """[model] and [train] of fit, and a model of that shape on no memory."""
    import torch

    from fxtrain.config import load_config
    from fxtrain.models import build_model, resolve_model

    valid = {
        "model": {"kind": "gru", "d_model": 64, "n_layers": 2, "n_heads": 4, "subsample": 4},
        "train": {"batch_size": 8, "lr": 0.001, "warmup_steps": 10, "seed": 1, "precision": "32"},
    }

    def case(rng: random.Random) -> None:
        path = root / "fit.toml"
        path.write_bytes(toml_text(rng, mutate_json(rng, valid)))
        config = load_config(path, {"model": {}, "train": {}})
        resolved = resolve_model(config.model, n_codebooks=4, has_mel=True)
        with torch.device("meta"):
            build_model(resolved, torch.zeros(4, 8, 8), n_pedals=4, n_mels=8)

    return case


def symmetry_table(root: Path) -> Case:
    """symmetry.json of a user's own measurement."""
    from fxpipe.orders.commute import SHIPPED, Rule, basis, commuting_pairs, load_table

    valid = json.loads(SHIPPED.read_text(encoding="utf-8"))
    valid["pairs"] = valid["pairs"][:6]

    def case(rng: random.Random) -> None:
        path = root / "symmetry.json"
        path.write_bytes(json_bytes(rng, valid))
        table = load_table(path)
        commuting_pairs(("delay", "reverb", "fuzz", "chorus"), table, Rule())
        basis(table)

    return case


def audio(root: Path) -> Case:
    """wav, flac, ogg and aiff files, through scan, a clip, and what predict reads."""
    import soundfile

    from fixtures.datasets import pluck
    from fxpipe.frontend import PipelineFrontend
    from fxpipe.sources import open_source, pick_start, read_clip

    wave, valid = pluck(50, 0.4), {}
    for suffix, form, subtype in (
        ("wav", "WAV", "PCM_16"),
        ("wav24", "WAV", "PCM_24"),
        ("wavf", "WAV", "FLOAT"),
        ("wavx", "WAVEX", "PCM_16"),
        ("rf64", "RF64", "PCM_16"),
        ("flac", "FLAC", "PCM_16"),
        ("ogg", "OGG", "VORBIS"),
        ("aiff", "AIFF", "PCM_16"),
        ("mp3", "MP3", "MPEG_LAYER_III"),
    ):
        buffer = io.BytesIO()
        soundfile.write(buffer, wave, 44_100, format=form, subtype=subtype)
        valid[suffix] = buffer.getvalue()
    folder = root / "audio"
    folder.mkdir()

    def case(rng: random.Random) -> None:
        name = rng.choice(sorted(valid))
        data = mutate_bytes(rng, valid[name])
        if name == "flac" and rng.random() < 0.5:
            data = _lying_flac(rng, valid[name])
        path = folder / f"note.{name[:4].rstrip('24fx')}"
        path.write_bytes(data)
        try:
            PipelineFrontend.read(None, path)  # type: ignore[arg-type]
            path.rename(folder / "note.wav")
            (item,) = open_source(f"folder:{folder}").scan().items
            start = pick_start(item, rng.random(), 2.0)
            read_clip(item, start=start, n_samples=88_200, run_in_samples=9, sample_rate_hz=44_100)
        finally:
            for left in folder.iterdir():
                left.unlink()

    return case


def _lying_flac(rng: random.Random, data: bytes) -> bytes:
    """STREAMINFO with another rate, channel count or length (36 bits)."""
    out = bytearray(data)
    rate, channels, bits = rng.choice([1, 44_100, 655_350]), rng.choice([1, 2, 8]), 16
    total = rng.choice([0, 1, 10**6, 10**9, 2**36 - 1])
    packed = rate << 44 | (channels - 1) << 41 | (bits - 1) << 36 | total
    out[18:26] = packed.to_bytes(8, "big")
    return bytes(out)


def manifest(root: Path) -> Case:
    """A data set's manifest, its globs and its pattern, and the pins beside it."""
    from fxpipe.fetch.lockfile import read_pins
    from fxpipe.sources.manifest import load_manifest, manifest_dir

    valid = json.loads((manifest_dir() / "egfxset.json").read_text(encoding="utf-8"))
    valid["name"] = "my-set"
    pins = {
        "version": 1,
        "files": [
            dict.fromkeys(("data_set", "file", "url", "md5", "sha256", "pinned_on"), "x")
            | {"bytes": 5}
        ],
    }
    patterns = ["(a+)+$", "((a|a)*)*b", "(.*)*x", "(?P<x>", "(x", "()", "(" * 300 + ")" * 300]

    def case(rng: random.Random) -> None:
        if rng.random() < 0.2:
            (root / "sources.lock.json").write_bytes(json_bytes(rng, pins))
            read_pins(root)
            return
        document = mutate_json(rng, valid)
        if rng.random() < 0.2 and isinstance(document, dict):
            document["split_group"] = {"how": "by name", "pattern": rng.choice(patterns)}
        path = root / "my-set.json"
        path.write_bytes(json_bytes(rng, document) if rng.random() < 0.5 else _text(document))
        found = load_manifest(str(path))
        for name in ("Clean/Bridge/1-0.wav", "a" * 60 + "!.wav", "x/../y.flac"):
            found.dry.is_dry(name, found.dry.optional)
            found.dry.is_wanted(name)
            found.split_group.group_of(name)

    return case


def _text(document: Any) -> bytes:
    return json.dumps(document).encode()


def model(root: Path) -> Case:
    """A run directory: model.json, config.json and model.safetensors."""
    import safetensors.torch
    import torch

    from fixtures.shards import make_shards
    from fxtrain.checkpoint import CARD_NAME, WEIGHTS_NAME, card_of, load_run, new_model, save_model
    from fxtrain.config import Config, ModelConfig, config_json
    from fxtrain.contract import LocalFolder, to_dict
    from fxtrain.models import resolve_model
    from fxtrain.runs import LAST_NAME, load_run_config

    index = make_shards(root / "shards", n_train=4, n_valid=2, n_test=0)
    config = ModelConfig(kind="gru", d_model=16, n_heads=2, n_layers=1)
    resolved = resolve_model(config, n_codebooks=4, has_mel=False)
    card = card_of(index, resolved, {})
    run, folder = root / "run", LocalFolder(root / "run")
    torch.manual_seed(0)
    card = save_model(run, card, new_model(card, torch.randn(4, 64, 8)))
    weights = folder.read(WEIGHTS_NAME)
    settings = json.loads(config_json(Config(model=resolved)))
    folder.write(LAST_NAME, b"")
    state = safetensors.torch.load(weights)

    def case(rng: random.Random) -> None:
        way, data, document = rng.random(), weights, to_dict(card)
        if way < 0.2:
            folder.write("config.json", json_bytes(rng, settings))
            load_run_config(run)
            return
        if way < 0.6:
            data = mutate_bytes(rng, weights)
            if rng.random() < 0.3:
                spoilt = dict(state)
                name = rng.choice(sorted(spoilt))
                spoilt[name] = torch.zeros(rng.choice([(), (3,), (2, 2, 2), (0,)]))
                data = safetensors.torch.save(spoilt)
            document["weights"] = to_dict(folder.write(WEIGHTS_NAME, data))
            folder.write(CARD_NAME, json.dumps(document).encode())
        else:
            folder.write(WEIGHTS_NAME, data)
            folder.write(CARD_NAME, json_bytes(rng, document))
        load_run(run)

    return case


class Trap:
    """What a poisoned pickle would do: ``open(path, "w")`` when it is loaded."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return open, (str(self.path), "w")


def checkpoints(root: Path) -> Case:
    """``.pth`` and ``.safetensors`` codecs and lightning's last.ckpt: pickles, zips, shapes."""
    import torch

    from fixtures.shards import make_shards
    from fxpipe.codec import load_codec
    from fxpipe.codec.dac import Architecture, build
    from fxtrain.checkpoint import card_of
    from fxtrain.config import ModelConfig
    from fxtrain.contract import to_dict
    from fxtrain.data import open_shards
    from fxtrain.models import resolve_model
    from fxtrain.runs import LAST_NAME, check_resume

    small = {
        "encoder_dim": 4,
        "encoder_rates": [2, 4],
        "latent_dim": 8,
        "decoder_dim": 8,
        "decoder_rates": [4, 2],
        "n_codebooks": 2,
        "codebook_size": 16,
        "codebook_dim": 4,
        "sample_rate": 44_100,
    }
    torch.manual_seed(0)
    state = build(Architecture.from_kwargs(small, "small")).state_dict()
    make_shards(root / "shards", n_train=4, n_valid=2, n_test=0)
    dataset = open_shards(root / "shards")
    resolved = resolve_model(ModelConfig(d_model=16), n_codebooks=4, has_mel=False)
    card = to_dict(card_of(dataset.index, resolved, {}))
    outside = root.parent / "ran"
    (root / "run/checkpoints").mkdir(parents=True)

    def saved(content: Any) -> bytes:
        buffer = io.BytesIO()
        torch.save(content, buffer)
        return buffer.getvalue()

    def content(rng: random.Random) -> Any:
        metadata = {"kwargs": mutate_json(rng, small) if rng.random() < 0.5 else small}
        spoilt: dict[Any, Any] = dict(state)
        if rng.random() < 0.5:
            odd = torch.zeros(1)
            spoilt[rng.choice(sorted(state))] = rng.choice(
                [
                    *(odd.expand(10**9), odd.half().expand(10**12), odd.to_sparse()),
                    *(Trap(outside), 5, "x", None, odd.to(torch.complex64), odd / 0, [odd]),
                ]
            )
        return rng.choice(
            [{"state_dict": spoilt, "metadata": metadata}] * 6
            + [{"state_dict": Trap(outside)}, Trap(outside), [Trap(outside)], hostile(rng)]
        )

    def case(rng: random.Random) -> None:
        way = rng.random()
        if way < 0.3:
            held = {"fxtrain": {"card": card if rng.random() < 0.5 else mutate_json(rng, card)}}
            inner = rng.choice([held] * 4 + [{}, [], {"fxtrain": 5}, Trap(outside)])
            data = saved(inner)
            if rng.random() < 0.4:
                data = mutate_bytes(rng, data)
            (root / "run" / LAST_NAME).write_bytes(data)
            check_resume(root / "run", dataset)
            return
        if way < 0.45:
            import safetensors.torch

            data = safetensors.torch.save({k: v.contiguous() for k, v in state.items()})
            (root / "a.safetensors").write_bytes(mutate_bytes(rng, data))
            (root / "codec.json").write_bytes(json_bytes(rng, {"architecture": small}))
            load_codec(str(root / "a.safetensors"))
            return
        path = root / "a.pth"
        data = saved(content(rng))
        if way < 0.55:
            data = pickle.dumps({"state_dict": Trap(outside), "metadata": {"kwargs": small}})
        elif way < 0.75:
            data = mutate_bytes(rng, data)
        elif way < 0.85:
            data = _rezipped(rng, data)
        path.write_bytes(data)
        load_codec(str(path))

    return case


def _rezipped(rng: random.Random, data: bytes) -> bytes:
    """The same archive with members compressed, renamed, swapped or made huge by compression."""
    out = io.BytesIO()
    with (
        zipfile.ZipFile(io.BytesIO(data)) as source,
        zipfile.ZipFile(out, "w", rng.choice([zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])) as target,
    ):
        names = source.namelist()
        for name in names:
            body = source.read(name)
            if rng.random() < 0.1:
                body = mutate_bytes(rng, body)
            if rng.random() < 0.05:
                body = bytes(50_000_000)
            renamed = rng.choice(["../../outside", "/tmp/outside", name + "x", names[0]])
            target.writestr(renamed if rng.random() < 0.05 else name, body)
    return out.getvalue()


def archive(root: Path) -> Case:
    """Zip archives of data sets: names, sizes, links, methods."""
    from fxpipe.fetch.unzip import unzip

    def case(rng: random.Random) -> None:
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w", rng.choice([0, 8, 12, 14])) as bundle:
            for number in range(rng.choice([1, 3])):
                name = f"a/{number}.wav"
                if rng.random() < 0.3:
                    name = rng.choice(["../outside", "/outside", "a/../../outside", "x" * 300])
                info = zipfile.ZipInfo(name)
                info.compress_type = bundle.compression
                info.external_attr = rng.choice([0, 0, 0o120777 << 16, 0o010777 << 16])
                bundle.writestr(info, rng.choice([b"x" * 99, bytes(10**6)]))
        path = root / "a.zip"
        path.write_bytes(mutate_bytes(rng, buffer.getvalue()))
        try:
            unzip(path, root / "out", lambda name: True)
        finally:
            shutil.rmtree(root / "out", ignore_errors=True)

    return case


TARGETS: dict[str, Make] = {
    "shards index.json": shards_index,
    "renders, index.json": renders,
    "plan.json, receipts": plan_and_receipts,
    "records": records,
    "tar shard": tar_shard,
    "zarr metadata": zarr_metadata,
    "zarr shard": zarr_shard,
    "npy": npy,
    "TOML of render": toml_render,
    "TOML of fit": toml_fit,
    "symmetry.json": symmetry_table,
    "wav, flac, ogg, aiff, mp3": audio,
    "manifest, pins": manifest,
    "zip archive": archive,
    "model.json, weights": model,
    "pth, safetensors, last.ckpt": checkpoints,
}
