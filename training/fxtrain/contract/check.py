"""Everything that is wrong with a shards directory, all at once."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from fxtrain.contract.ahead import ahead, readers
from fxtrain.contract.chain import Vocabulary, arrow
from fxtrain.contract.errors import ContractError, DamagedError, shorten
from fxtrain.contract.folder import Folder
from fxtrain.contract.index import (
    add_counts,
    count_samples,
    read_codebooks,
    read_index,
    read_verified,
)
from fxtrain.contract.schema import (
    INDEX_NAME,
    SPLITS,
    Block,
    DatasetIndex,
    FileEntry,
    Licence,
    ShardEntry,
    SplitCounts,
    validate_block,
)
from fxtrain.contract.serde import Record

Held = dict[FileEntry, bytes]
"""Files that are in memory and were found to be what the index says."""

ReadShard = Callable[[Folder, ShardEntry, DatasetIndex, Held], Iterator[Block]]


@dataclass(frozen=True)
class Problem:
    where: str
    what: str

    def __str__(self) -> str:
        return f"{self.where}: {self.what}"


def check_files(
    folder: Folder, files: tuple[FileEntry, ...], held: Held | None = None
) -> list[Problem]:
    """Missing and altered files, by size and sha256; the bytes of the others go into ``held``.

    A store that does not answer is an error, not a problem of every file.
    """
    problems = []
    for entry in files:
        try:
            data = read_verified(folder, entry)
            if held is not None:
                held[entry] = data
        except DamagedError as error:
            problems.append(Problem(entry.path, str(error)))
    return problems


def check_dataset(folder: Folder, read_shard: ReadShard | None = None) -> Iterator[Problem]:
    """Every byte against the index; with ``read_shard`` every sample and record as well. No file
    of a shard is read twice.

    Yields each problem when it is found; an index that cannot be read is the only one that stops
    the search. Raises the StoreError of a store that does not answer.
    """
    try:
        index = read_index(folder)
    except ContractError as error:
        yield Problem(INDEX_NAME, str(error))
        return
    at_first = [*check_files(folder, index.files), *check_layout(index.shards)]
    try:
        read_codebooks(folder, index)
    except ContractError as error:
        at_first.append(Problem("codebooks", str(error)))
    yield from at_first
    whole = not at_first
    none = count_samples((), index.vocabulary)
    counts = dict.fromkeys(SPLITS, none)
    groups: dict[str, str] = {}
    seen: set[str] = set()
    licences: set[str] = set()
    for shard, problems, held in read_ahead(folder, index.shards):
        if read_shard is not None and not problems:
            try:
                for block in read_shard(folder, shard, index, held):
                    validate_block(block, index, shard.name)
                    names = [index.vocabulary.decode_order(order) for order in block.order]
                    tally = count_samples(names, index.vocabulary)
                    counts[shard.split] = add_counts(counts.get(shard.split, none), tally)
                    problems += check_records(block.records, shard, groups, seen)
                    problems += check_labels(names, block.records, shard)
                    licences.update(str(record.get("licence")) for record in block.records)
            except ContractError as error:
                problems.append(Problem(shard.name, str(error)))
        yield from problems
        whole = whole and not problems
    if read_shard is not None and whole:
        yield from check_counts(index.counts, counts, index.vocabulary)
        yield from check_licences(index.licences, licences, shareable=index.shareable)


def read_ahead(
    folder: Folder, shards: Sequence[ShardEntry]
) -> Iterator[tuple[ShardEntry, list[Problem], Held]]:
    """Each shard with what is wrong with its files, and the bytes of the others; read ahead."""

    def look(shard: ShardEntry) -> tuple[ShardEntry, list[Problem], Held]:
        held: Held = {}
        return shard, check_files(folder, shard.files, held), held

    sizes = (sum(file.n_bytes for file in shard.files) for shard in shards)
    return ahead(look, shards, readers(sizes))


def check_layout(shards: tuple[ShardEntry, ...]) -> list[Problem]:
    """Shards of a split must follow one another without gap or overlap."""
    problems = [
        Problem(shard.name, f"is in split {shard.split!r}, expected one of {', '.join(SPLITS)}")
        for shard in shards
        if shard.split not in SPLITS
    ]
    for split in SPLITS:
        position = 0
        for shard in sorted((s for s in shards if s.split == split), key=lambda s: s.first):
            if shard.first != position:
                what = f"starts at sample {shard.first}, expected {position}"
                problems.append(Problem(shard.name, what))
            position = shard.first + shard.n_samples
    return problems


def check_counts(
    said: Mapping[str, SplitCounts], found: Mapping[str, SplitCounts], vocabulary: Vocabulary
) -> list[Problem]:
    """The tallies of an index against those of the samples; a split that either lacks has none."""
    problems = []
    none = count_samples((), vocabulary)
    for split in dict.fromkeys([*found, *said]):
        index, samples = (_tally(counts.get(split, none)) for counts in (said, found))
        if what := difference(index, samples):
            problems.append(Problem(split, f"counts in the index differ from the samples: {what}"))
    return problems


def _tally(counts: SplitCounts) -> dict[str, int]:
    by_length = {f"length {length}": n for length, n in counts.by_length.items()}
    by_pedal = {f"pedal {name}": n for name, n in counts.by_pedal.items()}
    return {"samples": counts.n_samples, **by_length, **by_pedal}


def difference(index: Mapping[str, int], samples: Mapping[str, int]) -> str:
    """The first number that an index gives otherwise than the samples; empty where none is."""
    for key in dict.fromkeys([*samples, *index]):
        said, found = (numbers.get(key, "nothing") for numbers in (index, samples))
        if said != found:
            return f"{shorten(key)[1:-1]} {said} in the index, {found} in the samples"
    return ""


def check_licences(
    said: Mapping[str, Licence], found: set[str], *, shareable: bool
) -> list[Problem]:
    """Of the samples' licences, each by its key or its name, the index tells all and no other."""
    names = {key: {key, licence.name} for key, licence in said.items()}
    only_here = sorted(key for key in names if names[key].isdisjoint(found))
    only_there = sorted(found.difference(*names.values()))
    problems = [
        f"licence {shorten(name)} is in the {where} alone"
        for where, only in (("index", only_here), ("samples", only_there))
        for name in only
    ]
    if shareable != all(licence.shareable for licence in said.values()):
        problems.append(f"shareable is {str(shareable).lower()}, its licences say otherwise")
    return [Problem(INDEX_NAME, what) for what in problems]


def check_records(
    records: Sequence[Record], shard: ShardEntry, groups: dict[str, str], seen: set[str]
) -> list[Problem]:
    """Ids are unique, splits agree, and no group is on two sides, that of any note of a phrase
    neither. Fills ``groups`` and ``seen``."""
    problems = []
    for record in records:
        name, group, split = (str(record.get(key)) for key in ("id", "group", "split"))
        if name in seen:
            problems.append(Problem(shard.name, f"sample {name!r} stands twice"))
        seen.add(name)
        if split != shard.split:
            problems.append(Problem(shard.name, f"sample {name!r} says split {split!r}"))
        for each in sorted({group, *_phrase_groups(record)}):
            other = groups.setdefault(each, shard.split)
            if other != shard.split:
                what = f"group {each!r} is in {shard.split!r} and in {other!r}"
                problems.append(Problem(shard.name, what))
    return problems


def _phrase_groups(record: Record) -> set[str]:
    """The groups of all notes of a phrase; none where the clip is a single recording."""
    clip = record.get("clip")
    phrase = clip.get("phrase") if isinstance(clip, Mapping) else None
    notes = phrase.get("notes") if isinstance(phrase, Mapping) else None
    listed = notes if isinstance(notes, Sequence) else ()
    return {str(note["group"]) for note in listed if isinstance(note, Mapping) and "group" in note}


def check_labels(
    names: Sequence[tuple[str, ...]], records: Sequence[Record], shard: ShardEntry
) -> list[Problem]:
    """The label a model trains on must be the chain that the record says was rendered."""
    problems = []
    for label, record in zip(names, records, strict=True):
        rendered = tuple(pedal["name"] for pedal in record.get("chain", ()))
        if label != rendered:
            what = f"sample {record.get('id')!r} is labelled {arrow(label)}, its record says "
            problems.append(Problem(shard.name, what + arrow(rendered)))
    return problems
