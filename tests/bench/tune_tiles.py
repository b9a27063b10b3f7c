"""Choose the tiles of `fxpipe.codec.gpu_fused` on this GPU and write them into the module.

    python tests/bench/tune_tiles.py [--write pipeline/fxpipe/codec/gpu_fused.py]
        [--json tune.json] [--batch 32] [--samples 88576] [--jobs 6] [--seconds 110]

Every candidate is compiled beforehand by --jobs processes that touch no GPU (they fill
TRITON_CACHE_DIR); then each is timed on the real shapes, the shapes with the most work first.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import pprint
import queue
import time
from pathlib import Path

BEGIN, END = "# TILES BEGIN", "# TILES END"


def candidates(key, stride):
    """Tiles worth a try, likeliest first: what spilled or did not fit is left out already."""
    kind, c_in, c_out, taps = key
    if kind == "first":
        return [(64, 64, 0, 4, 1, 0, 0), (128, 64, 0, 4, 1, 0, 0), (128, 64, 0, 8, 1, 0, 0),
                (32, 64, 0, 4, 1, 0, 0)]  # fmt: skip
    if kind == "unit":
        return UNITS.get(c_out, [])
    return [
        tile
        for tile in CONVS.get((c_in, c_out, taps), GENERAL)
        if not (tile[5] and stride > 1) and c_out % tile[1] == 0 and c_in % tile[2] == 0
    ]


UNITS = {
    64: [
        (128, 64, 64, 4, 3, 0, 0), (256, 64, 64, 8, 3, 0, 0), (256, 64, 64, 8, 2, 0, 128),
        (128, 64, 64, 4, 1, 0, 0), (128, 64, 64, 4, 3, 2, 0),
        (128, 64, 64, 4, 3, 1, 0), (128, 64, 64, 4, 2, 1, 0), (256, 64, 64, 8, 3, 3, 0),
        (256, 64, 64, 8, 2, 1, 128), (256, 64, 64, 4, 2, 1, 0), (128, 64, 64, 8, 3, 1, 0),
        (128, 64, 64, 4, 3, 3, 0),
    ],
    128: [
        (128, 64, 64, 8, 3, 0, 128), (128, 128, 64, 8, 3, 2, 0), (256, 64, 64, 8, 3, 0, 0),
        (128, 64, 64, 8, 1, 0, 128), (64, 64, 64, 4, 3, 2, 0),
        (128, 64, 64, 8, 3, 1, 128), (128, 32, 64, 8, 3, 3, 128), (256, 64, 64, 8, 3, 1, 0),
        (256, 64, 64, 16, 3, 1, 0), (128, 128, 64, 8, 4, 3, 0), (64, 64, 64, 4, 3, 3, 0),
        (128, 64, 64, 8, 2, 1, 128),
    ],
    256: [
        (128, 64, 64, 8, 3, 2, 0), (128, 64, 64, 8, 4, 2, 0), (128, 32, 64, 8, 3, 2, 0),
        (64, 64, 64, 4, 2, 0, 0), (128, 64, 64, 8, 3, 0, 0),
        (128, 64, 64, 8, 3, 3, 0), (128, 64, 64, 8, 4, 3, 0), (128, 32, 64, 8, 4, 3, 0),
        (64, 64, 64, 4, 2, 1, 0), (128, 64, 32, 8, 4, 3, 0),
    ],
}  # fmt: skip
WIDE = [
    (128, 128, 64, 8, 3, 0, 0), (128, 256, 64, 8, 3, 0, 0), (128, 256, 64, 8, 4, 0, 0),
    (128, 128, 64, 4, 3, 0, 0), (256, 128, 64, 8, 3, 0, 0),
    (128, 128, 64, 8, 3, 1, 0), (128, 256, 64, 8, 3, 1, 0), (128, 256, 64, 8, 4, 1, 0),
    (128, 128, 64, 4, 3, 1, 0), (256, 128, 64, 8, 3, 1, 0), (256, 128, 64, 8, 4, 1, 0),
]  # fmt: skip
GENERAL = [
    (128, 128, 64, 8, 3, 0, 0), (128, 128, 64, 4, 3, 0, 0), (64, 128, 64, 4, 4, 0, 0),
    (128, 256, 64, 8, 3, 0, 0), (64, 128, 64, 4, 3, 0, 0), (256, 128, 64, 8, 3, 0, 0),
]  # fmt: skip
SHORT = [
    (64, 128, 64, 4, 4, 0, 0), (64, 128, 64, 4, 3, 0, 0), (64, 256, 64, 4, 3, 0, 0),
    (64, 256, 64, 8, 4, 0, 0), (128, 128, 64, 8, 3, 0, 0), (64, 64, 64, 4, 4, 0, 0),
    (64, 128, 64, 4, 4, 1, 0), (64, 256, 64, 4, 4, 1, 0), (64, 256, 64, 8, 4, 1, 0),
]  # fmt: skip
CONVS = {
    (256, 256, 7): WIDE,
    (512, 512, 7): WIDE,
    (256, 256, 1): [WIDE[0], WIDE[3], WIDE[4], WIDE[5], WIDE[9]],
    (512, 512, 1): [WIDE[0], WIDE[3], WIDE[4], WIDE[5], WIDE[8], WIDE[9]],
    (512, 1024, 16): SHORT,
    (1024, 1024, 3): SHORT,
}


class NoGpu:
    """Stands in for Triton's driver where kernels are only compiled, for sm_90."""

    def get_current_target(self):
        from triton.backends.compiler import GPUTarget

        return GPUTarget("cuda", 90, 32)

    def get_current_device(self):
        return 0

    def get_current_stream(self, device):
        return 0

    def get_active_torch_device(self):
        import torch

        return torch.device("cpu")


def official_encoder():
    """Random weights of the official 44.1 kHz architecture, weight norm folded."""
    import torch

    from fxpipe.codec import dac

    torch.manual_seed(0)
    return dac.remove_weight_norm(dac.build(dac.Architecture()))["encoder"].requires_grad_(False)


def parts_of(fused_module, step):
    """The shapes to tune for a step: itself, and a unit's convolutions apart."""
    parts = [step] if step.kind != "unit" or candidates(step.key, 1) else []
    if step.kind == "unit" and step.key[1] >= 256:
        parts += [
            fused_module.Step("conv", step.conv, raw=False, after=step.middle),
            fused_module.Step("conv", step.second, raw=step.raw, after=step.after),
        ]
    return parts


def variants(module, fused, n_samples):
    """Of every distinct shape: (key, steps that have it: (part, N in, FLOP)), most work first."""
    found = {}
    n = n_samples
    for step in fused.steps:
        for part in parts_of(module, step):
            found.setdefault(part.key, []).append((part, n, part.flop(n)))
        n = step.conv.n_out(n)
    return sorted(found.items(), key=lambda item: -sum(flop for _, _, flop in item[1]))


def compile_jobs(module, fused):
    """(number of the variant, of the occurrence, of the candidate). The likeliest of all shapes
    come first, and those that use the tensor memory accelerator behind all others."""
    jobs = []
    for v, (key, places) in enumerate(variants(module, fused, 88_576)):
        for c, tile in enumerate(candidates(key, places[0][0].conv.stride)):
            jobs.append((tile[5] & 1, c, v, middle_of(places)))
    return [(v, o, c) for _, c, v, o in sorted(jobs)]


def middle_of(places):
    """The occurrence that is timed: of three dilations the second."""
    return min(1, len(places) - 1)


def launch(module, fused, part, tile, added, source, warm=False):
    residual = part.kind == "unit" or (part.conv.taps == 1)
    return fused._launch(part, tile, added if residual else None, source, warm)


def compiler(jobs, done, folder):
    """A process of the pool: compile what comes, say (job, seconds, error)."""
    os.environ["TRITON_CACHE_DIR"] = folder
    os.nice(5)
    nowhere = os.open(os.devnull, os.O_WRONLY)  # ptxas' complaints hold whole programs
    os.dup2(nowhere, 1)
    os.dup2(nowhere, 2)
    import torch
    import triton

    triton.runtime.driver.set_active(NoGpu())
    torch.set_num_threads(1)
    from fxpipe.codec import gpu_fused as module

    fused = module.FusedEncoder(official_encoder(), torch.float16, torch.device("cpu"))
    shapes = variants(module, fused, 88_576)
    while (job := jobs.get()) is not None:
        v, o, c = job
        part = shapes[v][1][o][0]
        tile = candidates(part.key, part.conv.stride)[c]
        began, problem = time.perf_counter(), ""
        c_in, c_out = part.conv.channels
        n = max(2 * part.conv.taps, 8)
        source = torch.zeros(1, n) if part.kind == "first" else torch.zeros(
            1, n * part.conv.dilation, c_in, dtype=torch.float16)  # fmt: skip
        added = torch.zeros(1, n * part.conv.dilation, c_out, dtype=torch.float16)
        try:
            launch(module, fused, part, tile, added, source, warm=True)
        except Exception as error:
            problem = brief(error)
        done.put((job, time.perf_counter() - began, problem))


def brief(error):
    return f"{type(error).__name__}: {' '.join(str(error).split())[:160]}"


def poisoned(fused, function):
    """What ``function`` launches, into memory full of NaN."""
    import torch

    plain = fused._empty
    fused._empty = lambda *shape: plain(*shape).fill_(float("nan"))
    try:
        found = [t for t in function() if t is not None]
    finally:
        fused._empty = plain
    torch.cuda.synchronize()
    return found


def error_of(found, wanted):
    """The largest relative error of the outputs; NaN where something was not written."""
    worst = 0.0
    for one, other in zip(found, wanted, strict=True):
        apart = float((one.float() - other.float()).norm() / other.float().norm())
        if not apart <= worst:
            worst = apart
    return worst


def timed(function, times):
    """Median milliseconds of the GPU, after two runs that do not count."""
    import torch

    for _ in range(2):
        function()
    marks = [torch.cuda.Event(enable_timing=True) for _ in range(2 * times)]
    for k in range(times):
        marks[2 * k].record()
        function()
        marks[2 * k + 1].record()
    torch.cuda.synchronize()
    found = sorted(marks[2 * k].elapsed_time(marks[2 * k + 1]) for k in range(times))
    return found[times // 2]


def write_tiles(path, tiles):
    text = path.read_text()
    head, rest = text.split(BEGIN, 1)
    note, rest = rest.split("\n", 1)
    lines = "".join(f"    {key!r}: {tile!r},\n" for key, tile in tiles.items()).replace("'", '"')
    literal = f"TILES: dict[Key, Tile | None] = {{\n{lines}}}\n"
    path.write_text(f"{head}{BEGIN}{note}\n{literal}{END}{rest.split(END, 1)[1]}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--write", type=Path)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--samples", type=int, default=88_576)
    parser.add_argument("--jobs", type=int, default=6)
    parser.add_argument("--seconds", type=float, default=110)
    options = parser.parse_args()
    started = time.perf_counter()
    cache = os.environ.setdefault("TRITON_CACHE_DIR", str(Path.home() / ".triton/cache"))
    spawn = multiprocessing.get_context("spawn")
    jobs, done = spawn.Queue(), spawn.Queue()
    pool = [
        spawn.Process(target=compiler, args=(jobs, done, cache), daemon=True)
        for _ in range(options.jobs)
    ]
    for process in pool:
        process.start()

    import torch

    from fxpipe.codec import gpu_fused as module

    device = torch.device("cuda")
    fused = module.FusedEncoder(official_encoder(), torch.float16, device)
    shapes = variants(module, fused, options.samples)
    todo = compile_jobs(module, fused)
    for job in todo:
        jobs.put(job)
    print(f"{torch.cuda.get_device_name()}: {len(shapes)} shapes, {len(todo)} kernels to compile")
    rows, inputs, outputs, waiting = {}, {}, {}, len(todo)
    failed = 0
    while waiting:
        left = options.seconds - (time.perf_counter() - started)
        if left <= 0:
            print(f"out of time; {waiting} candidates were not tried")
            break
        try:
            (v, o, c), _, problem = done.get(timeout=min(left, 5))
        except queue.Empty:
            if not any(process.is_alive() for process in pool):
                print("the compiling processes have ended")
                break
            continue
        waiting -= 1
        key, places = shapes[v]
        part, n_in, flop = places[o]
        tile = candidates(key, part.conv.stride)[c]
        row = {"tile": list(tile), "ms": None, "problem": problem}
        rows.setdefault(v, []).append(row)
        if problem:
            failed += 1
            continue
        if v not in inputs:  # the memory of all shapes at once is 5 GB
            c_in, c_out = part.conv.channels
            if part.kind == "first":
                source = torch.randn(options.batch, n_in, device=device) / 3
            else:
                source = torch.randn(options.batch, n_in, c_in, device=device).half()
            inputs[v] = (
                source,
                torch.randn(options.batch, part.conv.n_out(n_in), c_out, device=device).half(),
            )
        source, added = inputs[v]

        def function():
            return launch(module, fused, part, tile, added, source)  # noqa: B023

        try:
            found = poisoned(fused, function)
            row["error"] = error_of(found, outputs.setdefault(v, found))
            if not row["error"] < 2e-3:
                raise ArithmeticError(f"{row['error']} off this shape's first tile")
            del found
            ms = timed(function, 7)
        except Exception as error:
            row["problem"] = brief(error)
            failed += 1
            if "illegal" in str(error) or "misaligned" in str(error) or "launch f" in str(error):
                print(f"{key} {tile}: {error}; nothing more can be timed in this process")
                break
            continue
        row["ms"] = ms
        row["tflops"] = flop * options.batch / ms / 1e9
    print(f"{time.perf_counter() - started:.0f} s; {failed} candidates failed")

    tiles = dict(module.TILES)
    best = {}
    for v, (key, _) in enumerate(shapes):
        tried = [row for row in rows.get(v, []) if row["ms"] is not None]
        for row in rows.get(v, []):
            row["key"] = list(key)
            if row["problem"]:
                print(f"  {key} {row['tile']}: {row['problem']}")
        if tried:
            best[key] = min(tried, key=lambda row: row["ms"])
            tiles[key] = tuple(best[key]["tile"])
            print(f"{key}: " + "  ".join(
                f"{tuple(r['tile'])} {r['ms']:.3f} ms {r['tflops']:.0f}"
                for r in sorted(tried, key=lambda row: row["ms"])))  # fmt: skip
    for key in [key for key in tiles if key[0] == "unit"]:
        _, c, _, taps = key
        apart = [best.get(("conv", c, c, taps)), best.get(("conv", c, c, 1))]
        if key in best and all(apart) and sum(p["ms"] for p in apart) < best[key]["ms"]:
            tiles[key] = None
    print(pprint.pformat(tiles, sort_dicts=False))
    chosen = 0
    for v, (key, places) in enumerate(shapes):  # what the encoder itself will ask for
        if tiles.get(key) is None or key not in best:
            continue
        c = candidates(key, places[0][0].conv.stride).index(tiles[key])
        for o in range(len(places)):
            if o != middle_of(places):
                jobs.put((v, o, c))
                chosen += 1
    for _ in pool:
        jobs.put(None)
    if options.json:
        options.json.write_text(json.dumps(
            {"gpu": torch.cuda.get_device_name(), "batch": options.batch,
             "rows": [row for found in rows.values() for row in found],
             "tiles": [[list(key), tile and list(tile)] for key, tile in tiles.items()]},
            indent=1))  # fmt: skip
    if options.write and best:
        write_tiles(options.write, tiles)
        print(f"written: {options.write}")
    for process in pool:
        process.join(max(1.0, options.seconds + 15 - (time.perf_counter() - started)))
        process.terminate()
    print(f"{chosen} more kernels of the chosen tiles compiled for the next run")
    print(f"{time.perf_counter() - started:.0f} s in all")


if __name__ == "__main__":
    main()
