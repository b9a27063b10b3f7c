"""How pedals are built from pedalboard parts; the only module that imports pedalboard.

A fresh instance for every render and ``reset=True`` always: with state left over, filters, delays
and LFOs of one clip would be heard in the next (pedalboard issue 179).
"""

from __future__ import annotations

import numpy as np
import pedalboard as pb

from fxpipe.pedals.spec import Process, Settings

MAX_PREROLL_S = 2.0


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
    preroll_s = min(s["phase_cycles"] / s["rate_hz"], MAX_PREROLL_S)
    return board([part], sample_rate_hz, round(preroll_s * sample_rate_hz))


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

    The 720 Hz corner and the clean path are the Tube Screamer's (electrosmash.com analysis).
    """
    clip = board(
        [pb.HighpassFilter(cutoff_frequency_hz=720.0), pb.Distortion(drive_db=s["drive_db"])],
        sample_rate_hz,
    )
    tone = board(
        [pb.LowpassFilter(cutoff_frequency_hz=s["tone_hz"]), pb.Gain(gain_db=s["level_db"])],
        sample_rate_hz,
    )
    return lambda audio: tone(0.5 * (audio + clip(audio)))


def distortion(s: Settings, sample_rate_hz: int) -> Process:
    return board(
        [
            pb.Distortion(drive_db=s["drive_db"]),
            pb.LowpassFilter(cutoff_frequency_hz=s["tone_hz"]),
            pb.Gain(gain_db=s["level_db"]),
        ],
        sample_rate_hz,
    )


def fuzz(s: Settings, sample_rate_hz: int) -> Process:
    """Hard clipping of a biased signal: the two halves of the wave clip at different heights."""
    lift = board([pb.Gain(gain_db=s["fuzz_db"])], sample_rate_hz)
    clip = board(
        [
            pb.Clipping(threshold_db=-6.0),
            pb.HighpassFilter(cutoff_frequency_hz=40.0),
            pb.LowpassFilter(cutoff_frequency_hz=s["tone_hz"]),
            pb.Gain(gain_db=s["level_db"]),
        ],
        sample_rate_hz,
    )
    bias = np.float32(s["bias"])
    return lambda audio: clip(lift(audio) + bias)


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
    """The note and the note an octave below it."""
    shift = board([pb.PitchShift(semitones=-12.0)], sample_rate_hz)
    mix = np.float32(s["mix"])

    def process(audio: np.ndarray) -> np.ndarray:
        mixed: np.ndarray = audio + mix * (shift(audio) - audio)
        return mixed

    return process


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
    """A chorus with a short delay and feedback, which is what a flanger is."""
    part = pb.Chorus(
        rate_hz=s["rate_hz"],
        depth=s["depth"],
        centre_delay_ms=s["delay_ms"],
        feedback=s["feedback"],
        mix=0.5,
    )
    return lfo_board(part, s, sample_rate_hz)


def phaser(s: Settings, sample_rate_hz: int) -> Process:
    part = pb.Phaser(
        rate_hz=s["rate_hz"],
        depth=s["depth"],
        centre_frequency_hz=s["center_hz"],
        feedback=s["feedback"],
        mix=0.5,
    )
    return lfo_board(part, s, sample_rate_hz)


def tremolo(s: Settings, sample_rate_hz: int) -> Process:
    """Volume that swells; ``shape`` turns the sine of an optical tremolo into a chopping square.

    pedalboard has no amplitude LFO, so this one is arithmetic.
    """
    rate_hz, depth, edge = s["rate_hz"], s["depth"], 1.0 + 8.0 * s["shape"]

    def process(audio: np.ndarray) -> np.ndarray:
        turns = np.arange(len(audio)) * (rate_hz / sample_rate_hz) + s["phase_cycles"]
        wave = np.tanh(edge * np.sin(2 * np.pi * turns)) / np.tanh(edge)
        gain = 1.0 - depth * (0.5 + 0.5 * wave)
        swelled: np.ndarray = audio * gain.astype(np.float32)
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
        dry_level=1.0 - s["wet"],
        width=0.0,
    )
    return board([part], sample_rate_hz)
