"""How many clips a file of renders holds: as many as those that are there, or as asked."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Collection

from fxpipe.errors import RenderError
from fxpipe.plan import PLAN_NAME, Plan, read_plan, shard_size
from fxtrain.contract import Folder, ShardEntry, UsageError


def settle_shard_size(folder: Folder, plan: Plan, shards: Collection[ShardEntry]) -> Plan:
    """The plan with a number: that of ``shards`` which are there, else its own or the usual one.

    Raises UsageError where others are there than are asked for.
    """
    there = _size_of(shards, plan)
    if shards and there is None and folder.size(PLAN_NAME) is not None:
        with contextlib.suppress(RenderError):  # a damaged plan is written anew
            there = read_plan(folder, plan.identity).shard_size
    if there is not None and plan.shard_size not in (None, there):
        raise UsageError(
            f"{folder.uri}: its shards are of {there} clips, not {plan.shard_size}; leave "
            "--shard-size away to go on with them, or make all anew with --overwrite"
        )
    size = there or plan.shard_size or shard_size(sum(plan.n_clips.values()))
    return dataclasses.replace(plan, shard_size=size)


def _size_of(shards: Collection[ShardEntry], plan: Plan) -> int | None:
    """Clips a shard, as finished ones show it; none where each is the only one of its split."""
    for shard in shards:
        if shard.first:
            return shard.first // max(1, int(shard.name.rpartition("-")[2]))
        if shard.n_samples < plan.n_clips[shard.split]:
            return shard.n_samples
    return None
