"""The codec of shards that hold log-mel alone: its frames are kept to, and it is not run."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from fxtrain.contract import MISSING_CODE, CodecInfo


@dataclass(frozen=True)
class Unheard:
    """What `encode` asks of a codec, of the one that ``info`` tells, without its weights."""

    info: CodecInfo

    @property
    def arithmetic(self) -> str:
        return "none, log-mel alone"

    def usage(self) -> dict[str, tuple[int, ...]]:
        return {}

    def encode(self, audio: np.ndarray) -> np.ndarray:
        """float32 [B, N] -> uint16 [B, K, T], every code the one of what was never written."""
        n_clips, n_samples = audio.shape
        shape = n_clips, self.info.n_codebooks, self.info.n_frames(n_samples)
        return np.full(shape, MISSING_CODE, np.uint16)
