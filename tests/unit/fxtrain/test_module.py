"""What a training is made of: settings from files, loaders, learning rates, words, pictures."""

from __future__ import annotations

import itertools
import math
import os
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
import torch

from fixtures.shards import make_shards
from fxtrain.config import Config, ModelConfig, TrainConfig, load_config
from fxtrain.contract import UsageError
from fxtrain.data import open_shards
from fxtrain.data.stream import Batch
from fxtrain.device import resolve_device
from fxtrain.fit import fit
from fxtrain.module import EpochLoader, confusion_image, lr_factor
from fxtrain.trainer import attention, lightning_precision, machine_bytes, prepare


def test_settings_files(tmp_path: Path) -> None:
    path = tmp_path / "fit.toml"
    path.write_text('[model]\nkind = "gru"\nd_model = 64\n[train]\nlr = 1\n')
    config = load_config(path, {"model": {"kind": "transformer"}, "train": {"lr": None}})
    assert (config.model.kind, config.model.d_model, config.train.lr) == ("transformer", 64, 1.0)
    path.write_text('[model]\nd_model = 64\n[train]\nstart_from = "runs/a"\n')
    with pytest.raises(UsageError, match=r"takes the model's settings from it; leave d_model"):
        load_config(path, {})
    deaf = load_config(None, {"model": {"use_clues": False}, "train": {"start_from": "runs/a"}})
    assert deaf.model.use_clues is False
    path.write_text("[train]\nlabel_smoothin = 0.1\n")
    with pytest.raises(UsageError, match="did you mean 'label_smoothing'"):
        load_config(path, {})
    path.write_text("d_model = 64\n")
    with pytest.raises(UsageError, match=r"d_model stands outside of any table.* \[model\]"):
        load_config(path, {})
    path.write_text("[train]\nlr = -1\n")
    with pytest.raises(UsageError, match=r"^with .*fit\.toml: lr is -1\.0, expected a number abo"):
        load_config(path, {})
    path.write_text("[train]\nclues_lr = 0\n")
    with pytest.raises(UsageError, match=r"^with .*fit\.toml: clues_lr is 0\.0, expected a number"):
        load_config(path, {})
    path.write_text("[train\n")
    with pytest.raises(UsageError, match="not TOML"):
        load_config(path, {})
    with pytest.raises(UsageError, match="cannot be read"):
        load_config(tmp_path / "none.toml", {})
    path.write_text("[model]\nd_model = 64\n", encoding="utf-8-sig")  # as editors on Windows do
    assert load_config(path, {}).model.d_model == 64


def test_loaders_hear_of_every_epoch() -> None:
    class Loader:
        epochs: ClassVar[list[int]] = []

        def set_epoch(self, epoch: int) -> None:
            self.epochs.append(epoch)

        def __len__(self) -> int:
            return 1

        def __iter__(self) -> Iterator[Batch]:
            return iter(())

    epoch = itertools.count(4)
    loader = EpochLoader(Loader(), lambda: next(epoch))
    assert [list(loader), list(loader)] == [[], []]
    assert Loader.epochs == [4, 5]


def test_learning_rate_warms_up_and_falls() -> None:
    factors = [lr_factor(step, 10, 100) for step in range(101)]
    assert factors[0] == pytest.approx(1 / 11)
    assert max(factors) == factors[10] == 1.0
    assert factors[-1] == pytest.approx(0.02)
    assert all(a >= b for a, b in itertools.pairwise(factors[10:]))


def test_plain_epochs_are_those_of_a_model_that_hides_nothing(tmp_path: Path) -> None:
    make_shards(tmp_path / "shards", n_train=32, n_valid=8, n_test=8)
    dataset = open_shards(tmp_path / "shards")

    def weights_after(epochs: int, plain: int, hidden: float) -> dict[str, torch.Tensor]:
        model = ModelConfig(
            kind="gru", d_model=32, n_layers=1, n_heads=2, dropout=hidden, frame_mask=hidden
        )
        train = TrainConfig(batch_size=16, max_epochs=epochs, plain_epochs=plain)
        run = tmp_path / f"{epochs}-{plain}-{hidden}"
        fit(dataset, Config(model, train), run, device="cpu", say=lambda _: None)
        return torch.load(run / "checkpoints/last.ckpt", weights_only=True)["state_dict"]

    def equal(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
        return all(torch.equal(one[name], other[name]) for name in one)

    plain = weights_after(2, 0, hidden=0.0)
    half_plain = weights_after(2, 1, hidden=0.5)
    assert equal(weights_after(2, 2, hidden=0.5), plain)
    assert not equal(half_plain, plain)
    assert not equal(half_plain, weights_after(2, 0, hidden=0.5))
    with pytest.raises(UsageError, match="plain_epochs is 3, expected 0 to 2"):
        TrainConfig(max_epochs=2, plain_epochs=3)


@pytest.mark.parametrize(("plain", "last"), [(0, 1), (1, 3)])
def test_a_run_does_not_end_before_its_plain_epochs(tmp_path: Path, plain: int, last: int) -> None:
    make_shards(tmp_path / "shards", n_train=32, n_valid=8, n_test=8)
    still = TrainConfig(batch_size=16, max_epochs=4, lr=1e-12, patience=1, plain_epochs=plain)
    config = Config(ModelConfig(kind="gru", d_model=32, n_layers=1, n_heads=2), still)
    fit(open_shards(tmp_path / "shards"), config, tmp_path / "run", device="cpu", say=print)
    held = torch.load(tmp_path / "run/checkpoints/last.ckpt", weights_only=True)
    assert held["epoch"] == last


def test_precision_words() -> None:
    assert lightning_precision("auto", torch.device("cpu")) == "32-true"
    assert lightning_precision("bf16", torch.device("cpu")) == "bf16-mixed"
    with pytest.raises(UsageError, match="needs a GPU"):
        lightning_precision("16", torch.device("cpu"))


def test_attention_is_not_fused_in_bf16_on_a_cpu() -> None:
    fused = torch.backends.cuda.flash_sdp_enabled
    before = fused()
    with attention("bf16", torch.device("cpu")):
        assert not fused()
    for precision, place in (("32", "cpu"), ("bf16", "cuda")):
        with attention(precision, torch.device(place)):
            assert fused() == before


def test_device_words(monkeypatch: pytest.MonkeyPatch) -> None:
    assert resolve_device("cpu:3") == torch.device("cpu")
    with pytest.raises(UsageError, match="known: auto, cpu, cuda"):
        resolve_device("gpu")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert resolve_device("cuda:1").index == 1
    with pytest.raises(UsageError, match="'cuda:2': the last GPU here is cuda:1"):
        resolve_device("cuda:2")


def test_a_model_larger_than_the_machine_is_refused_before_it_is_built(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_shards(tmp_path, n_train=4, n_valid=2, n_test=0)
    dataset = open_shards(tmp_path)
    with pytest.raises(UsageError, match=r"layers takes \d+ GB or more to train, .*smaller model"):
        prepare(dataset, Config(ModelConfig(d_model=65_536, n_layers=64)))
    prepare(dataset, Config())
    monkeypatch.delattr(os, "sysconf")  # Windows has none
    assert machine_bytes() == math.inf


def test_confusion_image_is_dark_where_rows_agree() -> None:
    image = confusion_image(np.array([[5, 0], [0, 0]]), cell=4)
    assert image.shape == (8, 8, 3)
    assert image[2, 2].tolist() == [20, 60, 160]
    assert image[2, 6].tolist() == image[6, 6].tolist() == [255, 255, 255]
