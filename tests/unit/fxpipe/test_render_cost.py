"""What keeps rendering cheap, asserted by counting: files read, samples played, bytes sent."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import cachetools
import numpy as np
import pytest
import scipy.signal
from hypothesis import given, settings
from hypothesis import strategies as st

from fixtures.datasets import make_folder
from fxpipe import plan as plans
from fxpipe import render
from fxpipe import renders as rd
from fxpipe.chains.chain import ChainSpec
from fxpipe.pedals import POOLS
from fxpipe.pedals.parts import hard_clip
from fxpipe.render import RenderSpec, Wet, lowpassed_noise
from fxpipe.sources import clips, open_source
from fxpipe.tasks import Workers, run_tasks
from fxtrain.contract import Chain, UsageError, open_folder, to_dict

SPEC = RenderSpec(ChainSpec(POOLS["okita3"], {1: 1.0, 2: 1.0}), clip_s=0.2, run_in_s=0.1)
RATE_HZ = 44_100


def begin(path: Path, source="synth", n=40, shard_size=None):
    folder = open_folder(path)
    plan = rd.make_plan(SPEC, open_source(source), n, 0, progress=False, shard_size=shard_size)
    rd.save_plan(folder, plan)
    return folder, plan


def render_all(folder, plan, monkeypatch):
    monkeypatch.setattr(rd, "run_tasks", lambda function, jobs, workers: map(function, jobs))
    return rd.render_all(folder, plan, None, lambda shard: None)


def test_a_shard_decodes_each_file_once_even_where_the_cache_holds_one(tmp_path, monkeypatch):
    make_folder(tmp_path / "guitar")
    folder, plan = begin(tmp_path / "r", f"folder:{tmp_path / 'guitar'}", n=60)
    read: Counter[str] = Counter()
    read_bytes = Path.read_bytes

    def counted(path: Path) -> bytes:
        read[str(path)] += path.suffix == ".wav"
        return read_bytes(path)

    kept = cachetools.LRUCache(1, getsizeof=lambda audio: 1)
    monkeypatch.setattr(clips, "_kept", kept)
    monkeypatch.setattr(clips, "_load", cachetools.cached(kept)(clips._load.__wrapped__))
    monkeypatch.setattr(Path, "read_bytes", counted)
    job = rd.shard_jobs(plan, folder)[0]
    receipt = rd.render_shard(job)
    _, records = rd.read_shard(folder, receipt.shard)
    items = Counter(record["item"] for record in records)
    on_another_recording = sum(record["seed"][2] for record in records)
    assert max(items.values()) > 2, "the shard must take several clips of one file"
    assert sum(read.values()) <= len(items) + 2 * on_another_recording


def test_pedals_hear_the_run_in_and_the_clip_and_no_more(tmp_path, monkeypatch):
    make_folder(tmp_path / "guitar")
    _, plan = begin(tmp_path / "r", f"folder:{tmp_path / 'guitar'}")
    heard: list[int] = []
    build = render.build_pedal

    def counted(pedal, rate_hz):
        process = build(pedal, rate_hz)
        return lambda wave: heard.append(len(wave)) or process(wave)

    monkeypatch.setattr(render, "build_pedal", counted)
    for position in range(5):
        rd.render_clip(plan, "train", position)
    assert set(heard) == {SPEC.n_run_in + SPEC.n_samples}
    assert plan.scan.items[0].n_samples > 2 * heard[0]


def test_numbers_go_through_the_scheduler_and_no_audio(tmp_path):
    folder, plan = begin(tmp_path / "r")
    job = rd.shard_jobs(plan, folder)[0]
    receipt = rd.render_shard(job)
    assert len(json.dumps(job)) < 500
    assert len(json.dumps(to_dict(receipt))) < 4000


def test_a_worker_is_a_process_with_one_thread_for_algebra():
    def facts(job):
        import os

        import numpy  # noqa: F401
        from threadpoolctl import threadpool_info

        return {"pid": os.getpid(), "threads": [pool["num_threads"] for pool in threadpool_info()]}

    (found,) = run_tasks(facts, [{}], Workers(1))
    assert found["pid"] != os.getpid()
    assert found["threads"]
    assert set(found["threads"]) == {1}


def test_shards_grow_with_the_set_and_stay_within_a_thousand_clips():
    sizes = [rd.shard_size(n) for n in (3, 800, 1600, 8000, 50_000, 10**5, 10**6, 10**8)]
    assert sizes == [25, 25, 25, 25, 50, 100, 1000, 1000]


def test_another_shard_size_holds_the_same_clips(tmp_path, monkeypatch):
    found = []
    for size in (None, 7, 1000):
        folder, plan = begin(tmp_path / f"{size}", shard_size=size)
        index = render_all(folder, plan, monkeypatch)
        found.append(list(rd.iter_clips(folder, index, "train", 0, 32)))
        assert index.identity == plan.identity
        assert max(shard.n_samples for shard in index.shards) == min(size or 25, 32)
    for one, *others in zip(*found, strict=True):
        for other in others:
            np.testing.assert_array_equal(one[0], other[0])
            assert one[1] == other[1]


def test_a_begun_set_goes_on_with_its_own_shard_size(tmp_path, monkeypatch):
    folder, plan = begin(tmp_path / "r", shard_size=7)
    rd.render_shard(rd.shard_jobs(plan, folder)[0])
    with pytest.raises(UsageError, match=r"its shards are of 7 clips, not 9; leave --shard-size"):
        render_all(folder, dataclasses.replace(plan, shard_size=9), monkeypatch)
    made: list[str] = []
    monkeypatch.setattr(
        rd, "render_shard", lambda job, of=rd.render_shard: made.append(job["name"]) or of(job)
    )
    index = render_all(folder, dataclasses.replace(plan, shard_size=None), monkeypatch)
    assert {shard.n_samples for shard in index.shards} == {7, 4}
    assert "train-000000" not in made
    assert len(made) == len(index.shards) - 1


def test_shards_whose_plan_is_gone_tell_their_size(tmp_path, monkeypatch):
    folder, plan = begin(tmp_path / "r", shard_size=7)
    rd.render_shard(rd.shard_jobs(plan, folder)[0])
    folder.delete(plans.PLAN_NAME)
    index = render_all(folder, dataclasses.replace(plan, shard_size=None), monkeypatch)
    assert index.shards[0].n_samples == 7


def test_another_way_to_render_is_another_identity(tmp_path, monkeypatch):
    _, plan = begin(tmp_path / "r")
    before = plan.identity
    monkeypatch.setattr(plans, "RENDER_VERSION", plans.RENDER_VERSION + 1)
    assert plan.identity != before


@settings(deadline=None)
@given(st.integers(1, 30_000), st.integers(0, 99), st.sampled_from([0.1, 0.5]))
def test_clipping_in_blocks_gives_the_bytes_of_clipping_at_once(n_samples, seed, limit):
    rng = np.random.default_rng(seed)
    wave = np.cumsum(rng.standard_normal(n_samples)).astype(np.float32) * np.float32(0.3)
    wave[n_samples // 3 : n_samples // 2] *= np.float32(1e-7)  # next to no motion
    now = wave.astype(np.float64)
    step, size = np.diff(now, prepend=now[:1]), np.abs(now)
    inside = np.minimum(size, limit)
    under = inside * (size - inside / 2)
    expected = np.clip(now - step / 2, -limit, limit)
    np.divide(np.diff(under, prepend=under[:1]), step, out=expected, where=np.abs(step) > 1e-6)
    np.testing.assert_array_equal(hard_clip(wave, limit), expected.astype(np.float32))


@settings(deadline=None)
@given(st.floats(0.0, 0.99), st.integers(1, 5000), st.integers(0, 99))
def test_noise_is_lowpassed_as_by_the_textbook_filter(pole, n_samples, seed):
    found = lowpassed_noise(np.random.default_rng(seed), n_samples, pole)
    white = lowpassed_noise(np.random.default_rng(seed), n_samples, 0.0)
    expected = scipy.signal.lfilter([1.0], [1.0, -pole], white.astype(float))
    assert found.dtype == np.float32
    assert np.linalg.norm(found - expected) <= 2e-3 * np.linalg.norm(expected)


def test_noise_is_white_before_its_filter():
    white = lowpassed_noise(np.random.default_rng(0), 2**16, 0.0)
    power = np.abs(np.fft.rfft(white.reshape(64, -1))) ** 2
    bands = power.mean(axis=0)[1:-1].reshape(-1, 73).mean(axis=1)
    assert white.std() == pytest.approx(3**-0.5, rel=0.01)
    assert bands.max() / bands.min() < 1.2


def test_the_next_shard_begins_with_the_recordings_read_last(tmp_path, monkeypatch):
    make_folder(tmp_path / "guitar")
    folder, plan = begin(tmp_path / "r", f"folder:{tmp_path / 'guitar'}", n=60)
    places = {item.item_id: place for place, item in enumerate(plan.items_of("train"))}
    read: list[int] = []

    def seen(*args):
        dry, taken = plans.take_clip(*args)
        read.append(places[taken["item"]])
        return dry, taken

    monkeypatch.setattr(rd, "take_clip", seen)
    wet = Wet(np.ones(SPEC.n_samples, np.float32), (), Chain(()), (), ())
    monkeypatch.setattr(rd, "draw_and_render", lambda *args: wet)
    ways = []
    for job in rd.shard_jobs(plan, folder)[:2]:
        read.clear()
        rd.render_shard(job)
        ways.append(read[0] > read[-1])
        assert read == sorted(read, reverse=ways[-1])
    assert ways[0] != ways[1]


def test_whoever_renders_recordings_does_not_wait_for_what_only_the_synth_needs():
    heavy = ("scipy.signal", "scipy.ndimage")
    code = f"import sys, fxpipe.renders; print([m for m in {heavy} if m in sys.modules])"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"
