"""kill -9 at drawn moments, then the same bytes; ``FXPIPE_FAULT_ROUNDS=50`` for more of them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from faults.kills import CASES, play

N_ROUNDS = int(os.environ.get("FXPIPE_FAULT_ROUNDS", "3"))


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("kills")


@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    "number", range(N_ROUNDS), ids=lambda n: f"{n}-" + "-".join(CASES[n % len(CASES)])
)
def test_killed_at_any_moment_the_bytes_are_the_same(here, number):
    (found,) = play(here, range(number, number + 1), seed=0)
    assert found.problems == ()
