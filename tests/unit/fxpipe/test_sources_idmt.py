"""IDMT-SMT-Guitar in its true layout, quirks included."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from fixtures.datasets import make_idmt
from fxpipe.sources import Item, Scan, open_source, pick_start, read_clip
from fxpipe.sources.base import Skipped
from fxpipe.sources.idmt import Placed, place

RATE_HZ = 44100


@pytest.fixture(scope="module")
def scan(tmp_path_factory: pytest.TempPathFactory) -> Scan:
    root = tmp_path_factory.mktemp("data")
    make_idmt(root / "idmt")
    return open_source("idmt", data_dir=root).scan()


def item(scan: Scan, ending: str) -> Item:
    return next(entry for entry in scan.items if entry.item_id.endswith(ending))


def groups_of(scan: Scan, words: str) -> set[str]:
    return {entry.group for entry in scan.items if words in entry.item_id}


def test_only_the_electric_guitars_of_the_four_parts(scan: Scan) -> None:
    ids = [entry.item_id for entry in scan.items]
    assert {item_id.split("/")[0] for item_id in ids} == {f"dataset{k}" for k in (1, 2, 3, 4)}
    assert not any("acoustic" in item_id or "audio16bit" in item_id for item_id in ids)
    assert ids == sorted(ids)
    assert sum(item_id.startswith("dataset4") for item_id in ids) == 8


def test_nothing_from_it_may_be_shared(scan: Scan) -> None:
    assert list(scan.licences) == ["CC-BY-NC-ND-4.0"]
    assert not scan.licences["CC-BY-NC-ND-4.0"].shareable


@pytest.mark.parametrize("place_of_top", [".", "IDMT-SMT-GUITAR_V2"])
def test_found_from_its_top_folder_or_the_one_above(place_of_top: str, tmp_path: Path) -> None:
    make_idmt(tmp_path)
    source = open_source(f"idmt:{tmp_path / place_of_top}")
    assert source.scan().items[0].item_id.startswith("dataset1/")


def test_one_note_is_one_group_on_every_guitar(scan: Scan) -> None:
    assert groups_of(scan, "-40100-1111") == {"dataset1/40-1-00"}
    assert len([e for e in scan.items if e.group == "dataset1/40-1-00"]) == 2


def test_one_chord_is_one_group_and_each_fret_another(scan: Scan) -> None:
    assert groups_of(scan, "E1-Major 00") == {"dataset1/1-E1-Major 00"}
    assert groups_of(scan, "E1-Major 05") == {"dataset1/1-E1-Major 05"}


def test_one_lick_is_one_group_in_every_technique(scan: Scan) -> None:
    assert groups_of(scan, "_Lick1_") == {"dataset2/Lick1"}
    assert groups_of(scan, "_Lick11_") == {"dataset2/Lick11"}
    assert groups_of(scan, "E_fret_0-20") == {"dataset2/E_fret_0-20"}
    assert groups_of(scan, "FS_G_slide_") == {"dataset2/G_slide"}


def test_the_case_of_letters_makes_no_other_group(tmp_path: Path) -> None:
    make_idmt(tmp_path)
    licks = tmp_path / "IDMT-SMT-GUITAR_V2/dataset2/audio"
    (licks / "LP_Lick1_FN.wav").rename(licks / "LP_lick1_FN.wav")
    (licks / "LP_E_fret_0-20.wav").rename(licks / "LP_e_Fret_0-20.wav")
    scan = open_source("idmt", data_dir=tmp_path).scan()
    assert groups_of(scan, "ick1_") == {"dataset2/Lick1"}
    assert groups_of(scan, "ret_0-20") == {"dataset2/E_fret_0-20"}


def test_one_piece_is_one_group_in_every_voicing_tempo_and_guitar(scan: Scan) -> None:
    assert groups_of(scan, "pathetique") == {"dataset3/pathetique"}
    assert groups_of(scan, "country_2_") == {"dataset4/country_2"}
    assert groups_of(scan, "metal_1_") == {"dataset4/metal_1"}


def test_strings_are_counted_from_the_high_e(scan: Scan) -> None:
    low, high = item(scan, "G53-40100-1111-00001.wav"), item(scan, "G53-64600-1111-00003.wav")
    assert (low.meta["string"], low.meta["fret"], low.meta["midi"]) == (6, 0, 40)
    assert (high.meta["string"], high.meta["midi"]) == (1, 64)


def test_the_headers_decide_bit_depth_and_channels(scan: Scan) -> None:
    assert item(scan, "AR_Lick1_FN.wav").meta["subtype"] == "PCM_24"
    assert item(scan, "quintfall.wav").meta["subtype"] == "PCM_16"
    assert item(scan, "pathetique_poly.wav").meta["channels"] == 2


def test_a_wet_file_is_skipped(scan: Scan) -> None:
    (entry,) = scan.skipped
    assert entry.item_id.endswith("G53-40100-1311-00009.wav")
    assert "effect type 31" in entry.reason


def test_annotations_fill_in_and_never_stop(scan: Scan) -> None:
    def annotation(ending: str) -> object:
        return item(scan, ending).meta["annotation"]

    assert annotation("FS_Lick1_KBSH.wav") == "read"
    assert item(scan, "FS_Lick1_KBSH.wav").meta["expression"] == "NO,VI"
    assert annotation("AR_Lick11_KN.wav") == "read"  # its XML has a suffix the recording lacks
    assert annotation("FS_Lick1_FN.wav") == "read"  # its root is <sv>
    assert annotation("AR_Lick1_FN.wav") == "missing"
    assert annotation("LP_Lick1_KBSH.wav") == "unreadable: ParseError"
    assert annotation("LP_Lick1_FN.wav") == "unreadable: DTDForbidden"
    assert "annotation" not in item(scan, "metal_1_200BPM.wav").meta


def test_the_count_in_is_never_heard(scan: Scan) -> None:
    entry = item(scan, "Career SG/slow/metal/audio/metal_1_200BPM.wav")
    assert entry.meta["lead_in_s"] == pytest.approx(3 * 4 * 60 / 200)
    assert entry.sounding[0][0] == pytest.approx(3.6)
    assert entry.peak == pytest.approx(0.5, abs=0.01)  # its clicks reach 0.9
    for u in (0.0, 0.5, 0.99):
        start = pick_start(entry, u, 2.0)
        assert start >= 3.6
        clip = read_clip(
            entry, start=start, n_samples=88200, run_in_samples=RATE_HZ * 4, sample_rate_hz=RATE_HZ
        )
        before = RATE_HZ * 4 - round((start - 3.6) * RATE_HZ)
        np.testing.assert_array_equal(clip[: before - 1], 0.0)
        assert np.abs(clip[RATE_HZ * 4 :]).max() > 0.01


@pytest.mark.parametrize("name", ["metal_1", "metal_1_999BPM", "metal_xBPM"])
def test_a_piece_without_a_tempo_is_skipped(name: str) -> None:
    placed = place(f"dataset4/Career SG/slow/metal/audio/{name}.wav")
    assert isinstance(placed, Skipped)
    assert "no tempo" in placed.reason


def test_a_lick_without_a_guitar_keeps_its_name() -> None:
    placed = place("dataset2/audio/XY_Lick3_FN.wav")
    assert isinstance(placed, Placed)
    assert placed.group == "dataset2/XY_Lick3_FN"


def test_a_copy_inside_the_data_set_is_skipped() -> None:
    assert isinstance(place("backup/dataset3/audio/quintfall.wav"), Skipped)
