"""A browser, and the guitarist's page for it; a file may have its own instead."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from fixtures.browser import chromium
from fixtures.models import random_run
from fixtures.page import page_served


@pytest.fixture(scope="module")
def driver() -> Iterator[Any]:
    with chromium() as found:
        yield found


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    run = random_run(tmp_path_factory.mktemp("page") / "run", hear_knobs=True)
    with page_served(run) as found:
        yield found
