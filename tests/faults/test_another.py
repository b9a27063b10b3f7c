"""A data set that is not the one asked for, finished or not: the line says what differs."""

from __future__ import annotations

import dataclasses
import json

import pytest

from faults.conftest import Fx, copy_of, digests, remake
from fxpipe.differs import (
    SAME_SETTINGS,
    facts_of_plan,
    facts_of_recipe,
    facts_of_renders,
    facts_of_shards,
    unlike,
)
from fxpipe.plan import read_plan
from fxpipe.renders import read_renders_index
from fxpipe.resume import OWNER_NAME
from fxtrain.contract import CodecInfo, LocalFolder, read_index

WORDS = [
    ("renders", "--seed 3", "seed 0 there, 3 asked"),
    ("renders", "--n-chains 30", "15 clips there, 30 asked"),
    ("renders", "--clip-s 0.3", "clip_s 0.2 there, 0.3 asked"),
    ("renders", "--pool chorus,delay", "pool: distortion,reverb only there, delay only asked"),
    ("renders", "--lengths 1:1,2:3", "lengths 1:1,2:1 there, 1:1,2:3 asked"),
    ("renders", "--weights reverb:2", "weights.reverb none there, 2 asked"),
    ("renders", "--classes", "classes off there, on asked"),
    (
        "renders",
        "--seed 3 --n-chains 30 --fractions 0.6,0.2,0.2 --clip-s 0.3",
        "seed 0 there, 3 asked; 15 clips there, 30 asked; "
        "fractions 0.8,0.1,0.1 there, 0.6,0.2,0.2 asked; and more",
    ),
    ("shards", "--with-mel", "--with-mel off there, on asked"),
    ("shards", "--format zarr", "format webdataset there, zarr asked"),
    ("shards", "--shard-size 5", "shard size 4 there, 5 asked"),
]


@pytest.mark.parametrize(("name", "words", "said"), WORDS)
def test_the_line_says_what_differs(whole, fx: Fx, name, words, said):
    out = whole / name
    before = digests(out)
    done = fx(*remake(name, whole, out), *words.split())
    assert done.code == 2
    assert f"{out} holds another finished data set ({said}); choose another" in done.last_line
    assert digests(out) == before


@pytest.mark.parametrize(("name", "words", "said"), WORDS)
def test_so_it_does_of_what_is_not_finished(tmp_path, whole, fx: Fx, name, words, said):
    out = copy_of(whole / name, tmp_path)
    for unfinished in (b"{", None):
        (out / "index.json").unlink()
        if unfinished:
            (out / "index.json").write_bytes(unfinished)
        before = digests(out)
        done = fx(*remake(name, whole, out), *words.split())
        assert done.code == 2
        held = f"{out} holds another, unfinished data set ({said}); choose another"
        assert held in done.last_line
        assert digests(out) == before


@pytest.mark.parametrize("facts", [None, 7, [], {}, {"seed": [{}]}, {"seed": {"\n": None}}])
def test_a_mark_that_tells_nothing_or_anything_is_one_line(tmp_path, whole, fx: Fx, facts):
    out = copy_of(whole / "renders", tmp_path)
    (out / "index.json").unlink()
    mark = json.loads((out / OWNER_NAME).read_text())
    del mark["facts"]
    (out / OWNER_NAME).write_text(json.dumps(mark | ({} if facts is None else {"facts": facts})))
    done = fx(*remake("renders", whole, out), "--seed", "3")
    assert done.code == 2
    assert "holds another, unfinished data set" in done.last_line
    assert fx(*remake("renders", whole, out)).code == 0
    assert digests(out) == digests(whole / "renders")


def test_shards_of_other_renders(whole, fx: Fx):
    line = remake("shards", whole, whole / "shards")
    line[1] = whole / "other-renders"
    assert "data set (seed 0 there, 1 asked); choose" in fx(*line).last_line


def test_what_has_no_value_that_anybody_knows_is_told_in_words(whole):
    there = read_renders_index(LocalFolder(whole / "renders"))
    asked = facts_of_plan(read_plan(LocalFolder(whole / "renders"), there.identity))
    recordings = dataclasses.replace(there, source_digest="another")
    assert unlike(facts_of_renders(recordings), asked).startswith("other recordings")
    source = dataclasses.replace(recordings, source="folder:/a", kinds=("note",))
    assert (
        unlike(facts_of_renders(source), asked)
        == "source folder there, synth asked; kinds note there, all asked"
    )
    assert unlike(facts_of_renders(there), asked) == SAME_SETTINGS


def test_codecs_and_recipes_of_others(whole):
    renders = read_renders_index(LocalFolder(whole / "renders"))
    there = read_index(LocalFolder(whole / "shards"))
    recipe = json.loads(json.dumps(there.recipe))
    other = CodecInfo(**{**dataclasses.asdict(there.codec), "name": "44khz", "weights_sha256": "b"})
    asked = facts_of_recipe(recipe, other, renders)
    assert unlike(facts_of_shards(there), asked) == "codec embedded there, 44khz asked"
    weights = dataclasses.replace(there.codec, weights_sha256="b")
    asked = facts_of_recipe(recipe, weights, renders)
    assert unlike(facts_of_shards(there), asked) == "other weights of that codec there"
    asked = facts_of_recipe(recipe, there.codec, renders)
    for spec in (7, {"chain": 7}, {"chain": {"pool": 7, "weights": {"\n": None}}}):
        told = dataclasses.replace(there, recipe=there.recipe | {"spec": spec})
        assert "\n" not in unlike(facts_of_shards(told), asked)
