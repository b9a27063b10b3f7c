"""fxpipe.codec: names, loading, tokens; equal to dac's own and to transformers' model."""

from __future__ import annotations

import json
import os
import pickle
import subprocess
import sys
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner

from fxpipe.cli import cli
from fxpipe.codec import CODECS, dac, engine, load_codec, weights
from fxpipe.errors import CodecError

SMALL = {
    "encoder_dim": 8,
    "encoder_rates": [2, 4, 8, 8],
    "decoder_dim": 32,
    "decoder_rates": [8, 8, 4, 2],
}


def noise(n_clips: int, n_samples: int, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return (0.1 * rng.standard_normal((n_clips, n_samples))).astype(np.float32)


@pytest.fixture(scope="module")
def reference():
    """dac.DAC itself, 0.49 M random parameters."""
    module = dac.import_dac()
    with warnings.catch_warnings(), torch.random.fork_rng():
        warnings.simplefilter("ignore", FutureWarning)
        torch.manual_seed(7)
        return module.DAC(**SMALL).eval()


@pytest.fixture(scope="module")
def checkpoint(reference, tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("codec") / "small.pth"
    reference.save(str(path), package=False)
    return path


@pytest.fixture(scope="module")
def embedded():
    return load_codec("embedded", n_threads=1)


def test_embedded_gives_173_frames_of_9_codes(embedded):
    codes = embedded.encode(noise(2, 88_200))
    assert codes.shape == (2, 9, 173)
    assert codes.dtype == np.uint16
    assert codes.max() < 1024
    assert embedded.info.n_frames(88_200) == 173
    assert embedded.info.n_frames(88_064) == 172
    assert embedded.codebooks.shape == (9, 1024, 8)
    assert embedded.codebooks.dtype == np.float32
    info = embedded.info
    assert (info.name, info.sample_rate_hz, info.hop_samples) == ("embedded", 44_100, 512)
    assert (info.n_codebooks, info.codebook_size, info.codebook_dim) == (9, 1024, 8)
    assert info.precision == "fp32"
    assert len(info.weights_sha256) == 64
    assert json.loads(json.dumps(vars(info))) == vars(info)


def test_embedded_matches_its_registered_architecture():
    card = json.loads(Path(dac.__file__).with_name("embedded").joinpath("codec.json").read_text())
    assert card["architecture"] == dict(CODECS["embedded"].architecture)


def test_codes_do_not_depend_on_the_batch_or_the_call(embedded):
    clips = noise(3, 20_000)
    together = embedded.encode(clips)
    np.testing.assert_array_equal(together, embedded.encode(clips))
    np.testing.assert_array_equal(together[2:], embedded.encode(clips[2:]))


def test_right_padding_is_silence(embedded):
    clip = noise(1, 20_000)
    padded = np.pad(clip, ((0, 0), (0, -20_000 % 512)))
    np.testing.assert_array_equal(embedded.encode(clip), embedded.encode(padded))


def test_no_clips_give_no_codes(embedded):
    assert embedded.encode(noise(0, 88_200)).shape == (0, 9, 173)


@pytest.mark.parametrize(
    ("audio", "found"),
    [
        (np.zeros(88_200, np.float32), r"float32 \[88200\]"),
        (np.zeros((1, 88_200)), r"float64 \[1, 88200\]"),
        (np.zeros((1, 0), np.float32), r"float32 \[1, 0\]"),
        (np.full((1, 600), np.nan, np.float32), "NaN"),
    ],
)
def test_other_audio_is_refused(embedded, audio, found):
    with pytest.raises(CodecError, match=found):
        embedded.encode(audio)


def test_a_checkpoint_by_path_gives_the_codes_of_dac_itself(reference, checkpoint):
    clips = noise(3, 88_200)
    codec = load_codec(str(checkpoint))
    with torch.no_grad():
        audio = reference.preprocess(torch.from_numpy(clips)[:, None], 44_100)
        expected = reference.encode(audio)[1].numpy()
    codes = codec.encode(clips)
    assert codes.shape == expected.shape == (3, 9, 173)
    assert np.mean(codes == expected) >= 0.999
    assert len(np.unique(codes)) > 100  # else equality would say little
    np.testing.assert_array_equal(
        codec.codebooks[3], reference.quantizer.quantizers[3].codebook.weight.detach().numpy()
    )


@pytest.mark.parity
def test_codes_equal_those_of_transformers(reference, checkpoint):
    transformers = pytest.importorskip(
        "transformers", reason="transformers.DacModel is the independent implementation"
    )
    config = transformers.DacConfig(
        encoder_hidden_size=8, decoder_hidden_size=32, sampling_rate=44_100
    )
    model = transformers.DacModel(config).eval()
    state = {}
    folded = dac.load_encoder(*dac.read_checkpoint(checkpoint), "small").state_dict()
    for key, value in folded.items():
        parts = key.split(".")
        if parts[0] == "encoder":
            parts = ["encoder", *_transformers_name([int(p) for p in parts if p.isdigit()], 4)]
            parts.append(key.rpartition(".")[2])
        state[".".join(parts)] = value
    missing, unexpected = model.load_state_dict(state, strict=False)
    assert not unexpected
    assert all(name.startswith("decoder.") for name in missing)
    clips = noise(2, 88_064)
    with torch.no_grad():
        expected = model.encode(torch.from_numpy(clips)[:, None]).audio_codes.numpy()
    assert np.mean(load_codec(str(checkpoint)).encode(clips) == expected) >= 0.999


def _transformers_name(index: list[int], n_blocks: int) -> list[str]:
    """dac's places in nn.Sequential -> transformers' names."""
    if len(index) == 1:
        return [{0: "conv1", n_blocks + 1: "snake1", n_blocks + 2: "conv2"}[index[0]]]
    block = ["block", str(index[0] - 1)]
    if len(index) == 2:
        return [*block, {3: "snake1", 4: "conv1"}[index[1]]]
    unit = {0: "snake1", 1: "conv1", 2: "snake2", 3: "conv2"}[index[2]]
    return [*block, f"res_unit{index[1] + 1}", unit]


def test_unknown_codec_names_the_nearest():
    with pytest.raises(CodecError, match=r"unknown codec '44kz'.*'44khz'.*embedded"):
        load_codec("44kz")


def test_a_path_that_is_not_there_says_so(tmp_path):
    with pytest.raises(CodecError, match=r"gone\.pth.*no such file"):
        load_codec(str(tmp_path / "gone.pth"))


def test_a_bare_name_is_looked_for_where_the_variable_says(checkpoint, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    other = tmp_path / "other" / "small.pth"
    other.parent.mkdir()
    other.write_bytes(checkpoint.read_bytes() + b" ")
    places = [str(tmp_path / "gone"), "", str(other), str(checkpoint.parent)]
    monkeypatch.setenv("FXPIPE_CODEC", os.pathsep.join(places))
    digest = weights.sha256_of(checkpoint)
    assert weights.find_checkpoint("small.pth") == other
    assert weights.find_checkpoint("small.pth", "0" * 64) == other
    assert weights.find_checkpoint("large.pth") is None
    assert weights.find_checkpoint("./small.pth") is None
    info = load_codec("small.pth", sha256=digest).info
    assert (info.name, info.weights_sha256) == ("small.pth", digest)
    (tmp_path / "small.pth").write_bytes(b"here")
    assert weights.find_checkpoint("small.pth") == Path("small.pth")
    assert weights.find_checkpoint("small.pth", digest) == checkpoint


@pytest.mark.parametrize("sha256", [None, "ab" * 32])
@pytest.mark.parametrize(("value", "says"), [("", r"\(not set\)"), ("/nowhere", r"\(/nowhere\)")])
def test_a_bare_name_that_is_nowhere_names_the_variable(monkeypatch, value, says, sha256):
    monkeypatch.setenv("FXPIPE_CODEC", value)
    wanted = rf"encoder\.safetensors'{f' .sha256 {sha256}.' if sha256 else ''}: no such file, .*"
    with pytest.raises(CodecError, match=rf"{wanted}FXPIPE_CODEC {says}; set FXPIPE_CODEC to"):
        load_codec("encoder.safetensors", sha256=sha256)


def test_what_is_no_sound_cannot_be_listened_to(tmp_path):
    path = tmp_path / "mk.py"
    path.write_text("print('hello')\n" * 100)
    done = CliRunner().invoke(cli, ["codec", "listen", str(path), "-o", str(tmp_path / "x.wav")])
    assert "mk.py: cannot be read as audio (Format not recognised" in str(done.exception)
    assert "BytesIO" not in str(done.exception)


def test_weights_that_were_never_fetched_say_what_to_type(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    with pytest.raises(CodecError, match="fxpipe codec fetch 44khz"):
        load_codec("44khz")


class _Trap:
    """Unpickling this creates a file: what a poisoned checkpoint would do."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return (open, (str(self.path), "w"))


@pytest.mark.parametrize("plain", [True, False])
def test_a_poisoned_pickle_is_refused_and_does_not_run(tmp_path, plain):
    path, proof = tmp_path / "poisoned.pth", tmp_path / "ran"
    if plain:
        path.write_bytes(pickle.dumps({"state_dict": _Trap(proof), "metadata": {"kwargs": {}}}))
    else:
        torch.save({"state_dict": _Trap(proof), "metadata": {"kwargs": {}}}, path)
    with pytest.raises(CodecError, match="without running code"):
        load_codec(str(path))
    assert not proof.exists()


def test_a_torch_package_is_refused(tmp_path):
    path = tmp_path / "package.pth"
    with torch.package.PackageExporter(path) as package:
        package.save_text("dac", "note.txt", "any")
    with pytest.raises(CodecError, match="package=False"):
        load_codec(str(path))


@pytest.mark.parametrize(
    "content",
    [
        {"weights": torch.zeros(3)},
        {"state_dict": {}, "metadata": {}},
        {"state_dict": {}, "metadata": {"kwargs": {"encoder_dim": "many"}}},
        {"state_dict": {}, "metadata": {"kwargs": {"encoder_dim": -8}}},
        {"state_dict": {}, "metadata": {"kwargs": {"encoder_dim": 8}}},
        {"state_dict": {"encoder.x": torch.zeros(3)}, "metadata": {"kwargs": {"encoder_dim": 8}}},
        [1, 2],
    ],
)
def test_files_that_are_not_dac_are_refused_in_one_line(tmp_path, content):
    path = tmp_path / "other.pth"
    torch.save(content, path)
    with pytest.raises(CodecError) as caught:
        load_codec(str(path))
    assert "other.pth" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("content", [b"", b"riff", b"PK\x03\x04 not a zip"])
@pytest.mark.parametrize("name", ["bytes.pth", "bytes.safetensors"])
def test_bytes_that_are_not_weights_are_refused(tmp_path, name, content):
    path = tmp_path / name
    path.write_bytes(content)
    path.with_name("codec.json").write_text('{"architecture": {}}')
    with pytest.raises(CodecError, match=name):
        load_codec(str(path))


def test_precision_and_device_that_are_not_there():
    with pytest.raises(CodecError, match=r"no CUDA device 99 found.*run without --gpu"):
        load_codec("embedded", device="cuda:99")
    with pytest.raises(CodecError, match="needs a CUDA device"):
        load_codec("embedded", precision="fp16")
    with pytest.raises(CodecError, match="unknown precision 'fp8'"):
        load_codec("embedded", precision="fp8")
    with pytest.raises(CodecError, match="expected cpu, cuda"):
        load_codec("embedded", device="toaster")


def test_threads_are_given_back(embedded):
    before = torch.get_num_threads()
    with engine.threads(before + 1):
        assert torch.get_num_threads() == before + 1
    assert torch.get_num_threads() == before


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_snake_is_finite_where_alpha_is_tiny(dtype):
    x, alpha = torch.ones(1, 2, 4, dtype=dtype), torch.tensor([[[1e-7], [2.0]]], dtype=dtype)
    with torch.inference_mode():
        y = dac.snake(x.clone(), alpha)
    assert torch.isfinite(y).all()
    assert float(y[0, 1, 0]) == pytest.approx(1 + np.sin(2.0) ** 2 / 2, rel=2e-3)


BROKEN = """
import sys, warnings
warnings.simplefilter("error")
class Broken:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] == "torchaudio":
            raise OSError("libc10_cuda.so: cannot open shared object file")
sys.meta_path.insert(0, Broken())
from fxpipe.codec import dac
module = dac.import_dac()
assert module.model.dac.Encoder
assert not [name for name in sys.modules if name.startswith("torchaudio")]
print("imported")
"""


def test_dac_imports_where_torchaudio_has_no_loadable_library():
    found = subprocess.run(
        [sys.executable, "-c", BROKEN],
        capture_output=True, text=True, env=_environment(), check=False,
    )  # fmt: skip
    assert found.stdout == "imported\n", found.stderr
    assert found.stderr == ""


def test_stand_ins_for_a_missing_torchaudio_are_taken_away_again(monkeypatch):
    for name in [name for name in sys.modules if name.partition(".")[0] == "torchaudio"]:
        monkeypatch.delitem(sys.modules, name)

    def missing(name):
        raise ModuleNotFoundError(name)

    monkeypatch.setattr(dac.importlib, "import_module", missing)
    with dac._torchaudio_or_stub():
        import torchaudio.functional

        assert torchaudio.functional is sys.modules["torchaudio"].functional
    assert not [name for name in sys.modules if name.startswith("torchaudio")]


def test_importing_the_codec_package_is_light():
    script = (
        "import sys; from fxpipe.codec import CODECS, load_codec\n"
        "print([m for m in ('torch', 'dac', 'audiotools', 'safetensors') if m in sys.modules])"
    )
    found = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True, text=True, env=_environment(), check=True,
    )  # fmt: skip
    assert found.stdout == "[]\n"


def _environment() -> dict[str, str]:
    import os

    return {**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}


def test_several_threads_may_load_a_codec_at_once():
    with ThreadPoolExecutor(6) as pool:
        found = list(pool.map(lambda _: load_codec("embedded", n_threads=1), range(12)))
    assert len({codec.info.weights_sha256 for codec in found}) == 1
    assert np.array_equal(found[0].codebooks, found[-1].codebooks)
