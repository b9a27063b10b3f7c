"""How hard the notes of a phrase are struck, and which stretch of a lick is played."""

from __future__ import annotations

import dataclasses
import itertools

import numpy as np
import pytest

from fxpipe.sources import Item
from fxpipe.sources.phrases import Phrase, PhraseNote, draw_phrase
from fxpipe.sources.players import draw_ladder, stock_of


def item_of(name: str, end_s: float = 2.5, **meta: str | int) -> Item:
    n_samples = round((end_s + 0.1) * 44_100)
    told = {"guitar": "g", **meta}
    return Item(name, name, "", n_samples, 44_100, "MIT", 0.5, ((0.0, end_s),), told)


NOTES = [
    item_of(f"{string}-{fret}", string=string, fret=fret, midi=open_ + fret)
    for string, open_ in enumerate((64, 59, 55, 50, 45, 40), start=1)
    for fret in range(6)
]
LICKS = [item_of(f"l{k}", 3.0, kind="lick") for k in range(3)]


def phrase_of(items: list[Item], seed: int) -> Phrase:
    rng = np.random.default_rng(seed)
    return draw_phrase(stock_of(items), rng.random(), rng, run_in_s=0.5, clip_s=2.0)


def test_recordings_are_brought_to_one_peak_first() -> None:
    softer = [dataclasses.replace(item, peak=0.25) for item in NOTES]
    for seed in range(5):
        one, other = (phrase_of(items, seed) for items in (NOTES, softer))
        gains = [(b.gain_db - a.gain_db) for a, b in zip(one.notes, other.notes, strict=True)]
        assert gains == pytest.approx([6.02] * len(gains), abs=0.02)


def test_what_is_struck_at_once_grows_softer_from_string_to_string() -> None:
    falls_db = []
    for seed in range(60):
        notes = phrase_of(NOTES, seed).notes
        for one, other in itertools.pairwise(notes):
            if 0.001 < other.onset_s - one.onset_s < 0.012:
                falls_db.append(round(one.gain_db - other.gain_db, 1))
    assert len(falls_db) > 20
    assert falls_db.count(1.5) > 0.8 * len(falls_db)


def test_a_stretch_of_a_lick_ends_before_the_lick_does() -> None:
    stretches: list[PhraseNote] = []
    for seed in range(40):
        stretches += [note for note in phrase_of([*NOTES, *LICKS], seed).notes if note.is_lick]
    assert len(stretches) > 20
    assert all(note.start_s >= 0 and note.start_s + note.hold_s <= 3.001 for note in stretches)
    assert max(note.start_s for note in stretches) > 1.0


def test_a_phrase_without_pitches_keeps_to_what_is_like_its_first_recording() -> None:
    chords = [item_of(f"c{k}", kind="chord") for k in range(3)]
    for anchor, like in ((chords[0], chords), (LICKS[0], LICKS)):
        (player,) = stock_of([*chords, *LICKS])
        piece = next(piece for piece in player if piece.item == anchor)
        for seed in range(10):
            ladder = draw_ladder(np.random.default_rng(seed), player, piece)
            items = [p.item for rung in ladder for p in rung]
            assert anchor in items
            assert len(items) > 1
            assert all(item in like for item in items)
    (pair,) = stock_of([chords[0], LICKS[0]])
    assert len(draw_ladder(np.random.default_rng(0), pair, pair[0])) == 2
