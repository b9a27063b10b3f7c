"""Owns finding one performance on two sides of a split: copies that no name gives away.

A copy is the same audio encoded again, trimmed, louder or softer, at another rate, a little
equalised. Another take of the same note, another pickup or a microphone beside it is none: only a
name can tell that, and groups are made of names.

Measured on 406 single notes of two electric guitars (Emilyguitar and Black And Green Guitars by
Karoryfer, CC0, round robins at four dynamics), likeness of the best alignment:

==============================================  =====  =======  =======  =======  =======
pairs                                           n      median   99 %     largest  flagged
==============================================  =====  =======  =======  =======  =======
takes of a note at one dynamic                    298  0.335    0.967    0.976    0
takes of a note at two dynamics                  1081  0        0.896    0.954    0
different notes (of 80836, 656 pass SAME_NOTES)   656  0        0        0        0
==============================================  =====  =======  =======  =======  =======

==============================================  =====  =======  =======  =======  =======
copies of notes of 1.5 s or more                n      median   5 %      1 %      flagged
==============================================  =====  =======  =======  =======  =======
48, 16 or 11 kHz                                  516  1.000    1.000    1.000    100 %
shelves and a bell of 3 dB                        172  1.000    0.998    0.997    100 %
MP3, libsndfile's default (54 kbit/s)             172  0.999    0.995    0.993    99.4 %
Ogg Vorbis, default (67 kbit/s)                   172  0.998    0.989    0.982    98.8 %
20 dB softer, in 16 bit                           172  1.000    0.999    0.994    99.4 %
0.1 s less at both ends                           172  1.000    1.000    1.000    99.4 %
0.5 s less at both ends                           172  1.000    1.000    0.943    96.5 %
1 s less at both ends (of 3.5 s)                  172  1.000    0.988    0.600    95.3 %
shelves and a bell of 6 dB                        172  0.999    0.977    0.928    93.6 %
3 dB, 0.3 s less, 48 kHz and MP3 at 44 kbit/s     172  0.993    0.970    0.942    90.1 %
Ogg Vorbis, nearly its worst (47 kbit/s)          172  0.986    0.961    0.940    64.5 %
MP3, nearly its worst (35 kbit/s)                 172  0.981    0.932    0        51.7 %
==============================================  =====  =======  =======  =======  =======

28 pieces of music of 11 to 24 s (24 of them synthetic): no pair of different ones is flagged; all
their MP3, Ogg, 48 kHz and 3 dB copies are, and their first half; 93 % of middle halves and 86 % of
last thirds, because only four excerpts of a recording are compared.

One core of an AMD EPYC: 4 s for 691 recordings of 3.5 s, 67 s and 0.4 GB for 4,836.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import soundfile

from fxpipe.recording import read_file, read_mono
from fxpipe.sources.base import Item
from fxpipe.sources.likeness import Course, Excerpt, alignments, course_of, excerpts, likeness
from fxpipe.sources.likeness import profile as profile_of
from fxpipe.sources.scan import with_progress

SAME_NOTES = 0.75
SAME_COURSE = 0.6
"""Cheap gates: product of two profiles, similarity of an alignment; below, nobody looks on."""

SAME_PERFORMANCE = 0.98
"""Likeness of a copy. The nearest two takes came to 0.976."""

N_KEPT_COURSES = 256


@dataclass(frozen=True)
class Copy:
    """Two recordings that hold one performance."""

    item: Item
    other: Item
    likeness: float


@dataclass(frozen=True)
class Search:
    """``unread``: recordings that are not where they were, or not what they were."""

    copies: tuple[Copy, ...]
    n_compared: int
    unread: tuple[Item, ...]


def find_copies(
    items: Iterable[Item], splits: Mapping[str, str], *, progress: bool = False
) -> Search:
    """Recordings of different groups on different sides (``splits``: group -> side)."""
    waves: list[Excerpt] = []
    owners: list[Item] = []
    unread: list[Item] = []
    for item in with_progress(list(items), "hear", progress):
        found = _hear(item)
        if not found:
            unread.append(item)
        waves += found
        owners += [item] * len(found)
    best: dict[tuple[str, str], Copy] = {}
    course = lru_cache(N_KEPT_COURSES)(lambda k: course_of(waves[k]))
    for k, other in _near(waves, owners, splits):
        one, two = owners[k], owners[other]
        known = best.get((one.item_id, two.item_id))
        if known is None or known.likeness < SAME_PERFORMANCE:
            alike = best_likeness(waves[k], waves[other], course(k), course(other))
            if known is None or alike > known.likeness:
                best[one.item_id, two.item_id] = Copy(one, two, alike)
    copies = [copy for copy in best.values() if copy.likeness >= SAME_PERFORMANCE]
    copies.sort(key=lambda copy: (copy.item.item_id, copy.other.item_id))
    n_compared = len({item.item_id for item in owners})
    return Search(tuple(copies), n_compared, tuple(unread))


def best_likeness(a: Excerpt, b: Excerpt, course_a: Course, course_b: Course) -> float:
    """Of two excerpts at the best of their alignments; 0 where none is likely."""
    best = 0.0
    for place in alignments(course_a, course_b):
        if place.similarity >= SAME_COURSE and best < SAME_PERFORMANCE:
            best = max(best, likeness(a, b, place.lag_s))
    return best


def _hear(item: Item) -> tuple[Excerpt, ...]:
    """Nothing where the recording has gone or changed."""
    try:
        data = read_file(Path(item.uri))
        if hashlib.sha256(data).hexdigest() != item.meta.get("sha256"):
            return ()
        audio, sample_rate_hz, _ = read_mono(data)
        lead_in = round(float(item.meta.get("lead_in_s", 0.0)) * sample_rate_hz)
    except (OSError, ValueError, soundfile.SoundFileError):
        return ()
    return excerpts(audio[lead_in:], sample_rate_hz)


def _near(
    waves: list[Excerpt], owners: list[Item], splits: Mapping[str, str]
) -> Iterable[tuple[int, int]]:
    """Pairs of excerpts with the same notes on different sides, which means different groups.

    By pitch, so that one excerpt's pairs come soon after one another.
    """
    if not waves:
        return
    profiles = np.stack([profile_of(wave) for wave in waves])  # [excerpts, semitones]
    order = np.argsort(profiles.argmax(axis=1), kind="stable")
    profiles = profiles[order]
    sides = np.array([splits[owners[k].group] for k in order])
    for k in range(len(order)):
        near = (profiles[k + 1 :] @ profiles[k] >= SAME_NOTES) & (sides[k + 1 :] != sides[k])
        for other in np.flatnonzero(near) + k + 1:
            one, two = sorted((int(order[k]), int(order[other])))
            yield one, two
