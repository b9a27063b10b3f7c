"""What ``fxpipe sources`` tells, and the page of data sets in the docs."""

from __future__ import annotations

import importlib
import json
import shutil
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from fixtures.datasets import add_bad_files, make_egfxset, make_folder, make_idmt
from fxpipe import catalogue
from fxpipe.catalogue import describe_source, group_reasons, list_sources, source_facts
from fxpipe.cli import cli
from fxpipe.sources import SOURCES, Scan, Skipped, open_source
from fxpipe.sources.manifest import load_manifest, manifest_names
from fxtrain.contract import UsageError

ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    make_egfxset(folder / "egfxset", notes=((1, 0), (6, 0)))
    make_idmt(folder)
    make_folder(folder / "own")
    add_bad_files(folder / "own")
    return folder


def test_the_list_has_every_name_and_says_what_is_here(data: Path) -> None:
    lines = [json.loads(line) for line in list_sources(data, as_json=True).splitlines()]
    assert [line["name"] for line in lines] == [name for name in SOURCES if name != "folder"]
    here = {line["name"] for line in lines if line["here"]}
    assert here == {"synth", "egfxset", "idmt"}
    idmt = next(line for line in lines if line["name"] == "idmt")
    assert (idmt["licence"], idmt["shareable"]) == ("CC-BY-NC-ND-4.0", False)
    assert idmt["download_bytes"] == 1_329_900_000
    text = list_sources(data, as_json=False).splitlines()
    assert len(text) == len(lines) + 3
    assert max(map(len, text)) <= 120
    row = next(line for line in text if line.startswith("egfxset "))
    assert row.split() == ["egfxset", "CC-BY-4.0", "yes", "431", "MB", "yes", "EGFxSet"]


def test_one_that_is_here_is_counted(data: Path) -> None:
    facts = source_facts("egfxset", data)
    assert facts["here"] is True
    assert facts["where"] == str(data / "egfxset")
    assert facts["recordings"]["count"] == 10
    assert facts["recordings"]["groups"] == 2
    assert facts["recordings"]["minutes"] == pytest.approx(10 * 0.8 / 60, abs=0.01)
    assert sum(kind["count"] for kind in facts["by_kind"].values()) == 10
    assert facts["skipped"]["count"] == 0
    text = describe_source("egfxset", data, as_json=False)
    for words in ("CC BY 4.0", "H. Pedroza", "431 MB", str(data / "egfxset"), "peak-normalised"):
        assert words in " ".join(text.split())


def test_optional_parts_and_what_was_left_out(data: Path) -> None:
    facts = source_facts("idmt", data)
    n_acoustic = len([p for p in data.rglob("*.wav") if "acoustic_" in p.as_posix()])
    assert facts["optional"]["acoustic"]["here"] == n_acoustic > 0
    assert any(reason.startswith("effect type") for reason in facts["skipped"]["reasons"])
    assert facts["licence"]["shareable"] is False
    text = " ".join(describe_source("idmt", data, as_json=False).split())
    assert "may NOT be shared" in text
    assert f"acoustic: left out without --include acoustic, {n_acoustic} files here" in text
    asked = source_facts("idmt", data, include=["acoustic"])
    assert asked["optional"]["acoustic"]["included"] is True
    assert asked["recordings"]["count"] > facts["recordings"]["count"]


def test_one_that_is_not_here_says_what_to_type(tmp_path: Path) -> None:
    facts = source_facts("rossi", tmp_path)
    assert facts["here"] is False
    assert "type 'fxpipe fetch rossi" in facts["how"]
    assert facts["download"]["files"][0]["bytes"] == 32_969_803_616
    assert "recordings" not in facts
    text = describe_source("rossi", tmp_path, as_json=False)
    assert "33 GB" in text
    assert "type 'fxpipe fetch rossi" in " ".join(text.split())


def test_kinds_are_counted_each(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scan = open_source(f"folder:{data / 'own'}").scan()
    kinds = ("note", "note", "phrase")
    items = tuple(
        replace(item, meta=item.meta | {"kind": kind})
        for item, kind in zip(scan.items, kinds, strict=False)
    )

    @dataclass(frozen=True)
    class Fixed:
        name: str = "own"
        is_generated: bool = False

        def scan(self, *, progress: bool = False) -> Scan:
            return replace(scan, items=items)

    monkeypatch.setattr(catalogue, "open_source", lambda name, data_dir, include=(): Fixed())
    facts = source_facts("folder:own", None)
    assert {kind: sums["count"] for kind, sums in facts["by_kind"].items()} == {
        "note": 2,
        "phrase": 1,
    }
    rows = [line.split() for line in describe_source("folder:own", None, False).splitlines()]
    assert ["all", "3", "0.1", "2"] in rows


def test_a_folder_tells_what_it_holds_and_what_not(data: Path) -> None:
    text = describe_source(f"folder:{data / 'own'}", None, as_json=False)
    assert "unknown (may NOT be shared)" in text
    assert "2 × cannot be read" in text
    facts = json.loads(describe_source(f"folder:{data / 'own'}", None, as_json=True))
    assert facts["skipped"]["count"] == 9


def test_a_folder_without_any_recording_says_so(tmp_path: Path) -> None:
    facts = source_facts(f"folder:{tmp_path}", None)
    assert "no usable recording" in facts["problem"]
    assert "no usable recording" in describe_source(f"folder:{tmp_path}", None, as_json=False)


def test_what_is_generated_is_not_scanned() -> None:
    facts = source_facts("synth", None)
    assert facts["here"] is True
    assert facts["where"] is None
    assert "played on demand" in describe_source("synth", None, as_json=False)


def test_an_own_manifest_is_described(data: Path, tmp_path: Path) -> None:
    content = json.loads((ROOT / "data_manifests" / "guitarjam.json").read_text())
    own = tmp_path / "mine.json"
    own.write_text(json.dumps(content | {"name": "own", "title": "My own"}))
    facts = source_facts(str(own), data)
    assert (facts["name"], facts["title"]) == (str(own), "My own")
    assert facts["where"] == str(data / "own")
    assert facts["recordings"]["count"] == 12
    assert source_facts(f"{own}:{data / 'own'}", None)["recordings"]["count"] == 12


def test_an_unknown_name_is_a_usage_error() -> None:
    with pytest.raises(UsageError, match="did you mean 'guitarset'"):
        describe_source("guitarsett", None, as_json=False)


def test_reasons_are_grouped_without_their_particulars() -> None:
    reasons = (
        *("too short: 3 samples at 44100 Hz", "too short: 9 samples at 8000 Hz"),
        *("same bytes as a/b.wav", "nothing after its 2.5 s lead-in"),
        *("nothing after its 14.0 s lead-in", "too short: 0 samples at 1 Hz"),
    )
    grouped = group_reasons(Skipped(f"{k}.wav", reason) for k, reason in enumerate(reasons))
    assert grouped == {
        "too short": {"count": 3, "first": "0.wav"},
        "nothing after its … s lead-in": {"count": 2, "first": "3.wav"},
        "same bytes as another": {"count": 1, "first": "2.wav"},
    }


def test_the_commands_take_what_they_say(data: Path, tmp_path: Path) -> None:
    runner = CliRunner()
    listed = runner.invoke(cli, ["sources", "--data-dir", str(data), "--json"])
    assert listed.exit_code == 0
    assert len(listed.stdout.splitlines()) == len(manifest_names())
    told = runner.invoke(cli, ["sources", "egfxset", "--data-dir", str(data), "--json"])
    assert json.loads(told.stdout)["recordings"]["count"] == 10
    words = ["fetch", "egfxset", "--data-dir", str(tmp_path), "--archive", str(tmp_path / "no.zip")]
    refused = runner.invoke(cli, words)
    assert "no.zip: not there" in str(refused.exception)


# The page in the docs


@pytest.fixture
def generate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """docs/generate.py, working on a copy of the page and of the manifests' README."""
    monkeypatch.syspath_prepend(str(ROOT / "docs"))
    module = importlib.import_module("generate")
    for name in ("docs/data-sets.md", "data_manifests/README.md"):
        (tmp_path / name).parent.mkdir()
        shutil.copy(ROOT / name, tmp_path / name)
    monkeypatch.setattr(module, "DOCS", tmp_path / "docs")
    monkeypatch.setattr(module.pedal_pages, "missing", lambda docs: [])
    return module


def test_the_page_tells_every_data_set_in_full(generate: Any) -> None:
    page = (generate.DOCS / "data-sets.md").read_text()
    assert generate.main(check=True) == 0
    for name in manifest_names():
        manifest = load_manifest(name)
        assert f"\n## {name}\n" in page
        assert f"[`{name}`](#{name})" in page
        for file in manifest.files:
            assert f"`{file.md5}`" in page
        assert page.count(generate.data_sets.text(manifest.terms))
        assert all(generate.data_sets.text(line) in page for line in manifest.defects)


@pytest.mark.parametrize("name", ["docs/data-sets.md", "data_manifests/README.md"])
def test_a_stale_page_is_noticed_and_written_anew(
    name: str, generate: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    page = generate.DOCS.parent / name
    right = page.read_text()
    page.write_text(right.replace("| `", "| `stale", 1).replace("[`synth`]", "[`stale`]"))
    assert generate.main(check=True) == 1
    assert page.name in capsys.readouterr().out
    assert generate.main(check=False) == 0
    assert page.read_text() == right


def test_nothing_in_a_manifest_is_markup(generate: Any) -> None:
    assert generate.data_sets.text("<a>_b_*|c|*") == "&lt;a&gt;\\_b\\_\\*\\|c\\|\\*"
