"""What ``fxpipe pedals`` prints: pedals with their settings, or a plugin's TOML to fill in."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

from fxpipe.pedals import PEDALS, POOLS
from fxpipe.pedals.spec import UNITS
from fxpipe.pedals.vst3 import open_plugin, search_folders
from fxpipe.pedals.vst3_host import Facts, direction
from fxpipe.pedals.vst3_toml import find_plugin
from fxtrain.contract import UsageError, unknown_name

PLUGIN_HEAD = """\
[[pedal]]
name = {name}
plugin = {plugin}
family = "drive"          # dynamics, pitch, filter, drive, tone, modulation or time
linearity = "nonlinear"   # lti and ltv are promises: see docs/vst3.md
meaning = "what it does for a guitarist"
"""


def list_pedals(which: Path | None) -> str:
    """All pedals by family, then the pools; or one pedal; or a plugin's ``[[pedal]]`` table."""
    if which is None:
        pools = [f"pool {pool}: {', '.join(names)}" for pool, names in POOLS.items()]
        return "\n".join([*map(describe_pedal, PEDALS), *pools])
    if (name := str(which)) in PEDALS:
        return describe_pedal(name)
    if len(which.parts) == 1 and not which.suffix and not which.exists():  # nor a plugin's file
        raise UsageError(unknown_name("pedal", name, PEDALS))
    return plugin_table(which)


def describe_pedal(name: str) -> str:
    """What it does, and a line for each of its settings."""
    spec = PEDALS[name]
    settings = [
        f"    {p.name}  {p.low:g} to {p.high:g} {p.unit}, {p.scale}: {p.meaning}"
        for p in spec.params
    ]
    return "\n".join([f"{name}: {spec.meaning} ({spec.family}, {spec.linearity})", *settings])


def plugin_table(plugin: Path) -> str:
    """A ``[[pedal]]`` table with every parameter of a plugin, to be cut down to a few knobs."""
    label = f"plugin {plugin.name}"
    path = find_plugin(str(plugin), label, Path())
    opened = open_plugin(label, path, "")
    opened.close()
    params: dict[str, Facts] = opened.facts["params"]
    knobs = [name for name, param in params.items() if param["number"] and direction(param)]
    lie_about = path.parent in search_folders()
    text = PLUGIN_HEAD.format(
        name=json.dumps(_plain(opened.facts["name"])),
        plugin=json.dumps(path.name if lie_about else str(path)),
    )
    text += "".join(_knob(name, params[name]) for name in knobs)
    rest = [name for name in params if name not in knobs]
    if rest:
        text += "\n[pedal.fixed]\n"
        for name in rest:
            reads = params[name]["reads"]
            text += f"# {name} = {json.dumps(reads[0])}  # one of {json.dumps(reads)}\n"
    return text.rstrip()


def _knob(name: str, param: Facts) -> str:
    low, high = min(param["reads"]), max(param["reads"])
    unit = param["unit"] if param["unit"] in UNITS else "ratio"
    scale = "log" if unit in ("Hz", "ms") and low > 0 else "linear"
    write: Callable[[object], str] = json.dumps
    return (
        f"\n[pedal.params.{_plain(name)}]\n"
        f"unit = {write(unit)}\nlow = {low:g}\nhigh = {high:g}\nscale = {write(scale)}\n"
        f'meaning = "what this knob does"\nplugin_param = {write(name)}\n'
    )


def _plain(name: str) -> str:
    plain = re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_")
    return plain if plain[:1].isalpha() else f"p_{plain}"
