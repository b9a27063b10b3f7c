"""The codec of ``fxpipe encode``: read once where the command runs, the same one in every task."""

from __future__ import annotations

import shutil
from pathlib import Path

from faults.conftest import Fx, digests, remake
from fxpipe import codec, encode


def test_the_driver_loads_the_codec_once(tmp_path, whole, fx: Fx, monkeypatch):
    load, loads, before = encode.load_codec, [], []

    def counted(*args, **options):
        loads.append(args)
        return load(*args, **options)

    def tasks(function, jobs, workers, **_):
        before.append(len(loads))
        return map(function, jobs)

    monkeypatch.setattr(encode, "load_codec", counted)
    monkeypatch.setattr(encode, "run_tasks", tasks)
    assert fx(*remake("shards", whole, tmp_path / "out")).code == 0
    assert before == [1]
    assert digests(tmp_path / "out") == digests(whole / "shards")


def test_weights_that_are_exchanged_under_way_finish_nothing(tmp_path, whole, fx: Fx, monkeypatch):
    shipped, weights = Path(codec.__file__).parent / "embedded", tmp_path / "encoder.safetensors"
    weights.write_bytes((shipped / weights.name).read_bytes())
    shutil.copy(shipped / "codec.json", tmp_path)

    def exchange(function, jobs, workers, **_):
        data = bytearray(weights.read_bytes())
        data[-1] ^= 1  # of one weight, the sign or a digit
        weights.write_bytes(data)
        encode._codec.cache_clear()
        return map(function, jobs)

    monkeypatch.setattr(encode, "run_tasks", exchange)
    line = [*remake("shards", whole, tmp_path / "out"), "--codec", weights]
    done = fx(*line)
    assert done.code == 1
    assert "encoder.safetensors: its sha256 is " in done.last_line
    assert not (tmp_path / "out/index.json").exists()
    assert not list((tmp_path / "out").glob("*.tar"))
