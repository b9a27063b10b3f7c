"""A VST3 plugin as a pedal: found by file name and hash, run in a child process (``vst3_host.py``).

A ``PluginPedal`` is part of the spec, so any worker can load the same plugin and check that it is
the same one. What is written in a TOML file is read in ``vst3_toml.py``.
"""

from __future__ import annotations

import atexit
import contextlib
import hashlib
import math
import os
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from fxpipe.errors import PedalError
from fxpipe.pedals.spec import PedalSpec, Process, Settings
from fxpipe.pedals.vst3_host import Facts, Value, receive, send
from fxtrain.contract import ContractError, Param, check_name, shorten, to_unit

SEARCH_VARIABLE = "FXPIPE_VST3_PATH"
STANDARD_FOLDERS = (
    "~/.vst3",
    "/usr/lib/vst3",
    "/usr/local/lib/vst3",
    "~/Library/Audio/Plug-Ins/VST3",
    "/Library/Audio/Plug-Ins/VST3",
    "C:/Program Files/Common Files/VST3",
)
"""Where hosts look (VST3 developer portal, "Plug-in Locations")."""

ANSWER_S = 60.0
"""A plugin that needs longer than this for a few seconds of audio has hung."""

CHILD = "from fxpipe.pedals.vst3_host import run; run()"


@dataclass(frozen=True)
class PluginParam:
    """One knob and the plugin parameter it turns.

    At ``low`` the parameter stands at ``plugin_low`` and at ``high`` at ``plugin_high``; between
    them both move along their own scales.
    """

    name: str
    unit: str
    low: float
    high: float
    scale: str
    meaning: str
    plugin_param: str
    plugin_low: float
    plugin_high: float
    plugin_scale: str

    @property
    def param(self) -> Param:
        return Param(self.name, self.unit, self.low, self.high, self.scale, self.meaning)

    def to_plugin(self, value: float) -> float:
        u = to_unit(self.param, value)
        if self.plugin_scale == "log":
            ratio = self.plugin_high / self.plugin_low
            return self.plugin_low * math.exp(u * math.log(ratio))
        return self.plugin_low + u * (self.plugin_high - self.plugin_low)


@dataclass(frozen=True)
class PluginPedal:
    """A plugin as a pedal, wherever its file lies: ``plugin`` is the file's name, ``sha256`` and
    ``version`` say which build. ``fixed`` holds plugin parameters that never move."""

    name: str
    plugin: str
    plugin_name: str
    version: str
    sha256: str
    family: str
    linearity: str
    meaning: str
    params: tuple[PluginParam, ...]
    fixed: tuple[tuple[str, Any], ...]

    def __post_init__(self) -> None:
        if "/" in check_name(self.plugin):  # a spec from elsewhere must not point at any file
            raise ContractError(f"plugin {shorten(self.plugin)}: expected a file's name, no path")

    def spec(self) -> PedalSpec:
        return PedalSpec(
            self.family,
            self.linearity,
            self.meaning,
            tuple(knob.param for knob in self.params),
            self._build,
        )

    def values(self, settings: Settings) -> dict[str, Value]:
        """The plugin's own parameters where the knobs stand at ``settings``."""
        turned = {k.plugin_param: k.to_plugin(settings[k.name]) for k in self.params}
        return {**dict(self.fixed), **turned}

    def _build(self, settings: Settings, sample_rate_hz: int) -> Process:
        values = self.values(settings)
        return lambda audio: running(self).play(values, audio, sample_rate_hz)


class Plugin:
    """A plugin in its own process. ``facts`` is what ``vst3_host.describe`` found."""

    def __init__(self, label: str, command: list[str]) -> None:
        self._label = label
        self._turn = threading.Lock()
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
        )
        atexit.register(self.close)
        try:
            self.facts = self._answer()[0]
        except PedalError:
            self.close()
            raise

    @property
    def alive(self) -> bool:
        return self._process.poll() is None

    def play(self, values: Mapping[str, Value], audio: np.ndarray, rate_hz: int) -> np.ndarray:
        """float32 [N] -> [N] at these plugin parameters; state never carries over."""
        assert self._process.stdin
        with self._turn:
            with contextlib.suppress(OSError):  # it is gone: the answer says how
                message = {"set": dict(values), "sample_rate_hz": rate_hz}
                send(self._process.stdin, message, audio)  # type: ignore[arg-type]
            return self._answer()[1]

    def _answer(self) -> tuple[Facts, np.ndarray]:
        assert self._process.stdout
        hung = threading.Event()

        def give_up() -> None:
            hung.set()
            self._process.kill()

        clock = threading.Timer(ANSWER_S, give_up)
        clock.start()
        try:
            answer = receive(self._process.stdout)  # type: ignore[arg-type]
        finally:
            clock.cancel()
        if answer is None:
            code = self._process.wait()
            late = f"did not answer within {ANSWER_S:g} s"
            how = late if hung.is_set() else f"crashed (exit {code})"
            self.close()
            raise PedalError(f"{self._label}: the plugin {how}")
        if "error" in answer[0]:
            raise PedalError(f"{self._label}: {answer[0]['error']}")
        return answer

    def close(self) -> None:
        """End the process; the plugin is not asked."""
        atexit.unregister(self.close)
        self._process.kill()
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout):
            if stream is not None:
                with contextlib.suppress(OSError):
                    stream.close()


def open_plugin(label: str, path: Path, plugin_name: str) -> Plugin:
    """Start a plugin's process; an error where it is no VST3 or makes sound by itself."""
    plugin = Plugin(label, [sys.executable, "-c", CHILD, str(path), plugin_name])
    if plugin.facts["instrument"]:
        plugin.close()
        raise PedalError(f"{label}: {path.name} is an instrument, it hears no guitar")
    return plugin


_RUNNING: dict[PluginPedal, Plugin] = {}
_ONE_AT_A_TIME = threading.Lock()
"""While a process is started: the threads of a cluster's worker would start one each."""


def running(pedal: PluginPedal) -> Plugin:
    """The process of this pedal's plugin, one for each pedal in each worker."""
    with _ONE_AT_A_TIME:
        if pedal not in _RUNNING or not _RUNNING[pedal].alive:
            _RUNNING[pedal] = _start(pedal)
        return _RUNNING[pedal]


def _start(pedal: PluginPedal) -> Plugin:
    label = f"pedal {pedal.name!r}"
    found = [folder / pedal.plugin for folder in search_folders()]
    for path in (path for path in found if path.exists()):
        if sha256_of(path) == pedal.sha256:
            return open_plugin(label, path, pedal.plugin_name)
    raise PedalError(
        f"{label}: {pedal.plugin} {pedal.version} (sha256 {pedal.sha256[:12]}) is not in "
        f"{listed(search_folders())}; install that build, or name its folder in {SEARCH_VARIABLE}"
    )


def search_folders() -> list[Path]:
    """Where a plugin is looked for by its file name."""
    named = [Path(part) for part in os.environ.get(SEARCH_VARIABLE, "").split(os.pathsep) if part]
    return named + [Path(os.path.expanduser(folder)) for folder in STANDARD_FOLDERS]  # noqa: PTH111 - without a home, too


def listed(folders: Sequence[Path]) -> str:
    return ", ".join(str(folder) for folder in folders)


def sha256_of(path: Path) -> str:
    """Of a plugin file, or of all files of a bundle with their names."""
    digest = hashlib.sha256()
    for file in sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else [path]:
        digest.update(file.relative_to(path).as_posix().encode() + b"\0")
        digest.update(hashlib.sha256(file.read_bytes()).digest())
    return digest.hexdigest()
