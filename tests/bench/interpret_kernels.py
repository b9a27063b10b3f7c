"""The kernels of `fxpipe.codec.gpu_fused` in Triton's interpreter, which needs no GPU.

    pip install triton
    TRITON_INTERPRET=1 python -m pytest -p no:cacheprovider tests/bench/interpret_kernels.py

By hand: Triton has builds for Linux alone, of 190 MB.
"""

from __future__ import annotations

import dataclasses

import pytest
import torch
from tests.unit.fxpipe.test_codec_gpu_fused import CPU, EMBEDDED, SMALL, encoder_of, error

from fxpipe.codec import gpu_fused


def tiles(monkeypatch, fused, *, split=False, how=0, bm=32):
    """Small tiles, for several of them to lie in a clip."""
    found = {}
    for step in fused.steps:
        keys = [step.key]
        if step.kind == "unit":
            keys += [("conv", *step.key[1:]), ("conv", *step.key[1:3], 1)]
        for kind, c_in, c_out, taps in keys:
            strided = any(s.key == (kind, c_in, c_out, taps) and s.conv.stride > 1
                          for s in fused.steps)  # fmt: skip
            flags = 0 if kind == "first" or strided else how
            fits = c_out & (c_out - 1) == 0 and not split
            tile = (bm, 16, 16, 4, 2, flags, 0)
            found[kind, c_in, c_out, taps] = tile if kind != "unit" or fits else None
    monkeypatch.setattr(gpu_fused, "TILES", found)


@pytest.mark.parametrize(
    ("rates", "n_samples", "split", "how"),
    [
        ((2, 4), 700, False, 0),
        ((2, 4), 701, True, 0),
        ((8,), 333, False, 2),
        ((3, 5), 271, False, 0),
        ((2,), 257, False, 1),
        ((2,), 129, False, 3),
        ((2,), 130, True, 1),
    ],
)
def test_kernels_do_what_dacs_encoder_does(monkeypatch, rates, n_samples, split, how):
    architecture = dataclasses.replace(SMALL, encoder_rates=rates)
    encoder = encoder_of(architecture)
    fused = gpu_fused.FusedEncoder(encoder, torch.float16, CPU)
    tiles(monkeypatch, fused, split=split, how=how)
    poison(monkeypatch)
    wave = torch.randn(2, n_samples) / 3
    latents = fused(wave)
    wanted = encoder(wave[:, None])
    assert latents.shape == wanted.shape
    assert latents.isfinite().all()
    assert error(latents, wanted) < 4e-3


def test_kernels_follow_the_reference_step_by_step(monkeypatch):
    encoder = encoder_of(SMALL)
    fused = gpu_fused.FusedEncoder(encoder, torch.float32, CPU)
    tiles(monkeypatch, fused)
    poison(monkeypatch)
    wave = torch.randn(1, 300) / 3
    assert error(fused(wave), fused.reference(wave)) < 3e-6


def test_default_tiles_serve_the_embedded_codec(monkeypatch):
    encoder = encoder_of(EMBEDDED)
    fused = gpu_fused.FusedEncoder(encoder, torch.float16, CPU)
    poison(monkeypatch)
    wave = torch.randn(1, 1000) / 3
    wanted = encoder(wave[:, None])
    assert error(fused(wave), wanted) < 4e-3


def poison(monkeypatch):
    """What a kernel does not write stays not a number."""
    empty = torch.empty
    monkeypatch.setattr(torch, "empty", lambda *a, **k: empty(*a, **k).fill_(float("nan")))
