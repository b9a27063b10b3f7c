"""Long clips as shards that hold them in windows, as `fxtrain predict` hears a recording."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fxpipe import encode as en
from fxpipe import hearing_shard as hs
from fxpipe import renders as rd
from fxpipe.chains.chain import ChainSpec
from fxpipe.codec import load_codec
from fxpipe.ears import features
from fxpipe.hearing_gpu import GpuEars
from fxpipe.pedals import POOLS
from fxpipe.render import RenderSpec
from fxpipe.sources import open_source
from fxpipe.summary import encode_summary
from fxpipe.verify import check_directory
from fxpipe.windows import cut
from fxtrain.contract import NOT_RUN, Folder, LocalFolder, UsageError
from fxtrain.data import open_shards

RATE_HZ = 44_100
N_WINDOWS = 3
SPEC = RenderSpec(ChainSpec(POOLS["okita3"], {1: 1.0}), clip_s=1.5, run_in_s=0.0)

Rendered = tuple[Folder, rd.RendersIndex]


def inline(function: Any, jobs: Any, workers: Any, **_: Any) -> Any:
    return map(function, jobs)


@pytest.fixture(scope="module")
def rendered(tmp_path_factory: pytest.TempPathFactory) -> Rendered:
    """Five clips, all of train."""
    folder = LocalFolder(tmp_path_factory.mktemp("renders"))
    plan = rd.make_plan(SPEC, open_source("synth"), 5, 0, progress=False, fractions=(1.0, 0.0, 0.0))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rd, "run_tasks", inline)
        return folder, rd.render_all(folder, plan, None, lambda shard: None)


def waves_of(rendered: Rendered) -> list[np.ndarray]:
    return [wave for wave, _ in rd.iter_clips(*rendered, "train", 0, 5)]


def encoded(
    rendered: Rendered, out: Path, monkeypatch: pytest.MonkeyPatch, **spec: Any
) -> tuple[Any, Any]:
    monkeypatch.setattr(en, "run_tasks", inline)
    wanted = en.EncodeSpec("embedded", **spec)
    index = en.encode_all(
        *rendered, LocalFolder(out), wanted, None, ["cpu"], lambda shard: None  # type: ignore[arg-type]
    )  # fmt: skip
    assert list(check_directory(str(out))) == []
    return index, open_shards(str(out)).load("train")


def near(stored: np.ndarray, heard: np.ndarray) -> None:
    """Bytes of the same sound: data is heard by SciPy, which a single clip does not wait for."""
    assert abs(stored.astype(int) - heard).max() <= 1


@pytest.mark.parametrize("backend", ["webdataset", "zarr"])
def test_every_window_is_heard_as_a_recordings_is(
    rendered: Rendered, backend: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = {"with_mel": True, "backend": backend, "window_s": 0.5}
    index, block = encoded(rendered, tmp_path / "shards", monkeypatch, **options)
    assert (index.n_windows, index.n_audio_samples) == (N_WINDOWS, RATE_HZ // 2)
    n_frames = index.codec.n_frames(RATE_HZ // 2)
    assert index.n_frames == N_WINDOWS * n_frames
    codec = load_codec("embedded", n_threads=1)
    for row, wave in enumerate(waves_of(rendered)):
        heard = features(cut(wave, N_WINDOWS), RATE_HZ, codec, index.mel, None, index.clues)
        for i in range(N_WINDOWS):
            frames = slice(i * n_frames, (i + 1) * n_frames)
            np.testing.assert_array_equal(block.codes[row, :, frames], heard.codes[i])
            near(block.mel[row, :, frames], heard.mel[i])
        near(block.clues[row], heard.clues.reshape(-1))
        loud = max(heard.loudness_lufs) - block.records[row]["after"]["gain_db"]
        assert block.records[row]["loudness_lufs"] == round(loud, 2)
    assert f"{index.n_frames} frames a clip in 3 windows" in encode_summary(index, "out")


def test_a_gpu_hears_the_windows_that_a_cpu_hears(
    rendered: Rendered, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, renders = rendered
    out, spec = LocalFolder(tmp_path), en.EncodeSpec("embedded", NOT_RUN, window_s=0.5)
    more = 10, ["cuda:0"], en.How(), en.codec_of(spec)[0]
    (job,) = en._jobs(folder, renders, out, spec, "id", *more)
    monkeypatch.setattr(hs, "_ears", lambda rate, beside, device: GpuEars(rate, *beside, "cpu"))
    monkeypatch.setattr(hs, "ON_THE_GPU", 4)  # not a whole number of clips
    found = [
        list(hs.heard_clips(job, renders, RATE_HZ, (None, None), d)) for d in ("cuda:0", "cpu")
    ]
    ahead, plain = (np.concatenate([np.asarray(h.waves) for h in part]) for part in found)
    np.testing.assert_allclose(ahead, plain, atol=1e-5)
    assert len(plain) == 5 * N_WINDOWS
    for part in found:
        ids = [record["id"] for heard in part for record in heard.records]
        assert ids == [f"train-{i // N_WINDOWS:08}" for i in range(5 * N_WINDOWS)]


def test_windows_are_part_of_what_the_data_are(
    rendered: Rendered, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = {"precision": NOT_RUN, "with_mel": True}
    found = [
        encoded(rendered, tmp_path / str(window_s), monkeypatch, window_s=window_s, **options)[0]
        for window_s in (None, 0.5, 0.75)
    ]
    assert len({index.identity for index in found}) == 3
    assert [index.n_windows for index in found] == [1, 3, 2]
    assert "window_s" not in found[0].recipe
    assert json.loads((tmp_path / "0.5/index.json").read_text())["recipe"]["window_s"] == 0.5


@pytest.mark.parametrize("window_s", [0.4, 1.6])
def test_clips_that_are_no_whole_number_of_windows_are_refused(
    rendered: Rendered, window_s: float
) -> None:
    with pytest.raises(UsageError, match=r"the clips are of 1\.5 s, which is no whole number of"):
        en.n_windows_of(rendered[1], en.EncodeSpec(window_s=window_s))


def test_where_nothing_sounds_the_window_before_is_heard_again() -> None:
    tone = (0.5 * np.sin(np.arange(100) * 0.3)).astype(np.float32)
    hiss = 0.001 * tone
    clip = np.concatenate([hiss, tone, 0.5 * tone, hiss, np.zeros(100, np.float32)])
    heard = cut(clip, 5)
    for window, expected in zip(heard, (1, 1, 2, 2, 2), strict=True):
        assert np.array_equal(window, clip[100 * expected : 100 * (expected + 1)])
    silent = np.zeros(300, np.float32)
    assert all(np.array_equal(window, silent[:100]) for window in cut(silent, 3))
