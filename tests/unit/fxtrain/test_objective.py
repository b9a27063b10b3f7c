"""What is minimised, by hand."""

from __future__ import annotations

import pytest
import torch

from fxtrain.config import ModelConfig
from fxtrain.contract import PAD
from fxtrain.models import Memory, Translator, resolve_model
from fxtrain.objective import head_losses, knobs_alone, losses, part_counts, teacher_tokens

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


def test_the_shares_of_a_batch_in_parts_add_up_to_its_loss() -> None:
    """As several devices see it: parts of unequal size, chains of unequal length."""
    torch.manual_seed(0)
    small = ModelConfig(d_model=16, n_heads=2, n_layers=1, hear_knobs=True)
    config = resolve_model(small, n_codebooks=2, has_mel=False)
    books = torch.randn(2, 8, 4)
    model = Translator(config, books, n_pedals=N_PEDALS, n_mels=0, n_knobs=2).eval()
    order = torch.tensor([[2, 0, 1], [1, PAD, PAD], [0, 2, PAD]])
    travel = torch.full((3, N_PEDALS, 2), torch.nan)
    travel[0, 2], travel[0, 0, 1], travel[2, 0] = 0.3, 0.9, 0.5
    memory = model.encode(torch.randint(8, (3, 2, 20)), None)
    weights = {"label_smoothing": 0.0, "head_weight": HEADS, "knob_weight": 0.7}
    whole = part_counts(order, N_PEDALS, travel)
    assert whole.tolist() == [3 + 1 + 2 + 3, 3, 3 + 1, 2 + 1 + 2]
    total = alone = 0.0
    with torch.no_grad():
        for part in (slice(0, 1), slice(1, 3)):
            shares = part_counts(order[part], N_PEDALS, travel[part]) / whole
            heard = Memory(memory.states[part])
            given = {"travel": travel[part], "shares": shares}
            total += float(losses(model, heard, order[part], **weights, **given).total)
            alone += float(knobs_alone(model, heard, **given).total)
        found = losses(model, memory, order, **weights, travel=travel)
    assert total == pytest.approx(float(found.total), rel=1e-5)
    assert alone == pytest.approx(float(found.knobs), rel=1e-5)
