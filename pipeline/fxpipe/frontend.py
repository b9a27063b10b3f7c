"""The frontend fxtrain finds by its entry point: files in, tokens out, chains back to audio.

Whoever names the pedals on one clip waits for what is imported here: only what hearing takes.
"""

from __future__ import annotations

import io
import math
import os
from collections.abc import Callable, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from fxpipe.clues import clue_info
from fxpipe.codec import Codec, load_codec
from fxpipe.codec.unheard import Unheard
from fxpipe.ears import features
from fxpipe.errors import CodecError, SourceError
from fxpipe.guitar.check import PICTURE, RATE_HZ, strangeness
from fxpipe.level import LEVEL_RULE, loudness_lufs, normalise
from fxpipe.windows import sounding_windows
from fxtrain.contract import (
    NOT_RUN,
    BoardFile,
    Chain,
    CodecInfo,
    Features,
    Frontend,
    Hearing,
    Nearness,
    PedalEntry,
    Record,
    RemadeClip,
    UsageError,
    n_cores,
    unknown_name,
)

for _name in ("pedalboard", "soundfile", "soxr", "scipy"):
    # Said where this module is loaded: they are imported late, when nobody expects it any more.
    if find_spec(_name) is None:
        raise ModuleNotFoundError(f"No module named {_name!r}", name=_name)

PEDALS_VARIABLE = "FXPIPE_PEDALS"
"""A TOML file of VST3 pedals (docs/vst3.md); ``fxpipe render --pedals`` reads the same variable."""


def open_frontend(hearing: Hearing | None = None) -> Frontend:
    """Ears set up as in training; refuses when this installation would hear something else.

    Without ``hearing`` no codec is loaded: files, pedals and measures only.
    """
    if PEDALS_VARIABLE in os.environ:
        from fxpipe.config import load_pedals

        load_pedals(Path(os.environ[PEDALS_VARIABLE]))
    if hearing is None:
        return PipelineFrontend(None, None)
    if hearing.level != LEVEL_RULE:
        raise CodecError("the model was trained with another level rule; train it again")
    if hearing.clues not in (None, clue_info(hearing.codec)):
        raise CodecError(
            "the model was trained with other clues of the wave than this version makes; encode "
            "and train again"
        )
    return PipelineFrontend(hearing, _codec_of(hearing.codec))


def _codec_of(info: CodecInfo) -> Codec | Unheard:
    """The codec with the weights of ``info``; without weights where it is not to be run."""
    if info.precision == NOT_RUN:
        return Unheard(info)
    codec = load_codec(
        info.name,
        precision="fp32",
        n_threads=n_cores(),
        sha256=info.weights_sha256,
    )
    if codec.info.weights_sha256 != info.weights_sha256:
        raise CodecError(
            f"codec {info.name!r} here has weights {codec.info.weights_sha256[:12]}, "
            f"the model was trained with {info.weights_sha256[:12]}; fetch those weights, "
            "or train again"
        )
    return codec


class PipelineFrontend:
    def __init__(self, hearing: Hearing | None, codec: Codec | Unheard | None) -> None:
        self._hearing = hearing
        self._codec = codec

    def __reduce__(self) -> tuple[Callable[[Hearing | None], Frontend], tuple[Hearing | None]]:
        """It crosses to another process by what it was opened with, and is opened anew there."""
        return open_frontend, (self._hearing,)

    def read(self, path: str | os.PathLike[str]) -> tuple[np.ndarray, int]:
        from fxpipe.recording import read_file

        where = os.fspath(path)
        try:
            data = read_file(Path(path))
        except FileNotFoundError:
            raise SourceError(f"{where}: no such file") from None
        except (OSError, ValueError) as error:
            reason = (isinstance(error, OSError) and error.strerror) or error
            raise SourceError(f"{where}: cannot be read ({reason})") from None
        try:
            return _decoded(data)
        except SourceError as error:
            raise SourceError(f"{where}: {error}") from None

    def decode(self, data: bytes, most_s: float | None = None) -> tuple[np.ndarray, int]:
        try:
            return _decoded(data, most_s)
        except SourceError as error:
            raise SourceError(f"this {error}") from None

    def encode(self, wave: np.ndarray, sample_rate_hz: int) -> Features:
        """Windows of the training length; silent ones are left out."""
        hearing, codec = self._hearing, self._codec
        if hearing is None or codec is None:
            raise CodecError("this frontend was opened without a codec: open it with a hearing")
        wave, sample_rate_hz = _mono(wave, sample_rate_hz)
        n = round(hearing.n_audio_samples * sample_rate_hz / hearing.codec.sample_rate_hz)
        windows = sounding_windows(wave, sample_rate_hz, n)
        also = PICTURE if codec.info.sample_rate_hz == RATE_HZ else None
        heard = features(windows.waves, sample_rate_hz, codec, hearing.mel, also, hearing.clues)
        strange = strangeness(windows.waves, sample_rate_hz, heard.pictures)
        return Features(
            heard.codes,
            heard.mel,
            tuple(start / sample_rate_hz for start in windows.starts),
            length_s=len(wave) / sample_rate_hz,
            n_silent=windows.n_silent,
            n_passed_over=windows.n_passed_over,
            strangeness=strange,
            sample_rate_hz=sample_rate_hz,
            clues=heard.clues,
        )

    def render(self, dry: np.ndarray, sample_rate_hz: int, chain: Chain) -> np.ndarray:
        from fxpipe.render import play

        dry, sample_rate_hz = _mono(dry, sample_rate_hz)
        wave = dry.astype(np.float32)
        for pedal in chain.pedals:
            wave = play(pedal, wave, sample_rate_hz)
        return wave

    def pedals(self) -> tuple[PedalEntry, ...]:
        from fxpipe.pedals import PEDALS

        return tuple(spec.entry(name) for name, spec in PEDALS.items())

    def dry(self, seed: int, duration_s: float) -> tuple[np.ndarray, int]:
        from fxpipe.sources.synth import SAMPLE_RATE_HZ, perform

        n_samples = round(duration_s * SAMPLE_RATE_HZ)
        return perform(np.random.default_rng(seed), n_samples)[0], SAMPLE_RATE_HZ

    def loudness_lufs(self, wave: np.ndarray, sample_rate_hz: int) -> float:
        return loudness_lufs(*_mono(wave, sample_rate_hz))

    def distance_db(self, one: np.ndarray, other: np.ndarray, sample_rate_hz: int) -> float:
        from fxpipe.distance import mel_distance_db

        (one, _), (other, rate) = _mono(one, sample_rate_hz), _mono(other, sample_rate_hz)
        if len(one) != len(other):
            raise UsageError(
                f"waves of {len(one)} and {len(other)} samples: cut them to one length"
            )
        return mel_distance_db(one, other, rate)

    def nearness(self, true: np.ndarray, other: np.ndarray, sample_rate_hz: int) -> Nearness:
        from fxpipe.nearness import nearness

        (true, _), (other, rate) = _mono(true, sample_rate_hz), _mono(other, sample_rate_hz)
        return nearness(true, other, rate)

    def remake(
        self, record: Record, recipe: Mapping[str, Any], renders: str | None = None
    ) -> RemadeClip:
        from fxpipe.remake import remake

        return remake(record, recipe, renders)

    def flac(self, wave: np.ndarray, sample_rate_hz: int) -> tuple[bytes, float]:
        import soundfile

        wave, sample_rate_hz = _mono(wave, sample_rate_hz)
        file = io.BytesIO()
        levelled, lufs = normalise(wave, sample_rate_hz)
        soundfile.write(file, levelled, sample_rate_hz, format="FLAC", subtype="PCM_16")
        if math.isfinite(lufs):
            lufs += 20 * math.log10(np.abs(levelled).max() / np.abs(wave).max())
        return file.getvalue(), lufs

    def example(self, names: Sequence[str]) -> Chain:
        from fxpipe.pedals import PEDALS

        names = tuple(names)
        for name in names:
            if name not in PEDALS:
                raise UsageError(unknown_name("pedal", name, PEDALS))
        return Chain(tuple(PEDALS[name].example(name) for name in names))

    def board_files(
        self, chain: Chain, title: str, remarks: Sequence[str]
    ) -> tuple[BoardFile, ...]:
        from fxpipe.boards import board_files

        return board_files(chain, title, remarks)


def _mono(wave: np.ndarray, sample_rate_hz: int) -> tuple[np.ndarray, int]:
    """A wave and its rate as they were given, the rate as an int. UsageError for what would be
    heard as something else: integers, channels, samples that are no numbers, a rate in kHz."""
    from fxpipe.recording import RATES_HZ, no_sound

    audio = np.asarray(wave)
    if audio.ndim != 1 or audio.dtype.kind != "f":
        raise UsageError(
            f"a wave of {audio.dtype} {list(audio.shape)}, expected floats [N]: divide integers by "
            "their full scale, and give one channel"
        )
    if len(bad := no_sound(audio)):
        raise UsageError(
            f"a wave with {len(bad)} samples of {len(audio)} that are no numbers or far beyond "
            f"full scale, the first at {bad[0]}; full scale is 1"
        )
    low, high = RATES_HZ
    if not low <= sample_rate_hz <= high:
        raise UsageError(f"a sample rate of {sample_rate_hz} Hz, expected {low} to {high}")
    return audio, int(sample_rate_hz)


NOT_RECOGNISED = 1
"""libsndfile's number for a format that it does not know."""


def _decoded(data: bytes, most_s: float | None = None) -> tuple[np.ndarray, int]:
    """A file's bytes as mono samples. SourceError: what is wrong with "it", and what helps."""
    import soundfile

    from fxpipe.recording import missing_bytes, no_sound, read_mono

    if not data:
        raise SourceError("is empty (0 bytes); copy it again")
    try:
        audio, sample_rate_hz, _ = read_mono(data, most_s)
    except soundfile.SoundFileError as error:
        reason = str(error).split(": ")[-1].rstrip(".")  # behind the object that it was given
        if getattr(error, "code", NOT_RECOGNISED) == NOT_RECOGNISED:
            what = f"cannot be read as audio ({reason}); save it as WAV or FLAC"
        else:
            what = f"is damaged ({reason}); copy it or export it again"
        raise SourceError(what) from None
    except ValueError as error:
        raise SourceError(f"cannot be used: {error}") from None
    if not len(audio):
        raise SourceError("holds no sound (0 samples); record it again")
    if missing := missing_bytes(data):
        raise SourceError(f"is cut short: {missing} bytes of it are missing; copy it again")
    bad = no_sound(audio)
    if len(bad):
        raise SourceError(
            f"holds {len(bad)} samples of {len(audio)} that are no numbers or far beyond full "
            f"scale, the first at {bad[0] / sample_rate_hz:.2f} s; export it again, as 16- or "
            "24-bit WAV"
        )
    return audio, sample_rate_hz
