"""No performance on two sides: for every source that has files, in its true layout."""

from __future__ import annotations

import json
from itertools import combinations
from pathlib import Path

import pytest
from click.testing import CliRunner

from fixtures.datasets import EGFXSET_PICKUPS, TREES
from fxpipe.cli import cli
from fxpipe.errors import SourceError
from fxpipe.sources import Scan, assign_splits, open_source

IDMT4 = "dataset4/{guitar}/{pace}/{style}/audio/{piece}_{bpm}BPM.wav"
GUITARS4 = ("Career SG", "Ibanez 2820", "acoustic_mic", "acoustic_pickup")


def takes_of_piece(style: str, piece: str) -> set[str]:
    """Both tempi, both electric guitars, the acoustic one by microphone and by pickup."""
    return {
        IDMT4.format(guitar=guitar, pace=pace, style=style, piece=piece, bpm=bpm)
        for guitar in GUITARS4
        for pace, bpm in (("slow", 200), ("fast", 300))
    }


SAME: dict[str, list[set[str]]] = {
    "folder": [
        {"riff_mic.wav", "riff_DI.wav"},
        {"lick_neck_rr1.wav", "lick_bridge_rr2.wav"},
        {"song-slow.wav", "song-fast.wav"},
        {"tune_90bpm.wav", "tune_140 BPM.wav"},
        {"solo_mono.wav", "solo_poly.wav"},
        {"e2_mf_rr1.wav", "e2_p_rr2.wav"},
    ],
    "idmt": [
        {
            "dataset1/Fender Strat Clean Neck SC/audio/G53-40100-1111-00001.wav",
            "dataset1/Ibanez Power Strat Clean Bridge HU/audio/G63-40100-1111-00001.wav",
        },
        {
            "dataset1/Fender Strat Clean Neck SC Chords/audio/1-E1-Major 05.wav",
            "dataset1/Ibanez Power Strat Clean Bridge HU Chords/audio/1-E1-Major 05.wav",
        },
        {
            f"dataset2/audio/{g}_Lick1_{how}.wav"
            for g in ("AR", "FS", "LP")
            for how in ("FN", "KBSH")
        },
        {f"dataset2/audio/FS_G_slide_{take}.wav" for take in (1, 2)},
        {f"dataset3/audio/pathetique_{voices}.wav" for voices in ("mono", "poly")},
        takes_of_piece("metal", "metal_1"),
        takes_of_piece("country_folk", "country_2"),
    ],
    "egfxset": [
        {f"Clean/{pickup}/{note}.wav" for pickup in EGFXSET_PICKUPS} for note in ("1-0", "6-22")
    ],
    "guitarset": [
        {
            f"audio_mono-{signal}/00_{sheet}_{part}_{signal}.wav"
            for signal in ("mic", "mix")
            for sheet, part in (
                ("BN1-129-Eb", "comp"),
                ("BN1-129-Eb", "solo"),
                ("Jazz2-110-Bb", "comp"),
            )
        }
    ],
    "idmt-fx": [
        {
            "Gitarre monophon/Samples/NoFX/G61-40100-1111-20593.wav",
            "Gitarre monophon/Samples/NoFX/G62-40100-1111-20671.wav",
            "Gitarre monophon2/Samples/NoFX/G81-40100-1111-30593.wav",
        },
        {
            "Gitarre polyphon/Samples/NoFX/P64-43110-1111-41185.wav",
            "Gitarre polyphon2/Samples/NoFX/P94-43110-1111-51185.wav",
        },
    ],
    "rossi": [],
    "guitarjam": [],
}
"""Sets of recordings that hold one performance, or one thing played again."""

N_GROUPS = {"folder": 6, "idmt": 13, "egfxset": 4, "guitarset": 3, "idmt-fx": 5}
N_GROUPS |= {"rossi": 6, "guitarjam": 4}


@pytest.fixture(scope="module")
def scans(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Scan]:
    """Every source, with every optional part."""
    found = {}
    for name, make in TREES.items():
        tree = make(tmp_path_factory.mktemp("leaks") / name)
        include = ("acoustic",) if name == "idmt" else ()
        found[name] = open_source(f"{name}:{tree}", include=include).scan()
    return found


@pytest.mark.parametrize("name", TREES)
def test_what_was_played_once_is_one_group(name: str, scans: dict[str, Scan]) -> None:
    group = {item.item_id: item.group for item in scans[name].items}
    for same in SAME[name]:
        assert same <= set(group), sorted(same - set(group))
        assert len({group[item_id] for item_id in same}) == 1, same
    for one, other in combinations(SAME[name], 2):
        assert group[min(one)] != group[min(other)]
    assert len(set(group.values())) == N_GROUPS[name]


@pytest.mark.parametrize("name", TREES)
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_no_performance_is_on_two_sides(name: str, seed: int, scans: dict[str, Scan]) -> None:
    items = scans[name].items
    splits = assign_splits([item.group for item in items], seed=seed)
    side = {item.item_id: splits[item.group] for item in items}
    assert set(side.values()) == {"train", "valid", "test"}
    for same in SAME[name]:
        assert len({side[item_id] for item_id in same}) == 1, same


# Optional parts


@pytest.fixture(scope="module")
def idmt(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return TREES["idmt"](tmp_path_factory.mktemp("data") / "idmt")


def test_acoustic_recordings_are_out_unless_asked_for(idmt: Path) -> None:
    electric = open_source(f"idmt:{idmt}").scan()
    both = open_source(f"idmt:{idmt}", include=["acoustic", "acoustic"]).scan()
    added = {item.item_id for item in both.items} - {item.item_id for item in electric.items}
    assert len(added) == 8
    assert all("acoustic_" in item_id for item_id in added)
    assert both.digest != electric.digest
    signals = {
        item.item_id.split("/")[1]: item.meta for item in both.items if item.item_id in added
    }
    assert signals["acoustic_mic"]["signal"] == "microphone"
    assert signals["acoustic_pickup"]["signal"] == "pickup"
    assert {meta["guitar"] for meta in signals.values()} == {"acoustic"}


def test_an_unknown_part_names_the_known_ones(idmt: Path) -> None:
    with pytest.raises(SourceError, match=r"idmt: .*'akustic'.*did you mean 'acoustic'"):
        open_source(f"idmt:{idmt}", include=["akustic"])


@pytest.mark.parametrize("name", sorted(set(TREES) - {"idmt"} | {"synth"}))
def test_most_sources_have_no_parts(name: str, tmp_path: Path) -> None:
    path = f":{tmp_path}" if name == "folder" else ""
    with pytest.raises(SourceError, match=f"{name}.* has no optional parts.*'acoustic'"):
        open_source(f"{name}{path}", data_dir=tmp_path, include=["acoustic"])


def test_a_manifest_of_ones_own_may_have_parts(tmp_path: Path) -> None:
    TREES["guitarjam"](tmp_path / "mine")
    manifest = """{"name": "mine", "title": "Mine", "files": [], "by_hand": "ask",
        "licence": {"id": "CC0-1.0", "terms": "Free.", "shareable": true},
        "dry": {"include": ["*jam [01].wav"], "optional": {"late": ["*jam [23].wav"]}},
        "split_group": {"how": "Each by itself."}}"""
    (tmp_path / "mine.json").write_text(manifest)
    name = str(tmp_path / "mine.json")
    assert len(open_source(name).scan().items) == 2
    assert len(open_source(name, include=["late"]).scan().items) == 4
    with pytest.raises(SourceError, match="known: late"):
        open_source(name, include=["early"])
    for path in (tmp_path / "mine").rglob("*jam [01].wav"):
        path.unlink()
    assert len(open_source(name, include=["late"]).scan().items) == 2  # nothing but that part


def test_sources_counts_a_part_when_it_is_asked_for(idmt: Path) -> None:
    words = ["sources", f"idmt:{idmt}", "--json"]
    plain = json.loads(CliRunner().invoke(cli, words).stdout)
    more = json.loads(CliRunner().invoke(cli, [*words, "--include", "acoustic"]).stdout)
    assert more["recordings"]["count"] - plain["recordings"]["count"] == 8
    assert more["recordings"]["groups"] == plain["recordings"]["groups"]
    assert not plain["optional"]["acoustic"]["included"]
    assert more["optional"]["acoustic"]["included"]


def test_render_refuses_an_unknown_part_in_one_line(idmt: Path, tmp_path: Path) -> None:
    words = ["render", "--dataset", f"idmt:{idmt}", "--include", "akustic", "--dry-run"]
    result = CliRunner().invoke(cli, [*words, "-o", str(tmp_path / "r")])
    assert isinstance(result.exception, SourceError)
    assert "known: acoustic" in str(result.exception)
    words[4] = "acoustic"
    assert CliRunner().invoke(cli, [*words, "-o", str(tmp_path / "r")]).exit_code == 0
