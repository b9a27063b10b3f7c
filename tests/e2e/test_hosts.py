"""Three hosts, each a network namespace with a worker of its own. One loses its network in the
middle of a render, one dies: the rest finishes, with the bytes of an undisturbed run."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from fixtures.cli import run
from fixtures.hosts import TIMEOUTS, digests, hosts, kill, wait_for

RENDER = ["render", "--n-chains", "60", "--shard-size", "2", "--clip-s", "0.5"]
RENDER += ["--pool", "okita3", "--lengths", "1-2"]
N_SHARDS = 30


def ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True, text=True, timeout=20)


class Network:
    """A bridge in this namespace, and one namespace a host with a cable to it."""

    def __init__(self) -> None:
        self.tag = f"fx{os.getpid() % 100_000}"
        self.net = f"10.{77 + os.getpid() % 100}.{os.getpid() // 100 % 250}"
        self.made: list[tuple[str, ...]] = []

    def lay(self, n_hosts: int) -> None:
        self._make("link", "add", f"{self.tag}br", "type", "bridge")
        ip("address", "add", f"{self.net}.1/24", "dev", f"{self.tag}br")
        ip("link", "set", f"{self.tag}br", "up")
        for host in range(n_hosts):
            name, cable = self.host(host), self.cable(host)
            self._make("netns", "add", name)
            ip("link", "add", cable, "type", "veth", "peer", "name", "eth0", "netns", name)
            ip("link", "set", cable, "master", f"{self.tag}br", "up")
            inside = ["netns", "exec", name, "ip"]
            ip(*inside, "address", "add", f"{self.address(host)}/24", "dev", "eth0")
            ip(*inside, "link", "set", "eth0", "up")
            ip(*inside, "link", "set", "lo", "up")

    def host(self, number: int) -> str:
        return f"{self.tag}h{number}"

    def cable(self, number: int) -> str:
        return f"{self.tag}c{number}"

    def address(self, number: int) -> str:
        return f"{self.net}.{number + 11}"

    def cut(self, number: int) -> None:
        ip("link", "set", self.cable(number), "down")

    def _make(self, kind: str, verb: str, name: str, *more: str) -> None:
        ip(kind, verb, name, *more)
        self.made.append((kind, "delete", name))

    def clear(self) -> None:
        for words in reversed(self.made):
            subprocess.run(["ip", *words], check=False, capture_output=True, timeout=20)


@pytest.fixture
def network() -> Iterator[Network]:
    if os.geteuid() != 0 or shutil.which("ip") is None:
        pytest.skip("network namespaces need root and the program ip (iproute2)")
    found = Network()
    try:
        found.lay(3)
    except subprocess.CalledProcessError as error:
        found.clear()
        pytest.skip(f"network namespaces are not permitted here: {error.stderr.strip()}")
    yield found
    found.clear()


def test_a_host_cut_off_and_a_host_killed_cost_nothing(tmp_path, network):
    alone, together = tmp_path / "alone", tmp_path / "together"
    alone.mkdir(), together.mkdir()
    assert run("fxpipe", *RENDER, "-j", "2", cwd=alone).code == 0
    with hosts(tmp_path / "hosts", TIMEOUTS) as found:
        found.scheduler(f"{network.net}.1")
        workers = [
            found.worker(
                *("--host", network.address(k), "--name", f"host{k}"),
                before=["ip", "netns", "exec", network.host(k)],
            )
            for k in range(3)
        ]
        found.wait_for_workers(3)
        program = Path(sys.executable).with_name("fxpipe")
        driver = subprocess.Popen(
            [program, *RENDER, "--scheduler", found.address],
            cwd=together,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, **TIMEOUTS},
        )
        receipts = together / "renders/.receipts"

        def finished() -> int:
            return len(list(receipts.glob("t*.json"))) if receipts.is_dir() else 0

        wait_for("second shard", lambda: finished() >= 2)
        network.cut(0)
        wait_for("next shard", lambda: finished() >= 5)
        kill(workers[1])
        assert finished() < N_SHARDS, "it must still be at work when the second host goes"
        _, err = driver.communicate(timeout=120)
    assert driver.returncode == 0, err
    assert "Traceback" not in err
    assert len(list((together / "renders").glob("*.npy"))) == N_SHARDS
    assert digests(together / "renders") == digests(alone / "renders")
