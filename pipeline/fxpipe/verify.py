"""``fxpipe check``: everything wrong with a directory. Shards are read by the trainer's own
reader, so that what passes here is what ``fxtrain`` will accept."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import click
import numpy as np

from fxpipe.against import compare
from fxpipe.describe import index_kind
from fxpipe.errors import RenderError
from fxpipe.pedals import check_pedal
from fxpipe.plan import PLAN_NAME, Plan, read_plan
from fxpipe.renders import (
    KIND,
    RendersIndex,
    Tally,
    Totals,
    chain_of,
    read_renders_index,
    read_shard,
    tally_of,
    totals_of,
)
from fxpipe.resume import AGAIN, RENDERS, SHARDS, Kind, altered_index
from fxpipe.tasks import INDEX_SUM
from fxtrain.contract import (
    INDEX_NAME,
    DamagedError,
    FileEntry,
    Folder,
    FxError,
    Held,
    Problem,
    Record,
    ShardEntry,
    StoreError,
    check_counts,
    check_dataset,
    check_files,
    check_layout,
    check_licences,
    check_records,
    difference,
    need,
    open_folder,
    read_ahead,
    read_index,
    shorten,
)

Say = Callable[[str], None]


def say_nothing(line: str) -> None:
    pass


def check_command(directory: str, against: str | None, *, as_json: bool) -> None:
    """Print every problem on stdout; an error if there is one."""

    def say(line: str) -> None:
        click.echo(line, err=True)

    problems: Iterable[Problem]
    if against is None:
        problems = check_directory(directory, say=say, progress=sys.stderr.isatty())
        verdict = f"{directory}: whole"
    else:
        found = compare(directory, against)
        problems = found.problems
        for note in found.notes:
            say(f"note: {note}")
        verdict = (
            f"{directory}: the same as {against}: {found.n_files} files, {found.n_bytes:,} bytes"
        )
    n_problems = 0
    for problem in problems:
        line = {"where": problem.where, "what": problem.what}
        click.echo(json.dumps(line, ensure_ascii=False) if as_json else str(problem))
        n_problems += 1
    if n_problems:
        than = f" against {against}" if against else ""
        raise FxError(f"{directory}: {n_problems} problem(s){than}")
    say(verdict)


def check_directory(
    directory: str, *, say: Say = say_nothing, progress: bool = False
) -> Iterator[Problem]:
    """Each problem of renders/ or shards/ when it is found; none where they are whole. ``say``:
    what was not looked at."""
    folder = open_folder(directory)
    yield from check_index_sum(folder, say)
    if index_kind(directory) == KIND:
        yield from check_strays(folder, RENDERS, read_renders_index)
        yield from check_renders(directory, say=say, progress=progress)
        return
    from fxtrain.data import read_shard as read_tokens

    yield from check_strays(folder, SHARDS, read_index)
    yield from check_dataset(folder, read_tokens)


def check_index_sum(folder: Folder, say: Say = say_nothing) -> list[Problem]:
    """An index altered in a place that no other check looks at. A copy may lack the sum."""
    if folder.size(INDEX_NAME) is None:
        return []
    if folder.size(INDEX_SUM) is None:
        say(
            f"{INDEX_SUM} is not in {folder.uri}: {INDEX_NAME} is believed where nothing else tells"
        )
        return []
    altered = altered_index(folder)
    return [Problem(INDEX_NAME, f"{altered}; {AGAIN}")] if altered else []


def check_strays(folder: Folder, kind: Kind, read: Callable[[Folder], Any]) -> list[Problem]:
    """Shards' files that the index does not list: another run's, or copies under a new name."""
    try:
        index = read(folder)
    except FxError:
        return []  # the one problem that is told of an index which cannot be read
    listed = {file.path for shard in index.shards for file in shard.files}
    listed.update(file.path for file in index.files)
    return [
        Problem(name, f"is not in {INDEX_NAME}: left by another run, or a copy; delete it")
        for name in folder.names()
        if kind.files.fullmatch(name) and name not in listed
    ]


def check_renders(
    directory: str, *, say: Say = say_nothing, progress: bool = False
) -> Iterator[Problem]:
    folder = open_folder(directory)
    try:
        index = read_renders_index(folder)
    except StoreError:
        raise
    except FxError as error:
        yield Problem(INDEX_NAME, str(error))
        return
    at_first = check_layout(index.shards)
    if folder.size(PLAN_NAME) is not None:
        at_first += check_files(folder, index.files)
    yield from at_first
    whole = not at_first
    groups: dict[str, str] = {}
    seen: set[str] = set()
    tallies: list[tuple[str, Tally]] = []
    for shard, problems, held in read_ahead(folder, index.shards):  # nothing is read twice
        if not problems:
            try:
                waves, records = read_shard(folder, shard, _from(held))
                problems += check_records(records, shard, groups, seen)
                for wave, record in zip(waves, records, strict=True):
                    if len(wave) != index.spec.n_samples or not np.any(wave):
                        what = f"clip {record['id']} is silent or short"
                        problems.append(Problem(shard.name, what))
                    for pedal in chain_of(record).pedals:
                        check_pedal(pedal)
                        index.vocabulary.index(pedal.name)
                _check_tallied(records, shard)
                tallies.append((shard.split, tally_of(records, index.vocabulary)))
            except FxError as error:
                problems.append(Problem(shard.name, str(error)))
        yield from problems
        whole = whole and not problems
    if whole:
        yield from check_totals(index, totals_of(tallies, index.vocabulary))
    yield from check_plan(folder, index, say=say, progress=progress)


def _from(held: Held) -> Callable[[Folder, FileEntry], bytes]:
    return lambda _, file: held[file]


def _check_tallied(records: Sequence[Record], shard: ShardEntry) -> None:
    for record in records:
        need(record, ("redraws", "licence", "clip"), shard.name)
        names = record["redraws"]
        if not (isinstance(names, list) and all(isinstance(name, str) for name in names)):
            raise DamagedError(f"{shard.name}: redraws is {shorten(names)}, expected pedals' names")


def refuse_gaps(folder: Folder, index: RendersIndex) -> None:
    """Raise unless the shards hold the clips that the index counts, one after another."""
    problems = [str(problem) for problem in check_layout(index.shards)]
    for split, shards in index.by_split.items():
        said, found = index.counts[split].n_samples, sum(shard.n_samples for shard in shards)
        if said != found:
            problems.append(f"{split} is of {said} clips, its shards hold {found}")
    if not index.shards:
        problems.append("there is no shard")
    if problems:
        raise RenderError(
            f"{folder.uri}/{INDEX_NAME}: {problems[0]}; type the command that wrote it, with "
            "--resume"
        )


def check_totals(index: RendersIndex, found: Totals) -> list[Problem]:
    """What the index says of all clips together against what their records say."""
    problems = check_counts(index.counts, found.counts, index.vocabulary)
    problems += check_licences(index.licences, found.licences, shareable=index.shareable)
    sums = _sums(index.redraws, index.n_phrases), _sums(found.redraws, found.n_phrases)
    if what := difference(*sums):
        problems.append(Problem(INDEX_NAME, what))
    return problems


def _sums(redraws: Mapping[str, Mapping[str, int]], n_phrases: int) -> dict[str, int]:
    """``redraws by_pedal chorus`` -> how often."""
    counted = {
        f"redraws {key} {name}": n for key, some in redraws.items() for name, n in some.items()
    }
    return {"n_phrases": n_phrases, **counted}


SAME_IN_PLAN = ("spec", "seed", "split_seed", "fractions", "commutes", "kinds")
"""What the index repeats of the plan beside it."""


def check_plan(
    folder: Folder, index: RendersIndex, *, say: Say = say_nothing, progress: bool = False
) -> list[Problem]:
    """The index against the plan beside it, and the recordings that the plan names."""
    if folder.size(PLAN_NAME) is None:
        say(f"{PLAN_NAME} is not in {folder.uri}: not looked for copies across the splits")
        return []
    try:
        plan = read_plan(folder, index.identity)
    except StoreError:
        raise
    except (FxError, ValueError, KeyError, TypeError) as error:
        return [Problem(PLAN_NAME, f"cannot be used: {error}; render again to write it anew")]
    pairs = {name: (getattr(index, name), getattr(plan, name)) for name in SAME_IN_PLAN}
    pairs["source_digest"] = index.source_digest, plan.scan.digest
    problems = [
        Problem(INDEX_NAME, f"{name} is not that of {PLAN_NAME}; restore the file that was altered")
        for name, (said, planned) in pairs.items()
        if said != planned
    ]
    return problems + check_copies(plan, say=say, progress=progress)


def check_copies(plan: Plan, *, say: Say = say_nothing, progress: bool = False) -> list[Problem]:
    """Recordings on different sides of the split that hold one performance.

    Looks at the recordings where the plan says they lie; those that are not there, or not what
    they were, are told to ``say``, and are no problem: the clips are made.
    """
    from fxpipe.sources.duplicates import find_copies

    if len(set(plan.splits.values())) < 2:
        return []
    search = find_copies(plan.scan.items, plan.splits, progress=progress)
    if search.unread:
        n, first = len(search.unread), search.unread[0]
        say(
            f"{n} of {len(plan.scan.items)} recordings are not where they were, or not what they "
            f"were, the first {first.uri}: not looked at for copies across the splits"
        )
    return [
        Problem(
            f"{copy.item.item_id} | {copy.other.item_id}",
            f"near-duplicates: one performance in {plan.splits[copy.item.group]} and "
            f"{plan.splits[copy.other.group]} (likeness {copy.likeness:.3f}); remove one, or put "
            "both in one group, and render again",
        )
        for copy in search.copies
    ]
