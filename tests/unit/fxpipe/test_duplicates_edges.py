"""Copies of which a part alone is alike, quiet ends, and places between two samples."""

from __future__ import annotations

import numpy as np
import pytest
import soxr

from fxpipe.sources import Item, duplicates
from fxpipe.sources.likeness import RATE_HZ, Alignment, alignments, course_of, excerpts, likeness


def noise(n_samples: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).uniform(-0.5, 0.5, n_samples).astype(np.float32)


def item_of(name: str) -> Item:
    return Item(name, name, f"{name}.wav", 6 * RATE_HZ, RATE_HZ, "cc0", 1.0, ((0.0, 6.0),))


def test_the_best_of_all_excerpts_decides(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first pair that is compared is another take, the second is the same performance."""
    waves = (np.zeros(8, np.int16), np.ones(8, np.int16))
    monkeypatch.setattr(duplicates, "_hear", lambda item: waves)
    monkeypatch.setattr(duplicates, "_near", lambda *_: [(0, 2), (1, 3), (0, 3)])
    monkeypatch.setattr(duplicates, "course_of", lambda wave: None)
    found = iter([0.2, 0.99])
    monkeypatch.setattr(duplicates, "best_likeness", lambda *_: next(found))
    sides = {"a": "train", "b": "test"}
    (copy,) = duplicates.find_copies([item_of("a"), item_of("b")], sides).copies
    assert (copy.item.item_id, copy.other.item_id, copy.likeness) == ("a", "b", 0.99)
    assert next(found, None) is None  # once it is found nothing more is compared


def test_places_that_are_not_likely_are_not_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    places = [Alignment(0.9, duplicates.SAME_COURSE - 0.01), Alignment(0.5, duplicates.SAME_COURSE)]
    monkeypatch.setattr(duplicates, "alignments", lambda *_: places)
    monkeypatch.setattr(duplicates, "likeness", lambda a, b, lag_s: lag_s)
    wave = stored(noise(RATE_HZ))
    course = course_of(wave)
    assert duplicates.best_likeness(wave, wave, course, course) == 0.5


def test_what_lies_far_below_the_loudest_is_no_excerpt() -> None:
    loud, soft = noise(4 * RATE_HZ), noise(12 * RATE_HZ, seed=1)
    assert len(excerpts(np.concatenate([loud, 0.3 * soft]), RATE_HZ)) > 1
    assert len(excerpts(np.concatenate([loud, 0.03 * soft]), RATE_HZ)) == 1


def test_an_alignment_lies_between_the_samples_of_its_course() -> None:
    whole = (32767 * noise(3 * RATE_HZ)).astype(np.int16)
    best = alignments(course_of(whole), course_of(whole[1001:]))[0]
    assert best.lag_s == pytest.approx(1001 / RATE_HZ, abs=3e-5)
    assert best.similarity > 0.6


def stored(wave: np.ndarray) -> np.ndarray:
    return np.round(32767 * wave).astype(np.int16)


@pytest.mark.parametrize("lag", [0, 1001, 8000])
def test_it_is_all_one_which_of_two_excerpts_begins_first(lag: int) -> None:
    whole = stored(noise(3 * RATE_HZ))
    assert likeness(whole, whole[lag:], lag / RATE_HZ) == pytest.approx(1.0)
    assert likeness(whole[lag:], whole, -lag / RATE_HZ) == pytest.approx(1.0)


def test_excerpts_may_lie_half_a_sample_apart() -> None:
    twice = soxr.resample(noise(3 * RATE_HZ), RATE_HZ, 2 * RATE_HZ)
    early, late = stored(twice[::2]), stored(twice[1::2])
    at, wrong = (likeness(early, late, lag / RATE_HZ) for lag in (0.5, -0.5))
    assert at > 0.999 > wrong


def test_what_is_faint_beside_the_rest_does_not_matter() -> None:
    loud, faint = noise(RATE_HZ), 0.01 * noise(2 * RATE_HZ, seed=1)
    one, other = (stored(np.concatenate([loud, tail])) for tail in (faint, faint[::-1]))
    assert likeness(one, other, 0.0) > 0.98
    assert likeness(one[RATE_HZ:], other[RATE_HZ:], 0.0) < 0.5


def test_what_is_faint_in_every_moment_does_not_matter() -> None:
    """Four tones 27.5 dB below a fifth, in the other excerpt a little higher."""
    t = np.arange(3 * RATE_HZ) / RATE_HZ

    def tones(shift: float) -> np.ndarray:
        faint = sum(np.sin(2 * np.pi * hz * shift * t) for hz in (1500, 1900, 2400, 3000))
        return stored(0.5 * np.sin(2 * np.pi * 500 * t) + 0.5 * 10 ** (-27.5 / 20) * faint)

    assert likeness(tones(1.0), tones(1.03), 0.0) > 0.98
