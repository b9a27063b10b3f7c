"""What was found in models, checkpoints, recordings and specs, each a test."""

from __future__ import annotations

import hashlib
import io
import json
import os
import pickle
import stat
import zipfile
from pathlib import Path

import pytest
import soundfile

from fixtures.datasets import pluck
from fixtures.errors import one_line
from fixtures.shards import make_shards
from fuzz.targets_data import _respoiled
from fuzz.targets_files import _lying_flac
from fuzz.targets_models import Trap
from fxtrain.contract import (
    ContractError,
    LocalFolder,
    UsageError,
    check_dataset,
    to_dict,
)
from fxtrain.data import open_shards, read_shard

# Models and checkpoints


@pytest.fixture
def run(tmp_path):
    import torch

    from fxtrain.checkpoint import card_of, new_model, save_model
    from fxtrain.config import ModelConfig
    from fxtrain.models import resolve_model

    index = make_shards(tmp_path / "shards", n_train=4, n_valid=2, n_test=0)
    config = resolve_model(ModelConfig(d_model=16, n_heads=2), n_codebooks=4, has_mel=False)
    card = card_of(index, config, {})
    torch.manual_seed(0)
    save_model(tmp_path / "run", card, new_model(card, torch.randn(4, 64, 8)))
    return tmp_path / "run"


@pytest.mark.parametrize(
    ("table", "changes", "what"),
    [
        ("model", {"n_layers": 10**9}, "n_layers is 1000000000"),
        ("model", {"d_model": 65_536, "n_layers": 64}, "do not fit the model"),
        (
            "codec",
            {"n_codebooks": 1024, "codebook_size": 65_535, "codebook_dim": 65_536},
            "do not fit",
        ),
        ("rules", {"n_pedals": 200}, "rules for 200 pedals, expected 4"),
        ("rules", {"min_length": 9}, "min_length is 9"),
        ("decode", {"beam_size": 10**9}, "beam_size is 1000000000"),
        ("decode", {"temperature": 0.0}, "temperature is 0.0"),
    ],
)
def test_a_model_card_does_not_decide_how_much_memory_is_taken(run, table, changes, what):
    from fxtrain.checkpoint import load_run
    from fxtrain.errors import CheckpointError

    data = json.loads((run / "model.json").read_text())
    (data["hearing"] if table == "codec" else data)[table].update(changes)
    (run / "model.json").write_text(json.dumps(data))
    with pytest.raises(CheckpointError, match=what) as error:
        load_run(run)
    one_line(error)


@pytest.mark.parametrize(
    ("dtype", "number", "what"),
    [
        ("float32", float("nan"), "not all are finite"),
        ("float64", 1e300, "not all are finite"),
        ("bfloat16", 1.0, "numbers of type 'BF16', expected F32 or F16"),
    ],
)
def test_weights_that_are_not_numbers_are_refused(run, dtype, number, what):
    import safetensors.torch
    import torch

    from fxtrain.checkpoint import load_run
    from fxtrain.errors import CheckpointError

    state = safetensors.torch.load((run / "model.safetensors").read_bytes())
    state["head.queries"] = state["head.queries"].to(getattr(torch, dtype))
    state["head.queries"][0] = number
    entry = LocalFolder(run).write("model.safetensors", safetensors.torch.save(state))
    data = json.loads((run / "model.json").read_text()) | {"weights": to_dict(entry)}
    (run / "model.json").write_text(json.dumps(data))
    with pytest.raises(CheckpointError, match=what):
        load_run(run)


@pytest.mark.parametrize("content", ["trap", "list", "deep", "bytes", "empty"])
def test_a_poisoned_last_checkpoint_does_not_run(tmp_path, content):
    import torch

    from fxtrain.errors import CheckpointError
    from fxtrain.runs import LAST_NAME, check_resume

    make_shards(tmp_path / "shards", n_train=4, n_valid=2, n_test=0)
    path, proof = tmp_path / "run" / LAST_NAME, tmp_path / "ran"
    path.parent.mkdir(parents=True)
    held = {"trap": {"fxtrain": {"card": Trap(proof)}}, "list": [1], "deep": {"fxtrain": 5}}
    if content in held:
        torch.save(held[content], path)
    else:
        path.write_bytes(b"PK\3\4 no zip" if content == "bytes" else b"")
    with pytest.raises(CheckpointError, match=r"last\.ckpt: cannot be read") as error:
        check_resume(tmp_path / "run", open_shards(tmp_path / "shards"))
    one_line(error)
    assert not proof.exists()


def refused_codec(path) -> str:
    from fxpipe.codec import load_codec
    from fxpipe.errors import CodecError

    with pytest.raises(CodecError) as error:
        load_codec(str(path))
    return one_line(error)


def billion_laughs():
    value: object = ["lol"]
    for _ in range(40):
        value = [value] * 10
    return value


@pytest.mark.parametrize(
    ("kwargs", "what"),
    [
        ({"encoder_dim": 10**12}, "does not describe a DAC model"),
        ({"encoder_rates": [2] * 10**5}, "does not describe a DAC model"),
        ({"n_codebooks": 10**9}, "does not describe a DAC model"),
        ({"encoder_rates": [0]}, "does not describe a DAC model"),
        ({"codebook_dim": 1e9}, "does not describe a DAC model"),
    ],
)
def test_a_codec_of_absurd_sizes_is_refused_before_it_is_built(tmp_path, kwargs, what):
    import torch

    torch.save({"state_dict": {}, "metadata": {"kwargs": kwargs}}, tmp_path / "a.pth")
    assert what in refused_codec(tmp_path / "a.pth")


def test_metadata_that_unfolds_to_a_billion_words_is_not_printed(tmp_path):
    from fxpipe.codec.dac import Architecture
    from fxpipe.errors import CodecError

    with pytest.raises(CodecError, match="does not describe a DAC model"):
        Architecture.from_kwargs({"encoder_dim": "x", "notes": "y" * 10**6}, "here")


@pytest.mark.parametrize("odd", ["terabyte", "nan", "sparse", "text", "missing", "more"])
def test_tensors_that_are_not_what_they_say(tmp_path, odd):
    import torch

    from fxpipe.codec.dac import Architecture, build

    small = {"encoder_dim": 4, "encoder_rates": [2], "latent_dim": 8, "n_codebooks": 1,
             "codebook_size": 4, "codebook_dim": 2}  # fmt: skip
    state: dict[str, object] = dict(build(Architecture.from_kwargs(small, "here")).state_dict())
    key = sorted(state)[0]
    values = {
        "terabyte": torch.zeros(1).half().expand(10**12),
        "nan": state[key] / 0 * 0,
        "sparse": state[key].to_sparse(),
        "text": "weights",
    }
    if odd == "missing":
        del state[key]
    elif odd == "more":  # whole numbers, which would be as many floats
        key = "encoder.counted"
        state[key] = torch.zeros(1, dtype=torch.uint8).expand(10**12)
    else:
        state[key] = values[odd]
    torch.save({"state_dict": state, "metadata": {"kwargs": small}}, tmp_path / "a.pth")
    told = refused_codec(tmp_path / "a.pth")
    assert "do not fit its own metadata" in told
    assert odd == "nan" or key in told


def test_a_checkpoint_that_is_compressed_or_no_archive_is_refused(tmp_path):
    with zipfile.ZipFile(tmp_path / "bomb.pth", "w", zipfile.ZIP_DEFLATED) as bundle:
        bundle.writestr("archive/data.pkl", bytes(10**7))
    assert "compressed" in refused_codec(tmp_path / "bomb.pth")
    (tmp_path / "old.pth").write_bytes(pickle.dumps({"state_dict": Trap(tmp_path / "ran")}))
    assert "without running code" in refused_codec(tmp_path / "old.pth")
    assert not (tmp_path / "ran").exists()


# Audio


def write_audio(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


def as_flac() -> bytes:
    buffer = io.BytesIO()
    soundfile.write(buffer, pluck(50, 0.3), 44_100, format="FLAC", subtype="PCM_16")
    return buffer.getvalue()


class Picks:
    """Stands in for a random.Random: gives these, in order."""

    def __init__(self, *values):
        self._values = list(values)

    def choice(self, _):
        return self._values.pop(0)


@pytest.mark.parametrize(
    ("rate", "channels", "total", "what"),
    [
        (44_100, 1, 2**36 - 1, "too long"),
        (44_100, 8, 10**9, "too long"),
        (1, 1, 10**6, "sample rate of 1 Hz"),
    ],
)
def test_a_flac_header_that_promises_hours_takes_no_memory(tmp_path, rate, channels, total, what):
    from fxpipe.errors import SourceError
    from fxpipe.frontend import PipelineFrontend

    data = _lying_flac(Picks(rate, channels, total), as_flac())
    path = write_audio(tmp_path / "a.flac", data)
    with pytest.raises(SourceError, match=what) as error:
        PipelineFrontend.read(None, path)
    one_line(error)


def test_a_format_nobody_records_in_and_a_pipe_are_refused(tmp_path):
    from fxpipe.errors import SourceError
    from fxpipe.sources import Item, read_recording

    soundfile.write(tmp_path / "a.wav", pluck(50, 0.3), 44_100, format="VOC", subtype="PCM_16")
    os.mkfifo(tmp_path / "pipe.wav")
    assert stat.S_ISFIFO((tmp_path / "pipe.wav").stat().st_mode)
    for name, what in (("a.wav", "format VOC"), ("pipe.wav", "not a file")):
        uri, meta = str(tmp_path / name), {}
        if name == "a.wav":
            meta["sha256"] = hashlib.sha256((tmp_path / name).read_bytes()).hexdigest()
        item = Item("a", "a", uri, 13_230, 44_100, "unknown", 0.5, ((0.0, 0.3),), meta)
        with pytest.raises(SourceError, match=what):
            read_recording(item, 44_100)


# Specs


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("[render]\nrun_in_s = 1e12", "run_in_s is 1e"),
        ("[render]\nclip_s = nan", "finite number"),
        ("[render]\naudible_db = -inf", "finite number"),
        ("[render]\nsample_rate_hz = 0", "sample_rate_hz is 0"),
        ("[render]\nnoise_cutoff_hz = [-1.0, 5.0]", "noise_cutoff_hz is -1 to 5"),
        ("[render]\noutput_gain_db = [0.0, 1e308]", "output_gain_db is 0 to 1e"),
        ("[chain]\nrepeats = true\nlengths = {1000000000 = 1.0}", "255 is the longest"),
        ("[chain]\nweights = {delay = 1e308}", "within 1e-9 and 1e9"),
        ("[chain]\nlengths = {1 = 1e-300}", "within 1e-9 and 1e9"),
        ("[chain]\ntemperature = 1e300", "temperature is 1e"),
        ("[chain]\npool = " + "[" * 3000, "not TOML"),
        ("x = " + "9" * 5000, "not TOML"),
        ("[render]\nclip_s = 0x" + "f" * 400, "beyond all sizes"),
        ('[chain]\norder = "' + "x" * 100_000 + '"', "unknown order policy"),
    ],
)
def test_a_spec_that_is_absurd_is_one_line(tmp_path, text, what):
    from fxpipe.config import render_spec

    (tmp_path / "spec.toml").write_text(text)
    with pytest.raises(UsageError, match=what) as error:
        render_spec(tmp_path / "spec.toml", {})
    one_line(error)


@pytest.mark.parametrize(
    "text",
    [
        "[model]\nn_layers = 1000000000",
        "[model]\nsubsample = 1099511627776",
        "[train]\nbatch_size = 1000000000000",
        "[train]\nlr = nan",
        "x = " + "[" * 3000,
        "x = " + "9" * 5000,
    ],
)
def test_training_settings_that_are_absurd_are_one_line(tmp_path, text):
    from fxtrain.config import load_config

    (tmp_path / "fit.toml").write_text(text)
    with pytest.raises(UsageError) as error:
        load_config(tmp_path / "fit.toml", {})
    one_line(error)


def test_a_spec_from_elsewhere_cannot_name_a_plugin_by_its_path():
    from fxpipe.pedals import PluginPedal

    for plugin in ("../evil.vst3", "/tmp/evil.vst3", "a/evil.vst3"):
        with pytest.raises(ContractError):
            PluginPedal("mine", plugin, "", "1", "0" * 64, "time", "lti", "", (), ())


@pytest.mark.parametrize("pattern", [r"(x+x+)+y", "((x|x)*)*b", r"^(\w+\s?)*$!", "(x*)*\\1b"])
def test_a_pattern_that_re_would_search_for_years_ends(pattern):
    from fxpipe.sources.manifest import SplitGroup

    assert SplitGroup("by name", pattern).group_of("x" * 60 + "!.wav") == "x" * 60 + "!"


def test_a_pattern_that_takes_too_long_is_named(monkeypatch):
    from fxpipe.errors import SourceError
    from fxpipe.sources import manifest

    def search(pattern, text, timeout):
        assert timeout == manifest.PATTERN_S
        raise TimeoutError("regex timed out")

    monkeypatch.setattr(manifest.regex, "search", search)
    with pytest.raises(SourceError, match=r"takes more than 1 s on 'x\.wav'"):
        manifest.SplitGroup("by name", "(x)").group_of("x.wav")


def test_a_symmetry_table_with_few_quantiles_is_refused(tmp_path):
    from fxpipe.orders.commute import SHIPPED, load_table

    data = json.loads(SHIPPED.read_text())
    data["pairs"][0]["mel_db"] = [1.0]
    (tmp_path / "symmetry.json").write_text(json.dumps(data))
    with pytest.raises(UsageError, match="quantiles, expected 21"):
        load_table(tmp_path)


def test_many_small_members_cannot_fill_a_disk(tmp_path):
    from fxpipe.errors import DownloadError
    from fxpipe.fetch.unzip import unzip

    with zipfile.ZipFile(tmp_path / "a.zip", "w", zipfile.ZIP_DEFLATED) as bundle:
        for number in range(3):
            bundle.writestr(f"{number}.wav", bytes(40_000_000))
    with pytest.raises(DownloadError, match="more than 200 times"):
        unzip(tmp_path / "a.zip", tmp_path / "out", lambda name: True)
    assert not (tmp_path / "out").exists()


def test_reading_shards_of_every_backend_still_works(tmp_path):
    for backend in ("webdataset", "zarr"):
        index = make_shards(tmp_path / backend, backend=backend, n_train=6, shard_size=4)
        folder = LocalFolder(tmp_path / backend)
        assert list(check_dataset(folder, read_shard)) == []
        assert len(open_shards(tmp_path / backend).load_arrays("train")["codes"]) == 6
        assert index.backend == backend


def test_a_render_of_a_pedal_that_nobody_knows_is_a_problem(tmp_path):
    from fuzz.targets_data import _renders
    from fxpipe.verify import check_renders

    folder, index = _renders(tmp_path)
    name = index.shards[0].files[1].path
    record = json.loads(folder.read(name).splitlines()[0])
    record["chain"][0]["name"] = "theremin"
    lines = [json.dumps(record).encode(), *folder.read(name).splitlines()[1:]]
    _respoiled(folder, index, name, b"\n".join(lines) + b"\n")
    (problem,) = check_renders(str(tmp_path / "renders"))
    assert "unknown pedal 'theremin'" in problem.what


@pytest.mark.parametrize("change", [{"licences": {}}, {"items": 5}, {"digest": None}])
def test_a_plan_without_its_licence_or_items_is_one_line(tmp_path, change):
    from fuzz.targets_data import _renders
    from fxpipe.errors import RenderError
    from fxpipe.plan import read_plan

    folder, index = _renders(tmp_path)
    plan = json.loads(folder.read("plan.json"))
    plan["scan"].update(change)
    folder.write("plan.json", json.dumps(plan).encode())
    with pytest.raises(RenderError, match="again") as error:
        read_plan(folder, index.identity)
    one_line(error)
