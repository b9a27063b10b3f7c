"""Recordings that were read stay decoded, up to a bound in bytes."""

from __future__ import annotations

import dataclasses
import hashlib
from pathlib import Path

import numpy as np
import pytest

from fixtures.datasets import make_folder, pluck, write_wav
from fxpipe.sources import Item, clips, pick_start, read_clip, read_recording
from fxpipe.sources.folder import FolderSource

RATE_HZ = 44_100


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Sizes of the files that were decoded, in order; the cache starts empty."""
    sizes: list[int] = []
    read_mono = clips.read_mono

    def counted(data: bytes) -> tuple[np.ndarray, int, dict]:
        sizes.append(len(data))
        return read_mono(data)

    clips._kept.clear()
    monkeypatch.setattr(clips, "read_mono", counted)
    return sizes


def test_a_recording_is_decoded_once(tmp_path: Path, decoded: list[int]) -> None:
    items = FolderSource(make_folder(tmp_path, n_groups=8, n_takes=2)).scan().items
    for _ in range(3):
        for item in items:
            read_clip(item, start=0.1, n_samples=99, run_in_samples=0, sample_rate_hz=RATE_HZ)
    assert len(decoded) == len(items) == 16


def test_a_recording_is_whole_and_cannot_be_written_to(tmp_path: Path) -> None:
    audio = pluck(45, 1.0)
    write_wav(tmp_path / "a.wav", audio, subtype="FLOAT")
    (item,) = FolderSource(tmp_path).scan().items
    recording = read_recording(item, RATE_HZ)
    np.testing.assert_array_equal(recording, audio)
    with pytest.raises(ValueError, match="read-only"):
        recording[0] = 1.0


def test_what_is_kept_stays_within_its_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clips._kept.clear()
    n = clips.CACHE_BYTES // 4 * 3 // 10  # float32: three fit
    monkeypatch.setattr(clips, "read_mono", lambda data: (np.zeros(n, np.float32), RATE_HZ, {}))
    for k in range(5):
        path = tmp_path / f"{k}.wav"
        path.write_bytes(b"x")
        meta = {"sha256": hashlib.sha256(b"x").hexdigest()}
        item = Item(path.name, "g", str(path), n, RATE_HZ, "unknown", 0.5, ((0.0, 1.0),), meta)
        read_recording(item, RATE_HZ)
        assert clips._kept.currsize <= clips.CACHE_BYTES
    assert len(clips._kept) == 3
    clips._kept.clear()


@pytest.mark.parametrize(("share", "expected"), [(1e9, 256e6), (4e9, 500e6), (64e9, 1e9)])
def test_more_memory_keeps_more(share: float, expected: float) -> None:
    assert clips.cache_bytes(int(share)) == expected


def test_a_recording_larger_than_the_cache_is_kept_alone() -> None:
    hours = np.broadcast_to(np.float32(0.0), (3 * 3600 * RATE_HZ,))
    assert clips._kept_bytes(hours) == clips.CACHE_BYTES < hours.nbytes


def test_a_lead_in_is_as_long_at_any_rate(tmp_path: Path) -> None:
    write_wav(tmp_path / "a.wav", pluck(45, 1.0), subtype="FLOAT")
    (item,) = FolderSource(tmp_path).scan().items
    late = dataclasses.replace(item, meta={**item.meta, "lead_in_s": 0.5})
    slow = read_recording(late, RATE_HZ // 2)
    power = np.square(slow).reshape(10, -1).mean(axis=1)  # tenths of a second
    assert power[:4].max() < 1e-9
    assert power[5:].min() > 1e-7


def test_a_short_sound_is_cut_anywhere_that_leaves_half_of_it() -> None:
    item = Item("a", "g", "a.wav", 3 * RATE_HZ, RATE_HZ, "cc0", 1.0, ((1.0, 1.2),))
    assert pick_start(item, 0.0, 2.0) == pytest.approx(1.0)
    assert pick_start(item, 0.5, 2.0) == pytest.approx(1.05)
    assert pick_start(item, 0.999, 2.0) == pytest.approx(1.1, abs=1e-3)
