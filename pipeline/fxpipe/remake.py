"""A sample's audio made again from its record: the dry clip, and the wet one as it was stored.

A record and the recipe of its shards say all that was drawn. What else it takes is the dry guitar:
none for a source that is played on demand; else the renders directory, whose plan says where every
recording lies, or the data set where this machine keeps it.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from fxpipe.chains.chain import generator
from fxpipe.errors import RenderError, SourceError
from fxpipe.plan import Plan, read_plan, take_clip
from fxpipe.render import RenderSpec, after_of, draw_clip, finish, run_chain
from fxpipe.renders import chain_of, read_renders_index
from fxpipe.sources import SOURCES, assign_splits, open_source
from fxpipe.sources.splits import DEFAULT_FRACTIONS, Fractions
from fxtrain.contract import (
    SPLITS,
    FxError,
    Record,
    RemadeClip,
    from_dict,
    need,
    open_folder,
    shorten,
)

NEEDED = ("id", "source", "item", "split", "seed", "clip", "chain", "after")
SAME_DB = 0.5
"""What every pedal changed is in the record; further off than this, other sound was made."""


def remake(record: Record, recipe: Mapping[str, Any], renders: str | None = None) -> RemadeClip:
    """The clip of ``record``, from shards with this ``recipe``.

    ``renders``: the directory it was encoded from, for sources that are recordings. RenderError
    or SourceError where it cannot be made, or would not be the same clip.
    """
    need(record, NEEDED, "the sample's shard")
    plan = _plan(json.dumps(recipe, sort_keys=True), renders)
    if isinstance(plan, FxError):
        raise plan.with_traceback(None)  # remembered: it would grow by every sample
    spec, split = plan.spec, record["split"]
    position, attempt = _draws(record)
    draw = draw_clip(spec, plan.seed, split, position, attempt)
    dry, taken = take_clip(plan, split, position, attempt, draw)
    chain = chain_of(record)
    wet, changes = run_chain(
        dry, chain, spec.sample_rate_hz, skip=spec.n_run_in, pedal_rms=spec.pedal_rms
    )
    said = record.get("stage_change_db", changes)
    same = taken["item"] == record["item"] and len(said) == len(changes)
    if not same or any(abs(a - b) > SAME_DB for a, b in zip(said, changes, strict=True)):
        raise RenderError(
            f"{shorten(record['id'])}: this version would play another clip than the one that was "
            "encoded; render and encode the data set again with it"
        )
    after = after_of(record["after"], f"{record['id']}: after")
    rng = generator(plan.seed, split, position, "noise")
    return RemadeClip(
        dry=dry,
        wet=_as_stored(finish(wet, after, spec.sample_rate_hz, rng)),
        sample_rate_hz=spec.sample_rate_hz,
        n_run_in=spec.n_run_in,
        chain=chain,
    )


def _draws(record: Record) -> tuple[int, int]:
    """(position in the split, attempt) of a record's seed."""
    seed = record["seed"]
    if record["split"] not in SPLITS or len(seed) != 3 or not all(type(n) is int for n in seed):
        raise RenderError(
            f"{shorten(record['id'])}: seed {shorten(seed)} of split {shorten(record['split'])}, "
            "expected three numbers; the data set was made by another program or version"
        )
    return seed[1], seed[2]


def _as_stored(wave: np.ndarray) -> np.ndarray:
    """``wave`` as renders keep it: 16 bits at its own full scale. The codec heard this."""
    scale = float(max(wave.max(), -wave.min())) / 32767
    if not scale:
        return wave
    stored: np.ndarray = np.round(wave / scale).astype(np.int16).astype(np.float32)
    return stored * np.float32(scale)


@functools.lru_cache(maxsize=4)
def _plan(recipe_json: str, renders: str | None) -> Plan | FxError:
    """The plan a sample was made by, or why there is none: looking for it may take a minute, so
    either is remembered. The recipe comes as text for that."""
    try:
        return _find_plan(json.loads(recipe_json), renders)
    except FxError as error:
        return error


def _find_plan(recipe: Mapping[str, Any], renders: str | None) -> Plan:
    if not isinstance(recipe.get("spec"), dict) or not isinstance(recipe.get("source"), str):
        raise RenderError("the shards' recipe says nothing of how their clips were rendered")
    if renders is not None:
        folder = open_folder(renders)
        index = read_renders_index(folder)
        if index.identity != recipe.get("renders_identity"):
            raise RenderError(
                f"{renders}: other renders than these shards were encoded from; give those, or "
                "leave --renders away"
            )
        return read_plan(folder, index.identity)
    return _plan_of_source(recipe)


@dataclass(frozen=True)
class _Drawn:
    """What a recipe says of the draws; it comes from elsewhere, and may say anything."""

    seed: int
    split_seed: int | None = None
    fractions: Fractions = DEFAULT_FRACTIONS


def _plan_of_source(recipe: Mapping[str, Any]) -> Plan:
    name = recipe["source"]
    if name not in SOURCES or name == "folder":
        raise SourceError(
            f"its recordings come from {shorten(name)}, and nothing here says where they lie; add "
            "--renders PATH, the directory they were rendered into"
        )
    source = open_source(name)
    scan = source.scan()
    if scan.digest != recipe.get("source_digest"):
        raise SourceError(
            f"{name} here is not what was rendered (another version of it, or a part); add "
            "--renders PATH, the directory it was rendered into"
        )
    told = {key: recipe[key] for key in ("seed", "split_seed", "fractions") if key in recipe}
    drawn = from_dict(_Drawn, told, "recipe")
    groups = [item.group for item in scan.items]
    splits = {}
    if groups:
        splits = assign_splits(groups, seed=drawn.split_seed or 0, fractions=drawn.fractions)
    return Plan(
        spec=from_dict(RenderSpec, recipe["spec"], "recipe.spec"),
        seed=drawn.seed,
        n_clips=dict.fromkeys(SPLITS, 0),
        generated=source.is_generated,
        scan=scan,
        splits=splits,
        fractions=drawn.fractions,
        split_seed=drawn.split_seed,
    )
