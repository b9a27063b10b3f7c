"""Files that are decoded in several blocks, and those that are too large to be decoded."""

from __future__ import annotations

import io
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import soundfile

from fxpipe import recording
from fxpipe.recording import no_sound, read_file, read_mono

RATE_HZ = 8_000


def packed(audio: np.ndarray, kind: str = "WAV", subtype: str = "FLOAT") -> bytes:
    data = io.BytesIO()
    soundfile.write(data, audio, RATE_HZ, format=kind, subtype=subtype)
    return data.getvalue()


def noise(*shape: int) -> np.ndarray:
    return 0.1 * np.random.default_rng(0).standard_normal(shape).astype(np.float32)


@pytest.mark.parametrize("n_samples", [999, 1000, 1001, 4321])
@pytest.mark.parametrize("n_channels", [1, 2])
def test_blocks_are_joined_to_the_whole(
    n_samples: int, n_channels: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recording, "BLOCK_SAMPLES", 1000)
    audio = noise(n_samples, n_channels)
    mono, rate_hz, facts = read_mono(packed(audio))
    np.testing.assert_allclose(mono, audio.mean(axis=1), atol=1e-7)
    assert (rate_hz, facts["channels"]) == (RATE_HZ, n_channels)


def test_channels_that_cancel_each_other_are_told_after_any_silence(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(recording, "BLOCK_SAMPLES", 1000)
    wave = noise(4000)
    wave[:1000] = 0.0
    with pytest.raises(ValueError, match="channels cancel each other"):
        read_mono(packed(np.stack([wave, -wave], axis=1)))


def test_samples_are_in_memory_once_while_they_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ten minutes of 192 kHz took twice their samples for a moment, and more to look at them."""
    monkeypatch.setattr(recording, "BLOCK_SAMPLES", 10_000)
    data = packed(noise(500_000, 2))
    tracemalloc.start()
    mono = read_mono(data)[0]
    assert len(no_sound(mono)) == 0
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(mono) == 500_000
    assert peak < 1.2 * mono.nbytes


def test_what_is_longer_than_memory_is_meant_for_is_refused_by_its_header(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(recording, "MAX_SAMPLES", 1000)
    assert len(read_mono(packed(noise(1000)))[0]) == 1000
    assert len(read_mono(packed(noise(500, 2)))[0]) == 500
    monkeypatch.setattr(soundfile.SoundFile, "read", None)
    for audio in (noise(1001), noise(501, 2)):
        with pytest.raises(ValueError, match=r"too long: .* expected (1000|500) at most"):
            read_mono(packed(audio))


def test_what_is_longer_than_its_header_says_is_bounded_too(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    data = packed(noise(5000), "OGG", "VORBIS")
    monkeypatch.setattr(soundfile.SoundFile, "frames", 2**62)
    monkeypatch.setattr(recording, "BLOCK_SAMPLES", 1000)
    whole, _ = soundfile.read(io.BytesIO(data), 5000, dtype="float32")
    np.testing.assert_array_equal(read_mono(data)[0], whole)
    monkeypatch.setattr(recording, "MAX_SAMPLES", 3000)
    with pytest.raises(ValueError, match="too long: more than 3000 samples"):
        read_mono(data)


def test_a_file_too_large_to_be_audio_is_not_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.wav"
    path.write_bytes(packed(noise(100)))
    assert read_file(path) == path.read_bytes()
    monkeypatch.setattr(recording, "MAX_FILE_BYTES", 100)
    with pytest.raises(ValueError, match="larger than 4 GB"):
        read_file(path)
