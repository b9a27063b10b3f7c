"""What a page does with sound: hear a clip, render a board, write its files. Not between threads.

Shapes: N audio sample.
"""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fxtrain.app.limits import MAX_BOARD, title_of
from fxtrain.contract import (
    Chain,
    ContractError,
    Frontend,
    PedalEntry,
    free_pairs,
    from_dict,
)
from fxtrain.contract.frontend import TooLongError
from fxtrain.export.board import (
    Board,
    BoardPedal,
    Neighbours,
    as_set,
    board_of,
    check_board,
    entries_of,
)
from fxtrain.export.drawing import COLOURS, OTHER_COLOUR
from fxtrain.export.files import download, export_files, formats
from fxtrain.export.words import knobs, label
from fxtrain.telling import perhaps, some_pedal
from fxtrain.web.requests import RefusedError

if TYPE_CHECKING:
    from fxtrain.predict import AnyRun

MIN_S = 0.1
DRY_S = 6.0
PHRASES = {"synth-1": 11, "synth-2": 23, "synth-3": 37}
"""Built-in dry guitars: name -> seed."""

EXAMPLE_SEED = 5
EXAMPLE_LENGTH = 3


@dataclass(frozen=True)
class Sound:
    """A FLAC file and how loud it is, so that a page can play two at one loudness."""

    flac: bytes
    lufs: float | None
    seconds: float


@dataclass(frozen=True)
class Dry:
    wave: np.ndarray
    sample_rate_hz: int


@dataclass(frozen=True)
class Clip:
    """What was given, and what was heard on it. ``rate_hz``: the given file's own; ``turned``: how
    each pedal that the model knows would be set if it were there, nothing of a model that hears no
    knobs; ``kin``: what is known of families of pedals, a sentence each; ``perhaps``: pedals that
    may be there, too; ``truth``: what the example really is."""

    board: Board
    sound: Sound
    rate_hz: int
    turned: tuple[BoardPedal, ...] = ()
    kin: tuple[str, ...] = ()
    perhaps: str = ""
    truth: tuple[str, ...] = ()


class Ears:
    def __init__(self, run: AnyRun, frontend: Frontend) -> None:
        self.run, self.frontend = run, frontend
        self.entries: dict[str, PedalEntry] = entries_of(frontend)
        self._phrases: dict[str, Dry] = {}

    def pedals(self) -> list[dict[str, Any]]:
        """Every pedal with its knobs, as the page draws them."""
        return [self._pedal(entry) for entry in self.entries.values()]

    def _pedal(self, entry: PedalEntry) -> dict[str, Any]:
        (typical,) = self.frontend.example([entry.name]).pedals
        return {
            "name": entry.name,
            "colour": COLOURS.get(entry.family, OTHER_COLOUR),
            "known": entry.name in self.run.card.vocabulary.names,
            "settings": typical.settings,
            "knobs": [
                {
                    "name": param.name,
                    "label": label(param, knobs(entry)),
                    "unit": param.unit,
                    "low": param.low,
                    "high": param.high,
                    "scale": param.scale,
                    "meaning": param.meaning,
                }
                for param in knobs(entry)
            ],
        }

    def read(self, data: bytes, most_s: float) -> Dry:
        """A file's bytes as sound; refused where it is too short or too long."""
        try:
            wave, rate_hz = self.frontend.decode(data, most_s)
        except TooLongError as error:
            raise unfit(error.seconds, most_s) from None
        if len(wave) < MIN_S * rate_hz:
            raise unfit(len(wave) / rate_hz, most_s)
        return Dry(wave, rate_hz)

    def hear(self, data: bytes, name: str, most_s: float) -> Clip:
        sound = self.read(data, most_s)
        return self._clip(sound, title_of(name))

    def example(self) -> Clip:
        """The built-in guitar through the first pedals that the model knows, for a first look."""
        dry = Dry(*self.frontend.dry(EXAMPLE_SEED, DRY_S))
        chain = self.frontend.example(self.run.card.vocabulary.names[:EXAMPLE_LENGTH])
        wet = self.frontend.render(dry.wave, dry.sample_rate_hz, chain)
        return self._clip(Dry(wet, dry.sample_rate_hz), f"example: {chain}", chain.names)

    def _clip(self, sound: Dry, title: str, truth: tuple[str, ...] = ()) -> Clip:
        from fxtrain.predict import predict_features

        features = self.frontend.encode(sound.wave, sound.sample_rate_hz)
        prediction = predict_features(self.run, features)
        weights = self.run.card.weights
        board = board_of(prediction, title, self.frontend, weights.sha256 if weights else "")
        known = [name for name in prediction.knobs if name in self.entries]
        return Clip(
            *(board, self._sound(sound), sound.sample_rate_hz),
            turned=as_set(known, prediction.knobs, self.frontend),
            kin=tuple(map(some_pedal, prediction.kin)),
            perhaps=perhaps(prediction),
            truth=truth,
        )

    def phrase(self, name: str) -> Dry:
        """A built-in dry guitar."""
        if name not in PHRASES:
            raise RefusedError(404, "There is no such built-in guitar.")
        if name not in self._phrases:
            self._phrases[name] = Dry(*self.frontend.dry(PHRASES[name], DRY_S))
        return self._phrases[name]

    def render(self, dry: Dry, board: Board) -> Sound:
        wet = self.frontend.render(dry.wave, dry.sample_rate_hz, board.chain)
        return self._sound(Dry(wet, dry.sample_rate_hz))

    def edited(self, clip: Clip, pedals: object) -> Board:
        """The clip's board with the pedals that the page now shows.

        What was heard of a pedal stays with it; how sure the model was of the order, and what else
        it may have been, only where the order is still the same.
        """
        if not isinstance(pedals, list) or len(pedals) > MAX_BOARD:
            raise RefusedError(422, f"A board is a list of at most {MAX_BOARD} pedals.")
        found = []
        for number, data in enumerate(pedals, start=1):
            found.append(self._as_heard(clip, from_dict(BoardPedal, data, f"pedal {number}")))
        names = tuple(pedal.name for pedal in found)
        basis = self._basis(clip, found)
        same = names == clip.board.chain.names
        board = dataclasses.replace(
            clip.board,
            pedals=tuple(found),
            settings=basis,
            probability=clip.board.probability if same else None,
            alternatives=clip.board.alternatives if same else (),
            pairs=self._pairs(clip, names),
            textbook=self._textbook(names),
        )
        check_board(board, self.entries)
        return board

    def _as_heard(self, clip: Clip, pedal: BoardPedal) -> BoardPedal:
        """With what the clip says of it; a knob that somebody turned is no guess any more."""
        known = {each.name: each for each in (*clip.turned, *clip.board.pedals)}
        heard = known.get(pedal.name, BoardPedal(pedal.name, {}))
        kept = (n for n in heard.unheard if pedal.settings.get(n) == heard.settings[n])
        return dataclasses.replace(pedal, probability=heard.probability, unheard=tuple(kept))

    def _textbook(self, names: tuple[str, ...]) -> tuple[str, ...]:
        """In the order of the model's vocabulary; a pedal that it does not know comes after those
        which the frontend, whose order is the textbook's too, lists before it."""
        known, listed = self.run.card.vocabulary.names, list(self.entries)

        def place(name: str) -> tuple[int, int]:
            if name in known:
                return known.index(name), 0
            at = listed.index(name)
            before = (known.index(other) for other in listed[:at] if other in known)
            return max(before, default=-1), 1 + at

        return tuple(sorted(names, key=place))

    def _basis(self, clip: Clip, pedals: list[BoardPedal]) -> str:
        """Where these settings come from: what was heard or is typical, or somebody's hand."""
        heard = {p.name: p.settings for p in (*clip.turned, *clip.board.pedals)}
        if all(pedal.settings == heard.get(pedal.name) for pedal in pedals):
            return clip.board.settings
        return "typical" if self._is_typical(pedals) else "given"

    def _is_typical(self, pedals: list[BoardPedal]) -> bool:
        known = [pedal.name for pedal in pedals if pedal.name in self.entries]
        if len(known) != len(pedals):
            raise ContractError("a pedal of this board is not known here; load the page again")
        typical: Chain = self.frontend.example(known)
        return all(
            pedal.settings == first.settings
            for pedal, first in zip(pedals, typical.pedals, strict=True)
        )

    def _pairs(self, clip: Clip, names: tuple[str, ...]) -> tuple[Neighbours, ...]:
        """Which of these pedals could be swapped; what was heard of the others' order."""
        free = free_pairs(names, self.run.card.commuting_pairs)
        heard = tuple(
            pair
            for pair in clip.board.pairs
            if pair.audible
            and names.count(pair.first) == names.count(pair.second) == 1
            and names.index(pair.first) < names.index(pair.second)
        )
        return (*heard, *(Neighbours(a, b, 0.5, False) for a, b in free))

    def export(self, board: Board, format_name: str) -> tuple[str, bytes, tuple[str, ...]]:
        """(file name, bytes, what it could not say) of one format."""
        found = formats(export_files(board, self.frontend))
        if format_name not in found:
            raise RefusedError(404, "There is no such file.")
        name, data = download(found[format_name])
        return name, data, found[format_name][0].notes

    def _sound(self, sound: Dry) -> Sound:
        wave, rate_hz = sound.wave, sound.sample_rate_hz
        flac, lufs = self.frontend.flac(wave, rate_hz)
        return Sound(flac, lufs if math.isfinite(lufs) else None, len(wave) / rate_hz)


def unfit(seconds: float, most_s: float) -> RefusedError:
    if seconds < MIN_S:
        return RefusedError(
            422,
            f"This is {seconds:.3f} s of sound; {MIN_S:g} to {most_s:g} s can be used. "
            "Give a second or two of guitar.",
        )
    return RefusedError(
        422,
        f"This is {seconds:.1f} s of sound; {MIN_S:g} to {most_s:g} s can be used. "
        "Cut out the part with the guitar.",
    )


def open_ears(folder: Path, device: str) -> Ears:
    """The model and its frontend; takes a second."""
    from fxtrain.contract import open_frontend
    from fxtrain.predict import open_run

    run = open_run(folder, device)
    return Ears(run, open_frontend(run.card.ears))
