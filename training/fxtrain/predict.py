"""From a recording to pedals in order. Ears come through the contract's frontend, never directly.

Must not import torch: whoever names a device has it, everybody else is answered before it would be
loaded (:func:`open_run`).
Shapes: W window.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from fxtrain.card import ModelCard
from fxtrain.contract import Features, Frontend, FxError, UsageError, fixed_pairs, free_pairs
from fxtrain.decode import (
    Candidate,
    Direct,
    Listened,
    as_scored,
    candidates,
    direct,
    family_probabilities,
    n_best,
    pair_probability,
    pedal_probabilities,
)
from fxtrain.device import check_device, resolve_device
from fxtrain.errors import UnreadableFileError
from fxtrain.finding import called
from fxtrain.heard import hear_file, unreadable
from fxtrain.knobs import Knobs, read_knobs
from fxtrain.telling import ASSUMPTIONS, POSSIBLE

UNSURE = 0.75
"""An order less probable than this is called unsure."""

COIN = 0.6
"""Below this, chances of an order and its reverse are too even to name one."""

FULL_RATE_HZ = 32_000
"""From here on a file holds all that tells pedals apart (docs/guitarist.md)."""


class AnyRun(Protocol):
    """A trained model, ready to hear: ``checkpoint.Run``, ``quick.QuickRun``."""

    @property
    def path(self) -> Path: ...

    @property
    def card(self) -> ModelCard: ...

    def listen(self, features: Features) -> Listened: ...


def open_run(folder: str | os.PathLike[str], device: str = "auto") -> AnyRun:
    """A model for a few clips: with NumPy on this process's own core, which has answered before
    torch is loaded; with torch where a GPU is asked for by name."""
    check_device(device)
    if not device.startswith("cuda"):
        from fxtrain.quick import load_quick

        return load_quick(Path(folder))
    from fxtrain.checkpoint import load_run

    return load_run(folder, resolve_device(device))


@dataclass(frozen=True)
class PairOrder:
    """``first`` stands before ``second`` in the answer; ``audible``: whether that can be heard.

    direct: what the set-and-precedence head alone says, which never saw a chain;
    ``probability`` is the mean of that and of the best chains.
    """

    first: str
    second: str
    probability: float
    audible: bool
    direct: float = 0.5

    @property
    def verdict(self) -> str:
        """``inaudible``: no ear can tell; ``open``: this clip does not; ``unsure``; ``sure``."""
        if not self.audible:
            return "inaudible"
        if self.probability < COIN:
            return "open"
        return "sure" if self.probability >= UNSURE else "unsure"


@dataclass(frozen=True)
class Kin:
    """A family of pedals, how probable it is that one of them is there, and its likeliest two or
    more with their own probabilities."""

    family: str
    probability: float
    pedals: dict[str, float]


@dataclass(frozen=True)
class Prediction:
    """What was heard. ``candidates`` are chains by probability, the first is the answer.

    presence: probability of each pedal of the answer; ``heard``: of every pedal the model knows;
    both the mean of the best chains and the head. ``knobs``: where those of each pedal stand, were
    it there; empty of a model that hears none. ``kin``: families of which it is surer that one
    is there than which.
    textbook: the same pedals as a textbook board would have them.
    starts_s: where the windows of ``window_s`` begin that were heard, of a recording of
    ``length_s``; ``n_silent`` and ``n_passed_over`` others were not, nor ``n_strange`` that sound
    like no guitar.
    guitar: False where the recording does not sound like a guitar, so that all else is a guess;
    None where nobody looked. ``strangeness`` is what that was decided by, above 0 for no guitar.
    missing_above_hz: a file of few samples a second holds nothing above this, though the model
    listens there; None where it holds enough.
    """

    candidates: tuple[Candidate, ...]
    presence: dict[str, float]
    pairs: tuple[PairOrder, ...]
    textbook: tuple[str, ...]
    starts_s: tuple[float, ...]
    heard: dict[str, float] = field(default_factory=dict)
    knobs: Knobs = field(default_factory=dict)
    kin: tuple[Kin, ...] = ()
    length_s: float = 0.0
    window_s: float = 0.0
    n_silent: int = 0
    n_passed_over: int = 0
    n_strange: int = 0
    guitar: bool | None = None
    strangeness: float | None = None
    missing_above_hz: float | None = None

    @property
    def names(self) -> tuple[str, ...]:
        return self.candidates[0].names

    @property
    def turned(self) -> tuple[tuple[str, str], ...]:
        """(first, second) of the answer that a textbook board has the other way round, where that
        can be heard."""
        place = {name: i for i, name in enumerate(self.textbook)}
        return tuple(
            (pair.first, pair.second)
            for pair in self.pairs
            if pair.audible and place.get(pair.first, 0) > place.get(pair.second, 0)
        )


def kin_of(
    probabilities: Mapping[str, float], there: Mapping[str, float], families: Mapping[str, str]
) -> tuple[Kin, ...]:
    """Families that are there for all that is known, while no single pedal of theirs is.

    ``probabilities`` of families, ``there`` of pedals; ``families``: pedal -> its family.
    """
    found = []
    for family, p in probabilities.items():
        pedals = [name for name, own in families.items() if own == family]
        best = sorted(pedals, key=lambda name: -there[name])
        likely = [name for name in best if there[name] >= POSSIBLE]
        if p >= UNSURE and len(likely) > 1 and p - there[best[0]] >= POSSIBLE:
            found.append(Kin(family, p, {name: there[name] for name in likely}))
    return tuple(found)


@np.errstate(over="ignore", invalid="ignore")  # of a spoilt model: it names no chain
def predict_features(run: AnyRun, features: Features) -> Prediction:
    """All windows of one recording, heard as one."""
    if not len(features.codes):
        raise UnreadableFileError("nothing sounds in it: no window is loud enough to be heard")
    strangeness, kept = familiar_windows(features)
    features = features.windows(kept)
    card, commutes = run.card, run.card.commuting_pairs
    listened = _listen(run, features)
    found, _, own = interpret(card, listened)
    names = found[0].names
    place = card.vocabulary.names.index
    audible = [
        PairOrder(a, b, pair_probability(found, own, a, b), True, own.before[place(a)][place(b)])
        for a, b in fixed_pairs(names, commutes)
    ]
    inaudible = [PairOrder(a, b, 0.5, False) for a, b in free_pairs(names, commutes)]
    there = pedal_probabilities(found, own)
    return Prediction(
        candidates=found,
        presence={name: there[name] for name in dict.fromkeys(names)},
        pairs=(*audible, *inaudible),
        textbook=tuple(sorted(names, key=place)),
        starts_s=features.starts_s,
        heard=there,
        knobs={} if listened.knobs is None else read_knobs(listened.knobs, card.vocabulary),
        kin=kin_of(
            family_probabilities(found, own, card.vocabulary.families),
            there,
            card.vocabulary.families,
        ),
        length_s=features.length_s,
        window_s=card.hearing.n_audio_samples / card.hearing.codec.sample_rate_hz,
        n_silent=features.n_silent,
        n_passed_over=features.n_passed_over,
        n_strange=int((~kept).sum()),
        guitar=None if strangeness is None else strangeness <= 0,
        strangeness=strangeness,
        missing_above_hz=missing_above_hz(
            features.sample_rate_hz, card.hearing.codec.sample_rate_hz
        ),
    )


def missing_above_hz(file_hz: int, model_hz: int) -> float | None:
    """Half the sample rate of a file, where it holds less than tells pedals apart and less than the
    model hears; None also where its rate is not known (0)."""
    return file_hz / 2 if 0 < file_hz < min(FULL_RATE_HZ, model_hz) else None


@np.errstate(over="ignore", invalid="ignore")
def translate(
    run: AnyRun, features: Features
) -> tuple[tuple[Candidate, ...], tuple[Candidate, ...], Direct]:
    """(candidates, the same before tuning, the head's word) of windows heard together."""
    return interpret(run.card, _listen(run, features))


def _listen(run: AnyRun, features: Features) -> Listened:
    if run.card.model.use_mel:
        if features.mel is None:
            raise UsageError(
                f"{called(run.path)}: this model hears log-mel, and these features hold none; make "
                "them with open_frontend(run.card.ears)"
            )
        if features.mel.dtype != np.uint8:
            raise UsageError(
                f"log-mel of {features.mel.dtype}, expected uint8 as ears and shards have it (a "
                "batch's is divided by 255)"
            )
    if run.card.model.use_clues and features.clues is None:
        raise UsageError(
            f"{called(run.path)}: this model hears clues of the wave, and these features hold "
            "none; make them with open_frontend(run.card.ears)"
        )
    return run.listen(features)


def interpret(
    card: ModelCard, listened: Listened
) -> tuple[tuple[Candidate, ...], tuple[Candidate, ...], Direct]:
    """:func:`translate` of what was heard."""
    (hypotheses,) = n_best(listened.scorer, listened.head, card.rules, card.decode)
    tuned, untuned = (
        candidates(hypotheses, card.vocabulary, card.commuting_pairs, settings)
        for settings in (card.decode, as_scored(card.decode))
    )
    (own,) = direct(listened.head, card.vocabulary.names)
    return tuned, untuned, own


def familiar_windows(features: Features) -> tuple[float | None, np.ndarray]:
    """(strangeness of the whole, which windows to hear [W]).

    The whole is as strange as its middle window. Where it is a guitar, strange windows (somebody
    counts in) are left out; where it is none, all are heard, for whoever wants the guess.
    """
    every = np.ones(len(features.codes), bool)
    if features.strangeness is None:
        return None, every
    each = np.array(features.strangeness)
    whole = float(np.median(each))
    return whole, each <= 0 if whole <= 0 else every


def predict_file(run: AnyRun, frontend: Frontend, path: str | os.PathLike[str]) -> Prediction:
    """Read, encode and translate one audio file. Errors name the file."""
    return predict_heard(run, hear_file(frontend, path), path)


def predict_heard(run: AnyRun, features: Features, path: str | os.PathLike[str]) -> Prediction:
    """Translate what was heard of an audio file. Errors name the file."""
    try:
        return predict_features(run, features)
    except FxError as error:
        raise unreadable(path, error) from None


def prediction_dict(prediction: Prediction, file: str, run: AnyRun, n_best: int) -> dict[str, Any]:
    """One JSON object a file. Of what is no guitar there is no ``chain``, only a ``guess``."""
    strange = prediction.guitar is False
    names = list(prediction.names)
    return {
        "file": file,
        "model": called(run.path),
        "guitar": prediction.guitar,
        "strangeness": _rounded(prediction.strangeness),
        "chain": None if strange else names,
        "guess": names if strange else None,
        "probability": round(prediction.candidates[0].probability, 4),
        "pedals": [
            {"name": name, "probability": round(p, 4), "knobs": knobs_dict(prediction, name)}
            for name, p in prediction.presence.items()
        ],
        "presence": {name: round(p, 4) for name, p in prediction.heard.items()},
        "one_of": [
            {
                "family": kin.family,
                "probability": round(kin.probability, 4),
                "pedals": {name: round(p, 4) for name, p in kin.pedals.items()},
            }
            for kin in prediction.kin
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
                "direct": round(pair.direct, 4),
                "audible": pair.audible,
                "verdict": pair.verdict,
            }
            for pair in prediction.pairs
        ],
        "textbook": list(prediction.textbook),
        "turned": [list(pair) for pair in prediction.turned],
        "length_s": round(prediction.length_s, 3),
        "missing_above_hz": prediction.missing_above_hz,
        "windows_start_s": [round(start, 3) for start in prediction.starts_s],
        "windows_left_out": {
            "silent": prediction.n_silent,
            "not_guitar": prediction.n_strange,
            "passed_over": prediction.n_passed_over,
        },
        "assumptions": list(ASSUMPTIONS),
    }


def knobs_dict(prediction: Prediction, pedal: str) -> dict[str, dict[str, float | bool]]:
    """Parameter -> where its knob stands, in its unit, and between what it lies with 80 %;
    ``heard``: whether that is less than half of its travel, so that it is worth telling."""
    return {
        name: {"value": knob.value, "low": knob.low, "high": knob.high, "heard": not knob.is_rough}
        for name, knob in prediction.knobs.get(pedal, {}).items()
    }


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 3)
