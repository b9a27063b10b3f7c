"""What is fuzzed: each target has small valid artefacts, a way to spoil them, and a reader.

``make(folder)`` writes what is valid and returns ``case(rng)``: one spoilt input, read as a command
of the programs would read it. It returns nothing where the input was accepted.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from fuzz.mutate import Case
from fuzz.targets_data import (
    npy,
    plan_and_receipts,
    records,
    renders,
    shards_index,
    tar_shard,
    zarr_metadata,
    zarr_shard,
)
from fuzz.targets_files import archive, audio, manifest, symmetry_table, toml_fit, toml_render
from fuzz.targets_models import checkpoints, model

Make = Callable[[Path], Case]

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
