"""Every manifest keeps the form, by its schema and at run time; a new one is found by itself."""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from fxpipe.errors import SourceError
from fxpipe.sources import SOURCES
from fxpipe.sources.base import LICENCES
from fxpipe.sources.form import OBEYED, SAID
from fxpipe.sources.manifest import (
    SplitGroup,
    load_manifest,
    manifest_dir,
    manifest_names,
    parse_manifest,
    schema,
    size_text,
)

VALIDATOR = jsonschema.Draft202012Validator(schema())


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
    assert manifest.reading
    assert all(line.endswith(".") for line in (*manifest.reading, *manifest.defects))
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
def test_a_manifest_keeps_the_schema(name: str) -> None:
    VALIDATOR.validate(raw(name))


def parts(schema_part: Any, where: str = "schema") -> Iterator[tuple[str, dict[str, Any]]]:
    """Every part of the schema that says what a value must be."""
    yield where, schema_part
    for key, inner in schema_part.get("properties", {}).items():
        yield from parts(inner, f"{where}.{key}")
    for key in ("items", "additionalProperties"):
        if isinstance(schema_part.get(key), dict):
            yield from parts(schema_part[key], f"{where}[]")
    for key, inner in schema_part.get("$defs", {}).items():
        yield from parts(inner, f"$defs.{key}")


def test_the_schema_is_one_is_strict_and_explains_every_field() -> None:
    jsonschema.Draft202012Validator.check_schema(schema())
    for where, part in parts(schema()):
        if part.get("type") == "object":
            assert part["additionalProperties"] is not True, where
        for key, field in part.get("properties", {}).items():
            assert field["description"].endswith("."), f"{where}.{key}"
        assert set(part) <= SAID | OBEYED, where  # what the run-time check understands
        if "pattern" in part:
            assert re.fullmatch(r"\^.*\$", part["pattern"], re.DOTALL), where


def test_the_schema_is_no_data_set() -> None:
    assert "schema" not in manifest_names()


def test_what_is_dry_is_told_by_globs() -> None:
    dry = load_manifest("idmt").dry
    assert dry.is_dry("dataset4/Career SG/slow/metal/audio/metal_1_90BPM.wav")
    assert dry.is_dry("IDMT-SMT-GUITAR_V2/dataset2/audio/AR_Lick1_FN.WAV")
    acoustic = "dataset4/acoustic_mic/slow/metal/audio/metal_1_90BPM.wav"
    assert not dry.is_dry(acoustic)
    assert dry.is_dry(acoustic, include=["acoustic"])
    assert dry.is_in_part(acoustic, "acoustic")
    assert dry.is_wanted(acoustic)  # unpacked, to be at hand when it is asked for
    with pytest.raises(SourceError, match="unknown optional part 'accoustic': did you mean"):
        dry.is_dry(acoustic, include=["accoustic"])
    assert not dry.is_dry("dataset2/annotation/AR_Lick1_FN.xml")
    assert dry.is_wanted("dataset2/annotation/AR_Lick1_FN.xml")
    assert not dry.is_wanted("dataset2/csv/AR_Lick1_FN.csv")


def test_the_group_of_a_path() -> None:
    assert load_manifest("guitarset").split_group.group_of("a/03_SS1-68-E_solo_mix.wav") == "03"
    assert load_manifest("rossi").split_group.group_of("x/prs_1__01010.wav") == "prs_1"
    assert load_manifest("guitarjam").split_group.group_of("x/clip 7.wav") == "x/clip 7"


def test_a_name_that_tells_no_group_is_one_by_itself() -> None:
    """Not one called None with all of its kind."""
    groups = SplitGroup("By song.", r"^(?:song (\d+)|free) .*")
    names = ("song 7 a.wav", "song 7 b.wav", "free a.wav", "free b.wav", "other.wav")
    assert [groups.group_of(name) for name in names] == ["7", "7", "free a", "free b", "other"]


def test_an_unknown_data_set_is_named_with_its_neighbours() -> None:
    with pytest.raises(SourceError, match=r"'egfx'.*did you mean 'egfxset'"):
        load_manifest("egfx")


FILE = {"name": "a.zip", "url": "https://x.org/a.zip"}
LICENCE = {"id": "CC0-1.0", "terms": "Do.", "shareable": True}
BROKEN: list[tuple[str, Any, str]] = [
    ("titel", "x", r"here: missing nothing, unknown \['titel'\]"),
    ("title", None, r"here: missing \['title'\], unknown nothing"),
    ("title", 3, "here: title is 3, expected a text"),
    ("title", "", "title is '', expected a text"),
    ("name", "../up", "name is '../up', expected lower-case letters"),
    ("name", "A", "lower-case"),
    ("files", {}, "files: expected a list, found dict"),
    ("files", [], "by_hand or files must be given|files or by_hand must be given"),
    ("files.0", "a.zip", r"files\[0\]: expected an object, found str"),
    ("files.0", {"name": "a.zip"}, r"files\[0\]: missing \['url'\]"),
    ("files.0", FILE | {"md5": "XYZ"}, "md5 is 'XYZ', expected 32 hex digits"),
    ("files.0", FILE | {"sha256": "0" * 63}, "expected 64 hex digits"),
    ("files.0", FILE | {"bytes": -1}, "bytes is -1, expected a whole number above 0"),
    ("files.0", FILE | {"bytes": 1.5}, "bytes is 1.5, expected a whole number"),
    ("files.0", FILE | {"bytes": True}, "bytes is True, expected a whole number"),
    ("files.0", FILE | {"name": "x/a.zip"}, "expected a file name without a folder"),
    ("files.0", FILE | {"name": ".zip"}, "expected a file name"),
    ("files.0", FILE | {"name": "a.tar.gz"}, "expected a file name"),
    ("files.0", FILE | {"url": "ftp://x.org/a.zip"}, "expected an address that starts with"),
    ("files.0", FILE | {"unpack_to": "a/../../b"}, "expected a folder inside the data set"),
    ("files.0", FILE | {"unpack_to": "/etc"}, "expected a folder inside"),
    ("files.0", FILE | {"unpack_to": ".."}, "expected a folder inside"),
    ("licence", {"id": "x"}, r"licence: missing \['terms', 'shareable'\]"),
    ("licence", LICENCE | {"shareable": "no"}, "shareable is 'no', expected true or false"),
    ("licence", LICENCE | {"shareable": 1}, "shareable is 1, expected true or false"),
    ("audio", 3, "audio: expected an object, found int"),
    (
        "audio",
        {"sample_rate_hz": [0]},
        r"sample_rate_hz\[0\] is 0, expected a whole number above 0",
    ),
    ("audio", {"minutes": 0}, "minutes is 0, expected a number above 0"),
    ("audio", {"minutes": True}, "minutes is True, expected a number"),
    ("dry", {"exclude": ["*"]}, r"dry: missing \['include'\]"),
    ("dry", {"include": []}, r"include is \[\], expected a list of globs"),
    ("dry", {"include": ["*"], "optional": {"mic": "*"}}, "mic: expected a list, found str"),
    ("reading", "one", "reading: expected a list, found str"),
    ("defects", [""], r"defects\[0\] is '', expected a text"),
    ("split_group", {"how": "x", "regex": "y"}, r"unknown \['regex'\]"),
]


def changed(path: str, value: Any) -> dict[str, Any]:
    """A good manifest with one part put in its place; None takes it away."""
    data = copy.deepcopy(raw("egfxset"))
    key, _, index = path.partition(".")
    if index:
        data[key][int(index)] = value
    elif value is None:
        del data[key]
    else:
        data[key] = value
    return data


@pytest.mark.parametrize(("path", "value", "words"), BROKEN)
def test_what_breaks_the_form_is_refused_by_both(path: str, value: Any, words: str) -> None:
    data = changed(path, value)
    assert not VALIDATOR.is_valid(data)
    with pytest.raises(SourceError, match=words) as caught:
        parse_manifest(data, where="here")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("data", [None, 3, [], "text"])
def test_what_is_no_object_is_refused_by_both(data: Any) -> None:
    assert not VALIDATOR.is_valid(data)
    with pytest.raises(SourceError, match="here: expected an object"):
        parse_manifest(data, where="here")


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("files.0", FILE),
        ("files.0", FILE | {"unpack_to": "a/b.c/..d"}),
        ("audio", {}),
        ("audio", {"minutes": 7}),
        ("version", ""),
        ("reading", []),
        ("dry", {"include": ["*"], "optional": {}}),
    ],
)
def test_what_keeps_the_form_is_taken_by_both(path: str, value: Any) -> None:
    data = changed(path, value)
    VALIDATOR.validate(data)
    parse_manifest(data, where="here")


def test_little_is_needed() -> None:
    data = raw("egfxset")
    small = {key: data[key] for key in schema()["required"]}
    VALIDATOR.validate(small)
    manifest = parse_manifest(small, where="here")
    assert (manifest.citation, manifest.defects, manifest.audio.minutes) == ("", (), None)


@pytest.mark.parametrize(
    ("path", "value", "words"),
    [
        ("split_group", {"how": "x", "pattern": "("}, "expected a regular expression"),
        ("split_group", {"how": "x", "pattern": "(a)(b)"}, "with one group"),
        ("licence", LICENCE | {"id": "CC-BY-NC-4.0"}, "shareable is true, which CC-BY-NC-4.0 is"),
        ("licence", LICENCE | {"shareable": False}, "shareable is false, which CC0-1.0 is not"),
        ("files", [FILE, FILE | {"name": "A.zip"}], r"'a\.zip' stands there twice"),
    ],
)
def test_what_a_schema_cannot_say_is_refused_too(path: str, value: Any, words: str) -> None:
    with pytest.raises(SourceError, match=words):
        parse_manifest(changed(path, value), where="here")


def test_a_licence_of_ones_own_keeps_its_name() -> None:
    own = {"id": "house", "name": "House rules", "terms": "Ask.", "shareable": False}
    manifest = parse_manifest(changed("licence", own), where="here")
    assert (manifest.licence.name, manifest.licence.shareable) == ("House rules", False)


def test_an_own_file_must_not_pass_for_a_data_set_of_ours(tmp_path: Path) -> None:
    for name in ("egfxset", "folder"):
        path = tmp_path / f"{name}.json"
        path.write_text(json.dumps(raw("egfxset") | {"name": name}))
        with pytest.raises(SourceError, match=f"name is '{name}', which is a data set of fxpipe's"):
            load_manifest(str(path))


@pytest.mark.parametrize(
    ("content", "words"), [(None, "no manifest there"), ("{", "not JSON"), ("[]", "an object")]
)
def test_an_own_file_that_cannot_be_read_is_named(
    content: str | None, words: str, tmp_path: Path
) -> None:
    path = tmp_path / "my-set.json"
    if content is not None:
        path.write_text(content)
    with pytest.raises(SourceError, match=rf"my-set\.json: .*{words}"):
        load_manifest(str(path))


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
    sizes = {
        0: "size unknown",
        512_000: "512 kB",
        999_700: "1 MB",
        431_000_000: "431 MB",
        999_700_000: "1 GB",
        1_329_900_000: "1.33 GB",
        1_234_000_000_000: "1.23 TB",
    }
    assert {n: size_text(n) for n in sizes} == sizes
