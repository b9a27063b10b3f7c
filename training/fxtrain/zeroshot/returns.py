"""What came back: a recording, its markers, its level, and the clips cut out of it.

Everything that may be wrong with it has one line: what was found and what to do. What can be put
right (another sample rate than the file says, another take, a clock that runs off) is.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fxtrain.contract import Frontend, FxError
from fxtrain.zeroshot.form import Kit, Take
from fxtrain.zeroshot.manifest import Row
from fxtrain.zeroshot.marker import Found, find_markers

SILENT_DBFS, QUIET_DBFS = -60.0, -40.0
HISS_DB = 20.0
"""Silence before the chirp this little below the guitar is said."""

CLIPPED_RUN, CLIPPED_SAMPLES = 4, 20
FULL_SCALE = 0.995
DRIFT = 2e-4
BYPASSED_DB = 0.5
"""What sounds nearer to the dry clip than this is the dry clip, as order classes have it."""

RATES_HZ = (44_100, 48_000, 88_200, 96_000, 22_050, 32_000, 192_000)
SPARE_S = 120.0
"""A recording may be so much longer than what was played; more is of something else."""

LATE_S = 0.02
"""A recording may end so much before its last clip does."""


class UnusableError(FxError):
    """Why a recording cannot be scored; the others go on."""


@dataclass(frozen=True, eq=False)
class Clip:
    """A clip as it came back, ``wave`` float32 [N], and which of its take's clips it is."""

    wave: np.ndarray
    rate_hz: int
    take: str
    number: int


@dataclass(frozen=True, eq=False)
class Return:
    """A recording that can be scored. ``late_s``: how much later its first chirp begins than the
    dry file's; ``confidence`` of its chirps; both None where no kit was played."""

    row: Row
    clips: tuple[Clip, ...]
    digest: str
    peak_dbfs: float
    late_s: float | None = None
    confidence: float | None = None
    notes: tuple[str, ...] = ()


def check_return(row: Row, kit: Kit | None, folder: Path, frontend: Frontend) -> Return:
    """The clips of a row's recording. UnusableError says why there are none."""
    wave, rate = frontend.read(row.path)
    digest = hashlib.sha256(row.path.read_bytes()).hexdigest()
    peak = _dbfs(float(np.max(np.abs(wave))))
    if peak < SILENT_DBFS:
        raise UnusableError(f"silent (peak {peak:.0f} dBFS); record it again")
    notes = list(_clipping(wave))
    if kit is None:
        return Return(row, (Clip(wave, rate, "", 0),), digest, peak, notes=tuple(notes))
    longest = max(take.length_s for take in kit.takes)
    if len(wave) > (longest + SPARE_S) * rate:
        raise UnusableError(
            f"lasts {len(wave) / rate:.0f} s where {longest:.0f} s were played; cut it to that"
        )
    found, true_rate = _locate(wave, rate, kit)
    if true_rate != rate:
        notes.append(
            f"its chirps say {true_rate} Hz, the file says {rate} Hz; read as {true_rate} Hz"
        )
    take = _take(row, kit, found, notes)
    clips, gone = _cut(wave, true_rate, found, take)
    if not clips:
        raise UnusableError(
            f"ends before a clip is whole ({len(wave) / true_rate:.1f} s, {take.name} has "
            f"{take.length_s:.1f} s); record the whole file"
        )
    if gone:
        whole = f"{len(clips)} of {len(take.clips)} clips are whole"
        side = "begins too late" if found.first_s is None else "ends too early"
        notes.append(f"{side}: {whole}, those are scored")
    notes += _level_notes(wave, true_rate, found, clips)
    if row.names and _is_dry(clips[0], take, folder, frontend):
        notes.append("sounds like the dry guitar; were the pedals on?")
    late = None if found.first_s is None else found.first_s - take.first_marker_s
    return Return(row, tuple(clips), digest, peak, late, found.confidence, tuple(notes))


def _locate(wave: np.ndarray, rate: int, kit: Kit) -> tuple[Found, int]:
    """The markers, and the rate at which they have their length."""
    spans = [take.span_s for take in kit.takes]
    for tried in (rate, *(other for other in RATES_HZ if other != rate)):
        found = find_markers(wave, tried, kit.marker, spans)
        if found is not None and (tried == rate or found.which >= 0):
            return found, tried
    raise UnusableError(
        "no chirp in it: it is of another file, the chirps were cut off, or the pedals drown "
        "them; play the dry file of the kit from its beginning to its end"
    )


def _take(row: Row, kit: Kit, found: Found, notes: list[str]) -> Take:
    """The take that was played, whatever the table says."""
    wanted = kit.take_named(Path(row.dry_file).name)
    if found.which >= 0:
        take = kit.takes[found.which]
        if wanted is not take:
            notes.append(f"is of {take.name}, not of {row.dry_file}; read so")
        return take
    if wanted is None:
        raise UnusableError(
            f"dry_file {row.dry_file!r} is not of the kit "
            f"({', '.join(take.name for take in kit.takes)}), and one chirp is missing"
        )
    return wanted


def _cut(wave: np.ndarray, rate: int, found: Found, take: Take) -> tuple[list[Clip], int]:
    """(clips that are whole, how many are not)."""
    if found.first_s is not None:
        here, there = found.first_s, take.first_marker_s
    else:
        assert found.last_s is not None
        here, there = found.last_s, take.last_marker_s
    stretch = 1 + found.stretch
    clips, gone = [], 0
    for number, clip in enumerate(take.clips):
        start = round((here + (clip.starts_s - there) * stretch) * rate)
        n = round(clip.length_s * stretch * rate)
        if start < 0 or start + n > len(wave) + LATE_S * rate:
            gone += 1
            continue
        clips.append(Clip(wave[start : start + n].copy(), rate, take.name, number))
    return clips, gone


def _clipping(wave: np.ndarray) -> Iterator[str]:
    """Full scale held for several samples: a converter ran out, or the program did."""
    flat = (np.abs(wave[1:]) >= FULL_SCALE) & (np.abs(np.diff(wave)) < 1e-6)
    edges = np.flatnonzero(np.diff(np.concatenate([[0], flat.view(np.int8), [0]])))
    runs = edges[1::2] - edges[::2] + 1
    n = int(runs[runs >= CLIPPED_RUN].sum())
    if n >= CLIPPED_SAMPLES:
        yield (f"clipped: {n} samples stand at full scale; turn the recording down, not the pedals")


def _level_notes(wave: np.ndarray, rate: int, found: Found, clips: list[Clip]) -> Iterator[str]:
    played = np.concatenate([clip.wave for clip in clips])
    peak = _dbfs(float(np.max(np.abs(played))))
    if peak < QUIET_DBFS:
        yield f"very quiet (the guitar peaks at {peak:.0f} dBFS); turn the recording up"
    if found.first_s is not None and found.first_s > 0.2:
        end = round((found.first_s - 0.02) * rate)
        snr = _dbfs(_rms(played)) - _dbfs(_rms(_level(wave[max(0, end - rate // 5) : end])))
        if snr < HISS_DB:
            yield f"noisy: what stands before the chirp is only {snr:.0f} dB below the guitar"
    if found.polarity < 0:
        yield "turned over (polarity); pedals do that, so it is left as it is"
    if abs(found.stretch) > DRIFT:
        word = "fast" if found.stretch > 0 else "slow"  # more samples to the second
        yield f"its clock is {abs(found.stretch) * 1e6:.0f} ppm {word}; allowed for"


def _is_dry(clip: Clip, take: Take, folder: Path, frontend: Frontend) -> bool:
    dry = sent(clip, take, folder, frontend)
    if dry is None:
        return False
    n = min(len(dry), len(clip.wave))
    wet = resampled(clip.wave, len(dry)) if len(dry) != len(clip.wave) else clip.wave
    return frontend.distance_db(dry[:n], wet[:n], take.sample_rate_hz) < BYPASSED_DB


def sent(
    clip: Clip, take: Take, folder: Path, frontend: Frontend, *, run_in: bool = False
) -> np.ndarray | None:
    """The clip as it was played, float32 [N]; None where the dry file is not there any more."""
    path = folder / take.name
    if not path.is_file():
        return None
    wave, rate = frontend.read(path)
    place = take.clips[clip.number]
    start = place.starts_s - (place.run_in_s if run_in else 0.0)
    end = place.starts_s + place.length_s
    return wave[round(start * rate) : round(end * rate)]


def resampled(wave: np.ndarray, n: int) -> np.ndarray:
    """The same sound in ``n`` samples, by its spectrum."""
    spectrum = np.fft.rfft(wave.astype(np.float64))
    return (np.fft.irfft(spectrum, n) * (n / len(wave))).astype(np.float32)


def _level(wave: np.ndarray) -> np.ndarray:
    """Without the slow swing of a pedal that is being switched on."""
    x = np.linspace(-1, 1, len(wave))
    level: np.ndarray = wave - np.polynomial.Polynomial.fit(x, wave, 2)(x)
    return level


def _rms(wave: np.ndarray) -> float:
    return math.sqrt(float(np.mean(np.square(wave, dtype=np.float64)))) if len(wave) else 0.0


def _dbfs(value: float) -> float:
    return 20 * math.log10(max(value, 1e-9))
