"""How long `fxtrain predict` takes on a ten-second clip, cold, and where the time goes.

    python tests/bench/bench_predict.py [--run RUN] [--against CHECKOUT]

Cold: a new process each time, files in the page cache, bytecode written as in an installation. The
two halves, which run side by side in the command, are timed in one more process each; ``core-s`` is
CPU time over all cores. Medians of five. ``--against``: another checkout of this repository, whose
command is timed in turns with this one's: on a busy machine only the ratio means anything.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROUNDS = 5
CLIP_S = 10.0

MARK = """
import json, sys, time
marks, last = {}, [time.perf_counter(), time.process_time()]
def mark(name):
    now = [time.perf_counter(), time.process_time()]
    marks[name] = [now[0] - last[0], now[1] - last[1]]
    last[:] = now
from pathlib import Path
from fxtrain import calm, cli
calm.share_the_cores()
from fxtrain.card import read_card
from fxtrain.heard import hear
card = read_card(Path(sys.argv[1]))
mark("both: Python, click, numpy, the model's card")
"""

HEARING = """
from fxtrain.contract import open_frontend
ears = open_frontend(card.ears)
mark("hearing: codec opened")
wave, rate = ears.read(sys.argv[2])
mark("hearing: clip read")
features = ears.encode(wave, rate)
mark(f"hearing: {len(features.codes)} windows levelled, encoded, is it a guitar")
print(json.dumps(marks))
"""

TRANSLATING = """
from fxtrain.contract import open_frontend
ears = open_frontend(card.ears)
features = ears.encode(*ears.read(sys.argv[2]))
mark("")
from fxtrain import predict
run = predict.open_run(Path(sys.argv[1]), "auto")
mark("translating: model loaded")
predict.predict_features(run, features)
mark("translating: the windows translated")
del marks[""]
import torch
mark("beside it: import torch, which no answer needs")
print(json.dumps(marks))
"""


def main() -> None:
    import numpy as np
    import soundfile

    from fxpipe.sources.synth import SAMPLE_RATE_HZ, perform

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--run", type=Path, help="a run directory [the shipped model]")
    parser.add_argument("--against", type=Path, help="another checkout [none]")
    given = parser.parse_args()
    import fxtrain

    run = given.run or Path(fxtrain.__file__).with_name("shipped")
    with tempfile.TemporaryDirectory() as folder:
        clip = Path(folder, "clip.wav")
        wave = perform(np.random.default_rng(0), round(CLIP_S * SAMPLE_RATE_HZ))[0]
        soundfile.write(clip, wave, SAMPLE_RATE_HZ)
        command = ["-m", "fxtrain.cli", "predict", str(clip)]
        here = [*command, "--run", str(run)]
        ours, theirs = [], []
        for place in {None, given.against}:
            timed(here if given.run or not place else command, place)  # writes bytecode
        for _ in range(ROUNDS):
            ours.append(timed(here))
            if given.against:
                theirs.append(timed(here if given.run else command, given.against))
        halves = [[MARK + half, str(run), str(clip)] for half in (HEARING, TRANSLATING)]
        parts = [[json.loads(timed(["-c", *half])[2]) for _ in range(ROUNDS)] for half in halves]
    print(f"| predict, {CLIP_S:g} s clip, cold | s | core-s |\n| --- | ---: | ---: |")
    said = set()
    for half in parts:
        for name in half[0]:
            if name not in said:
                row(name, [(part[name][0], part[name][1]) for part in half])
            said.add(name)
    row("**the command, whole**", [each[:2] for each in ours])
    if theirs:
        row("the other checkout's", [each[:2] for each in theirs])
        ratio = statistics.median(a[0] / b[0] for a, b in zip(ours, theirs, strict=True))
        print(f"\n{ratio:.2f} of the other's time, median of {ROUNDS} pairs")


def row(name: str, seconds: list[tuple[float, float]]) -> None:
    wall, cpu = (statistics.median(each[i] for each in seconds) for i in (0, 1))
    print(f"| {name} | {wall:.2f} | {cpu:.2f} |", flush=True)


def timed(words: list[str], checkout: Path | None = None) -> tuple[float, float, str]:
    """(seconds, CPU seconds of it and its children, what it printed)."""
    environment = dict(os.environ)
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    if checkout is not None:
        places = [str(checkout / "pipeline"), str(checkout / "training")]
        environment["PYTHONPATH"] = os.pathsep.join(places)
    before, began = cpu_s(), time.perf_counter()
    done = subprocess.run(
        [sys.executable, *words], stdout=subprocess.PIPE, text=True, check=True, env=environment
    )
    return time.perf_counter() - began, cpu_s() - before, done.stdout


def cpu_s() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


if __name__ == "__main__":
    main()
