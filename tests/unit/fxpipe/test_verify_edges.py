"""Renders whose bytes are what the index says, and which are no renders all the same."""

from __future__ import annotations

import copy
import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fsspec.implementations.memory import MemoryFileSystem

from fxpipe import renders as rd
from fxpipe.chains.chain import ChainSpec
from fxpipe.differs import facts_of_plan, unlike
from fxpipe.pedals import PEDALS, POOLS
from fxpipe.render import RenderSpec
from fxpipe.sources import open_source
from fxpipe.verify import check_command, check_renders
from fxtrain.contract import (
    FxError,
    LocalFolder,
    Record,
    open_folder,
    pack_npy,
    pack_records,
    write_index,
)

SPEC = RenderSpec(ChainSpec(POOLS["okita3"], {1: 1.0}), clip_s=0.1, run_in_s=0.0)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[LocalFolder, rd.RendersIndex]:
    """Six clips, two of each split."""
    folder = LocalFolder(tmp_path_factory.mktemp("made"))
    plan = rd.make_plan(SPEC, open_source("synth"), 6, 0, progress=False, fractions=(0.4, 0.3, 0.3))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rd, "run_tasks", lambda function, jobs, workers: map(function, jobs))
        return folder, rd.render_all(folder, plan, None, lambda shard: None)


@pytest.fixture
def renders(
    made: tuple[LocalFolder, rd.RendersIndex], tmp_path: Path
) -> tuple[LocalFolder, rd.RendersIndex]:
    """A copy of one's own."""
    own = LocalFolder(tmp_path / "renders")
    for name in made[0].names():
        own.write(name, made[0].read(name))
    return own, made[1]


def silent(waves: np.ndarray, records: list[Record]) -> np.ndarray:
    waves[1] = 0
    return waves


def short(waves: np.ndarray, records: list[Record]) -> np.ndarray:
    return waves[:, :-1]


def turned_too_far(waves: np.ndarray, records: list[Record]) -> np.ndarray:
    settings = records[0]["chain"][0]["settings"]
    settings[next(iter(settings))] = 1e6
    return waves


def of_another_pool(waves: np.ndarray, records: list[Record]) -> np.ndarray:
    settings = {param.name: param.low for param in PEDALS["octaver"].params}
    records[0]["chain"][0] = {"name": "octaver", "settings": settings}
    return waves


def redrawn_by_number(waves: np.ndarray, records: list[Record]) -> np.ndarray:
    records[0]["redraws"] = 0
    return waves


def twice(waves: np.ndarray, records: list[Record]) -> np.ndarray:
    records[1]["id"] = records[0]["id"]
    return waves


def on_two_sides(waves: np.ndarray, records: list[Record]) -> np.ndarray:
    records[0]["split"] = "test"
    return waves


def without_licence(waves: np.ndarray, records: list[Record]) -> np.ndarray:
    del records[0]["licence"]
    return waves


def untouched(waves: np.ndarray, records: list[Record]) -> np.ndarray:
    return waves


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (untouched, ""),
        (silent, "clip train-00000001 is silent or short"),
        (short, "clip train-00000000 is silent or short"),
        (turned_too_far, "is 1000000.0"),
        (of_another_pool, "octaver"),
        (redrawn_by_number, "redraws is 0, expected pedals' names"),
        (twice, "train-00000000"),
        (on_two_sides, "test"),
        (without_licence, "'licence'"),
    ],
)
def test_what_is_in_a_shard_is_looked_at(
    renders: tuple[LocalFolder, rd.RendersIndex],
    change: Callable[[np.ndarray, list[Record]], np.ndarray],
    said: str,
) -> None:
    folder, index = renders
    shard = index.by_split["train"][0]
    waves, records = rd.read_shard(folder, shard)
    records = copy.deepcopy(records)
    waves = change(waves.copy(), records)
    files = (
        folder.write(f"{shard.name}.npy", pack_npy(waves)),
        folder.write(f"{shard.name}.jsonl", pack_records(records)),
    )
    other = dataclasses.replace(shard, files=files)
    shards = tuple(other if each is shard else each for each in index.shards)
    write_index(folder, dataclasses.replace(index, shards=shards))
    problems = list(check_renders(folder.uri))
    if said:
        assert any(p.where == shard.name and said in p.what for p in problems), problems
    else:
        assert problems == []


def test_what_was_found_before_the_store_fails_is_told(
    renders: tuple[LocalFolder, rd.RendersIndex],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    folder, index = renders
    spoilt, silent = (index.by_split[split][0].files[0].path for split in ("train", "test"))
    folder.write(spoilt, b"cut")
    read = LocalFolder.read

    def fails(self: LocalFolder, name: str, *size: int) -> bytes:
        if name == silent:
            raise FxError(f"cannot read {name}: no answer in 60 s; tried 8 times")
        return read(self, name, *size)

    monkeypatch.setattr(LocalFolder, "read", fails)
    with pytest.raises(FxError, match=f"cannot read {silent}: no answer"):
        check_command(folder.uri, None, as_json=False)
    assert capsys.readouterr().out.startswith(f"{spoilt}: ")


def test_a_store_that_fails_is_no_fault_of_the_plan(
    made: tuple[LocalFolder, rd.RendersIndex], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FXPIPE_STORE_TRIES", "1")
    folder, asked, cat_file = open_folder("memory://plans"), [], MemoryFileSystem.cat_file
    for name in made[0].names():
        folder.write(name, made[0].read(name))

    def fails(self: MemoryFileSystem, path: str, *args: Any, **options: Any) -> Any:
        asked.append(path)
        if asked.count("/plans/plan.json") > 1:  # its bytes were compared before
            raise ConnectionError("reset by peer")
        return cat_file(self, path, *args, **options)

    monkeypatch.setattr(MemoryFileSystem, "cat_file", fails)
    with pytest.raises(FxError, match=r"^cannot read memory://plans/plan.json: reset by peer"):
        list(check_renders(folder.uri))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("spec", dataclasses.replace(SPEC, audible_db=-29.0)),
        ("seed", 1),
        ("split_seed", 1),
        ("fractions", (0.8, 0.1, 0.1)),
        ("commutes", (("chorus", "reverb"),)),
        ("kinds", ("note",)),
        ("source_digest", "0" * 64),
    ],
)
def test_an_index_says_what_its_plan_says(
    renders: tuple[LocalFolder, rd.RendersIndex], name: str, value: Any
) -> None:
    folder, index = renders
    write_index(folder, dataclasses.replace(index, **{name: value}))
    (problem,) = check_renders(folder.uri)
    assert str(problem).startswith(f"index.json: {name} is not that of plan.json")


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("n_phrases", 1, "n_phrases 1 in the index, 0 in the samples"),
        ("licences", {}, "licence 'CC0-1.0' is in the samples alone"),
    ],
)
def test_an_index_sums_up_what_its_clips_say(
    renders: tuple[LocalFolder, rd.RendersIndex], name: str, value: Any, said: str
) -> None:
    folder, index = renders
    write_index(folder, dataclasses.replace(index, **{name: value}))
    assert [str(problem) for problem in check_renders(folder.uri)] == [f"index.json: {said}"]


def test_shards_that_do_not_follow_one_another_are_a_problem(
    renders: tuple[LocalFolder, rd.RendersIndex],
) -> None:
    folder, index = renders
    late = tuple(dataclasses.replace(shard, first=1) for shard in index.shards)
    write_index(folder, dataclasses.replace(index, shards=late))
    found = [(problem.where, problem.what) for problem in check_renders(folder.uri)]
    assert found == [(shard.name, "starts at sample 1, expected 0") for shard in late]


def test_a_plan_that_was_altered_is_a_problem(
    renders: tuple[LocalFolder, rd.RendersIndex],
) -> None:
    folder, _ = renders
    plan = json.loads(folder.read("plan.json"))
    folder.write("plan.json", json.dumps(plan | {"commutes_basis": "hearsay"}).encode())
    (problem,) = check_renders(folder.uri)
    assert "plan.json" in str(problem)
    assert "sha256" in problem.what or "bytes" in problem.what


def test_a_split_seed_that_is_the_seed_is_not_told_twice(tmp_path: Path) -> None:
    from fixtures.datasets import make_folder

    source = open_source(f"folder:{make_folder(tmp_path)}")
    there, asked, divided = (
        facts_of_plan(rd.make_plan(SPEC, source, 10, seed, progress=False, split_seed=split_seed))
        for seed, split_seed in ((0, None), (3, None), (0, 3))
    )
    assert unlike(there, asked) == "seed 0 there, 3 asked"
    assert unlike(there, divided) == "split seed that seed there, 3 asked"
