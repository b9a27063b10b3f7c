"""Chains that nobody wrote down: swaps in the band where hearing is in doubt, and the anchors.

How far a swap moves the sound is measured on the very recording that people will hear, with the
distance of ``fxpipe symmetry`` and of the order classes: mean |dB| of log-mel at equal loudness.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from fxtrain.alternatives import other_orders
from fxtrain.contract import Chain, Frontend, FxError, PedalEntry, UsageError
from fxtrain.listen.dries import Dry, play, sounds
from fxtrain.listen.items import ItemSpec, drawn, swap
from fxtrain.listen.study import DRY, SWAPPED

BAND_DB = (0.25, 4.0)
"""Around the 0.5 dB at which order classes are cut: half of it, and eight times as much."""

LENGTHS = (2, 2, 3)
DRAWS_AN_ITEM = 60
CLEAR_DB = 6.0
"""What nobody misses: catch trials lie at least this far apart."""

CATCH_DRAWS = 200

Played = Iterable[tuple[Dry, Chain]]
"""Chains, each with the recording it is put on."""


def random_chain(pedals: Sequence[PedalEntry], length: int, rng: np.random.Generator) -> Chain:
    """Different pedals, any order, any settings."""
    picks = rng.choice(len(pedals), min(length, len(pedals)), replace=False)
    return Chain(tuple(drawn(pedals[i], rng) for i in picks))


def random_chains(pedals: Sequence[PedalEntry], rng: np.random.Generator) -> Iterator[Chain]:
    if len(pedals) < 2:
        raise UsageError(f"a pool of {len(pedals)} pedals has no order; name two or more")
    while True:
        yield random_chain(pedals, int(rng.choice(LENGTHS)), rng)


def worst_order(frontend: Frontend, dry: Dry, reference: Chain) -> Chain:
    """The order of the same pedals that sounds least like the reference, of those tried."""
    chains = other_orders(reference)
    if not chains:
        raise UsageError(
            f"a chain of {len(reference.pedals)} pedals has no other order: no {reference} in "
            "this test"
        )
    truth, rate = play(frontend, dry, reference), dry.sample_rate_hz
    far = [frontend.distance_db(truth, play(frontend, dry, chain), rate) for chain in chains]
    return chains[int(np.argmax(far))]


@dataclass(frozen=True, eq=False)
class Swap:
    """One neighbour swap, and how far it moves the sound."""

    spec: ItemSpec
    distance_db: float


def swaps(frontend: Frontend, played: Played) -> Iterator[Swap]:
    """Every neighbour swap of every chain on its recording."""
    for dry, chain in played:
        truth = play(frontend, dry, chain)
        if not sounds(frontend, truth, dry):
            continue
        for i in range(len(chain.pedals) - 1):
            other = swap(chain, i)
            wave = play(frontend, dry, other)
            if chain.pedals[i] == chain.pedals[i + 1] or not sounds(frontend, wave, dry):
                continue
            pair = (chain.names[i], chain.names[i + 1])
            spec = ItemSpec(f"{chain}, {pair[0]} and {pair[1]}", dry, chain, {SWAPPED: other}, pair)
            yield Swap(spec, frontend.distance_db(truth, wave, dry.sample_rate_hz))


def doubtful_swaps(
    frontend: Frontend,
    played: Played,
    n: int,
    band_db: tuple[float, float] = BAND_DB,
) -> list[ItemSpec]:
    """``n`` swaps within the band, spread over it in equal ratios, as many pairs as there are.

    The band is cut into ``n`` steps; the first swap that falls into a step takes it. A pair is
    taken again only when half of the draws are spent.
    """
    low, high = band_db
    if not 0 < low < high:
        raise UsageError(
            f"a band from {low:g} to {high:g} dB: expected two numbers, 0 < low < high"
        )
    steps: dict[int, Swap] = {}
    spare: list[Swap] = []
    most = DRAWS_AN_ITEM * n
    for number, found in enumerate(itertools.islice(swaps(frontend, played), most)):
        if not low <= found.distance_db <= high:
            continue
        step = min(n - 1, int(n * math.log(found.distance_db / low) / math.log(high / low)))
        known = {frozenset(taken.spec.pair) for taken in steps.values()}
        new = frozenset(found.spec.pair) not in known
        if step not in steps and (new or number > most // 2):
            steps[step] = found
            if len(steps) == n:
                break
        else:
            spare.append(found)
    taken = list(steps.values()) + spare[: n - len(steps)]
    if len(taken) < n:
        raise FxError(
            f"only {len(taken)} of {n} swaps lie between {low:g} and {high:g} dB; widen --band, "
            "take more pedals or chains, or ask for fewer items"
        )
    return [found.spec for found in sorted(taken, key=lambda found: found.distance_db)]


def clear_differences(frontend: Frontend, played: Played, n: int) -> list[ItemSpec]:
    """Chains against no chain, far enough apart that whoever listens hears it."""
    found: list[ItemSpec] = []
    if n == 0:
        return found
    for dry, chain in itertools.islice(played, CATCH_DRAWS):
        wet, plain = play(frontend, dry, chain), play(frontend, dry, Chain(()))
        if not sounds(frontend, wet, dry):
            continue
        if frontend.distance_db(plain, wet, dry.sample_rate_hz) >= CLEAR_DB:
            found.append(ItemSpec(f"{chain} or nothing", dry, chain, {DRY: Chain(())}, catch=True))
            if len(found) == n:
                return found
    raise FxError(
        f"only {len(found)} of {n} chains change the guitar by {CLEAR_DB:g} dB or more, which the "
        "catch trials need; take more pedals with --pool, or --catches 0"
    )
