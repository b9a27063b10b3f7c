"""Boards that are not ours, for the rehearsal: SoX's effects and Guitarix's LV2 plugins (Debian).

Each pedal is one program run, file in and file out, its knobs turned as ``fxpipe.boards`` turns
them for an export. Levels between pedals are ours to keep: files are 32-bit float, and what is
linear runs with headroom, since SoX clips at full scale.
"""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import soundfile

from fxpipe.boards import mod, sox
from fxpipe.boards.dial import Dial, number
from fxpipe.pedals import PEDALS
from fxpipe.render import play
from fxtrain.contract import Pedal

Play = Callable[[Pedal, np.ndarray, int], np.ndarray]
HEADROOM = 1 / 16


class MissingError(Exception):
    """A program that the rehearsal needs, and how to get it."""


def ours(pedal: Pedal, wave: np.ndarray, rate: int) -> np.ndarray:
    return play(pedal, wave, rate)


def _run(words: list[str], wave: np.ndarray, rate: int, channels: int = 1) -> np.ndarray:
    """``IN`` and ``OUT`` in ``words`` are the files."""
    with tempfile.TemporaryDirectory() as folder:
        source, target = str(Path(folder, "in.wav")), str(Path(folder, "out.wav"))
        sound = wave if channels == 1 else np.stack([wave] * channels, 1)
        soundfile.write(source, sound, rate, subtype="FLOAT")
        words = [{"IN": source, "OUT": target}.get(word, word) for word in words]
        done = subprocess.run(words, capture_output=True, text=True, timeout=120)
        if done.returncode or not Path(target).is_file():
            raise RuntimeError(f"{' '.join(words)}: {done.stderr.strip()}")
        out = soundfile.read(target, dtype="float32", always_2d=True)[0].mean(1)
    return np.pad(out, (0, max(0, len(wave) - len(out))))[: len(wave)]


def sox_board() -> Play:
    if shutil.which("sox") is None:
        raise MissingError("sox: apt-get install sox")

    def run(pedal: Pedal, wave: np.ndarray, rate: int) -> np.ndarray:
        effects = sox.EFFECTS[pedal.name](Dial(pedal, "SoX"))
        words = [w if isinstance(w, str) else number(w) for effect in effects for w in effect]
        linear = PEDALS[pedal.name].linearity != "nonlinear"
        gain = np.float32(HEADROOM if linear else 1.0)
        line = ["sox", "-R", "-V1", "IN", "-e", "floating-point", "-b", "32", "OUT", *words]
        return _run(line, gain * wave, rate) / gain

    return run


def guitarix_board() -> Play:
    if shutil.which("lv2proc") is None or shutil.which("lv2ls") is None:
        raise MissingError("lv2proc: apt-get install lv2proc lilv-utils guitarix-lv2")
    found = subprocess.run(["lv2ls"], capture_output=True, text=True).stdout
    if mod.HOME not in found:
        raise MissingError("Guitarix's LV2 plugins: apt-get install guitarix-lv2")

    def run(pedal: Pedal, wave: np.ndarray, rate: int) -> np.ndarray:
        dial = Dial(pedal, "guitarix-lv2")
        plugin = _echo(dial) if pedal.name == "delay" else mod.PLUGINS[pedal.name](dial)
        knobs = [
            w for name, value in plugin.knobs.items() for w in ("-c", f"{name}:{number(value)}")
        ]
        line = ["lv2proc", "-i", "IN", "-o", "OUT", *knobs, mod.HOME + plugin.uri]
        return _run(line, wave, rate, len(plugin.ins))

    return run


def _echo(d: Dial) -> mod.Plugin:
    """lv2proc cannot run the digital delay of the export (a port of another kind). Guitarix's
    echo has one level, of the first echo and from each to the next: the mean of ours."""
    level = 100 * (d["feedback"] * d["mix"] / (1 - d["mix"])) ** 0.5
    knobs = {"timt_l": d["delay_ms"], "timt_r": d["delay_ms"], "level_l": level, "level_r": level}
    return mod.Plugin("gx_echo_stereo#_echo_stereo", knobs, ("in", "in1"), ("out", "out1"))


BOARDS: dict[str, Callable[[], Play]] = {
    "pedalboard": lambda: ours,
    "SoX": sox_board,
    "Guitarix": guitarix_board,
}
