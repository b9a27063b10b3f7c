"""Options and TOML -> RenderSpec. A flag replaces the file's key; unknown keys are refused."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from fxpipe.chains.chain import ChainSpec
from fxpipe.pedals import PluginPedal, pool_of, register
from fxpipe.pedals.vst3_toml import read_pedals
from fxpipe.render import YOUNGER, RenderSpec
from fxtrain.contract import (
    PAD,
    ContractError,
    UsageError,
    from_dict,
    read_toml,
    settings_of,
    shorten,
    to_dict,
    unknown_name,
)

DEFAULT_POOL = "stompbox"
DEFAULT_MAX_LENGTH = 5
ELSEWHERE = {"chain": "a table [chain] of its own", "plugins": "[[pedal]] tables"}
"""Fields of a spec that are no keys of its table, and what says them in a file."""

ON_THE_COMMAND_LINE = (
    *("n_chains", "dataset", "data_dir", "include", "kinds", "fractions", "split_seed", "seed"),
    *("output", "shard_size", "workers", "scheduler", "cluster", "overwrite", "resume"),
)
"""Of what a clip may be, a file tells; of how many, of what and whereto, a command."""


def render_spec(
    config: Path | None, options: Mapping[str, Any], default_pool: str = DEFAULT_POOL
) -> RenderSpec:
    """A spec from ``[render]`` and ``[chain]`` of a TOML file and the options that are not None.

    ``default_pool``: with the plugins, where neither names a pool.
    """
    with settings_of(config):
        return _render_spec(config, options, default_pool)


def _render_spec(config: Path | None, options: Mapping[str, Any], default_pool: str) -> RenderSpec:
    data = read_toml(config) if config else {}
    for table in data:
        if table not in ("render", "chain", "pedal"):
            raise UsageError(
                f"{config}: unknown table [{table}], expected [render], [chain] and [[pedal]]"
            )
    where = str(config) if config else "options"
    plugins = _plugins(data, config, options.get("pedals"))
    chain = chain_keys(_table(data, "chain", ChainSpec, where), options)
    render = dict(_table(data, "render", RenderSpec, where)) | _given(
        options,
        *("clip_s", "audible_db", "phrases", "classes", "alike_db", *YOUNGER),
    )
    try:
        everything = ",".join([default_pool, *(plugin.name for plugin in plugins)])
        chain["pool"] = pool_of(_names(chain.get("pool", everything), f"{where}: chain.pool"))
        chain["plugins"] = [to_dict(plugin) for plugin in plugins if plugin.name in chain["pool"]]
        if "lengths" not in chain:
            deciding = ("pool", "weights", "repeats", "exclusive")
            bounds = {key: chain[key] for key in deciding if key in chain} | {"lengths": {1: 1.0}}
            longest = from_dict(ChainSpec, bounds, f"{where}: chain").sets.longest()
            limit = min(DEFAULT_MAX_LENGTH, longest)
            chain["lengths"] = dict.fromkeys(range(1, limit + 1), 1.0)
        spec = from_dict(ChainSpec, chain, f"{where}: chain")
        return from_dict(RenderSpec, {**render, "chain": to_dict(spec)}, f"{where}: render")
    except ContractError as error:
        raise UsageError(str(error)) from None


def load_pedals(path: Path) -> tuple[PluginPedal, ...]:
    """Pedals from the ``[[pedal]]`` tables of a TOML file, each plugin loaded once and heard."""
    data = read_toml(path)
    for table in data:
        if table != "pedal":
            raise UsageError(f"{path}: unknown table [{table}], expected [[pedal]] tables")
    plugins = read_pedals(data.get("pedal", []), str(path), path.parent)
    register(plugins)
    return plugins


def _plugins(
    data: Mapping[str, Any], config: Path | None, pedals: Path | None
) -> tuple[PluginPedal, ...]:
    """What ``--config`` and ``--pedals`` bring along, known to this process from now on."""
    found: tuple[PluginPedal, ...] = ()
    if config is not None and "pedal" in data:
        found = read_pedals(data["pedal"], str(config), config.parent)
        register(found)
    return found if pedals is None else (*found, *load_pedals(pedals))


def chain_keys(table: Mapping[str, Any], options: Mapping[str, Any]) -> dict[str, Any]:
    """``[chain]`` of a file under the chain options that were given, all in their long forms."""
    chain = dict(table) | _given(options, "pool", "order", "temperature", "repeats")
    chain |= _given(options, "balance", "knobs", "makes")
    for key, parse in PARSERS.items():
        if options.get(key) not in (None, ()):
            chain[key] = parse(options[key])
        elif isinstance(chain.get(key), str):
            chain[key] = parse(chain[key])
    return chain


def _names(pool: Any, where: str) -> str | Sequence[str]:
    if isinstance(pool, str):
        return pool
    if not (isinstance(pool, (list, tuple)) and all(isinstance(name, str) for name in pool)):
        raise ContractError(
            f"{where}: expected a pool's name or a list of pedals, found {shorten(pool)}"
        )
    return pool


def _table(
    data: Mapping[str, Any], name: str, spec: type[ChainSpec | RenderSpec], where: str
) -> Mapping[str, Any]:
    table = data.get(name, {})
    if not isinstance(table, Mapping):
        raise UsageError(f"{where}: {name} is {shorten(table)}, expected a table [{name}]")
    known = [field.name for field in dataclasses.fields(spec) if field.name not in ELSEWHERE]
    for key in table:
        if key in ELSEWHERE:
            raise UsageError(
                f"{where}: {name}: {key!r} is no key of [{name}]; write {ELSEWHERE[key]}"
            )
        if key in ON_THE_COMMAND_LINE:
            raise UsageError(
                f"{where}: {name}: {key!r} is said on the command line alone, as "
                f"--{key.replace('_', '-')}"
            )
        if key not in known:
            raise UsageError(f"{where}: {name}: {unknown_name('key', key, known)}")
    return table


def _given(options: Mapping[str, Any], *names: str) -> dict[str, Any]:
    return {name: options[name] for name in names if options.get(name) is not None}


def parse_fractions(text: str) -> tuple[float, float, float]:
    """``0.8,0.1,0.1`` -> the shares of train, valid and test."""
    try:
        train, valid, test = (float(part) for part in text.split(","))
        if min(train, valid, test) < 0 or not abs(train + valid + test - 1) < 1e-6:
            raise ValueError
    except ValueError:
        raise UsageError(
            f"fractions {text!r}: expected three shares for train, valid and test that sum to 1, "
            "as in '0.8,0.1,0.1', or '0,0,1' to test on everything"
        ) from None
    return train, valid, test


def parse_kinds(text: str) -> tuple[str, ...]:
    """``note,chord`` -> the kinds of recordings to use."""
    kinds = tuple(part.strip() for part in text.split(","))
    if not all(kinds):
        raise UsageError(f"kinds {text!r}: expected names separated by commas, as in 'note,chord'")
    return kinds


def parse_lengths(text: str) -> dict[int, float]:
    """``1-5``, ``2,3`` (equal weights) or ``1:1,2:3`` (weighted) -> length -> weight."""
    lengths: dict[int, float] = {}
    try:
        for part in text.split(","):
            span, _, weight = part.partition(":")
            low, _, high = span.partition("-")
            if not 0 <= int(low) <= int(high or low) <= PAD:
                raise ValueError
            for length in range(int(low), int(high or low) + 1):
                lengths[length] = float(weight or 1.0)
    except ValueError:
        raise UsageError(
            f"chain lengths {text!r}: expected '1-5', '2,3' or weighted '1:1,2:3'"
        ) from None
    return lengths


def parse_weights(text: str) -> dict[str, float]:
    """``reverb:2,gate:0.2`` -> pedal -> weight."""
    try:
        pairs = [part.split(":") for part in text.split(",")]
        return {name.strip(): float(weight) for name, weight in pairs}
    except ValueError:
        raise UsageError(f"weights {text!r}: expected pedal:weight, as in 'reverb:2'") from None


def parse_groups(texts: Sequence[str] | str) -> list[list[str]]:
    """``chorus,phaser`` -> one group; several texts -> several."""
    listed = [texts] if isinstance(texts, str) else texts
    return [[name.strip() for name in text.split(",")] for text in listed]


def parse_ranges(texts: Sequence[str] | str) -> dict[str, dict[str, list[float]]]:
    """``delay.mix:0.2..0.3`` -> pedal -> parameter -> [low, high]."""
    ranges: dict[str, dict[str, list[float]]] = {}
    for pedal, param, value in _knob_values(texts, "range", "'delay.mix:0.2..0.3'"):
        low, _, high = value.partition("..")
        try:
            ranges.setdefault(pedal, {})[param] = [float(low), float(high)]
        except ValueError:
            raise UsageError(
                f"range {pedal}.{param}:{value}: expected 'low..high', two numbers"
            ) from None
    return ranges


def parse_scales(texts: Sequence[str] | str) -> dict[str, dict[str, str]]:
    """``delay.mix:log`` -> pedal -> parameter -> how it is drawn."""
    scales: dict[str, dict[str, str]] = {}
    for pedal, param, value in _knob_values(texts, "scale", "'delay.mix:log'"):
        scales.setdefault(pedal, {})[param] = value
    return scales


def _knob_values(texts: Sequence[str] | str, what: str, example: str) -> list[tuple[str, str, str]]:
    found = []
    for text in [texts] if isinstance(texts, str) else texts:
        knob, _, value = text.partition(":")
        pedal, _, param = knob.partition(".")
        if not (pedal and param and value):
            raise UsageError(f"{what} {text!r}: expected pedal.parameter:value, as in {example}")
        found.append((pedal.strip(), param.strip(), value.strip()))
    return found


PARSERS: dict[str, Callable[[Any], Any]] = {
    "lengths": parse_lengths,
    "weights": parse_weights,
    "exclusive": parse_groups,
    "held_out": parse_groups,
    "ranges": parse_ranges,
    "scales": parse_scales,
}
"""Keys of ``[chain]`` that may be written as the short text that their flag takes."""
