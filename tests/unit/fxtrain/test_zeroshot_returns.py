"""What comes back from a board: aligned, checked in one line each, scored; bad rows are named."""

from __future__ import annotations

import csv
import dataclasses
import json
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile

from fxtrain.cli import cli, run_cli
from fxtrain.contract import Frontend, FxError, UsageError, Vocabulary, open_frontend
from fxtrain.zeroshot.form import Kit, read_kit
from fxtrain.zeroshot.make import Wish, known_pedals, make_kit
from fxtrain.zeroshot.manifest import Row, read_manifest
from fxtrain.zeroshot.returns import UnusableError, check_return, resampled

PEDALS = ("overdrive", "chorus", "delay")


@pytest.fixture(scope="module")
def frontend() -> Frontend:
    return open_frontend()


@pytest.fixture(scope="module")
def known() -> Vocabulary:
    return known_pedals(None)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, frontend: Frontend, known: Vocabulary) -> Path:
    path = tmp_path_factory.mktemp("returns")
    wish = Wish(n_chains=4, lengths=(1, 2), pedals=PEDALS, n_takes=2, n_clips=2, clip_s=2.0)
    make_kit(path, wish, frontend, known)
    return path


@pytest.fixture(scope="module")
def kit(place: Path) -> Kit:
    return read_kit(place)


@pytest.fixture(scope="module")
def wet(place: Path, kit: Kit, frontend: Frontend) -> tuple[np.ndarray, int]:
    """The first chain on the first take, in our own render."""
    dry, rate = frontend.read(place / "dry-01.wav")
    return frontend.render(dry, rate, kit.chains[0].chain), rate


def row(path: Path, kit: Kit, dry_file: str = "dry-01.wav") -> Row:
    names = kit.chains[0].chain.names
    return Row(2, path.name, path, dry_file, names, "", "a board")


def hiss(wave: np.ndarray, db: float) -> np.ndarray:
    rms = math.sqrt(float(np.mean(wave**2))) * 10 ** (db / 20)
    return wave + rms * np.random.default_rng(0).standard_normal(len(wave))


Change = Callable[[np.ndarray, int], tuple[np.ndarray, int]]
CHANGED: dict[str, tuple[Change, str]] = {
    "as it is": (lambda w, r: (w, r), ""),
    "late": (lambda w, r: (np.pad(w, (r, 0)), r), ""),
    "early": (lambda w, r: (w[r // 3 :], r), ""),
    "stereo": (lambda w, r: (np.stack([w, 0.9 * w], 1), r), ""),
    "48 kHz": (lambda w, r: (resampled(w, round(len(w) * 48_000 / r)), 48_000), ""),
    "hot": (lambda w, r: (np.clip(9 * w / np.abs(w).max(), -1, 1), r), "clipped: "),
    "quiet": (lambda w, r: (w * 2e-3 / np.abs(w).max(), r), "very quiet"),
    "hissing": (lambda w, r: (hiss(w, -15), r), "noisy"),
    "turned over": (lambda w, r: (-w, r), "turned over"),
    "fast clock": (lambda w, r: (resampled(w, round(len(w) * 1.0005)), r), "its clock is "),
    "wrong rate": (lambda w, r: (w, 48_000), "its chirps say 44100 Hz, the file says 48000 Hz"),
    "cut at the end": (lambda w, r: (w[: round(-5.5 * r)], r), "ends too early: 1 of 2 clips"),
    "cut at the start": (lambda w, r: (w[round(2.5 * r) :], r), ""),
}


@pytest.mark.parametrize("name", CHANGED)
def test_a_recording_is_cut_to_the_clip_and_what_is_odd_is_said(
    name: str, tmp_path: Path, place: Path, kit: Kit, frontend: Frontend, wet: tuple
) -> None:
    change, words = CHANGED[name]
    wave, rate = change(*wet)
    wave = wave / max(1.0, float(np.abs(wave).max()))
    path = tmp_path / "back.wav"
    soundfile.write(path, wave, rate, subtype="FLOAT" if name == "quiet" else "PCM_24")
    back = check_return(row(path, kit), kit, place, frontend)
    if words:
        assert any(note.startswith(words) for note in back.notes), back.notes
    else:
        assert back.notes == ()
    expected = 1 if name == "cut at the end" else 2
    assert len(back.clips) == expected
    full, full_rate = wet
    for clip in back.clips:
        place_s = kit.takes[0].clips[clip.number].starts_s
        ours = full[round(place_s * full_rate) :][: round(2.0 * full_rate)]
        theirs = resampled(clip.wave, len(ours))
        likeness = np.corrcoef(np.abs(ours), np.abs(theirs))[0, 1]
        # A few samples off, high notes no longer agree.
        changed = name in ("hot", "hissing", "fast clock")
        assert likeness > (0.7 if changed else 0.9), likeness


def test_another_take_than_the_table_says_is_read_as_what_it_is(
    place: Path, kit: Kit, frontend: Frontend, tmp_path: Path, wet: tuple
) -> None:
    soundfile.write(tmp_path / "back.wav", wet[0], wet[1], subtype="FLOAT")
    back = check_return(row(tmp_path / "back.wav", kit, "dry-02.wav"), kit, place, frontend)
    assert back.clips[0].take == "dry-01.wav"
    assert back.notes == ("is of dry-01.wav, not of dry-02.wav; read so",)


def test_pedals_that_were_off_are_noticed(place: Path, kit: Kit, frontend: Frontend) -> None:
    back = check_return(row(place / "dry-01.wav", kit), kit, place, frontend)
    assert back.notes == ("sounds like the dry guitar; were the pedals on?",)
    plain = dataclasses.replace(row(place / "dry-01.wav", kit), names=())
    assert check_return(plain, kit, place, frontend).notes == ()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda w, r: np.zeros_like(w), "silent (peak -180 dBFS); record it again"),
        (lambda w, r: w[: 3 * r], "ends before a clip is whole (3.0 s, dry-01.wav has"),
        (lambda w, r: w[round(4.8 * r) : 9 * r], "no chirp in it"),
        (lambda w, r: np.resize(w, 140 * r), "lasts 140 s where 15 s were played"),
    ],
)
def test_what_cannot_be_scored_says_why(
    change: Callable[[np.ndarray, int], np.ndarray],
    words: str,
    tmp_path: Path,
    place: Path,
    kit: Kit,
    frontend: Frontend,
    wet: tuple,
) -> None:
    path = tmp_path / "back.wav"
    soundfile.write(path, change(*wet), wet[1], subtype="FLOAT")
    with pytest.raises(UnusableError) as caught:
        check_return(row(path, kit), kit, place, frontend)
    assert str(caught.value).startswith(words)


TABLES = {
    "as written": "file,dry_file,effects,settings,implementation\na.wav,,fuzz > delay,x,b\n",
    "a spreadsheet's": "﻿File;Dry file;Effects;Implementation\r\na.wav;;Fuzz → DELAY;b\r\n",
    "short rows": "file\teffects\timplementation\na.wav\tfuzz->delay\n\n",
}


@pytest.mark.parametrize("name", TABLES)
def test_tables_are_read_as_spreadsheets_write_them(name: str, tmp_path: Path) -> None:
    (tmp_path / "renders.csv").write_bytes(TABLES[name].encode())
    (found,) = read_manifest(tmp_path / "renders.csv", ("delay", "fuzz")).rows
    assert found.names == ("fuzz", "delay")
    assert found.path == tmp_path / "a.wav"
    assert found.implementation == ("unnamed" if name == "short rows" else "b")


@pytest.mark.parametrize(
    ("text", "error", "words"),
    [
        (None, UsageError, "no such file"),
        ("file,what\na,b\n", FxError, "no column effects"),
        ("", FxError, "no column file and effects"),
        ("file,effects\n", UsageError, "no row under its head"),
    ],
)
def test_a_table_that_is_none_is_refused(
    text: str | None, error: type[FxError], words: str, tmp_path: Path
) -> None:
    if text is not None:
        (tmp_path / "renders.csv").write_text(text)
    with pytest.raises(error, match=words) as caught:
        read_manifest(tmp_path / "renders.csv", ("fuzz",))
    assert "\n" not in str(caught.value)


def test_a_row_whose_dry_file_lies_in_no_kit_is_left_out(tmp_path: Path) -> None:
    rows = "a.wav,fuzz,\nb.wav,fuzz,nix/dry.wav\nc.wav,fuzz,nix/dry.wav\n"
    (tmp_path / "renders.csv").write_text(f"file,effects,dry_file\n{rows}")
    found = read_manifest(tmp_path / "renders.csv", ("fuzz",))
    assert [row.file for row in found.rows] == ["a.wav"]
    assert [gone.file for gone in found.left_out] == ["b.wav", "c.wav"]
    assert "dry_file (line 3): nix/dry.wav lies in no kit" in found.left_out[0].why


def test_a_row_without_a_dry_file_has_no_kit_wherever_the_table_is_read_from(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "kit.json").write_bytes((place / "kit.json").read_bytes())
    rows = "a.wav,overdrive,\nb.wav,overdrive,dry-01.wav\n"
    (tmp_path / "mine.csv").write_text(f"file,effects,dry_file\n{rows}")
    monkeypatch.chdir(tmp_path)
    for table in (Path("mine.csv"), tmp_path / "mine.csv"):
        found = read_manifest(table, PEDALS)
        assert [found.kit_of(row) is not None for row in found.rows] == [False, True]


def test_the_whole_job_with_bad_rows(
    place: Path, kit: Kit, frontend: Frontend, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Kit, our own render as the board, scores by two implementations, one page each."""
    rows = []
    for number, chain in enumerate(kit.chains[:3]):
        dry, rate = frontend.read(place / chain.take)
        wave = frontend.render(dry, rate, chain.chain)
        name = f"back-{number}.flac"
        soundfile.write(place / name, wave / np.abs(wave).max() * 0.7, rate, subtype="PCM_24")
        board = "ours <b>" if number < 1 else "other"
        rows.append([name, chain.take, " > ".join(chain.chain.names), "as drawn", board])
    (place / "text.wav").write_text("no sound")
    rows += [
        ["text.wav", "dry-01.wav", "delay", "", "other"],
        ["gone.wav", "dry-01.wav", "delay", "", "other"],
        ["back-0.flac", "dry-01.wav", "banjo", "", "other"],
        ["back-0.flac", "dry-01.wav", rows[0][2], "", "other"],
    ]
    manifest = place / "mine.csv"
    with manifest.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows(
            [["file", "dry_file", "effects", "settings", "implementation"], *rows]
        )
    code = run_cli(cli, "fxtrain", ["evaluate", "--manifest", str(manifest), "--json"])
    told = capsys.readouterr()
    assert code == 1
    found = json.loads(told.out)
    assert found == json.loads((place / "mine.evaluation.json").read_text())
    assert {k: v["n"] for k, v in found["implementations"].items()} == {"ours <b>": 1, "other": 3}
    assert [row["file"] for row in found["rows"]] == [
        *(f"back-{i}.flac" for i in range(3)),
        "back-0.flac",
    ]
    assert sorted(row["file"] for row in found["left_out"]) == [
        "back-0.flac",
        "gone.wav",
        "text.wav",
    ]
    for words in (
        "text.wav: left out: cannot be read as audio",
        "effects: unknown pedal 'banjo'",
        "not recorded yet, 1 of 6: gone.wav",
        "back-0.flac: the same recording as back-0.flac",
    ):
        assert words in told.err, told.err
    for one in found["rows"]:
        assert one["clips"] == [1, 2]
        assert one["marker_confidence"] > 0.3
        assert abs(one["late_s"]) < 0.005
    scores = found["implementations"]["other"]["scores"]
    assert {"exact", "exact_class", "f1_micro", "f1_macro", "exact@1"} <= set(scores)
    assert scores["exact"]["low"] <= scores["exact"]["value"] <= scores["exact"]["high"]
    text = (place / "mine.evaluation.ours-b.html").read_text()
    assert "1 clip of implementation <b>ours &lt;b&gt;</b>" in text
    assert text.count("data:audio/flac;base64,") == 3
    assert (place / "mine.evaluation.other.html").is_file()


def test_scores_are_told_also_where_they_cannot_be_written(
    place: Path, kit: Kit, wet: tuple[np.ndarray, int], capsys: pytest.CaptureFixture[str]
) -> None:
    soundfile.write(place / "told.flac", *wet, subtype="PCM_24")
    manifest, chain = place / "told.csv", kit.chains[0]
    row = ("told.flac", chain.take, " > ".join(chain.chain.names))
    with manifest.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([["file", "dry_file", "effects"], row])
    (place / "told.evaluation.json").mkdir()
    args = ["evaluate", "--manifest", str(manifest), "--clips", "0"]
    assert run_cli(cli, "fxtrain", args) == 1
    told = capsys.readouterr()
    assert " on 1 recordings of " in told.out
    assert told.err.splitlines()[-1].startswith(
        f"fxtrain: error: cannot write {place / 'told.evaluation.json'}: "
    )
    assert run_cli(cli, "fxtrain", [*args, "--json"]) == 1
    assert json.loads(capsys.readouterr().out)["rows"][0]["file"] == "told.flac"


def test_shards_and_a_manifest_together_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    args = ["evaluate", "run", "shards", "--manifest", "x.csv"]
    assert run_cli(cli, "fxtrain", args) == 2
    assert "--manifest takes no SHARDS" in capsys.readouterr().err
    assert run_cli(cli, "fxtrain", ["evaluate", "--manifest", "no-such.csv"]) == 2
