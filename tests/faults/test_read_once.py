"""What looks at whole directories, which are large and may lie in a store: how it reads them."""

from __future__ import annotations

import threading
from collections import Counter

import pytest

from faults.conftest import Fx, remake
from fxtrain.contract import LocalFolder


def test_check_reads_no_audio_twice(whole, fx: Fx, monkeypatch):
    read, seen = LocalFolder.read, Counter()

    def counted(self, name, *size):
        seen[name] += 1
        return read(self, name, *size)

    monkeypatch.setattr(LocalFolder, "read", counted)
    assert fx("check", whole / "renders").code == 0
    shards = {name: n for name, n in seen.items() if name.startswith(("train", "valid", "test"))}
    assert set(shards.values()) == {1}
    assert len(shards) == 2 * len(list((whole / "renders").glob("*.npy")))


@pytest.mark.parametrize("verb", ["check", "against", "resume"])
def test_files_are_read_side_by_side(verb, whole, fx: Fx, monkeypatch):
    renders = whole / "renders"
    line = {
        "check": ["check", renders],
        "against": ["check", renders, "--against", renders],
        "resume": [*remake("renders", whole, renders), "--resume"],
    }[verb]
    read, both = LocalFolder.read, threading.Barrier(2)
    met = []

    def meets_once(self, name, *size):
        if not met and name.endswith((".npy", ".tar")) and name.startswith("train"):
            both.wait(timeout=30)
            met.append(name)
        return read(self, name, *size)

    monkeypatch.setattr(LocalFolder, "read", meets_once)
    assert fx(*line).code == 0
    assert met
