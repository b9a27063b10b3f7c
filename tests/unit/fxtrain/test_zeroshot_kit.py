"""The kit: the same seed gives the same bytes, all that was drawn is written down and printable."""

from __future__ import annotations

import csv
import json
import re
from collections import Counter
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
import soundfile

from fxpipe import distance
from fxtrain.cli import cli, run_cli
from fxtrain.contract import ContractError, FormatVersionError, UnfinishedError, to_unit
from fxtrain.zeroshot.draw import change_db, draw_names, hour
from fxtrain.zeroshot.form import Kit, read_kit
from fxtrain.zeroshot.marker import find_markers


def call(*args: str | Path) -> int:
    return run_cli(cli, "fxtrain", ["zeroshot", "kit", *map(str, args)])


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("zeroshot") / "kit"
    code = call(
        path, "--n-chains", "6", "--takes", "2", "--clips", "1", "--name", "fuzz=Big <Fuzz>"
    )
    assert code == 0
    return path


@pytest.fixture(scope="module")
def kit(place: Path) -> Kit:
    return read_kit(place)


def test_the_same_seed_gives_the_same_bytes(place: Path, tmp_path: Path) -> None:
    again = tmp_path / "again"
    call(again, "--n-chains", "6", "--takes", "2", "--clips", "1", "--name", "fuzz=Big <Fuzz>")
    names = sorted(path.name for path in place.iterdir())
    assert names == ["dry-01.wav", "dry-02.wav", "kit.json", "renders.csv", "sheet.html"]
    for name in names:
        assert (place / name).read_bytes() == (again / name).read_bytes()


def test_another_seed_gives_other_chains(kit: Kit, tmp_path: Path) -> None:
    call(tmp_path / "other", "--n-chains", "6", "--takes", "2", "--clips", "1", "--seed", "1")
    assert read_kit(tmp_path / "other").chains != kit.chains


def test_the_markers_stand_where_the_kit_says(place: Path, kit: Kit) -> None:
    spans = [take.span_s for take in kit.takes]
    assert spans[1] - spans[0] == pytest.approx(0.05)
    for number, take in enumerate(kit.takes):
        wave, rate = soundfile.read(place / take.name, dtype="float32")
        assert (rate, len(wave)) == (take.sample_rate_hz, take.n_samples)
        found = find_markers(wave, rate, kit.marker, spans)
        assert found is not None
        assert found.which == number
        assert found.first_s == pytest.approx(take.first_marker_s, abs=1e-3)
        assert found.last_s == pytest.approx(take.last_marker_s, abs=1e-3)
        (clip,) = take.clips
        start = round(clip.starts_s * rate)
        sounding = wave[start : start + round(clip.length_s * rate)]
        before = wave[start - round((clip.run_in_s + 1) * rate) : start - round(0.51 * rate)]
        assert np.abs(sounding).max() > 0.02
        assert not before.any()


def test_knobs_stand_on_the_hours_between_nine_and_three(kit: Kit) -> None:
    entries = {entry.name: entry for entry in kit.pedals}
    for chain in kit.chains:
        for pedal in chain.chain.pedals:
            for param in entries[pedal.name].params:
                place = 10 * to_unit(param, pedal.settings[param.name])
                if param.unit != "cycles":
                    assert place == pytest.approx(round(place), abs=1e-3)
                    assert 2 <= round(place) <= 8
    assert [hour(step) for step in (0, 2, 5, 8, 10)] == [
        "7 o'clock", "9 o'clock", "noon", "3 o'clock", "5 o'clock",
    ]  # fmt: skip


def test_the_manifest_has_a_row_for_every_chain(place: Path, kit: Kit) -> None:
    with (place / "renders.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["file"] for row in rows] == [f"chain-{i:02d}.wav" for i in range(1, 7)]
    assert [row["dry_file"] for row in rows] == ["dry-01.wav", "dry-02.wav"] * 3
    for row, chain in zip(rows, kit.chains, strict=True):
        assert tuple(row["effects"].split(" > ")) == chain.chain.names
        assert row["settings"].count("o'clock") + row["settings"].count("noon") >= 1


def test_lengths_pedals_and_pairs_come_evenly_and_orders_vary() -> None:
    names = tuple("abcdef")
    chains = list(draw_names(names, (1, 2, 3), 60, np.random.default_rng(0)))
    assert Counter(map(len, chains)) == {1: 20, 2: 20, 3: 20}
    assert all(len(set(chain)) == len(chain) for chain in chains)
    used = Counter(name for chain in chains for name in chain)
    assert max(used.values()) - min(used.values()) <= 2
    pairs = Counter(
        frozenset((a, b)) for chain in chains for i, b in enumerate(chain) for a in chain[:i]
    )
    assert len(pairs) == 15
    assert max(pairs.values()) - min(pairs.values()) <= 3
    firsts = Counter(chain[0] < chain[-1] for chain in chains if len(chain) > 1)
    assert min(firsts.values()) >= 10


def test_how_much_a_pedal_changes() -> None:
    wave = np.random.default_rng(0).standard_normal(1000)
    assert change_db(wave, 0.25 * wave) < -120
    assert change_db(wave, np.sign(wave)) > -10
    for other in (np.sign(wave), wave + 0.1 * np.roll(wave, 1), 0 * wave, 1e-5 * wave**3):
        assert change_db(wave, other) == pytest.approx(distance.change_db(wave, other), abs=1e-6)
    assert change_db(wave, 0 * wave) == -np.inf  # it swallows its input


class Sheet(HTMLParser):
    def __init__(self, text: str) -> None:
        super().__init__()
        self.loads: list[str] = []
        self.sections = self.dials = 0
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.sections += tag == "section"
        self.dials += tag == "svg"
        self.loads += [v or "" for k, v in attrs if k in ("src", "href", "data", "action")]


def test_the_sheet_prints_every_chain_and_loads_nothing(place: Path, kit: Kit) -> None:
    text = (place / "sheet.html").read_text()
    sheet = Sheet(text)
    assert sheet.sections == len(kit.chains)
    entries = {entry.name: entry for entry in kit.pedals}
    n_knobs = sum(
        param.unit != "cycles"
        for chain in kit.chains
        for pedal in chain.chain.pedals
        for param in entries[pedal.name].params
    )
    assert sheet.dials == n_knobs
    assert set(sheet.loads) == {"data:,"}
    assert "Big &lt;Fuzz&gt;" in text
    assert "<Fuzz>" not in text
    assert re.search(r"@page \{ size: A4", text)
    assert text.count("recorded</p>") == len(kit.chains)
    for chain in kit.chains:
        assert chain.file in text


def test_your_own_dry_guitar_and_pedals(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    own = tmp_path / "own"
    own.mkdir()
    t = np.arange(5 * 48_000) / 48_000
    for name, hz in (("b.wav", 220.0), ("a.wav", 110.0)):
        soundfile.write(own / name, 0.1 * np.sin(2 * np.pi * hz * t), 48_000)
    (own / "notes.txt").write_text("no sound")
    args = ["--dry", own, "--pedals", "delay, fuzz", "--lengths", "2", "--n-chains", "3"]
    capsys.readouterr()
    assert call(tmp_path / "kit", *args, "--clips", "2", "--json") == 0
    said = json.loads(capsys.readouterr().out)
    kit = read_kit(tmp_path / "kit")
    assert [clip.label for clip in kit.takes[0].clips] == ["a.wav", "b.wav"]
    assert kit.takes[0].sample_rate_hz == 48_000
    assert said["chains"] == [list(chain.chain.names) for chain in kit.chains]
    assert all(sorted(names) == ["delay", "fuzz"] for names in said["chains"])


def test_who_has_two_pedals_gets_chains_of_one_and_two(tmp_path: Path) -> None:
    assert call(tmp_path / "kit", "--pedals", "fuzz,delay", "--n-chains", "4") == 0
    kit = read_kit(tmp_path / "kit")
    assert kit.lengths == (1, 2)
    assert sorted(len(chain.chain.names) for chain in kit.chains) == [1, 1, 2, 2]


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["--pedals", "fuzzz"], "did you mean"),
        (["--pedals", "fuzz", "--lengths", "2"], "expected 1 to 1, .*--lengths"),
        (["--lengths", "x"], "is no length"),
        (["--name", "fuzz"], "expected our pedal and yours"),
        (["--name", "banjo=x"], "banjo"),
        (["--clip-s", "0.2"], "expected 1 to 30 s"),
    ],
)
def test_slips_are_refused_in_one_line(
    args: list[str], words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call(tmp_path / "kit", *args) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert re.search(words, line)
    assert not (tmp_path / "kit" / "kit.json").exists()


def test_a_kit_is_not_written_over_unasked(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = (place / "kit.json").read_bytes()
    assert call(place, "--n-chains", "2") == 2
    assert "--overwrite" in capsys.readouterr().err
    assert (place / "kit.json").read_bytes() == before


def test_a_folder_without_a_kit_and_a_kit_of_another_version(tmp_path: Path, place: Path) -> None:
    with pytest.raises(UnfinishedError, match=r"no kit\.json here"):
        read_kit(tmp_path)
    data = json.loads((place / "kit.json").read_text())
    (tmp_path / "kit.json").write_text(json.dumps(data | {"format_version": 2}))
    with pytest.raises(FormatVersionError, match="version 2"):
        read_kit(tmp_path)
    data["takes"][0]["first_marker_s"] = 9.0
    (tmp_path / "kit.json").write_text(json.dumps(data))
    with pytest.raises(ContractError, match="expected marker, clips and marker"):
        read_kit(tmp_path)
    (tmp_path / "kit.json").write_text(json.dumps(data | {"takes": []}))
    with pytest.raises(ContractError, match="without a dry file"):
        read_kit(tmp_path)


def test_a_kit_replaced_halfway_is_no_kit_and_a_slip_replaces_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Dry files of one kit beside the chains of another would be scored as if they belonged."""
    path, args = tmp_path / "kit", ("--n-chains", "2", "--clips", "1")
    assert call(path, *args) == 0
    before = {file.name: file.read_bytes() for file in path.iterdir()}
    assert call(path, *args, "--lengths", "11", "--overwrite") == 2
    assert before == {file.name: file.read_bytes() for file in path.iterdir()}

    def stop(*args: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("fxtrain.zeroshot.make.draw_settings", stop)
    assert call(path, *args, "--seed", "1", "--overwrite") == 130
    with pytest.raises(UnfinishedError):
        read_kit(path)
