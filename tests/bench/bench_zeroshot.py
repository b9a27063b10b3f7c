"""The zero-shot kit rehearsed: one kit dialled in on three boards, scored by one model.

    python tests/bench/bench_zeroshot.py [--run RUN]... [--chains 120] [--close] [--keep DIR]

pedalboard is what the model learnt from, SoX and Guitarix (LV2) are not (apt-get install sox
lv2proc lilv-utils guitarix-lv2). Kit, renders.csv, chirps and scores are those a user gets. Prints
tables for docs/results-other-makes.md, of every RUN on the same recordings. ``--close`` then tries
what may close the gap without training, each step on top of the one before it:

hiss     noise 50 dB below the guitar, as the training data has it
volume   every pedal as loud as ours on the same input
tone     one fixed filter for each kind of pedal, from the mean spectra of other chains
dials    one offset for each knob of each kind of pedal: of 10 drawn the one whose sound comes
         nearest on other chains (log-mel), volume and tone fitted again
"""

from __future__ import annotations

import argparse
import csv
import dataclasses
import itertools
import os
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import numpy as np
from zeroshot_boards import BOARDS, MissingError, Play, ours

from fxtrain.answers import Answers
from fxtrain.contract import (
    Features,
    Frontend,
    Names,
    Pedal,
    PedalEntry,
    fixed_pairs,
    from_unit,
    open_frontend,
    to_unit,
)
from fxtrain.finding import model_folder
from fxtrain.judging import Evaluation, judge
from fxtrain.metrics import classes_of
from fxtrain.predict import AnyRun, open_run, translate
from fxtrain.zeroshot.draw import draw_pedal
from fxtrain.zeroshot.form import Kit, KitChain, Take
from fxtrain.zeroshot.make import Wish, known_pedals, make_kit, wav_bytes
from fxtrain.zeroshot.score import ZeroShot, evaluate_manifest

HEADLINES = {
    "exact_class": "exact, by class",
    "exact": "exact",
    "set": "right set",
    "order_class_given_set": "order given the set, by class",
    "pairwise": "pairs in the right order",
    "f1_micro": "micro F1",
    "f1_macro": "macro F1",
    "f1_family": "F1 of families",
    "levenshtein": "Levenshtein",
    "ece_chain": "ECE of the chain's confidence",
    "ece_presence": "ECE of each pedal's",
    "ece_family": "ECE of each family's",
}
BANDS_HZ = 62.5 * 2 ** (np.arange(25) / 3)
MOST_DB = 20.0
N_FIT, N_OFFSETS = 4, 10
HISS_DB = -50.0
JOBS = os.cpu_count() or 1


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


@dataclass
class Dialled:
    """A board with what was done to it. ``offsets``: of each knob's place on its travel."""

    play: Play
    entries: dict[str, PedalEntry]
    volume: bool = False
    tone: dict[str, np.ndarray] = field(default_factory=dict)
    offsets: dict[str, dict[str, float]] = field(default_factory=dict)

    def __call__(self, pedal: Pedal, wave: np.ndarray, rate: int) -> np.ndarray:
        out = self.play(self.turned(pedal), wave, rate)
        if pedal.name in self.tone:
            out = filtered(out, self.tone[pedal.name], rate)
        if self.volume:
            out = out * np.float32(rms(ours(pedal, wave, rate)) / max(rms(out), 1e-9))
        return out

    def turned(self, pedal: Pedal) -> Pedal:
        offsets = self.offsets.get(pedal.name, {})
        settings = {}
        for param in self.entries[pedal.name].params:
            u = to_unit(param, pedal.settings[param.name]) + offsets.get(param.name, 0.0)
            settings[param.name] = from_unit(param, min(max(u, 0.0), 1.0))
        return Pedal(pedal.name, settings) if offsets else pedal


def rms(wave: np.ndarray) -> float:
    return float(np.sqrt(np.mean(np.square(wave, dtype=np.float64))))


def band_db(wave: np.ndarray, rate: int) -> np.ndarray:
    """Level in thirds of an octave."""
    power = np.abs(np.fft.rfft(wave.astype(np.float64))) ** 2
    edges = np.searchsorted(
        np.fft.rfftfreq(len(wave), 1 / rate), [BANDS_HZ * 2 ** (-1 / 6), BANDS_HZ * 2 ** (1 / 6)]
    )
    sums = [power[a:b].sum() for a, b in edges.T]
    return 10 * np.log10(np.array(sums) + 1e-12)


def filtered(wave: np.ndarray, gain_db: np.ndarray, rate: int) -> np.ndarray:
    """Zero-phase filter with these gains at ``BANDS_HZ``."""
    n = 2 * len(wave)
    hz = np.maximum(np.fft.rfftfreq(n, 1 / rate), 1.0)
    gain = 10 ** (np.interp(np.log(hz), np.log(BANDS_HZ), gain_db) / 20)
    out = np.fft.irfft(np.fft.rfft(wave.astype(np.float64), n) * gain, n)[: len(wave)]
    return out.astype(np.float32)


def dial_in(
    kit: Kit, path: Path, board: Play, frontend: Frontend, *, part: bool = False
) -> dict[str, np.ndarray]:
    """Recording name -> wave of every chain of the kit. ``part``: silence but for the clips."""
    dries = {take.name: frontend.read(path / take.name) for take in kit.takes}
    takes = {take.name: take for take in kit.takes}

    def one(chain: KitChain) -> tuple[str, np.ndarray]:
        dry, rate = dries[chain.take]
        clips = takes[chain.take].clips
        start = round((clips[0].starts_s - clips[0].run_in_s) * rate) if part else 0
        end = round((clips[-1].starts_s + clips[-1].length_s) * rate) if part else len(dry)
        wave = dry[start:end]
        for pedal in chain.chain.pedals:
            wave = board(pedal, wave, rate)
        return chain.file, np.pad(wave, (start, len(dry) - end))

    with ThreadPoolExecutor(JOBS) as pool:  # other programs do the work
        return dict(pool.map(one, kit.chains))


def record(kit: Kit, path: Path, boards: dict[str, Play], frontend: Frontend) -> Path:
    """Every chain on every board as a 24-bit file of its own, and the table of them."""
    rows = [["file", "dry_file", "effects", "settings", "implementation"]]
    rate = kit.takes[0].sample_rate_hz
    for name, board in boards.items():
        start = time.perf_counter()
        for file, wave in dial_in(kit, path, board, frontend).items():
            chain = next(chain for chain in kit.chains if chain.file == file)
            back = f"{name}/{file}"
            (path / name).mkdir(exist_ok=True)
            peak = float(np.abs(wave).max())  # as a person turns the recorder down
            (path / back).write_bytes(wav_bytes(wave * min(1.0, 0.7 / max(peak, 1e-9)), rate))
            rows.append([back, chain.take, " > ".join(chain.chain.names), "", name])
        say(f"{name}: {len(kit.chains)} chains dialled in, {time.perf_counter() - start:.0f} s")
    with (path / "boards.csv").open("w", newline="") as file_:
        csv.writer(file_).writerows(rows)
    return path / "boards.csv"


def score_waves(
    run: AnyRun, frontend: Frontend, kit: Kit, waves: dict[str, np.ndarray], seed: int
) -> Evaluation:
    """The same scores without recorder and chirps: for trials."""
    takes = {take.name: take for take in kit.takes}
    truth: list[Names] = []
    answers = []
    for chain in kit.chains:
        truth.append(chain.chain.names)
        answers.append(_answer(run, frontend, chain, takes[chain.take], waves[chain.file]))
    heard, untuned, directs = zip(*answers, strict=True)
    classes = classes_of(truth, run.card.commuting_pairs)
    found = Answers("trial", truth, list(heard), list(untuned), classes, list(directs))
    return judge(run, "trial", found, seed=seed)


def _answer(run: AnyRun, frontend: Frontend, chain: KitChain, take: Take, wave: np.ndarray):
    rate = take.sample_rate_hz
    parts = []
    for clip in take.clips:
        start = round(clip.starts_s * rate)
        parts.append(frontend.encode(wave[start : start + round(clip.length_s * rate)], rate))
    return translate(run, Features.together(parts))


def fit_tone(board: Dialled, frontend: Frontend, seed: int) -> dict[str, np.ndarray]:
    """Pedal -> mean difference of spectra to ours, on chains of their own."""
    tone = {}
    for name, entry in board.entries.items():
        gaps = []
        for pedal, wave, rate in trials(entry, frontend, seed):
            gaps.append(
                band_db(ours(pedal, wave, rate), rate) - band_db(board(pedal, wave, rate), rate)
            )
        mean = np.mean(gaps, 0)
        tone[name] = np.clip(mean - np.median(mean), -MOST_DB, MOST_DB)
    return tone


def fit_dials(board: Dialled, frontend: Frontend, seed: int) -> dict[str, dict[str, float]]:
    """Pedal -> knob -> offset, the best of ``N_OFFSETS`` (none is the first of them)."""
    found = {}
    for name, entry in board.entries.items():
        rng = np.random.default_rng([seed, 7])
        tried: list[dict[str, float]] = [{}]
        for _ in range(N_OFFSETS - 1):
            tried.append({p.name: round(float(rng.uniform(-0.4, 0.4)), 2) for p in entry.params})
        played = list(trials(entry, frontend, seed))
        far = []
        for offsets in tried:
            trial = dataclasses.replace(board, offsets={name: offsets}, tone={})
            far.append(
                np.mean([
                    frontend.distance_db(ours(p, w, r), trial(p, w, r), r) for p, w, r in played
                ])
            )  # fmt: skip
        found[name] = tried[int(np.argmin(far))]
        say(f"  {name}: {far[0]:.1f} dB of log-mel from ours, {min(far):.1f} with other dials")
    return found


def trials(entry: PedalEntry, frontend: Frontend, seed: int):
    """Settings and guitar that are not in the kit."""
    for i in range(N_FIT):
        rng = np.random.default_rng([seed, 5, i])
        wave, rate = frontend.dry(900_000 + i, 2.5)
        wave = wave * np.float32(10 ** (-9 / 20) / np.abs(wave).max())
        yield draw_pedal(entry, rng), wave, rate


def cell(score: object) -> str:
    value, low, high = score.value, score.low, score.high  # type: ignore[attr-defined]
    return "–" if value != value else f"{value:.3f} ({low:.3f}–{high:.3f})"


def print_alignment(found: ZeroShot) -> None:
    """These boards have no latency: what is later than the dry file is the aligner's error, and
    the delay of the filters themselves."""
    gone = [row.file.split("/")[0] for row in found.left_out]
    print("| board | chirps found | off, median | 95 % | most | clearness, median | least |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    for name in found.evaluations:
        judged = [one.back for one in found.of(name)]
        off = np.abs([back.late_s for back in judged if back.late_s is not None]) * 1000
        clear = [back.confidence for back in judged if back.confidence is not None]
        cells = [f"{x:.2f} ms" for x in (np.median(off), np.quantile(off, 0.95), off.max())]
        cells += [f"{np.median(clear):.2f}", f"{min(clear):.2f}"]
        n = f"{len(judged)} of {len(judged) + gone.count(name)}"
        print(f"| {name} | {n} | {' | '.join(cells)} |")
    print()


def print_tables(found: ZeroShot) -> None:
    print_alignment(found)
    boards = found.evaluations
    names = list(boards)
    head = f"| {{}} | {' | '.join(names)} |\n| --- |{' --- |' * len(names)}"
    print(head.format("score"))
    for key, title in HEADLINES.items():
        print(f"| {title} | {' | '.join(cell(boards[n].scores[key]) for n in names)} |")
    lengths = [key for key in next(iter(boards.values())).null if key.startswith("exact_class@")]
    for key in lengths:
        title = f"by class, length {key.split('@')[1]}"
        print(f"| {title} | {' | '.join(cell(boards[n].scores[key]) for n in names)} |")
    for title, part, key in (
        ("*null: right set, textbook order, exact*", "null", "exact"),
        ("*constant answer, exact*", "constant", "exact"),
        ("*constant answer, micro F1*", "constant", "f1_micro"),
        ("*ceiling, exact*", "ceiling", "exact"),
    ):
        cells = (f"*{getattr(boards[n], part)[key]:.3f}*" for n in names)
        print(f"| {title} | {' | '.join(cells)} |")
    print(f"| n | {' | '.join(str(boards[n].n) for n in names)} |\n")

    print(head.format("effect: F1 (found / named rightly)"))
    for pedal in boards[names[0]].pedals:
        cells = []
        for name in names:
            one = boards[name].pedals[pedal]
            right = "–" if one.precision != one.precision else f"{one.precision:.2f}"
            cells.append(f"{one.f1:.2f} ({one.recall:.2f} / {right})")
        print(f"| {pedal} | {' | '.join(cells)} |")
    print()
    print_pairs(found, names)


def print_pairs(found: ZeroShot, names: Sequence[str]) -> None:
    """Of clips with both: share with both named, and of those in the right order."""
    family = {
        entry.name: entry.family for kit in found.manifest.kits.values() for entry in kit.pedals
    }
    for title, key in (
        (
            "kinds of pair: both named / order right of n",
            lambda a, b: " + ".join(sorted((family[a], family[b]))),
        ),
        ("pair: both named / order right of n", lambda a, b: ", ".join(sorted((a, b)))),
    ):
        rows: dict[str, dict[str, list[int]]] = {}
        for name in names:
            answers = found.answers[name]
            for truth, said, alike in zip(
                answers.truth, answers.predicted, answers.classes, strict=True
            ):
                fixed = set(fixed_pairs(truth, alike.commutes))
                for a, b in itertools.combinations(truth, 2):
                    row = rows.setdefault(key(a, b), {n: [0, 0, 0, 0] for n in names})[name]
                    both = a in said and b in said
                    row[0] += 1
                    row[1] += both
                    if both and (a, b) in fixed:
                        row[2] += 1
                        row[3] += said.index(a) < said.index(b)
        print(f"| {title} | clips | {' | '.join(names)} |\n| --- | ---: |{' --- |' * len(names)}")
        for label, cells in sorted(rows.items()):
            texts = []
            for name in names:
                n, both, fixed_n, right = cells[name]
                order = f"{right} of {fixed_n}" if fixed_n else "–"
                texts.append(f"{both / n:.2f} / {order}")
            print(f"| {label} | {cells[names[0]][0]} | {' | '.join(texts)} |")
        print()


def close_gap(
    run: AnyRun,
    frontend: Frontend,
    kit: Kit,
    path: Path,
    found: ZeroShot,
    boards: dict[str, Play],
    seed: int,
) -> None:
    entries = {entry.name: entry for entry in kit.pedals}
    print("| board | micro F1 | macro F1 | right set | exact, by class |")
    print("| --- | --- | --- | --- | --- |")

    def line(title: str, evaluation: Evaluation) -> None:
        cells = (cell(evaluation.scores[k]) for k in ("f1_micro", "f1_macro", "set", "exact_class"))
        print(f"| {title} | {' | '.join(cells)} |", flush=True)

    def score(title: str, board: Play, *, hiss: bool = True) -> None:
        waves = dial_in(kit, path, board, frontend, part=True)
        if hiss:
            noise = np.random.default_rng(seed)
            for file, wave in waves.items():
                loud = rms(wave[wave != 0]) * 10 ** (HISS_DB / 20)
                waves[file] = wave + np.float32(loud) * noise.standard_normal(len(wave), np.float32)
        line(title, score_waves(run, frontend, kit, waves, seed))

    line("pedalboard", found.evaluations["pedalboard"])
    score("pedalboard, hiss", ours)
    for name, play in boards.items():
        if name == "pedalboard":
            continue
        line(f"{name}, as dialled in", found.evaluations[name])
        score(f"{name}, hiss", play)
        board = Dialled(play, entries, volume=True)
        score(f"{name}, and volume", board)
        board = dataclasses.replace(board, tone=fit_tone(board, frontend, seed))
        score(f"{name}, and tone", board)
        board = dataclasses.replace(board, tone={}, offsets=fit_dials(board, frontend, seed))
        board = dataclasses.replace(board, tone=fit_tone(board, frontend, seed))
        score(f"{name}, and dials", board)
    print()


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument(
        "--run", type=Path, action="append", help="a run directory, repeatable [the shipped model]"
    )
    parser.add_argument("--chains", type=int, default=120)
    parser.add_argument("--seed", type=int, default=70)
    parser.add_argument("--boards", default=",".join(BOARDS))
    parser.add_argument(
        "--close", action="store_true", help="try what closes the gap; 3 times as long"
    )
    parser.add_argument("--keep", type=Path, help="where the kit and its recordings stay")
    parser.add_argument("--dry", type=Path, action="append", help="dry guitar [built-in]")
    given = parser.parse_args()
    boards: dict[str, Play] = {}
    for name in given.boards.split(","):
        try:
            boards[name] = BOARDS[name]()
        except MissingError as missing:
            say(f"{name} is left out: {missing}")
    runs = [open_run(model_folder(path), "auto") for path in given.run or [None]]
    frontend = open_frontend(runs[0].card.ears)
    with tempfile.TemporaryDirectory() as folder:
        path = given.keep or Path(folder)
        wish = Wish(given.chains, (1, 2, 3, 4), n_takes=40, n_clips=1, seed=given.seed)
        known = known_pedals(given.run[0] if given.run else None)
        kit = make_kit(path, wish, frontend, known, given.dry or (), overwrite=True)
        table = record(kit, path, boards, frontend)
        for run in runs:
            start = time.perf_counter()
            found = evaluate_manifest(run, frontend, table, seed=given.seed, say=say)
            say(f"{len(found.judged)} recordings scored, {time.perf_counter() - start:.0f} s")
            print(f"{run.path}\n")
            print_tables(found)
            if given.close:
                close_gap(run, frontend, kit, path, found, boards, given.seed)
    return 0


if __name__ == "__main__":
    sys.exit(main())
