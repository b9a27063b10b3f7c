"""Draws the pictures of docs/synth.md: python docs/pictures/synth.py

Everything is played by the synthetic guitar from fixed seeds; no recording is shown.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image
from scipy.signal import freqz, spectrogram

from fxpipe.sources.gestures import Hand, bend_up, besides, choked, rake, slide, stroke, touch
from fxpipe.sources.guitars import GUITARS
from fxpipe.sources.noises import Squeak, squeaked
from fxpipe.sources.ring import ring, sound
from fxpipe.sources.strings import SAMPLE_RATE_HZ, Note, Rig, partials, pickup_filter
from fxpipe.sources.synth import draw_hand, record

IMG = Path(__file__).parents[1] / "img"
N_SAMPLES = 2 * SAMPLE_RATE_HZ
INK, FAINT, WARM, COOL = "#1f2937", "#8a8f98", "#c2410c", "#0369a1"
Array = npt.NDArray[np.floating[Any]]


def main() -> None:
    """Three pictures, each under 150 kB, the same bytes at every run."""
    save("synth-playing.png", playing())
    save("synth-note.png", one_note())
    save("synth-pickup.png", pickup())


def save(name: str, figure: Figure) -> None:
    """As a PNG of 128 colours."""
    buffer = io.BytesIO()
    FigureCanvasAgg(figure).print_png(buffer, metadata={"Software": None})
    picture = Image.open(buffer).convert("RGB").quantize(128, dither=Image.Dither.NONE)
    picture.save(IMG / name, optimize=True)
    print(f"docs/img/{name}: {(IMG / name).stat().st_size / 1000:.0f} kB")


def a_rig(guitar: str, pickup_name: str, **changes: Any) -> Rig:
    """A usual set-up of a guitar: every imperfection at the middle of its range."""
    instrument = GUITARS[guitar]
    rig = Rig(
        guitar=instrument,
        pickup=instrument.pickups[pickup_name],
        cents=(0.0,) * 6,
        wear=1.0,
        pick_hz=12_000.0,
        pick_noise=0.25,
        tone=1.0,
        cable_f=500e-12,
        ends=0.45,
        spread=0.35,
        fill=0.2,
        pull_per_mm=0.25,
    )
    return replace(rig, **changes)


def playing() -> Figure:
    """Waveforms and spectrograms of four ways to play."""
    rng = np.random.default_rng(2)
    hand = replace(
        draw_hand(rng, GUITARS["single_cut_hh"], 0.75, 2.0), beat_s=0.5, pick_mm=70.0, noisy=1.0
    )
    single = Note(1, 5, 0.05, 1.9, 0.8, 70.0)
    riff = [
        replace(touch(rng, hand, 0, fret, 0.05 + step * 0.2, 0.18), mute=mute)
        for step, (fret, mute) in enumerate(
            [(0, 0.3), (0, 0.3), (3, 0.0), (0, 0.3), (0, 0.4), (5, 0.0), (0, 0.3), (3, 0.0)]
        )
    ]
    shape = [(1, 3), (2, 2), (3, 0), (4, 1), (5, 0)]
    chords = stroke(rng, hand, shape, 0.05, 0.9, 0.03)
    chords += stroke(rng, hand, shape[::-1][:4], 0.6, 0.3, 0.02)
    chords += stroke(rng, hand, [(0, 3), (1, 2), (2, 0), (3, 0), (4, 0), (5, 3)], 1.0, 1.2, 0.03)
    first = touch(rng, hand, 3, 7, 0.08, 0.35)
    lead = [
        *rake(rng, hand, first),
        first,
        replace(touch(rng, hand, 3, 9, 0.4, 0.3), legato=True, bend=slide(rng, -2)),
        replace(touch(rng, hand, 4, 8, 0.7, 0.75), bend=bend_up(rng, 0.75, 2)),
        replace(touch(rng, hand, 4, 5, 1.4, 0.6), vibrato=(5.5, 0.35)),
    ]
    figure = Figure(figsize=(10.5, 6.6), dpi=90)
    rows = figure.subplots(4, 2, sharex=True, width_ratios=(1.0, 1.35))
    takes: Sequence[tuple[str, str, str, list[Note]]] = (
        ("one note", "single_cut_hh", "neck", [single]),
        ("palm-muted riff", "single_cut_hh", "bridge", riff),
        ("strummed chords", "double_cut_sss", "neck+middle", chords),
        ("lead: rake, slide, bend, vibrato", "double_cut_sss", "bridge", lead),
    )
    for (title, guitar, name, notes), (left, right) in zip(takes, rows, strict=True):
        rig = a_rig(guitar, name)
        take, _ = record(np.random.default_rng(7), rig, hand, choked(notes, 0.01), N_SAMPLES)
        times_s = np.arange(N_SAMPLES) / SAMPLE_RATE_HZ
        left.plot(times_s[::8], take[::8] / np.abs(take).max(), color=INK, linewidth=0.4)
        left.set(ylim=(-1.1, 1.1), yticks=[])
        left.set_title(f"{title} · {name} pickup", loc="left", fontsize=9)
        show_spectrogram(right, take)
    for axes in rows[-1]:
        axes.set_xlabel("s", fontsize=8)
    return tidy(figure)


def show_spectrogram(axes: Any, take: Array) -> None:
    """Up to 8 kHz, 80 dB deep."""
    freqs_hz, times_s, power = spectrogram(
        take, SAMPLE_RATE_HZ, nperseg=2048, noverlap=1638, scaling="spectrum"
    )
    level_db = 10.0 * np.log10(power[freqs_hz < 8000.0] + 1e-15)
    axes.imshow(
        level_db,
        origin="lower",
        aspect="auto",
        extent=(times_s[0], times_s[-1], 0.0, 8.0),
        vmin=level_db.max() - 80.0,
        vmax=level_db.max(),
        cmap="magma",
        interpolation="bilinear",
    )
    axes.set_ylabel("kHz", fontsize=8)


def one_note() -> Figure:
    """How a note's partials die, how its pitch glides, and what hands add."""
    figure = Figure(figsize=(10.5, 3.1), dpi=90)
    left, middle, right = figure.subplots(1, 3)
    note = Note(0, 0, 0.0, 10.0, 0.85, 80.0)
    rig = a_rig("semi_hollow_hh", "both")
    voices = partials(np.random.default_rng(12), rig, [note])
    (whole,) = (part.copy() for part in ring(voices, [(0, 3 * SAMPLE_RATE_HZ)]))
    colours = (INK, COOL, WARM, FAINT)
    for number, colour in zip((1, 3, 6, 12), colours, strict=True):
        times_s, level_db, _ = track(whole, float(voices.freqs_hz[0, number - 1]))
        left.plot(times_s, level_db, color=colour, linewidth=1.0, label=f"partial {number}")
    left.set(ylim=(-75.0, 5.0), xlabel="s", ylabel="dB")
    left.set_title("partials of an open low E: each dies,\nand beats, in its own way", fontsize=9)
    left.legend(fontsize=7, frameon=False)
    for velocity, colour in ((0.95, WARM), (0.7, INK), (0.4, COOL)):
        played = partials(np.random.default_rng(12), rig, [replace(note, velocity=velocity)])
        edges_s = np.linspace(0.0, 1.0, 200)
        excess = played.glide[0] * np.exp(-edges_s / played.settle_s[0])
        label = f"force {velocity:g}"
        middle.plot(edges_s, 1200.0 * np.log2(1.0 + excess), color=colour, label=label)
    middle.set(xlabel="s", ylabel="cents", ylim=(0.0, None))
    middle.set_title("a hard stroke starts sharp", fontsize=9)
    middle.legend(fontsize=7, frameon=False)
    by_accident(right)
    return tidy(figure)


def track(wave: Array, hz: float) -> tuple[Array, Array, Array]:
    """Level in dB and frequency in Hz of one partial over time, by a 40 ms window."""
    hop, size = 441, 3528
    window = np.hanning(size)
    starts = np.arange(0, wave.size - size, hop)
    turn = np.exp(-2j * np.pi * hz * np.arange(wave.size) / SAMPLE_RATE_HZ)
    heard = np.array([np.sum(wave[s : s + size] * turn[s : s + size] * window) for s in starts])
    steps = np.diff(np.unwrap(np.angle(heard)), append=0.0) * SAMPLE_RATE_HZ / hop / (2.0 * np.pi)
    level_db = 20.0 * np.log10(np.abs(heard) / np.abs(heard).max() + 1e-9)
    return starts / SAMPLE_RATE_HZ, level_db, hz + steps


def by_accident(axes: Any) -> None:
    """What two hands do besides a note: only the faint strings and a squeak."""
    rng = np.random.default_rng(5)
    guitar = GUITARS["double_cut_sss"]
    hand: Hand = replace(draw_hand(rng, guitar, 0.7, 2.0), noisy=1.0, open_rings=1.0)
    notes = [Note(1, fret, at_s, at_s + 0.45, 0.7, 70.0) for fret, at_s in ((3, 0.0), (7, 0.5))]
    notes += [Note(2, fret, at_s, at_s + 0.45, 0.7, 70.0) for fret, at_s in ((5, 1.0), (9, 1.5))]
    faint, _ = besides(rng, guitar, hand, notes)
    rig = a_rig("double_cut_sss", "bridge")
    take = sound(rng, rig, faint, N_SAMPLES)
    rubbed = squeaked(rng, guitar.strings, [Squeak(1, 0.35, 0.14, 0.8)], N_SAMPLES)
    show_spectrogram(axes, take + 0.3 * np.abs(take).max() * rubbed)
    axes.set_xlabel("s", fontsize=8)
    axes.set_title(
        "what gets in by accident: strings\nbrushed or left to ring, a squeak", fontsize=9
    )


def pickup() -> Figure:
    """What place, circuit and magnet of a pickup do."""
    figure = Figure(figsize=(10.5, 3.1), dpi=90)
    left, middle, right = figure.subplots(1, 3)
    for tone, volume, colour in ((1.0, 1.0, INK), (1.0, 0.5, COOL), (0.2, 1.0, WARM)):
        rig = a_rig("double_cut_sss", "bridge", tone=tone, volume=volume)
        freqs_hz, response = freqz(*pickup_filter(rig), 4096, fs=SAMPLE_RATE_HZ)
        level_db = 20.0 * np.log10(np.abs(response[1:]))
        label = f"tone {tone:g}, volume {volume:g}"
        left.semilogx(freqs_hz[1:], level_db, color=colour, label=label)
    left.set(xlim=(80.0, 16_000.0), ylim=(-30.0, 12.0), xlabel="Hz", ylabel="dB")
    left.set_title("coil, knobs and cable", fontsize=9)
    left.legend(fontsize=7, frameon=False)
    note = Note(1, 0, 0.0, 10.0, 0.8, 90.0)
    for name, colour in (("neck", COOL), ("bridge", WARM)):
        for fill, style in ((0.0, ":"), (0.2, "-")):
            rig = a_rig("double_cut_sss", name, fill=fill, pull_per_mm=1.25 * fill, spread=0.0)
            amps = np.abs(partials(np.random.default_rng(4), rig, [note]).amps[0, :24])
            level_db = 20.0 * np.log10(amps / amps.max() + 1e-4)
            label = f"{name}, {'as played' if fill else 'ideal'}"
            middle.plot(np.arange(1, 25), level_db, style, color=colour, linewidth=1, label=label)
    middle.set(ylim=(-65.0, 3.0), xlabel="partial", ylabel="dB")
    middle.set_title("place of pick and coil: nodes are not empty", fontsize=9)
    middle.legend(fontsize=7, frameon=False)
    for name, pull, colour in (("even pull", 0.0, FAINT), ("0.25 / mm", 0.25, WARM)):
        rig = a_rig("single_cut_hh", "neck", pull_per_mm=pull, spread=0.0, pick_noise=0.0)
        played = replace(note, velocity=0.95)
        (wave,) = (
            part.copy()
            for part in ring(partials(np.random.default_rng(4), rig, [played]), [(0, 1600)])
        )
        times_ms = np.arange(wave.size) / SAMPLE_RATE_HZ * 1e3
        right.plot(times_ms, wave / np.abs(wave).max(), color=colour, linewidth=0.9, label=name)
    right.set(xlabel="ms", yticks=[])
    right.set_title("the magnet pulls more where it is near", fontsize=9)
    right.legend(fontsize=7, frameon=False)
    return tidy(figure)


def tidy(figure: Figure) -> Figure:
    """Small ticks, no wasted margin."""
    for axes in figure.axes:
        axes.tick_params(labelsize=7)
    figure.tight_layout()
    return figure


if __name__ == "__main__":
    main()
