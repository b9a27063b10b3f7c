"""``renders/`` -> ``shards/``: level, codec, log-mel; one task a shard, index written last.

Encoding always goes through ``tasks``: one core, several GPUs and a cluster are one code path.
"""

from __future__ import annotations

import functools
import math
import platform
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

import numpy as np

from fxpipe.codec import Codec, load_codec
from fxpipe.errors import CodecError
from fxpipe.level import LEVEL_RULE, normalise
from fxpipe.mel import log_mel, mel_info
from fxpipe.renders import RendersIndex, iter_clips, read_renders_index
from fxpipe.store import DEFAULT_SHARD_SIZE, open_writer, shard_name
from fxpipe.tasks import (
    Job,
    Receipt,
    Workers,
    read_receipts,
    run_tasks,
    worker_index,
    write_receipt,
)
from fxtrain.contract import (
    CODEBOOKS_NAME,
    FIELDS,
    FORMAT_VERSION,
    INDEX_NAME,
    SPLITS,
    Block,
    Chain,
    CodecInfo,
    DatasetIndex,
    FileEntry,
    Folder,
    MelInfo,
    Pedal,
    Record,
    ShardEntry,
    identity_of,
    open_folder,
    pack_npy,
    to_dict,
    write_index,
)

BATCH = 32
MIN_SHARD_SIZE = 60
SHARDS_WANTED = 16


@dataclass(frozen=True)
class EncodeSpec:
    """``codec`` is a name or a checkpoint's path; ``precision`` that of its encoder."""

    codec: str = "44khz"
    precision: str = "fp32"
    with_mel: bool = False
    backend: str = "webdataset"
    shard_size: int | None = None


def shard_size_for(spec: EncodeSpec, n_samples: int) -> int:
    """The backend's default, halved until there are enough shards to share out.

    Depends on the number of samples alone: the same shards on any number of workers.
    """
    size = spec.shard_size or DEFAULT_SHARD_SIZE[spec.backend]
    while (
        not spec.shard_size and size // 2 >= MIN_SHARD_SIZE - 2 and size * SHARDS_WANTED > n_samples
    ):
        size //= 2
    return size


def features(
    waves: Sequence[np.ndarray], sample_rate_hz: int, codec: Codec, mel: MelInfo | None
) -> tuple[np.ndarray, np.ndarray | None, list[float]]:
    """What a model hears of windows of one length: (codes, mel or None, loudness before, LUFS).

    The same function serves training data and inference. Resampling, if any, comes first, then
    the level rule, then codec and mel on the same samples.
    """
    rate = codec.info.sample_rate_hz
    levelled, loudness = [], []
    for wave in waves:
        loud, before = normalise(_resample(wave, sample_rate_hz, rate), rate)
        levelled.append(loud)
        loudness.append(before)
    codes = codec.encode(np.stack(levelled))
    frames = np.stack([log_mel(loud, rate, mel) for loud in levelled]) if mel else None
    return codes, frames, loudness


def _resample(wave: np.ndarray, from_hz: int, to_hz: int) -> np.ndarray:
    if from_hz == to_hz:
        return wave
    import soxr

    resampled: np.ndarray = soxr.resample(wave, from_hz, to_hz, quality="HQ")
    n = round(len(wave) * to_hz / from_hz)
    return np.pad(resampled, (0, max(0, n - len(resampled))))[:n]


@functools.lru_cache(maxsize=1)
def _codec(name: str, device: str, precision: str) -> Codec:
    """Loaded once a process; one thread, because two processes beat two threads (by a tenth)."""
    return load_codec(name, device=device, precision=precision, n_threads=1)


@functools.lru_cache(maxsize=1)
def _renders(uri: str, identity: str) -> RendersIndex:
    index = read_renders_index(open_folder(uri))
    if index.identity != identity:
        raise CodecError(f"{uri}: the renders changed while they were being encoded; start again")
    return index


def encode_shard(job: Job) -> Receipt:
    """The dask task: read clips, encode, write one shard."""
    spec = EncodeSpec(**job["spec"])
    renders = _renders(job["renders"], job["renders_identity"])
    devices = job["devices"]
    device = devices[worker_index() % len(devices)] if len(devices) > 1 else devices[0]
    codec = _codec(spec.codec, device, spec.precision)
    mel = mel_info(codec.info) if spec.with_mel else None
    clips = list(
        iter_clips(open_folder(job["renders"]), renders, job["split"], job["first"], job["n"])
    )
    codes, frames, records = [], [], []
    for begin in range(0, len(clips), BATCH):
        waves, batch = zip(*clips[begin : begin + BATCH], strict=True)
        found = features(waves, renders.spec.sample_rate_hz, codec, mel)
        codes.append(found[0])
        if found[1] is not None:
            frames.append(found[1])
        records += [_record(r, loud) for r, loud in zip(batch, found[2], strict=True)]
    block = _block(np.concatenate(codes), np.concatenate(frames) if mel else None, records, renders)
    folder = open_folder(job["uri"])
    writer = open_writer(spec.backend, job["shard_size"])
    shard = writer.write(folder, job["split"], job["number"], job["first"], block)
    receipt = Receipt(job["identity"], shard, {})
    write_receipt(folder, receipt)
    return receipt


def _record(record: Record, loudness_lufs: float) -> Record:
    """The render's record without its storage scale; loudness as it left the last pedal."""
    kept = {key: value for key, value in record.items() if key != "scale"}
    gain_db = record["after"]["gain_db"]
    loud = round(loudness_lufs - gain_db, 2) if math.isfinite(loudness_lufs) else None
    return kept | {"loudness_lufs": loud}


def _block(
    codes: np.ndarray, mel: np.ndarray | None, records: Sequence[Record], renders: RendersIndex
) -> Block:
    vocabulary, length = renders.vocabulary, renders.spec.chain.max_length
    chains = [chain_of(record) for record in records]
    return Block(
        codes=codes,
        order=np.stack([vocabulary.encode_order(chain.names, length) for chain in chains]),
        params=np.stack([vocabulary.encode_params(chain, length) for chain in chains]),
        mel=mel,
        records=tuple(records),
    )


def chain_of(record: Record) -> Chain:
    return Chain(tuple(Pedal(p["name"], p["settings"]) for p in record["chain"]))


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
) -> DatasetIndex:
    """Encode what is not there yet, then write the index. Safe to interrupt and to run again.

    ``repair`` reads every byte of what is there and makes again what differs.
    """
    codec = load_codec(spec.codec, device=devices[0], precision=spec.precision, n_threads=1)
    identity, recipe = encode_identity(renders, codec.info, spec)
    size = shard_size_for(spec, sum(counts.n_samples for counts in renders.counts.values()))
    jobs = _jobs(renders_folder, renders, folder, spec, identity, size, devices)
    done = read_receipts(folder, identity, verify=repair)
    if any(job["name"] not in done for job in jobs):
        folder.delete(INDEX_NAME)
    common = [folder.write(CODEBOOKS_NAME, pack_npy(codec.codebooks))]
    common += _prepare(folder, renders, codec.info, spec, size)
    for receipt in done.values():
        on_shard(receipt.shard)
    for receipt in run_tasks(encode_shard, [j for j in jobs if j["name"] not in done], workers):
        done[receipt.shard.name] = receipt
        on_shard(receipt.shard)
    shards = tuple(done[job["name"]].shard for job in jobs)
    index = _index_of(renders, codec.info, spec, identity, recipe, shards, tuple(common))
    write_index(folder, index)
    return index


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
        "spec": to_dict(renders.spec),
        "weights_sha256": codec.weights_sha256,
        "precision": codec.precision,
        "with_mel": spec.with_mel,
        "level": to_dict(LEVEL_RULE),
        "backend": spec.backend,
        "shard_size": spec.shard_size,
        "format_version": FORMAT_VERSION,
    }
    return identity_of(recipe), recipe


def _jobs(
    renders_folder: Folder,
    renders: RendersIndex,
    folder: Folder,
    spec: EncodeSpec,
    identity: str,
    size: int,
    devices: Sequence[str],
) -> list[Job]:
    shared = {
        "renders": renders_folder.uri,
        "renders_identity": renders.identity,
        "uri": folder.uri,
        "identity": identity,
        "spec": to_dict(spec),
        "shard_size": size,
        "devices": list(devices),
    }
    return [
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


def _prepare(
    folder: Folder, renders: RendersIndex, codec: CodecInfo, spec: EncodeSpec, size: int
) -> list[FileEntry]:
    length = renders.spec.chain.max_length
    sizes = {
        "K": codec.n_codebooks,
        "T": codec.n_frames(n_audio_samples(renders, codec)),
        "L": length,
        "P": renders.vocabulary.max_params,
        "M": mel_info(codec).n_mels,
    }
    fields = {
        field.name: (field.dtype, tuple(sizes[letter] for letter in field.shape.split()))
        for field in FIELDS
        if field.name != "mel" or spec.with_mel
    }
    writer = open_writer(spec.backend, size)
    return [
        entry
        for split in SPLITS
        for entry in writer.prepare(folder, split, renders.counts[split].n_samples, fields)
    ]


def n_audio_samples(renders: RendersIndex, codec: CodecInfo) -> int:
    """Window length at the codec's rate."""
    return round(renders.spec.n_samples * codec.sample_rate_hz / renders.spec.sample_rate_hz)


def _index_of(
    renders: RendersIndex,
    codec: CodecInfo,
    spec: EncodeSpec,
    identity: str,
    recipe: dict[str, Any],
    shards: tuple[ShardEntry, ...],
    files: tuple[FileEntry, ...],
) -> DatasetIndex:
    return DatasetIndex(
        identity=identity,
        backend=spec.backend,
        codec=codec,
        mel=mel_info(codec) if spec.with_mel else None,
        level=LEVEL_RULE,
        n_audio_samples=n_audio_samples(renders, codec),
        vocabulary=renders.vocabulary,
        max_chain_length=renders.spec.chain.max_length,
        commutes=renders.commutes,
        commutes_basis=renders.commutes_basis,
        licences=renders.licences,
        shareable=renders.shareable,
        counts=renders.counts,
        shards=shards,
        files=files,
        recipe=recipe,
        versions=renders.versions
        | {
            "python": platform.python_version(),
            "fxpipe": version("fxpipe"),
            "codec": codec.backend,
        },
    )
