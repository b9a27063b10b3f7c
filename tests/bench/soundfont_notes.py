"""Dry notes of the instruments in a SoundFont, as recordings to teach: OUT/INSTRUMENT/PITCH.flac.

    apt install fluidsynth fluid-soundfont-gm musescore-general-soundfont-lossless
    pip install mido
    python tests/bench/soundfont_notes.py OUT

48 instruments of two libraries under the MIT licence that are struck or plucked: 14 guitars, and 34
others from a sitar to a grand piano. FluidSynth plays every note for 3.2 s, its reverb and chorus
off; the louder channel is kept, from the stroke to where it has died. OUT/manifest.csv states the
licence.
"""

from __future__ import annotations

import argparse
import csv
import random
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import mido
import numpy as np
import soundfile

FONTS = {
    "M": Path("/usr/share/sounds/sf2/MuseScore_General_Full.sf2"),
    "F": Path("/usr/share/sounds/sf2/FluidR3_GM.sf2"),
}
EVEN, ODD = range(40, 78, 2), range(41, 78, 2)
LOW, HIGH, WIDE = range(28, 56, 2), range(48, 85, 2), range(36, 85, 3)
GUITARS = "M0_24 M0_25 M0_26 M0_27 M0_28 M0_31 M8_25 M8_28 M8_26 F0_24 F0_25 F0_26 F0_27 F8_25"
"""Font, bank, program: nylon, steel, jazz, clean, muted, harmonics, 12 strings, funk, Hawaiian."""
OTHERS = (
    (HIGH, "M8_24 M16_25 M8_107"),  # ukulele, mandolin, taisho koto
    (EVEN, "M0_104 M0_105 M0_106 M0_107"),  # sitar, banjo, shamisen, koto
    (HIGH, "M0_108"),  # kalimba
    (WIDE, "M0_46"),  # harp
    (HIGH, "M0_15"),  # dulcimer
    (WIDE, "M0_6 M8_6 M0_7 M0_0 M0_1 M8_0 M0_4"),  # harpsichords, clavinet, pianos
    (LOW, "M0_32 M0_33 M0_34 M0_35 M0_36 M0_37"),  # basses
    (HIGH, "M20_45"),  # violins, plucked
    (WIDE, "M40_45"),  # celli, plucked
    (HIGH, "M0_10 M0_8 M0_12"),  # music box, celesta, marimba
    (WIDE, "F0_0 F0_46 F0_7"),
    (LOW, "F0_33"),
    (EVEN, "F0_104 F0_107"),
)
NAMES = ["c", "db", "d", "eb", "e", "f", "gb", "g", "ab", "a", "bb", "b"]
RATE_HZ = 44_100
EVERY_S, HELD_S, FIRST_S = 4.0, 3.2, 0.1


def score(bank: int, program: int, notes: Sequence[tuple[int, int]]) -> mido.MidiFile:
    """One note (MIDI pitch, velocity) after the other."""
    file = mido.MidiFile(ticks_per_beat=480)
    track = mido.MidiTrack()
    file.tracks.append(track)

    def add(kind: str, after_s: float = 0.0, **values: int) -> None:
        track.append(mido.Message(kind, time=round(after_s * 960), **values))

    add("control_change", control=0, value=bank)
    add("program_change", program=program)
    wait_s = FIRST_S
    for pitch, velocity in notes:
        add("note_on", wait_s, note=pitch, velocity=velocity)
        add("note_off", HELD_S, note=pitch, velocity=0)
        wait_s = EVERY_S - HELD_S
    add("note_off", 1.0, note=0, velocity=0)
    return file


def played(font: Path, midi: mido.MidiFile) -> np.ndarray:
    """float32 [N], the louder channel."""
    with tempfile.TemporaryDirectory() as folder:
        notes, wave = Path(folder) / "notes.mid", Path(folder) / "notes.wav"
        midi.save(notes)
        options = f"-ni -q -R 0 -C 0 -g 0.6 -r {RATE_HZ} -o synth.midi-bank-select=gs -F".split()
        subprocess.run(["fluidsynth", *options, wave, font, notes], check=True, capture_output=True)
        sound = soundfile.read(wave, dtype="float32", always_2d=True)[0]
    return sound[:, np.argmax((sound**2).sum(0))]


def cut(sound: np.ndarray, n_notes: int) -> Iterator[tuple[int, np.ndarray]]:
    """(which note, float32 [n] with its peak at -6 dBFS) of each that sounds."""
    for i in range(n_notes):
        first = int((FIRST_S + i * EVERY_S - 0.01) * RATE_HZ)
        note = sound[first : first + int((EVERY_S - 0.3) * RATE_HZ)]
        peak = np.abs(note).max()
        if peak < 1e-3:
            continue
        onset = int(np.argmax(np.abs(note) > 0.02 * peak))
        note = note[max(0, onset - RATE_HZ // 100) :]
        last = int(np.flatnonzero(np.abs(note) > 0.001 * peak)[-1])
        note = note[: max(last + 1, RATE_HZ // 2)] * (0.5 / peak)
        fade = min(len(note), RATE_HZ // 20)
        note[-fade:] *= np.linspace(1, 0, fade)
        yield i, note


def make(folder: Path, preset: str, pitches: range, n_velocities: int, seed: int) -> list[Path]:
    rng = random.Random(seed)
    notes = [(pitch, v) for pitch in pitches for v in rng.sample(range(45, 125), n_velocities)]
    bank, program = map(int, preset[1:].split("_"))
    folder.mkdir(parents=True, exist_ok=True)
    made = []
    for i, note in cut(played(FONTS[preset[0]], score(bank, program, notes)), len(notes)):
        pitch, velocity = notes[i]
        path = folder / f"{NAMES[pitch % 12]}{pitch // 12 - 1}_v{velocity}.flac"
        soundfile.write(path, note, RATE_HZ, subtype="PCM_16")
        made.append(path)
    return made


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path)
    out = parser.parse_args().out
    others = [(preset, pitches) for pitches, names in OTHERS for preset in names.split()]
    made = []
    for i, preset in enumerate(GUITARS.split()):
        made += make(out / f"guitar_{preset}", preset, ODD if i % 2 == 0 else EVEN, 2, i)
    for i, (preset, pitches) in enumerate(others):
        made += make(out / f"other_{preset}", preset, pitches, 1, 100 + i)
    with (out / "manifest.csv").open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["file", "licence"])
        rows.writerows([path.relative_to(out).as_posix(), "MIT"] for path in made)
    print(f"{len(made)} notes in {out}")


if __name__ == "__main__":
    main()
