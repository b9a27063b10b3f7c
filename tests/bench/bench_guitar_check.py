"""How well the guitar check tells strangers from guitars through pedals, as `predict` hears them.

    python tests/bench/bench_guitar_check.py [--dry DIR] [--strangers DIR]

Strangers are made from numbers, with seeds that nothing was taught on; ``--strangers`` adds a
folder of recordings, a kind in each folder inside it. Guitars are the built-in one; ``--dry`` adds
recordings without pedals. Every guitar is heard dry and through three random chains. Rates are of
whole clips: the middle one of their windows decides.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from fxpipe.chains.chain import ChainSpec, draw_names, draw_settings
from fxpipe.errors import SourceError
from fxpipe.guitar.check import RATE_HZ, strangeness
from fxpipe.guitar.strangers import KINDS, stranger
from fxpipe.pedals import POOLS
from fxpipe.render import run_chain
from fxpipe.sources.scan import read_file, read_mono, walk_audio
from fxpipe.sources.synth import SAMPLE_RATE_HZ, perform
from fxpipe.windows import sounding_windows

SEED = 77
CLIP_S = 6.0
N_EACH = 12
N_CHAINS = 3


def of_clip(wave: np.ndarray, rate: int) -> float | None:
    """Strangeness as `fxtrain predict` takes it; None where nothing sounds."""
    try:
        windows = sounding_windows(wave[: round(CLIP_S * rate)], rate, 2 * rate)
    except SourceError:
        return None
    return float(np.median(strangeness(windows.waves, rate)))


def recordings(root: Path) -> Iterator[tuple[str, np.ndarray, int]]:
    for path, name in walk_audio(root):
        wave, rate, _ = read_mono(read_file(path))
        yield name, wave, rate


def guitars(dry: Path | None) -> Iterator[tuple[str, np.ndarray, int]]:
    n = round(CLIP_S * SAMPLE_RATE_HZ)
    for i in range(2 * N_EACH):
        yield "built-in", perform(np.random.default_rng([SEED, i]), n)[0], SAMPLE_RATE_HZ
    if dry:
        for name, wave, rate in recordings(dry):
            yield name.split("/")[0], wave[: round(CLIP_S * rate)], rate


def heard_guitars(dry: Path | None) -> dict[str, list[float]]:
    spec = ChainSpec(pool=POOLS["stompbox"], lengths=dict.fromkeys((1, 2, 3, 4), 1.0))
    found: dict[str, list[float]] = {}
    for number, (kind, wave, rate) in enumerate(guitars(dry)):
        rng = np.random.default_rng([SEED, number])
        played = [("dry", wave)]
        for _ in range(N_CHAINS):
            names = draw_names(spec, int(rng.integers(1, 5)), rng, test=False)
            chain = draw_settings(spec, names, rng)
            played.append(("wet", run_chain(wave.astype(np.float32), chain, rate)[0]))
        for how, sound in played:
            score = of_clip(sound, rate)
            if score is not None:
                found.setdefault(f"{kind}, {how}", []).append(score)
    return found


def heard_strangers(root: Path | None) -> dict[str, list[float]]:
    n = round(CLIP_S * RATE_HZ)
    found: dict[str, list[float]] = {}
    for kind in KINDS:
        for i in range(N_EACH):
            score = of_clip(stranger(kind, np.random.default_rng([SEED, i]), n), RATE_HZ)
            if score is not None:
                found.setdefault(f"{kind} (made)", []).append(score)
    for name, wave, rate in recordings(root) if root else ():
        score = of_clip(wave, rate)
        if score is not None:
            found.setdefault(name.split("/")[0], []).append(score)
    return found


def auroc(low: list[float], high: list[float]) -> float:
    """Chance that one of ``high`` lies above one of ``low``."""
    return float(np.mean(np.asarray(high)[:, None] > np.asarray(low)[None]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--dry", type=Path)
    parser.add_argument("--strangers", type=Path)
    options = parser.parse_args()
    known = heard_guitars(options.dry)
    every = [score for scores in known.values() for score in scores]
    print("| sound | clips | turned away | AUROC |\n| --- | ---: | ---: | ---: |")
    for kind, scores in known.items():
        print(f"| {kind} | {len(scores)} | {np.mean(np.array(scores) > 0):.1%} | |")
    print(f"| **all guitars** | {len(every)} | {np.mean(np.array(every) > 0):.1%} | |")
    for kind, scores in heard_strangers(options.strangers).items():
        turned = np.mean(np.array(scores) > 0)
        print(f"| {kind} | {len(scores)} | {turned:.0%} | {auroc(every, scores):.3f} |")


if __name__ == "__main__":
    main()
