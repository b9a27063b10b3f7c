"""Owns phrases: clips played by several recordings of one split. Drawn as numbers, then played.

``draw_phrase`` knows time and force but hears nothing; ``play_phrase`` makes the same audio from a
phrase's numbers wherever it runs. Who plays, and on which notes, is in ``fxpipe.sources.players``.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from fxpipe.sources.attack import Audio, find_attack, last_attack
from fxpipe.sources.players import (
    Ladder,
    Piece,
    Player,
    anchor_of,
    can_sound_together,
    draw_ladder,
    one_of,
)
from fxpipe.sources.scan import sounding_regions

PHRASE_VERSION = 1
"""Part of a render's identity; raise it when the same generator would play other phrases."""

MIN_SOUNDING = 0.5
"""Of the clip. ``draw_phrase`` aims higher, because what a recording's regions promise is heard
less beside a louder note."""

TARGET_SOUNDING = 0.65
MAX_FILLERS_A_SECOND = 40
MAX_DRAWS = 8

GRIDS: dict[str, tuple[float, int]] = {  # share of the phrases, steps a beat
    "eighths": (0.4, 2),
    "sixteenths": (0.25, 4),
    "triplets": (0.15, 3),
    "swing": (0.2, 2),
}
TOUCHES = {"ring": 0.35, "damp": 0.45, "mute": 0.2}
TEMPO_BPM = (72.0, 176.0)
SWING = (0.56, 0.7)
STEPS = {1: 0.62, 2: 0.25, 3: 0.05, 4: 0.08}
LICK_BEATS = {1: 0.3, 2: 0.4, 3: 0.15, 4: 0.15}
WALK = (-3, -2, -2, -1, -1, -1, 0, 1, 1, 1, 2, 2, 3)
MUTED_SHARE = 0.75
HISS_DB = (-80.0, -62.0)
"""Re the phrase's peak. A guitar that is plugged in is never digitally silent between notes."""


LEAD_S = 0.002
ATTACK_BEFORE_S, ATTACK_AFTER_S = 0.05, 0.25
"""Where the stroke of a note is looked for, around the first 50 ms frame that sounds."""

LICK_REACH_S = 2.0

T = TypeVar("T")


@dataclass(frozen=True)
class PhraseNote:
    """One recording, or a stretch of a lick, struck once.

    The stroke is looked for in the recording around ``start_s`` (in a lick: the last one before
    it) and laid on ``onset_s`` of the phrase, whose second 0 is the start of the run-in. From the
    stroke the recording plays for ``hold_s``, then fades out over ``fade_s``. ``gain_db`` is added
    to the recording as it is.
    """

    item: str
    group: str
    is_lick: bool
    start_s: float
    onset_s: float
    gain_db: float
    hold_s: float
    fade_s: float


@dataclass(frozen=True)
class Phrase:
    """``swing`` is where in the beat its second eighth falls; 0.5 is straight. White hiss of
    ``hiss_db`` (RMS, re the peak of the notes) lies under it all, drawn from ``hiss_seed``."""

    tempo_bpm: float
    grid: str
    swing: float
    touch: str
    jitter_ms: float
    hiss_db: float
    hiss_seed: int
    notes: tuple[PhraseNote, ...]


@dataclass(frozen=True)
class _Stroke:
    """What is struck at one moment of the grid, and how long until the next."""

    at_s: float
    length_s: float
    pieces: tuple[Piece, ...]
    level_db: float


@dataclass
class _Hand:
    """What stays the same through a phrase, and ``here``: the rung its melody stands on."""

    ladder: Ladder
    here: int
    extras: Player  # what else this player has: chords, licks
    extra_share: float
    beat_s: float
    origin_s: float
    grid: str
    swing: float
    touch: str
    jitter_s: float
    accent_db: float
    spread_db: float
    double_share: float
    rest_share: float

    @property
    def steps_a_beat(self) -> int:
        return GRIDS[self.grid][1]

    def time_s(self, step: int) -> float:
        beat, inside = divmod(step, self.steps_a_beat)
        share = self.swing if (self.steps_a_beat, inside) == (2, 1) else inside / self.steps_a_beat
        return self.origin_s + (beat + share) * self.beat_s

    def next_piece(self, rng: np.random.Generator) -> Piece:
        """A small interval on along the ladder, turning back at its ends; any take of the pitch."""
        last = len(self.ladder) - 1
        there = abs(self.here + one_of(rng, WALK))
        self.here = max(0, there if there <= last else 2 * last - there)
        return one_of(rng, self.ladder[self.here])


def draw_phrase(
    stock: Sequence[Player],
    item_u: float,
    rng: np.random.Generator,
    *,
    run_in_s: float,
    clip_s: float,
) -> Phrase:
    """A phrase that fills run-in and clip; numbers only.

    ``item_u`` in [0, 1) picks the recording that the phrase is built around, every one equally
    likely. At least two recordings sound in the clip, and by the scan's regions 65 % of it sound:
    where the drawn notes leave too much silence, more are put in.
    """
    player, anchor = anchor_of(stock, item_u)
    total_s = run_in_s + clip_s
    for _ in range(MAX_DRAWS):
        hand = _draw_hand(rng, player, anchor)
        notes = _play_on(rng, hand, total_s)
        _fill(rng, hand, notes, run_in_s, total_s)
        heard = [note for note in notes if note.onset_s + note.hold_s > run_in_s]
        if len({note.item for note in heard}) > 1:
            break
    return Phrase(
        tempo_bpm=round(60.0 / hand.beat_s, 2),
        grid=hand.grid,
        swing=round(hand.swing, 3),
        touch=hand.touch,
        jitter_ms=round(1000 * hand.jitter_s, 2),
        hiss_db=round(float(rng.uniform(*HISS_DB)), 2),
        hiss_seed=int(rng.integers(2**32)),
        notes=tuple(sorted(notes, key=lambda note: (note.onset_s, note.item))),
    )


def _draw_hand(rng: np.random.Generator, player: Player, anchor: Piece) -> _Hand:
    ladder = draw_ladder(rng, player, anchor)
    used = {piece.item.item_id for rung in ladder for piece in rung}
    extras = [p for p in player if p.nature != anchor.nature and p.item.item_id not in used]
    low, high = np.log(TEMPO_BPM)
    beat_s = 60.0 / math.exp(float(rng.uniform(low, high)))
    grid = _pick(rng, {name: share for name, (share, _) in GRIDS.items()})
    return _Hand(
        ladder=ladder,
        here=next(k for k, rung in enumerate(ladder) if anchor in rung),
        extras=tuple(extras),
        extra_share=_half_the_time(rng, 0.05, 0.3) if extras else 0.0,
        beat_s=beat_s,
        origin_s=-float(rng.uniform(0.0, 2.0)) * beat_s,
        grid=grid,
        swing=float(rng.uniform(*SWING)) if grid == "swing" else 0.5,
        touch=_pick(rng, TOUCHES),
        jitter_s=float(rng.uniform(0.001, 0.007)),
        accent_db=float(rng.uniform(0.0, 5.0)),
        spread_db=float(rng.uniform(0.5, 2.5)),
        double_share=_half_the_time(rng, 0.05, 0.4),
        rest_share=float(rng.uniform(0.0, 0.2)),
    )


def _play_on(rng: np.random.Generator, hand: _Hand, total_s: float) -> list[PhraseNote]:
    """Every note from the origin to the end, each held as the touch says."""
    strokes = list(_strokes(rng, hand, total_s))
    notes = []
    for number, stroke in enumerate(strokes):
        late_s = hand.jitter_s * float(np.clip(rng.standard_normal(), -2.5, 2.5))
        spread_s = float(rng.uniform(0.0, 0.012))
        for place, piece in enumerate(stroke.pieces):
            onset_s = stroke.at_s + late_s + place * spread_s
            length_s = stroke.length_s
            if hand.touch == "ring" and not piece.is_lick:
                length_s = _struck_again(piece, strokes[number + 1 :]) - onset_s
            level_db = stroke.level_db - 1.5 * place
            notes.append(_note(rng, hand.touch, piece, onset_s, level_db, length_s))
    return [note for note in notes if note.onset_s + note.hold_s + note.fade_s > 0]


def _strokes(rng: np.random.Generator, hand: _Hand, total_s: float) -> list[_Stroke]:
    strokes = []
    step = 0
    while (at_s := hand.time_s(step)) < total_s:
        piece = (
            one_of(rng, hand.extras) if rng.random() < hand.extra_share else hand.next_piece(rng)
        )
        inside = step % hand.steps_a_beat
        if piece.is_lick:  # to the end of a beat
            n_steps = _pick(rng, LICK_BEATS) * hand.steps_a_beat - inside
        else:
            n_steps = _pick(rng, STEPS)
        level_db = hand.spread_db * float(rng.standard_normal()) + hand.accent_db * (inside == 0)
        if rng.random() >= hand.rest_share:
            length_s = hand.time_s(step + n_steps) - at_s
            pieces = (piece, *_struck_with(rng, hand, piece))
            strokes.append(_Stroke(at_s, length_s, pieces, level_db))
        step += n_steps
    return strokes


def _struck_with(rng: np.random.Generator, hand: _Hand, piece: Piece) -> tuple[Piece, ...]:
    """What is struck at the same moment: mostly nothing, at times one note, rarely two."""
    if piece.is_lick or piece.is_chord or rng.random() >= hand.double_share:
        return ()
    notes = [p for rung in hand.ladder for p in rung if not p.is_lick]
    fitting = [other for other in notes if can_sound_together(piece, other)]
    if not fitting:
        return ()
    second = one_of(rng, fitting)
    thirds = [other for other in fitting if can_sound_together(second, other)]
    return (second, one_of(rng, thirds)) if thirds and rng.random() < 0.2 else (second,)


def _struck_again(piece: Piece, later: Sequence[_Stroke]) -> float:
    """When its string, or where strings are not known its pitch, is struck again; inf if never."""
    again = (s.at_s for s in later if piece.voice in [p.voice for p in s.pieces])
    return next(again, math.inf)


def _note(
    rng: np.random.Generator,
    touch: str,
    piece: Piece,
    onset_s: float,
    level_db: float,
    length_s: float,
) -> PhraseNote:
    """``level_db`` is the stroke's force: all recordings are brought to one peak first."""
    start_s, fade_s = piece.start_s, float(rng.uniform(0.005, 0.03))
    hold_s = min(length_s, piece.end_s - start_s)
    if piece.is_lick:
        start_s += float(rng.random()) * (piece.end_s - start_s - hold_s)
    elif touch == "damp":
        hold_s *= float(rng.uniform(0.85, 1.0))
    elif touch == "mute" and rng.random() < MUTED_SHARE:
        hold_s = min(hold_s, float(rng.uniform(0.02, 0.07)))
        fade_s = float(rng.uniform(0.04, 0.12))
    return PhraseNote(
        item=piece.item.item_id,
        group=piece.item.group,
        is_lick=piece.is_lick,
        start_s=round(start_s, 4),
        onset_s=round(onset_s, 5),
        gain_db=round(level_db - 20 * math.log10(piece.item.peak), 2),
        hold_s=round(hold_s, 4),
        fade_s=round(fade_s, 4),
    )


def _fill(
    rng: np.random.Generator,
    hand: _Hand,
    notes: list[PhraseNote],
    begin_s: float,
    end_s: float,
) -> None:
    """Add ringing notes to the longest silences, on a line of the grid if one comes soon."""
    pieces = (*(piece for rung in hand.ladder for piece in rung), *hand.extras)
    sounding = {piece.item.item_id: piece.item.sounding for piece in pieces}
    for _ in range(math.ceil(MAX_FILLERS_A_SECOND * (end_s - begin_s))):
        gaps = _silences(notes, sounding, begin_s, end_s)
        if sum(end - start for start, end in gaps) <= (1 - TARGET_SOUNDING) * (end_s - begin_s):
            return
        start_s, stop_s = max(gaps, key=lambda gap: gap[1] - gap[0])
        beats = math.floor((start_s - hand.origin_s) / hand.beat_s)
        first = beats * hand.steps_a_beat
        lines = map(hand.time_s, range(first, first + 2 * hand.steps_a_beat))
        line_s = next(line for line in lines if line >= start_s)
        onset_s = line_s if line_s < (start_s + stop_s) / 2 else start_s
        level_db = hand.spread_db * float(rng.standard_normal())
        length_s = stop_s - onset_s + hand.beat_s
        notes.append(_note(rng, "ring", hand.next_piece(rng), onset_s, level_db, length_s))


def _silences(
    notes: Sequence[PhraseNote],
    sounding: dict[str, tuple[tuple[float, float], ...]],
    begin_s: float,
    end_s: float,
) -> list[tuple[float, float]]:
    """The silences between two moments, by the scan's regions of what plays there."""
    spans = [(end_s, end_s)]
    for note in notes:
        last_s = note.onset_s + note.hold_s + note.fade_s / 2
        for start_s, stop_s in sounding[note.item]:
            shift_s = note.onset_s - note.start_s
            low_s = max(note.onset_s, start_s + shift_s)
            high_s = min(end_s, last_s, stop_s + shift_s)
            if high_s > low_s:
                spans.append((low_s, high_s))
    silences, reached_s = [], begin_s
    for low_s, high_s in sorted(spans):
        if low_s > reached_s:
            silences.append((reached_s, low_s))
        reached_s = max(reached_s, high_s)
    return silences


def play_phrase(
    phrase: Phrase, read: Callable[[str], Audio], *, n_samples: int, sample_rate_hz: int
) -> Audio:
    """The phrase as mono float32 [N]; ``read`` gives a whole recording at the sample rate.

    Each note is read from 2 ms before its stroke, so that nothing of the attack is lost and the
    stroke falls on its onset to the sample. The same numbers give the same bytes.
    """
    out = np.zeros(n_samples, np.float32)
    for note in phrase.notes:
        audio = read(note.item)
        attack = round(_attack_s(audio, sample_rate_hz, note) * sample_rate_hz)
        n_lead = min(round(LEAD_S * sample_rate_hz), attack)
        n_fade = max(1, round(note.fade_s * sample_rate_hz))
        stop = attack + round(note.hold_s * sample_rate_hz) + n_fade
        piece = audio[attack - n_lead : stop] * np.float32(10 ** (note.gain_db / 20))
        piece[:n_lead] *= _ramp(n_lead)
        n_fade = min(n_fade, len(piece))
        piece[len(piece) - n_fade :] *= _ramp(n_fade)[::-1]
        first = round(note.onset_s * sample_rate_hz) - n_lead
        low, high = max(first, 0), min(first + len(piece), n_samples)
        if high > low:
            out[low:high] += piece[low - first : high - first]
    hiss = np.random.Generator(np.random.PCG64(phrase.hiss_seed))
    level = float(np.abs(out).max()) * 10 ** (phrase.hiss_db / 20)
    out += np.float32(level) * hiss.standard_normal(n_samples, dtype=np.float32)
    return out


def _attack_s(audio: Audio, sample_rate_hz: int, note: PhraseNote) -> float:
    if note.is_lick:
        return last_attack(audio, sample_rate_hz, note.start_s, reach_s=LICK_REACH_S)
    begin_s, end_s = note.start_s - ATTACK_BEFORE_S, note.start_s + ATTACK_AFTER_S
    return find_attack(audio, sample_rate_hz, begin_s, end_s)


def sounding_share(audio: Audio, sample_rate_hz: int) -> float:
    """The share of ``audio`` [N] that sounds, by the scan's rule, with its peak at full scale."""
    peak = float(np.abs(audio).max(initial=0.0))
    if peak == 0.0:
        return 0.0
    regions = sounding_regions(audio / np.float32(peak), sample_rate_hz)
    return sum(end - start for start, end in regions) * sample_rate_hz / len(audio)


def _ramp(n: int) -> Audio:
    """From 0 towards 1 along half a cosine, float32 [n]."""
    return (0.5 - 0.5 * np.cos(np.pi * np.arange(n) / max(1, n))).astype(np.float32)


def _pick(rng: np.random.Generator, shares: dict[T, float]) -> T:
    """A key, each as likely as its share of the whole."""
    edges = np.cumsum(list(shares.values()))
    at = int(np.searchsorted(edges, rng.random() * edges[-1], side="right"))
    return list(shares)[min(at, len(shares) - 1)]


def _half_the_time(rng: np.random.Generator, low: float, high: float) -> float:
    """0 in one phrase of two, else a share between ``low`` and ``high``."""
    share = float(rng.uniform(low, high))
    return share if rng.random() < 0.5 else 0.0
