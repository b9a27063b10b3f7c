"""Training audio for a codec from finished renders: wet clips, levelled, on the training device.

Shapes: B batch, N audio sample.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
from torch import Tensor

from fxpipe.errors import CodecError
from fxpipe.hearing import Part, hear
from fxpipe.renders import read_renders_index
from fxtrain.contract import Folder, open_folder

N_THREADS = 16
READ_AT_ONCE = 256


def levelled_clips(
    folders: Sequence[str], split: str, at_most: int, sample_rate_hz: int
) -> np.ndarray:
    """int16 [B, N] of a split at the level rule, as many of each folder; N whole 512-sample hops.

    Raises CodecError where clips are of different lengths or there are none.
    """
    found: list[np.ndarray] = []
    with ThreadPoolExecutor(N_THREADS, "level") as pool:
        for number, uri in enumerate(folders):
            folder = open_folder(uri)
            renders = read_renders_index(folder)
            counts = renders.counts.get(split)
            left = (at_most - sum(map(len, found))) // (len(folders) - number)
            n = min(left, counts.n_samples if counts else 0)
            part = Part(renders.identity, split, 0, n, sample_rate_hz)
            found += _levelled(folder, part, pool)
    if not found or len({waves.shape[1] for waves in found}) > 1:
        raise CodecError(
            f"{', '.join(folders)}: expected {split} clips of one length, found "
            f"{sorted({waves.shape[1] for waves in found}) or 'none'}; render them alike"
        )
    return np.concatenate(found)


def _levelled(folder: Folder, part: Part, pool: ThreadPoolExecutor) -> list[np.ndarray]:
    renders = read_renders_index(folder)
    heard = hear(folder, renders, part, READ_AT_ONCE, pool.map) if part.n else iter(())
    return [
        np.pad(
            np.round(np.clip(each.waves, -1, 1) * 32767).astype(np.int16),
            ((0, 0), (0, -each.waves.shape[1] % 512)),
        )
        for each in heard
    ]


class RenderedCrops:
    """``clips`` int16 [M, N] -> float32 [B, crop] on ``device``, each with a gain drawn in dB.

    All draws come from (seed, step), so that a run that is resumed goes on alike.
    """

    def __init__(
        self,
        clips: np.ndarray,
        *,
        batch_size: int,
        crop_samples: int,
        seed: int,
        device: str,
        gain_db: float = 6.0,
    ) -> None:
        self._clips = torch.from_numpy(clips).to(device)
        self._batch_size, self._crop = batch_size, crop_samples
        self._seed, self._device, self._gain_db = seed, device, gain_db

    def __call__(self, step: int) -> Iterator[Tensor]:
        n_clips, n_samples = self._clips.shape
        within = torch.arange(self._crop, device=self._device)
        while True:
            rng = np.random.default_rng([self._seed, step])
            rows = rng.integers(n_clips, size=self._batch_size)
            starts = rng.integers(n_samples - self._crop + 1, size=self._batch_size)
            gains = 10 ** (rng.uniform(-self._gain_db, self._gain_db, self._batch_size) / 20)
            at = torch.from_numpy(np.stack((rows, starts))).to(self._device)
            crops = self._clips[at[0][:, None], at[1][:, None] + within].float() / 32768
            crops = crops * torch.from_numpy(gains.astype(np.float32)).to(self._device)[:, None]
            peak = crops.abs().amax(1, keepdim=True)
            yield crops * (0.99 / peak.clamp_min(0.99))
            step += 1
