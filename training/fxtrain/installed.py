"""Versions of what is installed. Standard library only."""

from __future__ import annotations

import contextlib
import importlib.metadata


def versions_of(*names: str) -> dict[str, str]:
    """Of those packages that are there; one that is run from its sources has none."""
    found = {}
    for name in names:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found[name] = importlib.metadata.version(name)
    return found
