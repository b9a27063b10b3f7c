"""Encoding on a CPU against dac's own classes as shipped: time, equal codes, peak memory.

    python tests/bench/bench_encode.py [--cores 1] [--rounds 3] [--clips 4] [--codec official]
                                       [--without exact]

The reference is dac's Encoder and ResidualVectorQuantize with scripted snake and weight norm in
place, in inference mode, at batch 1 and 8, with as many threads as cores. Ours runs one process of
one thread a core. Every row has processes of its own; rounds are interleaved and the best counts.
``official`` is the architecture of the 44.1 kHz model with random weights in DAC's checkpoint
layout: the time is the same, and random codebooks flip more easily than trained ones. Prints one
table for each codec; run by hand.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np

N_SAMPLES = 88_200
MODES = {  # name: (batch, our allocator settings, needs a CPU with bf16)
    "dac as shipped, batch 1": (1, False, False),
    "dac as shipped, batch 8": (8, False, False),
    "dac as shipped, batch 1, malloc settings": (1, True, False),
    "fxpipe --exact": (1, True, False),
    "fxpipe": (1, True, False),
    "fxpipe --precision bf16": (1, True, True),
}


def clips(n: int) -> np.ndarray:
    """Decaying harmonic notes over a noise floor, near -16 LUFS."""
    t = np.arange(N_SAMPLES) / 44_100
    waves = []
    for number in range(n):
        rng = np.random.default_rng((5, number))
        pitch_hz = rng.uniform(80, 700)
        wave = 0.002 * rng.standard_normal(N_SAMPLES)
        for k in range(1, 9):
            decay = np.exp(-rng.uniform(0.5, 5) * k * t)
            wave += rng.uniform(0.1, 0.4) / k * decay * np.sin(2 * np.pi * pitch_hz * k * t)
        waves.append(wave)
    return np.stack(waves).astype(np.float32)


def save_official(path: Path) -> None:
    """Random weights of the official 44.1 kHz architecture, 22 M of them without the decoder."""
    import torch

    from fxpipe.codec import dac

    torch.manual_seed(0)
    state = dac.build(dac.Architecture()).state_dict()
    torch.save({"state_dict": state, "metadata": {"kwargs": {"n_codebooks": 9}}}, path)


def reference(path: str, batch: int, n_threads: int) -> Any:
    """dac's classes as shipped: float32 [B, N] -> codes."""
    import torch

    from fxpipe.codec import dac

    with warnings.catch_warnings(), dac._torchaudio_or_stub():
        warnings.simplefilter("ignore")
        scripted = importlib.import_module("dac").nn.layers.snake
    architecture, state = dac.read_checkpoint(Path(path))
    model = dac.build(architecture)
    if not any(name.endswith("weight_g") for name in state):
        dac.remove_weight_norm(model)  # the embedded weights are stored without it
    kept = ("encoder.", "quantizer.")
    model.load_state_dict({k: v for k, v in state.items() if k.startswith(kept)})
    importlib.import_module("dac").nn.layers.snake = scripted
    torch.set_num_threads(n_threads)
    model.eval()

    def encode(audio: np.ndarray) -> np.ndarray:
        codes = []
        with torch.inference_mode():
            for first in range(0, len(audio), batch):
                waves = torch.from_numpy(audio[first : first + batch])[:, None]
                padded = torch.nn.functional.pad(waves, (0, -waves.shape[-1] % 512))
                latents = model["encoder"](padded)
                codes.append(model["quantizer"](latents)[1].numpy())
        return np.concatenate(codes)

    return encode


def ours(path: str, mode: str) -> Any:
    from fxpipe.codec import How, load_codec

    how = How(exact="--exact" in mode, fused="bf16" in mode)
    precision = "bf16" if "bf16" in mode else "fp32"
    return load_codec(path, precision=precision, n_threads=1, how=how).encode


def child(mode: str, path: str, n_clips: int, n_threads: int) -> None:
    """Answer every line on stdin with wall and core seconds a clip; codes go to a file."""
    batch = MODES[mode][0]
    encode = reference(path, batch, n_threads) if mode.startswith("dac") else ours(path, mode)
    audio = clips(max(n_clips, batch))
    began = time.perf_counter()
    encode(audio[:batch])
    first_s = time.perf_counter() - began
    for line in sys.stdin:
        wall, core = time.perf_counter(), time.process_time()
        codes = encode(audio)
        answer: dict[str, float] = {
            "wall": (time.perf_counter() - wall) / len(audio),
            "core": (time.process_time() - core) / len(audio),
            "rss": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6,
            "first": first_s,
        }
        if line.strip():
            np.save(line.strip(), codes[:n_clips])
        print(json.dumps(answer), flush=True)


class Row:
    """The processes of one mode."""

    def __init__(self, mode: str, path: str, n_clips: int, cores: int) -> None:
        from fxpipe.tasks.where import WORKER_ENVIRONMENT

        self.mode, self.found = mode, list[dict[str, float]]()
        shared = mode.startswith("dac")
        environment = dict(os.environ)
        if MODES[mode][1]:
            environment |= WORKER_ENVIRONMENT
        if shared:
            environment["OMP_NUM_THREADS"] = str(cores)
        command = [sys.executable, __file__, "--child", mode, "--path", path,
                   "--clips", str(n_clips), "--cores", str(cores)]  # fmt: skip
        self.children = [
            subprocess.Popen(
                command, env=environment, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE
            )
            for _ in range(1 if shared else cores)
        ]

    def round(self, save: str = "") -> None:
        for number, process in enumerate(self.children):
            process.stdin.write(f"{save if number == 0 else ''}\n")
            process.stdin.flush()
        answers = [json.loads(process.stdout.readline()) for process in self.children]
        self.found.append(
            {
                "wall": max(a["wall"] for a in answers) / len(answers),
                "core": float(np.mean([a["core"] for a in answers])),
                "rss": sum(a["rss"] for a in answers),
                "first": answers[0]["first"],
            }
        )

    def best(self, key: str) -> float:
        return min(found[key] for found in self.found)

    def close(self) -> None:
        for process in self.children:
            process.stdin.close()
            process.wait(60)


def measure(
    codec: str, path: str, n_clips: int, cores: int, rounds: int, without: list[str]
) -> None:
    from fxpipe.codec.engine import cpu_has_bf16

    modes = [m for m in MODES if cpu_has_bf16() or not MODES[m][2]]
    modes = [m for m in modes if not any(word in m for word in without)]
    rows = [Row(mode, path, n_clips, cores) for mode in modes]
    with tempfile.TemporaryDirectory() as folder:
        for number in range(rounds):
            for index, row in enumerate(rows):
                row.round("" if number else f"{folder}/{index}.npy")
        codes = [np.load(f"{folder}/{index}.npy") for index in range(len(rows))]
    for row in rows:
        row.close()
    shipped = [row for row in rows if row.mode.startswith("dac")]
    best = min(row.best("core") for row in shipped)
    batched = max(row.best("core") for row in shipped)
    wall = min(row.best("wall") for row in shipped)
    print(f"\n{codec}, {cores} core(s), {n_clips} clips of 2 s, best of {rounds} rounds\n")
    print("| mode | core-s a clip | s a clip | x best (core) | x best (wall) | x batch 8 (core) "
          "| peak RSS, GB | first clip, s | equal codes |")  # fmt: skip
    print("| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |")
    for row, found in zip(rows, codes, strict=True):
        equal = float((found == codes[0]).mean())
        core, here = row.best("core"), row.best("wall")
        print(
            f"| {row.mode} | {core:.3f} | {here:.3f} | {best / core:.2f} | {wall / here:.2f} "
            f"| {batched / core:.2f} | {row.best('rss'):.2f} | {row.best('first'):.1f} "
            f"| {equal:.4%} |"
        )
    for row, found in zip(rows, codes, strict=True):
        changed = (found != codes[0]).mean(axis=(0, 2))
        if changed.any():
            by_book = " ".join(f"{100 * share:.3f}" for share in changed)
            print(f"\n{row.mode}: per cent changed by codebook: {by_book}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cores", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--clips", type=int, default=4)
    parser.add_argument("--codec", choices=["official", "embedded"], help="default: both")
    parser.add_argument("--without", action="append", default=[], help="modes with this word")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    parser.add_argument("--path", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        child(options.child, options.path, options.clips, options.cores)
        return
    from fxpipe.codec import CODECS
    from fxpipe.codec.weights import weights_path

    with tempfile.TemporaryDirectory() as folder:
        for codec in [options.codec] if options.codec else ["official", "embedded"]:
            path = Path(folder) / "official.pth"
            if codec == "official":
                save_official(path)
            else:
                path = weights_path(CODECS["embedded"])
            measure(codec, str(path), options.clips, options.cores, options.rounds, options.without)


if __name__ == "__main__":
    main()
