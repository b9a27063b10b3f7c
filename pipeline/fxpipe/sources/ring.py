"""Owns how partials become samples; the physics of a string is in `fxpipe.sources.strings`.

Shapes: N audio samples, S notes, P partials. The rate is 44.1 kHz everywhere.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt

from fxpipe.sources.strings import (
    SAMPLE_RATE_HZ,
    ComplexArray,
    FloatArray,
    Note,
    Partials,
    Rig,
    partials,
)

Float32Array = npt.NDArray[np.float32]
Complex64Array = npt.NDArray[np.complex64]

_DOUBLINGS = 6
_BLOCK_SAMPLES = 2**_DOUBLINGS  # columns of the matrix products in `ring`
_BLOCKS = 2**_DOUBLINGS  # in a segment: between two looks at which partials have died
_SEGMENT_SAMPLES = _BLOCKS * _BLOCK_SAMPLES
_SINGLE_THREAD = 2**18  # multiplications of a matrix product that BLAS never shares among threads
_GLIDING_SEGMENTS = 6  # at most, 0.56 s; the pitch falls in steps that are too small to hear
_LEAST_GLIDE = 1.2e-3  # of the frequency, 2 cents: a note that starts less sharp does not glide
_LEAST_SHARP = 5e-4  # less is settled
_CONTROL_SAMPLES = 64  # step of the pitch curve of a bent note
_STEPS_AT_ONCE = 128  # pitch steps read at a time: 64 kB, stays in the cache
_LIFT_TAIL = 7.0  # time constants kept after the finger lifts: 60 dB
_RUB_BEFORE, _RUB_AFTER = 300, 700  # samples of the pick's noise around its release
_RUB_TIMES_S = np.arange(-_RUB_BEFORE, _RUB_AFTER) / SAMPLE_RATE_HZ
_RUB_LEVEL = np.where(_RUB_TIMES_S < 0.0, 0.25, 1.0)  # weaker before the release


def sound(
    rng: np.random.Generator, rig: Rig, notes: Sequence[Note], n_samples: int
) -> Float32Array:
    """All notes as the coils feel them, float32 [N]; sample 0 is at second 0 of the notes' clock.

    The signal is the strings' velocity over the coils, before the pickup's own electrical filter
    (`fxpipe.sources.strings.pickup_filter`). A note may have started before sample 0.
    """
    out = np.zeros(n_samples, np.float32)
    voices = partials(rng, rig, notes)
    loudest = np.abs(voices.amps).max(axis=1)
    rub = (_RUB_LEVEL * np.exp(-np.abs(_RUB_TIMES_S) / rig.noise_s)).astype(np.float32)
    parts, spans = [], []  # of each note, counted from its onset: samples heard, samples computed
    longest = 0  # fading
    for note, glide in zip(notes, voices.glide, strict=True):
        onset = round(note.onset_s * SAMPLE_RATE_HZ)
        length = int((note.end_s - note.onset_s + _LIFT_TAIL * note.lift_s) * SAMPLE_RATE_HZ)
        first = max(0, -onset)
        stop = max(first, min(length, n_samples - onset))
        bent = bool(note.bend) or note.vibrato[1] > 0.0
        path = _pitch_path(rng, note, first, stop) if bent else None
        start, end = (first, stop) if path is None else (int(path[0]) - 1, int(path[-1]) + 3)
        start = max(0, start)
        if glide > _LEAST_GLIDE:
            start -= start % _SEGMENT_SAMPLES  # where the pitch makes its steps
        lift = int((note.end_s - note.onset_s) * SAMPLE_RATE_HZ)
        longest = max(longest, stop - lift)
        parts.append((onset, first, stop, lift, path))
        spans.append((start, end))
    ages = np.arange(longest, dtype=np.float32)
    for row, computed in enumerate(ring(voices, spans)):
        note, (onset, first, stop, lift, path) = notes[row], parts[row]
        if path is None:
            heard = computed[first - spans[row][0] :]
        else:
            heard = _read_along(computed, path - spans[row][0])[: stop - first]
        if stop > lift:
            start = max(lift, first)
            fade = ages[start - lift : stop - lift] * np.float32(
                -1.0 / (SAMPLE_RATE_HZ * note.lift_s)
            )
            heard[start - first :] *= np.exp(fade, out=fade)
        out[onset + first : onset + stop] += heard
    for row, (note, (onset, first, *_)) in enumerate(zip(notes, parts, strict=True)):
        if first < _RUB_AFTER and not note.legato:
            noise = rng.standard_normal(rub.size, np.float32)
            noise *= rub * np.float32(rig.pick_noise * loudest[row])
            start, end = onset - _RUB_BEFORE, min(n_samples, onset + _RUB_AFTER)
            out[max(0, start) : end] += noise[max(0, -start) : end - start]
    return out


def ring(voices: Partials, spans: Sequence[tuple[int, int]]) -> Iterator[Float32Array]:
    """Each note's sum of decaying partials, ``Re sum_p amps_p exp((2 pi j f_p - rate_p) t)``.

    A span is the first sample and the one after the last, counted from the note's onset. With
    t = (first + a M + b) / fs each term is a function of a times a function of b, so the sum is a
    matrix product, (N/M x 2P)(2P x M). It is cut into products below OpenBLAS's threshold for
    threads: the bytes do not depend on their number. A note that glides has other frequencies in
    each of its first segments, and its span must begin with one. What is yielded lasts until the
    next.
    """
    turns = np.asarray(2j * np.pi * voices.freqs_hz / SAMPLE_RATE_HZ, np.complex128)
    poles = turns - voices.rates_hz / SAMPLE_RATE_HZ
    sharp = _sharpness(voices)  # [S, segments]
    begun = [first // _SEGMENT_SAMPLES for first, _ in spans]
    states = voices.amps.copy()
    for note, (first, _) in enumerate(spans):
        if first:
            gained = sharp[note, : begun[note]].sum() * _SEGMENT_SAMPLES
            states[note] *= np.exp(poles[note] * first + turns[note] * gained)
    lives = np.log((np.abs(states) + 1e-300) / voices.floor[:, None]) / -poles.real
    longest = max(1, int(np.count_nonzero(lives > 0.0, axis=1).max()))
    order = np.argsort(-lives, axis=1, kind="stable")[:, :longest]
    lives = np.take_along_axis(lives, order, axis=1)
    turns = np.take_along_axis(turns, order, axis=1)
    poles = np.take_along_axis(poles, order, axis=1)
    states = np.take_along_axis(states, order, axis=1).astype(np.complex64)
    columns, rows, leaps = _factors(poles)
    lengths = [-(-(stop - first) // _SEGMENT_SAMPLES) for first, stop in spans]
    most = max(1, *lengths)
    walks = _powers(leaps, most)  # [segments, S, P]
    begins = np.arange(most) * _SEGMENT_SAMPLES
    living = np.count_nonzero(lives[:, None] > begins[:, None], axis=2).tolist()  # [S, segments]
    glides = [
        sharp[note, begun[note] :][: lengths[note]] if alive[0] else sharp[note, :0]
        for note, alive in enumerate(living)
    ]
    glides = [steps[steps > 0.0] for steps in glides]
    gliding = np.repeat(np.arange(len(spans)), [len(steps) for steps in glides])
    steps = np.concatenate(glides)[:, None]
    sharper = _factors(poles[gliding] + turns[gliding] * steps)  # all at once: few, larger calls
    at = 0  # in these
    buffer = np.empty((most * _BLOCKS, _BLOCK_SAMPLES), np.float32)
    for note, (first, stop) in enumerate(spans):
        n_segments, state, alive = lengths[note], states[note], living[note]
        out = buffer[: n_segments * _BLOCKS]
        n_steps, done = len(glides[note]), 0
        while done < n_segments:
            n = alive[done]
            if not n:
                out[done * _BLOCKS :] = 0.0
                break
            if done < n_steps:
                more, right = 1, sharper[0][:, at + done, : 2 * n]
                block = sharper[1][:, at + done, :n] * state[:n]
                state = state[:n] * sharper[2][at + done, :n].astype(np.complex64)
            else:
                more, right = min(1 + done, n_segments - done), columns[:, note, : 2 * n]
                past = walks[done - n_steps : done - n_steps + more, note, None, :n]
                block = rows[:, note, :n] * (past * state[:n])
            n_rows = _BLOCKS
            while n_rows * _BLOCK_SAMPLES * 2 * n > _SINGLE_THREAD:
                n_rows //= 2
            left = block.view(np.float32).reshape(-1, n_rows, 2 * n)
            part = out[done * _BLOCKS : (done + more) * _BLOCKS]
            np.matmul(left, right.T, out=part.reshape(-1, n_rows, _BLOCK_SAMPLES))
            done += more
        at += n_steps
        yield out.reshape(-1)[: stop - first]


def _factors(poles: ComplexArray) -> tuple[Float32Array, Complex64Array, ComplexArray]:
    """Of poles [S, P]: their powers within a block [M, S, 2P], at the blocks of a segment
    [a, S, P], and the step to the next segment [S, P]."""
    steps = np.exp(poles)
    columns = _powers(np.conj(steps), _BLOCK_SAMPLES).view(np.float32)
    for _ in range(_DOUBLINGS):
        steps = steps * steps
    rows = _powers(steps, _BLOCKS)
    for _ in range(_DOUBLINGS):
        steps = steps * steps
    return columns, rows, steps


def _powers(base: ComplexArray, count: int) -> Complex64Array:
    """``base ** n`` of [S, P] for n in 0..count-1, [count, S, P], by doubling: no exp per cell.

    Single precision: the error, some 110 dB under the partial, is far below any hiss.
    """
    out = np.empty((count, *base.shape), np.complex64)
    out[0] = 1.0
    done, step = 1, base
    while done < count:
        more = min(done, count - done)
        np.multiply(out[:more], step.astype(np.complex64), out=out[done : done + more])
        done, step = 2 * done, step * step
    return out


def _sharpness(voices: Partials) -> FloatArray:
    """By how much of its frequency each note is sharp in each of its first segments, [S, G].

    The tension that a large motion adds dies exponentially, and the pitch with it: N. Lee,
    J. O. Smith, J. Abel, D. Berners, "Pitch glide analysis and synthesis from recorded tones",
    DAFx 2009.
    """
    edges_s = np.arange(_GLIDING_SEGMENTS + 1) * (_SEGMENT_SAMPLES / SAMPLE_RATE_HZ)
    settle_s = voices.settle_s[:, None]
    fallen = -np.diff(np.exp(-edges_s / settle_s), axis=1)
    sharp = voices.glide[:, None] * settle_s * fallen / edges_s[1]
    sharp[(sharp < _LEAST_SHARP) | (voices.glide < _LEAST_GLIDE)[:, None]] = 0.0
    return np.asarray(sharp)


def _pitch_path(rng: np.random.Generator, note: Note, first: int, stop: int) -> FloatArray:
    """Where a bent note reads the steady one, in samples, every ``_CONTROL_SAMPLES`` from first."""
    times_s = np.arange(-(-stop // _CONTROL_SAMPLES) + 2) * (_CONTROL_SAMPLES / SAMPLE_RATE_HZ)
    semitones = np.zeros(times_s.size)
    if note.bend:
        semitones += np.interp(times_s, *np.array(note.bend).T)
    rate_hz, depth = note.vibrato
    swell = np.clip((times_s - 0.15) / 0.25, 0.0, 1.0)  # vibrato comes in after the attack
    phase = rng.uniform(0.0, 2.0 * np.pi)
    semitones += depth * swell * np.sin(2.0 * np.pi * rate_hz * times_s + phase)
    speeds = 2.0 ** (semitones / 12.0)
    path = np.concatenate(([0.0], np.cumsum(0.5 * (speeds[1:] + speeds[:-1])))) * _CONTROL_SAMPLES
    whole, part = divmod(first, _CONTROL_SAMPLES)
    shift = part / _CONTROL_SAMPLES
    return np.asarray(path[whole:-1] * (1.0 - shift) + path[whole + 1 :] * shift)


def _read_along(samples: Float32Array, path: FloatArray) -> Float32Array:
    """The samples at the places of a path, straight between its points, [control steps x 64]."""
    slopes = np.diff(path)[:, None] / _CONTROL_SAMPLES
    grid = np.arange(_CONTROL_SAMPLES)
    out = np.empty((slopes.size, _CONTROL_SAMPLES), np.float32)
    for step in range(0, slopes.size, _STEPS_AT_ONCE):
        steps = slice(step, step + _STEPS_AT_ONCE)
        out[steps] = _read_between(samples, path[:-1][steps, None] + slopes[steps] * grid)
    return out.reshape(-1)


def _read_between(samples: Float32Array, places: FloatArray) -> Float32Array:
    """Values at fractional places by Catmull-Rom cubics; straight lines would dull the treble."""
    whole = places.astype(np.intp)
    part = (places - whole).astype(np.float32)
    before, here = samples[np.maximum(whole - 1, 0)], samples[whole]
    after, beyond = samples[whole + 1], samples[whole + 2]
    half, rise = np.float32(0.5), after - here
    slope = half * (after - before)
    twist = half * (beyond - here) + slope - rise - rise
    bow = rise - slope - twist
    return np.asarray(((twist * part + bow) * part + slope) * part + here)
