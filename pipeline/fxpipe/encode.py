"""``renders/`` -> ``shards/``: level, codec, log-mel and clues; one task a shard, index
written last.

Encoding always goes through ``tasks``: one core, several GPUs and a cluster are one code path.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import math
import platform
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

import numpy as np

from fxpipe.clues import clue_info
from fxpipe.codec import Codec, How, load_codec
from fxpipe.codec.unheard import Unheard
from fxpipe.encode_tally import Tally, changed_from, is_told, measured, said
from fxpipe.errors import CodecError
from fxpipe.hearing_shard import heard_clips
from fxpipe.level import LEVEL_RULE
from fxpipe.mel import mel_info
from fxpipe.render import YOUNGER, plain_spec
from fxpipe.renders import RendersIndex, chain_of, read_renders_index
from fxpipe.resume import made_with, refuse_late, what_is_left, write_finished
from fxpipe.store import DEFAULT_SHARD_SIZE, open_writer, shard_name
from fxpipe.tasks import (
    Job,
    Receipt,
    Turn,
    Workers,
    read_receipts,
    run_tasks,
    worker_index,
    write_receipt,
)
from fxtrain.contract import (
    CODEBOOKS_NAME,
    FORMAT_VERSION,
    INDEX_NAME,
    NOT_RUN,
    SPLITS,
    Block,
    CodecInfo,
    DatasetIndex,
    FileEntry,
    Folder,
    LocalFolder,
    Record,
    ShardEntry,
    UsageError,
    count_all,
    from_dict,
    identity_of,
    layout_of,
    open_folder,
    pack_npy,
    to_dict,
)

COMPARED = (2, 32, 50)
"""Clips encoded again in plain fp32: at least, at most, and one of so many."""
MIN_SHARD_SIZE = 60
SHARDS_WANTED = 16


@dataclass(frozen=True)
class EncodeSpec:
    """``codec`` is a name or a checkpoint's path; ``precision`` that of its encoder, ``NOT_RUN``
    for log-mel frames alone; ``window_s``: clips are heard in windows of so many seconds, as
    `fxtrain predict` hears a recording, None as a whole."""

    codec: str = "44khz"
    precision: str = "fp32"
    with_mel: bool = False
    backend: str = "webdataset"
    shard_size: int | None = None
    window_s: float | None = None


def shard_size_for(spec: EncodeSpec, n_samples: int) -> int:
    """Samples a shard: as asked, else the backend's default, halved until there are enough shards
    to share out, but not below ``MIN_SHARD_SIZE``.

    Depends on the number of samples alone: the same shards on any number of workers.
    """
    if spec.shard_size:
        return spec.shard_size
    size = DEFAULT_SHARD_SIZE[spec.backend]
    while size // 2 >= MIN_SHARD_SIZE and size * SHARDS_WANTED > n_samples:
        size //= 2
    return size


@functools.lru_cache(maxsize=1)
def _codec(name: str, device: str, precision: str, how: How, sha256: str) -> Codec:
    """Loaded once a process; one thread, because two processes beat two threads (by a tenth)."""
    return _load(name, sha256, device=device, precision=precision, how=how)


def _load(name: str, sha256: str, **options: Any) -> Codec:
    """The codec that the data set was begun with: a checkpoint is found by its name, by every
    worker anew."""
    codec = load_codec(name, n_threads=1, sha256=sha256, **options)
    if codec.info.weights_sha256 != sha256:
        raise CodecError(
            f"{name}: its sha256 is {codec.info.weights_sha256}, expected {sha256}, that of the "
            "codec which these shards were begun with; put that file back where the worker looks "
            "for it, then type the same line again"
        )
    return codec


@functools.lru_cache(maxsize=1)
def _renders(uri: str, sha256: str) -> RendersIndex:
    """Read once a process. ``sha256`` of the index: a worker lives on from run to run."""
    folder = open_folder(uri)
    index = read_renders_index(folder)
    if hashlib.sha256(folder.read(INDEX_NAME)).hexdigest() != sha256:
        raise CodecError(f"{uri}: the renders changed while they were being encoded; start again")
    return index


def encode_shard(job: Job) -> Receipt:
    """The dask task: read clips, encode, write one shard. While a store takes its time over what
    was written, its worker goes on with the next."""
    with Turn() as turn:
        block, tally = _encode_clips(job)
        folder = open_folder(job["uri"])
        if not isinstance(folder, LocalFolder):
            turn.step_aside()
        refuse_late(folder, job["identity"])
        writer = open_writer(job["spec"]["backend"], job["shard_size"])
        shard = writer.write(folder, job["split"], job["number"], job["first"], block)
        receipt = Receipt(job["identity"], shard, said(tally))
        write_receipt(folder, receipt)
    return receipt


def _encode_clips(job: Job) -> tuple[Block, Tally]:
    spec = EncodeSpec(**job["spec"])
    renders = _renders(job["renders"], job["renders_sha256"])
    devices = job["devices"]
    device = devices[worker_index() % len(devices)] if len(devices) > 1 else devices[0]
    info = from_dict(CodecInfo, job["codec"], "codec")
    weights, rate = info.weights_sha256, info.sample_rate_hz
    codec: Codec | Unheard = Unheard(info)
    if spec.precision != NOT_RUN:
        codec = _codec(spec.codec, device, spec.precision, How(**job["how"]), weights)
    wanted = (mel_info(info), clue_info(info)) if spec.with_mel else (None, None)
    n_windows = job["n_windows"]
    codes, beside, records, loudness = [], [], [], []
    compared: list[np.ndarray] = []
    for heard in heard_clips(job, renders, rate, wanted, device):
        codes.append(codec.encode(heard.waves))
        beside.append((heard.mel, heard.clues))
        records += heard.records
        loudness += heard.loudness_lufs
        for wave in heard.waves[: max(0, job["compare"] - len(compared))]:
            compared.append(wave if device == "cpu" else np.asarray(wave.cpu()))
    rows = np.concatenate(codes)
    mel, clues = (_joined(parts, n_windows) for parts in zip(*beside, strict=True))
    loudest = np.reshape(loudness, (-1, n_windows)).max(1).tolist()
    both = zip(records[::n_windows], loudest, strict=True)
    told = [_record(record, loud) for record, loud in both]
    block = _block(side_by_side(rows, n_windows), mel, clues, told, renders)
    changed = None
    if compared:
        plain = _load(spec.codec, weights, device=device, how=How(exact=True))
        changed = changed_from(plain, np.stack(compared), rows[: len(compared)])
    return block, Tally(codec.arithmetic, changed, **codec.usage(), release=made_with("torch"))


def _joined(parts: Sequence[np.ndarray | None], n_windows: int) -> np.ndarray | None:
    """None where it was not asked for."""
    there = [part for part in parts if part is not None]
    return side_by_side(np.concatenate(there), n_windows) if there else None


def side_by_side(rows: np.ndarray, n_windows: int) -> np.ndarray:
    """Windows [B W, …, T] as clips [B, …, W T] that have their windows one after another."""
    windows = np.moveaxis(rows.reshape(-1, n_windows, *rows.shape[1:]), 1, -2)
    return windows.reshape(*windows.shape[:-2], -1)


def _record(record: Record, loudness_lufs: float) -> Record:
    """The render's record without its storage scale; loudness as it left the last pedal, in the
    loudest of its windows."""
    kept = {key: value for key, value in record.items() if key != "scale"}
    gain_db = record["after"]["gain_db"]
    loud = round(loudness_lufs - gain_db, 2) if math.isfinite(loudness_lufs) else None
    return kept | {"loudness_lufs": loud}


def _block(
    codes: np.ndarray,
    mel: np.ndarray | None,
    clues: np.ndarray | None,
    records: Sequence[Record],
    renders: RendersIndex,
) -> Block:
    vocabulary, length = renders.vocabulary, renders.spec.chain.max_length
    chains = [chain_of(record) for record in records]
    return Block(
        codes=codes,
        order=np.stack([vocabulary.encode_order(chain.names, length) for chain in chains]),
        params=np.stack([vocabulary.encode_params(chain, length) for chain in chains]),
        mel=mel,
        records=tuple(records),
        clues=clues,
    )


def encode_all(
    renders_folder: Folder,
    renders: RendersIndex,
    folder: Folder,
    spec: EncodeSpec,
    workers: Workers,
    devices: Sequence[str],
    on_shard: Callable[[ShardEntry], None],
    *,
    repair: bool = False,
    how: How | None = None,
    on_found: Callable[[ShardEntry], None] | None = None,
    codec: tuple[CodecInfo, np.ndarray] | None = None,
) -> DatasetIndex:
    """Encode what is not there yet, then write the index. Safe to interrupt and to run again.

    ``repair`` reads every byte of what is there and makes again what differs. ``on_found`` is
    told of the shards that were there, ``on_shard`` of those made now; of both without it.
    ``codec``: what ``codec_of`` has read already.
    """
    info, codebooks = codec or codec_of(spec)
    identity, recipe = encode_identity(renders, info, spec)
    size = shard_size_for(spec, count_all(renders.counts))
    how = how or How()
    jobs = _jobs(renders_folder, renders, folder, spec, identity, size, devices, how, info)
    found = read_receipts(folder, identity, verify=repair)
    done, missing = what_is_left(folder, jobs, found, made_with("torch"), is_told)
    if list(devices) != ["cpu"]:
        foresee(missing, 1 if workers.are_remote else workers.n_workers)
    common = [folder.write(CODEBOOKS_NAME, pack_npy(codebooks))]
    common += _prepare(folder, renders, info, spec, size)
    for receipt in done.values():
        (on_found or on_shard)(receipt.shard)
    for receipt in run_tasks(encode_shard, missing, workers, alone=True):
        done[receipt.shard.name] = receipt
        on_shard(receipt.shard)
    receipts = [done[job["name"]] for job in jobs]
    recipe["recordings"] = to_dict(renders.recordings)  # as the source's digest has them already
    tallies = [from_dict(Tally, r.tally, r.shard.name) for r in receipts]
    recipe |= measured(tallies)  # not chosen: not part of the identity
    encoders = sorted({tally.encoder for tally in tallies})
    index = _index_of(renders, info, spec, identity, recipe, receipts, encoders, tuple(common))
    write_finished(folder, index)
    return index


def codec_of(spec: EncodeSpec) -> tuple[CodecInfo, np.ndarray]:
    """(info, codebooks), read where the driver runs, which needs no GPU for it."""
    plain = load_codec(spec.codec, n_threads=1, how=How(exact=True))
    return dataclasses.replace(plain.info, precision=spec.precision), plain.codebooks


def encode_identity(
    renders: RendersIndex, codec: CodecInfo, spec: EncodeSpec
) -> tuple[str, dict[str, Any]]:
    """(hash, recipe) of all that changes the shards; the backend's versions are not among it."""
    recipe = {
        "renders_identity": renders.identity,
        "source": renders.source.partition(":")[0],
        "source_digest": renders.source_digest,
        "seed": renders.seed,
        "split_seed": renders.split_seed,
        "fractions": list(renders.fractions),
        "spec": plain_spec(renders.spec, *YOUNGER),
        "weights_sha256": codec.weights_sha256,
        "precision": codec.precision,
        "with_mel": spec.with_mel,
        "level": to_dict(LEVEL_RULE),
        "backend": spec.backend,
        "shard_size": spec.shard_size,
        "format_version": FORMAT_VERSION,
    }
    if spec.with_mel:
        recipe["clues"] = to_dict(clue_info(codec))
    if spec.window_s is not None:
        recipe["window_s"] = spec.window_s
    return identity_of(recipe), recipe


def _jobs(
    renders_folder: Folder,
    renders: RendersIndex,
    folder: Folder,
    spec: EncodeSpec,
    identity: str,
    size: int,
    devices: Sequence[str],
    how: How,
    codec: CodecInfo,
) -> list[Job]:
    low, high, one_in = COMPARED
    n = count_all(renders.counts)
    runs = not how.exact and spec.precision != NOT_RUN
    n_compared = max(low, min(high, n // one_in)) if runs else 0
    shared = {
        "renders": renders_folder.uri,
        "renders_identity": renders.identity,
        "renders_sha256": hashlib.sha256(renders_folder.read(INDEX_NAME)).hexdigest(),
        "uri": folder.uri,
        "identity": identity,
        "spec": to_dict(spec),
        "shard_size": size,
        "devices": list(devices),
        "how": to_dict(how),
        "codec": to_dict(codec),
        "compare": 0,
        "n_windows": n_windows_of(renders, spec),
    }
    jobs = [
        shared
        | {
            "name": shard_name(split, number),
            "split": split,
            "number": number,
            "first": first,
            "n": min(size, renders.counts[split].n_samples - first),
        }
        for split in SPLITS
        for number, first in enumerate(range(0, renders.counts[split].n_samples, size))
    ]
    jobs[0]["compare"] = n_compared
    return jobs


def foresee(jobs: Sequence[Job], n_workers: int) -> None:
    """Tell each job which clips its worker probably reads next: they are dealt out in turn."""
    for job, later in zip(jobs, jobs[n_workers:], strict=False):
        job["next"] = {key: later[key] for key in ("split", "first", "n")}


def _prepare(
    folder: Folder, renders: RendersIndex, codec: CodecInfo, spec: EncodeSpec, size: int
) -> list[FileEntry]:
    length = renders.spec.chain.max_length
    n_windows = n_windows_of(renders, spec)
    sizes = {
        "K": codec.n_codebooks,
        "T": n_windows * codec.n_frames(n_audio_samples(renders, codec, n_windows)),
        "L": length,
        "P": renders.vocabulary.max_params,
    }
    if spec.with_mel:
        sizes |= {"M": mel_info(codec).n_mels, "C": n_windows * clue_info(codec).n_clues}
    fields = layout_of(sizes)
    writer = open_writer(spec.backend, size)
    return [
        entry
        for split in SPLITS
        for entry in writer.prepare(folder, split, renders.counts[split].n_samples, fields)
    ]


def n_windows_of(renders: RendersIndex, spec: EncodeSpec) -> int:
    """Windows of a clip, 1 where it is heard as a whole. UsageError where it is no whole number."""
    if spec.window_s is None:
        return 1
    made = renders.spec
    n_windows, left = divmod(made.n_samples, round(spec.window_s * made.sample_rate_hz))
    if left or not n_windows:
        raise UsageError(
            f"--window-s {spec.window_s:g}: the clips are of {made.clip_s:g} s, which is no whole "
            f"number of such windows; take a part of it, as {made.clip_s / 2:g}"
        )
    return n_windows


def n_audio_samples(renders: RendersIndex, codec: CodecInfo, n_windows: int) -> int:
    """Window length at the codec's rate."""
    n_samples = renders.spec.n_samples // n_windows
    return round(n_samples * codec.sample_rate_hz / renders.spec.sample_rate_hz)


def _index_of(
    renders: RendersIndex,
    codec: CodecInfo,
    spec: EncodeSpec,
    identity: str,
    recipe: dict[str, Any],
    receipts: Sequence[Receipt],
    encoders: Sequence[str],
    files: tuple[FileEntry, ...],
) -> DatasetIndex:
    return DatasetIndex(
        identity=identity,
        backend=spec.backend,
        codec=codec,
        mel=mel_info(codec) if spec.with_mel else None,
        clues=clue_info(codec) if spec.with_mel else None,
        level=LEVEL_RULE,
        n_audio_samples=n_audio_samples(renders, codec, n_windows_of(renders, spec)),
        n_windows=n_windows_of(renders, spec),
        vocabulary=renders.vocabulary,
        max_chain_length=renders.spec.chain.max_length,
        commutes=renders.commutes,
        commutes_basis=renders.commutes_basis,
        licences=renders.licences,
        shareable=renders.shareable,
        counts=renders.counts,
        shards=tuple(receipt.shard for receipt in receipts),
        files=files,
        recipe=recipe,
        versions=renders.versions
        | {
            "python": platform.python_version(),
            "fxpipe": version("fxpipe"),
            "codec": codec.backend,
            "encoder": "; ".join(encoders),
        },
    )
