"""Targets: files that people bring along: specs, tables, recordings, manifests, archives."""

from __future__ import annotations

import io
import json
import random
import shutil
import zipfile
from pathlib import Path
from typing import Any

from fuzz.mutate import Case, json_bytes, mutate_bytes, mutate_json, toml_text


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
    from fxtrain.models import Translator, resolve_model

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
            Translator(resolved, torch.zeros(4, 8, 8), n_pedals=4, n_mels=8, n_knobs=0)

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
