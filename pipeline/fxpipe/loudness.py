"""Integrated loudness by ITU-R BS.1770-4, mono: numpy only, because whoever asks for the pedals on
one clip waits for it (pyloudnorm, which it equals to the last digit, loads all of scipy.signal).

Shapes: N audio sample, M block of samples, J gating block.
"""

from __future__ import annotations

import functools
import math

import numpy as np

BLOCK_S, STEP = 0.4, 0.25
"""Gating block, and how far the next one lies behind it, in blocks."""

ABSOLUTE_LUFS, RELATIVE_LU, OFFSET_LUFS = -70.0, -10.0, -0.691
"""Gates and constant of BS.1770-4, annex 1."""

SHELF = (4.0, 1 / math.sqrt(2), 1500.0)
HIGH_PASS = (0.5, 38.0)
"""(gain in dB,) Q and Hz of the two filters, as pyloudnorm has them (C. Steinmetz, J. Reiss,
"pyloudnorm: A simple yet flexible loudness meter in Python", AES 150, 2021)."""

RUN = 96
"""Samples that are filtered at once."""

RUNS_AT_ONCE = 2**15
"""Of so many runs (3 million samples) there are float64 at a time: those of two minutes at 655 kHz
took 2.9 GB."""


def integrated_lufs(wave: np.ndarray, sample_rate_hz: int) -> float:
    """Of float ``wave`` [N], at least one gating block long; -inf where no block is loud enough."""
    heard = wave
    for b, a in k_weighting(sample_rate_hz):
        heard = filtered(heard, b, a)
    block = BLOCK_S * sample_rate_hz
    n_blocks = round((len(wave) / sample_rate_hz - BLOCK_S) / (BLOCK_S * STEP)) + 1
    starts = [BLOCK_S * (j * STEP) * sample_rate_hz for j in range(n_blocks)]
    ends = [BLOCK_S * (j * STEP + 1) * sample_rate_hz for j in range(n_blocks)]
    sums = [
        np.sum(np.square(heard[int(start) : int(end)]))
        for start, end in zip(starts, ends, strict=True)
    ]
    power = np.array([(1.0 / block) * each for each in sums], np.float64)
    lufs = _lufs(power)
    loud = lufs >= ABSOLUTE_LUFS
    if not loud.any():
        return -math.inf
    gate = _lufs(power[loud].mean()) + RELATIVE_LU
    both = loud & (lufs > max(gate, ABSOLUTE_LUFS))
    return float(_lufs(power[both].mean())) if both.any() else -math.inf


def _lufs(power: np.ndarray) -> np.ndarray:
    with np.errstate(divide="ignore"):
        found: np.ndarray = OFFSET_LUFS + 10.0 * np.log10(power)
    return found


@functools.lru_cache(maxsize=8)
def k_weighting(sample_rate_hz: int) -> tuple[tuple[np.ndarray, np.ndarray], ...]:
    """float64 (b, a) [3] of the shelf and of the high pass that loudness is measured through.

    From R. Bristow-Johnson's "Audio EQ Cookbook".
    """
    gain_db, q, f_hz = SHELF
    amp, turn = 10 ** (gain_db / 40.0), 2 * math.pi * f_hz / sample_rate_hz
    cos, alpha = math.cos(turn), math.sin(turn) / (2 * q)
    root = 2 * math.sqrt(amp) * alpha
    more, less = amp + 1, amp - 1
    shelf_b = (more + less * cos + root, -2 * (less + more * cos), more + less * cos - root)
    shelf_a = (more - less * cos + root, 2 * (less - more * cos), more - less * cos - root)
    q, f_hz = HIGH_PASS
    turn = 2 * math.pi * f_hz / sample_rate_hz
    cos, alpha = math.cos(turn), math.sin(turn) / (2 * q)
    pass_b = ((1 + cos) / 2, -(1 + cos), (1 + cos) / 2)
    pass_a = (1 + alpha, -2 * cos, 1 - alpha)
    return (
        (amp * np.array(shelf_b) / shelf_a[0], np.array(shelf_a) / shelf_a[0]),
        (np.array(pass_b) / pass_a[0], np.array(pass_a) / pass_a[0]),
    )


def filtered(wave: np.ndarray, b: np.ndarray, a: np.ndarray) -> np.ndarray:
    """``wave`` [N] through b0 + b1/z + b2/z² over 1 + a1/z + a2/z², from rest; computed in float64,
    given back in the wave's own kind.

    ``RUN`` samples at a time: one matrix product for many of them, then the two numbers that each
    run of samples leaves to the next.
    """
    rest, left, decay, ring = _runs(tuple(b), tuple(a))
    (p, q), (r, s) = decay.tolist()
    one = two = 0.0
    heard = np.empty_like(wave)
    for start in range(0, len(wave), RUNS_AT_ONCE * RUN):
        part = wave[start : start + RUNS_AT_ONCE * RUN]
        runs = np.zeros((-(-len(part) // RUN), RUN))
        runs.reshape(-1)[: len(part)] = part
        states = []
        for more, less in (runs @ left).tolist():
            states.append((one, two))
            one, two = p * one + q * two + more, r * one + s * two + less
        found = runs @ rest
        found += np.array(states) @ ring
        heard[start : start + len(part)] = found.reshape(-1)[: len(part)]
    return heard


@functools.lru_cache(maxsize=16)
def _runs(
    b: tuple[float, ...], a: tuple[float, ...]
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """What a run of samples gives: from rest [RUN, RUN], to the state after it [RUN, 2]; and what
    the state before it gives: to the state after it [2, 2], to its own samples [2, RUN]."""
    step = np.array([[-a[1], 1.0], [-a[2], 0.0]])  # transposed direct form II
    into = np.array([b[1] - a[1] * b[0], b[2] - a[2] * b[0]])
    powers = [np.eye(2)]
    for _ in range(RUN):
        powers.append(step @ powers[-1])
    response = np.array([b[0], *((power @ into)[0] for power in powers[: RUN - 1])])
    rest = np.zeros((RUN, RUN))
    for row in range(RUN):
        rest[row, row:] = response[: RUN - row]
    left = np.stack([powers[RUN - 1 - row] @ into for row in range(RUN)])
    ring = np.stack([power[0] for power in powers[:RUN]], axis=1)
    return rest, left, powers[RUN], ring
