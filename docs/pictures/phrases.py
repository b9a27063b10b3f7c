"""Draws docs/img/phrases.png: a clip of one note beside a phrase of the same notes.

    python docs/pictures/phrases.py

The notes are made here, from decaying harmonics; everything else is what ``fxpipe render`` does.
"""

from __future__ import annotations

import csv
import tempfile
from pathlib import Path

import numpy as np
import soundfile
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image

from fxpipe.sources import Item, open_source, pick_start, read_clip, read_recording
from fxpipe.sources.phrases import Phrase, draw_phrase, play_phrase
from fxpipe.sources.players import stock_of

PICTURE = Path(__file__).parents[1] / "img" / "phrases.png"
RATE_HZ, CLIP_S, RUN_IN_S = 44_100, 2.0, 0.5
OPEN_STRING_MIDI = {1: 64, 2: 59, 3: 55, 4: 50, 5: 45, 6: 40}
SEEDS = (5, 20)
"""Chosen to show much at once, of the first 60."""


def note(midi: int, string: int, duration_s: float = 4.0) -> np.ndarray:
    """A plucked string, float32 [N]: harmonics that die the sooner the higher they are."""
    time_s = np.arange(round(duration_s * RATE_HZ)) / RATE_HZ
    f0_hz = 440.0 * 2 ** ((midi - 69) / 12)
    rng = np.random.default_rng([midi, string])
    wave = 2e-4 * rng.standard_normal(len(time_s))
    for k in range(1, int(9000 / f0_hz) + 1):
        level = np.sin(np.pi * k * 0.17) / k
        wave += level * np.exp(-time_s * (0.8 + 0.25 * k)) * np.sin(2 * np.pi * k * f0_hz * time_s)
    return (0.5 * wave / np.abs(wave).max()).astype(np.float32)


def write_notes(root: Path) -> None:
    """Six strings of 13 frets, and what they are in a manifest."""
    with (root / "manifest.csv").open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["file", "licence", "guitar", "string", "fret", "midi"])
        for string, open_midi in OPEN_STRING_MIDI.items():
            for fret in range(13):
                name, midi = f"{string}-{fret}.wav", open_midi + fret
                soundfile.write(root / name, note(midi, string), RATE_HZ)
                rows.writerow([name, "CC0-1.0", "made up", string, fret, midi])


def single(item: Item) -> np.ndarray:
    start_s = pick_start(item, 0.0, CLIP_S)
    n_samples = round(CLIP_S * RATE_HZ)
    return read_clip(
        item, start=start_s, n_samples=n_samples, run_in_samples=0, sample_rate_hz=RATE_HZ
    )


def phrase_on(items: tuple[Item, ...], seed: int) -> tuple[Phrase, np.ndarray]:
    rng = np.random.default_rng(seed)
    phrase = draw_phrase(stock_of(items), rng.random(), rng, run_in_s=RUN_IN_S, clip_s=CLIP_S)
    by_id = {item.item_id: item for item in items}
    wave = play_phrase(
        phrase,
        lambda item_id: read_recording(by_id[item_id], RATE_HZ),
        n_samples=round((RUN_IN_S + CLIP_S) * RATE_HZ),
        sample_rate_hz=RATE_HZ,
    )
    return phrase, wave[round(RUN_IN_S * RATE_HZ) :]


def draw(clips: list[tuple[str, np.ndarray, list[float]]], path: Path) -> None:
    """One column a clip: waveform with its onsets, and spectrogram; 64 colours keep it small."""
    figure = Figure(figsize=(11, 4.2), dpi=80, layout="constrained")
    axes = figure.subplots(2, len(clips), sharex=True, sharey="row", height_ratios=[1, 2])
    for (title, wave, onsets_s), (above, below) in zip(clips, axes.T, strict=True):
        wave = wave / np.abs(wave).max()
        above.plot(np.arange(len(wave)) / RATE_HZ, wave, linewidth=0.3, color="#28536b")
        above.set(ylim=(-1.05, 1.05), yticks=[])
        above.set_title(title, fontsize=10)
        for onset_s in onsets_s:
            above.axvline(onset_s, color="#d1495b", linewidth=0.8)
        below.specgram(wave, NFFT=2048, Fs=RATE_HZ, noverlap=1536, vmin=-130, cmap="magma")
        below.set(xlabel="seconds", ylim=(0, 5000), xlim=(0, CLIP_S))
    axes[1, 0].set_ylabel("Hz")
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    picture = Image.fromarray(np.asarray(canvas.buffer_rgba())).convert("RGB")
    picture.quantize(64).save(path, optimize=True)


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        write_notes(Path(folder))
        items = open_source(f"folder:{folder}").scan().items
        clips = []
        for seed in SEEDS:
            phrase, wave = phrase_on(items, seed)
            onsets_s = [n.onset_s - RUN_IN_S for n in phrase.notes if n.onset_s > RUN_IN_S]
            title = f"a phrase: {phrase.tempo_bpm:.0f} bpm, {phrase.grid}, {phrase.touch}"
            clips.append((title, wave, onsets_s))
        first = next(item for item in items if item.item_id == phrase.notes[0].item)
        clips.insert(0, ("a clip of one recording", single(first), [0.0]))
        PICTURE.parent.mkdir(exist_ok=True)
        draw(clips, PICTURE)


if __name__ == "__main__":
    main()
