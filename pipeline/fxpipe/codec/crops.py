"""Training audio for a codec: notes spliced into phrases, wet or dry, cut into crops. numpy only.

Pedals and loudness are passed in as functions, so this module needs neither pedalboard nor torch.
Shapes: B batch, N audio sample.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

Dry = Callable[[np.random.Generator, int], np.ndarray]
"""(rng, n_samples) -> dry audio float32 [N]."""
Wet = Callable[[np.random.Generator, np.ndarray], np.ndarray]
"""(rng, dry float32 [N]) -> the same through a random chain, float32 [N]."""
Level = Callable[[np.ndarray], np.ndarray]
"""float32 [N] -> the same at the loudness the codec will be fed."""


@dataclass(frozen=True)
class CropSpec:
    """What a batch is made of. ``pool_phrases``: phrases kept; ``fresh_phrases``: new ones a batch.

    Each crop gets a gain drawn from ``-gain_db .. +gain_db``, since tokens are gain-sensitive and
    real windows are not all at the target loudness.
    """

    batch_size: int = 4
    crop_samples: int = 16_384
    phrase_samples: int = 88_200
    pool_phrases: int = 512
    fresh_phrases: int = 1
    wet_share: float = 0.75
    gain_db: float = 6.0
    peak_limit: float = 0.99


def splice_notes(notes: Sequence[np.ndarray], sample_rate_hz: int) -> Dry:
    """Phrases from single notes: a line, a strum or one held note, at a drawn tempo."""

    def draw(rng: np.random.Generator, n_samples: int) -> np.ndarray:
        phrase = np.zeros(n_samples, np.float32)
        style = rng.choice(3, p=[0.55, 0.3, 0.15])  # line, strums, held note
        beat = int(sample_rate_hz * 60 / rng.uniform(70, 180))
        step = (beat // int(rng.choice([1, 2, 4])), beat, n_samples)[style]
        start = int(rng.uniform(0, 0.1) * sample_rate_hz)
        while start < n_samples:
            for voice in range(int(rng.integers(2, 6)) if style == 1 else 1):
                note = notes[int(rng.integers(len(notes)))]
                held = min(len(note), int(step * rng.uniform(0.7, 2.0)))
                at = start + voice * int(rng.uniform(0.005, 0.03) * sample_rate_hz)
                _add_note(phrase, note[:held], at, 10 ** (rng.uniform(-9, 0) / 20))
            start += step
        return phrase

    return draw


def _add_note(phrase: np.ndarray, note: np.ndarray, at: int, gain: float) -> None:
    part = note[: max(0, len(phrase) - at)] * np.float32(gain)
    n_fade = min(len(part), 1_024)
    if n_fade and len(part) == len(note):
        part[-n_fade:] *= np.linspace(1, 0, n_fade, dtype=np.float32)
    phrase[at : at + len(part)] += part


def crop_batches(
    rng: np.random.Generator,
    dry: Sequence[tuple[float, Dry]],
    wet: Wet | None,
    level: Level,
    spec: CropSpec,
) -> Iterator[np.ndarray]:
    """Endless float32 [B, N] batches from a slowly renewed pool of phrases.

    ``dry``: (weight, maker) pairs. Rendering a phrase costs more than cutting a crop from it, so
    phrases stay in the pool for several batches.
    """
    weights = np.array([weight for weight, _ in dry])
    weights = weights / weights.sum()

    def phrase() -> np.ndarray:
        maker = dry[int(rng.choice(len(dry), p=weights))][1]
        audio = maker(rng, spec.phrase_samples)
        if wet is not None and rng.random() < spec.wet_share:
            audio = wet(rng, audio)
        return level(audio)

    # A short pool to start with: it grows by the fresh phrases of each batch.
    pool = [phrase() for _ in range(min(spec.pool_phrases, 4 * spec.batch_size))]
    while True:
        for _ in range(spec.fresh_phrases):
            if len(pool) < spec.pool_phrases:
                pool.append(phrase())
            else:
                pool[int(rng.integers(len(pool)))] = phrase()
        batch = np.empty((spec.batch_size, spec.crop_samples), np.float32)
        for row in batch:
            source = pool[int(rng.integers(len(pool)))]
            first = int(rng.integers(len(source) - spec.crop_samples + 1))
            row[:] = source[first : first + spec.crop_samples]
            row *= 10 ** (rng.uniform(-spec.gain_db, spec.gain_db) / 20)
            peak = float(np.abs(row).max())
            if peak > spec.peak_limit:
                row *= spec.peak_limit / peak
        yield batch
