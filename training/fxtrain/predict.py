"""From a recording to pedals in order. Ears come through the contract's frontend, never directly.

Shapes: W window, K codebook, T frame, M mel band.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from fxtrain.checkpoint import Run
from fxtrain.contract import Features, Frontend, FxError, arrow, fixed_pairs, free_pairs
from fxtrain.decode import (
    Candidate,
    candidates,
    joint_head,
    joint_scorer,
    n_best,
    precedence,
    presence,
)
from fxtrain.errors import UnreadableFileError
from fxtrain.models import Memory, SetOrder

ASSUMPTIONS = ("a guitar recorded directly (DI)", "no amplifier or cabinet after the pedals")
WINDOWS_AT_ONCE = 32
UNSURE = 0.75
"""An order less probable than this is called unsure."""


@dataclass(frozen=True)
class PairOrder:
    """``first`` stands before ``second`` in the answer; ``audible``: whether that can be heard."""

    first: str
    second: str
    probability: float
    audible: bool


@dataclass(frozen=True)
class Prediction:
    """What was heard. ``candidates`` are chains by probability, the first is the answer.

    presence: probability of each pedal of the answer. textbook: the same pedals as a textbook
    board would have them. starts_s: where the windows begin that were heard.
    """

    candidates: tuple[Candidate, ...]
    presence: dict[str, float]
    pairs: tuple[PairOrder, ...]
    textbook: tuple[str, ...]
    starts_s: tuple[float, ...]

    @property
    def names(self) -> tuple[str, ...]:
        return self.candidates[0].names


@torch.inference_mode()
def predict_features(run: Run, features: Features) -> Prediction:
    """All windows of one recording, scored together."""
    if not len(features.codes):
        raise UnreadableFileError("nothing sounds in it: no window is loud enough to be heard")
    card = run.card
    memory, heard = listen(run, features)
    correlation = card.decode.window_correlation
    hypotheses = n_best(
        joint_scorer(run.model, memory, correlation),
        joint_head(heard, correlation),
        card.rules,
        card.decode,
    )[0]
    commutes = card.commuting_pairs
    found = candidates(hypotheses, card.vocabulary, commutes, card.decode.temperature)
    names = found[0].names
    audible = [
        PairOrder(a, b, precedence(found, a, b), True) for a, b in fixed_pairs(names, commutes)
    ]
    inaudible = [PairOrder(a, b, 0.5, False) for a, b in free_pairs(names, commutes)]
    there = presence(found)
    return Prediction(
        candidates=found,
        presence={name: there[name] for name in dict.fromkeys(names)},
        pairs=(*audible, *inaudible),
        textbook=tuple(sorted(names, key=card.vocabulary.names.index)),
        starts_s=features.starts_s,
    )


def listen(run: Run, features: Features) -> tuple[Memory, SetOrder]:
    """Encoder states and head logits of every window, a few windows at a time."""
    memories: list[Memory] = []
    for start in range(0, len(features.codes), WINDOWS_AT_ONCE):
        rows = slice(start, start + WINDOWS_AT_ONCE)
        codes = torch.from_numpy(features.codes[rows].astype(np.int64)).to(run.device)
        mel = None
        if features.mel is not None:
            mel = torch.from_numpy(features.mel[rows].astype(np.float32) / 255.0).to(run.device)
        memories.append(run.model.encode(codes, mel))
    memory = Memory(torch.cat([m.states for m in memories]), None)
    return memory, run.model.set_order(memory)


def predict_file(run: Run, frontend: Frontend, path: str | os.PathLike[str]) -> Prediction:
    """Read, encode and translate one audio file. Errors name the file."""
    if not Path(path).is_file():
        raise UnreadableFileError(f"{os.fspath(path)}: no such file")
    try:
        wave, sample_rate_hz = frontend.read(path)
        return predict_features(run, frontend.encode(wave, sample_rate_hz))
    except (FxError, OSError) as error:
        text = str(error)
        name = os.fspath(path)
        raise UnreadableFileError(text if name in text else f"{name}: {text}") from None


def prediction_dict(prediction: Prediction, file: str, run: Run, n_best: int) -> dict[str, Any]:
    """One JSON object a file."""
    return {
        "file": file,
        "model": str(run.path),
        "chain": list(prediction.names),
        "probability": round(prediction.candidates[0].probability, 4),
        "pedals": [
            {"name": name, "probability": round(p, 4)} for name, p in prediction.presence.items()
        ],
        "alternatives": [
            {
                "chain": list(candidate.names),
                "probability": round(candidate.probability, 4),
                "orders_that_sound_alike": [list(names) for names in candidate.orders],
            }
            for candidate in prediction.candidates[:n_best]
        ],
        "pairs": [
            {
                "first": pair.first,
                "second": pair.second,
                "probability": round(pair.probability, 4),
                "audible": pair.audible,
            }
            for pair in prediction.pairs
        ],
        "textbook": list(prediction.textbook),
        "windows_start_s": [round(start, 3) for start in prediction.starts_s],
        "assumptions": list(ASSUMPTIONS),
    }


def prediction_lines(prediction: Prediction, file: str, n_best: int) -> list[str]:
    """A prediction for people."""
    best = prediction.candidates[0]
    lines = [f"{file}: {arrow(best.names)}  ({best.probability:.0%} sure)"]
    if best.names:
        pedals = ", ".join(f"{name} {p:.0%}" for name, p in prediction.presence.items())
        lines.append(f"  pedals      {pedals}")
    for number, candidate in enumerate(prediction.candidates[:n_best], start=1):
        lines.append(f"  {number}. {candidate.probability:>6.1%}   {arrow(candidate.names)}")
    unheard = [f"{p.first} / {p.second}" for p in prediction.pairs if not p.audible]
    if unheard:
        lines.append(f"  no audible order: {', '.join(unheard)}")
    unsure = [
        f"{p.first} before {p.second} {p.probability:.0%}"
        for p in prediction.pairs
        if p.audible and p.probability < UNSURE
    ]
    if unsure:
        lines.append(f"  unsure order: {', '.join(unsure)}")
    if len(best.names) > 1:
        same = "the same" if prediction.textbook == best.names else arrow(prediction.textbook)
        lines.append(f"  textbook order: {same}")
    n_windows = len(prediction.starts_s)
    windows = f"{n_windows} window{'s' if n_windows != 1 else ''}"
    lines.append(f"  heard {windows}; assumes {'; '.join(ASSUMPTIONS)}")
    return lines
