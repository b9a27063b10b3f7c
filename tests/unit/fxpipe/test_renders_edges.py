"""Clips that are taken from another recording, licences that differ, shards that are not whole."""

from __future__ import annotations

import dataclasses
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fixtures.datasets import make_folder
from fxpipe import plan as plans
from fxpipe import renders as rd
from fxpipe.chains.chain import ChainSpec
from fxpipe.distance import mel_distance_db
from fxpipe.errors import RenderError
from fxpipe.orders import classes
from fxpipe.pedals import POOLS, vocabulary_of
from fxpipe.plan import read_plan, save_plan, take_clip
from fxpipe.remake import remake
from fxpipe.render import RenderSpec, draw_clip, run_chain
from fxpipe.renders import chain_of
from fxpipe.sources import open_source
from fxpipe.sources.base import LICENCES
from fxtrain.contract import (
    Chain,
    ContractError,
    Folder,
    FxError,
    LocalFolder,
    ShardEntry,
    pack_npy,
    pack_records,
    to_dict,
)
from fxtrain.contract.remote import RemoteFolder

RATE_HZ = 44_100
SPEC = RenderSpec(ChainSpec(POOLS["okita3"], {1: 1.0, 2: 1.0}), clip_s=0.2, run_in_s=0.1)


@pytest.fixture(autouse=True)
def inline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rd, "run_tasks", lambda function, jobs, workers: map(function, jobs))


def plan_of(where: str, n: int = 20, spec: RenderSpec = SPEC, **asked: Any) -> rd.Plan:
    return rd.make_plan(spec, open_source(where), n, 0, progress=False, **asked)


def heard_at_the_third_try(monkeypatch: pytest.MonkeyPatch) -> list[np.ndarray]:
    """The dry clips on which a chain was looked for."""
    dries: list[np.ndarray] = []
    render = rd.draw_and_render

    def deaf(spec: RenderSpec, dry: np.ndarray, *rest: Any) -> Any:
        dries.append(dry)
        return render(spec, dry, *rest) if len(dries) == 3 else None

    monkeypatch.setattr(rd, "draw_and_render", deaf)
    return dries


@pytest.mark.parametrize("source", ["synth", "folder"])
def test_every_try_of_a_clip_is_another_recording(
    source: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if source == "folder":
        source = f"folder:{make_folder(tmp_path / 'guitar')}"
    plan = plan_of(source)
    dries = heard_at_the_third_try(monkeypatch)
    draws = [draw_clip(SPEC, 0, "train", 3, attempt) for attempt in range(3)]
    _, record = rd.render_clip(plan, "train", 3, draws[0])
    expected = [take_clip(plan, "train", 3, i, draw) for i, draw in enumerate(draws)]
    for dry, (again, _) in zip(dries, expected, strict=True):
        np.testing.assert_array_equal(dry, again)
    one, other, third = (dry / np.abs(dry).max() for dry in dries)  # whatever their levels
    assert not np.allclose(one, other, atol=1e-3)
    assert not np.allclose(other, third, atol=1e-3)
    assert record["seed"] == [0, 3, 2]
    assert record["item"] == expected[2][1]["item"]
    assert record["after"] == draws[2].after.record()


@pytest.mark.parametrize("pedal_rms", [0.0, 0.1])
def test_a_clip_of_a_later_try_is_made_again_from_its_record(
    pedal_rms: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = dataclasses.replace(SPEC, pedal_rms=pedal_rms)
    plan = plan_of("synth", spec=spec)
    dries = heard_at_the_third_try(monkeypatch)
    wave, record = rd.render_clip(plan, "train", 3)
    recipe = {
        "spec": to_dict(spec),
        "source": "synth",
        "source_digest": plan.scan.digest,
        "seed": 0,
        "split_seed": None,
        "fractions": [0.8, 0.1, 0.1],
    }
    again = remake(record, recipe)
    np.testing.assert_array_equal(again.dry, dries[2])
    np.testing.assert_allclose(again.wet, wave, atol=float(np.abs(wave).max()) / 32767)


def test_each_try_is_played_on_a_guitar_of_its_own() -> None:
    plan = plan_of("synth", spec=dataclasses.replace(SPEC, guitars=1.0))
    one, other = (
        take_clip(plan, "train", 3, attempt, draw_clip(SPEC, 0, "train", 3))[1]["clip"]["guitar"]
        for attempt in (0, 1)
    )
    assert one != other


def test_a_recording_goes_in_at_the_level_of_its_loudest_moment(tmp_path: Path) -> None:
    """Not of the clip's: a soft passage stays softer than the stroke before it."""
    plan = plan_of(f"folder:{make_folder(tmp_path / 'guitar')}")
    peaks = []
    for position in range(8):
        draw = draw_clip(SPEC, 0, "train", position)
        dry, _ = take_clip(plan, "train", position, 0, draw)
        peaks.append(float(np.abs(dry).max()) / 10 ** (draw.input_peak_dbfs / 20))
    assert max(peaks) <= 1.0001
    assert min(peaks) < 0.7


def test_orders_are_told_apart_by_the_clip_alone_at_the_level_and_limit_of_the_spec() -> None:
    chain = ChainSpec(POOLS["okita3"], {3: 1.0})
    spec = dataclasses.replace(
        SPEC, chain=chain, run_in_s=0.5, classes=True, alike_db=2.5, pedal_rms=0.1
    )
    plan = plan_of("synth", spec=spec)
    n_alike = 0
    for position in range(3):
        _, record = rd.render_clip(plan, "test", position)
        draw = draw_clip(spec, 0, "test", position)
        dry, _ = take_clip(plan, "test", position, record["seed"][2], draw)

        def far_db(order: tuple[int, ...], dry: np.ndarray = dry, record: Any = record) -> float:
            pedals = chain_of(record).pedals
            one, other = (
                run_chain(
                    dry,
                    Chain(tuple(pedals[i] for i in places)),
                    RATE_HZ,
                    skip=spec.n_run_in,
                    pedal_rms=0.1,
                )[0]
                for places in ((0, 1, 2), order)
            )
            return mel_distance_db(one, other, RATE_HZ)

        swaps = [far_db(order) for order in ((1, 0, 2), (0, 2, 1))]
        assert record["swap_db"] == pytest.approx(swaps, abs=2e-3)
        others = ((0, 2, 1), (1, 0, 2), (1, 2, 0), (2, 0, 1), (2, 1, 0))
        assert record["alike"] == [[*order] for order in others if far_db(order) <= 2.5]
        n_alike += len(record["alike"])
    assert 0 < n_alike < 15


@pytest.mark.parametrize("split", ["train", "valid", "test"])
def test_every_order_is_played_for_the_test_split_alone(
    split: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    played: list[int] = []
    play_orders = classes.play_orders

    def counted(*args: Any) -> Any:
        played.append(1)
        return play_orders(*args)

    monkeypatch.setattr(classes, "play_orders", counted)
    chain = ChainSpec(POOLS["okita3"], {2: 1.0})
    rd.render_clip(
        plan_of("synth", spec=dataclasses.replace(SPEC, chain=chain, classes=True)), split, 0
    )
    assert bool(played) == (split == "test")


def test_redraws_are_summed_by_pedal_and_by_length() -> None:
    pool = ("chorus", "delay")

    def record(names: tuple[str, ...], redraws: list[str]) -> dict[str, Any]:
        chain = [{"name": name, "settings": {}} for name in names]
        return {"chain": chain, "redraws": redraws, "licence": "CC0-1.0", "clip": {}}

    records = [record(("chorus", "delay"), ["delay"] * 3), record(pool, []), record(pool[:1], [])]
    found = rd.tally_of(records, vocabulary_of(pool)).redraws
    assert found == {"by_pedal": {"delay": 3}, "by_length": {"2": 3, "1": 0}}


@pytest.fixture
def licensed(tmp_path: Path) -> str:
    """Twelve recordings, each under a licence of its own; one of them may be shared."""
    root = make_folder(tmp_path / "guitar")
    names = sorted(path.name for path in root.glob("*.wav"))
    rows = [f"{name},{'MIT' if i == 0 else f'own-{i}'}" for i, name in enumerate(names)]
    (root / "manifest.csv").write_text("\n".join(["file,licence", *rows]))
    return f"folder:{root}"


def test_an_index_holds_the_licences_of_its_clips_and_one_that_is_closed_closes_it(
    licensed: str, tmp_path: Path
) -> None:
    folder = LocalFolder(tmp_path / "r")
    plan = plan_of(licensed, 40, fractions=(1.0, 0.0, 0.0))
    index = rd.render_all(folder, plan, None, lambda shard: None)
    (shard, *_) = index.shards
    used = {r["licence"] for s in index.shards for r in rd.read_records(folder, s)}
    for record in rd.read_records(folder, shard):
        assert record["licence"] == plan.items[record["item"]].licence
    assert set(index.licences) == used
    assert "MIT" in used
    assert not index.shareable
    few = plan_of(licensed, 2, fractions=(1.0, 0.0, 0.0))
    index = rd.render_all(LocalFolder(tmp_path / "few"), few, None, lambda shard: None)
    assert len(index.licences) <= 2


def test_clips_are_found_wherever_shards_begin(tmp_path: Path) -> None:
    folder = LocalFolder(tmp_path)
    plan = plan_of("synth", 11, fractions=(1.0, 0.0, 0.0), shard_size=4)
    index = rd.render_all(folder, plan, None, lambda shard: None)
    clips = list(rd.iter_clips(folder, index, "train", 0, 11))
    assert [record["seed"][1] for _, record in clips] == list(range(11))
    for first, n in ((1, 2), (2, 6), (4, 4), (3, 8), (10, 1)):
        some = list(rd.iter_clips(folder, index, "train", first, n))
        for (wave, record), (same, known) in zip(some, clips[first : first + n], strict=True):
            assert record == known
            np.testing.assert_array_equal(wave, same)


def test_only_shards_that_hold_what_is_asked_for_are_read_however_an_index_lists_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, seen = LocalFolder(tmp_path), []
    plan = plan_of("synth", 3, fractions=(1.0, 0.0, 0.0), shard_size=1)
    index = rd.render_all(folder, plan, None, lambda shard: None)
    turned = dataclasses.replace(index, shards=index.shards[::-1])
    read = folder.read
    monkeypatch.setattr(folder, "read", lambda name, *size: seen.append(name) or read(name, *size))
    found = [record["seed"][1] for _, record in rd.iter_clips(folder, turned, "train", 1, 1)]
    assert found == [1]
    assert sorted(seen) == ["train-000001.jsonl", "train-000001.npy"]


@pytest.mark.parametrize("is_store", [True, False])
def test_a_store_is_asked_for_the_next_shard_while_one_is_used(
    is_store: bool, tmp_path: Path
) -> None:
    seen, asked = [], threading.Event()

    def watched(kind: type[LocalFolder] | type[RemoteFolder], uri: str) -> Folder:
        class Watched(kind):  # type: ignore[valid-type, misc]
            def read(self, name: str, n_bytes: int | None = None) -> bytes:
                seen.append(name)
                if name == "train-000001.jsonl":
                    asked.set()
                return bytes(super().read(name, n_bytes))

        return Watched(uri)

    local = LocalFolder(tmp_path)
    plan = plan_of("synth", 3, fractions=(1.0, 0.0, 0.0), shard_size=1)
    index = rd.render_all(local, plan, None, lambda shard: None)
    folder = watched(LocalFolder, str(tmp_path))
    if is_store:
        folder = watched(RemoteFolder, "memory://renders")
        for name in local.names():
            folder.write(name, local.read(name))
    clips = rd.iter_clips(folder, index, "train", 0, 3)
    first = next(clips)
    assert asked.wait(30 if is_store else 0) == is_store
    assert not [name for name in seen if "000002" in name]
    waves = [wave for wave, _ in (first, *clips)]
    same = [wave for wave, _ in rd.iter_clips(local, index, "train", 0, 3)]
    np.testing.assert_array_equal(waves, same)


def test_shards_that_are_alone_in_their_split_tell_no_size(tmp_path: Path) -> None:
    folder, plan = LocalFolder(tmp_path), plan_of("synth", 20)
    alone = [ShardEntry(f"{s}-000000", s, 0, n, ()) for s, n in plan.n_clips.items()]
    assert rd.settle_shard_size(folder, plan, alone).shard_size == 25
    save_plan(folder, dataclasses.replace(plan, shard_size=18))
    assert rd.settle_shard_size(folder, plan, alone).shard_size == 18
    first = dataclasses.replace(alone[0], n_samples=9)
    assert rd.settle_shard_size(folder, plan, [first]).shard_size == 9
    last = dataclasses.replace(alone[0], name="train-000001", first=9, n_samples=7)
    assert rd.settle_shard_size(folder, plan, [last]).shard_size == 9
    folder.write("plan.json", b"{")
    assert rd.settle_shard_size(folder, plan, alone).shard_size == 25


RECORD = {
    "id": "train-00000000",
    "item": "a",
    "group": "a",
    "split": "train",
    "chain": [],
    "after": {},
    "scale": 1.0,
}
WAVES = np.ones((2, 8), np.int16)


@pytest.mark.parametrize(
    ("waves", "records", "said"),
    [
        (WAVES, [RECORD] * 2, ""),
        (WAVES[:1], [RECORD], "with 1 records, expected 2 clips"),
        (WAVES, [RECORD], "with 1 records, expected 2 clips"),
        (WAVES.astype(np.float32), [RECORD] * 2, "float32"),
        (WAVES[:, 0], [RECORD] * 2, "int16"),
        (WAVES, [{k: v for k, v in RECORD.items() if k != "scale"}] * 2, "scale"),
    ],
)
def test_a_shard_of_another_shape_than_its_index_says_is_refused(
    waves: np.ndarray, records: list[dict[str, Any]], said: str, tmp_path: Path
) -> None:
    folder = LocalFolder(tmp_path)
    files = (
        folder.write("train-000000.npy", pack_npy(waves)),
        folder.write("train-000000.jsonl", pack_records(records)),
    )
    shard = ShardEntry("train-000000", "train", 0, 2, files)
    if said:
        with pytest.raises(FxError, match=said):
            rd.read_shard(folder, shard)
    else:
        assert rd.read_shard(folder, shard)[1] == records


@pytest.mark.parametrize("n_files", [1, 3])
def test_a_shard_of_more_or_fewer_files_than_two_is_refused(n_files: int, tmp_path: Path) -> None:
    folder = LocalFolder(tmp_path)
    file = folder.write("train-000000.npy", pack_npy(WAVES))
    shard = ShardEntry("train-000000", "train", 0, 2, (file,) * n_files)
    with pytest.raises(RenderError, match=f"{n_files} files, expected waves and records"):
        rd.read_shard(folder, shard)


def test_a_plan_of_another_data_set_or_of_another_run_is_not_gone_by(tmp_path: Path) -> None:
    folder, plan = LocalFolder(tmp_path), plan_of("synth")
    file = save_plan(folder, plan)
    assert read_plan(folder, plan.identity, file.sha256) == plan
    asked = (("0" * 64, None), ("0" * 64, file.sha256), (plan.identity, "0" * 64))
    for identity, sha256 in asked:
        with pytest.raises(RenderError, match="is another plan than this render's"):
            read_plan(folder, identity, sha256)


def test_a_plan_that_leaves_a_recording_out_or_does_not_know_its_licence_is_refused(
    tmp_path: Path,
) -> None:
    plan = plan_of(f"folder:{make_folder(tmp_path)}")
    for splits in ({}, dict.fromkeys(plan.splits, "elsewhere")):
        with pytest.raises(ContractError, match="is in no split"):
            dataclasses.replace(plan, splits=splits)
    with pytest.raises(ContractError, match="is not among those stated"):
        dataclasses.replace(plan, scan=dataclasses.replace(plan.scan, licences={}))
    with pytest.raises(ContractError, match="clips by split are"):
        dataclasses.replace(plan, n_clips=plan.n_clips | {"test": -1})
    plan = plan_of("synth")
    two = dataclasses.replace(plan.scan, licences=plan.scan.licences | {"MIT": LICENCES["MIT"]})
    with pytest.raises(ContractError, match="2 licences of what is played, expected one"):
        dataclasses.replace(plan, scan=two)


@pytest.mark.parametrize(
    ("version", "more"),
    [("PHRASE_VERSION", {"phrases": 0.5}), ("GUITAR_VERSION", {"guitars": 0.5})],
)
def test_what_is_drawn_by_another_version_is_another_data_set(
    version: str, more: dict[str, float], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = f"folder:{make_folder(tmp_path / 'guitar', n_groups=8)}"
    plain, plan = plan_of(source), plan_of(source, spec=dataclasses.replace(SPEC, **more))
    before = plain.identity, plan.identity
    monkeypatch.setattr(plans, version, getattr(plans, version) + 1)
    assert plain.identity == before[0]
    assert plan.identity != before[1]


@pytest.mark.parametrize(
    "key", ["guitar", "pickup", "signal", "player", "kind", "midi", "string", "fret"]
)
def test_all_that_phrases_go_by_is_in_their_identity(key: str, tmp_path: Path) -> None:
    source = f"folder:{make_folder(tmp_path, n_groups=8)}"
    plan = plan_of(source, spec=dataclasses.replace(SPEC, phrases=0.5))
    first, *others = plan.scan.items
    told = dataclasses.replace(first, meta=first.meta | {key: "5"})
    scan = dataclasses.replace(plan.scan, items=(told, *others))
    assert dataclasses.replace(plan, scan=scan).identity != plan.identity
