"""A prediction as files: chain.json and its schema, the drawing, the folder, the command line."""

from __future__ import annotations

import dataclasses
import io
import json
import xml.etree.ElementTree as ET
import zipfile
from importlib.resources import files
from pathlib import Path

import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fixtures.audio import riff
from fixtures.cli import run
from fixtures.errors import one_line
from fixtures.models import random_run
from fixtures.page import CheapFrontend, wav
from fxpipe.boards import board_files
from fxpipe.pedals import PEDALS
from fxtrain.cli import cli, run_cli
from fxtrain.contract import (
    BoardFile,
    Chain,
    ContractError,
    FormatVersionError,
    FxError,
    PedalEntry,
    UsageError,
)
from fxtrain.decode import Candidate
from fxtrain.export.board import (
    NO_GUITAR,
    SCHEMA_NAME,
    Board,
    BoardPedal,
    Neighbours,
    as_it_is_now,
    board_bytes,
    board_of,
    check_board,
    parse_board,
    read_board,
)
from fxtrain.export.drawing import COLOURS, describe, draw
from fxtrain.export.files import download, export_files, formats, write_files
from fxtrain.export.words import knobs, label, reading, spoken, turn
from fxtrain.knobs import Knob
from fxtrain.predict import PairOrder, Prediction

SCHEMA = json.loads(files("fxtrain.export").joinpath(SCHEMA_NAME).read_bytes())
SVG = "{http://www.w3.org/2000/svg}"


class Pedals:
    """The pedals of a frontend, and nothing of its ears."""

    def pedals(self) -> tuple[PedalEntry, ...]:
        return tuple(spec.entry(name) for name, spec in PEDALS.items())

    def example(self, names: tuple[str, ...]) -> Chain:
        return Chain(tuple(PEDALS[name].example(name) for name in names))

    def board_files(
        self, chain: Chain, title: str, remarks: tuple[str, ...]
    ) -> tuple[BoardFile, ...]:
        return board_files(chain, title, remarks)


FRONTEND = Pedals()
ENTRIES = {entry.name: entry for entry in FRONTEND.pedals()}
PREDICTION = Prediction(
    candidates=(
        Candidate(("eq", "delay", "reverb"), 0.7, (("eq", "delay", "reverb"),)),
        Candidate(("eq", "reverb"), 0.2, (("eq", "reverb"),)),
        Candidate((), 0.1, ((),)),
    ),
    presence={"eq": 1.0 + 1e-12, "delay": 0.7, "reverb": 0.9},
    pairs=(PairOrder("delay", "reverb", 0.5, False), PairOrder("eq", "delay", 0.8, True)),
    textbook=("eq", "delay", "reverb"),
    starts_s=(0.0,),
)


@pytest.fixture
def board() -> Board:
    return board_of(PREDICTION, "a lick.wav", FRONTEND, "ab" * 32)


def test_a_prediction_becomes_a_board(board: Board) -> None:
    assert board.chain.names == ("eq", "delay", "reverb")
    assert [pedal.probability for pedal in board.pedals] == [1.0, 0.7, 0.9]
    assert board.settings == "typical"
    assert "the places of their knobs were not" in board.remarks[0]
    assert board.swaps == (("delay", "reverb"),)
    assert board.sentence == (
        "eq → delay → reverb, 70% sure. Could be swapped, nobody would hear it: delay and reverb."
    )
    bare = dataclasses.replace(board, pedals=(), pairs=())
    assert bare.sentence == "No pedals, 70% sure."


def test_what_is_no_guitar_is_said_in_every_file(board: Board) -> None:
    strange = dataclasses.replace(board, doubt=NO_GUITAR)
    jsonschema.validate(json.loads(board_bytes(strange)), SCHEMA)
    for file in export_files(strange, FRONTEND):
        if not file.name.endswith("manifest.ttl"):
            assert b"does not sound like a guitar" in file.data, file.name


def test_what_the_recording_lacks_is_said_in_every_file() -> None:
    low = dataclasses.replace(PREDICTION, missing_above_hz=4000.0)
    board = board_of(low, "clip.wav", FRONTEND, "")
    jsonschema.validate(json.loads(board_bytes(board)), SCHEMA)
    for file in export_files(board, FRONTEND):
        if not file.name.endswith("manifest.ttl"):
            assert b"all above 4 kHz" in file.data, file.name
    assert board_of(PREDICTION, "clip.wav", FRONTEND, "").missing == ""


def test_chain_json_goes_there_and_back_and_keeps_its_schema(board: Board, tmp_path: Path) -> None:
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    changed = dataclasses.replace(
        board,
        settings="given",
        pedals=(dataclasses.replace(board.pedals[0], bypassed=True), *board.pedals[1:]),
    )
    for one in (board, changed, Board("empty", "typical", ())):
        data = board_bytes(one)
        jsonschema.validate(json.loads(data), SCHEMA)
        (tmp_path / "chain.json").write_bytes(data)
        assert read_board(tmp_path / "chain.json") == one
    assert changed.chain.names == ("delay", "reverb")
    assert "bypassed and left out: eq" in changed.remarks


def test_schema_and_reader_refuse_the_same_files(board: Board) -> None:
    good = json.loads(board_bytes(board))
    for change in (
        {"kind": "else"}, {"version": 2}, {"settings": "loud"}, {"title": 3}, {"extra": 1},
        {"pedals": [{"name": "eq"}]}, {"pedals": [{"name": "eq", "settings": {"x": "1"}}]},
        {"alternatives": [{"pedals": ["eq"]}]},
    ):  # fmt: skip
        bad = good | change
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(bad, SCHEMA)
        with pytest.raises(ContractError) as error:
            parse_board(bad, "chain.json")
        assert one_line(error).startswith("chain.json")
    with pytest.raises(FormatVersionError, match="version 2, this build reads 1"):
        parse_board(good | {"version": 2}, "chain.json")
    with pytest.raises(UsageError, match="cannot be read"):
        read_board("nowhere.json")


LEAVES = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9)
JSON_VALUES = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
)


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(sorted(json.loads(board_bytes(Board("t", "given", ()))))), JSON_VALUES)
def test_any_change_of_a_file_is_read_or_refused_in_one_line(key: str, value: object) -> None:
    """What is read can also be written, drawn and described."""
    pedals = [{"name": "delay", "settings": {"delay_ms": 219.0, "feedback": 0.3, "mix": 0.3}}]
    data = json.loads(board_bytes(Board("t", "given", ()))) | {"pedals": pedals} | {key: value}
    refused = ""
    try:
        board = parse_board(data, "chain.json")
        check_board(board, ENTRIES)
    except FxError as error:
        refused = str(error)
    else:
        ET.fromstring(draw(board, ENTRIES))
        assert parse_board(json.loads(board_bytes(board)), "again") == board
    assert "\n" not in refused


@pytest.mark.parametrize(
    ("pedal", "says"),
    [
        (BoardPedal("dealy", {}), "did you mean 'delay'"),
        (BoardPedal("octaver", {}), "setting 'mix' is missing"),
        (BoardPedal("octaver", {"mix": 0.5, "mux": 1.0}), "did you mean 'mix'"),
        (BoardPedal("octaver", {"mix": 3.0}), "expected 0.3 to 0.7"),
    ],
)
def test_settings_that_cannot_be_are_refused(pedal: BoardPedal, says: str) -> None:
    with pytest.raises((UsageError, ContractError), match=says):
        check_board(Board("t", "given", (pedal,)), ENTRIES)


def test_every_knob_has_a_name_and_a_reading() -> None:
    for entry in ENTRIES.values():
        names = [label(param, knobs(entry)) for param in knobs(entry)]
        assert len(set(names)) == len(names), entry.name
        for param in knobs(entry):
            assert turn(param, param.low) == -135
            assert turn(param, param.high) == 135
            assert all(len(reading(param, value)) <= 9 for value in (param.low, param.high))
    eq = ENTRIES["eq"]
    assert [label(param, eq.params) for param in eq.params] == [
        "bass",
        "mid dB",
        "mid Hz",
        "treble",
    ]
    names = [param.name for param in eq.params]
    assert [spoken(name, names) for name in names] == ["bass", "mid db", "mid hz", "treble"]
    assert reading(ENTRIES["delay"].params[0], 219.0891) == "219 ms"
    assert reading(ENTRIES["distortion"].params[1], 4000.0) == "4 kHz"
    assert not [p for p in knobs(ENTRIES["chorus"]) if p.unit == "cycles"]


def test_the_drawing_says_all_it_shows(board: Board) -> None:
    text = draw(board, ENTRIES)
    root = ET.fromstring(text)
    assert root.get("role") == "img"
    assert root.get("aria-labelledby") == "title desc"
    title, description = (root.find(SVG + name) for name in ("title", "desc"))
    assert title is not None
    assert title.text == "Pedals on a lick.wav"
    assert description is not None
    assert description.text == describe(board, ENTRIES)
    assert "2. delay: delay 219 ms, feedback 35%, mix 35%." in (description.text or "")
    shown = [node.text for node in root.iter(SVG + "text")]
    assert [name for name in shown if name in ("EQ", "DELAY", "REVERB")] == [
        "EQ", "DELAY", "REVERB",
    ]  # fmt: skip
    assert shown.count("⇄") == 1
    assert "prefers-color-scheme: dark" in text
    assert "http" not in text.replace("http://www.w3.org/2000/svg", "")


def test_the_drawing_takes_any_board() -> None:
    strange = BoardPedal("a <pedal> & 'more' of 20 letters and more", {}, None, True)
    many = tuple(BoardPedal(p.name, p.settings) for p in FRONTEND.example(tuple(PEDALS)).pedals)
    for pedals in ((), (strange,), many):
        one = Board("\x00<t>&" + "x" * 300, "given", pedals)
        root = ET.fromstring(draw(one, ENTRIES))
        boxes = list(root.iter(SVG + "g"))
        assert len(boxes) == len(pedals)


def contrast(colour: str, other: str = "#ffffff") -> float:
    """Of two colours, by WCAG 2.2."""

    def luminance(text: str) -> float:
        parts = [int(text[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        r, g, b = (c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts)
        return 0.2126 * r + 0.7152 * g + 0.0722 * b

    high, low = sorted((luminance(colour), luminance(other)), reverse=True)
    return (high + 0.05) / (low + 0.05)


def test_white_can_be_read_on_every_box() -> None:
    families = {spec.family for spec in PEDALS.values()}
    assert families <= set(COLOURS)
    assert min(map(contrast, COLOURS.values())) > 5


def test_all_files_of_a_board(board: Board, tmp_path: Path) -> None:
    found = export_files(board, FRONTEND)
    by_format = formats(found)
    assert list(by_format) == ["chain", "svg", "pedalboard", "guitarix", "mod", "sox", "readme"]
    for file in found:
        text = file.data.decode()
        if not file.name.endswith("manifest.ttl"):
            assert "the places of their knobs were not" in text or file.format == "chain", file.name
    write_files(tmp_path, found)
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        "README.txt", "board.gx", "board.pedalboard", "board.py", "board.sox.sh", "board.svg",
        "chain.json",
    ]  # fmt: skip
    readme = (tmp_path / "README.txt").read_text(encoding="utf-8")
    assert "board.pedalboard/: a MOD pedalboard" in readme
    assert board.sentence in readme


def test_left_out_pedals_stand_in_the_readme() -> None:
    chain = FRONTEND.example(("octaver", "bitcrusher"))
    board = Board("t", "given", tuple(BoardPedal(p.name, p.settings) for p in chain.pedals))
    readme = export_files(board, FRONTEND)[-1].data.decode()
    assert "    octaver: left out, SoX has no such pedal" in readme
    assert "    bitcrusher: left out, guitarix-lv2 has no such pedal" in readme


def test_downloads_are_one_file_each(board: Board) -> None:
    by_format = formats(export_files(board, FRONTEND))
    assert download(by_format["guitarix"]) == ("board.gx", by_format["guitarix"][0].data)
    name, data = download(by_format["mod"])
    assert name == "board.pedalboard.zip"
    assert download(by_format["mod"])[1] == data
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        assert archive.namelist() == [file.name for file in by_format["mod"]]


def test_a_board_is_edited_and_exported_again(board: Board, tmp_path: Path) -> None:
    data = json.loads(board_bytes(board)) | {"settings": "given"}
    data["pedals"][1]["settings"]["delay_ms"] = 500.0
    (tmp_path / "chain.json").write_text(json.dumps(data))
    done = run("fxtrain", "export", "board", "chain.json", "-o", "out", cwd=tmp_path)
    assert (done.code, done.out) == (0, "out\n"), done.err
    assert '"delay_ms": 500.0' in (tmp_path / "out/board.py").read_text()
    again = run("fxtrain", "export", "board", "chain.json", "-o", "out", cwd=tmp_path)
    assert again.code == 2
    assert "holds a board already" in again.last_line


def test_a_board_with_other_pedals_or_another_order_keeps_no_word_of_the_old_one(
    board: Board, tmp_path: Path
) -> None:
    assert as_it_is_now(board, ENTRIES) == board
    eq, delay, reverb = board.pedals
    gate = BoardPedal("gate", FRONTEND.example(("gate",)).pedals[0].settings)
    for pedals in ((delay, eq, reverb), (eq, reverb), (eq, delay, reverb, gate)):
        for claims in (board, dataclasses.replace(board, alternatives=())):
            edited = dataclasses.replace(claims, pedals=pedals)
            now = as_it_is_now(edited, ENTRIES)
            names = [pedal.name for pedal in pedals]
            assert now.sentence == f"{' → '.join(names)}."
            assert (now.alternatives, now.pairs) == ((), ())
            assert list(now.textbook) == sorted(names, key=list(ENTRIES).index)
    (tmp_path / "chain.json").write_bytes(board_bytes(dataclasses.replace(board, pedals=(reverb,))))
    done = run("fxtrain", "export", "board", "chain.json", "-o", "out", cwd=tmp_path)
    assert done.code == 0, done.err
    assert "sure" not in (tmp_path / "out/README.txt").read_text()
    assert "sure of all" not in (tmp_path / "out/board.svg").read_text()


def test_knobs_that_were_not_heard_are_marked_in_every_file() -> None:
    def heard(name: str, low: float, high: float) -> Knob:
        (param,) = (p for p in ENTRIES["delay"].params if p.name == name)
        return Knob(param, param.high, param.low, param.high, (1.0, low, high))

    knobs = {"delay": {"mix": heard("mix", 0.0, 0.9), "feedback": heard("feedback", 0.6, 1.0)}}
    board = board_of(dataclasses.replace(PREDICTION, knobs=knobs), "a lick.wav", FRONTEND, "")
    assert [pedal.unheard for pedal in board.pedals] == [(), ("mix",), ()]
    drawing = draw(board, ENTRIES)
    assert ">50% ?</text>" in drawing
    assert ">60%</text>" in drawing
    line = "not heard, but a place to begin: mix of delay"
    assert all(line in file.data.decode() for file in export_files(board, FRONTEND) if file.name in
               ("README.txt", "board.svg", "board.py"))  # fmt: skip
    assert parse_board(json.loads(board_bytes(board)), "here") == board
    jsonschema.validate(json.loads(board_bytes(board)), SCHEMA)


def test_a_knob_goes_no_further_than_the_pedals_here() -> None:
    (param,) = (p for p in ENTRIES["delay"].params if p.name == "mix")
    far = Knob(param, 2 * param.high, param.low, 2 * param.high, (1.0, 0.8, 1.0))
    prediction = dataclasses.replace(PREDICTION, knobs={"delay": {"mix": far}})
    board = board_of(prediction, "a lick.wav", FRONTEND, "")
    check_board(board, ENTRIES)
    assert board.pedals[1].settings["mix"] == param.high


def test_predict_exports_each_clip_into_a_folder_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("fxtrain.contract.open_frontend", CheapFrontend)
    model = random_run(tmp_path / "model")
    clips = [tmp_path / "a/lick.wav", tmp_path / "b/lick.wav"]
    for n, clip in enumerate(clips):
        clip.parent.mkdir()
        clip.write_bytes(wav(riff(20_000 + n)))
    words = ["predict", *map(str, clips), "--run", str(model), "--export", str(tmp_path / "out")]
    assert run_cli(cli, "fxtrain", [*words, "--json"]) == 0
    heard = [json.loads(line)["chain"] for line in capsys.readouterr().out.splitlines()]
    boards = [read_board(tmp_path / "out" / name / "chain.json") for name in ("lick", "lick-2")]
    assert [list(one.chain.names) for one in boards] == heard
    assert [one.title for one in boards] == ["lick.wav", "lick.wav"]
    assert len(boards[0].model) == 64


def test_what_cannot_be_exported_is_said_beside_every_answer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("fxtrain.contract.open_frontend", CheapFrontend)
    clips = [tmp_path / f"{name}.wav" for name in ("one", "two", "three")]
    for n, clip in enumerate(clips):
        clip.write_bytes(wav(riff(20_000 + n)))
    out = tmp_path / "out"
    (out / "one").mkdir(parents=True)
    (out / "one/chain.json").write_text("turned by hand")
    (out / "two").write_text("a file, where a folder should be")
    words = ["predict", *map(str, clips), str(clips[2])]
    words += ["--run", str(random_run(tmp_path / "model")), "--json", "--export", str(out)]
    assert run_cli(cli, "fxtrain", words) == 1
    told = capsys.readouterr()
    heard = [json.loads(line)["file"] for line in told.out.splitlines()]
    assert heard == [*map(str, clips), str(clips[2])]
    first, second = told.err.splitlines()
    assert first.startswith(f"fxtrain: error: {out / 'one'} holds a board already")
    assert second.startswith(f"fxtrain: error: {out / 'two'} is a file, expected a folder")
    assert (out / "one/chain.json").read_text() == "turned by hand"
    assert [path.name for path in (out / "one").iterdir()] == ["chain.json"]
    assert sorted(path.name for path in out.iterdir()) == ["one", "three", "two"]
    assert read_board(out / "three/chain.json").title == "three.wav"


def test_an_unfinished_board_is_gone_on_with_and_nothing_else_written_over(
    board: Board, tmp_path: Path
) -> None:
    found = export_files(board, FRONTEND)
    write_files(tmp_path, found)
    (tmp_path / "chain.json").unlink()
    write_files(tmp_path, found)
    assert read_board(tmp_path / "chain.json") == board
    (tmp_path / "chain.json").unlink()
    (tmp_path / "README.txt").write_text("of my own")
    with pytest.raises(UsageError, match=r"README\.txt is there already and is not of this board"):
        write_files(tmp_path, found)
    assert not (tmp_path / "chain.json").exists()


def test_a_pair_that_is_free_is_drawn_once() -> None:
    pedals = tuple(BoardPedal(p.name, p.settings) for p in FRONTEND.example(("eq", "delay")).pedals)
    board = Board("t", "given", pedals, pairs=(Neighbours("eq", "delay", 0.5, False),))
    assert draw(board, ENTRIES).count(">⇄<") == 1


def test_export_verbs_say_what_is_wrong(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "bad.json").write_text("{}")
    (tmp_path / "model.onnx").write_bytes(b"")
    (tmp_path / "run").mkdir()
    what = "expected a chain.json, which 'fxtrain predict CLIP --export DIR' writes"
    monkeypatch.chdir(tmp_path)
    for words, says in (
        (["export", "board", "bad.json", "-o", "x"], "found kind None, expected 'fxtrain-chain'"),
        (["export", "board", "run", "-o", "x"], f"run: cannot be read (Is a directory); {what}"),
        (["export", "board", "model.onnx", "-o", "x"], f"column 1 (char 0)); {what}"),
        (["export", "onnx", "nowhere", "-o", "model.onnx"], "is there already"),
        (["export", "onnx", "nowhere", "-o", "x.onnx"], "no trained model here"),
    ):
        assert run_cli(cli, "fxtrain", words) > 0
        assert says in capsys.readouterr().err
    assert not (tmp_path / "x").exists()
