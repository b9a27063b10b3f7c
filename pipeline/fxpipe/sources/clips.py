"""Owns taking a clip out of a recording: where it may start, and reading it at the codec's rate."""

from __future__ import annotations

import bisect
import functools
import hashlib
import threading
from pathlib import Path

import cachetools
import numpy as np
import numpy.typing as npt
import soundfile
import soxr

from fxpipe.errors import SourceError
from fxpipe.memory import bytes_a_core
from fxpipe.recording import Audio, read_file, read_mono
from fxpipe.sources.base import Item

MIN_SOUND_S = 0.5

LEAST_CACHE_BYTES, MOST_CACHE_BYTES = 256_000_000, 1_000_000_000
"""290 notes of 5 s, and 1,130 (EGFxSet has 690 clean ones)."""


def cache_bytes(share: int) -> int:
    """For recordings that a process keeps decoded: an eighth of its ``share`` of the memory."""
    return min(max(share // 8, LEAST_CACHE_BYTES), MOST_CACHE_BYTES)


CACHE_BYTES = cache_bytes(bytes_a_core())


def pick_start(item: Item, u: float, clip_s: float) -> float:
    """Map a uniform draw ``u`` in [0, 1) to the second of ``item`` where a clip starts. Pure.

    The start lies in a sounding region, and at least 0.5 s of the clip sounds (half the clip, or
    half of all that sounds, where those are shorter). A clip stays inside its file where the
    file has such a place. Every allowed start is equally likely.
    """
    if not item.sounding:
        raise SourceError(f"{item.item_id}: no sounding region; scan the source again")
    starts = _starts(item.sounding, item.duration_s, clip_s)
    if isinstance(starts, float):
        return starts
    left, width, room, filled = starts
    target = u * filled[-1]
    k = bisect.bisect_right(filled, target)
    into = target - (filled[k] - room[k])
    return left[k] + width[k] + into


Starts = tuple[list[float], list[float], list[float], list[float]]


@functools.lru_cache(maxsize=8192)
def _starts(
    sounding: tuple[tuple[float, float], ...], duration_s: float, clip_s: float
) -> Starts | float:
    """Where clips of a recording may start: of each stretch its left edge, how far from there
    the first start lies, how much room there is, and all room up to its end. A number: the one
    place there is."""
    edges = np.asarray(sounding, dtype=np.float64).ravel()  # on, off, on, off, …
    lengths = np.diff(edges)
    lengths[1::2] = 0.0
    heard = np.concatenate([[0.0], np.cumsum(lengths)])
    need = min(MIN_SOUND_S, clip_s / 2, float(heard[-1]) / 2)

    def sound_in_clip(start: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        heard_before = np.interp([start, start + clip_s], edges, heard)  # [2, …]
        return np.asarray(heard_before[1] - heard_before[0], dtype=np.float64)

    # The sound in a clip is linear in its start between these points.
    last = duration_s - clip_s
    points = np.concatenate([edges, edges - clip_s, [last]])
    points = np.unique(np.clip(points, edges[0], edges[-1]))
    left, right = points[:-1], points[1:]
    at_left, at_right = sound_in_clip(left), sound_in_clip(right)
    rise = at_right - at_left
    crossing = np.clip((need - at_left) / np.where(rise == 0, 1.0, rise), 0.0, 1.0)
    enough_left, enough_right = at_left >= need - 1e-9, at_right >= need - 1e-9
    begin = np.where(enough_left, 0.0, np.where(enough_right, crossing, 1.0))
    end = np.where(enough_right, 1.0, np.where(enough_left, crossing, 0.0))
    in_region = np.searchsorted(edges, (left + right) / 2) % 2 == 1
    room = np.where(in_region, np.maximum(end - begin, 0.0) * (right - left), 0.0)
    inside = np.where(right <= last, room, 0.0)
    if inside.sum() > 0:
        room = inside
    if room.sum() <= 0:
        return float(edges[::2][np.argmax(sound_in_clip(edges[::2]))])
    return (
        left.tolist(),
        (begin * (right - left)).tolist(),
        room.tolist(),
        np.cumsum(room).tolist(),
    )


def read_clip(
    item: Item, *, start: float, n_samples: int, run_in_samples: int, sample_rate_hz: int
) -> Audio:
    """Mono float32 [run_in + n] of ``item`` at ``sample_rate_hz``; ``start`` in seconds.

    The run-in is the recording before the clip, zeros where there is none; past the end follow
    zeros. Raises SourceError where the file has gone or changed since the scan.
    """
    audio = read_recording(item, sample_rate_hz)
    first = round(start * sample_rate_hz) - run_in_samples
    stop = first + run_in_samples + n_samples
    clip = np.zeros(stop - first, dtype=np.float32)
    low, high = max(first, 0), min(stop, len(audio))
    if high > low:
        clip[low - first : high - first] = audio[low:high]
    return clip


def read_recording(item: Item, sample_rate_hz: int) -> Audio:
    """All of ``item``, mono float32 [N], not to be written to; silence where it has a lead-in.

    A file is decoded and resampled (soxr HQ) whole; what was read last is kept, as much as goes
    into ``CACHE_BYTES``. Raises SourceError where the file has gone, or is not byte for byte what
    the scan saw: its hash is part of the data set's identity.
    """
    try:
        state = Path(item.uri).stat()
    except OSError as error:
        raise SourceError(
            f"{item.item_id}: cannot read {item.uri} ({error.strerror}); put the file back, "
            "or render again to scan the source anew"
        ) from error
    audio: Audio = _load(
        item.uri,
        (state.st_size, state.st_mtime_ns),
        str(item.meta.get("sha256")),
        float(item.meta.get("lead_in_s", 0.0)),
        sample_rate_hz,
    )
    return audio


def _kept_bytes(audio: Audio) -> int:
    """A recording larger than the cache is kept too, alone: many clips are cut from it in turn."""
    return min(audio.nbytes, CACHE_BYTES)


_kept: cachetools.LRUCache[tuple[object, ...], Audio] = cachetools.LRUCache(
    CACHE_BYTES, getsizeof=_kept_bytes
)


@cachetools.cached(_kept, lock=threading.Lock())
def _load(
    uri: str,
    file_state: tuple[int, int],  # size and mtime: a file written anew is read anew
    sha256: str,
    lead_in_s: float,
    sample_rate_hz: int,
) -> Audio:
    try:
        data = read_file(Path(uri))
        if hashlib.sha256(data).hexdigest() != sha256:
            raise SourceError(
                f"{uri}: its bytes are not those that the scan saw (sha256 {sha256[:12]}…): put "
                "that file back, or render again to scan the source anew"
            )
        audio, own_rate_hz, _ = read_mono(data)
    except (soundfile.SoundFileError, OSError, ValueError) as error:
        raise SourceError(f"{uri}: cannot be read any more: {error}; restore the file") from error
    audio[: round(lead_in_s * own_rate_hz)] = 0.0
    if own_rate_hz != sample_rate_hz:
        audio = soxr.resample(audio, own_rate_hz, sample_rate_hz, quality="HQ")
    audio.setflags(write=False)
    return audio
