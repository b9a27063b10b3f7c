"""fxpipe.codec training: codebooks that live, steps that resume, an export that loads."""

from __future__ import annotations

from dataclasses import replace
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from fxpipe.codec import CODECS, dac, load_codec
from fxpipe.codec.codebooks import RECENT_BATCHES, CodebookKeeper, fit_quantizer
from fxpipe.codec.loss import FLOOR, MelHead, MelLoss, mel_error_db, mel_filters
from fxpipe.codec.recipe import config_for, train_on_renders
from fxpipe.codec.train import (
    CHECKPOINT,
    TrainConfig,
    export_encoder,
    train_codec,
)
from fxpipe.codec.weights import find_weights
from fxpipe.errors import CodecError

TINY = {
    "encoder_dim": 4,
    "encoder_rates": [8, 8, 4, 2],
    "latent_dim": 16,
    "decoder_dim": 32,
    "decoder_rates": [2, 4, 8, 8],
    "n_codebooks": 2,
    "codebook_size": 16,
    "codebook_dim": 4,
    "quantizer_dropout": 0.5,
}
CONFIG = TrainConfig(
    architecture=TINY, n_steps=5, free_steps=1, fit_batches=2, mel_windows=(128, 512),
    renew_every=1,
)  # fmt: skip
HELD_OUT = np.random.default_rng(9).uniform(-0.1, 0.1, (2, 4_096)).astype(np.float32)


def noise_batches(first: int, last: int):
    """Batches first..last of one endless stream, whatever the step."""

    def stream():
        rng = np.random.default_rng(3)
        while True:
            yield rng.uniform(-0.1, 0.1, (2, 2_048)).astype(np.float32)

    return lambda step: islice(stream(), first, last)


def train(run_dir: Path, first: int, last: int, config: TrainConfig = CONFIG):
    return train_codec(
        noise_batches(first, last), run_dir, config, held_out=HELD_OUT, log=lambda line: None
    )


def state_of(run_dir: Path):
    return torch.load(run_dir / CHECKPOINT, weights_only=True)


def test_two_steps_then_resumed_equals_all_at_once(tmp_path):
    # One free step, two batches to fit the books (the first is trained on, too), four steps.
    report = train(tmp_path / "parts", 0, 3)
    assert (report.step, report.finished) == (2, False)
    report = train(tmp_path / "parts", 3, 20)
    assert (report.step, report.finished) == (5, True)
    train(tmp_path / "whole", 0, 20)
    parts, whole = state_of(tmp_path / "parts"), state_of(tmp_path / "whole")
    assert parts["step"] == whole["step"] == 5
    for key, value in whole["model"].items():
        torch.testing.assert_close(parts["model"][key], value, rtol=0, atol=0)
    for one, other in zip(parts["ema"], whole["ema"], strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=0)
    assert np.isfinite(report.score.mel_error_db)
    assert len(report.score.entropy_bits) == 2
    assert list((tmp_path / "parts").glob("events.out.tfevents.*"))


def test_resumed_with_other_settings_is_refused(tmp_path):
    train(tmp_path, 0, 1)
    state = state_of(tmp_path)
    state["config"].pop("decoder_of")  # of a version that did not know it
    torch.save(state, tmp_path / CHECKPOINT)
    train(tmp_path, 0, 0)
    state["config"] |= {"compile": True, "gone": 1}  # compiling changes nothing
    torch.save(state, tmp_path / CHECKPOINT)
    other = TrainConfig(**{**vars(CONFIG), "learning_rate": 0.5})
    with pytest.raises(CodecError, match="begun with another learning_rate, gone; give"):
        train(tmp_path, 0, 1, other)


def test_a_device_that_is_none_is_one_line(tmp_path):
    with pytest.raises(CodecError, match="device 'nonsense': expected cpu"):
        train_on_renders(tmp_path, [], device="nonsense", config=CONFIG)


def test_a_damaged_checkpoint_is_named(tmp_path):
    (tmp_path / CHECKPOINT).write_bytes(b"not torch")
    with pytest.raises(CodecError, match="not a checkpoint of a codec run"):
        train(tmp_path, 0, 1)


def test_audio_that_is_not_finite_stops_the_run(tmp_path):
    broken = np.full((2, 2_048), np.nan, np.float32)
    with pytest.raises(CodecError, match="gradient at step 0 is not finite"):
        train_codec(
            lambda step: iter([broken]), tmp_path, CONFIG, held_out=HELD_OUT, log=lambda line: None
        )


def test_export_loads_and_encodes(tmp_path):
    train(tmp_path / "run", 0, 20)
    state = torch.load(tmp_path / "run" / CHECKPOINT, weights_only=True)
    state["config"]["bf16"] = False  # a setting that is no longer
    torch.save(state, tmp_path / "run" / CHECKPOINT)
    path = export_encoder(tmp_path / "run", tmp_path / "out", {"licence": "MIT"})
    codec = load_codec(str(path))
    codes = codec.encode(HELD_OUT)
    assert codes.shape == (2, 2, 8)
    assert codes.max() < 16
    architecture, state = dac.read_checkpoint(path)
    assert architecture.latent_dim == 16
    assert all(not key.startswith("decoder.") for key in state)
    assert not list((tmp_path / "out").glob("*.part"))


def test_a_decoder_is_learnt_further_and_no_token_changes(tmp_path):
    train(tmp_path / "run", 0, 20)
    codec = export_encoder(tmp_path / "run", tmp_path / "codec", {}).parent
    more = replace(CONFIG, decoder_of=str(codec), renew_until=1.0, renew_below=9.0, n_steps=6)
    train(tmp_path / "more", 0, 3, more)
    train(tmp_path / "more", 3, 6, more)
    after = export_encoder(tmp_path / "more", tmp_path / "after", {}).parent
    for name, same in (("encoder", True), ("decoder", False)):
        one, other = (load_file(folder / f"{name}.safetensors") for folder in (codec, after))
        assert one.keys() == other.keys()
        assert all(torch.equal(one[key], value) for key, value in other.items()) is same
    np.testing.assert_array_equal(
        *(load_codec(str(each / "encoder.safetensors")).encode(HELD_OUT) for each in (codec, after))
    )
    (codec / "decoder.safetensors").write_bytes(b"no decoder")
    with pytest.raises(CodecError, match=r"decoder.safetensors: cannot be read"):
        train(tmp_path / "other", 0, 1, more)


def test_a_decoder_is_learnt_further_by_its_mel_loss_alone():
    embedded = find_weights(CODECS["embedded"]).parent
    whole, decoder = config_for("cpu"), config_for("cpu", decoder_of=embedded)
    assert (decoder.mel_weight, decoder.head_weight, decoder.l1_weight) == (whole.mel_weight, 0, 0)
    assert min(whole.head_weight, whole.l1_weight) > 0


def quantizer_of(n_codebooks: int, size: int):
    shape = dac.Architecture.from_kwargs(
        {**TINY, "n_codebooks": n_codebooks, "codebook_size": size}, "test"
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return dac.build(shape).get_submodule("quantizer").eval()


def latents_of(n: int) -> torch.Tensor:
    """[M, 16] with few strong directions and a large mean, as encoders give."""
    draws = torch.Generator().manual_seed(1)
    mix = torch.randn(16, 16, generator=draws) * torch.logspace(0, -2, 16)[:, None]
    return torch.randn(n, 16, generator=draws) @ mix + 3


def test_fitted_books_describe_latents_and_are_used():
    quantizer, latents = quantizer_of(3, 64), latents_of(4_096)
    fit_quantizer(quantizer, latents, torch.Generator().manual_seed(2))
    with torch.no_grad():
        quantized, codes = quantizer(latents.T[None])[:2]
        first = quantizer(latents.T[None], 1)[0]
    spread = (latents - latents.mean(0)).square().mean()
    error = (quantized[0].T - latents).square().mean() / spread
    assert error < 0.2
    assert error < 0.7 * (first[0].T - latents).square().mean() / spread
    assert all(len(book.unique()) >= 60 for book in codes[0])


def test_books_follow_what_chooses_them():
    quantizer = quantizer_of(1, 4)
    keeper = CodebookKeeper(quantizer)
    keeper.restart(4)
    codes = torch.tensor([[[2, 2, 2, 2]]])
    latents = torch.full((1, 4, 4), 7.0)
    before = quantizer.quantizers[0].codebook.weight.clone()
    for _ in range(400):
        keeper.follow(codes, latents, 0.95)
    after = quantizer.quantizers[0].codebook.weight
    torch.testing.assert_close(after[2], torch.full((4,), 7.0))
    torch.testing.assert_close(after[[0, 1, 3]], before[[0, 1, 3]], rtol=1e-3, atol=1e-3)
    assert not after.requires_grad


def test_each_book_follows_its_own_part_of_the_latents_clip_by_clip():
    quantizer = quantizer_of(2, 4)
    keeper = CodebookKeeper(quantizer)
    before = [book.codebook.weight.clone() for book in quantizer.quantizers]
    codes = torch.tensor([[[0, 1, 1, 2, 0], [2, 2, 0, 0, 0]], [[1, 2, 2, 2, 0], [1, 1, 1, 1, 0]]])
    latents = torch.randn(2, 8, 5, generator=torch.Generator().manual_seed(3))
    keeper.follow(codes, latents, 0.0)
    for k, book in enumerate(quantizer.quantizers):
        heard = latents[:, 4 * k : 4 * k + 4].movedim(1, 2)  # [B, T, D]
        for entry in range(3):
            mean = heard[codes[:, k] == entry].mean(0)
            torch.testing.assert_close(book.codebook.weight[entry], mean)
        torch.testing.assert_close(book.codebook.weight[3], before[k][3], rtol=0, atol=0)


@pytest.mark.parametrize(("fitted_anew", "n_batches"), [(True, 1), (False, RECENT_BATCHES)])
def test_entries_are_renewed_on_recent_latents_of_their_own_book(fitted_anew, n_batches):
    quantizer = quantizer_of(2, 8)
    keeper = CodebookKeeper(quantizer)
    codes = torch.zeros(1, 2, 3, dtype=torch.long)
    keeper.follow(codes, torch.full((1, 8, 3), 9.0), 0.5)
    if fitted_anew:
        keeper.restart(8)
    latents = torch.tensor([5.0, 6.0]).repeat_interleave(4)[None, :, None].expand(1, 8, 3)
    for _ in range(n_batches):
        keeper.follow(codes, latents, 0.5)
    done = keeper.renew(torch.Generator().manual_seed(0), below=0.9, at_most=7)
    for (entries, vectors), value in zip(done, (5.0, 6.0), strict=True):
        assert sorted(entries.tolist()) == list(range(1, 8))
        torch.testing.assert_close(vectors, torch.full((7, 4), value))


def test_unused_entries_are_renewed_slowly_on_recent_latents():
    quantizer = quantizer_of(1, 8)
    keeper = CodebookKeeper(quantizer)
    keeper.restart(8)
    latents = torch.full((1, 4, 8), 5.0)
    for _ in range(200):
        keeper.follow(torch.zeros(1, 1, 8, dtype=torch.long), latents, 0.9)
    draws = torch.Generator().manual_seed(0)
    ((entries, vectors),) = keeper.renew(draws, below=0.1, at_most=3)
    assert len(entries) == 3
    assert 0 not in entries
    torch.testing.assert_close(vectors, torch.full((3, 4), 5.0))
    torch.testing.assert_close(quantizer.quantizers[0].codebook.weight[entries], vectors)
    ((again, _),) = keeper.renew(draws, below=0.1, at_most=3)
    assert not set(again.tolist()) & set(entries.tolist())


def test_mel_filters_average_and_cover_the_spectrum():
    filters = mel_filters(44_100, 2_048, 96)
    assert filters.shape == (96, 1_025)
    torch.testing.assert_close(filters.sum(1), torch.ones(96))
    centres = filters.argmax(1)
    assert (centres.diff() >= 0).all()
    assert centres[-1] > 950


def test_mel_error_is_zero_for_another_volume_and_grows_with_tilt():
    audio = torch.from_numpy(HELD_OUT)
    assert mel_error_db(0.25 * audio, audio, 44_100) == pytest.approx(0, abs=1e-3)
    tilted = audio.clone()
    tilted[:, 1:] -= 0.9 * audio[:, :-1]
    assert mel_error_db(tilted, audio, 44_100) > 3


def test_mel_loss_sees_a_tenfold_change_as_one():
    loss = MelLoss(44_100, (512, 1_024))
    audio = torch.from_numpy(HELD_OUT)
    assert float(loss(audio * 10, audio)) == pytest.approx(1, abs=0.01)
    assert float(loss(audio, audio)) == 0


def test_mel_head_reads_silence_as_the_floor_and_teaches_the_latents():
    head = MelHead(16, 44_100, 512)
    latents = torch.randn(2, 16, 8, generator=torch.Generator().manual_seed(0), requires_grad=True)
    head(latents, torch.from_numpy(HELD_OUT)).backward()
    assert latents.grad is not None
    assert float(latents.grad.abs().sum()) > 0
    last = head.layers[-1]
    with torch.no_grad():
        last.weight.zero_()
        last.bias.fill_(np.log10(FLOOR) + 3)
        assert float(head(latents, torch.zeros(2, 4_096))) == pytest.approx(0, abs=1e-6)
        assert float(head(latents, torch.from_numpy(HELD_OUT))) > 1
