"""The user's three lines and what follows them, through the real programs, on the synth."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from fixtures.cli import run
from fxtrain.data import open_shards
from fxtrain.rerender import rerender
from fxtrain.sounds import Sounds

N_CHAINS = 48


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """renders/, shards/ and a run, made once."""
    here = tmp_path_factory.mktemp("workspace")
    for line in (
        f"fxpipe render --dataset synth --n-chains {N_CHAINS} --pool take4 --lengths 1-2 -j 2",
        "fxpipe encode --codec embedded --with-mel -j 2",
        "fxtrain fit shards/ --epochs 2 --device cpu --output runs/first",
    ):
        done = run(*line.split(), cwd=here)
        assert done.code == 0, done.err
    return here


def test_no_path_is_needed_between_the_lines(workspace):
    assert (workspace / "renders/index.json").exists()
    assert (workspace / "shards/index.json").exists()
    assert (workspace / "runs/first/model.safetensors").exists()


@pytest.mark.parametrize("directory", ["renders", "shards"])
def test_check_finds_it_whole_and_inspect_says_what_is_there(workspace, directory):
    assert run("fxpipe", "check", directory, cwd=workspace).code == 0
    shown = run("fxpipe", "inspect", directory, cwd=workspace)
    assert shown.code == 0
    assert "delay" in shown.out


def test_records_say_how_each_clip_was_made(workspace):
    done = run("fxpipe", "inspect", "renders", "--sample", "3", "--json", cwd=workspace)
    record = json.loads(done.out)
    assert record["licence"] == "CC0-1.0"
    assert record["chain"]
    assert record["clip"]["performance"]["style"]


def test_running_again_does_nothing_and_says_so(workspace):
    before = (workspace / "renders/index.json").stat().st_mtime_ns
    options = f"--n-chains {N_CHAINS} --pool take4 --lengths 1-2".split()
    done = run("fxpipe", "render", *options, cwd=workspace)
    assert done.code == 0
    assert "nothing to do" in done.err
    assert (workspace / "renders/index.json").stat().st_mtime_ns == before


def test_another_data_set_is_not_written_over_this_one(workspace):
    done = run("fxpipe", "render", "--n-chains", "9", cwd=workspace)
    assert done.code == 2
    assert "--overwrite" in done.last_line


def test_zarr_holds_the_same_samples(workspace):
    line = "encode --codec embedded --with-mel --format zarr -o zarr -j 2"
    done = run("fxpipe", *line.split(), cwd=workspace)
    assert done.code == 0, done.err
    assert run("fxpipe", "check", "zarr", cwd=workspace).code == 0
    one, other = (open_shards(workspace / d).load("train") for d in ("shards", "zarr"))
    assert one.records == other.records
    for name, array in one.arrays().items():
        assert (array == other.arrays()[name]).all() or name == "params"


def test_evaluate_prints_scores_beside_null_and_ceiling(workspace):
    line = "evaluate runs/first shards/ --rerender 2 --clips 1"
    done = run("fxtrain", *line.split(), cwd=workspace)
    assert done.code == 0, done.err
    for word in ("exact", "null", "ceiling", "no effect"):
        assert word in done.out.lower()
    found = json.loads((workspace / "runs/first/evaluation.json").read_text())
    assert found["rerender"]["n"] == 2
    page = (workspace / "runs/first/evaluation.html").read_text()
    assert page.count("<audio") >= 3  # one clip wet, dry and with the answer put on it
    assert "data:audio/flac;base64,ZkxhQ" in page
    assert "Not to be heard" not in page


def test_answers_are_measured_the_same_in_one_process_or_two(workspace):
    dataset = open_shards(workspace / "shards")
    truth = [tuple(p["name"] for p in r["chain"]) for r in dataset.load("train").records]
    said = [names[::-1] for names in truth]
    sounds = Sounds(dataset, "train", str(workspace / "renders"))
    one, two = (rerender(truth, said, sounds, 3, n_workers=n) for n in (1, 2))
    assert one.n == two.n == 3
    for ours, theirs in zip(one.rows, two.rows, strict=True):
        assert (ours.condition, ours.dry) == (theirs.condition, theirs.dry)
        for name, score in ours.scores.items():
            assert theirs.scores[name].value == pytest.approx(score.value, rel=1e-4)


def test_predict_names_pedals_of_a_wav(workspace):
    wav = workspace / "wet.wav"
    made = run("fxpipe", "inspect", "renders", "--split", "test", "--listen", wav, cwd=workspace)
    assert made.code == 0, made.err
    shown = run("fxtrain", "predict", wav, "--run", "runs/first", cwd=workspace)
    assert shown.code == 0, shown.err
    answer = run("fxtrain", "predict", wav, "--run", "runs/first", "--json", cwd=workspace)
    line = json.loads(answer.out)
    names = {"distortion", "chorus", "delay", "reverb"}
    assert {pedal["name"] for pedal in line["pedals"]} <= names
    assert line["file"] == str(wav)


def test_predict_goes_on_after_a_file_it_cannot_read(workspace):
    good, bad = workspace / "good.wav", workspace / "bad.wav"
    run("fxpipe", "inspect", "renders", "--listen", good, cwd=workspace)
    bad.write_bytes(b"not audio")
    done = run("fxtrain", "predict", bad, good, "--run", "runs/first", "--json", cwd=workspace)
    assert done.code == 1
    assert "bad.wav" in done.err
    assert len([line for line in done.out.splitlines() if "good.wav" in line]) == 1


def test_a_listening_test_asks_about_the_answers(workspace):
    line = "listen make ears/ --kind mushra --run runs/first --shards shards/ --split train"
    done = run("fxtrain", *line.split(), "--n-items", "1", "--also-right", "--json", cwd=workspace)
    assert done.code == 0, done.err
    study = json.loads(done.out)
    assert study["recipe"]["dry"] == "the clips' own"
    assert study["n_samples"] == 2 * study["sample_rate_hz"]
    sounds = {sound["file"]["path"] for sound in study["sounds"].values()}
    assert {p.relative_to(workspace / "ears").as_posix()
            for p in (workspace / "ears").rglob("*.wav")} == sounds  # fmt: skip
    loudness = [s["loudness_lufs"] + s["gain_db"] for s in study["sounds"].values()]
    assert max(loudness) - min(loudness) < 0.05
    done = run("fxtrain", "listen", "analyse", "ears/", cwd=workspace)
    assert done.code == 1
    assert "nobody has answered yet" in done.last_line


def test_resume_goes_on_with_the_run(workspace):
    line = "fit shards/ --resume runs/first --epochs 3 --device cpu"
    done = run("fxtrain", *line.split(), cwd=workspace)
    assert done.code == 0, done.err
