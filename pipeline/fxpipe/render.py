"""(dry clip, chain) -> wet audio, pure: knows nothing of dask, files or clocks.

Level policy: the dry clip gets one drawn input level, nothing is reset between pedals (it would
change what order means), and loudness is normalised once, by whoever listens (``level.py``).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import soxr

from fxpipe.amplifier import Amplifier, amplify, draw_amplifier
from fxpipe.chains.chain import ChainSpec, draw_length, draw_names, draw_settings, generator
from fxpipe.distance import change_db, hear
from fxpipe.errors import RenderError
from fxpipe.pedals import build_pedal
from fxpipe.speaker import Speaker, draw_speaker, play_through
from fxtrain.contract import Chain, Pedal, UsageError, from_dict, to_dict

RENDER_VERSION = 2
"""Part of a plan's identity; raise it when the same draws would give other samples.
1: normal noise after the chain, 2: even noise."""

BANDWIDTH_HZ = (3_500.0, 16_000.0)
"""How much of the sound small and old files keep: nearly 4 kHz at the sample rate of telephones,
nearly 16 kHz at 32 kHz."""

PARTS = ("amplifier", "speaker")
"""Of what came after the chain. In its record, an object of numbers, the name of a part stands
before those of its fields."""

ORDERS, SETTINGS = 4, 8
"""How many orders a clip is tried with, and settings for each pedal of one."""

SEATS_AN_ORDER = 4096
"""Room in the numbering of draws: 255 pedals with 8 settings each, and the first draw."""

Range = tuple[float, float]

YOUNGER = ("guitars", "band_limited", "speakers", "amplifiers")
"""Settings that the first identities, of renders and of shards, did not have."""

MAX_CLASS_LENGTH = 6
"""Longest chain whose orders are listed: 6 pedals have 720 of them."""

LIMITS: dict[str, Range] = {
    "run_in_s": (0.0, 10.0),
    "sample_rate_hz": (8_000, 192_000),
    "input_peak_dbfs": (-120.0, 40.0),
    "noise_snr_db": (-60.0, 300.0),
    "noise_cutoff_hz": (1.0, 1e6),
    "output_gain_db": (-120.0, 60.0),
    "audible_db": (-1000.0, 100.0),
    "alike_db": (0.0, 1000.0),
    "pedal_rms": (0.0, 1.0),
}
"""Beyond these a number is a slip or a trap: hours of run-in, gains that are infinite."""


RENDER_KEYS = {
    "clip_s": "length of a clip, s",
    "run_in_s": "how much of the recording before the clip runs through the chain and is dropped",
    "sample_rate_hz": "of clips; recordings are resampled to it",
    "input_peak_dbfs": "[low, high] of the dry clip's peak as it goes into the first pedal",
    "noise_snr_db": "[low, high] of the noise floor put on after the chain, below the clip",
    "noise_cutoff_hz": "[low, high] of that noise's lowpass: its colour",
    "output_gain_db": "[low, high] of the gain after the chain",
    "audible_db": "a pedal that changes its input by less is drawn again (residual after the best "
    "gain, relative to the output)",
    "classes": "list in every record which other orders of its chain sound the same",
    "alike_db": "orders this near, in dB of log-mel, sound the same",
    "phrases": "share of clips that are played by several recordings (docs/phrases.md)",
    "pedal_rms": "set every pedal's output to this RMS and clip it at full scale; 0: levels are "
    "left alone, as on a board",
    "guitars": "share of clips that are played on another guitar than was recorded",
    "band_limited": "share of clips that keep nothing above 3.5 to 16 kHz, as small or old files",
    "speakers": "share of clips that are played through a guitar loudspeaker after the chain",
    "amplifiers": "share of clips that are played through a guitar amplifier after the chain, and "
    "always through a loudspeaker then",
}


@dataclass(frozen=True)
class RenderSpec:
    """What may happen to a clip, before, in and after its chain; ``RENDER_KEYS`` says what each
    field means.

    The run-in is there so that echoes and compressors are already at work when the clip begins.
    Noise and gain after the chain: without them a model reads residue 65 dB down that no real
    recording carries. At -16 LUFS, an SNR of 44 to 59 dB is a floor of about -60 to -75 dBFS.
    ``pedal_rms`` is the level policy of Okita & Katayose (ICASSP 2026), 0.1 with them.
    """

    chain: ChainSpec
    clip_s: float = 2.0
    run_in_s: float = 0.5
    sample_rate_hz: int = 44_100
    input_peak_dbfs: Range = (-15.0, -3.0)
    noise_snr_db: Range = (44.0, 59.0)
    noise_cutoff_hz: Range = (300.0, 20_000.0)
    output_gain_db: Range = (-12.0, 12.0)
    audible_db: float = -30.0
    classes: bool = False
    alike_db: float = 0.5
    phrases: float = 0.0
    pedal_rms: float = 0.0
    guitars: float = 0.0
    band_limited: float = 0.0
    speakers: float = 0.0
    amplifiers: float = 0.0

    def __post_init__(self) -> None:
        if not 0.1 <= self.clip_s <= 60:
            raise UsageError(f"clips of {self.clip_s} s: expected 0.1 to 60 s")
        if self.classes and self.chain.max_length > MAX_CLASS_LENGTH:
            raise UsageError(
                f"--classes lists the orders of chains up to {MAX_CLASS_LENGTH} pedals, --lengths "
                f"go up to {self.chain.max_length}; shorten --lengths, or leave --classes away"
            )
        for name in ("phrases", *YOUNGER):
            if not 0 <= getattr(self, name) <= 1:
                raise UsageError(f"{name} is {getattr(self, name):g}, expected a share from 0 to 1")
        for name, (least, most) in LIMITS.items():
            found = getattr(self, name)
            low, high = found if isinstance(found, tuple) else (found, found)
            if low > high:
                raise UsageError(f"{name} is {low:g} to {high:g}: the first must not be larger")
            if not least <= low <= high <= most:
                raise UsageError(f"{name} is {low:g} to {high:g}, expected {least:g} to {most:g}")

    @property
    def n_samples(self) -> int:
        return round(self.clip_s * self.sample_rate_hz)

    @property
    def n_run_in(self) -> int:
        return round(self.run_in_s * self.sample_rate_hz)


def plain_spec(spec: RenderSpec, *younger: str) -> dict[str, Any]:
    """Plain values, for an identity: without those of ``younger`` settings that are off, which it
    did not have when it was first made."""
    values: dict[str, Any] = to_dict(spec)
    return {name: value for name, value in values.items() if value or name not in younger}


@dataclass(frozen=True)
class After:
    """What came after the chain: an amplifier and a loudspeaker where there are such, noise through
    a one-pole lowpass, gain; where there is a ``bandwidth_hz``, nothing above it was kept."""

    noise_snr_db: float
    noise_cutoff_hz: float
    gain_db: float
    bandwidth_hz: float | None = None
    speaker: Speaker | None = None
    amplifier: Amplifier | None = None

    def __post_init__(self) -> None:
        if self.bandwidth_hz is not None and not 100 <= self.bandwidth_hz <= 1e6:
            raise UsageError(f"bandwidth_hz is {self.bandwidth_hz:g}, expected 100 to 1e6 Hz")

    def record(self) -> dict[str, float]:
        """Of what was done, what was drawn."""
        told = {n: v for n, v in vars(self).items() if v is not None and n not in PARTS}
        for part in PARTS:
            fields = vars(getattr(self, part)) if getattr(self, part) else {}
            told |= {f"{part}_{name}": value for name, value in fields.items()}
        return told


def after_of(record: Mapping[str, Any], where: str) -> After:
    """What :meth:`After.record` told."""
    told: dict[str, Any] = {}
    for name, value in record.items():
        part, _, field = name.partition("_")
        if part in PARTS:
            told.setdefault(part, {})[field] = value
        else:
            told[name] = value
    return from_dict(After, told, where)


@dataclass(frozen=True)
class ClipDraw:
    """Drawn before any audio is touched: where to cut, how loud to play in, what comes after."""

    length: int
    item_u: float
    start_u: float
    input_peak_dbfs: float
    after: After


@dataclass(frozen=True)
class Wet:
    """``wave`` float32 [N]; ``stages`` the dry clip and the output of every pedal, run-in included;
    ``stage_change_db`` how much each pedal changed its input."""

    wave: np.ndarray
    stages: tuple[np.ndarray, ...]
    chain: Chain
    stage_change_db: tuple[float, ...]
    redrawn: tuple[str, ...]


def draw_clip(spec: RenderSpec, seed: int, split: str, position: int, attempt: int = 0) -> ClipDraw:
    """``attempt`` counts clips on which no audible chain was found; the length stays."""
    length = draw_length(spec.chain, generator(seed, split, position, "clip"))
    rng = generator(seed, split, position, "clip", attempt + 1)
    low_hz, high_hz = np.log(spec.noise_cutoff_hz)
    return ClipDraw(
        length=length,
        item_u=float(rng.random()),
        start_u=float(rng.random()),
        input_peak_dbfs=_uniform(rng, spec.input_peak_dbfs),
        after=After(
            noise_snr_db=_uniform(rng, spec.noise_snr_db),
            noise_cutoff_hz=round(math.exp(_uniform(rng, (low_hz, high_hz))), 2),
            gain_db=_uniform(rng, spec.output_gain_db),
            bandwidth_hz=_bandwidth(rng, spec.band_limited) if spec.band_limited else None,
            **_heard_through(rng, spec),
        ),
    )


def _bandwidth(rng: np.random.Generator, share: float) -> float | None:
    if rng.random() >= share:
        return None
    low, high = np.log(BANDWIDTH_HZ)
    return round(math.exp(_uniform(rng, (low, high))), 2)


def _heard_through(rng: np.random.Generator, spec: RenderSpec) -> dict[str, Any]:
    """An amplifier never comes without a loudspeaker."""
    speaker = draw_speaker(rng) if spec.speakers and rng.random() < spec.speakers else None
    if not spec.amplifiers or rng.random() >= spec.amplifiers:
        return {"speaker": speaker}
    return {"amplifier": draw_amplifier(rng), "speaker": speaker or draw_speaker(rng)}


def _uniform(rng: np.random.Generator, bounds: Range) -> float:
    return round(float(rng.uniform(*bounds)), 4)


def draw_and_render(
    spec: RenderSpec, dry: np.ndarray, length: int, seed: int, split: str, position: int
) -> Wet | None:
    """A chain of ``length`` pedals that can all be heard on ``dry`` [run-in + N]; None if none is.

    A pedal that cannot be heard gets other settings first, and only then the chain another order,
    so that pedals which are often inaudible do not vanish from the data. What stands before it is
    kept, settings and sound.
    """
    redrawn: list[str] = []
    heard_dry = hear(dry[spec.n_run_in :])
    for order in range(ORDERS):
        rng = generator(seed, split, position, "names", order)
        names = draw_names(spec.chain, length, rng, test=split == "test")
        seat = order * SEATS_AN_ORDER
        first = draw_settings(spec.chain, names, generator(seed, split, position, "settings", seat))
        stages, pedals, changes = [dry], list(first.pedals), []
        before = heard_dry
        for place, name in enumerate(names):
            for attempt in range(SETTINGS):
                if attempt:
                    again = seat + 1 + place * SETTINGS + attempt
                    rng = generator(seed, split, position, "settings", again)
                    (pedals[place],) = draw_settings(spec.chain, (name,), rng).pedals
                wave = play(pedals[place], stages[-1], spec.sample_rate_hz, spec.pedal_rms)
                after = hear(wave[spec.n_run_in :])
                change = change_db(before, after)
                if change >= spec.audible_db:
                    break
                redrawn.append(name)
            else:
                break
            stages.append(wave)
            before = after
            changes.append(round(change, 2))
        else:
            wet = stages[-1][spec.n_run_in :]
            chain = Chain(tuple(pedals))
            return Wet(wet, tuple(stages), chain, tuple(changes), tuple(redrawn))
    return None


def run_chain(
    dry: np.ndarray,
    chain: Chain,
    sample_rate_hz: int,
    *,
    skip: int = 0,
    pedal_rms: float = 0.0,
) -> tuple[np.ndarray, list[float]]:
    """``dry`` float32 [skip + N] pedal by pedal -> (wet [N], change in dB of each pedal)."""
    wave, before, changes = dry, hear(dry[skip:]), []
    for pedal in chain.pedals:
        wave = play(pedal, wave, sample_rate_hz, pedal_rms)
        after = hear(wave[skip:])
        changes.append(change_db(before, after))
        before = after
    return wave[skip:], changes


def play(pedal: Pedal, wave: np.ndarray, sample_rate_hz: int, pedal_rms: float = 0.0) -> np.ndarray:
    """What the pedal makes of ``wave`` [N], at the RMS ``pedal_rms`` where that is not 0."""
    out = build_pedal(pedal, sample_rate_hz)(wave)
    if not np.isfinite(out).all():
        settings = dict(pedal.settings)
        raise RenderError(f"pedal {pedal.name!r} with {settings} gave a non-finite sample")
    if pedal_rms and np.any(out):
        rms = math.sqrt(float(np.dot(out, out)) / len(out))
        out = np.clip(out * np.float32(pedal_rms / rms), -1, 1)
    return out


def to_input_level(dry: np.ndarray, peak: float, peak_dbfs: float) -> np.ndarray:
    """Scale so that the whole recording, whose maximum is ``peak``, would peak at ``peak_dbfs``."""
    scaled: np.ndarray = dry * np.float32(10 ** (peak_dbfs / 20) / peak)
    return scaled


def finish(
    wave: np.ndarray, after: After, sample_rate_hz: int, rng: np.random.Generator
) -> np.ndarray:
    """Amplifier, loudspeaker, noise floor and gain after the chain, and what a file keeps of it
    all; float32 [N]."""
    if after.amplifier is not None:
        wave = amplify(after.amplifier, wave, sample_rate_hz)
    if after.speaker is not None:
        wave = play_through(after.speaker, wave, sample_rate_hz)
    pole = math.exp(-2 * math.pi * after.noise_cutoff_hz / sample_rate_hz)
    finished = lowpassed_noise(rng, len(wave), pole)
    signal_rms = math.sqrt(float(np.dot(wave, wave)) / len(wave))
    noise_rms = math.sqrt(float(np.dot(finished, finished)) / len(wave))
    gain = 10 ** (after.gain_db / 20)
    level = signal_rms * 10 ** (-after.noise_snr_db / 20) / noise_rms
    finished *= np.float32(gain * level)
    finished += np.float32(gain) * wave
    if after.bandwidth_hz is None:
        return finished
    return band_limited(finished, after.bandwidth_hz, sample_rate_hz)


def band_limited(wave: np.ndarray, bandwidth_hz: float, sample_rate_hz: int) -> np.ndarray:
    """What a file at the sample rate 2 ``bandwidth_hz`` keeps of ``wave``; float32 [N]."""
    rate_hz = 2 * bandwidth_hz
    if rate_hz >= sample_rate_hz:
        return wave
    narrow = soxr.resample(wave, sample_rate_hz, rate_hz)
    kept = np.zeros_like(wave)
    again = soxr.resample(narrow, rate_hz, sample_rate_hz)[: len(wave)]
    kept[: len(again)] = again
    return kept


def lowpassed_noise(rng: np.random.Generator, n_samples: int, pole: float) -> np.ndarray:
    """White noise through the one-pole lowpass 1 / (1 - p/z), float32 [N] of about unit scale.

    Even draws, as white as normal ones, cheaper. 1 / (1 - p/z) = (1 + p/z) (1 + p^2/z^2)
    (1 + p^4/z^4) ...: a few additions of the whole wave instead of a walk from sample to sample.
    What is left out lies 60 dB below the noise.
    """
    raw = rng.bit_generator.random_raw(-(-n_samples // 4))  # 64 bits each: four samples
    noise = raw.astype("<u8", copy=False).view("<i2")[:n_samples].astype(np.float32)
    noise *= np.float32(1 / 32768)
    earlier = np.empty_like(noise)
    step = 1
    while pole > 1e-3 and step < n_samples:
        np.multiply(noise[:-step], np.float32(pole), out=earlier[step:])
        noise[step:] += earlier[step:]
        pole, step = pole * pole, 2 * step
    return noise
