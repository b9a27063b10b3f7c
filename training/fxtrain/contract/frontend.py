"""The protocol behind which ears and pedals live: the trainer asks, fxpipe provides.

A frontend is found through the entry-point group ``fxtrain.frontends``; without the pipeline
installed :func:`open_frontend` says which extra brings it.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import entry_points
from typing import Any, Protocol, cast

import numpy as np

from fxtrain.contract.chain import Chain, PedalEntry
from fxtrain.contract.errors import FxError, MissingExtraError, to_install
from fxtrain.contract.schema import ClueInfo, CodecInfo, LevelRule, MelInfo
from fxtrain.contract.serde import Record

ENTRY_POINT_GROUP = "fxtrain.frontends"


class TooLongError(FxError):
    """``seconds`` of sound, as far as a file says before it is decoded: more than was asked for."""

    def __init__(self, seconds: float, most_s: float) -> None:
        super().__init__(f"this is {seconds:.1f} s of sound, {most_s:g} s at most can be used")
        self.seconds, self._most_s = seconds, most_s

    def __reduce__(self) -> tuple[type[TooLongError], tuple[float, float]]:
        """An error crosses to another process by what it was made of."""
        return type(self), (self.seconds, self._most_s)


@dataclass(frozen=True)
class Hearing:
    """All that decides what a model heard in training and must hear again."""

    codec: CodecInfo
    mel: MelInfo | None
    level: LevelRule
    n_audio_samples: int
    clues: ClueInfo | None = None


@dataclass(frozen=True)
class Features:
    """Windows of one recording: ``codes`` uint16 [B, K, T], ``mel`` uint8 [B, M, T] or None,
    ``clues`` uint8 [B, C] or None.

    length_s: of the recording, 0 where it is not known. Left out of it: ``n_silent`` windows, and
    ``n_passed_over`` that sound, because there are enough without them.
    strangeness: of each window, how little it sounds like a guitar: above 0 it probably is none.
    None where nobody looked. sample_rate_hz: of the recording, before it was resampled; 0 where
    that is not known.
    """

    codes: np.ndarray
    mel: np.ndarray | None
    starts_s: tuple[float, ...]
    length_s: float = 0.0
    n_silent: int = 0
    n_passed_over: int = 0
    strangeness: tuple[float, ...] | None = None
    sample_rate_hz: int = 0
    clues: np.ndarray | None = None

    def windows(self, which: Sequence[int] | np.ndarray) -> Features:
        """The same recording, of which only these windows are heard: their numbers, or a mask."""

        def some(rows: Any) -> Any:
            return None if rows is None else np.asarray(rows)[which]

        strangeness = some(self.strangeness)
        return replace(
            self,
            codes=some(self.codes),
            mel=some(self.mel),
            clues=some(self.clues),
            starts_s=tuple(some(self.starts_s).tolist()),
            strangeness=None if strangeness is None else tuple(strangeness.tolist()),
        )

    @staticmethod
    def together(parts: Sequence[Features]) -> Features:
        """Several recordings of one chain as one: their windows, with what all of them have beside
        the codes; of the rest, what the first says."""

        def joined(rows: Sequence[np.ndarray | None]) -> np.ndarray | None:
            there = [each for each in rows if each is not None]
            return np.concatenate(there) if len(there) == len(rows) else None

        looked = all(part.strangeness is not None for part in parts)
        strange = (each for part in parts for each in part.strangeness or ())
        return replace(
            parts[0],
            codes=np.concatenate([part.codes for part in parts]),
            mel=joined([part.mel for part in parts]),
            clues=joined([part.clues for part in parts]),
            starts_s=tuple(start for part in parts for start in part.starts_s),
            strangeness=tuple(strange) if looked else None,
        )


@dataclass(frozen=True)
class RemadeClip:
    """A sample's audio, made again: ``dry`` float32 [run-in + N] at the level it was played in,
    ``wet`` float32 [N] as the codec heard it before levelling, ``chain`` what is between them."""

    dry: np.ndarray
    wet: np.ndarray
    sample_rate_hz: int
    n_run_in: int
    chain: Chain


@dataclass(frozen=True)
class Nearness:
    """How near one sound is to another: ``si_sdr_db`` higher is nearer, of the rest lower.

    ``mr_stft`` and ``mel_stft`` have no unit; ``loudness_db`` is the difference of the two.
    """

    si_sdr_db: float
    mr_stft: float
    mel_stft: float
    loudness_db: float


NEARNESS_LIMITS = {
    "si_sdr_db": (-30.0, 60.0),
    "mr_stft": (0.0, math.inf),
    "mel_stft": (0.0, math.inf),
    "loudness_db": (0.0, 60.0),
}
"""What a measure of nearness can be. Equal waves would be infinitely near, waves that share nothing
infinitely far; a silent wave would be infinitely quieter."""


@dataclass(frozen=True)
class BoardFile:
    """A chain as a file of another program: ``format`` names it, ``what`` says what it is for.

    ``name`` may hold folders, for a bundle of files. ``notes``: what the format cannot say.
    """

    format: str
    name: str
    data: bytes
    what: str
    notes: tuple[str, ...] = ()


class Frontend(Protocol):
    """A wave is one channel of floats, full scale at 1; another is refused with a UsageError."""

    def read(self, path: str | os.PathLike[str]) -> tuple[np.ndarray, int]:
        """(mono float32 [N], sample rate in Hz) of an audio file."""

    def decode(self, data: bytes, most_s: float | None = None) -> tuple[np.ndarray, int]:
        """The same of a file's bytes, which an FxError refuses without a name; a TooLongError,
        before it is decoded, what holds more than ``most_s``."""

    def encode(self, wave: np.ndarray, sample_rate_hz: int) -> Features:
        """Tokens of every sounding window of ``wave`` [N]."""

    def render(self, dry: np.ndarray, sample_rate_hz: int, chain: Chain) -> np.ndarray:
        """float32 [N]: ``dry`` through the chain, no level change of its own."""

    def pedals(self) -> tuple[PedalEntry, ...]:
        """Every pedal that can be rendered."""

    def dry(self, seed: int, duration_s: float) -> tuple[np.ndarray, int]:
        """(float32 [N], sample rate in Hz) of the built-in guitar, dry; a seed plays one phrase."""

    def example(self, names: Sequence[str]) -> Chain:
        """These pedals as a guitarist would first set them."""

    def board_files(
        self, chain: Chain, title: str, remarks: Sequence[str]
    ) -> tuple[BoardFile, ...]:
        """The chain as files of other programs; each carries the remarks where it can."""

    def loudness_lufs(self, wave: np.ndarray, sample_rate_hz: int) -> float:
        """Integrated loudness of ``wave`` [N] by ITU-R BS.1770; -inf for silence."""

    def distance_db(self, one: np.ndarray, other: np.ndarray, sample_rate_hz: int) -> float:
        """How far apart two waves [N] sound, whatever their volume: mean |dB| of log-mel."""

    def nearness(self, true: np.ndarray, other: np.ndarray, sample_rate_hz: int) -> Nearness:
        """``other`` [N] measured against ``true`` [N], which must not be silent."""

    def remake(
        self, record: Record, recipe: Mapping[str, Any], renders: str | None = None
    ) -> RemadeClip:
        """The audio of a sample of shards with this recipe; ``renders`` is where it was encoded
        from, which recordings need. An FxError where that cannot be."""

    def flac(self, wave: np.ndarray, sample_rate_hz: int) -> tuple[bytes, float]:
        """(16-bit FLAC file of ``wave`` [N] at the level rule's loudness, to listen to; how loud it
        is in LUFS, which may be less where peaks forbid more, and is -inf for silence)."""


def open_frontend(hearing: Hearing | None = None) -> Frontend:
    """The installed frontend, set up to hear as ``hearing`` says, with one thread a core.

    Without ``hearing`` it has no codec: files, pedals and measures, but no ``encode``. Where
    ``hearing.codec.precision`` is ``NOT_RUN`` it needs no weights, and every code it gives is
    ``MISSING_CODE``.
    """
    return find_frontend()(hearing)


def find_frontend() -> Callable[[Hearing | None], Frontend]:
    """What opens the installed frontend. MissingExtraError where it, or what it is made of, is not
    installed."""
    for entry_point in entry_points(group=ENTRY_POINT_GROUP):
        try:
            return cast(Callable[[Hearing | None], Frontend], entry_point.load())
        except ImportError as error:
            raise MissingExtraError(
                f"hearing audio needs the pipeline, and {error.name or error} is not installed: "
                f"{to_install('pipeline')}"
            ) from None
    raise MissingExtraError(
        f"hearing audio needs the pipeline, which is not installed: {to_install('pipeline')}"
    )
