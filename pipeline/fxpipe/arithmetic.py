"""Options of ``fxpipe encode`` -> devices, precision and how it is computed. No torch at import."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace

import click

from fxpipe.codec import PRECISIONS, How, default_precision
from fxtrain.contract import NOT_RUN, UsageError, unknown_name

COMPILE_FROM_CLIPS = 12_000
"""Where compiling begins to pay: on an H200 it takes 10 s, and then 0.8 ms a clip less."""


@dataclass(frozen=True)
class Arithmetic:
    devices: tuple[str, ...]
    precision: str
    how: How


def choose_arithmetic(
    *,
    gpu: str | None,
    precision: str | None,
    exact: bool,
    compile_it: bool | None,
    max_vram_gb: float | None,
    n_clips: int,
    elsewhere: bool,
    mel_only: bool = False,
) -> Arithmetic:
    """``elsewhere``: on a cluster's workers, whose devices and compilers cannot be seen from here.
    ``mel_only``: no codec is run, so there is nothing to choose.

    Raises UsageError, and CodecError where a device or its arithmetic is not there.
    """
    if mel_only:
        if exact or any(x is not None for x in (gpu, precision, compile_it, max_vram_gb)):
            raise UsageError(
                "--mel-only runs no codec; leave --gpu, --precision, --exact, --compile and "
                "--max-vram away"
            )
        return Arithmetic(("cpu",), NOT_RUN, How())
    devices = _devices(gpu)
    if elsewhere and len(devices) > 1:
        raise UsageError(
            f"--gpu {gpu} with --scheduler or --cluster: a worker there has one GPU; start a "
            "worker a GPU (docs/cluster.md) and give --gpu 0"
        )
    if max_vram_gb is not None and gpu is None:
        raise UsageError("--max-vram caps a GPU's memory; give --gpu too, or leave it away")
    if exact and precision not in (None, "fp32"):
        raise UsageError(f"--exact means fp32, and --precision says {precision}; give one of them")
    chosen = "fp32" if exact else precision or default_precision(devices[0])
    if chosen not in PRECISIONS:
        raise UsageError(unknown_name("precision", chosen, PRECISIONS))
    if not elsewhere:
        from fxpipe.codec.engine import find_device

        for device in devices:
            find_device(device, chosen)
    if compile_it and gpu is None and chosen == "fp32":
        raise UsageError(
            "--compile is for a GPU, and for bf16 on a CPU; fp32 on a CPU is quicker without: "
            "leave it away"
        )
    # bf16 on a CPU is slow until it is compiled.
    wanted = chosen == "bf16" if gpu is None else n_clips >= COMPILE_FROM_CLIPS
    fused = not exact and (wanted if compile_it is None else compile_it)
    if fused and gpu is None and not elsewhere and not _has_compiler():
        click.echo(
            "warning: no C++ compiler found, so nothing is compiled and encoding is slower; "
            "install g++, or say --no-compile",
            err=True,
        )
        fused = False
    return Arithmetic(devices, chosen, How(exact, fused, max_vram_gb))


def workers_for(devices: Sequence[str], asked: int | None) -> int:
    """One process a GPU, or as many as ``-j`` asks for, which take turns on them.

    Raises UsageError where there are fewer than GPUs.
    """
    if asked is not None and asked < len(devices):
        raise UsageError(
            f"-j {asked}: each of the {len(devices)} GPUs needs a process of its own; give "
            f"-j {len(devices)} or more, or fewer GPUs"
        )
    return asked or len(devices)


def share_memory(chosen: Arithmetic, n_workers: int) -> Arithmetic:
    """``--max-vram`` caps a GPU: processes that share one get a part of it each."""
    most = chosen.how.max_vram_gb
    if most is None:
        return chosen
    each = most / -(-n_workers // len(chosen.devices))
    return replace(chosen, how=replace(chosen.how, max_vram_gb=each))


def _devices(gpu: str | None) -> tuple[str, ...]:
    if gpu is None:
        return ("cpu",)
    try:
        numbers = [int(part) for part in gpu.split(",")]
    except ValueError:
        raise UsageError(f"--gpu {gpu!r}: expected a number, or several: 0,1") from None
    if len(set(numbers)) < len(numbers) or min(numbers) < 0:
        raise UsageError(f"--gpu {gpu!r}: expected different numbers from 0")
    return tuple(f"cuda:{number}" for number in numbers)


def _has_compiler() -> bool:
    """What torch.compile looks for: $CXX, else g++ (clang++ on a Mac)."""
    names: Sequence[str] = (os.environ["CXX"],) if os.environ.get("CXX") else ("g++", "clang++")
    return any(shutil.which(name) for name in names)
