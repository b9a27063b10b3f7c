"""A disk that is full or may not be written to: one line, nothing lost, then the same bytes."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from faults.conftest import Fx, digests, remake
from fixtures.shards import make_shards


class Disk:
    """A mounted file system of four megabytes at ``path``."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._ballast = path / "ballast"

    def leave(self, n_bytes: int) -> None:
        """Fill it up to so much."""
        free = shutil.disk_usage(self.path).free
        self._ballast.write_bytes(bytes(free - n_bytes))

    def free(self) -> None:
        self._ballast.unlink()

    def remount(self, how: str) -> None:
        subprocess.run(["mount", "-o", f"remount,{how}", self.path], check=True)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    path = tmp_path / "disk"
    path.mkdir()
    if shutil.which("mount") is None:
        pytest.skip("needs Linux's mount")
    line = ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", path]
    if subprocess.run(line, capture_output=True, check=False).returncode:
        pytest.skip("needs the right to mount a small file system (root)")
    try:
        yield Disk(path)
    finally:
        subprocess.run(["umount", "-l", path], check=True)


def one_line(err: str, *words: str) -> None:
    last = err.strip().splitlines()[-1]
    assert "Traceback" not in err
    assert last.startswith(("fxpipe: error: ", "fxtrain: error: "))
    for word in words:
        assert word in last, last


def n_bytes_on_disk(folder: Path) -> int:
    """In whole pages, as the file system counts."""
    sizes = (path.stat().st_size for path in folder.rglob("*") if path.is_file())
    return sum(-(-size // 4096) * 4096 for size in sizes)


@pytest.mark.parametrize("name", ["renders", "shards", "zarr"])
def test_a_disk_that_fills_up_costs_nothing_finished(disk, whole, fx: Fx, name):
    out = disk.path / name
    line = remake(name, whole, out)
    disk.leave(n_bytes_on_disk(whole / name) - 45_000)
    done = fx(*line)
    assert done.code == 1
    one_line(done.err, f"cannot write {out}/", "No space left on device", "same command again")
    assert not (out / "index.json").exists()
    assert list(out.rglob("*.part")) == []
    kept = {path: path.stat().st_mtime_ns for path in (out / ".receipts").glob("*.json")}
    assert kept
    disk.free()
    assert fx(*line).code == 0
    assert {path: path.stat().st_mtime_ns for path in kept} == kept
    assert digests(out) == digests(whole / name)


def test_too_small_a_disk_is_said_before_the_first_clip(disk, whole, fx: Fx):
    disk.leave(100_000)
    done = fx(*remake("renders", whole, disk.path / "renders"))
    assert done.code == 1
    one_line(done.err, "0.3 MB are needed and 0.1 MB are free")
    dry = fx(*remake("renders", whole, disk.path / "renders"), "--dry-run")
    assert dry.code == 0
    assert "warning: " in dry.err
    assert "0.3 MB are needed and 0.1 MB are free" in dry.err


@pytest.mark.parametrize("name", ["renders", "shards"])
def test_a_file_system_that_is_read_only_is_one_line(disk, whole, fx: Fx, name):
    out = disk.path / name
    shutil.copytree(whole / name, out)
    (out / "index.json").unlink()
    (out / "train-000001.npy").unlink(missing_ok=True)
    (out / "train-000001.tar").unlink(missing_ok=True)
    before = digests(out)
    disk.remount("ro")
    done = fx(*remake(name, whole, out))
    assert done.code == 1
    one_line(done.err, "Read-only file system", str(out))
    assert digests(out) == before
    disk.remount("rw")
    assert fx(*remake(name, whole, out)).code == 0
    assert digests(out) == digests(whole / name)


def test_whole_data_on_a_read_only_disk_are_used_as_they_are(disk, whole, fx: Fx):
    out = disk.path / "renders"
    shutil.copytree(whole / "renders", out)
    disk.remount("ro")
    assert "nothing to do" in fx(*remake("renders", whole, out)).err
    assert fx("check", out, "--against", whole / "renders").code == 0


CONFIG = """
[model]
kind = "gru"
d_model = 32
n_layers = 1
n_heads = 2
frame_mask = 0.0

[train]
max_epochs = 2
batch_size = 16
"""


def fit(capsys: pytest.CaptureFixture[str], *words: object) -> tuple[int, str]:
    from fxtrain.cli import cli, run_cli

    code = run_cli(cli, "fxtrain", ["fit", *map(str, words), "--device", "cpu"])
    return code, capsys.readouterr().err


def test_fit_on_a_full_disk_is_one_line_and_goes_on_after(disk, tmp_path, capsys):
    make_shards(tmp_path / "shards", n_train=32, n_valid=8, n_test=8)
    (tmp_path / "c.toml").write_text(CONFIG)
    run = disk.path / "run"
    words = (tmp_path / "shards", "--config", tmp_path / "c.toml", "--output", run)
    for left in (0, 8_192, 60_000, 150_000):
        disk.leave(left)
        code, err = fit(capsys, *words, "--overwrite")
        assert code == 1, left
        one_line(err, "No space left on device")
        disk.free()
    code, err = fit(capsys, *words, "--overwrite")
    assert code == 0, err
    assert (run / "model.safetensors").exists()


def test_fit_into_a_read_only_directory_is_one_line(disk, tmp_path, capsys):
    make_shards(tmp_path / "shards", n_train=32, n_valid=8, n_test=8)
    disk.remount("ro")
    code, err = fit(capsys, tmp_path / "shards", "--output", disk.path / "run")
    assert code == 1
    one_line(err, "Read-only file system")
