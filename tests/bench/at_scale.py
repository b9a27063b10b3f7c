"""Data at scale: render, encode, train and score in one go, on a machine with cores and a GPU.

    python tests/bench/at_scale.py OUT --audio NOTES --real RECORDINGS [--plan long] [--codec]
    python tests/bench/at_scale.py OUT ... --share 0.01 --device cpu --jobs 1     # does it run?

Every step is a command a user could type (`fxpipe render`, `fxpipe codec train`, `fxpipe encode`,
`fxtrain fit`, `fxtrain evaluate`); this script only says which, and keeps cores and GPU busy at
once: two lines of parts are rendered side by side, encoded as they become ready (and their renders
deleted), and models are trained as soon as their parts are there. What is finished is not done
again. OUT gets renders/, shards/, runs/, scores/ and log.txt.

The plan "short" has the chains, seeds and settings of the shipped translator: 58,000 chains, four
models; its steps took five minutes on 16 cores and an H200. The plan "long" is 200,000 chains,
every ablation and the benchmarks with a name.
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
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

SHORT = (3_000, 14_000, 12_000)
"""Chains a part of each source in the short plan; together 58,000."""
STOMPBOX = "--pool stompbox --lengths 0:0.4,1:1,2:1,3:1,4:1,5:1"
SYNTH = "--dataset synth --fractions 0.95,0.02,0.03"
NOTES = "--dataset folder:{audio} --split-seed 0 --fractions 0.88,0.04,0.08"
CURVE = (2_500, 7_500, 15_000, 25_000, 50_000)
"""Chains a part, of each source: 5, 20, 50, 100 and 200 thousand of both together."""

UNIFORM = {  # lengths in proportion to how many ordered chains there are, as peers draw them
    "okita3": "1:3,2:6,3:6",
    "take4": "1:4,2:12,3:24,4:24",
    "seed5": "1:5,2:20,3:60,4:120,5:120",
    "rossi5": "1:5,2:20,3:60,4:120,5:120",
}
PRESENCE = (
    "compressor,overdrive,distortion,fuzz,bitcrusher,eq,wah,phaser,flanger,chorus,tremolo,"
    "delay,reverb"
)
"""Thirteen effects, as many as SFXlearner (Guo & McFee, DAFx23) has; ours, not SoX's."""
ONE_A_GROUP = (
    "--exclusive overdrive,distortion,fuzz,bitcrusher --exclusive phaser,flanger,chorus,tremolo"
)


@dataclass(frozen=True)
class Part:
    """One data set: what `fxpipe render` is asked for."""

    name: str
    n_chains: int
    flags: str
    fixed_knobs: bool = False


@dataclass(frozen=True)
class Run:
    """One model: on which parts, with what settings, scored on which (label, part, split)."""

    name: str
    parts: tuple[str, ...]
    tests: tuple[tuple[str, str, str], ...]
    model: dict[str, Any] = field(default_factory=dict)
    train: dict[str, Any] = field(default_factory=dict)


def curve(last: int, sources: Iterable[str] = ("synth", "notes")) -> tuple[str, ...]:
    return tuple(f"{source}-{i}" for i in range(last + 1) for source in sources)


def stompbox_parts(sizes: tuple[int, ...]) -> list[Part]:
    parts = []
    for i, n in enumerate(sizes):
        parts.append(Part(f"synth-{i}", n, f"{SYNTH} {STOMPBOX} --seed {100 + i}"))
        parts.append(Part(f"notes-{i}", n, f"{NOTES} {STOMPBOX} --phrases 0.7 --seed {200 + i}"))
    return parts


def test_parts() -> list[Part]:
    to_test = "--pool stompbox --lengths 1-5 --fractions 0,0,1"
    return [
        Part("test-synth", 3_000, f"--dataset synth {to_test} --seed 900"),
        Part("test-real", 3_000, f"--dataset folder:{{real}} {to_test} --seed 901"),
    ]


def parts_of(plan: str) -> list[Part]:
    """In the order in which they are made."""
    if plan == "short":
        return stompbox_parts(SHORT) + test_parts()
    return stompbox_parts(CURVE) + test_parts() + named_parts()


def named_parts() -> list[Part]:
    """The benchmarks with a name."""
    parts = []
    for pool, lengths in UNIFORM.items():
        flags = f"--pool {pool} --lengths {lengths}"
        n = 15_000
        if pool == "okita3":
            flags, n = f"{flags} --clip-s 10 --config {{okita3}}", 5_000
        parts.append(Part(f"{pool}-synth", n, f"{SYNTH} {flags} --seed 300"))
        parts.append(Part(f"{pool}-notes", n // 2, f"{NOTES} {flags} --phrases 1 --seed 301"))
    flags = f"--pool {PRESENCE} --lengths 1-5 --order fixed {ONE_A_GROUP} --config {{presence}}"
    parts.append(Part("presence-synth", 15_000, f"{SYNTH} {flags} --seed 310"))
    parts.append(
        Part(
            "presence-notes",
            3_000,
            f"--dataset folder:{{audio}} {flags} --fractions 0,0,1 --seed 311",
        )
    )
    parts.append(Part("single-notes", 15_000, f"{NOTES} {STOMPBOX} --phrases 0 --seed 320"))
    return parts


TESTS = (
    ("synth", "test-synth", "test"),
    ("notes", "notes-1", "test"),
    ("real", "test-real", "test"),
)
LARGE = {"d_model": 256, "n_layers": 4, "n_decoder_layers": 2, "n_heads": 8}
EPOCHS = (50, 36, 24, 14, 12)


def fit_settings(epochs: int, **more: Any) -> dict[str, Any]:
    common = {"batch_size": 512, "lr": 7e-4, "warmup_steps": 300, "average_decay": 0.998}
    return common | {"max_epochs": epochs, "patience": 60} | more


def short_runs() -> list[Run]:
    parts, train = curve(2), fit_settings(22)
    return [
        Run("both", parts, TESTS, LARGE, train),
        Run("mel", parts, TESTS, LARGE | {"use_codes": False}, train),
        Run("codes", parts, TESTS, LARGE | {"use_mel": False}, train),
        Run("gru", parts, TESTS, LARGE | {"kind": "gru"}, train),
    ]


def long_runs() -> list[Run]:
    """In the order in which they are trained; the largest as soon as its parts are there."""
    hundred, some = curve(3), fit_settings(EPOCHS[3])
    codes, mel = LARGE | {"use_mel": False}, LARGE | {"use_codes": False}
    runs = [
        Run(f"both-{i}", curve(i), TESTS, LARGE, fit_settings(EPOCHS[i])) for i in range(len(CURVE))
    ]
    runs += [
        Run("mel-3", hundred, TESTS, mel, some),
        Run("codes-3", hundred, TESTS, codes, some),
        Run("gru-3", hundred, TESTS, LARGE | {"kind": "gru"}, some),
    ]
    for pool in UNIFORM:
        parts = (f"{pool}-synth", f"{pool}-notes")
        tests = tuple((source, f"{pool}-{source}", "test") for source in ("synth", "notes"))
        size = {"batch_size": 128} if pool == "okita3" else {}
        runs.append(Run(pool, parts, tests, LARGE, fit_settings(36, **size)))
    presence = (("same", "presence-synth", "test"), ("cross", "presence-notes", "test"))
    runs.append(Run("presence", ("presence-synth",), presence, LARGE, fit_settings(36)))
    runs += [
        Run("notes-3", curve(3, ("notes",)), TESTS, LARGE, fit_settings(24)),
        Run("synth-3", curve(3, ("synth",)), TESTS, LARGE, fit_settings(24)),
        Run("single", ("single-notes",), TESTS, LARGE, fit_settings(36)),
        Run("spliced", ("notes-2",), TESTS, LARGE, fit_settings(36)),
        Run("codes1-3", hundred, TESTS, codes | {"n_codebooks": 1}, some),
        Run("codes3-3", hundred, TESTS, codes | {"n_codebooks": 3}, some),
        Run("learned-3", hundred, TESTS, codes | {"learned_residual": True}, some),
        Run("mel-4", curve(4), TESTS, mel, fit_settings(EPOCHS[4])),
        Run("codes-4", curve(4), TESTS, codes, fit_settings(EPOCHS[4])),
    ]
    for seed in (1, 2):
        for name, model in (("mel", mel), ("both", LARGE), ("codes", codes)):
            runs.append(Run(f"{name}-3-seed{seed}", hundred, TESTS, model, some | {"seed": seed}))
    return runs


class Work:
    """Where things lie, what is ready, and how commands are run."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.options, self.out = options, options.out
        self.began = time.monotonic()
        self.lock = threading.Lock()
        self.ready: dict[str, threading.Event] = {}
        for folder in ("renders", "shards", "runs", "scores", "settings"):
            (self.out / folder).mkdir(parents=True, exist_ok=True)

    def event(self, name: str) -> threading.Event:
        with self.lock:
            return self.ready.setdefault(name, threading.Event())

    def log(self, text: str) -> None:
        line = f"{time.monotonic() - self.began:7.1f} s  {text}"
        with self.lock, (self.out / "log.txt").open("a") as file:
            print(line, file=file)
        print(line, flush=True)

    def call(self, program: str, arguments: str, *, threads: int = 1) -> str:
        """Run ``fxpipe`` or ``fxtrain``; its stdout. Raises RuntimeError with its last words."""
        package = {"fxpipe": "fxpipe.cli", "fxtrain": "fxtrain.cli"}[program]
        code = f"import sys; sys.argv[0] = {program!r}; from {package} import main; main()"
        environment = os.environ | {"OMP_NUM_THREADS": str(threads)}
        began = time.monotonic()
        done = subprocess.run(
            [sys.executable, "-c", code, *shlex.split(arguments)],
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
    while disk_gb(work.out / "renders") > work.options.disk_gb:
        time.sleep(1)
    n = max(60, round(part.n_chains * work.options.share))
    flags = part.flags.format(
        audio=work.options.audio,
        real=work.options.real,
        okita3=work.settings("okita3", "[render]\npedal_rms = 0.1\n"),
        presence=work.settings("presence", fixed_knobs()),
    )
    try:
        if not (shards / "index.json").is_file():
            command = f"render -o {folder} --n-chains {n} -j {work.options.workers} {flags}"
            work.call("fxpipe", command)
    finally:
        work.event(f"renders/{part.name}").set()


def fixed_knobs() -> str:
    """TOML that pins every knob but phases of the thirteen pedals to its typical setting."""
    from fxpipe.pedals import PEDALS, from_unit

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
        if not (shards / "index.json").is_file():
            work.call("fxpipe", f"encode {renders} -o {shards} --codec embedded --with-mel {where}")
        if part.name not in work.options.keep:
            shutil.rmtree(renders, ignore_errors=True)
    finally:
        work.event(f"shards/{part.name}").set()


def fit_and_score(work: Work, run: Run) -> None:
    for name in {*run.parts, *(part for _, part, _ in run.tests)}:
        work.event(f"shards/{name}").wait()
    folder = work.out / "runs" / run.name
    tables = {"model": run.model, "train": run.train}
    text = "".join(
        f"[{table}]\n" + "".join(f"{key} = {json.dumps(value)}\n" for key, value in values.items())
        for table, values in tables.items()
    )
    settings = work.settings(run.name, text)
    shards = " ".join(str(work.out / "shards" / name) for name in run.parts)
    if not (folder / "model.json").is_file():
        work.call(
            "fxtrain",
            f"fit {shards} --config {settings} --output {folder} --device {work.options.device}",
            threads=2,
        )
    for label, part, split in run.tests:
        scores = work.out / "scores" / f"{run.name}--{label}.json"
        if not scores.is_file():
            said = work.call(
                "fxtrain",
                f"evaluate {folder} {work.out / 'shards' / part} --split {split} --json --no-html "
                f"--device {work.options.device}",
                threads=2,
            )
            scores.write_text(said)
            work.log(f"{run.name} on {label}: {headline(json.loads(said))}")


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
    parser.add_argument("--jobs", type=int, default=4, help="models trained at once")
    parser.add_argument("--plan", choices=("short", "long"), default="short")
    parser.add_argument("--codec", action="store_true", help="train the embedded codec first")
    parser.add_argument("--codec-minutes", type=float, default=6.0)
    parser.add_argument("--codec-steps", type=int, default=6_000)
    parser.add_argument("--disk-gb", type=float, default=50.0, help="renders held at once")
    parser.add_argument("--keep", nargs="*", default=[], help="renders not to delete")
    options = parser.parse_args()
    work = Work(options)
    parts, runs = parts_of(options.plan), long_runs() if options.plan == "long" else short_runs()

    def render_line(line: list[Part]) -> None:
        for part in line:
            guarded(work, render, part)

    lines = [threading.Thread(target=render_line, args=(parts[i::2],)) for i in range(2)]
    for line in lines:
        line.start()
    if options.codec and not guarded(work, train_codec):
        raise SystemExit("the codec was not trained")
    n_encoders = 1 if options.device == "cpu" else 4  # a GPU waits for one process to read
    with ThreadPoolExecutor(n_encoders) as encoders, ThreadPoolExecutor(options.jobs) as trainers:
        encoded = [encoders.submit(guarded, work, encode, part) for part in parts]
        trained = [trainers.submit(guarded, work, fit_and_score, run) for run in runs]
        failed = sum(not future.result() for future in [*encoded, *trained])
    for line in lines:
        line.join()
    work.log(f"done; {failed} steps failed")


if __name__ == "__main__":
    main()
