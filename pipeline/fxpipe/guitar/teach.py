"""Teaches the guitar check: ``python -m fxpipe.guitar.teach RENDERS... -o check.safetensors``.

Guitars are the train split of renders and a few without pedals, the limit comes from the validation
split; strangers are made from numbers (``strangers.py``). Takes some ten minutes, most of it to
make them. Shapes: W window, B mel band, T frame.
"""

from __future__ import annotations

import argparse
import dataclasses
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from fxpipe.errors import SourceError
from fxpipe.guitar.check import (
    CLIP,
    FORMAT_VERSION,
    PICTURE,
    RATE_HZ,
    TENSORS,
    WEIGHTS,
    WINDOW_S,
    Check,
    describe,
    picture,
)
from fxpipe.guitar.strangers import COUNTS, stranger
from fxtrain.contract import SOUND_SUFFIXES, FxError, UsageError

FALSE_ALARM = 0.015
"""Share of validation windows, guitars all of them, that the limit turns away."""

N_HIDDEN = 128
CUT_FRAMES = (30, 60, 90, 130)
EPOCHS = 40
BATCH = 64
N_DRY = 250
SILENT = 1e-3
TRIES = 50
"""Windows looked at for each that is wanted."""

SEED = 2


def teach(guitars: np.ndarray, strangers: np.ndarray, valid: np.ndarray, seed: int = 0) -> Check:
    """Pictures uint8 [W, B, T] of each -> the check, its limit from ``valid`` guitars."""
    import torch
    from torch import nn

    rng = np.random.default_rng(seed)
    pictures = np.concatenate([guitars, strangers])
    versions = [describe_all(pictures), describe_all(muffled(pictures, rng))]
    found = np.concatenate([*versions, describe_cut(pictures, rng)])
    centre, spread = found.mean(0), found.std(0) + 1e-3
    x = torch.from_numpy(np.clip((found - centre) / spread, -CLIP, CLIP))
    strange = np.tile(np.arange(len(pictures)) >= len(guitars), 3)
    y = torch.from_numpy(strange.astype(np.float32))
    share = torch.tensor(float(strange.mean()))
    weight = torch.where(y > 0, 1 - share, share) * 2
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = nn.Sequential(
            nn.Dropout(0.2),
            nn.Linear(x.shape[1], N_HIDDEN),
            nn.ReLU(),
            nn.Dropout(0.3),
            nn.Linear(N_HIDDEN, 1),
        )
        optimizer = torch.optim.AdamW(model.parameters(), 2e-3, weight_decay=1e-2)
        steps = EPOCHS * -(-len(x) // BATCH)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
        for _ in range(EPOCHS):
            for rows in torch.split(torch.randperm(len(x)), BATCH):
                loss = nn.functional.binary_cross_entropy_with_logits(
                    model(x[rows])[:, 0], 0.96 * y[rows] + 0.02, weight[rows]
                )
                optimizer.zero_grad()
                loss.backward()  # type: ignore[no-untyped-call]
                optimizer.step()
                schedule.step()
    layers = [p.detach().numpy().astype(np.float32).copy() for p in model.parameters()]
    hidden_weight, hidden_bias, out_weight, out_bias = layers
    check = Check(
        centre.astype(np.float32),
        spread.astype(np.float32),
        *(hidden_weight, hidden_bias, out_weight[0], out_bias[0]),
        limit=np.zeros((), np.float32),
    )
    limit = np.quantile(check.strangeness(valid), 1 - FALSE_ALARM)
    return dataclasses.replace(check, limit=np.asarray(limit, np.float32))


def describe_all(pictures: np.ndarray, at_once: int = 256) -> np.ndarray:
    starts = range(0, len(pictures), at_once)
    return np.concatenate([describe(pictures[start : start + at_once]) for start in starts])


def describe_cut(pictures: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Features of a part of each, between a third of a second and a second and a half: short
    notes, and what is left of a recording at its end."""
    found = np.zeros((len(pictures), describe(pictures[:1]).shape[1]), np.float32)
    lengths = rng.choice(CUT_FRAMES, len(pictures))
    for n_frames in CUT_FRAMES:
        rows = np.flatnonzero(lengths == n_frames)
        starts = rng.integers(0, pictures.shape[2] - n_frames + 1, len(rows))
        parts = [pictures[row, :, s : s + n_frames] for row, s in zip(rows, starts, strict=True)]
        if parts:
            found[rows] = describe_all(np.stack(parts))
    return found


def muffled(pictures: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The same, half of them with nothing above some band: low sample rates, telephones, mp3.

    Both classes alike, so that a missing top tells nothing.
    """
    out = pictures.copy()
    for image in out:
        if rng.random() < 0.5:
            image[rng.integers(28, PICTURE.n_mels) :] = 0
    return out


def save_check(path: Path, check: Check) -> None:
    from safetensors.numpy import save_file

    tensors = {name: np.asarray(getattr(check, name), np.float32) for name in TENSORS}
    save_file(tensors, path, metadata={"format_version": str(FORMAT_VERSION)})


def stranger_pictures(counts: dict[str, int], seed: int = SEED) -> np.ndarray:
    n = round(WINDOW_S * RATE_HZ)
    return np.stack(
        [
            picture(stranger(kind, np.random.default_rng([seed, number, i]), n), RATE_HZ)
            for number, (kind, count) in enumerate(counts.items())
            for i in range(count)
        ]
    )


def guitar_pictures(renders: Sequence[str], split: str) -> np.ndarray:
    from fxpipe.renders import iter_clips, read_renders_index
    from fxtrain.contract import open_folder

    found: list[np.ndarray] = []
    for uri in renders:
        folder = open_folder(uri)
        index = read_renders_index(folder)
        n_samples = round(WINDOW_S * index.spec.sample_rate_hz)
        if index.spec.n_samples != n_samples:
            raise UsageError(
                f"{uri}: clips of {index.spec.n_samples / index.spec.sample_rate_hz:g} s, expected "
                f"{WINDOW_S:g} s: the check hears windows of that length"
            )
        counts = index.counts.get(split)
        clips = iter_clips(folder, index, split, 0, counts.n_samples) if counts else ()
        found += [picture(wave, index.spec.sample_rate_hz) for wave, _ in clips]
    if not found:
        raise UsageError(
            f"{', '.join(renders)}: no clip of the {split} split, which the check needs; "
            "render more"
        )
    return np.stack(found)


def dry_pictures(count: int, seed: int = SEED) -> np.ndarray:
    """The built-in guitar without any pedal."""
    from fxpipe.sources.synth import SAMPLE_RATE_HZ, perform

    n = round(WINDOW_S * SAMPLE_RATE_HZ)
    waves = (perform(np.random.default_rng([seed, i]), n)[0] for i in range(count))
    return np.stack([picture(wave, SAMPLE_RATE_HZ) for wave in waves])


def recorded_pictures(root: Path, count: int, seed: int = SEED) -> np.ndarray:
    """Windows of recordings under ``root``, of guitars without any pedal."""
    from fxpipe.recording import read_file, read_mono
    from fxpipe.sources.scan import walk_audio

    paths = [path for path, _ in walk_audio(root) if path.suffix.lower() in SOUND_SUFFIXES]
    rng = np.random.default_rng(seed)
    found: list[np.ndarray] = []
    tries = 0
    while len(found) < count:
        tries += 1
        if not paths or tries > TRIES * count:
            raise SourceError(
                f"{root}: {len(found)} windows that sound in {len(paths)} recordings, expected "
                f"{count}; give a folder of guitar recordings without pedals"
            )
        wave, rate, _ = read_mono(read_file(paths[rng.integers(len(paths))]))
        n = round(WINDOW_S * rate)
        start = int(rng.integers(max(1, len(wave) - n + 1)))
        window = np.pad(wave[start : start + n], (0, max(0, n - len(wave))))
        if np.sqrt(np.mean(window**2)) > SILENT:
            found.append(picture(window, rate))
    return np.stack(found)


def main(args: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("renders", nargs="+", help="directories of `fxpipe render`, clips of 2 s")
    parser.add_argument("--dry", type=Path, help="a folder of recordings without pedals")
    parser.add_argument("-o", "--output", type=Path, default=WEIGHTS)
    parser.add_argument(
        "--share",
        type=float,
        default=1.0,
        help="of the strangers and the dry guitar, to try it out",
    )
    options = parser.parse_args(args)
    if not 0 < options.share <= 1:
        parser.error(f"--share {options.share:g}: expected a share above 0, at most 1")
    try:
        _teach_from(options)
    except FxError as error:
        parser.exit(error.exit_code, f"teach: error: {error}\n")


def _teach_from(options: argparse.Namespace) -> None:
    n_dry = math.ceil(options.share * N_DRY)
    counts = {kind: math.ceil(options.share * count) for kind, count in COUNTS.items()}
    valid = guitar_pictures(options.renders, "valid")
    guitars = [guitar_pictures(options.renders, "train"), dry_pictures(n_dry)]
    if options.dry:
        guitars.append(recorded_pictures(options.dry, n_dry))
    n_guitars = sum(map(len, guitars))
    print(f"{n_guitars} windows of guitar; making {sum(counts.values())} of strangers", flush=True)
    check = teach(np.concatenate(guitars), stranger_pictures(counts), valid)
    save_check(options.output, check)
    print(f"{options.output}: limit at {FALSE_ALARM:.1%} of {len(valid)} validation windows")


if __name__ == "__main__":
    main()
