"""Pinned: a change here would silently make other data under the identity of before."""

from __future__ import annotations

import dataclasses

import pytest

from fxpipe.chains.chain import ChainSpec, generator
from fxpipe.pedals import POOLS
from fxpipe.render import After, ClipDraw, RenderSpec, draw_clip
from fxpipe.sources import Item, assign_splits
from fxpipe.sources.phrases import Phrase, draw_phrase
from fxpipe.sources.pickups import draw_guitar
from fxpipe.sources.players import stock_of

SPEC = RenderSpec(ChainSpec(POOLS["stompbox"]))


def test_groups_go_to_the_split_that_they_always_went_to() -> None:
    groups = [f"g{k}" for k in range(12)]
    for seed, valid, test in ((0, "g1", "g10"), (1, "g0", "g7")):
        expected = dict.fromkeys(groups, "train") | {valid: "valid", test: "test"}
        assert assign_splits(groups, seed=seed) == expected


@pytest.mark.parametrize(
    ("attempt", "expected"),
    [
        (
            0,
            ClipDraw(
                5, 0.6771968569751019, 0.2429867485428212, -7.6588, After(50.3465, 9530.0, 6.4939)
            ),
        ),
        (
            1,
            ClipDraw(
                5, 0.8382711479571602, 0.08372444856512495, -7.5886, After(54.5426, 843.53, -0.3125)
            ),
        ),
    ],
)
def test_a_clip_is_cut_and_levelled_as_it_always_was(attempt: int, expected: ClipDraw) -> None:
    found = dataclasses.asdict(draw_clip(SPEC, 0, "train", 0, attempt))
    wanted = dataclasses.asdict(expected)
    assert found.pop("after") == pytest.approx(wanted.pop("after"), abs=1e-9)
    assert found == pytest.approx(wanted, abs=1e-9)


def test_another_guitar_is_the_one_it_always_was() -> None:
    found = dataclasses.asdict(draw_guitar(generator(0, "train", 0, "guitar", 0)))
    expected = {
        "bass_db": -1.618,
        "mid_hz": 1425.347,
        "mid_db": -4.772,
        "treble_db": -3.312,
        "comb_ms": 0.19,
        "comb_depth": -0.278,
        "resonance_hz": 5775.005,
        "resonance_q": 1.714,
        "hum_hz": 60.0,
        "hum_db": -55.392,
        "hiss_db": -65.284,
    }
    assert found == pytest.approx(expected, abs=2e-3)


def phrase_of(position: int) -> Phrase:
    told = [{"string": 1 + k % 6, "fret": k % 5, "midi": 40 + k} for k in range(11)]
    metas = [{"guitar": "g", **meta} for meta in (*told, {"kind": "lick"})]
    items = [
        Item(f"{k:02d}", "g", "", 110_250, 44_100, "MIT", 0.5, ((0.0, 2.4),), meta)
        for k, meta in enumerate(metas)
    ]
    rng = generator(0, "train", position, "phrase", 1)
    return draw_phrase(stock_of(items), 0.3, rng, run_in_s=0.1, clip_s=0.6)


def test_a_phrase_is_the_one_it_always_was() -> None:
    seeds = [phrase_of(position).hiss_seed for position in range(4)]
    assert seeds == [1709905450, 3287062969, 918615441, 1779621441]
    phrase = phrase_of(1)
    assert (phrase.tempo_bpm, phrase.grid, phrase.touch) == (120.69, "eighths", "mute")
    assert [note.item for note in phrase.notes] == ["02", "04", "03", "03", "03"]
    onsets_s = [note.onset_s for note in phrase.notes]
    assert onsets_s == pytest.approx([-0.04693, 0.19773, 0.44457, 0.53362, 0.6927], abs=2e-5)
    holds_s = [note.hold_s for note in phrase.notes]
    assert holds_s == pytest.approx([0.0498, 0.2486, 0.066, 0.6562, 0.0411], abs=2e-4)
    gains_db = [note.gain_db for note in phrase.notes]
    assert gains_db == pytest.approx([8.56, 5.31, 9.8, 8.16, 5.71], abs=0.02)
