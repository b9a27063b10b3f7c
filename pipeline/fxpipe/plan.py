"""What is to be rendered, written down before the first clip is made, and each clip's dry audio."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from fxpipe.amplifier import AMPLIFIER_VERSION
from fxpipe.chains.chain import generator
from fxpipe.errors import RenderError, SourceError
from fxpipe.orders.commute import Rule, SymmetryTable, basis, commuting_pairs
from fxpipe.pedals import MAKES, PLUGINS
from fxpipe.render import (
    BANDWIDTH_HZ,
    RENDER_VERSION,
    YOUNGER,
    ClipDraw,
    RenderSpec,
    plain_spec,
    to_input_level,
)
from fxpipe.sources import Item, Scan, Source, assign_splits, pick_start, read_clip, read_recording
from fxpipe.sources.phrases import (
    MIN_SOUNDING,
    PHRASE_VERSION,
    Phrase,
    draw_phrase,
    play_phrase,
    sounding_share,
)
from fxpipe.sources.pickups import GUITAR_VERSION, draw_guitar, play_on
from fxpipe.sources.players import LONGEST_S, PHRASE_KEYS, Player, shared_meta, stock_of
from fxpipe.sources.splits import DEFAULT_FRACTIONS, Fractions
from fxpipe.sources.synth import SAMPLE_RATE_HZ as SYNTH_RATE_HZ
from fxpipe.sources.synth import perform
from fxpipe.speaker import SPEAKER_VERSION
from fxtrain.contract import (
    FORMAT_VERSION,
    SPLITS,
    ContractError,
    FileEntry,
    Folder,
    Record,
    UsageError,
    from_dict,
    identity_of,
    open_folder,
    read_json,
    shorten,
    to_dict,
)

PLAN_NAME = "plan.json"
PHRASE_ATTEMPTS = 8
NO_KIND = "(none)"


@dataclass(frozen=True)
class Plan:
    """All that decides the renders, written down before the first clip is made.

    ``commutes``: pairs whose order cannot be heard, ``commutes_basis`` how that is known.
    ``split_seed``: divides the recordings over the splits, by default like ``seed`` draws; None
    where nothing is divided, because every clip is played anew.
    ``shard_size``: clips a file, which changes no clip; none: as the number of clips suggests.
    """

    spec: RenderSpec
    seed: int
    n_clips: dict[str, int]
    generated: bool
    scan: Scan
    splits: dict[str, str]
    kinds: tuple[str, ...] = ()
    fractions: Fractions = DEFAULT_FRACTIONS
    commutes: tuple[tuple[str, str], ...] = ()
    commutes_basis: str = ""
    split_seed: int | None = None
    shard_size: int | None = None

    def __post_init__(self) -> None:
        if set(self.n_clips) != set(SPLITS) or min(self.n_clips.values()) < 0:
            raise ContractError(f"clips by split are {shorten(self.n_clips)}")
        if self.shard_size is not None and not 0 < self.shard_size < 10**9:
            raise ContractError(f"shards of {shorten(self.shard_size)} clips")
        licences = self.scan.licences
        if self.generated and len(licences) != 1:
            raise ContractError(f"{len(licences)} licences of what is played, expected one")
        for item in self.scan.items:
            if item.licence not in licences:
                raise ContractError(f"licence {shorten(item.licence)} is not among those stated")
            if self.splits.get(item.group) not in SPLITS:
                raise ContractError(f"group {shorten(item.group)} is in no split")

    @property
    def identity(self) -> str:
        """Hash of what changes the data: not where files lie, not how many workers there are."""
        more: dict[str, Any] = {}
        if self.spec.phrases:
            more = {"phrases": PHRASE_VERSION, "played": self._played}
        if self.split_seed not in (None, self.seed):
            more |= {"split_seed": self.split_seed}
        spec = plain_spec(self.spec, "pedal_rms", *YOUNGER)
        if self.spec.guitars:
            more |= {"guitars": GUITAR_VERSION}
        if self.spec.band_limited:
            more |= {"bandwidth_hz": BANDWIDTH_HZ}
        if self.spec.speakers:
            more |= {"speakers": SPEAKER_VERSION}
        if self.spec.amplifiers:
            more |= {"amplifiers": AMPLIFIER_VERSION, "speakers": SPEAKER_VERSION}
        if not self.spec.chain.makes:
            del spec["chain"]["makes"]  # younger than the first identities, too
        return identity_of(
            more
            | {
                "format_version": FORMAT_VERSION,
                "render_version": RENDER_VERSION,
                "spec": spec,
                "seed": self.seed,
                "n_clips": self.n_clips,
                "source": self.scan.source.partition(":")[0],
                "digest": self.scan.digest,
                "fractions": self.fractions,
                "commutes": self.commutes,
            }
        )

    @functools.cached_property
    def _played(self) -> str:
        """Hash of what phrases go by beside sound: who plays what on which guitar."""
        told = [
            [item.item_id, *(item.meta.get(key) for key in PHRASE_KEYS)] for item in self.scan.items
        ]
        return identity_of({"items": told})

    def items_of(self, split: str) -> list[Item]:
        return self._items_by_split[split]

    @functools.cached_property
    def _items_by_split(self) -> dict[str, list[Item]]:
        found: dict[str, list[Item]] = {split: [] for split in SPLITS}
        for item in self.scan.items:
            found[self.splits[item.group]].append(item)
        return found

    @property
    def recordings(self) -> dict[str, str]:
        """Split -> the files behind it, by the first digits of their sha256, in a line; nothing
        where every clip is played anew."""
        return {
            split: " ".join(sorted({str(item.meta["sha256"])[:12] for item in items}))
            for split in SPLITS
            if (items := self.items_of(split))
        }

    @functools.cached_property
    def stock(self) -> dict[str, tuple[Player, ...]]:
        """Split -> what its phrases are made of."""
        return {split: stock_of(self.items_of(split)) for split in SPLITS}

    @functools.cached_property
    def items(self) -> dict[str, Item]:
        return {item.item_id: item for item in self.scan.items}


def _check_corners(spec: RenderSpec) -> None:
    """A filter whose corner lies above half the sample rate howls, until the run ends at a clip
    that is no numbers."""
    most_hz = spec.sample_rate_hz / 2
    for name in sorted(set(spec.chain.sets.names) - set(PLUGINS)):
        knobs = [knob.param for knob in spec.chain.drawn_knobs[name]]
        ways = {p: f"narrow it (--range {name}.{p.name}:{p.low:g}..{most_hz:g})" for p in knobs}
        if spec.chain.makes and name in MAKES:
            ways |= dict.fromkeys(MAKES[name].inside, "leave --makes away")
        for param, way in ways.items():
            if param.unit == "Hz" and param.high > most_hz:
                raise UsageError(
                    f"{name}: {param.name} goes up to {param.high:g} Hz, and sample_rate_hz under "
                    f"[render] is {spec.sample_rate_hz}, which ends at {most_hz:g} Hz; leave "
                    f"sample_rate_hz away, or {way}"
                )


def make_plan(
    spec: RenderSpec,
    source: Source,
    n_chains: int,
    seed: int,
    *,
    progress: bool,
    kinds: Sequence[str] = (),
    fractions: Fractions = DEFAULT_FRACTIONS,
    symmetry: SymmetryTable | None = None,
    rule: Rule | None = None,
    split_seed: int | None = None,
    shard_size: int | None = None,
) -> Plan:
    """Look at the source, divide its groups over the splits, and say how many clips each gets.

    ``kinds``: use only recordings whose ``meta["kind"]`` is one of these. ``fractions``: the
    shares of train, valid and test, of the groups as of the clips. ``symmetry`` and ``rule``:
    which pairs have no order; the table in the package and its usual line where not given.
    ``split_seed``: one for all data sets that are to be used together, see docs/scale.md.
    """
    _check_corners(spec)
    train, valid, test = map(float, fractions)  # an index knows them as such: 0.0, not 0
    fractions = (train, valid, test)
    n_clips = split_sizes(n_chains, fractions)
    scan = source.scan(progress=progress)
    if not source.is_generated and not scan.items:
        raise SourceError(f"{source.name}: no usable audio ({len(scan.skipped)} files skipped)")
    if kinds:
        scan = _only_kinds(scan, kinds)
    groups = [item.group for item in scan.items]
    division = (seed if split_seed is None else split_seed) if scan.items else None
    splits = {}
    if division is not None:
        splits = assign_splits(groups, seed=division, fractions=fractions)
    wanted = tuple(sorted(set(kinds)))
    if source.is_generated and spec.sample_rate_hz != SYNTH_RATE_HZ:
        raise UsageError(
            f"the built-in guitar plays at {SYNTH_RATE_HZ} Hz; sample_rate_hz under [render] is "
            f"{spec.sample_rate_hz}; leave it away, or take recordings"
        )
    plan = Plan(
        *(spec, seed, n_clips, source.is_generated, scan, splits, wanted, fractions),
        commutes=commuting_pairs(spec.chain.pool, symmetry, rule),
        commutes_basis=basis(symmetry, rule),
        split_seed=division,
        shard_size=shard_size,
    )
    if spec.phrases:
        _check_stock(plan)
    return plan


def split_sizes(n_chains: int, fractions: Fractions) -> dict[str, int]:
    """Clips by split: a split with a fraction above 0 gets one at least, the first one the rest."""
    asked = [split for split, part in zip(SPLITS, fractions, strict=True) if part > 0]
    parts = dict(zip(SPLITS, fractions, strict=True))
    n_clips = {split: max(1, round(n_chains * parts[split])) for split in asked[1:]}
    n_clips[asked[0]] = n_chains - sum(n_clips.values())
    if n_chains < len(asked):
        raise UsageError(f"{n_chains} chains are too few to divide: ask for {len(asked)} or more")
    while n_clips[asked[0]] < 1:  # the others were rounded up
        n_clips[max(n_clips, key=lambda split: n_clips[split])] -= 1
        n_clips[asked[0]] += 1
    return {split: n_clips.get(split, 0) for split in SPLITS}


def shard_size(n_clips: int) -> int:
    """Clips a shard: about a thousand shards, of 25 to 1,000 clips each.

    So many that no worker waits long for the others' last one. Depends on the number of clips
    alone: the same shards on any number of workers.
    """
    return min(1000, max(25, n_clips // 1000))


def _only_kinds(scan: Scan, kinds: Sequence[str]) -> Scan:
    """The scan with recordings of these kinds alone; the digest tells which."""
    present = Counter(str(item.meta.get("kind", NO_KIND)) for item in scan.items)
    for kind in kinds:
        if kind not in present:
            there = ", ".join(f"{name} {n}" for name, n in sorted(present.items())) or "none at all"
            raise UsageError(
                f"{scan.source}: no recording of kind {kind!r}; there are, by kind: {there}"
            )
    items = tuple(item for item in scan.items if str(item.meta.get("kind", NO_KIND)) in kinds)
    if len(items) == len(scan.items):
        return scan
    ids = [item.item_id for item in items]
    digest = identity_of({"scan": scan.digest, "kinds": sorted(set(kinds)), "items": ids})
    return dataclasses.replace(scan, items=items, digest=digest)


def _check_stock(plan: Plan) -> None:
    if plan.generated:
        raise UsageError(
            f"{plan.scan.source} plays phrases by itself: leave --phrases away, or give recordings"
        )
    for split, n in plan.n_clips.items():
        if n and not plan.stock[split]:
            raise SourceError(
                f"{plan.scan.source}: a phrase needs two recordings of one licence, each of at "
                f"most {LONGEST_S:g} s, and split {split!r} has {len(plan.items_of(split))} in "
                "all; add recordings, change --fractions, or leave --phrases away"
            )


def plan_bytes(plan: Plan) -> bytes:
    return json.dumps(to_dict(plan)).encode()


def save_plan(folder: Folder, plan: Plan) -> FileEntry:
    return folder.write(PLAN_NAME, plan_bytes(plan))


def read_plan(folder: Folder, identity: str, sha256: str | None = None) -> Plan:
    """The plan of the data set ``identity``, from a file with this ``sha256`` where one is given.

    RenderError where there is none, or another's.
    """
    where = f"{folder.uri}/{PLAN_NAME}"
    try:
        data = folder.read(PLAN_NAME)
        plan = from_dict(Plan, read_json(data, where), where)
    except (ContractError, FileNotFoundError) as error:
        raise RenderError(f"{error}; type the command that wrote this directory again") from None
    is_file = sha256 in (None, hashlib.sha256(data).hexdigest())
    if plan.identity != identity or not is_file:
        raise RenderError(f"{where} is another plan than this render's; start it again")
    return plan


@functools.lru_cache(maxsize=2)
def load_plan(uri: str, identity: str, sha256: str) -> Plan:
    """What a worker goes by, read once a process. It lives on from run to run, and where the
    recordings lie is not part of the identity: the file's ``sha256`` tells its plans apart."""
    return read_plan(open_folder(uri), identity, sha256)


def take_clip(
    plan: Plan, split: str, position: int, attempt: int, draw: ClipDraw
) -> tuple[np.ndarray, Record]:
    """The dry clip with its run-in at the drawn input level, and where it was taken."""
    spec = plan.spec
    n_total = spec.n_run_in + spec.n_samples
    if plan.generated:
        rng = generator(plan.seed, split, position, "performance", attempt)
        dry, performance = perform(rng, n_total)
        peak = float(np.abs(dry).max())
        (licence,) = plan.scan.licences
        name = f"{split}-{position}-{attempt}"
        taken: Record = {"source": plan.scan.source, "item": name, "group": name}
        clip: Record = {"start_s": 0.0, "performance": asdict(performance)}
    elif (found := _take_phrase(plan, split, position, attempt, draw)) is not None:
        phrase, dry = found
        peak = float(np.abs(dry).max())
        played = [plan.items[note.item] for note in phrase.notes]
        licence = played[0].licence
        first = phrase.notes[0]
        taken = {"source": plan.scan.source, "item": first.item, "group": first.group}
        clip = {"start_s": 0.0, "phrase": asdict(phrase), **shared_meta(played)}
    else:
        items = plan.items_of(split)
        item = items[int(draw.item_u * len(items))]
        start_s = round(pick_start(item, draw.start_u, spec.clip_s), 6)
        dry = read_clip(
            item,
            start=start_s,
            n_samples=spec.n_samples,
            run_in_samples=spec.n_run_in,
            sample_rate_hz=spec.sample_rate_hz,
        )
        peak, licence = item.peak, item.licence
        taken = {"source": plan.scan.source, "item": item.item_id, "group": item.group}
        clip = {"start_s": start_s, **item.meta}
    if spec.guitars:
        rng = generator(plan.seed, split, position, "guitar", attempt)
        if rng.random() < spec.guitars:
            guitar = draw_guitar(rng)
            dry = play_on(guitar, dry, spec.sample_rate_hz, rng)
            clip["guitar"] = asdict(guitar)
    clip["input_peak_dbfs"] = draw.input_peak_dbfs
    return to_input_level(dry, peak, draw.input_peak_dbfs), taken | {
        "licence": licence,
        "clip": clip,
    }


def _take_phrase(
    plan: Plan, split: str, position: int, attempt: int, draw: ClipDraw
) -> tuple[Phrase, np.ndarray] | None:
    """A phrase and its audio [run-in + N]; None where the clip is to be a single recording.

    A phrase of which too little is heard once it is played is drawn again; where none is good
    enough the clip is a single recording too.
    """
    spec = plan.spec
    if not spec.phrases:
        return None
    if generator(plan.seed, split, position, "phrase").random() >= spec.phrases:
        return None
    rng = generator(plan.seed, split, position, "phrase", attempt + 1)
    for _ in range(PHRASE_ATTEMPTS):
        phrase = draw_phrase(
            plan.stock[split], draw.item_u, rng, run_in_s=spec.run_in_s, clip_s=spec.clip_s
        )
        dry = play_phrase(
            phrase,
            lambda item_id: read_recording(plan.items[item_id], spec.sample_rate_hz),
            n_samples=spec.n_run_in + spec.n_samples,
            sample_rate_hz=spec.sample_rate_hz,
        )
        if sounding_share(dry[spec.n_run_in :], spec.sample_rate_hz) >= MIN_SOUNDING:
            return phrase, dry
    return None
