"""Batches levelled as a GPU does it, here on a CPU, against one clip at a time."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from fxpipe.clues import clue_info, clues
from fxpipe.errors import CodecError
from fxpipe.hearing_gpu import GpuEars
from fxpipe.level import normalise
from fxpipe.mel import log_mel, mel_info
from fxtrain.contract import CodecInfo

RATE_HZ = 44_100
CODEC = CodecInfo("t", "0" * 64, RATE_HZ, 512, 9, 1024, 8, "fp32", "none")
MEL, CLUES = mel_info(CODEC), clue_info(CODEC)


def clips(n: int, n_samples: int) -> np.ndarray:
    """Decaying, gated, loud and quiet noises and tones."""
    rng = np.random.default_rng(3)
    time_s = np.arange(n_samples) / RATE_HZ
    waves = rng.normal(size=(n, n_samples)) * np.exp(-time_s * rng.uniform(0, 6, (n, 1)))
    waves += np.sin(2 * np.pi * rng.uniform(40, 4000, (n, 1)) * time_s)
    waves *= 10 ** (rng.uniform(-60, 0, (n, 1)) / 20)
    waves[1, n_samples // 3 :] = 0
    return waves.astype(np.float32)


@pytest.mark.parametrize("n_samples", [88_200, 30_001])
def test_same_as_clip_by_clip(n_samples: int) -> None:
    waves = clips(35, n_samples)  # more than one chunk
    levelled, before, mel, told = GpuEars(RATE_HZ, MEL, CLUES, torch.device("cpu"))(waves)
    assert mel is not None
    assert told is not None
    assert mel.dtype == told.dtype == np.uint8
    each = zip(waves, levelled.numpy(), before, mel, told, strict=True)
    for wave, ours, lufs, frames, row in each:
        expected, loud = normalise(wave, RATE_HZ)
        assert lufs == pytest.approx(loud, abs=1e-4)
        assert np.abs(ours - expected).max() < 2e-5
        steps = frames.astype(int) - log_mel(expected, RATE_HZ, MEL)
        assert np.abs(steps).max() <= 1
        assert (steps != 0).mean() < 1e-3
        assert np.abs(row.astype(int) - clues(expected, RATE_HZ, CLUES)).max() <= 1


def test_where_memory_is_short_fewer_clips_are_taken_at_once(monkeypatch) -> None:
    waves = clips(9, 30_000)
    expected = GpuEars(RATE_HZ, MEL, CLUES, torch.device("cpu"))(waves)
    room, plain = [2], GpuEars._hear
    sizes = []

    def hear(self, some):
        sizes.append(len(some))
        if len(some) > room[0]:
            raise torch.OutOfMemoryError("no")
        return plain(self, some)

    monkeypatch.setattr(GpuEars, "_hear", hear)
    found = GpuEars(RATE_HZ, MEL, CLUES, torch.device("cpu"))(waves)
    assert sizes == [9, 9, 8, 4, 2, 2, 2, 2, 1]
    torch.testing.assert_close(found[0], expected[0])
    assert found[1] == pytest.approx(expected[1])
    np.testing.assert_array_equal(found[2], expected[2])
    np.testing.assert_array_equal(found[3], expected[3])
    room[0] = 0
    with pytest.raises(CodecError, match="no memory to level a single clip"):
        GpuEars(RATE_HZ, MEL, CLUES, torch.device("cpu"))(waves)


def test_silence_stays_silence() -> None:
    levelled, before, mel, told = GpuEars(RATE_HZ, None, None, torch.device("cpu"))(
        np.zeros((2, 44_100), np.float32)
    )
    assert before == [-np.inf, -np.inf]
    assert not levelled.any()
    assert mel is told is None
