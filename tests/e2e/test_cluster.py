"""Beyond one machine: a scheduler and workers of their own, over a shared folder and over S3."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import distributed
import pytest
import requests

from fixtures.cli import run
from fixtures.hosts import TIMEOUTS, Hosts, digests, hosts, kill, wait_for

ROOT = Path(__file__).parents[2]
RENDER = ["render", "--n-chains", "48", "--shard-size", "6", "--clip-s", "0.5"]
RENDER += ["--pool", "okita3", "--lengths", "1-2"]
N_SHARDS = 9


@pytest.fixture(scope="module")
def local(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Rendered and encoded by this machine alone."""
    here = tmp_path_factory.mktemp("local")
    assert run("fxpipe", *RENDER, "-j", "1", cwd=here).code == 0
    assert run("fxpipe", "encode", "--codec", "embedded", "-j", "1", cwd=here).code == 0
    return here


@pytest.fixture(scope="module")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """A real S3 server on loopback; the environment its clients need."""
    server = pytest.importorskip("moto.server", reason="needs moto: pip install 'fxpipe[dev]'")
    store = server.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    store.start()
    host, port = store.get_host_and_port()
    address = f"http://{host}:{port}"
    requests.put(f"{address}/bucket", timeout=60).raise_for_status()
    yield {
        "AWS_ENDPOINT_URL": address,
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_DEFAULT_REGION": "us-east-1",
    }
    store.stop()


@pytest.fixture(scope="module")
def crew(tmp_path_factory: pytest.TempPathFactory, s3: dict[str, str]) -> Iterator[Hosts]:
    """A scheduler, a worker of one thread and one of three, in directories of their own."""
    with hosts(tmp_path_factory.mktemp("hosts"), s3) as found:
        found.scheduler()
        found.worker()
        found.worker(n_threads=3)
        found.wait_for_workers(2)
        yield found


def test_workers_with_threads_write_the_same_bytes_in_a_shared_folder(tmp_path, local, crew):
    rendered = crew.run("fxpipe", *RENDER, cwd=tmp_path)
    assert rendered.code == 0, rendered.err
    assert rendered.err.startswith("dashboard: http://127.0.0.1:")
    assert digests(tmp_path / "renders") == digests(local / "renders")
    with distributed.Client(crew.address, timeout=30, set_as_default=False) as client:
        profiled = client.run(
            lambda dask_worker: dask_worker.periodic_callbacks["profile"].is_running()
        )
    assert set(profiled.values()) == {sys.version_info >= (3, 12)}, "3.11 may stand still over it"


def test_over_s3_from_renders_to_shards_the_same_bytes(tmp_path, local, crew, s3, monkeypatch):
    for name, value in s3.items():
        monkeypatch.setenv(name, value)
    rendered = crew.run("fxpipe", *RENDER, "-o", "s3://bucket/renders", cwd=tmp_path)
    assert rendered.code == 0, rendered.err
    words = ["encode", "s3://bucket/renders", "-o", "s3://bucket/shards", "--codec", "embedded"]
    encoded = crew.run("fxpipe", *words, cwd=tmp_path)
    assert encoded.code == 0, encoded.err
    assert "whole" in run("fxpipe", "check", "s3://bucket/shards", cwd=tmp_path).last_line
    again = crew.run("fxpipe", *RENDER, "-o", "s3://bucket/renders", cwd=tmp_path)
    assert "already rendered" in again.err
    import s3fs

    store = s3fs.S3FileSystem(skip_instance_cache=True)
    for name in ("renders", "shards"):
        store.get(f"bucket/{name}/", str(tmp_path / name), recursive=True)
        assert digests(tmp_path / name) == digests(local / name)


@pytest.mark.parametrize("kind", ["another version", "no fxpipe"])
def test_a_worker_that_could_write_other_bytes_is_refused(tmp_path, kind):
    theirs = tmp_path / "theirs"
    if kind == "no fxpipe":
        theirs.mkdir()
        (theirs / "sitecustomize.py").write_text("import sys\nsys.modules['fxpipe'] = None\n")
    else:
        shutil.copytree(ROOT / "pipeline/fxpipe", theirs / "fxpipe")
        with (theirs / "fxpipe/level.py").open("a") as file:
            file.write("# another version\n")
    path = os.pathsep.join([str(theirs), os.environ.get("PYTHONPATH", "")])
    with hosts(tmp_path / "hosts") as found:
        found.scheduler()
        found.worker(env={"PYTHONPATH": path})
        found.wait_for_workers(1)
        refused = found.run("fxpipe", *RENDER, cwd=tmp_path)
    assert refused.code == 1
    assert "Traceback" not in refused.err
    assert refused.last_line.startswith("fxpipe: error: the worker at tcp://127.0.0.1:")
    assert ("has no fxpipe" if kind == "no fxpipe" else "instead of") in refused.last_line
    assert not list((tmp_path / "renders").glob("*.npy"))


def test_a_worker_that_stands_still_is_given_up(tmp_path, local):
    """Its connection stays open: dask misses its heartbeats, by default for five minutes."""
    with hosts(tmp_path / "hosts", {"DASK_DISTRIBUTED__SCHEDULER__WORKER_TTL": "8s"}) as found:
        found.scheduler()
        still = found.worker()
        found.worker()
        found.wait_for_workers(2)
        receipts = tmp_path / "renders/.receipts"

        def stop_it() -> None:
            wait_for("shard", lambda: receipts.is_dir() and any(receipts.glob("train*.json")))
            still.send_signal(signal.SIGSTOP)

        stopping = threading.Thread(target=stop_it)
        stopping.start()
        rendered = found.run("fxpipe", *RENDER, cwd=tmp_path)
        stopping.join()
    assert rendered.code == 0, rendered.err
    # What it was in the midst of writing is its own until it is dead and the next run sweeps.
    made = digests(tmp_path / "renders")
    drafts = {name for name in made if name.endswith(f".{still.pid}@{socket.gethostname()}.part")}
    whole = digests(local / "renders")
    assert {name: digest for name, digest in made.items() if name not in drafts} == whole
    assert run("fxpipe", *RENDER, "-j", "1", cwd=tmp_path).code == 0
    assert digests(tmp_path / "renders") == whole


def test_a_scheduler_that_dies_costs_nothing_finished(tmp_path, local):
    """kill -9 of the scheduler, then of nothing else: its workers end by themselves."""
    with hosts(tmp_path / "hosts", TIMEOUTS) as found:
        scheduler = found.scheduler()
        found.worker("--death-timeout", "5")
        found.wait_for_workers(1)
        program = Path(sys.executable).with_name("fxpipe")
        driver = subprocess.Popen(
            [program, *RENDER, "--scheduler", found.address],
            cwd=tmp_path,
            stderr=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            text=True,
            env={**os.environ, **TIMEOUTS},
        )
        receipts = tmp_path / "renders/.receipts"
        wait_for("shard", lambda: receipts.is_dir() and any(receipts.glob("train*.json")))
        kill(scheduler)
        _, err = driver.communicate(timeout=60)
    assert driver.returncode == 1
    assert "Traceback" not in err
    assert "lost the dask scheduler at tcp://127.0.0.1:" in err.splitlines()[-1]
    finished = {p.stem.removesuffix(".json"): p.stat().st_mtime_ns for p in receipts.glob("*.json")}
    assert 0 < len(finished) < N_SHARDS
    assert run("fxpipe", *RENDER, "-j", "1", cwd=tmp_path).code == 0
    assert digests(tmp_path / "renders") == digests(local / "renders")
    for name, mtime in finished.items():
        assert (receipts / f"{name}.json").stat().st_mtime_ns == mtime, f"{name} was made again"
