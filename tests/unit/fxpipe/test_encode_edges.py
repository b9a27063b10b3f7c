"""Shards encoded in several batches, on a GPU's ears, by several workers; what a shard adds up."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch

from fxpipe import encode as en
from fxpipe import hearing_shard as hs
from fxpipe import renders as rd
from fxpipe.chains.chain import ChainSpec
from fxpipe.clues import clue_info
from fxpipe.encode_tally import Tally, changed_from, measured
from fxpipe.errors import CodecError, RenderError
from fxpipe.hearing_gpu import GpuEars
from fxpipe.level import loudness_lufs
from fxpipe.mel import mel_info
from fxpipe.pedals import POOLS
from fxpipe.render import RenderSpec
from fxpipe.resume import OWNER_NAME
from fxpipe.sources import open_source
from fxpipe.tasks import Workers
from fxpipe.verify import refuse_gaps
from fxtrain.contract import (
    NOT_RUN,
    CodecInfo,
    Folder,
    FxError,
    Licence,
    LocalFolder,
    recordings_of,
)
from fxtrain.data import open_shards

RATE_HZ = 44_100
CODEC = CodecInfo("tiny", "0" * 64, RATE_HZ, 512, 2, 4, 2, "fp32", "cpu")
SPEC = RenderSpec(ChainSpec(POOLS["okita3"], {1: 1.0}), clip_s=0.5, run_in_s=0.0)
MEL_ONLY = en.EncodeSpec("tiny", NOT_RUN, with_mel=True)

Rendered = tuple[Folder, rd.RendersIndex]


@pytest.fixture(scope="module")
def rendered(tmp_path_factory: pytest.TempPathFactory) -> Rendered:
    """Seven clips, all of train."""
    folder = LocalFolder(tmp_path_factory.mktemp("renders"))
    plan = rd.make_plan(SPEC, open_source("synth"), 7, 0, progress=False, fractions=(1.0, 0.0, 0.0))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rd, "run_tasks", lambda function, jobs, workers: map(function, jobs))
        return folder, rd.render_all(folder, plan, None, lambda shard: None)


def jobs_of(
    rendered: Rendered, out: Folder, spec: en.EncodeSpec = MEL_ONLY, device: str = "cpu"
) -> list[dict[str, Any]]:
    return en._jobs(*rendered, out, spec, "id", 7, [device], en.How(), CODEC)


def test_renders_that_changed_meanwhile_are_not_encoded(rendered: Rendered, tmp_path) -> None:
    (job,) = jobs_of(rendered, LocalFolder(tmp_path))
    with pytest.raises(CodecError, match="the renders changed while they were being encoded"):
        en.encode_shard(job | {"renders_sha256": "0" * 64})
    assert list(tmp_path.iterdir()) == []


def test_a_late_task_writes_nothing_where_another_data_set_is_now(
    rendered: Rendered, tmp_path
) -> None:
    out = LocalFolder(tmp_path)
    out.write(OWNER_NAME, b'{"kind": "fxpipe-shards", "identity": "another"}')
    (job,) = jobs_of(rendered, out)
    with pytest.raises(FxError, match="was replaced by another data set"):
        en.encode_shard(job)
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == [tmp_path / OWNER_NAME]


def test_what_changes_shards_changes_their_identity_and_nothing_else_does(
    rendered: Rendered, monkeypatch: pytest.MonkeyPatch
) -> None:
    renders = rendered[1]

    def identity(index: rd.RendersIndex = renders, codec: CodecInfo = CODEC, **spec: Any) -> str:
        return en.encode_identity(index, codec, en.EncodeSpec("tiny", **spec))[0]

    plain = identity()
    moved = dataclasses.replace(CODEC, name="elsewhere/tiny.pth", backend="another machine")
    assert identity(codec=moved) == plain
    found = [
        plain,
        identity(dataclasses.replace(renders, identity="of other clips")),
        identity(codec=dataclasses.replace(CODEC, weights_sha256="1" * 64)),
        identity(codec=dataclasses.replace(CODEC, precision="fp16")),
        identity(with_mel=True),
        identity(backend="zarr"),
        identity(shard_size=7),
    ]
    louder = dataclasses.replace(en.LEVEL_RULE, target_lufs=-14.0)
    for name, value in (("LEVEL_RULE", louder), ("FORMAT_VERSION", 99)):
        with monkeypatch.context() as patch:
            patch.setattr(en, name, value)
            found.append(identity())
    assert len(set(found)) == len(found)


def test_shards_that_leave_a_gap_are_not_encoded_though_their_sum_is_right(
    rendered: Rendered,
) -> None:
    folder, index = rendered
    refuse_gaps(folder, index)
    (shard,) = index.shards
    for changed in ({"first": 1}, {"split": "holdout"}):
        late = dataclasses.replace(shard, **changed)
        with pytest.raises(RenderError, match="type the command that wrote it, with --resume"):
            refuse_gaps(folder, dataclasses.replace(index, shards=(late,)))
    more = {**index.counts, "train": dataclasses.replace(index.counts["train"], n_samples=8)}
    with pytest.raises(RenderError, match="train is of 8 clips, its shards hold 7; type"):
        refuse_gaps(folder, dataclasses.replace(index, counts=more))


def test_loudness_is_told_as_it_left_the_last_pedal(
    rendered: Rendered, tmp_path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(en, "run_tasks", lambda function, jobs, *_, **__: map(function, jobs))
    out = LocalFolder(tmp_path)
    codec = dataclasses.replace(CODEC, precision=NOT_RUN), np.zeros((2, 4, 2), np.float32)
    en.encode_all(*rendered, out, MEL_ONLY, None, ["cpu"], lambda shard: None, codec=codec)
    clips = rd.iter_clips(*rendered, "train", 0, 7)
    told = open_shards(out.uri).load("train").records
    for (wave, record), found in zip(clips, told, strict=True):
        loud = loudness_lufs(wave, RATE_HZ) - record["after"]["gain_db"]
        assert found["loudness_lufs"] == pytest.approx(loud, abs=0.006)
        assert found == {k: v for k, v in record.items() if k != "scale"} | {
            "loudness_lufs": found["loudness_lufs"]
        }


def test_an_index_keeps_what_the_renders_tell_and_lists_shards_in_order_however_they_come(
    rendered: Rendered, tmp_path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(en, "run_tasks", lambda function, jobs, *_, **__: map(function, jobs[::-1]))
    folder, plain = rendered
    told = {
        "recordings": {"train": "a b", "valid": "", "test": ""},
        "commutes": (plain.vocabulary.names[:2],),
        "licences": {"mine": Licence("CC-BY-4.0", "https://example.org", True)},
        "shareable": not plain.shareable,
    }
    renders = dataclasses.replace(plain, **told)
    codec = dataclasses.replace(CODEC, precision=NOT_RUN), np.zeros((2, 4, 2), np.float32)
    spec = dataclasses.replace(MEL_ONLY, shard_size=3)
    out = LocalFolder(tmp_path)
    index = en.encode_all(
        folder, renders, out, spec, None, ["cpu"], lambda shard: None, codec=codec
    )
    assert [(shard.first, shard.n_samples) for shard in index.shards] == [(0, 3), (3, 3), (6, 1)]
    assert recordings_of(index)["train"] == {"a", "b"}
    for name in ("commutes", "licences", "shareable"):
        assert getattr(index, name) == told[name], name


def test_a_gpus_ears_hear_each_clip_beside_its_record(
    rendered: Rendered, tmp_path, monkeypatch: pytest.MonkeyPatch
) -> None:
    beside = mel_info(CODEC), clue_info(CODEC)
    monkeypatch.setattr(hs, "ON_THE_GPU", 3)
    monkeypatch.setattr(hs, "_ears", lambda *_: GpuEars(RATE_HZ, *beside, torch.device("cpu")))
    (job,) = jobs_of(rendered, LocalFolder(tmp_path), device="cuda:0")
    ahead = list(hs.heard_clips(job, rendered[1], RATE_HZ, beside, "cuda:0"))
    (plain,) = hs.heard_clips(job, rendered[1], RATE_HZ, beside, "cpu")
    assert [len(heard.records) for heard in ahead] == [3, 3, 1]
    assert [record for heard in ahead for record in heard.records] == plain.records
    loud = [lufs for heard in ahead for lufs in heard.loudness_lufs]
    assert loud == pytest.approx(plain.loudness_lufs, abs=1e-3)
    waves = np.concatenate([heard.waves.numpy() for heard in ahead])
    np.testing.assert_allclose(waves, plain.waves, atol=1e-4)
    for name in ("mel", "clues"):
        found = np.concatenate([getattr(heard, name) for heard in ahead]).astype(int)
        assert np.abs(found - getattr(plain, name)).max() <= 1


@pytest.mark.parametrize(("clip_s", "rate_hz"), [(0.4, RATE_HZ), (0.5, RATE_HZ // 2)])
def test_short_clips_and_those_of_another_rate_are_levelled_on_the_cpu(
    clip_s: float, rate_hz: int, rendered: Rendered, tmp_path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hs, "_ears", lambda *_: pytest.fail("asked the GPU"))
    spec = dataclasses.replace(SPEC, clip_s=clip_s)
    short = dataclasses.replace(rendered[1], spec=spec)
    (job,) = jobs_of(rendered, LocalFolder(tmp_path), device="cuda:0")
    found = list(hs.heard_clips(job, short, rate_hz, (None, None), "cuda:0"))
    assert sum(len(heard.records) for heard in found) == 7


class Deaf:
    """A codec that hears nothing."""

    info = CODEC
    arithmetic = "none"

    def usage(self) -> dict[str, tuple[int, ...]]:
        return {}

    def encode(self, waves: np.ndarray) -> np.ndarray:
        return np.zeros((len(waves), 2, CODEC.n_frames(waves.shape[1])), np.uint16)


def test_as_many_clips_are_compared_as_are_asked_for_whatever_a_batch_holds(
    rendered: Rendered, tmp_path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hs, "BATCH", 2)
    for name in ("_codec", "_load"):
        monkeypatch.setattr(en, name, lambda *_, **__: Deaf())
    (job,) = jobs_of(rendered, LocalFolder(tmp_path), en.EncodeSpec("tiny"))
    assert job["compare"] == 2
    receipt = en.encode_shard(job | {"compare": 5})
    assert receipt.tally["changed"]["clips"] == 5
    assert receipt.shard.n_samples == 7


def test_each_worker_reads_ahead_what_it_will_be_dealt() -> None:
    jobs: list[dict[str, Any]] = [{"split": "train", "first": 4 * k, "n": 4} for k in range(5)]
    en.foresee(jobs, 2)
    assert [job["next"]["first"] for job in jobs[:3]] == [8, 12, 16]
    assert not any("next" in job for job in jobs[3:])


def test_shards_are_encoded_one_a_task(rendered: Rendered, tmp_path, monkeypatch) -> None:
    """What a worker reads ahead is foreseen by turn: of several shards a task, none would be it."""

    def one_a_task(function, jobs, workers, *, alone=False):
        assert alone
        return map(function, jobs)

    monkeypatch.setattr(en, "run_tasks", one_a_task)
    codec = CODEC, np.zeros((2, 4, 2), np.float32)
    folder, workers = LocalFolder(tmp_path), Workers(1)
    index = en.encode_all(
        *rendered, folder, MEL_ONLY, workers, ["cpu"], lambda shard: None, codec=codec
    )
    assert index.counts["train"].n_samples == 7


class Plain:
    def __init__(self, codes: np.ndarray) -> None:
        self.codes = codes

    def encode(self, waves: Sequence[Any]) -> np.ndarray:
        return self.codes


def test_what_changed_is_told_by_codebook_and_memory_by_its_most() -> None:
    codes = np.zeros((2, 3, 4), np.uint16)
    other = codes.copy()
    other[1, 1, 2] = 7
    changed = changed_from(Plain(other), np.zeros((2, 8)), codes)
    assert changed.clips == 2
    assert changed.share == (0.0, 0.125, 0.0)
    tallies = [
        Tally(),
        Tally(changed=changed, peak_vram=(2_000_000_000, 1)),
        Tally(peak_vram=(3_250_000_000,)),
    ]
    found = measured(tallies)
    assert found["changed"]["clips"] == 2
    assert found["peak_vram_gb"] == 3.25
    assert measured(tallies[:1]) == {}
