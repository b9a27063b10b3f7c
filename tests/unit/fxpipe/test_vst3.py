"""VST3 pedals: a TOML file, a child process, errors of one line; real plugins where there are."""

from __future__ import annotations

import io
import re
import time
import tomllib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from fixtures.audio import RATE_HZ, riff
from fixtures.cli import run
from fixtures.vst3 import (
    REAL_VARIABLE,
    TABLE,
    FakePlugin,
    clean_registry,
    fake_plugins,
    load_fake,
    real_plugin,
    write_fake,
    write_table,
)
from fxpipe.codec import load_codec
from fxpipe.config import load_pedals, render_spec
from fxpipe.errors import PedalError
from fxpipe.frontend import PEDALS_VARIABLE, open_frontend
from fxpipe.level import LEVEL_RULE
from fxpipe.pedals import PEDALS, PLUGINS, build_pedal, pool_of, vst3, vst3_toml
from fxpipe.pedals.listing import list_pedals
from fxpipe.pedals.vst3_host import Value, describe, direction, play, raw_of, receive, send, serve
from fxpipe.pedals.vst3_toml import read_pedals
from fxtrain.contract import FxError, Hearing, Pedal, UsageError, from_dict, to_dict

DRY = riff(RATE_HZ)


@pytest.fixture
def fakes():
    with fake_plugins():
        yield


class Inside:
    """A plugin without its process."""

    def __init__(self, label: str, path: Path, plugin_name: str) -> None:
        self._plugin = load_fake(str(path))
        self.facts = describe(self._plugin)

    def play(self, values: dict[str, Value], audio: np.ndarray, rate_hz: int) -> np.ndarray:
        for name, value in values.items():
            self._plugin.parameters[name].raw_value = raw_of(self.facts["params"][name], value)
        return play(self._plugin, audio, rate_hz)

    def close(self) -> None:
        pass


@pytest.fixture
def inside(monkeypatch):
    monkeypatch.setattr(vst3_toml, "open_plugin", Inside)
    with clean_registry():
        yield


def ring(carrier_hz: float = 200.0, depth: float = 0.7) -> np.ndarray:
    pedal = Pedal("ring", {"carrier_hz": carrier_hz, "depth": depth})
    return build_pedal(pedal, RATE_HZ)(DRY)


def by_hand(carrier_hz: float, mix: float) -> np.ndarray:
    carrier = np.sin(2 * np.pi * np.arange(len(DRY)) * carrier_hz / RATE_HZ)
    return DRY * (1 - mix + mix * carrier)


# The host, without a process.


def test_what_is_sent_is_received():
    pipe = io.BytesIO()
    send(pipe, {"a": 1}, np.arange(5, dtype=np.float32))
    send(pipe, {"b": "é"})
    pipe.seek(0)
    first, second = receive(pipe), receive(pipe)
    assert first is not None
    assert second is not None
    assert first[0] == {"a": 1}
    np.testing.assert_array_equal(first[1], np.arange(5))
    assert (second[0], len(second[1])) == ({"b": "é"}, 0)
    assert receive(pipe) is None


@pytest.mark.parametrize("cut", [3, 12, 20])
def test_a_message_cut_short_is_no_message(cut):
    pipe = io.BytesIO()
    send(pipe, {"a": 1}, np.ones(5, np.float32))
    assert receive(io.BytesIO(pipe.getvalue()[:cut])) is None


def test_numbers_are_set_finer_than_pedalboard_reads_them():
    plugin = FakePlugin("well")
    facts = describe(plugin)["params"]
    for name, value in (("carrier_hz", 123.456), ("carrier_hz", 20.0), ("mix", 12.345)):
        plugin.parameters[name].raw_value = raw_of(facts[name], value)
        assert plugin.value(name) == pytest.approx(value, rel=2e-5)
    assert [direction(facts[name]) for name in ("carrier_hz", "mix", "odd")] == [1, -1, 0]


@pytest.mark.parametrize(
    ("name", "value"), [("shape", "square"), ("shape", "sine"), ("bypass", True), ("bypass", False)]
)
def test_switches_are_set(name, value):
    plugin = FakePlugin("well")
    plugin.parameters[name].raw_value = raw_of(describe(plugin)["params"][name], value)
    assert plugin.value(name) == value


def test_a_number_that_rises_and_falls_takes_the_nearest_place():
    assert raw_of(describe(FakePlugin("well"))["params"]["odd"], 0.0) == 0.5


def test_a_stereo_plugin_gets_both_ears():
    plugin = FakePlugin("stereo")
    np.testing.assert_array_equal(play(plugin, DRY, RATE_HZ), DRY)


@pytest.mark.parametrize(
    ("behaviour", "message"),
    [("short", "gave 44000 samples for 44100"), ("latency", "changed its latency from 0 to 64")],
)
def test_what_would_shift_the_clip_is_refused(behaviour, message):
    with pytest.raises(ValueError, match=message):
        play(FakePlugin(behaviour), DRY, RATE_HZ)


def test_every_render_gets_a_fresh_plugin():
    requests, answers = io.BytesIO(), io.BytesIO()
    for values in ({"bypass": False}, {"bypass": False}, {"nonsense": 1}):
        send(requests, {"set": values, "sample_rate_hz": RATE_HZ}, DRY)
    requests.seek(0)
    facts, before = describe(FakePlugin("well")), FakePlugin.n_loaded
    serve(lambda: FakePlugin("well"), facts, requests, answers)
    assert FakePlugin.n_loaded == before + 3
    answers.seek(0)
    first, second, third = (receive(answers) for _ in range(3))
    assert first is not None
    assert second is not None
    assert third is not None
    np.testing.assert_array_equal(first[1], second[1])
    assert "nonsense" in third[0]["error"]


# Through the child process.


def test_a_plugin_sounds_as_its_settings_say(fakes, tmp_path):
    (pedal,) = load_pedals(write_table(tmp_path))
    assert (pedal.version, pedal.plugin, len(pedal.sha256)) == ("1.2", "well.vst3", 64)
    for carrier_hz, depth in ((80.0, 0.4), (440.0, 0.7), (1200.0, 1.0), (80.0, 0.4)):
        wet = ring(carrier_hz, depth)
        assert wet.dtype == np.float32
        np.testing.assert_allclose(wet, by_hand(carrier_hz, depth), atol=0.02)


def test_loaded_pedals_stand_in_their_family(inside, tmp_path):
    load_pedals(write_table(tmp_path))
    names = list(PEDALS)
    assert names.index("tremolo") + 1 == names.index("ring") == names.index("delay") - 1
    assert pool_of("stompbox,ring") == (*pool_of("stompbox")[:8], "ring", "delay", "reverb")


def test_a_spec_brings_its_plugins_to_any_process(fakes, tmp_path):
    """What a worker does: read the spec, find the same build by its file name, play."""
    spec = render_spec(None, {"pedals": write_table(tmp_path), "pool": "ring,delay"})
    written = to_dict(spec)
    assert str(tmp_path) not in str(written)
    here = ring()
    with clean_registry():
        del PEDALS["ring"], PLUGINS["ring"]
        assert from_dict(type(spec), written, "spec") == spec
        np.testing.assert_array_equal(ring(), here)


def test_plugins_join_the_default_pool_and_only_those_used_are_kept(inside, tmp_path):
    path = write_table(tmp_path)
    assert "ring" in render_spec(None, {"pedals": path}).chain.pool
    without = render_spec(None, {"pedals": path, "pool": "okita3"}).chain
    assert (without.pool, without.plugins) == (pool_of("okita3"), ())


def test_pedal_tables_may_stand_in_the_config_file(inside, tmp_path):
    path = write_table(tmp_path)
    path.write_text(path.read_text() + '\n[chain]\npool = ["ring", "eq"]\n')
    assert render_spec(path, {}).chain.pool == ("eq", "ring")


def test_the_trainers_frontend_knows_them_too(inside, tmp_path, monkeypatch):
    codec = load_codec("embedded", precision="fp32")
    hearing = Hearing(codec=codec.info, mel=None, level=LEVEL_RULE, n_audio_samples=88_200)
    monkeypatch.setenv(PEDALS_VARIABLE, str(write_table(tmp_path)))
    assert "ring" in [entry.name for entry in open_frontend(hearing).pedals()]


def test_pedals_are_listed_with_their_settings():
    text = list_pedals(None)
    assert "delay: echoes (time, lti)\n    delay_ms  80 to 600 ms, log:" in text
    assert "pool okita3: distortion, chorus, reverb" in text


def test_one_pedal_is_told_by_its_name():
    lines = list_pedals(Path("delay")).splitlines()
    assert [line.split()[0] for line in lines] == ["delay:", "delay_ms", "feedback", "mix"]
    with pytest.raises(UsageError, match="unknown pedal 'dely': did you mean 'delay'"):
        list_pedals(Path("dely"))
    with pytest.raises(PedalError, match=r"plugin none\.vst3 is not in .*; install it, or give"):
        list_pedals(Path("none.vst3"))


def test_one_name_means_one_plugin(inside, tmp_path):
    load_pedals(write_table(tmp_path))
    load_pedals(write_table(tmp_path))
    (tmp_path / "other").mkdir()
    with pytest.raises(UsageError, match="'ring' was another plugin"):
        load_pedals(write_table(tmp_path / "other", table=TABLE.replace("1200.0", "900.0")))


def test_another_build_is_refused(fakes, tmp_path):
    load_pedals(write_table(tmp_path))
    (tmp_path / "well.vst3").write_text("fake well ", encoding="utf-8")
    with pytest.raises(PedalError, match=r"well.vst3 1.2 \(sha256 .*\) is not in"):
        ring()


def test_a_bundle_is_hashed_with_its_names(tmp_path):
    for folder, file in (("a", "x.so"), ("b", "x.so"), ("c", "y.so")):
        (tmp_path / folder / "Contents").mkdir(parents=True)
        (tmp_path / folder / "Contents" / file).write_bytes(b"code")
    a, b, c = (vst3.sha256_of(tmp_path / name) for name in "abc")
    assert a == b != c


def test_a_crash_is_one_line_and_the_next_render_starts_anew(fakes, tmp_path):
    load_pedals(write_table(tmp_path))
    before = ring()
    process = vst3.running(PLUGINS["ring"])._process
    process.kill()
    process.wait()
    np.testing.assert_array_equal(ring(), before)
    write_fake(tmp_path, "crash")
    plugin = vst3.open_plugin("pedal 'x'", tmp_path / "crash.vst3", "")
    with pytest.raises(PedalError, match=r"pedal 'x': the plugin crashed \(exit 7\)"):
        plugin.play({}, DRY, RATE_HZ)


def test_threads_share_one_process(monkeypatch):
    started = []

    def start(pedal):
        time.sleep(0.05)
        started.append(pedal)
        return SimpleNamespace(alive=True)

    monkeypatch.setattr(vst3, "_start", start)
    monkeypatch.setattr(vst3, "_RUNNING", {})
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(vst3.running, ["ring"] * 4))
    assert len(set(map(id, found))) == len(started) == 1


def test_a_plugin_that_hangs_is_given_up(fakes, tmp_path, monkeypatch):
    write_fake(tmp_path, "hang")
    plugin = vst3.open_plugin("pedal 'x'", tmp_path / "hang.vst3", "")
    monkeypatch.setattr(vst3, "ANSWER_S", 0.3)
    with pytest.raises(PedalError, match=r"pedal 'x': the plugin did not answer within 0.3 s"):
        plugin.play({}, DRY, RATE_HZ)


# Whatever can be wrong with the file or the plugin is one line.

WRONG = {
    'family = "modulation"': ('family = "wobble"', "unknown family 'wobble'"),
    'linearity = "ltv"': ('linearity = "linear"', "unknown linearity 'linear': did you mean"),
    'unit = "Hz"': ('unit = "kHz"', "unknown unit 'kHz': known: dB"),
    'scale = "log"': ('scale = "exp"', "unknown scale 'exp'"),
    'plugin_param = "mix"': ('plugin_param = "mx"', "unknown plugin parameter 'mx': did you mean"),
    "plugin_high = 100.0": ("plugin_high = 110.0", "mix is 110.0, the plugin takes 0 to 100 %"),
    "low = 80.0": ("low = 8.0", "carrier_hz is 8.0, the plugin takes 20 to 20000 Hz"),
    "high = 1200.0": ("high = 12.0", "carrier_hz goes from 80 to 12"),
    "plugin_low = 40.0": ("plugin_low = 100.0", r"depth cannot turn mix over \(100.0, 100.0\)"),
    'shape = "sine"': ('shape = "saw"', r"shape is 'saw', expected one of \['sine', 'square'\]"),
    "bypass = false": ("bypass = [1]", r"bypass is \[1\], expected a number, text, true or false"),
    "[pedal.fixed]": ("[pedal.fixed]\nmix = 3", "plugin parameter 'mix' is set twice"),
    "depth]": ('shape]\nplugin_param = "shape"\n[pedal.params.depth]', "key 'unit'|expected float"),
    'name = "ring"': ('name = "Ring 2"', "pedal name 'Ring 2': expected small letters"),
    'meaning = "clanging, like a bell or a robot"': ("", "key 'meaning' is missing"),
    'plugin = "{plugin}"': ('plugin = "no.vst3"', "plugin no.vst3 is not in"),
    'name = "ring"\n': ('name = "ring"\ncolour = "red"\n', "unknown key 'colour'"),
    'meaning = "how much of it"': ('meaning = "how much of it"\nx = 1', "unknown key 'x'"),
    'name = "ring"\nplugin = "{plugin}"': ('name = "ring"', "key 'plugin' is missing"),
}


@pytest.mark.parametrize("here", WRONG)
def test_what_is_wrong_in_the_file_is_one_line(inside, tmp_path, here):
    there, message = WRONG[here]
    path = write_table(tmp_path, table=TABLE.replace(here, there))
    with pytest.raises(FxError, match=message) as caught:
        load_pedals(path)
    assert str(caught.value).startswith(str(path))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[chain]\npool = 'all'", r"unknown table \[chain\], expected \[\[pedal\]\] tables"),
        ("[pedal]\nname = 'x'", r"expected \[\[pedal\]\] tables"),
        ("[[pedal]]\nname = 'x'", r"expected a \[pedal.params.NAME\] table for each knob"),
        ("[[pedal]]\nname = 'x'\nparams.mix = 3", "mix is 3, expected a table"),
        ("[[pedal]", "not TOML"),
    ],
)
def test_what_is_no_pedal_file_is_one_line(tmp_path, text, message):
    path = tmp_path / "bad.toml"
    path.write_text(text)
    with pytest.raises(UsageError, match=message):
        load_pedals(path)


def test_a_plugin_named_by_its_whole_path_is_looked_for_there_alone(tmp_path):
    with pytest.raises(PedalError, match=r"plugin .*none\.vst3 is not there; install it, or "):
        vst3_toml.find_plugin(str(tmp_path / "none.vst3"), "pedal", Path())


def test_two_pedals_of_one_name_are_refused(inside, tmp_path):
    path = write_table(tmp_path, table=TABLE + TABLE)
    with pytest.raises(UsageError, match="'ring' stands there twice"):
        load_pedals(path)


def test_the_name_of_our_own_pedal_is_taken(inside, tmp_path):
    path = write_table(tmp_path, table=TABLE.replace('"ring"', '"delay"'))
    with pytest.raises(UsageError, match="there is a pedal 'delay' already"):
        load_pedals(path)


@pytest.mark.parametrize("name", ["shape", "odd"])
def test_what_cannot_be_turned_is_no_knob(inside, tmp_path, name):
    table = TABLE.replace('plugin_param = "mix"', f'plugin_param = "{name}"')
    path = write_table(tmp_path, table=table.replace('shape = "sine"', ""))
    with pytest.raises(UsageError, match=f"{name} (is a switch|does not rise all the way)"):
        load_pedals(path)


@pytest.mark.parametrize(
    ("behaviour", "message"),
    [
        ("instrument", "is an instrument, it hears no guitar"),
        ("short", "gave 21950 samples for 22050"),
        ("latency", "changed its latency from 0 to 64 samples"),
        ("random", "another sound each time for the same settings"),
        ("non-finite", "gave a non-finite sample"),
        ("crash", r"the plugin crashed \(exit 7\)"),
    ],
)
def test_a_plugin_that_cannot_be_used_is_one_line(fakes, tmp_path, behaviour, message):
    with pytest.raises(PedalError, match=rf"pedal 'ring': .*{message}") as caught:
        load_pedals(write_table(tmp_path, behaviour))
    assert "\n" not in str(caught.value)


def test_a_file_that_is_no_plugin_is_one_line(fakes, tmp_path):
    path = write_table(tmp_path)
    (tmp_path / "well.vst3").write_text("#!/bin/sh")
    with pytest.raises(PedalError, match=r"is no VST3 that can be loaded here \(Unable to scan"):
        load_pedals(path)


def test_the_table_of_a_plugin_can_be_filled_in(fakes, tmp_path):
    """`fxpipe pedals PLUGIN` prints TOML that loads as it is."""
    text = list_pedals(write_fake(tmp_path))
    tables = tomllib.loads(text)["pedal"]
    assert set(tables[0]["params"]) == {"carrier_hz", "mix"}
    assert "shape = " in text
    (pedal,) = read_pedals(tables, "printed", tmp_path)
    assert pedal.params[0].high == pytest.approx(20_000)


# With a real plugin: zam-plugins (Debian), installed or unpacked into $FXPIPE_TEST_VST3.


@pytest.fixture
def real(tmp_path):
    with real_plugin("zam_delay", tmp_path) as path:
        if path is None:
            pytest.skip(f"no zam-plugins: install them, or set {REAL_VARIABLE} to their folder")
        yield path


def test_a_real_delay_echoes_when_it_should(real):
    """87.3 ms: pedalboard alone would set 88.99."""
    click = np.zeros(RATE_HZ, np.float32)
    click[1000] = 0.5
    for delay_ms in (87.3, 250.0, 555.5):
        settings = {"delay_ms": delay_ms, "mix": 0.5}
        wet = build_pedal(Pedal("zam_delay", settings), RATE_HZ)(click)
        echo = 1100 + int(np.argmax(np.abs(wet[1100:])))
        assert (echo - 1000) / RATE_HZ * 1000 == pytest.approx(delay_ms, abs=0.2)


@pytest.mark.slow
def test_a_real_plugin_is_rendered_by_workers(real, tmp_path):
    """Through the command, dask and its worker threads, where pedalboard alone refuses to reset."""
    words = ["--pool", "zam_delay,eq", "--lengths", "2", "--n-chains", "4", "-j", "1", "-o", "out"]
    done = run("fxpipe", "render", "--pedals", real, *words, cwd=tmp_path)
    assert done.code == 0, done.err
    assert re.search(r"zam_delay +2", done.out), done.out
