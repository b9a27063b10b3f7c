"""EGFxSet's clean notes in their true layout, quirks included."""

from __future__ import annotations

from pathlib import Path

import pytest

from fixtures.datasets import EGFXSET_PICKUPS, make_egfxset, pluck, write_wav
from fxpipe.errors import DataMissingError
from fxpipe.sources import Scan, open_source, read_clip


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_egfxset(tmp_path_factory.mktemp("data") / "egfxset")


@pytest.fixture(scope="module")
def scan(root: Path) -> Scan:
    return open_source("egfxset", data_dir=root.parent).scan()


def test_every_clean_note_and_nothing_wet(scan: Scan) -> None:
    assert len(scan.items) == 4 * len(EGFXSET_PICKUPS)
    assert scan.skipped == ()
    assert all(item.item_id.startswith("Clean/") for item in scan.items)
    assert {item.sample_rate_hz for item in scan.items} == {48000}
    assert {item.meta["subtype"] for item in scan.items} == {"PCM_24"}
    assert scan.licences["CC-BY-4.0"].shareable


def test_one_note_through_five_pickups_is_one_group(scan: Scan) -> None:
    notes = [item for item in scan.items if item.group == "6-22"]
    assert {item.meta["pickup"] for item in notes} == set(EGFXSET_PICKUPS)
    assert {item.meta["midi"] for item in notes} == {62}
    assert {item.group for item in scan.items} == {"1-0", "3-12", "6-0", "6-22"}


def test_a_data_chunk_one_byte_too_long_is_read(scan: Scan) -> None:
    ragged = next(item for item in scan.items if item.item_id == "Clean/Neck/1-0.wav")
    assert ragged.n_samples == 38400
    clip = read_clip(ragged, start=0.0, n_samples=88200, run_in_samples=0, sample_rate_hz=44100)
    assert abs(clip).max() == pytest.approx(0.95, abs=0.03)
    assert not clip[36000:].any()


@pytest.mark.parametrize("inside", ["", "Clean"])
def test_found_by_its_own_folder_too(inside: str, root: Path, scan: Scan) -> None:
    assert open_source(f"egfxset:{root / inside}").scan().digest == scan.digest


@pytest.mark.parametrize("name", ["0-0", "7-0", "1-23", "riff"])
def test_a_name_that_is_no_note_is_skipped(name: str, tmp_path: Path) -> None:
    make_egfxset(tmp_path, notes=((1, 0),), pickups=("Neck",))
    write_wav(tmp_path / "Clean" / "Neck" / f"{name}.wav", pluck(50, 0.5))
    scan = open_source(f"egfxset:{tmp_path}").scan()
    assert [item.item_id for item in scan.items] == ["Clean/Neck/1-0.wav"]
    assert [entry.item_id for entry in scan.skipped] == [f"Clean/Neck/{name}.wav"]


def test_a_folder_called_clean_is_not_enough(tmp_path: Path) -> None:
    (tmp_path / "Clean").mkdir()
    with pytest.raises(DataMissingError, match="fxpipe fetch egfxset"):
        open_source("egfxset", data_dir=tmp_path)
