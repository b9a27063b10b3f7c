"""The encoder of `fxpipe.codec.gpu_fused` on this GPU: is it right, and what each step takes.

    python tests/bench/bench_gpu_steps.py --json steps.json [--poly]

Latents and codes against dac's encoder in IEEE fp32, with outputs that were full of NaN; clips a
second of the encoder alone, its waves on the GPU; milliseconds and TFLOP/s of every step.
"""

from __future__ import annotations

import argparse
import copy
import json
import time
from pathlib import Path

import torch
from bench_encode import clips
from torch import nn
from tune_tiles import timed

N_SAMPLES = 88_576


def models():
    """(name, encoder, quantiser) in fp32: dac's own random weights, and livelier ones."""
    from fxpipe.codec import dac

    for name in ("dac's initial weights", "unit-sized activations"):
        torch.manual_seed(0)
        model = dac.remove_weight_norm(dac.build(dac.Architecture())).eval().requires_grad_(False)
        if name.startswith("unit"):
            for module in model["encoder"].modules():
                if isinstance(module, nn.Conv1d):
                    fan_in = module.in_channels * module.kernel_size[0]
                    module.weight.normal_(0, 0.7 * fan_in**-0.5)
                    module.bias.normal_(0, 0.1)
                elif hasattr(module, "alpha"):
                    module.alpha.uniform_(0.2, 3)
        yield name, model["encoder"].cuda(), model["quantizer"].cuda()


def notes(n_clips, n_samples):
    """Those of the bench on a CPU, cut off or filled up with silence."""
    waves = torch.from_numpy(clips(n_clips)).cuda()
    return nn.functional.pad(waves, (0, n_samples - waves.shape[1]))


def relative(found, wanted):
    return float((found.float() - wanted).norm() / wanted.norm())


def correctness(module, report, save):
    from fxpipe.codec.gpu import channels_last, fp32_arithmetic

    dtype = torch.float16
    print("| weights | audio | B x N | latents' error | codes equal | cuDNN's error | its codes |")
    print("| --- | --- | --- | ---: | ---: | ---: | ---: |")
    for name, encoder, quantizer in models():
        fused = module.FusedEncoder(encoder, dtype, torch.device("cuda"))
        plain = fused._empty
        fused._empty = lambda *shape, plain=plain: plain(*shape).fill_(float("nan"))
        half = copy.deepcopy(encoder).to(dtype)
        torch.manual_seed(1)
        for audio, wave in (
            ("noise", torch.randn(32, N_SAMPLES, device="cuda") / 3),
            ("notes", notes(32, N_SAMPLES)),
            ("notes", notes(3, 61_423)),
        ):
            with torch.inference_mode(), fp32_arithmetic("ieee"):
                wanted = torch.cat([encoder(part[:, None]) for part in wave.split(8)])
                latents = fused(wave)
                plain_half = channels_last(half, wave[:, None, None].to(dtype))[:, :, 0]
                codes, ours, its = (
                    quantizer(z.float().contiguous())[1] for z in (wanted, latents, plain_half)
                )
            row = {
                "weights": name, "audio": audio, "shape": list(wave.shape),
                "same_shape": latents.shape == wanted.shape,
                "finite": bool(latents.isfinite().all()),
                "error": relative(latents, wanted),
                "codes": float((ours == codes).float().mean()),
                "error_cudnn": relative(plain_half, wanted),
                "codes_cudnn": float((its == codes).float().mean()),
            }  # fmt: skip
            report["correctness"].append(row)
            print(f"| {name} | {audio} | {wave.shape[0]} x {wave.shape[1]} | {row['error']:.2e} "
                  f"| {row['codes']:.3%} | {row['error_cudnn']:.2e} | {row['codes_cudnn']:.3%} |"
                  + ("" if row["same_shape"] and row["finite"] else " WRONG"))  # fmt: skip
            save()
            del wanted, latents, plain_half
        torch.cuda.empty_cache()


def speed(module, report, save, name):
    encoder = next(models())[1]
    fused = module.FusedEncoder(encoder, torch.float16, torch.device("cuda"))
    flop, n = 0, N_SAMPLES
    for step in fused.steps:
        flop, n = flop + step.flop(n), step.conv.n_out(n)
    with torch.inference_mode():
        for batch in (32, 64):
            wave = notes(batch, N_SAMPLES)
            torch.cuda.empty_cache()
            fused(wave)
            torch.cuda.reset_peak_memory_stats()
            ms = timed(lambda: fused(wave), 15)  # noqa: B023
            row = {
                "way": name, "batch": batch, "ms": ms, "clips_per_s": batch / ms * 1e3,
                "tflops": flop * batch / ms / 1e9,
                "peak_gb": torch.cuda.max_memory_allocated() / 1e9,
            }  # fmt: skip
            report["speed"].append(row)
            tell(row)
            save()
        wave = notes(32, N_SAMPLES)
        raw = hidden = wave
        n = N_SAMPLES
        for number, step in enumerate(fused.steps):
            ms = timed(lambda: fused.run(step, raw, hidden), 7)  # noqa: B023
            tile = module.TILES.get(step.key, module.default_tile(step.key))
            row = {
                "step": number, "key": list(step.key), "dilation": step.conv.dilation, "ms": ms,
                "tflops": step.flop(n) * 32 / ms / 1e9, "tile": tile and list(tile),
            }  # fmt: skip
            report["steps"].append(row)
            print(f"| {name} | {number} | {step.key} | {step.conv.dilation} | {ms:.3f} ms "
                  f"| {row['tflops']:.0f} TFLOP/s | {tile} |")  # fmt: skip
            raw, hidden = fused.run(step, raw, hidden)
            n = step.conv.n_out(n)
        save()


def tell(row):
    print(f"| {row['way']} | batch {row['batch']} | {row['ms']:.2f} ms "
          f"| {row['clips_per_s']:.0f} clips/s | {row['tflops']:.0f} TFLOP/s "
          f"| {row['peak_gb']:.2f} GB |", flush=True)  # fmt: skip


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", type=Path, required=True)
    parser.add_argument("--poly", action="store_true", help="also the polynomial sine's speed")
    options = parser.parse_args()
    from fxpipe.codec import gpu_fused as module

    report = {
        "gpu": torch.cuda.get_device_name(), "torch": torch.__version__,
        "available": module.available(torch.device("cuda")),
        "correctness": [], "speed": [], "steps": [],
    }  # fmt: skip

    def save():
        options.json.write_text(json.dumps(report, indent=1))

    print(report["gpu"], report["torch"], report["available"])
    began = time.perf_counter()
    correctness(module, report, save)
    print(f"{time.perf_counter() - began:.0f} s")
    speed(module, report, save, "fused")
    if options.poly:
        module.SINE_UNIT = False
        speed(module, report, save, "fused, polynomial")
        module.SINE_UNIT = True
    print(f"{time.perf_counter() - began:.0f} s")


if __name__ == "__main__":
    main()
