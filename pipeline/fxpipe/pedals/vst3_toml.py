"""TOML -> VST3 pedals: which plugin, what its parameters mean (docs/vst3.md). One line an error."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from fxpipe.errors import PedalError
from fxpipe.pedals.spec import FAMILIES, LINEARITIES, SCALES, UNITS
from fxpipe.pedals.vst3 import (
    SEARCH_VARIABLE,
    Plugin,
    PluginPedal,
    listed,
    open_plugin,
    search_folders,
    sha256_of,
)
from fxpipe.pedals.vst3_host import Facts, direction
from fxtrain.contract import ContractError, UsageError, at_home, from_dict, unknown_name

PROBE_RATE_HZ = 44_100
REPEATS_DB = -60.0
"""Two plays of the same may differ by this: ZamTube's do, by -90 dB, in one of twenty (memory it
never initialises). A random or free-running LFO is far above."""


def find_plugin(plugin: str, label: str, folder: Path) -> Path:
    """A path from ``folder``, or a bare file name looked for there and where hosts look."""
    given = at_home(plugin)
    folders = [folder] + (search_folders() if len(given.parts) == 1 else [])
    for place in folders:
        path = (place / given).absolute()
        if path.exists():
            return path
    where = "there" if given.is_absolute() else f"in {listed(folders)}"
    raise PedalError(f"{label}: plugin {plugin} is not {where}; install it, or give its path")


def _tell_workers(folder: Path) -> None:
    """Specs name files, not folders: worker processes look where this variable says."""
    if folder not in search_folders():
        told = [str(folder), os.environ.get(SEARCH_VARIABLE, "")]
        os.environ[SEARCH_VARIABLE] = os.pathsep.join(part for part in told if part)


def read_pedals(tables: Any, where: str, folder: Path) -> tuple[PluginPedal, ...]:
    """``[[pedal]]`` tables -> pedals, each plugin loaded once and heard once. One line an error."""
    if not isinstance(tables, list) or not all(isinstance(table, dict) for table in tables):
        raise UsageError(f"{where}: expected [[pedal]] tables")
    pedals: list[PluginPedal] = []
    for table in tables:
        name = table.get("name")
        if not isinstance(name, str) or not re.fullmatch(r"[a-z][a-z0-9_]*", name):
            raise UsageError(f"{where}: pedal name {name!r}: expected small letters, as 'my_delay'")
        if name in (pedal.name for pedal in pedals):
            raise UsageError(f"{where}: pedal {name!r} stands there twice; choose another name")
        pedals.append(_read_pedal(name, table, f"{where}: pedal {name!r}", folder))
    return tuple(pedals)


def _read_pedal(name: str, table: dict[str, Any], label: str, folder: Path) -> PluginPedal:
    params = table.get("params")
    if not isinstance(params, dict) or not params:
        raise UsageError(f"{label}: expected a [pedal.params.NAME] table for each knob")
    fixed = table.get("fixed", {})
    for key, value in {"fixed": fixed, **params}.items():
        if not isinstance(value, dict):
            raise UsageError(f"{label}: {key} is {value!r}, expected a table")
    if not table.get("plugin"):
        raise UsageError(f"{label}: key 'plugin' is missing: the path or file name of a VST3")
    path = find_plugin(str(table["plugin"]), label, folder)
    _tell_workers(path.parent)
    plugin_name = table.get("plugin_name", "")
    plugin = open_plugin(label, path, str(plugin_name))
    try:
        full = {
            **table,
            "plugin": path.name,
            "plugin_name": plugin_name,
            "version": plugin.facts["version"],
            "sha256": sha256_of(path),
            "params": [_with_defaults(key, value) for key, value in params.items()],
            "fixed": list(fixed.items()),
        }
        try:
            pedal = from_dict(PluginPedal, full, label)
        except ContractError as error:
            raise UsageError(str(error)) from None
        _check_words(pedal, label)
        _check_params(pedal, plugin.facts["params"], label)
        _hear(pedal, plugin, label)
    finally:
        plugin.close()
    return pedal


def _with_defaults(name: str, table: dict[str, Any]) -> dict[str, Any]:
    """A knob that says nothing of the plugin turns the parameter of its own name, unconverted."""
    defaults = {
        "name": name,
        "plugin_param": name,
        "plugin_low": table.get("low"),
        "plugin_high": table.get("high"),
        "plugin_scale": table.get("scale"),
    }
    return {**defaults, **table}


def _check_words(pedal: PluginPedal, label: str) -> None:
    words = [("family", pedal.family, FAMILIES), ("linearity", pedal.linearity, LINEARITIES)]
    for knob in pedal.params:
        words += [("unit", knob.unit, UNITS), ("scale", knob.scale, SCALES)]
        words += [("plugin_scale", knob.plugin_scale, SCALES)]
    for kind, word, known in words:
        if word not in known:
            raise UsageError(f"{label}: {unknown_name(kind, word, known)}")
    for knob in pedal.params:
        if not knob.low < knob.high or (knob.scale == "log" and knob.low <= 0):
            raise UsageError(f"{label}: {knob.name} goes from {knob.low:g} to {knob.high:g}")
        ends = (knob.plugin_low, knob.plugin_high)
        if ends[0] == ends[1] or (knob.plugin_scale == "log" and min(ends) <= 0):
            raise UsageError(f"{label}: {knob.name} cannot turn {knob.plugin_param} over {ends}")


def _check_params(pedal: PluginPedal, known: Mapping[str, Facts], label: str) -> None:
    turned = [knob.plugin_param for knob in pedal.params] + [key for key, _ in pedal.fixed]
    for key, value in pedal.fixed:
        if not isinstance(value, (bool, int, float, str)):
            raise UsageError(f"{label}: {key} is {value!r}, expected a number, text, true or false")
    for key in turned:
        if key not in known:
            raise UsageError(f"{label}: {unknown_name('plugin parameter', key, known)}")
        if turned.count(key) > 1:
            raise UsageError(f"{label}: plugin parameter {key!r} is set twice")
    for knob in pedal.params:
        param = known[knob.plugin_param]
        if not param["number"]:
            raise UsageError(
                f"{label}: {knob.plugin_param} is a switch, not a knob: put one of "
                f"{param['reads']} under [pedal.fixed]"
            )
        if not direction(param):
            raise UsageError(f"{label}: {knob.plugin_param} does not rise all the way: no knob")
    wanted: list[tuple[str, Any]] = list(pedal.fixed)
    for knob in pedal.params:
        wanted += [(knob.plugin_param, knob.plugin_low), (knob.plugin_param, knob.plugin_high)]
    for key, value in wanted:
        param = known[key]
        if not param["number"]:
            if str(value) not in param["reads"]:
                raise UsageError(f"{label}: {key} is {value!r}, expected one of {param['reads']}")
            continue
        low, high = min(param["reads"]), max(param["reads"])
        if isinstance(value, (bool, str)) or not low <= value <= high:
            raise UsageError(
                f"{label}: {key} is {value!r}, the plugin takes {low:g} to {high:g} "
                f"{param['unit']}".rstrip()
            )


def _hear(pedal: PluginPedal, plugin: Plugin, label: str) -> None:
    """Play a short burst twice: what does not repeat could never be made again."""
    rng = np.random.default_rng(0)
    fading = np.exp(-np.arange(PROBE_RATE_HZ // 2) / 4000)
    burst = (0.2 * fading * rng.standard_normal(len(fading))).astype(np.float32)
    example = pedal.spec().example(pedal.name).settings
    lowest = {knob.name: knob.low for knob in pedal.params}
    turned = []
    for settings in (example, lowest, example):
        turned.append(plugin.play(pedal.values(settings), burst, PROBE_RATE_HZ))
    if not all(np.isfinite(wet).all() for wet in turned):
        raise PedalError(f"{label}: the plugin gave a non-finite sample")
    error = float(np.linalg.norm(turned[0] - turned[2]))
    if error > 10 ** (REPEATS_DB / 20) * float(np.linalg.norm(turned[0])):
        raise PedalError(
            f"{label}: the plugin gives another sound each time for the same settings, so renders "
            "could not be made again; switch its randomness or free-running LFO off"
        )
