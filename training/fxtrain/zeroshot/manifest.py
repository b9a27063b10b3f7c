"""renders.csv: which recording is of which chain. Read forgivingly, as spreadsheets write it."""

from __future__ import annotations

import csv
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from fxtrain.contract import FxError, Names, UsageError, shorten, unknown_name
from fxtrain.zeroshot.form import KIT_NAME, Kit, read_kit
from fxtrain.zeroshot.make import COLUMNS

NEEDED = ("file", "effects")
ARROWS = re.compile(r"\s*(?:->|→|>|\||\+|;|,)\s*")
MOST_BYTES = 10_000_000


@dataclass(frozen=True)
class Row:
    """A line of the table. ``dry_file`` is empty where no kit was played: all of the recording is
    listened to then, as it is."""

    line: int
    file: str
    path: Path
    dry_file: str
    names: Names
    settings: str
    implementation: str


@dataclass(frozen=True)
class LeftOut:
    """A row that cannot be scored, and why. ``waiting``: nobody has recorded it yet."""

    file: str
    why: str
    waiting: bool = False


@dataclass(frozen=True)
class Manifest:
    path: Path
    rows: tuple[Row, ...]
    left_out: tuple[LeftOut, ...]
    kits: dict[Path, Kit]

    def kit_of(self, row: Row) -> Kit | None:
        return self.kits.get(self.folder_of(row)) if row.dry_file else None

    def folder_of(self, row: Row) -> Path:
        return (self.path.parent / row.dry_file).parent


def read_manifest(path: Path, pedals: Sequence[str]) -> Manifest:
    """All rows that name pedals of the model; the rest is ``left_out``. Errors name the file."""
    rows: list[Row] = []
    left_out: list[LeftOut] = []
    for line, cells in _table(path):
        file = cells["file"]
        if not any(cells.values()):
            continue
        if not file:
            left_out.append(LeftOut(f"line {line}", "names no file; write which recording it is"))
            continue
        names = tuple(name.lower() for name in ARROWS.split(cells["effects"]) if name)
        strange = next((name for name in names if name not in pedals), None)
        if strange is not None:
            left_out.append(
                LeftOut(file, f"effects: {unknown_name('pedal', strange, pedals)} (line {line})")
            )
            continue
        rows.append(
            Row(
                line=line,
                file=file,
                path=path.parent / file,
                dry_file=cells.get("dry_file", ""),
                names=names,
                settings=cells.get("settings", ""),
                implementation=cells.get("implementation", "") or "unnamed",
            )
        )
    if not rows and not left_out:
        raise UsageError(f"{path}: no row under its head; one a recording: {','.join(COLUMNS)}")
    kits, whole = {}, []
    for row in rows:
        folder = (path.parent / row.dry_file).parent
        try:
            if row.dry_file and folder not in kits:
                kits[folder] = read_kit(folder)
        except FxError as error:
            why = f"dry_file (line {row.line}): {row.dry_file} lies in no kit ({error})"
            left_out.append(LeftOut(row.file, why))
            continue
        whole.append(row)
    return Manifest(path, tuple(whole), tuple(left_out), kits)


def _table(path: Path) -> list[tuple[int, dict[str, str]]]:
    """(line, cells by column) of every row."""
    if not path.is_file():
        raise UsageError(f"{path}: no such file; 'fxtrain zeroshot kit' writes one to fill")
    data = path.read_bytes()
    if len(data) > MOST_BYTES:
        raise FxError(f"{path}: {len(data)} bytes are no table of recordings; give the CSV file")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = data.decode("cp1252", "replace")  # how older spreadsheets save
    head = text.split("\n", 1)[0]
    mark = max(",;\t", key=head.count)
    try:
        lines = list(csv.reader(text.splitlines(), delimiter=mark))
    except csv.Error as error:
        raise FxError(f"{path}: cannot be read as a table ({error}); save it as CSV") from None
    columns = [name.strip().lower().replace(" ", "_") for name in lines[0]] if lines else []
    missing = [name for name in NEEDED if name not in columns]
    if missing:
        raise FxError(
            f"{path}: no column {' and '.join(missing)} in its first line "
            f"({shorten(head.strip())}); expected {','.join(COLUMNS)} ({KIT_NAME} lies beside it)"
        )
    found = []
    for number, cells in enumerate(lines[1:], start=2):
        padded = [*cells, *[""] * (len(columns) - len(cells))]
        found.append((number, {c: v.strip() for c, v in zip(columns, padded, strict=False)}))
    return found
