"""How long `fxtrain predict` takes on a ten-second clip, cold, and where the time goes.

    python tests/bench/bench_predict.py [--run RUN]

Cold: a new process each time, files in the page cache. The parts are timed in one more process
each; ``core-s`` is CPU time over all cores. Medians of five.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROUNDS = 5
CLIP_S = 10.0

PARTS = """
import json, sys, time
marks, last = {}, [time.perf_counter(), time.process_time()]
def mark(name):
    now = [time.perf_counter(), time.process_time()]
    marks[name] = [now[0] - last[0], now[1] - last[1]]
    last[:] = now
import torch
mark("import torch")
import scipy.signal
mark("import scipy.signal")
from pathlib import Path
from fxtrain import predict, telling
from fxtrain.checkpoint import load_run
from fxtrain.contract import open_frontend
predict.one_thread()
run = load_run(Path(sys.argv[1]))
mark("load the model")
from fxpipe.codec.dac import import_dac
import_dac()
mark("import dac")
ears = open_frontend(run.card.hearing)
mark("load the codec")
wave, rate = ears.read(sys.argv[2])
features = ears.encode(wave, rate)
mark(f"encode {len(features.codes)} windows, is it a guitar")
predict.predict_features(run, features)
mark("translate")
print(json.dumps(marks))
"""


def main() -> None:
    import numpy as np
    import soundfile

    from fxpipe.sources.synth import SAMPLE_RATE_HZ, perform

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--run", type=Path, help="a run directory [the shipped model]")
    run = parser.parse_args().run
    if run is None:
        import fxtrain

        run = Path(fxtrain.__file__).with_name("shipped")
    with tempfile.TemporaryDirectory() as folder:
        clip = Path(folder, "clip.wav")
        wave = perform(np.random.default_rng(0), round(CLIP_S * SAMPLE_RATE_HZ))[0]
        soundfile.write(clip, wave, SAMPLE_RATE_HZ)
        whole = [["-m", "fxtrain.cli", "predict", str(clip), "--run", str(run)]] * ROUNDS
        seconds = [timed(words)[0] for words in whole]
        parts = [json.loads(timed(["-c", PARTS, str(run), str(clip)])[1]) for _ in range(ROUNDS)]
    print(f"| predict, {CLIP_S:g} s clip, cold | s | core-s |\n| --- | ---: | ---: |")
    for name in parts[0]:
        wall, cpu = (statistics.median(part[name][i] for part in parts) for i in (0, 1))
        print(f"| {name} | {wall:.2f} | {cpu:.2f} |")
    print(f"| **the command, whole** | **{statistics.median(seconds):.2f}** | |")


def timed(words: list[str]) -> tuple[float, str]:
    began = time.perf_counter()
    done = subprocess.run([sys.executable, *words], stdout=subprocess.PIPE, text=True, check=True)
    return time.perf_counter() - began, done.stdout


if __name__ == "__main__":
    main()
