"""How many cores a process counts on: what it sees, and what it gets the time of."""

from __future__ import annotations

import os

import pytest
import torch

from fixtures.groups import put_groups
from fixtures.shards import make_shards
from fxtrain import trainer
from fxtrain.config import Config, ModelConfig, TrainConfig
from fxtrain.contract import cores, n_cores
from fxtrain.data import open_shards
from fxtrain.fit import fit


@pytest.mark.parametrize(
    ("own", "limits", "expected"),
    [
        ("0::/slurm/job_7\n", {"slurm/job_7/cpu.max": "250000 100000\n"}, 2.5),
        (
            "0::/slurm/job_7\n",
            {"slurm/cpu.max": "300000 100000\n", "slurm/job_7/cpu.max": "max 100000\n"},
            3,
        ),
        (
            "4:cpu,cpuacct:/slurm/job_7\n0::/\n",
            {
                "cpu/cpu.cfs_quota_us": "-1\n",
                "cpu/cpu.cfs_period_us": "100000\n",
                "cpu/slurm/job_7/cpu.cfs_quota_us": "400000\n",
                "cpu/slurm/job_7/cpu.cfs_period_us": "100000\n",
            },
            4,
        ),
        ("0::/slurm/job_7\n", {"slurm/job_8/cpu.max": "250000 100000\n"}, None),
    ],
)
def test_the_time_of_a_job_is_limited_below_the_root(monkeypatch, tmp_path, own, limits, expected):
    put_groups(monkeypatch, tmp_path, own, limits)
    assert cores.cpu_quota() == expected


@pytest.mark.parametrize(
    ("limit", "expected"),
    [
        ("200000 100000\n", 2),
        ("150000 100000\n", 2),
        ("50000 100000\n", 1),
        ("1000000 100000\n", 4),
        ("max 100000\n", 4),
        (None, 4),
    ],
)
def test_a_process_counts_on_no_more_cores_than_it_gets_the_time_of(
    monkeypatch, tmp_path, limit, expected
):
    """A container of two cores on a machine of 64 else starts 64 workers."""
    if limit:
        (tmp_path / "cpu.max").write_text(limit)
    monkeypatch.setattr(cores, "CGROUP", tmp_path)
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: {0, 1, 5, 6}, raising=False)
    assert n_cores() == expected


def test_training_has_no_more_threads_than_cores(monkeypatch, tmp_path):
    make_shards(tmp_path / "shards", n_train=16, n_valid=8, n_test=0)
    config = Config(ModelConfig(kind="gru", d_model=16, n_layers=1), TrainConfig(max_epochs=1))
    before = torch.get_num_threads()
    monkeypatch.setattr(trainer, "n_cores", lambda: 2)
    try:
        for n_threads, expected in ((5, 2), (1, 1)):
            torch.set_num_threads(n_threads)
            run = tmp_path / f"run{n_threads}"
            seen = []
            fit(
                *(open_shards(tmp_path / "shards"), config, run),
                device="cpu",
                say=lambda text, seen=seen: seen.append(torch.get_num_threads()),
            )
            assert set(seen[1:]) == {expected}  # the first line is of what will be done
            assert torch.get_num_threads() == n_threads
    finally:
        torch.set_num_threads(before)
