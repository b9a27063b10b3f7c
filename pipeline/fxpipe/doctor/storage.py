"""What lies where: room on the disks, weights with their hashes, data sets that are here."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import tempfile
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path

from fxpipe.codec import CODECS
from fxpipe.codec.weights import expected_sha256, sha256_of, weights_path
from fxpipe.doctor import OK, PROBLEM, WARNING, Check, Finding
from fxpipe.doctor.machine import PROC
from fxpipe.errors import CodecError
from fxpipe.sources import default_data_dir
from fxtrain.contract import REINSTALL

FULL_BYTES, LOW_BYTES = 0.5e9, 5e9
CLIP_BYTES = 176_400
"""A rendered clip of 2 s; its tokens take a fiftieth."""

IN_MEMORY = ("tmpfs", "ramfs")


ELSEWHERE = {
    "output": "-o",
    "data sets": "--data-dir, or HOME",
    "codec weights": "HOME",
    "temporary files": "TMPDIR",
}
"""What names another place."""


def places() -> tuple[tuple[str, Path], ...]:
    """What is written, and where by default."""
    return (
        ("output", Path.cwd()),
        ("data sets", default_data_dir()),
        ("codec weights", weights_path(CODECS["44khz"]).parent),
        ("temporary files", Path(tempfile.gettempdir())),
    )


def disks() -> Iterator[Finding]:
    for name, path in places():
        existing = next(p for p in (path, *path.parents) if p.exists())
        free = shutil.disk_usage(existing).free
        what = f"{path}: {free / 1e9:.1f} GB free"
        if name == "output":
            what += f", room for {free / CLIP_BYTES / 1e6:.2f} M rendered clips"
        kind = filesystem(existing)
        if kind in IN_MEMORY:
            what += f" ({kind}: it lies in memory and is gone after a restart)"
        state, do = OK, ""
        if not os.access(existing, os.W_OK | os.X_OK):
            state, do = PROBLEM, f"choose another place that can be written ({ELSEWHERE[name]})"
            if existing == path:
                do = f"make it writable: chmod u+w {shlex.quote(str(path))}, or {do}"
            what += ", but it cannot be written"
        elif free < FULL_BYTES:
            state, do = PROBLEM, "free some space, or choose another disk (-o, --data-dir, TMPDIR)"
        elif free < LOW_BYTES or (kind in IN_MEMORY and name == "output"):
            state, do = WARNING, "free some space, or choose another disk (-o, --data-dir, TMPDIR)"
        yield Finding("storage", name, state, what, do)


def filesystem(path: Path) -> str:
    """Type of the file system that ``path`` lies on; empty where nobody tells."""
    try:
        mounts = (PROC / "mounts").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return ""
    real, best, kind = path.resolve(), -1, ""
    for line in mounts:
        words = line.split()
        if len(words) >= 3 and real.is_relative_to(words[1]) and len(words[1]) > best:
            best, kind = len(words[1]), words[2]
    return kind


def weights() -> Iterator[Finding]:
    """Every named codec: here or not, whole or not."""
    for name, spec in CODECS.items():
        path = weights_path(spec)
        label = f"codec {name}"
        if spec.url is None:
            yield _embedded(label, path)
            continue
        if not path.is_file():
            yield Finding("storage", label, OK, f"not here; to have it: fxpipe codec fetch {name}")
            continue
        try:
            expected = expected_sha256(spec)
        except CodecError as error:
            yield Finding("storage", label, PROBLEM, str(error))
            continue
        found = sha256_of(path)
        what = f"{path}, {path.stat().st_size:,} bytes"
        if expected is not None and found != expected:
            what += f": its sha256 is {found[:12]}…, expected {expected[:12]}…"
            do = f"rm {shlex.quote(str(path))} && fxpipe codec fetch {name}"
            yield Finding("storage", label, PROBLEM, what, do)
        else:
            proven = "sha256 as expected" if expected else "nobody published its sha256"
            yield Finding("storage", label, OK, f"{what}, {proven}")


def _embedded(label: str, path: Path) -> Finding:
    from fxpipe.codec.dac import read_checkpoint

    try:
        architecture, state = read_checkpoint(path)
    except CodecError as error:
        return Finding("storage", label, PROBLEM, str(error), REINSTALL)
    what = f"in the package, {path.stat().st_size:,} bytes, {len(state)} tensors"
    return Finding("storage", label, OK, f"{what}, {architecture.n_codebooks} codebooks")


def model() -> Iterator[Finding]:
    """The translator in the package: whole, or not?"""
    path = Path(str(files("fxtrain"))) / "shipped"
    try:
        entry = json.loads((path / "model.json").read_bytes())["weights"]
        weights = path / entry["path"]
        found, n_bytes = sha256_of(weights), weights.stat().st_size
    except (OSError, ValueError, KeyError) as error:
        what = f"{path} cannot be read: {error}"
        yield Finding("storage", "model in the package", PROBLEM, what, REINSTALL)
        return
    if found == entry["sha256"]:
        what = f"{n_bytes:,} bytes, sha256 as expected"
        yield Finding("storage", "model in the package", OK, what)
    else:
        what = f"{weights}: its sha256 is {found[:12]}…, expected {entry['sha256'][:12]}…"
        yield Finding("storage", "model in the package", PROBLEM, what, REINSTALL)


def data_sets() -> Iterator[Finding]:
    """Those that ``--dataset`` finds in the data folder without a download."""
    from fxpipe.errors import SourceError
    from fxpipe.sources import SOURCES, open_source

    here = []
    for name in SOURCES:
        if name in ("folder", "synth"):
            continue
        try:
            open_source(name)
        except SourceError:
            continue
        here.append(name)
    what = ", ".join([*here, "synth (built in)"])
    do = "" if here else "more, to type: fxpipe sources, fxpipe fetch NAME"
    yield Finding("storage", "data sets here", OK, what, do)


CHECKS: tuple[Check, ...] = (disks, weights, model, data_sets)
