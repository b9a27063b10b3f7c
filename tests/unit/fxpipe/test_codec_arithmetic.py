"""How codes are computed: tiled convolutions, precision, batches and memory of a GPU."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fxpipe.codec import CODECS, How, cpu, dac, engine, gpu, load_codec, tiled
from fxpipe.codec.architecture import Architecture
from fxpipe.codec.weights import find_weights
from fxpipe.errors import CodecError
from fxpipe.hearing import Ahead

RATES = {"44khz": [2, 4, 8, 8], "24khz": [2, 4, 5, 8]}


def notes(n_clips: int, n_samples: int, seed: int = 0) -> np.ndarray:
    """Decaying partials over noise: nearer to a guitar than noise alone."""
    rng = np.random.default_rng(seed)
    t = np.arange(n_samples) / 44_100
    waves = [
        sum(
            rng.uniform(0.05, 0.3) * np.exp(-rng.uniform(1, 6) * t) * np.sin(2 * np.pi * f * k * t)
            for k in range(1, 7)
        )
        + 0.003 * rng.standard_normal(n_samples)
        for f in rng.uniform(80, 600, n_clips)
    ]
    return np.stack(waves).astype(np.float32)


def seeded(**kwargs) -> torch.nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(3)
        model = dac.build(dac.Architecture(**kwargs))
    return dac.remove_weight_norm(model).eval().requires_grad_(False)


def plain(model: torch.nn.Module) -> dict[str, np.ndarray]:
    return {name: tensor.numpy() for name, tensor in model.state_dict().items()}


@pytest.mark.parametrize(("n_out", "n_taps"), [(6, 7), (4, 7), (4, 3), (4, 2), (2, 2), (1, 1)])
def test_toom_cook_is_exact_in_the_sense_of_algebra(n_out, n_taps):
    rng = np.random.default_rng(0)
    data, taps = rng.standard_normal(n_out + n_taps - 1), rng.standard_normal(n_taps)
    out, evaluate, transform = tiled.toom_cook(n_out, n_taps)
    found = out @ ((evaluate @ taps) * (transform @ data))
    np.testing.assert_allclose(found, np.correlate(data, taps), rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize("rates", RATES.values(), ids=RATES)
@pytest.mark.parametrize("n_frames", [1, 2, 5, 23])
def test_tiles_give_the_latents_of_dac(rates, n_frames, monkeypatch):
    """Clips shorter than a filter, and several tiles a layer."""
    monkeypatch.setattr(tiled, "TILE_ELEMENTS", 4096)
    model = seeded(encoder_dim=8, encoder_rates=tuple(rates))
    encoder = model.get_submodule("encoder")
    ours = tiled.TiledEncoder(plain(encoder), rates)
    for wave in notes(2, n_frames * int(np.prod(rates))):
        with torch.inference_mode():
            expected = encoder(torch.from_numpy(wave)[None, None])[0].numpy()
        found = ours(wave)
        assert found.shape == expected.shape
        assert np.linalg.norm(found - expected) / np.linalg.norm(expected) < 2e-5


def test_the_second_clip_hears_nothing_of_the_first():
    model = seeded(encoder_dim=8)
    ours = tiled.TiledEncoder(plain(model.get_submodule("encoder")), RATES["44khz"])
    quiet = ours(np.zeros(5120, np.float32)).copy()
    ours(np.ones(10_240, np.float32))
    np.testing.assert_array_equal(ours(np.zeros(5120, np.float32)), quiet)


def test_a_snake_of_no_bend_is_a_plain_wire():
    """An alpha of zero, or nearly, is divided by in the weights around it."""
    model = seeded(encoder_dim=8)
    with torch.no_grad():
        for name, tensor in model.state_dict().items():
            if name.endswith("alpha"):
                tensor[:, ::2] = 0.0
                tensor[:, 1::4] = 1e-7
    encoder = model.get_submodule("encoder")
    (wave,) = notes(1, 5120)
    with torch.inference_mode():
        expected = encoder(torch.from_numpy(wave)[None, None])[0].numpy()
    found = tiled.TiledEncoder(plain(encoder), RATES["44khz"])(wave)
    assert np.linalg.norm(found - expected) / np.linalg.norm(expected) < 2e-5


def shipped(model: torch.nn.Module, clips: np.ndarray) -> np.ndarray:
    """dac's own classes as they are, in one batch, padded as ``DAC.preprocess`` pads."""
    padded = np.pad(clips, ((0, 0), (0, -clips.shape[1] % 512)))
    with torch.inference_mode():
        latents = model.get_submodule("encoder")(torch.from_numpy(padded)[:, None])
        return model.get_submodule("quantizer")(latents)[1].numpy()


@pytest.fixture(scope="module")
def embedded_model():
    path = find_weights(CODECS["embedded"])
    return dac.load_encoder(*dac.read_checkpoint(path), "embedded")


def test_every_mode_of_a_cpu_gives_the_codes_of_dac_on_the_embedded_codec(embedded_model):
    clips = notes(6, 88_200)
    expected = shipped(embedded_model, clips)
    exact = load_codec("embedded", n_threads=1, how=How(exact=True)).encode(clips)
    np.testing.assert_array_equal(exact, expected)
    found = load_codec("embedded", n_threads=1).encode(clips)
    assert (found == expected).mean() >= 0.999
    assert len(np.unique(expected)) > 300  # else equality would say little


def test_every_mode_of_a_cpu_gives_the_codes_of_dac_on_a_seeded_model():
    model = seeded(encoder_dim=12)
    clips = notes(3, 88_200, seed=1)
    expected = shipped(model, clips)
    forward = engine.cpu_forward(*model.children(), "fp32", How(exact=True))
    with torch.inference_mode():
        np.testing.assert_array_equal(forward(clips, 88_576).numpy(), expected)
    info = cpu.codec_info("seeded", "0" * 64, Architecture(encoder_dim=12), "fp32", "")
    for n_threads in (1, 2):
        ours = cpu.CpuCodec(plain(model), RATES["44khz"], info, n_threads)
        assert (ours.encode(clips) == expected).mean() >= 0.999


def test_callers_of_one_codec_at_the_same_time_get_their_own_codes():
    info = cpu.codec_info("seeded", "0" * 64, Architecture(encoder_dim=12), "fp32", "")
    codec = cpu.CpuCodec(plain(seeded(encoder_dim=12)), RATES["44khz"], info)
    clips = notes(6, 44_100, seed=2)
    alone = codec.encode(clips)
    with ThreadPoolExecutor(6) as pool:
        at_once = list(pool.map(codec.encode, clips[:, None]))
    np.testing.assert_array_equal(np.concatenate(at_once), alone)


def test_a_thread_that_ctrl_c_left_at_work_disturbs_no_later_clip(monkeypatch):
    """concurrent.futures forgets a thread while it begins it: Ctrl-C then waits for it no more."""
    info = cpu.codec_info("seeded", "0" * 64, Architecture(encoder_dim=12), "fp32", "")
    codec = cpu.CpuCodec(plain(seeded(encoder_dim=12)), RATES["44khz"], info, n_threads=2)
    clips = notes(2, 88_200, seed=3)
    alone = codec.encode(clips)
    left = []

    class Pool(ThreadPoolExecutor):
        def map(self, function, *_):
            left.append(threading.Thread(target=function, args=(0,)))
            raise KeyboardInterrupt

    monkeypatch.setattr(cpu, "ThreadPoolExecutor", Pool)
    with pytest.raises(KeyboardInterrupt):
        codec.encode(clips)
    monkeypatch.undo()
    left[0].start()
    found = codec.encode(clips)
    left[0].join()
    np.testing.assert_array_equal(found, alone)


def test_near_ties_in_the_quantiser_fall_as_in_dac():
    """Latents far from every entry, near one, and entries of one direction: the first is taken."""
    quantizer = seeded(encoder_dim=8, latent_dim=32).get_submodule("quantizer")
    state = plain(quantizer)
    book = state["quantizers.0.codebook.weight"]
    book[7] = 2 * book[3]
    latents = np.random.default_rng(0).standard_normal((32, 500)).astype(np.float32)
    latents[:, 0] = 0
    with torch.inference_mode():
        expected = quantizer(torch.from_numpy(latents)[None])[1][0].numpy()
    found = cpu.Quantizer(state, 9)(latents)
    assert (found == expected).mean() > 0.999


@pytest.mark.parametrize("name", ["44khz", "24khz", "embedded"])
def test_the_shapes_of_an_architecture_are_those_that_dac_builds(name):
    architecture = Architecture.from_kwargs(CODECS[name].architecture, name)
    with torch.device("meta"):
        model = dac.build(architecture, normed=False)
    assert architecture.shapes() == {k: tuple(v.shape) for k, v in model.state_dict().items()}


def test_bf16_is_refused_on_a_cpu_that_would_be_slower_with_it(monkeypatch):
    monkeypatch.setattr(engine, "cpu_has_bf16", lambda: False)
    with pytest.raises(CodecError, match=r"no bf16 arithmetic.*slower"):
        load_codec("embedded", precision="bf16")
    monkeypatch.setattr(engine, "cpu_has_bf16", lambda: True)
    codec = load_codec("embedded", precision="bf16", n_threads=1)
    clips = notes(1, 22_050)
    changed = (codec.encode(clips) != load_codec("embedded", n_threads=1).encode(clips)).mean()
    assert 0 < changed < 0.5


class Memory(torch.nn.Module):
    """An encoder for which ``limit`` clips at a time are all that fit."""

    def __init__(self, encoder: torch.nn.Module, limit: int) -> None:
        super().__init__()
        self.encoder, self.limit, self.shapes = encoder, limit, []

    def forward(self, x):
        self.shapes.append(tuple(x.shape))
        if len(x) > self.limit:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return self.encoder(x)


def on_gpu(limit: int, *, batch: int) -> tuple[gpu.GpuForward, Memory]:
    """GpuForward on a CPU that stands for a GPU."""
    encoder, quantizer = seeded(encoder_dim=8).children()
    memory = Memory(encoder, limit)
    forward = gpu.GpuForward(
        memory,
        quantizer,
        device=torch.device("cpu"),
        precision="fp32",
        how=How(exact=True),
        batch=batch,
    )
    return forward, memory


def test_running_out_of_memory_halves_the_batch_and_goes_on():
    clips = notes(11, 3000)
    forward, memory = on_gpu(2, batch=8)
    expected = on_gpu(11, batch=1)[0](clips, 3072)
    with torch.inference_mode():
        found = forward(clips, 3072)
        again = forward(clips[:2], 3072)
    assert (found == expected).float().mean() >= 0.999
    assert (again == found[:2]).float().mean() >= 0.999
    assert forward.batch == 2
    assert forward.batches_used == {2}
    assert [shape[0] for shape in memory.shapes] == [8, 4, 2, 2, 2, 2, 2, 2, 2]


def test_what_was_finished_before_memory_ran_out_is_kept():
    clips = notes(7, 2000)
    forward, memory = on_gpu(4, batch=4)
    expected = forward(clips, 2048)
    calls = len(memory.shapes)

    class Later(Memory):
        def forward(self, x):
            self.limit = 4 if len(self.shapes) < 1 else 2
            return super().forward(x)

    late = Later(memory.encoder, 4)
    forward._encoder = late
    found = forward(clips, 2048)
    assert calls == 2
    assert [shape[0] for shape in late.shapes] == [4, 4, 2, 2]
    assert forward.batches_used == {2, 4}
    assert (found == expected).float().mean() >= 0.999


def test_a_gpu_without_room_for_one_clip_says_so():
    with pytest.raises(CodecError, match=r"no memory for a single clip.*--max-vram"):
        on_gpu(0, batch=4)[0](notes(1, 600), 1024)


def test_the_last_batch_is_filled_up_with_silence():
    forward, memory = on_gpu(8, batch=4)
    found = forward(notes(5, 1000), 1024)
    assert memory.shapes == [(4, 1, 1024)] * 2
    assert found.shape == (5, 9, 2)


def test_audio_that_is_no_number_is_refused_on_a_gpu_too():
    clips = notes(3, 1000)
    clips[2, 5] = np.inf
    with pytest.raises(CodecError, match="NaN or infinite"):
        on_gpu(8, batch=2)[0](clips, 1024)


def test_channels_last_gives_the_latents_of_dac():
    encoder = seeded(encoder_dim=8).get_submodule("encoder")
    x = torch.from_numpy(notes(2, 5120))[:, None]
    with torch.inference_mode():
        expected = encoder(x)
        found = gpu.channels_last(encoder, x[:, :, None])[:, :, 0]
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


def test_both_layouts_of_a_gpu_give_the_same_codes():
    clips = notes(3, 44_100)
    plain = on_gpu(9, batch=2)[0](clips, 44_544)
    encoder, quantizer = seeded(encoder_dim=8).children()
    planar = gpu.GpuForward(
        encoder, quantizer, device=torch.device("cpu"), precision="fp32", how=How(), batch=2
    )
    with torch.inference_mode():
        assert (planar(clips, 44_544) == plain).float().mean() >= 0.999


@pytest.mark.parametrize("compiles", [True, False])
@pytest.mark.parametrize("faster", [gpu.CHANNELS_LAST, gpu.DAC_LAYERS, gpu.UNITS])
def test_a_gpu_takes_the_layers_that_were_faster_on_a_batch_of_its_own(
    monkeypatch, faster, compiles
):
    forward, _ = on_gpu(8, batch=4)
    timed = []
    asked = torch.device("cuda")  # only its type is looked at

    def seconds(self, batch, layers):
        if layers == gpu.UNITS and not compiles:
            raise RuntimeError("no Triton here")
        timed.append((tuple(batch.shape), layers))
        return {faster: 1.0, gpu.DAC_LAYERS: 2.0}.get(layers, 3.0)

    monkeypatch.setattr(gpu.GpuForward, "_seconds", seconds)
    monkeypatch.setattr(forward, "_device", asked)
    monkeypatch.setattr(gpu.torch, "zeros", lambda *shape, device: torch.empty(*shape))
    monkeypatch.setattr(forward, "_quicker", {gpu.UNITS: lambda x: x})
    possible = [gpu.CHANNELS_LAST, gpu.DAC_LAYERS, *([gpu.UNITS] if compiles else [])]
    assert forward._faster_layers(1024) == (faster if faster in possible else gpu.DAC_LAYERS)
    assert timed == [((4, 1024), layers) for layers in possible]


def test_clips_already_on_the_device_give_the_codes_of_clips_from_the_host():
    clips = notes(5, 1000)
    from_host = on_gpu(8, batch=4)[0](clips, 1024)
    assert torch.equal(on_gpu(8, batch=4)[0](torch.from_numpy(clips), 1024), from_host)
    clips[1, 3] = np.nan
    with pytest.raises(CodecError, match="NaN or infinite"):
        on_gpu(8, batch=4)[0](torch.from_numpy(clips), 1024)


@settings(deadline=None)
@given(cap=st.integers(10**8, 10**11), one=st.integers(10**6, 10**10), more=st.integers(0, 10**10))
def test_the_batch_stays_under_the_cap(cap, one, more):
    batch = gpu.batch_under(cap, one, one + more)
    assert batch in (1, 2, 4, 8, 16, 32)
    if batch > 1:
        assert one + (batch - 1) * more <= cap


def test_fp32_is_ieee_inside_and_given_back_afterwards():
    places = (torch.backends.cuda.matmul, torch.backends.cudnn.conv)
    before = [place.fp32_precision for place in places]
    for kind in ("ieee", "tf32"):
        with gpu.fp32_arithmetic(kind):
            assert [place.fp32_precision for place in places] == [kind, kind]
        assert [place.fp32_precision for place in places] == before
    with pytest.raises(ZeroDivisionError), gpu.fp32_arithmetic("ieee"):
        raise ZeroDivisionError
    assert [place.fp32_precision for place in places] == before


def test_the_quantiser_hears_ieee_fp32_whatever_the_encoder_runs_in():
    seen = {}

    class Spy(torch.nn.Module):
        def __init__(self, name, inner):
            super().__init__()
            self.name, self.inner = name, inner

        def forward(self, x):
            seen[self.name] = (x.dtype, torch.backends.cuda.matmul.fp32_precision)
            return self.inner(x)

    for precision, encoder_dtype, encoder_kind in (
        ("tf32", torch.float32, "tf32"),
        ("fp32", torch.float32, "ieee"),
        ("bf16", torch.bfloat16, "ieee"),
    ):
        encoder, quantizer = seeded(encoder_dim=8).children()
        forward = gpu.GpuForward(
            Spy("encoder", encoder), Spy("quantizer", quantizer), device=torch.device("cpu"),
            precision=precision, how=How(exact=True), batch=1,
        )  # fmt: skip
        with torch.inference_mode():
            forward(notes(1, 1024), 1024)
        assert seen["encoder"] == (encoder_dtype, encoder_kind)
        assert seen["quantizer"] == (torch.float32, "ieee")


def test_work_ahead_is_used_when_it_was_the_right_guess():
    done = []

    def work(name):
        return lambda each: done.append(name) or [name]

    ahead = Ahead(1)
    assert ahead.take("a", work("a")) == ["a"]
    ahead.begin("b", work("b"))
    assert ahead.take("b", work("b again")) == ["b"]
    assert ahead.take("b", work("b anew")) == ["b anew"]  # it is kept for nobody
    ahead.begin("c", work("c"))
    assert ahead.take("d", work("d")) == ["d"]
    assert done[:2] == ["a", "b"]
    assert "b again" not in done


def test_the_record_names_the_blas_of_numpy_whoever_loaded_another(monkeypatch):
    own = {"filepath": "…/numpy.libs/x.so", "internal_api": "openblas", "architecture": "Haswell"}
    others = [
        own | {"filepath": "…/scipy.libs/x.so"},
        {"filepath": "…/y.so", "internal_api": "mkl"},
    ]
    system = [own | {"filepath": "/usr/lib/x.so"}] * 2

    class Controller:
        found: tuple[dict[str, str], ...] = ()

        def select(self, user_api):
            return self

        def info(self):
            return self.found

    monkeypatch.setattr(cpu, "_controller", Controller)
    for found in ([own], [*others, own], system):
        monkeypatch.setattr(Controller, "found", found)
        cpu._blas.cache_clear()
        assert cpu._blas() == "openblas Haswell"
    cpu._blas.cache_clear()
