"""What is installed: versions against the declared ranges, and hazards that are known."""

from __future__ import annotations

import importlib
import platform
import shutil
import sys
import warnings
from collections.abc import Callable, Iterator
from importlib import metadata

from fxpipe.doctor import OK, PROBLEM, WARNING, Check, Finding
from fxtrain.contract import to_install

EXTRA = "pipeline"
NAMED = ("torch", "descript-audio-codec", "pedalboard", "dask", "zarr", "lightning", "numpy")
"""Shown one by one; of the others only those that are missing or of a wrong version."""

COMPILERS = ("c++", "g++", "clang++", "cl")
Version = Callable[[str], str]


def python() -> Iterator[Finding]:
    from packaging.specifiers import SpecifierSet

    wanted = metadata.metadata("fxpipe")["Requires-Python"] or ">=3.11"
    found = platform.python_version()
    fits = SpecifierSet(wanted).contains(found, prereleases=True)
    do = "" if fits else f"make a new environment with Python {wanted}"
    yield Finding(
        *("software", "python", OK if fits else PROBLEM, f"{found} at {sys.executable}", do)
    )


def dependencies(
    requires: list[str] | None = None, version: Version = metadata.version
) -> Iterator[Finding]:
    """Every requirement of the trainer and of the pipeline extra, as the package declares it."""
    from packaging.requirements import Requirement

    listed = metadata.requires("fxpipe") if requires is None else requires
    n_fine, n_all = 0, 0
    rows: list[Finding] = []
    for line in listed or []:
        wanted = Requirement(line)
        if wanted.marker and not wanted.marker.evaluate({"extra": EXTRA}):
            continue
        n_all += 1
        plain = f"{wanted.name}{wanted.specifier}"
        try:
            found = version(wanted.name)
        except metadata.PackageNotFoundError:
            what = f"not installed, expected {wanted.specifier or 'any version'}"
            rows.append(Finding("software", wanted.name, PROBLEM, what, f"pip install '{plain}'"))
            continue
        if not wanted.specifier.contains(found, prereleases=True):
            what = f"{found}, expected {wanted.specifier}"
            rows.append(Finding("software", wanted.name, PROBLEM, what, f"pip install '{plain}'"))
            continue
        n_fine += 1
        if wanted.name in NAMED:
            rows.append(Finding("software", wanted.name, OK, found))
    yield Finding("software", "fxpipe", OK, version("fxpipe"))
    state = OK if n_fine == n_all else PROBLEM
    do = "" if n_fine == n_all else f"or all at once: {to_install(EXTRA)}"
    yield Finding(
        "software", "packages", state, f"{n_fine} of {n_all} are here and within their ranges", do
    )
    yield from rows


def torchaudio() -> Iterator[Finding]:
    """It comes with descript-audio-codec, and its wheel fits CUDA builds of torch alone."""
    try:
        found = metadata.version("torchaudio")
    except metadata.PackageNotFoundError:
        return
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            importlib.import_module("torchaudio")
        yield Finding("software", "torchaudio", OK, found)
    except (ImportError, OSError, RuntimeError):
        what = (
            f"{found} cannot be loaded beside this build of torch; harmless: nothing here uses it"
        )
        yield Finding("software", "torchaudio", OK, what)


def protobuf(version: Version = metadata.version) -> Iterator[Finding]:
    """audiotools asks for a version below 3.20; it runs with later ones all the same."""
    try:
        found = version("protobuf")
    except metadata.PackageNotFoundError:
        return
    if _release(found) >= (3, 20):
        what = f"{found}; harmless: 'pip check' asks for one below 3.20, the codec runs with it"
        yield Finding("software", "protobuf", OK, what)


def setuptools(version: Version = metadata.version) -> Iterator[Finding]:
    try:
        found = version("setuptools")
    except metadata.PackageNotFoundError:
        found = ""
    if not found or _release(found) >= (82,):
        what = f"{found or 'not installed'}: TensorBoard's page needs its pkg_resources"
        yield Finding("software", "setuptools", WARNING, what, "pip install 'setuptools<82'")


def compiler() -> Iterator[Finding]:
    """torch compiles the encoder with it for bf16 on a CPU, which is all that needs one."""
    found = next((path for name in COMPILERS if (path := shutil.which(name))), None)
    if found:
        yield Finding("software", "C++ compiler", OK, found)
    else:
        what = "none found; only --precision bf16 on a CPU would be compiled"
        yield Finding("software", "C++ compiler", OK, what)


def remote_storage(version: Version = metadata.version) -> Iterator[Finding]:
    here, missing = [], []
    for scheme, package in (("s3://", "s3fs"), ("gs://", "gcsfs"), ("abfs://", "adlfs")):
        try:
            here.append(f"{scheme} ({package} {version(package)})")
        except metadata.PackageNotFoundError:
            missing.append(f"{scheme} needs: pip install {package}")
    yield Finding("software", "remote storage", OK, "; ".join([*here, *missing]))


def _release(version: str) -> tuple[int, ...]:
    from packaging.version import Version as Parsed

    return Parsed(version).release


CHECKS: tuple[Check, ...] = (
    *(python, dependencies, torchaudio, protobuf, setuptools, compiler, remote_storage),
)
