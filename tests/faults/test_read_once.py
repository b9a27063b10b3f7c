"""``check`` of renders, which are large and may lie in a store, reads each of their files once."""

from __future__ import annotations

from collections import Counter

from faults.conftest import Fx
from fxtrain.contract import LocalFolder


def test_check_reads_no_audio_twice(whole, fx: Fx, monkeypatch):
    read, seen = LocalFolder.read, Counter()

    def counted(self, name):
        seen[name] += 1
        return read(self, name)

    monkeypatch.setattr(LocalFolder, "read", counted)
    assert fx("check", whole / "renders").code == 0
    shards = {name: n for name, n in seen.items() if name.startswith(("train", "valid", "test"))}
    assert set(shards.values()) == {1}
    assert len(shards) == 2 * len(list((whole / "renders").glob("*.npy")))
