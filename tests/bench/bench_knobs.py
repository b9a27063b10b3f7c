"""What words cost in sound: exact settings against the fine and the coarse grid's.

    python tests/bench/bench_knobs.py [n_clips] [seed]

For each pedal, ``n_clips`` clips of the embedded guitar with settings drawn as ``fxpipe render``
draws them. MR-STFT distance (level does not count) between the exact render and

- ``fine``, ``coarse``: the same settings said in words of the grid;
- ``1 % up``: every knob moved by a hundredth of its travel: no dial is set more exactly;
- ``noise``: the same render twice with the noise floor of two seeds;
- ``other``: other settings of the same pedal: what it costs not to know them at all.

Prints one Markdown table of medians, and a second of 90th percentiles; run by hand.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping

import numpy as np

from fxpipe.chains.chain import ChainSpec, draw_settings
from fxpipe.distance import mr_stft
from fxpipe.pedals import PEDALS, PedalSpec, build_pedal
from fxpipe.render import RenderSpec, draw_clip, finish, to_input_level
from fxpipe.sources.synth import SAMPLE_RATE_HZ, perform
from fxtrain.contract import (
    COARSE,
    FINE,
    Grid,
    Pedal,
    from_unit,
    settings_to_words,
    to_unit,
    words_to_settings,
)

COLUMNS = ("fine", "coarse", "1 % up", "noise", "other")


def said(name: str, spec: PedalSpec, settings: Mapping[str, float], grid: Grid) -> Pedal:
    entry = spec.entry(name)
    words = settings_to_words(entry, settings, grid)
    return Pedal(name, words_to_settings(entry, words, grid))


def nudged(name: str, spec: PedalSpec, settings: Mapping[str, float]) -> Pedal:
    """Every knob a hundredth of its travel up; down where it is at the end."""
    moved = {}
    for param in spec.params:
        u = to_unit(param, settings[param.name])
        moved[param.name] = from_unit(param, u + 0.01 if u < 0.99 else u - 0.01)
    return Pedal(name, moved)


def distances(name: str, n_clips: int, seed: int) -> np.ndarray:
    """[n_clips, columns]"""
    chain = ChainSpec((name,), {1: 1.0})
    spec = RenderSpec(chain)
    found = []
    for position in range(n_clips):
        rng = np.random.default_rng([seed, position])
        draw = draw_clip(spec, seed, "test", position)
        dry, _ = perform(rng, spec.n_run_in + spec.n_samples)
        dry = to_input_level(dry, float(np.abs(dry).max()), draw.input_peak_dbfs)

        def wet(pedal: Pedal, dry: np.ndarray = dry) -> np.ndarray:
            return build_pedal(pedal, SAMPLE_RATE_HZ)(dry)[spec.n_run_in :]

        (pedal,), (other,) = (draw_settings(chain, [name], rng).pedals for _ in range(2))
        exact = wet(pedal)
        noisy = [finish(exact, draw.after, SAMPLE_RATE_HZ, rng) for _ in range(2)]
        found.append(
            [
                mr_stft(wet(said(name, PEDALS[name], pedal.settings, FINE)), exact),
                mr_stft(wet(said(name, PEDALS[name], pedal.settings, COARSE)), exact),
                mr_stft(wet(nudged(name, PEDALS[name], pedal.settings)), exact),
                mr_stft(*noisy),
                mr_stft(wet(other), exact),
            ]
        )
    return np.array(found)


def markdown(rows: Mapping[str, np.ndarray]) -> str:
    lines = [["pedal", "knobs", *COLUMNS], ["---", *["---:"] * (len(COLUMNS) + 1)]]
    for name, values in rows.items():
        knobs = str(len(PEDALS[name].params)) if name in PEDALS else ""
        lines.append([name, knobs, *(f"{value:.3f}" for value in values)])
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def main(n_clips: int, seed: int) -> None:
    found = {name: distances(name, n_clips, seed) for name in PEDALS}
    for label, percentile in (("median", 50), ("90th percentile", 90)):
        rows = {name: np.percentile(values, percentile, axis=0) for name, values in found.items()}
        rows["**all**"] = np.percentile(np.concatenate(list(found.values())), percentile, axis=0)
        print(f"MR-STFT, {label} of {n_clips} clips a pedal, seed {seed}\n\n{markdown(rows)}\n")


if __name__ == "__main__":
    arguments = [int(word) for word in sys.argv[1:]] + [40, 0][len(sys.argv) - 1 :]
    main(*arguments)
