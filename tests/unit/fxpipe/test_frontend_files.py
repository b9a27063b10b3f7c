"""Files of every usual kind reach the ears as the same mono wave, and name themselves if not."""

from __future__ import annotations

import io
import pickle
from pathlib import Path

import numpy as np
import pytest
import soundfile

from fxpipe.errors import SourceError
from fxpipe.frontend import open_frontend
from fxtrain.card import read_card
from fxtrain.contract.frontend import TooLongError
from fxtrain.finding import SHIPPED

FORMATS = (
    ("WAV", "PCM_U8", "wav"),
    ("WAV", "PCM_16", "wav"),
    ("WAV", "PCM_24", "wav"),
    ("WAV", "FLOAT", "wav"),
    ("WAV", "DOUBLE", "wav"),
    ("FLAC", "PCM_24", "flac"),
    ("AIFF", "PCM_16", "aiff"),
    ("OGG", "VORBIS", "ogg"),
    ("OGG", "OPUS", "opus"),
    ("MP3", "MPEG_LAYER_III", "mp3"),
    ("CAF", "PCM_16", "caf"),
    ("AU", "PCM_16", "au"),
)


def tone(n: int, rate: int) -> np.ndarray:
    return (0.4 * np.sin(2 * np.pi * 440 * np.arange(n) / rate)).astype(np.float32)


@pytest.mark.parametrize(("kind", "subtype", "suffix"), FORMATS)
def test_any_format(tmp_path: Path, kind: str, subtype: str, suffix: str) -> None:
    path = tmp_path / f"clip.{suffix}"
    soundfile.write(path, tone(48_000, 48_000), 48_000, format=kind, subtype=subtype)
    wave, rate = open_frontend().read(path)
    assert rate == 48_000
    assert wave.dtype == np.float32
    assert len(wave) == pytest.approx(48_000, rel=0.05)  # mp3 pads
    assert np.std(wave) == pytest.approx(0.4 / 2**0.5, rel=0.05)


def test_ears_cross_to_another_process_by_what_they_were_opened_with(tmp_path: Path) -> None:
    card = read_card(SHIPPED)
    ears = open_frontend(card.ears)
    wave = tone(2 * 44_100, 44_100)
    there = pickle.loads(pickle.dumps(ears))
    np.testing.assert_array_equal(there.encode(wave, 44_100).mel, ears.encode(wave, 44_100).mel)


@pytest.mark.parametrize("rate", [8_000, 22_050, 44_100, 96_000, 192_000])
@pytest.mark.parametrize("channels", [1, 2, 6])
def test_any_rate_and_number_of_channels(tmp_path: Path, rate: int, channels: int) -> None:
    path = tmp_path / "clip.wav"
    soundfile.write(path, np.tile(tone(rate, rate)[:, None], (1, channels)), rate)
    wave, found = open_frontend().read(path)
    assert found == rate
    assert np.allclose(wave, tone(rate, rate), atol=1e-4)


@pytest.mark.parametrize("side", [0.99, 1.0])
def test_a_channel_that_is_the_other_turned_over_is_no_silence(tmp_path: Path, side: float) -> None:
    left = tone(44_100, 44_100)
    path = tmp_path / "balanced.wav"
    soundfile.write(path, np.stack([left, -side * left], axis=1), 44_100)
    message = r"balanced\.wav: .*its channels cancel each other.*keep only one"
    with pytest.raises(SourceError, match=message):
        open_frontend().read(path)
    with pytest.raises(SourceError, match="its channels cancel each other"):
        open_frontend().decode(path.read_bytes())


@pytest.mark.parametrize("right", [0.0, -0.9])
def test_channels_that_differ_are_mixed(tmp_path: Path, right: float) -> None:
    left = tone(44_100, 44_100)
    path = tmp_path / "wide.wav"
    soundfile.write(path, np.stack([left, right * left], axis=1), 44_100, subtype="FLOAT")
    wave, _ = open_frontend().read(path)
    np.testing.assert_allclose(wave, (1 + right) / 2 * left, atol=1e-6)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", r"is empty \(0 bytes\); copy it again"),
        (b"words", r"cannot be read as audio \(Format not recognised\); save it as WAV or FLAC"),
        (b"\x00\x00\x00 ftypM4A \x00\x00", "cannot be read as audio .*; save it as WAV or FLAC"),
    ],
)
def test_what_cannot_be_read_says_what_to_do(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "memo.m4a"
    path.write_bytes(content)
    with pytest.raises(SourceError, match=message):
        open_frontend().read(path)


def test_a_file_of_no_samples_says_so(tmp_path: Path) -> None:
    path = tmp_path / "take.wav"
    soundfile.write(path, np.zeros(0, np.float32), 8_000)
    with pytest.raises(SourceError, match=r"take\.wav: holds no sound \(0 samples\); record it"):
        open_frontend().read(path)


@pytest.mark.parametrize(("kind", "subtype"), [("FLAC", "PCM_16"), ("WAV", "PCM_16")])
def test_what_is_too_long_is_refused_before_it_is_decoded(
    kind: str, subtype: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = io.BytesIO()
    soundfile.write(data, tone(40_000, 8_000), 8_000, format=kind, subtype=subtype)
    assert len(open_frontend().decode(data.getvalue(), most_s=5.0)[0]) == 40_000
    monkeypatch.setattr(soundfile.SoundFile, "read", None)
    with pytest.raises(TooLongError, match=r"this is 5\.0 s of sound, 4 s at most") as error:
        open_frontend().decode(data.getvalue(), most_s=4.0)
    assert error.value.seconds == 5.0


def test_a_length_that_no_header_says_is_bounded_too(monkeypatch: pytest.MonkeyPatch) -> None:
    data = io.BytesIO()
    soundfile.write(data, tone(80_000, 8_000), 8_000, format="OGG", subtype="VORBIS")
    monkeypatch.setattr(soundfile.SoundFile, "frames", 2**62)
    monkeypatch.setattr("fxpipe.recording.BLOCK_SAMPLES", 8_000)
    with pytest.raises(TooLongError) as error:
        open_frontend().decode(data.getvalue(), most_s=3.0)
    assert error.value.seconds == 4.0


def test_a_damaged_file_and_bad_samples_are_told_apart(tmp_path: Path) -> None:
    data = io.BytesIO()
    soundfile.write(data, tone(80_000, 8_000), 8_000, format="FLAC")
    damaged = bytearray(data.getvalue())
    damaged[len(damaged) // 3 :: 50] = bytes(len(damaged[len(damaged) // 3 :: 50]))
    with pytest.raises(SourceError, match=r"this is damaged \(.*\); copy it or export it again"):
        open_frontend().decode(bytes(damaged))
    data = io.BytesIO()
    soundfile.write(data, tone(80_000, 8_000), 8_000, format="WAV")
    with pytest.raises(SourceError, match=r"this is cut short: 80022 bytes .*; copy it again"):
        open_frontend().decode(data.getvalue()[:80_022])
    wave = tone(8_000, 8_000)
    wave[[4_000, 5_000, 6_000, 7_000]] = np.nan, np.inf, 1e10, -1e10
    soundfile.write(tmp_path / "bad.wav", wave, 8_000, subtype="FLOAT")
    with pytest.raises(SourceError, match=r"4 samples of 8000 .*the first at 0\.50 s; export it"):
        open_frontend().read(tmp_path / "bad.wav")


def test_a_missing_file_is_called_missing(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"gone\.wav: no such file"):
        open_frontend().read(tmp_path / "gone.wav")
