"""What the answers of a study show: screening, tests, plots, one report. scipy and matplotlib."""

from __future__ import annotations

import dataclasses
import math
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from fxtrain.contract import FxError, LocalFolder, json_bytes
from fxtrain.listen.analysis.abx import analyse_abx
from fxtrain.listen.analysis.answers import Row, csv_text, rows_of
from fxtrain.listen.analysis.ratings import analyse_ratings
from fxtrain.listen.analysis.report import report_html
from fxtrain.listen.analysis.screening import Verdict, screen
from fxtrain.listen.analysis.votes import analyse_votes
from fxtrain.listen.analysis.words import Result, sentences
from fxtrain.listen.store import Store
from fxtrain.listen.study import ANSWERS_NAME, Study, read_study


@dataclass(frozen=True)
class Analysis:
    """``lines`` for people, ``data`` for programs; the report lies in ``folder``."""

    folder: Path
    lines: list[str]
    data: dict[str, Any]


def analyse_study(
    path: Path, output: Path | None = None, *, alpha: float = 0.05, screening: bool = True
) -> Analysis:
    """Read the answers beside ``path``'s study, and write what they show."""
    study = read_study(path)
    where = path / ANSWERS_NAME
    if not where.is_file():
        raise FxError(
            f"{path}: nobody has answered yet; let people in: fxtrain listen serve "
            f"{shlex.quote(str(path))}"
        )
    sessions = Store(where, study).sessions()
    rows = rows_of(study, sessions)
    if not rows:
        raise FxError(f"{path}: no answer that counts yet, only practice; come back later")
    listeners = sorted({row.listener for row in rows})
    verdicts = screen(study, rows) if screening else [Verdict(one, "") for one in listeners]
    kept = {verdict.listener for verdict in verdicts if not verdict.why}
    result = analyse(study, rows, kept, alpha)
    n_open = sum(session.position < len(session.trials) for session in sessions)
    lines = sentences(study, result, verdicts, n_open, alpha)
    data = {
        "kind": study.kind,
        "title": study.title,
        "study": study.identity,
        "alpha": alpha,
        "listeners": [dataclasses.asdict(verdict) for verdict in verdicts],
        "unfinished": n_open,
        "conclusions": lines,
        "result": _plain(dataclasses.asdict(result)),
    }
    folder = LocalFolder(output or path / "analysis")
    folder.write("answers.csv", csv_text(rows, kept).encode())
    folder.write("analysis.json", json_bytes(data))
    html = report_html(study, result, verdicts, rows, lines, alpha)
    folder.write("report.html", html.encode())
    return Analysis(folder.path, lines, data)


def analyse(study: Study, rows: list[Row], kept: set[int], alpha: float = 0.05) -> Result:
    """The test that belongs to the study's kind. Intervals are drawn with the study's seed."""
    if study.kind == "abx":
        mine = [row for row in rows if row.listener in kept]
        return analyse_abx(study, mine, alpha, study.seed)
    if study.kind == "mushra":
        return analyse_ratings(study, rows, kept, alpha, study.seed)
    return analyse_votes(study, rows, kept, alpha, study.seed)


def _plain(value: Any) -> Any:
    """JSON values: arrays become lists, NaN and infinity null."""
    if isinstance(value, np.ndarray):
        return _plain(value.tolist())
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
