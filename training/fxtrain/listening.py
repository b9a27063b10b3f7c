"""What a torch model hears, as arrays: for ``decode.py``, which knows no tensors.

Shapes: B sample, N chain of a sample, U step so far, W window, S encoder step, D channel.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from fxtrain.contract import Features
from fxtrain.data.batch import Batch
from fxtrain.decode import Listened, Scorer
from fxtrain.models import Memory, Translator
from fxtrain.set_order import SetOrder

WINDOWS_AT_ONCE = 32


def batch_scorer(model: Translator, memory: Memory) -> Scorer:
    """Every sample of ``memory`` [B, S, D] is a recording of its own."""

    @torch.inference_mode()
    def score(prefixes: np.ndarray) -> np.ndarray:
        tokens = torch.tensor(prefixes, device=memory.states.device)
        scores: np.ndarray = model.decode(tokens, memory)[:, :, -1].log_softmax(-1).cpu().numpy()
        return scores

    return score


def encode(model: Translator, batch: Batch) -> Memory:
    """Encoder states of samples, each with those of all its windows."""
    return model.encode(*batch.windows()).together(batch.n_windows)


def as_arrays(heard: SetOrder[Tensor]) -> SetOrder[np.ndarray]:
    return SetOrder(*(logits.cpu().numpy() for logits in heard))


@torch.inference_mode()
def encode_windows(model: Translator, device: torch.device, features: Features) -> Memory:
    """Encoder states [W, S, D] of the windows of a recording, a few windows at a time."""
    memories: list[Memory] = []
    for start in range(0, len(features.codes), WINDOWS_AT_ONCE):
        rows = slice(start, start + WINDOWS_AT_ONCE)
        codes = torch.from_numpy(features.codes[rows].astype(np.int64)).to(device)
        mel, clues = (
            None if stored is None else _in_0_to_1(stored[rows]).to(device)
            for stored in (features.mel, features.clues)
        )
        memories.append(model.encode(codes, mel, clues))
    return Memory(torch.cat([m.states for m in memories]))


def _in_0_to_1(stored: np.ndarray) -> Tensor:
    return torch.from_numpy(stored.astype(np.float32) / 255.0)


@torch.inference_mode()
def listen(model: Translator, device: torch.device, features: Features) -> Listened:
    """What the model says of a recording, all of its windows heard as one."""
    memory = encode_windows(model, device, features).together(len(features.codes))
    knobs = None if model.knob_head is None else model.knobs(memory)[0].cpu().numpy()
    return Listened(batch_scorer(model, memory), as_arrays(model.set_order(memory)), knobs)
