"""Which fxpipe runs here, so that no machine mixes another one's shards into a data set.

What is compared is what decides the bytes of a shard: the code, the format, and the libraries
that compute. dask is not imported here.
"""

from __future__ import annotations

import functools
import hashlib
import socket
from importlib import metadata
from pathlib import Path

import fxtrain
from fxtrain.contract import FORMAT_VERSION

Release = dict[str, str]
RENDERING = ("pedalboard", "numpy", "scipy", "soxr")
LIBRARIES = (*RENDERING, "torch", "distributed")
ABSENT = "none"


@functools.cache
def release_here() -> Release:
    """Name -> version, of what decides the bytes of a shard on this machine."""
    return {
        "fxpipe": f"{_version('fxpipe')} (code {_code()})",
        "shard format": str(FORMAT_VERSION),
    } | {name: _version(name) for name in LIBRARIES}


def differences(theirs: Release, ours: Release) -> str:
    """``numpy 2.4.5 instead of 2.4.6, …``; empty where both are the same."""
    return ", ".join(
        f"{name} {theirs.get(name, ABSENT)} instead of {version}"
        for name, version in ours.items()
        if theirs.get(name, ABSENT) != version
    )


def refusal(who: str, differing: str) -> str:
    return (
        f"{who} has {differing}: its shards could differ from the others'; install there what is "
        "installed here, with the same constraints file, start the worker again, then type the "
        "same line again"
    )


def here() -> str:
    return socket.gethostname()


def _version(name: str) -> str:
    """Without what a build adds: a driver's torch may be for the CPU, its workers' for a GPU."""
    try:
        return metadata.version(name).partition("+")[0]
    except metadata.PackageNotFoundError:
        return ABSENT


def _code() -> str:
    """Hash of the sources: two checkouts of one version number may still differ."""
    seen = hashlib.sha256()
    pipeline, trainer = Path(__file__).parents[1], Path(fxtrain.__file__).parent
    for root in (pipeline, trainer / "contract"):
        for path in sorted(root.rglob("*.py")):
            seen.update(path.relative_to(root).as_posix().encode())
            seen.update(path.read_bytes())
    return seen.hexdigest()[:8]
