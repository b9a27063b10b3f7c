"""Which chains, and where their knobs stand. Seeded, numbers only but for one question: can every
pedal be heard on the kit's own guitar?"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from fxtrain.contract import (
    Chain,
    Frontend,
    Param,
    Pedal,
    PedalEntry,
    UsageError,
    from_unit,
    to_unit,
)
from fxtrain.contract.knobs import is_cyclic
from fxtrain.listen.dries import Dry

STEPS = 10
"""Of a dial from seven o'clock, fully left, to five o'clock, fully right: one an hour."""

LEAST, MOST = 2, 8
"""Nine to three o'clock: at the ends one maker's knob is off where another's is mild."""

AUDIBLE_DB = -30.0
"""A pedal that changes its input by less gets other settings, as in the training data."""

SILENT_DBFS = -70.0
"""An RMS up to this is silence: a pedal that swallows its input is drawn again, too."""

TRIES = 8


def hour(step: int) -> str:
    """A place on the dial as people say it."""
    at = (7 + step - 1) % 12 + 1
    return "noon" if at == 12 else f"{at} o'clock"


def step_of(param: Param, value: float) -> float:
    """Where a setting stands on the dial, 0 to ``STEPS``."""
    return STEPS * to_unit(param, value)


def draw_pedal(entry: PedalEntry, rng: np.random.Generator) -> Pedal:
    """Every knob on an hour between nine and three; what no pedal has a knob for, anywhere."""
    settings = {}
    for param in entry.params:
        u = float(rng.random()) if is_cyclic(param) else int(rng.integers(LEAST, MOST + 1)) / STEPS
        settings[param.name] = from_unit(param, u)
    return Pedal(entry.name, settings)


def draw_names(
    names: Sequence[str], lengths: Sequence[int], n: int, rng: np.random.Generator
) -> Iterator[tuple[str, ...]]:
    """``n`` chains: every length as often, every pedal and every pair about as often, any order."""
    _check_lengths(names, lengths)
    each = [lengths[i % len(lengths)] for i in range(n)]
    used: Counter[str] = Counter()
    together: Counter[frozenset[str]] = Counter()
    for length in rng.permutation(each).tolist():
        chosen: list[str] = []
        for _ in range(length):
            left = [name for name in names if name not in chosen]
            luck = dict(zip(left, rng.permutation(len(left)).tolist(), strict=True))

            def rarest(name: str, luck: dict[str, int] = luck) -> tuple[float, int]:
                pairs = sum(together[frozenset((name, other))] for other in chosen)  # noqa: B023
                return used[name] + pairs, luck[name]

            chosen.append(min(left, key=rarest))
        for i, name in enumerate(chosen):
            used[name] += 1
            together.update(frozenset((name, other)) for other in chosen[:i])
        yield tuple(chosen[i] for i in rng.permutation(length))


def _check_lengths(names: Sequence[str], lengths: Sequence[int]) -> None:
    if not names:
        raise UsageError("no pedals to draw from; name some with --pedals")
    if not lengths or min(lengths) < 1 or max(lengths) > len(names):
        raise UsageError(
            f"chains of {', '.join(map(str, lengths)) or 'no'} pedals: expected 1 to "
            f"{len(names)}, as many as there are different pedals; give other --lengths"
        )


@dataclass(frozen=True, eq=False)
class Drawn:
    chain: Chain
    faint: tuple[str, ...]


def draw_settings(
    names: Sequence[str],
    entries: dict[str, PedalEntry],
    frontend: Frontend,
    dry: Dry,
    rng: np.random.Generator,
) -> Drawn:
    """Settings at which each pedal can be heard; what cannot after ``TRIES`` draws is ``faint``."""
    wave, pedals, faint = dry.wave, [], []
    for name in names:
        for _ in range(TRIES):
            pedal = draw_pedal(entries[name], rng)
            after = frontend.render(wave, dry.sample_rate_hz, Chain((pedal,)))
            if change_db(wave, after) >= AUDIBLE_DB:
                break
        else:
            faint.append(name)
        pedals.append(pedal)
        wave = after
    return Drawn(Chain(tuple(pedals)), tuple(faint))


def change_db(before: np.ndarray, after: np.ndarray) -> float:
    """What is left of ``after`` when the best copy of ``before`` is taken away, in dB of it; -inf
    where ``after`` is silent. As fxpipe measures it."""
    a, b = before.astype(np.float64), after.astype(np.float64)
    energy = float(b @ b)
    if energy <= 10 ** (SILENT_DBFS / 10) * len(b):
        return -math.inf
    gain = float(a @ b) / max(float(a @ a), 1e-30)
    rest = b - gain * a
    return 10 * math.log10(max(float(rest @ rest) / energy, 1e-15))
