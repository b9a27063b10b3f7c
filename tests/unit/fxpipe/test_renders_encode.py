"""Renders and shards without dask: the task functions are plain functions of a job."""

from __future__ import annotations

import json
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pytest
import soundfile

from fixtures.datasets import make_folder
from fxpipe import renders as rd
from fxpipe.chains.chain import ChainSpec
from fxpipe.codec import load_codec
from fxpipe.ears import features
from fxpipe.encode import EncodeSpec, encode_shard, shard_size_for
from fxpipe.errors import CodecError, SourceError
from fxpipe.frontend import open_frontend
from fxpipe.mel import mel_info
from fxpipe.pedals import POOLS
from fxpipe.render import After, RenderSpec, finish, run_chain
from fxpipe.renders import chain_of
from fxpipe.sources import open_source
from fxpipe.summary import encode_summary
from fxpipe.tasks import read_receipts
from fxpipe.verify import check_directory
from fxtrain.contract import (
    MISSING_CODE,
    NOT_RUN,
    Hearing,
    LevelRule,
    UsageError,
    from_dict,
    identity_of,
    open_folder,
    read_index,
    to_dict,
)
from fxtrain.data import open_shards

SPEC = RenderSpec(ChainSpec(POOLS["okita3"], {1: 1.0, 2: 1.0}), clip_s=0.5, run_in_s=0.1)


def inline(function, jobs, workers, **_):
    """Stands for ``run_tasks``: the same jobs, one after another, here."""
    return map(function, jobs)


def render_inline(path: Path, source, n=30, seed=0, monkeypatch=None):
    monkeypatch.setattr(rd, "run_tasks", inline)
    folder = open_folder(path)
    plan = rd.make_plan(SPEC, source, n, seed, progress=False)
    return folder, plan, rd.render_all(folder, plan, None, lambda shard: None)


@pytest.fixture
def synth(tmp_path, monkeypatch):
    return render_inline(tmp_path / "r", open_source("synth"), monkeypatch=monkeypatch)


@pytest.fixture
def files(tmp_path, monkeypatch):
    make_folder(tmp_path / "guitar")
    source = open_source(f"folder:{tmp_path / 'guitar'}")
    return render_inline(tmp_path / "r", source, monkeypatch=monkeypatch)


def test_a_clip_is_remade_from_its_record(synth):
    folder, plan, index = synth
    waves, records = rd.read_shard(folder, index.shards[0])
    record = records[3]
    draw = rd.draw_clip(plan.spec, plan.seed, record["split"], record["seed"][1])
    dry, _ = rd.take_clip(plan, record["split"], record["seed"][1], 0, draw)
    wet, _ = run_chain(dry, chain_of(record), 44_100, skip=plan.spec.n_run_in)
    rng = rd.generator(plan.seed, record["split"], record["seed"][1], "noise")
    again = finish(wet, After(**record["after"]), 44_100, rng)
    np.testing.assert_array_equal(waves[3], np.round(again / record["scale"]).astype(np.int16))


def test_shards_do_not_depend_on_one_another(synth):
    folder, plan, _ = synth
    job = rd.shard_jobs(rd.settle_shard_size(folder, plan, ()), folder)[-1]
    before = folder.read(f"{job['name']}.npy")
    rd.render_shard(job)
    assert folder.read(f"{job['name']}.npy") == before


def test_more_chains_keep_the_first_ones(tmp_path, monkeypatch, synth):
    folder, _, index = synth
    other, _, longer = render_inline(
        tmp_path / "longer", open_source("synth"), n=40, monkeypatch=monkeypatch
    )
    first = next(rd.iter_clips(folder, index, "train", 0, 1))[1]
    assert next(rd.iter_clips(other, longer, "train", 0, 1))[1] == first


def test_no_group_is_on_two_sides(files):
    folder, _, index = files
    sides: dict[str, set[str]] = {}
    for shard in index.shards:
        for record in rd.read_shard(folder, shard)[1]:
            sides.setdefault(record["group"], set()).add(record["split"])
    assert len(sides) >= 3
    assert all(len(side) == 1 for side in sides.values())


def test_identity_changes_with_the_data_and_not_with_its_place(tmp_path, monkeypatch, files):
    _, plan, _ = files
    moved = tmp_path / "moved"
    (tmp_path / "guitar").rename(moved)
    again = rd.make_plan(SPEC, open_source(f"folder:{moved}"), 30, 0, progress=False)
    assert again.identity == plan.identity
    other_seed = rd.make_plan(SPEC, open_source(f"folder:{moved}"), 30, 1, progress=False)
    assert other_seed.identity != plan.identity
    sorted(p for p in moved.rglob("*.wav"))[0].unlink()
    fewer = rd.make_plan(SPEC, open_source(f"folder:{moved}"), 30, 0, progress=False)
    assert fewer.identity != plan.identity


def test_a_file_that_vanished_after_the_scan_is_named(tmp_path, monkeypatch):
    make_folder(tmp_path / "guitar")
    plan = rd.make_plan(SPEC, open_source(f"folder:{tmp_path / 'guitar'}"), 30, 0, progress=False)
    for path in (tmp_path / "guitar").rglob("*.wav"):
        path.unlink()
    with pytest.raises(SourceError, match="put the file back"):
        rd.render_clip(plan, "train", 0)


def test_three_chains_are_the_fewest():
    with pytest.raises(UsageError, match="too few"):
        rd.make_plan(SPEC, open_source("synth"), 2, 0, progress=False)


def test_specs_survive_the_index(synth):
    folder, _, index = synth
    assert rd.read_renders_index(folder) == index
    assert from_dict(RenderSpec, json.loads(json.dumps(to_dict(SPEC))), "x") == SPEC


def test_receipts_of_another_plan_or_of_a_cut_file_do_not_count(synth):
    folder, plan, index = synth
    assert len(read_receipts(folder, plan.identity, verify=True)) == len(index.shards)
    assert read_receipts(folder, "another", verify=False) == {}
    name = index.shards[0].files[0].path
    folder.write(name, folder.read(name)[:-1])
    assert index.shards[0].name not in read_receipts(folder, plan.identity, verify=False)
    for damaged in (b'{"cut', b"[]"):
        folder.write(f".receipts/{index.shards[1].name}.json", damaged)
        assert index.shards[1].name not in read_receipts(folder, plan.identity, verify=False)


def test_a_receipt_that_counts_something_else_does_not_count(synth):
    folder, plan, index = synth
    name = f".receipts/{index.shards[0].name}.json"
    receipt = json.loads(folder.read(name)) | {"tally": {"chains": []}}
    folder.write(name, json.dumps(receipt).encode())
    again = rd.render_all(folder, plan, None, lambda shard: None)
    assert again == index
    assert set(json.loads(folder.read(name))["tally"]) > {"counts", "redraws"}


def relabel(folder, shard, change) -> None:
    """A receipt as another version might have left it, whole in itself."""
    name = f".receipts/{shard.name}.json"
    data = change(json.loads(folder.read(name)))
    data.pop("sha256")
    folder.write(name, json.dumps(data | {"sha256": identity_of(data)}).encode())


def test_receipts_of_other_clips_do_not_count_as_shards_either(tmp_path, monkeypatch, synth):
    from fxpipe import encode as en

    monkeypatch.setattr(en, "run_tasks", inline)
    folder, _, renders = synth
    out, spec = open_folder(tmp_path / "shards"), EncodeSpec("embedded", shard_size=10)
    index = en.encode_all(folder, renders, out, spec, None, ["cpu"], lambda shard: None)
    relabel(out, index.shards[1], lambda d: d | {"shard": d["shard"] | {"first": 0}})
    relabel(out, index.shards[0], lambda d: d | {"shard": d["shard"] | {"n_samples": 9}})
    made, found = [], []
    again = en.encode_all(
        folder, renders, out, spec, None, ["cpu"], made.append, on_found=found.append
    )
    assert again == index
    assert {shard.name for shard in made} == {shard.name for shard in index.shards[:2]}
    assert {shard.name for shard in found} == {shard.name for shard in index.shards[2:]}


def test_shards_of_another_release_are_told_and_named_in_the_index(tmp_path, synth, capsys):
    folder, plan, index = synth
    older = {"pedalboard": "0.0.1"}
    relabel(
        folder,
        index.shards[0],
        lambda d: d | {"tally": d["tally"] | {"release": d["tally"]["release"] | older}},
    )
    rd.render_all(folder, plan, None, lambda shard: None)
    assert capsys.readouterr().err == ""  # nothing was to be made
    folder.delete(index.shards[-1].files[0].path)
    again = rd.render_all(folder, plan, None, lambda shard: None)
    n, here = len(index.shards) - 1, version("pedalboard")
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(
        f"warning: {folder.uri}: 1 of {n} finished shards were made with pedalboard 0.0.1 instead "
        f"of {here};"
    )
    assert again.versions["pedalboard"] == f"0.0.1; {here}"
    assert index.versions["pedalboard"] == here


def test_receipts_without_a_release_are_read(synth, capsys):
    folder, plan, index = synth
    for shard in index.shards:
        relabel(
            folder,
            shard,
            lambda d: d | {"tally": {k: v for k, v in d["tally"].items() if k != "release"}},
        )
    folder.delete(index.shards[-1].files[0].path)
    made = []
    assert rd.render_all(folder, plan, None, made.append, on_found=lambda shard: None) == index
    assert [shard.name for shard in made] == [index.shards[-1].name]
    assert capsys.readouterr().err == ""


def test_encoders_say_their_release_too(tmp_path, monkeypatch, synth, capsys):
    from fxpipe import encode as en

    monkeypatch.setattr(en, "run_tasks", inline)
    folder, _, renders = synth
    out, spec = open_folder(tmp_path / "shards"), EncodeSpec("embedded", shard_size=20)
    index = en.encode_all(folder, renders, out, spec, None, ["cpu"], lambda shard: None)
    older = {"torch": "1.0"}
    relabel(
        out,
        index.shards[0],
        lambda d: d | {"tally": d["tally"] | {"release": d["tally"]["release"] | older}},
    )
    out.delete(index.shards[-1].files[0].path)
    en.encode_all(folder, renders, out, spec, None, ["cpu"], lambda shard: None)
    assert f"torch 1.0 instead of {version('torch')}" in capsys.readouterr().err


def test_a_receipt_does_not_grow_with_its_clips(synth):
    folder, _, index = synth
    tallies = [
        rd.tally_of(rd.read_records(folder, index.shards[0])[:n], index.vocabulary) for n in (8, 16)
    ]
    assert tallies[1].counts.n_samples == 2 * tallies[0].counts.n_samples
    sizes = [len(json.dumps(to_dict(tally))) for tally in tallies]
    assert abs(sizes[1] - sizes[0]) < 16


def test_check_finds_an_altered_record(synth):
    folder, _, index = synth
    assert list(check_directory(folder.uri)) == []
    shard = index.shards[-1]
    lines = folder.read(shard.files[1].path).decode().splitlines()
    record = json.loads(lines[0])
    record["split"] = "train"
    lines[0] = json.dumps(record)
    folder.write(shard.files[1].path, "\n".join(lines).encode())
    assert any("sha256" in str(p) or "bytes" in str(p) for p in check_directory(folder.uri))


@pytest.mark.parametrize(("n", "backend", "size"), [(100, "webdataset", 62), (10**6, "zarr", 1024)])
def test_shard_size_follows_the_number_of_samples(n, backend, size):
    assert shard_size_for(EncodeSpec(backend=backend), n) == size
    assert shard_size_for(EncodeSpec(backend=backend, shard_size=7), n) == 7


def test_training_and_prediction_hear_the_same(tmp_path, synth):
    """The codes a model sees at inference are those it was trained on."""
    folder, _, renders = synth
    codec = load_codec("embedded", n_threads=1)
    mel = mel_info(codec.info)
    wave, _ = next(rd.iter_clips(folder, renders, "test", 0, 1))
    trained_on = features([wave], 44_100, codec, mel)
    soundfile.write(tmp_path / "clip.wav", 0.1 * wave, 44_100, subtype="FLOAT")
    hearing = Hearing(codec.info, mel, LevelRule(-16.0, 0.999), SPEC.n_samples)
    frontend = open_frontend(hearing)
    heard = frontend.encode(*frontend.read(tmp_path / "clip.wav"))
    assert heard.codes.shape == trained_on.codes.shape
    assert (heard.codes == trained_on.codes).mean() > 0.99
    assert np.abs(heard.mel.astype(int) - trained_on.mel).max() <= 1


def test_frontend_hears_windows_and_refuses_silence(tmp_path):
    codec = load_codec("embedded", n_threads=1)
    hearing = Hearing(codec.info, None, LevelRule(-16.0, 0.999), 22_050)
    frontend = open_frontend(hearing)
    wave = np.zeros(66_150, np.float32)
    wave[:30_000] = np.sin(np.arange(30_000) / 30)
    heard = frontend.encode(wave, 44_100)
    assert heard.starts_s == (0.0, 0.5)
    assert heard.sample_rate_hz == 44_100
    assert frontend.encode(wave, 8_000).sample_rate_hz == 8_000  # the file's, not the codec's
    with pytest.raises(SourceError, match="nothing sounds"):
        frontend.encode(np.zeros(66_150, np.float32), 44_100)


def test_frontend_refuses_other_weights():
    import dataclasses

    codec = load_codec("embedded", n_threads=1)
    other = dataclasses.replace(codec.info, weights_sha256="0" * 64)
    with pytest.raises(CodecError, match="was trained with"):
        open_frontend(Hearing(other, None, LevelRule(-16.0, 0.999), 22_050))


def test_encode_task_writes_what_the_reader_reads(tmp_path, monkeypatch, synth):
    from fxpipe import encode as en

    monkeypatch.setattr(en, "run_tasks", inline)
    folder, _, renders = synth
    out = open_folder(tmp_path / "shards")
    spec = EncodeSpec("embedded", with_mel=True)
    index = en.encode_all(folder, renders, out, spec, None, ["cpu"], lambda shard: None)
    assert read_index(out) == index
    assert list(check_directory(out.uri)) == []
    assert index.counts == renders.counts
    again = [out.read(file.path) for shard in index.shards for file in shard.files]
    more = 62, ["cpu"], en.How(), index.codec
    for job in en._jobs(folder, renders, out, spec, index.identity, *more):
        encode_shard(job)
    assert again == [out.read(file.path) for shard in index.shards for file in shard.files]


def test_log_mel_alone_is_that_beside_codes_and_runs_no_codec(tmp_path, monkeypatch, synth):
    from fxpipe import encode as en

    monkeypatch.setattr(en, "run_tasks", inline)
    folder, _, renders = synth
    found = {}
    for precision in ("fp32", NOT_RUN):
        out = open_folder(tmp_path / precision)
        spec = EncodeSpec("embedded", precision, with_mel=True)
        if precision == NOT_RUN:
            monkeypatch.setattr(en, "_codec", None)
        index = en.encode_all(folder, renders, out, spec, None, ["cpu"], lambda shard: None)
        assert list(check_directory(out.uri)) == []
        found[precision] = index, open_shards(out.uri).load("train")
    (both, heard), (alone, unheard) = found.values()
    assert (unheard.codes == MISSING_CODE).all()
    np.testing.assert_array_equal(unheard.mel, heard.mel)
    assert unheard.records == heard.records
    assert (alone.mel_only, both.mel_only) == (True, False)
    assert alone.identity != both.identity
    assert "changed" not in alone.recipe
    assert "log-mel and clues of the wave alone, " in encode_summary(alone, "out")


def test_shards_prepared_ahead_for_a_gpu_are_those_a_cpu_reads(tmp_path, synth):
    from fxpipe import encode as en
    from fxpipe.hearing_shard import heard_clips

    folder, _, renders = synth
    out = open_folder(tmp_path / "shards")
    more = 10, ["cuda:0"], en.How(), en.codec_of(EncodeSpec("embedded"))[0]
    jobs = en._jobs(folder, renders, out, EncodeSpec("embedded"), "id", *more)
    en.foresee(jobs, 1)
    assert [job["compare"] for job in jobs] == [2] + [0] * (len(jobs) - 1)
    assert jobs[0]["next"] == {key: jobs[1][key] for key in ("split", "first", "n")}
    assert "next" not in jobs[-1]
    for job in jobs:
        asked = job, renders, 24_000, (None, None)
        ahead, plain = (list(heard_clips(*asked, device)) for device in ("cuda:0", "cpu"))
        np.testing.assert_array_equal(
            np.concatenate([heard.waves for heard in ahead]),
            np.concatenate([heard.waves for heard in plain]),
        )
        records = [[r for heard in part for r in heard.records] for part in (ahead, plain)]
        assert records[0] == records[1]


def test_what_the_arithmetic_changed_is_in_the_index_and_the_summary(tmp_path, monkeypatch, synth):
    from fxpipe import encode as en
    from fxpipe.codec import How
    from fxpipe.summary import encode_summary

    monkeypatch.setattr(en, "run_tasks", inline)
    folder, _, renders = synth
    found = {}
    for name, how in (("tiled", How()), ("exact", How(exact=True))):
        out = open_folder(tmp_path / name)
        found[name] = en.encode_all(
            folder, renders, out, EncodeSpec("embedded"), None, ["cpu"], lambda shard: None, how=how
        )
    tiled, exact = found["tiled"], found["exact"]
    assert tiled.identity == exact.identity  # measured and computed otherwise: the same data
    assert tiled.recipe["changed"]["clips"] == 2
    assert len(tiled.recipe["changed"]["share"]) == 9
    assert max(tiled.recipe["changed"]["share"]) <= 0.001
    assert "changed" not in exact.recipe
    assert "tiled" in tiled.versions["encoder"]
    assert "dac's layers" in exact.versions["encoder"]
    assert "codes that differ from plain fp32, on 2 clips" in encode_summary(tiled, "x")
    assert "differ" not in encode_summary(exact, "x")
    assert encode_summary(exact, "my shards").endswith("next: fxtrain fit 'my shards'")


def test_a_codec_learns_from_renders_and_its_tokens_can_be_heard(synth, tmp_path):
    from fxpipe.codec import recipe
    from fxpipe.codec.listen import decoded
    from fxpipe.codec.train import TrainConfig, export_encoder

    folder, _, index = synth
    tiny = {"encoder_dim": 4, "encoder_rates": [8, 8, 4, 2], "latent_dim": 16, "decoder_dim": 32,
            "decoder_rates": [2, 4, 8, 8], "n_codebooks": 2, "codebook_size": 16,
            "codebook_dim": 4}  # fmt: skip
    config = TrainConfig(
        architecture=tiny, n_steps=3, free_steps=1, fit_batches=2, mel_windows=(128, 512)
    )
    lines: list[str] = []
    report = recipe.train_on_renders(
        tmp_path / "run", [folder.uri], device="cpu", config=config, log=lines.append,
    )  # fmt: skip
    assert report.finished
    assert lines[0] == (
        f"{index.counts['train'].n_samples} clips to learn from, "
        f"{index.counts['test'].n_samples} held out"
    )
    out = export_encoder(tmp_path / "run", tmp_path / "out", {}).parent
    wave = rd.read_shard(folder, index.shards[0])[0][0] / np.float32(32768)
    one, both = (decoded(wave, n, out) for n in (1, None))
    assert one.shape == both.shape == wave.shape
    assert np.abs(one - both).max() > 0
    with pytest.raises(CodecError, match="expected 1 to 2"):
        decoded(wave, 3, out)
    (out / "decoder.safetensors").unlink()
    with pytest.raises(CodecError, match="no decoder here"):
        decoded(wave, 1, out)


def test_the_same_crops_come_from_a_step_however_a_run_got_there(synth):
    from fxpipe.codec.rendered import RenderedCrops, levelled_clips

    folder, _, _ = synth
    clips = levelled_clips([folder.uri], "train", 7, 44_100, "cpu")
    assert clips.shape == (7, 22_528)  # 22,050 padded to whole hops
    crops = RenderedCrops(clips, batch_size=3, crop_samples=2048, seed=1)
    first = crops(0)
    next(first)
    np.testing.assert_array_equal(next(first), next(crops(1)))
    assert float(next(crops(5)).abs().max()) <= 0.99
    with pytest.raises(CodecError, match="found none"):
        levelled_clips([folder.uri], "train", 0, 44_100, "cpu")
    with pytest.raises(CodecError, match="clips of 22528 samples, expected 32768"):
        RenderedCrops(clips, batch_size=3, crop_samples=32_768, seed=1)
