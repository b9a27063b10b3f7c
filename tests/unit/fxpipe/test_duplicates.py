"""Copies of a recording are told from other takes of it, and only across the split."""

from __future__ import annotations

import dataclasses
import functools
import io
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import soundfile
import soxr
from click.testing import CliRunner
from scipy.signal import butter, sosfilt

from fixtures.datasets import make_idmt, write_wav
from fxpipe import renders as rd
from fxpipe.chains.chain import ChainSpec
from fxpipe.cli import cli
from fxpipe.pedals import POOLS
from fxpipe.plan import PLAN_NAME
from fxpipe.render import RenderSpec
from fxpipe.sources import assign_splits, open_source
from fxpipe.sources.duplicates import (
    SAME_NOTES,
    SAME_PERFORMANCE,
    best_likeness,
    find_copies,
)
from fxpipe.sources.likeness import RATE_HZ, course_of, excerpts, profile
from fxpipe.sources.synth import perform
from fxpipe.verify import check_copies, check_directory
from fxtrain.contract import open_folder

Audio = npt.NDArray[np.float32]
Sound = tuple[Audio, int]
SPEC = RenderSpec(ChainSpec(POOLS["okita3"], {1: 1.0}), clip_s=0.5, run_in_s=0.1)


@functools.cache
def note(midi: float, take: int, duration_s: float = 2.5) -> Audio:
    """A plucked string; another take is struck a little elsewhere, harder, and beats otherwise."""
    rng = np.random.default_rng([take, round(midi * 10)])
    time_s = np.arange(round(duration_s * 44100)) / 44100
    f0_hz = 440 * 2 ** ((midi - 69) / 12)
    place = 0.13 + rng.normal(0, 0.006)
    audio = np.zeros_like(time_s)
    for k in range(1, 17):
        partial_hz = k * f0_hz * np.sqrt(1 + 5e-5 * k * k) * 2 ** (rng.normal(0, 0.4) / 1200)
        if partial_hz > 12000:
            break
        level = np.sin(np.pi * k * place) / k**1.3 * 10 ** (rng.normal(0, 1) / 20)
        decay = (1.2 + 0.15 * k) * 10 ** (rng.normal(0, 0.03))
        beat = 1 + 0.1 * np.sin(2 * np.pi * (0.7 * time_s + rng.uniform()))
        audio += level * beat * np.exp(-decay * time_s) * np.sin(2 * np.pi * partial_hz * time_s)
    pick = rng.normal(0, 0.1, len(time_s)) * np.exp(-120 * time_s)
    hiss = rng.normal(0, 3e-5, len(time_s))
    sound = audio + sosfilt(butter(2, (800, 5000), "bandpass", fs=44100, output="sos"), pick) + hiss
    return (0.5 / np.abs(sound).max() * sound).astype(np.float32)


@functools.cache
def music(seed: int, duration_s: float = 9.0) -> Audio:
    rng = np.random.default_rng(seed)
    parts = [perform(rng, 3 * 44100)[0] for _ in range(round(duration_s / 3))]
    return np.concatenate(parts).astype(np.float32)


def coded(sound: Sound, **how: object) -> Sound:
    buffer = io.BytesIO()
    soundfile.write(buffer, *sound, **how)
    buffer.seek(0)
    audio, rate_hz = soundfile.read(buffer, dtype="float32")
    return audio, rate_hz


def equalised(sound: Sound) -> Sound:
    """Four decibels up below 200 Hz, three down above 2.5 kHz, gently."""
    audio, rate_hz = sound
    low = sosfilt(butter(1, 200, fs=rate_hz, output="sos"), audio)
    high = sosfilt(butter(1, 2500, "highpass", fs=rate_hz, output="sos"), audio)
    return (0.7 * (audio + 0.58 * low - 0.29 * high)).astype(np.float32), rate_hz


def trimmed(sound: Sound) -> Sound:
    audio, rate_hz = sound
    return audio[round(0.3 * rate_hz) : -round(0.5 * rate_hz)], rate_hz


def resampled(sound: Sound, to_hz: int) -> Sound:
    return soxr.resample(sound[0], sound[1], to_hz), to_hz


COPIES: dict[str, Callable[[Sound], Sound]] = {
    "mp3": lambda sound: coded(sound, format="MP3"),
    "ogg": lambda sound: coded(sound, format="OGG", subtype="VORBIS"),
    "20 dB down, 16 bit": lambda sound: coded((sound[0] * 0.1, sound[1]), format="WAV"),
    "upside down": lambda sound: (-sound[0], sound[1]),
    "trimmed": trimmed,
    "48 kHz": lambda sound: resampled(sound, 48000),
    "16 kHz": lambda sound: resampled(sound, 16000),
    "equalised": equalised,
    "all of it": lambda sound: coded(
        resampled(trimmed(equalised(sound)), 48000), format="OGG", subtype="VORBIS"
    ),
}


def alike(one: Sound, other: Sound) -> float:
    """As in ``find_copies``, of any two excerpts that hold the same notes."""
    best = 0.0
    for a in excerpts(*one):
        for b in excerpts(*other):
            if profile(a) @ profile(b) >= SAME_NOTES:
                best = max(best, best_likeness(a, b, course_of(a), course_of(b)))
    return best


@pytest.mark.parametrize("how", COPIES)
@pytest.mark.parametrize(
    "audio", [note(45, 0), note(64, 0), music(4)], ids=["low note", "high note", "music"]
)
def test_a_copy_is_the_same_performance(audio: Audio, how: str) -> None:
    original = (audio, 44100)
    assert alike(original, COPIES[how](original)) >= SAME_PERFORMANCE


@pytest.mark.parametrize("midi", [40, 52, 64, 76])
def test_another_take_of_a_note_is_not(midi: int) -> None:
    takes = [(note(midi, take), 44100) for take in range(3)]
    for k, one in enumerate(takes):
        for other in takes[:k]:
            assert alike(one, other) < SAME_PERFORMANCE - 0.02


def test_other_music_is_not() -> None:
    assert alike((music(1), 44100), (music(2), 44100)) == 0.0


def test_half_of_a_piece_is_found_in_it() -> None:
    whole = music(3, 18.0)
    assert alike((whole, 44100), (whole[len(whole) // 2 :], 44100)) >= SAME_PERFORMANCE


def test_excerpts_are_short_apart_and_loud() -> None:
    assert [len(e) for e in excerpts(note(45, 0, 1.0), 44100)] == [RATE_HZ]
    assert len(excerpts(note(45, 0, 5.0), 44100)) == 1  # its tail tells nothing
    found = excerpts(music(3, 18.0), 44100)
    assert 2 <= len(found) <= 4
    assert {len(e) for e in found} == {3 * RATE_HZ}


def folder_of(root: Path, **sounds: Sound) -> Path:
    for name, (audio, rate_hz) in sounds.items():
        write_wav(root / f"{name}.wav", audio, sample_rate_hz=rate_hz)
    return root


def test_only_across_the_split(tmp_path: Path) -> None:
    original = (note(45, 0), 44100)
    again, other = COPIES["mp3"](original), (note(45, 1), 44100)
    items = open_source(f"folder:{folder_of(tmp_path, a=original, b=again, c=other)}").scan().items
    apart = find_copies(items, {"a": "train", "b": "test", "c": "test"})
    assert [(c.item.item_id, c.other.item_id) for c in apart.copies] == [("a.wav", "b.wav")]
    assert apart.copies[0].likeness >= SAME_PERFORMANCE
    assert (apart.n_compared, apart.unread) == (3, ())
    together = find_copies(items, {"a": "train", "b": "train", "c": "test"})
    assert together.copies == ()


def test_a_shared_count_in_is_no_copy(tmp_path: Path) -> None:
    """In dataset4 of IDMT every piece of one tempo begins with the same clicks."""
    items = open_source(f"idmt:{make_idmt(tmp_path)}").scan().items
    pieces = [item for item in items if item.item_id.startswith("dataset4/Career SG/slow")]
    assert len(pieces) == 2
    sides = {item.group: side for item, side in zip(pieces, ("train", "test"), strict=True)}
    assert find_copies(pieces, sides).copies == ()


def test_recordings_that_went_or_changed_are_told(tmp_path: Path) -> None:
    original = (note(45, 0), 44100)
    root = folder_of(tmp_path, a=original, b=COPIES["mp3"](original), c=(original[0], 22050))
    items = open_source(f"folder:{root}").scan().items
    (root / "b.wav").unlink()
    write_wav(root / "c.wav", note(45, 0, 1.0))
    search = find_copies(items, {"a": "train", "b": "test", "c": "test"})
    assert search.copies == ()
    assert [item.item_id for item in search.unread] == ["b.wav", "c.wav"]
    (root / "a.wav").write_bytes(b"nonsense")
    assert find_copies(items, {"a": "train", "b": "test", "c": "test"}).n_compared == 0


# fxpipe check


@pytest.fixture(scope="module")
def rendered(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Six notes; one is there again under another name, on another side."""
    tmp_path = tmp_path_factory.mktemp("leaking")
    names = [f"n{k}" for k in range(6)]
    for again in (f"x{k}" for k in range(100)):
        splits = assign_splits([*names, again], seed=0)
        if splits[again] != splits["n0"]:
            break
    sounds = {name: (note(45 + k, 0, 1.0), 44100) for k, name in enumerate(names)}
    root = folder_of(tmp_path / "guitar", **sounds)
    soundfile.write(root / f"{again}.ogg", *sounds["n0"])
    folder = open_folder(tmp_path / "r")
    plan = rd.make_plan(SPEC, open_source(f"folder:{root}"), 3, 0, progress=False)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rd, "run_tasks", lambda function, jobs, workers: map(function, jobs))
        rd.render_all(folder, plan, None, lambda shard: None)
    return root, tmp_path / "r"


@pytest.fixture
def leaking(rendered: tuple[Path, Path], tmp_path: Path) -> tuple[Path, Path]:
    """(recordings, a copy of the renders of one's own)"""
    return rendered[0], Path(shutil.copytree(rendered[1], tmp_path / "renders"))


def test_check_names_the_copies(leaking: tuple[Path, Path]) -> None:
    root, renders = leaking
    (problem,) = check_directory(str(renders))
    one, other = problem.where.split(" | ")
    assert (root / one).is_file()
    assert (root / other).is_file()
    assert {Path(one).suffix, Path(other).suffix} == {".wav", ".ogg"}
    assert "near-duplicates: one performance in " in problem.what
    assert "put both in one group" in problem.what
    result = CliRunner().invoke(cli, ["check", str(renders)])
    assert result.exit_code == 1
    assert one in result.output


def test_check_without_the_recordings_says_so_in_one_line(leaking: tuple[Path, Path]) -> None:
    root, renders = leaking
    said: list[str] = []
    elsewhere = root.rename(root.with_name("elsewhere"))
    try:
        assert list(check_directory(str(renders), say=said.append)) == []
    finally:
        elsewhere.rename(root)
    (line,) = said
    assert line.startswith("7 of 7 recordings are not where they were")
    assert "\n" not in line
    (renders / PLAN_NAME).unlink()
    assert list(check_directory(str(renders), say=said.append)) == []
    assert "plan.json is not in" in said[1]


def test_check_says_what_is_wrong_with_a_plan(leaking: tuple[Path, Path]) -> None:
    _, renders = leaking
    (renders / PLAN_NAME).write_text('{"spec": 3')
    problems = list(check_directory(str(renders)))
    assert {problem.where for problem in problems} == {PLAN_NAME}
    assert any("cannot be used" in problem.what for problem in problems)
    assert not any("\n" in problem.what for problem in problems)


def test_two_splits_are_enough_for_a_copy(tmp_path: Path) -> None:
    original = (note(45, 0), 44100)
    root = folder_of(tmp_path, a=original, b=COPIES["mp3"](original))
    source = open_source(f"folder:{root}")
    plan = rd.make_plan(SPEC, source, 2, 0, progress=False, fractions=(0.5, 0.5, 0.0))
    (problem,) = check_copies(plan)
    assert problem.where == "a.wav | b.wav"
    alone = dataclasses.replace(plan, splits=dict.fromkeys(plan.splits, "train"))
    assert check_copies(alone) == []
