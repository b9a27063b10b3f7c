"""The circuits of other makes; what is drawn inside of them is in ``makes.py``.

float32 [N] in and out, a fresh process for every render, as in ``parts.py``.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pedalboard as pb

from fxpipe.pedals import parts
from fxpipe.pedals.spec import Process, Settings

Build = Callable[[Settings, int], Process]

FRAME = 1024
"""Samples for which a swept filter stands still; frames overlap by half."""


def voiced(build: Build) -> Build:
    """``build``, and after it the voice of its box."""

    def with_voice(s: Settings, sample_rate_hz: int) -> Process:
        process = build(s, sample_rate_hz)
        voice = parts.board(
            [
                pb.HighpassFilter(cutoff_frequency_hz=s["low_hz"]),
                pb.LowpassFilter(cutoff_frequency_hz=s["high_hz"]),
                pb.PeakFilter(cutoff_frequency_hz=s["bell_hz"], gain_db=s["bell_db"], q=0.7),
                pb.Gain(gain_db=s["volume_db"]),
            ],
            sample_rate_hz,
        )
        return lambda audio: voice(process(audio))

    return with_voice


def bend(wave: np.ndarray, knee: float, uneven: float) -> np.ndarray:
    """Clipping between -1 and 1, in place: ``knee`` 0 is x / (1 + |x|), 0.5 tanh, 1 a hard edge."""
    wave += np.float32(uneven)
    soft = wave / (1 + np.abs(wave)) if knee < 0.5 else np.clip(wave, -1, 1)
    share = np.float32(abs(1 - 2 * knee))
    np.tanh(wave, out=wave)
    wave += share * (soft - wave)
    wave -= wave.dtype.type(_rest(knee, uneven))
    return wave


def _rest(knee: float, uneven: float) -> float:
    """What silence becomes."""
    edge = uneven / (1 + uneven) if knee < 0.5 else min(uneven, 1.0)
    return math.tanh(uneven) + abs(1 - 2 * knee) * (edge - math.tanh(uneven))


def overdrive(s: Settings, sample_rate_hz: int) -> Process:
    """As ours, with another corner, another share of clean, other diodes.

    Between a Tube Screamer (720 Hz, clean beneath) and a Blues Breaker (all is clipped, softly).
    """
    lean = parts.board([pb.HighpassFilter(cutoff_frequency_hz=s["lean_hz"])], sample_rate_hz)
    tone = _tone(s, sample_rate_hz)
    gain = np.float32(10 ** ((s["drive_db"] + s["gain_db"]) / 20))
    clean = np.float32(s["clean"])

    def clip(fine: np.ndarray) -> np.ndarray:
        fine *= gain
        return bend(fine, s["knee"], s["uneven"])

    def process(audio: np.ndarray) -> np.ndarray:
        bent = parts.oversampled(clip, lean(audio), sample_rate_hz, 4)
        return tone(clean * audio + (1 - clean) * bent)

    return process


def _tone(s: Settings, sample_rate_hz: int) -> Process:
    return parts.board(
        [pb.LowpassFilter(cutoff_frequency_hz=s["tone_hz"]), pb.Gain(gain_db=s["level_db"])],
        sample_rate_hz,
    )


def distortion(s: Settings, sample_rate_hz: int) -> Process:
    """Two stages of clipping, as a Big Muff or a DS-1 has; with little push the first is idle."""
    lean = parts.board([pb.HighpassFilter(cutoff_frequency_hz=s["lean_hz"])], sample_rate_hz)
    tone = _tone(s, sample_rate_hz)
    push = np.float32(10 ** (s["push_db"] / 20))
    gain = np.float32(10 ** ((s["drive_db"] + s["gain_db"]) / 20)) / push

    def clip(fine: np.ndarray) -> np.ndarray:
        fine *= push
        np.tanh(fine, out=fine)
        fine *= gain
        return bend(fine, s["knee"], s["uneven"])

    return lambda audio: tone(parts.oversampled(clip, lean(audio), sample_rate_hz, 4))


def fuzz(s: Settings, sample_rate_hz: int) -> Process:
    """From a Fuzz Face to an octave fuzz, whose second transistor folds the wave over."""
    lean = parts.board([pb.HighpassFilter(cutoff_frequency_hz=s["lean_hz"])], sample_rate_hz)
    tone = _tone(s, sample_rate_hz)
    gain = np.float32(10 ** ((s["fuzz_db"] + s["gain_db"]) / 20))
    octave = np.float32(max(0.0, s["octave"]))

    def clip(fine: np.ndarray) -> np.ndarray:
        fine += octave * (np.abs(fine) - fine)
        fine *= gain
        return bend(fine, s["knee"], 2 * s["bias"])

    def process(audio: np.ndarray) -> np.ndarray:
        return tone(np.float32(0.5) * parts.oversampled(clip, lean(audio), sample_rate_hz, 4))

    return process


def compressor(s: Settings, sample_rate_hz: int) -> Process:
    """A mean-square detector, a soft knee, and the guitar itself beside it.

    Giannoulis, Massberg and Reiss, "Digital dynamic range compressor design", JAES 60(6), 2012.
    The gain is found every 16 samples and drawn as a line between.
    """
    hop = 16
    per_s = sample_rate_hz / hop
    window = 1 - math.exp(-1000 / (s["window_ms"] * per_s))
    attack = 1 - math.exp(-1000 / (s["attack_ms"] * per_s))
    release = 1 - math.exp(-1000 / (s["release_ms"] * per_s))
    threshold, slope, knee = s["threshold_db"] + s["shift_db"], 1 / s["ratio"] - 1, s["knee_db"]
    makeup, blend = 10 ** (s["level_db"] / 20), s["blend"]

    def process(audio: np.ndarray) -> np.ndarray:
        n = -(-len(audio) // hop)
        squares = np.pad(audio.astype(np.float64) ** 2, (0, n * hop - len(audio)))
        level = _followed(squares.reshape(n, hop).mean(1).tolist(), window, window)
        over = 10 * np.log10(level + 1e-10) + 3 - threshold  # 3: as a sine's peak is
        bent = np.where(over > knee / 2, over, 0.0)
        if knee:
            near = np.abs(over) <= knee / 2
            bent[near] = (over[near] + knee / 2) ** 2 / (2 * knee)
        cut_db = _followed((-slope * bent).tolist(), attack, release)
        gain = blend + (1 - blend) * makeup * 10 ** (-cut_db / 20)
        line = np.interp(np.arange(len(audio)), (np.arange(n) + 0.5) * hop, gain)
        squeezed: np.ndarray = audio * line.astype(np.float32)
        return squeezed

    return process


def _followed(values: list[float], up: float, down: float) -> np.ndarray:
    """A one-pole follower that rises at ``up`` and falls at ``down``."""
    found, state = np.empty(len(values)), 0.0
    for i, value in enumerate(values):
        state += (up if value > state else down) * (value - state)
        found[i] = state
    return found


def wah(s: Settings, sample_rate_hz: int) -> Process:
    center_hz = s["center_hz"] * s["travel"]
    return parts.board(
        [
            pb.HighpassFilter(cutoff_frequency_hz=s["skirt"] * center_hz),
            pb.PeakFilter(cutoff_frequency_hz=center_hz, gain_db=s["peak_db"], q=s["q"]),
            pb.LowpassFilter(cutoff_frequency_hz=center_hz / s["skirt"]),
        ],
        sample_rate_hz,
    )


def lfo(turns: np.ndarray, corner: float) -> np.ndarray:
    """-1 to 1 over each of the ``turns``, from a sine (``corner`` 0) to a triangle (1)."""
    sine = np.sin(2 * np.pi * turns)
    swing: np.ndarray = sine + corner * (2 / np.pi * np.arcsin(np.clip(sine, -1, 1)) - sine)
    return swing


def phaser(s: Settings, sample_rate_hz: int) -> Process:
    """2 to 10 first-order all-pass stages, swept evenly in pitch; feedback of either sign.

    Each frame is filtered by the response that the sweep has in its middle: the all-pass of J. O.
    Smith, "An allpass approach to digital phasing and flanging", ICMC 1984, exact for a sweep that
    stands still.
    """
    n_stages = 2 * round(s["pairs"])
    feedback = np.float32((1 if s["sign"] >= 0.5 else -1) * s["feedback"])
    center_hz, octaves = s["center_hz"] * s["travel"], s["span_oct"] * s["depth"]
    mix = np.float32(s["mix"])

    def process(audio: np.ndarray) -> np.ndarray:
        middles = np.arange(0, len(audio) + FRAME, FRAME // 2) / sample_rate_hz
        swing = lfo(middles * s["rate_hz"] + s["phase_cycles"], s["corner"])
        corners_hz = np.clip(center_hz * 2 ** (octaves * swing), 40.0, 0.4 * sample_rate_hz)
        hz = np.fft.rfftfreq(2 * FRAME, 1 / sample_rate_hz)
        warped = np.tan(np.pi / 2 * np.minimum(hz / hz[-1], 1 - 1e-9))
        ratio = warped / np.tan(np.pi * corners_hz / sample_rate_hz)[:, None]
        passed = np.exp(np.complex64(-2j * n_stages) * np.arctan(ratio.astype(np.float32)))
        passed /= 1 - feedback * passed
        return swept(audio, 1 - mix + mix * passed)

    return process


def swept(audio: np.ndarray, responses: np.ndarray) -> np.ndarray:
    """``audio`` [N] through ``responses`` [frames, FRAME + 1], one every half ``FRAME``, the first
    with its middle on the first sample; neighbours are faded into each other."""
    hop = FRAME // 2
    n = len(responses)
    padded = np.zeros((n + 1) * hop, np.float32)
    padded[hop : hop + len(audio)] = audio[: n * hop]
    frames = np.lib.stride_tricks.sliding_window_view(padded, FRAME)[::hop]
    window = np.hanning(FRAME + 1)[:-1].astype(np.float32)
    spectra = np.fft.rfft(frames * window, 2 * FRAME, axis=1) * responses
    made = np.fft.irfft(spectra, axis=1).astype(np.float32).reshape(n, 4, hop)
    out = np.zeros((n + 3, hop), np.float32)
    for quarter in range(4):
        out[quarter : quarter + n] += made[:, quarter]
    return out.ravel()[hop : hop + len(audio)]


def delayed(audio: np.ndarray, delay_samples: np.ndarray) -> np.ndarray:
    """``audio`` [N], each sample from ``delay_samples`` [N] before, between samples by a line."""
    at = np.arange(len(audio))
    found: np.ndarray = np.interp(at - delay_samples, at, audio, left=0.0).astype(np.float32)
    return found


def chorus(s: Settings, sample_rate_hz: int) -> Process:
    """1 to 3 voices whose tops a bucket-brigade has cut off."""
    n_voices = round(s["voices"])
    dull = parts.board([pb.LowpassFilter(cutoff_frequency_hz=s["dull_hz"])], sample_rate_hz)
    mix, per_ms = np.float32(s["mix"]), sample_rate_hz / 1000

    def process(audio: np.ndarray) -> np.ndarray:
        turns = np.arange(len(audio)) * (s["rate_hz"] / sample_rate_hz) + s["phase_cycles"]
        middle_ms = s["delay_ms"] * s["later"]
        swing_ms = min(10 * s["depth"] * s["reach"], middle_ms - 0.5)
        voices = np.zeros(len(audio), np.float32)
        for n in range(n_voices):
            swing = lfo(turns + n / n_voices, s["corner"])
            voices += delayed(audio, per_ms * (middle_ms + swing_ms * swing))
        wet = dull(voices) / np.float32(math.sqrt(n_voices))
        mixed: np.ndarray = (1 - mix) * audio + mix * wet
        return mixed

    return process


def flanger(s: Settings, sample_rate_hz: int) -> Process:
    """Feedback by going through the swept delay again and again, until nothing is heard of it."""
    per_ms = sample_rate_hz / 1000
    feedback = np.float32((1 if s["sign"] >= 0.5 else -1) * s["feedback"])
    mix = np.float32(s["mix"])

    def process(audio: np.ndarray) -> np.ndarray:
        turns = np.arange(len(audio)) * (s["rate_hz"] / sample_rate_hz) + s["phase_cycles"]
        swing_ms = s["depth"] * (s["delay_ms"] - 0.5)
        at = per_ms * (s["delay_ms"] + swing_ms * lfo(turns, s["corner"]))
        again = delayed(audio, at)
        wet, share = again.copy(), np.float32(1.0)
        while abs(share := share * feedback) > 0.02:
            again = delayed(again, at)
            wet += share * again
        mixed: np.ndarray = (1 - mix) * audio + mix * wet
        return mixed

    return process


def tremolo(s: Settings, sample_rate_hz: int) -> Process:
    """Volume that pulses unevenly; a harmonic one moves lows and highs against each other."""
    edge, rise = 0.5 * 18.0 ** s["shape"], s["rise"]
    low = parts.board([pb.LowpassFilter(cutoff_frequency_hz=s["split_hz"])], sample_rate_hz)
    harmonic = s["harmonic"] >= 2.5

    def process(audio: np.ndarray) -> np.ndarray:
        turns = np.arange(len(audio)) * (s["rate_hz"] / sample_rate_hz) + s["phase_cycles"]
        turns %= 1
        uneven = np.where(turns < rise, turns / rise, 1 + (turns - rise) / (1 - rise)) / 2
        pulse = np.tanh(edge * np.cos(2 * np.pi * uneven)) / np.tanh(edge)
        down = (0.5 * s["depth"] * (1 + pulse)).astype(np.float32)
        if not harmonic:
            pulsed: np.ndarray = audio * (1 - down)
            return pulsed
        lows = low(audio)
        up = np.float32(s["depth"]) - down
        both: np.ndarray = lows * (1 - down) + (audio - lows) * (1 - up)
        return both

    return process


def delay(s: Settings, sample_rate_hz: int) -> Process:
    """Every repeat is filtered once more, as in analogue and tape delays."""
    step = round(s["delay_ms"] * s["travel"] * sample_rate_hz / 1000)
    mix, feedback = np.float32(s["mix"]), np.float32(s["feedback"])

    def process(audio: np.ndarray) -> np.ndarray:
        worn = parts.board(
            [
                pb.LowpassFilter(cutoff_frequency_hz=s["dull_hz"]),
                pb.HighpassFilter(cutoff_frequency_hz=s["thin_hz"]),
            ],
            sample_rate_hz,
        )
        out = (1 - mix) * audio
        repeat, share = audio, mix
        while step < len(repeat) and share > 0.003:
            repeat = worn(repeat[: len(repeat) - step])
            out[len(out) - len(repeat) :] += share * repeat
            share = share * feedback
        return out

    return process


def reverb(s: Settings, sample_rate_hz: int) -> Process:
    """A room of decaying noise, whose highs die first, or a spring; by convolution.

    The noise model is Moorer's ("About this reverberation business", CMJ 3(2), 1979); a spring is a
    train of echoes that each come back with their lows later (Abel et al., DAFx 2006).
    """
    wet = np.float32(s["wet"])
    response = (_spring if s["spring"] >= 2.5 else _room)(s, sample_rate_hz)
    response /= np.sqrt(np.dot(response, response))

    def process(audio: np.ndarray) -> np.ndarray:
        size = 1 << (len(audio) + len(response) - 2).bit_length()
        spectrum = np.fft.rfft(audio, size) * np.fft.rfft(response, size)
        reverberant = np.fft.irfft(spectrum, size)[: len(audio)].astype(np.float32)
        mixed: np.ndarray = (1 - wet) * audio + wet * reverberant
        return mixed

    return process


def _decay_s(s: Settings) -> float:
    """Seconds to -60 dB: 0.3 in a cupboard, 4 in a cathedral."""
    return float(0.2 * 20 ** s["room_size"] * s["long"])


def _room(s: Settings, sample_rate_hz: int) -> np.ndarray:
    decay_s = _decay_s(s)
    early = round(s["predelay_ms"] * sample_rate_hz / 1000)
    t = np.arange(round(min(decay_s, 2.5) * sample_rate_hz)) / sample_rate_hz
    noise = np.random.Generator(np.random.PCG64(round(s["walls"]))).uniform(-1, 1, len(t))
    low = parts.board([pb.LowpassFilter(cutoff_frequency_hz=1500.0)], sample_rate_hz)
    lows = low(noise.astype(np.float32))
    highs = noise - lows
    fast_s = decay_s * (1 - 0.85 * s["damping"])
    response = lows * np.exp(-6.9 * t / decay_s) + highs * np.exp(-6.9 * t / fast_s)
    return np.concatenate([np.zeros(early, np.float32), response.astype(np.float32)])


def _spring(s: Settings, sample_rate_hz: int) -> np.ndarray:
    size = 2 * sample_rate_hz
    hz = np.fft.rfftfreq(size, 1 / sample_rate_hz)
    trip_s = 0.03 + 0.001 * s["predelay_ms"] / 2
    top_hz = 3000.0 + 2000.0 * (1 - s["damping"])
    late = 2 * np.pi * 0.02 * top_hz * (hz / top_hz) ** 3 / 3  # phase: later towards the top
    trip = np.exp(-1j * (2 * np.pi * hz * trip_s + late)) * 10 ** (-3 * trip_s / _decay_s(s))
    spectrum = trip / (1 + trip) / (1 + (hz / top_hz) ** 8)
    return np.fft.irfft(spectrum, size).astype(np.float32)
