"""Translators: what they hear, what they must not see, and that both can learn."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from fxtrain.config import MODEL_KINDS, ModelConfig, Rules
from fxtrain.contract import PAD, PedalEntry, UsageError, Vocabulary, normal_form
from fxtrain.decode import beam_search
from fxtrain.errors import CheckpointError
from fxtrain.listening import batch_scorer
from fxtrain.models import Translator, resolve_model
from fxtrain.models.decoder import BODIES
from fxtrain.models.encoder import CONTEXTS
from fxtrain.models.layers import hidden_spans, random_timbre, sinusoids
from fxtrain.models.picture import FrameNorm, Picture
from fxtrain.objective import (
    IGNORED,
    alphabetical,
    canonical_order,
    commute_table,
    head_losses,
    losses,
    precedence_target,
    presence_target,
    teacher_tokens,
)

N_PEDALS, N_BOOKS, SIZE, N_FRAMES = 4, 3, 40, 30


def make_model(kind: str, *, n_mels: int = 0, seed: int = 0, **options: object) -> Translator:
    torch.manual_seed(seed)
    config = ModelConfig(kind=kind, d_model=48, n_heads=4, **options)  # type: ignore[arg-type]
    resolved = resolve_model(config, n_codebooks=N_BOOKS, has_mel=n_mels > 0)
    books = torch.randn(N_BOOKS, SIZE, 8, generator=torch.Generator().manual_seed(1))
    return Translator(resolved, books, n_pedals=N_PEDALS, n_mels=n_mels, n_knobs=0).eval()


def random_codes(n: int, n_frames: int = N_FRAMES, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(SIZE, (n, N_BOOKS, n_frames), generator=generator)


def test_every_kind_has_an_encoder_and_a_decoder() -> None:
    assert set(MODEL_KINDS) == set(CONTEXTS) == set(BODIES)


@pytest.mark.parametrize("kind", MODEL_KINDS)
def test_shapes(kind: str) -> None:
    model = make_model(kind)
    memory = model.encode(random_codes(5), None)
    assert memory.states.shape == (5, 8, 48)  # 30 frames, halved twice, rounded up
    tokens = torch.zeros(5, 2, 3, dtype=torch.int64)
    assert model.decode(tokens, memory).shape == (5, 2, 3, N_PEDALS + 1)
    heard = model.set_order(memory)
    assert heard.presence.shape == (5, N_PEDALS)
    assert torch.equal(heard.precedence, -heard.precedence.transpose(1, 2))


@pytest.mark.parametrize("kind", MODEL_KINDS)
def test_scores_never_depend_on_later_pedals(kind: str) -> None:
    model = make_model(kind)
    memory = model.encode(random_codes(1), None)
    start = N_PEDALS
    one = model.decode(torch.tensor([[[start, 0, 1, 2]]]), memory)
    other = model.decode(torch.tensor([[[start, 0, 3, 1]]]), memory)
    assert torch.allclose(one[..., :2, :], other[..., :2, :], atol=1e-6)
    assert not torch.allclose(one[..., 2, :], other[..., 2, :], atol=1e-3)


@pytest.mark.parametrize("kind", MODEL_KINDS)
def test_chains_of_a_clip_do_not_see_one_another(kind: str) -> None:
    model = make_model(kind)
    memory = model.encode(random_codes(2), None)
    chains = torch.tensor([[[N_PEDALS, 0, 1], [N_PEDALS, 3, 2], [N_PEDALS, 1, 0]]] * 2)
    together = model.decode(chains, memory)
    alone = torch.cat([model.decode(chains[:, i : i + 1], memory) for i in range(3)], dim=1)
    assert torch.allclose(together, alone, atol=1e-5)


@pytest.mark.parametrize("kind", MODEL_KINDS)
def test_a_clip_is_heard_alike_whatever_stands_beside_it_in_the_batch(kind: str) -> None:
    # A known trap: positions indexed by batch instead of time.
    model = make_model(kind)
    codes, chains = random_codes(4), torch.tensor([[[N_PEDALS, 2, 0]]] * 4)
    memory = model.encode(codes, None)
    together = memory.states, model.decode(chains, memory), *model.set_order(memory)
    each = [model.encode(codes[i : i + 1], None) for i in range(4)]
    alone = [(m.states, model.decode(chains[:1], m), *model.set_order(m)) for m in each]
    for found, parts in zip(together, zip(*alone, strict=True), strict=True):
        assert torch.allclose(found, torch.cat(parts), atol=1e-5)


def test_transformer_hears_when_things_happen() -> None:
    model = make_model("transformer")
    steps = torch.ones(1, 6, 48)
    states = model.encoder.context(steps)
    assert not torch.allclose(states[:, 0], states[:, 3], atol=1e-3)


def test_sinusoids_are_indexed_by_time() -> None:
    code = sinusoids(5, 8, torch.device("cpu"))
    assert code.shape == (5, 8)
    assert torch.allclose(code[0], torch.tensor([0.0, 1.0] * 4))
    assert code[3, 0] == pytest.approx(np.sin(3.0), abs=1e-6)
    assert len(np.unique(code.numpy().round(4), axis=0)) == 5


def test_codebook_vectors_are_frozen_and_normalised() -> None:
    model = make_model("gru")
    assert model.encoder.codes is not None
    table = model.encoder.codes.table.reshape(N_BOOKS, SIZE, 8)
    assert not table.requires_grad
    assert torch.allclose(table.mean(1), torch.zeros(N_BOOKS, 8), atol=1e-5)
    assert torch.allclose(table.std(1), torch.ones(N_BOOKS, 8), atol=1e-4)
    assert "encoder.codes.table" in model.state_dict()
    assert not any("table" in name for name, _ in model.named_parameters())
    codes = random_codes(2)
    own = [table[k, codes[:, k]] for k in range(N_BOOKS)]  # each [B, T, 8]
    expected = model.encoder.codes.project(torch.cat(own, dim=-1))
    assert torch.allclose(model.encoder.codes(codes), expected, atol=1e-5)


def test_only_the_books_asked_for_are_read() -> None:
    model, whole = make_model("gru", n_codebooks=2), make_model("gru")
    assert model.encoder.codes is not None
    assert whole.encoder.codes is not None
    assert torch.equal(model.encoder.codes.table, whole.encoder.codes.table[: 2 * SIZE])
    codes = random_codes(2)
    other = codes.clone()
    other[:, 2] = 0
    assert torch.equal(model.encode(codes, None).states, model.encode(other, None).states)
    other[:, 1] = 0
    assert not torch.equal(model.encode(codes, None).states, model.encode(other, None).states)


def test_learned_residual_drops_whole_books_in_training_only() -> None:
    model = make_model("gru", learned_residual=True, codebook_dropout=0.5)
    frames = model.encoder.codes
    assert frames is not None
    codes = random_codes(2)
    assert torch.equal(frames(codes), frames(codes))
    frames.train()
    assert not torch.equal(frames(codes), frames(codes))
    held = codes[:, :, :1].expand_as(codes)  # one sound all along: what drops, drops in all frames
    for _ in range(5):
        heard = frames(held)
        torch.testing.assert_close(heard, heard[:, :1].expand_as(heard))


def test_hidden_frames_come_in_spans_of_about_the_asked_share() -> None:
    torch.manual_seed(0)
    hidden = hidden_spans((200, 100), 0.2, torch.device("cpu"))
    assert 0.12 < hidden.float().mean() < 0.25
    n_spans = (hidden[:, 1:] & ~hidden[:, :-1]).sum()
    assert hidden.sum() / n_spans > 5


def test_another_timbre_is_the_same_at_all_times_smooth_and_leaves_the_floor_alone() -> None:
    torch.manual_seed(0)
    mel = torch.rand(50, 24, 7) * 0.2 + 0.4
    mel[:, :, 3] = 0.0
    change = random_timbre(mel, 0.02) - mel
    assert torch.equal(change[:, :, 3], torch.zeros(50, 24))
    assert torch.allclose(change[:, :, 0], change[:, :, 6], atol=1e-6)
    curve = change[:, :, 0]
    assert 0.01 < curve.std() < 0.04
    assert curve.diff(dim=1).std() < 0.5 * curve.std()
    assert (curve[0] - curve[1]).abs().max() > 0.005


@pytest.mark.parametrize("subsample", [1, 2, 4, 8])
def test_a_picture_has_the_steps_of_the_codes_beside_it(subsample: int) -> None:
    mel = torch.rand(2, 21, N_FRAMES)
    for use_codes in (True, False):
        model = make_model(
            "gru", n_mels=21, mel_channels=2, subsample=subsample, use_codes=use_codes
        )
        states = model.encode(random_codes(2), mel).states
        assert states.shape == (2, -(-N_FRAMES // subsample), 48)
    with pytest.raises(UsageError, match="at most 8"):
        ModelConfig(subsample=16)
    assert ModelConfig(subsample=16, mel_channels=0).subsample == 16


def test_the_norm_of_a_picture_is_layer_norm_of_each_frame() -> None:
    norm = FrameNorm(3)
    torch.nn.init.normal_(norm.weight)
    torch.nn.init.normal_(norm.bias)
    picture = 5 + 3 * torch.randn(2, 3, 7, 4)  # [B, C, T, H]
    frames = picture.transpose(1, 2)
    expected = torch.nn.functional.layer_norm(frames, (3, 4)).transpose(1, 2)
    torch.testing.assert_close(norm(picture), expected * norm.weight + norm.bias)
    halved = norm(picture.bfloat16())
    assert halved.dtype == torch.bfloat16
    torch.testing.assert_close(halved.float(), norm(picture), atol=0.05, rtol=0.02)
    with torch.autocast("cpu", torch.float16):
        assert norm(picture.bfloat16()).dtype == torch.bfloat16


def test_a_picture_is_what_its_convolutions_say_of_bands_and_time() -> None:
    picture = Picture(21, 2, n_halvings=2, width=5, n_blocks=2)
    for parameter in picture.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    mel = torch.rand(3, 21, N_FRAMES)

    def over(seen: torch.Tensor, conv: torch.nn.Conv2d) -> torch.Tensor:  # [B, C, H, T] here
        return torch.nn.functional.conv2d(seen, conv.weight, conv.bias, conv.stride, conv.padding)

    def norm(seen: torch.Tensor, one: FrameNorm) -> torch.Tensor:
        spread, mean = torch.var_mean(seen, dim=(1, 2), keepdim=True, correction=0)
        return (seen - mean) * torch.rsqrt(spread + 1e-5) * one.weight + one.bias

    seen = mel[:, None]
    for lower, block, more in zip(picture.lower, picture.blocks, picture.more, strict=True):
        seen = over(seen, lower)
        if isinstance(block, torch.nn.GELU):
            seen = block(seen)
        for one in (*([] if isinstance(block, torch.nn.GELU) else [block]), *more):
            heard = seen
            for each, conv in zip(one.norms, one.convs, strict=True):
                heard = over(torch.nn.functional.gelu(norm(heard, each)), conv)
            seen = seen + heard
    expected = picture.out(seen.permute(0, 3, 1, 2).flatten(2))
    torch.testing.assert_close(picture(mel), expected, atol=1e-4, rtol=1e-4)


def test_varying_the_sound_is_for_training_only() -> None:
    model = make_model("gru", n_mels=21, mel_channels=2, timbre_spread=0.05, dropout=0.0)
    codes, mel = random_codes(2), torch.rand(2, 21, N_FRAMES)
    assert torch.equal(model.encode(codes, mel).states, model.encode(codes, mel).states)
    model.train()
    assert not torch.equal(model.encode(codes, mel).states, model.encode(codes, mel).states)


@pytest.mark.parametrize("kind", MODEL_KINDS)
def test_nothing_is_hidden_or_bent_any_more_where_that_is_asked(kind: str) -> None:
    varied = {"dropout": 0.3, "frame_mask": 0.3, "band_mask": 0.3, "timbre_spread": 0.05}
    model = make_model(kind, n_mels=21, mel_channels=2, learned_residual=True, **varied)
    codes, mel, tokens = random_codes(2), torch.rand(2, 21, N_FRAMES), torch.zeros(2, 1, 3).long()

    def heard() -> torch.Tensor:
        return model.decode(tokens, model.encode(codes, mel))

    as_used = heard()
    model.train()
    assert not torch.equal(heard(), heard())
    model.hide_nothing()
    assert torch.equal(heard(), heard())
    torch.testing.assert_close(heard(), as_used)


@pytest.mark.parametrize("mel_channels", [0, 2])
def test_mel_is_heard_where_asked_for_and_missing_mel_is_refused(mel_channels: int) -> None:
    model = make_model("gru", n_mels=6, mel_channels=mel_channels)
    codes = random_codes(1)
    low, high = (model.encode(codes, torch.full((1, 6, N_FRAMES), v)) for v in (0.1, 0.9))
    assert not torch.allclose(low.states, high.states)
    with pytest.raises(ValueError, match="log-mel"):
        model.encode(codes, None)
    with pytest.raises(CheckpointError, match="no log-mel"):
        resolve_model(ModelConfig(use_mel=True), n_codebooks=3, has_mel=False)
    with pytest.raises(CheckpointError, match="hear nothing"):
        resolve_model(ModelConfig(use_codes=False), n_codebooks=3, has_mel=False)
    with pytest.raises(CheckpointError, match="n_codebooks is 9"):
        resolve_model(ModelConfig(n_codebooks=9), n_codebooks=3, has_mel=False)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"kind": "transfomer"}, "did you mean 'transformer'"),
        ({"d_model": 50}, "2 . n_heads: 8"),
        ({"subsample": 3}, "power of two"),
        ({"dropout": 1.5}, "dropout is 1.5"),
        ({"n_layers": 0}, "n_layers is 0"),
        ({"use_codes": False, "use_mel": False}, "hear nothing"),
    ],
)
def test_impossible_settings_are_refused(options: dict[str, object], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        ModelConfig(**options)  # type: ignore[arg-type]


def test_default_models_are_small() -> None:
    for kind in MODEL_KINDS:
        config = resolve_model(ModelConfig(kind=kind), n_codebooks=9, has_mel=True)
        model = Translator(config, torch.randn(9, 1024, 8), n_pedals=10, n_mels=64, n_knobs=0)
        assert 300_000 < model.n_parameters < 1_000_000


def test_teacher_tokens_by_hand() -> None:
    order = torch.tensor([[2, 0, PAD], [PAD, PAD, PAD], [1, 3, 0]])
    inputs, targets = teacher_tokens(order, 4)
    assert inputs.tolist() == [[4, 2, 0, 4], [4, 4, 4, 4], [4, 1, 3, 0]]
    i = IGNORED
    assert targets.tolist() == [[2, 0, 4, i], [4, i, i, i], [1, 3, 0, 4]]


def test_head_targets_by_hand() -> None:
    order = torch.tensor([[2, 0, PAD], [1, 0, 1]])
    assert presence_target(order, 3).tolist() == [[1, 0, 1], [1, 1, 0]]
    pairs = precedence_target(order, 3)
    assert pairs[0].nonzero().tolist() == [[2, 0]]
    assert pairs[1].nonzero().tolist() == []  # 1 stands before and after 0: no single answer


def test_head_losses_of_a_certain_and_right_head_vanish() -> None:
    model = make_model("gru")
    heard = model.set_order(model.encode(random_codes(1), None))
    order = torch.tensor([[2, 0, PAD]])
    sure = 40.0 * (2 * presence_target(order, N_PEDALS) - 1)
    pairs = precedence_target(order, N_PEDALS)
    right = heard._replace(presence=sure, precedence=40.0 * (pairs - pairs.transpose(1, 2)))
    assert sum(map(float, head_losses(right, order))) < 1e-6
    wrong = right._replace(precedence=-right.precedence)
    assert float(head_losses(wrong, order)[1]) == pytest.approx(40.0, rel=1e-4)


NAMES = ("reverb", "chorus", "delay", "fuzz", "eq")
ENTRIES = Vocabulary(tuple(PedalEntry(name, "any", ()) for name in NAMES))
ALL_PAIRS = [frozenset((a, b)) for i, a in enumerate(NAMES) for b in NAMES[i + 1 :]]


@given(
    chain=st.lists(st.integers(0, len(NAMES) - 1), max_size=6),
    commutes=st.frozensets(st.sampled_from(ALL_PAIRS)),
)
def test_canonical_order_is_the_normal_form(
    chain: list[int], commutes: frozenset[frozenset[str]]
) -> None:
    order = torch.full((2, 6), PAD)
    order[0, : len(chain)] = torch.tensor(chain, dtype=torch.int64)
    table, rank = commute_table(ENTRIES, commutes), alphabetical(ENTRIES)
    found = ENTRIES.decode_order(canonical_order(order, table, rank)[0].numpy())
    assert found == normal_form([NAMES[i] for i in chain], commutes)


@pytest.mark.parametrize("kind", MODEL_KINDS)
def test_learns_32_chains_by_heart(kind: str) -> None:
    rng = np.random.default_rng(0)
    order = np.full((32, 3), PAD)
    codes = rng.integers(0, 8, (32, N_BOOKS, N_FRAMES))
    for row in range(32):
        length = rng.integers(1, 4)
        order[row, :length] = rng.permutation(N_PEDALS)[:length]
        for place in range(3):
            band = N_PEDALS if order[row, place] == PAD else order[row, place]
            codes[row, :, 10 * place : 10 * place + 10] += 8 * band
    torch.manual_seed(0)
    model = make_model(kind, dropout=0.0, frame_mask=0.0).train()
    heard, target = torch.from_numpy(codes), torch.from_numpy(order)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    for _ in range(60):
        found = losses(
            model, model.encode(heard, None), target, label_smoothing=0.05, head_weight=0.5
        )
        optimizer.zero_grad()
        found.total.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
    model.eval()
    rules = Rules(N_PEDALS, 1, 3, repeats=False)
    scorer = batch_scorer(model, model.encode(heard, None))
    answers = [h[0].ids for h in beam_search(scorer, 32, rules, beam_size=1)]
    truth = [tuple(i for i in row if i != PAD) for row in order.tolist()]
    assert np.mean([a == t for a, t in zip(answers, truth, strict=True)]) > 0.9
    presence = model.set_order(model.encode(heard, None)).presence > 0
    assert (presence == presence_target(target, N_PEDALS).bool()).float().mean() > 0.95
