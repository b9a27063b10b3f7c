"""Sources, scans, splits and clips, whatever the data set."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

from fixtures.datasets import add_bad_files, make_egfxset, make_folder, make_idmt, pluck, write_wav
from fxpipe.errors import DataMissingError, SourceError
from fxpipe.sources import (
    SOURCES,
    Item,
    Scan,
    assign_splits,
    open_source,
    pick_start,
    read_clip,
)
from fxpipe.sources.folder import FolderSource
from fxpipe.sources.scan import sounding_regions, walk_audio
from fxtrain.contract import SPLITS, from_dict, to_dict

RATE_HZ = 44100


def item_with(regions: tuple[tuple[float, float], ...], duration_s: float) -> Item:
    n_samples = round(duration_s * RATE_HZ)
    return Item("x.wav", "x", "", n_samples, RATE_HZ, "unknown", 0.5, regions)


def sound_s(item: Item, start: float, clip_s: float) -> float:
    """Seconds of sound in a clip, written as plainly as possible."""
    return sum(max(0.0, min(b, start + clip_s) - max(a, start)) for a, b in item.sounding)


# Names and places


def test_unknown_source_names_the_nearest_and_all() -> None:
    with pytest.raises(SourceError, match=r"'idmtt'.*did you mean 'idmt'.*egfxset") as caught:
        open_source("idmtt")
    assert not isinstance(caught.value, DataMissingError)


def test_a_folder_without_its_prefix_is_explained(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="type folder:"):
        open_source(str(tmp_path))


@pytest.mark.parametrize("name", sorted(set(SOURCES) - {"synth", "folder"}))
def test_missing_data_says_what_where_and_what_to_type(name: str, tmp_path: Path) -> None:
    with pytest.raises(DataMissingError) as caught:
        open_source(name, data_dir=tmp_path)
    message = str(caught.value)
    assert f"fxpipe fetch {name}" in message
    assert f" --data-dir {tmp_path}'" in message
    assert "\n" not in message
    with pytest.raises(DataMissingError, match=f" --data-dir '{tmp_path}/my sets'"):
        open_source(name, data_dir=tmp_path / "my sets")


def test_a_folder_of_several_data_sets_serves_each(tmp_path: Path) -> None:
    make_idmt(tmp_path / "idmt")
    make_egfxset(tmp_path / "egfxset")
    assert open_source("idmt", data_dir=tmp_path).name == "idmt"
    assert open_source("egfxset", data_dir=tmp_path).name == "egfxset"
    with pytest.raises(DataMissingError):
        open_source("rossi", data_dir=tmp_path)


def test_synth_has_no_files_but_an_identity() -> None:
    source = open_source("synth")
    scan = source.scan()
    assert source.is_generated
    assert scan.items == ()
    assert list(scan.licences) == ["CC0-1.0"]
    assert len(scan.digest) == 64


# Scans


def test_a_scan_goes_through_json_and_back(tmp_path: Path) -> None:
    add_bad_files(make_folder(tmp_path, n_groups=3))
    scan = FolderSource(tmp_path).scan()
    assert scan.items
    assert scan.skipped
    assert from_dict(Scan, json.loads(json.dumps(to_dict(scan))), "scan") == scan


def test_bad_files_are_skipped_with_their_reason(tmp_path: Path) -> None:
    expected = add_bad_files(make_folder(tmp_path, n_groups=3))
    scan = FolderSource(tmp_path).scan()
    found = {entry.item_id: entry.reason for entry in scan.skipped}
    assert found.keys() == expected.keys()
    for name, words in expected.items():
        assert words in found[name]
    assert len(scan.items) == 6


def test_channels_that_cancel_each_other_are_told(tmp_path: Path) -> None:
    wave = pluck(50, 1.0)
    write_wav(tmp_path / "turned.wav", np.stack([wave, -wave], axis=1))
    write_wav(tmp_path / "mono.wav", wave)
    (entry,) = FolderSource(tmp_path).scan().skipped
    assert entry.reason.startswith("cannot be used: its channels cancel each other when mixed")


def test_nothing_usable_is_an_error_with_a_reason(tmp_path: Path) -> None:
    add_bad_files(tmp_path)
    with pytest.raises(SourceError, match=r"no usable recording among 9 audio files.*corrupt.wav"):
        FolderSource(tmp_path).scan()


def test_an_empty_folder_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="among 0 audio files"):
        FolderSource(tmp_path).scan()


def test_the_digest_follows_content_and_groups_but_not_the_place(tmp_path: Path) -> None:
    here, there = make_folder(tmp_path / "a", n_groups=3), make_folder(tmp_path / "b", n_groups=3)
    digest = FolderSource(here).scan().digest
    assert FolderSource(there).scan().digest == digest
    write_wav(there / "riff0_mf_rr1.wav", pluck(45, 1.5, seed=77))
    changed = FolderSource(there).scan().digest
    assert changed != digest
    (here / "groups.csv").write_text("file,group\nriff0_mf_rr1.wav,mine\n")
    assert FolderSource(here).scan().digest not in (digest, changed)


def test_copies_of_one_recording_cannot_stand_on_two_sides(tmp_path: Path) -> None:
    make_folder(tmp_path, n_groups=3)
    (tmp_path / "other.wav").write_bytes((tmp_path / "riff0_mf_rr1.wav").read_bytes())
    scan = FolderSource(tmp_path).scan()
    assert [entry.reason for entry in scan.skipped] == ["same bytes as other.wav"]


@pytest.mark.parametrize("suffix", ["flac", "ogg", "mp3", "aifc", "aif", "rf64", "WAV"])
def test_reads_what_soundfile_reads(suffix: str, tmp_path: Path) -> None:
    kind = {"aif": "AIFF", "aifc": "AIFF"}.get(suffix, suffix.upper())
    soundfile.write(tmp_path / f"take.{suffix}", pluck(50, 1.0), RATE_HZ, format=kind)
    (item,) = FolderSource(tmp_path).scan().items
    assert item.item_id == f"take.{suffix}"
    assert item.duration_s == pytest.approx(1.0, abs=0.06)
    assert item.peak == pytest.approx(0.5, abs=0.1)


def test_a_loop_of_links_ends(tmp_path: Path) -> None:
    make_folder(tmp_path / "deep" / "er", n_groups=1)
    (tmp_path / "deep" / "er" / "again").symlink_to(tmp_path)
    names = [item_id for _, item_id in walk_audio(tmp_path)]
    assert names == ["deep/er/riff0_mf_rr1.wav", "deep/er/riff0_mf_rr2.wav"]


def test_hidden_files_and_mac_litter_are_not_seen(tmp_path: Path) -> None:
    make_folder(tmp_path, n_groups=1, n_takes=1)
    for name in (".secret/a.wav", "__MACOSX/._a.wav", "._riff0_mf_rr1.wav", ".DS_Store"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"litter")
    assert [item_id for _, item_id in walk_audio(tmp_path)] == ["riff0_mf_rr1.wav"]


def test_stereo_is_mixed_to_mono(tmp_path: Path) -> None:
    left, right = pluck(50, 1.0, peak=0.4), pluck(62, 1.0, peak=0.4)
    write_wav(tmp_path / "wide.wav", np.stack([left, right], axis=1), subtype="FLOAT")
    (item,) = FolderSource(tmp_path).scan().items
    clip = read_clip(item, start=0.0, n_samples=len(left), run_in_samples=0, sample_rate_hz=RATE_HZ)
    np.testing.assert_allclose(clip, (left + right) / 2, atol=1e-6)
    assert item.meta["channels"] == 2


def test_sounding_regions_are_found_to_a_frame() -> None:
    audio = np.zeros(3 * RATE_HZ, dtype=np.float32)
    audio[RATE_HZ // 2 : RATE_HZ] = 0.3
    audio[2 * RATE_HZ : 2 * RATE_HZ + RATE_HZ // 4] = 0.3
    audio[-RATE_HZ // 4 :] = 0.3 * 10 ** (-50 / 20)  # more than 45 dB below: not sounding
    regions = sounding_regions(audio, RATE_HZ)
    assert regions == ((0.5, 1.0), (2.0, 2.25))


def test_short_gaps_do_not_split_a_region() -> None:
    audio = np.full(RATE_HZ, 0.3, dtype=np.float32)
    audio[RATE_HZ // 2 : RATE_HZ // 2 + RATE_HZ // 10] = 0.0
    assert sounding_regions(audio, RATE_HZ) == ((0.0, 1.0),)


# Where clips start


@st.composite
def sounding_items(draw: st.DrawFn) -> Item:
    steps = draw(st.lists(st.integers(1, 60), min_size=2, max_size=12))
    times = np.cumsum([draw(st.integers(0, 20)), *steps]) / 20  # multiples of 50 ms
    regions = tuple((float(a), float(b)) for a, b in zip(times[::2], times[1::2], strict=False))
    tail = draw(st.integers(0, 40)) / 20
    return item_with(regions, regions[-1][1] + tail)


@given(sounding_items(), st.floats(0, 1, exclude_max=True), st.sampled_from([0.4, 1.0, 2.0, 5.0]))
@settings(max_examples=200, deadline=None)
def test_a_clip_starts_in_sound_and_holds_enough_of_it(item: Item, u: float, clip_s: float) -> None:
    start = pick_start(item, u, clip_s)
    assert any(a - 1e-6 <= start <= b + 1e-6 for a, b in item.sounding)
    total = sum(b - a for a, b in item.sounding)
    starts = [
        t for a, b in item.sounding for t in np.arange(a, b, 0.05)
    ]  # all edges are multiples of 50 ms, so is one of the best starts
    best = max(sound_s(item, t, clip_s) for t in starts)
    need = min(0.5, clip_s / 2, total / 2, best)
    assert sound_s(item, start, clip_s) >= need - 1e-6
    last = item.duration_s - clip_s
    roomy = [t for t in starts if t + 0.05 <= last and sound_s(item, t, clip_s) >= need + 0.05]
    if roomy:
        assert start <= last + 1e-6
    assert pick_start(item, u, clip_s) == start


def test_starts_spread_evenly_over_what_is_allowed() -> None:
    item = item_with(((1.0, 2.0), (4.0, 7.0)), 20.0)
    starts = [pick_start(item, u, 2.0) for u in (np.arange(2000) + 0.5) / 2000]
    assert starts == sorted(starts)
    counts, _ = np.histogram(starts, bins=[1.0, 1.5, 4.0, 5.0, 6.0, 6.5])
    # 1.0-1.5 and 4.0-6.5 leave half a second of sound: three seconds in all
    np.testing.assert_allclose(counts / 2000, [1 / 6, 0, 1 / 3, 1 / 3, 1 / 6], atol=2e-3)


def test_a_clip_stays_inside_a_file_that_is_long_enough() -> None:
    item = item_with(((0.0, 3.0),), 3.0)
    assert max(pick_start(item, u, 2.0) for u in (0.0, 0.5, 0.999999)) <= 1.0


def test_sound_at_the_very_end_is_still_used() -> None:
    item = item_with(((9.0, 10.0),), 10.0)
    assert 9.0 <= pick_start(item, 0.9, 2.0) <= 9.5


# Reading clips


@pytest.mark.parametrize("own_rate_hz", [22050, 44100, 48000, 96000])
@pytest.mark.parametrize("n_samples", [1, 777, 88200])
def test_the_length_is_exact_at_any_rate(own_rate_hz: int, n_samples: int, tmp_path: Path) -> None:
    audio = pluck(57, 1.3, sample_rate_hz=own_rate_hz)
    write_wav(tmp_path / "a.wav", audio, sample_rate_hz=own_rate_hz)
    (item,) = FolderSource(tmp_path).scan().items
    clip = read_clip(
        item, start=0.2, n_samples=n_samples, run_in_samples=4410, sample_rate_hz=RATE_HZ
    )
    assert clip.shape == (4410 + n_samples,)
    assert clip.dtype == np.float32
    assert np.isfinite(clip).all()


def test_resampling_keeps_the_tone_and_its_time(tmp_path: Path) -> None:
    time_s = np.arange(48000) / 48000
    write_wav(
        tmp_path / "sine.wav",
        (0.5 * np.sin(2 * np.pi * 1000 * time_s)).astype(np.float32),
        sample_rate_hz=48000,
        subtype="FLOAT",
    )
    (item,) = FolderSource(tmp_path).scan().items
    clip = read_clip(item, start=0.25, n_samples=22050, run_in_samples=0, sample_rate_hz=RATE_HZ)
    there_s = 0.25 + np.arange(22050) / RATE_HZ
    np.testing.assert_allclose(clip, 0.5 * np.sin(2 * np.pi * 1000 * there_s), atol=2e-4)


def test_run_in_is_the_recording_and_zeros_before_it(tmp_path: Path) -> None:
    audio = pluck(45, 1.0)
    write_wav(tmp_path / "a.wav", audio, subtype="FLOAT")
    (item,) = FolderSource(tmp_path).scan().items
    clip = read_clip(item, start=0.1, n_samples=88200, run_in_samples=8820, sample_rate_hz=RATE_HZ)
    np.testing.assert_array_equal(clip[:4410], 0.0)  # before the file
    np.testing.assert_array_equal(clip[4410 : 4410 + len(audio)], audio)
    np.testing.assert_array_equal(clip[4410 + len(audio) :], 0.0)  # after it


def test_a_clip_is_the_callers_own(tmp_path: Path) -> None:
    write_wav(tmp_path / "a.wav", pluck(45, 1.0))
    (item,) = FolderSource(tmp_path).scan().items
    where = {"start": 0.0, "n_samples": 1000, "run_in_samples": 0, "sample_rate_hz": RATE_HZ}
    first = read_clip(item, **where)
    kept = first.copy()
    first[:] = 9.0
    np.testing.assert_array_equal(read_clip(item, **where), kept)


def test_a_file_that_went_or_changed_is_named(tmp_path: Path) -> None:
    path = write_wav(tmp_path / "a.wav", pluck(45, 1.0))
    (item,) = FolderSource(tmp_path).scan().items
    where = {"start": 0.0, "n_samples": 100, "run_in_samples": 0, "sample_rate_hz": RATE_HZ}
    read_clip(item, **where)
    for other in (pluck(45, 0.5), pluck(46, 1.0)):  # shorter; and as long, but another sound
        write_wav(path, other)
        with pytest.raises(SourceError, match=r"a\.wav: its bytes are not those that the scan saw"):
            read_clip(item, **where)
    path.unlink()
    with pytest.raises(SourceError, match=r"a\.wav: cannot read"):
        read_clip(item, **where)


# Splits


def test_splits_are_deterministic_and_follow_the_seed() -> None:
    groups = [f"g{k}" for k in range(50)]
    assert assign_splits(groups, seed=1) == assign_splits(groups[::-1] * 2, seed=1)
    assert assign_splits(groups, seed=1) != assign_splits(groups, seed=2)


@given(
    st.integers(3, 200), st.integers(0, 2**31), st.sampled_from([(0.8, 0.1, 0.1), (0, 0.5, 0.5)])
)
@settings(max_examples=60, deadline=None)
def test_no_split_is_empty_and_all_are_near_their_share(
    n_groups: int, seed: int, fractions: tuple[float, float, float]
) -> None:
    result = assign_splits([f"g{k}" for k in range(n_groups)], seed=seed, fractions=fractions)
    assert len(result) == n_groups
    for split, part in zip(SPLITS, fractions, strict=True):
        count = list(result.values()).count(split)
        assert (count > 0) == (part > 0)
        assert abs(count - part * n_groups) < 2


def test_adding_groups_never_moves_one_from_test_to_train() -> None:
    groups = [f"g{k}" for k in range(60)]
    before = assign_splits(groups, seed=3)
    after = assign_splits([*groups, "new1", "new2", "new3"], seed=3)
    moved = {group for group in groups if before[group] != after[group]}
    assert len(moved) <= 3
    assert not any(before[group] == "test" and after[group] == "train" for group in groups)


def test_too_few_groups_say_what_to_do() -> None:
    with pytest.raises(SourceError, match=r"2 group\(s\).*3 splits.*groups\.csv"):
        assign_splits(["a", "b"], seed=0)
    assert set(assign_splits(["a", "b"], seed=0, fractions=(0.5, 0.5, 0)).values()) == {
        "train",
        "valid",
    }


@pytest.mark.parametrize(
    "fractions", [(0.5, 0.1, 0.1), (1.2, -0.1, -0.1), (float("nan"), 0.5, 0.5)]
)
def test_wrong_fractions_are_refused(fractions: tuple[float, float, float]) -> None:
    with pytest.raises(SourceError, match="sum to 1"):
        assign_splits(["a", "b", "c"], seed=0, fractions=fractions)
