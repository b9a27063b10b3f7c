"""What is minimised, by hand."""

from __future__ import annotations

import pytest
import torch

from fxtrain.config import ModelConfig
from fxtrain.contract import PAD
from fxtrain.models import Translator, resolve_model
from fxtrain.objective import head_losses, losses, teacher_tokens

N_PEDALS = 3
SMOOTHING, HEADS = 0.2, 0.3


@pytest.fixture
def model() -> Translator:
    torch.manual_seed(0)
    small = ModelConfig(d_model=16, n_heads=2, n_layers=1)
    config = resolve_model(small, n_codebooks=2, has_mel=False)
    books = torch.randn(2, 8, 4)
    return Translator(config, books, n_pedals=N_PEDALS, n_mels=0, n_knobs=0).eval()


def test_the_whole_is_its_parts_and_both_heads_weigh_alike(model: Translator) -> None:
    order = torch.tensor([[2, 0, 1], [1, 2, PAD]])
    memory = model.encode(torch.randint(8, (2, 2, 20)), None)
    with torch.no_grad():
        found = losses(model, memory, order, label_smoothing=SMOOTHING, head_weight=HEADS)
        inputs, targets = teacher_tokens(order, N_PEDALS)
        said = model.decode(inputs[:, None], memory)[:, 0].log_softmax(-1)
        presence, precedence = head_losses(model.set_order(memory), order)
    right = torch.cat([said[0, range(4), targets[0]], said[1, range(3), targets[1, :3]]])
    alike = torch.cat([said[0].mean(-1), said[1, :3].mean(-1)])
    tokens = -float(((1 - SMOOTHING) * right + SMOOTHING * alike).mean())
    assert float(found.tokens) == pytest.approx(tokens, rel=1e-5)
    assert float(presence) > 0.1
    assert float(precedence) > 0.1
    whole = tokens + HEADS * (float(presence) + float(precedence))
    assert float(found.total) == pytest.approx(whole, rel=1e-5)
