"""TOML files that people write, for both programs."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from fxtrain.contract.errors import UsageError, shorten


def read_toml(path: str | Path) -> dict[str, Any]:
    """The tables of a file; UsageError where it cannot be read. A byte order mark, which editors
    on Windows put before the text, is skipped."""
    try:
        return tomllib.loads(Path(path).read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise UsageError(f"{path}: cannot be read ({error.strerror})") from None
    except RecursionError:
        raise UsageError(f"{path}: not TOML (nested too deeply)") from None
    except ValueError as error:  # TOMLDecodeError, UnicodeDecodeError, a number of 5,000 digits
        raise UsageError(f"{path}: not TOML ({shorten(str(error))[1:-1]})") from None


@contextmanager
def settings_of(path: str | Path | None) -> Iterator[None]:
    """Names the file in what is wrong with settings that come from it, or from flags above it."""
    try:
        yield
    except UsageError as error:
        if path is None or str(path) in str(error):
            raise
        raise UsageError(f"with {path}: {error}") from None
