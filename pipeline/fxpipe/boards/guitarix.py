"""A chain as a bank of Guitarix with one preset: mono units before the amplifier, which is off.

Units and their ranges are those of Guitarix 0.44 (its own ``parameterlist`` over JSON-RPC).
"""

from __future__ import annotations

import json
from collections.abc import Sequence

from fxpipe.boards.dial import Dial, Mapped, beside, map_chain, number, tempo, time_constant_s
from fxtrain.contract import BoardFile, Chain

HEADER = ["gx_head_file_version", [1, 2, "0.44.1"]]
MAX_TITLE = 60

Knobs = dict[str, float | str]
Unit = tuple[str, Knobs]


def _compressor(d: Dial) -> Unit:
    return "compressor", {
        "threshold": d["threshold_db"],
        "ratio": d["ratio"],
        "attack": time_constant_s(d["attack_ms"]),
        "release": time_constant_s(d["release_ms"]),
        "knee": 0,
    }


def _gate(d: Dial) -> Unit:
    return "abgate", {
        "threshold": d["threshold_db"],
        "attack": d["attack_ms"],
        "decay": d["release_ms"],
        "hold": 5,
    }


def _octaver(d: Dial) -> Unit:
    wet = 100 * d["mix"]
    return "smbPitchShift", {"octave": "octave down", "semitone": 0, "wet": wet, "dry": 100 - wet}


def _wah(d: Dial) -> Unit:
    return "crybaby", {"autowah": "manual", "wah": d.turned("center_hz"), "wet_dry": 100}


def _overdrive(d: Dial) -> Unit:
    return "ts9sim", {
        "drive": d.turned("drive_db"),
        "tone": d.turned("tone_hz", 100, 1000),
        "level": d["level_db"],
    }


def _distortion(d: Dial) -> Unit:
    return "bossds1", {
        "drive": d.turned("drive_db"),
        "Tone": d.turned("tone_hz"),
        "Level": d.turned("level_db", -20, 12),
    }


def _fuzz(d: Dial) -> Unit:
    return "fuzzface", {"Fuzz": d.turned("fuzz_db"), "Level": d.turned("level_db")}


def _bitcrusher(d: Dial) -> Unit:
    """Guitarix counts the sign as a bit."""
    return "bitdowner", {"bit_down": d["bits"] + 1, "downsampling": 1}


def _eq(d: Dial) -> Unit:
    """Shelves become wide peaks."""
    return "eq", {
        "level1": d["bass_db"], "peak1": 75, "bandwidth1": 150,
        "level2": 0,
        "level3": d["mid_db"], "peak3": d["mid_hz"], "bandwidth3": d["mid_hz"] / 0.9,
        "level4": d["treble_db"], "peak4": 6000, "bandwidth4": 8000,
    }  # fmt: skip


def _phaser(d: Dial) -> Unit:
    bpm = d.within("rate_hz", 60 * d["rate_hz"], 24, 360)
    return "phaser_mono", {"lfobpm": bpm, "wet_dry": 100}


def _flanger(d: Dial) -> Unit:
    """Guitarix 0.44.1 answers 0.2 Hz, whatever a bank or its own JSON-RPC sets."""
    d.lose("Guitarix 0.44.1 keeps 0.2 Hz for rate_hz; turn its Speed by hand")
    swing = d["depth"] * (d["delay_ms"] - 1)
    return "flanger_mono_gx", {
        "freq": d["rate_hz"],
        "depth": d.within("delay_ms", d["delay_ms"] - swing, 0, 5),
        "width": d.within("depth", 2 * swing, 0, 10),
        "feedback": -d["feedback"],
        "mix": 0,
        "wet": 100,
    }


def _chorus(d: Dial) -> Unit:
    level = d.within("mix", beside(d["mix"]), 0, 1)
    return "chorus_mono", {"freq": d["rate_hz"], "level": level, "wet_dry": 100}


def _tremolo(d: Dial) -> Unit:
    return "tremolo", {
        "freq": d["rate_hz"],
        "depth": d["depth"],
        "SINE": "sine" if d["shape"] < 0.5 else "square",
        "wet_dry": 100,
    }


def _delay(d: Dial) -> Unit:
    """``gain`` is what goes into the echoes; ``level`` lies within their loop and would shorten
    it."""
    bpm, note = tempo(d["delay_ms"])
    return "dide", {
        "bpm": bpm,
        "notes": f"1/{note} note",
        "feedback": 100 * d["feedback"],
        "gain": 100 * beside(d["mix"]),
        "level": 100,
        "highpass": 20,
        "howpass": 20_000,
        "mode": "plain",
    }


def _reverb(d: Dial) -> Unit:
    return "freeverb", {"RoomSize": d["room_size"], "damp": d["damping"], "wet_dry": 100 * d["wet"]}


UNITS: dict[str, Mapped[Unit]] = {
    "compressor": _compressor,
    "gate": _gate,
    "octaver": _octaver,
    "wah": _wah,
    "overdrive": _overdrive,
    "distortion": _distortion,
    "fuzz": _fuzz,
    "bitcrusher": _bitcrusher,
    "eq": _eq,
    "phaser": _phaser,
    "flanger": _flanger,
    "chorus": _chorus,
    "tremolo": _tremolo,
    "delay": _delay,
    "reverb": _reverb,
}


def files(chain: Chain, title: str, remarks: Sequence[str]) -> tuple[BoardFile, ...]:
    """``board.gx``. The format has no comments, so remarks stand in the preset's name and notes."""
    units, notes = map_chain(chain, UNITS, "Guitarix", once=True)
    engine: dict[str, float | str] = {}
    for position, (_, (unit, knobs)) in enumerate(units, start=1):
        engine |= {
            f"{unit}.on_off": 1,
            f"{unit}.position": position,
            f"{unit}.pp": "pre",
            f"ui.{unit}": 1,
        }
        for knob, value in knobs.items():
            engine[f"{unit}.{knob}"] = value if isinstance(value, str) else float(number(value))
    bank = [*HEADER, preset_name(title, remarks), {"engine": engine}]
    text = json.dumps(bank, indent=1, ensure_ascii=False) + "\n"
    what = "a bank for Guitarix: drop it on the bank list of its preset window"
    return (BoardFile("guitarix", "board.gx", text.encode(), what, notes),)


def preset_name(title: str, remarks: Sequence[str]) -> str:
    """The title, and in brackets what is said of all settings."""
    name = " ".join(title.split())[:MAX_TITLE]
    return " ".join(f"{name} ({remarks[0]})".split()) if remarks else name
