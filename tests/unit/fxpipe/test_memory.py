"""What a process may count on."""

from __future__ import annotations

from pathlib import Path

import pytest

from fixtures.groups import put_groups
from fxpipe import memory
from fxtrain.contract import cores

GB = 10**9


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("memory.max", "8000000000\n", 2 * GB),
        ("memory/memory.limit_in_bytes", "8000000000\n", 2 * GB),
        ("memory.max", "60000000000\n", 4 * GB),
        ("memory.max", "max\n", 4 * GB),
        ("memory/memory.limit_in_bytes", f"{2**63 - 4096}\n", 4 * GB),  # version 1's "max"
        (None, "", 4 * GB),
    ],
)
def test_a_core_has_its_share_of_what_the_container_may_use(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    name: str | None,
    text: str,
    expected: int,
) -> None:
    if name is not None:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    monkeypatch.setattr(cores, "CGROUP", tmp_path)
    monkeypatch.setattr(memory, "memory_bytes", lambda: (64 * GB, 60 * GB))
    monkeypatch.setattr(memory, "n_cores", lambda: 4)  # a scheduler left it four of sixteen
    monkeypatch.setattr(memory.os, "cpu_count", lambda: 16)
    assert memory.bytes_a_core() == expected


@pytest.mark.parametrize(
    ("own", "limits", "expected"),
    [
        ("0::/slurm/job_7/step_0\n", {"slurm/job_7/memory.max": "8000000000\n"}, 8 * GB),
        (
            "0::/slurm/job_7/step_0\n",
            {"slurm/memory.max": "9000000000", "slurm/job_7/step_0/memory.max": "max\n"},
            9 * GB,
        ),
        (
            "5:devices:/\n4:memory,x:/slurm/job_7\n0::/\n",
            {
                "memory/memory.limit_in_bytes": str(2**63 - 4096),
                "memory/slurm/job_7/memory.limit_in_bytes": "8000000000",
            },
            8 * GB,
        ),
        ("0::/slurm/job_7\n", {"slurm/job_8/memory.max": "8000000000"}, None),
    ],
)
def test_the_limit_of_a_job_lies_below_the_root(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    own: str,
    limits: dict[str, str],
    expected: int | None,
) -> None:
    put_groups(monkeypatch, tmp_path, own, limits)
    assert memory.memory_limit() == expected
