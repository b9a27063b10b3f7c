"""Options and TOML become one spec; flags win."""

from __future__ import annotations

import json
import re
import shlex
import tempfile
import tomllib
from pathlib import Path

import click
import pytest
from click.testing import CliRunner
from hypothesis import HealthCheck, given, settings

from fixtures.specs import specs
from fxpipe.chains.chain import CHAIN_KEYS, ChainSpec
from fxpipe.cli import cli, plan
from fxpipe.config import parse_lengths, render_spec
from fxpipe.options import chain_options
from fxpipe.pedals import POOLS
from fxtrain.contract import UsageError, to_dict

TOML = """
[render]
clip_s = 1.5
output_gain_db = [-3.0, 3.0]
[chain]
pool = "take4"
lengths = {1 = 1.0, 3 = 2.0}
order = "realistic"
ranges.delay.delay_ms = [100.0, 200.0]
"""


def test_defaults():
    spec = render_spec(None, {})
    assert spec.chain.pool == POOLS["stompbox"]
    assert sorted(spec.chain.lengths) == [1, 2, 3, 4, 5]
    assert spec.n_samples == 88_200


def test_flags_go_above_the_file(tmp_path):
    path = tmp_path / "spec.toml"
    path.write_text(TOML)
    spec = render_spec(path, {"order": "fixed", "clip_s": None, "lengths": None})
    assert (spec.clip_s, spec.chain.order, spec.chain.lengths) == (1.5, "fixed", {1: 1.0, 3: 2.0})
    assert spec.chain.ranges == {"delay": {"delay_ms": (100.0, 200.0)}}
    assert spec.output_gain_db == (-3.0, 3.0)


@pytest.mark.parametrize(
    ("text", "expected"),
    [("1-3", {1: 1, 2: 1, 3: 1}), ("2,4", {2: 1, 4: 1}), ("1:1,2:3.5", {1: 1, 2: 3.5})],
)
def test_lengths(text, expected):
    assert parse_lengths(text) == expected


@pytest.mark.parametrize("text", ["", "a", "3-1", "1,3-1", "1:x", "-", "1-999999999"])
def test_lengths_that_mean_nothing(text):
    with pytest.raises(UsageError, match="expected"):
        parse_lengths(text)


def test_a_byte_order_mark_is_skipped(tmp_path):
    path = tmp_path / "windows.toml"
    path.write_text(TOML, encoding="utf-8-sig")
    assert render_spec(path, {}).clip_s == 1.5


@pytest.mark.parametrize(
    ("toml", "says"),
    [
        ("[chains]\n", "unknown table"),
        ("[render]\nclip = 2\n", "did you mean 'clip_s'"),
        ("[chain]\nlengths = {one = 1.0}\n", "whole number"),
        ("[chain\n", "not TOML"),
        ("[render]\nclip_s = 'two'\n", "expected float"),
        ("chain = 3\n", "expected a table"),
        ("[chain]\npool = 5\n", "a pool's name or a list of pedals"),
        ("[chain]\nexclusive = [3]\n", "expected a list"),
        ("[chain]\nweights = 'reverb=2'\n", "as in 'reverb:2'"),
        ("[chain]\nweights = {reverb = 'two'}\n", "expected float"),
        ("[chain]\nbalanced = 'pedals'\n", "did you mean 'balance'"),
        ("[render.chain]\npool = ['fuzz']\n", r"render: 'chain' .* write a table \[chain\]"),
        ("[render]\nchain = 3\n", r"render: 'chain' .* write a table \[chain\]"),
        ("[chain]\nplugins = [{name = 'x'}]\n", r"chain: 'plugins' .* write \[\[pedal\]\]"),
        ("[chain]\nplugin = 1\n", r"unknown key 'plugin': (?!.*plugins)"),
        ("[render]\nn_chains = 9\n", "'n_chains' is said on the command line alone, as --n-chains"),
        ("[render]\nchains = 1\n", "unknown key 'chains': (?!.*chain)"),
        ("[render]\nclip_s = -1.0\n", r"^with .*spec\.toml: clips of -1\.0 s"),
        ("[chain]\nmakes = 2.0\n", r"^with .*spec\.toml: makes is 2"),
    ],
)
def test_files_that_mean_nothing(tmp_path, toml, says):
    path = tmp_path / "spec.toml"
    path.write_text(toml)
    with pytest.raises(UsageError, match=says):
        render_spec(path, {})


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"weights": "reverb"}, "as in 'reverb:2'"),
        ({"weights": "reverb:much"}, "as in 'reverb:2'"),
        ({"ranges": ("delay.mix",)}, "expected pedal.parameter:value"),
        ({"ranges": ("delay.mix:0.2",)}, "two numbers"),
        ({"ranges": ("delay:0.2..0.3",)}, "expected pedal.parameter:value"),
        ({"scales": ("delay.mix:",)}, "as in 'delay.mix:log'"),
        ({"exclusive": ("chorus",)}, "two or more different"),
        ({"lengths": "9", "exclusive": ("overdrive,distortion,fuzz",)}, "at most 8 in a chain"),
    ],
)
def test_flags_that_mean_nothing(options, says):
    with pytest.raises(UsageError, match=says):
        render_spec(None, options)


def test_default_lengths_are_those_the_rules_leave():
    lengths = render_spec(None, {"pool": "okita3", "exclusive": ("chorus,reverb",)}).chain.lengths
    assert lengths == {1: 1.0, 2: 1.0}
    assert sorted(render_spec(None, {"pool": "okita3", "repeats": True}).chain.lengths) == [
        *range(1, 6)
    ]


def test_the_default_pool_gives_way_to_the_file(tmp_path):
    path = tmp_path / "spec.toml"
    path.write_text('[chain]\npool = "take4"\n')
    assert render_spec(path, {"pool": None}, default_pool="all").chain.pool == POOLS["take4"]
    assert render_spec(path, {"pool": "fuzz"}, default_pool="all").chain.pool == ("fuzz",)
    assert render_spec(None, {"pool": None}, default_pool="all").chain.pool == POOLS["all"]


@pytest.mark.parametrize("given", [(), ("--pool", "fuzz")])
def test_symmetry_takes_the_pool_of_its_config(tmp_path, monkeypatch, given):
    path = tmp_path / "spec.toml"
    path.write_text('[chain]\npool = "take4"\n')
    specs = []

    def make_plan(spec, *args, **kwargs):
        specs.append(spec)
        raise UsageError("seen")

    monkeypatch.setattr("fxpipe.verbs_orders.make_plan", make_plan)
    done = CliRunner().invoke(cli, ["symmetry", "--config", str(path), *given])
    assert str(done.exception) == "seen"
    assert specs[0].chain.pool == (("fuzz",) if given else POOLS["take4"])


@pytest.mark.parametrize("verb", ["render", "plan", "symmetry", "ceiling"])
def test_a_seed_beyond_all_sizes_is_refused_at_once(verb):
    done = CliRunner().invoke(cli, [verb, "--seed", "9" * 35])
    assert done.exit_code == 2
    assert "is not in the range 0<=x<=9223372036854775807" in done.stderr
    help_text = CliRunner().invoke(cli, [verb, "--help"]).stdout
    assert "9223372036854775807" not in help_text


def test_a_split_seed_beyond_all_sizes_is_refused_and_the_last_seed_is_not():
    done = CliRunner().invoke(cli, ["render", "--split-seed", "9" * 35])
    assert done.exit_code == 2
    assert "'--split-seed': 99999" in done.stderr
    assert CliRunner().invoke(cli, ["plan", "--seed", str(2**63 - 1)]).exit_code == 0


def as_toml(spec: ChainSpec) -> str:
    """[chain] as a person would write it: JSON's strings, lists and numbers are TOML's too."""

    def text(value):
        if isinstance(value, dict):
            return (
                "{" + ", ".join(f"{json.dumps(str(k))} = {text(v)}" for k, v in value.items()) + "}"
            )
        return json.dumps(value)

    fields = {key: value for key, value in to_dict(spec).items() if key != "plugins"}
    return "[chain]\n" + "".join(f"{key} = {text(value)}\n" for key, value in fields.items())


def as_flags(spec: ChainSpec) -> list[str]:
    flags = ["--pool", ",".join(spec.pool), "--order", spec.order, "--balance", spec.balance]
    flags += ["--knobs", spec.knobs, "--temperature", repr(spec.temperature)]
    flags += ["--repeats" if spec.repeats else "--no-repeats"]
    flags += ["--lengths", ",".join(f"{n}:{w!r}" for n, w in spec.lengths.items())]
    if spec.weights:
        flags += ["--weights", ",".join(f"{name}:{w!r}" for name, w in spec.weights.items())]
    for flag, groups in (("--exclusive", spec.exclusive), ("--hold-out", spec.held_out)):
        flags += [word for group in groups for word in (flag, ",".join(group))]
    for pedal, knobs in spec.ranges.items():
        for key, (low, high) in knobs.items():
            flags += ["--range", f"{pedal}.{key}:{low!r}..{high!r}"]
    for pedal, knobs in spec.scales.items():
        for key, how in knobs.items():
            flags += ["--scale", f"{pedal}.{key}:{how}"]
    return flags


def parsed(flags: list[str]) -> dict[str, object]:
    """The options as click hands them to a command."""

    @click.command()
    @chain_options
    def command(**options):
        return options

    return command.main(flags, standalone_mode=False)


@given(specs())
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_a_file_and_flags_say_the_same(spec):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "spec.toml"
        path.write_text(as_toml(spec), encoding="utf-8")
        assert render_spec(path, {}).chain == spec
    assert render_spec(None, parsed(as_flags(spec))).chain == spec


def test_files_may_use_the_short_forms_of_the_flags(tmp_path):
    path = tmp_path / "spec.toml"
    path.write_text('[chain]\nlengths = "1,3:2"\nweights = "reverb:2"\nexclusive = "fuzz,wah"\n')
    chain = render_spec(path, {"weights": "delay:3"}).chain
    assert chain.lengths == {1: 1.0, 3: 2.0}
    assert chain.weights == {"delay": 3.0}  # a flag replaces the file's key, it adds nothing to it
    assert chain.exclusive == (("fuzz", "wah"),)


def test_the_example_in_the_docs_is_a_spec(tmp_path):
    page = (Path(__file__).parents[3] / "docs" / "chains.md").read_text(encoding="utf-8")
    (example,) = re.findall(r"```toml\n(.*?)```", page, re.DOTALL)
    path = tmp_path / "spec.toml"
    path.write_text(example, encoding="utf-8")
    chain = render_spec(path, {}).chain
    unused = {"plugins"}
    assert set(tomllib.loads(example)["chain"]) == set(CHAIN_KEYS) - unused
    assert not chain.solved.missed
    commands = re.findall(r"^fxpipe (?:plan|render) (.*)$", page, re.MULTILINE)
    assert commands
    for command in commands:
        words = shlex.split(command.replace("board.toml", str(path)))
        own = [word for word in words if word not in ("renders/",)]
        parent = click.Context(cli, **cli.context_settings)
        assert plan.make_context("plan", own, parent=parent).params["n_chains"] >= 3
