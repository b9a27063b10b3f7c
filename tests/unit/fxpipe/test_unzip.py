"""Archives that mean harm, or are broken, write nothing outside their folder."""

from __future__ import annotations

import stat
import zipfile
from pathlib import Path

import pytest

from fxpipe.errors import DownloadError
from fxpipe.fetch import unzip as module
from fxpipe.fetch.unzip import unzip


def make_zip(path: Path, members: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w") as bundle:
        for name, data in members.items():
            bundle.writestr(name, data)
    return path


def everything(name: str) -> bool:
    return True


def files_in(folder: Path) -> list[str]:
    return sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())


def test_wanted_members_are_written_and_listed(tmp_path: Path) -> None:
    members = {"a/1.wav": b"one", "a/2.txt": b"two", "b/3.wav": b"three"}
    archive = make_zip(tmp_path / "a.zip", members)
    written = unzip(archive, tmp_path / "out", lambda name: name.endswith(".wav"))
    assert written == [tmp_path / "out/a/1.wav", tmp_path / "out/b/3.wav"]
    assert files_in(tmp_path / "out") == ["a/1.wav", "b/3.wav"]
    assert (tmp_path / "out/b/3.wav").read_bytes() == b"three"


def test_what_macos_adds_is_passed_over(tmp_path: Path) -> None:
    names = ("a/1.wav", "__MACOSX/a/._1.wav", "a/._1.wav", "a/.DS_Store")
    archive = make_zip(tmp_path / "a.zip", dict.fromkeys(names, b"x"))
    unzip(archive, tmp_path / "out", everything)
    assert files_in(tmp_path / "out") == ["a/1.wav"]


@pytest.mark.parametrize(
    "name",
    ["../out.wav", "a/../../out.wav", "/out.wav", "C:/out.wav", "C:out.wav", "..\\out.wav"],
)
def test_a_path_that_leaves_the_folder_stops_everything(name: str, tmp_path: Path) -> None:
    archive = make_zip(tmp_path / "a.zip", {"fine.wav": b"x", name: b"evil"})
    with pytest.raises(DownloadError, match="outside the folder"):
        unzip(archive, tmp_path / "deep" / "out", everything)
    assert files_in(tmp_path) == ["a.zip"]


def test_links_are_refused(tmp_path: Path) -> None:
    link = zipfile.ZipInfo("link.wav")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as bundle:
        bundle.writestr(link, "/etc/passwd")
    with pytest.raises(DownloadError, match=r"'link\.wav' is a link or a device"):
        unzip(tmp_path / "a.zip", tmp_path / "out", everything)


@pytest.mark.parametrize("pair", [("A.wav", "a.wav"), ("caf\u00e9.wav", "cafe\u0301.wav")])
def test_two_names_for_one_file_are_refused(pair: tuple[str, str], tmp_path: Path) -> None:
    archive = make_zip(tmp_path / "a.zip", dict.fromkeys(pair, b"x"))
    with pytest.raises(DownloadError, match="would be one file"):
        unzip(archive, tmp_path / "out", everything)


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_one_name_twice_is_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as bundle:
        bundle.writestr("a.wav", b"x")
        bundle.writestr("a.wav", b"y")
    with pytest.raises(DownloadError, match="would be one file"):
        unzip(tmp_path / "a.zip", tmp_path / "out", everything)


def test_a_file_that_is_also_a_folder_is_refused(tmp_path: Path) -> None:
    archive = make_zip(tmp_path / "a.zip", {"a": b"x", "a/b.wav": b"y"})
    with pytest.raises(DownloadError, match="cannot be unpacked"):
        unzip(archive, tmp_path / "out", everything)


def test_absurd_growth_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "RATIO_FROM_BYTES", 10_000)
    with zipfile.ZipFile(tmp_path / "a.zip", "w", zipfile.ZIP_DEFLATED) as bundle:
        bundle.writestr("bomb.wav", b"\0" * 1_000_000)
    with pytest.raises(DownloadError, match=r"grows from \d+ to 1000000 bytes"):
        unzip(tmp_path / "a.zip", tmp_path / "out", everything)


def test_too_many_members_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_MEMBERS", 2)
    archive = make_zip(tmp_path / "a.zip", dict.fromkeys("abc", b"x"))
    with pytest.raises(DownloadError, match="3 members"):
        unzip(archive, tmp_path / "out", everything)


def test_a_full_disk_is_known_beforehand(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    archive = make_zip(tmp_path / "a.zip", {"a.wav": b"x"})
    usage = module.shutil.disk_usage(tmp_path)._replace(free=1000)
    monkeypatch.setattr(module.shutil, "disk_usage", lambda path: usage)
    with pytest.raises(DownloadError, match=r"unpacking a\.zip needs 0\.00 GB.*make room"):
        unzip(archive, tmp_path / "out", everything)
    assert files_in(tmp_path / "out") == []


def test_damage_inside_is_found(tmp_path: Path) -> None:
    archive = make_zip(tmp_path / "a.zip", {"a.wav": b"0123456789" * 100})
    data = bytearray(archive.read_bytes())
    data[200] ^= 0xFF
    archive.write_bytes(data)
    with pytest.raises(DownloadError, match="not a sound zip archive"):
        unzip(archive, tmp_path / "out", everything)


@pytest.mark.parametrize("data", [b"", b"PK\3\4 cut", b"<html></html>"])
def test_what_is_no_archive_says_so(data: bytes, tmp_path: Path) -> None:
    (tmp_path / "a.zip").write_bytes(data)
    with pytest.raises(DownloadError, match="not a sound zip archive"):
        unzip(tmp_path / "a.zip", tmp_path / "out", everything)
