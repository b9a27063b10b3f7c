"""The model as one ONNX graph, for onnxruntime by itself. Imports torch; onnx only to write.

Inputs: the windows of one recording, ``codes`` int64 [W, K, T], ``mel`` float32 [W, M, T] and
``clues`` float32 [W, C] in 0..1 where the model hears them, and chains, ``tokens`` int64 [N, U]:
the boundary, the pedals so far, then anything. Outputs: ``logits`` float32 [N, U, V + 1] of the
next pedal, ``presence`` [V] and ``precedence`` [V, V] as in ``models/heads.py``, and of a model
that hears knobs ``knobs`` [V, P, places], the probability of each place of each knob's travel, were
its pedal there. W and N are free; T is the window's, and U the longest chain and one more, because
a GRU is written out step by step.
Shapes: W window, K codebook, T frame, M mel band, C clue, N chain, U decoder step, V pedal, P knob.
"""

from __future__ import annotations

import contextlib
import importlib.util
import json
import logging
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from fxtrain.checkpoint import Run
from fxtrain.contract import LocalFolder, MissingExtraError, to_dict, to_install
from fxtrain.models import Memory

METADATA_KEY = "fxtrain"
"""Of the model's metadata: its card as JSON, so that the file needs nothing beside it."""

NEEDED = ("onnx", "onnxscript")


def outputs_of(run: Run) -> tuple[str, ...]:
    """The graph's outputs by name, in their order."""
    knobs = ("knobs",) if run.card.model.hear_knobs else ()
    return ("logits", "presence", "precedence", *knobs)


class Whole(nn.Module):
    """All of the model as one function of tensors."""

    def __init__(self, run: Run) -> None:
        super().__init__()
        self.model = run.model

    def forward(
        self,
        codes: Tensor,
        tokens: Tensor,
        mel: Tensor | None = None,
        clues: Tensor | None = None,
    ) -> Any:
        windows = self.model.encode(codes, mel, clues).states
        memory = Memory(windows.flatten(0, 1)[None])  # as `together`, of however many there are
        heard = self.model.set_order(memory)
        logits = self.model.decode(tokens[None], memory)
        found = logits[0], heard.presence[0], heard.precedence[0]
        if self.model.knob_head is None:
            return found
        return *found, self.model.knobs(memory)[0].softmax(-1)


def example_inputs(run: Run, n_windows: int = 2, n_chains: int = 3) -> Any:
    """Inputs of the right shapes, by name; random, the same every time."""
    hearing = run.card.hearing
    codec, n_frames = hearing.codec, hearing.codec.n_frames(hearing.n_audio_samples)
    draw = torch.Generator().manual_seed(0)
    shape = (n_windows, codec.n_codebooks, n_frames)
    n_pedals = run.card.rules.n_pedals
    n_steps = run.card.rules.max_length + 1
    tokens = torch.randint(n_pedals, (n_chains, n_steps), generator=draw)
    tokens[..., 0] = n_pedals
    inputs = {
        "codes": torch.randint(codec.codebook_size, shape, generator=draw),
        "tokens": tokens,
    }
    if run.card.model.use_mel and hearing.mel is not None:
        inputs["mel"] = torch.rand(n_windows, hearing.mel.n_mels, n_frames, generator=draw)
    if run.card.model.use_clues and hearing.clues is not None:
        inputs["clues"] = torch.rand(n_windows, hearing.clues.n_clues, generator=draw)
    return inputs


def export_onnx(run: Run, path: Path) -> None:
    """Write ``path``, whole or not at all."""
    for name in NEEDED:
        if importlib.util.find_spec(name) is None:
            raise MissingExtraError(
                f"writing ONNX needs {name}, which is not installed: {to_install('onnx')}, into an "
                "environment without the pipeline, whose codec holds protobuf at another version"
            )
    inputs = example_inputs(run)
    free = torch.export.Dim
    shapes: dict[str, Any] = {
        "codes": {0: free("windows")},
        "tokens": {0: free("chains")},
    }
    shapes |= {name: {0: free("windows")} for name in ("mel", "clues") if name in inputs}
    with torch.no_grad(), _plain_attention(), _quiet():
        program = torch.onnx.export(
            Whole(run).eval(),
            kwargs=inputs,
            input_names=list(inputs),
            output_names=list(outputs_of(run)),
            dynamic_shapes=shapes,
            dynamo=True,
            external_data=False,
            verbose=False,
        )
    assert program is not None
    card = json.dumps(to_dict(run.card), ensure_ascii=False, allow_nan=False)
    program.model.metadata_props[METADATA_KEY] = card
    proto = program.model_proto
    LocalFolder(path.parent).write(path.name, proto.SerializeToString())


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """The exporter warns of its own insides, and of every library that it would also know."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "onnxscript", "onnx_ir")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


@contextlib.contextmanager
def _plain_attention() -> Iterator[None]:
    """torch's fused encoder layer is one operator that ONNX does not have."""
    before = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(before)
