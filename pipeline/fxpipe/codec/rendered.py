"""Training audio for a codec from finished renders: wet clips, levelled, on the training device.

Shapes: B batch, N audio sample.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor

from fxpipe.errors import CodecError
from fxpipe.hearing import Part, read_batches
from fxpipe.hearing_gpu import GpuEars
from fxpipe.renders import read_renders_index
from fxtrain.contract import open_folder

READ_AT_ONCE = 256
HOP_SAMPLES = 512
"""Of the embedded codec."""

GAIN_DB = 6.0
"""A crop is made this much louder or softer at most."""


def levelled_clips(
    folders: Sequence[str],
    split: str,
    at_most: int,
    sample_rate_hz: int,
    device: str,
) -> Tensor:
    """int16 [B, N] on the device: clips of a split at the level rule, as many of each folder; N
    padded to whole hops.

    Raises CodecError where clips are of different lengths or there are none.
    """
    ears = GpuEars(sample_rate_hz, None, None, torch.device(device))
    found: list[Tensor] = []
    for number, uri in enumerate(folders):
        folder = open_folder(uri)
        renders = read_renders_index(folder)
        counts = renders.counts.get(split)
        left = (at_most - sum(map(len, found))) // (len(folders) - number)
        part = Part(
            renders.identity, split, 0, min(left, counts.n_samples if counts else 0), sample_rate_hz
        )
        for waves, _ in read_batches(folder, renders, part, READ_AT_ONCE) if part.n else ():
            levelled = (ears(waves)[0].clamp(-1, 1) * 32767).round().to(torch.int16)
            found.append(torch.nn.functional.pad(levelled, (0, -waves.shape[1] % HOP_SAMPLES)))
    if not found or len({clips.shape[1] for clips in found}) > 1:
        raise CodecError(
            f"{', '.join(folders)}: expected {split} clips of one length, found "
            f"{sorted({clips.shape[1] for clips in found}) or 'none'}; render them alike"
        )
    return torch.cat(found)


class RenderedCrops:
    """``clips`` int16 [M, N] -> float32 [B, crop] where they lie, each with a gain drawn in dB.

    All draws come from (seed, step), so that a run that is resumed goes on alike.
    """

    def __init__(
        self,
        clips: Tensor,
        *,
        batch_size: int,
        crop_samples: int,
        seed: int,
    ) -> None:
        """Raises CodecError where clips are shorter than a crop."""
        if clips.shape[1] < crop_samples:
            raise CodecError(
                f"clips of {clips.shape[1]} samples, expected {crop_samples} or more; render "
                "longer ones (--clip-s)"
            )
        self._clips, self._device = clips, clips.device
        self._batch_size, self._crop = batch_size, crop_samples
        self._seed = seed

    def __call__(self, step: int) -> Iterator[Tensor]:
        n_clips, n_samples = self._clips.shape
        within = torch.arange(self._crop, device=self._device)
        while True:
            rng = np.random.default_rng([self._seed, step])
            rows = rng.integers(n_clips, size=self._batch_size)
            starts = rng.integers(n_samples - self._crop + 1, size=self._batch_size)
            gains = 10 ** (rng.uniform(-GAIN_DB, GAIN_DB, self._batch_size) / 20)
            at = torch.from_numpy(np.stack((rows, starts))).to(self._device)
            crops = self._clips[at[0][:, None], at[1][:, None] + within].float() / 32768
            crops = crops * torch.from_numpy(gains.astype(np.float32)).to(self._device)[:, None]
            peak = crops.abs().amax(1, keepdim=True)
            yield crops * (0.99 / peak.clamp_min(0.99))
            step += 1
