"""The heavy part of ``fxpipe doctor --full``: start a worker, and make one clip into tokens."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

from fxpipe.doctor import OK, PROBLEM, Check, Finding
from fxpipe.tasks import Job, Workers, run_tasks
from fxtrain.contract import REINSTALL, FxError, to_install
from fxtrain.contract.remote import within

WORKER_S = 60.0
"""A local worker that does not answer by then will not."""


def double(job: Job) -> dict[str, Any]:
    """The smallest task there is."""
    return {"n": 2 * int(job["n"])}


def start_worker(jobs: list[Job]) -> list[dict[str, Any]]:
    return list(run_tasks(double, jobs, Workers(1)))


def worker(
    start: Callable[[list[Job]], list[dict[str, Any]]] = start_worker, limit_s: float = WORKER_S
) -> Iterator[Finding]:
    """A real dask worker in a process of its own, for one task."""
    began = time.monotonic()
    try:
        (answer,) = within(limit_s, lambda: start([{"n": 21}]))
    except TimeoutError:
        what = f"no dask worker answered within {limit_s:g} s"
        do = "look for a firewall on 127.0.0.1, few processes (ulimit -u) or little memory"
        yield Finding("trial", "dask worker", PROBLEM, what, do)
        return
    except Exception as error:
        what = " ".join(f"a dask worker could not start: {error}".split())[:300]
        do = "" if isinstance(error, FxError) else to_install("pipeline")
        yield Finding("trial", "dask worker", PROBLEM, what, do)
        return
    seconds = time.monotonic() - began
    state = OK if answer == {"n": 42} else PROBLEM
    yield Finding("trial", "dask worker", state, f"started and answered in {seconds:.1f} s")


def one_clip() -> Iterator[Finding]:
    """One clip of the built-in guitar through two pedals, then through the embedded codec."""
    import numpy as np

    from fxpipe.codec import load_codec
    from fxpipe.config import render_spec
    from fxpipe.ears import features
    from fxpipe.renders import make_plan, render_clip
    from fxpipe.sources import open_source
    from fxtrain.contract import arrow

    began = time.monotonic()
    spec = render_spec(None, {"pool": "take4", "lengths": "2"})
    plan = make_plan(spec, open_source("synth"), 3, 0, progress=False)
    wave, record = render_clip(plan, "train", 0)
    codec = load_codec("embedded", n_threads=1)
    heard = features([wave], spec.sample_rate_hz, codec, None)
    expected = (1, codec.info.n_codebooks, codec.info.n_frames(spec.n_samples))
    chain = arrow([pedal["name"] for pedal in record["chain"]])
    seconds = time.monotonic() - began
    (loudness,), codes = heard.loudness_lufs, heard.codes
    what = f"rendered {chain}, {loudness:.1f} LUFS, encoded to {list(codes.shape[1:])} codes"
    fine = codes.shape == expected and len(np.unique(codes)) > 1
    do = "" if fine else REINSTALL
    yield Finding("trial", "one clip", OK if fine else PROBLEM, f"{what}, {seconds:.1f} s", do)


CHECKS: tuple[Check, ...] = (worker, one_clip)
