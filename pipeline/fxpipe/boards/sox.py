"""A chain as one SoX command line, in a shell script of two arguments. SoX 14.4."""

from __future__ import annotations

import math
from collections.abc import Sequence

from fxpipe.boards.dial import (
    Dial,
    Mapped,
    beside,
    comment,
    map_chain,
    number,
    time_constant_s,
)
from fxtrain.contract import BoardFile, Chain

MAX_ECHOES = 7
"""Of SoX's ``echo``."""

FAINT = 0.02
"""Echoes below this share of the guitar are left away."""

QUIET_DB = -90
"""Where SoX's ``compand`` starts from. By itself it starts at full scale: a compressor squeezes the
first note that hard, until its release time is over."""

MEAN_SQUARE_MS = 100
"""JUCE's gate listens to a mean square that falls within 50 ms, so its root within 100."""

Effects = list[tuple[str | float, ...]]


def _compressor(d: Dial) -> Effects:
    threshold, level = d["threshold_db"], d["level_db"]
    top = threshold - threshold / d["ratio"]
    points = f"-120,-120,{number(threshold)},{number(threshold)},0,{number(top)}"
    return [("compand", _times(d["attack_ms"], d["release_ms"]), points, level, QUIET_DB)]


def _gate(d: Dial) -> Effects:
    threshold = d["threshold_db"]
    low = threshold + (-120 - threshold) * d["ratio"]
    points = f"-120,{number(low)},{number(threshold)},{number(threshold)},0,0"
    times = _times(d["attack_ms"], d["release_ms"] + MEAN_SQUARE_MS)
    return [("compand", times, points, 0, QUIET_DB)]


def _times(attack_ms: float, release_ms: float) -> str:
    return ",".join(number(time_constant_s(ms)) for ms in (attack_ms, release_ms))


def _wah(d: Dial) -> Effects:
    center = d["center_hz"]
    return [
        ("highpass", "-1", 0.7 * center),
        ("equalizer", center, f"{number(d['q'])}q", 15),
        ("lowpass", "-1", 1.6 * center),
    ]


def _overdrive(d: Dial) -> Effects:
    return [
        ("overdrive", d["drive_db"], 0),
        ("lowpass", "-1", d["tone_hz"]),
        ("gain", d["level_db"]),
    ]


def _fuzz(d: Dial) -> Effects:
    return [
        ("overdrive", d["fuzz_db"], 100 * d["bias"]),
        ("highpass", "-1", 40),
        ("lowpass", "-1", d["tone_hz"]),
        ("gain", d["level_db"]),
    ]


def _bitcrusher(d: Dial) -> Effects:
    """SoX dithers where it rounds, and counts the sign as a bit."""
    return [("dither", "-p", round(d["bits"]) + 1)]


def _eq(d: Dial) -> Effects:
    return [
        ("bass", d["bass_db"], 150, "0.707q"),
        ("equalizer", d["mid_hz"], "0.9q", d["mid_db"]),
        ("treble", d["treble_db"], 3000, "0.707q"),
    ]


def _phaser(d: Dial) -> Effects:
    speed = d.within("rate_hz", d["rate_hz"], 0.1, 2)
    return [("phaser", 0.6, 0.8, 3, 0.2 + 0.6 * d["feedback"], speed, "-s")]


def _flanger(d: Dial) -> Effects:
    swing = d["depth"] * (d["delay_ms"] - 1)
    return [
        (
            "flanger",
            d["delay_ms"] - swing,
            d.within("depth", 2 * swing, 0, 10),
            100 * d["feedback"],
            100,
            d["rate_hz"],
        )
    ]


def _chorus(d: Dial) -> Effects:
    """SoX's own ``chorus`` begins at 20 ms; its flanger without feedback is one at any delay."""
    swing = 10 * d["depth"]
    share = d.within("mix", 100 * beside(d["mix"]), 0, 100)
    return [("flanger", d["delay_ms"] - swing, 2 * swing, 0, share, d["rate_hz"])]


def _tremolo(d: Dial) -> Effects:
    return [("tremolo", d["rate_hz"], 100 * d["depth"])]


def _delay(d: Dial) -> Effects:
    """SoX's echo has no feedback: each of our echoes is one of its own."""
    mix, feedback = d["mix"], d["feedback"]
    shares = [mix * feedback**n for n in range(MAX_ECHOES)]
    kept = [share for share in shares if share > FAINT]
    taps = [x for n, share in enumerate(kept, start=1) for x in (n * d["delay_ms"], share)]
    return [("echo", 1 - mix, 1, *taps)]


def _reverb(d: Dial) -> Effects:
    wet_db = 20 * math.log10(beside(d["wet"]))
    room = 100 * d["room_size"]
    return [("reverb", room, 100 * d["damping"], 100, 0, 0, d.within("wet", wet_db, -10, 10))]


EFFECTS: dict[str, Mapped[Effects]] = {
    "compressor": _compressor,
    "gate": _gate,
    "wah": _wah,
    "overdrive": _overdrive,
    "distortion": _overdrive,
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
"""No octaver: SoX cannot mix the guitar with itself an octave lower."""


def files(chain: Chain, title: str, remarks: Sequence[str]) -> tuple[BoardFile, ...]:
    found, notes = map_chain(chain, EFFECTS, "SoX")
    rows = [
        " ".join(part if isinstance(part, str) else number(part) for part in effect)
        for _, effects in found
        for effect in effects
    ]
    line = " \\\n    ".join(['exec sox -R "$1" "$2" remix -', *rows])
    text = (
        "#!/bin/sh\n"
        + comment([title, *remarks, *notes])
        + '[ $# -eq 2 ] || { echo "usage: sh board.sox.sh dry.wav wet.wav" >&2; exit 2; }\n'
        + f"{line}\n"
    )
    what = "a SoX command line: sh board.sox.sh dry.wav wet.wav"
    return (BoardFile("sox", "board.sox.sh", text.encode(), what, notes),)
