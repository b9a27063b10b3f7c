"""The codec of ``fxpipe encode``: read once where the command runs."""

from __future__ import annotations

from faults.conftest import Fx, digests, remake
from fxpipe import encode


def test_the_driver_loads_the_codec_once(tmp_path, whole, fx: Fx, monkeypatch):
    load, loads, before = encode.load_codec, [], []

    def counted(*args, **options):
        loads.append(args)
        return load(*args, **options)

    def tasks(function, jobs, workers):
        before.append(len(loads))
        return map(function, jobs)

    monkeypatch.setattr(encode, "load_codec", counted)
    monkeypatch.setattr(encode, "run_tasks", tasks)
    assert fx(*remake("shards", whole, tmp_path / "out")).code == 0
    assert before == [1]
    assert digests(tmp_path / "out") == digests(whole / "shards")
