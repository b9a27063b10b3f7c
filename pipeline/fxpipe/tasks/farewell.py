"""What dask loads into each local worker (a preload): it ends without a word.

A worker that is stopped while it starts raises on its way out (distributed 2026.8: it is
closed, starts all the same, then cannot tell its nanny), and multiprocessing prints that.
"""

from __future__ import annotations

import os
import sys
from typing import Any


def dask_teardown(_worker: Any) -> None:
    """Its last task is done, or will be another worker's: nothing it says from here on is about
    anybody's clips."""
    silence = os.open(os.devnull, os.O_WRONLY)
    os.dup2(silence, sys.stderr.fileno())
    os.close(silence)
