"""What the machine offers: cores, memory, GPUs, and the limits this process lives under."""

from __future__ import annotations

import locale
import os
import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from fxpipe.doctor import OK, PROBLEM, WARNING, Check, Finding
from fxpipe.memory import memory_bytes, memory_limit
from fxtrain.contract import cpu_quota, n_cores

VECTORS = ("avx2", "avx512f", "avx512_bf16", "amx_bf16", "asimd", "bf16")
WORKER_BYTES = 1.2e9
"""Of one worker that encodes with the official codec (docs/performance.md)."""

MIN_FILES, WANTED_FILES = 256, 1024
MIN_SHM_BYTES = 2**30
PROC = Path("/proc")


def cpu() -> Iterator[Finding]:
    text = _read(PROC / "cpuinfo")
    named = re.search(r"^model name\s*:\s*(.+)$", text, re.MULTILINE)
    model = named[1] if named else platform.processor() or platform.machine()
    flags = re.search(r"^(?:flags|Features)\s*:\s*(.+)$", text, re.MULTILINE)
    known = set(flags[1].split()) if flags else set()
    vectors = ", ".join(name for name in VECTORS if name in known)
    yield Finding("machine", "CPU", OK, f"{model}{'; ' if vectors else ''}{vectors}")
    what, quota = f"{n_cores()} of {os.cpu_count() or 1} may be used", cpu_quota()
    if quota is not None:
        what += f"; this container or job gets the time of {quota:g}"
    yield Finding("machine", "cores", OK, what)


def memory() -> Iterator[Finding]:
    total, free = memory_bytes()
    limit = memory_limit()
    what = f"{total / 1e9:.1f} GB, {free / 1e9:.1f} GB free"
    if limit is not None and limit < total:
        what += f"; this container or job may use {limit / 1e9:.1f} GB"
        free = min(free, limit)
    workers = n_cores()
    fit = int(free / WORKER_BYTES)
    if free < WORKER_BYTES:
        do = "close other programs, or use '--codec embedded', which needs a third of a GB"
        yield Finding("machine", "memory", PROBLEM, what, do)
    elif fit < workers:
        do = f"for the official codec on the CPU give -j {fit}: a worker takes 1.2 GB"
        yield Finding("machine", "memory", WARNING, what, do)
    else:
        yield Finding("machine", "memory", OK, what)


def gpus() -> Iterator[Finding]:
    """As torch sees them; and a GPU that this build of torch cannot see."""
    import torch

    for number in range(torch.cuda.device_count()):
        properties = torch.cuda.get_device_properties(number)
        major, minor = torch.cuda.get_device_capability(number)
        built = torch.cuda.get_arch_list()
        what = (
            f"{properties.name}, {properties.total_memory / 1e9:.0f} GB, compute capability "
            f"{major}.{minor}, driver {driver_version() or 'unknown'}, CUDA {torch.version.cuda}"
        )
        if built and not _runs(major, minor, built):
            what += f"; this torch is built for {', '.join(built)}"
            do = "install a build of torch for this GPU (pytorch.org), or leave --gpu away"
            yield Finding("machine", f"GPU {number}", PROBLEM, what, do)
        else:
            yield Finding("machine", f"GPU {number}", OK, what)
    if torch.cuda.device_count():
        return
    driver = driver_version()
    if driver is None:
        yield Finding("machine", "GPU", OK, "none; leave --gpu away to encode on the CPU")
    elif torch.version.cuda is None:
        what = f"there is one (driver {driver}), but torch {torch.__version__} is built for CPUs"
        do = "pip install --force-reinstall torch, from an index with CUDA builds (pytorch.org)"
        yield Finding("machine", "GPU", WARNING, what, do)
    else:
        what = f"there is one (driver {driver}), but torch for CUDA {torch.version.cuda} sees none"
        do = "update the driver, or look at CUDA_VISIBLE_DEVICES and the container's settings"
        yield Finding("machine", "GPU", WARNING, what, do)


def _runs(major: int, minor: int, built: list[str]) -> bool:
    """Binaries run on later minors of their major; what is built as PTX (compute_) on all later."""
    for name in built:
        kind, _, digits = name.partition("_")
        number = re.match(r"\d+", digits)
        if number is None:
            continue
        at = divmod(int(number[0]), 10)
        if (kind == "sm" and at[0] == major and at[1] <= minor) or (
            kind == "compute" and at <= (major, minor)
        ):
            return True
    return False


def driver_version() -> str | None:
    """Of NVIDIA's driver, where there is one, whatever torch can do with it."""
    found = re.search(r"Kernel Module\D*([\d.]+)", _read(PROC / "driver/nvidia/version"))
    if found:
        return found[1]
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return None
    command = [tool, "--query-gpu=driver_version", "--format=csv,noheader"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=5, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return next(iter(done.stdout.split()), None)


def limits() -> Iterator[Finding]:
    """Open files and processes that this shell allows."""
    try:
        import resource
    except ImportError:  # Windows has no such limits
        return
    for name, kind, least, wanted, do in (
        ("open files", resource.RLIMIT_NOFILE, MIN_FILES, WANTED_FILES, "ulimit -n 4096"),
        ("processes", resource.RLIMIT_NPROC, 64, 512, "ulimit -u 4096"),
    ):
        soft, hard = resource.getrlimit(kind)
        if soft == resource.RLIM_INFINITY:
            yield Finding("machine", name, OK, "no limit")
            continue
        what = f"{soft}, at most {'any number' if hard == resource.RLIM_INFINITY else hard}"
        state = PROBLEM if soft < least else WARNING if soft < wanted else OK
        yield Finding("machine", name, state, what, "" if state == OK else f"type: {do}")


def shared_memory(place: Path = Path("/dev/shm")) -> Iterator[Finding]:
    """Processes hold their locks there, which are small; NCCL hands over what GPUs share."""
    import torch

    if not place.is_dir():
        return
    total = shutil.disk_usage(place).total
    what = f"{total / 1e9:.2f} GB at {place}"
    if not os.access(place, os.W_OK | os.X_OK):
        what += ", but it cannot be written: no worker can start"
        do = "give this container one that can be, as --shm-size does"
        yield Finding("machine", "shared memory", PROBLEM, what, do)
    elif total < MIN_SHM_BYTES and torch.cuda.device_count() > 1:
        do = "to train on several GPUs in a container, start it with --shm-size=2g"
        yield Finding("machine", "shared memory", WARNING, what, do)
    else:
        yield Finding("machine", "shared memory", OK, what)


def encoding() -> Iterator[Finding]:
    names = {sys.getfilesystemencoding(), locale.getpreferredencoding(False)}
    plain = {name.lower().replace("-", "") for name in names}
    what = ", ".join(sorted(names))
    if plain <= {"utf8"}:
        yield Finding("machine", "text encoding", OK, what)
    else:
        yield Finding("machine", "text encoding", WARNING, what, "type: export LC_ALL=C.UTF-8")


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


CHECKS: tuple[Check, ...] = (cpu, memory, gpus, limits, shared_memory, encoding)
