"""How our pedals are built. Only this module, ``circuits`` and ``vst3_host`` import pedalboard.

A fresh instance for every render and ``reset=True`` always: with state left over, filters, delays
and LFOs of one clip would be heard in the next (pedalboard issue 179).
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pedalboard as pb
import soxr

from fxpipe.pedals.spec import Process, Settings

BLOCK_SAMPLES = 8192
"""Of a wave worked on at a time in double precision: 64 kB an array, which stays in the cache."""


def board(parts: list[pb.Plugin], sample_rate_hz: int, preroll_samples: int = 0) -> Process:
    """Parts in series. ``preroll_samples`` of silence let an LFO advance before the clip begins."""
    chain = pb.Pedalboard(parts)

    def process(audio: np.ndarray) -> np.ndarray:
        if not preroll_samples:
            return np.asarray(chain(audio, sample_rate_hz, reset=True))
        padded = np.concatenate([np.zeros(preroll_samples, np.float32), audio])
        return np.asarray(chain(padded, sample_rate_hz, reset=True))[preroll_samples:]

    return process


def lfo_board(part: pb.Plugin, s: Settings, sample_rate_hz: int) -> Process:
    """A modulated part whose LFO has turned ``phase_cycles`` when the clip begins.

    pedalboard starts every LFO at the same point; a model would learn that instead of the effect.
    """
    preroll_s = s["phase_cycles"] / s["rate_hz"]
    return board([part], sample_rate_hz, round(preroll_s * sample_rate_hz))


def oversampled(
    shape: Callable[[np.ndarray], np.ndarray], audio: np.ndarray, sample_rate_hz: int, factor: int
) -> np.ndarray:
    """``shape`` at ``factor`` times the rate: what it makes above the guitar's rate is cut, not
    folded down as inharmonic tones. ``shape`` may write to the wave it is given."""
    high_hz = sample_rate_hz * factor
    fine = soxr.resample(audio, sample_rate_hz, high_hz, quality="HQ")
    shaped: np.ndarray = soxr.resample(shape(fine), high_hz, sample_rate_hz, quality="HQ")
    return shaped[: len(audio)]


def saturate(audio: np.ndarray, drive_db: float, sample_rate_hz: int) -> np.ndarray:
    """tanh after a gain, as pedalboard's Distortion, which aliases at -20 dB where this one stays
    under -50 (the guitar's highest note, full drive)."""
    gain = np.float32(10 ** (drive_db / 20))

    def bend(fine: np.ndarray) -> np.ndarray:
        fine *= gain
        bent: np.ndarray = np.tanh(fine, out=fine)
        return bent

    return oversampled(bend, audio, sample_rate_hz, 4)


def hard_clip(wave: np.ndarray, limit: float) -> np.ndarray:
    """Clipping by differences of its antiderivative, which all but removes aliasing.

    Parker, Zavalishin and Le Bivic, "Reducing the aliasing of nonlinear waveshaping using
    continuous-time convolution", DAFx 2016.
    """
    out = np.empty(len(wave), np.float32)
    size = min(len(wave), BLOCK_SAMPLES) + 1
    room = np.empty((4, size))  # used again for every block
    for start in range(0, len(wave), BLOCK_SAMPLES):
        stop = min(start + BLOCK_SAMPLES, len(wave))
        now, under, step, rise = room[:, : stop - start + 1]
        now[0], now[1:] = wave[max(0, start - 1)], wave[start:stop]
        np.abs(now, out=under)
        inside = np.minimum(under, limit, out=rise)
        under -= np.multiply(inside, 0.5, out=step)
        under *= inside  # the antiderivative
        step, rise = step[1:], rise[1:]
        np.subtract(now[1:], now[:-1], out=step)
        np.subtract(under[1:], under[:-1], out=rise)
        moved = np.abs(step, out=under[1:])
        if moved.min() <= 1e-6:  # there clip the middle of the step
            rests = moved <= 1e-6
            middle = np.clip(now[1:] - step / 2, -limit, limit)
            np.copyto(step, 1.0, where=rests)
            np.copyto(rise, middle, where=rests)
        np.divide(rise, step, out=out[start:stop], casting="same_kind")
    return out


def compressor(s: Settings, sample_rate_hz: int) -> Process:
    squeeze = pb.Compressor(
        threshold_db=s["threshold_db"],
        ratio=s["ratio"],
        attack_ms=s["attack_ms"],
        release_ms=s["release_ms"],
    )
    return board([squeeze, pb.Gain(gain_db=s["level_db"])], sample_rate_hz)


def gate(s: Settings, sample_rate_hz: int) -> Process:
    return board(
        [
            pb.NoiseGate(
                threshold_db=s["threshold_db"],
                ratio=s["ratio"],
                attack_ms=s["attack_ms"],
                release_ms=s["release_ms"],
            )
        ],
        sample_rate_hz,
    )


def overdrive(s: Settings, sample_rate_hz: int) -> Process:
    """Soft clipping above 720 Hz with the clean signal mixed under it, then a tone stage.

    The 720 Hz corner and the clean path are the Tube Screamer's (electrosmash.com analysis); with
    the tone stage above them they leave its hump in the middle.
    """
    lean = board([pb.HighpassFilter(cutoff_frequency_hz=720.0)], sample_rate_hz)
    tone = board(
        [pb.LowpassFilter(cutoff_frequency_hz=s["tone_hz"]), pb.Gain(gain_db=s["level_db"])],
        sample_rate_hz,
    )
    drive_db = s["drive_db"]
    return lambda audio: tone(0.5 * (audio + saturate(lean(audio), drive_db, sample_rate_hz)))


def distortion(s: Settings, sample_rate_hz: int) -> Process:
    """Clipping of the whole signal, then a tone stage."""
    tone = board(
        [pb.LowpassFilter(cutoff_frequency_hz=s["tone_hz"]), pb.Gain(gain_db=s["level_db"])],
        sample_rate_hz,
    )
    drive_db = s["drive_db"]
    return lambda audio: tone(saturate(audio, drive_db, sample_rate_hz))


def fuzz(s: Settings, sample_rate_hz: int) -> Process:
    """Hard clipping of a biased signal: the two halves of the wave clip at different heights."""
    tone = board(
        [
            pb.HighpassFilter(cutoff_frequency_hz=40.0),
            pb.LowpassFilter(cutoff_frequency_hz=s["tone_hz"]),
            pb.Gain(gain_db=s["level_db"]),
        ],
        sample_rate_hz,
    )
    gain, bias = np.float32(10 ** (s["fuzz_db"] / 20)), np.float32(s["bias"])
    limit = 0.5

    def clip(fine: np.ndarray) -> np.ndarray:
        fine *= gain
        fine += bias
        clipped = hard_clip(fine, limit)
        clipped -= np.clip(bias, -limit, limit)
        return clipped

    return lambda audio: tone(oversampled(clip, audio, sample_rate_hz, 2))


def eq(s: Settings, sample_rate_hz: int) -> Process:
    return board(
        [
            pb.LowShelfFilter(cutoff_frequency_hz=150.0, gain_db=s["bass_db"]),
            pb.PeakFilter(cutoff_frequency_hz=s["mid_hz"], gain_db=s["mid_db"], q=0.9),
            pb.HighShelfFilter(cutoff_frequency_hz=3000.0, gain_db=s["treble_db"]),
        ],
        sample_rate_hz,
    )


def wah(s: Settings, sample_rate_hz: int) -> Process:
    """A wah pedal left standing: a resonant peak with the rest rolled off on both sides."""
    center_hz = s["center_hz"]
    return board(
        [
            pb.HighpassFilter(cutoff_frequency_hz=0.7 * center_hz),
            pb.PeakFilter(cutoff_frequency_hz=center_hz, gain_db=15.0, q=s["q"]),
            pb.LowpassFilter(cutoff_frequency_hz=1.6 * center_hz),
        ],
        sample_rate_hz,
    )


def octaver(s: Settings, sample_rate_hz: int) -> Process:
    """The note and the note an octave below it, made as analogue octave boxes do.

    The fundamental is filtered out, turned over at every other of its periods and rounded off
    (Boss OC-2 service notes: filter, flip-flop, polarity switch, filter). It follows one string at
    a time; chords make it stumble, there as here.
    """
    mix = np.float32(s["mix"])
    fundamental = board([pb.LowpassFilter(cutoff_frequency_hz=180.0)], sample_rate_hz)
    round_off = board(
        [pb.LowpassFilter(cutoff_frequency_hz=400.0), pb.LowpassFilter(cutoff_frequency_hz=400.0)],
        sample_rate_hz,
    )

    def process(audio: np.ndarray) -> np.ndarray:
        low = fundamental(fundamental(fundamental(audio)))
        sub = round_off(turned_over(low, audio, sample_rate_hz))
        mixed: np.ndarray = audio + mix * (np.float32(1.4) * sub - audio)
        return mixed

    return process


def turned_over(low: np.ndarray, audio: np.ndarray, sample_rate_hz: int) -> np.ndarray:
    """``low`` with the sign changed at every other upward zero crossing, as loud as ``audio``.

    A period counts once ``low`` has been clearly under and clearly over zero: by a third of its
    recent peak, and above the hiss.
    """
    import scipy.ndimage

    window = round(0.03 * sample_rate_hz)
    past = (window - 1) // 2  # the peak follower looks back, not ahead
    peak = scipy.ndimage.maximum_filter1d(np.abs(low), window, origin=past)
    loud = scipy.ndimage.maximum_filter1d(np.abs(audio), window, origin=past)
    threshold = np.maximum(peak / 3, 1e-4)
    clear = np.where(low > threshold, 1, np.where(low < -threshold, -1, 0))
    places = np.arange(len(low))
    side = clear[np.maximum.accumulate(np.where(clear != 0, places, 0))]
    rises = np.flatnonzero((side[1:] == 1) & (side[:-1] == -1)) + 1
    crossings = np.maximum.accumulate(np.where(low <= 0, places, 0))[rises]
    flips = np.zeros(len(low), np.int64)
    flips[crossings] = 1
    sign = 1 - 2 * (np.cumsum(flips) % 2)
    level = np.where(peak > 3e-4, loud / np.maximum(peak, 3e-4), 0.0)
    turned: np.ndarray = (low * sign * level).astype(np.float32)
    return turned


def chorus(s: Settings, sample_rate_hz: int) -> Process:
    part = pb.Chorus(
        rate_hz=s["rate_hz"],
        depth=s["depth"],
        centre_delay_ms=s["delay_ms"],
        feedback=0.0,
        mix=s["mix"],
    )
    return lfo_board(part, s, sample_rate_hz)


def flanger(s: Settings, sample_rate_hz: int) -> Process:
    """A chorus with a short delay and feedback, which is what a flanger is.

    pedalboard's depth 1 is 10 ms to either side, and below 1 ms its delay stands still: here
    ``depth`` is the share of the way down to 1 ms, so that the comb never stops moving. Its
    feedback is subtracted, which at equal mix all but fills the notches: hence the sign.
    """
    part = pb.Chorus(
        rate_hz=s["rate_hz"],
        depth=s["depth"] * (s["delay_ms"] - 1.0) / 10.0,
        centre_delay_ms=s["delay_ms"],
        feedback=-s["feedback"],
        mix=0.5,
    )
    return lfo_board(part, s, sample_rate_hz)


def phaser(s: Settings, sample_rate_hz: int) -> Process:
    """Six all-pass stages on an LFO, mixed with the dry sound.

    With pedalboard's own sign of feedback the peaks grow beside the notches and fill them; with
    this one they grow between them, and the notches stay.
    """
    part = pb.Phaser(
        rate_hz=s["rate_hz"],
        depth=s["depth"],
        centre_frequency_hz=s["center_hz"],
        feedback=-s["feedback"],
        mix=0.5,
    )
    return lfo_board(part, s, sample_rate_hz)


def tremolo(s: Settings, sample_rate_hz: int) -> Process:
    """Volume that swells; ``shape`` turns the sine of an optical tremolo into a chopping square.

    pedalboard has no amplitude LFO, so this one is arithmetic.
    """
    rate_hz, depth, edge = s["rate_hz"], s["depth"], 0.5 * 18.0 ** s["shape"]

    def process(audio: np.ndarray) -> np.ndarray:
        swelled = np.empty(len(audio), np.float32)
        room = np.empty(min(len(audio), BLOCK_SAMPLES))
        for start in range(0, len(audio), BLOCK_SAMPLES):
            part = audio[start : start + BLOCK_SAMPLES]
            x = room[: len(part)]
            x[:] = np.arange(start, start + len(part))
            x *= rate_hz / sample_rate_hz
            x += s["phase_cycles"]
            x *= 2 * np.pi
            np.sin(x, out=x)
            x *= edge
            np.tanh(x, out=x)
            x /= np.tanh(edge)
            x *= 0.5
            x += 0.5
            x *= -depth
            x += 1.0
            np.multiply(part, x.astype(np.float32), out=swelled[start : start + len(part)])
        return swelled

    return process


def bitcrusher(s: Settings, sample_rate_hz: int) -> Process:
    return board([pb.Bitcrush(bit_depth=s["bits"])], sample_rate_hz)


def delay(s: Settings, sample_rate_hz: int) -> Process:
    part = pb.Delay(delay_seconds=s["delay_ms"] / 1000, feedback=s["feedback"], mix=s["mix"])
    return board([part], sample_rate_hz)


def reverb(s: Settings, sample_rate_hz: int) -> Process:
    part = pb.Reverb(
        room_size=s["room_size"],
        damping=s["damping"],
        wet_level=s["wet"],
        dry_level=(1.0 - s["wet"]) / 2,  # pedalboard doubles it
        width=0.0,
    )
    return board([part], sample_rate_hz)
