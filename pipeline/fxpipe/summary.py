"""What ``render``, ``encode`` and ``inspect`` say of a data set: counts, redraws, licence."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from typing import Any

from fxpipe.console import table
from fxpipe.renders import RendersIndex
from fxtrain.contract import SPLITS, DatasetIndex, SplitCounts, count_all


def counts_table(counts: dict[str, SplitCounts]) -> str:
    """Samples by split: all, by length, by pedal."""
    splits = [split for split in SPLITS if split in counts]
    lengths = sorted({length for c in counts.values() for length in c.by_length})
    pedals = dict.fromkeys(name for split in splits for name in counts[split].by_pedal)
    rows = [["clips", *(str(counts[s].n_samples) for s in splits)]]
    rows += [
        [f"length {n}", *(str(counts[s].by_length.get(n, 0)) for s in splits)] for n in lengths
    ]
    rows += [[name, *(str(counts[s].by_pedal.get(name, 0)) for s in splits)] for name in pedals]
    return table(["", *splits], rows)


def render_summary(index: RendersIndex, output: str) -> str:
    n = count_all(index.counts)
    return "\n".join(
        [
            counts_table(index.counts),
            redraws_text(index),
            _licence_line(index),
            f"{n} wet clips in {output}; next: fxpipe encode {shlex.quote(output)}",
        ]
    )


def redraws_text(index: RendersIndex) -> str:
    """Which pedals were drawn again because they could not be heard, and how often, in per cent of
    all their draws."""
    pedals = _again(
        index.redraws["by_pedal"],
        {
            name: sum(counts.by_pedal.get(name, 0) for counts in index.counts.values())
            for name in index.vocabulary.names
        },
    )
    lengths = _again(
        {int(k): n for k, n in index.redraws["by_length"].items()},
        {
            length: sum(length * c.by_length.get(length, 0) for c in index.counts.values())
            for counts in index.counts.values()
            for length in counts.by_length
        },
    )
    found = ", ".join(f"{k} {n} time{'s' * (n != 1)} ({share})" for k, n, share in pedals)
    where = ", of ".join(f"{k}: {n} ({share})" for k, n, share in lengths)
    why = f"because nobody could hear them (below {index.spec.audible_db:g} dB)"
    told = f"{found}; in chains of {where} of all their draws" if found else "none"
    return f"pedals drawn again {why}: {told}"


def _again(redrawn: Mapping[Any, int], kept: Mapping[Any, int]) -> list[tuple[Any, int, str]]:
    """What was drawn again, how often, and of how many per cent of its draws; most often first."""
    often = sorted(redrawn.items(), key=lambda item: -item[1])
    return [(k, n, f"{100 * n / (n + kept.get(k, 0)):.0f} %") for k, n in often if n]


def encode_summary(index: DatasetIndex, output: str) -> str:
    n = count_all(index.counts)
    n_bytes = sum(file.n_bytes for shard in index.shards for file in shard.files)
    return "\n".join(
        [
            counts_table(index.counts),
            _heard_line(index),
            *encoder_lines(index),
            _licence_line(index),
            f"{n} samples, {n_bytes / 1e6:.1f} MB in {output}; next: fxtrain fit "
            f"{shlex.quote(output)}",
        ]
    )


def _heard_line(index: DatasetIndex) -> str:
    codec = index.codec
    more = "log-mel and clues of the wave" if index.clues else "log-mel"
    frames = f"{index.n_frames} frames a clip"
    if index.n_windows > 1:
        frames += f" in {index.n_windows} windows"
    if index.mel_only:
        return f"{more} alone, {frames}, those of codec {codec.name}"
    return (
        f"codec {codec.name}: {codec.n_codebooks} codebooks of {codec.codebook_size}, "
        f"{frames}" + (f", {more} beside" if index.mel else "")
    )


def encoder_lines(index: DatasetIndex) -> list[str]:
    """How it was encoded, and how many codes plain fp32 would have given otherwise."""
    lines = [f"encoder: {index.versions['encoder']}"] if "encoder" in index.versions else []
    if "peak_vram_gb" in index.recipe:
        lines.append(f"most memory held on a GPU: {index.recipe['peak_vram_gb']} GB")
    changed = index.recipe.get("changed")
    if isinstance(changed, dict) and changed.get("share"):
        share = [float(part) for part in changed["share"]]
        by_book = " ".join(f"{100 * part:.2f}" for part in share)
        lines.append(
            f"codes that differ from plain fp32, on {changed.get('clips')} clips: "
            f"{sum(share) / len(share):.3%}; per cent by codebook: {by_book}"
        )
    return lines


def _licence_line(index: RendersIndex | DatasetIndex) -> str:
    names = ", ".join(f"{key} ({value.name})" for key, value in index.licences.items())
    if index.shareable:
        return f"licence of the sources: {names}"
    return f"licence of the sources: {names}; NOT shareable: keep what is made from it to yourself"
