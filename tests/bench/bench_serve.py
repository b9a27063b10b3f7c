"""The guitarist's page: when it is there, how soon a clip is answered, what 200 uploads cost.

    python tests/bench/bench_serve.py [uploads]

Starts `fxtrain serve` with an untrained model over the embedded codec, twice: once for the times,
once for memory. Prints one table, and the size of what the extra installs. Run by hand.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import distribution
from pathlib import Path

import psutil

sys.path.insert(0, str(Path(__file__).parents[1]))

from fixtures.audio import RATE_HZ, riff
from fixtures.models import random_run
from fixtures.page import wav
from fxtrain.app.server import STATIC

EXTRA = ("starlette", "uvicorn", "anyio", "h11", "idna", "click")
"""What `pip install "fxpipe[web]"` adds to an empty environment, click apart, which is there."""


@contextmanager
def serving(run: Path) -> Iterator[tuple[str, psutil.Process, float]]:
    program = Path(sys.executable).with_name("fxtrain")
    began = time.perf_counter()
    with subprocess.Popen(
        [program, "serve", "--run", run, "--port", "0"], stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stderr
        try:
            yield process.stderr.readline().split()[0], psutil.Process(process.pid), began
        finally:
            process.terminate()


def ask(url: str, data: bytes | None = None) -> float:
    """Seconds until the whole answer is there."""
    began = time.perf_counter()
    with urllib.request.urlopen(urllib.request.Request(url, data=data), timeout=300) as answer:
        answer.read()
    return time.perf_counter() - began


def extra_mb() -> float:
    files = [
        file.locate()
        for name in EXTRA
        if name != "click"
        for file in distribution(name).files or ()
        if "__pycache__" not in str(file)
    ]
    return sum(Path(str(file)).stat().st_size for file in files if Path(str(file)).exists()) / 2**20


def row(what: str, figure: str) -> None:
    print(f"| {what} | {figure} |", flush=True)


def main(n_uploads: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        run = random_run(Path(folder) / "run")
        with serving(run) as (url, _, began):
            ask(url)
            row("page there after the start", f"{time.perf_counter() - began:.2f} s")
            for path in (*STATIC.glob("*.css"), *STATIC.rglob("*.js")):
                ask(f"{url}page/{path.relative_to(STATIC).as_posix()}")
            row("with its scripts", f"{time.perf_counter() - began:.2f} s")
            ask(f"{url}api/start")
            row("model there after the start", f"{time.perf_counter() - began:.2f} s")
            ten = wav(riff(10 * RATE_HZ))
            row("10 s clip, the first", f"{ask(f'{url}api/clip', ten):.2f} s")
            again = [ask(f"{url}api/clip", wav(riff(10 * RATE_HZ + n))) for n in range(1, 6)]
            row("10 s clip, median of 5 more", f"{statistics.median(again):.2f} s")
        with serving(run) as (url, process, _):
            ask(f"{url}api/start")
            for n in range(n_uploads + 1):
                if n % max(1, n_uploads // 4) == 0:
                    rss = process.memory_info().rss / 2**20
                    row(f"memory after {n} uploads of 2 s", f"{rss:.0f} MB")
                if n < n_uploads:
                    ask(f"{url}api/clip", wav(riff(2 * RATE_HZ - n)))
    row("what the extra installs", f"{extra_mb():.1f} MB")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 200)
