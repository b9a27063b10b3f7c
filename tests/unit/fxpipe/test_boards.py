"""Chains as files of other programs: they run, they parse, and what they cannot say is said."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

from fixtures.audio import RATE_HZ, riff
from fixtures.vst3 import fake_plugins, write_table
from fxpipe.boards import FORMATS, board_files, guitarix, mod, sox
from fxpipe.boards.dial import Dial
from fxpipe.chains.chain import ChainSpec, draw_settings
from fxpipe.config import load_pedals
from fxpipe.distance import mel_distance_db
from fxpipe.pedals import PEDALS
from fxpipe.render import run_chain
from fxtrain.contract import BoardFile, Chain, Pedal, from_unit

UNITS = json.loads((Path(__file__).parents[2] / "fixtures/guitarix_units.json").read_bytes())
"""Ranges and words of the units we use, as Guitarix 0.44.1 itself lists them."""

OURS = tuple(PEDALS)
ALL = Chain(tuple(PEDALS[name].example(name) for name in OURS))
REMARKS = ("typical settings", "bypassed and left out: none")


def drawn(names: tuple[str, ...], seed: int) -> Chain:
    rng = np.random.default_rng(seed)
    return draw_settings(ChainSpec(names, {len(names): 1.0}), names, rng)


def file_of(chain: Chain, name: str) -> BoardFile:
    (found,) = [file for file in board_files(chain, "a lick", REMARKS) if file.name == name]
    return found


def put(file: BoardFile, folder: Path) -> Path:
    path = folder / file.name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(file.data)
    return path


def at_ends(u: float) -> Chain:
    """Every pedal with all knobs at one place of their travel."""
    return Chain(
        tuple(Pedal(name, {p.name: from_unit(p, u) for p in PEDALS[name].params}) for name in OURS)
    )


@pytest.mark.parametrize("n_channels", [1, 2])
def test_the_script_renders_our_very_samples(n_channels: int, tmp_path: Path) -> None:
    """Alone, in a fresh process that cannot see fxpipe."""
    chain = drawn(OURS, 5) if n_channels == 1 else drawn(("fuzz", "phaser", "reverb"), 6)
    dry = np.stack([riff(RATE_HZ), riff(RATE_HZ, peak=0.2)][:n_channels], axis=1)
    soundfile.write(tmp_path / "dry.wav", dry, RATE_HZ, subtype="FLOAT")
    script = put(file_of(chain, "board.py"), tmp_path)
    block = "import sys; sys.modules['fxpipe'] = sys.modules['fxtrain'] = None; "
    run = f"sys.argv = {[str(script), 'dry.wav', 'wet.wav']}; import runpy; "
    code = f"{block}{run}runpy.run_path({str(script)!r}, run_name='__main__')"
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True, timeout=120)
    wet, sample_rate_hz = soundfile.read(tmp_path / "wet.wav", dtype="float32")
    mono = dry[:, 0] if n_channels == 1 else dry.mean(axis=1, dtype=np.float32)
    assert sample_rate_hz == RATE_HZ
    np.testing.assert_array_equal(wet, run_chain(mono, chain, RATE_HZ)[0])


def test_the_script_holds_what_it_needs_and_no_more() -> None:
    text = file_of(Chain((PEDALS["delay"].example("delay"),)), "board.py").data.decode()
    assert "def delay(" in text
    assert "def board(" in text
    assert "def saturate(" not in text
    assert "soxr" not in text
    assert all(f"# {remark}" in text for remark in REMARKS)


def test_the_script_says_in_one_line_what_it_cannot_read(tmp_path: Path) -> None:
    script = put(file_of(Chain(()), "board.py"), tmp_path)
    (tmp_path / "notes.wav").write_bytes(b"no sound")
    for name in ("gone.wav", "notes.wav"):
        done = subprocess.run(
            [sys.executable, script, name, "wet.wav"],
            cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False,
        )  # fmt: skip
        assert done.returncode == 1
        (line,) = done.stderr.splitlines()
        assert line.startswith(f"{name} to wet.wav: ")


def test_titles_cannot_leave_their_comments() -> None:
    chain = Chain((PEDALS["delay"].example("delay"),))
    for file in board_files(chain, 'x\nimport os; "\\ <&>', ("a\nb",)):
        text = file.data.decode()
        if file.format == "guitarix":
            assert json.loads(text)[2] == 'x import os; "\\ <&> (a b)'
        elif file.name.endswith("board.ttl"):
            assert 'doap:name "x import os; \\"\\\\ <&>"' in text
        else:
            assert not [line for line in text.splitlines() if line.startswith(("import os", "b"))]


@pytest.mark.parametrize("name", OURS)
def test_every_pedal_and_knob_is_said_or_missed(name: str) -> None:
    """Nothing is dropped in silence: a knob is read, or a note names it."""
    pedal = PEDALS[name].example(name)
    for program, mappings in (
        ("Guitarix", guitarix.UNITS), ("guitarix-lv2", mod.PLUGINS), ("SoX", sox.EFFECTS),
    ):  # fmt: skip
        if name not in mappings:
            notes = [n for f in board_files(Chain((pedal,)), "t", ()) for n in f.notes]
            assert f"{name}: left out, {program} has no such pedal" in notes
            continue
        dial = Dial(pedal, program)
        mappings[name](dial)
        said = " ".join(dial.notes)
        for knob in pedal.settings:
            assert knob in dial._read or re.search(rf"\b{knob}\b", said)


def test_a_plugin_is_left_out_by_name(tmp_path: Path) -> None:
    with fake_plugins():
        load_pedals(write_table(tmp_path))
        files = board_files(Chain((PEDALS["ring"].example("ring"),)), "t", ())
    for file in files:
        assert any(note.startswith("ring: left out") for note in file.notes), file.format
    assert {file.format for file in files} == set(FORMATS)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_guitarix_takes_every_number(seed: int) -> None:
    check_bank(drawn(OURS, seed))


@pytest.mark.parametrize("u", [0.0, 0.5, 1.0])
def test_guitarix_takes_the_ends_of_every_knob(u: float) -> None:
    check_bank(at_ends(u))


def check_bank(chain: Chain) -> None:
    kind, version, name, preset = json.loads(file_of(chain, "board.gx").data)
    assert (kind, version) == ("gx_head_file_version", [1, 2, "0.44.1"])
    assert name == "a lick (typical settings)"
    for key, value in preset["engine"].items():
        if key.startswith("ui."):
            continue
        allowed = UNITS[key]
        if isinstance(value, str):
            assert value in allowed, key
        else:
            assert allowed[0] <= value <= allowed[1], key


def test_guitarix_keeps_the_order_and_has_one_of_each() -> None:
    names = ("reverb", "distortion", "delay", "distortion")
    chain = Chain(tuple(PEDALS[name].example(name) for name in names))
    file = file_of(chain, "board.gx")
    engine = json.loads(file.data)[3]["engine"]
    places = {key.split(".")[0]: n for key, n in engine.items() if key.endswith(".position")}
    assert sorted(places, key=places.__getitem__) == ["freeverb", "bossds1", "dide"]
    assert "distortion: the second one is left out, Guitarix has one of each" in file.notes


def test_mod_bundle_is_one_cable_from_guitar_to_ears() -> None:
    names = ("chorus", "distortion", "distortion", "reverb")
    text = file_of(Chain(tuple(PEDALS[n].example(n) for n in names)), f"{mod.BUNDLE}/board.ttl")
    cables = re.findall(r"ingen:tail <(.*?)> ; ingen:head <(.*?)>", text.data.decode())
    assert cables == [
        ("capture_1", "chorus_1/in"), ("capture_1", "chorus_1/in1"),
        ("chorus_1/out", "distortion_2/in"), ("distortion_2/out", "distortion_3/in"),
        ("distortion_3/out", "reverb_4/in"), ("distortion_3/out", "reverb_4/in1"),
        ("reverb_4/out", "playback_1"), ("reverb_4/out1", "playback_2"),
    ]  # fmt: skip
    assert b"xperimental" in text.data


def test_mod_equaliser_follows_ours() -> None:
    flat = Pedal("eq", {"bass_db": 0.0, "mid_db": 0.0, "mid_hz": 800.0, "treble_db": 0.0})
    raised = Pedal("eq", flat.settings | {"bass_db": 12.0})
    np.testing.assert_allclose(mod._response_db(flat), 0.0, atol=1e-3)
    gains = mod._response_db(raised)
    assert gains[0] > 10
    assert abs(gains[-1]) < 0.1


@pytest.mark.parametrize("chain", [ALL, at_ends(0.0), at_ends(1.0), Chain(())])
def test_mod_bundle_parses_in_lilv(chain: Chain, tmp_path: Path) -> None:
    if not shutil.which("lv2info"):
        pytest.skip("no lv2info: install lilv-utils")
    for name in ("manifest.ttl", "board.ttl"):
        path = put(file_of(chain, f"{mod.BUNDLE}/{name}"), tmp_path)
    done = subprocess.run(
        ["lv2info", path.as_uri()],
        env={"LV2_PATH": str(tmp_path), "PATH": "/usr/bin:/bin"},
        capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip
    ports = re.findall(r"Symbol:\s+(\S+)", done.stdout)
    assert ports == ["capture_1", "playback_1", "playback_2"]
    assert re.search(r"Name:\s+a lick", done.stdout)
    assert "error" not in done.stderr


@pytest.mark.parametrize("name", sorted(mod.PLUGINS))
def test_guitarix_lv2_has_every_port_and_takes_every_number(name: str) -> None:
    if not shutil.which("lv2info"):
        pytest.skip("no lv2info: install lilv-utils")
    uri = mod.HOME + mod.PLUGINS[name](Dial(PEDALS[name].example(name), "")).uri
    done = subprocess.run(["lv2info", uri], capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip("no guitarix-lv2 here (a Debian package)")
    ports = {}
    for block in done.stdout.split("\tPort ")[1:]:
        fact = {
            key: re.search(rf"{key}:\s+(\S+)", block) for key in ("Symbol", "Minimum", "Maximum")
        }
        assert fact["Symbol"]
        ports[fact["Symbol"][1]] = tuple(
            float(found[1]) if found else None for found in (fact["Minimum"], fact["Maximum"])
        )
    for u in (0.0, 0.5, 1.0):
        pedal = Pedal(name, {p.name: from_unit(p, u) for p in PEDALS[name].params})
        plugin = mod.PLUGINS[name](Dial(pedal, ""))
        assert set(plugin.ins) | set(plugin.outs) <= set(ports)
        for port, value in plugin.knobs.items():
            low, high = ports[port]
            assert low is not None
            assert high is not None
            assert low - 1e-6 <= value <= high + 1e-6, port


@pytest.mark.parametrize("chain", [ALL, at_ends(0.0), at_ends(1.0), drawn(OURS, 8), Chain(())])
def test_the_sox_line_runs(chain: Chain, tmp_path: Path) -> None:
    if not shutil.which("sox"):
        pytest.skip("no sox: install it to hear its board")
    dry = riff(RATE_HZ)
    soundfile.write(tmp_path / "dry.wav", dry, RATE_HZ, subtype="PCM_16")
    script = put(file_of(chain, "board.sox.sh"), tmp_path)
    done = subprocess.run(
        ["sh", script, "dry.wav", "wet.wav"],
        cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    wet, _ = soundfile.read(tmp_path / "wet.wav", dtype="float32")
    assert wet.ndim == 1
    assert len(wet) >= len(dry)
    assert np.isfinite(wet).all()
    assert np.abs(wet).max() > 0.001
    again = subprocess.run(["sh", script], capture_output=True, text=True, timeout=9, check=False)
    assert (again.returncode, again.stderr.strip()) == (2, "usage: sh board.sox.sh dry.wav wet.wav")


def settings_of(name: str, u: float) -> dict[str, float]:
    return {param.name: from_unit(param, u) for param in PEDALS[name].params}


def exported(name: str, u: float) -> tuple[dict[str, float | str], dict[str, float]]:
    """Knobs of one pedal, ``u`` up each: in Guitarix, and in its LV2 plugins."""
    pedal = Pedal(name, settings_of(name, u))
    plugin = mod.PLUGINS[name](Dial(pedal, "")).knobs if name in mod.PLUGINS else {}
    return guitarix.UNITS[name](Dial(pedal, ""))[1], plugin


@pytest.mark.parametrize("u", [0.2, 0.8])
def test_a_release_is_as_long_elsewhere(u: float) -> None:
    """JUCE's milliseconds are 2 pi time constants: what others call a release is shorter."""
    knobs = settings_of("compressor", u)
    loud, soft, n = 0.5, 0.1, RATE_HZ
    dry = np.repeat(np.float32([loud, soft]), n)
    gain = run_chain(dry, Chain((Pedal("compressor", knobs),)), RATE_HZ)[0] / dry
    over = (gain / 10 ** (knobs["level_db"] / 20)) ** (1 / (1 / knobs["ratio"] - 1))
    heard = over[n:] * 10 ** (knobs["threshold_db"] / 20)  # what the detector hears
    fallen = np.argmax(heard <= soft + (loud - soft) / np.e) / RATE_HZ
    in_guitarix, in_lv2 = exported("compressor", u)
    ((_, times, *_, start_db),) = sox.EFFECTS["compressor"](Dial(Pedal("compressor", knobs), ""))
    in_sox = float(str(times).split(",")[1])
    assert start_db == sox.QUIET_DB  # by itself SoX squeezes what comes first
    np.testing.assert_allclose(
        [in_guitarix["release"], in_lv2["RELEASE"], in_sox], fallen, rtol=0.01
    )


@pytest.mark.parametrize("u", [0.0, 0.5, 1.0])
def test_guitarix_repeats_as_often_as_we_do(u: float) -> None:
    """Its level lies within the loop: an echo is gain x level x (feedback x level)^n."""
    knobs = settings_of("delay", u)
    step = round(knobs["delay_ms"] * RATE_HZ / 1000)
    click = np.zeros(4 * step + 9, np.float32)
    click[0] = 1.0
    out = run_chain(click, Chain((Pedal("delay", knobs),)), RATE_HZ)[0]
    ours = [np.abs(out[n * step - 9 : n * step + 9]).max() / out[0] for n in (1, 2, 3, 4)]
    engine, plugin = exported("delay", u)
    for knob in (engine, {key.lower(): value for key, value in plugin.items()}):
        gain, level, feedback = (float(knob[k]) / 100 for k in ("gain", "level", "feedback"))
        theirs = [gain * level * (feedback * level) ** n for n in range(4)]
        np.testing.assert_allclose(theirs, ours, rtol=1e-4)


def test_a_bit_is_a_bit_elsewhere() -> None:
    """Ours do not count the sign: five of them are steps of 1/32, six bits of a converter."""
    ramp = np.linspace(-1, 1, 9999, dtype=np.float32)
    five = Pedal("bitcrusher", {"bits": 5.0})
    step = np.diff(np.unique(run_chain(ramp, Chain((five,)), RATE_HZ)[0])).min()
    ((*_, in_sox),) = sox.EFFECTS["bitcrusher"](Dial(five, ""))
    in_guitarix = guitarix.UNITS["bitcrusher"](Dial(five, ""))[1]["bit_down"]
    assert 2 ** (1 - float(in_sox)) == 2 ** (1 - float(in_guitarix)) == pytest.approx(step)


@pytest.mark.parametrize("u", [0.0, 0.5, 1.0])
def test_a_second_voice_is_as_late_and_as_loud(u: float) -> None:
    """Guitarix: guitar + level x itself, later by delay / 2 x (1 + depth x LFO)."""
    knobs = settings_of("chorus", u)
    engine, plugin = exported("chorus", u)
    middle_ms = 1000 * plugin["delay"] / 2
    assert middle_ms == pytest.approx(knobs["delay_ms"])
    assert middle_ms * plugin["depth"] == pytest.approx(10 * knobs["depth"])
    louder = min(1.0, knobs["mix"] / (1 - knobs["mix"]))
    assert plugin["level"] == engine["level"] == pytest.approx(louder)


@pytest.mark.parametrize(("name", "near_db"), [("compressor", 0.05), ("gate", 2.0), ("wah", 0.05)])
def test_sox_sounds_as_we_do(name: str, near_db: float, tmp_path: Path) -> None:
    if not shutil.which("sox"):
        pytest.skip("no sox: install it to hear its board")
    dry = riff(2 * RATE_HZ, peak=0.4)
    soundfile.write(tmp_path / "dry.wav", dry, RATE_HZ, subtype="PCM_24")
    chain = Chain((PEDALS[name].example(name),))
    script = put(file_of(chain, "board.sox.sh"), tmp_path)
    subprocess.run(["sh", script, "dry.wav", "wet.wav"], cwd=tmp_path, check=True, timeout=60)
    wet, _ = soundfile.read(tmp_path / "wet.wav", dtype="float32")
    ours = run_chain(dry, chain, RATE_HZ)[0]
    assert mel_distance_db(ours, wet[: len(ours)], RATE_HZ) < near_db
