"""Valid bytes and documents -> hostile ones, all from one ``random.Random``. Standard library only.

Structure-aware: a number is replaced by numbers that hurt, a name by names that lead elsewhere, a
length field by lengths that lie; and beside that the blunt ways, cut, spliced and flipped bytes.
"""

from __future__ import annotations

import copy
import json
import random
import struct
from collections.abc import Callable
from typing import Any

Case = Callable[[random.Random], None]
"""One spoilt input, read."""

NUMBERS = [
    *(0, 1, -1, 2, 7, 255, 256, 65_535, 65_536, 2**31 - 1, 2**31, 2**32, 2**53, 2**63, 2**64),
    *(10**6, 10**9, 10**12, 10**18, -(10**18), 10**40, 10**400),
    *(0.5, -0.5, 1e-9, 1e-320, 1e308, -1e308, -0.0, 1e19),
]
NAMES = [
    *("", ".", "..", "../../outside", "/tmp/outside", "//host/outside", "a/../../outside"),
    *("C:\\outside", "C:outside", "..\\outside", "a\\b", "a//b", "./a", "a/.", "~", "~/outside"),
    *("s3://bucket/outside", "file:///tmp/outside", "pipe:touch outside", "a\0b", "a\nb"),
    *("\u202egnp.exe", "con", "x" * 300, "x" * 100_000, "é" * 400, "\ud800", "[", "**", "%s%n"),
    *("nan", "inf", "-1", "1e999", "true", "null", "train", "valid", "test", "delay", "codes"),
]
VALUES: list[Any] = [None, True, False, [], {}, [[]], [{}], [None], {"": None}, {"a": []}]


def hostile(rng: random.Random) -> Any:
    """Any JSON value that readers do not hope for."""
    kind = rng.randrange(12)
    if kind < 4:
        return rng.choice(NUMBERS)
    if kind < 7:
        return rng.choice(NAMES)
    if kind < 9:
        return copy.deepcopy(rng.choice(VALUES))
    if kind == 9:
        return [rng.choice(NUMBERS) for _ in range(rng.randrange(40))]
    if kind == 10:
        return {rng.choice(NAMES): hostile(rng) for _ in range(rng.randrange(6))}
    deep: Any = rng.choice(VALUES)
    for _ in range(rng.choice([10, 70, 150])):
        deep = [deep] if rng.random() < 0.5 else {"a": deep}
    return deep


def mutate_json(rng: random.Random, value: Any, n: int | None = None) -> Any:
    """``value`` with one or a few nodes replaced, removed, repeated, renamed or exchanged."""
    value = copy.deepcopy(value)
    for _ in range(n if n is not None else rng.choice([1, 1, 1, 2, 3, 6])):
        places = list(_places(value))
        if not places:
            return hostile(rng)
        node, key = rng.choice(places)
        if rng.random() < 0.5:  # deeper nodes are many and dull: go by key instead
            named = [place for place in places if isinstance(place[1], str)]
            wanted = rng.choice(sorted({place[1] for place in named})) if named else None
            node, key = rng.choice([p for p in named if p[1] == wanted] or places)
        _change(rng, node, key, places)
    return value


def _places(value: Any) -> Any:
    """(container, key) of every node, without the long tails of long lists."""
    stack = [value]
    while stack:
        node = stack.pop()
        keys = list(node) if isinstance(node, dict) else range(min(len(node), 6))
        for key in keys:
            yield node, key
            if isinstance(node[key], (dict, list)):
                stack.append(node[key])


def _change(rng: random.Random, node: Any, key: Any, places: list[tuple[Any, Any]]) -> None:
    if (isinstance(key, str) and key not in node) or (isinstance(key, int) and key >= len(node)):
        return  # an earlier change took it away
    old, way = node[key], rng.randrange(8)
    if way == 0:
        del node[key]
    elif way == 1 and isinstance(node, list):
        node.extend([copy.deepcopy(old) for _ in range(rng.choice([1, 3, 300]))])
    elif way == 2 and isinstance(node, dict):
        node[rng.choice([*NAMES[:20], key + "x", "path", "kind"])] = node.pop(key)
    elif way == 3:
        other, other_key = rng.choice(places)
        try:
            node[key] = copy.deepcopy(other[other_key])
        except (KeyError, IndexError):
            node[key] = hostile(rng)
    elif isinstance(old, (int, float)) and not isinstance(old, bool) and way < 7:
        node[key] = rng.choice(
            [*NUMBERS, -old, old + 1, old * 1000, old // 3, hex(int(old) % 2**64)]
        )
    elif isinstance(old, str) and way < 7:
        node[key] = rng.choice([*NAMES, old + "x", old[:-1], old.upper(), old * 50])
    else:
        node[key] = hostile(rng)


def json_bytes(rng: random.Random, value: Any) -> bytes:
    """A mutated document as text, now and then with what JSON itself does not allow."""
    text = json.dumps(mutate_json(rng, value))
    way = rng.randrange(10)
    if way == 0:
        return mutate_bytes(rng, text.encode())
    if way == 1:
        token = rng.choice(["NaN", "Infinity", "-Infinity", "1e999", "9" * 5000, "[" * 100_000])
        at = rng.choice([i for i, letter in enumerate(text) if letter in ":,["] or [0])
        return (text[: at + 1] + token + "," + text[at + 1 :]).encode()
    if way == 2 and text.startswith("{") and len(text) > 2:
        return (text[:-1] + "," + text[1:]).encode()  # every key twice
    if way == 3:
        return text.encode(rng.choice(["utf-16", "utf-32", "utf-8-sig"]))
    return text.encode()


LIES = [0, 1, 2**15, 2**16 - 1, 2**24, 2**31 - 1, 2**31, 2**32 - 1, 2**40, 2**63 - 1, 2**64 - 1]


def mutate_bytes(rng: random.Random, data: bytes) -> bytes:
    """``data`` flipped, cut, spliced, repeated, or with lies where a length may stand."""
    out = bytearray(data)
    for _ in range(rng.choice([1, 1, 2, 4, 16])):
        if not out:
            return bytes(rng.randbytes(rng.randrange(64)))
        way, at = rng.randrange(9), _place(rng, len(out))
        if way == 0:
            out[at] ^= 1 << rng.randrange(8)
        elif way == 1:
            out[at] = rng.choice([0, 1, 0x7F, 0x80, 0xFF, rng.randrange(256)])
        elif way == 2:
            del out[at:]
        elif way == 3:
            del out[at : at + rng.choice([1, 4, 16, 512])]
        elif way == 4:
            out[at:at] = rng.randbytes(rng.choice([1, 4, 16, 512]))
        elif way == 5:
            n = rng.choice([4, 64, 512])
            start = _place(rng, len(out))
            out[at : at + n] = out[start : start + n]
        elif way == 6:
            out += out[-min(len(out), rng.choice([1, 512, 4096])) :]
        else:
            form = rng.choice(["<H", ">H", "<I", ">I", "<Q", ">Q"])
            size = struct.calcsize(form)
            lie = rng.choice(LIES) % 256**size
            out[at : at + size] = struct.pack(form, lie)
    return bytes(out)


def _place(rng: random.Random, n: int) -> int:
    """Headers and trailers are short and matter most."""
    where = rng.random()
    if where < 0.5:
        return rng.randrange(min(n, 96))
    return n - 1 - rng.randrange(min(n, 96)) if where < 0.7 else rng.randrange(n)


def toml_text(rng: random.Random, value: Any) -> bytes:
    """A document of tables as TOML, as far as TOML can say it."""
    lines: list[str] = []
    for name, table in value.items() if isinstance(value, dict) else ():
        for entry in table if isinstance(table, list) else [table]:
            head = f"[[{_key(name)}]]" if isinstance(table, list) else f"[{_key(name)}]"
            if isinstance(entry, dict):
                lines.append(head)
                lines += [f"{_key(key)} = {_toml(inner)}" for key, inner in entry.items()]
            else:
                lines.insert(0, f"{_key(name)} = {_toml(entry)}")
    text = "\n".join(lines).encode("utf-8", "replace")
    way = rng.randrange(12)
    if way == 0:
        return mutate_bytes(rng, text)
    if way == 1:
        token = rng.choice(["inf", "-inf", "nan", "0x" + "f" * 5000, "9" * 5000, "1979-05-27"])
        return text + b"\nclip_s = " + token.encode()
    if way == 2:
        return text + b"\nx = " + b"[" * 5000
    return text


def _key(name: Any) -> str:
    return json.dumps(str(name)).encode("utf-8", "replace").decode()


def _toml(value: Any) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{_key(k)} = {_toml(v)}" for k, v in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_toml, value)) + "]"
    if value is None:
        return '""'
    return json.dumps(value)
