"""Phrases: who plays, what is drawn, what is heard."""

from __future__ import annotations

import dataclasses
import json
import math
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fixtures.datasets import pluck
from fxpipe.chains.chain import ChainSpec
from fxpipe.pedals import POOLS
from fxpipe.render import RenderSpec
from fxpipe.sources import Item
from fxpipe.sources.base import KINDS
from fxpipe.sources.phrases import (
    GRIDS,
    TARGET_SOUNDING,
    Phrase,
    PhraseNote,
    draw_phrase,
    play_phrase,
    sounding_share,
)
from fxpipe.sources.players import (
    DOUBLE_STOPS,
    ONE_STROKE,
    SEVERAL_STROKES,
    SPAN_FRETS,
    SPAN_SEMITONES,
    anchor_of,
    draw_ladder,
    stock_of,
)
from fxtrain.contract import from_dict

RATE_HZ = 44_100
SPEC = RenderSpec(ChainSpec(POOLS["okita3"], {1: 1.0}), clip_s=1.0, run_in_s=0.25, phrases=0.7)


def item_of(name: str, *regions: tuple[float, float], **meta: str | int | float) -> Item:
    sounding = regions or ((0.0, 2.5),)
    n_samples = round((sounding[-1][1] + 0.1) * RATE_HZ)
    licence = str(meta.pop("licence", "CC0-1.0"))
    return Item(name, f"g-{name}", "", n_samples, RATE_HZ, licence, 0.5, sounding, meta)


def fretboard(pickup: str = "neck") -> list[Item]:
    """Six strings of 13 frets: 78 notes, some at one pitch."""
    return [
        item_of(f"{pickup}-{s}-{f}", guitar="g", pickup=pickup, string=s, fret=f, midi=open_ + f)
        for s, open_ in enumerate((64, 59, 55, 50, 45, 40), start=1)
        for f in range(13)
    ]


def phrase_of(items: list[Item], seed: int = 0, clip_s: float = 2.0, run_in_s: float = 0.5):
    rng = np.random.default_rng(seed)
    return draw_phrase(stock_of(items), rng.random(), rng, run_in_s=run_in_s, clip_s=clip_s)


# Who plays


def test_a_player_is_a_guitar_through_a_pickup_under_one_licence() -> None:
    items = [*fretboard("neck"), *fretboard("bridge")]
    items += [dataclasses.replace(item, licence="CC-BY-4.0") for item in fretboard("neck")]
    players = stock_of(items)
    assert [len(player) for player in players] == [78, 78, 78]
    for player in players:
        assert len({(p.item.licence, p.item.meta["pickup"]) for p in player}) == 1


def test_without_a_guitar_a_folder_is_the_player() -> None:
    players = stock_of([item_of(f"{folder}/{k}.wav") for folder in "ab" for k in range(3)])
    assert [{p.item.item_id[0] for p in player} for player in players] == [{"a"}, {"b"}]


def test_those_who_are_alone_play_together_under_one_licence() -> None:
    free = [item_of(f"{folder}/x.wav") for folder in "abc"]
    other = item_of("d/x.wav", licence="CC-BY-4.0")
    (player,) = stock_of([*free, other])
    assert [p.item for p in player] == free


def test_long_recordings_are_phrases_already() -> None:
    long = item_of("a/long.wav", (0.0, 15.2))
    late = item_of("a/late.wav", (12.0, 16.0), lead_in_s=12.0)
    (player,) = stock_of([long, late, item_of("a/x.wav")])
    assert "a/long.wav" not in {p.item.item_id for p in player}
    assert len(player) == 2


@pytest.mark.parametrize(
    ("meta", "sounds_s", "is_lick"),
    [
        ({}, 2.9, False),
        ({}, 3.1, True),
        ({"midi": 57}, 4.9, False),
        ({"midi": "57"}, 4.9, False),
        ({"kind": "note"}, 4.9, False),
        ({"kind": "double stop"}, 4.9, False),
        ({"kind": "chord"}, 4.9, False),
        ({"kind": "recording"}, 2.9, False),
        ({"kind": "recording"}, 3.1, True),
        ({"kind": "scale"}, 1.0, True),
        ({"kind": "phrase"}, 9.0, True),
        ({"kind": "lick"}, 1.0, True),
        ({"kind": "lick", "midi": 57}, 1.0, True),
    ],
)
def test_what_is_a_note_and_what_a_lick(meta: dict, sounds_s: float, is_lick: bool) -> None:
    items = [item_of(f"a/{k}.wav", (0.0, sounds_s), **meta) for k in range(2)]
    pieces = stock_of(items)[0]
    assert [p.is_lick for p in pieces] == [is_lick, is_lick]
    assert pieces[0].is_chord == (meta.get("kind") in ("chord", "double stop"))


def test_the_kinds_are_those_that_sources_know() -> None:
    assert set(KINDS) - {"recording"} == ONE_STROKE | SEVERAL_STROKES


def test_every_recording_is_the_centre_of_a_phrase_equally_often() -> None:
    stock = stock_of([*fretboard("neck"), *fretboard("bridge")])
    anchors = [anchor_of(stock, (k + 0.5) / 156)[1].item.item_id for k in range(156)]
    assert len(set(anchors)) == 156
    with pytest.raises(IndexError):
        anchor_of(stock, 1.0)


@given(st.integers(0, 10**6))
@settings(max_examples=60, deadline=None)
def test_a_melody_stays_in_one_position_and_one_scale(seed: int) -> None:
    rng = np.random.default_rng(seed)
    player, anchor = anchor_of(stock_of(fretboard()), float(rng.random()))
    ladder = draw_ladder(rng, player, anchor)
    frets = [p.fret for rung in ladder for p in rung]
    assert max(frets) - min(frets) <= SPAN_FRETS
    pitches = [{p.midi for p in rung} for rung in ladder]
    assert all(len(rung) == 1 for rung in pitches)
    line = [next(iter(rung)) for rung in pitches]
    assert line == sorted(line)
    assert any(anchor in rung for rung in ladder)
    assert len({midi % 12 for midi in line}) <= 7


def test_pitches_without_frets_stay_near_one_another() -> None:
    items = [item_of(f"a/{midi}.wav", midi=midi) for midi in range(40, 88)]
    for seed in range(30):
        rng = np.random.default_rng(seed)
        player, anchor = anchor_of(stock_of(items), float(rng.random()))
        pitches = [p.midi for rung in draw_ladder(rng, player, anchor) for p in rung]
        assert max(pitches) - min(pitches) <= SPAN_SEMITONES


def test_a_sparse_split_widens_the_position() -> None:
    items = [item_of(f"a/{midi}.wav", midi=midi) for midi in (40, 52, 64, 76, 88)]
    rng = np.random.default_rng(0)
    player, anchor = anchor_of(stock_of(items), 0.0)
    assert len(draw_ladder(rng, player, anchor)) >= 4


# What is drawn


metas = st.sampled_from(
    [{}, {"kind": "lick"}, {"kind": "chord"}, {"midi": 50}, {"midi": 57, "string": 3, "fret": 2}]
)


@st.composite
def items_of_one_player(draw: st.DrawFn) -> list[Item]:
    items = []
    for k in range(draw(st.integers(2, 8))):
        steps = draw(st.lists(st.integers(2, 40), min_size=2, max_size=6))
        times = np.cumsum([draw(st.integers(0, 10)), *steps]) / 20
        regions = [(float(a), float(b)) for a, b in zip(times[::2], times[1::2], strict=False)]
        items.append(item_of(f"a/{k}.wav", *regions, **draw(metas)))
    return items


@given(items_of_one_player(), st.integers(0, 10**6), st.sampled_from([0.5, 2.0, 5.0]))
@settings(max_examples=150, deadline=None)
def test_enough_of_the_clip_sounds_whatever_is_drawn(
    items: list[Item], seed: int, clip_s: float
) -> None:
    phrase = phrase_of(items, seed, clip_s)
    by_id = {item.item_id: item for item in items}
    times = 0.5 + np.arange(0, clip_s, 0.001)
    heard = np.zeros(len(times), bool)
    for note in phrase.notes:
        since = times - note.onset_s
        there = note.start_s + since
        played = (since >= 0) & (since <= note.hold_s + note.fade_s)
        sounds = [(there >= a) & (there <= b) for a, b in by_id[note.item].sounding]
        heard |= played & np.logical_or.reduce(sounds)
        assert note.group == by_id[note.item].group
        assert 0 < note.hold_s <= 14.0
        assert 0.004 < note.fade_s < 0.13
    assert heard.mean() >= TARGET_SOUNDING - 0.01
    onsets = [note.onset_s for note in phrase.notes]
    assert onsets == sorted(onsets)


def test_the_same_generator_draws_the_same_phrase() -> None:
    assert phrase_of(fretboard(), 3) == phrase_of(fretboard(), 3)
    assert phrase_of(fretboard(), 3) != phrase_of(fretboard(), 4)


def test_a_phrase_survives_its_record() -> None:
    phrase = phrase_of(fretboard())
    data = json.loads(json.dumps(dataclasses.asdict(phrase)))
    assert from_dict(Phrase, data, "x") == phrase


def test_several_recordings_sound_in_every_clip() -> None:
    licks = [item_of(f"a/{k}.wav", (0.0, 6.0), kind="lick") for k in range(3)]
    for items in (fretboard(), licks):
        for seed in range(60):
            phrase = phrase_of(items, seed)
            heard = {n.item for n in phrase.notes if n.onset_s + n.hold_s > 0.5}
            assert len(heard) > 1


def test_notes_lie_on_the_grid_but_for_a_human_jitter() -> None:
    on_grid = Counter[bool]()
    for seed in range(200):
        phrase = phrase_of(fretboard(), seed)
        if phrase.grid == "swing" or phrase.touch == "mute":  # uneven, or filled between the lines
            continue
        step_s = 60 / phrase.tempo_bpm / GRIDS[phrase.grid][1]
        turns = np.exp(2j * np.pi * np.array([n.onset_s for n in phrase.notes]) / step_s)
        off_s = np.angle(turns / turns.mean()) / (2 * np.pi) * step_s
        slack_s = 2 * 2.5 * phrase.jitter_ms / 1000 + 0.025  # two of them, and a struck chord
        on_grid.update((np.abs(off_s) <= slack_s).tolist())
        assert 1 <= phrase.jitter_ms <= 7
    assert on_grid[True] > 500
    assert on_grid[True] >= 0.97 * on_grid.total()


def test_swing_delays_the_second_eighth() -> None:
    swung = [p for p in (phrase_of(fretboard(), seed) for seed in range(200)) if p.grid == "swing"]
    assert swung
    assert all(0.56 <= p.swing <= 0.7 for p in swung)
    phrase = max(swung, key=lambda p: len(p.notes))
    beat_s = 60 / phrase.tempo_bpm
    gaps = np.diff([n.onset_s for n in phrase.notes]) / beat_s
    longest = gaps[(gaps > 0.2) & (gaps < 0.8)]
    assert np.abs(longest - 0.5).min() > 0.02  # long-short, never even


def strokes_of(phrase: Phrase, items: list[Item]) -> list[list[Item]]:
    """Notes less than 26 ms apart count as struck together (jitter is the stroke's own)."""
    by_id = {item.item_id: item for item in items}
    groups: list[list[PhraseNote]] = []
    for note in phrase.notes:
        if groups and note.onset_s - groups[-1][0].onset_s < 0.026:
            groups[-1].append(note)
        else:
            groups.append([note])
    return [[by_id[note.item] for note in group] for group in groups]


def test_double_stops_are_playable() -> None:
    items = fretboard()
    sizes = Counter[int]()
    for seed in range(150):
        for struck in strokes_of(phrase_of(items, seed), items):
            sizes[len(struck)] += 1
            if len(struck) == 2:
                first, second = struck
                assert first.meta["string"] != second.meta["string"]
                assert abs(first.meta["midi"] - second.meta["midi"]) in DOUBLE_STOPS
    assert sizes[2] > 20
    assert 0 < sizes[3] < sizes[2] < sizes[1]


def test_a_string_that_is_struck_again_stops_ringing() -> None:
    items = fretboard()
    strings = {item.item_id: item.meta["string"] for item in items}
    rung = 0
    for seed in range(80):
        phrase = phrase_of(items, seed)
        if phrase.touch != "ring":
            continue
        for k, note in enumerate(phrase.notes):
            again = [n for n in phrase.notes[k + 1 :] if strings[n.item] == strings[note.item]]
            if again:
                assert note.onset_s + note.hold_s <= again[0].onset_s + 0.06  # jitter of both
            rung += note.hold_s > 1.0
    assert rung > 50


def test_touches_differ_in_length() -> None:
    holds: dict[str, list[float]] = {"ring": [], "damp": [], "mute": []}
    for seed in range(120):
        phrase = phrase_of(fretboard(), seed)
        holds[phrase.touch] += [note.hold_s for note in phrase.notes]
    medians = [np.median(holds[touch]) for touch in ("mute", "damp", "ring")]
    assert medians == sorted(medians)
    assert medians[0] < 0.1 < medians[1]


def test_chords_and_licks_of_the_same_player_come_in() -> None:
    chords = [item_of(f"c{k}", guitar="g", pickup="neck", kind="chord") for k in range(5)]
    licks = [item_of(f"l{k}", (0.0, 8.0), guitar="g", pickup="neck", kind="lick") for k in range(3)]
    used = Counter[str]()
    for seed in range(120):
        for note in phrase_of([*fretboard(), *chords, *licks], seed).notes:
            used[note.item[0]] += 1
            assert note.is_lick == (note.item[0] == "l")
            if note.is_lick:
                assert note.hold_s <= 4 * 60 / 72 + 1e-3
                assert 0 <= note.start_s <= 8
    assert used["n"] > used["c"] > 0 < used["l"]


# What is heard


def recordings(at_s: float = 0.083) -> dict[str, np.ndarray]:
    """Two notes that are struck ``at_s`` after their start."""
    lead = np.zeros(round(at_s * RATE_HZ), np.float32)
    return {name: np.concatenate([lead, pluck(midi, 2.0)]) for name, midi in (("a", 52), ("b", 76))}


def one_note(**changes: float | str | bool) -> Phrase:
    note = PhraseNote("a", "g", False, 0.05, 0.3, 0.0, 0.4, 0.02)
    notes = (dataclasses.replace(note, **changes),)
    return Phrase(120.0, "eighths", 0.5, "damp", 0.0, -math.inf, 1, notes)  # without hiss


def heard(phrase: Phrase, n_samples: int = RATE_HZ, **kwargs: float) -> np.ndarray:
    audio = recordings(**kwargs)
    return play_phrase(phrase, audio.__getitem__, n_samples=n_samples, sample_rate_hz=RATE_HZ)


@pytest.mark.parametrize("at_s", [0.0, 0.031, 0.083, 0.21])
def test_the_stroke_falls_on_the_onset_wherever_the_recording_has_it(at_s: float) -> None:
    wave = heard(one_note(), at_s=at_s)
    loud = np.flatnonzero(np.abs(wave) > 0.1)
    assert loud[0] / RATE_HZ == pytest.approx(0.3, abs=0.002)
    assert not wave[: round(0.295 * RATE_HZ)].any()


def test_a_note_is_held_then_faded_then_gone() -> None:
    wave = heard(one_note())
    end = round((0.3 + 0.4 + 0.02 + 0.002) * RATE_HZ)
    assert np.abs(wave[round(0.65 * RATE_HZ) : round(0.69 * RATE_HZ)]).max() > 0.1
    assert not wave[end:].any()
    assert np.abs(np.diff(wave)).max() < 0.3  # no click where it ends


def test_gain_is_in_decibels() -> None:
    np.testing.assert_allclose(
        heard(one_note(gain_db=-6.0)), heard(one_note()) * 10 ** (-6 / 20), atol=1e-7
    )


def test_hiss_lies_under_the_notes_and_is_the_seeds_own() -> None:
    quiet, loud = one_note(), dataclasses.replace(one_note(), hiss_db=-60.0)
    hiss = heard(loud) - heard(quiet)
    peak = float(np.abs(heard(quiet)).max())
    assert float(np.sqrt(np.mean(hiss**2))) == pytest.approx(peak / 1000, rel=0.02)
    np.testing.assert_array_equal(heard(loud), heard(loud))
    other = heard(dataclasses.replace(loud, hiss_seed=2))
    assert np.abs(other - heard(loud)).max() > 0
    assert all(-80 <= phrase_of(fretboard(), seed).hiss_db <= -62 for seed in range(20))


def test_what_lies_outside_the_phrase_is_cut() -> None:
    np.testing.assert_array_equal(
        heard(one_note(onset_s=-0.1))[: round(0.2 * RATE_HZ)],
        heard(one_note(onset_s=0.3))[round(0.4 * RATE_HZ) : round(0.6 * RATE_HZ)],
    )
    assert heard(one_note(onset_s=0.95)).shape == (RATE_HZ,)
    assert not heard(one_note(onset_s=-3.0)).any()


def test_a_recording_that_ends_early_ends_without_a_click() -> None:
    short = {"a": np.full(4410, 0.5, np.float32)}
    wave = play_phrase(
        one_note(hold_s=2.0), short.__getitem__, n_samples=RATE_HZ, sample_rate_hz=RATE_HZ
    )
    assert np.abs(np.diff(wave[round(0.31 * RATE_HZ) :])).max() < 0.01


def test_a_lick_is_taken_from_a_stroke_on() -> None:
    lick = np.zeros(3 * RATE_HZ, np.float32)
    for at_s, midi in ((0.2, 52), (1.0, 59), (1.8, 64)):
        first = round(at_s * RATE_HZ)
        lick[first : first + RATE_HZ // 2] += pluck(midi, 0.5)
    wave = play_phrase(
        one_note(is_lick=True, start_s=1.4, hold_s=0.6),
        {"a": lick}.__getitem__,
        n_samples=RATE_HZ,
        sample_rate_hz=RATE_HZ,
    )
    begin, n = round(0.301 * RATE_HZ), RATE_HZ // 3
    near = [np.abs(wave[begin : begin + n] - lick[k : k + n]).max() for k in _about(1.001)]
    assert min(near) < 1e-6


def _about(at_s: float) -> range:
    return range(round((at_s - 0.003) * RATE_HZ), round((at_s + 0.003) * RATE_HZ))


def test_the_share_that_sounds() -> None:
    wave = np.zeros(RATE_HZ, np.float32)
    assert sounding_share(wave, RATE_HZ) == 0.0
    wave[: RATE_HZ // 2] = 0.001  # however soft: level comes later
    assert sounding_share(wave, RATE_HZ) == pytest.approx(0.5, abs=0.05)
