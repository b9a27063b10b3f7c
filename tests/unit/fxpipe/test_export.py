"""Plain tars for other tools: whole, deterministic, and refused where the licence forbids it."""

from __future__ import annotations

import dataclasses
import io
import json
import os
import shutil
import tarfile
from pathlib import Path

import numpy as np
import pytest

from fixtures.shards import make_shards
from fxpipe.errors import ExportError
from fxpipe.export import export, is_exported, licence_text
from fxpipe.verbs import export_command
from fxtrain.contract import Licence, LocalFolder, UsageError, read_index, write_index
from fxtrain.data import open_shards


def close(path: Path) -> None:
    """Give a shards directory a licence that forbids sharing."""
    folder = LocalFolder(path)
    index = read_index(folder)
    closed = {"CC-BY-NC-ND-4.0": Licence("CC BY-NC-ND 4.0", "https://example.org", False)}
    recipe = index.recipe | {"source": "idmt"}
    write_index(folder, dataclasses.replace(index, licences=closed, shareable=False, recipe=recipe))


@pytest.fixture
def shards(tmp_path: Path) -> Path:
    path = tmp_path / "shards"
    make_shards(path, n_train=30, n_valid=3, n_test=3, with_mel=True)
    return path


def run(shards: Path, out: Path, *, private: bool = False) -> tuple[str, ...]:
    return export(str(shards), LocalFolder(out), private=private, on_sample=lambda n: None)


def test_every_sample_is_there_with_its_label(shards: Path, tmp_path: Path) -> None:
    names = run(shards, tmp_path / "out")
    assert names == ("train-000000.tar", "valid-000000.tar", "test-000000.tar")
    block = open_shards(shards).load("train")
    with tarfile.open(tmp_path / "out" / names[0]) as tar:
        found = {member.name: tar.extractfile(member).read() for member in tar}
    assert len(found) == 3 * 30
    for row, record in enumerate(block.records):
        key = record["id"]
        np.testing.assert_array_equal(
            np.load(io.BytesIO(found[f"{key}.codes.npy"])), block.codes[row]
        )
        np.testing.assert_array_equal(np.load(io.BytesIO(found[f"{key}.mel.npy"])), block.mel[row])
        assert json.loads(found[f"{key}.json"]) == record


def test_samples_are_shared_out_over_tars_in_their_order(
    shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fxpipe.export.SAMPLES_A_TAR", 10)
    names = run(shards, tmp_path / "out")
    split_of = [name.partition("-")[0] for name in names]
    assert split_of == ["train", "train", "train", "valid", "test"]
    found = []
    for name in names[:3]:
        with tarfile.open(tmp_path / "out" / name) as tar:
            found.append([n.partition(".")[0] for n in tar.getnames() if n.endswith(".json")])
    assert [len(ids) for ids in found] == [10, 10, 10]
    records = open_shards(shards).load("train").records
    assert [key for ids in found for key in ids] == [record["id"] for record in records]
    assert is_exported(LocalFolder(tmp_path / "out"), read_index(LocalFolder(shards)))


def test_there_is_no_index_while_a_tar_is_missing(
    shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = run(shards, tmp_path / "out")
    (tmp_path / "out" / names[1]).unlink()

    def full(self: LocalFolder, name: str, data: bytes) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(LocalFolder, "write", full)
    with pytest.raises(OSError, match="No space"):
        run(shards, tmp_path / "out")
    assert not (tmp_path / "out" / "index.json").exists()


@pytest.mark.parametrize("lie", ["shareable", "licence"])
def test_either_of_two_that_forbid_it_is_enough(shards: Path, tmp_path: Path, lie: str) -> None:
    folder = LocalFolder(shards)
    index = read_index(folder)
    closed = {"own": Licence("own", "", False)}
    changes = {"shareable": {"shareable": False}, "licence": {"licences": closed}}[lie]
    write_index(folder, dataclasses.replace(index, **changes))
    with pytest.raises(ExportError, match="may not be passed on"):
        run(shards, tmp_path / "out")


def test_a_set_that_is_all_test_is_exported(tmp_path: Path) -> None:
    make_shards(tmp_path / "shards", n_train=0, n_valid=0, n_test=3)
    assert run(tmp_path / "shards", tmp_path / "out") == ("test-000000.tar",)
    assert is_exported(LocalFolder(tmp_path / "out"), read_index(LocalFolder(tmp_path / "shards")))


# webdataset leaves the tar open
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_webdataset_itself_reads_it(shards: Path, tmp_path: Path) -> None:
    import webdataset

    run(shards, tmp_path / "out")
    url = str(tmp_path / "out" / "train-000000.tar")
    samples = list(webdataset.WebDataset(url, shardshuffle=False).decode())
    assert len(samples) == 30
    assert samples[0]["codes.npy"].dtype == np.uint16


def test_log_mel_alone_is_exported_without_codes(tmp_path: Path) -> None:
    make_shards(tmp_path / "shards", n_train=0, n_valid=0, n_test=3, mel_only=True)
    run(tmp_path / "shards", tmp_path / "out")
    with tarfile.open(tmp_path / "out" / "test-000000.tar") as tar:
        kinds = {name.partition(".")[2] for name in tar.getnames()}
    assert kinds == {"mel.npy", "json"}


def test_the_same_bytes_each_time(shards: Path, tmp_path: Path) -> None:
    for out in ("a", "b"):
        run(shards, tmp_path / out)
    for file in (tmp_path / "a").iterdir():
        assert file.read_bytes() == (tmp_path / "b" / file.name).read_bytes()


def test_what_may_not_be_shared_is_refused(shards: Path, tmp_path: Path) -> None:
    close(shards)
    with pytest.raises(ExportError, match=r"idmt \(CC BY-NC-ND 4.0\).*--private"):
        run(shards, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    run(shards, tmp_path / "out", private=True)
    text = (tmp_path / "out" / "LICENCE.txt").read_text()
    assert "NOT to be shared" in text
    assert "Kehling" in text


def test_an_open_licence_says_so(shards: Path) -> None:
    text = licence_text(read_index(LocalFolder(shards)))
    assert "CC0-1.0" in text
    assert "May be shared" in text


def test_nothing_is_written_over(shards: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine.txt").write_text("keep")
    with pytest.raises(UsageError, match="not empty"):
        run(shards, tmp_path / "out")


def test_an_interrupted_export_is_gone_on_with(shards: Path, tmp_path: Path) -> None:
    names = run(shards, tmp_path / "whole")
    out = tmp_path / "out"
    out.mkdir()
    shutil.copy(tmp_path / "whole" / names[0], out)
    half = out / f"{names[1]}.77@another-machine.part"
    half.write_bytes(b"half")
    os.utime(half, (0, 0))
    kept = (out / names[0]).stat().st_mtime_ns
    assert run(shards, out) == names
    assert (out / names[0]).stat().st_mtime_ns == kept
    for file in (tmp_path / "whole").iterdir():
        assert file.read_bytes() == (out / file.name).read_bytes()
    assert not half.exists()


def test_a_finished_export_has_nothing_to_do(shards: Path, tmp_path: Path, capsys) -> None:
    """As render and encode say; it was refused before, for its own index.json."""
    out = str(tmp_path / "out")
    export_command(str(shards), out, private=False)
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").iterdir()}
    told = capsys.readouterr()
    (tmp_path / "out" / "notes.txt").write_text("mine")
    export_command(str(shards), f"{out}/", private=False)
    again = capsys.readouterr()
    assert again.err == f"{out}/: already exported, nothing to do\n"
    assert again.out == told.out
    assert all(path.stat().st_mtime_ns == when for path, when in before.items())


def test_a_tar_that_went_missing_is_written_again(shards: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    names = run(shards, out)
    whole = (out / names[0]).read_bytes()
    (out / names[0]).unlink()
    assert not is_exported(LocalFolder(out), read_index(LocalFolder(shards)))
    assert run(shards, out) == names
    assert (out / names[0]).read_bytes() == whole
    assert is_exported(LocalFolder(out), read_index(LocalFolder(shards)))


def test_a_file_of_others_beside_an_export_that_is_to_be_mended_is_refused(
    shards: Path, tmp_path: Path
) -> None:
    names = run(shards, tmp_path / "out")
    (tmp_path / "out" / names[0]).unlink()
    (tmp_path / "out" / "notes.txt").write_text("mine")
    with pytest.raises(UsageError, match=r"not empty, it holds 'notes\.txt'"):
        run(shards, tmp_path / "out")
    assert not (tmp_path / "out" / names[0]).exists()


def test_another_export_is_refused(shards: Path, tmp_path: Path) -> None:
    make_shards(tmp_path / "other", seed=1, n_train=30, n_valid=3, n_test=3, with_mel=True)
    run(shards, tmp_path / "out")
    before = (tmp_path / "out" / "index.json").read_bytes()
    with pytest.raises(UsageError, match=r"not empty, it holds 'index\.json'"):
        export_command(str(tmp_path / "other"), str(tmp_path / "out"), private=False)
    assert (tmp_path / "out" / "index.json").read_bytes() == before


def test_of_two_exports_that_begin_at_once_the_later_one_is_refused(
    shards: Path, tmp_path: Path, monkeypatch
) -> None:
    make_shards(tmp_path / "other", seed=1, n_train=30, n_valid=3, n_test=3, with_mel=True)
    out, delete = tmp_path / "out", LocalFolder.delete

    def meanwhile(folder, name):
        """What is called after the look whether it is empty."""
        monkeypatch.setattr(LocalFolder, "delete", delete)
        run(tmp_path / "other", out)
        delete(folder, name)

    monkeypatch.setattr(LocalFolder, "delete", meanwhile)
    with pytest.raises(UsageError, match=r"not empty, it holds 'train-000000\.tar'"):
        run(shards, out)
    run(tmp_path / "other", tmp_path / "alone")
    run(tmp_path / "other", out)  # goes on, and has its index again
    for path in (tmp_path / "alone").iterdir():
        assert (out / path.name).read_bytes() == path.read_bytes()


@pytest.mark.parametrize("name", ["train-000000.tar", "train-000001.tar", "test-000000.tar"])
def test_tars_of_others_are_not_written_over(shards: Path, tmp_path: Path, name: str) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / name).write_bytes(b"mine")
    with pytest.raises(UsageError, match=f"not empty, it holds '{name}'"):
        run(shards, tmp_path / "out")
    assert [path.name for path in (tmp_path / "out").iterdir()] == [name]
    assert (tmp_path / "out" / name).read_bytes() == b"mine"


def test_a_licence_of_others_is_not_written_over(shards: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out/LICENCE.txt").write_text("mine")
    with pytest.raises(UsageError, match=r"LICENCE\.txt"):
        run(shards, tmp_path / "out")


def test_the_index_comes_last(shards: Path, tmp_path: Path, monkeypatch) -> None:
    written = []
    folder = LocalFolder(tmp_path / "out")
    write = folder.write
    monkeypatch.setattr(
        folder, "write", lambda name, data: (written.append(name), write(name, data))[1]
    )
    export(str(shards), folder, private=False, on_sample=lambda n: None)
    assert written[-1] == "index.json"
    assert written[-2] == "LICENCE.txt"
