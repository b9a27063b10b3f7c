"""What every reader tells of a recording: one set of names for all data sets."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from fixtures.datasets import TREES, pluck, write_wav
from fxpipe.sources import KINDS, META, SOURCES, Scan, open_source
from fxpipe.sources.base import NUMBERS
from fxpipe.sources.folder import kind_in_words, manifest_opener
from fxpipe.sources.idmt_names import read_name


@pytest.fixture(scope="module")
def scans(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Scan]:
    roots = {name: make(tmp_path_factory.mktemp(name) / name) for name, make in TREES.items()}
    return {name: open_source(f"{name}:{root}").scan() for name, root in roots.items()}


def meta_of(scan: Scan, ending: str) -> dict[str, Any]:
    return next(item.meta for item in scan.items if item.item_id.endswith(ending))


def told(scan: Scan, ending: str) -> dict[str, Any]:
    """Less what the file itself tells."""
    facts = ("channels", "subtype", "n_bytes", "sha256")
    return {key: value for key, value in meta_of(scan, ending).items() if key not in facts}


def test_a_tree_for_every_source_with_files() -> None:
    assert set(TREES) == set(SOURCES) - {"synth"}


@pytest.mark.parametrize("name", TREES)
def test_every_key_and_kind_has_a_meaning(name: str, scans: dict[str, Scan]) -> None:
    for item in scans[name].items:
        assert set(item.meta) <= set(META), item.item_id
        assert item.meta.get("kind", "recording") in KINDS
        for key, value in item.meta.items():
            is_number = key in NUMBERS | {"channels", "n_bytes", "lead_in_s"}
            assert isinstance(value, int | float) is is_number, (item.item_id, key)


@pytest.mark.parametrize("name", sorted(set(TREES) - {"folder"}))
def test_every_recording_of_a_data_set_has_a_kind(name: str, scans: dict[str, Scan]) -> None:
    assert all("kind" in item.meta for item in scans[name].items)


def test_no_key_is_documented_in_vain(scans: dict[str, Scan]) -> None:
    used = {key for scan in scans.values() for item in scan.items for key in item.meta}
    assert set(META) == used


def test_guitarset_names(scans: dict[str, Scan]) -> None:
    assert told(scans["guitarset"], "00_BN1-129-Eb_comp_mic.wav") == {
        "kind": "phrase",
        "guitar": "acoustic",
        "signal": "microphone",
        "player": "00",
        "style": "bossa nova",
        "progression": 1,
        "tempo_bpm": 129,
        "key": "Eb",
        "part": "comp",
    }
    mix = meta_of(scans["guitarset"], "05_Funk1-97-C#_comp_mix.wav")
    assert (mix["signal"], mix["style"], mix["key"]) == ("pickup", "funk", "C#")
    assert [entry.item_id for entry in scans["guitarset"].skipped] == [
        "audio_mono-mic/tuning_mic.wav"
    ]
    assert len(scans["guitarset"].items) == 12  # neither the strings apart nor the tuning


def test_idmt_fx_names(scans: dict[str, Scan]) -> None:
    scan = scans["idmt-fx"]
    assert told(scan, "G73-64600-1111-21000.wav") == {
        "kind": "note",
        "guitar": "Schecter Diamond C-1 Classic",
        "pickup": "setting 2",
        "technique": "picked",
        "midi": 64,
        "string": 1,
        "fret": 0,
    }
    assert told(scan, "P64-43110-1111-41185.wav") == {
        "kind": "double stop",
        "guitar": "Schecter Diamond C-1 Classic",
        "pickup": "setting 1",
        "technique": "picked",
        "root_midi": 43,
        "chord": "minor third",
    }
    chord = meta_of(scan, "P65-43240-1111-41217.wav")
    assert (chord["kind"], chord["chord"]) == ("chord", "power chord")
    loud = meta_of(scan, "G62-40100-1111-20671.wav")
    assert loud["technique"] == "finger-style, loud"
    (amplified,) = scan.skipped
    assert "effect type 12" in amplified.reason
    assert len(scan.items) == 8


def test_rossi_names(scans: dict[str, Scan]) -> None:
    scan = scans["rossi"]
    assert told(scan, "tele_nf25.wav") == {
        "kind": "phrase",
        "guitar": "Telecaster",
        "pickup": "neck",
        "technique": "finger-style",
    }
    assert meta_of(scan, "strat_bp1.wav")["technique"] == "picked"
    assert told(scan, "extra.wav") == {"kind": "phrase"}


def test_guitarjam_is_one_guitar_recorded_directly(scans: dict[str, Scan]) -> None:
    assert told(scans["guitarjam"], "jam 0.wav") == {
        "kind": "phrase",
        "guitar": "Stratocaster",
        "signal": "direct",
    }


def test_names_that_tell_nothing_need_no_reader(tmp_path: Path) -> None:
    """As docs/add-a-data-set.md and data_manifests/README.md say."""
    root = TREES["guitarjam"](tmp_path / "guitarjam")
    scan = manifest_opener("guitarjam")(str(root), None, ()).scan()
    assert len(scan.items) == 4
    assert told(scan, "jam 0.wav") == {}


def test_egfxset_notes(scans: dict[str, Scan]) -> None:
    assert told(scans["egfxset"], "Bridge-Middle/3-12.wav") == {
        "kind": "note",
        "guitar": "Stratocaster",
        "pickup": "Bridge-Middle",
        "string": 3,
        "fret": 12,
        "midi": 67,
    }


def test_idmt_of_all_four_parts(scans: dict[str, Scan]) -> None:
    scan = scans["idmt"]
    note = meta_of(scan, "Bridge HU/audio/G63-52302-1111-00002.wav")
    assert note["kind"] == "note"
    assert (note["guitar"], note["pickup"]) == ("Ibanez Power Strat", "Bridge HU")
    assert (note["midi"], note["string"], note["fret"]) == (52, 4, 2)
    assert note["technique"] == "picked"
    assert told(scan, "Neck SC Chords/audio/1-E1-Major 05.wav") == {
        "kind": "chord",
        "guitar": "Fender Strat",
        "pickup": "Neck SC",
        "chord": "E Major",
        "fret": 5,
        "annotation": "missing",
    }
    lick = meta_of(scan, "FS_Lick1_KBSH.wav")
    assert (lick["kind"], lick["lick"], lick["technique"]) == ("lick", "Lick1", "picked")
    assert (lick["n_notes"], lick["lowest_midi"], lick["highest_midi"]) == (3, 50, 53)
    assert (lick["player"], lick["pickup"]) == ("A. Player", "neck")
    scale = meta_of(scan, "LP_E_fret_0-20.wav")
    assert (scale["kind"], scale["exercise"]) == ("scale", "E_fret_0-20")
    assert scale["guitar"] == "Gibson Les Paul"
    slide = meta_of(scan, "FS_G_slide_2.wav")
    assert (slide["kind"], slide["exercise"]) == ("technique", "G_slide")
    mono, poly = meta_of(scan, "pathetique_mono.wav"), meta_of(scan, "pathetique_poly.wav")
    assert mono["kind"] == poly["kind"] == "piece"
    assert mono["piece"] == poly["piece"] == "pathetique"
    piece = meta_of(scan, "Ibanez 2820/fast/country_folk/audio/country_2_300BPM.wav")
    assert piece["kind"] == "piece"
    assert piece["piece"] == "country_2"
    assert (piece["style"], piece["pace"], piece["tempo_bpm"]) == ("country_folk", "fast", 300)


def test_unknown_in_an_annotation_is_not_told(scans: dict[str, Scan]) -> None:
    assert "pickup" not in meta_of(scans["idmt"], "AR_E_fret_0-20.wav")


@pytest.mark.parametrize(
    "name", ["riff", "G5-40100-1111-1", "G53-401000-1111-1", "g53-40100-1111-1"]
)
def test_a_name_that_is_no_code(name: str) -> None:
    assert read_name(name) is None


def test_a_chord_of_a_type_nobody_explains_is_a_chord() -> None:
    found = read_name("P65-43990-1111-1")
    assert found is not None
    assert found.meta == {"kind": "chord", "root_midi": 43, "technique": "picked"}


# A folder of one's own


def test_a_folder_knows_a_note_by_its_name_and_not_its_pitch(scans: dict[str, Scan]) -> None:
    assert told(scans["folder"], "e2_mf_rr1.wav") == {"kind": "note", "dynamic": "mf"}
    assert told(scans["folder"], "riff_mic.wav") == {}


def test_the_words_of_a_manifest_become_ours(tmp_path: Path) -> None:
    write_wav(tmp_path / "a_mf_rr1.wav", pluck(50, 0.5))
    (tmp_path / "manifest.csv").write_text(
        "file,kind,string,fret,midi,tempo_bpm,guitar,mood\n"
        "a_mf_rr1.wav,Single_Notes,2,3.0,high,90.5,SG,blue\n"
    )
    (item,) = open_source(f"folder:{tmp_path}").scan().items
    meta = item.meta
    assert (meta["kind"], meta["string"], meta["fret"]) == ("note", 2, 3)
    assert (meta["tempo_bpm"], meta["midi"]) == (90.5, "high")
    assert (meta["guitar"], meta["mood"]) == ("SG", "blue")


@pytest.mark.parametrize(
    ("words", "kind"),
    [
        ("note", "note"),
        ("single_note", "note"),
        ("Double-Stops", "double stop"),
        ("sequenced_phrase", "phrase"),
        ("licks", "lick"),
        ("arpeggio", "arpeggio"),
        ("keynote", "keynote"),
        ("nan", "nan"),
    ],
)
def test_kinds_in_other_words(words: str, kind: str) -> None:
    assert kind_in_words(words) == kind
