"""The model as ONNX, run by onnxruntime with nothing of torch, equals torch.

onnx needs another protobuf than the codec's package allows, so the comparison runs where both
programs of ours are and theirs were put in front: docs/exports.md says how.
"""

from __future__ import annotations

import importlib.util
import json
import logging
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from fixtures.shards import make_shards
from fxtrain.checkpoint import Run, card_of, load_run, new_model, save_model
from fxtrain.cli import cli, run_cli
from fxtrain.config import ModelConfig
from fxtrain.contract import MissingExtraError
from fxtrain.export.onnx import NEEDED, Whole, _quiet, example_inputs, export_onnx, outputs_of
from fxtrain.finding import SHIPPED
from fxtrain.models import resolve_model

SHAPES = ((2, 3), (1, 1), (5, 4))
"""Windows, chains."""

ALONE = """
import json, sys
import numpy, onnxruntime
session = onnxruntime.InferenceSession(sys.argv[1], providers=["CPUExecutionProvider"])
card = json.loads(session.get_modelmeta().custom_metadata_map["fxtrain"])
for path in sys.argv[2:]:
    with numpy.load(path) as file:
        inputs = {i.name: file[i.name] for i in session.get_inputs()}
        names = [output.name for output in session.get_outputs()]
        for name, value in zip(names, session.run(names, inputs)):
            assert value.shape == file[name].shape, (path, name)
            worst = abs(value - file[name]).max()
            assert worst < 1e-4, (path, name, worst)
print(json.dumps([names, [p["name"] for p in card["vocabulary"]["pedals"]]]))
assert "torch" not in sys.modules
"""


def make_run(path: Path, kind: str, *, with_mel: bool, knobs: bool = False) -> Run:
    """Clues beside mel."""
    beside = {"with_mel": with_mel, "with_clues": with_mel}
    index = make_shards(path / "shards", n_train=8, n_valid=4, n_test=0, **beside)
    config = ModelConfig(kind=kind, d_model=32, n_heads=2, hear_knobs=knobs)
    model = resolve_model(config, n_codebooks=4, has_mel=with_mel, has_clues=with_mel)
    card = card_of(index, model, {})
    torch.manual_seed(0)
    save_model(path / "run", card, new_model(card, torch.randn(4, 64, 8)))
    return load_run(path / "run")


@pytest.mark.parity
@pytest.mark.parametrize(
    ("kind", "with_mel", "knobs"),
    [("transformer", True, True), ("gru", False, False)],
)
def test_onnxruntime_alone_equals_torch(
    kind: str, with_mel: bool, knobs: bool, tmp_path: Path
) -> None:
    for name in (*NEEDED, "onnxruntime"):
        if importlib.util.find_spec(name) is None:
            pytest.skip(f"no {name}: it does not go with the codec's protobuf, see docs/exports.md")
    run = make_run(tmp_path, kind, with_mel=with_mel, knobs=knobs)
    export_onnx(run, tmp_path / "model.onnx")
    paths = []
    for shape in SHAPES:
        inputs = example_inputs(run, *shape)
        with torch.no_grad():
            outputs = Whole(run).eval()(**inputs)
        arrays = inputs | dict(zip(outputs_of(run), outputs, strict=True))
        paths.append(tmp_path / f"{shape[0]}.npz")
        np.savez(paths[-1], **{name: tensor.numpy() for name, tensor in arrays.items()})
    done = subprocess.run(
        [sys.executable, "-c", ALONE, tmp_path / "model.onnx", *paths],
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    outputs, pedals = json.loads(done.stdout)
    assert outputs == list(outputs_of(run))
    assert ("knobs" in outputs) == knobs
    assert tuple(pedals) == run.card.vocabulary.names


def test_without_onnx_the_extra_is_named(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    run = make_run(tmp_path, "gru", with_mel=False)
    with pytest.raises(MissingExtraError, match=r'pip install "\.\[onnx\]"'):
        export_onnx(run, tmp_path / "model.onnx")
    assert not (tmp_path / "model.onnx").exists()


def test_the_model_in_the_package_has_its_name_here_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    written: list[Path] = []
    monkeypatch.setattr(
        "fxtrain.export.onnx.export_onnx", lambda run, path: written.append(run.path)
    )
    assert run_cli(cli, "fxtrain", ["export", "onnx", "shipped", "-o", "model.onnx"]) == 0
    assert written == [SHIPPED]


@pytest.mark.parametrize("name", ["torch.onnx", "onnxscript.optimizer"])
def test_the_exporter_does_not_warn_of_its_own_insides(
    name: str, caplog: pytest.LogCaptureFixture
) -> None:
    with _quiet():
        logging.getLogger(name).warning("Skipping constant folding")
    logging.getLogger(name).warning("heard again")
    assert caplog.messages == ["heard again"]
