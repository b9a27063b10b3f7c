"""A frontend without a codec: dry guitar and measures, for listening tests."""

from __future__ import annotations

import math

import numpy as np
import pytest

from fixtures.audio import RATE_HZ, riff
from fxpipe.errors import CodecError
from fxpipe.frontend import open_frontend


def test_a_seed_plays_one_phrase() -> None:
    frontend = open_frontend()
    first, rate = frontend.dry(3, 0.5)
    assert (first.shape, first.dtype, rate) == ((RATE_HZ // 2,), np.float32, RATE_HZ)
    np.testing.assert_array_equal(first, frontend.dry(3, 0.5)[0])
    assert not np.array_equal(first, frontend.dry(4, 0.5)[0])


def test_loudness_and_distance() -> None:
    """A full-scale sine at 997 Hz has -3.01 LUFS by BS.1770; distance does not know volume."""
    frontend = open_frontend()
    sine = np.sin(2 * np.pi * 997 * np.arange(2 * 48_000) / 48_000).astype(np.float32)
    assert frontend.loudness_lufs(sine, 48_000) == pytest.approx(-3.01, abs=0.05)
    assert frontend.loudness_lufs(0 * sine, 48_000) == -math.inf
    wave = riff(RATE_HZ)
    assert frontend.distance_db(wave, 0.1 * wave, RATE_HZ) == pytest.approx(0, abs=0.05)
    assert frontend.distance_db(wave, np.tanh(20 * wave), RATE_HZ) > 3


def test_without_a_codec_nothing_is_encoded() -> None:
    with pytest.raises(CodecError, match="without a codec"):
        open_frontend().encode(riff(RATE_HZ), RATE_HZ)
