"""Every check of the doctor against a machine that is made up."""

from __future__ import annotations

import hashlib
import json
import os
import resource
import threading
from importlib import metadata
from pathlib import Path
from types import SimpleNamespace

import pytest
from click.testing import CliRunner

from fxpipe import doctor
from fxpipe.cli import cli
from fxpipe.codec import CODECS
from fxpipe.doctor import OK, PROBLEM, WARNING, Finding, machine, packages, storage, trial
from fxtrain.contract import cores


def of(findings, name: str) -> Finding:
    (found,) = [finding for finding in findings if finding.name == name]
    return found


def versions(known: dict[str, str]):
    def version(name: str) -> str:
        if name not in known:
            raise metadata.PackageNotFoundError(name)
        return known[name]

    return version


# Packages


def test_what_is_missing_or_of_a_wrong_version_says_what_to_type():
    requires = [
        "numpy>=2.0",
        "torch>=2.6",
        "dask>=2025.1; extra == 'pipeline'",
        "ruff; extra == 'dev'",
    ]
    there = versions({"fxpipe": "0.1.0", "numpy": "1.26.4", "torch": "2.13.0+cpu"})
    found = list(packages.dependencies(requires, there))
    assert of(found, "torch") == Finding("software", "torch", OK, "2.13.0+cpu")
    assert of(found, "numpy").state == of(found, "dask").state == PROBLEM
    assert of(found, "numpy").found == "1.26.4, expected >=2.0"
    assert of(found, "numpy").do == "pip install 'numpy>=2.0'"
    assert of(found, "dask").found == "not installed, expected >=2025.1"
    assert of(found, "packages").found.startswith("1 of 3 are here")
    assert "ruff" not in [finding.name for finding in found]
    assert doctor.exit_code(found) == 1


def test_this_installation_satisfies_its_own_ranges():
    assert doctor.exit_code(packages.dependencies()) == 0
    assert of(packages.python(), "python").state == OK


@pytest.mark.parametrize(
    ("found", "state"), [("82.0.1", WARNING), ("81.0.0", None), (None, WARNING)]
)
def test_setuptools_without_pkg_resources_is_a_warning(found, state):
    rows = list(packages.setuptools(versions({"setuptools": found} if found else {})))
    assert [row.state for row in rows] == ([state] if state else [])
    assert all("pip install 'setuptools<82'" in row.do for row in rows)


def test_hazards_that_do_no_harm_say_so(monkeypatch):
    (late,) = packages.protobuf(versions({"protobuf": "7.36.2"}))
    assert late.state == OK
    assert "harmless" in late.found
    assert not list(packages.protobuf(versions({"protobuf": "3.19.6"})))

    def no_library(name: str):
        raise OSError("Could not load this library")

    monkeypatch.setattr(packages.metadata, "version", versions({"torchaudio": "2.11.0"}))
    monkeypatch.setattr(packages.importlib, "import_module", no_library)
    (deaf,) = packages.torchaudio()
    assert deaf.state == OK
    assert "cannot be loaded" in deaf.found
    assert "harmless" in deaf.found


def test_no_compiler_is_no_fault(monkeypatch):
    monkeypatch.setattr(packages.shutil, "which", lambda name: None)
    (found,) = packages.compiler()
    assert found.state == OK
    assert "bf16" in found.found


# The machine


def test_a_container_with_little_cpu_time_says_so(monkeypatch, tmp_path):
    (tmp_path / "cpu.max").write_text("50000 100000\n")
    monkeypatch.setattr(cores, "CGROUP", tmp_path)
    found = of(machine.cpu(), "cores")
    assert found.state == OK
    assert found.found.startswith("1 of ")
    assert found.found.endswith("this container or job gets the time of 0.5")
    (tmp_path / "cpu.max").write_text("max 100000\n")
    assert of(machine.cpu(), "cores").found.endswith("may be used")


@pytest.mark.parametrize(
    ("free", "limit", "state", "do"),
    [(64e9, None, OK, ""), (3e9, None, WARNING, "-j 2"), (64e9, 1e9, PROBLEM, "embedded")],
)
def test_memory_for_as_many_workers_as_there_are_cores(
    monkeypatch, tmp_path, free, limit, state, do
):
    if limit:
        (tmp_path / "memory.max").write_text(f"{int(limit)}\n")
    monkeypatch.setattr(cores, "CGROUP", tmp_path)
    monkeypatch.setattr(machine, "memory_bytes", lambda: (int(128e9), int(free)))
    monkeypatch.setattr(machine, "n_cores", lambda: 4)
    (found,) = machine.memory()
    assert found.state == state
    assert do in found.do


def fake_cuda(monkeypatch, count=1, capability=(9, 0), built=("sm_80", "sm_90"), cuda="13.0"):
    import torch

    device = SimpleNamespace(name="NVIDIA H200", total_memory=150e9)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: count)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda number: device)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda number: capability)
    monkeypatch.setattr(torch.cuda, "get_arch_list", lambda: list(built))
    monkeypatch.setattr(torch.version, "cuda", cuda)


@pytest.mark.parametrize(
    ("capability", "built", "state"),
    [
        ((9, 0), ("sm_80", "sm_90"), OK),
        ((8, 6), ("sm_80", "sm_90"), OK),
        ((12, 0), ("sm_80", "compute_90"), OK),
        ((12, 0), ("sm_80", "sm_90a"), PROBLEM),
        ((7, 0), ("sm_80", "compute_90"), PROBLEM),
    ],
)
def test_a_gpu_that_this_torch_cannot_run_on_is_a_problem(monkeypatch, capability, built, state):
    fake_cuda(monkeypatch, capability=capability, built=built)
    monkeypatch.setattr(machine, "driver_version", lambda: "580.65")
    (found,) = machine.gpus()
    assert found.state == state
    assert "NVIDIA H200, 150 GB" in found.found
    assert "driver 580.65" in found.found


@pytest.mark.parametrize(
    ("driver", "cuda", "state", "what"),
    [
        (None, None, OK, "none"),
        ("580.65", None, WARNING, "built for CPUs"),
        ("470.1", "13.0", WARNING, "sees none"),
    ],
)
def test_a_gpu_that_torch_does_not_see_says_what_to_install(monkeypatch, driver, cuda, state, what):
    fake_cuda(monkeypatch, count=0, cuda=cuda)
    monkeypatch.setattr(machine, "driver_version", lambda: driver)
    (found,) = machine.gpus()
    assert found.state == state
    assert what in found.found
    assert bool(found.do) == (state != OK)


def test_the_driver_is_read_from_the_kernel(monkeypatch, tmp_path):
    (tmp_path / "driver/nvidia").mkdir(parents=True)
    text = "NVRM version: NVIDIA UNIX x86_64 Kernel Module  580.65.06  Sun Jul 27 2026\n"
    (tmp_path / "driver/nvidia/version").write_text(text)
    monkeypatch.setattr(machine, "PROC", tmp_path)
    assert machine.driver_version() == "580.65.06"


@pytest.mark.parametrize(("soft", "state"), [(64, PROBLEM), (512, WARNING), (65_536, OK)])
def test_few_open_files(monkeypatch, soft, state):
    monkeypatch.setattr(resource, "getrlimit", lambda kind: (soft, resource.RLIM_INFINITY))
    found = of(machine.limits(), "open files")
    assert found.state == state
    assert ("ulimit -n" in found.do) == (state != OK)


def test_another_encoding(monkeypatch):
    monkeypatch.setattr(machine.locale, "getpreferredencoding", lambda setlocale: "ANSI_X3.4-1968")
    (found,) = machine.encoding()
    assert found.state == WARNING
    assert "LC_ALL" in found.do


# Storage


@pytest.mark.parametrize(("free", "state"), [(1e8, PROBLEM), (2e9, WARNING), (1e12, OK)])
def test_low_disk(monkeypatch, tmp_path, free, state):
    monkeypatch.setattr(storage, "places", lambda: (("output", tmp_path / "not/yet"),))
    monkeypatch.setattr(storage.shutil, "disk_usage", lambda path: SimpleNamespace(free=free))
    monkeypatch.setattr(storage, "filesystem", lambda path: "ext4")
    (found,) = storage.disks()
    assert found.state == state
    assert bool(found.do) == (state != OK)


def test_a_folder_that_cannot_be_written_and_one_in_memory(monkeypatch, tmp_path):
    monkeypatch.setattr(storage, "places", lambda: (("output", tmp_path),))
    monkeypatch.setattr(storage.shutil, "disk_usage", lambda path: SimpleNamespace(free=1e12))
    monkeypatch.setattr(storage, "filesystem", lambda path: "tmpfs")
    (found,) = storage.disks()
    assert found.state == WARNING
    assert "lies in memory" in found.found
    (tmp_path / "my disk").mkdir()
    monkeypatch.setattr(storage, "places", lambda: (("output", tmp_path / "my disk"),))
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    (found,) = storage.disks()
    assert found.state == PROBLEM
    assert "cannot be written" in found.found
    assert f"chmod u+w '{tmp_path / 'my disk'}', or" in found.do


def test_the_file_system_of_the_deepest_mount_counts(monkeypatch, tmp_path):
    mounts = f"a / ext4 rw 0 0\nb {tmp_path} tmpfs rw 0 0\nc {tmp_path}/x xfs rw 0 0\n"
    (tmp_path / "mounts").write_text(mounts)
    monkeypatch.setattr(storage, "PROC", tmp_path)
    assert storage.filesystem(tmp_path / "y") == "tmpfs"
    assert storage.filesystem(Path("/")) == "ext4"


def test_weights_are_missing_whole_or_damaged(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    rows = list(storage.weights())
    assert {row.state for row in rows} == {OK}
    assert "fxpipe codec fetch 44khz" in of(rows, "codec 44khz").found
    assert "9 codebooks" in of(rows, "codec embedded").found
    path = storage.weights_path(CODECS["16khz"])
    path.parent.mkdir(parents=True)
    path.write_bytes(b"half a download")
    found = of(storage.weights(), "codec 16khz")
    assert found.state == PROBLEM
    assert "sha256" in found.found
    assert "fxpipe codec fetch 16khz" in found.do


def test_a_damaged_embedded_codec_is_a_problem(monkeypatch, tmp_path):
    from fxpipe.codec import weights

    (tmp_path / "encoder.safetensors").write_bytes(b"\0" * 64)
    (tmp_path / "codec.json").write_text("{}")
    monkeypatch.setattr(weights, "EMBEDDED", tmp_path)
    found = of(storage.weights(), "codec embedded")
    assert found.state == PROBLEM
    assert "reinstall" in found.do


# The trial


def test_a_worker_that_never_answers_is_a_problem():
    held = threading.Event()

    def waits(jobs):
        held.wait(30)
        return []

    others = set(threading.enumerate())
    (found,) = trial.worker(waits, limit_s=0.05)
    begun = set(threading.enumerate()) - others
    assert all(thread.daemon for thread in begun)  # Python would wait for it before it ends
    held.set()
    assert found.state == PROBLEM
    assert "no dask worker answered" in found.found


def test_a_worker_that_answers_wrongly_or_fails_is_a_problem():
    def fails(jobs):
        raise OSError("no more processes")

    assert of(trial.worker(lambda jobs: [trial.double(jobs[0])]), "dask worker").state == OK
    assert of(trial.worker(lambda jobs: [{"n": 0}]), "dask worker").state == PROBLEM
    assert "no more processes" in of(trial.worker(fails), "dask worker").found


def test_one_clip_goes_through_everything():
    (found,) = trial.one_clip()
    assert found.state == OK
    assert "[9, 173] codes" in found.found


def test_the_model_in_the_package_is_looked_at(tmp_path, monkeypatch):
    weights = b"weights of a model"
    folder = tmp_path / "shipped"
    folder.mkdir()
    entry = {"path": "model.safetensors", "sha256": hashlib.sha256(weights).hexdigest()}
    (folder / "model.json").write_text(json.dumps({"weights": entry}))
    monkeypatch.setattr(storage, "files", lambda package: tmp_path)
    (missing,) = storage.model()
    (folder / "model.safetensors").write_bytes(weights[:-1])
    (cut,) = storage.model()
    for found in (missing, cut):
        assert found.state == PROBLEM
        assert found.do.startswith("pip install --force-reinstall --no-deps .")
    assert "cannot be read" in missing.found
    assert f"expected {entry['sha256'][:12]}" in cut.found
    (folder / "model.safetensors").write_bytes(weights)
    (whole,) = storage.model()
    assert whole.state == OK


# What is printed


def test_a_check_that_fails_is_a_finding_and_the_others_go_on():
    def no_torch():
        raise ModuleNotFoundError("No module named 'torch'", name="torch")

    def broken():
        raise ValueError("odd\nmachine")

    (missing,) = doctor.guarded("machine", no_torch)
    assert missing.do == 'pip install ".[pipeline]" in a copy of the repository'
    (found,) = doctor.guarded("machine", broken)
    assert found.state == WARNING
    assert found.found == "could not be looked at: ValueError: odd machine"


def test_the_program_prints_sections_and_an_exit_code(monkeypatch):
    rows = [
        Finding("software", "python", OK, "3.11"),
        Finding("storage", "output", PROBLEM, "0.1 GB free", "free some space"),
    ]
    monkeypatch.setattr(doctor, "examine", lambda full: rows)
    done = CliRunner().invoke(cli, ["doctor"], standalone_mode=False)
    assert done.return_value == 1
    text = done.output.splitlines()
    assert text[0] == "Software"
    assert text[1].split() == ["ok", "python", "3.11"]
    assert text[-1] == "1 problem, no warnings"
    assert any(line.strip() == "-> free some space" for line in text)
    assert "\x1b" not in done.output
    done = CliRunner().invoke(cli, ["doctor", "--json"], standalone_mode=False)
    assert json.loads(done.output)["counts"] == {OK: 1, WARNING: 0, PROBLEM: 1}
    rows.pop()
    assert CliRunner().invoke(cli, ["doctor"], standalone_mode=False).return_value == 0


def test_colour_is_for_terminals_that_want_it(monkeypatch):
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    assert doctor.wants_colour(True)
    assert not doctor.wants_colour(False)
    row = Finding("software", "python", OK, "3.11")
    assert "\x1b[32m" in "".join(doctor.lines([row], colour=True))
    monkeypatch.setenv("NO_COLOR", "1")
    assert not doctor.wants_colour(True)
