"""The shard contract: what a sample, a shard and an index hold. numpy and standard library only.

Shapes: B batch, K codebook, T frame, M mel band, C clue, L pedal position, P parameter, N audio
sample.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from fxtrain.contract.chain import PAD, Vocabulary
from fxtrain.contract.errors import ContractError, DamagedError, shorten
from fxtrain.contract.names import check_name
from fxtrain.contract.orders import Commutes
from fxtrain.contract.serde import Record, pack_members, unpack_members

FORMAT_VERSION = 1
"""Raised whenever older readers would misread newer shards."""

INDEX_NAME = "index.json"
CODEBOOKS_NAME = "codebooks.npy"
SPLITS = ("train", "valid", "test")
MISSING_CODE = 65535
"""Fills what was never written, so that a lost shard can never look like code 0."""

NOT_RUN = "none"
"""The precision of a codec that was not run: log-mel frames alone, every code ``MISSING_CODE``."""


MAX_AUDIO_SAMPLES = 2**25
"""A minute at 192 kHz is a third of this."""

MAX_WINDOWS = 2**10
"""A minute in windows of a tenth of a second has 600."""

MAX_SAMPLE_BYTES = 2**28
"""Of one sample's codes, mel and clues; a 2 s clip of the official codec takes 3 kB of codes."""


def _check_sizes(value: Any, **limits: tuple[int, int]) -> None:
    """An index comes from elsewhere, and what it says decides how much memory is taken."""
    for name, (low, high) in limits.items():
        found = getattr(value, name)
        if not low <= found <= high:
            raise ContractError(f"{name} is {shorten(found)}, expected {low} to {high}")


@dataclass(frozen=True)
class CodecInfo:
    """Which codec made the codes, to the point where another machine would make the same ones."""

    name: str
    weights_sha256: str
    sample_rate_hz: int
    hop_samples: int
    n_codebooks: int
    codebook_size: int
    codebook_dim: int
    precision: str
    backend: str

    def __post_init__(self) -> None:
        _check_sizes(
            self,
            sample_rate_hz=(1, 10**6),
            hop_samples=(1, 10**6),
            n_codebooks=(1, 1024),
            codebook_size=(1, MISSING_CODE),
            codebook_dim=(1, 2**16),
        )

    def n_frames(self, n_samples: int) -> int:
        """T: audio is padded on the right to a whole number of hops (88,200 -> 173 at hop 512)."""
        return -(-n_samples // self.hop_samples)


@dataclass(frozen=True)
class MelInfo:
    """Log-mel frames beside the codes: ``dB = floor_db + step_db * uint8``."""

    n_mels: int
    n_fft: int
    hop_samples: int
    f_min_hz: float
    f_max_hz: float
    floor_db: float
    step_db: float

    def __post_init__(self) -> None:
        _check_sizes(self, n_mels=(1, 4096), n_fft=(1, 2**20), hop_samples=(1, 10**6))


@dataclass(frozen=True)
class ClueInfo:
    """What of the wave is kept that log-mel leaves out, a row of bytes a clip (``fxpipe.clues``).

    frame_samples: sizes of the frames whose samples' spread is told, each by ``n_quantiles`` of
    ``n_shapes`` figures; then these figures of the clip. lags_ms: (first, last, step) of the lags
    at which the clip is held against itself, once for what agrees and once for what is contrary.
    """

    frame_samples: tuple[int, ...]
    lags_ms: tuple[tuple[float, float, float], ...]
    n_shapes: int = 19
    n_quantiles: int = 3

    def __post_init__(self) -> None:
        _check_sizes(self, n_shapes=(1, 1024), n_quantiles=(1, 64))
        for n in self.frame_samples:
            if not 1 <= n <= 2**20:
                raise ContractError(f"frame_samples holds {shorten(n)}, expected 1 to {2**20}")
        for first, last, step in self.lags_ms:
            if not (0 <= first < last <= 10_000 and 0.01 <= step <= last - first):
                raise ContractError(
                    f"lags_ms holds {shorten((first, last, step))}, expected first, last and step "
                    "of lags up to 10 s"
                )

    @property
    def n_spread(self) -> int:
        return self.n_shapes * (1 + self.n_quantiles * len(self.frame_samples))

    @property
    def n_lags(self) -> tuple[int, ...]:
        """Steps of each range of lags."""
        return tuple(round((last - first) / step) for first, last, step in self.lags_ms)

    @property
    def n_clues(self) -> int:
        """C"""
        return self.n_spread + 2 * sum(self.n_lags)


@dataclass(frozen=True)
class LevelRule:
    """Loudness given to every window before the codec hears it (ITU-R BS.1770, then peak guard)."""

    target_lufs: float
    peak_limit: float


@dataclass(frozen=True)
class Licence:
    """``shareable`` false: nothing made from this source may be passed on."""

    name: str
    url: str
    shareable: bool


@dataclass(frozen=True)
class FileEntry:
    """A file of the data set. ``path`` stays inside its folder (``names.check_name``); ``crc32c``
    in hexadecimal digits, empty in an index of before there was one."""

    path: str
    n_bytes: int
    sha256: str
    crc32c: str = ""

    def __post_init__(self) -> None:
        check_name(self.path)
        _check_sizes(self, n_bytes=(0, 2**63))


@dataclass(frozen=True)
class ShardEntry:
    """A shard's samples are positions ``first .. first + n_samples`` of its split."""

    name: str
    split: str
    first: int
    n_samples: int
    files: tuple[FileEntry, ...]

    def __post_init__(self) -> None:
        check_name(self.name)
        _check_sizes(self, first=(0, 2**53), n_samples=(0, 2**53))


@dataclass(frozen=True)
class SplitCounts:
    """How many samples, by chain length and by pedal (a repeated pedal counts once a chain)."""

    n_samples: int
    by_length: dict[int, int]
    by_pedal: dict[str, int]


@dataclass(frozen=True)
class DatasetIndex:
    """``index.json`` of a shards directory, written last: without it nothing is finished.

    ``identity`` hashes whatever changes the data (sources, spec, seed, codec, level, window) and
    nothing that does not (device, workers, paths). ``commutes`` lists pairs whose order cannot be
    heard, ``commutes_basis`` says how that is known. A sample is ``n_windows`` windows of
    ``n_audio_samples``, one after another, each heard by itself, as a recording is.
    """

    identity: str
    backend: str
    codec: CodecInfo
    mel: MelInfo | None
    level: LevelRule
    n_audio_samples: int
    vocabulary: Vocabulary
    max_chain_length: int
    commutes: tuple[tuple[str, str], ...]
    commutes_basis: str
    licences: dict[str, Licence]
    shareable: bool
    counts: dict[str, SplitCounts]
    shards: tuple[ShardEntry, ...]
    files: tuple[FileEntry, ...]
    recipe: dict[str, Any]
    versions: dict[str, str] = field(default_factory=dict)
    clues: ClueInfo | None = None
    n_windows: int = 1
    format_version: int = FORMAT_VERSION
    kind: str = "fxpipe-shards"

    def __post_init__(self) -> None:
        _check_sizes(
            self,
            n_audio_samples=(1, MAX_AUDIO_SAMPLES),
            n_windows=(1, MAX_WINDOWS),
            max_chain_length=(0, PAD),
        )
        if self.mel_only and self.mel is None:
            raise ContractError(
                f"codec precision is {NOT_RUN!r} and mel is null: of the sound nothing is stored"
            )
        per_frame = 2 * self.codec.n_codebooks + (self.mel.n_mels if self.mel else 0)
        n_bytes = per_frame * self.n_frames + self.n_clues
        if n_bytes > MAX_SAMPLE_BYTES:
            raise ContractError(
                f"a sample of {self.n_frames} frames takes {n_bytes} bytes, "
                f"expected {MAX_SAMPLE_BYTES} at most"
            )

    @property
    def n_frames(self) -> int:
        """Of a sample: those of its windows side by side."""
        return self.n_windows * self.codec.n_frames(self.n_audio_samples)

    @property
    def n_clues(self) -> int:
        """Of a sample: those of its windows side by side; 0 where there are none."""
        return self.n_windows * self.clues.n_clues if self.clues else 0

    @property
    def mel_only(self) -> bool:
        """The codec was not run, only its frames were kept to."""
        return self.codec.precision == NOT_RUN

    @property
    def commuting_pairs(self) -> Commutes:
        return frozenset(frozenset(pair) for pair in self.commutes)

    def shards_of(self, split: str) -> tuple[ShardEntry, ...]:
        return tuple(shard for shard in self.shards if shard.split == split)


@dataclass(frozen=True)
class FieldSpec:
    """One array of a block: its dtype and the shape of one sample, written in shape letters."""

    name: str
    dtype: str
    shape: str
    optional: bool
    meaning: str


FIELDS = (
    FieldSpec("codes", "uint16", "K T", False, "codec tokens; 65535: never written, or not run"),
    FieldSpec("order", "uint8", "L", False, "pedal ids in signal order, then 255"),
    FieldSpec("params", "float32", "L P", False, "settings in their own unit, NaN where none"),
    FieldSpec("mel", "uint8", "M T", True, "log-mel frames of the same audio, see MelInfo"),
    FieldSpec("clues", "uint8", "C", True, "what of the wave log-mel leaves out, see ClueInfo"),
)

RECORD_FIELDS = {
    "id": "unique in the data set: <split>-<position>",
    "source": "name of the data set the dry clip came from",
    "item": "the dry recording, relative to its data set; of a phrase, its first note's",
    "group": "split unit; no group is in two splits; of a phrase, its first note's",
    "licence": "licence of the dry recording; the sample inherits it",
    "split": "train, valid or test",
    "seed": "the integers that seed this clip's generator",
    "clip": "where and how the dry clip was taken; a phrase lists every note with its group, "
    "another guitar than was recorded its filters",
    "chain": "pedals with settings, by name",
    "after": "what came after the chain: noise floor and gain; of some clips an amplifier and "
    "the filters of a loudspeaker before them, and where the sound was cut",
    "loudness_lufs": "loudness of the chain's output before normalisation",
    "stage_change_db": "what each pedal changed of its input: residual after best gain, in dB",
    "redraws": "draws thrown away because a pedal could not be heard",
    "swap_db": "with --classes: how far swapping neighbours i and i + 1 moves the sound, mel dB",
    "alike": "with --classes: other orders, as positions in the chain, that sound the same here",
}
"""Keys of a sample's JSON record. Further keys (what was played, pickup, tempo …) may follow."""


@dataclass(frozen=True)
class Block:
    """Samples that travel together: ``codes`` [B, K, T], ``order`` [B, L], ``params`` [B, L, P]."""

    codes: np.ndarray
    order: np.ndarray
    params: np.ndarray
    mel: np.ndarray | None
    records: tuple[Record, ...] = field(repr=False)
    clues: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.records)

    def arrays(self) -> dict[str, np.ndarray]:
        """The arrays that are there, by field name."""
        found = {spec.name: getattr(self, spec.name) for spec in FIELDS}
        return {name: array for name, array in found.items() if array is not None}


def pack_block(block: Block) -> dict[str, bytes]:
    """Member name -> bytes, the same bytes for the same block."""
    return pack_members(block.arrays(), block.records)


def unpack_block(members: Mapping[str, bytes], where: str) -> Block:
    """The inverse of :func:`pack_block`. Members this version does not know are left alone."""
    arrays, records = unpack_members(members, where)
    return block_of(arrays, records, where)


def block_of(arrays: Mapping[str, np.ndarray], records: list[Record], where: str) -> Block:
    """A block from named arrays; a field that is missing or of another type is refused."""
    check_fields(arrays, [spec.name for spec in FIELDS if not spec.optional], where)
    return Block(**{spec.name: arrays.get(spec.name) for spec in FIELDS}, records=tuple(records))  # type: ignore[arg-type]


Layout = dict[str, tuple[str, tuple[int, ...]]]
"""Field name -> (dtype, shape of one sample)."""


def sample_layout(index: DatasetIndex) -> Layout:
    """The fields that an index says are stored."""
    sizes = {
        "K": index.codec.n_codebooks,
        "T": index.n_frames,
        "L": index.max_chain_length,
        "P": index.vocabulary.max_params,
    }
    if index.mel is not None:
        sizes["M"] = index.mel.n_mels
    if index.clues is not None:
        sizes["C"] = index.n_clues
    return layout_of(sizes)


def layout_of(sizes: Mapping[str, int]) -> Layout:
    """The fields that are stored, given the size that each shape letter stands for; an optional
    field is, where all its letters have one."""
    return {
        spec.name: (spec.dtype, tuple(sizes[letter] for letter in spec.shape.split()))
        for spec in FIELDS
        if not spec.optional or sizes.keys() >= {*spec.shape.split()}
    }


def check_fields(arrays: Mapping[str, np.ndarray], needed: Sequence[str], where: str) -> None:
    """Raise when a needed field is missing, or one that is there is of another type."""
    for spec in FIELDS:
        array = arrays.get(spec.name)
        if array is None:
            if spec.name in needed:
                raise DamagedError(f"{where}: field {spec.name!r} is missing")
            continue
        n_dims = 1 + len(spec.shape.split())
        if array.dtype != spec.dtype or array.ndim != n_dims:
            raise DamagedError(
                f"{where}: {spec.name} is {array.dtype} with {array.ndim} axes, "
                f"expected {spec.dtype} [B {spec.shape}]"
            )


def validate_block(block: Block, index: DatasetIndex, where: str) -> None:
    """Raise when a block's shapes, codes or pedal ids do not fit the index."""
    arrays = block.arrays()
    for name, info in (("mel", index.mel), ("clues", index.clues)):
        if (name in arrays) != (info is not None):
            there, said = ("holds", "none") if name in arrays else ("lacks", "it")
            raise DamagedError(f"{where}: block {there} {name}, the index says {said}")
    validate_arrays(arrays, index, where)


def validate_arrays(arrays: Mapping[str, np.ndarray], index: DatasetIndex, where: str) -> None:
    """:func:`validate_block` for those fields that were read."""
    for name, (_, expected) in sample_layout(index).items():
        if name in arrays and arrays[name].shape[1:] != expected:
            found = arrays[name].shape[1:]
            raise DamagedError(f"{where}: {name} is {found}, expected {expected}")
    n_samples = {name: len(array) for name, array in arrays.items()}
    if len(set(n_samples.values())) > 1:
        held = ", ".join(f"{n} of {name}" for name, n in n_samples.items())
        raise DamagedError(f"{where}: {held}, expected as many of each")
    codes, order = arrays.get("codes"), arrays.get("order")
    if codes is not None and codes.size and index.mel_only:
        if int(codes.min()) != MISSING_CODE:
            raise DamagedError(
                f"{where}: code {int(codes.min())} where the codec was not run, "
                f"expected {MISSING_CODE}"
            )
    elif codes is not None and codes.size and int(codes.max()) >= index.codec.codebook_size:
        found_max = int(codes.max())
        meaning = "was never written" if found_max == MISSING_CODE else "is out of range"
        raise DamagedError(
            f"{where}: code {found_max} {meaning} (codebooks hold {index.codec.codebook_size})"
        )
    ids = order[order != PAD] if order is not None else np.empty(0, np.uint8)
    if ids.size and int(ids.max()) >= len(index.vocabulary.pedals):
        raise DamagedError(f"{where}: pedal id {int(ids.max())} is not in the vocabulary")


def concatenate(blocks: list[Block]) -> Block:
    """One block from many."""
    if not blocks:
        raise ContractError("no samples to join: the split is empty")
    arrays = [block.arrays() for block in blocks]
    everywhere = [spec.name for spec in FIELDS if all(spec.name in each for each in arrays)]
    joined = {name: np.concatenate([each[name] for each in arrays]) for name in everywhere}
    records = [record for block in blocks for record in block.records]
    return block_of(joined, records, "blocks")


def select(block: Block, rows: slice) -> Block:
    """A part of a block's samples."""
    arrays = {name: array[rows] for name, array in block.arrays().items()}
    return dataclasses.replace(block, **arrays, records=block.records[rows])
