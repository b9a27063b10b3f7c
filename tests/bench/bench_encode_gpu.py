"""Encoding on a GPU: dac as shipped, every mode of ours, the roofline, and a whole data set.

    python tests/bench/bench_encode_gpu.py --out DIR [--clips 50000] [--gpu 0] [--workers 1,2,3]
    python tests/bench/bench_encode_gpu.py --out DIR --dry      # on a CPU, tiny: does it run?

Writes DIR/encode_gpu.json and DIR/encode_gpu.md. The codec is the official 44.1 kHz architecture
with random weights, unless the official weights are on this machine. The reference runs at its best
batch of several. 50,000 clips are rendered on the built-in guitar (9 GB in DIR for the time), then
go end to end through ``fxpipe encode -j N``, once for each number of processes.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.util
import json
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np

FLOP_A_CLIP = 123.1e9
"""Encoder 123.07 GFLOP; projections and search of the quantiser are the rest."""
FP16_DENSE = {"H200": 989e12, "H100 PCIe": 756e12, "H100": 989e12, "A100": 312e12,
              "L40S": 362e12, "L4": 121e12, "4090": 165e12, "V100": 125e12}  # fmt: skip
"""FLOP/s of fp16 tensor cores without sparsity, from the makers' data sheets."""
REFERENCE_BATCHES = (1, 8, 32)

_spec = importlib.util.spec_from_file_location(
    "bench_encode", Path(__file__).with_name("bench_encode.py")
)
cpu_bench = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(cpu_bench)


def shipped_on(device: str, path: Path, batch: int) -> Callable[[np.ndarray], np.ndarray]:
    """dac's classes as shipped on a device; on a GPU its convolutions are tf32, torch's default."""
    import torch

    encode = cpu_bench.reference(str(path), batch, torch.get_num_threads())
    model = encode.__closure__[[*encode.__code__.co_freevars].index("model")].cell_contents
    model.to(device)

    def on_device(audio: np.ndarray) -> np.ndarray:
        codes = []
        with torch.inference_mode():
            for first in range(0, len(audio), batch):
                waves = torch.from_numpy(audio[first : first + batch]).to(device)[:, None]
                padded = torch.nn.functional.pad(waves, (0, -waves.shape[-1] % 512))
                codes.append(model["quantizer"](model["encoder"](padded))[1].cpu().numpy())
        return np.concatenate(codes)

    return on_device


def timed(encode: Callable[[np.ndarray], np.ndarray], audio: np.ndarray, rounds: int) -> float:
    """Best seconds a clip."""
    encode(audio)
    best = np.inf
    for _ in range(rounds):
        began = time.perf_counter()
        encode(audio)
        best = min(best, (time.perf_counter() - began) / len(audio))
    return float(best)


def modes(dry: bool) -> dict[str, tuple[str, dict[str, Any]]]:
    """Name -> (precision, How)."""
    found: dict[str, tuple[str, dict[str, Any]]] = {
        "IEEE fp32 (--exact)": ("fp32", {"exact": True}),
        "fp32, channels last": ("fp32", {}),
    }
    if not dry:
        found |= {
            "tf32": ("tf32", {}),
            "bf16": ("bf16", {}),
            "fp16": ("fp16", {}),
            "fp16, compiled": ("fp16", {"fused": True}),
            "fp16, residual units as one kernel each": ("fp16", {"fused": True}),
        }
    return found


def bench_modes(
    device: str, path: Path, audio: np.ndarray, rounds: int, dry: bool
) -> list[dict[str, Any]]:
    import torch

    from fxpipe.codec import How, load_codec

    cuda = device.startswith("cuda")
    rows: list[dict[str, Any]] = []
    batches = (1, 2) if dry else REFERENCE_BATCHES
    for batch in batches:
        try:
            if cuda:
                torch.cuda.empty_cache()
                torch.cuda.reset_peak_memory_stats()
            encode = shipped_on(device, path, batch)
            seconds = timed(encode, audio[: max(batch, len(audio) // 4)], rounds)
        except torch.OutOfMemoryError:
            continue
        peak = torch.cuda.max_memory_reserved() / 1e9 if cuda else 0.0
        rows.append(
            {"mode": f"dac as shipped, batch {batch}", "clips_s": 1 / seconds, "vram_gb": peak}
        )
        print(rows[-1], flush=True)
        del encode
    exact = None
    for name, (precision, how) in modes(dry).items():
        if cuda:
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats()
        ours = mock.patch("fxpipe.codec.gpu_fused.available", return_value=False)
        with ours if name == "fp16, compiled" else contextlib.nullcontext():
            codec = load_codec(str(path), device=device, precision=precision, how=How(**how))
        seconds = timed(codec.encode, audio, rounds)
        codes, forward = codec.encode(audio), getattr(codec, "gpu", None)
        exact = codes if exact is None else exact
        rows.append(
            {
                "mode": name,
                "clips_s": 1 / seconds,
                "vram_gb": torch.cuda.max_memory_reserved() / 1e9 if cuda else 0.0,
                "batch": forward.batch if forward else 1,
                "layers": forward.layers if forward else "",
                "equal": float((codes == exact).mean()),
                "changed_by_codebook": (codes != exact).mean(axis=(0, 2)).round(6).tolist(),
            }
        )
        print(rows[-1], flush=True)
        del codec, forward
    return rows


def make_renders(folder: Path, n_clips: int) -> None:
    """What ``fxpipe render --dataset synth`` makes, on all cores."""
    from fxpipe.config import render_spec
    from fxpipe.renders import make_plan, render_all
    from fxpipe.sources import open_source
    from fxpipe.tasks import Workers
    from fxtrain.contract import n_cores, open_folder

    plan = make_plan(render_spec(None, {}), open_source("synth"), n_clips, 0, progress=False)
    render_all(open_folder(folder), plan, Workers(n_cores()), lambda entry: None)


class Utilisation:
    """Samples nvidia-smi once a second while a block runs; nothing where it is not installed."""

    def __enter__(self) -> Utilisation:
        self.percent: list[float] = []
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._sample, daemon=True)
        self._thread.start()
        return self

    def _sample(self) -> None:
        program = shutil.which("nvidia-smi")
        query = ["--query-gpu=utilization.gpu", "--format=csv,noheader,nounits"]
        while program and not self._stop.wait(1.0):
            done = subprocess.run([program, *query], capture_output=True, text=True, check=False)
            values = [float(word) for word in done.stdout.split() if word.isdigit()]
            if values:
                self.percent.append(max(values))

    def __exit__(self, *unused: object) -> None:
        self._stop.set()
        self._thread.join(5)


def bench_set(
    path: Path, gpu: str | None, n_workers: int, renders: Path, shards: Path
) -> dict[str, Any]:
    """``fxpipe encode -j N`` as a user types it; the shards are deleted again."""
    counts = json.loads((renders / "index.json").read_text())["counts"]
    n_clips = sum(split["n_samples"] for split in counts.values())
    program = "import sys; sys.argv[0] = 'fxpipe'; from fxpipe.cli import main; main()"
    command = [sys.executable, "-c", program, "encode", str(renders), "-o", str(shards),
               "--codec", str(path), "-j", str(n_workers), "--json",
               *(["--gpu", gpu] if gpu else [])]  # fmt: skip
    began = time.perf_counter()
    with Utilisation() as seen:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    seconds = time.perf_counter() - began
    if done.returncode:
        raise SystemExit(f"{' '.join(command)}\n{done.stderr}")
    index = json.loads((shards / "index.json").read_text())
    shutil.rmtree(shards)
    return {
        "workers": n_workers,
        "clips": n_clips,
        "seconds": seconds,
        "clips_s": n_clips / seconds,
        "utilisation_median": float(np.median(seen.percent)) if seen.percent else None,
        "encoder": index["versions"]["encoder"],
        "changed": index["recipe"].get("changed"),
    }


def reading_s(renders: Path) -> float:
    """What one process needs to read a clip for a GPU, hash included: it bounds how fast that is
    fed."""
    from fxpipe.hearing import Part, read_batches
    from fxpipe.hearing_shard import GPU_BATCHES
    from fxpipe.renders import read_renders_index
    from fxtrain.contract import open_folder

    folder = open_folder(renders)
    index = read_renders_index(folder)
    split = max(index.counts, key=lambda name: index.counts[name].n_samples)
    n = min(2048, index.counts[split].n_samples)
    part = Part(index.identity, split, 0, n, index.spec.sample_rate_hz)
    began = time.perf_counter()
    for _ in read_batches(folder, index, part, GPU_BATCHES):
        pass
    return (time.perf_counter() - began) / n


def what_bounds(best_clips_s: float, read_clips_s: float, whole: dict[str, Any]) -> str:
    host = read_clips_s * whole["workers"]
    if whole["clips_s"] > 0.7 * best_clips_s:
        return "the GPU: the set runs at more than 70 % of the encoder alone"
    if whole["clips_s"] > 0.7 * host:
        return f"reading: {host:.0f} clips/s at most"
    return "neither the encoder nor reading: what is left is starting, levelling, writing"


def table(result: dict[str, Any]) -> str:
    rows, peak = result["modes"], result["fp16_peak"]
    best_shipped = max(row["clips_s"] for row in rows if row["mode"].startswith("dac"))
    lines = [
        f"{result['device']}, torch {result['torch']}, weights: {result['weights']}",
        "",
        "| mode | clips/s | x dac at its best | of the fp16 peak | equal codes | peak VRAM, GB |",
        "| --- | ---: | ---: | ---: | ---: | ---: |",
    ]
    for row in rows:
        share = f"{row['clips_s'] * FLOP_A_CLIP / peak:.1%}" if peak else "-"
        equal = f"{row['equal']:.4%}" if "equal" in row else "-"
        lines.append(
            f"| {row['mode']} | {row['clips_s']:.1f} | {row['clips_s'] / best_shipped:.2f} "
            f"| {share} | {equal} | {row['vram_gb']:.2f} |"
        )
    lines += [
        "",
        f"`fxpipe encode`, end to end; rendered in {result['rendered_s']:.1f} s; a process reads "
        f"{result['read_clips_s']:.0f} clips/s:",
        "",
        "| -j | clips | s | clips/s | GPU busy | bound by |",
        "| ---: | ---: | ---: | ---: | ---: | --- |",
    ]
    for whole in result["sets"]:
        used = whole["utilisation_median"]
        lines.append(
            f"| {whole['workers']} | {whole['clips']} | {whole['seconds']:.1f} "
            f"| {whole['clips_s']:.0f} | {'-' if used is None else f'{used:.0f} %'} "
            f"| {whole['bound']} |"
        )
    lines.append(f"\nEncoder: {whole['encoder']}; changed codes: {whole['changed']}.")
    for row in rows:
        if any(row.get("changed_by_codebook", [])):
            share = " ".join(f"{100 * part:.3f}" for part in row["changed_by_codebook"])
            lines.append(f"\n{row['mode']}: per cent changed by codebook: {share}")
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--clips", type=int, default=50_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--gpu", default="0")
    parser.add_argument("--renders", type=Path, help="finished ones, instead of making them")
    parser.add_argument("--workers", default="1,2,3", help="processes, one run for each number")
    parser.add_argument("--dry", action="store_true", help="tiny, on the CPU")
    options = parser.parse_args()
    import torch

    from fxpipe.codec import CODECS
    from fxpipe.codec.weights import weights_path

    if not options.dry and not torch.cuda.is_available():
        raise SystemExit("no CUDA device: give --dry to see whether this script runs")
    options.out.mkdir(parents=True, exist_ok=True)
    device = "cpu" if options.dry else f"cuda:{options.gpu.split(',')[0]}"
    name = "CPU (dry run)" if options.dry else torch.cuda.get_device_name(device)
    with tempfile.TemporaryDirectory(dir=options.out) as folder:
        work = Path(folder)
        path = weights_path(CODECS["44khz"])
        weights = "official 44khz"
        if options.dry:
            path, weights = weights_path(CODECS["embedded"]), "embedded"
        elif not path.is_file():
            path, weights = work / "official.pth", "random, official architecture"
            cpu_bench.save_official(path)
        audio = cpu_bench.clips(4 if options.dry else 256)
        rounds = 1 if options.dry else options.rounds
        rows = bench_modes(device, path, audio, rounds, options.dry)
        peak = next((value for key, value in FP16_DENSE.items() if key in name), None)
        best = max(row["clips_s"] for row in rows if not row["mode"].startswith("dac"))
        began = time.perf_counter()
        renders = options.renders or work / "renders"
        if options.renders is None:
            make_renders(renders, 30 if options.dry else options.clips)
        rendered_s = time.perf_counter() - began
        read_clips_s = 1 / reading_s(renders)
        sets = []
        for n_workers in map(int, options.workers.split(",")):
            gpu = None if options.dry else options.gpu
            whole = bench_set(path, gpu, n_workers, renders, work / "shards")
            sets.append(whole | {"bound": what_bounds(best, read_clips_s, whole)})
            print(sets[-1], flush=True)
    result = {
        "device": name,
        "torch": torch.__version__,
        "weights": weights,
        "fp16_peak": peak,
        "modes": rows,
        "rendered_s": rendered_s,
        "read_clips_s": read_clips_s,
        "sets": sets,
    }
    (options.out / "encode_gpu.json").write_text(json.dumps(result, indent=1))
    (options.out / "encode_gpu.md").write_text(table(result))
    print(table(result))


if __name__ == "__main__":
    main()
