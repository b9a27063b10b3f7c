"""Time and memory of `fxpipe render` and `fxpipe encode` as the work grows.

    python tests/bench/bench_growth.py [--sizes 1000,10000] [--workers 1,2] [--clip-s 0.25]

Every row is one run of the two programs on notes of the built-in guitar, written to files first.
Clips are short and the codec is a tiny DAC with random weights, so that what grows with the number
of clips (jobs, receipts, index) weighs most. Peak memory is sampled ten times a second: the driver
(with dask's scheduler in it), and the largest worker. Prints one table; run by hand.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import psutil
import soundfile
import torch

from fxpipe.codec.dac import Architecture, build
from fxpipe.sources.synth import SAMPLE_RATE_HZ, perform

N_NOTES, NOTE_S = 40, 3.0
SAMPLE_EVERY_S = 0.1
TINY = Architecture(encoder_dim=4, encoder_rates=(8, 8, 4, 2), latent_dim=16, decoder_dim=16)


def write_notes(folder: Path) -> None:
    folder.mkdir()
    for number in range(N_NOTES):
        wave, _ = perform(np.random.default_rng(number), round(NOTE_S * SAMPLE_RATE_HZ))
        wave /= max(1e-6, float(np.abs(wave).max())) * 2
        soundfile.write(folder / f"note{number:02d}.wav", wave, SAMPLE_RATE_HZ)


def write_codec(path: Path) -> None:
    torch.manual_seed(0)
    kwargs = {
        "encoder_dim": TINY.encoder_dim,
        "encoder_rates": list(TINY.encoder_rates),
        "latent_dim": TINY.latent_dim,
        "decoder_dim": TINY.decoder_dim,
    }
    torch.save({"state_dict": build(TINY).state_dict(), "metadata": {"kwargs": kwargs}}, path)


def watch(command: list[str], where: Path) -> tuple[float, float, float]:
    """(seconds, peak MB of the driver, peak MB of its largest descendant)."""
    program = str(Path(sys.executable).with_name(command[0]))
    with (where / "log.txt").open("a") as log:
        began = time.perf_counter()
        process = psutil.Popen([program, *command[1:]], cwd=where, stdout=log, stderr=log)
        driver = worker = 0
        while process.poll() is None:
            try:
                driver = max(driver, process.memory_info().rss)
                for child in process.children(recursive=True):
                    worker = max(worker, child.memory_info().rss)
            except psutil.Error:
                pass  # it has just ended
            time.sleep(SAMPLE_EVERY_S)
        seconds = time.perf_counter() - began
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, command, (where / "log.txt"))
    return seconds, driver / 1e6, worker / 1e6


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sizes", default="1000,10000", help="Chains, separated by commas.")
    parser.add_argument("--workers", default="1,2")
    parser.add_argument("--clip-s", type=float, default=0.25)
    args = parser.parse_args()
    print("| command | chains | workers | seconds | clips/s | driver MB | worker MB | files |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- |", flush=True)
    for n in map(int, args.sizes.split(",")):
        for n_workers in map(int, args.workers.split(",")):
            with tempfile.TemporaryDirectory() as scratch:
                here = Path(scratch)
                write_notes(here / "notes")
                write_codec(here / "tiny.pth")
                chain = ["--pool", "okita3", "--lengths", "1", "--clip-s", str(args.clip_s)]
                render = ["fxpipe", "render", "--dataset", "folder:notes", "--n-chains", str(n)]
                encode = ["fxpipe", "encode", "--codec", "./tiny.pth"]
                for command, output in (([*render, *chain], "renders"), (encode, "shards")):
                    seconds, driver, worker = watch([*command, "-j", str(n_workers)], here)
                    files = sum(path.is_file() for path in (here / output).rglob("*"))
                    print(
                        f"| {command[1]} | {n:,} | {n_workers} | {seconds:.1f} | "
                        f"{n / seconds:.0f} | {driver:.0f} | {worker:.0f} | {files} |",
                        flush=True,
                    )


if __name__ == "__main__":
    main()
