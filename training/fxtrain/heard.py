"""Clips to what a model hears of them: here, or in a process of its own while this one answers.

Hearing and answering take about as long: with two cores one clip is heard while the model is read
or the clip before is answered. In threads they only waited for each other (docs/log.md).
Must not import torch.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Protocol

from fxtrain import contract
from fxtrain.contract import RECORDING_SUFFIXES, Features, Frontend, FxError, Hearing, n_cores
from fxtrain.errors import UnreadableFileError


def named(clips: Sequence[str]) -> tuple[str, ...]:
    """``clips`` with the sound files of a folder in its place, by name; not those of folders in it.

    A folder without any stays, for whoever hears it to say so.
    """
    found: list[str] = []
    for clip in clips:
        inside = sounds_in(Path(clip)) if clip and _is_folder(clip) else []
        found += inside or [clip]
    return tuple(found)


def sounds_in(folder: Path) -> list[str]:
    """The sound files of a folder, by name, without hidden ones."""
    try:
        files = sorted(folder.iterdir())
    except OSError:
        return []
    return [
        str(file)
        for file in files
        if file.suffix.lower() in RECORDING_SUFFIXES
        and not file.name.startswith(".")
        and not _is_folder(file)
    ]


def _is_folder(path: str | os.PathLike[str]) -> bool:
    try:
        return Path(path).is_dir()
    except OSError:  # where nobody may look, or of too long a name: whoever hears it says so
        return False


def _no_sounds(folder: Path) -> str:
    try:
        next(folder.iterdir(), None)
    except OSError as error:  # macOS asks before a terminal may see Documents
        return f"cannot be looked into ({error.strerror})"
    return "is a folder without sound files; name the files"


class Heard(Protocol):
    def take(self) -> Features:
        """Of the next clip. UnreadableFileError where that cannot be heard; the others can."""


def hear_file(frontend: Frontend, path: str | os.PathLike[str]) -> Features:
    """Read and encode one audio file. Errors name the file."""
    if not os.fspath(path):  # which pathlib takes for the folder one is in
        raise UnreadableFileError(
            "'': an empty name, as of a variable that is not set; name a file"
        )
    if _is_folder(path):
        raise unreadable(path, FxError(_no_sounds(Path(path))))
    try:
        if not Path(path).is_file():
            raise UnreadableFileError(_no_file(path))
        return frontend.encode(*frontend.read(path))
    except (FxError, OSError) as error:
        raise unreadable(path, error) from None


def _no_file(path: str | os.PathLike[str]) -> str:
    if os.fspath(path) == "-" or Path(path).exists():
        return (
            "a clip is read from a file, not from standard input or a pipe; save it, and name the "
            "file"
        )
    return "no such file"


def unreadable(path: str | os.PathLike[str], error: Exception) -> UnreadableFileError:
    """An error that begins with the file's name."""
    reason = error.strerror if isinstance(error, OSError) else None
    text = f"cannot be read ({reason})" if reason else str(error)
    name = str(FxError(os.fspath(path)))  # as an error shows it
    return UnreadableFileError(text if text.startswith(f"{name}: ") else f"{name}: {text}")


@contextmanager
def hear(hearing: Hearing, clips: Sequence[str]) -> Iterator[Heard]:
    """The clips one after another, as ``hearing`` says. Begins at once where a core is free."""
    if "torch" in sys.modules or n_cores() == 1:
        yield _Here(hearing, clips)
        return
    aside = _Aside(hearing, clips)
    try:
        yield aside
    finally:
        aside.end()


class _Here:
    def __init__(self, hearing: Hearing, clips: Sequence[str]) -> None:
        self._clips = iter(clips)
        self._frontend = contract.open_frontend(hearing)

    def take(self) -> Features:
        return hear_file(self._frontend, next(self._clips))


class _Aside:
    """A process that hears every clip and hands each over."""

    def __init__(self, hearing: Hearing, clips: Sequence[str]) -> None:
        # Nothing runs beside this thread yet, so Linux may fork; elsewhere libraries forbid it.
        context: Any = multiprocessing.get_context("fork" if sys.platform == "linux" else "spawn")
        self._heard, told = context.Pipe(duplex=False)
        job = (told, self._heard, hearing, list(clips))
        self._process = context.Process(target=_hear_all, args=job, daemon=True)
        self._process.start()
        told.close()

    def take(self) -> Features:
        try:
            found = self._heard.recv()
        except (EOFError, OSError):  # between two clips, or amid one
            self._process.join()
            if self._process.exitcode == 1:  # Python's own end, which said why
                raise FxError("the process that hears the clips failed, as told above") from None
            raise FxError(
                "the process that hears the clips was ended from outside; memory may be short: "
                "close what else runs, or give fewer clips at a time"
            ) from None
        if isinstance(found, FxError):
            raise found
        assert isinstance(found, Features)
        return found

    def end(self) -> None:
        self._heard.close()
        self._process.terminate()
        self._process.join()


def _hear_all(told: Connection, heard: Connection, hearing: Hearing, clips: Sequence[str]) -> None:
    heard.close()  # else this process would wait for itself where the other one is gone
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # whoever began this also ends it
    with suppress(BrokenPipeError):  # nobody listens any more
        for found in _found(hearing, clips):
            told.send(found)


def _found(hearing: Hearing, clips: Sequence[str]) -> Iterator[Features | FxError]:
    """Of each clip; one error alone where nothing can be heard at all."""
    try:
        frontend = contract.open_frontend(hearing)
    except FxError as error:
        yield error
        return
    for clip in clips:
        try:
            found: Features | FxError = hear_file(frontend, clip)
        except UnreadableFileError as error:
            found = error
        yield found
