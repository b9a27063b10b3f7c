"""Options and TOML -> RenderSpec. Flags go above the file; unknown keys are refused."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

from fxpipe.chain import ChainSpec
from fxpipe.pedals import pool_of
from fxpipe.render import RenderSpec
from fxtrain.contract import ContractError, UsageError, from_dict, to_dict

DEFAULT_POOL = "stompbox"
DEFAULT_MAX_LENGTH = 5


def render_spec(config: Path | None, options: dict[str, Any]) -> RenderSpec:
    """A spec from ``[render]`` and ``[chain]`` of a TOML file and the options that are not None."""
    data = _read_toml(config) if config else {}
    for table in data:
        if table not in ("render", "chain"):
            raise UsageError(f"{config}: unknown table [{table}], expected [render] and [chain]")
    chain = dict(data.get("chain", {}))
    chain.update(_given(options, "pool", "order", "temperature", "repeats"))
    if options.get("lengths") is not None:
        chain["lengths"] = parse_lengths(options["lengths"])
    chain["pool"] = pool_of(chain.get("pool", DEFAULT_POOL))
    limit = DEFAULT_MAX_LENGTH if chain.get("repeats") else min(5, len(chain["pool"]))
    chain.setdefault("lengths", dict.fromkeys(range(1, limit + 1), 1.0))
    render = dict(data.get("render", {})) | _given(options, "clip_s", "audible_db")
    where = str(config) if config else "options"
    try:
        spec = from_dict(ChainSpec, chain, f"{where}: chain")
        return from_dict(RenderSpec, {**render, "chain": to_dict(spec)}, f"{where}: render")
    except ContractError as error:
        raise UsageError(str(error)) from None


def _given(options: dict[str, Any], *names: str) -> dict[str, Any]:
    return {name: options[name] for name in names if options.get(name) is not None}


def _read_toml(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(f"{path}: cannot be read ({error.strerror})") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"{path}: not TOML ({error})") from None


def parse_lengths(text: str) -> dict[int, float]:
    """``1-5``, ``2,3`` (equal weights) or ``1:1,2:3`` (weighted) -> length -> weight."""
    lengths: dict[int, float] = {}
    try:
        for part in text.split(","):
            span, _, weight = part.partition(":")
            low, _, high = span.partition("-")
            for length in range(int(low), int(high or low) + 1):
                lengths[length] = float(weight or 1.0)
    except ValueError:
        lengths = {}
    if not lengths:
        raise UsageError(f"chain lengths {text!r}: expected '1-5', '2,3' or weighted '1:1,2:3'")
    return lengths
