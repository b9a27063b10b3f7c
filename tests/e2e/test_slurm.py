"""``--cluster slurm`` through dask-jobqueue, with small programs in the place of Slurm's own that
run each job script at once on this machine, and the example file of the documentation."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import yaml

from fixtures.cli import run
from fixtures.hosts import digests

EXAMPLES = Path(__file__).parents[2] / "docs/examples/cluster"
RENDER = ["render", "--n-chains", "40", "--pool", "okita3", "--lengths", "1-2", "--clip-s", "0.5"]
SBATCH = """#!/bin/bash
if [ "$1" = --test-only ]; then exit 0; fi
cp "$1" "$FAKE_SLURM/$$.sh"
setsid bash "$FAKE_SLURM/$$.sh" > "$FAKE_SLURM/$$.log" 2>&1 < /dev/null &
echo $! > "$FAKE_SLURM/$$.pid"
echo "Submitted batch job $$"
"""
SCANCEL = """#!/bin/bash
for job in "$@"; do
  kill -- -"$(cat "$FAKE_SLURM/$job.pid")"
  echo "$job" >> "$FAKE_SLURM/cancelled"
done
"""
SBATCH_REFUSES = """#!/bin/bash
echo "sbatch: error: invalid partition specified: normal" >&2
exit 1
"""


@pytest.fixture
def slurm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the jobs; the example's settings, with this machine's size and loopback."""
    programs, jobs, config = (tmp_path / name for name in ("programs", "jobs", "config"))
    for folder in (programs, jobs, config):
        folder.mkdir()
    for name, text in (("sbatch", SBATCH), ("scancel", SCANCEL)):
        (programs / name).write_text(text)
        (programs / name).chmod(0o755)
    settings = yaml.safe_load((EXAMPLES / "slurm.yaml").read_text())
    settings["jobqueue"]["slurm"] |= {
        "cores": 1,
        "processes": 1,
        "memory": "2 GB",
        "local-directory": str(tmp_path / "scratch"),
        "log-directory": None,
        "job-script-prologue": ["export SEEN_BY_WORKERS=yes"],
        "scheduler-options": {"host": "127.0.0.1", "dashboard_address": "127.0.0.1:0"},
    }
    settings["jobqueue"]["slurm"]["worker-extra-args"] += ["--host", "127.0.0.1"]
    (config / "slurm.yaml").write_text(yaml.safe_dump(settings))
    monkeypatch.setenv("DASK_CONFIG", str(config))
    monkeypatch.setenv("FAKE_SLURM", str(jobs))
    monkeypatch.setenv("PATH", f"{programs}{os.pathsep}{os.environ['PATH']}")
    return jobs


def test_jobs_write_the_same_bytes_and_end(tmp_path, slurm):
    here, there = tmp_path / "here", tmp_path / "there"
    here.mkdir(), there.mkdir()
    assert run("fxpipe", *RENDER, "-j", "1", cwd=here).code == 0
    done = run("fxpipe", *RENDER, "--cluster", "slurm", "-j", "2", cwd=there)
    assert done.code == 0, done.err
    assert "dashboard: http://127.0.0.1:" in done.err
    assert digests(there / "renders") == digests(here / "renders")
    scripts = [path.read_text() for path in slurm.glob("*.sh")]
    assert scripts
    for script in scripts:
        assert "#SBATCH -p normal" in script
        assert "--lifetime 55m" in script
        lines = script.splitlines()
        assert lines.index("export OMP_NUM_THREADS=1") < lines.index("export SEEN_BY_WORKERS=yes")
        assert "export MALLOC_TRIM_THRESHOLD_=2147483648" in lines
    cancelled = (slurm / "cancelled").read_text().split()
    assert {path.stem for path in slurm.glob("*.sh")} <= set(cancelled)


def test_a_job_that_slurm_refuses_is_one_line(tmp_path, slurm):
    (tmp_path / "programs/sbatch").write_text(SBATCH_REFUSES)
    refused = run("fxpipe", *RENDER, "--cluster", "slurm", "-j", "2", cwd=tmp_path)
    assert refused.code == 1
    assert "Traceback" not in refused.err
    assert "Slurm refuses the job" in refused.last_line
    assert "invalid partition specified" in refused.last_line


def test_settings_that_lack_cores_are_one_line(tmp_path, slurm):
    (tmp_path / "config/slurm.yaml").write_text("jobqueue: {slurm: {queue: normal}}\n")
    refused = run("fxpipe", *RENDER, "--cluster", "slurm", "-j", "2", cwd=tmp_path)
    assert refused.code == 2
    assert "jobqueue.slurm.cores is not set in dask's configuration" in refused.last_line
