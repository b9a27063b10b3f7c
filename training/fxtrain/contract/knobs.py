"""Settings as words: a knob's value <-> its place on a grid, and the tokens a decoder would say.

A grid divides a knob's travel along the knob's own scale (equal ratios for Hz, ms and ratio, equal
dB for gain), so a step sounds about as large at either end. numpy and standard library only.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from fxtrain.contract.chain import PAD, Chain, Param, Pedal, PedalEntry, Vocabulary
from fxtrain.contract.errors import ContractError, VocabularyError

NO_WORD = -1
"""Fills ``words`` where a chain has ended or a pedal has no such knob."""

SLACK = 1e-6
"""Of a knob's travel: settings stored as float32 may lie this far outside their range."""


@dataclass(frozen=True)
class Grid:
    """``n_steps`` equal steps from one end of a knob to the other: ``n_steps + 1`` words.

    Both ends are words, and with an even number of steps so is the middle (an EQ left flat).
    """

    n_steps: int

    def __post_init__(self) -> None:
        if self.n_steps < 1:
            raise ContractError(f"a grid of {self.n_steps} steps: expected 1 or more")


FINE = Grid(32)
COARSE = Grid(8)
"""Eight steps are what a guitarist reads off a dial from seven to five o'clock; 32 put most knobs
below what the ear can tell (docs/knobs.md). Every coarse word is also a fine one."""


def is_cyclic(param: Param) -> bool:
    """A phase: one turn leads back to where it began, so both ends are the same word."""
    return param.unit == "cycles"


def from_unit(param: Param, u: float) -> float:
    """Knob position ``u`` in [0, 1] -> value in the parameter's unit, along its scale.

    Rounded to seven significant digits, so that a record written as JSON says what was heard.
    """
    if param.scale == "log":
        value = math.exp(math.log(param.low) + u * math.log(param.high / param.low))
    else:
        value = param.low + u * (param.high - param.low)
    if param.scale == "choice":
        value = round(value)
    return min(max(float(f"{value:.7g}"), param.low), param.high)


def to_unit(param: Param, value: float) -> float:
    """The inverse of :func:`from_unit`; a value outside the knob's range is an error.

    0 of a knob that cannot be turned: its range is one value.
    """
    if param.low == param.high and math.isclose(value, param.low, rel_tol=SLACK):
        return 0.0
    inside = param.low < param.high and (param.scale != "log" or value > 0)
    if inside and math.isfinite(value):
        if param.scale == "log":
            u = math.log(value / param.low) / math.log(param.high / param.low)
        else:
            u = (value - param.low) / (param.high - param.low)
        if -SLACK <= u <= 1 + SLACK:
            return min(max(u, 0.0), 1.0)
    raise ContractError(
        f"{param.name} is {value} {param.unit}, expected {param.low:g} to {param.high:g}"
    )


def n_words(param: Param, grid: Grid) -> int:
    """How many words a knob has. A choice has one for each, whatever the grid."""
    if param.scale == "choice":
        return round(param.high - param.low) + 1
    return grid.n_steps if is_cyclic(param) else grid.n_steps + 1


def to_word(param: Param, value: float, grid: Grid) -> int:
    """The nearest word, 0 at the low end; never more than half a step away on the knob's scale."""
    u = to_unit(param, value)
    if is_cyclic(param):
        return math.floor(u * grid.n_steps + 0.5) % grid.n_steps
    return math.floor(u * (n_words(param, grid) - 1) + 0.5)


def from_word(param: Param, word: int, grid: Grid) -> float:
    """The value a word stands for, in the parameter's unit."""
    n = n_words(param, grid)
    if not 0 <= word < n:
        raise VocabularyError(f"{param.name}={word} is not a word, expected 0 to {n - 1}")
    return from_unit(param, word / (n if is_cyclic(param) else n - 1))


def settings_to_words(
    entry: PedalEntry, settings: Mapping[str, float], grid: Grid
) -> dict[str, int]:
    """Parameter name -> word, in the order of the pedal's parameters."""
    for param in entry.params:
        if param.name not in settings:
            raise ContractError(f"pedal {entry.name!r}: parameter {param.name!r} is missing")
    return {param.name: to_word(param, settings[param.name], grid) for param in entry.params}


def words_to_settings(entry: PedalEntry, words: Mapping[str, int], grid: Grid) -> dict[str, float]:
    """The inverse, to within half a step."""
    return {param.name: from_word(param, words[param.name], grid) for param in entry.params}


@dataclass(frozen=True)
class KnobVocabulary:
    """Tokens for whole chains with settings: pedal, its knobs' words in order, next pedal, end.

    Token ids: the pedals' own ids first, so that order models keep theirs; then ``end``; then one
    run of words for each (pedal, parameter), from ``offset(pedal, parameter)`` on.
    """

    pedals: Vocabulary
    grid: Grid

    @property
    def end(self) -> int:
        return len(self.pedals.pedals)

    @cached_property
    def texts(self) -> tuple[str, ...]:
        """What each token reads as: ``overdrive``, ``<end>``, ``overdrive.drive_db=3``."""
        words = [
            f"{entry.name}.{param.name}={word}"
            for entry in self.pedals.pedals
            for param in entry.params
            for word in range(n_words(param, self.grid))
        ]
        return (*self.pedals.names, "<end>", *words)

    @cached_property
    def _offsets(self) -> dict[tuple[str, str], int]:
        found, at = {}, self.end + 1
        for entry in self.pedals.pedals:
            for param in entry.params:
                found[entry.name, param.name] = at
                at += n_words(param, self.grid)
        return found

    def __len__(self) -> int:
        return len(self.texts)

    def offset(self, pedal: str, param: str) -> int:
        """The token of this knob's word 0."""
        try:
            return self._offsets[pedal, param]
        except KeyError:
            raise VocabularyError(f"pedal {pedal!r} has no parameter {param!r} here") from None

    def encode(self, chain: Chain) -> np.ndarray:
        """int32 [S]: the chain's tokens, ``end`` last."""
        tokens: list[int] = []
        for pedal in chain.pedals:
            index = self.pedals.index(pedal.name)
            entry = self.pedals.pedals[index]
            words = settings_to_words(entry, pedal.settings, self.grid)
            tokens.append(index)
            tokens += [self.offset(entry.name, name) + word for name, word in words.items()]
        return np.array([*tokens, self.end], np.int32)

    def decode(self, tokens: Sequence[int] | np.ndarray) -> Chain:
        """The chain that tokens spell, up to the first ``end``; what is not a chain is an error."""
        said = [int(token) for token in tokens]
        if self.end not in said:
            raise VocabularyError(f"{len(said)} tokens without an end")
        rest, pedals = said[: said.index(self.end)], []
        while rest:
            index = rest.pop(0)
            if not 0 <= index < self.end:
                raise VocabularyError(f"expected a pedal, found {self._text(index)}")
            entry, words = self.pedals.pedals[index], {}
            for param in entry.params:
                token = rest.pop(0) if rest else self.end
                word = token - self.offset(entry.name, param.name)
                if not 0 <= word < n_words(param, self.grid):
                    raise VocabularyError(
                        f"expected {entry.name}.{param.name}, found {self._text(token)}"
                    )
                words[param.name] = word
            pedals.append(Pedal(entry.name, words_to_settings(entry, words, self.grid)))
        return Chain(tuple(pedals))

    def _text(self, token: int) -> str:
        return self.texts[token] if 0 <= token < len(self) else f"token {token}"

    def words(self, order: np.ndarray, params: np.ndarray) -> np.ndarray:
        """A shard's ``order`` uint8 [B, L] and ``params`` float32 [B, L, P] -> int16 [B, L, P].

        ``NO_WORD`` where there is no knob: targets for one classifier a knob, without tokens.
        """
        found = np.full(params.shape, NO_WORD, np.int16)
        for row, place in np.argwhere(order != PAD):
            for column, param in enumerate(self.pedals.pedals[int(order[row, place])].params):
                value = float(params[row, place, column])
                found[row, place, column] = to_word(param, value, self.grid)
        return found


def spell(entry: PedalEntry, settings: Mapping[str, float], grid: Grid) -> str:
    """How a pedal with its words is written for people: ``wah center_hz=3 q=5``."""
    words = settings_to_words(entry, settings, grid)
    return " ".join([entry.name, *(f"{name}={word}" for name, word in words.items())])
