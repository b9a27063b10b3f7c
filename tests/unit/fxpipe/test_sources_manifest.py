"""Every manifest keeps the form; a new one is found by itself."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from fxpipe.errors import SourceError
from fxpipe.sources import LICENCES, SOURCES
from fxpipe.sources.manifest import (
    load_manifest,
    manifest_dir,
    manifest_names,
    parse_manifest,
    size_text,
)


def raw(name: str) -> dict[str, Any]:
    text = (manifest_dir() / f"{name}.json").read_text(encoding="utf-8")
    data: dict[str, Any] = json.loads(text)
    return data


def test_each_source_has_a_manifest_and_each_manifest_a_source() -> None:
    assert set(manifest_names()) == set(SOURCES) - {"folder"}


@pytest.mark.parametrize("name", manifest_names())
def test_a_manifest_says_all_that_is_needed(name: str) -> None:
    manifest = load_manifest(name)
    assert manifest.name == name
    assert manifest.title
    assert manifest.citation
    assert manifest.split_group.how.endswith(".")
    assert manifest.terms.endswith(".")
    assert manifest.licence == LICENCES[manifest.licence_id]
    assert manifest.files or manifest.by_hand
    for file in manifest.files:
        assert file.url.startswith("https://")
        assert file.name in file.url
        assert file.md5
        assert "/" not in file.name
    if manifest.split_group.pattern:
        assert re.compile(manifest.split_group.pattern).groups == 1


@pytest.mark.parametrize("name", manifest_names())
def test_the_readme_explains_every_field(name: str) -> None:
    text = (manifest_dir() / "README.md").read_text(encoding="utf-8")

    def keys(value: Any) -> set[str]:
        if isinstance(value, dict):
            return set(value) | {k for inner in value.values() for k in keys(inner)}
        return {k for inner in value for k in keys(inner)} if isinstance(value, list) else set()

    own = keys(raw(name)) - {"sample_rate_hz", "bit_depth", "channels"}
    missing = [key for key in own if not re.search(rf"[`.]{key}[`.[]", text)]
    assert not missing


def test_what_is_dry_is_told_by_globs() -> None:
    dry = load_manifest("idmt").dry
    assert dry.is_dry("dataset4/Career SG/slow/metal/audio/metal_1_90BPM.wav")
    assert dry.is_dry("IDMT-SMT-GUITAR_V2/dataset2/audio/AR_Lick1_FN.WAV")
    assert not dry.is_dry("dataset4/acoustic_mic/slow/metal/audio/metal_1_90BPM.wav")
    assert not dry.is_dry("dataset2/annotation/AR_Lick1_FN.xml")
    assert dry.is_wanted("dataset2/annotation/AR_Lick1_FN.xml")
    assert not dry.is_wanted("dataset2/csv/AR_Lick1_FN.csv")


def test_the_group_of_a_path() -> None:
    assert load_manifest("guitarset").split_group.group_of("a/03_SS1-68-E_solo_mix.wav") == "03"
    assert load_manifest("rossi").split_group.group_of("x/prs_1__01010.wav") == "prs_1"
    assert load_manifest("guitarjam").split_group.group_of("x/clip 7.wav") == "x/clip 7"


def test_an_unknown_data_set_is_named_with_its_neighbours() -> None:
    with pytest.raises(SourceError, match=r"'egfx'.*did you mean 'egfxset'"):
        load_manifest("egfx")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"titel": "x"}, r"here: missing nothing, unknown \['titel'\]"),
        ({"licence": {"id": "x"}}, r"licence: missing \['name'"),
        ({"files": [{"name": "a.zip"}]}, r"files\[0\]: missing \['url'\]"),
        ({"files": [{"name": "a", "url": "b", "md5": "XYZ"}]}, "md5 is 'XYZ', expected 32 hex"),
        ({"audio": 3}, "audio: expected an object, found int"),
    ],
)
def test_a_manifest_that_breaks_the_form_is_refused(change: dict[str, Any], words: str) -> None:
    with pytest.raises(SourceError, match=words):
        parse_manifest(raw("egfxset") | change, where="here")


@pytest.mark.parametrize("inside", ["pipeline/fxpipe", ""])
def test_manifests_are_found_in_a_checkout_and_in_a_wheel(inside: str, tmp_path: Path) -> None:
    package = tmp_path / "pipeline" / "fxpipe"
    package.mkdir(parents=True)
    with pytest.raises(SourceError, match="install fxpipe again"):
        manifest_dir(package)
    wanted = tmp_path / inside / "data_manifests"
    wanted.mkdir()
    assert manifest_dir(package) == wanted


def test_sizes_read_as_people_write_them() -> None:
    assert [size_text(n) for n in (0, 512_000, 431_000_000, 1_329_900_000)] == [
        "size unknown",
        "512 kB",
        "431 MB",
        "1.33 GB",
    ]
