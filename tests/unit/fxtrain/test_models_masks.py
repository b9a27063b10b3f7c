"""What is hidden while training counts as nothing, and another timbre is no other level."""

from __future__ import annotations

import torch

from fxtrain.config import ModelConfig
from fxtrain.models import Translator, resolve_model
from fxtrain.models.layers import random_timbre


def test_a_hidden_band_is_the_middle_of_the_range() -> None:
    """Which the model reads as 0; at the floor it would be a band without sound."""
    config = ModelConfig(kind="gru", d_model=16, n_heads=2, band_mask=0.5, timbre_spread=0.0)
    resolved = resolve_model(config, n_codebooks=2, has_mel=True)
    model = Translator(resolved, torch.randn(2, 8, 4), n_pedals=3, n_mels=64, n_knobs=0)
    torch.manual_seed(0)
    varied = model.encoder._varied(torch.full((4, 64, 5), 0.9))
    assert set(varied.unique().tolist()) == {torch.tensor(0.9).item(), 0.5}


def test_every_clip_has_its_own_hidden_frames() -> None:
    config = ModelConfig(kind="gru", d_model=16, n_heads=2, frame_mask=0.5, dropout=0.0)
    resolved = resolve_model(config, n_codebooks=2, has_mel=False)
    model = Translator(resolved, torch.randn(2, 8, 4), n_pedals=3, n_mels=0, n_knobs=0)
    torch.manual_seed(0)
    first, second = model.train().encode(torch.randint(8, (1, 2, 60)).expand(2, -1, -1), None)[0]
    assert not torch.equal(first, second)


def test_another_timbre_is_as_loud() -> None:
    torch.manual_seed(0)
    mel = torch.full((50, 64, 3), 0.5)
    change = random_timbre(mel, 0.02) - mel
    assert change.abs().max() > 0.01
    assert change.mean(dim=1).abs().max() < 1e-6
