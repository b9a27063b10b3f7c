"""What "audible" means: a pedal's change in dB against the change of its log-mel.

    python tests/bench/bench_audible.py [clips] [seed]

Draws every pedal's settings on synthetic clips and sorts what it did by residual (dB, as the
renderer measures it). For each step of residual: the median log-mel distance between input and
output, and the share of pedals that moved log-mel by less than 0.5 dB. Then, for each pedal, the
share of draws that a threshold would send back. Run by hand; nothing is asserted.
"""

from __future__ import annotations

import itertools
import sys

import numpy as np

from fxpipe.chains.chain import ChainSpec, draw_settings, generator
from fxpipe.distance import change_db, mel_distance_db
from fxpipe.pedals import PEDALS, build_pedal
from fxpipe.render import RenderSpec
from fxpipe.sources.synth import perform

THRESHOLDS_DB = (-40.0, -35.0, -30.0, -25.0, -20.0)
EDGES_DB = (-200, -60, -50, -45, -40, -35, -30, -25, -20, -15, -10, 1)
JUST_NOTICEABLE_DB = 0.5


def main(n_clips: int = 40, seed: int = 0) -> None:
    spec = RenderSpec(chain=ChainSpec(pool=tuple(PEDALS)))
    skip, rate = spec.n_run_in, spec.sample_rate_hz
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in PEDALS}
    for position in range(n_clips):
        rng = generator(seed, "train", position, "performance")
        dry, _ = perform(rng, skip + spec.n_samples)
        for name in PEDALS:
            (pedal,) = draw_settings(spec.chain, (name,), rng).pedals
            wet = build_pedal(pedal, rate)(dry)
            change = max(change_db(dry[skip:], wet[skip:]), -199.0)
            found[name].append((change, mel_distance_db(dry[skip:], wet[skip:], rate)))
    every = np.array([pair for pairs in found.values() for pair in pairs])
    print(f"{n_clips} synthetic clips, seed {seed}, {len(every)} single pedals\n")
    print(f"{'residual, dB':<14} {'n':>5} {'log-mel dB, median':>19} {'under 0.5 dB':>13}")
    for low, high in itertools.pairwise(EDGES_DB):
        here = every[(every[:, 0] >= low) & (every[:, 0] < high)]
        if len(here):
            quiet = np.mean(here[:, 1] < JUST_NOTICEABLE_DB)
            middle = np.median(here[:, 1])
            print(f"{low:>5} to {high:<5} {len(here):>5} {middle:>19.2f} {quiet:>13.0%}")
    print(f"\n{'sent back at':<14}" + "".join(f"{t:>8.0f} dB" for t in THRESHOLDS_DB))
    for name, pairs in found.items():
        changes = np.array(pairs)[:, 0]
        print(f"{name:<14}" + "".join(f"{np.mean(changes < t):>11.0%}" for t in THRESHOLDS_DB))


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
