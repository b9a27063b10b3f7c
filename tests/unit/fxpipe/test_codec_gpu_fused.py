"""The encoder's plan for a GPU's kernels against dac's own layers; the kernels themselves are
interpreted by hand (tests/bench/interpret_kernels.py)."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from fxpipe.codec import How, dac, gpu, gpu_fused

SMALL = dac.Architecture(encoder_dim=16, encoder_rates=(2, 4), latent_dim=24, n_codebooks=2)
EMBEDDED = dac.Architecture(encoder_dim=24, encoder_rates=(8, 8, 4, 2), latent_dim=128)
CPU = torch.device("cpu")


def encoder_of(architecture, seed=0):
    """Random weights of trained size: alpha around 1, activations near 1 throughout."""
    torch.manual_seed(seed)
    encoder = dac.remove_weight_norm(dac.build(architecture))["encoder"].eval()
    with torch.no_grad():
        for module in encoder.modules():
            if isinstance(module, nn.Conv1d):
                fan_in = module.in_channels * module.kernel_size[0]
                module.weight.normal_(0, 0.7 * fan_in**-0.5)
                module.bias.normal_(0, 0.1)
            elif hasattr(module, "alpha"):
                module.alpha.uniform_(0.2, 3)
    return encoder.requires_grad_(False)


def error(found, wanted):
    return float((found.float() - wanted).norm() / wanted.norm())


@pytest.mark.parametrize("architecture", [SMALL, EMBEDDED, dac.Architecture()])
@pytest.mark.parametrize("n_samples", [1024, 1537])
def test_plan_does_what_dacs_encoder_does(architecture, n_samples):
    encoder = encoder_of(architecture)
    wave = torch.randn(2, n_samples) / 3
    fused = gpu_fused.FusedEncoder(encoder, torch.float32, CPU)
    latents = fused.reference(wave)
    wanted = encoder(wave[:, None])
    assert latents.shape == wanted.shape
    assert error(latents, wanted) < 2e-5


def test_work_of_a_clip_of_two_seconds():
    fused = gpu_fused.FusedEncoder(encoder_of(dac.Architecture()), torch.float32, CPU)
    flop, n = 0, 88_576
    for step in fused.steps:
        flop, n = flop + step.flop(n), step.conv.n_out(n)
    assert n == 173
    assert flop == pytest.approx(122.9e9, rel=0.005)


def test_plan_keeps_only_what_is_read():
    fused = gpu_fused.FusedEncoder(encoder_of(SMALL), torch.float32, CPU)
    kinds = [step.kind for step in fused.steps]
    assert kinds == ["first", *["unit"] * 3, "conv", *["unit"] * 3, "conv", "conv"]
    assert [step.raw for step in fused.steps] == [
        True, True, True, False, True, True, True, False, False, True,
    ]  # fmt: skip
    assert [step.after is not None for step in fused.steps] == [True] * 9 + [False]


@pytest.mark.parametrize(
    "layers",
    [
        nn.Sequential(nn.Conv1d(1, 16, 7, padding="same")),
        nn.Sequential(nn.Conv1d(1, 16, 7, padding=3, bias=False)),
        nn.Sequential(nn.Conv1d(16, 16, 7, padding=3)),
        nn.Sequential(nn.Conv1d(1, 16, 7, padding=3), nn.Conv1d(16, 16, 7, groups=2)),
        nn.Sequential(nn.Conv1d(1, 16, 7, stride=2)),
        nn.Sequential(),
    ],
)
def test_other_layers_are_refused(layers):
    with pytest.raises(gpu_fused.UnsupportedError):
        gpu_fused.FusedEncoder(layers, torch.float16, CPU)


@pytest.mark.parametrize(
    ("available", "precision", "layers", "way"),
    [
        (True, "fp16", None, gpu.UNITS),
        (True, "bf16", None, gpu.UNITS),
        (True, "fp32", None, gpu.COMPILED),  # their arithmetic is half precision
        (False, "fp16", None, gpu.COMPILED),  # no Triton, or another kind of GPU
        (True, "fp16", nn.Sequential(nn.Conv1d(1, 16, 7, stride=2)), gpu.COMPILED),
    ],
)
def test_what_a_gpu_is_given_to_be_quicker(monkeypatch, available, precision, layers, way):
    monkeypatch.setattr(gpu_fused, "available", lambda device: available)
    monkeypatch.setattr(torch, "compile", lambda way, dynamic: way)
    encoder = layers or encoder_of(SMALL)
    quick = gpu.GpuForward(
        encoder, nn.Identity(), device=CPU, precision=precision, how=How(fused=True)
    )
    assert list(quick.compiled(encoder)) == [way]


def test_kernels_are_for_tensor_cores_of_one_kind(monkeypatch):
    monkeypatch.setattr(gpu_fused, "triton", object())
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    for major, usable in ((8, False), (9, True), (12, False)):
        capability = {torch.device("cuda:1"): (major, 0)}
        monkeypatch.setattr(torch.cuda, "get_device_capability", capability.get)
        assert gpu_fused.available(torch.device("cuda:1")) == usable
    monkeypatch.setattr(gpu_fused, "triton", None)
    assert not gpu_fused.available(torch.device("cuda:1"))
