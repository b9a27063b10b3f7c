"""``fxpipe check``: everything wrong with a directory. Shards are read by the trainer's own
reader, so that what passes here is what ``fxtrain`` will accept."""

from __future__ import annotations

import numpy as np

from fxpipe.describe import index_kind
from fxpipe.encode import chain_of
from fxpipe.pedals import PEDALS
from fxpipe.pedals.spec import check_settings
from fxpipe.renders import KIND, read_renders_index, read_shard
from fxtrain.contract import (
    INDEX_NAME,
    FxError,
    Problem,
    check_dataset,
    check_files,
    check_layout,
    check_records,
    open_folder,
)


def check_directory(directory: str) -> list[Problem]:
    """All problems of renders/ or shards/; empty when whole."""
    if index_kind(directory) == KIND:
        return check_renders(directory)
    from fxtrain.data import read_shard as read_tokens

    return check_dataset(open_folder(directory), read_tokens)


def check_renders(directory: str) -> list[Problem]:
    folder = open_folder(directory)
    try:
        index = read_renders_index(folder)
    except FxError as error:
        return [Problem(INDEX_NAME, str(error))]
    problems = check_layout(index.shards)
    groups: dict[str, str] = {}
    seen: set[str] = set()
    for shard in index.shards:
        damaged = check_files(folder, shard.files)
        problems += damaged
        if damaged:
            continue
        try:
            waves, records = read_shard(folder, shard)
            problems += check_records(records, shard, groups, seen)
            for wave, record in zip(waves, records, strict=True):
                if len(wave) != index.spec.n_samples or not np.any(wave):
                    problems.append(Problem(shard.name, f"clip {record['id']} is silent or short"))
                for pedal in chain_of(record).pedals:
                    check_settings(pedal.name, PEDALS[pedal.name], pedal.settings)
        except FxError as error:
            problems.append(Problem(shard.name, str(error)))
    return problems
