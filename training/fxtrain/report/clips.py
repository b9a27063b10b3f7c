"""The clips a page lets you hear: the worst answers and the best, with their sounds as FLAC."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from fxtrain.answers import Answers
from fxtrain.contract import Chain, FxError, Names, Vocabulary
from fxtrain.knobs import Knobs, as_heard
from fxtrain.metrics import levenshtein
from fxtrain.rerender import play
from fxtrain.sounds import Sounds


@dataclass(frozen=True)
class Sound:
    """``uri`` holds the whole file: ``data:audio/flac;base64,…``."""

    label: str
    uri: str


@dataclass(frozen=True)
class ClipCard:
    """One clip: what was on it, what was heard, and how sure. ``mute`` says why it has no sound.

    ``edits``: how many pedals of the answer have to be put in, taken out or exchanged.
    """

    clip_id: str
    source: str
    truth: Names
    answer: Names
    right: bool
    edits: int
    probability: float
    others: tuple[tuple[Names, float], ...]
    knobs: tuple[tuple[str, tuple[str, ...]], ...]
    sounds: tuple[Sound, ...]
    mute: str


def pick(answers: Answers, n: int) -> tuple[list[int], list[int]]:
    """(positions of the worst, of the best), up to ``n`` each, the most telling first.

    Worst: the most edits away, and of those the surest. Best: right ones, the longest chains and
    of those the surest; an order that sounds the same is right.
    """
    rows = [
        (i, edits_away(truth, found[0].names, alike.holds(found[0].names)), found[0].probability)
        for i, (truth, found, alike) in enumerate(
            zip(answers.truth, answers.heard, answers.classes, strict=True)
        )
    ]
    wrong = sorted((row for row in rows if row[1]), key=lambda row: (-row[1], -row[2], row[0]))
    right = sorted(
        (row for row in rows if not row[1]),
        key=lambda row: (-len(answers.truth[row[0]]), -row[2], row[0]),
    )
    return [row[0] for row in wrong[:n]], [row[0] for row in right[:n]]


def edits_away(truth: Names, answer: Names, alike: bool) -> int:
    """0 where the answer sounds like the truth, more otherwise."""
    return 0 if alike else levenshtein(truth, answer)


def cards(
    positions: Sequence[int], answers: Answers, sounds: Sounds, vocabulary: Vocabulary
) -> list[ClipCard]:
    sounds.read(positions)
    return [_card(position, answers, sounds, vocabulary) for position in positions]


def _card(position: int, answers: Answers, sounds: Sounds, vocabulary: Vocabulary) -> ClipCard:
    record, found = sounds.record(position), answers.heard[position]
    truth, best = answers.truth[position], found[0]
    right = answers.classes[position].holds(best.names)
    turned = answers.knobs[position] if answers.knobs else {}
    heard, mute = _hear(position, best.names, turned, sounds)
    return ClipCard(
        clip_id=str(record.get("id", position)),
        source=": ".join(str(record[key]) for key in ("source", "item") if record.get(key)),
        truth=truth,
        answer=best.names,
        right=right,
        edits=edits_away(truth, best.names, right),
        probability=best.probability,
        others=tuple((other.names, other.probability) for other in found[1:3]),
        knobs=_knobs(sounds.chain(position), vocabulary),
        sounds=heard,
        mute=mute,
    )


def _hear(
    position: int, answer: Names, knobs: Knobs, sounds: Sounds
) -> tuple[tuple[Sound, ...], str]:
    """(what there is to listen to, why there is nothing)."""
    try:
        clip = sounds.remake(position)
        waves = {
            "Wet: what the model heard": clip.wet,
            "Dry: what was played": clip.dry[clip.n_run_in :],
            f"The answer on that dry clip, {'knobs as heard' if knobs else 'typical knobs'}": play(
                sounds.frontend, clip, as_heard(sounds.frontend.example(answer), knobs)
            ),
        }
        return tuple(
            Sound(label, data_uri(sounds.frontend.flac(wave, clip.sample_rate_hz)[0]))
            for label, wave in waves.items()
        ), ""
    except FxError as error:
        return (), str(error)


def data_uri(flac: bytes) -> str:
    return f"data:audio/flac;base64,{base64.b64encode(flac).decode()}"


def _knobs(chain: Chain, vocabulary: Vocabulary) -> tuple[tuple[str, tuple[str, ...]], ...]:
    """The true settings, for people: (pedal, ("drive 31.2 dB", …))."""
    units = {
        (entry.name, param.name): param.unit
        for entry in vocabulary.pedals
        for param in entry.params
    }
    return tuple(
        (
            pedal.name,
            tuple(
                f"{_spoken(name)} {_short(value)} {units.get((pedal.name, name), '')}".rstrip()
                for name, value in pedal.settings.items()
            ),
        )
        for pedal in chain.pedals
    )


def _spoken(param: str) -> str:
    """``delay_ms`` -> ``delay``: the unit follows the number."""
    name, _, unit = param.rpartition("_")
    return (name if name and unit in ("db", "hz", "ms", "dbfs") else param).replace("_", " ")


def _short(value: float) -> str:
    return np.format_float_positional(value, precision=3, fractional=False, trim="-")
