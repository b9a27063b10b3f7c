"""What encoding a shard adds to the index: with what arithmetic, and what that changed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from fxpipe.codec import Codec
from fxpipe.resume import has_same_clips
from fxpipe.tasks import Job, Receipt
from fxpipe.tasks.release import Release
from fxtrain.contract import ContractError, from_dict, to_dict

MEASURED = ("changed", "peak_vram_gb")
"""What :func:`measured` adds to a recipe; it differs from machine to machine."""


@dataclass(frozen=True)
class Changed:
    """``share`` of the codes, by codebook, that IEEE fp32 through dac's own layers gives otherwise,
    of so many ``clips``."""

    clips: int
    share: tuple[float, ...]


@dataclass(frozen=True)
class Tally:
    """``encoder``: arithmetic and device, in words. On a GPU: the ``batches`` that were run, and
    the most memory held, in bytes. ``release``: what the shard was made with."""

    encoder: str = "unknown"
    changed: Changed | None = None
    batches: tuple[int, ...] = ()
    peak_vram: tuple[int, ...] = ()
    release: Release = field(default_factory=dict)


def changed_from(plain: Codec, waves: np.ndarray, codes: np.ndarray) -> Changed:
    """``codes`` [B, K, T] against those that ``plain`` gives for ``waves`` [B, N]."""
    share = (plain.encode(waves) != codes).mean(axis=(0, 2))
    return Changed(len(waves), tuple(round(float(s), 6) for s in share))


def said(tally: Tally) -> dict[str, Any]:
    """As a receipt holds it, without what there is none of: older versions know no null there."""
    return {key: value for key, value in to_dict(tally).items() if value}


def is_told(receipt: Receipt, job: Job) -> bool:
    """A receipt that says something else, or of other clips, costs its shard."""
    try:
        from_dict(Tally, receipt.tally, receipt.shard.name)
    except ContractError:
        return False
    return has_same_clips(receipt, job)


def measured(tallies: Sequence[Tally]) -> dict[str, Any]:
    """For the index: codes that changed, of the shard that was compared, and memory on GPUs."""
    found: dict[str, Any] = {}
    changed = [tally.changed for tally in tallies if tally.changed is not None]
    if changed:
        found["changed"] = to_dict(changed[0])
    vram = [n for tally in tallies for n in tally.peak_vram]
    if any(vram):
        found["peak_vram_gb"] = round(max(vram) / 1e9, 3)
    return found
