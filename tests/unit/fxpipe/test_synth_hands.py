"""The synthetic guitarist's hands: gestures, and what gets in besides the notes."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.signal import spectrogram

from fxpipe.sources.gestures import Hand, besides, choked, fall, rake, shaken
from fxpipe.sources.guitars import GUITARS
from fxpipe.sources.noises import Squeak, squeaked
from fxpipe.sources.score import play_legato, play_tremolo
from fxpipe.sources.strings import SAMPLE_RATE_HZ, Note
from fxpipe.sources.synth import draw_hand, record, set_up

GUITAR = GUITARS["double_cut_sss"]
HAND = Hand(GUITAR.open_midi, 0.5, 3.0, 0.6, 80.0, 0.3, 0.0)
NOISY = replace(HAND, noisy=1.0, open_rings=1.0)
LINE = [Note(1, fret, 0.5 * n, 0.5 * n + 0.45, 0.7, 80.0) for n, fret in enumerate((3, 7, 2, 9))]


def test_quiet_hands_add_nothing() -> None:
    assert besides(np.random.default_rng(0), GUITAR, HAND, LINE) == ([], [])


def test_noisy_hands_add_faint_strings_and_squeaks() -> None:
    faint, squeaks = [], []
    for seed in range(40):
        more = besides(np.random.default_rng(seed), GUITAR, NOISY, LINE)
        faint += more[0]
        squeaks += more[1]
    assert len(squeaks) > 10
    assert all(squeak.string < 6 - GUITAR.strings.n_plain for squeak in squeaks)
    assert all(squeak.onset_s + squeak.length_s <= LINE[-1].onset_s for squeak in squeaks)
    brushed = [note for note in faint if note.mute > 0.0]
    ringing = [note for note in faint if note.mute == 0.0]
    assert min(len(brushed), len(ringing)) > 10
    assert all(note.faint_db >= 10.0 and note.legato for note in faint)
    assert all(note.end_s - note.onset_s < 0.16 for note in brushed)
    assert all(note.string != 1 and note.fret == 0 for note in ringing)  # 1 is played


def test_dead_strokes_draw_nothing_besides() -> None:
    dead = [replace(note, mute=0.95) for note in LINE]
    assert besides(np.random.default_rng(0), GUITAR, NOISY, dead) == ([], [])


def test_accidents_are_in_the_take_and_far_below_the_notes() -> None:
    rig = set_up(np.random.default_rng(3)).rig
    peaks = []
    for hand in (HAND, NOISY):
        _, levels = record(np.random.default_rng(4), rig, hand, LINE, 2 * SAMPLE_RATE_HZ)
        peaks.append(levels.n_by_accident)
    assert peaks[0] == 0 < peaks[1]


def test_the_pick_touches_a_ringing_string_before_it_strikes_again() -> None:
    first, second = Note(1, 0, 0.0, 5.0, 0.7, 80.0), Note(1, 2, 1.0, 5.0, 0.7, 80.0)
    assert choked([first, second])[0].end_s == 1.0
    assert choked([first, second], 0.015)[0].end_s == pytest.approx(0.985)
    hammered = replace(second, legato=True)
    assert choked([first, hammered], 0.015)[0].end_s == 1.0


def test_a_squeak_rises_and_falls_with_the_speed_of_the_finger() -> None:
    speed_m_s, string = 0.6, 1
    squeak = Squeak(string, 0.1, 0.2, speed_m_s)
    audio = squeaked(np.random.default_rng(0), GUITAR.strings, [squeak], SAMPLE_RATE_HZ // 2)
    winding_m = 0.5 * (1.0 - GUITAR.strings.core_ratio) * GUITAR.strings.gauges_in[string] * 25.4e-3
    freqs_hz, times_s, power = spectrogram(audio, SAMPLE_RATE_HZ, nperseg=1024, noverlap=896)
    fastest = power[:, np.argmin(np.abs(times_s - 0.2))]
    assert freqs_hz[np.argmax(fastest)] == pytest.approx(speed_m_s / winding_m, rel=0.06)
    slower = power[:, np.argmin(np.abs(times_s - 0.15))]
    assert freqs_hz[np.argmax(slower)] < 0.85 * speed_m_s / winding_m
    assert not audio[: int(0.1 * SAMPLE_RATE_HZ)].any()
    assert not audio[int(0.3 * SAMPLE_RATE_HZ) + 1 :].any()
    assert np.abs(audio).max() < 2.0


def test_squeaks_outside_the_clip_are_silent() -> None:
    squeaks = [Squeak(0, -0.3, 0.1, 0.5), Squeak(0, 9.0, 0.1, 0.5)]
    assert not squeaked(np.random.default_rng(0), GUITAR.strings, squeaks, 1000).any()


def test_a_clip_may_open_within_a_squeak() -> None:
    whole = squeaked(np.random.default_rng(0), GUITAR.strings, [Squeak(0, 0.0, 0.1, 0.5)], 5000)
    rest = squeaked(np.random.default_rng(0), GUITAR.strings, [Squeak(0, -0.05, 0.1, 0.5)], 5000)
    assert np.array_equal(whole[2205:4410], rest[:2205])


def test_a_rake_leads_over_dead_strings_into_its_note() -> None:
    note = Note(4, 7, 0.3, 1.0, 0.8, 80.0)
    struck = rake(np.random.default_rng(1), HAND, note)
    assert [dead.string for dead in struck] == list(range(4 - len(struck), 4))
    assert all(dead.mute > 0.9 and dead.onset_s < 0.3 for dead in struck)
    assert len(struck) in (2, 3)


def test_a_fall_ends_below_its_fret() -> None:
    (start_s, level), (end_s, low) = fall(0.5, 4)
    assert (level, low) == (0.0, -4.0)
    assert 0.0 < start_s < end_s


def test_the_arm_moves_all_strings_but_bent_ones_alike() -> None:
    notes = [*LINE, replace(LINE[0], bend=((0.0, 0.0), (0.1, 1.0)))]
    moved = shaken(np.random.default_rng(0), notes)
    assert len({note.vibrato for note in moved[:-1]}) == 1
    assert moved[0].vibrato[1] > 0.0
    assert moved[-1].vibrato == (0.0, 0.0)


def test_legato_is_mostly_not_picked_and_tremolo_always() -> None:
    hands = [draw_hand(np.random.default_rng(n), GUITAR, 0.6, 3.0) for n in range(20)]
    legato = [
        n for i, hand in enumerate(hands) for n in play_legato(np.random.default_rng(i), hand)
    ]
    assert 0.5 < np.mean([note.legato for note in legato]) < 1.0
    for seed, hand in enumerate(hands):
        picked = play_tremolo(np.random.default_rng(seed), hand)
        gaps_s = np.diff([note.onset_s for note in picked])
        assert not any(note.legato for note in picked)
        assert 0.06 < np.median(gaps_s) < 0.15
