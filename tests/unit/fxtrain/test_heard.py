"""Clips heard here, or in a process of their own while torch is loaded."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import psutil
import pytest
import soundfile

from fixtures.audio import RATE_HZ, riff
from fxpipe.frontend import open_frontend
from fxtrain.card import read_card
from fxtrain.checkpoint import load_run
from fxtrain.contract import Features, FxError, Hearing
from fxtrain.errors import UnreadableFileError
from fxtrain.finding import SHIPPED
from fxtrain.heard import _Here, hear, hear_file, named, unreadable
from fxtrain.predict import predict_heard, prediction_dict

forked = pytest.mark.skipif(
    sys.platform != "linux",
    reason="clips are heard in a spawned process here, which the tests' stand-ins do not reach",
)

ASIDE = """
import os, sys
from fxtrain import heard
from fxtrain.contract import FxError
{before}
clips = sys.argv[1:]
with heard.hear(None, clips) as found:
    assert type(found) is heard._Aside, "no process of its own"
    assert "torch" not in sys.modules
    for clip in clips:
        try:
            print(found.take())
        except FxError as error:
            print(type(error).__name__, error)
print("ended", found._process.exitcode is not None)
"""
FAKE = """
heard.n_cores = lambda: 2
class Ears:
    def __init__(self, hearing): pass
    def read(self, path):
        if "bad" in path: raise FxError("cannot be decoded")
        if "end" in path: os._exit(9)
        if "odd" in path: raise ValueError("nobody thought of this")
        os.kill(os.getpid(), 2)  # Ctrl-C reaches it, too; whoever began it ends it
        return path, os.getpid()
    def encode(self, path, process):
        assert process != os.getppid()
        return heard.Features(path, None, (0.0,))
heard.contract.open_frontend = Ears
"""


def aside(tmp_path: Path, before: str, *names: str, told: str = "") -> list[str]:
    for name in names:
        (tmp_path / name).write_bytes(b"")
    done = subprocess.run(
        [sys.executable, "-c", ASIDE.format(before=before), *names],
        capture_output=True, text=True, cwd=tmp_path, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stderr.endswith(told) if told else not done.stderr
    return done.stdout.splitlines()


@forked
def test_a_process_of_its_own_hears_every_clip_and_names_those_it_cannot(tmp_path: Path) -> None:
    one, bad, two, ended = aside(tmp_path, FAKE, "one", "bad", "two")
    assert one.startswith("Features(codes='one'")
    assert bad == "UnreadableFileError bad: cannot be decoded"
    assert two.startswith("Features(codes='two'")
    assert ended == "ended True"


KILLED = "FxError the process that hears the clips was ended from outside"


@forked
def test_a_process_that_is_killed_is_said_in_one_line(tmp_path: Path) -> None:
    one, killed, ended = aside(tmp_path, FAKE, "one", "end")
    assert one.startswith("Features(codes='one'")
    assert killed.startswith(KILLED)
    assert ended == "ended True"


@forked
def test_a_fault_in_the_process_is_printed_by_it_and_said_in_a_line(tmp_path: Path) -> None:
    found, _ = aside(tmp_path, FAKE, "odd", told="ValueError: nobody thought of this\n")
    assert found == "FxError the process that hears the clips failed, as told above"


AMID = """
import threading
heard.n_cores = lambda: 2
class Ears:
    def __init__(self, hearing): pass
    def read(self, path): return path, 0
    def encode(self, path, rate):
        threading.Timer(0.2, os._exit, [9]).start()
        return heard.Features(bytes(2**20), None, ())  # more than a pipe holds
heard.contract.open_frontend = Ears
class Late(heard._Aside):
    def take(self):
        self._process.join()
        return super().take()
heard._Aside = Late
"""


@forked
def test_a_process_that_is_killed_while_it_hands_a_clip_over_is_said_so_too(tmp_path: Path) -> None:
    assert aside(tmp_path, AMID, "one")[0].startswith(KILLED)


@forked
def test_what_keeps_it_from_hearing_at_all_is_said(tmp_path: Path) -> None:
    before = """
heard.n_cores = lambda: 2
def missing(hearing): raise heard.contract.MissingExtraError("not installed")
heard.contract.open_frontend = missing
"""
    assert aside(tmp_path, before, "one")[0] == "MissingExtraError not installed"


ORPHAN = """
import os, sys, time
from fxtrain import heard
heard.n_cores = lambda: 2
class Ears:
    def __init__(self, hearing): pass
    def read(self, path):
        while not os.path.exists("gone"): time.sleep(0.01)  # the test has seen the other one go
        if "bad" in path: raise heard.FxError("cannot be decoded")
        return path, 0
    def encode(self, path, rate): return heard.Features(bytes(2**20), None, ())
heard.contract.open_frontend = Ears
with heard.hear(None, sys.argv[1:] * 3) as found:
    print(found._process.pid, flush=True)
    os._exit(0)
"""


@forked
@pytest.mark.parametrize("clip", ["clip", "bad"])
def test_a_process_whose_listener_is_gone_ends_too(tmp_path: Path, clip: str) -> None:
    (tmp_path / clip).write_bytes(b"")
    command, pipe = [sys.executable, "-c", ORPHAN, clip], subprocess.PIPE
    with subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True, cwd=tmp_path) as process:
        assert process.stdout
        assert process.stderr
        orphan = psutil.Process(int(process.stdout.readline()))
        assert process.wait(30) == 0
        (tmp_path / "gone").touch()
        assert process.stderr.read() == ""
    orphan.wait(30)


def test_one_core_and_a_loaded_torch_hear_here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fxtrain.contract.open_frontend", lambda hearing: None)
    hearing = read_card(SHIPPED).hearing
    with hear(hearing, []) as found:
        assert isinstance(found, _Here)
    monkeypatch.delitem(sys.modules, "torch")
    monkeypatch.setattr("fxtrain.heard.n_cores", lambda: 1)
    with hear(hearing, []) as found:
        assert isinstance(found, _Here)


def test_clips_heard_here_come_in_order_with_what_is_wrong(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Ears:
        def __init__(self, hearing: Hearing) -> None:
            pass

        def read(self, path: str) -> tuple[np.ndarray, int]:
            return np.zeros(len(Path(path).read_bytes()), np.float32), 44_100

        def encode(self, wave: np.ndarray, sample_rate_hz: int) -> Features:
            return Features(wave, None, ())

    monkeypatch.setattr("fxtrain.contract.open_frontend", Ears)
    (tmp_path / "two").write_bytes(b"ab")
    with hear(read_card(SHIPPED).hearing, [str(tmp_path / "gone"), str(tmp_path / "two")]) as found:
        with pytest.raises(UnreadableFileError, match="gone: no such file"):
            found.take()
        assert len(found.take().codes) == 2


def test_what_is_no_file_is_told_so(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for name in ("-", str(tmp_path / "pipe")):
        with (
            hear(read_card(SHIPPED).ears, [name]) as found,
            pytest.raises(UnreadableFileError, match=f"^{name}: a clip is read from a file, not f"),
        ):
            found.take()


def test_an_empty_name_is_no_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    soundfile.write("take.wav", np.zeros(9), RATE_HZ)
    assert named([""]) == ("",)
    with pytest.raises(UnreadableFileError, match="': an empty name, as of a variable"):
        hear_file(open_frontend(), "")


def test_a_name_that_the_system_refuses_is_told_as_that_of_one_clip(tmp_path: Path) -> None:
    name = str(tmp_path / ("a" * 300))
    assert named([name]) == (name,)
    with pytest.raises(UnreadableFileError, match=r"a: cannot be read \(File name too long\)$"):
        hear_file(open_frontend(), name)


def test_a_folder_that_may_not_be_looked_into_is_not_called_empty(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(folder: Path) -> None:
        raise PermissionError(1, "Operation not permitted", str(folder))

    monkeypatch.setattr(Path, "iterdir", refused)
    (name,) = named([str(tmp_path)])
    with pytest.raises(UnreadableFileError, match=r": cannot be looked into \(Operation not per"):
        hear_file(open_frontend(), name)


@pytest.mark.parametrize("name", ["is", "a\udce9.wav", "a\nb.wav"])
def test_an_error_names_its_file_once_whatever_its_name(name: str) -> None:
    expected = str(FxError(f"{name}: this is damaged"))
    for said in ("this is damaged", f"{name}: this is damaged"):
        assert str(unreadable(name, FxError(said))) == expected


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("heard") / "lick.wav"
    soundfile.write(path, riff(3 * RATE_HZ), RATE_HZ, subtype="FLOAT")
    return path


def test_a_cold_predict_says_what_a_warm_one_does(clip: Path) -> None:
    """And names what it cannot read, with exit code 1, whichever process found it."""
    words = ["predict", str(clip), "gone.wav", "--json"]
    done = subprocess.run(
        [sys.executable, "-m", "fxtrain.cli", *words], capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert done.stderr == "fxtrain: error: gone.wav: no such file\n"
    run = load_run(SHIPPED)
    wave, rate = soundfile.read(clip, dtype="float32")
    features = open_frontend(run.card.ears).encode(wave, rate)
    warm = prediction_dict(predict_heard(run, features, clip), str(clip), run, 3)
    cold, gone = map(json.loads, done.stdout.splitlines())
    assert gone == {"file": "gone.wav", "error": "gone.wav: no such file"}
    assert cold.pop("presence") == pytest.approx(warm.pop("presence"), abs=2e-4)
    assert (cold["chain"], cold["guess"]) == (warm["chain"], warm["guess"])
    assert cold["probability"] == pytest.approx(warm["probability"], abs=2e-4)
