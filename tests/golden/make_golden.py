"""Make the golden data sets of format version 1 again, or compare with ``--check``.

    python tests/golden/make_golden.py [--check]

Every value is arithmetic, no random numbers: numpy may change its streams, these files may not.
``expected.json`` is for human eyes and for the readers' test; see README.md beside it.
"""

from __future__ import annotations

import json
import re
import sys
import tempfile
from pathlib import Path

import numpy as np

from fxpipe.store import fields_of, open_writer
from fxtrain.contract import (
    CODEBOOKS_NAME,
    INDEX_NAME,
    Block,
    Chain,
    CodecInfo,
    DatasetIndex,
    LevelRule,
    Licence,
    LocalFolder,
    MelInfo,
    Param,
    Pedal,
    PedalEntry,
    Record,
    ShardEntry,
    Vocabulary,
    count_samples,
    identity_of,
    pack_npy,
    select,
    to_dict,
    write_index,
)

HERE = Path(__file__).parent / "v1"
BACKENDS = ("webdataset", "zarr")
N_CODEBOOKS, CODEBOOK_SIZE, CODEBOOK_DIM, HOP_SAMPLES, N_AUDIO_SAMPLES, N_MELS = 2, 16, 3, 8, 30, 2
MAX_CHAIN_LENGTH, SHARD_SIZE = 2, 2
N_SAMPLES = {"train": 3, "test": 1}
VOCABULARY = Vocabulary(
    (
        PedalEntry("fuzz", "drive", (Param("gain_db", "dB", 0.0, 40.0, "linear", "how hard"),)),
        PedalEntry(
            "echo",
            "time",
            (
                Param("delay_ms", "ms", 10.0, 900.0, "log", "time between repeats"),
                Param("mix", "", 0.0, 1.0, "linear", "how much of the effect is heard"),
            ),
        ),
    )
)
CHAINS = (
    Chain((Pedal("fuzz", {"gain_db": 12.5}), Pedal("echo", {"delay_ms": 250.0, "mix": 0.25}))),
    Chain((Pedal("echo", {"delay_ms": 125.0, "mix": 0.5}),)),
    Chain(()),
)


def golden_block(split: str, n_samples: int, n_frames: int) -> Block:
    chains = [CHAINS[i % len(CHAINS)] for i in range(n_samples)]
    codes = np.arange(n_samples * N_CODEBOOKS * n_frames) * 5 % CODEBOOK_SIZE
    mel = np.arange(n_samples * N_MELS * n_frames) * 7 % 256
    return Block(
        codes=codes.reshape(n_samples, N_CODEBOOKS, n_frames).astype(np.uint16),
        order=np.stack([VOCABULARY.encode_order(c.names, MAX_CHAIN_LENGTH) for c in chains]),
        params=np.stack([VOCABULARY.encode_params(c, MAX_CHAIN_LENGTH) for c in chains]),
        mel=mel.reshape(n_samples, N_MELS, n_frames).astype(np.uint8),
        records=tuple(golden_record(split, i, chain) for i, chain in enumerate(chains)),
    )


def golden_record(split: str, position: int, chain: Chain) -> Record:
    return {
        "id": f"{split}-{position}",
        "source": "golden",
        "item": f"{split}/é{position}.wav",
        "group": f"{split}-{position}",
        "licence": "CC0-1.0",
        "split": split,
        "seed": [1, position],
        "clip": {"start_s": 0.5},
        "chain": to_dict(chain.pedals),
        "after": {"gain_db": -1.5, "noise_floor_db": -70.0},
        "loudness_lufs": -20.25,
        "stage_change_db": [-3.5] * len(chain.pedals),
        "redraws": 0,
    }


def make(root: Path) -> None:
    """Write both data sets and ``expected.json`` below ``root``."""
    codec = CodecInfo(
        name="golden",
        weights_sha256="0" * 64,
        sample_rate_hz=1000,
        hop_samples=HOP_SAMPLES,
        n_codebooks=N_CODEBOOKS,
        codebook_size=CODEBOOK_SIZE,
        codebook_dim=CODEBOOK_DIM,
        precision="float32",
        backend="cpu",
    )
    shape = (N_CODEBOOKS, CODEBOOK_SIZE, CODEBOOK_DIM)
    codebooks = (np.arange(np.prod(shape)) / 64).reshape(shape).astype(np.float32)
    blocks = {s: golden_block(s, n, codec.n_frames(N_AUDIO_SAMPLES)) for s, n in N_SAMPLES.items()}
    for backend in BACKENDS:
        folder = LocalFolder(root / backend)
        writer = open_writer(backend, SHARD_SIZE)
        files = [folder.write(CODEBOOKS_NAME, pack_npy(codebooks))]
        shards: list[ShardEntry] = []
        for split, block in blocks.items():
            files += writer.prepare(folder, split, len(block), fields_of(block))
            for number, first in enumerate(range(0, len(block), SHARD_SIZE)):
                part = select(block, slice(first, first + SHARD_SIZE))
                shards.append(writer.write(folder, split, number, first, part))
        index = DatasetIndex(
            identity=identity_of("golden v1"),
            backend=backend,
            codec=codec,
            mel=MelInfo(N_MELS, 16, HOP_SAMPLES, 10.0, 400.0, -80.0, 0.5),
            level=LevelRule(-16.0, 0.98),
            n_audio_samples=N_AUDIO_SAMPLES,
            vocabulary=VOCABULARY,
            max_chain_length=MAX_CHAIN_LENGTH,
            commutes=(("echo", "fuzz"),),
            commutes_basis="made up, to have a pair",
            licences={"golden": Licence("CC0-1.0", "https://example.org/", True)},
            shareable=True,
            counts={
                split: count_samples(map(VOCABULARY.decode_order, block.order), VOCABULARY)
                for split, block in blocks.items()
            },
            shards=tuple(shards),
            files=tuple(files),
            recipe={"golden": 1},
            versions={"fxpipe": "0.1.0"},
        )
        write_index(folder, index)
        _as_first_written(root / backend / INDEX_NAME)
    text = ",\n".join(
        f'"{split}": {{\n' + ",\n".join(_lines(block)) + "\n}" for split, block in blocks.items()
    )
    (root / "expected.json").write_text(f"{{\n{text}\n}}\n", encoding="utf-8")


def _as_first_written(index: Path) -> None:
    """As version 1 was, before files had a CRC-32C and clips clues and windows; such an index is
    read for ever."""
    text = index.read_text(encoding="utf-8")
    for younger in (
        r',\s*"crc32c": "[0-9a-f]{8}"',
        r',\s*"clues": null',
        r',\s*"n_windows": 1',
    ):
        text = re.sub(younger, "", text)
    index.write_text(text, encoding="utf-8")


def _lines(block: Block) -> list[str]:
    """One line a field and one a record. NaN is written as null."""
    lines = []
    for name, array in block.arrays().items():
        values = np.where(np.isnan(array), None, array.astype(object)).tolist()
        lines.append(f' "{name}": {json.dumps(values)}')
    records = ",\n  ".join(json.dumps(record, ensure_ascii=False) for record in block.records)
    return [*lines, f' "records": [\n  {records}]']


def changed(root: Path) -> list[str]:
    """Files whose bytes have to be equal and are not.

    zarr's bytes belong to the versions of zarr and blosc: only its names are compared here, its
    values by the test that reads it against ``expected.json``.
    """
    problems = []
    names = sorted(p.relative_to(root).as_posix() for p in root.rglob("*") if p.is_file())
    there = sorted(p.relative_to(HERE).as_posix() for p in HERE.rglob("*") if p.is_file())
    if names != there:
        problems.append(f"files are {there}, expected {names}")
    for name in set(names) & set(there):
        if (
            not name.startswith("zarr/")
            and (root / name).read_bytes() != (HERE / name).read_bytes()
        ):
            problems.append(f"{name} differs")
    return sorted(problems)


def main() -> int:
    if sys.argv[1:] not in ([], ["--check"]):
        print(__doc__, file=sys.stderr)
        return 2
    if not sys.argv[1:]:
        make(HERE)
        return 0
    with tempfile.TemporaryDirectory() as scratch:
        make(Path(scratch))
        problems = changed(Path(scratch))
    for problem in problems:
        print(f"golden data set: {problem}", file=sys.stderr)
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
