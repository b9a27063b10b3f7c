"""What comes from a browser: bodies of a size, that do not stand still, and what is refused."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from starlette.requests import Request

STALLED_S = 20.0
"""A request of which nothing comes for so long is given up."""


class RefusedError(Exception):
    """A request that cannot be answered: an HTTP status and one line for the page."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


async def body(request: Request, most: int) -> bytes:
    """The request's body, never more than ``most`` bytes of it in memory."""
    parts, total = [], 0
    try:
        async with asyncio.timeout(STALLED_S) as patience:
            async for part in request.stream():
                patience.reschedule(asyncio.get_running_loop().time() + STALLED_S)
                total += len(part)
                if total > most:
                    raise RefusedError(413, f"Larger than {_megabytes(most)} MB; give less.")
                parts.append(part)
    except TimeoutError:
        raise RefusedError(408, "The upload stood still; give it again.") from None
    return b"".join(parts)


def _megabytes(n_bytes: int) -> str:
    size = n_bytes / 2**20
    return f"{size:.0f}" if size >= 10 else f"{size:.2g}"


async def json_object(request: Request, most: int) -> dict[str, Any]:
    """The body as a JSON object."""
    try:
        data = json.loads(await body(request, most))
    except (ValueError, RecursionError):
        data = None
    if not isinstance(data, dict):
        raise RefusedError(400, "Expected a JSON object.")
    return data
