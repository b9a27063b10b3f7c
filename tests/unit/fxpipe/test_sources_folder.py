"""A folder of anyone's recordings, and data sets read by their manifest alone."""

from __future__ import annotations

import errno
import os
import unicodedata
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fixtures.datasets import make_folder, pluck, write_wav
from fixtures.errors import one_line
from fxpipe.errors import DataMissingError, SourceError
from fxpipe.sources import Scan, open_source
from fxpipe.sources.base import LICENCES
from fxpipe.sources.folder import FolderSource, group_by_name
from fxpipe.sources.scan import Candidate, scan_files


@pytest.mark.parametrize(
    ("name", "group"),
    [
        ("riff.wav", "riff"),
        ("notes/e2_mf_rr1.flac", "notes/e2"),
        ("notes/e2_p_rr12.flac", "notes/e2"),
        ("ord_twang_c4_f_rr2.flac", "ord_twang_c4"),
        ("solo_take3.wav", "solo"),
        ("solo take-3.wav", "solo"),
        ("solo_take_3_mf.wav", "solo"),
        ("song-ff.wav", "song"),
        ("note_0.wav", "note_0"),  # a bare number may be another note
        ("chord_F.wav", "chord_F"),  # a capital is a pitch, not forte
        ("f.wav", "f"),
        ("take1.wav", "take1"),
        ("a/b.c/riff.v2_rr1.wav", "a/b.c/riff.v2"),
    ],
)
def test_takes_of_one_thing_are_one_group(name: str, group: str) -> None:
    assert group_by_name(name) == group


def test_takes_whose_names_differ_by_capitals_are_one_group(tmp_path: Path) -> None:
    for seed, name in enumerate(("Verse_take1", "bridge part_mf", "verse_take2", "other")):
        write_wav(tmp_path / f"{name}.wav", pluck(50, 0.3, seed=seed))
    groups = [item.group for item in FolderSource(tmp_path).scan().items]
    assert groups == ["Verse", "bridge part", "other", "Verse"]


def test_without_papers_the_licence_is_unknown_and_not_shareable(tmp_path: Path) -> None:
    scan = open_source(f"folder:{make_folder(tmp_path, n_groups=2)}").scan()
    assert {item.licence for item in scan.items} == {"unknown"}
    assert not scan.licences["unknown"].shareable
    assert {item.group for item in scan.items} == {"riff0", "riff1"}


@pytest.mark.parametrize(
    ("text", "licence"),
    [
        ("CC-BY-4.0\n", "CC-BY-4.0"),
        ("All recordings: CC0-1.0.", "CC0-1.0"),
        ("CC-BY-NC-ND-4.0", "CC-BY-NC-ND-4.0"),
        ("Do as you please.", "unknown"),
        ("CC-BY-4.0 or CC0-1.0", "unknown"),
    ],
)
def test_a_licence_file_covers_the_folder(text: str, licence: str, tmp_path: Path) -> None:
    make_folder(tmp_path, n_groups=1)
    (tmp_path / "LICENCE.txt").write_text(text)
    scan = FolderSource(tmp_path).scan()
    assert list(scan.licences) == [licence]


def test_manifest_and_groups_files_are_honoured(tmp_path: Path) -> None:
    make_folder(tmp_path, n_groups=3, n_takes=1)
    (tmp_path / "LICENSE.txt").write_text("CC0-1.0")
    (tmp_path / "manifest.csv").write_text(
        "file,licence,group,player,lead_in_s\n"
        "./riff0_mf_rr1.wav,CC-BY-NC-4.0,anna,Anna,1.0\n"
        "riff1_mf_rr1.wav,,bert,,\n"
        ",,,,\n",  # as spreadsheets leave them
        encoding="utf-8-sig",
    )
    (tmp_path / "groups.csv").write_text("file,group\nriff1_mf_rr1.wav,clara\n")
    scan = FolderSource(tmp_path).scan()
    found = {item.item_id: (item.licence, item.group) for item in scan.items}
    assert found == {
        "riff0_mf_rr1.wav": ("CC-BY-NC-4.0", "anna"),
        "riff1_mf_rr1.wav": ("CC0-1.0", "clara"),
        "riff2_mf_rr1.wav": ("CC0-1.0", "riff2"),
    }
    assert scan.licences["CC0-1.0"].shareable
    assert not scan.licences["CC-BY-NC-4.0"].shareable
    assert scan.items[0].meta["player"] == "Anna"
    assert "lead_in_s" not in scan.items[0].meta


@pytest.mark.parametrize(
    ("column", "meant"),
    [("license", "licence"), ("Licence", "licence"), ("Group", "group"), ("groups", "group")],
)
def test_a_column_that_is_nearly_one_of_ours_is_no_remark(
    column: str, meant: str, tmp_path: Path
) -> None:
    make_folder(tmp_path, n_groups=1)
    (tmp_path / "manifest.csv").write_text(f"file,{column}\nriff0_mf_rr1.wav,CC0-1.0\n")
    with pytest.raises(SourceError, match=f"did you mean {meant!r}") as error:
        FolderSource(tmp_path).scan()
    assert repr(column) in one_line(error)
    (tmp_path / "manifest.csv").write_text(f"file,{meant},{column}\nriff0_mf_rr1.wav,CC0-1.0,x\n")
    assert FolderSource(tmp_path).scan().items


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (
            "file,group\nriff9.wav,a\n",
            r"groups\.csv: 1 line\(s\) name no audio file there: 'riff9\.wav';",
        ),
        (
            "file,group\n./riff0_mf_rr1.wav,a\nriff0_mf_rr1.wav,b\n",
            r"groups\.csv: 'riff0_mf_rr1\.wav' stands there twice, with different words",
        ),
        ("path;group\n", "no column 'file'"),
        ("", "no column 'file'"),
        ("file,group\n\xff", "not a UTF-8 CSV"),
    ],
)
def test_a_wrong_groups_file_is_an_error(text: str, words: str, tmp_path: Path) -> None:
    make_folder(tmp_path, n_groups=1)
    (tmp_path / "groups.csv").write_bytes(text.encode("latin-1"))
    with pytest.raises(SourceError, match=words):
        FolderSource(tmp_path).scan()


def test_a_line_that_stands_there_twice_says_nothing_new(tmp_path: Path) -> None:
    make_folder(tmp_path, n_groups=1)
    line = "riff0_mf_rr1.wav,a\n"
    (tmp_path / "groups.csv").write_text(f"file,group\n{line}./{line}")
    groups = {item.item_id: item.group for item in FolderSource(tmp_path).scan().items}
    assert groups["riff0_mf_rr1.wav"] == "a"


def test_rows_that_match_no_file_are_an_error(tmp_path: Path) -> None:
    make_folder(tmp_path, n_groups=1)
    rows = "".join(f"gone{k}.wav,CC0-1.0,g\n" for k in range(5))
    (tmp_path / "manifest.csv").write_text("file,licence,group\n" + rows)
    with pytest.raises(SourceError) as caught:
        FolderSource(tmp_path).scan()
    assert str(caught.value) == (
        f"{tmp_path / 'manifest.csv'}: 5 line(s) name no audio file there: 'gone0.wav', "
        f"'gone1.wav', 'gone2.wav', …; write paths relative to {tmp_path}, or take these lines out"
    )


@pytest.mark.parametrize(("of_file", "of_table"), [("NFC", "NFD"), ("NFD", "NFC")])
def test_a_table_may_spell_umlauts_otherwise(of_file: str, of_table: str, tmp_path: Path) -> None:
    rows = ["file,licence,group"]
    for k in range(8):
        name = f"grün{k}.wav"
        write_wav(tmp_path / unicodedata.normalize(of_file, name), pluck(40 + k, 0.8))
        rows.append(unicodedata.normalize(of_table, f"{name},CC0-1.0,stück{k // 2}"))
    (tmp_path / "manifest.csv").write_text("\n".join(rows), encoding="utf-8")
    items = FolderSource(tmp_path).scan().items
    assert {item.licence for item in items} == {"CC0-1.0"}
    assert {item.group for item in items} == {
        unicodedata.normalize("NFC", f"stück{k}") for k in range(4)
    }


def test_of_two_names_that_differ_in_bytes_alone_one_is_left_out_and_told(tmp_path: Path) -> None:
    for form, pitch in (("NFC", 40), ("NFD", 47)):
        write_wav(tmp_path / unicodedata.normalize(form, "grün.wav"), pluck(pitch, 0.8))
    scan = FolderSource(tmp_path).scan()
    assert [item.item_id for item in scan.items] == ["grün.wav"]
    (left_out,) = scan.skipped
    assert left_out.item_id == "grün.wav"
    assert "accents in other bytes: rename it" in left_out.reason


def test_a_folder_must_be_named_and_be_there(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="type folder:PATH"):
        open_source("folder")
    with pytest.raises(DataMissingError, match="is not there"):
        open_source(f"folder:{tmp_path / 'nowhere'}")
    (tmp_path / "a.wav").write_bytes(b"")
    with pytest.raises(DataMissingError, match="a file, not a folder"):
        open_source(f"folder:{tmp_path / 'a.wav'}")


def test_a_relative_folder_gives_absolute_places(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_folder(tmp_path / "mine", n_groups=1)
    monkeypatch.chdir(tmp_path)
    items = FolderSource(Path("mine")).scan().items
    assert all(Path(item.uri).is_absolute() for item in items)
    assert items[0].item_id == "riff0_mf_rr1.wav"


def test_a_wav_that_was_cut_short_is_left_out_and_named(tmp_path: Path) -> None:
    for name in ("whole", "cut", "unknown", "miscounted"):
        write_wav(tmp_path / f"{name}.wav", pluck(45 + len(name), 1.0))
    data = (tmp_path / "cut.wav").read_bytes()
    (tmp_path / "cut.wav").write_bytes(data[: len(data) // 2])
    for name, size in (("unknown", 2**32 - 1), ("miscounted", 36 + 100 + 2 * 44_100)):
        data = bytearray((tmp_path / f"{name}.wav").read_bytes())
        data[4:8] = size.to_bytes(4, "little")
        (tmp_path / f"{name}.wav").write_bytes(data)
    scan = FolderSource(tmp_path).scan()
    assert {item.item_id for item in scan.items} == {"whole.wav", "unknown.wav", "miscounted.wav"}
    (skipped,) = scan.skipped
    assert skipped.item_id == "cut.wav"
    assert "cut short: 44122 bytes of it are missing" in skipped.reason


def scan_of(path: Path, **told: Any) -> Scan:
    facts = {"item_id": "a", "group": "a", "licence": "MIT"} | told
    return scan_files("own", [Candidate(path, **facts)], licences=LICENCES, where="here")


@pytest.mark.parametrize(
    "other",
    [{"item_id": "b"}, {"group": "b"}, {"licence": "CC0-1.0"}, {"lead_in_s": 0.4}],
)
def test_the_digest_tells_of_a_recording_all_that_decides_its_clips(
    other: dict[str, Any], tmp_path: Path
) -> None:
    path = write_wav(tmp_path / "a.wav", pluck(45, 1.0))
    assert scan_of(path, meta={"player": "me"}).digest == scan_of(path).digest
    assert scan_of(path, **other).digest != scan_of(path).digest


def test_a_recording_that_is_all_lead_in_is_left_out(tmp_path: Path) -> None:
    path = write_wav(tmp_path / "a.wav", np.full(44_100, 0.3, np.float32))
    (item,) = scan_of(path, lead_in_s=0.85).items
    assert item.sounding == ((0.85, 1.0),)
    with pytest.raises(SourceError, match=r"a: nothing after its 0\.9 s lead-in"):
        scan_of(path, lead_in_s=0.92)


def test_what_a_phone_wrote_is_listed_and_not_passed_over(tmp_path: Path) -> None:
    make_folder(tmp_path, n_groups=1, n_takes=1)
    (tmp_path / "riff.m4a").write_bytes(b"ftypM4A ")
    (skipped,) = FolderSource(tmp_path).scan().skipped
    assert skipped.item_id == "riff.m4a"
    assert skipped.reason.endswith("Save it as WAV or FLAC")


def test_no_column_of_a_table_passes_for_what_a_render_writes_itself(tmp_path: Path) -> None:
    """Records would tell of a phrase that nobody played, and of another start."""
    make_folder(tmp_path, n_groups=3, n_takes=1)
    (tmp_path / "manifest.csv").write_text(
        "file,phrase,performance,start_s,mood\nriff0_mf_rr1.wav,first,live,9,blue\n"
    )
    meta = FolderSource(tmp_path).scan().items[0].meta
    assert meta["mood"] == "blue"
    assert not {"phrase", "performance", "start_s"} & set(meta)


def test_spaces_around_the_names_of_columns_are_as_those_around_words(tmp_path: Path) -> None:
    make_folder(tmp_path, n_groups=1, n_takes=1)
    (tmp_path / "manifest.csv").write_text("file, licence, mood\nriff0_mf_rr1.wav, CC0-1.0, blue\n")
    (item,) = FolderSource(tmp_path).scan().items
    assert (item.licence, item.meta["mood"]) == ("CC0-1.0", "blue")


def test_a_folder_that_cannot_be_listed_is_not_taken_for_empty(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A share that is away for a moment would leave a data set of fewer recordings."""
    make_folder(tmp_path, n_groups=1)
    make_folder(tmp_path / "inside", n_groups=2)
    plain, away = os.scandir, [(tmp_path / "inside", errno.EIO)]

    def scandir(path: str) -> Any:
        for folder, number in away:
            if Path(path) == folder:
                raise OSError(number, os.strerror(number), str(path))
        return plain(path)

    monkeypatch.setattr("os.scandir", scandir)
    with pytest.raises(SourceError, match=r"inside: cannot be listed \(Input/output error\)"):
        FolderSource(tmp_path).scan()
    away[0] = (tmp_path / "inside", errno.EACCES)  # as lost+found is, of an empty disk
    assert len(FolderSource(tmp_path).scan().items) == 2
    away[0] = (tmp_path, errno.EACCES)
    with pytest.raises(SourceError, match=r"cannot be listed \(Permission denied\)"):
        FolderSource(tmp_path).scan()
