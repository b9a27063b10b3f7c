"""The child process in which a VST3 plugin runs: started and spoken to by ``vst3.py`` only.

A plugin is somebody else's machine code. In a process of its own a crash is one line and not a
dead worker, and it runs on a main thread, without which most plugins cannot be reset. It is loaded
afresh for every render: some plugins keep old settings or sound after a reset.
"""

from __future__ import annotations

import json
import os
import signal
import struct
import sys
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, BinaryIO

import numpy as np

Value = float | bool | str
Facts = dict[str, Any]
HEADER = struct.Struct("<II")


def send(stream: BinaryIO, message: Facts, audio: np.ndarray | None = None) -> None:
    """One message: two lengths, JSON, float32 samples."""
    text = json.dumps(message).encode()
    samples = b"" if audio is None else np.ascontiguousarray(audio, np.float32).tobytes()
    stream.write(HEADER.pack(len(text), len(samples)) + text + samples)
    stream.flush()


def receive(stream: BinaryIO) -> tuple[Facts, np.ndarray] | None:
    """The inverse of :func:`send`; None where the other side has gone."""
    header = stream.read(HEADER.size)
    if len(header) < HEADER.size:
        return None
    n_text, n_samples = HEADER.unpack(header)
    body = stream.read(n_text + n_samples)
    if len(body) < n_text + n_samples:
        return None
    return json.loads(body[:n_text]), np.frombuffer(body[n_text:], np.float32)


def describe(plugin: Any) -> Facts:
    """What the plugin is, and what each parameter reads along its raw range from 0 to 1."""
    params = {}
    for name, param in plugin.parameters.items():
        # pedalboard has asked a thousand places: (from, to) -> what stands on the dial there.
        spans = sorted((start, end, reads) for (start, end), reads in param.ranges.items())
        number = param.type is float
        params[name] = {
            "native": str(param.name),
            "number": number,
            "unit": param.label or "",
            "raws": [start if number else (start + end) / 2 for start, end, _ in spans],
            "reads": [float(reads) if number else str(reads) for _, _, reads in spans],
        }
    return {
        "name": str(plugin.name),
        "version": str(plugin.version),
        "instrument": bool(plugin.is_instrument),
        "params": params,
    }


def direction(param: Facts) -> int:
    """1 where a number rises all the way, -1 where it falls, 0 where it does neither."""
    steps = np.diff(param["reads"])
    return 1 if (steps > 0).all() else -1 if (steps < 0).all() else 0


def raw_of(param: Facts, value: Value) -> float:
    """Where between 0 and 1 a parameter reads ``value``; finer than a thousandth for a knob."""
    raws, reads = param["raws"], param["reads"]
    if not param["number"]:
        return float(raws[reads.index(str(value))])
    way = direction(param)
    if way:
        return float(np.interp(float(value), reads[::way], raws[::way]))
    return float(raws[int(np.argmin(np.abs(np.array(reads) - float(value))))])


def play(plugin: Any, audio: np.ndarray, sample_rate_hz: int) -> np.ndarray:
    """float32 [N] -> [N]; a plugin without a mono input gets both ears and is averaged."""
    latency = plugin.reported_latency_samples
    try:
        wet = np.asarray(plugin(audio, sample_rate_hz, reset=True))
    except ValueError as error:
        if "1-channel" not in str(error):
            raise
        wet = plugin(np.stack([audio, audio]), sample_rate_hz, reset=True).mean(axis=0)
    if wet.shape != audio.shape:
        raise ValueError(f"gave {wet.shape[-1]} samples for {len(audio)}, expected as many")
    if plugin.reported_latency_samples != latency:
        raise ValueError(
            f"changed its latency from {latency} to {plugin.reported_latency_samples} samples "
            "while it played"
        )
    return wet.astype(np.float32)


def serve(load: Callable[[], Any], facts: Facts, requests: BinaryIO, answers: BinaryIO) -> None:
    """Answer until the other side has gone, each time with a fresh plugin."""
    while (request := receive(requests)) is not None:
        message, audio = request
        try:
            plugin = load()
            native = {param.name: param for param in plugin._parameters}
            for name, value in message["set"].items():
                param = facts["params"][name]
                native[param["native"]].raw_value = raw_of(param, value)
            wet = play(plugin, audio, message["sample_rate_hz"])
        except Exception as error:
            send(answers, {"error": one_line(error)})
        else:
            send(answers, {}, wet)


def one_line(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__


def main(path: str, plugin_name: str) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the one who asks
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what a plugin prints must not stand between our answers
    try:
        import pedalboard._pedalboard as library

        def load() -> Any:
            return library.load_plugin(path, plugin_name=plugin_name or None)

        facts = describe(load())
        # Reading every dial again at each load would take 50 to 400 ms and half a megabyte.
        library.AudioProcessorParameter = lambda *_: SimpleNamespace(python_name="")
    except Exception as error:
        reason = one_line(error).rpartition("VST3Plugin: ")[2]
        send(answers, {"error": f"{path} is no VST3 that can be loaded here ({reason})"})
        return
    send(answers, facts)
    if not facts["instrument"]:
        serve(load, facts, sys.stdin.buffer, answers)


def run() -> None:
    """The child's whole life. It ends without asking the plugin: few are good at being undone."""
    main(sys.argv[1], sys.argv[2])
    os._exit(0)
