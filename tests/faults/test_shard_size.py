"""A shard size that zarr cannot divide into chunks: refused for new sets, finished for old ones."""

from __future__ import annotations

import pytest

from faults.conftest import Fx, digests
from fxpipe import store

PRIME = ["--codec", "embedded", "-j", "1", "--format", "zarr", "--shard-size", "257"]
REFUSED = "the nearest sizes that work are 256 and 258"


@pytest.mark.parametrize("more", [[], ["--resume"], ["--overwrite"], ["--dry-run"]])
def test_a_new_set_of_tiny_chunks_is_refused_before_any_work(tmp_path, fx: Fx, more):
    done = fx("encode", tmp_path / "none", *PRIME, "-o", tmp_path / "out", *more)
    assert done.code == 2
    assert REFUSED in done.last_line
    assert not (tmp_path / "out").exists()


def test_tars_may_have_any_size(tmp_path, whole, fx: Fx):
    line = [*PRIME, "--format", "webdataset", "--dry-run", "-o", tmp_path / "out"]
    assert fx("encode", whole / "renders", *line).code == 0


def test_a_set_that_was_made_so_before_is_finished(tmp_path, whole, fx: Fx, monkeypatch):
    out = tmp_path / "out"
    line = ["encode", whole / "renders", *PRIME, "-o", out]
    with monkeypatch.context() as patch:
        patch.setattr(store, "refuse_bad_size", lambda backend, shard_size: None)
        assert fx(*line).code == 0
    made = digests(out)
    assert "already encoded" in fx(*line).err
    (out / "index.json").unlink()
    (out / "test-records/000000.jsonl").unlink()
    assert fx(*line, "--resume").code == 0
    assert digests(out) == made
    assert REFUSED in fx(*line, "--overwrite").last_line
    assert digests(out) == made
