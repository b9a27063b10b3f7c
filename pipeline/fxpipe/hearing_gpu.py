"""The level rule, log-mel and clues of whole batches on a GPU: what `level` and `mel` do a clip.

A core levels 150 to 250 clips a second, a GPU encodes thousands. Equal to the CPU's to a
hundred-thousandth of a decibel; mel bytes differ where a value lies on the edge between two.
Shapes: B batch, N audio sample, M mel band, T frame.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from fxpipe.clues_gpu import clues
from fxpipe.errors import CodecError
from fxpipe.level import DB_A_DOUBLING, LEVEL_RULE, SOFT_EXPONENT
from fxpipe.loudness import (
    ABSOLUTE_LUFS,
    BLOCK_S,
    OFFSET_LUFS,
    RELATIVE_LU,
    STEP,
    k_weighting,
)
from fxpipe.mel import mel_filters
from fxtrain.contract import ClueInfo, MelInfo

CHUNK = 32
"""Clips at once: 0.1 GB for two seconds each."""

Batch = tuple[Tensor, Tensor, Tensor | None, Tensor | None]
"""Levelled waves, loudness before, mel, clues."""


class GpuEars:
    """float32 [B, N] on the host -> levelled on the device, loudness before, mel and clues on the
    host."""

    def __init__(
        self,
        sample_rate_hz: int,
        mel: MelInfo | None,
        clues: ClueInfo | None,
        device: torch.device,
    ) -> None:
        self._rate, self._mel, self._clues, self._device = sample_rate_hz, mel, clues, device
        self._chunk = CHUNK
        if mel is not None:
            self._window = _on(np.hanning(mel.n_fft + 1)[:-1].astype(np.float32), device)
            self._filters = _on(mel_filters(sample_rate_hz, mel), device)

    @torch.inference_mode()
    def __call__(
        self, waves: np.ndarray
    ) -> tuple[Tensor, list[float], np.ndarray | None, np.ndarray | None]:
        """Clips of at least 0.4 s. Silence stays silence, at -inf LUFS.

        Where memory is short, fewer at once. Raises CodecError where one is too many.
        """
        done: list[Batch] = []
        first = 0
        while first < len(waves):
            try:
                done.append(self._hear(waves[first : first + self._chunk]))
                first += len(done[-1][0])
            except torch.OutOfMemoryError:
                if self._chunk == 1:
                    raise CodecError(
                        "the GPU has no memory to level a single clip; give --max-vram more room, "
                        "close what else runs on it, or leave --gpu away"
                    ) from None
                self._chunk //= 2
        levelled, loud, mel, found = zip(*done, strict=True)
        return torch.cat(levelled), torch.cat(loud).tolist(), _host(mel), _host(found)

    def _hear(self, waves: np.ndarray) -> Batch:
        raw = torch.from_numpy(waves).to(self._device)
        doublings = (SOFT_EXPONENT - raw.abs().amax(1).frexp().exponent).clamp_min(0)
        raw = raw.ldexp(doublings[:, None])
        loud = self._loudness_lufs(raw)
        gain = 10 ** ((LEVEL_RULE.target_lufs - loud) / 20)
        gain = torch.minimum(gain, LEVEL_RULE.peak_limit / raw.abs().amax(1).double())
        gain = torch.where(loud.isfinite(), gain, 1.0)
        levelled = raw * gain.float()[:, None]
        before = loud - doublings * DB_A_DOUBLING
        mel = self._log_mel(levelled, self._mel) if self._mel else None
        found = clues(levelled, self._rate, self._clues) if self._clues else None
        return levelled, before, mel, found

    def _loudness_lufs(self, waves: Tensor) -> Tensor:
        """float64 [B], integrated and gated as `fxpipe.loudness` does it."""
        n_samples = waves.shape[1]
        n_fft = 1 << (n_samples + self._rate // 4).bit_length()  # room for the filters to ring out
        turn = torch.linspace(0, torch.pi, n_fft // 2 + 1, device=waves.device, dtype=torch.float64)
        spectrum = torch.fft.rfft(waves.double(), n_fft)
        for b, a in k_weighting(self._rate):
            spectrum *= _response(b, turn) / _response(a, turn)
        heard = torch.fft.irfft(spectrum, n_fft)[:, :n_samples].float().double().square()
        sums = torch.nn.functional.pad(heard.cumsum(1), (1, 0))
        n_blocks = round((n_samples / self._rate - BLOCK_S) / (BLOCK_S * STEP)) + 1
        begin = [int(BLOCK_S * (j * STEP) * self._rate) for j in range(n_blocks)]
        end = [min(n_samples, int(BLOCK_S * (j * STEP + 1) * self._rate)) for j in range(n_blocks)]
        power = (sums[:, end] - sums[:, begin]) / (BLOCK_S * self._rate)
        block_lufs = OFFSET_LUFS + 10 * power.log10()
        gate = block_lufs >= ABSOLUTE_LUFS
        relative = _mean_lufs(power, gate) + RELATIVE_LU
        return _mean_lufs(power, gate & (block_lufs > relative[:, None]))

    def _log_mel(self, waves: Tensor, info: MelInfo) -> Tensor:
        n_samples = waves.shape[1]
        n_frames = -(-n_samples // info.hop_samples)
        before = (info.n_fft - info.hop_samples) // 2
        after = n_frames * info.hop_samples + info.n_fft - n_samples - before
        padded = torch.nn.functional.pad(waves, (before, after))
        frames = padded.unfold(1, info.n_fft, info.hop_samples)[:, :n_frames]
        spectrum = torch.fft.rfft(frames * self._window) * (2 / self._window.sum())
        power = torch.view_as_real(spectrum).square().sum(-1)
        bands = (power @ self._filters).transpose(1, 2)
        decibels = 10 * bands.clamp_min(1e-12).log10()
        return ((decibels - info.floor_db) / info.step_db).round().clamp(0, 255).to(torch.uint8)


def _response(coefficients: np.ndarray, turn: Tensor) -> Tensor:
    """c0 + c1 z^-1 + c2 z^-2 ... on the unit circle."""
    powers = [c * torch.polar(torch.ones_like(turn), -k * turn) for k, c in enumerate(coefficients)]
    return torch.stack(powers).sum(0)


def _mean_lufs(power: Tensor, chosen: Tensor) -> Tensor:
    """Loudness of the mean power of the chosen blocks; -inf where there are none."""
    mean = (power * chosen).sum(1) / chosen.sum(1).clamp_min(1)
    return OFFSET_LUFS + 10 * mean.log10()


def _on(array: np.ndarray, device: torch.device) -> Tensor:
    return torch.from_numpy(array).to(device)


def _host(parts: tuple[Tensor | None, ...]) -> np.ndarray | None:
    """Parts of a batch as one array; None where they were not asked for."""
    there = [part for part in parts if part is not None]
    return torch.cat(there).cpu().numpy() if there else None
