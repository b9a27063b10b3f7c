"""Where codec weights lie and how they get there. No torch, no dac.

Where `CODECS` has no hash, the first download is recorded in a lock file beside the weights
(``<file>.sha256``), and every later look must agree.
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from fxpipe.codec import CodecSpec
from fxpipe.errors import CodecError
from fxtrain.contract import at_home

EMBEDDED = Path(__file__).with_name("embedded")
VARIABLE = "FXPIPE_CODEC"
"""Checkpoints, or folders of them, separated as in PATH: where a bare file name is looked for."""


def weights_path(spec: CodecSpec) -> Path:
    """In the package for the embedded codec, else the path descript-audio-codec itself uses."""
    if spec.url is None:
        return EMBEDDED / spec.file_name
    cache = at_home("~/.cache/descript/dac")
    return cache / f"weights_{spec.model_type}_{spec.bitrate}_{spec.tag}.pth"


def find_weights(spec: CodecSpec) -> Path:
    """The weights if they are on this machine. Raises CodecError that says how to get them."""
    path = weights_path(spec)
    if not path.is_file():
        if spec.url is None:
            raise CodecError(
                f"codec {spec.name!r}: {path} is missing from this installation; reinstall fxpipe"
            )
        raise CodecError(
            f"codec {spec.name!r}: its weights are not at {path}; "
            f"type 'fxpipe codec fetch {spec.name}', or use --codec embedded, which needs none"
        )
    return path


def find_checkpoint(name: str, sha256: str | None = None) -> Path | None:
    """The file at ``name``, or of that name in the places of FXPIPE_CODEC; None: there is none.

    Of several the first, or the first with ``sha256``: every export has the same name.
    """
    path = at_home(name)
    found = [path] if path.is_file() else []
    if path.name == name:
        for place in filter(None, os.environ.get(VARIABLE, "").split(os.pathsep)):
            there = at_home(place)
            there = there / name if there.is_dir() else there
            if there.name == name and there.is_file():
                found.append(there)
    if sha256 is not None and len(found) > 1:
        found = [each for each in found if sha256_of(each) == sha256] or found
    return found[0] if found else None


def missing_checkpoint(name: str, sha256: str | None, known: str) -> str:
    """One line for a name that :func:`find_checkpoint` does not find."""
    wanted = f" (sha256 {sha256})" if sha256 else ""
    if Path(name).name != name:
        return f"codec {name!r}{wanted}: no such file; give a DAC checkpoint or one of {known}"
    places = os.environ.get(VARIABLE) or "not set"
    return (
        f"codec {name!r}{wanted}: no such file, neither here nor in {VARIABLE} ({places}); set "
        f"{VARIABLE} to the folder that holds it, or give a DAC checkpoint or one of {known}"
    )


def fetch(spec: CodecSpec, *, progress: bool = True, base_url: str | None = None) -> Path:
    """Download unless present; check the hash either way. Raises CodecError, DownloadError."""
    path = weights_path(spec)
    if spec.url is None:
        return find_weights(spec)
    if path.is_file() and expected_sha256(spec) is not None:  # it may lie where nobody may write
        return _bring(spec, path, progress, base_url)
    from fxpipe.fetch.download import one_fetch

    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise CodecError(
            f"codec {spec.name!r}: {path.parent}: cannot be made ({error.strerror}); set HOME to a "
            "folder that can be written, or use --codec embedded, which needs no weights"
        ) from None
    with one_fetch(path.with_name(f".{path.name}.busy"), spec.name, progress):
        return _bring(spec, path, progress, base_url)


def _bring(spec: CodecSpec, path: Path, progress: bool, base_url: str | None) -> Path:
    from fxpipe.fetch.download import download

    expected = expected_sha256(spec)
    if path.is_file():
        found = sha256_of(path)
        if expected is not None and found != expected:
            raise CodecError(
                f"{path}: sha256 is {found}, expected {expected}; the file is damaged or was "
                "changed: delete it and fetch again"
            )
    else:
        url = f"{base_url.rstrip('/')}/{spec.file_name}" if base_url else str(spec.url)
        found = download(
            url, path, sha256=expected, n_bytes=spec.n_bytes if expected else None,
            progress=progress,
        )  # fmt: skip
    if expected is None:
        lock = _lock_path(path)
        draft = lock.with_name(lock.name + ".part")
        draft.write_text(f"{found}  {path.name}\n", encoding="ascii")
        draft.replace(lock)
    return path


def expected_sha256(spec: CodecSpec) -> str | None:
    """The registered hash, else the locked one, else None. Raises CodecError on a broken lock."""
    return spec.sha256 or (_locked(weights_path(spec)) if spec.url else None)


def _lock_path(path: Path) -> Path:
    return path.with_name(path.name + ".sha256")


def _locked(path: Path) -> str | None:
    lock = _lock_path(path)
    if not lock.is_file():
        return None
    words = lock.read_text(encoding="ascii", errors="replace").split()
    if not words or len(words[0]) != 64:
        raise CodecError(f"{lock}: not a sha256 line; delete it and the weights, and fetch again")
    return words[0]


def sha256_of(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def checked_sha256(path: Path, name: str, expected: str | None) -> str:
    """The sha256 of a checkpoint. Raises CodecError where it is not the expected one."""
    digest = sha256_of(path)
    if expected is not None and digest != expected:
        raise CodecError(
            f"{path}: sha256 is {digest}, expected {expected} for codec {name!r}; "
            f"delete the file and type 'fxpipe codec fetch {name}'"
        )
    return digest
