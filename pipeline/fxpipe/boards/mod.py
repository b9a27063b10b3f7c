"""A chain as a MOD pedalboard: an LV2 bundle of Guitarix's LV2 plugins. Experimental.

The layout is what mod-ui writes. It parses in lilv; it was never opened in a MOD device. URIs,
port symbols and ranges are those of guitarix-lv2 0.44.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from fxpipe.boards.dial import (
    Dial,
    Mapped,
    beside,
    comment,
    map_chain,
    number,
    tempo,
    time_constant_s,
)
from fxpipe.pedals import build_pedal
from fxtrain.contract import BoardFile, Chain, Pedal

HOME = "http://guitarix.sourceforge.net/plugins/"
BUNDLE = "board.pedalboard"
STEP_PX = 400

PREFIXES = """\
@prefix doap: <http://usefulinc.com/ns/doap#> .
@prefix ingen: <http://drobilla.net/ns/ingen#> .
@prefix lv2: <http://lv2plug.in/ns/lv2core#> .
@prefix pedal: <http://moddevices.com/ns/modpedal#> .
@prefix rdfs: <http://www.w3.org/2000/01/rdf-schema#> .
"""

MANIFEST = f"""\
{PREFIXES}
<board.ttl>
    lv2:prototype ingen:GraphPrototype ;
    a lv2:Plugin , ingen:Graph , pedal:Pedalboard ;
    rdfs:seeAlso <board.ttl> .
"""

BARK_HZ = (
    50, 150, 250, 350, 455, 570, 700, 845, 1000, 1175, 1375, 1600,
    1860, 2160, 2510, 2925, 3425, 4050, 4850, 5850, 7050, 8600, 10750, 13750,
)  # fmt: skip
"""Middles of Zwicker's critical bands (1961), which the graphic equaliser has."""


@dataclass(frozen=True)
class Plugin:
    """``ins`` and ``outs``: audio port symbols, one or two of each; ``knobs``: control ports."""

    uri: str
    knobs: dict[str, float]
    ins: tuple[str, ...] = ("in",)
    outs: tuple[str, ...] = ("out",)


def _stereo(uri: str, knobs: dict[str, float]) -> Plugin:
    return Plugin(uri, knobs, ("in", "in1"), ("out", "out1"))


def _squeeze(uri: str, d: Dial) -> Plugin:
    knobs = {
        "THRESHOLD": d["threshold_db"],
        "RATIO": d["ratio"],
        "ATTACK": time_constant_s(d["attack_ms"]),
        "RELEASE": time_constant_s(d["release_ms"]),
        "KNEE": 0.0,
    }
    return Plugin(uri, knobs)


def _compressor(d: Dial) -> Plugin:
    return _squeeze("gx_compressor#_compressor", d)


def _gate(d: Dial) -> Plugin:
    return _squeeze("gx_expander#_expander", d)


def _octaver(d: Dial) -> Plugin:
    mix = d["mix"]
    return Plugin("gx_oc_2_#_oc_2_", {"DIRECT": 1 - mix, "OCTAVE1": mix, "OCTAVE2": 0.0})


def _wah(d: Dial) -> Plugin:
    return Plugin("gx_gcb_95_#_gcb_95_", {"HOTPOTZ": d.turned("center_hz")})


def _overdrive(d: Dial) -> Plugin:
    knobs = {
        "fslider0_": d["level_db"],
        "fslider1_": d.turned("tone_hz", 100, 1000),
        "fslider2_": d.turned("drive_db"),
    }
    return Plugin("gxts9#ts9sim", knobs)


def _distortion(d: Dial) -> Plugin:
    knobs = {
        "DRIVE": d.turned("drive_db"),
        "TONE": d.turned("tone_hz"),
        "LEVEL": d.turned("level_db", -20, 12),
    }
    return Plugin("gx_bossds1_#_bossds1_", knobs)


def _fuzz(d: Dial) -> Plugin:
    knobs = {"FUZZ": d.turned("fuzz_db"), "LEVEL": d.turned("level_db")}
    return Plugin("gx_fuzzface_#_fuzzface_", knobs)


def _eq(d: Dial) -> Plugin:
    """Our equaliser's own response, read off in the middle of each band."""
    names = ("bass_db", "mid_db", "mid_hz", "treble_db")
    gains = _response_db(Pedal("eq", {name: d[name] for name in names}))
    knobs = {f"G{n}": float(gain) for n, gain in enumerate(np.clip(gains, -30, 20), start=1)}
    return Plugin("gx_barkgraphiceq_#_barkgraphiceq_", knobs)


def _response_db(pedal: Pedal, rate_hz: int = 44_100) -> np.ndarray:
    """Gain in dB at ``BARK_HZ``, of a pedal that is linear and time-invariant."""
    click = np.zeros(rate_hz, np.float32)
    click[0] = 1.0
    spectrum = np.abs(np.fft.rfft(build_pedal(pedal, rate_hz)(click)))
    found: np.ndarray = 20 * np.log10(spectrum[list(BARK_HZ)])  # bins are 1 Hz apart
    return found


def _phaser(d: Dial) -> Plugin:
    return Plugin("gx_phaser#_phaser", {"speed": d["rate_hz"], "dry_wet": 100.0})


def _flanger(d: Dial) -> Plugin:
    swing = d["depth"] * (d["delay_ms"] - 1)
    knobs = {
        "freq": d["rate_hz"],
        "depth": d.within("delay_ms", d["delay_ms"] - swing, 0, 5),
        "width": d.within("depth", 2 * swing, 0, 10),
        "feedback": -d["feedback"],
        "mix": 0.0,
        "dry_wet": 100.0,
    }
    return Plugin("gx_flanger#_flanger", knobs)


def _chorus(d: Dial) -> Plugin:
    """The plugin plays half of its delay."""
    knobs = {
        "freq": d["rate_hz"],
        "delay": 2 * d["delay_ms"] / 1000,
        "depth": d.within("depth", 10 * d["depth"] / d["delay_ms"], 0, 1),
        "level": d.within("mix", beside(d["mix"]), 0, 1),
    }
    return _stereo("gx_chorus_stereo#_chorus_stereo", knobs)


def _tremolo(d: Dial) -> Plugin:
    knobs = {"freq": d["rate_hz"], "depth": d["depth"], "mode": 1.0, "dry_wet": 100.0}
    return Plugin("gx_tremolo#_tremolo", knobs)


NOTES = {4: 4.0, 8: 7.0, 16: 10.0}
"""Of the digital delay: quarters, eighths and sixteenths in its list of notes."""


def _delay(d: Dial) -> Plugin:
    """``GAIN`` is what goes into the echoes; ``LEVEL`` lies within their loop and would shorten
    it."""
    bpm, note = tempo(d["delay_ms"])
    knobs = {
        "BPM": bpm,
        "NOTES": NOTES[note],
        "FEEDBACK": 100 * d["feedback"],
        "GAIN": 100 * beside(d["mix"]),
        "LEVEL": 100.0,
        "HIGHPASS": 20.0,
        "HOWPASS": 20_000.0,
        "MODE": 0.0,
    }
    return Plugin("gx_digital_delay_#_digital_delay_", knobs)


def _reverb(d: Dial) -> Plugin:
    knobs = {"roomsize": d["room_size"], "damp": d["damping"], "dry_wet": 100 * d["wet"]}
    return _stereo("gx_reverb_stereo#_reverb_stereo", knobs | {"mode": 0.0})


PLUGINS: dict[str, Mapped[Plugin]] = {
    "compressor": _compressor,
    "gate": _gate,
    "octaver": _octaver,
    "wah": _wah,
    "overdrive": _overdrive,
    "distortion": _distortion,
    "fuzz": _fuzz,
    "eq": _eq,
    "phaser": _phaser,
    "flanger": _flanger,
    "chorus": _chorus,
    "tremolo": _tremolo,
    "delay": _delay,
    "reverb": _reverb,
}
"""No bitcrusher: Guitarix has one in its own engine only."""


def files(chain: Chain, title: str, remarks: Sequence[str]) -> tuple[BoardFile, ...]:
    """``board.pedalboard/``, two files."""
    found, notes = map_chain(chain, PLUGINS, "guitarix-lv2")
    blocks = [(f"{p.name}_{n}", plugin) for n, (p, plugin) in enumerate(found, start=1)]
    text = (
        comment([title, "Experimental: never opened in a MOD device.", *remarks, *notes])
        + PREFIXES
        + "".join(_block(n, symbol, plugin) for n, (symbol, plugin) in enumerate(blocks))
        + _graph(title, blocks)
    )
    what = "a MOD pedalboard of Guitarix's LV2 plugins (experimental)"
    return (
        BoardFile("mod", f"{BUNDLE}/manifest.ttl", MANIFEST.encode(), what, notes),
        BoardFile("mod", f"{BUNDLE}/board.ttl", text.encode(), what, notes),
    )


def _block(n: int, symbol: str, plugin: Plugin) -> str:
    ports = [f"<{symbol}/{port}>" for port in (*plugin.ins, *plugin.outs, *plugin.knobs)]
    text = f"""
<{symbol}>
    a ingen:Block ;
    lv2:prototype <{HOME}{plugin.uri}> ;
    ingen:canvasX {200.0 + n * STEP_PX} ;
    ingen:canvasY 400.0 ;
    ingen:enabled true ;
    ingen:polyphonic false ;
    pedal:instanceNumber {n} ;
    lv2:port {" , ".join(ports)} .
"""
    for port, side in [(p, "Input") for p in plugin.ins] + [(p, "Output") for p in plugin.outs]:
        text += f"<{symbol}/{port}> a lv2:AudioPort , lv2:{side}Port .\n"
    for port, value in plugin.knobs.items():
        text += f"<{symbol}/{port}> a lv2:ControlPort , lv2:InputPort ;\n"
        text += f"    ingen:value {number(value)} .\n"
    return text


def _graph(title: str, blocks: list[tuple[str, Plugin]]) -> str:
    """The board itself: one guitar in, two ears out, and the cables between."""
    cables: list[tuple[str, str]] = []
    outs = ["capture_1"]
    for symbol, plugin in blocks:
        cables += _cables(outs, [f"{symbol}/{port}" for port in plugin.ins])
        outs = [f"{symbol}/{port}" for port in plugin.outs]
    cables += _cables(outs, ["playback_1", "playback_2"])
    text = ""
    for n, (tail, head) in enumerate(cables, start=1):
        text += f"_:b{n} ingen:tail <{tail}> ; ingen:head <{head}> .\n"
    ports = (("capture_1", "Input"), ("playback_1", "Output"), ("playback_2", "Output"))
    for index, (port, side) in enumerate(ports):
        text += f"""
<{port}>
    a lv2:AudioPort , lv2:{side}Port ;
    lv2:index {index} ;
    lv2:symbol "{port}" ;
    lv2:name "{port.replace("_", " ").capitalize()}" .
"""
    arcs = " , ".join(f"_:b{n}" for n in range(1, len(cables) + 1))
    names = " , ".join(f"<{symbol}>" for symbol, _ in blocks)
    return f"""{text}
<>
    a lv2:Plugin , ingen:Graph , pedal:Pedalboard ;
    doap:name {json.dumps(" ".join(title.split()), ensure_ascii=False)} ;
    pedal:width {float(len(blocks) * STEP_PX + STEP_PX)} ;
    pedal:height 1000.0 ;
    ingen:polyphony 1 ;
    ingen:arc {arcs} ;
{f"    ingen:block {names} ;" + chr(10) if names else ""}\
    lv2:port <capture_1> , <playback_1> , <playback_2> .
"""


def _cables(outs: list[str], ins: list[str]) -> list[tuple[str, str]]:
    """One to one; a mono end goes to both ears, of two ears a mono end takes the left."""
    return [(outs[min(i, len(outs) - 1)], head) for i, head in enumerate(ins)]
