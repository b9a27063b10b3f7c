"""A sound for the ear goes into the format its name says, or one line says why not."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile

from fxpipe.describe import SOUND_FORMATS, write_sound
from fxtrain.contract import FxError, UsageError

WAVE = np.sin(np.arange(4410) / 20).astype(np.float32) / 2


@pytest.mark.parametrize("suffix", [*SOUND_FORMATS, ".WAV"])
def test_the_name_says_the_format(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"x{suffix}"
    write_sound(path, WAVE, 44_100, subtype="PCM_24")
    wave, rate = soundfile.read(path)
    assert rate == 44_100
    assert abs(len(wave) - len(WAVE)) < 3000
    assert soundfile.info(path).format == SOUND_FORMATS[suffix.lower()]
    if suffix == ".wav":
        assert soundfile.info(path).subtype == "PCM_24"


@pytest.mark.parametrize("name", ["x.xyz", "x", "x.raw", "."])
def test_an_unknown_name_is_one_line(tmp_path: Path, name: str) -> None:
    with pytest.raises(UsageError, match=r"ends in one of \.wav, \.flac"):
        write_sound(tmp_path / name, WAVE, 44_100)


def test_a_rate_that_a_format_lacks_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(FxError, match="cannot be written as MP3 at 12345 Hz"):
        write_sound(tmp_path / "x.mp3", WAVE, 12_345)
    assert list(tmp_path.iterdir()) == []


def test_a_place_that_is_not_there_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(FxError, match=r"cannot write .*nodir/x\.wav: No such file or directory"):
        write_sound(tmp_path / "nodir/x.wav", WAVE, 44_100)
    (tmp_path / "folder.wav").mkdir()
    with pytest.raises(FxError, match=r"cannot write .*folder\.wav"):
        write_sound(tmp_path / "folder.wav", WAVE, 44_100)
