"""Tables of docs/scale.md: arithmetic on the rates in docs/scale.json, nothing else."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from fxpipe.renders import shard_size
from fxpipe.store import DEFAULT_SHARD_SIZE

Rows = Callable[[list[str], list[list[str]]], str]
SIZES = (10**5, 10**6, 10**7, 10**8)
PART = 10**6
"""Clips a part: what is rendered, encoded and deleted before the next."""

PRICES = {"core hour": 0.04, "GPU hour": 3.0, "GB month": 0.023}
"""US dollars, round figures of public price lists of 2026; put your own in their place."""


@dataclass(frozen=True)
class Rates:
    """One machine's figures, and bytes as they lie on disk."""

    measured: str
    render_clips_core_s: float
    encode_clips_core_s: float
    embedded_clips_core_s: float
    gpu_clips_s: float
    stream_clips_s: float
    first_stream_clips_s: float
    render_bytes_clip: float
    shard_bytes_clip: float
    mel_shard_bytes_clip: float
    index_bytes_shard: float


def rates() -> Rates:
    return Rates(**json.loads(Path(__file__).with_suffix(".json").read_text(encoding="utf-8")))


def basis(rows: Rows) -> str:
    r = rates()
    return rows(
        ["rate or size", "figure"],
        [
            ["`render`, stompbox, notes from files, clips a second and core",
             f"{r.render_clips_core_s:g}"],
            ["`encode --codec 44khz`, clips a second and core", f"{r.encode_clips_core_s:g}"],
            ["`encode --codec embedded`, clips a second and core", f"{r.embedded_clips_core_s:g}"],
            ["`encode --codec 44khz --gpu 0`, fp16, clips a second",
             f"{r.gpu_clips_s:,.0f}"],
            ["streaming tokens to batches, clips a second; in the first epoch, which hashes all",
             f"{r.stream_clips_s:,.0f}; {r.first_stream_clips_s:,.0f}"],
            ["a 2 s render with its record, bytes", f"{r.render_bytes_clip:,.0f}"],
            ["its tokens with their record, bytes", f"{r.shard_bytes_clip:,.0f}"],
            ["the same and log-mel (`--with-mel`), bytes", f"{r.mel_shard_bytes_clip:,.0f}"],
        ],
    ) + f"\n\nMeasured: {r.measured}."  # fmt: skip


def plan(rows: Rows) -> str:
    """One column a size: time, bytes and files of all of it."""
    r = rates()
    table = [
        ["render, core hours", *(_hours(n / r.render_clips_core_s) for n in SIZES)],
        ["encode 44khz on CPUs, core hours", *(_hours(n / r.encode_clips_core_s) for n in SIZES)],
        ["encode embedded on CPUs, core hours",
         *(_hours(n / r.embedded_clips_core_s) for n in SIZES)],
        ["encode 44khz, GPU hours", *(_hours(n / r.gpu_clips_s) for n in SIZES)],
        ["reading tokens for the first epoch, hours",
         *(_hours(n / r.first_stream_clips_s) for n in SIZES)],
        ["reading tokens for a later one, hours", *(_hours(n / r.stream_clips_s) for n in SIZES)],
        ["renders, if all were kept", *(_bytes(n * r.render_bytes_clip) for n in SIZES)],
        ["shards, tokens alone", *(_bytes(n * r.shard_bytes_clip) for n in SIZES)],
        ["shards, tokens and log-mel", *(_bytes(n * r.mel_shard_bytes_clip) for n in SIZES)],
        ["parts", *(f"{max(1, n // PART)}" for n in SIZES)],
        ["renders on disk at a time",
         *(_bytes(min(n, PART) * r.render_bytes_clip) for n in SIZES)],
        ["files of renders at a time",
         *(f"{3 * (min(n, PART) // shard_size(min(n, PART))):,}" for n in SIZES)],
        ["files of shards, all parts",
         *(f"{2 * n // DEFAULT_SHARD_SIZE['webdataset']:,}" for n in SIZES)],
        ["all `index.json` of shards",
         *(_bytes(n / DEFAULT_SHARD_SIZE["webdataset"] * r.index_bytes_shard) for n in SIZES)],
    ]  # fmt: skip
    return rows(["", *(f"{n:,} clips" for n in SIZES)], table)


def cost(rows: Rows) -> str:
    r, table = rates(), []
    for n in SIZES:
        render = n / r.render_clips_core_s / 3600 * PRICES["core hour"]
        gpu = n / r.gpu_clips_s / 3600 * PRICES["GPU hour"]
        cpu = n / r.encode_clips_core_s / 3600 * PRICES["core hour"]
        store, with_mel = (
            n * size / 1e9 * PRICES["GB month"]
            for size in (r.shard_bytes_clip, r.mel_shard_bytes_clip)
        )
        cells = [f"{n:,}", *(_dollars(value) for value in (render, gpu, cpu, store, with_mel))]
        table.append(cells)
    prices = ", ".join(f"{value:g} $ a {name}" for name, value in PRICES.items())
    header = ["clips", "render", "encode on GPUs", "encode on CPUs", "shards a month"]
    header.append("with log-mel, a month")
    return rows(header, table) + f"\n\nPrices assumed: {prices}."


def _hours(seconds: float) -> str:
    hours = seconds / 3600
    return f"{hours:,.0f}" if hours >= 10 else f"{hours:.2g}"


def _bytes(n: float) -> str:
    for unit in ("B", "kB", "MB", "GB"):
        if n < 1000:
            return f"{n:.3g} {unit}"
        n /= 1000
    return f"{n:,.3g} TB"


def _dollars(value: float) -> str:
    return f"{value:,.0f} $" if value >= 10 else f"{value:.2f} $"
