"""All files of one board, and a folder of them. Must not import torch."""

from __future__ import annotations

import io
import os
import zipfile
from collections.abc import Iterable, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from fxtrain import contract
from fxtrain.contract import BoardFile, Frontend, LocalFolder, UsageError
from fxtrain.export.board import CHAIN_NAME, Board, board_bytes, board_of, check_board, entries_of
from fxtrain.export.drawing import draw

if TYPE_CHECKING:
    from fxtrain.predict import AnyRun, Prediction

DRAWING_NAME = "board.svg"
README_NAME = "README.txt"


def export_files(board: Board, frontend: Frontend) -> tuple[BoardFile, ...]:
    """The board in every format, ``chain.json`` first and a README last."""
    entries = entries_of(frontend)
    check_board(board, entries)
    chain = BoardFile("chain", CHAIN_NAME, board_bytes(board), "the board, for programs")
    picture = BoardFile("svg", DRAWING_NAME, draw(board, entries).encode(), "the board, drawn")
    others = frontend.board_files(board.chain, board.title, board.remarks)
    readme = _readme(board, (chain, picture, *others))
    return (chain, picture, *others, BoardFile("readme", README_NAME, readme, "this page"))


def _readme(board: Board, files: Sequence[BoardFile]) -> bytes:
    lines = [board.title, "", board.sentence, *(f"- {remark}" for remark in board.remarks), ""]
    said: set[str] = set()
    for file in files:
        if file.format in said:
            continue
        said.add(file.format)
        name = file.name.split("/")[0] + ("/" if "/" in file.name else "")
        lines.append(f"{name}: {file.what}")
        lines += [f"    {note}" for note in file.notes]
    return ("\n".join(lines) + "\n").encode("utf-8", "replace")


def formats(files: Iterable[BoardFile]) -> dict[str, tuple[BoardFile, ...]]:
    """Format -> its files: one, or those of a bundle."""
    found: dict[str, tuple[BoardFile, ...]] = {}
    for file in files:
        found[file.format] = (*found.get(file.format, ()), file)
    return found


def download(files: Sequence[BoardFile]) -> tuple[str, bytes]:
    """(file name, bytes) of one format; a bundle is zipped, with the same bytes every time."""
    if len(files) == 1 and "/" not in files[0].name:
        return files[0].name, files[0].data
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for file in files:
            archive.writestr(zipfile.ZipInfo(file.name), file.data)
    top = files[0].name.split("/")[0]
    return f"{top}.zip", buffer.getvalue()


class Exports:
    """A folder for each clip below ``target``; nothing at all where there is no target."""

    def __init__(self, target: Path | None, clips: Sequence[str]) -> None:
        self._folders: dict[str, Path] = {}
        self._written: set[Path] = set()
        if target is None:
            return
        check_folder(target)
        for clip in dict.fromkeys(clips):
            stem = Path(clip).stem or "clip"
            names = (stem if n == 1 else f"{stem}-{n}" for n in range(1, len(clips) + 2))
            taken = set(self._folders.values())
            self._folders[clip] = next(
                target / name for name in names if target / name not in taken
            )

    @cached_property
    def _frontend(self) -> Frontend:
        """Pedals, no codec."""
        return contract.open_frontend(None)

    def write(self, prediction: Prediction, clip: str, run: AnyRun) -> Path | None:
        """The folder that was written, None where none was asked for. A clip that is given twice
        is written once; an FxError where something is there already, or nothing can be written."""
        folder = self._folders.get(clip)
        if folder is not None and folder not in self._written:
            check_free(folder)
            model = run.card.weights.sha256 if run.card.weights else ""
            title = contract.legible(Path(clip).name)
            board = board_of(prediction, title, self._frontend, model)
            write_files(folder, export_files(board, self._frontend))
            self._written.add(folder)
        return folder


def check_folder(target: Path) -> None:
    """Before anything is heard: what is there is a folder, or nothing."""
    if os.path.lexists(target) and not target.is_dir():
        raise UsageError(
            f"{target} is a file, expected a folder to write boards into; name another"
        )


def check_free(folder: Path) -> None:
    """A board that is there is never written over."""
    check_folder(folder)
    if os.path.lexists(folder / CHAIN_NAME):
        raise UsageError(
            f"{folder} holds a board already, and its knobs may have been turned; name another "
            "folder, or delete it"
        )


def write_files(folder: Path, files: Sequence[BoardFile]) -> None:
    """Each file whole or not at all, ``chain.json`` last: without it a folder is unfinished, and
    gone on with. A file that holds something else is never written over."""
    place = LocalFolder(folder)
    for file in files:
        if place.size(file.name) is not None and place.read(file.name) != file.data:
            raise UsageError(
                f"{folder / file.name} is there already and is not of this board; name another "
                "folder, or delete it"
            )
    for file in sorted(files, key=lambda file: file.name == CHAIN_NAME):
        place.write(file.name, file.data)
