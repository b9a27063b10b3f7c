"""Guitarix itself, without a window or a sound card, loads a bank in the order asked for."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from fxpipe.boards import board_files
from fxpipe.boards.dial import Dial
from fxpipe.boards.guitarix import UNITS
from fxpipe.pedals import PEDALS
from fxtrain.contract import Chain

NEEDED = ("guitarix", "jackd", "xvfb-run")
PATIENCE_S = 30
ORDER = (
    "reverb", "bitcrusher", "chorus", "fuzz", "delay", "wah", "eq", "compressor", "octaver",
    "tremolo", "phaser", "gate", "distortion", "flanger", "overdrive",
)  # fmt: skip

pytestmark = pytest.mark.skipif(
    not all(map(shutil.which, NEEDED)), reason=f"needs {', '.join(NEEDED)} (Debian packages)"
)


class Rpc:
    """JSON-RPC by lines, as Guitarix speaks it."""

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=PATIENCE_S)
        self.lines = self.socket.makefile("rb")

    def call(self, method: str, *params: Any) -> Any:
        message = {"jsonrpc": "2.0", "method": method, "id": "1", "params": list(params)}
        self.socket.sendall(json.dumps(message).encode() + b"\n")
        while (answer := json.loads(self.lines.readline())).get("id") != "1":
            pass
        return answer["result"]

    def tell(self, method: str, *params: Any) -> None:
        message = {"jsonrpc": "2.0", "method": method, "params": list(params)}
        self.socket.sendall(json.dumps(message).encode() + b"\n")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture
def rack(tmp_path: Path) -> Iterator[tuple[Rpc, dict[str, Any], str]]:
    """A running Guitarix with the bank of all our pedals, in an unusual order."""
    chain = Chain(tuple(PEDALS[name].example(name) for name in ORDER))
    (file,) = [f for f in board_files(chain, "all", ()) if f.format == "guitarix"]
    banks = tmp_path / ".config/guitarix/banks"
    banks.mkdir(parents=True)
    (banks / "board.gx").write_bytes(file.data)
    (banks / "banklist.js").write_text(json.dumps([["board", "board.gx", 0, 0, [1, 2], 0]]))
    server, port = f"board{os.getpid()}", free_port()
    env = os.environ | {
        "HOME": str(tmp_path), "JACK_DEFAULT_SERVER": server, "JACK_NO_AUDIO_RESERVATION": "1",
    }  # fmt: skip
    quiet: dict[str, Any] = {
        "env": env, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL,
        "start_new_session": True,
    }  # fmt: skip
    jack = ["jackd", "-n", server, "-r", "-d", "dummy", "-r", "44100", "-p", "1024"]
    gx = ["xvfb-run", "-a", "guitarix", "-N", "-p", str(port), "-s", server]
    children = [subprocess.Popen(jack, **quiet)]
    try:
        time.sleep(1)  # Guitarix gives up where JACK is not there yet
        children.append(subprocess.Popen(gx, **quiet))
        rpc, until = None, time.monotonic() + PATIENCE_S
        while rpc is None and time.monotonic() < until:
            try:
                rpc = Rpc(port)
            except OSError:
                time.sleep(0.1)
        assert rpc is not None, "Guitarix did not start"
        _, _, name, preset = json.loads(file.data)
        rpc.tell("setpreset", "board", name)
        yield rpc, preset["engine"], name
        rpc.lines.close()
        rpc.socket.close()
    finally:
        for child in reversed(children):
            os.killpg(child.pid, signal.SIGTERM)
            child.wait(PATIENCE_S)


def test_guitarix_loads_the_bank_in_the_order_asked_for(rack) -> None:
    rpc, engine, _ = rack
    wanted = [UNITS[name](Dial(PEDALS[name].example(name), ""))[0] for name in ORDER]
    until = time.monotonic() + PATIENCE_S
    order: list[str] = []
    while order[: len(wanted)] != wanted and time.monotonic() < until:
        order = rpc.call("get_rack_unit_order", 0)
    assert order == [*wanted, "ampstack"]
    knobs = {key: value for key, value in engine.items() if not key.startswith("ui.")}
    found = rpc.call("get", *knobs)
    for key, value in knobs.items():
        if key == "flanger_mono_gx.freq":
            continue  # 0.44.1 keeps 0.2 Hz whatever it is told; the file's notes say so
        wanted_value = value if isinstance(value, str) else pytest.approx(value, rel=1e-4)
        assert found[key] == wanted_value, key
