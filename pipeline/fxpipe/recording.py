"""An audio file's bytes to mono samples, within bounds of memory. One door to libsndfile's decoder.

Imports little: whoever asks for the pedals on one clip waits for it.
"""

from __future__ import annotations

import io
import stat
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
import soundfile

from fxtrain.contract.frontend import TooLongError

Audio = npt.NDArray[np.float32]
Fact = str | int | float

MAX_FILE_BYTES = 2**32
MAX_SAMPLES = 2**28
MAX_DURATION_S = 6000.0
"""A recording is decoded whole: 2**28 samples over all channels are 1 GB, 100 minutes of mono at
44.1 kHz. What a header promises is looked at before any memory is taken for it."""

RATES_HZ = (4_000, 768_000)
BLOCK_SAMPLES = 2**22
LOUDEST = 2.0**32
"""Full scale is 1. Integers of 32 bits stored as floats stay within; larger is what was stored as
something else, and its squares overflow."""

CANCELLED = 1e-4
"""A mix this far below its channels in power (40 dB): one of them is the other turned over."""

FORMATS = frozenset({"WAV", "WAVEX", "RF64", "W64", "FLAC", "OGG", "MP3", "AIFF", "CAF", "AU"})
"""Of what libsndfile reads, by its names; most of the rest nobody has recorded a guitar in."""


def read_file(path: Path) -> bytes:
    """The bytes of an audio file; ValueError where it is no file, or too large to be one."""
    state = path.stat()
    if not stat.S_ISREG(state.st_mode):  # a pipe would be waited for, for ever
        raise ValueError("not a file")
    if state.st_size > MAX_FILE_BYTES:
        raise ValueError("larger than 4 GB: cut it in pieces")
    return path.read_bytes()


def missing_bytes(data: bytes) -> int:
    """How many bytes a WAV file's header promises that are not there; 0 of other formats.

    A header that was never brought up to date, as of a recorder that lost its power or a program
    that wrote into a pipe, promises nothing (0) or all that there can be.
    """
    if data[:4] != b"RIFF" or data[8:12] != b"WAVE":
        return 0
    promised = int.from_bytes(data[4:8], "little")
    missing = promised + 8 - len(data)
    return missing if missing > MISCOUNTED_BYTES and promised < UNKNOWN_BYTES else 0


UNKNOWN_BYTES = 2**31 - 2**16
"""From here on a RIFF size is a placeholder: ffmpeg writes 2**32 - 1, SoX about 2**31."""

MISCOUNTED_BYTES = 4096
"""Some programs count a header or their own notes once too often; a cut loses more than that."""


def read_mono(data: bytes, most_s: float | None = None) -> tuple[Audio, int, dict[str, Fact]]:
    """Decode a file's bytes: mono float32 [N], sample rate in Hz, and its format.

    Channels are averaged. Raises soundfile.SoundFileError for what it cannot read, ValueError for
    a format, rate or length that is not used here, or channels that cancel each other; TooLongError
    for more than ``most_s``.
    """
    with soundfile.SoundFile(io.BytesIO(data)) as file:
        _check_header(file, most_s)
        facts: dict[str, Fact] = {"channels": file.channels, "subtype": file.subtype}
        sample_rate_hz = int(file.samplerate)
        known = file.frames <= _longest(file)
        mono, n, powers = np.empty(file.frames if known else 0, np.float32), 0, []
        for block, power in _mono_blocks(file, most_s):
            if n + len(block) > len(mono):  # its header did not know how long it is
                mono.resize(n + len(block), refcheck=False)
            mono[n : n + len(block)] = block
            n += len(block)
            powers.append(power)
    mono = mono[:n]
    if np.vdot(mono, mono) < CANCELLED * sum(powers):
        raise ValueError("its channels cancel each other when mixed: keep only one of them")
    return mono, sample_rate_hz, facts


def no_sound(audio: Audio) -> npt.NDArray[np.intp]:
    """Places of the samples [N] that are no numbers, or far beyond full scale."""
    if audio.min(initial=0.0) >= -LOUDEST and audio.max(initial=0.0) <= LOUDEST:
        return np.empty(0, np.intp)
    return np.flatnonzero(~((audio >= -LOUDEST) & (audio <= LOUDEST)))


def _check_header(file: soundfile.SoundFile, most_s: float | None) -> None:
    if file.format not in FORMATS:
        raise ValueError(f"format {file.format} is not read here: save it as WAV or FLAC")
    low, high = RATES_HZ
    if not low <= file.samplerate <= high:
        raise ValueError(
            f"a sample rate of {file.samplerate} Hz, expected {low} to {high}: record it at 44100"
        )
    longest = _longest(file)
    # Compressed formats may say that they do not know, which reads as a number beyond all.
    if file.frames > longest and file.format != "OGG":
        raise ValueError(
            f"too long: {file.frames} samples in {file.channels} channel(s), expected "
            f"{longest:.0f} at most; cut it in pieces"
        )
    if file.frames <= longest:  # else it is not known
        _check_length(file.frames / file.samplerate, most_s)


def _longest(file: soundfile.SoundFile) -> float:
    longest: float = min(MAX_SAMPLES // file.channels, MAX_DURATION_S * file.samplerate)
    return longest


def _check_length(seconds: float, most_s: float | None) -> None:
    if most_s is not None and seconds > most_s:
        raise TooLongError(seconds, most_s)


def _mono_blocks(file: soundfile.SoundFile, most_s: float | None) -> Iterator[tuple[Audio, float]]:
    """As many samples as the file really has, block by block, whatever its header says.

    Beside each block the energy of its channels on average; 0 where there is but one.
    """
    n_block = max(1, BLOCK_SAMPLES // file.channels)
    n_block = min(n_block, max(1, file.frames))
    longest, total = _longest(file), 0
    while True:
        frames = file.read(n_block, dtype="float32", always_2d=True)
        total += len(frames)
        _check_length(total / file.samplerate, most_s)
        if total > longest:
            raise ValueError(f"too long: more than {longest:.0f} samples; cut it in pieces")
        mono, power = frames[:, 0], 0.0
        if frames.shape[1] > 1:
            mono = frames.mean(axis=1, dtype=np.float32)
            power = float(np.vdot(frames, frames)) / frames.shape[1]
        yield np.ascontiguousarray(mono, dtype=np.float32), power
        if len(frames) < n_block or total >= file.frames:
            return
