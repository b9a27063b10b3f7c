"""What a guitarist reads, and the table for spreadsheets."""

from __future__ import annotations

import csv
import dataclasses
import io
import os

import pytest

from fxtrain.contract import FxError, printable
from fxtrain.decode import Candidate
from fxtrain.predict import Kin, PairOrder, Prediction, kin_of
from fxtrain.telling import (
    CSV_COLUMNS,
    NO_GUITAR,
    csv_header,
    csv_refusal,
    csv_row,
    for_terminal,
    prediction_lines,
    what_is_missing,
)

PREDICTION = Prediction(
    candidates=(
        Candidate(("delay", "reverb", "wah"), 0.7, ()),
        Candidate(("distortion", "delay"), 0.2, ()),
        Candidate((), 0.06, ((),)),
        Candidate(("fuzz",), 0.04, ()),
    ),
    presence={"delay": 0.9, "reverb": 0.7, "wah": 0.7},
    pairs=(
        PairOrder("delay", "wah", 0.96, True, 0.9),
        PairOrder("reverb", "wah", 0.62, True, 0.7),
        PairOrder("delay", "reverb", 0.5, False),
    ),
    textbook=("wah", "delay", "reverb"),
    starts_s=(0.0, 0.5),
    length_s=3.0,
    window_s=2.0,
    n_silent=1,
    guitar=True,
)
STRANGE = dataclasses.replace(PREDICTION, guitar=False)


def test_a_prediction_for_people() -> None:
    assert prediction_lines(PREDICTION, "clip.wav", 3) == [
        "clip.wav: delay → reverb → wah  (70% sure)",
        "  each pedal  delay 90%, reverb 70%, wah 70%",
        "  or else      20%  distortion → delay",
        "                6%  (no pedals)",
        "  order       delay before wah 96%",
        "              not sure: reverb before wah 62%",
        "              nobody could hear it: delay and reverb either way round",
        "  textbook    wah → delay → reverb; wah before delay, wah before reverb",
        "  heard       3.0 s, in 2 windows of 2 s; left out: 1 silent",
        "  assumes     a guitar recorded directly (DI), no amplifier or cabinet after the pedals, "
        "a guitar and pedals like those it was taught",
    ]


@pytest.mark.parametrize("width", [40, 60, 80])
def test_a_narrow_terminal_breaks_lines_under_their_column(
    width: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = prediction_lines(PREDICTION, "clip.wav", 3)
    assert for_terminal(lines) == "\n".join(lines)  # no terminal: a line stays one line
    monkeypatch.setattr("sys.stdout.isatty", lambda: True, raising=False)
    size = os.terminal_size((width, 24))
    monkeypatch.setattr("shutil.get_terminal_size", lambda: size)
    found = for_terminal(lines).split("\n")
    assert max(map(len, found)) <= width
    assert " ".join(" ".join(found).split()) == " ".join(" ".join(lines).split())
    assert f"{' ' * 14}cabinet after the pedals," in found or width > 40
    assert all(line.startswith("  ") for line in found[1:])


def test_what_a_file_of_few_samples_cannot_hold_is_told() -> None:
    said = (
        "  missing     all above 3 kHz, for its sample rate is 6 kHz; "
        "the answer is less sure than it looks"
    )
    low = dataclasses.replace(PREDICTION, missing_above_hz=3000.0)
    assert prediction_lines(low, "clip.wav", 3)[-2] == said
    wider = dataclasses.replace(PREDICTION, missing_above_hz=4000.0)
    assert prediction_lines(wider, "clip.wav", 3)[-2] == (
        "  missing     all above 4 kHz, for its sample rate is 8 kHz; "
        "the answer is right less often than with all of the sound"
    )
    both = dataclasses.replace(wider, length_s=0.6, window_s=2.0)
    assert what_is_missing(both).endswith("; the answer is less sure than it looks")
    strange = dataclasses.replace(STRANGE, missing_above_hz=3000.0)
    no_answer, _ = said.split("; ")  # nothing is said of an answer that is not given
    assert prediction_lines(strange, "clip.wav", 3)[-1] == no_answer
    (row,) = csv.reader([csv_row(low, "clip.wav")])
    assert dict(zip(CSV_COLUMNS, row, strict=True))["missing_above_hz"] == "3000"
    (row,) = csv.reader([csv_row(PREDICTION, "clip.wav")])
    assert dict(zip(CSV_COLUMNS, row, strict=True))["missing_above_hz"] == ""


def test_a_clip_shorter_than_a_window_is_told() -> None:
    short = dataclasses.replace(PREDICTION, length_s=0.6, window_s=2.0)
    assert what_is_missing(short) == (
        "1.4 s of the 2 s that are heard at once; the answer is less sure than it looks"
    )
    low = dataclasses.replace(short, missing_above_hz=4000.0)
    assert what_is_missing(low).startswith("all above 4 kHz, for its sample rate is 8 kHz; 1.4 s")
    assert what_is_missing(dataclasses.replace(short, length_s=1.9)) == ""


def test_a_family_that_is_surer_than_any_of_its_pedals() -> None:
    kin = (
        Kin("drive", 0.97, {"distortion": 0.58, "overdrive": 0.4}),
        Kin("time", 0.8, {"delay": 0.5, "reverb": 0.45}),
    )
    lines = prediction_lines(dataclasses.replace(PREDICTION, kin=kin), "clip.wav", 1)
    assert lines[2:4] == [
        "  one of      some drive pedal 97% (distortion 58%, overdrive 40%)",
        "              some time-based pedal 80% (delay 50%, reverb 45%)",
    ]


def test_what_else_may_be_there_is_told_beside_the_answer_or_without_one() -> None:
    heard = {"delay": 0.9, "chorus": 0.2, "fuzz": 0.4, "eq": 0.14, "distortion": 0.3}
    kin = (Kin("drive", 0.9, {"distortion": 0.3, "overdrive": 0.6}),)
    found = dataclasses.replace(PREDICTION, heard=heard, kin=kin)
    assert "  perhaps     fuzz 40%, chorus 20%" in prediction_lines(found, "clip.wav", 3)
    nothing = dataclasses.replace(
        found, candidates=(Candidate((), 0.3, ((),)),), presence={}, pairs=(), textbook=()
    )
    lines = prediction_lines(nothing, "clip.wav", 3)
    assert lines[:2] == [
        "clip.wav: (no pedals)  (30% sure)",
        "  perhaps     delay 90%, fuzz 40%, chorus 20%",
    ]


def test_what_family_is_worth_telling() -> None:
    families = {"overdrive": "drive", "fuzz": "drive", "delay": "time", "reverb": "time"}

    def told(probabilities: dict[str, float], *there: float) -> list[Kin]:
        return list(kin_of(probabilities, dict(zip(families, there, strict=True)), families))

    drive = Kin("drive", 0.95, {"fuzz": 0.6, "overdrive": 0.4})
    assert told({"drive": 0.95, "time": 0.1}, 0.4, 0.6, 0.1, 0.0) == [drive]
    assert told({"drive": 0.95, "time": 0.1}, 0.4, 0.9, 0.1, 0.0) == []  # it is known which
    assert told({"drive": 0.6, "time": 0.1}, 0.3, 0.4, 0.1, 0.0) == []  # whether is not known
    assert told({"drive": 0.99, "time": 0.1}, 0.1, 0.8, 0.1, 0.0) == []  # one candidate only


def test_a_single_pedal_has_no_order() -> None:
    one = dataclasses.replace(
        PREDICTION,
        candidates=(Candidate(("fuzz",), 0.9, ()),),
        presence={"fuzz": 0.95},
        pairs=(),
        textbook=("fuzz",),
    )
    text = "\n".join(prediction_lines(one, "clip.wav", 3))
    assert "order" not in text
    assert "textbook" not in text


def test_what_is_next_to_impossible_is_no_alternative() -> None:
    sure = (Candidate(("fuzz",), 0.994, ()), Candidate((), 0.006, ()))
    lines = prediction_lines(dataclasses.replace(PREDICTION, candidates=sure), "clip.wav", 3)
    assert not any("or else" in line for line in lines)


def test_the_textbook_may_agree_or_differ_unheard() -> None:
    same = dataclasses.replace(PREDICTION, textbook=("delay", "reverb", "wah"))
    assert "  textbook    the same" in prediction_lines(same, "a.wav", 1)
    unheard = dataclasses.replace(PREDICTION, textbook=("reverb", "delay", "wah"))
    assert "  textbook    reverb → delay → wah; it sounds the same" in prediction_lines(
        unheard, "a.wav", 1
    )


def test_what_is_no_guitar_is_not_guessed_at_unless_asked() -> None:
    lines = prediction_lines(STRANGE, "talk.wav", 3)
    assert lines[0] == f"talk.wav: {NO_GUITAR}"
    assert not any("delay" in line for line in lines)
    assert "--anyway" in lines[1]
    forced = prediction_lines(STRANGE, "talk.wav", 3, anyway=True)
    assert forced[:2] == [f"talk.wav: {NO_GUITAR}", "  a guess: delay → reverb → wah"]
    unchecked = dataclasses.replace(PREDICTION, guitar=None)
    assert "was not checked" in "\n".join(prediction_lines(unchecked, "a.wav", 1))


def test_a_name_of_two_lines_is_one_cell() -> None:
    for name in ("new\nline.wav", "old\rmac.wav", "dos\r\n.wav"):
        row = csv_row(PREDICTION, name)
        ((cell, *_),) = csv.reader(io.StringIO(row, newline=""))
        assert cell == name


def test_a_row_for_spreadsheets() -> None:
    table = [csv_header(), csv_row(PREDICTION, "my, clip.wav"), csv_row(STRANGE, "talk.wav")]
    header, row, strange = csv.reader(table)
    assert tuple(header) == CSV_COLUMNS
    found = dict(zip(header, row, strict=True))
    assert found["file"] == "my, clip.wav"
    assert (found["guitar"], found["chain"], found["sure"]) == (
        "yes",
        "delay > reverb > wah",
        "0.700",
    )
    assert (found["third"], found["third_sure"]) == ("(no pedals)", "0.060")
    assert found["order_sure"] == "delay > wah"
    assert found["order_unsure"] == "reverb > wah"
    assert found["order_not_heard"] == "delay / reverb"
    refused = dict(zip(header, strange, strict=True))
    assert (refused["guitar"], refused["chain"], refused["pedals"]) == ("no", "", "")
    assert found["error"] == ""
    (unheard,) = csv.reader([csv_refusal("a.txt", "a.txt: cannot be read, as audio")])
    assert dict(zip(header, unheard, strict=True)) == {
        **dict.fromkeys(CSV_COLUMNS, ""),
        "file": "a.txt",
        "error": "a.txt: cannot be read, as audio",
    }


def test_the_name_of_a_file_moves_no_cursor() -> None:
    assert printable("é 音 a\x1b[31m\n\u202eb\udcff.wav") == "é 音 a\\x1b[31m\\n\\u202eb\\udcff.wav"
    assert str(FxError("a\x1b[31m: no such file")) == "a\\x1b[31m: no such file"
    assert str(FxError("a\nb.wav: no such file")) == "a b.wav: no such file"
