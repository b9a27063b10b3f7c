"""What a page may ask for: bytes, seconds, how much is remembered. Standard library only."""

from __future__ import annotations

import secrets
import threading
from collections import OrderedDict
from dataclasses import dataclass
from typing import Generic, TypeVar

from fxtrain.web.requests import RefusedError

T = TypeVar("T")

MAX_TITLE = 60
MAX_BOARD = 24
"""Pedals that are rendered at once."""

MAX_JSON_BYTES = 100_000


@dataclass(frozen=True)
class Limits:
    """``n_bytes`` of an upload, ``seconds`` of its sound; how many of each are remembered;
    ``n_waiting`` tasks at once, and as many uploads."""

    n_bytes: int = 50 * 2**20
    seconds: int = 120
    n_clips: int = 8
    n_dries: int = 4
    n_sounds: int = 24
    n_waiting: int = 8


def too_much() -> RefusedError:
    return RefusedError(503, "Too much at once; wait a moment, then try again.")


class Shelf(Generic[T]):
    """The last few things under random names; the oldest makes room. Safe between threads."""

    def __init__(self, size: int, what: str) -> None:
        self._size, self._what = size, what
        self._things: OrderedDict[str, T] = OrderedDict()
        self._lock = threading.Lock()

    def put(self, thing: T) -> str:
        name = secrets.token_urlsafe(16)
        with self._lock:
            self._things[name] = thing
            while len(self._things) > self._size:
                self._things.popitem(last=False)
        return name

    def get(self, name: object) -> T:
        """The thing, which is then the youngest."""
        with self._lock:
            if not isinstance(name, str) or name not in self._things:
                raise RefusedError(404, f"This {self._what} is no longer here; give it again.")
            self._things.move_to_end(name)
            return self._things[name]

    def __len__(self) -> int:
        return len(self._things)


def title_of(name: str) -> str:
    """A file's name as a title, never as a path."""
    last = name.replace("\\", "/").rsplit("/", 1)[-1]
    plain = " ".join("".join(c if c.isprintable() else " " for c in last).split())
    return plain[:MAX_TITLE] or "clip"
