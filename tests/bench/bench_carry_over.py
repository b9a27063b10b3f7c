"""Does it carry over? One model on clips that differ from its lessons in one thing at a time.

    python tests/bench/bench_carry_over.py OUT [--run RUN] [--clips 300]

First table: the same performances of the built-in guitar through the same chains, with another
noise floor, another playing level, pedals of another make, a loudspeaker, an amplifier. Second
table: the first row's clips as files that keep less of the sound. Third table: the same clips
through loudspeakers and amplifiers of CAPS (left away where it is not installed). Fourth table:
chains of four and five pedals, apart by whether one of the chains that the shipped model was taught
had the same pedals in the same order (``LESSONS``; orders that were drawn again because a pedal was
not heard are not followed: one in thirty). What is in OUT already is used again.
"""

from __future__ import annotations

import argparse
import dataclasses
import io
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import caps
import numpy as np
import soundfile

from fxpipe.chains.chain import draw_order
from fxpipe.config import render_spec
from fxpipe.plan import split_sizes
from fxpipe.render import band_limited
from fxpipe.renders import read_renders_index, read_shard
from fxpipe.resume import write_finished
from fxtrain.answers import Answers
from fxtrain.checkpoint import load_run
from fxtrain.contract import LocalFolder, empty_npy
from fxtrain.data import open_shards
from fxtrain.evaluate import answer
from fxtrain.finding import SHIPPED, model_folder
from fxtrain.judging import judge

CONDITIONS = {
    "as in its lessons": "",
    "noise 30 to 44 dB below (44 to 59)": "noise_snr_db = [30, 44]",
    "noise 20 to 30 dB below": "noise_snr_db = [20, 30]",
    "next to no noise, 80 dB below": "noise_snr_db = [80, 80]",
    "played softer, peaks at -30 to -20 dBFS (-15 to -3)": "input_peak_dbfs = [-30, -20]",
    "played harder, peaks at -3 to +6 dBFS": "input_peak_dbfs = [-3, 6]",
    "recorded 30 dB softer": "output_gain_db = [-42, -18]",
    "every other pedal of another make": "[chain]\nmakes = 0.5",
    "every pedal of another make": "[chain]\nmakes = 1.0",
    "through a loudspeaker": "speakers = 1.0",
    "through an amplifier and a loudspeaker": "amplifiers = 1.0",
}
SEED, LONG_SEED = 905, 906
RATE_HZ = 44_100


def compressed(kind: str, level: float, wave: np.ndarray) -> np.ndarray:
    """``level``: libsndfile's compression level, 0 to 1; an MP3 has a constant rate of bits."""
    file, how = io.BytesIO(), {"bitrate_mode": "CONSTANT"} if kind == "MP3" else {}
    soundfile.write(file, wave, RATE_HZ, format=kind, compression_level=level, **how)
    return soundfile.read(io.BytesIO(file.getvalue()), dtype="float32")[0]


def at_rate(rate_hz: int, wave: np.ndarray) -> np.ndarray:
    return band_limited(wave, rate_hz / 2, RATE_HZ)


FILES: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "MP3, 160 kbit/s": partial(compressed, "MP3", 0.5),
    "MP3, 96 kbit/s": partial(compressed, "MP3", 0.8),
    "MP3, 56 kbit/s": partial(compressed, "MP3", 0.9),
    "OGG Vorbis, 110 kbit/s": partial(compressed, "OGG", 0.4),
    "OGG Vorbis, 75 kbit/s": partial(compressed, "OGG", 0.8),
    "at 32 kHz": partial(at_rate, 32_000),
    "at 22.05 kHz": partial(at_rate, 22_050),
    "at 16 kHz": partial(at_rate, 16_000),
    "at 8 kHz": partial(at_rate, 8_000),
}
"""One channel each."""

AMPLIFIERS: dict[str, Callable[[], caps.Play]] = {
    "a loudspeaker": caps.cabinet,
    "an amplifier that stays clean, and a loudspeaker": partial(caps.amplifier, (0.0, 0.25)),
    "an amplifier that breaks up, and a loudspeaker": partial(caps.amplifier, (0.4, 0.6)),
}

SYNTH, NOTES = (0.95, 0.02, 0.03), (0.88, 0.04, 0.08)
SYNTH_MOST, INSTRUMENTS = (0.98, 0.01, 0.01), (0.99, 0.005, 0.005)
EVENLY = {"pool": "stompbox", "lengths": "0:0.4,1:1,2:1,3:1,4:1,5:1"}
MORE_DRIVES = EVENLY | {"weights": "overdrive:2,distortion:2,fuzz:2"}
LESSONS = (  # chains, seed, fractions, settings: see the model's card
    *((n, 100 + i, SYNTH, EVENLY) for i, n in enumerate((2_500, 7_500, 15_000, 25_000))),
    *((n, 200 + i, NOTES, EVENLY) for i, n in enumerate((2_500, 7_500, 15_000, 25_000))),
    *((8_000, seed, SYNTH, EVENLY) for seed in (140, 160, 162)),
    *((8_000, seed, NOTES, EVENLY) for seed in (240, 241, 242, 243, 260, 262)),
    *((20_000, seed, SYNTH, EVENLY) for seed in range(163, 172)),
    *((20_000, seed, NOTES, EVENLY) for seed in range(263, 272)),
    (50_000, 172, SYNTH_MOST, EVENLY),
    *((10_000, seed, SYNTH_MOST, EVENLY) for seed in range(173, 189)),
    *((10_000, seed, NOTES, EVENLY) for seed in range(272, 292)),
    *((20_000, seed, INSTRUMENTS, EVENLY) for seed in range(284, 288)),
    *((20_000, seed, NOTES, EVENLY) for seed in (320, 321, 334, 335)),
    *((20_000, seed, SYNTH_MOST, EVENLY) for seed in (503, 504, 506, 507, 330, 331, 333)),
    *((10_000, seed, NOTES, EVENLY) for seed in (336, 354)),
    (20_000, 353, NOTES, EVENLY),
    *((20_000, seed, SYNTH_MOST, EVENLY) for seed in (350, 509)),
    *((10_000, seed, SYNTH_MOST, EVENLY) for seed in (352, 508, 510)),
    *((n, seed, SYNTH_MOST, EVENLY) for n, seed in ((12_000, 523), (10_000, 524), (8_000, 525))),
    *((n, seed, SYNTH_MOST, EVENLY) for n, seed in ((16_000, 526), (10_000, 374), (8_000, 376))),
    *((n, seed, NOTES, EVENLY) for n, seed in ((8_000, 372), (8_000, 373), (6_000, 375))),
    (10_000, 377, NOTES, EVENLY),
    *((n, seed, SYNTH_MOST, EVENLY) for n, seed in ((12_000, 517), (16_000, 518), (8_000, 519))),
    *((n, seed, SYNTH_MOST, EVENLY) for n, seed in ((3_000, 520), (8_000, 521), (10_000, 522))),
    *((n, seed, SYNTH_MOST, EVENLY) for n, seed in ((6_000, 365), (16_000, 367), (8_000, 369))),
    *((n, seed, NOTES, EVENLY) for n, seed in ((10_000, 364), (16_000, 366), (8_000, 368))),
    *((n, seed, NOTES, EVENLY) for n, seed in ((3_000, 370), (6_000, 371))),
    *((n, seed, SYNTH_MOST, EVENLY) for n, seed in ((15_000, 512), (20_000, 513), (12_000, 514))),
    *((n, seed, SYNTH_MOST, EVENLY) for n, seed in ((3_000, 515), (8_000, 516), (8_000, 357))),
    *((n, seed, SYNTH_MOST, EVENLY) for n, seed in ((20_000, 359), (10_000, 361))),
    *((n, seed, NOTES, EVENLY) for n, seed in ((12_000, 356), (20_000, 358), (10_000, 360))),
    *((n, seed, NOTES, EVENLY) for n, seed in ((3_000, 362), (7_000, 363))),
    (8_000, 161, SYNTH, MORE_DRIVES),
    (8_000, 261, NOTES, MORE_DRIVES),
)


def lessons() -> set[tuple[str, ...]]:
    """Every order of four and five pedals that the shipped model was taught."""
    found = set()
    for n_chains, seed, fractions, settings in LESSONS:
        spec = render_spec(None, settings).chain
        for position in range(split_sizes(n_chains, fractions)["train"]):
            found.add(draw_order(spec, seed, "train", position))
    return {order for order in found if len(order) >= 4}


def make(out: Path, name: str, settings: str, flags: str, n_chains: int) -> Path:
    shards, renders = out / name, out / f"{name}-renders"
    if not (shards / "index.json").is_file():
        config = out / f"{name}.toml"
        config.write_text(f"[render]\n{settings}\n")
        for words in (
            f"render --dataset synth --fractions 0,0,1 --n-chains {n_chains} --config {config} "
            f"{flags} -o {renders}",
            f"encode {renders} -o {shards} --codec embedded --with-mel",
        ):
            fxpipe(words)
    return shards


def fxpipe(words: str) -> None:
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    subprocess.run(["fxpipe", *words.split()], check=True, **quiet)


def saved(out: Path, name: str, before: Path, save: Callable[[np.ndarray], np.ndarray]) -> Path:
    """Shards of the clips in the renders ``before``, each saved and read again."""
    shards, renders = out / name, LocalFolder(out / f"{name}-renders")
    if not (shards / "index.json").is_file():
        source = LocalFolder(before)
        index = read_renders_index(source)
        entries = []
        for shard in index.shards:
            waves, _ = read_shard(source, shard)
            again, packed = empty_npy(waves.shape, np.int16)
            for row, wave in enumerate(waves):  # at 0.7 of full scale: what comes back may be more
                heard = save(wave.astype(np.float32) * np.float32(0.7 / 32768))[: len(wave)]
                assert len(heard) == len(wave)
                again[row] = np.rint(np.clip(heard * 32767, -32768, 32767))
            records = shard.files[1]
            files = (
                renders.write(shard.files[0].path, packed),
                renders.write(records.path, source.read(records.path)),
            )
            entries.append(dataclasses.replace(shard, files=files))
        (plan,) = index.files
        renders.write(plan.path, source.read(plan.path))
        write_finished(renders, dataclasses.replace(index, shards=tuple(entries)))
        fxpipe(f"encode {renders.uri} -o {shards} --codec embedded --with-mel")
    return shards


SHOWN = {
    "exact_class": "exact, by class",
    "set": "right set",
    "order_class_given_set": "order given the set, by class",
    "pairwise": "pairs in the right order",
    "f1_micro": "micro F1",
    "f1_family": "F1 of families",
    "ece_chain": "ECE of the chain",
}


def show(title: str, rows: dict[str, Answers], run) -> None:
    print(f"\n| {title} | n | " + " | ".join(SHOWN.values()) + " | *null, by class* |")
    print("| --- | ---: |" + " --- |" * (len(SHOWN) + 1))
    for name, answers in rows.items():
        found = judge(run, "", answers)
        cells = [f"{s.value:.3f} ({s.low:.3f}–{s.high:.3f})" for s in map(found.scores.get, SHOWN)]
        print(
            f"| {name} | {found.n} | {' | '.join(cells)} | *{found.null['exact_class']:.3f}* |",
            flush=True,
        )


def some(answers: Answers, rows: list[int]) -> Answers:
    def of(values):
        return [values[i] for i in rows] if values else values

    return Answers(
        answers.split,
        *(of(part) for part in (answers.truth, answers.heard, answers.untuned)),
        *(of(part) for part in (answers.classes, answers.directs)),
        None if answers.groups is None else answers.groups[rows],
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("--run", type=Path, help="a run directory [the shipped model]")
    parser.add_argument("--clips", type=int, default=300)
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    run = load_run(model_folder(options.run) if options.run else SHIPPED)

    def heard(name: str, settings: str, flags: str, n: int) -> Answers:
        return answer(run, open_shards(make(options.out, name, settings, flags, n)))

    flags = f"--pool stompbox --lengths 1-5 --seed {SEED}"
    rows = {
        name: heard(f"c{i}", settings, flags, options.clips)
        for i, (name, settings) in enumerate(CONDITIONS.items())
    }
    show("the clips are", rows, run)
    rows = {
        name: answer(
            run, open_shards(saved(options.out, f"f{i}", options.out / "c0-renders", save))
        )
        for i, (name, save) in enumerate(FILES.items())
    }
    show("the file is", rows, run)
    if caps.missing():
        print(f"\nno loudspeakers and amplifiers: {caps.missing()}")
    else:
        rows = {
            name: answer(
                run, open_shards(saved(options.out, f"a{i}", options.out / "c0-renders", play()))
            )
            for i, (name, play) in enumerate(AMPLIFIERS.items())
        }
        show("it went through", rows, run)
    taught, rows = lessons(), {}
    for length in (4, 5):
        flags = f"--pool stompbox --lengths {length} --seed {LONG_SEED + length}"
        answers = heard(f"long{length}", "", flags, 2 * options.clips)
        for word, wanted in (("taught", True), ("never taught", False)):
            picked = [i for i, order in enumerate(answers.truth) if (order in taught) == wanted]
            if picked:
                rows[f"{length} pedals, an order it was {word}"] = some(answers, picked)
    show("the order is", rows, run)


if __name__ == "__main__":
    sys.exit(main())
