"""Data at scale: render, encode, train and score in one go, on a machine with cores and a GPU.

    python tests/bench/at_scale.py OUT --audio NOTES --real RECORDINGS [--minutes 28] [--codec]
    python tests/bench/at_scale.py OUT ... --share 0.01 --device cpu --jobs 1     # does it run?

Every step is a command a user could type (`fxpipe render`, `fxpipe codec train`, `fxpipe encode`,
`fxtrain fit`, `fxtrain evaluate`); this script only says which, and keeps cores and GPU busy at
once: two lines of parts are rendered side by side, encoded as they become ready (and their renders
deleted), and models are trained as soon as their parts are there. What is finished is not done
again. OUT gets renders/, shards/, runs/, scores/ and log.txt.

1. On 20,000 chains, five ways to build the translator; the best by validation is used from here.
2. The curve over 5, 20, 50 and 100 thousand chains and the ablations; the benchmarks with a name,
   each started from the run of 100,000 chains, as are
3. the chains that are rendered until the time for it is over: "more" is taught on them with the
   rest of the time, as many epochs as fit.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from pathlib import Path
from typing import Any

from scale_plan import (
    CURVE,
    FIRST,
    MOST_EPOCHS,
    N_MORE,
    PLAIN_PART,
    PRESENCE,
    TESTS,
    Part,
    Run,
    curve,
    go_on,
    runs,
    settings_of,
    variants,
)
from scale_plan import parts as all_parts


class Work:
    """Where things lie, what is ready, and how commands are run."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.options, self.out = options, options.out
        self.began = time.monotonic()
        self.lock = threading.Lock()
        self.ready: dict[str, threading.Event] = {}
        self.closing = threading.Event()  # from here on only the last models are begun
        for folder in ("renders", "shards", "runs", "scores", "settings"):
            (self.out / folder).mkdir(parents=True, exist_ok=True)

    @property
    def seconds(self) -> float:
        return time.monotonic() - self.began

    def event(self, name: str) -> threading.Event:
        with self.lock:
            return self.ready.setdefault(name, threading.Event())

    def more(self) -> tuple[str, ...]:
        """The parts that there was time for."""
        names = curve(len(CURVE) + N_MORE - 1)[2 * len(CURVE) :]
        return tuple(n for n in names if (self.out / "shards" / n / "index.json").is_file())

    def log(self, text: str) -> None:
        line = f"{self.seconds:7.1f} s  {text}"
        with self.lock, (self.out / "log.txt").open("a") as file:
            print(line, file=file)
        print(line, flush=True)

    def call(self, program: str, arguments: str, *, threads: int = 1, nice: int = 0) -> str:
        """Run ``fxpipe`` or ``fxtrain``; its stdout. Raises RuntimeError with its last words."""
        package = {"fxpipe": "fxpipe.cli", "fxtrain": "fxtrain.cli"}[program]
        code = f"import sys; sys.argv[0] = {program!r}; from {package} import main; main()"
        environment = os.environ | {"OMP_NUM_THREADS": str(threads)}
        began = time.monotonic()
        done = subprocess.run(
            ["nice", "-n", str(nice), sys.executable, "-c", code, *shlex.split(arguments)],
            capture_output=True,
            text=True,
            check=False,
            env=environment,
        )
        seconds = time.monotonic() - began
        if done.returncode:
            self.log(f"FAILED {program} {arguments}\n{done.stderr[-1500:]}")
            raise RuntimeError(f"{program} {arguments}")
        self.log(f"{seconds:6.1f} s  {program} {arguments}")
        return done.stdout

    def settings(self, name: str, text: str) -> Path:
        path = self.out / "settings" / f"{name}.toml"
        path.write_text(text)
        return path


def render(work: Work, part: Part) -> None:
    folder, shards = work.out / "renders" / part.name, work.out / "shards" / part.name
    if part.if_time and work.seconds > 60 * work.options.render_minutes:
        work.event(f"renders/{part.name}").set()
        return
    while disk_gb(work.out / "renders") > work.options.disk_gb:
        time.sleep(1)
    n = max(90, round(part.n_chains * work.options.share))
    flags = part.flags.format(
        audio=work.options.audio,
        real=work.options.real,
        okita3=work.settings("okita3-chains", "[render]\npedal_rms = 0.1\n"),
        presence=work.settings("presence-chains", fixed_knobs()),
    )
    try:
        if not (shards / "index.json").is_file():
            command = f"render -o {folder} --n-chains {n} -j {work.options.workers} {flags}"
            work.call("fxpipe", command, nice=10)  # a GPU must not wait for a core
    finally:
        work.event(f"renders/{part.name}").set()


def fixed_knobs() -> str:
    """TOML that pins every knob but phases of the thirteen pedals to its typical setting."""
    from fxpipe.pedals import PEDALS
    from fxtrain.contract import from_unit

    lines = ["[chain.ranges]"]
    for name in PRESENCE.split(","):
        values = {
            param.name: round(from_unit(param, PEDALS[name].typical.get(param.name, 0.5)), 4)
            for param in PEDALS[name].params
            if param.unit != "cycles"
        }
        inner = ", ".join(f"{key} = [{value}, {value}]" for key, value in values.items())
        lines.append(f"{name} = {{ {inner} }}")
    return "\n".join(lines) + "\n"


def disk_gb(folder: Path) -> float:
    found = 0
    for path in folder.rglob("*"):
        try:
            found += path.stat().st_size
        except OSError:  # deleted meanwhile
            continue
    return found / 1e9


def train_codec(work: Work) -> None:
    """The embedded codec, on the first four parts; its weights take the place of those shipped."""
    import fxpipe.codec.weights as weights
    from fxpipe.codec import CODECS

    options = work.options
    names = curve(1)
    for name in names:
        work.event(f"renders/{name}").wait()
    renders = " ".join(f"--renders {work.out / 'renders' / name}" for name in names)
    export = work.out / "codec"
    said = work.call(
        "fxpipe",
        f"codec train {work.out / 'codec-run'} {renders} --device {options.device} "
        f"--minutes {options.codec_minutes} --steps {options.codec_steps} --export {export}",
        threads=2,
    )
    work.log(said.strip())
    shipped = weights.weights_path(CODECS["embedded"])
    for name in ("encoder.safetensors", "codec.json"):
        shutil.copy(export / name, shipped.with_name(name))


def encode(work: Work, part: Part) -> None:
    work.event(f"renders/{part.name}").wait()
    renders, shards = work.out / "renders" / part.name, work.out / "shards" / part.name
    where = "" if work.options.device == "cpu" else "--exact --gpu 0"
    try:
        there = (renders / "index.json").is_file() and not (shards / "index.json").is_file()
        if there:
            work.call("fxpipe", f"encode {renders} -o {shards} --codec embedded --with-mel {where}")
        if part.name not in work.options.keep:
            shutil.rmtree(renders, ignore_errors=True)
    finally:
        work.event(f"shards/{part.name}").set()


def fit(work: Work, run: Run) -> None:
    needed = run.parts or work.more()
    for name in needed:
        work.event(f"shards/{name}").wait()
    start_from = str(work.out / "runs" / run.after) if run.after else None
    if run.after:
        work.event(f"runs/{run.after}").wait()
    folder = work.out / "runs" / run.name
    if (work.closing.is_set() and run.parts) or (folder / "model.json").is_file():
        return
    settings = work.settings(run.name, settings_of(run, start_from))
    shards = " ".join(str(work.out / "shards" / name) for name in needed)
    work.call(
        "fxtrain",
        f"fit {shards} --config {settings} --output {folder} --device {work.options.device}",
        threads=2,
    )
    valid = json.loads((folder / "metrics.json").read_text())
    work.log(f"{run.name}, validation: {headline({'scores': valid['valid']})}")


def score(work: Work, run: Run, label: str, part: str, split: str) -> None:
    work.event(f"shards/{part}").wait()
    folder, scores = work.out / "runs" / run.name, work.out / "scores" / f"{run.name}--{label}.json"
    if scores.is_file() or not (folder / "metrics.json").is_file():
        return
    said = work.call(
        "fxtrain",
        f"evaluate {folder} {work.out / 'shards' / part} --split {split} --json --no-html "
        f"--device {work.options.device}",
        threads=2,
    )
    scores.write_text(said)
    work.log(f"{run.name} on {label}: {headline(json.loads(said))}")


def metrics(work: Work, run: Run) -> dict[str, Any]:
    path = work.out / "runs" / run.name / "metrics.json"
    found: dict[str, Any] = json.loads(path.read_text()) if path.is_file() else {}
    return found


def best_of(work: Work, tried: list[Run]) -> Run:
    """The run that did best on validation, by what chooses an epoch too."""

    def quality(run: Run) -> float:
        valid = metrics(work, run).get("valid")
        return valid["exact_class"]["value"] + valid["f1_micro"]["value"] if valid else -1.0

    best = max(tried, key=quality)
    work.log(f"best by validation: {best.name}, {quality(best):.3f}")
    return best


def epochs_that_fit(work: Work, like: Run) -> int:
    """By what a step took while more models were trained at once."""
    step_s, n_train = metrics(work, like)["step_ms"] / 1e3, 0
    for name in work.more():
        index = json.loads((work.out / "shards" / name / "index.json").read_text())
        n_train += index["counts"]["train"]["n_samples"]
    left = 60 * work.options.minutes - work.seconds - 90  # to start, tune and score
    epoch_s = n_train / like.train["batch_size"] * step_s
    epochs = max(2, min(MOST_EPOCHS, int(left / epoch_s)))
    work.log(f"{n_train} chains to train on, {left:.0f} s, {epoch_s:.1f} s an epoch: {epochs}")
    return epochs


def headline(evaluation: dict[str, Any]) -> str:
    scores = evaluation.get("scores", evaluation)
    names = ("exact", "exact_class", "exact_class_mean", "f1_micro", "f1_macro")
    found = {name: scores[name].get("value") for name in names if name in scores}
    return "  ".join(f"{name} {value:.3f}" for name, value in found.items())


def guarded(work: Work, step: Callable[..., None], *arguments: Any) -> bool:
    """One step that fails must not take the others along."""
    try:
        step(work, *arguments)
    except Exception as error:
        work.log(f"{step.__name__} {getattr(arguments[-1], 'name', '')}: {error}")
        return False
    return True


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("--audio", type=Path, required=True, help="dry notes to train on")
    parser.add_argument("--real", type=Path, required=True, help="dry recordings to test on")
    parser.add_argument("--share", type=float, default=1.0, help="of every part's chains")
    parser.add_argument("--device", default="cuda")
    parser.add_argument(
        "--workers",
        type=int,
        default=max(1, (os.cpu_count() or 2) // 2),
        help="of each of two lines",
    )
    parser.add_argument("--jobs", type=int, default=5, help="models trained at once")
    parser.add_argument("--minutes", type=float, default=28, help="for everything")
    parser.add_argument("--render-minutes", type=float, default=16, help="of them for chains")
    parser.add_argument("--codec", action="store_true", help="train the embedded codec first")
    parser.add_argument("--codec-minutes", type=float, default=6.0)
    parser.add_argument("--codec-steps", type=int, default=6_000)
    parser.add_argument("--disk-gb", type=float, default=50.0, help="renders held at once")
    parser.add_argument("--keep", nargs="*", default=[], help="renders not to delete")
    options = parser.parse_args()
    work = Work(options)
    everything = all_parts()

    def render_line(line: list[Part]) -> None:
        for part in line:
            guarded(work, render, part)

    lines = [threading.Thread(target=render_line, args=(everything[i::2],)) for i in range(2)]
    for line in lines:
        line.start()
    if options.codec and not guarded(work, train_codec):
        raise SystemExit("the codec was not trained")
    n_encoders = 1 if options.device == "cpu" else 4  # a GPU waits for one process to read
    pools = [ThreadPoolExecutor(n) for n in (n_encoders, options.jobs, 1, 4)]
    encoders, trainers, last_trainer, scorers = pools
    encoded = [encoders.submit(guarded, work, encode, part) for part in everything]

    def train(wanted: list[Run], trainers: ThreadPoolExecutor) -> list[Future[bool]]:
        def fit_then_score(run: Run) -> bool:
            trained = guarded(work, fit, run)
            work.event(f"runs/{run.name}").set()
            for test in run.tests:
                scorers.submit(guarded, work, score, run, *test)
            return trained

        return [trainers.submit(fit_then_score, run) for run in wanted]

    tried = variants()
    wait(train(tried, trainers))
    best = best_of(work, tried)
    train(runs(best.model), trainers)
    wait(encoded)
    work.closing.set()
    epochs = epochs_that_fit(work, best)
    train_last = go_on(epochs, plain_epochs=max(1, epochs // PLAIN_PART))
    last = Run("more", (), TESTS, best.model, train_last, FIRST)
    wait(train([last], last_trainer))
    for pool in pools:
        pool.shutdown()
    work.log("done")


if __name__ == "__main__":
    main()
