"""The ``renders/`` directory: wet audio with its records, one task a shard, index written last.

A shard is ``<name>.npy``, int16 [B, N] at each clip's own full scale (96 dB below its peak, far
under its noise floor), and ``<name>.jsonl``, one record a clip. Numbers go through dask, audio
never does.
"""

from __future__ import annotations

import bisect
import functools
import hashlib
import itertools
import platform
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version

import numpy as np

from fxpipe.chains.chain import generator
from fxpipe.errors import RenderError
from fxpipe.orders.classes import order_class
from fxpipe.pedals import vocabulary_of
from fxpipe.plan import Plan as Plan
from fxpipe.plan import load_plan, plan_bytes
from fxpipe.plan import make_plan as make_plan
from fxpipe.plan import save_plan as save_plan
from fxpipe.plan import shard_size as shard_size
from fxpipe.plan import take_clip as take_clip
from fxpipe.render import ClipDraw, RenderSpec, Wet, draw_and_render, draw_clip, finish
from fxpipe.resume import (
    RENDERS,
    has_same_clips,
    made_with,
    refuse_late,
    what_is_left,
    write_finished,
)
from fxpipe.shard_size import settle_shard_size
from fxpipe.sources.splits import DEFAULT_FRACTIONS, Fractions
from fxpipe.store import shard_name
from fxpipe.tasks import (
    Job,
    Receipt,
    Turn,
    Workers,
    read_receipts,
    receipt_name,
    run_tasks,
    write_receipt,
)
from fxpipe.tasks.release import Release
from fxtrain.contract import (
    FORMAT_VERSION,
    SPLITS,
    Chain,
    ContractError,
    FileEntry,
    Folder,
    Licence,
    LocalFolder,
    Pedal,
    Record,
    ShardEntry,
    SplitCounts,
    Vocabulary,
    add_counts,
    ahead,
    count_samples,
    empty_npy,
    from_dict,
    need,
    open_folder,
    pack_records,
    read_index_as,
    read_verified,
    shorten,
    to_dict,
    unpack_npy,
    unpack_records,
)

KIND = RENDERS.index_kind
MADE_BY = "fxpipe render"
CLIP_ATTEMPTS = 6
Read = Callable[[Folder, FileEntry], bytes]
REDRAWS = ("by_pedal", "by_length")

_TURNS = itertools.cycle((False, True))
"""A process goes through the recordings to and fro: the next shard begins with those that are still
decoded."""


@dataclass(frozen=True)
class RendersIndex:
    """``index.json`` of a renders directory. ``redraws`` counts inaudible pedals that were drawn
    again, by pedal and by chain length; ``skipped`` lists recordings that could not be used;
    ``kinds`` are those of recordings that were asked for, none: all of them; ``recordings`` are the
    files behind each split. ``files`` holds the plan, which says where recordings lie and so
    differs from machine to machine."""

    identity: str
    spec: RenderSpec
    seed: int
    source: str
    source_digest: str
    vocabulary: Vocabulary
    commutes: tuple[tuple[str, str], ...]
    commutes_basis: str
    licences: dict[str, Licence]
    shareable: bool
    counts: dict[str, SplitCounts]
    redraws: dict[str, dict[str, int]]
    skipped: dict[str, str]
    shards: tuple[ShardEntry, ...]
    versions: dict[str, str] = field(default_factory=dict)
    format_version: int = FORMAT_VERSION
    kind: str = KIND
    kinds: tuple[str, ...] = ()
    fractions: Fractions = DEFAULT_FRACTIONS
    n_phrases: int = 0
    split_seed: int | None = None
    recordings: dict[str, str] = field(default_factory=dict)
    files: tuple[FileEntry, ...] = ()

    def __post_init__(self) -> None:
        if set(self.counts) != set(SPLITS):
            raise ContractError(f"counts are of {shorten(sorted(self.counts))}, expected {SPLITS}")
        by_length = self.redraws.get("by_length", {})
        if set(self.redraws) != set(REDRAWS) or not all(key.isdecimal() for key in by_length):
            raise ContractError(f"redraws are {shorten(self.redraws)}, expected {REDRAWS}")

    @functools.cached_property
    def by_split(self) -> dict[str, list[ShardEntry]]:
        """The shards of each split, by their first clip."""
        ordered = sorted(self.shards, key=lambda shard: shard.first)
        return {split: [s for s in ordered if s.split == split] for split in SPLITS}


def shard_jobs(plan: Plan, folder: Folder) -> list[Job]:
    """One job a shard; a shard's clips never depend on how many there are or who makes it."""
    size = plan.shard_size or shard_size(sum(plan.n_clips.values()))
    shared = {
        "uri": folder.uri,
        "identity": plan.identity,
        "plan_sha256": hashlib.sha256(plan_bytes(plan)).hexdigest(),
    }
    return [
        shared
        | {
            "name": shard_name(split, number),
            "split": split,
            "first": first,
            "n": min(size, plan.n_clips[split] - first),
        }
        for split in SPLITS
        for number, first in enumerate(range(0, plan.n_clips[split], size))
    ]


def render_shard(job: Job) -> Receipt:
    """The dask task: draw, render and write one shard. While a store takes its time over what was
    written, its worker goes on with the next."""
    plan = load_plan(job["uri"], job["identity"], job["plan_sha256"])
    with Turn() as turn:
        packed, records = _render_clips(plan, job)
        folder = open_folder(job["uri"])
        if not isinstance(folder, LocalFolder):
            turn.step_aside()
        refuse_late(folder, job["identity"])
        files = (
            folder.write(f"{job['name']}.npy", packed),
            folder.write(f"{job['name']}.jsonl", pack_records(records)),
        )
        shard = ShardEntry(job["name"], job["split"], job["first"], job["n"], files)
        tally = tally_of(records, vocabulary_of(plan.spec.chain.pool))
        receipt = Receipt(job["identity"], shard, to_dict(tally))
        write_receipt(folder, receipt)
    return receipt


def _render_clips(plan: Plan, job: Job) -> tuple[bytearray, list[Record]]:
    """int16 [n, N] as .npy, and their records."""
    split, positions = job["split"], range(job["first"], job["first"] + job["n"])
    waves, packed = empty_npy((job["n"], plan.spec.n_samples), np.int16)
    records: dict[int, Record] = {}
    # By recording, so that each file is read once; what is drawn does not depend on the order.
    draws = {p: draw_clip(plan.spec, plan.seed, split, p) for p in positions}
    for position in sorted(positions, key=lambda p: draws[p].item_u, reverse=next(_TURNS)):
        wave, record = render_clip(plan, split, position, draws[position])
        scale = float(max(wave.max(), -wave.min())) / 32767
        wave /= scale
        waves[position - job["first"]] = np.rint(wave, out=wave)
        records[position] = record | {"scale": scale}
    return packed, [records[position] for position in positions]


def render_clip(
    plan: Plan, split: str, position: int, first: ClipDraw | None = None
) -> tuple[np.ndarray, Record]:
    """(wet float32 [N], its record): everything needed to make the same clip again.

    ``first``: the clip's first draw, where it is known already.
    """
    spec, redraws = plan.spec, []
    for attempt in range(CLIP_ATTEMPTS):
        draw = first or draw_clip(spec, plan.seed, split, position, attempt)
        first = None
        dry, taken = take_clip(plan, split, position, attempt, draw)
        wet = draw_and_render(spec, dry, draw.length, plan.seed, split, position)
        if wet is None:
            redraws.append(taken["item"])
            continue
        rng = generator(plan.seed, split, position, "noise")
        wave = finish(wet.wave, draw.after, spec.sample_rate_hz, rng)
        return wave, taken | {
            "id": f"{split}-{position:08d}",
            "split": split,
            "seed": [plan.seed, position, attempt],
            "chain": to_dict(wet.chain)["pedals"],
            "after": draw.after.record(),
            "stage_change_db": list(wet.stage_change_db),
            "redraws": list(wet.redrawn),
            **(_orders(spec, wet, split) if spec.classes else {}),
        }
    raise RenderError(
        f"clip {split}-{position}: on {CLIP_ATTEMPTS} recordings ({', '.join(redraws)}) no chain "
        f"of {draw.length} from {', '.join(spec.chain.pool)} could be heard; lower --audible-db "
        f"({spec.audible_db:g}), widen the pool, or look at these recordings"
    )


def _orders(spec: RenderSpec, wet: Wet, split: str) -> Record:
    return order_class(
        wet.stages,
        wet.chain,
        spec.sample_rate_hz,
        skip=spec.n_run_in,
        alike_db=spec.alike_db,
        all_orders=split == "test",
        pedal_rms=spec.pedal_rms,
    )


@dataclass(frozen=True)
class Tally:
    """What a shard adds to the index: sums, not clips: receipts stay small. ``release``: what it
    was made with, empty in older receipts."""

    counts: SplitCounts
    redraws: dict[str, dict[str, int]]
    licences: tuple[str, ...]
    n_phrases: int
    release: Release = field(default_factory=dict)


def tally_of(records: Sequence[Record], vocabulary: Vocabulary) -> Tally:
    by_pedal: Counter[str] = Counter()
    by_length: Counter[str] = Counter()
    for record in records:
        by_pedal.update(record["redraws"])
        by_length[str(len(record["chain"]))] += len(record["redraws"])
    chains = (tuple(pedal["name"] for pedal in record["chain"]) for record in records)
    return Tally(
        counts=count_samples(chains, vocabulary),
        redraws={"by_pedal": dict(by_pedal), "by_length": dict(by_length)},
        licences=tuple(sorted({record["licence"] for record in records})),
        n_phrases=sum("phrase" in record["clip"] for record in records),
        release=made_with(),
    )


@dataclass
class Totals:
    """The tallies of all shards as one, by split where an index has them so."""

    counts: dict[str, SplitCounts]
    redraws: dict[str, Counter[str]]
    licences: set[str]
    n_phrases: int


def totals_of(tallies: Iterable[tuple[str, Tally]], vocabulary: Vocabulary) -> Totals:
    """``tallies``: of each shard its split, and what it adds."""
    counts = {split: count_samples((), vocabulary) for split in SPLITS}
    totals = Totals(counts, {key: Counter() for key in REDRAWS}, set(), 0)
    for split, tally in tallies:
        counts[split] = add_counts(counts[split], tally.counts)
        for key, counter in totals.redraws.items():
            counter.update(tally.redraws[key])
        totals.licences.update(tally.licences)
        totals.n_phrases += tally.n_phrases
    return totals


def render_all(
    folder: Folder,
    plan: Plan,
    workers: Workers,
    on_shard: Callable[[ShardEntry], None],
    *,
    repair: bool = False,
    on_found: Callable[[ShardEntry], None] | None = None,
) -> RendersIndex:
    """Render what is not there yet, then write the index. Safe to interrupt and to run again.

    ``repair`` reads every byte of what is there and makes again what differs. ``on_found`` is
    told of the shards that were there, ``on_shard`` of those made now; of both without it.
    """
    found = read_receipts(folder, plan.identity, verify=repair)
    plan = settle_shard_size(folder, plan, [receipt.shard for receipt in found.values()])
    jobs = shard_jobs(plan, folder)
    done, missing = what_is_left(
        folder, jobs, found, made_with(), functools.partial(_is_counted, plan)
    )
    plan_file = save_plan(folder, plan)
    for receipt in done.values():
        (on_found or on_shard)(receipt.shard)
    for receipt in run_tasks(render_shard, missing, workers):
        done[receipt.shard.name] = receipt
        on_shard(receipt.shard)
    index = _index_of(plan, [done[job["name"]] for job in jobs], plan_file)
    write_finished(folder, index)
    return index


def _is_counted(plan: Plan, receipt: Receipt, job: Job) -> bool:
    """Another version's receipt may count something else, or other clips: its shard is made
    again."""
    if not has_same_clips(receipt, job):
        return False
    try:
        tally = from_dict(Tally, receipt.tally, receipt.shard.name)
    except ContractError:
        return False
    return (
        tally.counts.n_samples == job["n"]
        and set(tally.counts.by_pedal) == set(plan.spec.chain.pool)
        and set(tally.redraws) == set(REDRAWS)
        and set(tally.licences) <= set(plan.scan.licences)
    )


def _index_of(plan: Plan, receipts: Sequence[Receipt], plan_file: FileEntry) -> RendersIndex:
    vocabulary = vocabulary_of(plan.spec.chain.pool)
    tallies = [
        from_dict(Tally, receipt.tally, receipt_name(receipt.shard.name)) for receipt in receipts
    ]
    splits = (receipt.shard.split for receipt in receipts)
    totals = totals_of(zip(splits, tallies, strict=True), vocabulary)
    releases: dict[str, set[str]] = {"pedalboard": set(), "numpy": set()}
    for tally in tallies:
        for name in releases.keys() & tally.release.keys():
            releases[name].add(tally.release[name])
    licences = {key: plan.scan.licences[key] for key in sorted(totals.licences)}
    return RendersIndex(
        identity=plan.identity,
        spec=plan.spec,
        seed=plan.seed,
        source=plan.scan.source,
        source_digest=plan.scan.digest,
        vocabulary=vocabulary,
        commutes=plan.commutes,
        commutes_basis=plan.commutes_basis,
        licences=licences,
        shareable=all(licence.shareable for licence in licences.values()),
        counts=totals.counts,
        redraws={key: dict(sorted(n.items())) for key, n in totals.redraws.items()},
        skipped={entry.item_id: entry.reason for entry in plan.scan.skipped},
        shards=tuple(receipt.shard for receipt in receipts),
        versions={
            "python": platform.python_version(),
            "fxpipe": version("fxpipe"),
            **{k: "; ".join(sorted(found or {version(k)})) for k, found in releases.items()},
        },
        kinds=plan.kinds,
        fractions=plan.fractions,
        n_phrases=totals.n_phrases,
        split_seed=plan.split_seed,
        recordings=plan.recordings,
        files=(plan_file,),
    )


def read_renders_index(folder: Folder) -> RendersIndex:
    return read_index_as(RendersIndex, folder, kind=KIND, made_by=MADE_BY)


def read_records(folder: Folder, shard: ShardEntry, read: Read = read_verified) -> list[Record]:
    """A shard's records alone, checked against the index: no audio is read."""
    _, record_file = _files(folder, shard)
    where = f"{folder.uri}/{shard.name}"
    records = unpack_records(read(folder, record_file), where)
    for record in records:
        need(record, NEEDED, where)
    return records


NEEDED = ("id", "item", "group", "split", "chain", "after", "scale")
"""Keys of a render's record that encoding and checks read."""


def chain_of(record: Record) -> Chain:
    return Chain(tuple(Pedal(p["name"], p["settings"]) for p in record["chain"]))


def _files(folder: Folder, shard: ShardEntry) -> tuple[FileEntry, FileEntry]:
    if len(shard.files) != 2:
        raise RenderError(
            f"{folder.uri}/{shard.name}: {len(shard.files)} files, expected waves and records; "
            f"run '{MADE_BY}' again"
        )
    return shard.files[0], shard.files[1]


def read_shard(
    folder: Folder, shard: ShardEntry, read: Read = read_verified
) -> tuple[np.ndarray, list[Record]]:
    """(int16 [B, N], records) of a shard, every byte checked against the index."""
    wave_file, _ = _files(folder, shard)
    waves = unpack_npy(read(folder, wave_file), f"{folder.uri}/{wave_file.path}")
    records = read_records(folder, shard, read)
    fits = waves.dtype == np.int16 and waves.ndim == 2
    if not fits or not len(waves) == len(records) == shard.n_samples:
        raise RenderError(
            f"{folder.uri}/{shard.name}: {waves.dtype} {waves.shape} with {len(records)} records, "
            f"expected {shard.n_samples} clips of int16; run '{MADE_BY}' again"
        )
    return waves, records


def iter_clips(
    folder: Folder, index: RendersIndex, split: str, first: int, n: int
) -> Iterator[tuple[np.ndarray, Record]]:
    """(float32 [N], record) of clips ``first .. first + n`` of a split, shard by shard."""
    shards = index.by_split[split]
    at = max(0, bisect.bisect_right(shards, first, key=lambda shard: shard.first) - 1)
    wanted = list(itertools.takewhile(lambda shard: shard.first < first + n, shards[at:]))
    read = functools.partial(read_shard, folder, read=functools.partial(read_verified, quick=True))
    # A disk answers at once; a store is asked for the next while this one is used.
    found = map(read, wanted) if isinstance(folder, LocalFolder) else ahead(read, wanted, 1)
    for shard, (waves, records) in zip(wanted, found, strict=True):
        begin, end = max(first, shard.first), min(first + n, shard.first + shard.n_samples)
        for row in range(begin - shard.first, end - shard.first):
            yield waves[row].astype(np.float32) * np.float32(records[row]["scale"]), records[row]
